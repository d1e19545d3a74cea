"""Parity of TFLite models with the reference, in TensorFlow's interpreter with XNNPACK.

A TFLite model is for one size of images: there is one for the size of every recorded image, which it resizes itself, and then takes on the way that ends before non-max suppression, and with
non-max suppression. The tolerance before suppression is that of float arithmetic with batch normalisation folded into convolutions: 1e-4 for 99.9 % of the elements, 5e-4 for all.
"""

import json

import numpy as np
import pytest
from oracle import heatmaps, run_tflite, stages
from oracle.cases import QUICK
from oracle.families.center_net import SMALL

from . import compare
from .conftest import run_export

MOST = 5e-4
USUAL = 1e-4
PART = 0.999
# Detectors of one stage with anchors.
CASES = [pytest.param(case, id=case.name) for case in QUICK if not case.name.startswith(("faster_rcnn", "centernet"))]
BASE = [pytest.param(case, id=case.name) for case in QUICK if case.name == "base"]
CENTER_NET = [pytest.param(case, id=case.name) for case in SMALL if case.name == "centernet_hourglass_10"]

pytestmark = pytest.mark.quick


def run(model, image):
    """Runs a model on a batch; returns its outputs by name."""
    return run_tflite.run(run_tflite.interpreter(model, "xnnpack"), {"input_tensor": image})


def assert_close(found, expected, what):
    """Fails where more elements differ than folded batch normalisation explains."""
    assert set(found) == set(expected), what
    for key, theirs in expected.items():
        ours = found[key]
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), f"{what}: {key}"
        difference = np.abs(ours.astype(np.float64) - theirs) / (1 + np.abs(theirs))
        worst, usual = difference.max(), np.quantile(difference, PART)
        assert worst <= MOST and usual <= USUAL, f"{what}: {key}: differs by {worst:.2g} at worst, {usual:.2g} at {PART:.1%}"


def export(results, folder, image, *options):
    """Exports a case as a TFLite model for images of one size."""
    batch, height, width, _ = image.shape
    sizes = (f"--input_size={height}x{width}", f"--batch={batch}")
    kind = "float_image_tensor" if image.dtype == np.float32 else "image_tensor"
    return run_export(folder, results, kind, "--format=tflite", *sizes, *options) / "model.tflite"


@pytest.mark.parametrize("input_type", ["image_tensor", "float_image_tensor"])
@pytest.mark.parametrize("case", CASES)
def test_boxes_and_scores_equal_the_reference(case, input_type, oracle, tmp_path):
    results = oracle(case)
    for index, (image, recorded) in enumerate(compare.recorded(results / f"{input_type}.npz")):
        model = export(results, tmp_path / str(index), image, "--no_nms")
        expected = {key: value for key, value in recorded.items() if key in ("raw_detection_boxes", "raw_detection_scores")}
        assert len(expected) == 2
        assert_close(run(model, image), expected, str(image.shape))


@pytest.mark.parametrize("case", BASE)
def test_detections_equal_the_reference(case, oracle, tmp_path):
    results = oracle(case)
    for index, (image, recorded) in enumerate(compare.recorded(results / "image_tensor.npz")):
        model = export(results, tmp_path / str(index), image)
        compare.assert_equal(run(model, image), recorded, str(image.shape))


@pytest.mark.parametrize("case", BASE)
def test_kernels_of_half_the_bits_change_little(case, oracle, tmp_path):
    results = oracle(case)
    arrays = np.load(stages.prepare(results))
    image = arrays["preprocessed"]
    whole, half = (export(results, tmp_path / kind, image, "--no_preprocess", "--raw_encodings", f"--weights={kind}") for kind in ("float32", "float16"))
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    found = run(half, image)
    for key in ("box_encodings", "class_predictions_with_background"):
        difference = np.abs(found[key].astype(np.float64) - arrays[key]) / (1 + np.abs(arrays[key]))
        assert 0 < difference.mean() < 2e-3 and difference.max() < 2e-2, f"{key}: {difference.mean():.2g} on average, {difference.max():.2g} at worst"


@pytest.mark.parametrize("case", BASE)
def test_encodings_equal_the_reference(case, oracle, tmp_path):
    results = oracle(case)
    arrays = np.load(stages.prepare(results))
    model = export(results, tmp_path, arrays["preprocessed"], "--no_preprocess", "--raw_encodings")
    expected = {key: arrays[key] for key in ("box_encodings", "class_predictions_with_background")}
    assert_close(run(model, arrays["preprocessed"]), expected, "encodings")


@pytest.mark.parametrize("case", BASE)
def test_the_default_is_an_image_of_the_size_in_the_config(case, oracle, tmp_path):
    results = oracle(case)
    folder = run_export(tmp_path / "alone", results, "image_tensor", "--format=tflite")
    manifest = json.loads((folder / "manifest.json").read_text())
    [entry] = manifest["inputs"]
    file = manifest["files"]["model.tflite"]
    assert entry["shape"] == [1, *file["resizing_by_caller"]["size"], 3]
    assert entry["shape"][1:3] == manifest["preprocessing"]["steps"][0]["size"]
    image = np.zeros(entry["shape"], entry["dtype"])
    found = run(folder / "model.tflite", image)
    for declared in manifest["outputs"]:
        array = found[declared["name"]]
        assert (list(array.shape), array.dtype) == (declared["shape"], declared["dtype"]), declared["name"]
    # Beside formats for images of any size it is the same.
    both = run_export(tmp_path / "both", results, "image_tensor", "--format=saved_model,tflite")
    assert (both / "model.tflite").read_bytes() == (folder / "model.tflite").read_bytes()
    manifest = json.loads((both / "manifest.json").read_text())
    assert manifest["files"]["model.tflite"]["inputs"] == [entry]
    assert manifest["inputs"][0]["shape"] != entry["shape"]


@pytest.mark.parametrize("case", CENTER_NET)
def test_detectors_without_anchors_equal_the_reference(case, oracle, tmp_path):
    arrays = np.load(heatmaps.prepare(oracle(case)) / "arrays.npz")
    image = arrays["images"][:1].astype(np.uint8)
    for stage, options in {"default": (), "everywhere": ("--no_nms",)}.items():
        found = run(export(oracle(case), tmp_path / stage, image, *options), image)
        expected = compare.group(arrays, f"{stage}/")
        assert_close(found, {key: expected[key][:1] for key in found}, stage)
