"""Batch normalisation after (and not after) convolutions: what folding must fold, and what it must leave alone."""

import numpy as np
import tensorflow as tf

from ..saved_models import floats, model, named, normal, save

layers = tf.keras.layers


def finish(folder, keras_model, rng):
    for variable in keras_model.weights:
        value = normal(rng, *variable.shape)
        variable.assign(np.abs(value) + 0.3 if "variance" in variable.name else value * 0.5)
    keras_model.save(str(folder), save_format="tf")


def stacked(folder, rng, *stack):
    finish(folder, tf.keras.Sequential([layers.Input((10, 9, 4), name="image"), *stack]), rng)
    return images(rng)


def images(rng):
    return [{"image": normal(rng, 2, 10, 9, 4)}]


def parameters(rng, channels=6):
    """Returns scale, offset, mean and variance."""
    return [normal(rng, channels) for _ in range(3)] + [np.abs(normal(rng, channels)) + 0.3]


def in_module(folder, rng, build, channels=6, kernel=(3, 3, 4, 6)):
    """Saves `build(image, kernel, scale, offset, mean, variance)`, all but the image variables."""
    module = tf.Module()
    module.kernel = tf.Variable(normal(rng, *kernel), name="kernel")
    names = ("scale", "offset", "mean", "variance")
    module.norm = [tf.Variable(value, name=name) for name, value in zip(names, parameters(rng, channels))]
    run = lambda image: build(image, module.kernel, *module.norm)  # noqa: E731
    save(folder, module, serving_default=named(run, image=floats(None, 10, 9, 4)))
    return images(rng)


@model(norms=0)
def norm_after_convolutions(folder, rng):
    return stacked(
        folder,
        rng,
        layers.Conv2D(6, 3, use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(6),
        layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.SeparableConv2D(5, 3),
        layers.BatchNormalization(),
    )


@model(norms=0)
def norm_after_bias(folder, rng):
    return stacked(folder, rng, layers.Conv2D(6, 3), layers.BatchNormalization(), layers.DepthwiseConv2D(3), layers.BatchNormalization())


@model(norms=0)
def norm_without_scale_or_offset(folder, rng):
    return stacked(
        folder,
        rng,
        layers.Conv2D(6, 3),
        layers.BatchNormalization(scale=False),
        layers.Conv2D(5, 3),
        layers.BatchNormalization(center=False, epsilon=0.1),
    )


@model(norms=0)
def norm_after_strided_and_grouped(folder, rng):
    return stacked(
        folder,
        rng,
        layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.Conv2D(6, 1),
        layers.BatchNormalization(),
        layers.DepthwiseConv2D(3, dilation_rate=2, padding="same", use_bias=False),
        layers.ReLU(),
    )


@model(norms=0)
def norm_as_multiply_add(folder, rng):
    """Not fused: rsqrt(variance + epsilon) * scale is multiplied, and an offset added."""
    return in_module(
        folder,
        rng,
        lambda image, kernel, scale, offset, mean, variance: {
            "y": tf.nn.relu(tf.nn.batch_normalization(tf.nn.conv2d(image, kernel, 1, "SAME"), mean, variance, offset, scale, 1e-3))
        },
    )


@model(norms=0)
def norm_by_keras_unfused(folder, rng):
    return stacked(
        folder, rng, layers.Conv2D(6, 3), layers.BatchNormalization(fused=False), layers.DepthwiseConv2D(3), layers.BatchNormalization(fused=False)
    )


@model(norms=0)
def norm_as_plain_arithmetic(folder, rng):
    """A subtraction before the scale, and the scale on the left."""
    return in_module(
        folder,
        rng,
        lambda image, kernel, scale, offset, mean, variance: {
            "y": scale * (tf.nn.conv2d(image, kernel, 1, "VALID") - mean) / tf.sqrt(variance + 1e-3) + offset
        },
    )


@model(norms=0)
def norm_of_older_versions(folder, rng):
    """FusedBatchNorm and FusedBatchNormV2, which old graphs have."""

    def build(image, kernel, scale, offset, mean, variance):
        results = {}
        for name, operation in (("v1", tf.raw_ops.FusedBatchNorm), ("v2", tf.raw_ops.FusedBatchNormV2), ("v3", tf.raw_ops.FusedBatchNormV3)):
            convolved = tf.nn.conv2d(image, kernel * 1.0, 1, "SAME")
            results[name] = operation(
                x=convolved, scale=scale, offset=offset, mean=mean, variance=variance, epsilon=0.01, is_training=False
            )[0]
        return results

    return in_module(folder, rng, build)


@model(norms=2)
def norm_not_to_be_folded(folder, rng):
    """One whose convolution is read elsewhere too, and one before a convolution."""

    def build(image, kernel, scale, offset, mean, variance):
        def norm(x, *values):
            return tf.compat.v1.nn.fused_batch_norm(x, *values, is_training=False)[0]

        convolved = tf.nn.conv2d(image, kernel, 1, "SAME")
        before = norm(image, scale[:4], offset[:4], mean[:4], variance[:4])
        return {
            "shared": norm(convolved, scale, offset, mean, variance) + convolved,
            "before": tf.nn.conv2d(before, kernel, 1, "SAME"),
        }

    return in_module(folder, rng, build)


@model(norms=1)
def norm_in_training_mode(folder, rng):
    """Statistics of the batch itself: there is nothing constant to fold."""

    def build(image, kernel, scale, offset, mean, variance):
        convolved = tf.nn.conv2d(image, kernel, 1, "SAME")
        return {"y": tf.compat.v1.nn.fused_batch_norm(convolved, scale, offset, is_training=True)[0] + mean * variance}

    return in_module(folder, rng, build)


@model(norms=0)
def norms_sharing_a_kernel(folder, rng):
    """Two convolutions by one kernel, each with a normalisation of its own, as detection towers have them."""

    def build(image, kernel, scale, offset, mean, variance):
        results = {}
        for index, name in enumerate(("fine", "coarse")):
            convolved = tf.nn.conv2d(image[:, :: index + 1, :: index + 1], kernel, 1, "SAME")
            results[name] = tf.compat.v1.nn.fused_batch_norm(
                convolved, scale * (index + 1.0), offset, mean, variance, is_training=False
            )[0]
        return results

    return in_module(folder, rng, build)
