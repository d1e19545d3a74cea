"""What is said on a terminal while work goes on, and nowhere else. A config that comes through a pipe makes the work last as long as the test wants."""

import os
import pathlib
import pty
import re
import subprocess
import threading
import time

import pytest
from parity.conftest import BINARY

EXAMPLE = pathlib.Path(__file__).resolve().parent.parent.parent / "examples" / "shapes"
CLEARED = re.compile(r"\r\x1b\[2?K\s*$")


def late_config(folder, seconds):
    """Returns the path of a config that cannot be read to its end for so long."""
    path = folder / "late.config"
    os.mkfifo(path)

    def write():
        for delay in (seconds, 0):  # it is read twice: to be understood, and for its digest
            with path.open("wb") as pipe:
                time.sleep(delay)
                pipe.write((EXAMPLE / "pipeline.config").read_bytes())
            time.sleep(0.1)

    threading.Thread(target=write, daemon=True).start()
    return path


def command(config, folder):
    return [BINARY, "export", f"--pipeline_config_path={config}", f"--trained_checkpoint_dir={EXAMPLE / 'checkpoint'}", f"--output_directory={folder / 'out'}"]


def said_on_terminal(arguments, **variables):
    """Runs a program whose standard error is a terminal; returns what appears there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [str(part) for part in arguments], stderr=theirs, stdout=subprocess.DEVNULL, env={**os.environ, "TERM": "xterm", **variables}
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # how a terminal ends on Linux
            break
        if not part:
            break
        said += part
    assert process.wait() == 0, said
    return said.decode()


@pytest.mark.quick
def test_work_over_a_second_is_told_on_a_terminal(tmp_path):
    said = said_on_terminal(command(late_config(tmp_path, 1.8), tmp_path))
    assert "reading the configuration" in said
    assert CLEARED.search(said), repr(said[-80:])


@pytest.mark.quick
def test_short_work_is_not(tmp_path):
    assert said_on_terminal(command(EXAMPLE / "pipeline.config", tmp_path)) == ""


@pytest.mark.quick
def test_nothing_is_told_elsewhere(tmp_path):
    ran = subprocess.run(command(late_config(tmp_path, 1.8), tmp_path), capture_output=True, text=True, check=True)
    assert ran.stderr == ""


@pytest.mark.quick
def test_no_color_is_honoured(tmp_path):
    colour = re.compile(r"\x1b\[[0-9;]*m")
    said = said_on_terminal(command(late_config(tmp_path, 1.8), tmp_path), NO_COLOR="1")
    assert "reading the configuration" in said and not colour.search(said)
    for variables, coloured in ({}, True), ({"NO_COLOR": "1"}, False):
        ours, theirs = pty.openpty()
        process = subprocess.Popen([BINARY, "export", "--nonsense"], stderr=theirs, env={**{k: v for k, v in os.environ.items() if k != "NO_COLOR"}, "TERM": "xterm", **variables})
        os.close(theirs)
        process.wait()
        said = os.read(ours, 4096).decode()
        assert bool(colour.search(said)) == coloured, repr(said)
