"""Every operation of the graph, as the ONNX back end writes it, against TensorFlow's own functions and NumPy.

The model is that of `crates/tfod-onnx/examples/toy_onnx.rs`: one output an operation. It is checked by ONNX's checker, and run by ONNX Runtime and by
OpenVINO, in the oldest, the default and the newest operator sets, with weights inside and beside, with images
channels-first, and with a batch of known size.

There are two runs, one of which has scores with ties. ONNX says which of equals comes first, but OpenVINO's TopK does not keep to it.
"""

import pathlib
import subprocess

import environments
import numpy as np
import pytest
import tensorflow as tf

from parity import compare

from .test_every_op import ramp, suppress

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
RUNNER = ROOT / "tests" / "oracle" / "run_onnx.py"
BINARY = ROOT / "target" / "release" / "examples" / "toy_onnx"
BATCH = 3
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
RUNTIMES = {"onnxruntime": ("distinct", "tied"), "openvino": ("distinct",), "tract": ("distinct", "tied")}


def make_inputs(tied):
    random = np.random.default_rng(7)

    def boxes(*leading):
        corners = random.uniform(0, 0.7, (*leading, 12, 2)).astype(np.float32)
        sizes = random.uniform(0.1, 0.4, (*leading, 12, 2)).astype(np.float32)
        return np.concatenate([corners, corners + sizes], axis=-1)

    def scores(*shape):
        values = random.uniform(0, 1, shape).astype(np.float32)
        return np.floor(values * 20) / np.float32(20) if tied else values

    return {
        "image": random.normal(0, 3, (BATCH, 6, 6, 3)).astype(np.float32),
        "boxes": boxes(),
        "scores": scores(BATCH, 12),
        "class_scores": scores(BATCH, 12, 3),
        "own_boxes": boxes(BATCH),
        "pixels": random.integers(0, 256, (BATCH, 7, 9, 3)).astype(np.uint8),
        "photo": random.integers(0, 256, (BATCH, 8, 11, 3)).astype(np.uint8),
        "many_boxes": boxes(),
        "many_scores": scores(12),
    }


def expected_convolutions(image, photo):
    kernel = ramp((3, 3, 3, 8), 0)
    bias, gamma, beta, mean = (ramp((8,), seed) for seed in (3, 4, 5, 6))
    variance = np.abs(ramp((8,), 7)) + np.float32(0.5)
    strided = tf.nn.conv2d(image, kernel, 2, "SAME").numpy()
    bias_add = strided + bias
    normal = gamma * (strided - mean) / np.sqrt(variance + 0.001) + beta
    joined = np.concatenate([np.clip(normal * ramp((3, 8), 50), 0, 6), bias_add], axis=3)
    part = np.pad(joined, ((0, 0), (1, 0), (0, 2), (0, 1)))[:, 1:3, :, 3:12]
    likely = softmax(part)
    upsampled = np.where(likely > np.float32(0.1), likely, part).repeat(2, axis=1).repeat(2, axis=2)
    return {
        "conv2d": strided,
        "conv2d_dilated": tf.nn.conv2d(image, kernel, 1, "VALID", dilations=[2, 1]),
        "conv2d_same_unknown": tf.nn.conv2d(photo.astype(np.float32), ramp((4, 2, 3, 5), 1), 1, "SAME"),
        "conv2d_computed_kernel": tf.nn.conv2d(image, kernel * 2, 2, "VALID"),
        "depthwise_conv2d": tf.nn.depthwise_conv2d(image, ramp((3, 3, 3, 2), 2), [1, 1, 1, 1], "SAME"),
        "max_pool": tf.nn.max_pool2d(image - 20, 3, 2, "SAME"),
        "max_pool_uneven": tf.nn.max_pool2d(image, [2, 3], [1, 2], "VALID"),
        "max_pool_unknown": tf.nn.max_pool2d(photo.astype(np.float32), 2, 1, "SAME"),
        "global_average_pool": image.mean(axis=(1, 2), keepdims=True),
        "global_average_pool_unknown": photo.astype(np.float32).mean(axis=(1, 2), keepdims=True),
        "bias_add": bias_add,
        "bias_add_fused": tf.nn.conv2d(image, kernel, 3, "SAME") + bias,
        "batch_norm": normal,
        "chain_pooled": upsampled.max(axis=(1, 2)),
        "chain_column_sums": upsampled.sum(axis=1),
        "chain_channel": upsampled[..., 2],
        "chain_flat": upsampled.reshape(BATCH, 40, 9),
    }


def softmax(x):
    exp = np.exp(x - x.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)


BINARY_OPERATIONS = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "floor_div": np.floor_divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "less": np.less,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
}


