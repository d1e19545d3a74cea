"""What the functions return: what `--json` says, as dataclasses.

Each has the keys of the JSON as attributes, and all of it, as parsed, in `json`: keys that a newer `tfod` adds are there at once.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple, Type, TypeVar, Union

#: A dimension: a number; a name, for a size known only when the model runs; None or -1 where a SavedModel does not say.
Dimension = Union[int, str, None]
T = TypeVar("T")


@dataclass(frozen=True)
class Tensor:
    """One input or output of a model."""

    key: str
    dtype: Optional[str]
    #: None where not even the rank is known.
    shape: Optional[Tuple[Dimension, ...]]
    #: The name of the tensor in the graph, `Identity_1:0`, where a graph has been read.
    tensor: Optional[str] = None


@dataclass(frozen=True)
class Signature:
    """What a signature takes and returns."""

    inputs: Tuple[Tensor, ...]
    outputs: Tuple[Tensor, ...]


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint that was used."""

    #: Its path without `.index`.
    prefix: Path
    #: How it was chosen.
    found: str


@dataclass(frozen=True)
class Unused:
    """Keys of the checkpoint that the model does not use."""

    #: Of the model: a sign that the config is not the one that it was trained with.
    model: Tuple[str, ...]
    optimizer: Tuple[str, ...]
    other: Tuple[str, ...]


@dataclass(frozen=True)
class SavedModelSize:
    """How large a SavedModel is."""

    nodes: int
    pb_bytes: int
    variables: int
    variables_bytes: int


@dataclass(frozen=True)
class FrozenSize:
    """How large a frozen graph is."""

    nodes: int
    bytes: int


@dataclass(frozen=True)
class OnnxSize:
    """How large an ONNX model is."""

    nodes: int
    bytes: int
    opset: int
    #: Of the weights beside it, where they are.
    data_bytes: Optional[int] = None


@dataclass(frozen=True)
class TfliteSize:
    """How large a TFLite model is."""

    operators: int
    bytes: int
    #: How kernels are stored: `float32` or `float16`.
    weights: str
    #: The oldest runtime that has all operators, as a version of TensorFlow.
    min_runtime_version: str


@dataclass(frozen=True)
class ExportResult:
    """What `tfod.export` did."""

    #: The feature extractor, as the config calls it.
    architecture: str
    #: Classes without background.
    num_classes: int
    #: Height and width of the image that the network sees, where they are known.
    image_size: Optional[Tuple[int, int]]
    checkpoint: Checkpoint
    #: How many variables the model has; all were found.
    variables: int
    unused: Unused
    warnings: Tuple[str, ...]
    #: Of the main signature.
    inputs: Tuple[Tensor, ...]
    outputs: Tuple[Tensor, ...]
    signatures: Mapping[str, Signature]
    saved_model: Optional[SavedModelSize]
    frozen: Optional[FrozenSize]
    onnx: Optional[OnnxSize]
    tflite: Optional[TfliteSize]
    output_directory: Path
    seconds: float
    json: Mapping[str, Any] = field(repr=False, default_factory=dict)


@dataclass(frozen=True)
class Constant:
    """A constant of a graph."""

    name: str
    bytes: int


@dataclass(frozen=True)
class DroppedUpdate:
    """A change of a variable or of a table that `drop_updates` left out."""

    node: str
    op: str
    #: The variable that it assigns to, if it is one.
    variable: Optional[str] = None
    #: The table that it changes, if it is one.
    table: Optional[str] = None
    #: The function that the node is in, if it is in one.
    function: Optional[str] = None


@dataclass(frozen=True)
class Table:
    """A lookup table of a graph."""

    #: The node that makes it.
    node: str
    key_dtype: Optional[str] = None
    value_dtype: Optional[str] = None
    #: How many entries it is filled with, where that is known.
    entries: Optional[int] = None


