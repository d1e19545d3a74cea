"""Image resizers where the size of the images is fixed (`--input_size`), so that all is static; and where it is not, against the official exporter, whose
traced model places some anchors otherwise than the reference does that runs eagerly.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from oracle import images
from oracle.families import resizers

from . import compare
from .conftest import BINARY, run_export
from .test_onnx import assert_parity, run

ODD = {"identity": (71, 133), "conditional_greater": (130, 201), "pad_to_multiple": (100, 61), "keep_unpadded": (91, 110)}


def parameters(cases):
    return [pytest.param(case, id=case.name, marks=getattr(pytest.mark, case.tier)) for case in cases]


def run_saved_model(folder, batch):
    model = tf.saved_model.load(str(folder / "saved_model"))  # owns the variables
    outputs = model.signatures["serving_default"](input_tensor=tf.constant(batch))
    return {key: value.numpy() for key, value in outputs.items()}


@pytest.mark.parametrize("case", parameters(resizers.cases()))
def test_a_fixed_input_size_changes_no_result(case, oracle, other_tensorflow, tmp_path):
    results = oracle(case)
    recorded = compare.recorded(results / "image_tensor.npz")[-1:]
    [(batch, expected)] = recorded
    size = "{}x{}".format(*batch.shape[1:3])
    folder = run_export(tmp_path / "out", results, "image_tensor", "--format=saved_model,onnx", f"--input_size={size}")
    compare.assert_equal(run_saved_model(folder, batch), expected, size)
    assert_parity(run(other_tensorflow("onnx"), folder / "model.onnx", [batch]), recorded)


@pytest.mark.parametrize("case", parameters(case for case in resizers.cases() if case.name in resizers.NOT_IN_ONNX))
def test_onnx_refuses_methods_that_it_has_not(case, oracle, tmp_path):
    results = oracle(case)
    command = [BINARY, "export", "--format=onnx", f"--pipeline_config_path={results / 'pipeline.config'}"]
    command += [f"--trained_checkpoint_dir={results / 'checkpoint'}", f"--output_directory={tmp_path / 'out'}"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode != 0
    assert "size that is known only when the model runs" in ran.stderr, ran.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.full
@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in resizers.cases() if case.name in ODD])
def test_anchors_for_odd_sizes_are_those_of_the_official_export(case, oracle, tmp_path):
    results = oracle(case)
    script = os.path.join(os.path.dirname(sys.modules["object_detection"].__file__), "exporter_main_v2.py")
    arguments = [f"--pipeline_config_path={results / 'pipeline.config'}", f"--trained_checkpoint_dir={results / 'checkpoint'}"]
    command = [sys.executable, script, "--input_type=image_tensor", *arguments, f"--output_directory={tmp_path / 'official'}"]
    subprocess.run(command, check=True, capture_output=True)
    image = images.textured(case.seed, *ODD[case.name])[np.newaxis]
    expected = run_saved_model(tmp_path / "official", image)
    for options in ((), ("--input_size={}x{}".format(*ODD[case.name]),)):
        folder = run_export(tmp_path / f"ours{len(options)}", results, "image_tensor", *options)
        compare.assert_equal(run_saved_model(folder, image), expected, "official")