def expected_elementwise(image, pixels):
    by = np.float32(0.3)
    to_i32 = np.trunc(image * np.float32(9.7)).astype(np.int32)
    operands = {"": (image, by), "_i32": (to_i32, np.int32(4)), "_u8": (pixels, np.uint8(7))}
    results = {
        key + suffix: operation(*values) for key, operation in BINARY_OPERATIONS.items() for suffix, values in operands.items()
    }
    above, below = image > np.float32(-0.2), image < by
    return {
        **results,
        "relu": np.maximum(image, 0),
        "relu6": np.clip(image, 0, 6),
        "sigmoid": 1 / (1 + np.exp(-image)),
        "exp": np.exp(image),
        "div": image / by,
        "and": above & below,
        "select": np.where(above & below, image, by),
        "select_bool": np.where(above & below, below, above),
        "softmax": softmax(image),
        "cast_to_i32": to_i32,
        "cast_to_bool": to_i32 != 0,
        "cast_to_f32": pixels.astype(np.float32),
        "round": np.round(to_i32.astype(np.float32) / 2),
    }


def expected_resizes(pixels, photo):
    raw = tf.raw_ops
    ways = {
        "resize_bilinear": lambda x, size, centers: raw.ResizeBilinear(images=x, size=size, half_pixel_centers=centers),
        "resize_nearest": lambda x, size, centers: raw.ResizeNearestNeighbor(images=x, size=size, half_pixel_centers=centers),
        "resize_bicubic": lambda x, size, centers: raw.ResizeBicubic(images=x, size=size, half_pixel_centers=centers),
    }
    results = {}
    for suffix, size in (("", (4, 5)), ("_up", (14, 11)), ("_same", (7, 9))):
        for key, way in ways.items():
            results[key + suffix] = way(pixels, size, False)
            results[f"{key}_centers{suffix}"] = way(pixels, size, True)
        results[f"resize_area{suffix}"] = raw.ResizeArea(images=pixels, size=size)
    results["photo_bilinear"] = ways["resize_bilinear"](photo, (5, 8), False)
    results["photo_bilinear_centers"] = ways["resize_bilinear"](photo, (5, 8), True)
    return results


def expected_sizes(pixels, photo):
    raw = tf.raw_ops
    ways = {
        "bilinear": raw.ResizeBilinear,
        "nearest": raw.ResizeNearestNeighbor,
        "bicubic": raw.ResizeBicubic,
        "area": raw.ResizeArea,
    }
    strided = tf.nn.conv2d(photo.astype(np.float32), ramp((3, 3, 3, 2), 9), 2, "SAME").numpy()
    # From 8x11: powers of two, because OpenVINO does not divide exactly.
    size = (16, 4)
    results = {
        "conv2d_unknown": strided,
        "shape_of": np.array(strided.shape, np.int32),
        "range": np.arange(6, dtype=np.int32),
        "pad_end": 2 * np.pad(photo, ((0, 0), (0, 16), (0, 4), (0, 0))),
        "pad_end_strided": 2 * np.pad(strided, ((0, 0), (0, 16), (0, 4), (0, 0))),
    }
    for suffix, grid in (("", {}), ("_centers", {"half_pixel_centers": True}), ("_aligned", {"align_corners": True})):
        for key in ("bilinear", "nearest"):
            results[f"computed_{key}{suffix}"] = ways[key](images=photo, size=size, **grid)
    for suffix, size in (("", (4, 5)), ("_up", (14, 11)), ("_single", (1, 1))):
        for key, way in ways.items():
            results[f"aligned_{key}{suffix}"] = way(images=pixels, size=size, align_corners=True)
    return results


def expected_shapes(image, pixels, photo):
    return {
        "pad": np.pad(image, ((0, 0), (1, 2), (0, 3), (0, 0))),
        "reshape": image.reshape(BATCH, 36, 3),
        "reshape_dynamic": photo.reshape(8, BATCH, 33),
        "concat": np.concatenate([image, image], axis=3),
        "concat_single": image,
        "slice": image[:, 1:4, 2:6],
        "slice_all": image,
        "unstack": image[..., 1],
        "stack": np.moveaxis(image, 3, 1),
        "reduce_sum": image.sum(axis=(1, 2)),
        "reduce_max": image.max(axis=3),
        "reduce_max_u8": pixels.max(axis=(1, 3)),
    }


def expected_selection(boxes, scores, many_boxes, many_scores):
    order = np.argsort(-scores, axis=1, kind="stable")[:, :5].astype(np.int32)
    hard = suppress(boxes, scores.max(axis=0), 15, 0.3, 0.2)
    assert 3 < hard[2] < 12, "some boxes must be suppressed"
    unknown = suppress(many_boxes, many_scores, 15, 0.3, 0.2)
    return {
        "top_k_values": np.take_along_axis(scores, order, axis=1),
        "top_k_indices": order,
        "gather": boxes[order],
        "nms_indices": hard[0],
        "nms_count": hard[2],
        "nms_unknown_indices": unknown[0],
        "nms_unknown_count": unknown[2],
        "boxes_again": boxes,
    }


