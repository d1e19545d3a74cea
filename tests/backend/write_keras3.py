"""Writes a model of Keras 3 as a SavedModel, with inputs and what Keras itself gives for them. Run in an environment that has Keras 3.

Usage: write_keras3.py MODEL FOLDER ARRAYS.npz. Vocabularies in files are written beside the folder.
"""

import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np

L = keras.layers
TEXTS = [["bread and milk"], ["fish"], ["milk"], ["Milk, milk; eggs & tea"], [""]]


def norm_after_bias():
    return keras.Sequential([keras.Input((16, 16, 3)), L.Conv2D(4, 3), L.BatchNormalization()])


def norm_on_an_axis():
    return keras.Sequential([keras.Input((16, 16, 3)), L.Conv2D(4, 3, use_bias=False), L.BatchNormalization(axis=3)])


def resnet50():
    return keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3), classes=10)


def efficientnet_b0():
    return keras.applications.EfficientNetB0(weights=None, input_shape=(64, 64, 3), classes=10)


def seed_generator():
    return keras.Sequential([keras.Input((8,)), L.Dense(4), NoisyAlways()])


def string_lookup():
    """Words to numbers, those that are not in the vocabulary to two of their own by their hash."""
    return keras.Sequential([keras.Input((1,), dtype="string"), L.StringLookup(vocabulary=["bread", "milk", "eggs"], num_oov_indices=2), L.Embedding(6, 4)])


def vocabulary_in_a_file():
    path = pathlib.Path(sys.argv[2]).with_name("vocabulary.txt")
    path.write_text("fish\nmilk\n")
    return keras.Sequential([keras.Input((1,), dtype="string"), L.StringLookup(vocabulary=str(path), output_mode="one_hot")])


def text_vectorization():
    layer = L.TextVectorization(output_mode="tf_idf", vocabulary=["bread", "milk", "and"], idf_weights=[0.3, 0.5, 0.7])
    return keras.Sequential([keras.Input((1,), dtype="string"), layer, L.Dense(2)])


def text_sequence():
    layer = L.TextVectorization(output_sequence_length=4, vocabulary=["bread", "milk", "and"])
    return keras.Sequential([keras.Input((1,), dtype="string"), layer, L.Embedding(6, 3)])


class NoisyAlways(L.Layer):
    """Noise at inference, too, from a generator that keeps its state in a variable."""

    def __init__(self, **options):
        super().__init__(**options)
        self.generator = keras.random.SeedGenerator(3)

    def call(self, x):
        return x + keras.random.normal((4,), seed=self.generator) + keras.random.normal((4,), seed=self.generator)


def main(name, folder, arrays):
    rng = np.random.Generator(np.random.PCG64(20))
    net = globals()[name]()
    for variable in net.variables:
        if "seed" in variable.path:
            continue
        value = rng.normal(size=variable.shape).astype("float32")
        if "variance" in variable.path:
            value = np.abs(value) + 0.5
        elif "kernel" in variable.path and len(variable.shape) > 1:
            value *= np.sqrt(2 / np.prod(variable.shape[:-1]))
        elif "gamma" in variable.path:
            value = 1 + 0.1 * value
        variable.assign(value)
    net.export(folder, verbose=False)
    if net.inputs[0].dtype == "string":
        x = np.array(TEXTS)
        y = net(keras.ops.convert_to_tensor(TEXTS, dtype="string"))
    else:
        x = rng.normal(size=(2, *net.input_shape[1:])).astype("float32")
        y = net(x, training=False)
    np.savez(arrays, x=x, y=np.asarray(y))


if __name__ == "__main__":
    main(*sys.argv[1:])
