"""Graphs that compute with the sizes of their inputs."""

import tensorflow as tf

from ..saved_models import floats, model, named, normal, save


@model()
def sizes_computed_from_sizes(folder, rng):
    module = tf.Module()
    module.kernel = tf.Variable(normal(rng, 3, 3, 3, 4), name="kernel")

    def run(image):
        features = tf.nn.conv2d(image, module.kernel, 2, "SAME")
        shape = tf.shape(features)
        halves = tf.image.resize(features, [shape[1] * 2 // 3, shape[2] + 1])
        padded = tf.pad(tf.nn.conv2d(image, module.kernel, 1, "SAME"), [[0, 0], [1, 1], [0, 2], [0, 0]])
        rows = tf.reshape(features, tf.stack([shape[0], shape[1] * shape[2], 4]))
        first, second = tf.split(rows, 2, axis=2)
        both = tf.concat([tf.reduce_max(first, axis=1, keepdims=True), second[:, ::3]], axis=1)
        grid = tf.cast(tf.range(shape[1]), tf.float32)[:, tf.newaxis] * tf.ones([shape[2]])
        return {"halves": halves, "padded": padded, "both": both, "grid": grid, "columns": tf.transpose(rows, [0, 2, 1])}

    save(folder, module, serving_default=named(run, image=floats(None, None, None, 3)))
    return [{"image": normal(rng, 2, 9, 11, 3)}]
