"""Runs an exported shapes model with TensorFlow: prints what it finds beside the truth, and draws it.

Usage: detect.py SAVED_MODEL [--images FOLDER] [--score 0.5] [--draw FOLDER]. Works with an `image_tensor` export, by this project or by
the official exporter; needs TensorFlow, NumPy and Pillow. Exits with 1 if an object of the truth is not found, or
something is found that is not there.
"""

import argparse
import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw

HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = {1: "circle", 2: "square", 3: "triangle"}  # label_map.pbtxt
COLOURS = {1: (255, 64, 64), 2: (64, 160, 255), 3: (64, 220, 64)}
IOU_NEEDED = 0.5


def iou(a, b):
    """Returns the intersection over union of two boxes (ymin, xmin, ymax, xmax)."""
    height = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    width = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - height * width
    return height * width / union if union > 0 else 0.0


def detect(model, image, score_needed):
    """Returns [(class id, score, box)] by falling score, for a uint8 [height, width, 3] image."""
    outputs = {key: value.numpy()[0] for key, value in model(tf.constant(image[np.newaxis])).items()}
    found = zip(outputs["detection_classes"], outputs["detection_scores"], outputs["detection_boxes"])
    kept = [(int(id_), float(score), box) for id_, score, box in found if score >= score_needed]
    return kept[: int(outputs["num_detections"])]


def match(found, objects):
    """Returns (best IoU of each detection with a free object of its class, objects left over)."""
    free, overlaps = list(objects), []
    for class_id, _, box in found:
        best = max((item for item in free if item["id"] == class_id), key=lambda item: iou(box, item["box"]), default=None)
        overlap = iou(box, best["box"]) if best else 0.0
        overlaps.append(overlap)
        if overlap >= IOU_NEEDED:
            free.remove(best)
    return overlaps, free


def draw(image, found, path):
    """Writes the image, twice as large, with the detections' boxes, names and scores."""
    picture = Image.fromarray(image).resize((2 * image.shape[1], 2 * image.shape[0]), Image.LANCZOS)
    pen = ImageDraw.Draw(picture)
    for class_id, score, box in found:
        ymin, xmin, ymax, xmax = box * np.array([picture.height, picture.width] * 2)
        pen.rectangle([xmin, ymin, xmax, ymax], outline=COLOURS[class_id], width=3)
        text = f"{NAMES[class_id]} {score:.2f}"
        position = (xmin + 4, max(0, ymin - 13))
        pen.rectangle(pen.textbbox(position, text), fill=(0, 0, 0))
        pen.text(position, text, fill=COLOURS[class_id])
    picture.save(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("saved_model", help="the saved_model folder of an export")
    parser.add_argument("--images", default=os.path.join(HERE, "images"), help="pictures and test_boxes.json")
    parser.add_argument("--score", type=float, default=0.5, help="lowest score shown (default 0.5)")
    parser.add_argument("--draw", help="folder for the pictures with boxes drawn in")
    arguments = parser.parse_args()

    model = tf.saved_model.load(arguments.saved_model)
    with open(os.path.join(arguments.images, "test_boxes.json")) as file:
        truth = json.load(file)
    wrong = 0
    for name in sorted(truth):
        image = np.asarray(Image.open(os.path.join(arguments.images, name)).convert("RGB"))
        found = detect(model, image, arguments.score)
        overlaps, missed = match(found, truth[name]["objects"])
        print(f"{name}: {len(truth[name]['objects'])} objects, {len(found)} found")
        print(f"  {'class':9} {'score':>5}  {'ymin':>6} {'xmin':>6} {'ymax':>6} {'xmax':>6}  IoU with the truth")
        for (class_id, score, box), overlap in zip(found, overlaps):
            right = overlap >= IOU_NEEDED
            wrong += not right
            numbers = " ".join(f"{value:6.3f}" for value in box)
            print(f"  {NAMES[class_id]:9} {score:5.3f}  {numbers}  {overlap:.3f}{'' if right else '  not there'}")
        for item in missed:
            wrong += 1
            print(f"  {item['class']:9} missed  {' '.join(f'{value:6.3f}' for value in item['box'])}")
        if arguments.draw:
            os.makedirs(arguments.draw, exist_ok=True)
            draw(image, found, os.path.join(arguments.draw, os.path.splitext(name)[0] + "_found.png"))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
