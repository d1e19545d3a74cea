"""Where rows go: a folder of Parquet files, which appears when all of them are written."""

import contextlib
import os
import pathlib
import shutil

import pyarrow.dataset
from pictures import Refused


@contextlib.contextmanager
def folder(output):
    """Gives the folder to write to: one beside the output, which takes its name at the end; an address (s3://, gs://) itself, where nothing can be renamed."""
    if "://" in output:
        yield output
        return
    path = pathlib.Path(output).resolve()
    if path.exists():
        raise Refused(f"{path}: is there already; expected the name of a new folder")
    unfinished = path.with_name(f"{path.name}.unfinished-{os.getpid()}")
    unfinished.mkdir(parents=True)
    try:
        yield str(unfinished)
        unfinished.rename(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def summary(output):
    """Returns what is to be said of the rows that were written."""
    rows = pyarrow.dataset.dataset(output, format="parquet")
    broken = rows.scanner(columns=["picture", "error"], filter=pyarrow.compute.field("error").is_valid()).head(5).to_pylist()
    count = rows.count_rows(filter=pyarrow.compute.field("error").is_valid())
    lines = [f"{output}: {rows.count_rows()} pictures, {count} without detections because of an error"]
    lines += [f"  {row['picture']}: {row['error']}" for row in broken]
    return "\n".join(lines + ["  …"] * (count > len(broken)))
