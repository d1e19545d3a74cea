"""The README says what is so: versions, flags, and figures that docs/performance.md has from a benchmark."""

import pathlib
import re
import subprocess

import pytest

from parity.conftest import BINARY

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = ("export", "freeze", "check", "inspect", "diff", "verify", "detect")


def rows(text):
    """Returns the cells of every row of every table of a Markdown text."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not set(line) <= set("|-: ")]


def test_the_figures_are_those_of_the_benchmarks():
    measured = (ROOT / "docs" / "performance.md").read_text()
    figures = set(re.findall(r"[\d.,]*\d", " ".join(cell for row in rows(measured) for cell in row)))
    section = README.split("## What it does")[0]
    # A first cell says what was measured; it may hold numbers of its own, sizes and versions.
    claimed = [(row, number) for row in rows(section) for cell in row[1:] for number in re.findall(r"[\d.,]*\d", cell)]
    assert len(claimed) > 30
    unknown = [f"{number} in {row}" for row, number in claimed if number not in figures]
    assert not unknown, "docs/performance.md has no such figure:\n" + "\n".join(unknown)


def test_the_rust_version_is_the_one_that_the_workspace_needs():
    (needed,) = re.findall(r'^rust-version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    said = re.findall(r"Rust (\d+\.\d+)", README)
    assert said and set(said) == {needed}


def test_the_first_build_is_the_one_that_was_measured():
    """And the binary's size is about what is said: with the runtime, which the tests need, it is half as large again."""
    (seconds, megabytes) = re.search(r"took (\d+) s on two cores; the binary has (\d+) MB", README).groups()
    measured = (ROOT / "docs" / "installing.md").read_text()
    assert f"{seconds} s of wall time" in measured
    assert f"The stripped binary has {megabytes} MB; with the runtime, half as much again" in measured.replace("\n", " ")
    assert 1.3 <= BINARY.stat().st_size / 1e6 / int(megabytes) <= 1.7


@pytest.mark.parametrize("document", ["README.md", "python/README.md", "docs/inputs.md", "docs/serving.md", "docs/manifest.md", "docs/inspect.md", "docs/detect.md"])
def test_flags_exist(document):
    flags = set(re.findall(r"(?<![\w-])--([a-z][a-z_-]+)", (ROOT / document).read_text()))
    known = set()
    for command in COMMANDS:
        text = subprocess.run([str(BINARY), command, "--help"], capture_output=True, text=True, check=True).stdout
        known |= set(re.findall(r"--([a-z][a-z_]+)", text))
    # Of other programs that the documents name.
    known |= {"release", "bin", "path", "features", "package", "quick", "no-parity", "exhaustive", "consumers", "model_base_path", "rest_api_port", "model-repository", "model_name", "no-default-features"}
    known |= {"address", "workers", "runner", "setup_file", "requirements_file"}  # of examples/batch
    assert flags <= known, f"{document}: no command has {sorted(flags - known)}"
