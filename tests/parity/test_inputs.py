"""Files of images as input: kinds of files and sizes mixed in one call, in every form of the model, against the reference; and what is said of files that
are no images.
"""

import json
import pathlib
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from oracle import cases, files, saved_models, serve
from oracle import run_files as runner
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

from . import compare, tiers
from .conftest import BINARY, run_export

RUNNER = pathlib.Path(runner.__file__)
BY_NAME = {case.name: case for case in cases.all_cases()}
BASE = [pytest.param(BY_NAME["base"], id="base", marks=pytest.mark.quick)]
QUICK = ("base", "keep_aspect_ratio", "identity")
# One of each feature extractor, a detector of two stages, kinds of suppression with rules of their own, and the resizers that leave sizes to the images.
MORE = (
    "ssd_mobilenet_v2",
    "mobilenet_v1_fpn",
    "resnet_padded",
    "efficientdet",
    "faster_rcnn",
    "post_combined_nms",
    "post_keypoints",
    "pad_values",
    "conditional_greater",
    "keep_unpadded",
    "centernet_hourglass_10",
)
INPUT_TYPES = files.INPUT_TYPES
CASES = [pytest.param(BY_NAME[name], id=name, marks=pytest.mark.quick) for name in QUICK[:2]]
# The network is the same behind both types: each of MORE has one of them.
WAYS = [(name, input_type, "quick") for name in QUICK for input_type in INPUT_TYPES]
WAYS += [(name, INPUT_TYPES[place % 2], "default") for place, name in enumerate(MORE)]


def numpy_outputs(outputs):
    return {key: value.numpy() for key, value in outputs.items()}


def calls_of(case, oracle, input_type):
    """Returns [(files, outputs of the reference)]."""
    return files.recorded(files.prepare(case, oracle(case)), input_type)


def all_nodes(folder):
    message = saved_model_pb2.SavedModel()
    message.ParseFromString((folder / "saved_model" / "saved_model.pb").read_bytes())
    graph = message.meta_graphs[0].graph_def
    return [*graph.node, *(node for function in graph.library.function for node in function.node_def)]


def run_frozen(folder, batch):
    about = json.loads((folder / "manifest.json").read_text())["files"]["frozen.pb"]
    graph_def = tf.compat.v1.GraphDef.FromString((folder / "frozen.pb").read_bytes())
    [placeholder] = about["inputs"].values()
    keys = list(about["outputs"])
    values = saved_models.run_graph(graph_def, {placeholder: np.array(batch, object)}, [about["outputs"][key] for key in keys])
    return dict(zip(keys, values))


def write(folder, batch):
    folder.mkdir()
    for place, file in enumerate(batch):
        (folder / f"{place:03}").write_bytes(file)
    return folder


@pytest.mark.parametrize(
    "case, input_type",
    [pytest.param(BY_NAME[name], input_type, id=f"{name}-{input_type}", marks=tiers.mark(tier)) for name, input_type, tier in WAYS],
)
def test_files_are_detected_in_as_by_the_reference(case, input_type, oracle, tmp_path):
    folder = run_export(tmp_path / "out", oracle(case), input_type, "--format=saved_model,frozen")
    model = tf.saved_model.load(str(folder / "saved_model"))
    for batch, expected in calls_of(case, oracle, input_type):
        found = model.signatures["serving_default"](input_tensor=tf.constant(batch))
        compare.assert_equal(numpy_outputs(found), expected, f"SavedModel, {len(batch)} files")
        compare.assert_equal(numpy_outputs(model(tf.constant(batch))), expected, f"called, {len(batch)} files")
        compare.assert_equal(run_frozen(folder, batch), expected, f"frozen, {len(batch)} files")