@dataclass(frozen=True)
class FreezeResult:
    """What `tfod.freeze` did."""

    #: The file.
    output: Path
    bytes: int
    nodes: int
    #: How many nodes there are of each operation.
    ops: Mapping[str, int]
    inputs: Tuple[Tensor, ...]
    outputs: Tuple[Tensor, ...]
    constant_bytes: int
    largest_constants: Tuple[Constant, ...]
    seconds: float
    warnings: Tuple[str, ...] = ()
    dropped_updates: Tuple[DroppedUpdate, ...] = ()
    #: The operation that fills the tables: it has to run once before the first call.
    initializer: Optional[str] = None
    tables: Tuple[Table, ...] = ()
    #: How many tensors that sizes decide became constants, with `input_shape`.
    fixed_sizes: Optional[int] = None
    #: How many there were, with `fold_batch_norm`.
    folded_batch_norms: Optional[int] = None
    #: How many there were, with `half`.
    halved_constants: Optional[int] = None
    json: Mapping[str, Any] = field(repr=False, default_factory=dict)


@dataclass(frozen=True)
class Variables:
    """How a checkpoint's variables compare with those that the configured model needs."""

    total: int
    matched: int
    mismatched: int
    missing: int
    unused: int


@dataclass(frozen=True)
class CheckResult:
    """What `tfod.check` found."""

    #: One word: `fits`, or why not.
    verdict: str
    #: What to do, where there is something to be done.
    advice: Optional[str]
    pipeline_config: Path
    variables: Optional[Variables]
    #: Fields of the config that differ from what the checkpoint was trained with.
    differences: Tuple[Any, ...]
    warnings: Tuple[str, ...]
    json: Mapping[str, Any] = field(repr=False, default_factory=dict)

    @property
    def fits(self) -> bool:
        """Whether the checkpoint can be exported with the config."""
        return self.verdict == "fits"

    def __bool__(self) -> bool:
        return self.fits


@dataclass(frozen=True)
class Hurdle:
    """Something in a file that other tools stumble over."""

    kind: str
    found: str
    reason: str


@dataclass(frozen=True)
class InspectResult:
    """What `tfod.inspect` found; what is in the file is in `details`, whose keys docs/inspect.md explains."""

    #: `checkpoint`, `config`, `saved_model`, `graph`, `onnx`, `tflite`, `export`.
    kind: str
    hurdles: Tuple[Hurdle, ...]
    json: Mapping[str, Any] = field(repr=False, default_factory=dict)

    @property
    def details(self) -> Mapping[str, Any]:
        """What is in the file, by key."""
        details = self.json.get(self.kind)
        return details if isinstance(details, dict) else {}


@dataclass(frozen=True)
class Aspect:
    """One aspect of a comparison."""

    #: `same`, `different`, `undecided`, `not compared`.
    outcome: str
    json: Mapping[str, Any] = field(repr=False, default_factory=dict)


@dataclass(frozen=True)
class VerifyResult:
    """What `tfod.verify` found."""

    outcome: str
    #: What the two are.
    kinds: Tuple[str, str]
    interface: Optional[Aspect]
    structure: Optional[Aspect]
    weights: Optional[Aspect]
    #: Only with images.
    outputs: Optional[Aspect]
    json: Mapping[str, Any] = field(repr=False, default_factory=dict)

    @property
    def same(self) -> bool:
        """Whether the two are the same, as far as they were compared."""
        return self.outcome == "same"

    def __bool__(self) -> bool:
        return self.same


def parse(kind: Type[T], value: Mapping[str, Any]) -> T:
    """Makes a result from what `--json` says. Raises KeyError or TypeError where it lacks something."""
    return typing.cast(T, _convert(kind, value))


def _convert(kind: Any, value: Any) -> Any:
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        arguments: Dict[str, Any] = {}
        for item in dataclasses.fields(kind):
            if item.name == "json":
                arguments["json"] = value
            elif item.name in value:
                arguments[item.name] = _convert(hints[item.name], value[item.name])
            elif item.default is dataclasses.MISSING:
                raise KeyError(f"{kind.__name__} needs the key {item.name!r}, which the command did not print; update tfod as a whole")
        return kind(**arguments)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Union:
        if value is None:
            return None
        choices = [choice for choice in inner if choice is not type(None)]
        return _convert(choices[0], value) if len(choices) == 1 else value
    if origin is tuple:
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        return tuple(_convert(*pair) for pair in zip(kinds, value))
    if origin is collections.abc.Mapping:
        return {key: _convert(inner[1], item) for key, item in value.items()}
    return Path(value) if kind is Path else value
