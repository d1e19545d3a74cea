"""Parity of ONNX models with the reference: every output of every case, in ONNX Runtime, OpenVINO and rten, on several images and batches."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf
from oracle import serve
from oracle.cases import all_cases
from oracle.families import center_net, efficientdet, faster_rcnn, postprocessing, resizers

from . import compare, tiers
from .conftest import run_export

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
RUNNER = ROOT / "tests" / "oracle" / "run_onnx.py"
RUNTIMES = ("onnxruntime", "openvino", "rten")
# rten takes seconds for large networks, so it runs the small ones, and some of two stages, of which there are none so small.
OF_TWO_STAGES_IN_RTEN = {"faster_rcnn", "faster_rcnn_own_sizes", "faster_rcnn_pyramid"}


BACK_END = 1


def is_in_rten(case):
    """Whether rten runs a case."""
    return case.tier == "quick" or case.name in OF_TWO_STAGES_IN_RTEN


def is_combination(case):
    """Whether a case is about options in combination."""
    return case.name.startswith("options_")


SOFT = {*postprocessing.NOT_IN_ONNX, *faster_rcnn.SOFT}
NOT_IN_ONNX = {*SOFT, *resizers.NOT_IN_ONNX}
NOT_IN_OPENVINO = {
    *resizers.NEEDS_EXACT_DIVISION,
    *efficientdet.TOO_LARGE_FOR_OPENVINO,
    *center_net.FEWER_PEAKS_THAN_OBJECTS,
}
CASES = [case for case in all_cases() if not is_combination(case) and case.name not in NOT_IN_ONNX]
BASE = tiers.cases(case for case in CASES if case.name == "base")


def export_onnx(results, folder, input_type, *options):
    """Exports a case as ONNX; returns the model's path."""
    return run_export(folder, results, input_type, "--format=onnx", *options) / "model.onnx"


def run(python, model, inputs, runtimes=RUNTIMES):
    """Runs a model on images in some runtimes; returns {runtime: [{key: output}]}."""
    inputs_path, outputs_path = model.with_suffix(".inputs.npz"), model.with_suffix(".outputs.npz")
    np.savez(inputs_path, **{f"{index}/input_tensor": image for index, image in enumerate(inputs)})
    serve.run(python, RUNNER, model, inputs_path, outputs_path, *runtimes)
    arrays = np.load(outputs_path)
    return {name: [compare.group(arrays, f"{name}/{index}/") for index in range(len(inputs))] for name in runtimes}


def assert_parity(outputs, recorded, runtimes=RUNTIMES):
    assert recorded
    for name in runtimes:
        for found, (image, expected) in zip(outputs[name], recorded):
            compare.assert_equal(found, expected, f"{name} {list(image.shape)}")


@pytest.mark.parametrize("case, input_type", tiers.with_inputs(CASES, BACK_END))
def test_every_output_equals_the_reference(case, input_type, oracle, other_tensorflow, tmp_path):
    python = other_tensorflow("onnx")
    results = oracle(case)
    recorded = compare.recorded(results / f"{input_type}.npz")
    model = export_onnx(results, tmp_path, input_type)
    left_out = {"openvino": case.name in NOT_IN_OPENVINO, "rten": not is_in_rten(case)}
    runtimes = [name for name in RUNTIMES if not left_out.get(name)]
    assert_parity(run(python, model, [image for image, _ in recorded], runtimes), recorded, runtimes)


def resized(config, batch):
    """Returns a batch of images as the reference resizes them, before it pads."""
    from object_detection.builders import image_resizer_builder
    from oracle import reference

    model = reference.parse(config).model
    resize = image_resizer_builder.build(getattr(model, model.WhichOneof("model")).image_resizer)
    found = []
    for image in batch:
        padded, (height, width, _) = resize(tf.constant(image))
        found.append(padded[:height, :width].numpy())
    return np.stack(found)


@pytest.mark.parametrize("case", tiers.cases(filter(is_combination, all_cases())))
def test_every_combination_equals_the_reference_from_its_resized_images(case, oracle, other_tensorflow, tmp_path):
    """The combinations are about the network, not about resizing images, in which runtimes round positions their own way: the images come in the size that the model resizes to."""
    python = other_tensorflow("onnx")
    results = oracle(case)
    recorded = compare.recorded(results / "float_image_tensor.npz")
    model = export_onnx(results, tmp_path, "float_image_tensor")
    assert_parity(run(python, model, [resized(case.config, image) for image, _ in recorded]), recorded)


@pytest.mark.parametrize("case", tiers.cases(case for case in all_cases() if case.name in SOFT))
def test_soft_suppression_is_refused(case, oracle, tmp_path):
    results = oracle(case)
    with pytest.raises(AssertionError, match="soft_nms_sigma"):
        export_onnx(results, tmp_path, "image_tensor")


@pytest.mark.quick
@pytest.mark.parametrize("options", [("--input_layout=nchw",), ("--external_data",), ("--opset=13",), ("--opset=23",)], ids="-".join)
@pytest.mark.parametrize("case", BASE)
def test_options_change_no_result(case, options, oracle, other_tensorflow, tmp_path):
    python = other_tensorflow("onnx")
    results = oracle(case)
    recorded = compare.recorded(results / "float_image_tensor.npz")
    model = export_onnx(results, tmp_path, "float_image_tensor", *options)
    images = [np.moveaxis(image, 3, 1) if "--input_layout=nchw" in options else image for image, _ in recorded]
    assert_parity(run(python, model, images), recorded)


@pytest.mark.quick
@pytest.mark.parametrize("case", BASE)
def test_the_same_model_has_the_same_bytes(case, oracle, tmp_path):
    results = oracle(case)
    models = [export_onnx(results, tmp_path / name, "image_tensor") for name in ("a", "b")]
    assert models[0].read_bytes() == models[1].read_bytes()
