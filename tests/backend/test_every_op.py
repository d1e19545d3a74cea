"""Every operation of the graph, as the back end writes it, against TensorFlow's own functions and NumPy.

The model is that of `crates/tfod-tensorflow/examples/toy_saved_model.rs`: one output an operation. It is run in every way that clients do, in
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

from . import run_clients

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BINARY = ROOT / "target" / "release" / "examples" / "toy_saved_model"
RUNNER = pathlib.Path(run_clients.__file__)
BATCH = 3

pytestmark = pytest.mark.quick


def ramp(shape, seed):
    """The weights of the example."""
    i = np.arange(np.prod(shape, dtype=np.int64), dtype=np.int64)
    values = ((i * 37 + seed * 11) % 101).astype(np.float32) / np.float32(50) - np.float32(1)
    return values.reshape(shape)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    assert BINARY.exists(), f"{BINARY} does not exist: cargo build --release -p tfod-tensorflow --examples"
    folder = tmp_path_factory.mktemp("toy")
    subprocess.run([BINARY, folder], check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture(scope="module")
def inputs():
    random = np.random.default_rng(7)
    corners = random.uniform(0, 0.7, (12, 2)).astype(np.float32)
    sizes = random.uniform(0.1, 0.4, (12, 2)).astype(np.float32)
    return {
        "image": random.normal(0, 3, (BATCH, 6, 6, 3)).astype(np.float32),
        "boxes": np.concatenate([corners, corners + sizes], axis=1),
        # Quarters, so that there are ties.
        "scores": random.integers(0, 20, (BATCH, 12)).astype(np.float32) / np.float32(20),
        "pixels": random.integers(0, 256, (BATCH, 7, 9, 3)).astype(np.uint8),
    }


def expected_convolutions(image):
    kernel = ramp((3, 3, 3, 8), 0)
    bias, gamma, beta, mean = (ramp((8,), seed) for seed in (2, 3, 4, 5))
    variance = np.abs(ramp((8,), 6)) + np.float32(0.5)
    strided = tf.nn.conv2d(image, kernel, 2, "SAME").numpy()
    return {
        "conv2d": strided,
        "conv2d_dilated": tf.nn.conv2d(image, kernel, 1, "VALID", dilations=[2, 1]),
        "depthwise_conv2d": tf.nn.depthwise_conv2d(image, ramp((3, 3, 3, 2), 1), [1, 1, 1, 1], "SAME"),
        "max_pool": tf.nn.max_pool2d(image - 20, 3, 2, "SAME"),
        "max_pool_uneven": tf.nn.max_pool2d(image, [2, 3], [1, 2], "VALID"),
        "global_average_pool": image.mean(axis=(1, 2), keepdims=True),
        "bias_add": strided + bias,
        "batch_norm": gamma * (strided - mean) / np.sqrt(variance + 0.001) + beta,
    }


def expected_elementwise(image, pixels):
    by = np.float32(0.3)
    both = (image > np.float32(-0.2)) & (image < by)
    exp = np.exp(image - image.max(axis=-1, keepdims=True))
    to_i32 = np.trunc(image * np.float32(9.7)).astype(np.int32)
    return {
        "relu": np.maximum(image, 0),
        "relu6": np.clip(image, 0, 6),
        "sigmoid": 1 / (1 + np.exp(-image)),
        "exp": np.exp(image),
        "add": image + by,
        "sub": image - by,
        "mul": image * by,
        "div": image / by,
        "floor_div": np.floor(image / by),
        "maximum": np.maximum(image, by),
        "minimum": np.minimum(image, by),
        "less": image < by,
        "greater": image > by,
        "greater_equal": image >= by,
        "and": both,
        "select": np.where(both, image, by),
        "softmax": exp / exp.sum(axis=-1, keepdims=True),
        "cast_to_i32": to_i32,
        "floor_div_i32": to_i32 // 4,
        "cast_to_bool": to_i32 != 0,
        "cast_to_f32": pixels.astype(np.float32),
        "round": np.round(to_i32.astype(np.float32) / 2),
    }


def expected_shapes(image, pixels):
    size = (4, 5)
    v1 = tf.compat.v1.image
    nearest_rows = [int((row + 0.5) * 7 / 4) for row in range(4)]
    nearest_columns = [int((column + 0.5) * 9 / 5) for column in range(5)]
    return {
        "pad": np.pad(image, ((0, 0), (1, 2), (0, 3), (0, 0))),
        "resize_bilinear": v1.resize_bilinear(pixels, size),
        "resize_bilinear_centers": tf.image.resize(pixels, size, "bilinear"),
        "resize_nearest": pixels[:, [row * 7 // 4 for row in range(4)]][:, :, [column * 9 // 5 for column in range(5)]],
        "resize_nearest_centers": pixels[:, nearest_rows][:, :, nearest_columns],
        "resize_bicubic": v1.resize_bicubic(pixels, size),
        "resize_bicubic_centers": tf.image.resize(pixels, size, "bicubic"),
        "resize_area": tf.image.resize(pixels, size, "area"),
        "reshape": image.reshape(BATCH, 36, 3),
        "reshape_dynamic": pixels.reshape(7, BATCH, 27),
        "concat": np.concatenate([image, image], axis=3),
        "concat_single": image,
        "slice": image[:, 1:4, 2:6],
        "unstack": image[..., 1],
        "stack": np.moveaxis(image, 3, 1),
        "reduce_sum": image.sum(axis=(1, 2)),
        "reduce_max": image.max(axis=3),
    }


def expected_sizes(pixels):
    raw, size = tf.raw_ops, (4, 5)
    ways = {
        "bilinear": raw.ResizeBilinear,
        "nearest": raw.ResizeNearestNeighbor,
        "bicubic": raw.ResizeBicubic,
        "area": raw.ResizeArea,
    }
    return {
        "shape_of": np.array(pixels.shape, np.int32),
        "range": np.arange(7, dtype=np.int32),
        **{f"resize_{name}_aligned": way(images=pixels, size=size, align_corners=True) for name, way in ways.items()},
        **{f"resize_{name}_computed": way(images=pixels, size=size) for name, way in ways.items()},
        "pad_end": np.pad(pixels, ((0, 0), (0, 4), (0, 5), (0, 0))),
        "pad_end_known": np.pad(pixels, ((0, 0), (0, 3), (0, 1), (0, 0))),
        "conv2d_unknown": tf.nn.conv2d(pixels.astype(np.float32), ramp((3, 3, 3, 2), 7), 2, "SAME"),
        "concat_unknown": np.concatenate([pixels, pixels], axis=1),
    }


def overlap(a, b):
    """Intersection over union."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    intersection = np.prod(np.maximum(sides, 0))
    return intersection / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - intersection)


