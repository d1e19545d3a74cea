"""The Python module over the command, run on the small detector of the repository: `tfod` is installed, or `TFOD_BIN` names the binary."""

import inspect
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any, Callable, List

import pytest

import tfod
from tfod import _process, results

ROOT = Path(__file__).resolve().parent.parent.parent
SHAPES = ROOT / "examples" / "shapes"
CONFIG, CHECKPOINT = SHAPES / "pipeline.config", SHAPES / "checkpoint"
#: Flags that need no parameter: the functions set them, another parameter does, or they are for command lines.
NOT_PARAMETERS = {"only_check_args", "help", "verbose", "json", "flagfile", "image", "logdir", "name"}


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    tfod.export(CONFIG, CHECKPOINT, folder, format=["saved_model", "onnx"])
    return folder


def test_export_returns_what_was_written(tmp_path: Path) -> None:
    result = tfod.export(CONFIG, str(CHECKPOINT), tmp_path / "out", format="saved_model,frozen", score_threshold=0.5, input_size=(120, 200))
    assert result.num_classes == 3 and result.image_size == (160, 160)
    assert result.inputs == (tfod.Tensor("input_tensor", "uint8", (1, 120, 200, 3)),)
    assert [output.key for output in result.outputs] == sorted(output.key for output in result.outputs)
    assert result.signatures["serving_default"].outputs == result.outputs
    assert result.saved_model is not None and result.saved_model.pb_bytes == (tmp_path / "out" / "saved_model" / "saved_model.pb").stat().st_size
    assert result.frozen is not None and result.frozen.bytes == (tmp_path / "out" / "frozen.pb").stat().st_size
    assert result.onnx is None and result.warnings == ()
    assert result.output_directory.samefile(tmp_path / "out") and isinstance(result.checkpoint.prefix, Path)
    assert result.json["architecture"] == result.architecture


def test_arguments_are_spelled_as_flags(tmp_path: Path) -> None:
    labels = tmp_path / "labels.pbtxt"
    labels.write_text("item { id: 7 name: 'seven' }\n")
    with pytest.warns(tfod.TfodWarning) as warned:
        result = tfod.export(CONFIG, CHECKPOINT, tmp_path / "out", signatures={"serving_default": "image_tensor", "bytes": "encoded_image_string_tensor:image_bytes"}, label_map=labels)
    assert set(result.signatures) == {"bytes", "serving_default"}
    assert result.signatures["bytes"].inputs[0].key == "image_bytes"
    assert result.warnings == tuple(str(warning.message) for warning in warned) and any("class 7 (seven)" in text for text in result.warnings)


def test_freeze(exported: Path, tmp_path: Path) -> None:
    result = tfod.freeze(exported / "saved_model", tmp_path / "frozen.pb", friendly_names=True, fold_batch_norm=True)
    assert result.output == tmp_path / "frozen.pb" and result.bytes == result.output.stat().st_size
    assert result.nodes == sum(result.ops.values())
    assert {output.key: output.tensor for output in result.outputs}["detection_boxes"] == "detection_boxes:0"
    assert result.folded_batch_norms and result.halved_constants is None


def test_check() -> None:
    assert tfod.check(CONFIG, CHECKPOINT)
    result = tfod.check(CONFIG, CHECKPOINT, config_override="model { ssd { num_classes: 5 } }")
    assert not result and not result.fits and result.differences
    assert result.variables is not None and result.variables.matched < result.variables.total


def test_inspect(exported: Path) -> None:
    result = tfod.inspect(exported / "model.onnx", tensors=True)
    assert result.kind == "onnx" and result.details["nodes"] > 0
    assert result.json["tensors"] and all(isinstance(hurdle, tfod.Hurdle) for hurdle in result.hurdles)
    assert tfod.inspect(CHECKPOINT).kind == "checkpoint"


def test_verify(exported: Path) -> None:
    result = tfod.verify(exported / "saved_model", exported / "model.onnx", only=["interface", "weights"])
    assert result and result.same and result.kinds == ("saved_model", "onnx")
    assert result.weights is not None and result.weights.outcome == "same" and result.outputs is None


def test_errors_carry_the_message(tmp_path: Path) -> None:
    with pytest.raises(tfod.Error, match=r"nothing\.config") as caught:
        tfod.export(tmp_path / "nothing.config", CHECKPOINT, tmp_path / "out")
    assert caught.value.exit_code == 1 and not str(caught.value).startswith("error") and caught.value.command[1] == "export"
    assert not (tmp_path / "out").exists()
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.exit_code, again.command) == (str(caught.value), 1, caught.value.command)
    with pytest.raises(tfod.Error) as wrong:
        tfod.export(CONFIG, CHECKPOINT, tmp_path / "out", batch=-3)
    assert wrong.value.exit_code == 2
    with pytest.raises(tfod.Error):
        tfod.check(tmp_path / "nothing.config", CHECKPOINT)
    with pytest.raises(tfod.Error):
        tfod.freeze(tmp_path / "nothing", tmp_path / "frozen.pb")


