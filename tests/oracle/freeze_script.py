"""The freezing script that TensorFlow's users pass around: the reference of `tfod freeze`, and what its benchmark is measured against.

Usage: freeze_script.py SAVED_MODEL OUTPUT.pb. As a module it also says what the frozen graph's interface is. TensorFlow 2 only.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2


def load(folder, tags=None):
    """Returns the loaded object. It owns the variables, so it must outlive every use of its signatures."""
    return tf.saved_model.load(folder, tags=tags)


def freeze(function, keep_control_flow=False):
    """Returns the frozen GraphDef of a signature's function, and its interface.

    The interface is `{"inputs": [...], "outputs": [...]}` in the order of the frozen function, each entry a dictionary of `key` (of the
    signature), `name` (of the tensor in the graph), `dtype` (NumPy's name) and `shape` (None: unknown rank, -1: unknown size).
    """
    frozen = convert_variables_to_constants_v2(function, lower_control_flow=not keep_control_flow)
    keys = function._arg_keywords
    outputs = sorted(function.structured_outputs)
    assert len(outputs) == len(frozen.outputs), (outputs, frozen.outputs)
    interface = {
        "inputs": [described(key, tensor) for key, tensor in zip(keys, function.inputs)],
        "outputs": [described(key, tensor) for key, tensor in zip(outputs, frozen.outputs)],
    }
    return frozen.graph.as_graph_def(), interface


def described(key, tensor):
    rank_known = tensor.shape.rank is not None
    return {
        "key": key,
        "name": tensor.name,
        "dtype": tensor.dtype.name,
        "shape": [-1 if size is None else size for size in tensor.shape.as_list()] if rank_known else None,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("saved_model")
    parser.add_argument("output")
    parser.add_argument("--signature", default="serving_default")
    arguments = parser.parse_args()
    model = load(arguments.saved_model)
    graph_def, _ = freeze(model.signatures[arguments.signature])
    folder, name = os.path.split(os.path.abspath(arguments.output))
    tf.io.write_graph(graph_def, folder, name, as_text=False)


if __name__ == "__main__":
    main()
