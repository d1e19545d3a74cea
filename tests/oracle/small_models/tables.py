"""Lookup tables: the script cannot freeze them, so results are the signature's own."""

import numpy as np
import tensorflow as tf

from ..saved_models import floats, model, named, normal, save

WORDS = tf.TensorSpec([None], tf.string)
SOME = [{"words": np.array(["b", "x", "a", "c", ""], object)}, {"words": np.array([], object)}]
WHOLE_LINE, LINE_NUMBER = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER


def text_file(folder, name, text):
    """Writes a file beside the model, which has it among its assets; returns its path."""
    path = folder.parent / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def in_table(folder, make_table):
    module = tf.Module()
    module.table = make_table()
    save(folder, module, serving_default=named(lambda words: {"ids": module.table.lookup(words)}, words=WORDS))
    return SOME


@model(script_fails=True)
def static_table(folder, rng):
    initializer = tf.lookup.KeyValueTensorInitializer(["a", "b"], np.array([1, 2], np.int64))
    return in_table(folder, lambda: tf.lookup.StaticHashTable(initializer, -1))


@model(script_fails=True)
def tables_without_names(folder, rng):
    """What only the handle finds again: filled by the initialiser, and from the bundle, with one value and with two a key."""
    module = tf.Module()
    initializer = tf.lookup.KeyValueTensorInitializer(["a", "b"], np.array([1, 2], np.int64))
    module.static = tf.lookup.StaticHashTable(initializer, -1, experimental_is_anonymous=True)
    mutable = tf.lookup.experimental.MutableHashTable
    module.one = mutable(tf.string, tf.float32, -1.0, experimental_is_anonymous=True)
    module.two = mutable(tf.string, tf.int64, [-1, -1], experimental_is_anonymous=True)
    module.one.insert(tf.constant(["b", "c"]), tf.constant([0.5, 7.0]))
    module.two.insert(tf.constant(["a"]), tf.constant([[3, 4]], tf.int64))
    look_up = lambda words: {name: getattr(module, name).lookup(words) for name in ("static", "one", "two")}  # noqa: E731
    save(folder, module, serving_default=named(look_up, words=WORDS))
    return SOME


@model(script_fails=True)
def table_from_an_asset(folder, rng):
    path = text_file(folder, "words.txt", "a\nb\nc\n")
    initializer = tf.lookup.TextFileInitializer(path, tf.string, WHOLE_LINE, tf.int64, LINE_NUMBER)
    return in_table(folder, lambda: tf.lookup.StaticVocabularyTable(initializer, 2))


@model(script_fails=True)
def tables_from_columns_of_an_asset(folder, rng):
    """One file, two tables: words to floats, with a delimiter, and some of the numbers of lines to words."""
    path = text_file(folder, "columns.txt", "a|7|0.5\nb|-8|1e3\r\nc|9|-2.25")
    module = tf.Module()
    floats_of = tf.lookup.TextFileInitializer(path, tf.string, 0, tf.float32, 2, delimiter="|")
    names_of = tf.lookup.TextFileInitializer(path, tf.int64, LINE_NUMBER, tf.string, 0, delimiter="|", vocab_size=2, value_index_offset=1)
    module.floats = tf.lookup.StaticHashTable(floats_of, 0.0)
    module.names = tf.lookup.StaticHashTable(names_of, "?")

    def run(words):
        numbers = module.floats.lookup(words)
        return {"numbers": numbers, "names": module.names.lookup(tf.cast(numbers, tf.int64))}

    save(folder, module, serving_default=named(run, words=WORDS))
    return SOME


@model(script_fails=True)
def mutable_tables(folder, rng):
    """Their contents are in the bundle of variables."""
    module = tf.Module()
    module.words = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
    module.words.insert(tf.constant(["a", "b"]), tf.constant([3, 4], tf.int64))
    module.numbers = tf.lookup.experimental.DenseHashTable(tf.int64, tf.float32, -1.0, empty_key=-1, deleted_key=-2, initial_num_buckets=8)
    module.numbers.insert(tf.constant([3, 4, 5], tf.int64), tf.constant([0.5, 0.25, 0.125]))

    def run(words):
        ids = module.words.lookup(words)
        return {"ids": ids, "numbers": module.numbers.lookup(tf.maximum(ids, 5)), "size": module.numbers.size()}

    save(folder, module, serving_default=named(run, words=WORDS))
    return SOME


