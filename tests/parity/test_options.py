"""The options of the graph, in combination, in every format: each against what the reference computes at that stage.

One export in all formats a row; what the rows contain, `oracle.design` says. How a graph is fed and read is taken from its manifest alone, so the manifest is tested too:
it also has to suffice for preprocessing an image and for decoding raw predictions, with NumPy.
"""

import json
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from oracle import saved_models, stages
from oracle.cases import QUICK, all_cases
from oracle.design import Design

from . import compare
from .conftest import run_export
from .test_onnx import run as run_onnx

CASE = next(case for case in QUICK if case.name == "base")
BASE = [pytest.param(CASE, id=CASE.name)]
# The images of the second have the size of the network's input.
TWO_STAGES = {"faster_rcnn": ("--input_type=float_image_tensor", "--batch=2"), "faster_rcnn_features": ("--no_preprocess", "--batch=1")}
OPTIONS = {
    "batch": (None, "1", "2", "dynamic"),
    "size": (None, "{}x{}".format(*stages.SIZE)),
    "pixels": ((), ("--float_input",), ("--input_type=float_image_tensor",)),
    "preprocess": ((), ("--no_preprocess",)),
    "stage": ((), ("--no_nms",), ("--raw_encodings",)),
    "outputs": (all, sorted, max),  # which of the keys
    "thresholds": (False, True),
    "layout": ("nhwc", "nchw"),
    "opset": ("17", "13", "20"),
    "weights": ((), ("--external_data",)),
}
DESIGN = Design(
    OPTIONS,
    coupled=(
        ("preprocess", "pixels", "size"),  # what the graph's input is
        ("stage", "outputs", "thresholds"),  # what its outputs are
        ("batch", "stage", "preprocess"),  # where loops over a batch are
    ),
)
QUICK_ROWS = 4


def keys_of(stage):
    """Returns the outputs that a graph ending there has."""
    if stage == ("--raw_encodings",):
        return ["box_encodings", "class_predictions_with_background"]
    raw = ["raw_detection_boxes", "raw_detection_scores"]
    if stage == ("--no_nms",):
        return raw
    detections = ("anchor_indices", "boxes", "classes", "multiclass_scores", "scores")
    return sorted([f"detection_{name}" for name in detections] + ["num_detections", *raw])


def chosen(row):
    """Returns the outputs asked for, or None for all."""
    keys = keys_of(row["stage"])
    return {all: None, sorted: keys[::2], max: [keys[-1]]}[row["outputs"]]


def flags(row, arrays):
    found = ["--format=saved_model,frozen,onnx", f"--opset={row['opset']}", f"--input_layout={row['layout']}"]
    for name in ("pixels", "preprocess", "stage", "weights"):
        found += row[name]
    if row["batch"]:
        found.append(f"--batch={row['batch']}")
    if row["size"] and not row["preprocess"]:
        found.append(f"--input_size={row['size']}")
    if row["thresholds"]:
        found.append(f"--score_threshold={arrays['score_threshold']}")
        found += [f"--iou_threshold={stages.IOU_THRESHOLD}", f"--max_detections={stages.MAX_DETECTIONS}"]
    if chosen(row):
        found.append("--outputs=" + ",".join(chosen(row)))
    return found


def batches(row, arrays, manifest):
    """Yields (input, {key: what the reference computes}) for every batch size that the graph takes."""
    [entry] = manifest["inputs"]
    size = entry["shape"][0]
    kind = "changed" if row["thresholds"] else "default"
    expected = {name: arrays[name] for name in arrays.files if name in keys_of(row["stage"])}
    expected.update(compare.group(arrays, f"{kind}/"))
    source = arrays["preprocessed"] if manifest["preprocessing"]["done_by"] == "caller" else arrays["images"]
    for count in [size] if isinstance(size, int) else [1, 2]:
        keys = chosen(row) or keys_of(row["stage"])
        yield source[:count].astype(entry["dtype"]), {key: expected[key][:count] for key in keys}


def assert_declared(entries, arrays, what):
    """Checks dtypes and shapes against the manifest's."""
    for entry in entries:
        array = arrays[entry["name"]]
        assert array.dtype == entry["dtype"], f"{what}: {entry['name']}"
        fits = [not isinstance(size, int) or size == found for size, found in zip(entry["shape"], array.shape)]
        assert len(entry["shape"]) == array.ndim and all(fits), f"{what}: {entry['name']}: {entry['shape']}, found {array.shape}"


