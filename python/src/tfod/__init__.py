"""Export TensorFlow 2 Object Detection API checkpoints and freeze SavedModels, without TensorFlow.

The functions run the `tfod` command that this package brings, with the arguments that its flags take, and return what its `--json` says. What
prevents the work is raised as `tfod.Error`, whose text names the file, the place and the remedy.

    import tfod

    result = tfod.export("train/pipeline.config", "train", "exported", format=["saved_model", "onnx"])
    print(result.saved_model.pb_bytes, [output.key for output in result.outputs])
"""

from __future__ import annotations

import json as _json
import os
import tempfile
import warnings as _warnings
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from tfod import _process
from tfod._process import Error, PathLike, Progress, TfodWarning, binary
from tfod.results import (
    Aspect,
    Checkpoint,
    CheckResult,
    Constant,
    Dimension,
    DroppedUpdate,
    ExportResult,
    FreezeResult,
    FrozenSize,
    Hurdle,
    InspectResult,
    OnnxSize,
    SavedModelSize,
    Signature,
    Table,
    Tensor,
    TfliteSize,
    Unused,
    Variables,
    VerifyResult,
    parse,
)

__all__ = [
    "Aspect",
    "CheckResult",
    "Checkpoint",
    "Constant",
    "Dimension",
    "DroppedUpdate",
    "Error",
    "ExportResult",
    "FreezeResult",
    "FrozenSize",
    "Hurdle",
    "InspectResult",
    "OnnxSize",
    "SavedModelSize",
    "Signature",
    "Table",
    "Tensor",
    "TfliteSize",
    "TfodWarning",
    "Unused",
    "Variables",
    "VerifyResult",
    "binary",
    "check",
    "export",
    "freeze",
    "inspect",
    "verify",
]

#: Several values of one flag: `["a", "b"]`, or `"a,b"` as on the command line.
Several = Union[str, Sequence[str]]


def _flags(values: Mapping[str, Any]) -> List[str]:
    """Spells arguments as flags: None and False leave a flag out, True gives it no value, lists and dictionaries are joined by commas."""
    flags = []
    for name, value in values.items():
        if value is None or value is False:
            continue
        if value is True:
            flags.append(f"--{name}")
            continue
        if isinstance(value, Mapping):
            value = ",".join(f"{key}={item}" for key, item in value.items())
        elif isinstance(value, (list, tuple)):
            value = ",".join(map(str, value))
        flags.append(f"--{name}={os.fspath(value) if isinstance(value, os.PathLike) else value}")
    return flags


def _report(command: str, flags: Sequence[str], progress: Progress, expected: Sequence[int], positional: Sequence[PathLike] = ()) -> Dict[str, Any]:
    """Runs a command that prints one JSON object."""
    paths = ["--", *(os.fspath(path) for path in positional)] if positional else []
    outcome = _process.run([command, "--json", *flags, *paths], progress).check(expected)
    report: Dict[str, Any] = _json.loads(outcome.output)
    return report


def export(
    pipeline_config_path: PathLike,
    trained_checkpoint_dir: PathLike,
    output_directory: PathLike,
    *,
    input_type: str = "image_tensor",
    format: Several = "saved_model",
    checkpoint: Union[int, str, None] = None,
    config_override: Optional[str] = None,
    signatures: Union[None, Several, Mapping[str, str]] = None,
    label_map: Optional[PathLike] = None,
    layout: Optional[str] = None,
    model_version: Optional[int] = None,
    batch: Union[None, int, str] = None,
    input_size: Union[None, str, Tuple[int, int]] = None,
    float_input: bool = False,
    no_preprocess: bool = False,
    no_nms: bool = False,
    raw_encodings: bool = False,
    outputs: Optional[Several] = None,
    score_threshold: Union[None, float, str, Mapping[str, float]] = None,
    iou_threshold: Optional[float] = None,
    max_detections: Optional[int] = None,
    proposal_score: Optional[float] = None,
    proposal_iou: Optional[float] = None,
    max_proposals: Optional[int] = None,
    opset: Optional[int] = None,
    input_layout: Optional[str] = None,
    external_data: bool = False,
    weights: Optional[str] = None,
    tflite_nms: Optional[str] = None,
    use_side_inputs: bool = False,
    side_input_shapes: Optional[str] = None,
    side_input_types: Optional[str] = None,
    side_input_names: Optional[str] = None,
    progress: Progress = None,
) -> ExportResult:
    """Exports a trained checkpoint, as `tfod export` does; `tfod export --help` explains every argument.

    `input_size` is height and width, `(320, 320)` or `"320x320"`. What the user should know though the export was made is in the result's `warnings`, and given as `TfodWarning`.

    Raises Error where something prevents the export; then the output folder is as it was.
    """
    if isinstance(input_size, tuple):
        input_size = "x".join(map(str, input_size))
    values = {
        "pipeline_config_path": pipeline_config_path,
        "trained_checkpoint_dir": trained_checkpoint_dir,
        "output_directory": output_directory,
        # The command has a default of its own where there are signatures.
        "input_type": None if signatures and input_type == "image_tensor" else input_type,
        "format": format,
        "checkpoint": checkpoint,
        "config_override": config_override,
        "signatures": signatures,
        "label_map": label_map,
        "layout": layout,
        "model_version": model_version,
        "batch": batch,
        "input_size": input_size,
        "float_input": float_input,
        "no_preprocess": no_preprocess,
        "no_nms": no_nms,
        "raw_encodings": raw_encodings,
        "outputs": outputs,
        "score_threshold": score_threshold,
        "iou_threshold": iou_threshold,
        "max_detections": max_detections,
        "proposal_score": proposal_score,
        "proposal_iou": proposal_iou,
        "max_proposals": max_proposals,
        "opset": opset,
        "input_layout": input_layout,
        "external_data": external_data,
        "weights": weights,
        "tflite_nms": tflite_nms,
        "use_side_inputs": use_side_inputs,
        "side_input_shapes": side_input_shapes,
        "side_input_types": side_input_types,
        "side_input_names": side_input_names,
    }
    result = parse(ExportResult, _report("export", _flags(values), progress, (0,)))
    for text in result.warnings:
        _warnings.warn(text, TfodWarning, stacklevel=2)
    return result


