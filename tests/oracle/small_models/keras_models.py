"""Keras models: what most SavedModels are. Layers of many kinds, recurrent ones, embeddings, mixed precision, custom classes."""

import numpy as np
import tensorflow as tf

from ..saved_models import model, normal

layers = tf.keras.layers


def finish(folder, keras_model, rng):
    """Gives every weight a random value, so that nothing is zero or one by initialisation, and saves the model."""
    for variable in keras_model.weights:
        value = normal(rng, *variable.shape) * 0.5
        if "variance" in variable.name:
            value = np.abs(value) + 0.5
        if variable.dtype.is_floating:
            variable.assign(tf.cast(value, variable.dtype))
    keras_model.save(str(folder), save_format="tf")


@model()
def sequential(folder, rng):
    net = tf.keras.Sequential(
        [layers.Input((6,), name="features"), layers.Dense(16, "relu"), layers.Dropout(0.5), layers.Dense(3, "softmax")]
    )
    finish(folder, net, rng)
    return [{"features": normal(rng, size, 6)} for size in (1, 5)]


@model()
def convolutional(folder, rng):
    net = tf.keras.Sequential(
        [
            layers.Input((12, 10, 3), name="image"),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.MaxPool2D(),
            layers.SeparableConv2D(6, 3, dilation_rate=2),
            layers.UpSampling2D(interpolation="bilinear"),
            layers.Conv2DTranspose(4, 3, strides=2),
            layers.LayerNormalization(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4),
        ]
    )
    finish(folder, net, rng)
    return [{"image": normal(rng, 2, 12, 10, 3)}]


@model()
def functional(folder, rng):
    left, right = layers.Input((5,), name="left"), layers.Input((3,), name="right")
    joined = layers.Concatenate()([layers.Dense(4, "tanh", name="shared")(left), right])
    hidden = layers.Add()([layers.Dense(7)(joined), joined])
    outputs = {"small": layers.Dense(1, name="small")(hidden), "big": layers.Dense(9, name="big")(hidden)}
    finish(folder, tf.keras.Model([left, right], outputs), rng)
    return [{"left": normal(rng, 2, 5), "right": normal(rng, 2, 3)}]


class Residual(tf.keras.Model):
    """A subclassed model: weights made in `build`, layers in lists, a layer used twice."""

    def __init__(self):
        super().__init__()
        self.blocks = [layers.Dense(5, name="block") for _ in range(3)]
        self.norm = layers.BatchNormalization()

    def build(self, shape):
        self.scale = self.add_weight(name="scale", shape=shape[-1:])
        super().build(shape)

    def call(self, x, training=False):
        for block in self.blocks:
            x = x + self.norm(block(x), training=training)
        return self.blocks[0](x) * self.scale


@model()
def subclassed(folder, rng):
    net = Residual()
    net(tf.zeros([1, 5]))
    net.compute_output_shape((None, 5))
    finish(folder, net, rng)
    return [{"input_1": normal(rng, 3, 5)}]


def recurrent(folder, rng, *stack, features=3):
    finish(folder, tf.keras.Sequential([layers.Input((None, features), name="sequence"), *stack]), rng)
    return [{"sequence": normal(rng, 2, length, features)} for length in (1, 7)]


@model()
def lstm(folder, rng):
    return recurrent(folder, rng, layers.LSTM(4, return_sequences=True), layers.LSTM(5, go_backwards=True))


@model()
def gru(folder, rng):
    return recurrent(folder, rng, layers.GRU(4, return_sequences=True), layers.GRU(3, reset_after=False))


@model()
def simple_rnn(folder, rng):
    return recurrent(folder, rng, layers.SimpleRNN(4, return_sequences=True), layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)]))


@model()
def bidirectional(folder, rng):
    return recurrent(folder, rng, layers.Bidirectional(layers.LSTM(4)), layers.Dense(2))


@model()
def conv_lstm(folder, rng):
    net = tf.keras.Sequential([layers.Input((None, 6, 6, 2), name="clip"), layers.ConvLSTM2D(3, 3)])
    finish(folder, net, rng)
    return [{"clip": normal(rng, 1, 4, 6, 6, 2)}]


@model()
def embedding_with_mask(folder, rng):
    net = tf.keras.Sequential(
        [layers.Input((None,), dtype=tf.int32, name="words"), layers.Embedding(20, 6, mask_zero=True), layers.LSTM(4), layers.Dense(2)]
    )
    finish(folder, net, rng)
    return [{"words": np.array([[3, 7, 0, 0], [1, 2, 19, 0]], np.int32)}, {"words": np.array([[0, 0], [5, 0]], np.int32)}]


@model()
def attention(folder, rng):
    tokens = layers.Input((None, 8), name="tokens")
    mixed = layers.MultiHeadAttention(2, 4)(tokens, tokens)
    net = tf.keras.Model(tokens, layers.Dense(3)(layers.LayerNormalization()(tokens + mixed)))
    finish(folder, net, rng)
    return [{"tokens": normal(rng, 2, 5, 8)}]


@model()
def time_distributed(folder, rng):
    net = tf.keras.Sequential(
        [
            layers.Input((4, 6), name="sequence"),
            layers.TimeDistributed(layers.Dense(3, "relu")),
            layers.Lambda(lambda x: tf.map_fn(lambda row: tf.reduce_logsumexp(row, keepdims=True), x)),
            layers.Flatten(),
        ]
    )
    finish(folder, net, rng)
    return [{"sequence": normal(rng, 3, 4, 6)}]


@model()
def preprocessing_layers(folder, rng):
    image = layers.Input((None, None, 3), dtype=tf.uint8, name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1)(layers.Resizing(8, 9)(image))
    x = layers.RandomFlip()(layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0])(x))
    finish(folder, tf.keras.Model(image, layers.Discretization([-0.5, 0.0, 0.5])(x)), rng)
    return [{"image": rng.integers(0, 256, (1, 11, 7, 3)).astype(np.uint8)}]


def in_precision(policy, folder, rng):
    tf.keras.mixed_precision.set_global_policy(policy)
    try:
        net = tf.keras.Sequential(
            [
                layers.Input((8, 8, 3), name="image"),
                layers.Conv2D(6, 3, use_bias=False),
                layers.BatchNormalization(),
                layers.ReLU(),
                layers.Flatten(),
                layers.Dense(4),
                layers.Activation("softmax", dtype="float32"),
            ]
        )
        finish(folder, net, rng)
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    return [{"image": normal(rng, 2, 8, 8, 3)}]


@model()
def mixed_float16(folder, rng):
    return in_precision("mixed_float16", folder, rng)


@model()
def mixed_bfloat16(folder, rng):
    return in_precision("mixed_bfloat16", folder, rng)


@model()
def trained_with_optimizer(folder, rng):
    """The optimizer's slots and the training step are in the checkpoint and not in the graph."""
    net = tf.keras.Sequential([layers.Input((4,), name="x"), layers.Dense(3), layers.Dense(1)])
    net.compile(tf.keras.optimizers.Adam(), "mse", metrics=["mae"])
    net.fit(normal(rng, 8, 4), normal(rng, 8, 1), verbose=0)
    net.save(str(folder), save_format="tf")
    return [{"x": normal(rng, 2, 4)}]


@model()
def application(folder, rng):
    """A whole published architecture: MobileNetV2, narrow, with its batch normalisations."""
    net = tf.keras.applications.MobileNetV2((64, 64, 3), alpha=0.35, weights=None, classes=5)
    net.save(str(folder), save_format="tf")
    return [{"input_1": normal(rng, 1, 64, 64, 3)}]
