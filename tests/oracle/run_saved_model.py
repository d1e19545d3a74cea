"""Runs a SavedModel on recorded inputs with whatever TensorFlow (2.2 to 2.21) the interpreter has; needs nothing else.

Usage: run_saved_model.py SAVED_MODEL INPUTS.npz OUTPUTS.npz. Inputs are the arrays `input_0`, `input_1`, ...; outputs are written
as `v2_0/<key>` from `tf.saved_model.load` and `v1_0/<key>` from the V1 loader that C++ and Serving share.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf


def run_v2(folder, inputs):
    model = tf.saved_model.load(folder)  # owns the variables: must outlive the calls
    signature = model.signatures["serving_default"]
    return [{key: value.numpy() for key, value in signature(input_tensor=tf.constant(batch)).items()} for batch in inputs]


def run_v1(folder, inputs):
    results = []
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta_graph = tf.compat.v1.saved_model.load(session, ["serve"], folder)
        signature = meta_graph.signature_def["serving_default"]
        fetches = {key: info.name for key, info in signature.outputs.items()}
        for batch in inputs:
            results.append(session.run(fetches, {signature.inputs["input_tensor"].name: batch}))
    return results


def main():
    folder, inputs_path, outputs_path = sys.argv[1:]
    recorded = np.load(inputs_path)
    inputs = [recorded["input_%d" % index] for index in range(sum(name.startswith("input_") for name in recorded.files))]
    arrays = {}
    for loader, run in (("v2", run_v2), ("v1", run_v1)):
        for index, outputs in enumerate(run(folder, inputs)):
            arrays.update({"%s_%d/%s" % (loader, index, key): value for key, value in outputs.items()})
    np.savez(outputs_path, **arrays)
    print("TensorFlow", tf.__version__)


if __name__ == "__main__":
    main()
