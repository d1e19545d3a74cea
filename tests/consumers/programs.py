"""The lines of the matrix: programs, each with the files it is given and the function that runs it.

A function is given a `Model` and a `Runner`. It returns the outputs that must equal the reference's, `{way: {key: array}}`, or raises `Failed` with what the program said. `limits` tells what
is known not to work, and why: {family or "*": reason}. A limit that has gone is reported, so that the document stays true.
"""

import json
import os
import pathlib
import re
import subprocess
from dataclasses import dataclass, field
from typing import Callable, Dict

import environments
import numpy as np
from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent
TESTS = HERE.parent
PAGE = TESTS.parent / "target" / "page" / "tfod-page.html"  # tools/build.py makes it
LINES = []


class Failed(Exception):
    """The program did not take the file, or failed while running it; the message is the program's."""


@dataclass(frozen=True, eq=False)
class Line:
    title: str
    takes: str
    environment: str
    run: Callable
    limits: Dict[str, str] = field(default_factory=dict)


class Runner:
    """Runs programs in an environment."""

    def __init__(self, environment, work):
        self.python = environments.ENVIRONMENTS[environment].python
        self.work = work
        self.work.mkdir(parents=True, exist_ok=True)

    def command(self, *parts):
        """Runs a command that must succeed; returns what it prints."""
        variables = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        ran = subprocess.run([str(part) for part in parts], capture_output=True, text=True, check=False, env=variables, cwd=self.work)
        if ran.returncode != 0:
            raise Failed(last_line(ran.stderr) or last_line(ran.stdout) or f"exit status {ran.returncode}")
        return ran.stdout

    def program(self, script, model, inputs, *arguments):
        """Runs one of the small programs beside this file or in the other suites, on arrays by name; returns the arrays it writes."""
        given, made = self.work / "inputs.npz", self.work / "outputs.npz"
        made.unlink(missing_ok=True)
        np.savez(given, **inputs)
        self.command(self.python, TESTS / script, model, given, made, *arguments)
        return dict(np.load(made))


def last_line(text):
    """Returns the last line that says something: of a traceback, the error."""
    lines = [line.strip() for line in text.splitlines() if re.search(r"\w", line)]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return (errors or lines or [""])[-1][:300]


def line(title, takes, environment, limits=None):
    """Registers a function as a line of the matrix."""

    def register(function):
        LINES.append(Line(title, takes, environment, function, limits or {}))
        return function

    return register


def by_way(arrays):
    """Returns {way: {key: array}} of arrays called `<way>/<key>`."""
    found = {}
    for name, value in arrays.items():
        way, key = name.split("/", 1)
        found.setdefault(way, {})[key] = value
    return found


def tensorflow(environment, version):
    @line(f"TensorFlow {version}, `tf.saved_model.load`", "SavedModel", environment)
    def loaded(model, runner):
        ways = ("call_signature", "call_frozen", "call_resaved")
        return by_way(runner.program("backend/run_clients.py", model.export("plain") / "saved_model", {"input_tensor": model.image}, *ways))

    @line(f"TensorFlow {version}, V1 loader", "SavedModel", environment)
    def loaded_v1(model, runner):
        ways = ("call_v1", "call_v1_saved")
        return by_way(runner.program("backend/run_clients.py", model.export("plain") / "saved_model", {"input_tensor": model.image}, *ways))


for _environment, _version in (("tf-old", "2.2"), ("tf24", "2.4"), ("tf210", "2.10"), ("oracle", "2.15"), ("tf-new", "2.21")):
    tensorflow(_environment, _version)


@line("TensorFlow C API", "SavedModel", "oracle")
def c_api(model, runner):
    """The library of the wheel is the one that C, Go, Rust and Java programs load."""
    return {"c": runner.program("consumers/run_c_api.py", model.export("plain") / "saved_model", {"input_tensor": model.image})}


@line("`saved_model_cli run`", "SavedModel", "oracle")
def saved_model_cli(model, runner):
    image, outputs = runner.work / "image.npy", runner.work / "outputs"
    np.save(image, model.image)
    program = runner.python.with_name("saved_model_cli")
    folder = model.export("plain") / "saved_model"
    flags = ["--tag_set=serve", "--signature_def=serving_default", f"--inputs=input_tensor={image}", f"--outdir={outputs}", "--overwrite"]
    runner.command(program, "run", f"--dir={folder}", *flags)
    return {"run": {path.stem: np.load(path) for path in outputs.glob("*.npy")}}


