"""SavedModels that TensorFlow writes, each with inputs, and with its graph as the freezing script freezes it.

The models are functions marked by `@model`: small ones in `small_models/`, one a feature, and the official exporter's in `official.py`. `prepare` builds one, freezes each of its signatures by the script, runs
the result on the inputs, and keeps everything in a folder whose name has a hash of the sources: later runs reuse it.
To have them all: `python -m oracle.saved_models [--list] [NAME ...]`, from `tests/`; it prints the folders.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import importlib
import inspect
import json
import os
import pathlib
import pkgutil
import random
import shutil
import sys
import traceback
from typing import Callable, Optional, Tuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.eager import wrap_function

from . import cache, freeze_script

FOLDER = cache.FOLDER / "saved_models"
SEED = 20
INITIALIZER = "init_all_tables"  # the operation that fills the tables of a frozen graph
ROUNDING = 1e-5  # between the script's graph and the function: other threads may run the same kernels


@dataclasses.dataclass(frozen=True)
class Model:
    """A SavedModel: how it is written, and what freezing it must do.

    `build(folder, rng)` writes it and returns the inputs: a list of dictionaries by signature key (of the inputs), or a dictionary of such
    lists by signature.
    """

    name: str
    build: Callable
    tags: Tuple[str, ...] = ("serve",)
    refused: Optional[Tuple[str, ...]] = None  # texts (regular expressions) that the error must contain: the node and the reason
    script_fails: bool = False  # what the script cannot freeze is compared with the signature itself
    unread: Tuple[str, ...] = ()  # variables that the signature's function holds, and its outputs do not depend on
    norms: Optional[int] = None  # batch normalisations left after folding; None: there is nothing to fold
    kept_calls: bool = False  # whether functions stay even where control flow is lowered
    other_kernels: bool = False  # whether the script's graph runs other kernels than ours, so that rounding differs
    tier: str = "quick"  # the first one that has it


MODELS = {}


def model(**options):
    """Registers a builder as the model called like it."""

    def register(build):
        assert build.__name__ not in MODELS, build.__name__
        MODELS[build.__name__] = Model(build.__name__, build, **options)
        return build

    return register


def load_builders():
    """Imports the modules that register builders: those of `small_models/`, and the official exports; returns all models by name."""
    from . import official, small_models  # noqa: F401  they import this module

    for module in pkgutil.iter_modules(small_models.__path__):
        importlib.import_module(f"{small_models.__name__}.{module.name}")
    return MODELS


def save(folder, module, **signatures):
    """Saves a `tf.Module` whose signatures are tf.functions with specs."""
    tf.saved_model.save(module, str(folder), signatures=signatures)


def named(function, **specs):
    """Returns the concrete function of a Python function whose arguments are the names of the specs, as a signature needs it."""
    specs = {name: tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in specs.items()}
    return tf.function(function).get_concrete_function(**specs)


def floats(*shape):
    return tf.TensorSpec(shape, tf.float32)


def normal(rng, *shape, dtype=np.float32):
    return rng.normal(size=shape).astype(dtype)


def run_graph(graph_def, feeds, fetches):
    """Returns the values of tensors of a GraphDef, with the graph run as it is: Grappler is off, so that equal graphs give equal bits. Tables are filled first."""
    config = config_pb2.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.global_jit_level = config_pb2.OptimizerOptions.OFF
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        with tf.compat.v1.Session(graph=graph, config=config) as session:
            if any(node.name == INITIALIZER for node in graph_def.node):
                session.run(INITIALIZER)
            return session.run(fetches, feeds)


def key(model):
    """Returns a hash of what a model's results depend on: its module, the harness, the script and the environment's pins."""
    digest = hashlib.sha256(f"{model.name} {tf.__version__}".encode())
    here = pathlib.Path(__file__).resolve()
    for path in (here, pathlib.Path(freeze_script.__file__), pathlib.Path(inspect.getsourcefile(model.build))):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def folder_of(model):
    """Returns the folder of a model's results: `saved_model/`, `about.json`, and for each signature `<index>.npz` and `<index>.pb`."""
    return FOLDER / f"{model.name}-{key(model)}"


def prepare(model):
    """Returns the model's folder, made if it is not there."""
    with cache.making(model.name):
        return _prepare(model)


