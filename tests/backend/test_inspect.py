"""`tfod inspect` against TensorFlow's and ONNX's own view of the same files: signatures, operations, variables, and the values of constants.

Environment variable: TFOD_BIN (the binary under test, default target/release/tfod).
"""

import json
import os
import pathlib
import subprocess

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import environments
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from oracle import cache, official, saved_models
from tensorflow.core.protobuf import saved_model_pb2

from . import frozen_graphs

BINARY = pathlib.Path(os.environ.get("TFOD_BIN", cache.ROOT / "target" / "release" / "tfod"))
SHAPES = cache.ROOT / "examples" / "shapes"
VALUES = 4096  # of larger constants, the first
BATCH = 200  # tensors in one command

MODELS = [
    pytest.param(model, id=model.name, marks=getattr(pytest.mark, model.tier))
    for model in saved_models.load_builders().values()
    if model.refused is None
]


def tfod(*arguments):
    result = subprocess.run([str(part) for part in (BINARY, *arguments)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{' '.join(map(str, result.args))}\n{result.stdout}{result.stderr}"
    return result.stdout


def inspect(*arguments):
    return json.loads(tfod("inspect", "--json", *arguments))


def ports(infos):
    """Signature tensors as the JSON has them."""

    def shape(info):
        return None if info.tensor_shape.unknown_rank else [dim.size for dim in info.tensor_shape.dim]

    return [
        {"key": key, "tensor": info.name, "dtype": tf.as_dtype(info.dtype).name if info.dtype else "unknown", "shape": shape(info)}
        for key, info in sorted(infos.items())
        if info.name
    ]


def constants(graph_def):
    """Returns the value of each constant, those in functions behind the function's name."""
    bodies = [("", graph_def.node)] + [(f"{function.signature.name}/", function.node_def) for function in graph_def.library.function]
    return {prefix + node.name: node.attr["value"].tensor for prefix, nodes in bodies for node in nodes if node.op == "Const"}


def assert_values(path, tensors):
    """Compares shape, type and values of these tensors (NumPy arrays by name)."""
    names = list(tensors)
    for begin in range(0, len(names), BATCH):
        some = names[begin : begin + BATCH]
        found = inspect(path, f"--values={VALUES}", *(part for name in some for part in ("--tensor", name)))["tensors"]
        assert [tensor["name"] for tensor in found] == some
        for tensor in found:
            wanted = tensors[tensor["name"]]
            assert tensor["shape"] == list(wanted.shape), tensor["name"]
            values, first = tensor["values"], wanted.ravel()[:VALUES]
            if wanted.dtype == object:
                assert len(values) == first.size
                continue
            # NaN and infinities are strings.
            values = [float(value) for value in values] if first.dtype.kind == "f" else values
            assert np.array(values, first.dtype).tobytes() == first.tobytes(), tensor["name"]
            if wanted.dtype.kind == "f" and wanted.size:
                statistics = tensor["statistics"]
                finite = wanted[np.isfinite(wanted)].astype(np.float64)
                assert statistics["nan"] == np.isnan(wanted).sum() and statistics["inf"] == np.isinf(wanted).sum(), tensor["name"]
                assert statistics["zeros"] == (wanted == 0).sum(), tensor["name"]
                if finite.size:
                    ours = [statistics[key] for key in ("min", "max", "mean", "std")]
                    np.testing.assert_allclose(ours, [finite.min(), finite.max(), finite.mean(), finite.std()], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("model", MODELS)
def test_a_saved_model_is_what_tensorflow_sees(model):
    folder = saved_models.prepare(model)
    path = folder / "saved_model"
    message = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    found = inspect("--tensors", path)
    assert found["kind"] == "saved_model"
    for meta, graph in zip(message.meta_graphs, found["saved_model"]["graphs"], strict=True):
        assert graph["tags"] == list(meta.meta_info_def.tags)
        assert graph["tensorflow_version"] == meta.meta_info_def.tensorflow_version
        assert graph["ops"] == dict(frozen_graphs.operations(meta.graph_def))
        assert graph["functions"] == len(meta.graph_def.library.function)
        assert (graph["producer"], graph["min_consumer"]) == (meta.graph_def.versions.producer, meta.graph_def.versions.min_consumer)
        assert set(graph["signatures"]) == set(meta.signature_def)
        for key, signature in graph["signatures"].items():
            definition = meta.signature_def[key]
            assert [port for port in signature["inputs"] if port["tensor"]] == ports(definition.inputs)
            assert [port for port in signature["outputs"] if port["tensor"]] == ports(definition.outputs)
    prefix = path / "variables" / "variables"
    variables = tf.train.list_variables(str(prefix)) if prefix.with_suffix(".index").exists() else []
    listed = {tensor["name"]: tensor["shape"] for tensor in found["tensors"]}
    for name, shape in variables:
        assert listed[name] == shape, name
    values = {name: tf.make_ndarray(tensor) for meta in message.meta_graphs for name, tensor in constants(meta.graph_def).items()}
    assert len(values) + len(variables) == len(listed)
    assert_values(path, dict(list(values.items())[:1000]))


@pytest.mark.quick
def test_a_text_is_the_graph_that_it_says(tmp_path):
    model = next(parameter.values[0] for parameter in MODELS if "loop" in parameter.id)
    message = saved_model_pb2.SavedModel.FromString((saved_models.prepare(model) / "saved_model" / "saved_model.pb").read_bytes())
    graph_def = message.meta_graphs[0].graph_def
    (tmp_path / "graph.pb").write_bytes(graph_def.SerializeToString())
    (tmp_path / "graph.pbtxt").write_text(text_format.MessageToString(graph_def))
    binary, text = (inspect("--tensors", tmp_path / name) for name in ("graph.pb", "graph.pbtxt"))
    assert binary["graph"]["nodes"] > 0
    assert {**binary, "path": None} == {**text, "path": None}
    assert_values(tmp_path / "graph.pbtxt", {name: tf.make_ndarray(tensor) for name, tensor in constants(graph_def).items()})


@pytest.mark.quick
def test_a_meta_graph_is_that_of_its_saved_model(tmp_path):
    model = next(parameter.values[0] for parameter in MODELS if "loop" in parameter.id)
    path = saved_models.prepare(model) / "saved_model"
    message = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    (tmp_path / "model.meta").write_bytes(message.meta_graphs[0].SerializeToString())
    found = inspect(tmp_path / "model.meta")
    assert found["kind"] == "meta_graph"
    assert found["meta_graph"] == inspect(path)["saved_model"]["graphs"][0]


@pytest.mark.quick
def test_a_checkpoint_is_what_tensorflow_reads():
    prefix = SHAPES / "checkpoint" / "ckpt-3000"
    reader = tf.train.load_checkpoint(str(prefix))
    shapes = reader.get_variable_to_shape_map()
    found = inspect("--tensors", prefix)
    assert {tensor["name"]: tensor["shape"] for tensor in found["tensors"]} == shapes
    names = [name for name in sorted(shapes) if reader.get_variable_to_dtype_map()[name] != tf.string]
    assert_values(prefix, {name: np.asarray(reader.get_tensor(name)) for name in names})


ONNX_VIEW = """
import collections, json, sys
import numpy as np, onnx
from onnx import numpy_helper
model = onnx.load(sys.argv[1])
finite_sum = lambda array: float(array[np.isfinite(array)].sum())
dims = lambda value: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
print(json.dumps({
    "ir_version": model.ir_version,
    "opsets": {entry.domain: entry.version for entry in model.opset_import},
    "ops": collections.Counter(node.op_type for node in model.graph.node),
    "inputs": {value.name: dims(value) for value in model.graph.input},
    "outputs": {value.name: dims(value) for value in model.graph.output},
    "metadata": {entry.key: entry.value for entry in model.metadata_props},
    "sums": {t.name: finite_sum(numpy_helper.to_array(t).astype(np.float64)) for t in model.graph.initializer},
}))
"""


@pytest.mark.quick
@pytest.mark.parametrize("options", [[], ["--external_data"]], ids=["one_file", "external_data"])
def test_an_onnx_model_is_what_onnx_reads(tmp_path, options):
    environment = environments.ENVIRONMENTS["onnx"]
    if not environment.python.exists():
        pytest.skip(os.environ.get("TFOD_MISSING_ONNX", "no environment"))
    common = ["--pipeline_config_path", SHAPES / "pipeline.config", "--trained_checkpoint_dir", SHAPES / "checkpoint"]
    tfod("export", *common, "--output_directory", tmp_path / "out", "--format=onnx", *options)
    path = tmp_path / "out" / "model.onnx"
    view = json.loads(subprocess.run([environment.python, "-c", ONNX_VIEW, path], capture_output=True, text=True, check=True).stdout)
    found = inspect("--tensors", path)
    model = found["onnx"]
    assert bool(model["external_data"]) == bool(options)
    for key in ("ir_version", "opsets", "ops", "metadata"):
        assert model[key] == view[key], key
    for key in ("inputs", "outputs"):
        assert {port["key"]: port["shape"] for port in model[key]} == view[key]
    names = [tensor["name"] for tensor in found["tensors"]]
    assert sorted(names) == sorted(view["sums"])
    tensors = inspect(path, "--values=0", *(part for name in names for part in ("--tensor", name)))["tensors"]
    for tensor in tensors:
        statistics = tensor["statistics"]
        finite = int(np.prod(tensor["shape"], dtype=np.int64)) - statistics["nan"] - statistics["inf"]
        found = statistics["mean"] * finite if finite else 0.0
        np.testing.assert_allclose(found, view["sums"][tensor["name"]], rtol=1e-6, atol=1e-6, err_msg=tensor["name"])


@pytest.mark.default
def test_exports_of_the_official_exporter_have_the_checkpoints_weights():
    """By `tfod verify`, in every format."""
    model = next(parameter.values[0] for parameter in MODELS if parameter.id == "official_shapes")
    saved_model = saved_models.prepare(model) / "saved_model"
    result = json.loads(tfod("verify", "--json", "--only=weights", SHAPES / "checkpoint", saved_model))
    assert result["outcome"] == "same"
    assert result["weights"]["bit_equal"] == len(result["weights"]["pairs"]) == 326


@pytest.mark.default
@pytest.mark.parametrize("name", ["shapes", "fpnlite_320", "efficientdet_d0"])
def test_an_official_export_and_ours_are_the_same_model(tmp_path, name):
    """In every format, and against the official SavedModel's own frozen graph; a model with other anchors is not the same."""
    export = official.export(name)
    saved_model, config = export / "saved_model", export / "pipeline.config"
    common = ["--pipeline_config_path", config, "--trained_checkpoint_dir", export / "checkpoint"]
    tfod("export", *common, "--output_directory", tmp_path / "ours", "--format=saved_model,frozen,onnx")
    tfod("freeze", "--saved_model_dir", saved_model, "--output", tmp_path / "official.pb")
    ours = [tmp_path / "ours" / file for file in ("saved_model", "frozen.pb", "model.onnx")]
    for second in [*ours, tmp_path / "official.pb"]:
        result = json.loads(tfod("verify", "--json", saved_model, second))
        assert result["outcome"] == result["interface"]["outcome"] == result["weights"]["outcome"] == "same", second
        assert result["weights"]["bit_equal"] > 300
        named = [pair for pair in result["weights"]["pairs"] if pair["matched_by"] == "name"]
        assert len(named) > 300, "weights are found by their names"
    assert json.loads(tfod("verify", "--json", export / "checkpoint", tmp_path / "ours" / "saved_model"))["outcome"] == "same"
    assert json.loads(tfod("verify", "--json", tmp_path / "official.pb", ours[1]))["outcome"] == "same"
    # Anchors of another scale are found, although all variables are the same.
    other = ["--config_override", "model { ssd { anchor_generator { multiscale_anchor_generator { anchor_scale: 5 } } } }"]
    tfod("export", *common, *other, "--output_directory", tmp_path / "anchors")
    command = [BINARY, "verify", "--json", saved_model, tmp_path / "anchors" / "saved_model"]
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    weights = json.loads(result.stdout)["weights"]
    assert result.returncode == 1 and weights["outcome"] == "different"
    apart = [pair for pair in weights["pairs"] if pair["matched_by"] == "shape and nearest values"]
    assert apart and all(pair["difference"]["max"] > 0 for pair in apart), "the anchors' sizes"


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["faster_rcnn_resnet50_640", "center_net_hourglass_104"])
def test_official_exports_of_other_families_and_ours_are_the_same_models(tmp_path, name):
    """Boxes of a first stage, of which one stores corners and the other sizes and centres; normalisations in elementary operations."""
    export = official.export(name)
    saved_model, config = export / "saved_model", export / "pipeline.config"
    common = ["--pipeline_config_path", config, "--trained_checkpoint_dir", export / "checkpoint"]
    tfod("export", *common, "--output_directory", tmp_path / "ours", "--format=saved_model,frozen,onnx")
    for second in ("saved_model", "frozen.pb", "model.onnx"):
        result = json.loads(tfod("verify", "--json", saved_model, tmp_path / "ours" / second))
        assert result["outcome"] == result["interface"]["outcome"] == result["weights"]["outcome"] == "same", second
        assert result["weights"]["bit_equal"] > 270
