"""An exported ONNX model in ONNX Runtime, which makes rows of detections from records of pictures. Each worker has one."""

import io
import json
import logging
import struct
from collections import defaultdict

import numpy as np
import onnxruntime
import pyarrow
from PIL import Image, UnidentifiedImageError
from pictures import NO_ID, Refused

MOST_PIXELS = 1 << 25
OUTPUTS = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")

DETECTION = pyarrow.struct(
    [
        ("class", pyarrow.int64()),
        ("name", pyarrow.string()),
        ("score", pyarrow.float32()),
        ("box", pyarrow.list_(pyarrow.float32())),  # upper, left, lower and right edge, as parts of the height and width
    ]
)
#: What is written: a row for each picture. Either there is an error, or there are sizes and detections.
SCHEMA = pyarrow.schema(
    [
        ("picture", pyarrow.string()),
        ("image_id", pyarrow.int64()),  # of COCO lists
        ("width", pyarrow.int64()),
        ("height", pyarrow.int64()),
        ("error", pyarrow.string()),
        ("detections", pyarrow.list_(DETECTION)),
    ]
)


class Detector:
    """A model of `tfod export --format onnx`, with its preprocessing and suppression inside."""

    def __init__(self, model, threads=1):
        """Reads a model from the bytes of its file. A worker uses one thread, as there are as many workers as there is work for."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no class of their own
            raise Refused(f"the model cannot be read: {error}") from error
        about = self.session.get_modelmeta().custom_metadata_map
        missing = set(OUTPUTS) - {output.name for output in self.session.get_outputs()}
        if missing or "inputs" not in about:
            raise Refused(f"the model has no {', '.join(sorted(missing)) or 'metadata'}; expected one of `tfod export --format onnx` without --no_nms and --raw_encodings")
        if json.loads(about.get("preprocessing", "{}")).get("done_by") == "caller":
            raise Refused("the model takes pictures that were resized and normalised before; expected one that was made without --no_preprocess")
        (given,) = self.session.get_inputs()
        self.name, self.dtype = given.name, np.float32 if given.type == "tensor(float)" else np.uint8
        self.channels_first = json.loads(about["inputs"])[0]["layout"] == "NCHW"
        # Sizes that are known only at run time are names, or None.
        shape = [size if isinstance(size, int) else None for size in given.shape]
        self.batch = shape[0]
        self.height, self.width = shape[2:] if self.channels_first else shape[1:3]
        self.labels = {label["id"]: label["name"] for label in json.loads(about.get("labels", "[]"))}

    def rows(self, records):
        """Returns a row of `SCHEMA` for each record, in their order."""
        rows, pictures = [], {}
        for index, record in enumerate(records):
            number = record["image_id"]
            rows.append(dict.fromkeys(SCHEMA.names) | {"picture": record["picture"], "image_id": None if number == NO_ID else number, "error": record["error"] or None})
            if not record["error"]:
                try:
                    pictures[index] = decode(record["file"])
                except ValueError as error:
                    rows[index]["error"] = str(error)
        for index, found in self.detect(pictures).items():
            height, width = pictures[index].shape[:2]
            rows[index].update(width=width, height=height, detections=found)
        for row in rows:
            if row["error"]:
                logging.getLogger(__name__).warning("%s: %s", row["picture"], row["error"])
        return rows

    def detect(self, pictures):
        """Returns the detections of each picture ({key: array [height, width, 3] of bytes}), best first. Those of one size are run together, as far as the model takes several."""
        by_size = defaultdict(list)
        for key, pixels in pictures.items():
            by_size[self.fitted(pixels).shape].append(key)
        found = {}
        for keys in by_size.values():
            most = self.batch or len(keys)
            for start in range(0, len(keys), most):
                some = keys[start : start + most]
                # A model for a fixed number of pictures is given the last one again.
                padded = [*some, *[some[-1]] * ((self.batch or len(some)) - len(some))]
                found.update(zip(some, self.run(np.stack([self.fitted(pictures[key]) for key in padded]))))
        return found

    def fitted(self, pixels):
        """Returns a picture in the model's size, if it has one."""
        height, width = self.height or pixels.shape[0], self.width or pixels.shape[1]
        if (height, width) == pixels.shape[:2]:
            return pixels
        return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))

    def run(self, batch):
        """Returns the detections of pictures of one size, each best first."""
        if self.channels_first:
            batch = batch.transpose(0, 3, 1, 2)
        boxes, classes, scores, counts = self.session.run(OUTPUTS, {self.name: batch.astype(self.dtype)})
        return [self.detections(*arrays) for arrays in zip(boxes, classes, scores, counts)]

    def detections(self, boxes, classes, scores, count):
        order = np.argsort(-scores[: int(count)], kind="stable")
        return [
            {"class": int(classes[row]), "name": self.labels.get(int(classes[row]), f"class {int(classes[row])}"), "score": float(scores[row]), "box": boxes[row].tolist()} for row in order
        ]


def decode(file):
    """Returns a file's pixels, [height, width, 3]; raises ValueError with what is wrong. As in TensorFlow, a rotation that the file asks for is not applied."""
    try:
        with Image.open(io.BytesIO(file)) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise ValueError(f"has {width}x{height} pixels; {MOST_PIXELS} are the most")
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ValueError(f"is no picture that can be decoded: {error}") from error
    except (OSError, SyntaxError, EOFError, struct.error) as error:
        raise ValueError(f"is damaged: {error}") from error


def table(rows):
    return pyarrow.Table.from_pylist(rows, schema=SCHEMA)