def _shapes(shapes: Optional[Mapping[str, Sequence[Optional[int]]]]) -> List[str]:
    """Spells --input_shape for each input; sizes that are None stay as they are."""
    named = (shapes or {}).items()
    return [f"--input_shape={name}={','.join('?' if size is None else str(size) for size in shape)}" for name, shape in named]


def freeze(
    saved_model_dir: PathLike,
    output: PathLike,
    *,
    as_text: bool = False,
    signature: Optional[str] = None,
    function: Optional[str] = None,
    inputs: Optional[Several] = None,
    outputs: Optional[Several] = None,
    tags: Optional[Several] = None,
    input_shape: Optional[Mapping[str, Sequence[Optional[int]]]] = None,
    friendly_names: bool = False,
    drop_updates: bool = False,
    keep_control_flow: bool = False,
    fold_batch_norm: bool = False,
    half: bool = False,
    progress: Progress = None,
) -> FreezeResult:
    """Freezes one signature of a SavedModel into one GraphDef file, as `tfod freeze` does; `tfod freeze --help` explains every argument.

    What the user should know though it was done is in the result's `warnings`, and given as `TfodWarning`.

    Raises Error where something prevents it; then nothing was written.
    """
    values = {
        "saved_model_dir": saved_model_dir,
        "output": output,
        "as_text": as_text,
        "signature": signature,
        "function": function,
        "inputs": inputs,
        "outputs": outputs,
        "tags": tags,
        "friendly_names": friendly_names,
        "drop_updates": drop_updates,
        "keep_control_flow": keep_control_flow,
        "fold_batch_norm": fold_batch_norm,
        "half": half,
    }
    with tempfile.TemporaryDirectory(prefix="tfod-") as folder:
        report = Path(folder) / "report.json"
        flags = [*_flags({**values, "json": report}), *_shapes(input_shape)]
        _process.run(["freeze", *flags], progress).check((0,))
        result = parse(FreezeResult, _json.loads(report.read_text(encoding="utf-8")))
    for text in result.warnings:
        _warnings.warn(text, TfodWarning, stacklevel=2)
    return result


def check(
    pipeline_config_path: PathLike,
    trained_checkpoint_dir: PathLike,
    *,
    checkpoint: Union[int, str, None] = None,
    config_override: Optional[str] = None,
    progress: Progress = None,
) -> CheckResult:
    """Says whether a checkpoint fits a config, and if not, what differs, as `tfod check` does. The result is true where it fits.

    Raises Error where it cannot be told: a file cannot be read.
    """
    values = {
        "pipeline_config_path": pipeline_config_path,
        "trained_checkpoint_dir": trained_checkpoint_dir,
        "checkpoint": checkpoint,
        "config_override": config_override,
    }
    return parse(CheckResult, _report("check", _flags(values), progress, (0, 1)))


def inspect(
    path: PathLike,
    *,
    tensors: bool = False,
    tensor: Union[None, str, Sequence[str]] = None,
    values: Optional[int] = None,
    progress: Progress = None,
) -> InspectResult:
    """Says what a checkpoint, config, SavedModel, graph, ONNX or TFLite model or export is and what is in it, as `tfod inspect` does.

    `tensors` lists all tensors (`result.json["tensors"]`), `tensor` gives statistics and values of one or several.

    Raises Error where it is nothing that is known, or is damaged.
    """
    keys = [tensor] if isinstance(tensor, str) else tensor or ()
    flags = [*_flags({"tensors": tensors, "values": values}), *(f"--tensor={key}" for key in keys)]
    return parse(InspectResult, _report("inspect", flags, progress, (0,), [path]))


def verify(
    first: PathLike,
    second: PathLike,
    *,
    only: Optional[Several] = None,
    images: Sequence[PathLike] = (),
    tolerance: Optional[float] = None,
    runtime: Optional[str] = None,
    runtime_library: Optional[PathLike] = None,
    max_memory: Optional[float] = None,
    progress: Progress = None,
) -> VerifyResult:
    """Says whether two models are the same, whatever their formats, as `tfod verify` does. The result is true where they are.

    With `images`, both are run on them, and all outputs compared; `runtime` is "own" or "onnxruntime", whose library `runtime_library` names; `max_memory` is in gigabytes.

    Raises Error where one of the files cannot be read.
    """
    options = {"only": only, "tolerance": tolerance, "runtime": runtime, "runtime_library": runtime_library, "max_memory": max_memory}
    flags = _flags(options)
    flags += [f"--image={os.fspath(image)}" for image in images]
    return parse(VerifyResult, _report("verify", flags, progress, (0, 1), [first, second]))
