"""Several signatures over one set of variables, class names in the assets, and base64 through the REST interface that servers of SavedModels have."""

import base64
import http.server
import json
import subprocess
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest
import tensorflow as tf
from oracle import cases, files, saved_models, serve
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from . import compare
from .conftest import BINARY, run_export
from .test_inputs import RUNNER, numpy_outputs, write

BY_NAME = {case.name: case for case in cases.all_cases()}
CASES = [pytest.param(BY_NAME[name], id=name, marks=pytest.mark.quick) for name in ("base", "keep_aspect_ratio")]
CASES += [pytest.param(BY_NAME[name], id=name, marks=pytest.mark.default) for name in ("centernet_hourglass_10", "faster_rcnn")]
SIGNATURES = {  # name: input type, name of the input
    "serving_default": ("image_tensor", "input_tensor"),
    "batches": ("float_image_tensor", "images"),
    "bytes": ("encoded_image_string_tensor", "image_bytes"),
    "examples": ("tf_example", "input_tensor"),
}
ASKED = "serving_default=image_tensor,batches=float_image_tensor:images,bytes=encoded_image_string_tensor:image_bytes,examples=tf_example"
LABELS = "".join(f"item {{ id: {id} name: 'n{id}' display_name: '{name}' }}\n" for id, name in ((1, "chair"), (3, "Löwe")))
LINES = "chair\n???\nLöwe\n"


@pytest.fixture(scope="module")
def exported(oracle, tmp_path_factory):
    """`exported(case)` returns the folder of an export with all signatures and labels, made once."""
    made = {}

    def make(case):
        if case.name not in made:
            folder = tmp_path_factory.mktemp("signatures")
            (folder / "labels.pbtxt").write_text(LABELS, encoding="utf-8")
            options = ["--format=saved_model,frozen,onnx", f"--signatures={ASKED}", f"--label_map={folder / 'labels.pbtxt'}"]
            made[case.name] = run_export(folder / "out", oracle(case), None, *options)
        return made[case.name]

    return make


def calls_of(case, oracle, input_type):
    """Returns [(batch, outputs of the reference)] of an input type."""
    if input_type in files.INPUT_TYPES:
        return files.recorded(files.prepare(case, oracle(case)), input_type)
    return compare.recorded(oracle(case) / f"{input_type}.npz")


def tensor(batch):
    return tf.constant(batch) if isinstance(batch, list) else tf.constant(np.asarray(batch))


def meta_graph(folder):
    message = saved_model_pb2.SavedModel()
    message.ParseFromString((folder / "saved_model.pb").read_bytes())
    return message.meta_graphs[0]


@pytest.mark.parametrize("case", CASES)
def test_every_signature_gives_the_references_outputs(case, oracle, exported):
    folder = str(exported(case) / "saved_model")
    model = tf.saved_model.load(folder)
    assert sorted(model.signatures) == sorted(SIGNATURES)
    for name, (input_type, given) in SIGNATURES.items():
        signature = model.signatures[name]
        assert list(signature.structured_input_signature[1]) == [given]
        for batch, expected in calls_of(case, oracle, input_type):
            compare.assert_equal(numpy_outputs(signature(**{given: tensor(batch)})), expected, name)
    (image, expected), *_ = calls_of(case, oracle, "image_tensor")
    compare.assert_equal(numpy_outputs(model(tf.constant(image))), expected, "called")

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], folder)
        for name, (input_type, given) in SIGNATURES.items():
            definition = loaded.signature_def[name]
            (batch, expected), *_ = calls_of(case, oracle, input_type)
            fetches = {key: info.name for key, info in definition.outputs.items()}
            found = session.run(fetches, {definition.inputs[given].name: batch})
            compare.assert_equal(found, expected, f"{name}, V1 loader")


