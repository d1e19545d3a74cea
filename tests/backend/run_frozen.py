"""Runs a frozen graph with whatever TensorFlow (1.15 to 2.21) the interpreter has; needs nothing else.

Usage: run_frozen.py FROZEN.pb INPUTS.npz OUTPUTS.npz TENSOR... Inputs are arrays by the names of the placeholders; outputs are written by
the names of the tensors asked for. Where the graph has tables, what fills them runs first.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1
INITIALISER = "init_all_tables"


def main():
    path, inputs_path, outputs_path = sys.argv[1:4]
    tensors = sys.argv[4:]
    graph_def = v1.GraphDef()
    with open(path, "rb") as file:
        graph_def.ParseFromString(file.read())
    recorded = np.load(inputs_path)
    with tf.Graph().as_default() as graph:
        v1.import_graph_def(graph_def, name="")
        with v1.Session(graph=graph) as session:
            session.run([node.name for node in graph_def.node if node.name == INITIALISER])
            values = session.run(tensors, {name + ":0": recorded[name] for name in recorded.files})
    np.savez(outputs_path, **dict(zip(tensors, values)))
    print("TensorFlow", tf.__version__)


if __name__ == "__main__":
    main()
