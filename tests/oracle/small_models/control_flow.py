"""Loops, branches and maps, alone and inside each other, with variables and constants captured from outside."""

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from ..saved_models import floats, model, named, normal, save

SCALAR = tf.TensorSpec([], tf.int32)


def module_with(rng, *shape):
    module = tf.Module()
    module.weight = tf.Variable(normal(rng, *shape), name="weight")
    module.step = tf.Variable(2, name="step")
    return module


def x_and_n(rng, *counts):
    return [{"x": normal(rng, 4), "n": np.int32(count)} for count in counts]


@model()
def while_captures_a_variable(folder, rng):
    module = module_with(rng, 4)

    def run(x, n):
        _, total = tf.while_loop(lambda i, _: i < n, lambda i, t: (i + module.step, t * 0.5 + module.weight), [0, x])
        return {"total": total}

    save(folder, module, serving_default=named(run, x=floats(4), n=SCALAR))
    return x_and_n(rng, 0, 1, 7)


@model()
def while_without_variables(folder, rng):
    """A StatelessWhile."""

    def run(x, n):
        count, total, untouched = tf.while_loop(
            lambda i, *_: i < n, lambda i, t, u: (i + 1, tf.sin(t) + u[0], u), [0, x, x * 3], maximum_iterations=5
        )
        return {"count": count, "total": total, "untouched": untouched}

    save(folder, tf.Module(), serving_default=named(run, x=floats(4), n=SCALAR))
    return x_and_n(rng, 0, 3, 9)


@model(kept_calls=True)
def while_not_to_be_lowered(folder, rng):
    """Loops without the attribute that asks for lowering stay functional."""
    inputs = while_without_variables(folder, rng)
    path = folder / "saved_model.pb"
    message = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    removed = 0
    for function in message.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            if node.op in ("While", "StatelessWhile"):
                removed += 1
                del node.attr["_lower_using_switch_merge"]
    assert removed == 1, removed
    path.write_bytes(message.SerializeToString())
    return inputs


@model()
def while_with_tensor_array(folder, rng):
    module = module_with(rng, 4)

    def run(x, n):
        array = tf.TensorArray(tf.float32, size=0, dynamic_size=True, element_shape=[4])
        for i in tf.range(n):
            array = array.write(i, module.weight * tf.cast(i, tf.float32) + x)
        return {"rows": array.stack(), "last": array.read(n - 1)}

    save(folder, module, serving_default=named(run, x=floats(4), n=SCALAR))
    return x_and_n(rng, 1, 4)


@model()
def cond_captures_a_variable(folder, rng):
    module = module_with(rng, 4)

    def run(x, n):
        chosen, same = tf.cond(n > module.step, lambda: (x * module.weight, x), lambda: (x - 1.0, x))
        return {"chosen": chosen, "same": same}

    save(folder, module, serving_default=named(run, x=floats(4), n=SCALAR))
    return x_and_n(rng, 0, 5)


@model()
def cond_without_variables(folder, rng):
    """A StatelessIf whose predicate is an output too, with outputs that are inputs and constants."""

    def run(x, n):
        positive = n > 0
        a, b, c = tf.cond(positive, lambda: (x, 1.0, n), lambda: (tf.exp(x), 2.0, -n))
        return {"a": a, "b": b, "c": c, "positive": positive}

    save(folder, tf.Module(), serving_default=named(run, x=floats(4), n=SCALAR))
    return x_and_n(rng, 3, -3)


@model()
def switch_case(folder, rng):
    module = module_with(rng, 4)

    def run(x, n):
        branches = [lambda: x + module.weight, lambda: x * 2.0, lambda: tf.reverse(module.weight, [0])]
        return {"y": tf.switch_case(n, branches, default=lambda: tf.zeros([4]))}

    save(folder, module, serving_default=named(run, x=floats(4), n=SCALAR))
    return x_and_n(rng, 0, 1, 2, 3, -1)


@model()
def map_functions(folder, rng):
    module = module_with(rng, 3)

    def run(x):
        a, b = tf.map_fn(lambda row: (row * module.weight, tf.argmax(row)), x, fn_output_signature=(tf.float32, tf.int64))
        nested = tf.map_fn(lambda row: tf.map_fn(lambda v: v * v + module.weight[0], row), x)
        summed = tf.scan(lambda total, row: total * 0.5 + row * module.weight, x)
        folded = tf.foldr(lambda total, row: total - row, x)
        return {"a": a, "b": b, "nested": nested, "summed": summed, "folded": folded}

    save(folder, module, serving_default=named(run, x=floats(None, 3)))
    return [{"x": normal(rng, count, 3)} for count in (1, 5)]


