"""The operations on files of images, and what a SavedModel has besides one graph: several signatures over shared variables, and assets.

The model is the second one of `crates/tfod-cases/examples/toy_saved_model.rs`: `decoded` is the image times the sum of the variable's rows.
"""

import io
import json
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from . import operations
from .test_every_op import interpreter

pytestmark = pytest.mark.quick

FACTOR = operations.ramp("factor", (2, 3)).sum(axis=0)

# Runs both signatures in both loaders on the files whose hexadecimal digits are on standard input.
RUN = """
import json, sys
import tensorflow as tf
folder, note = sys.argv[1:]
given = {name: [bytes.fromhex(text) for text in texts] for name, texts in json.load(sys.stdin).items()}
model = tf.saved_model.load(folder)
assert open(model.note.asset_path.numpy().decode()).read() == note
found = []
for name, batch in given.items():
    found.append({key: value.numpy() for key, value in model.signatures[name](tf.constant(batch)).items()})
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    signatures = tf.compat.v1.saved_model.load(session, ["serve"], folder).signature_def
    for name, batch in given.items():
        [argument] = signatures[name].inputs.values()
        fetches = {key: info.name for key, info in signatures[name].outputs.items()}
        found.append(session.run(fetches, {argument.name: batch}))
for outputs in found:
    outputs["file"] = [file.hex() for file in outputs["file"]]
    print(json.dumps({key: value if isinstance(value, list) else value.tolist() for key, value in outputs.items()}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    operations.write("toy_saved_model", folder, "files")
    return folder


@pytest.fixture(scope="module")
def images():
    random = np.random.default_rng(3)
    return [random.integers(0, 256, (5, 7, 3)).astype(np.uint8) for _ in range(3)]


def encoded(image, kind):
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


def example(**features):
    feature = {key.replace("__", "/"): tf.train.Feature(bytes_list=tf.train.BytesList(value=[value])) for key, value in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


@pytest.mark.parametrize("environment", ["this", "tf-new"])
def test_files_of_one_size_are_decoded(folder, images, environment):
    files = [encoded(image, kind) for image, kind in zip(images, ("PNG", "BMP", "PNG"))]
    given = {"serving_default": files, "of_examples": [example(some__image=file, other=b"x") for file in files]}
    text = json.dumps({name: [file.hex() for file in batch] for name, batch in given.items()})
    ran = subprocess.run([interpreter(environment), "-c", RUN, folder, "hello"], input=text, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    runs = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(runs) == 4
    for outputs in runs:
        np.testing.assert_allclose(outputs["decoded"], np.stack(images) * FACTOR, rtol=1e-5, atol=1e-4)
        assert outputs["size"] == [[5, 7, 3]] * 3
        assert outputs["file"] == [file.hex() for file in files]


def test_images_of_different_sizes_are_not_stacked(folder, images):
    model = tf.saved_model.load(str(folder))
    files = [encoded(images[0], "PNG"), encoded(images[1][:4], "PNG")]
    with pytest.raises(tf.errors.InvalidArgumentError, match="shape"):
        model(tf.constant(files))


def test_an_example_without_the_feature_has_no_bytes(folder):
    model = tf.saved_model.load(str(folder))
    with pytest.raises(tf.errors.InvalidArgumentError, match="Input is empty"):
        model.signatures["of_examples"](tf.constant([example(other=b"x")]))


def test_one_variable_serves_both_signatures(folder, images):
    model = tf.saved_model.load(str(folder))
    [variable] = model.signatures["serving_default"].variables
    assert [v.name for v in model.signatures["of_examples"].variables] == [variable.name]
    variable.assign(tf.ones([2, 3]))
    file = encoded(images[0], "PNG")
    for name, batch in (("serving_default", [file]), ("of_examples", [example(some__image=file)])):
        outputs = model.signatures[name](tf.constant(batch))
        np.testing.assert_array_equal(outputs["decoded"][0], images[0] * 2.0)


def test_tensorflow_freezes_and_saves_again(folder, images, tmp_path):
    model = tf.saved_model.load(str(folder))
    tf.saved_model.save(model, str(tmp_path / "again"), signatures=dict(model.signatures))
    again = tf.saved_model.load(str(tmp_path / "again"))
    with open(again.note.asset_path.numpy().decode()) as note:
        assert note.read() == "hello"
    file = encoded(images[0], "BMP")
    np.testing.assert_allclose(again.signatures["serving_default"](tf.constant([file]))["decoded"][0], images[0] * FACTOR, rtol=1e-5, atol=1e-4)
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    frozen = convert_variables_to_constants_v2(model.signatures["of_examples"])
    decoded = frozen(tf.constant([example(some__image=file)]))[0]
    np.testing.assert_allclose(decoded[0], images[0] * FACTOR, rtol=1e-5, atol=1e-4)
