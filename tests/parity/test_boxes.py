"""Masks of boxes that are given (`image_and_boxes_tensor`), against the reference, in TensorFlow and in ONNX runtimes.

The reference is run here: the results on disk are those of images alone.
"""

import numpy as np
import pytest
import tensorflow as tf
from oracle import serve
from oracle.families import deepmac

from . import compare, tiers
from .conftest import run_export
from .test_onnx import RUNNER

CASES = tiers.cases(deepmac.cases())
INPUT_TYPE = "image_and_boxes_tensor"
# Of the whole image, inside, narrow, and at the upper left border.
BOXES = np.float32([[[0, 0, 0.9, 0.95], [0.1, 0.2, 0.5, 0.7], [0.4, 0.4, 0.45, 0.6], [0, 0, 0.3, 0.2]]])


def expected(results, image):
    """Returns what the reference makes of an image and the boxes."""
    from object_detection import exporter_lib_v2
    from oracle import reference

    tf.config.run_functions_eagerly(True)
    try:
        config = reference.parse((results / "pipeline.config").read_text())
        model, status = reference.restore(config, str(results / "checkpoint"))
        module = exporter_lib_v2.DETECTION_MODULE_MAP[INPUT_TYPE](model)
        outputs = module.__call__(tf.constant(image), tf.constant(BOXES))
        status.assert_existing_objects_matched()
        return {key: value.numpy() for key, value in outputs.items()}
    finally:
        tf.config.run_functions_eagerly(False)


@pytest.mark.parametrize("case", CASES)
def test_masks_of_given_boxes_equal_the_reference(case, oracle, other_tensorflow, tmp_path):
    results = oracle(case)
    image, of_image = compare.recorded(results / "image_tensor.npz")[0]
    of_boxes = expected(results, image)
    assert of_boxes["detection_masks"].shape[1] == BOXES.shape[1] != of_image["detection_masks"].shape[1]
    folder = run_export(tmp_path / "out", results, INPUT_TYPE, "--format=saved_model,onnx")
    signature = tf.saved_model.load(str(folder / "saved_model")).signatures["serving_default"]
    found = signature(input_tensor=tf.constant(image), boxes=tf.constant(BOXES))
    compare.assert_equal(found, of_boxes, "TensorFlow")
    inputs, outputs = tmp_path / "inputs.npz", tmp_path / "outputs.npz"
    np.savez(inputs, **{"0/input_tensor": image, "0/boxes": BOXES})
    runtimes = ("onnxruntime", "openvino")
    serve.run(other_tensorflow("onnx"), RUNNER, folder / "model.onnx", inputs, outputs, *runtimes)
    for name in runtimes:
        compare.assert_equal(compare.group(np.load(outputs), f"{name}/0/"), of_boxes, name)


@pytest.mark.parametrize("case", CASES[:1])
def test_a_box_whose_centre_is_on_the_border_has_a_mask(case, oracle, tmp_path):
    """There the reference fails on a CPU."""
    results = oracle(case)
    image, _ = compare.recorded(results / "image_tensor.npz")[0]
    folder = run_export(tmp_path / "out", results, INPUT_TYPE)
    signature = tf.saved_model.load(str(folder / "saved_model")).signatures["serving_default"]
    boxes = np.float32([[[1, 1, 1, 1], *BOXES[0]]])
    masks, alone = (signature(input_tensor=tf.constant(image), boxes=tf.constant(given))["detection_masks"].numpy() for given in (boxes, BOXES))
    assert np.isfinite(masks).all()
    np.testing.assert_allclose(masks[:, 1:], alone, atol=1e-5)
