"""What cannot be one graph without state: tables, assets, assignments, generators, iterators."""

import numpy as np
import tensorflow as tf

from ..saved_models import floats, model, named, normal, save

WORDS = tf.TensorSpec([None], tf.string)


def in_table(folder, make_table):
    module = tf.Module()
    module.table = make_table()
    save(folder, module, serving_default=named(lambda words: {"ids": module.table.lookup(words)}, words=WORDS))


@model(refused=("LookupTableFind|table", "table"))
def static_table(folder, rng):
    initializer = tf.lookup.KeyValueTensorInitializer(["a", "b"], np.array([1, 2], np.int64))
    in_table(folder, lambda: tf.lookup.StaticHashTable(initializer, -1))


@model(refused=("LookupTableFind|table", "table"))
def table_from_an_asset(folder, rng):
    path = folder.parent / "words.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a\nb\nc\n")
    initializer = tf.lookup.TextFileInitializer(
        str(path), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
    )
    in_table(folder, lambda: tf.lookup.StaticVocabularyTable(initializer, 2))


@model(refused=("LookupTableFind|table", "table"))
def keras_string_lookup(folder, rng):
    net = tf.keras.Sequential([tf.keras.layers.Input((1,), dtype=tf.string), tf.keras.layers.StringLookup(vocabulary=["a", "b"])])
    net.save(str(folder), save_format="tf")


@model(refused=("LookupTableFind|table", "table"))
def a_table_behind_one_output(folder, rng):
    """`scores` does not need the table."""
    module = tf.Module()
    module.weight = tf.Variable(normal(rng, 4, 3), name="weight")
    initializer = tf.lookup.KeyValueTensorInitializer(tf.range(3, dtype=tf.int64), ["cat", "dog", "fox"])
    module.names = tf.lookup.StaticHashTable(initializer, "?")

    def classify(x):
        scores = x @ module.weight
        return {"scores": scores, "names": module.names.lookup(tf.argmax(scores, -1))}

    save(folder, module, serving_default=named(classify, x=floats(None, 4)))


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
    """Which value the variable has afterwards is decided while the graph runs."""
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


@model(refused=("table|LookupTableFind", "table"))
def v1_table(folder, rng):
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        words = v1.placeholder(tf.string, [None], name="words")
        initializer = tf.lookup.KeyValueTensorInitializer(["a"], np.array([1], np.int64))
        table = tf.lookup.StaticHashTable(initializer, -1)
        builder = v1.saved_model.Builder(str(folder))
        signature = v1.saved_model.predict_signature_def({"words": words}, {"ids": table.lookup(words)})
        session.run(v1.tables_initializer())
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": signature}, main_op=v1.tables_initializer()
        )
        builder.save()


@model(refused=("Assign", "assign"))
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
