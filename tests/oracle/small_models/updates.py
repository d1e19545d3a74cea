"""Models that assign to their variables and read them later in the same call: what is refused, unless updates are dropped."""

import numpy as np
import tensorflow as tf

from ..saved_models import floats, model, named, normal, save

v1 = tf.compat.v1


@model(refused=("ResourceScatter", "--drop_updates"))
def rows_changed_and_read(folder, rng):
    """Rows, one of them twice, by every operation that changes rows, with updates row by row and one number for all."""
    module = tf.Module()
    module.rows = tf.Variable(normal(rng, 5, 3), name="rows")
    module.counts = tf.Variable([3, -20, 7], name="counts")

    def run(x):
        results = {}
        indices = tf.constant([[3, 1], [0, 3]])
        for name in ("Update", "Add", "Sub", "Mul", "Div", "Min", "Max"):
            change = getattr(tf.raw_ops, f"ResourceScatter{name}")
            repeated = tf.constant([[3, 1], [0, 4]]) if name == "Update" else indices
            change(resource=module.rows.handle, indices=repeated, updates=x + len(results))
            results[name.lower()] = module.rows.read_value()
            change(resource=module.rows.handle, indices=[2], updates=tf.reduce_sum(x))
            results[f"{name.lower()}_one"] = module.rows.read_value()
        tf.raw_ops.ResourceScatterDiv(resource=module.counts.handle, indices=[1, 0, 1], updates=[3, 2, -2])
        results["counts"] = module.counts.read_value()
        return results

    save(folder, module, serving_default=named(run, x=floats(2, 2, 3)))


@model(refused=("ResourceScatterNd", "--drop_updates"))
def elements_changed_and_read(folder, rng):
    module = tf.Module()
    module.weight = tf.Variable(normal(rng, 4, 3), name="weight")

    def run(x):
        indices = [[0, 2], [3, 1], [0, 2]]
        module.weight.scatter_nd_add(indices, x)
        results = {"add": module.weight.read_value()}
        module.weight.scatter_nd_sub([[1]], [x])
        results["sub"] = module.weight.read_value()
        module.weight.scatter_nd_update([[2, 0]], x[:1])
        results["update"] = module.weight.read_value()
        module.weight.scatter_nd_max(indices, x)
        module.weight.scatter_nd_min([[3, 0]], x[1:2])
        results["rows"] = module.weight.gather_nd([[0], [3]])
        return results

    save(folder, module, serving_default=named(run, x=floats(3)))


@model(refused=("ResourceStridedSliceAssign", "--drop_updates"))
def slices_assigned_and_read(folder, rng):
    module = tf.Module()
    module.weight = tf.Variable(normal(rng, 4, 3), name="weight")

    def run(x):
        module.weight[1:4:2, ::-1].assign(x)
        first = module.weight.read_value()
        module.weight[..., 0].assign(tf.ones([4]))
        module.weight[2, 1].assign(x[0, 0])
        return {"first": first, "second": module.weight * 2.0}

    save(folder, module, serving_default=named(run, x=floats(2, 3)))


@model(refused=("AssignAddVariableOp", "--drop_updates"))
def counters_read_later(folder, rng):
    """Counters that go up, down and up to a limit, and that a branch may change."""
    module = tf.Module()
    module.calls = tf.Variable(4, name="calls")
    module.left = tf.Variable(np.int64(9), name="left")

    def run(x):
        up = module.calls.assign_add(2)
        module.left.assign_sub(3)
        before = tf.raw_ops.ResourceCountUpTo(resource=module.calls.handle, limit=100, T=tf.int32)
        if tf.reduce_sum(x) > 0.0:
            module.calls.assign_add(10)
            module.left.assign(tf.cast(module.calls, tf.int64))
        elif tf.reduce_max(x) > 5.0:
            module.left.assign_add(1)
        return {"up": up, "before": before, "calls": module.calls.read_value(), "left": module.left + 1, "x": x}

    save(folder, module, serving_default=named(run, x=floats(3)))


@model(refused=("RngReadAndSkip", "--drop_updates"))
def generator_drawn_from_twice(folder, rng):
    """From a state whose first number overflows after the first draw."""
    module = tf.Module()
    module.generator = tf.random.Generator.from_state(tf.constant([-300, 6, 5], tf.int64), alg="philox")

    def run(x):
        draws = [module.generator.normal([3]), module.generator.uniform([2, 2]), module.generator.normal([3])]
        return {"first": x + draws[0], "second": draws[1], "third": draws[2], "state": module.generator.state.read_value()}

    save(folder, module, serving_default=named(run, x=floats(3)))


@model(refused=("AssignAddVariableOp", "--drop_updates"))
def assignment_in_a_function_not_inlined(folder, rng):
    module = tf.Module()
    module.total = tf.Variable(normal(rng, 3), name="total")

    @tf.function(experimental_attributes={"_noinline": True})
    def add(x):
        return module.total.assign_add(x) * 2.0

    save(folder, module, serving_default=named(lambda x: {"doubled": add(x), "total": module.total.read_value()}, x=floats(3)))


def save_v1(folder, define, **options):
    with tf.Graph().as_default(), v1.Session() as session:
        inputs, outputs = define()
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder))
        signature = v1.saved_model.predict_signature_def(inputs, outputs)
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature}, **options)
        builder.save()


@model(refused=("Assign", "--drop_updates"))
def v1_references_assigned_and_read(folder, rng):
    """Reference variables: what is behind an assignment reads what it has assigned, even by a node that read the variable before."""

    def define():
        x = v1.placeholder(tf.float32, [3], name="x")
        total = v1.get_variable("total", initializer=normal(rng, 4, 3), use_resource=False)
        step = v1.get_variable("step", initializer=np.int32(7), use_resource=False)
        before = tf.identity(total, name="before") * 1.0
        with tf.control_dependencies([before]):
            added = v1.assign_add(total, tf.stack([x] * 4))
        with tf.control_dependencies([added]):
            after = tf.identity(total) * 2.0
        with tf.control_dependencies([after]):
            scattered = v1.scatter_update(total, [2, 0], tf.stack([x, -x]))
            count = v1.count_up_to(step, 100)
        with tf.control_dependencies([scattered, count]):
            counted = tf.identity(step) + 0
            rows = v1.scatter_add(total, [1], x[None])[1:] + 0.0
        with tf.control_dependencies([rows]):
            part = total[1:3, 0].assign(x[:2]) * 1.0
        outputs = {"before": before, "after": after, "count": count, "counted": counted, "rows": rows, "part": part}
        return {"x": x}, outputs

    save_v1(folder, define)


@model(refused=("ApplyGradientDescent", "--drop_updates"))
def v1_training_step(folder, rng):
    """An output that waits for a step of training, whose result nothing reads."""

    def define():
        x = v1.placeholder(tf.float32, [None, 3], name="x")
        kernel = v1.get_variable("kernel", initializer=normal(rng, 3, 2), use_resource=False)
        y = tf.matmul(x, kernel)
        train = v1.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(y))
        with tf.control_dependencies([y]):
            z = y + 1.0
        with tf.control_dependencies([train]):
            return {"x": x}, {"y": z, "n": tf.shape(x)[0] + 0}

    save_v1(folder, define)
