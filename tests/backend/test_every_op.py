"""Every operation of the graph, as the back end writes it, against TensorFlow's own functions and NumPy.

The model is that of `crates/tfod-cases/examples/toy_saved_model.rs`: the cases of `operations.py`. It is run in every way that clients do, in
this TensorFlow, and in an old and a new one where they are there.
"""

import os
import pathlib
import subprocess
import sys

import environments
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

from . import operations, run_clients

RUNNER = pathlib.Path(run_clients.__file__)
# TensorFlow 2.2 computes little with bytes.
LEFT_OUT = {"tf-old": ["binary_u8"]}
# Outputs that a TensorFlow gives otherwise: 2.2 drops boxes whose overlap is just the threshold.
OTHERWISE = {"tf-old": {"nms_edges_half_indices", "nms_edges_half_count"}}

pytestmark = pytest.mark.quick


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    assert operations.write("toy_saved_model", folder) == list(operations.CASES), "cases that differ, or are in another order"
    return folder


@pytest.fixture(scope="module")
def inputs():
    return operations.make_inputs(tied=True)


def check(found, expected):
    assert sorted(found) == sorted(expected)
    for key, wanted in expected.items():
        assert (found[key].dtype, found[key].shape) == (wanted.dtype, wanted.shape), key
        np.testing.assert_allclose(found[key].astype(np.float64), wanted.astype(np.float64), 1e-5, 1e-5, err_msg=key)


def interpreter(name):
    """Returns another environment's Python, or skips."""
    if name == "this":
        return sys.executable
    environment = environments.ENVIRONMENTS[name]
    if not (environment.folder / environments.STAMP).exists():
        pytest.skip(f"environment {name} has not been made: run tests/environments.py")
    return environment.python


@pytest.fixture(scope="module", params=["this", "tf-old", "tf-new"])
def results(request, folder, inputs, tmp_path_factory):
    work = tmp_path_factory.mktemp("results")
    python = interpreter(request.param)
    cases = list(operations.CASES)
    if request.param in LEFT_OUT:
        folder = tmp_path_factory.mktemp("part")
        cases = operations.write("toy_saved_model", folder, *LEFT_OUT[request.param])
    np.savez(work / "inputs.npz", **inputs)
    command = [python, RUNNER, folder, work / "inputs.npz", work / "outputs.npz"]
    # Results of several releases are compared: without oneDNN, whose sums differ.
    subprocess.run(command, check=True, env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"})
    otherwise = OTHERWISE.get(request.param, set())
    expected, found = operations.expected(cases, inputs), dict(np.load(work / "outputs.npz"))
    assert otherwise <= set(expected)
    return (
        {key: value for key, value in expected.items() if key not in otherwise},
        {name: value for name, value in found.items() if name.split("/", 1)[1] not in otherwise},
    )


@pytest.mark.parametrize("way", run_clients.WAYS)
def test_every_way_gives_the_expected_results(results, way):
    expected, results = results
    found = {name.split("/", 1)[1]: value for name, value in results.items() if name.startswith(f"{way}/")}
    check(found, expected)


@pytest.fixture(scope="module")
def meta_graph(folder):
    message = saved_model_pb2.SavedModel()
    message.ParseFromString((folder / "saved_model.pb").read_bytes())
    (meta_graph,) = message.meta_graphs
    return meta_graph


def all_nodes(graph_def):
    return [*graph_def.node, *(node for function in graph_def.library.function for node in function.node_def)]


def test_attributes_are_known_and_none_is_at_its_default(meta_graph):
    """An attribute that a release does not know is an error in it, so none is written that could be left out."""
    for node in all_nodes(meta_graph.graph_def):
        definition = op_def_registry.get(node.op)
        known = {attr.name: attr for attr in definition.attr}
        for name, value in node.attr.items():
            if name.startswith("_"):
                continue
            assert name in known, f"{node.name} ({node.op}): {name}"
            attr = known[name]
            assert not attr.HasField("default_value") or attr.default_value != value, f"{node.name} ({node.op}): {name}"
        required = {name for name, attr in known.items() if not attr.HasField("default_value")}
        assert required <= set(node.attr), f"{node.name} ({node.op})"


def test_equal_constants_are_one(meta_graph):
    for function in meta_graph.graph_def.library.function:
        constants = [node.attr["value"].tensor.SerializeToString() for node in function.node_def if node.op == "Const"]
        # Parameters differ from each other and stay apart.
        assert len(constants) == len(set(constants)), function.signature.name


def test_names_are_unique_across_functions(meta_graph):
    """Converters put the bodies of nested loops into one name space."""
    functions = [f for f in meta_graph.graph_def.library.function if "wrapper" not in f.signature.name]
    assert len(functions) == 9  # the network, and two for each of four loops
    names = [node.name for function in functions for node in function.node_def]
    assert len(names) == len(set(names))


def test_static_shapes_are_known(folder):
    """The shapes that TensorFlow infers from the nodes are those of the signature."""
    model = tf.saved_model.load(str(folder))
    signature = model.signatures["serving_default"]
    inferred = {key: tensor.shape for key, tensor in signature.structured_outputs.items()}
    unknown_rank = [key for key, shape in inferred.items() if shape.rank is None]
    assert not unknown_rank
    assert inferred["conv2d"].as_list() == [None, 3, 3, 8]
    assert inferred["map_selected"].as_list() == [None, 4, 4]
    assert inferred["soft_nms_scores"].as_list() == [15]
    graph = model.__call__.concrete_functions[0].graph
    outputs = dict(zip(sorted(inferred), graph.outputs))
    for key in inferred:
        assert outputs[key].op.inputs[0].shape.as_list() == inferred[key].as_list(), key


def test_variables_are_those_that_are_large(folder):
    model = tf.saved_model.load(str(folder))  # owns the variables
    variables = {variable.name: variable for variable in model.signatures["serving_default"].variables}
    kernels = [f"{name}/kernel:0" for name in ("conv", "depthwise", "even", "map", "narrow", "transposed", "unknown")]
    assert sorted(variables) == ["anchors:0", *kernels]
    assert [name for name, variable in sorted(variables.items()) if variable.trainable] == kernels


def test_inputs_keep_their_names_and_order(folder, inputs):
    model = tf.saved_model.load(str(folder))
    (positional, keyword) = model.__call__.concrete_functions[0].structured_input_signature
    assert [spec.name for spec in positional] == list(inputs) and not keyword
    (positional, keyword) = model.signatures["serving_default"].structured_input_signature
    assert sorted(keyword) == sorted(inputs) and not positional