@model()
def vectorized_map(folder, rng):
    module = module_with(rng, 3)
    run = lambda x: {"y": tf.vectorized_map(lambda row: tf.tensordot(row, module.weight, 1), x)}  # noqa: E731
    save(folder, module, serving_default=named(run, x=floats(None, 3)))
    return [{"x": normal(rng, 4, 3)}]


@model()
def nested(folder, rng):
    """A loop in a branch in a loop in a function, each level reading the same variable and one of the arguments."""
    module = module_with(rng, 4)

    @tf.function
    def inner(value, count):
        for i in tf.range(count):
            if i % 2 == 0:
                for _ in tf.range(i):
                    value += module.weight * 0.1
            else:
                value = tf.cond(value[0] > 0, lambda v=value: v - module.weight, lambda v=value: v * 0.9)
        return value

    def run(x, n):
        return {"once": inner(x, n), "twice": inner(inner(x, 3), n)}

    save(folder, module, serving_default=named(run, x=floats(4), n=SCALAR))
    return x_and_n(rng, 0, 1, 6)


@model()
def early_exit(folder, rng):
    """Autograph's break, continue and return inside a loop."""
    module = module_with(rng, 4)

    @tf.function
    def search(x, n):
        found = -1
        for i in tf.range(n):
            if i == module.step:
                continue
            if tf.reduce_sum(x) * tf.cast(i, tf.float32) > 3.0:
                found = i
                break
            x += tf.abs(module.weight)
        if found < 0:
            return x, found
        return x * 2.0, found

    def run(x, n):
        x, found = search(x, n)
        return {"x": x, "found": found}

    save(folder, module, serving_default=named(run, x=floats(4), n=SCALAR))
    return x_and_n(rng, 0, 2, 12)


@model(script_fails=True)
def gradient_of_a_loop(folder, rng):
    """Accumulators, tensor lists that one loop pushes to and another pops from; VariableShape, which the script cannot freeze."""
    module = module_with(rng, 4)

    def run(x, n):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = x
            for _ in tf.range(n):
                value = tf.tanh(value * module.weight)
            total = tf.reduce_sum(value)
        return {"value": value, "gradient": tape.gradient(total, x)}

    save(folder, module, serving_default=named(run, x=floats(4), n=SCALAR))
    return x_and_n(rng, 1, 4)


@model()
def growing_shape(folder, rng):
    def run(x, n):
        _, grown = tf.while_loop(
            lambda i, _: i < n,
            lambda i, rows: (i + 1, tf.concat([rows, rows[:1] * 2.0], 0)),
            [0, tf.expand_dims(x, 0)],
            shape_invariants=[tf.TensorShape([]), tf.TensorShape([None, 4])],
        )
        return {"grown": grown}

    save(folder, tf.Module(), serving_default=named(run, x=floats(4), n=SCALAR))
    return x_and_n(rng, 0, 3)


@model()
def assertions_in_branches(folder, rng):
    """Asserts and prints are connected by control edges only."""
    module = module_with(rng, 4)

    def run(x, n):
        def checked():
            with tf.control_dependencies([tf.debugging.assert_less(tf.reduce_max(x), 1e6)]):
                return x + module.weight

        return {"y": tf.cond(n > 0, checked, lambda: x)}

    save(folder, module, serving_default=named(run, x=floats(4), n=SCALAR))
    return x_and_n(rng, 0, 1)


@model(kept_calls=True)
def raw_stateless_operations(folder, rng):
    """Functional operations written by hand, whose branches are functions that a call uses too."""

    @tf.function(input_signature=[floats(4)])
    def double(v):
        return v * 2.0

    @tf.function(input_signature=[floats(4)])
    def negate(v):
        return -v

    then, other = double.get_concrete_function(), negate.get_concrete_function()

    def run(x, n):
        chosen = tf.raw_ops.StatelessIf(cond=n > 0, input=[x], Tout=[tf.float32], then_branch=then, else_branch=other)
        case = tf.raw_ops.StatelessCase(branch_index=n, input=[x], Tout=[tf.float32], branches=[then, other])
        return {"if": chosen[0] + double(x), "case": case[0]}

    save(folder, tf.Module(), serving_default=named(run, x=floats(4), n=SCALAR))
    return x_and_n(rng, 0, 1)


@model(script_fails=True)
def loop_that_gathers(folder, rng):
    """A gather from a captured embedding inside a loop inside a called function. The script's result does not run: the gather's axis is
    a constant outside the loop's frame."""
    module = module_with(rng, 6, 4)

    @tf.function
    def lookup(n):
        total = tf.zeros([4])
        for i in tf.range(n):
            total += tf.nn.embedding_lookup(module.weight, i % 6)
        return total

    save(folder, module, serving_default=named(lambda x, n: {"y": lookup(n) + x}, x=floats(4), n=SCALAR))
    return x_and_n(rng, 0, 9)
