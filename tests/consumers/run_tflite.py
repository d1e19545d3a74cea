"""Converts a SavedModel with TensorFlow Lite's converter and runs the result: run_tflite.py SAVED_MODEL INPUTS.npz OUTPUTS.npz

Outputs are written as `<way>/<key>`: `builtins`, with TensorFlow Lite's own operations only, which run everywhere; if that fails, `select`, with TensorFlow's
operations linked in.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

WAYS = {
    "builtins": [tf.lite.OpsSet.TFLITE_BUILTINS],
    "select": [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS],
}


def convert(folder, operations):
    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    converter.target_spec.supported_ops = operations
    return converter.convert()


def run(content, inputs):
    runner = tf.lite.Interpreter(model_content=content).get_signature_runner("serving_default")
    return runner(**inputs)


def main():
    folder, inputs_path, outputs_path = sys.argv[1:]
    inputs = dict(np.load(inputs_path))
    errors = []
    for way, operations in WAYS.items():
        try:
            outputs = run(convert(folder, operations), inputs)
        except Exception as error:  # whatever the converter raises is its answer
            errors.append(f"RuntimeError: {way}: {str(error).strip().splitlines()[0]}")
            continue
        np.savez(outputs_path, **{f"{way}/{key}": value for key, value in outputs.items()})
        return
    sys.exit(" ".join(errors))


if __name__ == "__main__":
    main()
