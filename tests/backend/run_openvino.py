"""Runs a frozen graph with OpenVINO on the CPU, in 32-bit floats, without TensorFlow.

Usage: run_openvino.py FROZEN.pb INPUTS.npz OUTPUTS.npz TENSOR... As `run_frozen.py`; the model is compiled for the shapes of the inputs.
"""

import sys

import numpy as np
import openvino


def main():
    path, inputs_path, outputs_path = sys.argv[1:4]
    recorded = np.load(inputs_path)
    core = openvino.Core()
    model = core.read_model(path)
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    request.infer({name: recorded[name] for name in recorded.files})
    arrays = {tensor: find_output(compiled, request, tensor) for tensor in sys.argv[4:]}
    np.savez(outputs_path, **arrays)
    print("OpenVINO", openvino.__version__)


def find_output(compiled, request, tensor):
    """Returns the output called by the tensor's name or its node's; OpenVINO knows both."""
    for output in compiled.outputs:
        if {tensor, tensor.split(":")[0]} & output.get_names():
            return request.get_tensor(output).data
    sys.exit("no output %s among %s" % (tensor, [sorted(output.get_names()) for output in compiled.outputs]))


if __name__ == "__main__":
    main()
