"""`--runtime onnxruntime`: an ONNX Runtime of pip's, loaded by the command, finds what the command's own runtime finds."""

import json
import subprocess

import pytest

import environments
from parity.conftest import BINARY

pytestmark = pytest.mark.quick

SHAPES = environments.ROOT / "examples" / "shapes"
PICTURES = SHAPES / "images"


@pytest.fixture(scope="module")
def library():
    """The environment in which pip installed ONNX Runtime."""
    return environments.make("onnx").parent.parent


def run(*arguments, status=0):
    result = subprocess.run([str(part) for part in (BINARY, *arguments)], capture_output=True, text=True, check=False)
    assert result.returncode == status, result.stderr
    return result


def detect(*arguments):
    """The pictures' lines of what `detect` prints."""
    lines = [json.loads(line) for line in run("detect", *arguments, "--json").stdout.splitlines()]
    return lines[:-1]


def numbers(found):
    return [found["score"], *(found["box"][side] for side in ("xmin", "ymin", "xmax", "ymax"))]


def test_both_runtimes_find_the_same(library, tmp_path):
    model = SHAPES / "checkpoint"
    own = detect(model, PICTURES, "--score_threshold=0")
    other = detect(model, PICTURES, "--score_threshold=0", "--runtime=onnxruntime", f"--runtime_library={library}", "--threads=1")
    assert own and len(own) == len(other)
    for line, expected in zip(other, own):
        assert line["image"] == expected["image"]
        assert [one["class_id"] for one in line["detections"]] == [one["class_id"] for one in expected["detections"]]
        size = max(line["width"], line["height"])
        for found, wanted in zip(line["detections"], expected["detections"]):
            score, *box = (abs(a - b) for a, b in zip(numbers(found), numbers(wanted)))
            assert score < 1e-4 and max(box) / size < 1e-4, (found, wanted)
    # They are not one runtime: sums are rounded otherwise somewhere.
    assert own != other


def test_verify_runs_by_it_too(library):
    picture = PICTURES / "test_1.png"
    checkpoint = SHAPES / "checkpoint"
    compared = run("verify", checkpoint, checkpoint, "--image", picture, "--runtime=onnxruntime", f"--runtime_library={library}", "--json")
    outputs = json.loads(compared.stdout)["outputs"]
    assert outputs["outcome"] == "same", outputs
    refused = run("verify", checkpoint, checkpoint, "--runtime=onnxruntime", status=2)
    assert "are of running models on images; add --image FILE" in refused.stderr


def test_what_onnx_runtime_refuses_is_an_error(library, tmp_path):
    """An operator that no release has: the file is a model of ONNX, and is refused by what runs it."""
    folder = tmp_path / "exported"
    run("export", "--format=onnx", f"--pipeline_config_path={SHAPES / 'pipeline.config'}", f"--trained_checkpoint_dir={SHAPES / 'checkpoint'}", f"--output_directory={folder}")
    model = folder / "model.onnx"
    whole = model.read_bytes()
    # The type of a node, with the field's number and its length.
    assert b"\x22\x11NonMaxSuppression" in whole
    model.write_bytes(whole.replace(b"\x22\x11NonMaxSuppression", b"\x22\x11NonMaxSuppressioX"))
    refused = run("detect", model, PICTURES, "--runtime=onnxruntime", f"--runtime_library={library}", status=1)
    assert "model.onnx: cannot be run: ONNX Runtime: " in refused.stderr and "NonMaxSuppressi" in refused.stderr, refused.stderr