def frozen_outputs(folder):
    """Returns (placeholder, {key: tensor}) of a frozen graph, from the manifest beside it."""
    manifest = json.loads((folder / "manifest.json").read_text())
    file = manifest["files"]["frozen.pb"]
    [placeholder] = file["inputs"].values()
    return placeholder.split(":")[0], file["outputs"]


def run_frozen(script):
    def run(model, runner):
        folder = model.export("plain")
        placeholder, tensors = frozen_outputs(folder)
        arrays = runner.program(script, folder / "frozen.pb", {placeholder: model.image}, *tensors.values())
        return {"frozen": {key: arrays[tensor] for key, tensor in tensors.items()}}

    return run


line("TensorFlow 1.15, `import_graph_def`", "frozen graph", "tf115")(run_frozen("backend/run_frozen.py"))
# With `Gather` alone: data of [1, 256, 2], indices of [1, 20], axis 1, batch_dims 1. With sizes known at run time only, or two images, the same is right.
ONE_IMAGE = (
    "OpenVINO's gathering image by image (`batch_dims`) crashes, or gives wrong values, where there is one image and rows of 2 to 8 values, as a node by itself does. "
    "The ONNX model gathers by another operator."
)
# With a placeholder and a constant, each read by an `Identity`.
CONSTANT = "OpenVINO's importer of TensorFlow's graphs leaves out outputs that are constants, as the anchors are here."
OF_GRAPHS = {"Mask R-CNN": CONSTANT, "CenterNet": ONE_IMAGE, "CenterNet with keypoints": ONE_IMAGE}

line("OpenVINO", "frozen graph", "openvino", OF_GRAPHS)(run_frozen("backend/run_openvino.py"))


@line("OpenVINO", "SavedModel", "openvino", OF_GRAPHS)
def openvino_saved_model(model, runner):
    return {"saved_model": runner.program("consumers/run_openvino_saved_model.py", model.export("plain") / "saved_model", {"input_tensor": model.image})}


def run_onnx(runtime, kind="plain", cast=None):
    def run(model, runner):
        image = model.image if cast is None else model.image.astype(cast)
        arrays = runner.program("oracle/run_onnx.py", model.export(kind) / "model.onnx", {"0/input_tensor": image}, runtime)
        return {runtime: {name.split("/", 2)[2]: value for name, value in arrays.items()}}

    return run


line("OpenVINO", "ONNX", "onnx")(run_onnx("openvino"))
line("ONNX Runtime", "ONNX", "onnx")(run_onnx("onnxruntime"))


@line("TensorRT's documented expectations", "ONNX, fixed shape and float input", "onnx")
def tensorrt(model, runner):
    """No TensorRT here: what its documentation asks of a model is checked on the graph, and the graph is run by ONNX Runtime.

    So nothing is said of how TensorRT fills up the results of NonMaxSuppression, which the standard does not.
    """
    runner.command(runner.python, HERE / "check_tensorrt.py", model.export("fixed") / "model.onnx")
    return run_onnx("onnxruntime", "fixed", np.float32)(model, runner)


def detected(model, rows):
    """Returns detections as the example programs give them, best first, and what they have to equal: rows that are there, without padding."""
    count = int(model.expected["num_detections"][0])
    columns = {"detection_boxes": "box", "detection_classes": "class", "detection_scores": "score"}
    best = np.argsort(-model.expected["detection_scores"][0, :count], kind="stable")
    expected = {key: model.expected[key][0, :count][best] for key in columns}
    found = {key: np.array([row[column] for row in rows], np.float32).reshape(-1, *expected[key].shape[1:]) for key, column in columns.items()}
    return found, expected


def picture(model, runner):
    """Writes the image as a file, whose pixels are the same for every decoder."""
    folder = runner.work / "pictures"
    folder.mkdir(exist_ok=True)
    Image.fromarray(model.image[0]).save(folder / "picture.png")
    return folder / "picture.png"


@line("Chromium, the page of `examples/browser`", "ONNX", "oracle")
def page(model, runner):
    made = runner.work / "detections.json"
    runner.command("node", HERE / "page" / "run.mjs", PAGE, model.export("plain") / "model.onnx", picture(model, runner), made)
    found, expected = detected(model, json.loads(made.read_text())["detections"])
    return Compared({"page": found}, expected)


