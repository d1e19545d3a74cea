"""Parity of TFLite models with the reference, in TensorFlow's interpreter with XNNPACK.

A TFLite model is for one size of images: there is one for the size of every recorded image, which it resizes itself, and then takes on the way that ends before non-max suppression, and with
non-max suppression. The tolerance before suppression is that of float arithmetic with batch normalisation folded into convolutions: 1e-4 for 99.9 % of the elements, 5e-4 for all.
"""

import json

import numpy as np
import pytest
import tensorflow as tf
from backend.operations import suppress
from oracle import heatmaps, run_tflite, stages
from oracle.cases import QUICK, all_cases
from oracle.families.center_net import SMALL

from . import compare
from .conftest import run_export

MOST = 5e-4
USUAL = 1e-4
PART = 0.999
# Detectors of one stage with anchors.
CASES = [pytest.param(case, id=case.name) for case in QUICK if not case.name.startswith(("faster_rcnn", "centernet"))]
BASE = [pytest.param(case, id=case.name) for case in QUICK if case.name == "base"]
FULL_SIZE = [pytest.param(case, id=case.name, marks=pytest.mark.exhaustive) for case in all_cases() if case.name == "fpnlite_320"]
# Five levels share kernels of 2.4 MB.
SHARED = [pytest.param(case, id=case.name, marks=pytest.mark.default) for case in all_cases() if case.name == "resnet50_640"]
KEYPOINTS = [pytest.param(case, id=case.name) for case in all_cases() if case.name == "centernet_keypoints_of_two_classes"]
CENTER_NET = [pytest.param(case, id=case.name) for case in SMALL if case.name == "centernet_hourglass_10"]
# Cases with the ways in which one operator may suppress.
KINDS = {"base": ("regular", "fast"), "padding_rows": ("regular",), "class_agnostic": ("fast",)}
ENDINGS = [pytest.param(case, kind, id=f"{case.name}-{kind}") for case in QUICK for kind in KINDS.get(case.name, ())]

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


@pytest.mark.parametrize("case", SHARED)
def test_kernels_that_levels_share_are_stored_once(case, oracle, tmp_path):
    results = oracle(case)
    image, recorded = compare.recorded(results / "image_tensor.npz")[0]
    model = export(results, tmp_path / "out", image, "--no_nms")
    assert model.stat().st_size < 140e6  # 132 MB of variables; the converter writes 208 MB
    expected = {key: value for key, value in recorded.items() if key in ("raw_detection_boxes", "raw_detection_scores")}
    assert len(expected) == 2
    assert_close(run(model, image), expected, "five levels")


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


def deviation(found, expected):
    """Returns the mean and the largest difference of outputs."""
    difference = np.concatenate([(np.abs(found[key].astype(np.float64) - value) / (1 + np.abs(value))).ravel() for key, value in expected.items()])
    return difference.mean(), difference.max()


@pytest.mark.parametrize("case", BASE + FULL_SIZE)
def test_kernels_of_8_bits_change_no_more_than_those_of_the_converter(case, oracle, tmp_path):
    results = oracle(case)
    arrays = np.load(stages.prepare(results))
    image = arrays["preprocessed"]
    expected = {key: arrays[key] for key in ("box_encodings", "class_predictions_with_background")}
    options = ("--no_preprocess", "--raw_encodings")
    ours = export(results, tmp_path / "ours", image, *options, "--weights=dynamic_int8")
    height, width = image.shape[1:3]
    sizes = (f"--batch={len(image)}", f"--input_size={height}x{width}")
    saved = run_export(tmp_path / "saved", results, "float_image_tensor", "--format=saved_model", *options, *sizes) / "saved_model"
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    content = converter.convert()
    assert ours.stat().st_size <= 1.05 * len(content)
    for kernels, resolver in run_tflite.RESOLVERS.items():
        found = run_tflite.run(run_tflite.interpreter(ours, kernels), {"input_tensor": image})
        loaded = tf.lite.Interpreter(model_content=content, experimental_op_resolver_type=resolver, num_threads=1)
        theirs = loaded.get_signature_runner()(input_tensor=image)
        (mean, worst), (their_mean, their_worst) = deviation(found, expected), deviation(theirs, expected)
        assert 0 < mean < 1.1 * their_mean and worst < 1.5 * their_worst, f"{kernels}: {mean:.2g}, {worst:.2g}; the converter's: {their_mean:.2g}, {their_worst:.2g}"


@pytest.mark.parametrize("case", KEYPOINTS)
def test_no_sum_is_overwritten_while_it_is_read(case, oracle, tmp_path):
    """TensorFlow's own kernels write into the places of operands that nobody else reads, but do not see all that read them."""
    results = oracle(case)
    image, recorded = compare.recorded(results / "image_tensor.npz")[0]
    model = export(results, tmp_path, image)
    found = run_tflite.run(run_tflite.interpreter(model, "builtin"), {"input_tensor": image})
    assert_close(found, recorded, "builtin kernels")


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