@pytest.mark.parametrize("case", CASES[:1])
def test_variables_are_stored_once_and_shared(case, oracle, export, exported):
    one, several = export(case) / "saved_model", exported(case) / "saved_model"
    for file in ("variables.index", "variables.data-00000-of-00001"):
        sizes = [(folder / "variables" / file).stat().st_size for folder in (one, several)]
        assert sizes[1] < sizes[0] + 1000, file  # the object graph has the signatures' names
    assert [node.op for node in meta_graph(several).graph_def.node].count("VarHandleOp") == [
        node.op for node in meta_graph(one).graph_def.node
    ].count("VarHandleOp")
    model = tf.saved_model.load(str(several))
    for variable in model.signatures["serving_default"].variables:
        variable.assign(variable * 1.5)
    for name, (input_type, given) in SIGNATURES.items():
        (batch, expected), *_ = calls_of(case, oracle, input_type)
        assert compare.problems(numpy_outputs(model.signatures[name](**{given: tensor(batch)})), expected), name


@pytest.mark.parametrize("case", CASES[:1])
def test_each_signature_can_be_frozen(case, oracle, exported, tmp_path):
    folder = exported(case)
    model = tf.saved_model.load(str(folder / "saved_model"))
    for name, (input_type, given) in SIGNATURES.items():
        (batch, expected), *_ = calls_of(case, oracle, input_type)
        frozen = tmp_path / f"{name}.pb"
        command = [BINARY, "freeze", "--saved_model_dir", folder / "saved_model", "--signature", name, "--friendly_names", "--output", frozen]
        subprocess.run(command, check=True, capture_output=True)
        graph_def = tf.compat.v1.GraphDef.FromString(frozen.read_bytes())
        with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
            tf.import_graph_def(graph_def, name="")
            found = session.run({key: f"{key}:0" for key in expected}, {f"{given}:0": batch})
        compare.assert_equal(found, expected, f"{name}, tfod freeze")

        signature = model.signatures[name]
        by_tensorflow = convert_variables_to_constants_v2(signature)
        outputs = by_tensorflow(tensor(batch))
        compare.assert_equal({k: v.numpy() for k, v in zip(sorted(expected), outputs)}, expected, f"{name}, TensorFlow's freezing")
    manifest = json.loads((folder / "manifest.json").read_text())["files"]["frozen.pb"]
    assert (manifest["signature"], list(manifest["inputs"])) == ("serving_default", ["input_tensor"])
    assert "asset" not in (folder / "frozen.pb").read_bytes().decode("latin-1")


@pytest.mark.parametrize("case", CASES[:1])
def test_the_manifest_lists_the_signatures(case, exported):
    folder = exported(case)
    manifest = json.loads((folder / "manifest.json").read_text())
    about = manifest["files"]["saved_model"]
    assert about["signature"] == "serving_default"
    model = tf.saved_model.load(str(folder / "saved_model"))
    listed = {name: (each["input_type"], each["inputs"][0]["name"]) for name, each in about["signatures"].items()}
    assert listed == SIGNATURES
    for name, each in about["signatures"].items():
        signature = model.signatures[name]
        for entries, specs in ((each["inputs"], signature.structured_input_signature[1]), (each["outputs"], signature.structured_outputs)):
            declared = {e["name"]: (e["dtype"], [n if isinstance(n, int) else None for n in e["shape"]]) for e in entries}
            assert declared == {key: (spec.dtype.name, spec.shape.as_list()) for key, spec in specs.items()}, name
    assert manifest["inputs"] == about["signatures"]["serving_default"]["inputs"]
    assert manifest["outputs"] == about["signatures"]["serving_default"]["outputs"]


