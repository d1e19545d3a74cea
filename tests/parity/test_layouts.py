"""Layouts for servers, read by the definitions in the servers' own client packages."""

import pathlib

import numpy as np
import pytest
from oracle import serve
from oracle.cases import QUICK
from oracle.families.center_net import SMALL

from . import compare
from .conftest import run_export

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CHECK = ROOT / "tests" / "oracle" / "check_layouts.py"
CASES = [pytest.param(case, id=case.name, marks=pytest.mark.quick) for case in QUICK if case.name == "base"]
# Inputs and outputs of a detector without anchors.
CASES += [pytest.param(case, id=case.name, marks=pytest.mark.default) for case in SMALL if case.name == "centernet_hourglass_10"]
SIGNATURES = "serving_default=image_tensor,bytes=encoded_image_string_tensor:image_bytes,examples=tf_example"


def check(python, layout, folder, outputs):
    serve.run(python, CHECK, layout, folder, outputs)
    return np.load(outputs)


@pytest.mark.parametrize("case", CASES)
def test_every_warm_up_request_runs(case, oracle, other_tensorflow, tmp_path):
    python = other_tensorflow("tf-new")
    folder = run_export(tmp_path / "served", oracle(case), "image_tensor", "--layout=tfserving", "--model_version=7")
    outputs = check(python, "tfserving", folder / "7", tmp_path / "outputs.npz")
    _, expected = compare.recorded(oracle(case) / "image_tensor.npz")[0]
    found = compare.group(outputs, "serving_default/")
    assert sorted(found) == sorted(expected)
    assert {key: value.shape for key, value in found.items()} == {key: value.shape for key, value in expected.items()}


@pytest.mark.parametrize("case", CASES)
def test_warm_up_has_a_request_for_every_signature(case, oracle, other_tensorflow, tmp_path):
    python = other_tensorflow("tf-new")
    results = oracle(case)
    command = [f"--signatures={SIGNATURES}", "--layout=tfserving"]
    folder = run_export(tmp_path / "served", results, None, *command)
    outputs = check(python, "tfserving", folder / "1", tmp_path / "outputs.npz")
    assert {name.split("/")[0] for name in outputs.files} == {"serving_default", "bytes", "examples"}
    # The same grey image, in a file.
    compare.assert_equal(compare.group(outputs, "bytes/"), compare.group(outputs, "examples/"), "tf_example")


@pytest.mark.parametrize("flags", [("--batch=dynamic",), ("--batch=2", "--float_input"), ("--outputs=detection_scores",)], ids=" ".join)
@pytest.mark.parametrize("case", CASES)
def test_triton_is_told_what_the_model_takes_and_gives(case, flags, oracle, other_tensorflow, tmp_path):
    python = other_tensorflow("tf-new")
    folder = run_export(tmp_path / "detector", oracle(case), "image_tensor", "--layout=triton", *flags)
    check(python, "triton", folder, tmp_path / "outputs.npz")
