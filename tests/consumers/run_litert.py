"""Runs a TFLite model: run_litert.py MODEL INPUTS.npz OUTPUTS.npz ai_edge_litert|tflite_runtime|tensorflow

Outputs are written by their names. The interpreter is the library's default, with XNNPACK where it has it.
"""

import importlib
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np


def main():
    path, inputs_path, outputs_path, library = sys.argv[1:]
    if library == "tensorflow":
        module = importlib.import_module("tensorflow").lite
    else:
        module = importlib.import_module(f"{library}.interpreter")
    loaded = module.Interpreter(model_path=path)
    loaded.allocate_tensors()
    details = {detail["name"]: detail["index"] for detail in loaded.get_input_details()}
    for name, value in np.load(inputs_path).items():
        loaded.set_tensor(details[name], value)
    loaded.invoke()
    np.savez(outputs_path, **{detail["name"]: loaded.get_tensor(detail["index"]) for detail in loaded.get_output_details()})


if __name__ == "__main__":
    main()
