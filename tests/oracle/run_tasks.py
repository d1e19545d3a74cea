"""Runs a detector by what its metadata says, in a library that knows detectors: run_tasks.py task_library|mediapipe MODEL IMAGE.npy [THRESHOLD]

Prints the detections of an image `[height, width, 3]` (uint8) as JSON: a list of `{"label", "index", "score", "box"}`, a box being ymin, xmin, ymax, xmax in pixels.
"""

import ctypes
import json
import sys

import numpy as np

MOST = 100


def task_library(model, image, threshold):
    import libusb_package

    # tflite-support is linked with the library for USB devices, which not every system has.
    ctypes.CDLL(str(libusb_package.get_library_path()), mode=ctypes.RTLD_GLOBAL)
    from tflite_support.task import core, processor, vision

    options = vision.ObjectDetectorOptions(
        base_options=core.BaseOptions(file_name=model, num_threads=1),
        detection_options=processor.DetectionOptions(max_results=MOST, score_threshold=threshold),
    )
    detector = vision.ObjectDetector.create_from_options(options)
    return detector.detect(vision.TensorImage.create_from_array(image)).detections


def mediapipe(model, image, threshold):
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.ObjectDetectorOptions(base_options=BaseOptions(model_asset_path=model), max_results=MOST, score_threshold=threshold)
    with vision.ObjectDetector.create_from_options(options) as detector:
        return detector.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)).detections


def told(detection):
    box, best = detection.bounding_box, detection.categories[0]
    corners = [box.origin_y, box.origin_x, box.origin_y + box.height, box.origin_x + box.width]
    return {"label": best.category_name, "index": best.index, "score": best.score, "box": corners}


def main():
    library, model, image, *threshold = sys.argv[1:]
    run = {"task_library": task_library, "mediapipe": mediapipe}[library]
    found = run(model, np.load(image), float(threshold[0]) if threshold else 0.0)
    print(json.dumps([told(detection) for detection in found]))


if __name__ == "__main__":
    main()
