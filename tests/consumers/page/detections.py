"""Prints what ONNX Runtime detects, as the page saves it: detections.py MODEL PICTURE..."""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image


def detections(session, picture):
    """Returns the detections on one picture, decoded by Pillow."""
    [given] = session.get_inputs()
    about = session.get_modelmeta().custom_metadata_map
    pixels = np.asarray(Image.open(picture).convert("RGB"))[np.newaxis]
    height, width = pixels.shape[1:3]
    if json.loads(about["inputs"])[0]["layout"] == "NCHW":
        pixels = pixels.transpose(0, 3, 1, 2)
    if given.type == "tensor(float)":
        pixels = pixels.astype(np.float32)
    outputs = {output.name: value[0] for output, value in zip(session.get_outputs(), session.run(None, {given.name: pixels}))}
    names = {label["id"]: label["name"] for label in json.loads(about["labels"])}
    rows = zip(outputs["detection_classes"], outputs["detection_scores"], outputs["detection_boxes"])
    found = [{"class": int(id_), "name": names[int(id_)], "score": float(score), "box": [float(edge) for edge in box]} for id_, score, box in rows]
    return {"width": width, "height": height, "detections": found[: int(outputs["num_detections"])]}


def main():
    model, *pictures = sys.argv[1:]
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    print(json.dumps({picture: detections(session, picture) for picture in pictures}))


if __name__ == "__main__":
    main()
