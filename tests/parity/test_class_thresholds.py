"""Score thresholds of single classes: detections are those of the plain export whose scores are above the threshold of their class, in every format.

What is dropped leaves its place to others, so the plain export is given places for all that each class may have. Where boxes of all classes suppress each other, a box
that does not pass its class's threshold suppresses none: there, NumPy suppresses what the plain export gives before suppression.
"""

import json
import subprocess

import numpy as np
import pytest
import tensorflow as tf

from . import compare
from .conftest import BINARY, ROOT, run_export
from .test_onnx import run as run_onnx
from .test_options import run_frozen

SHAPES = ROOT / "examples" / "shapes"
NAMES = {1: "circle", 2: "square", 3: "triangle"}
IOU = 0.6
PER_CLASS = 20
RULES = {
    "pruned": "",
    "padded": "use_static_shapes: true",
    "combined": "use_combined_nms: true change_coordinate_frame: false",
    "soft": "soft_nms_sigma: 0.5",
}


@pytest.fixture(scope="module")
def images():
    """Returns batches of one drawn image, and one of noise, in which there are many doubtful detections."""
    drawn = tf.io.decode_image((SHAPES / "images" / "test_1.png").read_bytes(), channels=3).numpy()
    noise = np.random.default_rng(7).integers(0, 256, drawn.shape, dtype=np.uint8)
    return [drawn[None], noise[None]]


def exported(folder, fields, *options, formats="saved_model,frozen,onnx"):
    """Exports with these fields of the suppression's message."""
    nms = f"iou_threshold: {IOU} max_detections_per_class: {PER_CLASS} {fields}"
    override = f"model {{ ssd {{ post_processing {{ batch_non_max_suppression {{ {nms} }} }} }} }}"
    label_map = f"--label_map={SHAPES / 'label_map.pbtxt'}"
    return run_export(folder, SHAPES, "image_tensor", f"--config_override={override}", f"--format={formats}", label_map, *options)


def runs(folder, images, python):
    """Yields (format, [{key: output}]) for every format of an export."""
    files = json.loads((folder / "manifest.json").read_text())["files"]
    model = tf.saved_model.load(str(folder / "saved_model")).signatures[files["saved_model"]["signature"]]
    yield "SavedModel", [{key: value.numpy() for key, value in model(input_tensor=tf.constant(image)).items()} for image in images]
    yield "frozen", [run_frozen(folder, files["frozen.pb"], image) for image in images]
    if "model.onnx" in files:
        yield from run_onnx(python, folder / "model.onnx", images, ["onnxruntime"]).items()


def detections(outputs):
    """Returns the rows that are detections, by key without prefix."""
    count = int(outputs["num_detections"][0])
    keys = [key for key in outputs if key.startswith("detection_")]
    return {key.removeprefix("detection_"): outputs[key][0][:count] for key in keys}


def thresholds_of(plain):
    """Returns thresholds between the scores of two classes: some detections of each pass, some do not."""
    scores, classes = (np.concatenate([detections(outputs)[key] for outputs in plain]) for key in ("scores", "classes"))
    found = {}
    for id in (1, 2):
        own = np.sort(scores[classes == id])
        middle = len(own) // 2
        assert len(own) > 3, "there is something to drop"
        found[id] = float(np.float32(own[middle - 1] + own[middle]) / 2)
    return found


def flag(thresholds):
    return "--score_threshold=" + ",".join(f"{NAMES[id]}={score:.9g}" for id, score in thresholds.items())


def passing(rows, thresholds):
    """Returns the rows whose scores are above the threshold of their class."""
    least = np.array([thresholds.get(int(id), 0) for id in rows["classes"]])
    return {key: values[rows["scores"] > least] for key, values in rows.items()}


def assert_rows(found, expected, what):
    assert sorted(found) == sorted(expected)
    compare.assert_equal(found, expected, what)


