"""TFLite Metadata: what Task Library and MediaPipe make of it, and what it says, read field by field.

Images have the model's size, so that the libraries do not resize them.
"""

import io
import json
import subprocess
import zipfile

import numpy as np
import pytest
from flatbuffers import encode, number_types, table
from oracle import run_tasks
from oracle.cases import QUICK

from .conftest import run_export
from .test_tflite import decoded, run

BASE = [pytest.param(case, id=case.name) for case in QUICK if case.name == "base"]
DETECTIONS = "detection_boxes,detection_classes,detection_scores,num_detections"
# Not every class has one.
NAMES = {1: "one", 3: "three"}

pytestmark = pytest.mark.quick


@pytest.fixture(scope="session")
def library(other_tensorflow):
    """`library(name, model, image, threshold)` returns the detections of a library."""
    python = other_tensorflow("tflite")

    def detect(name, model, image, threshold=0.0):
        given = model.with_name("image.npy")
        np.save(given, image)
        command = [python, run_tasks.__file__, name, model, given, threshold]
        ran = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr[-2000:]
        return json.loads(ran.stdout)

    return detect


def export(results, folder, *options):
    """Exports a case with names of classes; returns the model, its manifest and an image of its size."""
    labels = folder / "labels.pbtxt"
    folder.mkdir(parents=True, exist_ok=True)
    labels.write_text("".join(f"item {{ id: {number} name: '{name}' }}\n" for number, name in NAMES.items()))
    output = run_export(folder / "out", results, None, "--format=tflite", f"--label_map={labels}", *options)
    manifest = json.loads((output / "manifest.json").read_text())
    shape = manifest["inputs"][0]["shape"][1:]
    image = np.random.default_rng(3).integers(0, 256, shape, np.uint8)
    return output / "model.tflite", manifest, image


def label(number):
    return NAMES.get(number, "???")


@pytest.mark.parametrize("name", ["task_library", "mediapipe"])
@pytest.mark.parametrize("options", [(f"--outputs={DETECTIONS}",), ("--tflite_nms=regular", "--float_input"), ("--tflite_nms=fast", "--no_preprocess")], ids=" ".join)
@pytest.mark.parametrize("case", BASE)
def test_libraries_find_what_the_model_finds(case, options, name, oracle, library, tmp_path):
    model, manifest, image = export(oracle(case), tmp_path, *options)
    given = image[None].astype(manifest["inputs"][0]["dtype"])
    if "--no_preprocess" in options:
        [normalize] = [step for step in manifest["preprocessing"]["steps"] if step["step"] == "normalize"]
        given = (given * np.array(normalize["scale"], np.float32) + np.array(normalize["shift"], np.float32)).astype(np.float32)
    expected = run(model, given)
    count = int(expected["num_detections"][0])
    assert count > 3
    found = library(name, model, image)
    rows = zip(expected["detection_boxes"][0], expected["detection_classes"][0], expected["detection_scores"][0, :count])
    wanted = [(float(score), label(int(number)), np.round(box * np.tile(image.shape[:2], 2))) for box, number, score in rows]
    for each in found:
        same = [row for row in wanted if abs(row[0] - each["score"]) < 1e-5 and row[1] == each["label"] and np.abs(row[2] - each["box"]).max() <= 2]
        assert same, each
    # MediaPipe leaves out boxes that coincide with a better one of another class.
    assert len(found) == count if name == "task_library" else 0.9 * count <= len(found) <= count
    assert abs(found[0]["score"] - wanted[0][0]) < 1e-5


@pytest.mark.parametrize("case", BASE)
def test_mediapipe_decodes_boxes_of_raw_heads(case, oracle, library, tmp_path):
    model, manifest, image = export(oracle(case), tmp_path, "--raw_encodings")
    found = library("mediapipe", model, image, 0.0)
    heads = run(model, image[None])
    boxes = decoded(heads["box_encodings"][0], manifest["box_decoding"]) * np.tile(image.shape[:2], 2)
    scores = 1 / (1 + np.exp(-heads["class_predictions_with_background"][0]))
    names = ["background", *(label(number) for number in range(1, manifest["num_classes"] + 1))]
    assert found and abs(found[0]["score"] - scores.max()) < 1e-5
    inside = 0
    for each in found:
        near = np.abs(scores.max(axis=1) - each["score"]) < 1e-5
        # MediaPipe moves and cuts off boxes that are not within the image, in a way of its own.
        is_outside = (boxes.min(axis=1) < 0) | (boxes.max(axis=1) > min(image.shape[:2]))
        matching = near & (is_outside | (np.abs(boxes - each["box"]).max(axis=1) <= 2))
        inside += any(near & ~is_outside)
        assert any(names[scores[row].argmax()] == each["label"] for row in np.flatnonzero(matching)), each
    assert inside > 5


