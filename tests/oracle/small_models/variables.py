"""Variables of every dtype, in shards, gathered from, sharing names; constants of every kind of content."""

import numpy as np
import tensorflow as tf

from ..saved_models import floats, model, named, normal, save

INTEGERS = (tf.int8, tf.uint8, tf.int16, tf.uint16, tf.int32, tf.uint32, tf.int64, tf.uint64)
FLOATS = (tf.float16, tf.bfloat16, tf.float32, tf.float64)


@model()
def variable_dtypes(folder, rng):
    module = tf.Module()
    module.scalar = tf.Variable(0.25)
    module.all = {}
    for dtype in INTEGERS:
        module.all[dtype.name] = tf.Variable(tf.cast(rng.integers(-100, 100, (2, 3)), dtype), name=dtype.name)
    for dtype in FLOATS:
        module.all[dtype.name] = tf.Variable(tf.cast(normal(rng, 2, 3), dtype), name=dtype.name)
    for dtype in (tf.complex64, tf.complex128):
        value = normal(rng, 2, 3) + 1j * normal(rng, 2, 3)
        module.all[dtype.name] = tf.Variable(tf.constant(value, dtype), name=dtype.name)
    module.all["bool"] = tf.Variable([[True, False, True], [False, False, True]], name="bool")
    module.all["string"] = tf.Variable([["a", "", "long " * 40], [b"\x00\xff", "é", "\n"]], name="string")

    def run(x):
        rows = tf.cast(x, tf.int32)
        return {name: tf.gather(variable.value(), rows) for name, variable in module.all.items()}

    save(folder, module, serving_default=named(run, x=floats(None)))
    return [{"x": np.array([1, 0], np.float32)}]


@model()
def splats_and_zeros(folder, rng):
    """Constants that files store without all their values, and ones with unusual values."""
    module = tf.Module()
    module.zeros, module.ones = tf.Variable(tf.zeros([300])), tf.Variable(tf.ones([300], tf.int64))
    module.odd = tf.Variable([np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4e38])

    def run(x):
        ramp = tf.constant(np.arange(300, dtype=np.float32))
        minus_zero = tf.constant(np.full([4], -0.0, np.float32))
        return {
            "sum": x + module.zeros + tf.cast(module.ones, tf.float32) + ramp + tf.zeros([300]) + tf.fill([300], 2.5),
            "odd": module.odd.value() + 0.0 * x[:1] * 0.0,
            "half": tf.cast(x[:1], tf.float16) + tf.constant([1.5] * 7, tf.float16),
            "bfloat16": tf.cast(tf.cast(x[:1], tf.bfloat16) + tf.constant([0.0] * 9, tf.bfloat16), tf.float32),
            "strings": tf.constant(["same"] * 5),
            "complex": tf.constant([1 + 2j] * 3, tf.complex64),
            "sign": minus_zero / tf.abs(x[:4] + 10.0),
        }

    save(folder, module, serving_default=named(run, x=floats(300)))
    return [{"x": normal(rng, 300)}]


@model()
def scalar_and_empty(folder, rng):
    module = tf.Module()
    module.scalar, module.empty = tf.Variable(3.0), tf.Variable(tf.zeros([0, 4]))

    def run(x):
        return {
            "scalar": tf.reduce_sum(x) * module.scalar,
            "empty": module.empty + 1.0,
            "joined": tf.concat([module.empty, x, tf.zeros([0, 4])], 0),
            "no_strings": tf.constant([], tf.string),
        }

    save(folder, module, serving_default=named(run, x=floats(None, 4)))
    return [{"x": normal(rng, count, 4)} for count in (2, 0)]


@model()
def several_shards(folder, rng):
    module = tf.Module()
    module.weights = [tf.Variable(normal(rng, 5, 5), name=f"weight_{index}") for index in range(7)]

    def run(x):
        for weight in module.weights:
            x = tf.tanh(tf.matmul(x, weight))
        return {"y": x}

    save(folder, module, serving_default=named(run, x=floats(None, 5)))
    from ..checkpoints import split_shards  # imports the whole reference

    split_shards(str(folder / "variables" / "variables"), 3)
    assert len(list((folder / "variables").glob("*.data-*-of-00003"))) == 3
    return [{"x": normal(rng, 2, 5)}]


@model()
def resource_gathers(folder, rng):
    module = tf.Module()
    module.table = tf.Variable(normal(rng, 5, 4, 3), name="table")
    module.batched = tf.Variable(normal(rng, 2, 6, 3), name="batched")

    def run(rows, cells):
        return {
            "rows": module.table.sparse_read(rows),
            "lookup": tf.nn.embedding_lookup(module.table, tf.cast(rows, tf.int64)),
            "cells": module.table.gather_nd(cells),
            "batched": tf.gather(module.batched, rows, batch_dims=1),
        }

    rows, cells = tf.TensorSpec([2, None], tf.int32), tf.TensorSpec([None, 2], tf.int32)
    save(folder, module, serving_default=named(run, rows=rows, cells=cells))
    return [{"rows": np.array([[4, 0, 1], [2, 2, 3]], np.int32), "cells": np.array([[0, 1], [4, 3]], np.int32)}]


@model(script_fails=True)
def shape_of_a_variable(folder, rng):
    """VariableShape reads the handle, not the value; the script does not know it."""
    module = tf.Module()
    module.weight = tf.Variable(normal(rng, 3, 5), name="weight")

    def run(x):
        return {"y": x * 2.0, "shape": tf.raw_ops.VariableShape(input=module.weight.handle, out_type=tf.int64)}

    save(folder, module, serving_default=named(run, x=floats(3)))
    return [{"x": normal(rng, 3)}]


@model(script_fails=True)
def batched_resource_gather(folder, rng):
    """The script freezes gathers without batch dimensions only."""
    module = tf.Module()
    module.table = tf.Variable(normal(rng, 2, 6, 3), name="table")

    def run(rows):
        return {"y": tf.raw_ops.ResourceGather(resource=module.table.handle, indices=rows, dtype=tf.float32, batch_dims=1)}

    save(folder, module, serving_default=named(run, rows=tf.TensorSpec([2, None], tf.int32)))
    return [{"rows": np.array([[4, 0, 1], [2, 2, 3]], np.int32)}]


@model()
def names_that_collide(folder, rng):
    """Variables called alike, and like the inputs, the outputs and the operations."""
    module = tf.Module()
    module.many = [tf.Variable(normal(rng, 3), name=name) for name in ("weight", "weight", "x", "Identity", "Identity_1", "mul")]

    def run(x, weight):
        total = x
        for variable in module.many:
            total = total * 0.5 + variable * weight
        return {"Identity": total, "weight": total + 1.0}

    save(folder, module, serving_default=named(run, x=floats(3), weight=floats(3)))
    return [{"x": normal(rng, 3), "weight": normal(rng, 3)}]


@model()
def a_variable_read_often(folder, rng):
    module = tf.Module()
    module.weight = tf.Variable(normal(rng, 64, 64), name="weight")

    @tf.function
    def layer(v):
        return tf.tanh(tf.matmul(v, module.weight))

    def run(x):
        return {"y": layer(layer(layer(x))) + tf.reduce_sum(module.weight), "same": module.weight.read_value()}

    save(folder, module, serving_default=named(run, x=floats(None, 64)))
    return [{"x": normal(rng, 2, 64)}]