def decoded(encodings, decoding):
    """Returns boxes of encodings [anchors, 4] as `box_decoding` of the manifest says."""
    low, high = np.split(np.array(decoding["anchors"], np.float32), 2, axis=1)
    sizes, scales = high - low, decoding["scales"]
    centers = encodings[:, :2] / [scales["y_scale"], scales["x_scale"]] * sizes + low + sizes / 2
    halves = np.exp(encodings[:, 2:] / [scales["height_scale"], scales["width_scale"]]) * sizes / 2
    return np.concatenate([centers - halves, centers + halves], axis=1).astype(np.float32)


def selected(boxes, scores, limits, kind):
    """Returns what the operator that decodes and suppresses selects, class by class or the best classes of all boxes, with boxes clipped and zeros behind."""
    total, classes = limits["max_total_detections"], scores.shape[1]
    arguments = limits["iou_threshold"], np.float32(limits["score_threshold"])
    rows = []
    if kind == "regular":
        for each in range(classes):
            indices, _, count = suppress(boxes, scores[:, each], min(limits["max_detections_per_class"], total), *arguments)
            rows += [(index, each) for index in indices[:count]]
        rows.sort(key=lambda row: -scores[row])
    else:
        indices, _, count = suppress(boxes, scores.max(axis=1), total, *arguments)
        rows = [(index, scores[index].argmax()) for index in indices[:count]]
    rows = rows[:total]
    found = {
        "detection_boxes": np.zeros((1, total, 4), np.float32),
        "detection_classes": np.ones((1, total), np.float32),
        "detection_scores": np.zeros((1, total), np.float32),
        "num_detections": np.array([len(rows)], np.float32),
    }
    for place, (index, each) in enumerate(rows):
        found["detection_boxes"][0, place] = np.clip(boxes[index], 0, 1)
        found["detection_classes"][0, place] = each + 1
        found["detection_scores"][0, place] = scores[index, each]
    return found


def written_with(kind, results, folder, image, *options):
    """Exports a model whose detections are selected in a way; returns it and its manifest."""
    model = export(results, folder, image, f"--tflite_nms={kind}", *options)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["files"]["model.tflite"]["non_max_suppression"] == kind
    return model, manifest


@pytest.mark.parametrize("case, kind", ENDINGS)
def test_one_operator_decodes_and_suppresses(case, kind, oracle, tmp_path):
    results = oracle(case)
    image, recorded = compare.recorded(results / "image_tensor.npz")[0]
    model, manifest = written_with(kind, results, tmp_path / "out", image)
    operators = manifest["files"]["model.tflite"]["operators"]
    assert operators["TFLite_Detection_PostProcess"] == 1 and "NON_MAX_SUPPRESSION_V4" not in operators
    # The background is left out of the kernels, or taken with the classes: a slice would copy all scores.
    assert "SLICE" not in operators
    found = run(model, image)
    # By the manifest of a model that ends before decoding, and its outputs, as NumPy computes it.
    encoded = run(export(results, tmp_path / "encoded", image, "--raw_encodings"), image)
    about = json.loads((tmp_path / "encoded" / "manifest.json").read_text())
    [scores] = encoded["class_predictions_with_background"]
    assert about["score_conversion"]["converter"] == "SIGMOID"
    scores = (1 / (1 + np.exp(-scores / about["score_conversion"]["logit_scale"]))).astype(np.float32)
    if about["score_conversion"]["has_background"]:
        scores = scores[:, 1:]
    boxes = decoded(encoded["box_encodings"][0], about["box_decoding"])
    compare.assert_equal(found, selected(boxes, scores, manifest["non_max_suppression"], kind), "NumPy")
    # Where classes are suppressed as the configuration says, it is the reference's.
    if kind == "regular" or case.name == "class_agnostic":
        assert_close(found, {key: recorded[key] for key in found}, "reference")
    for kernels in ("builtin", "xnnpack"):
        loaded = run_tflite.interpreter(model, kernels)
        again = [run_tflite.run(loaded, {"input_tensor": image}) for _ in range(2)]
        compare.assert_equal(again[1], found, f"{kernels}, a second run")


@pytest.mark.parametrize("case", BASE)
def test_what_one_operator_does_not_give_is_refused(case, oracle, tmp_path):
    results = oracle(case)
    image, _ = compare.recorded(results / "image_tensor.npz")[0]
    refused = {
        ("--outputs=detection_anchor_indices",): "detection_anchor_indices: expected detection_boxes",
        ("--outputs=raw_detection_boxes",): "at least one of detection_boxes",
        ("--no_nms",): "has no effect with --no_nms",
        ("--score_threshold=1=0.5",): "score thresholds of single classes; expected builtin suppression",
    }
    for options, words in refused.items():
        with pytest.raises(AssertionError, match=words):
            export(results, tmp_path / "out", image, "--tflite_nms=regular", *options)
    # What only the builtin operators cannot do is no matter.
    export(results, tmp_path / "out", image, "--tflite_nms=fast", "--iou_threshold=1")
    # What comes before suppression can be had.
    keys = ["num_detections", "raw_detection_boxes"]
    model, _ = written_with("fast", results, tmp_path / "out", image, f"--outputs={','.join(keys)}")
    assert sorted(run(model, image)) == keys
