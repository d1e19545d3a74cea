"""What every operation gives: one list of cases for all back ends, by the names of `crates/tfod-cases`.

Each case is a function of the inputs that gives the outputs by key, computed by TensorFlow's own functions and NumPy. A back end's tests write the cases that
it can express, with the example of that crate, run them and compare.
"""

import os
import pathlib
import subprocess

import numpy as np
import tensorflow as tf

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# Beside the binary under test: both are of one build.
EXAMPLES = pathlib.Path(os.environ.get("TFOD_BIN", ROOT / "target" / "release" / "tfod")).resolve().parent / "examples"
BATCH = 3

CASES = {}


def case(function):
    CASES[function.__name__.rstrip("_")] = function
    return function


def write(example, *arguments):
    """Writes a model; returns the names of its cases."""
    binary = EXAMPLES / example
    assert binary.exists(), f"{binary} does not exist: cargo build --release -p tfod-cases --examples"
    ran = subprocess.run([binary, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    names = ran.stdout.split()
    assert set(names) <= set(CASES), "cases without expected values"
    return names


def expected(names, inputs):
    """Returns the outputs of cases."""
    results = {}
    for name in names:
        outputs = CASES[name](**inputs)
        assert not set(outputs) & set(results), name
        results.update(outputs)
    return {key: np.asarray(value) for key, value in results.items()}


def ramp(name, shape):
    """The weights of the examples."""
    i = np.arange(np.prod(shape, dtype=np.int64), dtype=np.int64)
    values = ((i * 37 + sum(name.encode()) * 11) % 101).astype(np.float32) / np.float32(50) - np.float32(1)
    if name.endswith("variance"):
        values = np.abs(values) + np.float32(0.5)
    return values.reshape(shape)


def make_crops(random):
    """Boxes [n, 4] and their images [n]: inside, on the edges, across and outside of them, of no size and reversed."""
    corners = random.uniform(0, 0.6, (40, 2))
    inside = np.concatenate([corners, corners + random.uniform(0.05, 0.4, (40, 2))], axis=1)
    edges = np.where(random.uniform(size=(200, 4)) < 0.6, [[0, 0, 1, 1]], np.tile(inside, (5, 1)))
    across = inside + random.uniform(-0.5, 0.5, (40, 1))
    special = [
        *([0, 0, 1, 1], [0.2, 0.3, 0.2, 0.3], [1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0], [0.8, 0.1, 0.3, 0.6]),
        *([-2, -2, -1, -1], [1.5, 0, 2, 1], [-1, -1, 2, 2]),
    ]
    boxes = np.concatenate([edges, inside, across, special]).astype(np.float32)
    return {"crop_boxes": boxes, "crop_images": random.integers(0, BATCH, len(boxes)).astype(np.int32)}


# Boxes that a suppression may stumble over, and their scores.
EDGES = [
    ([0.1, 0.1, 0.5, 0.5], 0.95),
    ([0.5, 0.5, 0.1, 0.1], 0.9),  # the same, reversed in both directions, and in one
    ([0.5, 0.1, 0.1, 0.5], 0.85),
    ([0.1, 0.5, 0.5, 0.1], 0.8),
    ([0.3, 0.3, 0.3, 0.3], 0.75),  # a point, twice
    ([0.3, 0.3, 0.3, 0.3], 0.7),
    ([0.2, 0.1, 0.2, 0.5], 0.65),  # lines
    ([0.9, 0.6, 0.6, 0.6], 0.6),
    ([0.5, 0.5, 1.0, 1.0], 0.55),
    ([0.5, 0.5, 1.0, 0.75], 0.5),  # half of it: their overlap is 0.5
    ([0.6, 0.1, 0.9, 0.4], 0.4),
    ([0.9, 0.1, 0.6, 0.4], 0.45),  # better than the same, and reversed
    ([2.0, 2.0, 3.0, 3.0], 0.25),  # overlapping none, with a score that is the threshold
]


def make_edges(tied):
    """Boxes [13, 4] and their scores; those with ties have two values."""
    boxes, scores = (np.array(column, np.float32) for column in zip(*EDGES))
    if tied:
        scores = np.where(scores > 0.5, np.float32(0.75), np.where(scores > 0.25, np.float32(0.5), scores))
    return {"edge_boxes": boxes, "edge_scores": scores}


def make_inputs(tied):
    """Returns the inputs, in their order; with ties among the scores or without."""
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
        **make_crops(random),
        **make_edges(tied),
    }


# Convolutions, pooling, normalisation.


def strided(image):
    return tf.nn.conv2d(image, ramp("conv/kernel", (3, 3, 3, 8)), 2, "SAME").numpy()


@case
def conv2d(image, photo, **_):
    kernel, photo = ramp("conv/kernel", (3, 3, 3, 8)), photo.astype(np.float32)
    return {
        "conv2d": strided(image),
        "conv2d_dilated": tf.nn.conv2d(image, kernel, 1, "VALID", dilations=[2, 1]),
        "conv2d_same_unknown": tf.nn.conv2d(photo, ramp("even/kernel", (4, 2, 3, 5)), 1, "SAME"),
        "conv2d_unknown": strided_photo(photo),
        "conv2d_computed_kernel": tf.nn.conv2d(image, kernel * 2, 2, "VALID"),
    }


@case
def depthwise_conv2d(image, **_):
    kernel = ramp("depthwise/kernel", (3, 3, 3, 2))
    return {"depthwise_conv2d": tf.nn.depthwise_conv2d(image, kernel, [1, 1, 1, 1], "SAME")}


@case
def max_pool(image, photo, **_):
    return {
        "max_pool": tf.nn.max_pool2d(image - 20, 3, 2, "SAME"),
        "max_pool_uneven": tf.nn.max_pool2d(image, [2, 3], [1, 2], "VALID"),
        "max_pool_unknown": tf.nn.max_pool2d(photo.astype(np.float32), 2, 1, "SAME"),
        "max_pool_zeros": tf.nn.max_pool2d(np.pad(image - 20, ((0, 0), (1, 1), (1, 1), (0, 0))), 3, 2, "VALID"),
    }


@case
def average_pool(image, photo, **_):
    return {
        "average_pool": tf.nn.avg_pool2d(image, 3, 1, "SAME"),
        "average_pool_uneven": tf.nn.avg_pool2d(image, [2, 3], [1, 2], "VALID"),
        "average_pool_unknown": tf.nn.avg_pool2d(photo.astype(np.float32), 3, 2, "SAME"),
    }


@case
def global_average_pool(image, photo, **_):
    return {
        "global_average_pool": image.mean(axis=(1, 2), keepdims=True),
        "global_average_pool_unknown": photo.astype(np.float32).mean(axis=(1, 2), keepdims=True),
    }


@case
def bias_add(image, **_):
    bias = ramp("conv/bias", (8,))
    return {
        "bias_add": strided(image) + bias,
        "bias_add_fused": tf.nn.conv2d(image, ramp("conv/kernel", (3, 3, 3, 8)), 3, "SAME") + bias,
    }


@case
def batch_norm(image, **_):
    gamma, beta, mean, variance = (ramp(f"bn/{name}", (8,)) for name in ("gamma", "beta", "moving_mean", "moving_variance"))
    return {"batch_norm": gamma * (strided(image) - mean) / np.sqrt(variance + np.float32(0.001)) + beta}


@case
def chain(image, **_):
    scaled = batch_norm(image)["batch_norm"] * ramp("by_column", (3, 8))
    joined = np.concatenate([np.clip(scaled, 0, 6), bias_add(image)["bias_add"]], axis=3)
    part = np.pad(joined, ((0, 0), (1, 0), (0, 2), (0, 1)))[:, 1:3, :, 3:12]
    likely = softmax(part)["softmax"]
    upsampled = np.where(likely > np.float32(0.1), likely, part).repeat(2, axis=1).repeat(2, axis=2)
    return {
        "chain_pooled": upsampled.max(axis=(1, 2)),
        "chain_column_sums": upsampled.sum(axis=1),
        "chain_channel": upsampled[..., 2],
        "chain_flat": upsampled.reshape(BATCH, 40, 9),
    }


# Element by element.


def integers(image):
    return np.trunc(image * np.float32(9.7)).astype(np.int32)


@case
def unary(image, **_):
    return {
        "relu": np.maximum(image, 0),
        "relu6": np.clip(image, 0, 6),
        "sigmoid": 1 / (1 + np.exp(-image)),
        "exp": np.exp(image),
        "log": np.log(image * image + np.float32(0.1)),
        "round": np.round(integers(image).astype(np.float32) / 2),
    }


ARITHMETIC = {
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


@case
def binary(image, **_):
    by = np.float32(0.3)
    return {"div": image / by, **{key: operation(image, by) for key, operation in ARITHMETIC.items()}}


@case
def binary_i32(image, **_):
    return {f"{key}_i32": operation(integers(image), np.int32(4)) for key, operation in ARITHMETIC.items()}


@case
def binary_u8(pixels, **_):
    return {f"{key}_u8": operation(pixels, np.uint8(7)) for key, operation in ARITHMETIC.items()}


@case
def logic(image, **_):
    above, below = image > np.float32(-0.2), image < np.float32(0.3)
    return {
        "and": above & below,
        "select": np.where(above & below, image, np.float32(0.3)),
        "select_bool": np.where(above & below, below, above),
    }


@case
def softmax(image, **_):
    exp = np.exp(image - image.max(axis=-1, keepdims=True))
    return {"softmax": exp / exp.sum(axis=-1, keepdims=True)}


@case
def cast(image, pixels, **_):
    return {"cast_to_i32": integers(image), "cast_to_bool": integers(image) != 0, "cast_to_f32": pixels.astype(np.float32)}


# Shapes that are known.

KNOWN_SIZES = {"": (4, 5), "_up": (14, 11), "_same": (7, 9)}
GRIDS = {"": {}, "_centers": {"half_pixel_centers": True}, "_aligned": {"align_corners": True}}


def resized(images, method, size, grid):
    ways = {"bilinear": "ResizeBilinear", "nearest": "ResizeNearestNeighbor", "bicubic": "ResizeBicubic", "area": "ResizeArea"}
    # The area method has no centres: its grid is that of corners.
    options = {} if method == "area" and grid == "_centers" else GRIDS[grid]
    return getattr(tf.raw_ops, ways[method])(images=images, size=size, **options)


@case
def pad(image, **_):
    return {"pad": np.pad(image, ((0, 0), (1, 2), (0, 3), (0, 0)))}


@case
def resize(pixels, photo, **_):
    results = {}
    for method in ("bilinear", "nearest"):
        for suffix, size in KNOWN_SIZES.items():
            for grid in ("", "_centers"):
                results[f"resize_{method}{grid}{suffix}"] = resized(pixels, method, size, grid)
        for grid in GRIDS:
            results[f"resize_unknown_{method}{grid}"] = resized(photo, method, (5, 8), grid)
    results["resize_unknown_single"] = resized(photo, "nearest", (1, 1), "_aligned")
    return results


@case
def resize_smooth(pixels, **_):
    ways = (("bicubic", ""), ("bicubic", "_centers"), ("area", ""))
    return {f"resize_{method}{grid}{suffix}": resized(pixels, method, size, grid) for method, grid in ways for suffix, size in KNOWN_SIZES.items()}


def resized_aligned(pixels, methods):
    sizes = {"": (4, 5), "_up": (14, 11), "_single": (1, 1)}
    return {f"resize_{method}_aligned{suffix}": resized(pixels, method, size, "_aligned") for method in methods for suffix, size in sizes.items()}


@case
def resize_aligned(pixels, **_):
    return resized_aligned(pixels, ("bilinear", "nearest"))


@case
def resize_aligned_smooth(pixels, **_):
    return resized_aligned(pixels, ("bicubic", "area"))


@case
def reshape(image, photo, **_):
    return {"reshape": image.reshape(BATCH, 36, 3), "reshape_unknown": photo.reshape(8, BATCH, 33)}


@case
def concat(image, photo, **_):
    return {
        "concat": np.concatenate([image, image], axis=3),
        "concat_single": image,
        "concat_unknown": np.concatenate([photo, photo], axis=1),
    }


@case
def slice_(image, **_):
    return {"slice": image[:, 1:4, 2:6], "slice_all": image}


@case
def stack(image, **_):
    return {"unstack": image[..., 1], "stack": np.moveaxis(image, 3, 1)}


@case
def reduce(image, pixels, **_):
    return {
        "reduce_sum": image.sum(axis=(1, 2)),
        "reduce_max": image.max(axis=3),
        "reduce_max_u8": pixels.max(axis=(1, 3)),
    }


# Sizes that are known only at run time.


def strided_photo(photo):
    return tf.nn.conv2d(photo.astype(np.float32), ramp("unknown/kernel", (3, 3, 3, 2)), 2, "SAME").numpy()


@case
def shape_of(photo, **_):
    return {
        "shape_of": np.array([BATCH, 4, 6, 2], np.int32),
        "shape_of_photo": np.array(photo.shape, np.int32),
        "range": np.arange(6, dtype=np.int32),
    }


def resized_to_computed(photo, methods):
    # Powers of two, because OpenVINO does not divide exactly.
    size = (16, 4)
    return {f"resize_{method}_computed{grid}": resized(photo, method, size, grid) for method in methods for grid in GRIDS}


@case
def resize_computed(photo, **_):
    return resized_to_computed(photo, ("bilinear", "nearest"))


@case
def resize_computed_smooth(photo, **_):
    return resized_to_computed(photo, ("bicubic", "area"))


@case
def pad_end(photo, **_):
    by = ((0, 0), (0, 16), (0, 4), (0, 0))
    return {
        "pad_end": 2 * np.pad(photo, by),
        "pad_end_strided": 2 * np.pad(strided_photo(photo), by),
        "pad_end_known": np.pad(photo, ((0, 0), (0, 12), (0, 9), (0, 0))),
    }


# Selection.


def overlap(a, b):
    """Intersection over union. Of boxes that are reversed the corners are exchanged; those without area overlap nothing."""
    (a_low, a_high), (b_low, b_high) = (np.sort(box.reshape(2, 2), axis=0) for box in (a, b))
    areas = np.prod(a_high - a_low), np.prod(b_high - b_low)
    if min(areas) == 0:
        return 0
    intersection = np.prod(np.maximum(np.minimum(a_high, b_high) - np.maximum(a_low, b_low), 0))
    return intersection / (sum(areas) - intersection)


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


def of_classes(boxes, scores):
    """Suppression for each class, `scores` [boxes, classes]: indices, and the counts in reverse."""
    rows = [suppress(boxes, column, 4, 0.5, 0.1) for column in scores.T]
    indices, _, counts = (np.stack(column) for column in zip(*rows))
    assert len({row.tobytes() for row in indices}) > 1, "the classes must differ"
    return indices, counts[::-1]


@case
def top_k(boxes, scores, **_):
    order = np.argsort(-scores, axis=1, kind="stable")[:, :5].astype(np.int32)
    return {"top_k_values": np.take_along_axis(scores, order, axis=1), "top_k_indices": order, "gather": boxes[order]}


@case
def non_max_suppression(boxes, scores, many_boxes, many_scores, **_):
    hard = suppress(boxes, scores.max(axis=0), 15, 0.3, 0.2)
    assert 3 < hard[2] < 12, "some boxes must be suppressed"
    unknown = suppress(many_boxes, many_scores, 15, 0.3, 0.2)
    return {
        "nms_indices": hard[0],
        "nms_count": hard[2],
        "nms_unknown_indices": unknown[0],
        "nms_unknown_count": unknown[2],
    }


@case
def non_max_suppression_by_class(boxes, class_scores, **_):
    indices, counts = of_classes(boxes, class_scores.max(axis=0))
    return {"nms_by_class_indices": indices, "nms_by_class_counts": counts}


@case
def non_max_suppression_edges(edge_boxes, edge_scores, **_):
    attributes = {"edges": (15, 0.4, 0.25), "edges_none": (15, 0.4, 1.0), "edges_limited": (3, 0.4, 0.25), "edges_half": (15, 0.5, 0.25)}
    results, selected = {}, {}
    for key, each in attributes.items():
        indices, _, count = suppress(edge_boxes, edge_scores, *each)
        results.update({f"nms_{key}_indices": indices, f"nms_{key}_count": count})
        selected[key] = set(indices[:count])
    assert {0, 4, 5, 6, 7, 8} <= selected["edges"] and not {1, 2, 3, 9, 12} & selected["edges"]
    assert selected["edges_half"] == selected["edges"] | {9}
    assert not selected["edges_none"] and len(selected["edges_limited"]) == 3
    return results


@case
def soft_non_max_suppression(boxes, scores, **_):
    best = scores.max(axis=0)
    soft = suppress(boxes, best, 15, 0.3, 0.2, sigma=0.5)
    assert suppress(boxes, best, 15, 0.3, 0.2)[2] < soft[2] <= 12, "the case must tell hard from soft selection"
    return {f"soft_nms_{name}": value for name, value in zip(("indices", "scores", "count"), soft)}


@case
def input_(boxes, **_):
    return {"boxes_again": boxes}


@case
def map_(image, boxes, scores, class_scores, own_boxes, **_):
    picked = np.array([suppress(boxes, row, 4, 0.5, 0.0)[0] for row in scores])
    anchors, small = ramp("anchors", (4100, 4)), ramp("small", (4,))
    total = anchors[picked].sum(axis=1)
    places = np.argsort(-total, axis=1, kind="stable")[:, :2].astype(np.int32)
    shared = [of_classes(boxes, each) for each in class_scores]
    own = [of_classes(*each)[0] for each in zip(own_boxes, class_scores)]
    smalls = np.broadcast_to(small, (BATCH, 4))
    kernel = ramp("map/kernel", (2, 2, 3, 2))
    return {
        "map_selected": boxes[picked],
        "map_count": np.array([suppress(boxes, row, 4, 0.5, 0.0)[2] for row in scores], np.int32),
        "map_shifted": total + small,
        "map_inner": boxes.sum(axis=1) * scores + scores.max(axis=1, keepdims=True),
        **{f"map_class_{name}": np.stack(each) for name, each in zip(("indices", "counts"), zip(*shared))},
        "map_own_selected": np.stack([each[indices] for each, indices in zip(own_boxes, own)]),
        "map_conv": tf.nn.conv2d(image, kernel, 2, "SAME")[:, tf.newaxis],
        "map_beside": np.stack([total, smalls], axis=1),
        "map_behind": np.concatenate([smalls, total], axis=1),
        "map_values": np.take_along_axis(total, places, axis=1),
        "map_places": places,
        "map_third": total[:, [2, 0]],
        "map_same": smalls,
    }


# Peaks.


@case
def distance(image, **_):
    whole = np.trunc(image).astype(np.int32)
    return {"abs": np.abs(image), "sqrt": np.sqrt(np.abs(image)), "equal": whole == 1, "reduce_min": image.min(axis=3)}


@case
def arg_max(image, **_):
    whole = np.trunc(image).astype(np.int32)
    assert (np.sort(whole, axis=1)[:, -1] == np.sort(whole, axis=1)[:, -2]).any(), "there must be ties"
    return {"arg_max": whole.argmax(axis=3).astype(np.int32), "arg_max_rows": whole.argmax(axis=1).astype(np.int32)}


def by_channel(image):
    return np.moveaxis(image.reshape(BATCH, 36, 3), 2, 1)


@case
def transpose(image, **_):
    return {"transpose": np.moveaxis(image, 3, 1), "transpose_by_channel": by_channel(image)}


@case
def gather_batched(image, scores, **_):
    places = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    return {
        "gather_of_image": np.take_along_axis(image.reshape(BATCH, 36, 3), places[..., np.newaxis], axis=1),
        "gather_of_channel": -np.sort(-by_channel(image), axis=2)[..., :4],
    }


@case
def top_k_computed(image, photo, **_):
    values = image.reshape(BATCH, 108)
    places = np.argsort(-values, axis=1, kind="stable")[:, : photo.shape[1]].astype(np.int32)
    return {"top_k_computed_values": np.take_along_axis(values, places, axis=1), "top_k_computed_indices": places}


@case
def map_of_channels(image, **_):
    turned = np.moveaxis(image, 3, 1)
    return {"map_turned": turned, "map_arg_max": turned.argmax(axis=3).astype(np.int32), "map_best": turned.max(axis=3)}


@case
def conv_transpose2d(image, photo, **_):
    kernel, narrow = ramp("transposed/kernel", (3, 3, 2, 3)), ramp("narrow/kernel", (2, 1, 2, 3))

    def enlarged(x, kernel, stride):
        shape = (len(x), x.shape[1] * stride, x.shape[2] * stride, 2)
        return tf.nn.conv2d_transpose(x.astype(np.float32), kernel, shape, stride).numpy()

    return {
        "conv_transpose2d": enlarged(image, kernel, 2),
        "conv_transpose2d_unknown": enlarged(photo, kernel, 2),
        "conv_transpose2d_gaps": enlarged(image, narrow, 3),
        "conv_transpose2d_biased": enlarged(image, kernel, 1) + ramp("transposed/bias", (2,)),
    }


# Matrices.


@case
def mat_mul(boxes, scores, class_scores, own_boxes, **_):
    columns = np.swapaxes(class_scores, 1, 2)
    return {
        "mat_mul": scores @ boxes,
        "mat_mul_broadcast": own_boxes @ ramp("by", (4, 5)),
        "mat_mul_of_each": columns @ own_boxes,
        "mat_mul_in_map": columns @ boxes,
    }


# Crops.


@case
def crop_and_resize(image, photo, crop_boxes, crop_images, **_):
    photo = photo.astype(np.float32)
    map = tf.nn.conv2d(photo / 256, ramp("unknown/kernel", (3, 3, 3, 2)), 1, "SAME")

    def crop(x, *size):
        return tf.image.crop_and_resize(x, crop_boxes, crop_images, size).numpy()

    results = {
        "crop_and_resize": crop(image, 4, 5),
        "crop_and_resize_single": crop(image, 1, 1),
        "crop_and_resize_row": crop(image, 1, 14),
        "crop_and_resize_unknown": crop(photo, 14, 7),
        "crop_and_resize_pooled": tf.nn.max_pool2d(crop(map, 6, 6), 2, 2, "SAME"),
    }
    # Among the first 200 boxes, which are within the image.
    blank = (results["crop_and_resize_unknown"][:200, -1] == 0).all(axis=-1)
    assert 0 < blank.mean() < 0.5, "rounding must put some last rows of boxes that end on the edge outside"
    return results
