"""Runs a SavedModel in every way that TensorFlow's users do, with whatever TensorFlow (2.2 to 2.21) the interpreter has.

Usage: run_clients.py SAVED_MODEL INPUTS.npz OUTPUTS.npz [WAY...]. Inputs are arrays by the names of the signature's inputs; outputs are written as
`<way>/<key>`, for the ways given, by default all that `WAYS` lists. The positional call takes the inputs in the order of `__call__`'s arguments.
"""

import os
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

SIGNATURE = "serving_default"


def arrays(outputs):
    return {key: value.numpy() for key, value in outputs.items()}


def tensors(inputs):
    return {name: tf.constant(value) for name, value in inputs.items()}


def call_by_keyword(folder, inputs):
    return arrays(tf.saved_model.load(folder)(**tensors(inputs)))


def call_by_position(folder, inputs):
    model = tf.saved_model.load(folder)
    spec = model.__call__.concrete_functions[0].structured_input_signature[0]
    return arrays(model(*[tf.constant(inputs[argument.name]) for argument in spec]))


def call_signature(folder, inputs):
    model = tf.saved_model.load(folder)  # owns the variables: must outlive the call
    return arrays(model.signatures[SIGNATURE](**tensors(inputs)))


def call_frozen(folder, inputs):
    """Freezes, and runs the graph by itself: outputs are `Identity`, `Identity_1`, … in the order of the keys."""
    model = tf.saved_model.load(folder)
    signature = model.signatures[SIGNATURE]
    graph_def = convert_variables_to_constants_v2(signature).graph.as_graph_def()
    leftovers = {node.op for node in graph_def.node} & {"VarHandleOp", "ReadVariableOp", "StatefulPartitionedCall"}
    assert not leftovers, leftovers
    keys = sorted(signature.structured_outputs)
    names = ["Identity" if index == 0 else "Identity_%d" % index for index in range(len(keys))]
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        with tf.compat.v1.Session(graph=graph) as session:
            values = session.run([name + ":0" for name in names], {name + ":0": value for name, value in inputs.items()})
    return dict(zip(keys, values))


def call_resaved(folder, inputs):
    model = tf.saved_model.load(folder)
    with tempfile.TemporaryDirectory() as other:
        tf.saved_model.save(model, other, signatures=dict(model.signatures))
        return call_signature(other, inputs)


def run_session(session, meta_graph, inputs):
    signature = meta_graph.signature_def[SIGNATURE]
    feeds = {signature.inputs[name].name: value for name, value in inputs.items()}
    return session.run({key: info.name for key, info in signature.outputs.items()}, feeds)


def call_v1(folder, inputs):
    """The loader that TensorFlow Serving and the C library share."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta_graph = tf.compat.v1.saved_model.load(session, ["serve"], folder)
        return run_session(session, meta_graph, inputs)


def call_v1_saved(folder, inputs):
    """Saves the variables from a session and restores them in another."""
    with tempfile.TemporaryDirectory() as other:
        prefix = os.path.join(other, "variables")
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            meta_graph = tf.compat.v1.saved_model.load(session, ["serve"], folder)
            saver = meta_graph.saver_def
            session.run(saver.save_tensor_name, {saver.filename_tensor_name: prefix})
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            tf.compat.v1.train.import_meta_graph(meta_graph)
            session.run(saver.restore_op_name, {saver.filename_tensor_name: prefix})
            return run_session(session, meta_graph, inputs)


WAYS = {
    way.__name__: way
    for way in (call_by_keyword, call_by_position, call_signature, call_frozen, call_resaved, call_v1, call_v1_saved)
}


def main():
    folder, inputs_path, outputs_path = sys.argv[1:4]
    inputs = dict(np.load(inputs_path))
    results = {}
    for name in sys.argv[4:] or WAYS:
        results.update({"%s/%s" % (name, key): value for key, value in WAYS[name](folder, inputs).items()})
    np.savez(outputs_path, **results)
    print("TensorFlow", tf.__version__)


if __name__ == "__main__":
    main()
