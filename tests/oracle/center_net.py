"""Seeded checkpoints of CenterNets, and images whose detections are stable: what `checkpoints` and `reference` do for models with anchors.

A peak of a heat map is one only if no neighbour is higher, and objects are sorted by score, so images are taken in which neither changes under noise like rounding errors.
"""

import contextlib
import unittest.mock

import numpy as np
import tensorflow as tf
from keras.src.applications import resnet
from object_detection.builders import model_builder
from object_detection.models.keras_models import hourglass_network, mobilenet_v2, resnet_v1

from . import center_net_tasks, checkpoints, images

NOISE = 1e-5
HEAD_GAINS = (1.0, 0.3, 2.0, 0.1)  # variance of the heat map head's last kernel, times its fan-in
# What heads' last layers give about: logits of heat maps, sides of boxes in locations, distances from the location.
BIASES = {"object_center": (-1.5, 0.3), "box/scale": (5.0, 2.0), "box/offset": (0.5, 0.2)}
# Extractors have layers of TensorFlow 1, too.
BATCH_NORMS = (*checkpoints.BATCH_NORMS, tf.compat.v1.keras.layers.BatchNormalization)


@contextlib.contextmanager
def mended():
    """The reference starts a MobileNetV2 of full width from published weights, which a checkpoint takes the place of at once; and its ResNet-18 and ResNet-34
    are made by a function that newer releases of Keras have, but do not show.
    """
    resnet_v1.resnet.ResNet = resnet.ResNet
    applications = mobilenet_v2.tf.keras.applications
    plain = applications.MobileNetV2

    def untrained(*args, **kwargs):
        return plain(*args, **{**kwargs, "weights": None})

    applications.MobileNetV2 = untrained
    try:
        yield
    finally:
        applications.MobileNetV2 = plain


def build(config):
    with mended():
        model = model_builder.build(config.model, is_training=False)
    center_net_tasks.build_idle(model)
    return model


def last_of_residual_blocks(model):
    """Returns the batch norms whose result is added to the input of a residual block; `id`s."""
    found = set()
    for layer in model.submodules:
        if isinstance(layer, hourglass_network.ResidualBlock):
            found.add(id(layer.norm.gamma))
        name = getattr(layer, "name", "")
        if name.endswith("_3_bn") or name.startswith("conv") and name.endswith("_2_bn"):
            found.add(id(layer.gamma))
    return found


def assign_weights(model, rng):
    """Gives every variable a seeded value."""
    residual = last_of_residual_blocks(model)
    heads = model.prediction_head_dict
    variables = [(None, variable) for variable in model._feature_extractor.weights]
    for head in sorted(heads):
        for network in heads[head]:
            last = {id(variable) for variable in network.layers[-1].weights}
            variables += [(head if id(variable) in last else None, variable) for variable in network.weights]
    variables += center_net_tasks.further_variables(model)
    for head, variable in variables:
        shape, name = variable.shape.as_list(), variable.name
        kind = name.split("/")[-1].split(":")[0]
        if kind.endswith("kernel"):
            if "transpose" in name:
                inputs = shape[0] * shape[1] * shape[3] / 4
            else:
                inputs = checkpoints.fan_in(name, shape)
            gain = 0.02 if head and head != "object_center" else 2.0
            # Blocks that normalise first end with a convolution.
            gain *= 0.1 if "_3_conv" in name else 1
            gain *= center_net_tasks.gain(head)
            value = rng.normal(0, (gain / inputs) ** 0.5, size=shape)
        elif kind == "gamma":
            value = rng.uniform(0.5, 1.5, size=shape) * (0.3 if id(variable) in residual else 1.0)
        elif kind == "beta":
            value = rng.normal(0.0 if id(variable) in residual else 1.0, 0.5, size=shape)
        elif kind == "bias":
            value = rng.normal(*BIASES.get(head, center_net_tasks.bias(head, (0.5, 0.3))), size=shape)
        elif kind == "moving_mean":
            value = np.zeros(shape)
        elif kind == "moving_variance":
            value = np.ones(shape)
        else:
            raise ValueError(f"do not know how to make a value for {name} of shape {shape}")
        variable.assign(value.astype(np.float32))


def size_of_images(config):
    resizer = config.model.center_net.image_resizer
    kind = resizer.WhichOneof("image_resizer_oneof")
    fields = getattr(resizer, kind)
    if kind == "fixed_shape_resizer":
        return fields.height, fields.width
    if kind == "keep_aspect_ratio_resizer":
        return fields.max_dimension, fields.max_dimension
    return 128, 128


@contextlib.contextmanager
def detecting(model):
    """Makes the `predict` of a DeepMAC, which runs the network of its masks when it post-processes, do that too."""
    if not hasattr(model, "_mask_net"):
        yield
        return
    predict = model.predict

    def predict_and_detect(preprocessed, true_shapes):
        predictions = predict(preprocessed, true_shapes)
        model.postprocess(predictions, true_shapes)
        return predictions

    with unittest.mock.patch.object(model, "predict", predict_and_detect):
        yield


