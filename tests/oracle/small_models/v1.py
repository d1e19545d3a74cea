"""SavedModels as TensorFlow 1 wrote them: a signature over a plain graph with variables, no functions, no object graph."""

import contextlib

import numpy as np
import tensorflow as tf

from ..saved_models import model, normal

v1 = tf.compat.v1


@contextlib.contextmanager
def control_flow_v1():
    """Makes `while_loop` and `cond` write Switch, Merge, Enter, … and no functions."""
    was_on = v1.control_flow_v2_enabled()
    v1.disable_control_flow_v2()
    try:
        yield
    finally:
        if was_on:
            v1.enable_control_flow_v2()


def write(folder, define, strip=True, **options):
    """Saves the graph that `define()` makes; it returns (inputs, outputs), dictionaries of tensors."""
    with tf.Graph().as_default(), v1.Session() as session:
        inputs, outputs = define()
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder))
        signature = v1.saved_model.predict_signature_def(inputs, outputs)
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": signature}, strip_default_attrs=strip, **options
        )
        builder.save()


def layer(x, rng, columns, use_resource, name):
    with v1.variable_scope(name, use_resource=use_resource):
        kernel = v1.get_variable("kernel", initializer=normal(rng, int(x.shape[-1]), columns))
        bias = v1.get_variable("bias", initializer=normal(rng, columns))
        return tf.tanh(tf.matmul(x, kernel) + bias)


def two_layers(folder, rng, use_resource):
    def define():
        x = v1.placeholder(tf.float32, [None, 4], name="images")
        hidden = layer(x, rng, 6, use_resource, "first")
        return {"pixels": x}, {"scores": layer(hidden, rng, 2, use_resource, "second"), "hidden": hidden}

    write(folder, define)
    return [{"pixels": normal(rng, 3, 4)}]


@model()
def v1_reference_variables(folder, rng):
    """VariableV2 nodes, whose values are read by Identity."""
    return two_layers(folder, rng, use_resource=False)


@model()
def v1_resource_variables(folder, rng):
    return two_layers(folder, rng, use_resource=True)


@model()
def v1_partitioned_variables(folder, rng):
    """A variable saved as slices of one tensor."""

    def define():
        x = v1.placeholder(tf.float32, [None, 7], name="x")
        with v1.variable_scope("scope", use_resource=True, partitioner=v1.fixed_size_partitioner(3)):
            weight = v1.get_variable("weight", [7, 2], initializer=v1.random_normal_initializer(seed=1))
        return {"x": x}, {"y": tf.matmul(x, tf.convert_to_tensor(weight)), "first": tf.identity(list(weight)[0])}

    write(folder, define)
    return [{"x": normal(rng, 3, 7)}]


@model()
def v1_control_flow(folder, rng):
    def define():
        x = v1.placeholder(tf.float32, [4], name="x")
        n = v1.placeholder(tf.int32, [], name="n")
        weight = v1.get_variable("weight", initializer=normal(rng, 4), use_resource=True)
        _, total = v1.while_loop(lambda i, _: i < n, lambda i, t: (i + 1, t * 0.5 + weight), [0, x])
        chosen = v1.cond(n > 2, lambda: x * weight, lambda: v1.cond(n > 1, lambda: x, lambda: -x))
        rows = tf.map_fn(lambda v: v * v + weight[0], x)
        return {"x": x, "n": n}, {"total": total, "chosen": chosen, "rows": rows}

    with control_flow_v1():
        write(folder, define)
    return [{"x": normal(rng, 4), "n": np.int32(count)} for count in (0, 2, 5)]


@model()
def v1_nested_loops(folder, rng):
    def define():
        x = v1.placeholder(tf.float32, [4], name="x")
        n = v1.placeholder(tf.int32, [], name="n")

        def body(i, total):
            inner = v1.while_loop(lambda j, _: j < i, lambda j, t: (j + 1, t + 1.0), [0, total])[1]
            return i + 1, v1.cond(i > 1, lambda: inner * 2.0, lambda: inner)

        return {"x": x, "n": n}, {"y": v1.while_loop(lambda i, _: i < n, body, [0, x])[1]}

    with control_flow_v1():
        write(folder, define)
    return [{"x": normal(rng, 4), "n": np.int32(count)} for count in (0, 4)]


@model()
def v1_functional_control_flow(folder, rng):
    """A plain graph with While and If nodes."""

    def define():
        x = v1.placeholder(tf.float32, [4], name="x")
        n = v1.placeholder(tf.int32, [], name="n")
        weight = v1.get_variable("weight", initializer=normal(rng, 4), use_resource=True)
        _, total = tf.while_loop(lambda i, _: i < n, lambda i, t: (i + 1, t * 0.5 + weight), [0, x])
        return {"x": x, "n": n}, {"total": total, "chosen": tf.cond(n > 2, lambda: x * weight, lambda: x)}

    write(folder, define)
    return [{"x": normal(rng, 4), "n": np.int32(count)} for count in (0, 5)]