@model(script_fails=True)
def tables_in_branches_and_loops(folder, rng):
    module = tf.Module()
    keys, values = tf.range(5, dtype=tf.int64), tf.constant([1, 2, 3, 4, -1], tf.int64)
    module.next = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), -1)

    @tf.function
    def walk(start):
        steps = tf.constant(0)
        while tf.reduce_any(start >= 0):
            start = tf.where(start >= 0, module.next.lookup(start), start)
            steps += 1
        if steps > 2:
            found = module.next.lookup(tf.zeros_like(start))
        else:
            found = -module.next.lookup(tf.ones_like(start))
        return {"steps": steps, "found": found}

    save(folder, module, serving_default=named(walk, start=tf.TensorSpec([None], tf.int64)))
    return [{"start": np.array([4, 1], np.int64)}, {"start": np.array([4], np.int64)}]


@model(script_fails=True)
def keras_string_lookup(folder, rng):
    net = tf.keras.Sequential([tf.keras.layers.Input((1,), dtype=tf.string), tf.keras.layers.StringLookup(vocabulary=["a", "b"])])
    net.save(str(folder), save_format="tf")
    return [{net.input_names[0]: np.array([["b"], ["x"], ["a"]], object)}]


@model(script_fails=True)
def keras_text_vectorization(folder, rng):
    layer = tf.keras.layers.TextVectorization(output_sequence_length=5)
    layer.adapt(["the cat sat", "the dog ran", "a cat"])
    net = tf.keras.Sequential([tf.keras.layers.Input((1,), dtype=tf.string), layer, tf.keras.layers.Embedding(9, 3)])
    net.save(str(folder), save_format="tf")
    return [{net.input_names[0]: np.array([["The cat, the dog!"], ["ox"], [""]], object)}]


@model(script_fails=True)
def vocabulary_column(folder, rng):
    column = tf.feature_column.categorical_column_with_vocabulary_list("word", ["a", "b", "c"], num_oov_buckets=2)
    inputs = {"word": tf.keras.Input((1,), dtype=tf.string, name="word")}
    features = tf.keras.layers.DenseFeatures([tf.feature_column.indicator_column(column)])(inputs)
    net = tf.keras.Model(inputs, tf.keras.layers.Dense(2)(features))
    net.save(str(folder), save_format="tf")
    return [{"word": np.array([["b"], ["x"], ["a"]], object)}]


@model(script_fails=True)
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
    return [{"x": normal(rng, 5, 4)}]


def v1_model(folder, make_tables):
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        words = v1.placeholder(tf.string, [None], name="words")
        ids = {f"ids_{index}": table.lookup(words) for index, table in enumerate(make_tables())}
        builder = v1.saved_model.Builder(str(folder))
        signature = v1.saved_model.predict_signature_def({"words": words}, ids)
        session.run(v1.tables_initializer())
        assets = v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS)
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": signature}, main_op=v1.tables_initializer(), assets_collection=assets
        )
        builder.save()
    return SOME


@model(script_fails=True)
def v1_table(folder, rng):
    def tables():
        return [tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], np.array([1], np.int64)), -1)]

    return v1_model(folder, tables)


@model(script_fails=True)
def v1_tables_of_two_kinds(folder, rng):
    """One from constants, one from an asset, whose path is a constant in TensorFlow 1."""
    path = text_file(folder, "words.txt", "c\nb\n")

    def tables():
        keys = tf.lookup.KeyValueTensorInitializer(["a", "c"], np.array([1, 5], np.int64))
        lines = tf.lookup.TextFileInitializer(path, tf.string, WHOLE_LINE, tf.int64, LINE_NUMBER)
        return [tf.lookup.StaticHashTable(keys, -1), tf.lookup.StaticHashTable(lines, -2)]

    return v1_model(folder, tables)