def run_frozen(folder, file, batch):
    graph_def = tf.compat.v1.GraphDef.FromString((folder / "frozen.pb").read_bytes())
    [placeholder] = file["inputs"].values()
    keys = list(file["outputs"])
    values = saved_models.run_graph(graph_def, {placeholder: batch}, [file["outputs"][key] for key in keys])
    return dict(zip(keys, values))


def identifier(row):
    words = [row["batch"], row["size"], *row["pixels"], *row["preprocess"], *row["stage"], row["outputs"].__name__, row["thresholds"] and "thresholds"]
    return "-".join(word.lstrip("-") for word in words if word)


def rows():
    """Returns the rows with their tiers, the first ones of the default tier in the quick one."""
    tiers = [(row, "quick" if index < QUICK_ROWS else tier) for index, (row, tier) in enumerate(DESIGN.rows())]
    return [pytest.param(row, id=identifier(row), marks=getattr(pytest.mark, tier)) for row, tier in tiers]


@pytest.mark.parametrize("case", BASE)
@pytest.mark.parametrize("row", rows())
def test_every_format_has_every_option(row, case, oracle, other_tensorflow, tmp_path):
    results = oracle(case)
    arrays = np.load(stages.prepare(results))
    folder = run_export(tmp_path / "out", results, "image_tensor", *flags(row, arrays))
    manifest = json.loads((folder / "manifest.json").read_text())
    given = list(batches(row, arrays, manifest))
    for batch, expected in given:
        assert_declared(manifest["inputs"], {"input_tensor": batch}, "input")
        assert_declared(manifest["outputs"], expected, "output")

    model = tf.saved_model.load(str(folder / "saved_model"))
    for batch, expected in given:
        found = model.signatures[manifest["files"]["saved_model"]["signature"]](input_tensor=tf.constant(batch))
        compare.assert_equal({key: value.numpy() for key, value in found.items()}, expected, f"SavedModel {list(batch.shape)}")
        found = run_frozen(folder, manifest["files"]["frozen.pb"], batch)
        compare.assert_equal(found, expected, f"frozen {list(batch.shape)}")

    onnx = manifest["files"]["model.onnx"]
    assert onnx["opset"] == int(row["opset"])
    inputs = [np.moveaxis(batch, 3, 1) if onnx["input_layout"] == "NCHW" else batch for batch, _ in given]
    for runtime, runs in run_onnx(other_tensorflow("onnx"), folder / "model.onnx", inputs).items():
        for found, (batch, expected) in zip(runs, given):
            compare.assert_equal(found, expected, f"{runtime} {list(batch.shape)}")


@pytest.mark.default
@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in all_cases() if case.name in TWO_STAGES])
def test_a_detector_of_two_stages_has_options(case, oracle, tmp_path):
    flags = TWO_STAGES[case.name]
    folder = run_export(tmp_path / "out", oracle(case), None, "--format=saved_model,frozen", *flags)
    manifest = json.loads((folder / "manifest.json").read_text())
    input_type = "image_tensor" if "--no_preprocess" in flags else "float_image_tensor"
    [(batch, expected)] = compare.recorded(oracle(case) / f"{input_type}.npz")
    if "--no_preprocess" in flags:
        batch = normalized(batch.astype(np.float32), manifest["preprocessing"]["steps"])
    assert_declared(manifest["inputs"], {"input_tensor": batch}, "input")
    assert manifest["inputs"][0]["shape"][0] == len(batch)
    model = tf.saved_model.load(str(folder / "saved_model"))
    found = model.signatures["serving_default"](input_tensor=tf.constant(batch))
    compare.assert_equal({key: value.numpy() for key, value in found.items()}, expected, "SavedModel")
    found = run_frozen(folder, manifest["files"]["frozen.pb"], batch)
    compare.assert_equal(found, expected, "frozen")


def normalized(images, steps):
    """Does what the manifest says of images that need no resizing."""
    assert [step["step"] for step in steps if step["step"] != "reverse_channels"] == ["resize", "normalize"]
    assert steps[0]["size"] == list(images.shape[1:3])
    images = images * np.array(steps[1]["scale"], np.float32) + np.array(steps[1]["shift"], np.float32)
    return images[..., ::-1] if len(steps) > 2 else images