@pytest.mark.quick
@pytest.mark.parametrize("rules", RULES)
def test_detections_are_those_of_the_plain_export_that_pass(rules, images, other_tensorflow, tmp_path):
    python = other_tensorflow("onnx")
    formats = "saved_model,frozen" if rules == "soft" else "saved_model,frozen,onnx"
    everything = f"{RULES[rules]} max_total_detections: {len(NAMES) * PER_CLASS}"
    plain = dict(runs(exported(tmp_path / "plain", everything, formats=formats), images, python))
    thresholds = thresholds_of(plain["SavedModel"])
    for limit in (len(NAMES) * PER_CLASS, PER_CLASS):
        fields = f"{RULES[rules]} max_total_detections: {limit}"
        folder = exported(tmp_path / str(limit), fields, flag(thresholds), formats=formats)
        suppression = json.loads((folder / "manifest.json").read_text())["non_max_suppression"]
        told = {entry["id"]: entry["score_threshold"] for entry in suppression["class_score_thresholds"]}
        assert told == pytest.approx(thresholds)
        for name, outputs in runs(folder, images, python):
            for found, unfiltered in zip(outputs, plain[name]):
                rows = detections(unfiltered)
                expected = {key: values[:limit] for key, values in passing(rows, thresholds).items()}
                assert limit < len(NAMES) * PER_CLASS or len(expected["scores"]) < len(rows["scores"])
                assert_rows(detections(found), expected, f"{rules}, {name}, {limit} places")


def suppressed(boxes, scores, thresholds, limit):
    """Returns (scores, classes) of class-agnostic suppression of boxes that pass the threshold of their best class."""
    best = scores.argmax(axis=1)
    least = np.array([thresholds.get(int(id) + 1, 0) for id in best])
    top = scores.max(axis=1)
    order = [i for i in np.argsort(-top, kind="stable") if top[i] > max(least[i], 1e-8)]
    kept = []
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    for i in order:
        low, high = np.maximum(boxes[i, :2], boxes[kept, :2]), np.minimum(boxes[i, 2:], boxes[kept, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        if len(kept) < limit and not np.any(shared / (area[i] + area[kept] - shared) > IOU):
            kept.append(i)
    return top[kept], best[kept] + 1.0


@pytest.mark.quick
def test_boxes_that_do_not_pass_suppress_no_others(images, other_tensorflow, tmp_path):
    python = other_tensorflow("onnx")
    fields = f"use_class_agnostic_nms: true max_total_detections: {PER_CLASS}"
    plain = dict(runs(exported(tmp_path / "plain", fields), images, python))
    thresholds = thresholds_of(plain["SavedModel"])
    for name, outputs in runs(exported(tmp_path / "filtered", fields, flag(thresholds)), images, python):
        for found in outputs:
            boxes, scores = found["raw_detection_boxes"][0], found["raw_detection_scores"][0][:, -len(NAMES) :]
            expected = suppressed(boxes, scores, thresholds, PER_CLASS)
            rows = detections(found)
            np.testing.assert_allclose(rows["scores"], expected[0], rtol=1e-5, err_msg=name)
            np.testing.assert_array_equal(rows["classes"], expected[1], err_msg=name)


@pytest.mark.quick
@pytest.mark.parametrize(
    "given, said",
    [
        ("circel=0.5", "did you mean `circle`?"),
        ("4=0.5", "1 to 3"),
        ("circle=2", "expected a number from 0 to 1"),
        ("circle=0.5,1=0.4", "each class once"),
        ("=0.5", "expected the name or id of a class"),
        ("0.5,0.6", "already"),
        ("@/nowhere", "/nowhere"),
    ],
)
def test_wrong_thresholds_are_refused(given, said, tmp_path):
    command = [
        BINARY,
        "export",
        f"--pipeline_config_path={SHAPES / 'pipeline.config'}",
        f"--trained_checkpoint_dir={SHAPES / 'checkpoint'}",
        f"--label_map={SHAPES / 'label_map.pbtxt'}",
        f"--output_directory={tmp_path / 'out'}",
        f"--score_threshold={given}",
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 2, ran.stderr
    assert said in ran.stderr and "--score_threshold" in ran.stderr, ran.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.quick
@pytest.mark.parametrize("lines", ["# the rest\n0.25\n\nsquare = 0.5\n3=0.75\n", "0.25, square=0.5,3 = 0.75\n", "0.25\nsquare=0.5,3=0.75,\n"])
def test_thresholds_come_from_a_file(lines, tmp_path):
    file = tmp_path / "thresholds"
    file.write_text(lines)
    folder = exported(tmp_path / "out", "", f"--score_threshold=@{file}", formats="onnx")
    suppression = json.loads((folder / "manifest.json").read_text())["non_max_suppression"]
    assert suppression["score_threshold"] == 0.25
    assert suppression["class_score_thresholds"] == [{"id": 2, "score_threshold": 0.5}, {"id": 3, "score_threshold": 0.75}]
