"""Tests the page of examples/browser in Chromium: builds it, exports models for it, compares with ONNX Runtime.

    python3 tests/page.py                    # needs Chromium (`apt-get install chromium`) and Node
    python3 tests/page.py --page FILE.html   # a page that is there

The browser is /usr/bin/chromium or the one that TFOD_CHROMIUM names, the program target/release/tfod or TFOD_BIN. `run.py --consumers` calls this. Nothing is left out where something
is missing: it fails. Standard library only.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import build
import environments

FOLDER = ROOT / "target" / "page"
HERE = ROOT / "tests" / "consumers" / "page"
TFOD = pathlib.Path(os.environ.get("TFOD_BIN", ROOT / "target" / "release" / "tfod"))
SHAPES = ROOT / "examples" / "shapes"
PNG, JPEG = (SHAPES / "images" / name for name in ("test_1.png", "test_2.jpg"))
#: Models that the page can use, with the pictures that it must not scale for them.
MODELS = {
    "bytes": ((), (PNG, JPEG)),
    "floats, channels first": (("--float_input", "--input_layout=nchw"), (PNG, JPEG)),
    "one size": (("--batch=1", "--input_size=240x180"), (PNG,)),
}
#: Models that it refuses.
WRONG = {"heads": ("--raw_encodings",), "external": ("--external_data",), "batch": ("--batch=2", "--input_size=160x160")}


def run(command, **options):
    print(f"+ {' '.join(map(str, command))}", flush=True)
    return subprocess.run([str(part) for part in command], check=True, **options)


def export(folder, flags):
    """Exports the example; returns the model's file."""
    command = [TFOD, "export", "--format=onnx", f"--label_map={SHAPES / 'label_map.pbtxt'}", f"--pipeline_config_path={SHAPES / 'pipeline.config'}"]
    run([*command, f"--trained_checkpoint_dir={SHAPES / 'checkpoint'}", f"--output_directory={folder}", *flags], stdout=subprocess.DEVNULL)
    return folder / "model.onnx"


def model(name, flags, pictures):
    """Exports a model; returns its file and what ONNX Runtime detects with it, as the browser's tests are told."""
    file = export(FOLDER / name.replace(",", "").replace(" ", "-"), flags)
    told = run([environments.make("batch"), HERE / "detections.py", file, *pictures], stdout=subprocess.PIPE, text=True).stdout
    return {"file": str(file), "expected": json.loads(told)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=__doc__.partition("\n\n")[2], formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=pathlib.Path, help="the page (default: it is built)")
    arguments = parser.parse_args()
    try:
        page = arguments.page or build.page("wasm32-unknown-unknown", "", FOLDER)
        run(["npm", "install", "--no-fund", "--no-audit", "--no-package-lock"], cwd=HERE)
        given = {
            "page": str(page.resolve()),
            "pictures": [str(PNG), str(JPEG)],
            "models": {name: model(name, *how) for name, how in MODELS.items()},
            "wrong": {name: str(export(FOLDER / name, flags)) for name, flags in WRONG.items()},
        }
        run(["node", "--test", "--test-reporter=spec", HERE / "page.test.mjs"], env={**os.environ, "TFOD_PAGE": json.dumps(given)})
    except (build.Unavailable, environments.Unavailable, RuntimeError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
