"""Draws the pictures of the shapes example: circles, squares and triangles on textured backgrounds.

Every picture is a function of one integer seed, so a data set is a range of seeds and can be drawn again
anywhere. Colours, sizes, rotations and the background's texture vary; each object's true box is the exact
extent of its outline. Needs NumPy and Pillow; TensorFlow only for writing TFRecords (`records`).
"""

import argparse
import io
import json
import math
import os

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

CLASSES = ("circle", "square", "triangle")  # class ids count from 1 in this order, as in label_map.pbtxt
IMAGE_SIZES = ((160, 160), (200, 160), (160, 200), (240, 180), (180, 240), (320, 240))  # (width, height)

# Seeds of the three sets; the shipped test pictures have seeds of their own, far from both others.
TRAIN_SEEDS = range(0, 2400)
HELD_OUT_SEEDS = range(100_000, 100_200)
TEST_PICTURES = {"test_1.png": 200_003, "test_2.jpg": 200_005}


def texture(rng, width, height):
    """Returns float64 [height, width, 3] in 0..255: noise of several grain sizes over a tinted gradient."""
    image = np.empty((height, width, 3))
    image[:] = rng.uniform(40, 215, size=3)
    direction = rng.uniform(0, 2 * math.pi)
    ys, xs = np.mgrid[0:height, 0:width]
    slope = (np.cos(direction) * xs / width + np.sin(direction) * ys / height)[..., np.newaxis]
    image += slope * rng.uniform(-60, 60, size=3)
    for grain in (4, 12, 40):
        coarse = rng.normal(0, 1, size=(max(2, height // grain), max(2, width // grain)))
        noise = Image.fromarray(coarse.astype(np.float32), mode="F").resize((width, height), Image.BICUBIC)
        image += np.asarray(noise)[..., np.newaxis] * rng.uniform(2, 14, size=3)
    image += rng.normal(0, rng.uniform(1, 6), size=image.shape)
    return np.clip(image, 0, 255)


def outline(rng, name, radius):
    """Returns the outline's points, float64 [points, 2] as (x, y) about the centre, turned at random."""
    turn = rng.uniform(0, 2 * math.pi)
    corners = {"circle": 72, "square": 4, "triangle": 3}[name]
    angles = turn + np.arange(corners) * 2 * math.pi / corners
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def overlap(a, b):
    """Returns the intersection of two boxes over the smaller one's area; boxes are ymin, xmin, ymax, xmax."""
    height = min(a[2], b[2]) - max(a[0], b[0])
    width = min(a[3], b[3]) - max(a[1], b[1])
    if height <= 0 or width <= 0:
        return 0.0
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return height * width / smaller


def place(rng, name, boxes, width, height):
    """Returns (points, box) of a new object that lies in the picture and hardly covers another, or None."""
    for _ in range(30):
        points = outline(rng, name, radius=rng.uniform(0.11, 0.27) * min(width, height))
        low, high = points.min(axis=0), points.max(axis=0)
        room = np.array([width, height]) - (high - low)
        points = points - low + rng.uniform(0.01, 0.99, size=2) * room
        (xmin, ymin), (xmax, ymax) = points.min(axis=0), points.max(axis=0)
        box = (ymin, xmin, ymax, xmax)
        if all(overlap(box, other) < 0.15 for other in boxes):
            return points, box
    return None


def paint(rng, image, points):
    """Returns the image with a filled polygon of a colour that stands out from what it covers."""
    height, width = image.shape[:2]
    scale = 3  # drawn larger and reduced, for smooth edges
    large = Image.new("L", (width * scale, height * scale))
    ImageDraw.Draw(large).polygon([tuple(point) for point in points * scale], fill=255)
    mask = large.resize((width, height), Image.BOX).filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.7)))
    alpha = np.asarray(mask)[..., np.newaxis] / 255.0
    behind = (image * alpha).sum(axis=(0, 1)) / alpha.sum()
    while True:
        colour = rng.uniform(0, 255, size=3)
        if np.linalg.norm(colour - behind) > 90:
            break
    speckle = rng.normal(0, rng.uniform(1, 8), size=image.shape)
    return np.clip(image * (1 - alpha) + (colour + speckle) * alpha, 0, 255)


