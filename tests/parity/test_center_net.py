"""The options of the graph for models without anchors, and peaks of equal height, in every format, beside what the reference computes at that stage."""

import json

import numpy as np
import pytest
import tensorflow as tf
from oracle import heatmaps
from oracle.families.center_net import SMALL

from . import compare
from .conftest import run_export
from .test_onnx import run as run_onnx
from .test_options import assert_declared, run_frozen

CASE = next(case for case in SMALL if case.name == "centernet_hourglass_10")
BASE = [pytest.param(CASE, id=CASE.name)]
FORMATS = "--format=saved_model,frozen,onnx"
# Outputs by the head that predicts them.
MAPS = {"object_center": "object_center", "box_scale": "box/scale", "box_offset": "box/offset"}
ROWS = [
    ("default", ()),
    ("default", ("--batch=2", "--float_input")),
    ("default", ("--batch=dynamic", "--input_size={}x{}".format(*heatmaps.SIZE))),
    ("default", ("--outputs=detection_boxes,num_detections", "--input_layout=nchw")),
    ("everywhere", ("--no_nms", "--batch=dynamic")),
    ("everywhere", ("--no_nms", "--no_preprocess", "--batch=2")),
    ("maps", ("--raw_encodings",)),
    ("maps", ("--raw_encodings", "--no_preprocess", "--batch=dynamic", "--opset=13")),
]

pytestmark = pytest.mark.quick


def expected_of(arrays, stage, keys):
    if stage == "maps":
        return {key: arrays[f"maps/{MAPS[key]}"] for key in keys}
    outputs = compare.group(arrays, f"{stage}/")
    return {key: outputs[key] for key in keys}


def assert_formats(folder, given, expected, what, other_tensorflow):
    """Compares the SavedModel, the frozen graph and the ONNX model of an export."""
    manifest = json.loads((folder / "manifest.json").read_text())
    model = tf.saved_model.load(str(folder / "saved_model"))
    found = model.signatures[manifest["files"]["saved_model"]["signature"]](input_tensor=tf.constant(given))
    compare.assert_equal({key: value.numpy() for key, value in found.items()}, expected, f"SavedModel {what}")
    compare.assert_equal(run_frozen(folder, manifest["files"]["frozen.pb"], given), expected, f"frozen {what}")
    onnx = manifest["files"]["model.onnx"]
    fed = np.moveaxis(given, 3, 1) if onnx["input_layout"] == "NCHW" else given
    return run_onnx(other_tensorflow("onnx"), folder / "model.onnx", [fed])


@pytest.mark.parametrize("case", BASE)
@pytest.mark.parametrize("stage, flags", ROWS, ids=["-".join([stage, *(flag.strip("-") for flag in flags)]) for stage, flags in ROWS])
def test_every_format_has_every_option(stage, flags, case, oracle, other_tensorflow, tmp_path):
    results = oracle(case)
    arrays = np.load(heatmaps.prepare(results) / "arrays.npz")
    folder = run_export(tmp_path / "out", results, "image_tensor", FORMATS, *flags)
    manifest = json.loads((folder / "manifest.json").read_text())
    [entry] = manifest["inputs"]
    source = arrays["preprocessed" if manifest["preprocessing"]["done_by"] == "caller" else "images"]
    size = entry["shape"][0]
    for count in [size] if isinstance(size, int) else [1, 2]:
        given = source[:count].astype(entry["dtype"])
        keys = [output["name"] for output in manifest["outputs"]]
        expected = {key: value[:count] for key, value in expected_of(arrays, stage, keys).items()}
        assert expected
        assert_declared(manifest["inputs"], {"input_tensor": given}, "input")
        assert_declared(manifest["outputs"], expected, "output")
        for runtime, [found] in assert_formats(folder, given, expected, list(given.shape), other_tensorflow).items():
            compare.assert_equal(found, expected, f"{runtime} {list(given.shape)}")


@pytest.mark.parametrize("case", BASE)
def test_of_equal_peaks_those_come_first_that_are_first_in_the_map(case, oracle, other_tensorflow, tmp_path):
    folder = heatmaps.prepare(oracle(case))
    arrays = np.load(folder / "arrays.npz")
    expected = compare.group(arrays, "tied/")
    scores = expected["detection_scores"]
    assert all(len(np.unique(row)) < len(row) for row in scores), "there must be ties"
    exported = run_export(tmp_path / "out", folder / "tied", "float_image_tensor", FORMATS)
    given = arrays["images"].astype(np.float32)
    runs = assert_formats(exported, given, expected, "ties", other_tensorflow)
    # OpenVINO's TopK does not say which of equals comes first.
    compare.assert_equal(runs["onnxruntime"][0], expected, "onnxruntime")


@pytest.mark.parametrize("case", BASE)
def test_the_manifest_suffices_to_preprocess(case, oracle, tmp_path):
    arrays = np.load(heatmaps.prepare(oracle(case)) / "arrays.npz")
    folder = run_export(tmp_path / "out", oracle(case), "image_tensor", "--no_preprocess")
    steps = {step["step"]: step for step in json.loads((folder / "manifest.json").read_text())["preprocessing"]["steps"]}
    assert list(steps) == ["resize", "normalize", "reverse_channels", "pad"]
    height, width = heatmaps.SIZE
    size = arrays["preprocessed"].shape[1]
    rows = round(height * size / max(height, width))
    resized = tf.compat.v1.image.resize_bilinear(arrays["images"].astype(np.float32), (rows, size)).numpy()
    normal = (resized * np.float32(steps["normalize"]["scale"]) + np.float32(steps["normalize"]["shift"]))[..., ::-1]
    expected = np.broadcast_to(np.float32(steps["pad"]["values"]), arrays["preprocessed"].shape).copy()
    expected[:, :rows] = normal
    np.testing.assert_allclose(arrays["preprocessed"], expected, atol=compare.TOLERANCE)
