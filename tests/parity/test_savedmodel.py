"""The exported folder as TensorFlow's users meet it: every way of loading and calling it, freezing, re-saving, other TensorFlows,
the re-saved checkpoint, and the official exporter's own output beside ours.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from oracle import cases, serve
from tensorflow.core.protobuf import saved_model_pb2, trackable_object_graph_pb2
from tensorflow.python.framework import op_def_registry
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from . import compare
from .conftest import run_export

BY_NAME = {case.name: case for case in cases.all_cases()}
BASE = pytest.param(BY_NAME["base"], id="base", marks=pytest.mark.quick)
TRAINING = pytest.param(BY_NAME["training_checkpoint"], id="training_checkpoint", marks=pytest.mark.quick)
SOFTMAX = pytest.param(BY_NAME["no_tower_softmax"], id="no_tower_softmax", marks=pytest.mark.quick)
ZOO_320 = pytest.param(BY_NAME["fpnlite_320"], id="fpnlite_320", marks=pytest.mark.default)
INPUT_TYPES = ["image_tensor", "float_image_tensor"]

MOST_NODES = 1500  # of the whole 90-class graph, functions included; the official export has 25,606 counted so


def numpy_outputs(outputs):
    return {key: value.numpy() for key, value in outputs.items()}


def first_input(oracle, case, input_type="image_tensor"):
    """Returns (input, outputs) of the first recorded run of the reference."""
    return compare.recorded(oracle(case) / f"{input_type}.npz")[0]


def meta_graph(folder):
    message = saved_model_pb2.SavedModel()
    message.ParseFromString((folder / "saved_model" / "saved_model.pb").read_bytes())
    assert len(message.meta_graphs) == 1
    return message.meta_graphs[0]


def all_nodes(graph_def):
    return list(graph_def.node) + [node for function in graph_def.library.function for node in function.node_def]


@pytest.mark.parametrize("input_type", INPUT_TYPES)
@pytest.mark.parametrize("case", [BASE])
def test_every_form_of_call(case, input_type, oracle, export):
    image, expected = first_input(oracle, case, input_type)
    model = tf.saved_model.load(str(export(case, input_type) / "saved_model"))
    signature = model.signatures["serving_default"]
    tensor = tf.constant(image)
    for what, outputs in {
        "m(x)": model(tensor),
        "m(input_tensor=x)": model(input_tensor=tensor),
        "m(numpy)": model(image),
        "signature(input_tensor=x)": signature(input_tensor=tensor),
        "signature(x)": signature(tensor),
    }.items():
        compare.assert_equal(numpy_outputs(outputs), expected, what)
    assert list(signature.structured_input_signature[1]) == ["input_tensor"]
    assert set(signature.structured_outputs) == set(expected)


@pytest.mark.parametrize("case", [BASE])
def test_changing_a_variable_changes_the_outputs(case, oracle, export):
    """The network must read its variables, not copies of them: fine-tuning and quantisation tools assign to them."""
    image, expected = first_input(oracle, case)
    model = tf.saved_model.load(str(export(case) / "saved_model"))  # owns the variables
    signature = model.signatures["serving_default"]
    assert len(signature.variables) > 10
    for variable in signature.variables:
        if variable.dtype.is_floating:
            variable.assign(variable * 1.5)
    assert compare.problems(numpy_outputs(signature(input_tensor=tf.constant(image))), expected)


@pytest.mark.parametrize("input_type", INPUT_TYPES)
@pytest.mark.parametrize("case", [BASE])
def test_v1_loader_equals_v2_loader(case, input_type, oracle, export):
    """Up to rounding: a V1 session folds and fuses operations that a V2 function keeps apart."""
    folder = str(export(case, input_type) / "saved_model")
    image, expected = first_input(oracle, case, input_type)
    model = tf.saved_model.load(folder)
    v2 = numpy_outputs(model.signatures["serving_default"](input_tensor=tf.constant(image)))
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], folder)
        signature = loaded.signature_def["serving_default"]
        fetches = {key: info.name for key, info in signature.outputs.items()}
        v1 = session.run(fetches, {signature.inputs["input_tensor"].name: image})
    compare.assert_equal(v1, expected, "V1 loader")
    compare.assert_equal(v1, v2, "V1 loader against V2 loader")


def shown_tensors(text):
    """Returns {(signature, "inputs" or "outputs", key): (dtype, shape, name)} of `saved_model_cli show --all`."""
    shown, signature = {}, None
    lines = iter(text.splitlines())
    for line in lines:
        heading = re.match(r"signature_def\['(.*)'\]:", line)
        tensor = re.match(r"\s+(inputs|outputs)\['(.*)'\] tensor_info:", line)
        if heading:
            signature = heading[1]
        elif tensor:
            values = [next(lines).split(":", 1)[1].strip() for _ in range(3)]
            shown[signature, tensor[1], tensor[2]] = tuple(values)
    return shown


@pytest.mark.parametrize("input_type", INPUT_TYPES)
@pytest.mark.parametrize("case", [BASE])
def test_saved_model_cli_shows_the_official_signature(case, input_type, oracle, export):
    tool = pathlib.Path(sys.executable).parent / "saved_model_cli"
    command = [str(tool), "show", "--dir", str(export(case, input_type) / "saved_model"), "--all"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    shown = shown_tensors(result.stdout)

    image, expected = first_input(oracle, case, input_type)
    batch = {"image_tensor": 1, "float_image_tensor": -1}[input_type]
    dtype = {np.dtype("uint8"): "DT_UINT8", np.dtype("float32"): "DT_FLOAT"}[image.dtype]
    wanted = {
        ("serving_default", "inputs", "input_tensor"): (dtype, f"({batch}, -1, -1, 3)", "serving_default_input_tensor:0"),
        ("__saved_model_init_op", "outputs", "__saved_model_init_op"): ("DT_INVALID", "unknown_rank", "NoOp"),
    }
    for index, key in enumerate(sorted(expected)):
        # The official exporter loses the number of anchors in `raw_detection_*` where the batch is unknown; here it is known.
        text = "(" + ", ".join(map(str, (batch,) + expected[key].shape[1:])) + ")"
        wanted["serving_default", "outputs", key] = ("DT_FLOAT", text, f"StatefulPartitionedCall:{index}")
    assert shown == wanted
    # The second half of the listing comes from the object graph: the callable function and its argument.
    assert "Function Name: '__call__'" in result.stdout
    assert "Named Argument #1" in result.stdout or "Argument #1" in result.stdout


@pytest.mark.parametrize("input_type", INPUT_TYPES)
@pytest.mark.parametrize("case", [BASE, ZOO_320])
def test_freezing(case, input_type, oracle, export):
    image, expected = first_input(oracle, case, input_type)
    model = tf.saved_model.load(str(export(case, input_type) / "saved_model"))
    frozen = convert_variables_to_constants_v2(model.signatures["serving_default"])
    operations = {node.op for node in all_nodes(frozen.graph.as_graph_def())}
    assert not operations & {"ReadVariableOp", "VarHandleOp", "ResourceGather"}
    assert [tensor.name for tensor in frozen.inputs] == ["input_tensor:0"]
    outputs = frozen(tf.constant(image))
    # Frozen functions return a flat list, in the order of the sorted keys.
    compare.assert_equal(
        {key: value.numpy() for key, value in zip(sorted(expected), outputs)}, expected, "frozen"
    )


@pytest.mark.parametrize("case", [BASE])
@pytest.mark.parametrize("with_signatures", [True, False])
def test_saving_again(case, with_signatures, oracle, export, tmp_path):
    image, expected = first_input(oracle, case)
    model = tf.saved_model.load(str(export(case) / "saved_model"))
    tf.saved_model.save(model, str(tmp_path / "again"), signatures=dict(model.signatures) if with_signatures else None)
    again = tf.saved_model.load(str(tmp_path / "again"))
    compare.assert_equal(numpy_outputs(again(tf.constant(image))), expected, "saved again, called")
    if with_signatures:
        outputs = again.signatures["serving_default"](input_tensor=tf.constant(image))
        compare.assert_equal(numpy_outputs(outputs), expected, "saved again, signature")


@pytest.mark.parametrize("input_type", INPUT_TYPES)
@pytest.mark.parametrize("case", [BASE, SOFTMAX, ZOO_320])
def test_the_graph_is_lean(case, input_type, export):
    graph = meta_graph(export(case, input_type)).graph_def
    nodes = all_nodes(graph)
    assert len(nodes) < MOST_NODES
    if input_type == "image_tensor":
        assert len(graph.library.function) == 2, [function.signature.name for function in graph.library.function]
        assert not [node.name for node in nodes if "While" in node.op], "a batch of one needs no loop"
    # Every function is used: reached from the main graph through its nodes' function attributes.
    functions = {function.signature.name: function for function in graph.library.function}
    reached, waiting = set(), list(graph.node)
    while waiting:
        node = waiting.pop()
        for attr in node.attr.values():
            for name in [attr.func.name] + [item.name for item in attr.list.func]:
                if name and name not in reached:
                    reached.add(name)
                    waiting.extend(functions[name].node_def)
    assert reached == set(functions)


@pytest.mark.parametrize("input_type", INPUT_TYPES)
@pytest.mark.parametrize("case", [BASE, SOFTMAX])
def test_no_attribute_is_unknown_or_at_its_default(case, input_type, export):
    """Older TensorFlows refuse attributes that they do not know, even at the default value."""
    found = []
    for node in all_nodes(meta_graph(export(case, input_type)).graph_def):
        definition = op_def_registry.get(node.op)
        assert definition is not None, f"{node.name}: no operation {node.op}"
        known = {attr.name: attr for attr in definition.attr}
        for name, value in node.attr.items():
            if name.startswith("_"):
                continue
            if name not in known:
                found.append(f"{node.name} ({node.op}): unknown attribute {name}")
            elif known[name].HasField("default_value") and known[name].default_value == value:
                found.append(f"{node.name} ({node.op}): {name} is at its default")
        for name, attr in known.items():
            if not attr.HasField("default_value") and name not in node.attr:
                found.append(f"{node.name} ({node.op}): attribute {name} is missing")
    assert not found, "\n".join(found)


def checkpoint_keys(reader):
    """Returns the keys of a checkpoint that its object graph names, sorted: what a restore can reach."""
    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    graph.ParseFromString(reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
    return sorted(attribute.checkpoint_key for node in graph.nodes for attribute in node.attributes)


@pytest.mark.parametrize("case", [BASE, TRAINING, ZOO_320])
def test_the_checkpoint_is_the_model_alone(case, oracle, export, tmp_path):
    """Same keys, shapes and bits as the reference's re-save; restorable; usable as a fine_tune_checkpoint."""
    from oracle import checkpoints, reference

    ours = tf.train.latest_checkpoint(str(export(case) / "checkpoint"))
    assert ours == str(export(case) / "checkpoint" / "ckpt-0")
    config = reference.parse(case.config)
    height, width = case.images[0]

    # The official exporter's own steps: restore what was trained, use the model, save it alone.
    trained, status = reference.restore(config, str(oracle(case) / "checkpoint"))
    checkpoints.detect(trained, np.zeros((1, height, width, 3)))
    status.assert_existing_objects_matched()
    theirs = tf.train.Checkpoint(model=trained).save(str(tmp_path / "ckpt"))
    our_reader, their_reader = tf.train.load_checkpoint(ours), tf.train.load_checkpoint(theirs)
    assert our_reader.get_variable_to_shape_map() == their_reader.get_variable_to_shape_map()
    assert our_reader.get_variable_to_dtype_map() == their_reader.get_variable_to_dtype_map()
    assert checkpoint_keys(our_reader) == checkpoint_keys(their_reader)
    for key in their_reader.get_variable_to_shape_map():
        if key not in ("_CHECKPOINTABLE_OBJECT_GRAPH", "save_counter/.ATTRIBUTES/VARIABLE_VALUE"):
            assert our_reader.get_tensor(key).tobytes() == their_reader.get_tensor(key).tobytes(), key

    restored = checkpoints.build(config)
    status = tf.train.Checkpoint(model=restored).restore(ours)
    checkpoints.detect(restored, np.zeros((1, height, width, 3)))
    status.assert_existing_objects_matched()
    for mine, original in zip(checkpoints.named_variables(restored), checkpoints.named_variables(trained)):
        assert mine[0] == original[0] and mine[1].numpy().tobytes() == original[1].numpy().tobytes()

    for kind in ("full", "detection"):
        tuned = checkpoints.build(config)
        checkpoints.detect(tuned, np.zeros((1, height, width, 3)))
        parts = tuned.restore_from_objects(fine_tune_checkpoint_type=kind)
        tf.train.Checkpoint(**parts).restore(ours).expect_partial().assert_existing_objects_matched()


