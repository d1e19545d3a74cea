"""Runs a TFLite model in TensorFlow's interpreter on recorded inputs.

Usage: run_tflite.py MODEL INPUTS.npz OUTPUTS.npz [KERNELS...]. Inputs are arrays `<run>/<input name>`; outputs are written as
`<kernels>/<run>/<name>`. Kernels: xnnpack, builtin (default: both). Prints the names of inputs and outputs in their order, and the signatures, as JSON.
"""

import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

RESOLVERS = {
    "xnnpack": tf.lite.experimental.OpResolverType.AUTO,
    "builtin": tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
}


def interpreter(path, kernels):
    # From memory, where the file's own alignment is that of the weights.
    with open(path, "rb") as file:
        content = file.read()
    loaded = tf.lite.Interpreter(model_content=content, experimental_op_resolver_type=RESOLVERS[kernels], num_threads=1)
    loaded.allocate_tensors()
    return loaded


def run(loaded, inputs):
    """Runs a model once; every input must be given."""
    details = {detail["name"]: detail for detail in loaded.get_input_details()}
    assert set(details) == set(inputs), f"inputs {sorted(details)}, given {sorted(inputs)}"
    for name, detail in details.items():
        loaded.set_tensor(detail["index"], inputs[name])
    loaded.invoke()
    return {detail["name"]: loaded.get_tensor(detail["index"]) for detail in loaded.get_output_details()}


def main():
    path, inputs_path, outputs_path, *kernels = sys.argv[1:]
    recorded = np.load(inputs_path)
    runs = {}
    for name in recorded.files:
        run_name, key = name.split("/", 1)
        runs.setdefault(run_name, {})[key] = recorded[name]
    arrays = {}
    for kind in kernels or RESOLVERS:
        loaded = interpreter(path, kind)
        for run_name, inputs in runs.items():
            arrays.update({f"{kind}/{run_name}/{key}": value for key, value in run(loaded, inputs).items()})
    np.savez(outputs_path, **arrays)
    told = {
        "inputs": [detail["name"] for detail in loaded.get_input_details()],
        "outputs": [detail["name"] for detail in loaded.get_output_details()],
        "signatures": {name: {kind: sorted(names) for kind, names in keys.items()} for name, keys in loaded.get_signature_list().items()},
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