@pytest.mark.parametrize("size", ["1", "2"])
@pytest.mark.parametrize("input_type", INPUT_TYPES)
@pytest.mark.parametrize("case", CASES)
def test_a_fixed_batch(case, input_type, size, oracle, tmp_path):
    """One file needs no loop; a signature of two takes two."""
    folder = run_export(tmp_path / "out", oracle(case), input_type, "--format=saved_model,frozen", f"--batch={size}")
    count = int(size)
    loops = [node.name for node in all_nodes(folder) if "While" in node.op]
    assert bool(loops) == (count > 1), loops
    model = tf.saved_model.load(str(folder / "saved_model"))
    signature = model.signatures["serving_default"]
    assert signature.structured_input_signature[1]["input_tensor"].shape == [count]
    (batch, expected), *_ = calls_of(case, oracle, input_type)
    for start in range(0, 2 * count, count):
        part = slice(start, start + count)
        wanted = {key: value[part] for key, value in expected.items()}
        compare.assert_equal(numpy_outputs(signature(tf.constant(batch[part]))), wanted, f"file {start}")
        compare.assert_equal(run_frozen(folder, batch[part]), wanted, f"file {start}, frozen")


@pytest.mark.parametrize("input_type", INPUT_TYPES)
@pytest.mark.parametrize("case", CASES)
def test_another_tensorflow_agrees(case, input_type, oracle, other_tensorflow, tmp_path):
    folder = run_export(tmp_path / "out", oracle(case), input_type)
    (batch, expected), *_ = calls_of(case, oracle, input_type)
    given = write(tmp_path / "files", batch)
    version = serve.run(other_tensorflow("tf-new"), RUNNER, folder / "saved_model", "serving_default", given, tmp_path / "o.npz").strip()
    outputs = np.load(tmp_path / "o.npz")
    for loader in ("v2", "v1"):
        compare.assert_equal(compare.group(outputs, f"{loader}/"), expected, f"{version}, {loader}")