@pytest.mark.parametrize("case", CASES[:1])
def test_class_names_are_assets(case, oracle, exported, tmp_path):
    from object_detection.utils import label_map_util

    folder = exported(case) / "saved_model"
    assert sorted(path.name for path in (folder / "assets").iterdir()) == ["label_map.pbtxt", "labels.txt"]
    model = tf.saved_model.load(str(folder))
    tf.saved_model.save(model, str(tmp_path / "again"), signatures=dict(model.signatures))
    for where, loaded in (("loaded", model), ("saved again", tf.saved_model.load(str(tmp_path / "again")))):
        paths = {name: getattr(loaded, name).asset_path.numpy().decode() for name in ("labels", "label_map")}
        with open(paths["labels"], encoding="utf-8") as file:
            assert file.read() == LINES, where
        assert label_map_util.get_label_map_dict(paths["label_map"], use_display_name=True) == {"chair": 1, "Löwe": 3}, where
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(folder))
        assert sorted(asset.filename for asset in loaded.asset_file_def) == ["label_map.pbtxt", "labels.txt"]
    (batch, expected), *_ = calls_of(case, oracle, "image_tensor")
    found = tf.saved_model.load(str(tmp_path / "again")).signatures["serving_default"](input_tensor=tensor(batch))
    compare.assert_equal(numpy_outputs(found), expected, "saved again")


@pytest.mark.quick
def test_an_asset_that_no_operation_reads_is_no_reason_not_to_freeze(tmp_path):
    """In models that TensorFlow wrote, too."""
    (tmp_path / "note.txt").write_text("hello")
    module = tf.Module()
    module.note = tf.saved_model.Asset(str(tmp_path / "note.txt"))
    module.factor = tf.Variable(2.0)
    double = tf.function(lambda x: {"y": x * module.factor}, input_signature=[tf.TensorSpec([None], name="x")])
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=double.get_concrete_function())
    command = [BINARY, "freeze", "--saved_model_dir", tmp_path / "model", "--output", tmp_path / "frozen.pb"]
    subprocess.run(command, check=True, capture_output=True)
    graph_def = tf.compat.v1.GraphDef.FromString((tmp_path / "frozen.pb").read_bytes())
    assert saved_models.run_graph(graph_def, {"x:0": [1.0, 3.0]}, ["Identity:0"])[0].tolist() == [2.0, 6.0]


PROGRAM = """
import sys
import numpy as np, tensorflow as tf
folder, outputs_path, *inputs = sys.argv[1:]
model = tf.saved_model.load(folder)
print(open(model.labels.asset_path.numpy().decode(), encoding="utf-8").read().split())
arrays = {}
for name, path in zip(sorted(model.signatures), inputs):
    outputs = model.signatures[name](tf.constant(np.load(path)["input_0"]))
    arrays.update({name + "/" + key: value.numpy() for key, value in outputs.items()})
np.savez(outputs_path, **arrays)
"""


@pytest.mark.parametrize("environment", ["tf-old", "tf-new"])
@pytest.mark.parametrize("case", CASES[:1])
def test_other_tensorflows_have_signatures_of_pixels_and_labels(case, environment, oracle, other_tensorflow, tmp_path):
    """Without a signature for files, as old a TensorFlow as for one signature."""
    (tmp_path / "labels.pbtxt").write_text(LABELS, encoding="utf-8")
    signatures = {"batches": "float_image_tensor", "serving_default": "image_tensor"}
    asked = ",".join(f"{name}={input_type}" for name, input_type in signatures.items())
    folder = run_export(tmp_path / "out", oracle(case), None, f"--label_map={tmp_path / 'labels.pbtxt'}", f"--signatures={asked}")
    results = [oracle(case) / f"{input_type}.npz" for input_type in signatures.values()]
    command = [other_tensorflow(environment), "-c", PROGRAM, folder / "saved_model", tmp_path / "o.npz", *results]
    ran = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.strip() == str(LINES.split())
    outputs = np.load(tmp_path / "o.npz")
    for name, path in zip(signatures, results):
        compare.assert_equal(compare.group(outputs, f"{name}/"), compare.recorded(path)[0][1], f"{name}, {environment}")


