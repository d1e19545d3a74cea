"""Signatures of every shape: several, with many inputs and outputs, none, outputs that are inputs, names that need care."""

import numpy as np
import tensorflow as tf

from ..saved_models import floats, model, named, normal, save


def weighted(rng, *shape):
    module = tf.Module()
    module.weight = tf.Variable(normal(rng, *shape), name="weight")
    return module


@model()
def several_signatures(folder, rng):
    module = weighted(rng, 3)
    train = named(lambda x, y: {"loss": tf.reduce_sum((x * module.weight - y) ** 2)}, x=floats(None, 3), y=floats(None, 3))
    predict = named(lambda x: {"prediction": x * module.weight}, x=floats(None, 3))
    save(folder, module, serving_default=predict, loss=train, predict=predict)
    x, y = normal(rng, 2, 3), normal(rng, 2, 3)
    return {"serving_default": [{"x": x}], "loss": [{"x": x, "y": y}], "predict": [{"x": x}]}


@model()
def only_other_signatures(folder, rng):
    module = weighted(rng, 3)
    save(folder, module, embed=named(lambda x: {"y": x * module.weight}, x=floats(3)))
    return {"embed": [{"x": normal(rng, 3)}]}


@model()
def many_inputs_and_outputs(folder, rng):
    """Twelve of each: sorted as text, `in_10` and `out_10` come before `in_2` and `out_2`."""
    module = weighted(rng, 3)
    names = [f"in_{index}" for index in range(12)]

    def run(**inputs):
        return {name.replace("in", "out"): inputs[name] * float(index + 1) + module.weight for index, name in enumerate(names)}

    save(folder, module, serving_default=named(run, **{name: floats(3) for name in reversed(names)}))
    return [{name: normal(rng, 3) for name in names}]


@model()
def outputs_that_are_inputs(folder, rng):
    def run(a, b):
        total = a + b
        return {"a": a, "again": a, "b": b, "sum": total, "same_sum": total}

    save(folder, tf.Module(), serving_default=named(run, a=floats(None), b=floats(None)))
    return [{"a": normal(rng, 4), "b": normal(rng, 4)}]


@model()
def outputs_that_are_constants(folder, rng):
    module = weighted(rng, 3)
    constant = tf.constant([1.0, 2.0])
    run = lambda x: {"weight": module.weight, "constant": constant, "literal": tf.constant(7), "x": -x}  # noqa: E731
    save(folder, module, serving_default=named(run, x=floats(3)))
    return [{"x": normal(rng, 3)}]


@model()
def no_inputs(folder, rng):
    module = weighted(rng, 3)
    save(folder, module, serving_default=named(lambda: {"y": module.weight * 2.0}))
    return [{}]


@model(unread=("unread",))
def unused_inputs(folder, rng):
    module = weighted(rng, 3)
    module.unread = tf.Variable(normal(rng, 5), name="unread")

    @tf.function
    def pick(first, second, third):
        _ = module.unread * 2.0
        return second * module.weight, first

    def run(used, ignored, also_ignored):
        return {"y": pick(ignored, used, also_ignored)[0]}

    save(folder, module, serving_default=named(run, used=floats(3), ignored=floats(7), also_ignored=tf.TensorSpec([], tf.string)))
    return [{"used": normal(rng, 3), "ignored": normal(rng, 7), "also_ignored": np.array(b"text", object)}]


@model()
def structured_outputs(folder, rng):
    """A list as output is numbered (`output_0`, …) by the saver."""
    module = weighted(rng, 3)

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def run(x):
        return [x * module.weight, tf.reduce_sum(x), tf.shape(x)]

    save(folder, module, serving_default=run)
    return [{"x": normal(rng, 2, 3)}]


class Callable(tf.Module):
    """A module whose only function becomes the default signature by itself; modules inside, in a list and a dictionary."""

    def __init__(self, rng):
        super().__init__(name="callable")
        with self.name_scope:
            self.parts = [weighted(rng, 3), {"inner": weighted(rng, 3)}]

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32)])
    def __call__(self, x):
        return x * self.parts[0].weight + self.parts[1]["inner"].weight


@model()
def module_with_default_signature(folder, rng):
    tf.saved_model.save(Callable(rng), str(folder))
    return [{"x": normal(rng, 2, 3)}]


@model()
def unusual_names(folder, rng):
    """Keys and argument names as people write them."""
    module = weighted(rng, 3)

    def run(**inputs):
        return {"scores/final": inputs["Image_1"] * module.weight, "Boxes-2": inputs["class"] + 1.0, "9": inputs["import_"]}

    specs = {name: floats(None, 3) for name in ("Image_1", "class", "import_")}
    save(folder, module, serving_default=named(run, **specs))
    return [{name: normal(rng, 1, 3) for name in specs}]


@model()
def input_dtypes(folder, rng):
    names = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64", "complex64", "string")
    specs = {f"in_{name}": tf.TensorSpec([2], tf.as_dtype(name)) for name in names}
    save(folder, tf.Module(), serving_default=named(lambda **inputs: {k[3:]: tf.reverse(v, [0]) for k, v in inputs.items()}, **specs))
    values = {f"in_{name}": np.array([1, 0]).astype(tf.as_dtype(name).as_numpy_dtype) for name in names if name != "string"}
    return [{**values, "in_string": np.array([b"a", b"\xff\x00"], object)}]


@model()
def unknown_rank(folder, rng):
    module = weighted(rng, 3)
    spec = tf.TensorSpec(None, tf.float32)
    save(folder, module, serving_default=named(lambda x: {"y": x * module.weight, "rank": tf.rank(x)}, x=spec))
    return [{"x": normal(rng, 3)}, {"x": normal(rng, 2, 1, 3)}]


@model(tags=("serve", "gpu"))
def other_tags(folder, rng):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None, 3], name="x")
        weight = tf.compat.v1.get_variable("weight", initializer=normal(rng, 3), use_resource=True)
        y = tf.multiply(x, weight, name="y")
        session.run(tf.compat.v1.global_variables_initializer())
        builder = tf.compat.v1.saved_model.Builder(str(folder))
        signature = tf.compat.v1.saved_model.predict_signature_def({"x": x}, {"y": y})
        builder.add_meta_graph_and_variables(session, ["serve", "gpu"], {"serving_default": signature})
        builder.add_meta_graph(["train"], {"training": signature})
        builder.save()
    return [{"x": normal(rng, 2, 3)}]
