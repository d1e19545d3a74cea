"""Runs a frozen graph with OpenVINO on the CPU, in 32-bit floats, without TensorFlow.

Usage: run_openvino.py FROZEN.pb INPUTS.npz OUTPUTS.npz TENSOR... As for `run_frozen.py`.
"""

import sys

import numpy as np
import openvino


def main():
    path, inputs_path, outputs_path = sys.argv[1:4]
    recorded = np.load(inputs_path)
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    request.infer({find(compiled.inputs, name + ":0"): recorded[name] for name in recorded.files})
    arrays = {tensor: request.get_tensor(find(compiled.outputs, tensor)).data for tensor in sys.argv[4:]}
    np.savez(outputs_path, **arrays)
    print("OpenVINO", openvino.__version__)


def find(ports, tensor):
    """Returns the input or output called by the tensor's name or its node's; which of them OpenVINO keeps depends on the graph."""
    for port in ports:
        if {tensor, tensor.split(":")[0]} & port.get_names():
            return port
    sys.exit("no %s among %s" % (tensor, [sorted(port.get_names()) for port in ports]))


if __name__ == "__main__":
    main()
