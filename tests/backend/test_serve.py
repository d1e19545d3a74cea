"""Running scripts of other environments again and again in one process: `oracle.serve`."""

import sys

import pytest
from oracle import serve

pytestmark = pytest.mark.quick

SCRIPT = """
import os, sys
print("imported: goes nowhere")
runs = 0

def main():
    global runs
    runs += 1
    what = sys.argv[1]
    if what == "fail":
        raise ValueError("no good")
    if what == "exit":
        sys.exit("says why")
    if what == "die":
        os.write(2, b"last words")
        os._exit(7)
    os.write(1, b"from native code")
    print(runs, *sys.argv[1:])
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    yield path
    serve.close()


def test_one_process_runs_a_script_again_and_again(script):
    assert [serve.run(sys.executable, script, "x", "größe y") for _ in range(3)] == [f"{run} x größe y\n" for run in (1, 2, 3)]


def test_errors_are_told_and_the_next_run_works(script):
    with pytest.raises(serve.Failed, match="no good"):
        serve.run(sys.executable, script, "fail")
    with pytest.raises(serve.Failed, match="says why"):
        serve.run(sys.executable, script, "exit")
    assert serve.run(sys.executable, script, "x") == "3 x\n"


def test_a_process_that_dies_is_told_with_its_last_words(script):
    with pytest.raises(serve.Failed, match="status 7\n(.*\n)*last words"):
        serve.run(sys.executable, script, "die")
    assert serve.run(sys.executable, script, "x") == "1 x\n"


def test_a_process_ends_after_some_runs(script, monkeypatch):
    monkeypatch.setattr(serve, "RUNS", 2)
    assert [serve.run(sys.executable, script, "x") for _ in range(3)] == ["1 x\n", "2 x\n", "1 x\n"]