def batch(title, program, *more):
    @line(title, "ONNX", "batch")
    def run(model, runner):
        folder, made = picture(model, runner).parent, runner.work / "detections"
        runner.command(runner.python, TESTS.parent / "examples" / "batch" / program, model.export("plain") / "model.onnx", folder, made, *more)
        rows = "import json, sys, pyarrow.dataset as d; print(json.dumps(d.dataset(sys.argv[1], format='parquet').to_table().to_pylist()))"
        (row,) = json.loads(runner.command(runner.python, "-c", rows, made))
        found, expected = detected(model, row["detections"])
        return Compared({"rows": found}, expected)


batch("Ray Data with ONNX Runtime, `examples/batch`", "with_ray.py", "--workers=1")
batch("Apache Beam's `RunInference`, `examples/batch`", "with_beam.py")


# The interpreters of 2.15 and 2.21 with their own kernels; that of 2.10, and XNNPACK's kernels, run the same file right. What tfod writes has a copy where this would happen.
INTERPRETER = {
    "CenterNet with keypoints": "The interpreter writes differences into the place of a sum that is still read: it sees that the reshaped sum has one reader, and not that the sum itself has two."
}


@line("TensorFlow Lite converter", "SavedModel", "oracle", INTERPRETER)
def tflite(model, runner):
    return by_way(runner.program("consumers/run_tflite.py", model.export("plain") / "saved_model", {"input_tensor": model.image}))


# `Resize` with `tf_crop_and_resize`: the same crops of 7 by 9 from a map of 6 by 8 are right, of 8 by 8 wrong in their columns.
SAME_SIZE = {
    "Mask R-CNN": "ONNX Runtime resizes no side of a region whose length is already that of the map, but takes the side of the whole map; here both are 8. "
    "tf2onnx writes crops so. Other sizes are right."
}


@line("tf2onnx, then ONNX Runtime", "SavedModel", "tf2onnx", SAME_SIZE)
def tf2onnx(model, runner):
    converted = runner.work / "converted.onnx"
    folder = model.export("plain") / "saved_model"
    runner.command(runner.python, "-m", "tf2onnx.convert", "--saved-model", folder, "--output", converted, "--opset", "17")
    other = Runner("onnx", runner.work)
    return {"converted": other.program("consumers/run_onnxruntime.py", converted, {"input_tensor": model.image})}


# Nothing is computed from constants; the same network as ONNX is read.
SWISH = {
    "EfficientDet": "OpenCV's importer takes the placeholder's shape for one with channels first where two maps are multiplied, as swish does. "
    "Without the attribute `shape` of the placeholder it runs the graph."
}
# By 1.3e-4, with and without fused layers and Winograd's way to convolve.
DIFFERS = {"EfficientDet": "It runs; some of its outputs differ by more than the tolerance, for a reason that is not known."}
TWO_STAGES = dict.fromkeys(
    ("Faster R-CNN", "Mask R-CNN"),
    "The heads of the second stage read proposals, which are suppressed first, and OpenCV's importers do not know the operations that this takes.",
)
PADDING = dict.fromkeys(
    ("CenterNet", "CenterNet with keypoints"),
    "OpenCV's importer makes a padding part of the one convolution behind it; in an hourglass two convolutions read the same padded map.",
)


@line("OpenCV dnn, raw heads", "frozen graph", "opencv", {**SWISH, **TWO_STAGES, **PADDING})
def opencv_frozen(model, runner):
    return heads(model, runner, model.export("heads") / "frozen.pb")


@line("OpenCV dnn, raw heads", "ONNX", "opencv", {**DIFFERS, **TWO_STAGES})
def opencv_onnx(model, runner):
    return heads(model, runner, model.export("heads") / "model.onnx")


def heads(model, runner, file):
    """Runs a network to its heads; layers are called by the beginnings of the keys, or by them."""
    preprocessed, expected = model.heads()
    arrays = runner.program("consumers/run_opencv.py", file, {"input_tensor": preprocessed})
    found = {key: value for name, value in arrays.items() for key in expected if key.startswith(name)}
    return Compared({"heads": found}, expected)


