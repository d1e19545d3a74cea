"""Parity of Context R-CNN with the reference: a memory bank is given beside the image, as the official exporter's flags describe it."""

import numpy as np
import pytest
import tensorflow as tf
from oracle import context_rcnn, serve
from oracle.families.context_rcnn import cases

from . import compare, tiers
from .conftest import run_export
from .test_onnx import ROOT

RUNNER = ROOT / "tests" / "oracle" / "run_onnx.py"
CHECK_LAYOUTS = ROOT / "tests" / "oracle" / "check_layouts.py"
CASES = tiers.cases(cases())
NAMES = "context_features,valid_context_size"


def flags(case, batch):
    size, length = case.memory
    return (
        "--use_side_inputs=True",
        f"--side_input_shapes={batch},{size},{length}/{batch}",
        "--side_input_types=tf.float32,tf.int32",
        f"--side_input_names={NAMES}",
    )


def export(of_case, results, folder, input_type, *options):
    batch = 1 if input_type == "image_tensor" else -1
    return run_export(folder, results, input_type, *flags(of_case, batch), *options)


@pytest.mark.parametrize("of_case, input_type", tiers.with_inputs(cases(), back_end=0))
def test_every_output_equals_the_reference(of_case, input_type, tmp_path):
    results = context_rcnn.results(of_case)
    folder = export(of_case, results, tmp_path / "out", input_type, "--format=saved_model,frozen")
    model = tf.saved_model.load(str(folder / "saved_model"))  # owns the variables
    signature = model.signatures["serving_default"]
    recorded = compare.recorded(results / f"{input_type}.npz")
    assert recorded
    for batch, expected in recorded:
        given = context_rcnn.memory(of_case, len(batch))
        outputs = signature(input_tensor=tf.constant(batch), **{name: tf.constant(value) for name, value in given.items()})
        compare.assert_equal({key: value.numpy() for key, value in outputs.items()}, expected, f"{input_type} {list(batch.shape)}")


@pytest.mark.parametrize("of_case, input_type", tiers.with_inputs(cases(), back_end=1))
def test_onnx_equals_the_reference(of_case, input_type, other_tensorflow, tmp_path):
    python = other_tensorflow("onnx")
    results = context_rcnn.results(of_case)
    model = export(of_case, results, tmp_path / "out", input_type, "--format=onnx") / "model.onnx"
    recorded = compare.recorded(results / f"{input_type}.npz")
    arrays = {}
    for index, (batch, _) in enumerate(recorded):
        given = {"input_tensor": batch, **context_rcnn.memory(of_case, len(batch))}
        arrays.update({f"{index}/{name}": value for name, value in given.items()})
    inputs, outputs = tmp_path / "inputs.npz", tmp_path / "outputs.npz"
    np.savez(inputs, **arrays)
    runtimes = ("onnxruntime", "openvino")
    serve.run(python, RUNNER, model, inputs, outputs, *runtimes)
    found = np.load(outputs)
    for runtime in runtimes:
        for index, (batch, expected) in enumerate(recorded):
            compare.assert_equal(compare.group(found, f"{runtime}/{index}/"), expected, f"{runtime} {list(batch.shape)}")


@pytest.mark.parametrize("of_case", CASES[:1])
def test_without_flags_the_memory_bank_is_that_of_the_config(of_case, tmp_path):
    """And the order of the flags' names is that of the inputs."""
    results = context_rcnn.results(of_case)
    folders = [
        run_export(tmp_path / "usual", results, "image_tensor"),
        run_export(
            tmp_path / "turned",
            results,
            "image_tensor",
            "--use_side_inputs",
            "--side_input_shapes=1/1,9,20",
            "--side_input_types=tf.int32,tf.float32",
            "--side_input_names=valid_context_size,context_features",
        ),
    ]
    names = []
    for folder in folders:
        model = tf.saved_model.load(str(folder / "saved_model"))
        (positional, _) = model.__call__.concrete_functions[0].structured_input_signature
        names.append([(spec.name, spec.dtype.name, spec.shape.as_list()) for spec in positional])
    image = ("input_tensor", "uint8", [1, None, None, 3])
    features, count = ("context_features", "float32", [1, 9, 20]), ("valid_context_size", "int32", [1])
    assert names == [[image, features, count], [image, count, features]]


@pytest.mark.parametrize("of_case", CASES[:1])
def test_side_inputs_count_whatever_the_config_says(of_case, tmp_path):
    """Where a part of the network is asked for, too: all of it is held against the checkpoint."""
    results = context_rcnn.results(of_case)
    override = "model { faster_rcnn { context_config { context_feature_length: 33 } } }"
    folder = export(of_case, results, tmp_path / "out", "image_tensor", f"--config_override={override}", "--outputs=detection_scores")
    batch, expected = compare.recorded(results / "image_tensor.npz")[0]
    model = tf.saved_model.load(str(folder / "saved_model"))
    given = {name: tf.constant(value) for name, value in context_rcnn.memory(of_case, 1).items()}
    outputs = model.signatures["serving_default"](input_tensor=tf.constant(batch), **given)
    compare.assert_equal({key: value.numpy() for key, value in outputs.items()}, {"detection_scores": expected["detection_scores"]}, "overridden")


@pytest.mark.parametrize("of_case", CASES[:1])
def test_warm_up_requests_have_the_types_of_side_inputs(of_case, other_tensorflow, tmp_path):
    results = context_rcnn.results(of_case)
    folder = export(of_case, results, tmp_path / "served", "image_tensor", "--layout=tfserving")
    serve.run(other_tensorflow("tf-new"), CHECK_LAYOUTS, "tfserving", folder / "1", tmp_path / "outputs.npz")
    assert "serving_default/detection_boxes" in np.load(tmp_path / "outputs.npz").files