def suppress(boxes, scores, size, iou_threshold, score_threshold, sigma=0.0):
    """Greedy selection as published (Bodla et al. 2017 with a `sigma`): indices, scores, count; filled up with zeros."""
    scores = {index: float(score) for index, score in enumerate(scores)}
    indices, selected = [], []
    while scores and len(indices) < size:
        best = min(scores, key=lambda index: (-scores[index], index))
        score = scores.pop(best)
        if score <= score_threshold:
            break
        indices.append(best)
        selected.append(score)
        for index in list(scores):
            iou = overlap(boxes[best], boxes[index])
            if sigma:
                scores[index] *= np.exp(-iou * iou / (2 * sigma))
            elif iou > iou_threshold:
                del scores[index]
    rest = size - len(indices)
    return np.array(indices + [0] * rest, np.int32), np.array(selected + [0] * rest, np.float32), np.int32(len(indices))


def expected_selection(boxes, scores):
    order = np.argsort(-scores, axis=1, kind="stable")[:, :5].astype(np.int32)
    best = scores.max(axis=0)
    hard = suppress(boxes, best, 15, 0.3, 0.2)
    soft = suppress(boxes, best, 15, 0.3, 0.2, sigma=0.5)
    assert 3 < hard[2] < soft[2] <= 12, "the case must tell hard from soft selection"
    return {
        "top_k_values": np.take_along_axis(scores, order, axis=1),
        "top_k_indices": order,
        "gather": boxes[order],
        "nms_indices": hard[0],
        "nms_count": hard[2],
        **{f"soft_nms_{name}": value for name, value in zip(("indices", "scores", "count"), soft)},
    }


def expected_maps(boxes, scores):
    picked = [suppress(boxes, row, 4, 0.5, 0.0) for row in scores]
    anchors, small = ramp((4100, 4), 100), ramp((4,), 101)
    shifted = [anchors[indices].sum(axis=0) + small for indices, _, _ in picked]
    inner = boxes.sum(axis=1) * scores + scores.max(axis=1, keepdims=True)
    return {
        "map_selected": boxes[np.array([indices for indices, _, _ in picked])],
        "map_count": np.array([count for _, _, count in picked], np.int32),
        "map_shifted": np.stack(shifted),
        "map_inner": inner,
    }


@pytest.fixture(scope="module")
def expected(inputs):
    image, boxes, scores, pixels = (inputs[name] for name in ("image", "boxes", "scores", "pixels"))
    results = {
        **expected_convolutions(image),
        **expected_elementwise(image, pixels),
        **expected_shapes(image, pixels),
        **expected_sizes(pixels),
        **expected_selection(boxes, scores),
        **expected_maps(boxes, scores),
    }
    return {key: np.asarray(value) for key, value in results.items()}


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
    np.savez(work / "inputs.npz", **inputs)
    command = [python, RUNNER, folder, work / "inputs.npz", work / "outputs.npz"]
    # Results of several releases are compared: without oneDNN, whose sums differ.
    subprocess.run(command, check=True, env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"})
    return dict(np.load(work / "outputs.npz"))


@pytest.mark.parametrize("way", run_clients.WAYS)
def test_every_way_gives_the_expected_results(results, way, expected):
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
    assert len(functions) == 5  # the network, and two for each of two loops
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
    assert sorted(variables) == ["anchors:0", "conv/kernel:0", "depthwise/kernel:0", "unknown/kernel:0"]
    assert [name for name, variable in sorted(variables.items()) if variable.trainable] == ["conv/kernel:0", "depthwise/kernel:0", "unknown/kernel:0"]


def test_inputs_keep_their_names_and_order(folder):
    model = tf.saved_model.load(str(folder))
    (positional, keyword) = model.__call__.concrete_functions[0].structured_input_signature
    assert [spec.name for spec in positional] == ["image", "boxes", "scores", "pixels"] and not keyword
    (positional, keyword) = model.signatures["serving_default"].structured_input_signature
    assert sorted(keyword) == ["boxes", "image", "pixels", "scores"] and not positional