class Table:
    """A table of a FlatBuffer, whose fields are known by their slots."""

    def __init__(self, buffer, at=None):
        at = encode.Get(number_types.UOffsetTFlags.packer_type, buffer, 0) if at is None else at
        self.table = table.Table(buffer, at)

    def field(self, slot):
        offset = self.table.Offset(4 + 2 * slot)
        return offset and offset + self.table.Pos

    def child(self, slot):
        return Table(self.table.Bytes, self.table.Indirect(self.field(slot)))

    def children(self, slot):
        offset = self.table.Offset(4 + 2 * slot)
        begin = offset and self.table.Vector(offset)
        return [Table(self.table.Bytes, self.table.Indirect(begin + 4 * n)) for n in range(self.table.VectorLen(offset))] if offset else []

    def text(self, slot):
        return self.table.String(self.field(slot)).decode() if self.field(slot) else ""

    def numbers(self, slot, dtype):
        offset = self.table.Offset(4 + 2 * slot)
        return np.frombuffer(self.table.Bytes, dtype, self.table.VectorLen(offset), self.table.Vector(offset))

    def byte(self, slot):
        return self.table.Bytes[self.field(slot)] if self.field(slot) else 0

    def integer(self, slot):
        return int(np.frombuffer(self.table.Bytes, "<i4", 1, self.field(slot))[0]) if self.field(slot) else 0


def notes_of(model):
    """Returns the metadata of a model."""
    root = Table(bytearray(model.read_bytes()))
    [entry] = [entry for entry in root.children(6) if entry.text(0) == "TFLITE_METADATA"]
    buffer = bytearray(root.children(4)[entry.integer(1)].numbers(0, np.uint8).tobytes())
    assert buffer[4:8] == b"M001"
    return Table(buffer)


@pytest.mark.parametrize("case", BASE)
def test_metadata_says_what_the_model_is(case, oracle, tmp_path):
    model, manifest, _ = export(oracle(case), tmp_path / "pixels", f"--outputs={DETECTIONS}")
    notes = notes_of(model)
    assert notes.text(7) == "1.2.0"
    [graph] = notes.children(3)
    [image] = graph.children(2)
    # Red, green, blue, which the model normalises.
    assert (image.child(3).byte(0), image.child(3).child(1).byte(0)) == (2, 1)
    [unit] = image.children(4)
    assert [unit.child(1).numbers(slot, "<f4").tolist() for slot in (0, 1)] == [[0], [1]]
    location, category, score, count = graph.children(3)
    assert [each.text(0) for each in (location, category, score, count)] == ["location", "category", "score", "number of detections"]
    properties = location.child(3).child(1)
    assert (location.child(3).byte(0), properties.numbers(0, "<u4").tolist(), properties.byte(1), properties.byte(2)) == (3, [1, 0, 3, 2], 1, 0)
    [names] = category.children(6)
    assert (names.text(0), names.byte(2)) == ("labels.txt", 3)
    lines = zipfile.ZipFile(io.BytesIO(model.read_bytes())).read("labels.txt").decode().splitlines()
    assert lines == ["???", *(label(number) for number in range(1, manifest["num_classes"] + 1))]

    # What the caller normalises.
    model, manifest, _ = export(oracle(case), tmp_path / "own", "--no_preprocess", "--raw_encodings")
    [normalize] = [step for step in manifest["preprocessing"]["steps"] if step["step"] == "normalize"]
    [graph] = notes_of(model).children(3)
    [unit] = graph.children(2)[0].children(4)
    mean, std = (unit.child(1).numbers(slot, "<f4") for slot in (0, 1))
    np.testing.assert_allclose(1 / std * np.ones(3), normalize["scale"], rtol=1e-6)
    np.testing.assert_allclose(-mean / std * np.ones(3), normalize["shift"], rtol=1e-6)
    [custom] = graph.children(9)
    assert (custom.text(0), notes_of(model).text(7)) == ("DETECTOR_METADATA", "1.5.0")
    decoding = Table(bytearray(custom.numbers(1, np.uint8).tobytes()))
    anchors = decoding.child(1).child(0).children(0)
    assert len(anchors) == decoding.child(2).integer(1) == len(manifest["box_decoding"]["anchors"])
    [names] = graph.children(3)[1].children(6)
    assert (names.text(0), names.byte(2)) == ("labels.txt", 2)


@pytest.mark.parametrize("case", BASE)
def test_there_is_none_without_names(case, oracle, tmp_path):
    output = run_export(tmp_path / "out", oracle(case), None, "--format=tflite")
    assert b"TFLITE_METADATA" not in (output / "model.tflite").read_bytes()
