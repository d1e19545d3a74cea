"""Functions that call functions: nested, shared, not to be inlined, with captured constants, with side effects."""

import numpy as np
import tensorflow as tf

from ..saved_models import floats, model, named, normal, save


def weighted(rng, *shape):
    module = tf.Module()
    module.weight = tf.Variable(normal(rng, *shape), name="weight")
    return module


@model()
def nested_functions(folder, rng):
    module = weighted(rng, 4)
    module.bias = tf.Variable(normal(rng, 4), name="bias")

    @tf.function
    def innermost(v):
        return v * module.weight, v, tf.reduce_sum(v)

    @tf.function
    def middle(v):
        product, same, _ = innermost(v + module.bias)
        return {"product": product, "same": same}

    @tf.function
    def outer(v):
        return middle(middle(v)["product"])

    save(folder, module, serving_default=named(lambda x: outer(x), x=floats(4)))
    return [{"x": normal(rng, 4)}]


@model(kept_calls=True)
def noinline(folder, rng):
    """A function that must stay a call, reading a variable directly and through a function of its own."""
    module = weighted(rng, 4)

    @tf.function
    def inner(v):
        return v + module.weight

    @tf.function(experimental_attributes={"_noinline": True})
    def opaque(v):
        return inner(v) * module.weight, v

    def run(x):
        product, same = opaque(x)
        return {"y": opaque(product)[0], "same": same}

    save(folder, module, serving_default=named(run, x=floats(4)))
    return [{"x": normal(rng, 4)}]


@model(kept_calls=True)
def noinline_in_control_flow(folder, rng):
    module = weighted(rng, 4)

    @tf.function(experimental_attributes={"_noinline": True})
    def opaque(v):
        return tf.cond(v[0] > 0.0, lambda: v * module.weight, lambda: v)

    def run(x):
        for _ in tf.range(3):
            x = opaque(x) - 0.1
        return {"y": x}

    save(folder, module, serving_default=named(tf.autograph.to_graph(run), x=floats(4)))
    return [{"x": normal(rng, 4)}, {"x": -normal(rng, 4)}]


@model()
def captured_constants(folder, rng):
    module = weighted(rng, 4)
    eager = tf.constant(normal(rng, 4))
    large = tf.constant(normal(rng, 300, 4))
    words = tf.constant(["one", "two"])
    flags = tf.constant([True, False, True, True])

    @tf.function
    def run_inner(v):
        return tf.where(flags, v * eager, module.weight) + large, words

    def run(x):
        y, names = run_inner(x)
        return {"y": y, "names": names, "whole": tf.reduce_sum(large)}

    save(folder, module, serving_default=named(run, x=floats(4)))
    return [{"x": normal(rng, 4)}]


@model()
def control_dependencies(folder, rng):
    """Calls kept in order by control edges, an assertion that stays, and results that nothing reads."""
    module = weighted(rng, 4)

    @tf.function
    def checked(v):
        tf.debugging.assert_less(tf.reduce_max(tf.abs(v)), 1e6, message="too large")
        _ = v * 5.0
        return v + module.weight

    def run(x):
        y = checked(x)
        with tf.control_dependencies([y]):
            return {"y": checked(y), "x": tf.identity(x)}

    save(folder, module, serving_default=named(run, x=floats(4)))
    return [{"x": normal(rng, 4)}]


@model()
def custom_gradients(folder, rng):
    """Functions with gradient functions registered beside them, and one whose gradient is part of the signature."""
    module = weighted(rng, 4)

    @tf.custom_gradient
    def clipped(v):
        return tf.clip_by_value(v, -1.0, 1.0), lambda upstream: upstream * 0.5

    @tf.function
    def loss(v):
        return tf.reduce_sum(tf.square(v) * module.weight)

    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(clipped(x))
        return {"value": value, "gradient": tape.gradient(value, x)}

    save(folder, module, serving_default=named(run, x=floats(4)))
    return [{"x": normal(rng, 4)}]


@model()
def string_operations(folder, rng):
    def run(text):
        parts = tf.strings.split(text, " ")
        return {"lengths": parts.row_lengths(), "flat": parts.flat_values, "joined": tf.strings.join([text, "!"])}

    save(folder, tf.Module(), serving_default=named(run, text=tf.TensorSpec([None], tf.string)))
    return [{"text": np.array(["a b c", "", "one  two"], object)}]


@model()
def decoded_images(folder, rng):
    """Encoded images in, as detection exports have them: a map over strings, with a decoder that branches."""
    module = weighted(rng, 3)

    def run(image_bytes):
        def decode(data):
            image = tf.io.decode_image(data, channels=3, expand_animations=False)
            image.set_shape([None, None, 3])
            return tf.image.resize(tf.cast(image, tf.float32), [6, 5]) * module.weight

        return {"images": tf.map_fn(decode, image_bytes, fn_output_signature=tf.float32)}

    save(folder, module, serving_default=named(run, image_bytes=tf.TensorSpec([None], tf.string)))
    pixels = [rng.integers(0, 256, (8, 9, 3)).astype(np.uint8) for _ in range(2)]
    encoded = [tf.io.encode_png(pixels[0]).numpy(), tf.io.encode_jpeg(pixels[1]).numpy()]
    return [{"image_bytes": np.array(encoded, object)}]


@model(kept_calls=True, other_kernels=True)
def compiled_by_xla(folder, rng):
    """`jit_compile=True` marks a call as one that must not be inlined. The mark is a private attribute, which ours does not have."""
    module = weighted(rng, 4)

    @tf.function(jit_compile=True)
    def compiled(v):
        return tf.tanh(v * module.weight)

    save(folder, module, serving_default=named(lambda x: {"y": compiled(x) + 1.0}, x=floats(4)))
    return [{"x": normal(rng, 4)}]


@model()
def many_calls(folder, rng):
    """A hundred calls of one function, in a chain forty functions deep."""
    module = weighted(rng, 4)

    @tf.function
    def leaf(v):
        return tf.sin(v) + module.weight

    function = leaf
    for _ in range(40):
        function = tf.function(lambda v, inner=function: inner(v) * 0.5 + leaf(v))

    save(folder, module, serving_default=named(lambda x: {"y": function(x)}, x=floats(4)))
    return [{"x": normal(rng, 4)}]