def draw(seed):
    """Returns (image, objects) for a seed.

    The image is uint8 [height, width, 3]. Each object is a dict with `class`, `id` (from 1) and `box`: ymin, xmin,
    ymax, xmax as fractions of the image's height and width.
    """
    rng = np.random.default_rng(seed)
    width, height = IMAGE_SIZES[rng.integers(len(IMAGE_SIZES))]
    image = texture(rng, width, height)
    objects, boxes = [], []
    for _ in range(rng.integers(1, 5)):
        name = CLASSES[rng.integers(len(CLASSES))]
        placed = place(rng, name, boxes, width, height)
        if placed is None:
            continue
        points, box = placed
        image = paint(rng, image, points)
        boxes.append(box)
        fractions = np.array(box) / (height, width, height, width)
        objects.append({"class": name, "id": CLASSES.index(name) + 1, "box": [round(float(f), 5) for f in fractions]})
    return np.round(image).astype(np.uint8), objects


def encode(image, image_format):
    """Returns the bytes of the image as "PNG" or "JPEG"."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format=image_format, quality=92)
    return buffer.getvalue()


def write_records(path, seeds):
    """Writes one TFRecord file of `tf.train.Example`s with the feature names the Object Detection API reads."""
    import tensorflow as tf

    def data(values):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    def floats(values):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    def integers(values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    with tf.io.TFRecordWriter(path) as writer:
        for seed in seeds:
            image, objects = draw(seed)
            boxes = np.array([item["box"] for item in objects]).reshape(-1, 4)
            name = f"{seed}.jpg".encode()
            feature = {
                "image/height": integers([image.shape[0]]),
                "image/width": integers([image.shape[1]]),
                "image/filename": data([name]),
                "image/source_id": data([name]),
                "image/encoded": data([encode(image, "JPEG")]),
                "image/format": data([b"jpeg"]),
                "image/object/bbox/ymin": floats(boxes[:, 0]),
                "image/object/bbox/xmin": floats(boxes[:, 1]),
                "image/object/bbox/ymax": floats(boxes[:, 2]),
                "image/object/bbox/xmax": floats(boxes[:, 3]),
                "image/object/class/text": data([item["class"].encode() for item in objects]),
                "image/object/class/label": integers([item["id"] for item in objects]),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


def write_test_pictures(folder):
    """Writes the shipped test pictures and their true boxes, `test_boxes.json`."""
    os.makedirs(folder, exist_ok=True)
    truth = {}
    for name, seed in TEST_PICTURES.items():
        image, objects = draw(seed)
        with open(os.path.join(folder, name), "wb") as file:
            file.write(encode(image, "PNG" if name.endswith(".png") else "JPEG"))
        truth[name] = {"width": image.shape[1], "height": image.shape[0], "objects": objects}
    with open(os.path.join(folder, "test_boxes.json"), "w") as file:
        json.dump(truth, file, indent=1)
        file.write("\n")


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    records = commands.add_parser("records", help="write train.tfrecord and held_out.tfrecord (needs TensorFlow)")
    records.add_argument("folder")
    pictures = commands.add_parser("pictures", help="write the test pictures and test_boxes.json")
    pictures.add_argument("folder", nargs="?", default=os.path.join(here, "images"))
    one = commands.add_parser("one", help="write the picture of one seed and print its boxes")
    one.add_argument("seed", type=int)
    one.add_argument("png")
    arguments = parser.parse_args()

    if arguments.command == "records":
        os.makedirs(arguments.folder, exist_ok=True)
        write_records(os.path.join(arguments.folder, "train.tfrecord"), TRAIN_SEEDS)
        write_records(os.path.join(arguments.folder, "held_out.tfrecord"), HELD_OUT_SEEDS)
    elif arguments.command == "pictures":
        write_test_pictures(arguments.folder)
    else:
        image, objects = draw(arguments.seed)
        Image.fromarray(image).save(arguments.png)
        print(json.dumps(objects, indent=1))


if __name__ == "__main__":
    main()
