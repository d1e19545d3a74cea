"""Checks an ONNX model and runs it in ONNX Runtime, OpenVINO and rten on recorded inputs.

Usage: run_onnx.py MODEL INPUTS.npz OUTPUTS.npz [RUNTIME...]. Inputs are arrays `<run>/<input name>`; outputs are written as
`<runtime>/<run>/<key>`. Runtimes: onnxruntime, openvino, rten (default: all). The checks, which come first, are the checker's with full shape
inference, strict inference with data propagation, and that every tensor's shape is recorded.
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnx.checker
import onnx.shape_inference


def check(path):
    onnx.checker.check_model(path, full_check=True)
    model = onnx.load(path)
    # Inference compares what it finds with what is recorded, and fails where they differ.
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    graph = model.graph
    assert all(not node.domain for node in graph.node), "operators beyond the standard domain"
    assert not [node.op_type for node in graph.node if node.op_type in ("Loop", "Scan", "If")], "control flow"
    recorded = {info.name: info for info in [*graph.input, *graph.output, *graph.value_info]}
    for node in graph.node:
        for name in filter(None, node.output):
            assert name in recorded, f"{name}: no shape is recorded"
            dims = recorded[name].type.tensor_type.shape.dim
            assert all(dim.HasField("dim_value") or dim.dim_param for dim in dims), f"{name}: an anonymous dimension"
    weights = [anonymous(tensor) for tensor in graph.initializer if len(tensor.raw_data) > 256]
    assert len(weights) == len(set(weights)), "weights are there twice"
    return model


def anonymous(tensor):
    """Returns everything of a tensor but its name."""
    copy = onnx.TensorProto()
    copy.CopyFrom(tensor)
    copy.name = ""
    return copy.SerializeToString()


def run_onnxruntime(path, runs):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    keys = [output.name for output in session.get_outputs()]
    return [dict(zip(keys, session.run(keys, inputs))) for inputs in runs]


def run_openvino(path, runs):
    import openvino

    core = openvino.Core()
    model = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    # A tensor may have several names there, so outputs are known by their order.
    keys = [output.name for output in onnx.load(path, load_external_data=False).graph.output]
    request = model.create_infer_request()
    results = []
    for inputs in runs:
        request.infer(inputs)
        results.append({key: request.get_output_tensor(index).data.copy() for index, key in enumerate(keys)})
    return results


def run_rten(path, runs):
    """Runs models in the Rust runtime that `tfod verify` uses, by the example program of its crate."""
    binary = pathlib.Path(__file__).resolve().parent.parent.parent / "target" / "release" / "examples" / "run_onnx"
    assert binary.exists(), f"{binary} does not exist: cargo build --release -p tfod-runtime --examples"
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        lines = []
        for index, inputs in enumerate(runs):
            for name, array in inputs.items():
                file = f"input_{len(lines)}"
                (folder / file).write_bytes(array.tobytes())
                lines.append(f"{index}\t{name}\t{file}\t{array.dtype}\t{'x'.join(map(str, array.shape))}\n")
        (folder / "inputs.txt").write_text("".join(lines))
        ran = subprocess.run([binary, path, folder], check=False, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        results = [{} for _ in runs]
        for line in (folder / "outputs.txt").read_text().splitlines():
            index, name, file, dtype, sizes = line.split("\t")
            results[int(index)][name] = np.fromfile(folder / file, dtype).reshape([int(size) for size in sizes.split("x") if size])
    return results


RUNTIMES = {"onnxruntime": run_onnxruntime, "openvino": run_openvino, "rten": run_rten}


def main():
    path, inputs_path, outputs_path, *runtimes = sys.argv[1:]
    check(path)
    recorded = np.load(inputs_path)
    runs = {}
    for name in recorded.files:
        run, key = name.split("/", 1)
        runs.setdefault(run, {})[key] = recorded[name]
    arrays = {}
    for runtime in runtimes or RUNTIMES:
        for run, outputs in zip(runs, RUNTIMES[runtime](path, list(runs.values()))):
            arrays.update({f"{runtime}/{run}/{key}": value for key, value in outputs.items()})
    np.savez(outputs_path, **arrays)


if __name__ == "__main__":
    main()
