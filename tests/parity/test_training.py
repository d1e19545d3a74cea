"""Checkpoints as the reference's training loop leaves them, through every command: what training hangs on the model is no weight of it, and an export is
what the official exporter makes of the same checkpoint.
"""

import json
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from oracle import training

from . import compare
from .conftest import BINARY, run_export

RUNS = [pytest.param(run, id=run.name) for run in training.RUNS.values()]
pytestmark = pytest.mark.default


@pytest.fixture(scope="module")
def trained():
    """`trained(run)` returns the folder of a training run."""
    folders = training.make(list(training.RUNS.values()))
    return lambda run: folders[run.name]


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """`exported(run)` returns an export of a run's last checkpoint, the one that its state file names."""
    made = {}

    def make(run):
        if run.name not in made:
            made[run.name] = tmp_path_factory.mktemp("export") / "out"
            folder = trained(run)
            source = {"pipeline.config": folder / "pipeline.config", "checkpoint": folder / "train"}
            place = tmp_path_factory.mktemp("given")
            for name, path in source.items():
                (place / name).symlink_to(path)
            run_export(made[run.name], place, "image_tensor")
        return made[run.name]

    return make


def tfod(*arguments):
    """Runs a command; returns (exit status, standard output, standard error)."""
    command = [str(BINARY), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.returncode, result.stdout, result.stderr


def check(config, checkpoint):
    """Returns (exit status, report) of `tfod check`."""
    status, output, errors = tfod(
        "check", "--json", f"--pipeline_config_path={config}", f"--trained_checkpoint_dir={checkpoint}"
    )
    assert output, errors
    return status, json.loads(output)


def logits(scores):
    return np.log(scores / (1 - scores))


def has_variables(prefix):
    return any(shape for shape in tf.train.load_checkpoint(str(prefix)).get_variable_to_shape_map().values())


@pytest.mark.parametrize("run", RUNS)
def test_every_checkpoint_of_a_run_is_judged_right(run, trained, tmp_path):
    folder = trained(run)
    numbers = run.checkpoints()
    assert {path.stem for path in (folder / "train").glob("*.index")} == {f"ckpt-{number}" for number in numbers}
    for number, step in numbers.items():
        prefix = folder / "train" / f"ckpt-{number}"
        status, report = check(folder / "pipeline.config", prefix)
        if not has_variables(prefix):
            # Nothing has built the model when the loop saves first, unless weights were to be loaded or averaged.
            assert step == 0
            assert (status, report["checkpoint"]["kind"]) == (1, "before_first_step")
            continue
        assert (status, report["verdict"], report["warnings"]) == (0, "fits", [])
        assert report["variables"]["unused"] == 0 and not report["index_alone"]
        shutil.copy(f"{prefix}.index", tmp_path)
        status, alone = check(folder / "pipeline.config", tmp_path / prefix.name)
        assert (status, alone["verdict"], alone["variables"]) == (0, "fits", report["variables"])
        assert alone["index_alone"] and "no such file" in alone["data_problem"]


@pytest.mark.parametrize("run", RUNS)
def test_a_misfit_of_a_training_checkpoint_is_explained(run, trained, tmp_path):
    folder = trained(run)
    config = (folder / "pipeline.config").read_text()
    (tmp_path / "pipeline.config").write_text(config.replace("num_classes: 2", "num_classes: 5"))
    status, report = check(tmp_path / "pipeline.config", folder / "train")
    assert (status, report["verdict"]) == (1, "differs")
    assert [(cause["field"], cause["trained"]) for cause in report["differences"]] == [(f"model.{run.meta}.num_classes", "2")]


@pytest.mark.parametrize("run", RUNS)
def test_the_exported_checkpoint_is_the_official_one(run, trained, exported):
    """Keys, shapes, types and bytes; under moving averages too, where the model's own weights are exported and not their averages."""
    ours = tf.train.load_checkpoint(str(exported(run) / "checkpoint" / "ckpt-0"))
    theirs = tf.train.load_checkpoint(str(trained(run) / "saved_again" / "ckpt-0"))
    assert ours.get_variable_to_shape_map() == theirs.get_variable_to_shape_map()
    assert ours.get_variable_to_dtype_map() == theirs.get_variable_to_dtype_map()
    for key in theirs.get_variable_to_shape_map():
        if key.startswith("model/"):
            assert ours.get_tensor(key).tobytes() == theirs.get_tensor(key).tobytes(), key
    status, report = check(trained(run) / "pipeline.config", exported(run) / "checkpoint")
    assert (status, report["verdict"], report["warnings"]) == (0, "fits", [])


@pytest.mark.parametrize("run", RUNS)
def test_the_export_computes_what_the_reference_does(run, trained, exported):
    [(image, expected)] = compare.recorded(trained(run) / "reference.npz")
    # Which detections come first may hang on a rounding error after two steps; what they are chosen from does not.
    chosen = ("detection_scores",) if run.meta == "center_net" else ("raw_detection_boxes", "raw_detection_scores")
    scores = expected[chosen[-1]]
    assert len(np.unique(scores)) > scores.size / 2 and logits(scores).std() > 0.03, "the reference's scores are too much alike to compare"
    model = tf.saved_model.load(str(exported(run) / "saved_model"))
    outputs = {key: value.numpy() for key, value in model.signatures["serving_default"](input_tensor=tf.constant(image)).items()}
    assert {key: value.shape for key, value in outputs.items()} == {key: value.shape for key, value in expected.items()}
    compare.assert_equal({key: outputs[key] for key in chosen}, {key: expected[key] for key in chosen}, run.name)
    # All scores are low: their logits differ by more.
    compare.assert_equal({"logits": logits(outputs[chosen[-1]])}, {"logits": logits(scores)}, run.name)


@pytest.mark.parametrize("run", RUNS)
def test_verify_and_inspect_know_the_model(run, trained, exported):
    status, output, errors = tfod("verify", trained(run) / "train", exported(run) / "saved_model")
    assert status == 0, output + errors
    assert "0 by value" not in output and "all in all: same" in output
    status, output, errors = tfod("inspect", trained(run) / "train")
    assert status == 0, errors
    assert f"step {run.steps}" in output and "optimizer slots" in output
