"""Runs an ONNX model, whoever made it, in ONNX Runtime: run_onnxruntime.py MODEL INPUTS.npz OUTPUTS.npz"""

import sys

import numpy as np
import onnxruntime


def main():
    path, inputs_path, outputs_path = sys.argv[1:]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    values = session.run(None, dict(np.load(inputs_path)))
    np.savez(outputs_path, **{output.name: value for output, value in zip(session.get_outputs(), values)})


if __name__ == "__main__":
    main()