def test_progress_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    steps: List[str] = []
    tfod.export(CONFIG, CHECKPOINT, tmp_path / "out", progress=steps.append)
    assert "writing the SavedModel" in steps and len(steps) >= 4
    tfod.export(CONFIG, CHECKPOINT, tmp_path / "out")
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err == "", "nothing is shown where there is neither a terminal nor a notebook"


def test_progress_in_a_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: List[str] = []

    class Handle:
        def update(self, pretty: str) -> None:
            shown.append(pretty)

    def display(pretty: str, display_id: bool) -> Handle:
        assert display_id
        shown.append(pretty)
        return Handle()

    module, sub = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    setattr(module, "get_ipython", lambda: types.SimpleNamespace(kernel=object()))
    setattr(sub, "Pretty", str)
    setattr(sub, "display", display)
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setitem(sys.modules, "IPython.display", sub)
    tfod.export(CONFIG, CHECKPOINT, tmp_path / "out")
    assert any("writing the SavedModel" in text for text in shown) and shown[-1].endswith(" s")


@pytest.mark.parametrize("function", [tfod.export, tfod.freeze, tfod.check, tfod.inspect, tfod.verify], ids=lambda function: str(function.__name__))
def test_every_flag_is_a_parameter(function: Callable[..., Any]) -> None:
    text = subprocess.run([str(tfod.binary()), function.__name__, "--help"], capture_output=True, text=True, check=True).stdout
    flags = set(re.findall(r"^ +(?:-\w, )?--([a-z_]+)", text, re.MULTILINE))
    assert flags, text
    parameters = set(inspect.signature(function).parameters)
    assert flags - NOT_PARAMETERS <= parameters, f"not in tfod.{function.__name__}: {sorted(flags - NOT_PARAMETERS - parameters)}"
    positional = {"path", "first", "second", "images", "progress"}
    assert parameters - positional <= flags, f"no flag of the command: {sorted(parameters - positional - flags)}"


def test_a_result_that_lacks_a_key_is_an_error() -> None:
    with pytest.raises(KeyError, match="verdict"):
        results.parse(tfod.CheckResult, {"advice": None})


def test_a_dropped_change_is_of_a_variable_or_of_a_table() -> None:
    told = {"node": "n", "op": "LookupTableInsertV2", "function": "f"}
    update = results.parse(tfod.DroppedUpdate, {"table": "words", **told})
    assert (update.table, update.variable) == ("words", None)
    assert results.parse(tfod.DroppedUpdate, {"variable": "w", **told}).variable == "w"


def test_the_command_runs_as_a_module() -> None:
    result = subprocess.run([sys.executable, "-m", "tfod", "--version"], capture_output=True, text=True, check=False)
    assert result.returncode == 0 and result.stdout.startswith("tfod ")
    wrong = subprocess.run([sys.executable, "-m", "tfod", "expert"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2 and "expert" in wrong.stderr


def test_the_binary_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFOD_BIN", str(tmp_path / "mine"))
    assert tfod.binary() == tmp_path / "mine"
    monkeypatch.delenv("TFOD_BIN")
    monkeypatch.setattr("sysconfig.get_path", lambda *_: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(_process, "__file__", str(tmp_path / "lib" / "tfod" / "_process.py"))
    with pytest.raises(FileNotFoundError, match="pip install"):
        tfod.binary()
    (tmp_path / "tfod").touch()
    assert tfod.binary() == tmp_path / "tfod"


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_interrupt_ends_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid_file, script = tmp_path / "pid", tmp_path / "tfod"
    script.write_text(f"#!/bin/sh\necho $$ > {pid_file}\nexec /bin/sleep 600\n")
    script.chmod(0o755)
    monkeypatch.setenv("TFOD_BIN", str(script))

    def interrupt() -> None:
        while not pid_file.exists() or not pid_file.read_text().strip():
            time.sleep(0.01)
        time.sleep(0.3)  # the call has returned from starting it, and waits
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        tfod.check(CONFIG, CHECKPOINT)
    thread.join()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_json_is_kept_whole(tmp_path: Path) -> None:
    result = tfod.check(CONFIG, CHECKPOINT)
    printed = subprocess.run(
        [str(tfod.binary()), "check", "--json", f"--pipeline_config_path={CONFIG}", f"--trained_checkpoint_dir={CHECKPOINT}"], capture_output=True, text=True, check=True
    ).stdout
    assert result.json == json.loads(printed)
