"""Every operation of the graph, as the ONNX back end writes it, against TensorFlow's own functions and NumPy.

The model is that of `crates/tfod-cases/examples/toy_onnx.rs`: the cases of `operations.py` that ONNX can express. It is checked by ONNX's checker, and run by ONNX Runtime and by
OpenVINO, in the oldest, the default and the newest operator sets, with weights inside and beside, with images
channels-first, and with a batch of known size.

There are two runs, one of which has scores with ties. ONNX says which of equals comes first, but OpenVINO's TopK does not keep to it.
"""

import pathlib
import subprocess

import environments
import numpy as np
import pytest

from parity import compare

from . import operations

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
RUNNER = ROOT / "tests" / "oracle" / "run_onnx.py"
# Operator sets: the default, the oldest, the first in which axes of Resize and ReduceMax are given otherwise, and the newest that the runtimes know.
VARIANTS = {
    "default": (),
    "opset_13": ("13",),
    "opset_18": ("18",),
    "opset_23": ("23",),
    "external": ("external",),
    "nchw": ("nchw",),
    "fixed_batch": ("fixed",),
}

pytestmark = pytest.mark.quick


# Which runs a runtime is expected to get right.
RUNTIMES = {"onnxruntime": ("distinct", "tied"), "openvino": ("distinct",), "rten": ("distinct", "tied")}
# What a runtime gives otherwise than the standard says: OpenVINO drops boxes whose overlap is just the threshold.
OTHERWISE = {"openvino": {"nms_edges_half_indices", "nms_edges_half_count"}}


@pytest.fixture(scope="module")
def inputs():
    return {"distinct": operations.make_inputs(tied=False), "tied": operations.make_inputs(tied=True)}


def run(variant, inputs, work, runtimes=()):
    """Writes the model and runs it; returns its cases, and the outputs as `<runtime>/<run>/<key>`."""
    environment = environments.ENVIRONMENTS["onnx"]
    if not (environment.folder / environments.STAMP).exists():
        pytest.skip("environment onnx has not been made: run tests/environments.py")
    model = work / "model.onnx"
    cases = operations.write("toy_onnx", model, *variant)
    assert (work / "model.onnx.data").exists() == ("external" in variant)
    arrays = {f"{run}/{name}": value for run, values in inputs.items() for name, value in values.items()}
    if "nchw" in variant:
        arrays = {name: np.moveaxis(value, 3, 1) if value.ndim == 4 else value for name, value in arrays.items()}
    np.savez(work / "inputs.npz", **arrays)
    command = [environment.python, RUNNER, model, work / "inputs.npz", work / "outputs.npz", *runtimes]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return cases, dict(np.load(work / "outputs.npz"))


@pytest.fixture(scope="module", params=VARIANTS)
def results(request, inputs, tmp_path_factory):
    return run(VARIANTS[request.param], inputs, tmp_path_factory.mktemp("onnx"))


def check(results, runtime, inputs):
    cases, results = results
    for run in RUNTIMES[runtime]:
        prefix = f"{runtime}/{run}/"
        found = {name[len(prefix) :]: value for name, value in results.items() if name.startswith(prefix)}
        expected = operations.expected(cases, inputs[run])
        assert set(expected) == set(found)
        kept = expected.keys() - OTHERWISE.get(runtime, set())
        compare.assert_equal({key: found[key] for key in kept}, {key: expected[key] for key in kept}, run)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_output_is_as_expected(results, runtime, inputs):
    check(results, runtime, inputs)


# The operator sets that have the operators of these cases.
SOME_VARIANTS = {"default": (), "opset_16": ("16",), "opset_21": ("21",), "nchw": ("nchw",), "fixed_batch": ("fixed",)}
SOME_RUNTIMES = ("onnxruntime", "openvino", "rten")


@pytest.fixture(scope="module", params=SOME_VARIANTS)
def some_results(request, inputs, tmp_path_factory):
    variant = (*SOME_VARIANTS[request.param], "some")
    return run(variant, inputs, tmp_path_factory.mktemp("some"), SOME_RUNTIMES)


@pytest.mark.parametrize("runtime", SOME_RUNTIMES)
def test_what_some_operator_sets_have_is_as_expected(some_results, runtime, inputs):
    check(some_results, runtime, inputs)