OVERRIDE = """
model { ssd { post_processing { batch_non_max_suppression { max_total_detections: 17 max_detections_per_class: 9 } } } }
train_config { batch_size: 3 }
"""


@pytest.mark.parametrize("override", ["", OVERRIDE], ids=["plain", "override"])
@pytest.mark.parametrize("case", [BASE, ZOO_320])
def test_pipeline_config_is_the_official_one(case, override, oracle, export, tmp_path):
    from object_detection.utils import config_util
    from oracle import reference

    config = reference.parse(case.config)
    if override:
        text_format.Merge(override, config)
        ours = run_export(tmp_path / "out", oracle(case), "image_tensor", f"--config_override={override}")
        model = tf.saved_model.load(str(ours / "saved_model"))
        assert model.signatures["serving_default"].structured_outputs["detection_scores"].shape == [1, 17]
    else:
        ours = export(case)
    config_util.save_pipeline_config(config, str(tmp_path))
    assert (ours / "pipeline.config").read_text() == (tmp_path / "pipeline.config").read_text()


@pytest.mark.parametrize("input_type", INPUT_TYPES)
@pytest.mark.parametrize("environment", ["tf-old", "tf-new"])
@pytest.mark.parametrize("case", [BASE, SOFTMAX, ZOO_320])
def test_other_tensorflows_agree(case, environment, input_type, oracle, export, other_tensorflow, tmp_path):
    """Both loaders of an old and of the newest TensorFlow give the reference's outputs."""
    results = oracle(case) / f"{input_type}.npz"
    runner = pathlib.Path(cases.__file__).parent / "run_saved_model.py"
    outputs = tmp_path / "outputs.npz"
    version = serve.run(other_tensorflow(environment), runner, export(case, input_type) / "saved_model", results, outputs).strip()
    arrays = np.load(outputs)
    for index, (_, expected) in enumerate(compare.recorded(results)):
        for loader in ("v1", "v2"):
            found = compare.group(arrays, f"{loader}_{index}/")
            compare.assert_equal(found, expected, f"{version}, {loader} loader, input {index}")