@model()
def v1_outputs_with_ports(folder, rng):
    """Signature tensors that are not the first output of their node, or are used by name in odd ways."""

    def define():
        x = v1.placeholder(tf.float32, [None, 6], name="scope/x")
        first, second, third = tf.split(x, 3, axis=1, name="split")
        values, indices = tf.nn.top_k(third * 2.0, 2, name="top")
        return {"x": x}, {"b": second, "a": first, "indices": indices, "values": values, "x_itself": x}

    write(folder, define)
    return [{"x": normal(rng, 2, 6)}]


@model()
def v1_default_placeholder(folder, rng):
    """A placeholder with a default, one as an input and one that is not part of the signature."""

    def define():
        x = v1.placeholder_with_default(tf.constant([[1.0, 2.0]]), [None, 2], name="x")
        training = v1.placeholder_with_default(False, [], name="training")
        weight = v1.get_variable("weight", initializer=normal(rng, 2), use_resource=True)
        return {"x": x}, {"y": tf.where(training, x * 0.0, x * weight)}

    write(folder, define)
    return [{"x": normal(rng, 3, 2)}]


@model()
def v1_input_inside_the_graph(folder, rng):
    """An input that is not a placeholder: feeding it cuts off what computed it, here a decoder of strings."""

    def define():
        raw = v1.placeholder(tf.string, [None], name="raw")
        decoded = tf.reshape(tf.io.decode_raw(raw, tf.float32), [-1, 4], name="decoded")
        weight = v1.get_variable("weight", initializer=normal(rng, 4), use_resource=True)
        return {"decoded": decoded}, {"y": decoded * weight}

    write(folder, define)
    return [{"decoded": normal(rng, 2, 4)}]


@model(unread=("global_step", "only/bias/Momentum", "only/kernel/Momentum"))
def v1_training_graph(folder, rng):
    """Gradients, an optimizer and a saver stay in the graph beside the signature; defaults are written out."""

    def define():
        x = v1.placeholder(tf.float32, [None, 4], name="x")
        y = layer(x, rng, 2, True, "only")
        v1.train.MomentumOptimizer(0.1, 0.9).minimize(tf.reduce_sum(y), global_step=v1.train.get_or_create_global_step())
        v1.summary.scalar("loss", tf.reduce_sum(y))
        v1.train.Saver()
        return {"x": x}, {"y": y}

    write(folder, define, strip=False)
    return [{"x": normal(rng, 3, 4)}]


@model()
def v1_calls_by_name(folder, rng):
    """Nodes whose operation is the name of a function of the library."""
    from tensorflow.python.framework import function

    @function.Defun(tf.float32, tf.float32)
    def scaled_sum(a, b):
        return a * 2.0 + b, a - b

    @function.Defun(tf.float32)
    def outer(a):
        first, second = scaled_sum(a, a * 3.0)
        return first + second

    def define():
        x = v1.placeholder(tf.float32, [4], name="x")
        weight = v1.get_variable("weight", initializer=normal(rng, 4), use_resource=True)
        return {"x": x}, {"y": outer(x + weight), "z": scaled_sum(x, weight)[1]}

    write(folder, define)
    return [{"x": normal(rng, 4)}]


@model()
def v1_batch_norm(folder, rng):
    def define():
        x = v1.placeholder(tf.float32, [None, 6, 6, 3], name="x")
        with v1.variable_scope("block"):
            kernel = v1.get_variable("kernel", initializer=normal(rng, 3, 3, 3, 8))
            parts = {name: v1.get_variable(name, initializer=normal(rng, 8)) for name in ("gamma", "beta", "mean")}
            variance = v1.get_variable("variance", initializer=np.abs(normal(rng, 8)) + 0.5)
            y = v1.nn.fused_batch_norm(
                tf.nn.conv2d(x, kernel, 1, "SAME"), parts["gamma"], parts["beta"], parts["mean"], variance, is_training=False
            )[0]
        return {"x": x}, {"y": tf.nn.relu6(y)}

    write(folder, define)
    return [{"x": normal(rng, 2, 6, 6, 3)}]


@model(tags=())
def without_tags(folder, rng):
    """The only graph of the file has no tags."""
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 3], name="x")
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": 2.0 * x})
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, [], {"serving_default": signature})
        builder.save()
    return [{"x": normal(rng, 2, 3)}]