@pytest.mark.parametrize("case", CASES[:1])
def test_the_newest_tensorflow_has_every_signature(case, oracle, exported, other_tensorflow, tmp_path):
    (batch, expected), *_ = calls_of(case, oracle, "encoded_image_string_tensor")
    given = write(tmp_path / "files", batch)
    version = serve.run(other_tensorflow("tf-new"), RUNNER, exported(case) / "saved_model", "bytes", given, tmp_path / "o.npz").strip()
    outputs = np.load(tmp_path / "o.npz")
    for loader in ("v2", "v1"):
        compare.assert_equal(compare.group(outputs, f"{loader}/"), expected, f"{version}, {loader}")


def decoded(value):
    """JSON as the REST interface has it: an object with the one member `b64` is a string of bytes."""
    if isinstance(value, dict) and list(value) == ["b64"]:
        return base64.b64decode(value["b64"], validate=True)
    if isinstance(value, list):
        return [decoded(item) for item in value]
    return value


class Predict(http.server.BaseHTTPRequestHandler):
    """The row and the column format of TensorFlow Serving's predict interface (https://www.tensorflow.org/tfx/serving/api_rest), over TensorFlow."""

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        signature = self.server.model.signatures[request.get("signature_name", "serving_default")]
        [(name, spec)] = signature.structured_input_signature[1].items()
        given = request["instances"] if "instances" in request else request["inputs"]
        if isinstance(given, list) and given and isinstance(given[0], dict) and "b64" not in given[0]:
            given = [row[name] for row in given]
        elif isinstance(given, dict):
            given = given[name]
        try:
            outputs = signature(**{name: tf.constant(decoded(given), spec.dtype)})
            arrays = {key: value.numpy().tolist() for key, value in outputs.items()}
            status, answer = 200, {"outputs": arrays}
            if "instances" in request:
                answer = {"predictions": [{key: rows[i] for key, rows in arrays.items()} for i in range(len(given))]}
        except tf.errors.InvalidArgumentError as error:
            status, answer = 400, {"error": str(error)}
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    """`server(model)` returns a function that posts a request to a server of it, and gives (status, answer)."""
    started = []

    def start(model):
        each = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Predict)
        each.model = model
        threading.Thread(target=each.serve_forever, daemon=True).start()
        started.append(each)

        def post(request):
            url = f"http://127.0.0.1:{each.server_port}/v1/models/detector:predict"
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            try:
                with opener.open(urllib.request.Request(url, json.dumps(request).encode())) as answer:
                    return answer.status, json.load(answer)
            except urllib.error.HTTPError as error:
                return error.code, json.load(error)

        return post

    yield start
    for each in started:
        each.shutdown()
        each.server_close()


@pytest.mark.parametrize("case", CASES[:1])
def test_base64_through_a_rest_server(case, oracle, exported, server):
    model = tf.saved_model.load(str(exported(case) / "saved_model"))
    post = server(model)
    (batch, expected), *_ = calls_of(case, oracle, "encoded_image_string_tensor")
    coded = [{"b64": base64.b64encode(file).decode()} for file in batch]
    for what, request in {
        "rows": {"instances": coded},
        "named rows": {"instances": [{"image_bytes": file} for file in coded]},
        "columns": {"inputs": {"image_bytes": coded}},
        "one column": {"inputs": coded},
    }.items():
        status, answer = post({"signature_name": "bytes", **request})
        assert status == 200, answer
        found = answer.get("outputs") or {key: [row[key] for row in answer["predictions"]] for key in expected}
        compare.assert_equal({key: np.array(value, np.float32) for key, value in found.items()}, expected, what)

    status, answer = post({"signature_name": "bytes", "instances": [{"b64": base64.b64encode(b"no image").decode()}]})
    assert status == 400 and "Unknown image file format" in answer["error"]

    (image, expected), *_ = calls_of(case, oracle, "image_tensor")
    status, answer = post({"instances": image.tolist()})
    found = {key: np.array([row[key] for row in answer["predictions"]], np.float32) for key in expected}
    compare.assert_equal(found, expected, "pixels")
