"""Every operation of the graph, as the TFLite back end writes it, against TensorFlow's own functions and NumPy.

The model is that of `crates/tfod-cases/examples/toy_tflite.rs`: the cases of `operations.py` that TFLite can express, with fixed sizes. It is run by TensorFlow's
interpreter, with its own kernels and with those of XNNPACK, which is the default, here and in a new TensorFlow.

There are two runs, one of which has scores with ties, of which TFLite's suppression takes boxes in no particular order.
"""

import json
import pathlib
import subprocess
import sys

import environments
import numpy as np
import pytest

from parity import compare

from . import operations

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
RUNNER = ROOT / "tests" / "oracle" / "run_tflite.py"
SUPPRESSION = {"non_max_suppression", "non_max_suppression_by_class", "non_max_suppression_edges", "map"}
KERNELS = ("builtin", "xnnpack")
CONVOLUTIONS = ("conv2d", "depthwise_conv2d", "conv_transpose2d")
# Of kernels between -1 and 1 that are rounded to 11 bits, in sums of some thirty products.
HALF_TOLERANCE = 5e-3

pytestmark = pytest.mark.quick


@pytest.fixture(scope="module")
def inputs():
    return {"distinct": operations.make_inputs(tied=False), "tied": operations.make_inputs(tied=True)}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("tflite") / "model.tflite"
    return operations.write("toy_tflite", path), path


@pytest.fixture(scope="module", params=["this", "tf-new"])
def python(request):
    if request.param == "this":
        return sys.executable
    environment = environments.ENVIRONMENTS[request.param]
    if not (environment.folder / environments.STAMP).exists():
        pytest.skip(f"environment {request.param} has not been made: run tests/environments.py")
    return environment.python


def run(python, model, inputs, work):
    """Runs a model; returns its outputs as `<kernels>/<run>/<name>`, and what is told of it."""
    np.savez(work / "inputs.npz", **{f"{run}/{name}": value for run, values in inputs.items() for name, value in values.items()})
    command = [python, RUNNER, model, work / "inputs.npz", work / "outputs.npz", *KERNELS]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return np.load(work / "outputs.npz"), json.loads(ran.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def results(python, model, inputs, tmp_path_factory):
    return run(python, model[1], inputs, tmp_path_factory.mktemp("results"))


@pytest.mark.parametrize("kernels", KERNELS)
def test_every_output_is_as_expected(results, model, inputs, kernels):
    outputs, _ = results
    for run, values in inputs.items():
        found = compare.group(outputs, f"{kernels}/{run}/")
        cases = [case for case in model[0] if run != "tied" or case not in SUPPRESSION]
        expected = operations.expected(cases, values)
        if run == "tied":
            assert set(expected) < set(found)
            found = {key: value for key, value in found.items() if key in expected}
        compare.assert_equal(found, expected, f"{kernels} {run}")


def test_inputs_and_outputs_are_in_order_and_called_as_in_the_graph(results, model, inputs):
    _, told = results
    expected = sorted(operations.expected(model[0], inputs["distinct"]))
    assert told["inputs"] == list(inputs["distinct"])
    assert told["outputs"] == expected
    assert told["signatures"] == {"serving_default": {"inputs": sorted(told["inputs"]), "outputs": expected}}


def test_kernels_of_half_the_bits_change_little(python, model, results, inputs, tmp_path):
    path = tmp_path / "half.tflite"
    assert operations.write("toy_tflite", path, "float16") == model[0]
    outputs, _ = run(python, path, {"distinct": inputs["distinct"]}, tmp_path)
    for case in CONVOLUTIONS:
        # The output that is called like the case is of the image of small numbers.
        expected = operations.expected([case], inputs["distinct"])[case]
        for kernels in KERNELS:
            found = outputs[f"{kernels}/distinct/{case}"]
            compare.assert_equal({case: found}, {case: expected}, kernels, HALF_TOLERANCE)
            assert (found != results[0][f"{kernels}/distinct/{case}"]).any(), f"{case}: its kernel is not rounded"
