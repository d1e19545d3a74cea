"""Runs a SavedModel in OpenVINO on the CPU, in 32-bit floats, without TensorFlow.

Usage: run_openvino_saved_model.py SAVED_MODEL INPUTS.npz OUTPUTS.npz
"""

import sys

import numpy as np
import openvino


def main():
    folder, inputs_path, outputs_path = sys.argv[1:]
    given = np.load(inputs_path)
    compiled = openvino.Core().compile_model(folder, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = compiled({name: given[name] for name in given.files})
    # A tensor may have several names, its signature's key among them; outputs of equal values share all of them.
    np.savez(outputs_path, **{name: results[port] for port in compiled.outputs for name in port.get_names() if ":" not in name})


if __name__ == "__main__":
    main()
