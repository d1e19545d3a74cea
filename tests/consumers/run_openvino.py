"""Runs a TFLite model with OpenVINO on the CPU, in 32-bit floats: run_openvino.py MODEL INPUTS.npz OUTPUTS.npz"""

import sys

import numpy as np
import openvino


def main():
    path, inputs_path, outputs_path = sys.argv[1:]
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    [image] = np.load(inputs_path).values()
    results = compiled([image])
    np.savez(outputs_path, **{port.any_name: results[port] for port in compiled.outputs})


if __name__ == "__main__":
    main()