def _prepare(model):
    folder = folder_of(model)
    if not (folder / "about.json").exists():
        for stale in FOLDER.glob(f"{model.name}-" + "?" * 16):
            shutil.rmtree(stale)
        partial = folder.with_suffix(f".partial-{os.getpid()}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            make(model, partial)
            partial.rename(folder)
        except OSError:
            if not (folder / "about.json").exists():  # another process may have made it meanwhile
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


def make(model, folder):
    """Writes everything about a model into an empty folder."""
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(SEED)
    random.seed(SEED)
    saved_model = folder / "saved_model"
    inputs = model.build(saved_model, np.random.Generator(np.random.PCG64(SEED)))
    about = {"signatures": []}
    if model.refused is None:
        if not isinstance(inputs, dict):
            inputs = {"serving_default": inputs}
        loaded = freeze_script.load(str(saved_model), list(model.tags))
        for index, (signature, batches) in enumerate(inputs.items()):
            about["signatures"].append(record(model, loaded.signatures[signature], signature, batches, folder, index))
    (folder / "about.json").write_text(json.dumps(about, indent=1))


def record(model, function, signature, batches, folder, index):
    """Freezes a signature by the script; writes its graph, inputs and outputs; returns what `about.json` says of it."""
    with without_grappler():
        direct = [{name: value.numpy() for name, value in function(**constants(batch)).items()} for batch in batches]
    script_error = None
    try:
        graph_def, interface = freeze_script.freeze(function)
        expected = [run_interface(graph_def, interface, batch) for batch in batches]
    except (ValueError, tf.errors.InvalidArgumentError, tf.errors.FailedPreconditionError) as error:
        script_error = f"{type(error).__name__}: {error}"
        expected, interface = direct, interface_of(function)
    else:
        (folder / f"{index}.pb").write_bytes(graph_def.SerializeToString(deterministic=True))
        for frozen, called in zip(expected, direct):
            check_against_call(frozen, called)
    assert model.script_fails == (script_error is not None), f"{model.name}: script_fails is wrong: {script_error}"
    arrays = {}
    for batch_index, (batch, outputs) in enumerate(zip(batches, expected)):
        arrays.update({f"input_{batch_index}/{name}": np.asarray(value) for name, value in batch.items()})
        arrays.update({f"output_{batch_index}/{name}": np.asarray(value) for name, value in outputs.items()})
    np.savez(folder / f"{index}.npz", **plain_dtypes(arrays))
    variables = sorted(variable.name.split(":")[0] for variable in function.variables)
    facts = {"signature": signature, "batches": len(batches), "script_error": script_error, "variables": variables}
    return {**facts, "dtypes": {name: value.dtype.name for name, value in arrays.items()}, **interface}


def check_against_call(frozen, called):
    """Makes sure that the script's graph computes what the SavedModel does: otherwise it is no reference."""
    assert set(frozen) == set(called), (set(frozen), set(called))
    for name, value in called.items():
        numbers = value.dtype.kind in "fcV"  # V: bfloat16
        wide = [array.astype(np.complex128) if numbers else array for array in (frozen[name], value)]
        compare = np.testing.assert_allclose if numbers else np.testing.assert_array_equal
        compare(*wide, err_msg=name, **({"rtol": ROUNDING, "atol": ROUNDING} if numbers else {}))


@contextlib.contextmanager
def without_grappler():
    """Functions called inside run as they are, as `run_graph` does it."""
    before = tf.config.optimizer.get_experimental_options().get("disable_meta_optimizer", False)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": before})


def interface_of(function):
    """Returns the interface that the script's result would have: the function's arguments, and `Identity`, `Identity_1`, …"""
    outputs = sorted(function.structured_outputs)
    names = ["Identity" + (f"_{index}" if index else "") + ":0" for index in range(len(outputs))]
    if isinstance(function, wrap_function.WrappedFunction):  # TensorFlow 1: tensors keep their names
        names = [function.structured_outputs[key].name for key in outputs]
    return {
        "inputs": [freeze_script.described(key, tensor) for key, tensor in zip(function._arg_keywords, function.inputs)],
        "outputs": [
            {**freeze_script.described(key, function.structured_outputs[key]), "name": name} for key, name in zip(outputs, names)
        ],
    }


def constants(batch):
    return {name: tf.constant(value) for name, value in batch.items()}


def run_interface(graph_def, interface, batch):
    """Runs a frozen graph on inputs by signature key; returns its outputs by signature key."""
    feeds = {entry["name"]: batch[entry["key"]] for entry in interface["inputs"]}
    outputs = interface["outputs"]
    values = run_graph(graph_def, feeds, [entry["name"] for entry in outputs])
    return {entry["key"]: value for entry, value in zip(outputs, values)}


def plain_dtypes(arrays):
    """Returns arrays that a .npz file can hold: bfloat16 as its bits, strings as objects."""
    return {name: value.view(np.uint16) if value.dtype == tf.bfloat16.as_numpy_dtype else value for name, value in arrays.items()}


def batches_of(folder, index, about):
    """Returns [(inputs, outputs)] by signature key, of a signature's `about` entry."""
    arrays = np.load(folder / f"{index}.npz", allow_pickle=True)

    def group(prefix):
        found = {}
        for name in arrays.files:
            if name.startswith(prefix):
                value = arrays[name]
                bfloat16 = about["dtypes"][name] == "bfloat16"
                found[name[len(prefix) :]] = value.view(tf.bfloat16.as_numpy_dtype) if bfloat16 else value
        return found

    return [(group(f"input_{batch}/"), group(f"output_{batch}/")) for batch in range(about["batches"])]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="print the names and make nothing")
    parser.add_argument("names", nargs="*", help="which models (default: all)")
    arguments = parser.parse_args()
    models = load_builders()
    if arguments.list:
        print("\n".join(models))
        return
    failed = 0
    for name in arguments.names or models:
        try:
            print(name, prepare(models[name]), flush=True)
        except Exception:  # the others are still wanted
            failed += 1
            print(f"{name} FAILED\n{traceback.format_exc()}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    # The builders register themselves with the module by its real name.
    importlib.import_module("oracle.saved_models").main()
