"""A worker process of the oracle: reads a list of cases from standard input and writes each one's results into its folder.

A case that fails leaves a file `<folder>.error` with the traceback, and the next one is tried.
"""

import json
import os
import pathlib
import shutil
import sys
import time
import traceback

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from . import cache, checkpoints, reference
from .cases import Case


def partial_folder(folder):
    """Returns where a case's results are written before they are complete."""
    return folder.with_suffix(f".partial-{os.getpid()}")


def compute(case, folder, found):
    """Writes the results of a case into a new folder, which appears complete or not at all. `found` is what an earlier run has found by trying, or None."""
    start = time.time()
    partial = partial_folder(folder)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    (partial / "pipeline.config").write_text(case.config)
    config = reference.parse(case.config)
    model, weights = checkpoints.make(config, case.seed, found and found["weights"])
    checkpoints.save(model, str(partial / "checkpoint"), case.checkpoint, case.seed)

    model, status = reference.restore(config, str(partial / "checkpoint"))
    batches, chosen = reference.inputs(model, case, found and found["images"])
    status.assert_existing_objects_matched()
    for input_type, inputs in batches.items():
        arrays = {}
        for index, batch in enumerate(inputs):
            arrays[f"input_{index}"] = batch
            for name, value in reference.run(model, input_type, batch).items():
                arrays[f"output_{index}/{name}"] = value
        np.savez(partial / f"{input_type}.npz", **arrays)
    facts = {"weights": weights, "images": chosen, "variables": len(model.variables), "seconds": round(time.time() - start, 1)}
    (partial / "about.json").write_text(json.dumps(facts))
    try:
        partial.rename(folder)
    except OSError:  # another run of the suite was faster, and its tests may be reading
        shutil.rmtree(partial)
    return facts


def main():
    tf.config.run_functions_eagerly(True)
    # One thread a worker: the pool has as many workers as cores.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    for request in json.load(sys.stdin):
        case, folder = Case(**request["case"]), pathlib.Path(request["folder"])
        error = folder.with_suffix(".error")
        with cache.making(folder.name):  # suites that run beside each other share cases
            if (folder / "about.json").exists():
                continue
            error.unlink(missing_ok=True)
            try:
                print(case.name, compute(case, folder, request["found"]), flush=True)
            except Exception:  # the report of a failed case is its result
                shutil.rmtree(partial_folder(folder), ignore_errors=True)
                error.write_text(traceback.format_exc())
                print(case.name, "failed", traceback.format_exc(), flush=True)


if __name__ == "__main__":
    main()