@line("TensorFlow.js converter, then tfjs in Node", "SavedModel", "tfjs")
def tfjs(model, runner):
    graph = runner.work / "tfjs"
    folder = model.export("plain") / "saved_model"
    converter = "import sys; from tensorflowjs.converters.converter import convert; convert(sys.argv[1:])"
    runner.command(runner.python, "-c", converter, "--input_format=tf_saved_model", "--output_format=tfjs_graph_model", folder, graph)
    given = runner.work / "image.json"
    given.write_text(json.dumps({"shape": model.image.shape, "values": model.image.ravel().tolist()}))
    made = runner.work / "outputs.json"
    runner.command("node", HERE / "tfjs" / "run.mjs", graph / "model.json", given, made)
    outputs = json.loads(made.read_text())
    # The converter calls outputs Identity, Identity_1, ... in the order of the signature's keys.
    names = [f"Identity_{index}:0" if index else "Identity:0" for index in range(len(model.expected))]
    entries = {key: outputs.get(name) or outputs[key] for name, key in zip(names, sorted(model.expected))}
    return {"node": {key: np.asarray(entry["values"], np.float32).reshape(entry["shape"]) for key, entry in entries.items()}}


NO_CROPS = dict.fromkeys(("Faster R-CNN", "Mask R-CNN"), "TFLite has no operator for crops of feature maps; tfod refuses detectors of two stages.")


def interpreter(title, environment, library, limits=None):
    @line(title, "TFLite", environment, {**NO_CROPS, **(limits or {})})
    def run(model, runner):
        return {"run": runner.program("consumers/run_litert.py", model.export("tflite") / "model.tflite", {"input_tensor": model.image}, library)}


interpreter("LiteRT", "tflite", "ai_edge_litert")
interpreter("tflite-runtime", "tflite", "tflite_runtime")
# `GATHER` 5, which has `batch_dims`.
SINCE_25 = dict.fromkeys(("CenterNet", "CenterNet with keypoints"), "The model gathers within images by an operator that TensorFlow Lite has since 2.5; `tfod inspect` tells it.")
for _environment, _version in (("tf-old", "2.2"), ("tf24", "2.4"), ("tf210", "2.10"), ("oracle", "2.15"), ("tf-new", "2.21")):
    interpreter(f"TensorFlow {_version}, `tf.lite.Interpreter`", _environment, "tensorflow", SINCE_25 if _version in ("2.2", "2.4") else None)


def tasks(title, library):
    """Detections are in whole pixels, MediaPipe leaves out boxes that coincide, and Task Library those with a score of 0: scores and classes of those that they give are compared, the best one among them."""

    @line(title, "TFLite with metadata", "tflite", NO_CROPS)
    def run(model, runner):
        image = runner.work / "image.npy"
        np.save(image, model.image[0])
        told = runner.command(runner.python, TESTS / "oracle" / "run_tasks.py", library, model.export("tasks") / "model.tflite", image)
        detections = json.loads(told.splitlines()[-1])
        scores, classes = (model.expected[key][0] for key in ("detection_scores", "detection_classes"))
        rows = [int(np.abs(scores - detection["score"]).argmin()) for detection in detections]
        if scores.argmax() not in rows:
            raise Failed(f"{len(rows)} detections, without the best one")
        found = {
            "detection_scores": np.array([detection["score"] for detection in detections], np.float32),
            "detection_classes": np.array([float(detection["label"]) for detection in detections], np.float32),
        }
        return Compared({library: found}, {"detection_scores": scores[rows], "detection_classes": classes[rows]})


tasks("Task Library", "task_library")
tasks("MediaPipe Object Detector", "mediapipe")


@line("OpenVINO, raw heads", "TFLite", "openvino", NO_CROPS)
def openvino_tflite(model, runner):
    preprocessed, expected = model.heads()
    found = runner.program("consumers/run_openvino.py", model.export("tflite_heads") / "model.tflite", {"input_tensor": preprocessed})
    return Compared({"heads": found}, expected)


# Put in the order of the reference, all are within 1.4e-5 of it.
CHANNELS_FIRST = dict.fromkeys(("CenterNet", "CenterNet with keypoints"), "It runs; OpenCV gives maps with channels first, whatever the model says. Their values are right.")


@line("OpenCV dnn, raw heads", "TFLite", "opencv", {**NO_CROPS, **DIFFERS, **CHANNELS_FIRST})
def opencv_tflite(model, runner):
    return heads(model, runner, model.export("tflite_heads") / "model.tflite")


class Compared(dict):
    """Outputs that have to equal something else than the model's detections."""

    def __init__(self, ways, expected):
        super().__init__(ways)
        self.expected = expected