def resize_bilinear(image, height, width):
    """Samples as the manifest says: at the pixels' corners, with nothing beyond the last row and column."""
    for axis, size in ((0, height), (1, width)):
        count = image.shape[axis]
        position = (np.arange(size) * np.float32(count / size)).astype(np.float32)
        low = np.minimum(np.floor(position).astype(int), count - 1)
        high = np.minimum(low + 1, count - 1)
        weight = (position - low).reshape([-1 if a == axis else 1 for a in range(3)])
        image = image.take(low, axis) * (1 - weight) + image.take(high, axis) * weight
    return image


@pytest.mark.quick
@pytest.mark.parametrize("case", BASE)
def test_the_manifest_suffices_to_preprocess(case, oracle, tmp_path):
    arrays = np.load(stages.prepare(oracle(case)))
    folder = run_export(tmp_path / "out", oracle(case), "image_tensor", "--no_preprocess")
    preprocessing = json.loads((folder / "manifest.json").read_text())["preprocessing"]
    resize, normalize = preprocessing["steps"]
    assert (preprocessing["done_by"], preprocessing["channels"]) == ("caller", "RGB")
    assert (resize["step"], resize["method"], normalize["step"]) == ("resize", "BILINEAR", "normalize")
    for image, expected in zip(arrays["images"], arrays["preprocessed"]):
        resized = resize_bilinear(image.astype(np.float32), *resize["size"])
        found = resized * np.array(normalize["scale"]) + np.array(normalize["shift"])
        np.testing.assert_allclose(found, expected, atol=compare.TOLERANCE)


@pytest.mark.quick
@pytest.mark.parametrize("case", BASE)
def test_the_manifest_suffices_to_decode(case, oracle, tmp_path):
    arrays = np.load(stages.prepare(oracle(case)))
    folder = run_export(tmp_path / "out", oracle(case), "image_tensor", "--raw_encodings")
    manifest = json.loads((folder / "manifest.json").read_text())
    decoding, conversion = manifest["box_decoding"], manifest["score_conversion"]
    assert (decoding["coder"], conversion["converter"]) == ("faster_rcnn_box_coder", "SIGMOID")
    anchors, scales = np.array(decoding["anchors"]), decoding["scales"]
    sizes = anchors[:, 2:] - anchors[:, :2]
    centers = anchors[:, :2] + sizes / 2
    codes = arrays["box_encodings"]
    centers = codes[..., :2] / [scales["y_scale"], scales["x_scale"]] * sizes + centers
    sizes = np.exp(codes[..., 2:] / [scales["height_scale"], scales["width_scale"]]) * sizes
    boxes = np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=-1)
    np.testing.assert_allclose(boxes, arrays["default/raw_detection_boxes"], atol=compare.TOLERANCE)
    scores = 1 / (1 + np.exp(-arrays["class_predictions_with_background"] / conversion["logit_scale"]))
    np.testing.assert_allclose(scores, arrays["default/raw_detection_scores"], atol=compare.TOLERANCE)


@pytest.mark.quick
@pytest.mark.parametrize("case", BASE)
def test_the_facts_of_the_manifest_are_the_metadata_of_the_onnx_model(case, oracle, other_tensorflow, tmp_path):
    labels = tmp_path / "labels.pbtxt"
    labels.write_text("".join(f"item {{ id: {i + 1} name: 'n{i}' display_name: 'Größe {i}' }}\n" for i in range(3)))
    folder = run_export(tmp_path / "out", oracle(case), "image_tensor", "--format=onnx", f"--label_map={labels}")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["labels"] == [{"id": i + 1, "name": f"Größe {i}"} for i in range(3)]
    program = "import json, onnx, sys; print(json.dumps({p.key: p.value for p in onnx.load(sys.argv[1]).metadata_props}))"
    ran = subprocess.run([other_tensorflow("onnx"), "-c", program, folder / "model.onnx"], capture_output=True, text=True, check=True)
    metadata = json.loads(ran.stdout)
    del manifest["files"]
    assert {key: value if isinstance(manifest[key], str) else json.loads(value) for key, value in metadata.items()} == manifest
