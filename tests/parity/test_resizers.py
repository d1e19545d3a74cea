"""Image resizers where the size of the images is fixed (`--input_size`), so that all is static, and what ONNX refuses where it is not."""

import subprocess

import pytest
import tensorflow as tf
from oracle.families import resizers

from . import compare, tiers
from .conftest import BINARY, run_export
from .test_onnx import assert_parity, run


def run_saved_model(folder, batch):
    model = tf.saved_model.load(str(folder / "saved_model"))  # owns the variables
    outputs = model.signatures["serving_default"](input_tensor=tf.constant(batch))
    return {key: value.numpy() for key, value in outputs.items()}


@pytest.mark.parametrize("case", tiers.cases(resizers.cases()))
def test_a_fixed_input_size_changes_no_result(case, oracle, other_tensorflow, tmp_path):
    results = oracle(case)
    recorded = compare.recorded(results / "image_tensor.npz")[-1:]
    [(batch, expected)] = recorded
    size = "{}x{}".format(*batch.shape[1:3])
    folder = run_export(tmp_path / "out", results, "image_tensor", "--format=saved_model,onnx", f"--input_size={size}")
    compare.assert_equal(run_saved_model(folder, batch), expected, size)
    assert_parity(run(other_tensorflow("onnx"), folder / "model.onnx", [batch]), recorded)


@pytest.mark.parametrize("case", tiers.cases(case for case in resizers.cases() if case.name in resizers.NOT_IN_ONNX))
def test_onnx_refuses_methods_that_it_has_not(case, oracle, tmp_path):
    results = oracle(case)
    command = [BINARY, "export", "--format=onnx", f"--pipeline_config_path={results / 'pipeline.config'}"]
    command += [f"--trained_checkpoint_dir={results / 'checkpoint'}", f"--output_directory={tmp_path / 'out'}"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode != 0
    assert "size that is known only when the model runs" in ran.stderr, ran.stderr
    assert not (tmp_path / "out").exists()