def classes(boxes, scores):
    """Suppression for each class, `scores` [boxes, classes]: indices, and the counts in reverse."""
    rows = [suppress(boxes, column, 4, 0.5, 0.1) for column in scores.T]
    indices, _, counts = (np.stack(column) for column in zip(*rows))
    assert len({row.tobytes() for row in indices}) > 1, "the classes must differ"
    return indices, counts[::-1]


def expected_maps(image, boxes, scores, class_scores, own_boxes):
    picked = np.array([suppress(boxes, row, 4, 0.5, 0.0)[0] for row in scores])
    anchors, small = ramp((4100, 4), 100), ramp((4,), 101)
    total = anchors[picked].sum(axis=1)
    places = np.argsort(-total, axis=1, kind="stable")[:, :2].astype(np.int32)
    shared = [classes(boxes, each) for each in class_scores]
    own = [classes(*each)[0] for each in zip(own_boxes, class_scores)]
    smalls = np.broadcast_to(small, (BATCH, 4))
    return {
        **{f"alone_{name}": value for name, value in zip(("indices", "counts"), classes(boxes, class_scores.max(axis=0)))},
        "map_selected": boxes[picked],
        "map_count": np.array([suppress(boxes, row, 4, 0.5, 0.0)[2] for row in scores], np.int32),
        "map_shifted": total + small,
        "map_inner": boxes.sum(axis=1) * scores + scores.max(axis=1, keepdims=True),
        **{f"map_class_{name}": np.stack(each) for name, each in zip(("indices", "counts"), zip(*shared))},
        "map_own_selected": np.stack([each[indices] for each, indices in zip(own_boxes, own)]),
        "map_conv": tf.nn.conv2d(image, ramp((2, 2, 3, 2), 8), 2, "SAME")[:, tf.newaxis],
        "map_beside": np.stack([total, smalls], axis=1),
        "map_behind": np.concatenate([smalls, total], axis=1),
        "map_values": np.take_along_axis(total, places, axis=1),
        "map_places": places,
        "map_third": total[:, [2, 0]],
        "map_same": smalls,
    }


def make_expected(inputs):
    image, boxes, scores, class_scores, own_boxes, pixels, photo, many_boxes, many_scores = inputs.values()
    results = {
        **expected_convolutions(image, photo),
        **expected_elementwise(image, pixels),
        **expected_resizes(pixels, photo),
        **expected_sizes(pixels, photo),
        **expected_shapes(image, pixels, photo),
        **expected_selection(boxes, scores, many_boxes, many_scores),
        **expected_maps(image, boxes, scores, class_scores, own_boxes),
    }
    return {key: np.asarray(value) for key, value in results.items()}


@pytest.fixture(scope="module")
def inputs():
    return {"distinct": make_inputs(tied=False), "tied": make_inputs(tied=True)}


@pytest.fixture(scope="module")
def expected(inputs):
    return {run: make_expected(values) for run, values in inputs.items()}


@pytest.fixture(scope="module", params=VARIANTS)
def results(request, inputs, tmp_path_factory):
    assert BINARY.exists(), f"{BINARY} does not exist: cargo build --release -p tfod-onnx --examples"
    environment = environments.ENVIRONMENTS["onnx"]
    if not (environment.folder / environments.STAMP).exists():
        pytest.skip("environment onnx has not been made: run tests/environments.py")
    work = tmp_path_factory.mktemp("onnx")
    model = work / "model.onnx"
    subprocess.run([BINARY, model, *VARIANTS[request.param]], check=True, stdout=subprocess.DEVNULL)
    assert (work / "model.onnx.data").exists() == (request.param == "external")
    arrays = {f"{run}/{name}": value for run, values in inputs.items() for name, value in values.items()}
    if request.param == "nchw":
        arrays = {name: np.moveaxis(value, 3, 1) if value.ndim == 4 else value for name, value in arrays.items()}
    np.savez(work / "inputs.npz", **arrays)
    command = [environment.python, RUNNER, model, work / "inputs.npz", work / "outputs.npz"]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return dict(np.load(work / "outputs.npz"))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_output_is_as_expected(results, runtime, expected):
    for run in RUNTIMES[runtime]:
        prefix = f"{runtime}/{run}/"
        found = {name[len(prefix) :]: value for name, value in results.items() if name.startswith(prefix)}
        compare.assert_equal(found, expected[run], run)
