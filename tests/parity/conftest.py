"""What the parity tests share: the oracle's results, computed in the background, and exports, made once.

Environment variables: TFOD_BIN (the binary under test, default target/release/tfod), TFOD_ZOO (a folder of published configs, whose
FPNLite models are then tested too), TFOD_MISSING_<NAME> (why an optional environment is not there; set by run.py).
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import environments
from oracle import cache

from . import constants

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BINARY = pathlib.Path(os.environ.get("TFOD_BIN", ROOT / "target" / "release" / "tfod"))

_pool, _cases = None, []
_exports = {}  # case name: {input type: folder}
_last_users = {}  # case name: the last test that reads its exports


def case_of(item):
    """Returns the case that a test is about, or None."""
    return item.callspec.params.get("case") if hasattr(item, "callspec") else None


def pytest_collection_finish(session):
    """Finds the cases of the selected tests, in the order in which they will be needed."""
    cases = {}
    for item in session.items:
        case = case_of(item)
        if case is not None:
            cases.setdefault(case.name, case)
            if "export" in item.fixturenames:
                _last_users[case.name] = item.nodeid
    _cases.extend(cases.values())


def pytest_runtest_logfinish(nodeid):
    """Removes the exports that no later test reads: all together they fill ten gigabytes."""
    for name in [name for name in _exports if _last_users.get(name) == nodeid]:
        for folder in _exports.pop(name).values():
            shutil.rmtree(folder, ignore_errors=True)


def pytest_sessionfinish():
    if _pool is not None:
        _pool.stop()


@pytest.fixture(scope="session")
def oracle():
    """`oracle(case)` returns the folder of the reference's results for a case, waiting for them if necessary.

    The first call starts the oracle on all cases: until then, other tests have the cores.
    """

    def wait(case):
        global _pool
        if _pool is None:
            _pool = cache.Pool(sys.executable, _cases)
        return _pool.wait(case)

    return wait


def without_meaning(output):
    """Returns the outputs of an export that its manifest has no words for."""
    manifests = [json.loads(path.read_text()) for path in output.glob("**/manifest.json")]
    return [entry["name"] for manifest in manifests for entry in manifest["outputs"] if not entry.get("meaning")]


def run_export(output, results, input_type, *options):
    """Runs `tfod export` on a case's checkpoint; returns the output folder. There is no input type where the options have signatures."""
    assert BINARY.exists(), f"{BINARY} does not exist: build it with `cargo build --release`, or set TFOD_BIN"
    command = [
        str(BINARY),
        "export",
        *([f"--input_type={input_type}"] if input_type else []),
        f"--pipeline_config_path={results / 'pipeline.config'}",
        f"--trained_checkpoint_dir={results / 'checkpoint'}",
        f"--output_directory={output}",
        *options,
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{' '.join(command)}\nexit status {result.returncode}\n{result.stdout}{result.stderr}"
    assert not (found := constants.of_export(output)), f"{' '.join(command)}\ncomputes from constants alone: {found}"
    assert not (found := without_meaning(output)), f"{' '.join(command)}\nthe manifest has no meaning of {found}"
    return output


@pytest.fixture(scope="session")
def export(oracle, tmp_path_factory):
    """`export(case, input_type)` returns the output folder of an export of the case, made once and kept while tests need it."""

    def make(case, input_type="image_tensor"):
        made = _exports.setdefault(case.name, {})
        if input_type not in made:
            folder = tmp_path_factory.mktemp("export") / "out"
            made[input_type] = run_export(folder, oracle(case), input_type)
        return made[input_type]

    return make


@pytest.fixture(scope="session")
def other_tensorflow():
    """`other_tensorflow(name)` returns the interpreter of another environment, or skips the test with the reason."""

    def find(name):
        reason = os.environ.get(f"TFOD_MISSING_{name.upper().replace('-', '_')}")
        if reason is None and not (environments.ENVIRONMENTS[name].folder / environments.STAMP).exists():
            reason = f"environment {name} has not been made: run tests/environments.py"
        if reason is not None:
            pytest.skip(reason)
        return environments.ENVIRONMENTS[name].python

    return find