@pytest.mark.parametrize("case", BASE)
def test_tensorflow_2_2_has_no_operation_that_decodes_any_image(case, oracle, other_tensorflow, tmp_path):
    """As the documentation says: files need TensorFlow 2.4, in which the operation came; it is the one that the reference uses."""
    folder = run_export(tmp_path / "out", oracle(case), "encoded_image_string_tensor")
    program = "import sys, tensorflow as tf; tf.saved_model.load(sys.argv[1])"
    command = [other_tensorflow("tf-old"), "-c", program, folder / "saved_model"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode != 0 and "DecodeImage" in ran.stderr, ran.stderr[-3000:]


@pytest.mark.parametrize("input_type", INPUT_TYPES)
@pytest.mark.parametrize("case", BASE)
def test_the_signature_is_the_official_one(case, input_type, oracle, tmp_path):
    folder = run_export(tmp_path / "out", oracle(case), input_type)
    message = saved_model_pb2.SavedModel()
    message.ParseFromString((folder / "saved_model" / "saved_model.pb").read_bytes())
    signature = message.meta_graphs[0].signature_def["serving_default"]
    [(key, info)] = signature.inputs.items()
    assert (key, info.name, info.dtype) == ("input_tensor", "serving_default_input_tensor:0", tf.string.as_datatype_enum)
    assert [dim.size for dim in info.tensor_shape.dim] == [-1]
    _, expected = calls_of(case, oracle, input_type)[0]
    assert sorted(signature.outputs) == sorted(expected)
    for index, key in enumerate(sorted(expected)):
        info = signature.outputs[key]
        assert (info.name, info.dtype) == (f"StatefulPartitionedCall:{index}", tf.float32.as_datatype_enum)
        assert [dim.size for dim in info.tensor_shape.dim] == [-1, *expected[key].shape[1:]], key


@pytest.mark.parametrize("input_type", INPUT_TYPES)
@pytest.mark.parametrize("case", BASE)
def test_no_attribute_is_unknown_missing_or_at_its_default(case, input_type, oracle, tmp_path):
    for node in all_nodes(run_export(tmp_path / "out", oracle(case), input_type)):
        known = {attr.name: attr for attr in op_def_registry.get(node.op).attr}
        given = {name: value for name, value in node.attr.items() if not name.startswith("_")}
        assert set(given) <= set(known), f"{node.name} ({node.op})"
        for name, attr in known.items():
            if attr.HasField("default_value"):
                assert given.get(name) != attr.default_value, f"{node.name} ({node.op}): {name} is at its default"
            else:
                assert name in given, f"{node.name} ({node.op}): {name} is missing"


def corrupt(file):
    """Yields what is wrong, the file, and what the error must say."""
    yield "empty", b"", "Input is empty"
    yield "text", b"no image at all", "Unknown image file format. One of JPEG, PNG, GIF, BMP required"
    yield "cut off", file[: len(file) // 3], "Invalid JPEG data"
    yield "PNG without pixels", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "Invalid PNG"


@pytest.mark.parametrize("input_type", INPUT_TYPES)
@pytest.mark.parametrize("case", BASE)
def test_a_call_with_a_bad_file_says_what_is_wrong_and_the_next_call_works(case, input_type, oracle, tmp_path):
    folder = run_export(tmp_path / "out", oracle(case), input_type)
    model = tf.saved_model.load(str(folder / "saved_model"))
    (batch, expected), *_ = calls_of(case, oracle, input_type)
    (plain, _), *_ = calls_of(case, oracle, "encoded_image_string_tensor")
    bad = [(what, files.example(file) if input_type == "tf_example" else file, says) for what, file, says in corrupt(plain[0])]
    if input_type == "tf_example":
        nothing = tf.train.Example().SerializeToString()
        two = tf.train.Feature(bytes_list=tf.train.BytesList(value=[plain[0]] * 2))
        number = tf.train.Feature(int64_list=tf.train.Int64List(value=[1]))
        bad += [
            ("no example", b"no example at all", "Could not parse example input"),
            ("no image", nothing, "Input is empty"),
            ("two images", files.example(b"", **{"image/encoded": two}), "Key: image/encoded."),
            ("a number", files.example(b"", **{"image/encoded": number}), "Key: image/encoded."),
        ]
    for what, file, says in bad:
        with pytest.raises(tf.errors.InvalidArgumentError) as error:
            model(tf.constant([batch[0], file]))
        assert says in str(error.value), f"{what}: {error.value}"
    compare.assert_equal(numpy_outputs(model(tf.constant(batch))), expected, "after bad files")


@pytest.mark.parametrize("case", [pytest.param(BY_NAME["identity"], id="identity", marks=pytest.mark.quick)])
def test_images_that_keep_different_sizes_are_no_batch(case, oracle, tmp_path):
    """Neither for the reference; one after the other they are detected in."""
    folder = run_export(tmp_path / "out", oracle(case), "encoded_image_string_tensor")
    model = tf.saved_model.load(str(folder / "saved_model"))
    (first, _), (second, expected) = calls_of(case, oracle, "encoded_image_string_tensor")
    with pytest.raises(tf.errors.InvalidArgumentError, match="shape"):
        model(tf.constant([first[0], second[0]]))
    compare.assert_equal(numpy_outputs(model(tf.constant(second))), expected, "alone")


@pytest.mark.parametrize("input_type", INPUT_TYPES)
@pytest.mark.parametrize("case", BASE)
def test_what_files_cannot_be_combined_with_is_refused_by_name(case, input_type, oracle, tmp_path):
    for option, says in {
        "--float_input": "--float_input: expected off",
        "--no_preprocess": "--no_preprocess: expected off",
        "--input_size=96x96": "--input_size 96x96: expected none",
        "--format=onnx": "--input_type",
    }.items():
        command = [BINARY, "export", f"--input_type={input_type}", f"--pipeline_config_path={oracle(case) / 'pipeline.config'}"]
        command += [f"--trained_checkpoint_dir={oracle(case) / 'checkpoint'}", f"--output_directory={tmp_path / 'out'}", option]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ran.returncode == 2 and says in ran.stderr and input_type in ran.stderr, ran.stderr
        assert not (tmp_path / "out").exists()