def spread(detections):
    """Returns (good, description): whether the first image's scores could show an error."""
    count = int(detections["num_detections"][0])
    scores = detections["detection_scores"][0].numpy()[:count]
    if count < min(5, detections["detection_scores"].shape[1]):
        return False, f"only {count} objects"
    distinct = len(np.unique(scores)) / count
    span = float(scores.max() - scores.min())
    inside = float(((scores > 1e-4) & (scores < 0.9999)).mean())
    summary = f"{count} objects, {distinct:.0%} distinct, {inside:.0%} unsaturated, {scores.min():.4f}..{scores.max():.4f}"
    good = distinct >= 0.8 and inside >= 0.8 and span > 0.004 and np.isfinite(scores).all()
    return bool(good), summary


def attempt(config, seed, found=None):
    """As `checkpoints.attempt`."""
    height, width = size_of_images(config)
    batch = tf.constant(np.stack([images.textured(1000 * seed + index, height, width) for index in range(3)]), tf.float32)
    tf.keras.utils.set_random_seed(seed)  # for the first values of variables, by which a DeepMAC may fail
    model = checkpoints.build(config)
    checkpoints.detect(model, batch[:1])  # creates the variables
    rng = np.random.Generator(np.random.PCG64(seed))
    assign_weights(model, rng)
    with unittest.mock.patch.object(checkpoints, "BATCH_NORMS", BATCH_NORMS), detecting(model):
        checkpoints.measure_batch_norms(model, batch, rng)
    (*_, last) = model.prediction_head_dict["object_center"]
    kernel = last.layers[-1].kernel
    value = kernel.numpy()
    tried = []
    for gain in [found["head_gain"]] if found else HEAD_GAINS:
        kernel.assign(value * np.float32((gain / 2.0) ** 0.5))
        if found:
            return model, found
        image = batch[0].numpy()
        detections = checkpoints.detect(model, image[np.newaxis])
        good, summary = spread(detections)
        moved = movement(model, *predict_under_noise(model, image, seed)[:2])
        tried.append(f"gain {gain}: {summary}, moved {moved:.2g}")
        if good and moved <= checkpoints.MOST_MOVEMENT:
            return model, {"seed": seed, "head_gain": gain, "detections": summary, "moved": float(f"{moved:.2g}")}
    raise AssertionError("no gain of the heat maps' head gives spread scores and a small movement:\n" + "\n".join(tried))


def maps(model, predictions):
    """Returns what heads predict last, as the outputs would move: heat maps as scores."""
    found = {name: predictions[name][-1].numpy() for name in model.prediction_head_dict}
    return {name: 1 / (1 + np.exp(-value)) if "center" in name or "heatmap" in name else value for name, value in found.items()}


def predict_under_noise(model, image, seed):
    """Returns (predictions of an image, float32 [height, width, 3], those under input noise, the image's true shape)."""
    predictions, true_shapes = checkpoints.predict(model, image[np.newaxis])
    return predictions, checkpoints.predict(model, checkpoints.noisy(image, seed)[np.newaxis])[0], true_shapes


def movement(model, still, noisy):
    """Returns the largest movement of a head's map between two predictions."""
    still, noisy = maps(model, still), maps(model, noisy)
    return max(checkpoints.distance(noisy[name], value) for name, value in still.items())


def masks_are_steady(model, image, masks, seed):
    """Returns whether an image's masks hardly move under several draws of input noise: of crops of boxes that end at the border, the last bit of a box decides about the last row."""
    for draw in range(checkpoints.DRAWS):
        noisy = checkpoints.noisy(image.astype(np.float32), seed, draw)
        if checkpoints.distance(checkpoints.detect(model, noisy[np.newaxis])["detection_masks"].numpy(), masks) > checkpoints.MOST_MOVEMENT:
            return False
    return True


def order(detections):
    """Returns which objects were detected, in their order, as something to compare."""
    count = int(detections["num_detections"][0])
    classes = detections["detection_classes"][0, :count].numpy()
    # Different objects have different boxes.
    rest = [np.round(detections[key][0, :count].numpy(), 2) for key in ("detection_boxes_strided",) if key in detections]
    return count, classes.tobytes(), *rest, *center_net_tasks.choices(detections)


def same(a, b):
    return a[:2] == b[:2] and all(np.abs(x - y).max(initial=0) < 0.1 for x, y in zip(a[2:], b[2:]))


def is_stable(model, image, seed):
    """As `reference.is_stable`. Heads that input noise moves far are tried with more noise."""
    predictions, noisy, true_shapes = predict_under_noise(model, image.astype(np.float32), seed)
    moved = movement(model, predictions, noisy)
    if moved > checkpoints.MOST_MOVEMENT:
        return False
    detections = model.postprocess(predictions, true_shapes)
    detections_of_noisy = model.postprocess(noisy, true_shapes)
    found = order(detections)
    if not same(order(detections_of_noisy), found):
        return False
    if "detection_masks" in detections and not masks_are_steady(model, image, detections["detection_masks"].numpy(), seed):
        return False
    rng = np.random.Generator(np.random.PCG64([seed, 3]))
    for _ in range(2):
        changed = dict(predictions)
        for name in model.prediction_head_dict:
            value = predictions[name][-1].numpy()
            noise = max(NOISE, moved / 2) * rng.normal(size=value.shape) * (1 + np.abs(value))
            changed[name] = [*predictions[name][:-1], tf.constant(value + noise.astype(np.float32))]
        if not same(order(model.postprocess(changed, true_shapes)), found):
            return False
    return True