def assert_no_less_known(ours, theirs):
    """Asserts that tensor infos are alike, but for sizes that only ours tell."""
    assert set(ours) == set(theirs)
    for key, info in theirs.items():
        assert (ours[key].name, ours[key].dtype) == (info.name, info.dtype), key
        sizes = [[dim.size for dim in shape.dim] for shape in (ours[key].tensor_shape, info.tensor_shape)]
        assert len(sizes[0]) == len(sizes[1]), key
        assert all(size in (-1, our_size) for our_size, size in zip(*sizes)), (key, sizes)


@pytest.mark.parametrize("input_type", INPUT_TYPES)
@pytest.mark.parametrize("case", [pytest.param(BY_NAME["base"], id="base", marks=pytest.mark.default)])
def test_against_the_official_exporter(case, input_type, oracle, export, tmp_path):
    """The whole contract at once: signatures, specs, checkpoint and config of the official script's own output."""
    results = oracle(case)
    command = [
        sys.executable,
        "-m",
        "object_detection.exporter_main_v2",
        f"--input_type={input_type}",
        f"--pipeline_config_path={results / 'pipeline.config'}",
        f"--trained_checkpoint_dir={results / 'checkpoint'}",
        f"--output_directory={tmp_path / 'official'}",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    assert result.returncode == 0, result.stderr[-4000:]
    official, ours = tmp_path / "official", export(case, input_type)

    their_signatures, our_signatures = meta_graph(official).signature_def, meta_graph(ours).signature_def
    assert set(our_signatures) == set(their_signatures)
    for key, theirs in their_signatures.items():
        assert our_signatures[key].inputs == theirs.inputs
        assert_no_less_known(our_signatures[key].outputs, theirs.outputs)
        assert our_signatures[key].method_name == theirs.method_name

    their_model, our_model = (tf.saved_model.load(str(folder / "saved_model")) for folder in (official, ours))
    their_signature, our_signature = (model.signatures["serving_default"] for model in (their_model, our_model))
    assert our_signature.structured_input_signature == their_signature.structured_input_signature
    assert our_signature.structured_outputs.keys() == their_signature.structured_outputs.keys()
    for key, theirs in their_signature.structured_outputs.items():
        spec = our_signature.structured_outputs[key]
        assert spec.dtype == theirs.dtype and spec.is_compatible_with(theirs), (key, spec, theirs)
    for batch, _ in compare.recorded(results / f"{input_type}.npz"):
        tensor = tf.constant(batch)
        compare.assert_equal(
            numpy_outputs(our_signature(input_tensor=tensor)), numpy_outputs(their_signature(input_tensor=tensor)), "official"
        )

    our_names, their_names = ({path.relative_to(folder).as_posix() for path in folder.rglob("*")} for folder in (ours, official))
    # Nothing reads the fingerprint to load; the manifest is ours alone.
    assert our_names - {"saved_model/fingerprint.pb"} == (their_names - {"saved_model/fingerprint.pb"}) | {"manifest.json"}
    assert (ours / "pipeline.config").read_text() == (official / "pipeline.config").read_text()
    our_reader, their_reader = (tf.train.load_checkpoint(str(folder / "checkpoint" / "ckpt-0")) for folder in (ours, official))
    assert our_reader.get_variable_to_shape_map() == their_reader.get_variable_to_shape_map()
    for key in their_reader.get_variable_to_shape_map():
        if key != "_CHECKPOINTABLE_OBJECT_GRAPH":
            assert our_reader.get_tensor(key).tobytes() == their_reader.get_tensor(key).tobytes(), key
    shutil.rmtree(official)


@pytest.mark.parametrize("case", [BASE])
def test_exporting_twice_gives_the_same_bytes(case, oracle, export, tmp_path):
    again = run_export(tmp_path / "out", oracle(case), "image_tensor")
    first = export(case)
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    # The state file of a checkpoint holds the time at which it was saved.
    for path in files:
        if path.as_posix() != "checkpoint/checkpoint":
            assert (again / path).read_bytes() == (first / path).read_bytes(), path
