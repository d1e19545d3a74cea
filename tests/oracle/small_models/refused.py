"""What cannot be one graph without state: assets, assignments, generators, iterators, tables that calls change."""

import numpy as np
import tensorflow as tf

from ..saved_models import floats, model, named, normal, save

@model(refused=("asset",))
def file_read_from_an_asset(folder, rng):
    path = folder.parent / "data.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("content")
    module = tf.Module()
    module.asset = tf.saved_model.Asset(str(path))
    save(folder, module, serving_default=named(lambda: {"text": tf.io.read_file(module.asset.asset_path)}))


@model(refused=("AssignAddVariableOp", "counter|assign"))
def counter(folder, rng):
    module = tf.Module()
    module.counter = tf.Variable(0, name="counter")
    save(folder, module, serving_default=named(lambda x: {"y": x, "n": module.counter.assign_add(1)}, x=floats(3)))


@model(refused=("AssignVariableOp", "assign"))
def assignment_in_a_loop(folder, rng):
    module = tf.Module()
    module.total = tf.Variable(tf.zeros([3]), name="total")

    @tf.function
    def accumulate(x):
        for _ in tf.range(3):
            module.total.assign(module.total + x)
        return module.total.read_value()

    save(folder, module, serving_default=named(lambda x: {"y": accumulate(x)}, x=floats(3)))


@model(refused=("AssignVariableOp|Assign", "assign"))
def stateful_recurrent_layer(folder, rng):
    net = tf.keras.Sequential([tf.keras.layers.Input((4, 3), batch_size=2), tf.keras.layers.LSTM(4, stateful=True)])
    net.save(str(folder), save_format="tf")


@model(refused=("AssignMovingAvg|AssignSubVariableOp", "assign"))
def batch_norm_in_training(folder, rng):
    module = tf.Module()
    module.norm = tf.keras.layers.BatchNormalization()
    module.norm(tf.zeros([1, 3]))
    save(folder, module, serving_default=named(lambda x: {"y": module.norm(x, training=True)}, x=floats(None, 3)))


@model(refused=("Assign", "assign"))
def read_after_assignments(folder, rng):
    """What a call assigns and then reads, in functions that it calls one after the other."""
    module = tf.Module()
    module.total = tf.Variable(normal(rng, 3), name="total")
    module.steps = tf.Variable(1, name="steps")

    @tf.function
    def step(x):
        module.total.assign(module.total * 0.5 + x)
        module.steps.assign_add(1)
        return module.total.read_value()

    def run(x):
        before = module.total.read_value()
        first = step(x)
        module.total.assign_sub(tf.ones([3]))
        return {"before": before, "first": first, "second": step(2 * x), "after": module.total + 0.0, "steps": module.steps.read_value()}

    save(folder, module, serving_default=named(run, x=floats(3)))


@model(refused=("Assign", "assign"))
def assignment_in_a_branch(folder, rng):
    """Which value the variable has afterwards depends on the branch."""
    module = tf.Module()
    module.total = tf.Variable(tf.zeros([3]), name="total")

    @tf.function
    def remember(x):
        if tf.reduce_sum(x) > 0:
            module.total.assign(x)
        return module.total.read_value()

    save(folder, module, serving_default=named(lambda x: {"y": remember(x)}, x=floats(3)))


@model(refused=("ScatterNd|ResourceScatter", "assign|write|chang|state"))
def scattered_update(folder, rng):
    module = tf.Module()
    module.weight = tf.Variable(normal(rng, 5), name="weight")
    run = lambda x: {"y": module.weight.scatter_nd_update([[1]], x)}  # noqa: E731
    save(folder, module, serving_default=named(run, x=floats(1)))


@model(refused=("RngReadAndSkip|StatefulStandardNormal|generator|state", "variable|state|assign"))
def random_generator(folder, rng):
    module = tf.Module()
    module.generator = tf.random.Generator.from_seed(3)
    save(folder, module, serving_default=named(lambda x: {"y": x + module.generator.normal([3])}, x=floats(3)))


@model(refused=("AssignAdd", "total", "--drop_updates"))
def v1_assignment(folder, rng):
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [3], name="x")
        total = v1.get_variable("total", [3], use_resource=False)
        y = v1.assign_add(total, x, name="accumulate")
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": v1.saved_model.predict_signature_def({"x": x}, {"y": y})}
        )
        builder.save()


@model(refused=("LookupTableInsertV2", "changes .*seen"))
def table_that_a_call_changes(folder, rng):
    """`length` does not look into the table."""
    module = tf.Module()
    module.seen = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1, name="seen")

    def run(words):
        module.seen.insert(words, tf.ones_like(words, tf.int64))
        return {"length": tf.strings.length(words), "known": module.seen.lookup(words)}

    save(folder, module, serving_default=named(run, words=tf.TensorSpec([None], tf.string)))


@model(refused=("LookupTableFindV2|table", "each call makes anew"))
def table_that_each_call_makes(folder, rng):
    def run(words):
        table = tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64, shared_name="made")
        tf.raw_ops.LookupTableImportV2(table_handle=table, keys=tf.constant(["a"]), values=tf.constant([1], tf.int64))
        return {"ids": tf.raw_ops.LookupTableFindV2(table_handle=table, keys=words, default_value=tf.constant(-1, tf.int64))}

    save(folder, tf.Module(), serving_default=named(run, words=tf.TensorSpec([None], tf.string)))
