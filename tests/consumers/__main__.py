"""Runs the matrix: `python -m consumers [--only TEXT] [--families TEXT]`, in the oracle's environment. Fails where a program does not do what the document will say."""

import argparse
import os
import pathlib
import shutil
import sys
import time

import environments
from oracle import cache
from parity import compare

from . import report
from .exports import Model, Refused
from .families import cases
from .programs import LINES, TESTS, Compared, Failed, Runner

ROOT = TESTS.parent
TFOD = pathlib.Path(os.environ.get("TFOD_BIN", ROOT / "target" / "release" / "tfod"))
WORK = ROOT / "target" / "consumers"


def verdict(line, model, work):
    """Returns the ways in which the program agrees with the reference; raises `Failed` with what it says or how it differs."""
    ways = line.run(model, Runner(line.environment, work))
    if not ways:
        raise Failed("it gave no outputs")
    expected = ways.expected if isinstance(ways, Compared) else model.expected
    for way, outputs in ways.items():
        found = compare.problems(outputs, expected)
        if found:
            raise Failed(f"{way}: {'; '.join(found)}")
    return sorted(ways)


def examine(line, family, model):
    """Returns the cell of a line and a family, and whether it is as `limits` says."""
    start = time.time()
    work = WORK / "work" / f"{LINES.index(line)}-{family.replace(' ', '-')}"
    limit = line.limits.get(family, line.limits.get("*"))
    try:
        cell = report.Cell(True, ", ".join(verdict(line, model, work)))
    except (Failed, Refused) as failure:
        cell = report.Cell(False, str(failure))
    as_told = cell.works == (limit is None)
    mark = "ok" if cell.works else "no"
    print(f"{mark:3} {'' if as_told else 'UNEXPECTED '}{line.title} ({line.takes}), {family}: {cell.said} ({time.time() - start:.0f} s)", flush=True)
    return cell, as_told


def main():
    parser = argparse.ArgumentParser(prog="consumers", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="TEXT", help="lines whose title or input contains this; the document is not written")
    parser.add_argument("--families", default="", metavar="TEXT", help="families whose name contains this; the document is not written")
    arguments = parser.parse_args()
    lines = [line for line in LINES if arguments.only.lower() in f"{line.title} {line.takes}".lower()]
    if not lines:
        parser.error(f"no line contains {arguments.only!r}; there are: {'; '.join(line.title for line in LINES)}")
    shutil.rmtree(WORK, ignore_errors=True)

    columns = {family: case for family, case in cases().items() if arguments.families.lower() in family.lower()}
    if not columns:
        parser.error(f"no family contains {arguments.families!r}; there are: {', '.join(cases())}")
    pool = cache.Pool(sys.executable, list(columns.values()))
    models = {family: Model(TFOD, pool.wait(case), WORK / "exports" / family.replace(" ", "-")) for family, case in columns.items()}
    pool.stop()
    cells, is_as_told = {}, True
    for line in lines:
        for family, model in models.items():
            cells[line, family], as_told = examine(line, family, model)
            is_as_told &= as_told
    if not (arguments.only or arguments.families):
        versions = {name: environments.ENVIRONMENTS[name].versions() for name in {line.environment for line in lines}}
        (ROOT / "docs" / "consumers.md").write_text(report.document(lines, list(models), cells, versions))
        print("written: docs/consumers.md")
    sys.exit(0 if is_as_told else 1)


if __name__ == "__main__":
    main()
