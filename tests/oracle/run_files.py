"""Runs signatures of a SavedModel on files with whatever TensorFlow (2.4 to 2.21) the interpreter has; needs nothing else.

Usage: run_files.py SAVED_MODEL SIGNATURE FOLDER OUTPUTS.npz. The input, whatever it is called, is given the contents of all files in the folder, in the
order of their names. Outputs are written as `v2/<key>` from `tf.saved_model.load` and `v1/<key>` from the V1 loader.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf


def run_v2(folder, name, batch):
    model = tf.saved_model.load(folder)  # owns the variables: must outlive the call
    return {key: value.numpy() for key, value in model.signatures[name](tf.constant(batch)).items()}


def run_v1(folder, name, batch):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta_graph = tf.compat.v1.saved_model.load(session, ["serve"], folder)
        signature = meta_graph.signature_def[name]
        (given,) = signature.inputs.values()
        return session.run({key: info.name for key, info in signature.outputs.items()}, {given.name: batch})


def main():
    folder, name, files, outputs_path = sys.argv[1:]
    batch = []
    for file in sorted(os.listdir(files)):
        with open(os.path.join(files, file), "rb") as stream:
            batch.append(stream.read())
    arrays = {}
    for loader, run in (("v2", run_v2), ("v1", run_v1)):
        arrays.update({"%s/%s" % (loader, key): value for key, value in run(folder, name, batch).items()})
    np.savez(outputs_path, **arrays)
    print("TensorFlow", tf.__version__)


if __name__ == "__main__":
    main()
