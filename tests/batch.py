"""Tests the programs of examples/batch: exports models for them, compares what they write with ONNX Runtime's.

    python3 tests/batch.py [TEST...]

The program is target/release/tfod or TFOD_BIN. `run.py --consumers` calls this. Nothing is left out where something is missing: it fails. Standard library only.
"""

import json
import os
import subprocess
import sys

import environments
import page

FOLDER = page.ROOT / "target" / "batch"
HERE = page.ROOT / "tests" / "consumers" / "batch"
MODELS = {"plain": (), "dynamic": ("--batch=dynamic",), "heads": ("--raw_encodings",)}


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    records = FOLDER / "shapes.record"
    try:
        page.run([environments.make("oracle"), HERE / "write_records.py", records, page.PNG, page.JPEG], stderr=subprocess.DEVNULL)
        given = {
            "models": {name: str(page.export(FOLDER / name, flags)) for name, flags in MODELS.items()} | {"absent": str(FOLDER / "absent.onnx")},
            "pictures": [str(page.PNG), str(page.JPEG)],
            "records": str(records),
            "scratch": str(FOLDER),
            "tfod": str(page.TFOD),
        }
        page.run([environments.make("batch"), HERE / "test_batch.py", "-v", *sys.argv[1:]], env={**os.environ, "TFOD_BATCH": json.dumps(given)})
    except (environments.Unavailable, RuntimeError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
