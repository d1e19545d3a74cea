"""Tests what is installed: the wheel, in fresh environments that know no Rust, and the static binary, by the command line's own tests.

    python3 tests/installed.py wheel     # builds it, installs it under every Python from 3.9 on, runs python/tests, loads an export in TensorFlow
    python3 tests/installed.py static    # builds it for this processor, runs the tests of the command line with it
    python3 tests/installed.py crates    # every crate can be packed for a registry

`run.py` calls it. The builds are those of tools/build.py, hardly optimised and without the runtime of `detect` and `verify --image`, to save time. Standard library only.
"""

import argparse
import contextlib
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import build
import environments

FOLDER = ROOT / "target" / "packaging"
PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
#: Loads an export that the module made, calls it, and prints the keys of what it returns.
LOAD = """
import sys
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
outputs = model(input_tensor=tf.zeros([1, 160, 160, 3], tf.uint8))
print("TensorFlow", tf.__version__, "ran it:", ", ".join(sorted(outputs)))
assert outputs["detection_boxes"].shape == [1, 20, 4], outputs["detection_boxes"].shape
"""
EXPORT = """
import sys
import tfod
print(tfod.export("examples/shapes/pipeline.config", "examples/shapes/checkpoint", sys.argv[1]))
"""


def run(command, **options):
    """Runs a command with its output shown; raises CalledProcessError where it fails."""
    print(f"+ {' '.join(map(str, command))}", flush=True)
    subprocess.run([str(part) for part in command], check=True, **options)


@contextlib.contextmanager
def quick_builds():
    """Has cargo optimise little, which takes half the time: what is tested is how the result is packed."""
    variable = "CARGO_PROFILE_RELEASE_OPT_LEVEL"
    before = os.environ.get(variable)
    os.environ[variable] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


def without_rust():
    """Returns the environment variables of a machine that has no Rust: neither on the path nor by variables."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("CARGO", "RUST", "TFOD_", "PYTHON"))}
    folders = variables["PATH"].split(os.pathsep)
    variables["PATH"] = os.pathsep.join(folder for folder in folders if not any(pathlib.Path(folder, tool).exists() for tool in ("cargo", "rustc")))
    assert shutil.which("cargo", path=variables["PATH"]) is None
    return variables


def wheel():
    """Builds the wheel and tests it under every Python that is here."""
    shutil.rmtree(FOLDER / "wheel", ignore_errors=True)
    (FOLDER / "wheel").mkdir(parents=True)
    with quick_builds():
        file = build.wheel("x86_64-unknown-linux-gnu", "", FOLDER / "wheel")
    checker = environments.make("python")
    run([checker, "-m", "mypy"], cwd=ROOT / "python")
    variables, tested = without_rust(), []
    for version in PYTHONS:
        interpreter = environments.find_python(version)
        if interpreter is None:
            print(f"note: there is no Python {version} here")
            continue
        folder = FOLDER / "wheel" / f"python{version}"
        python = folder / "bin" / "python"
        run([interpreter, "-m", "venv", folder], env=variables)
        run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", file, "pytest"], env=variables)
        run([python, "-m", "pytest", "-p", "no:cacheprovider", "tests"], cwd=ROOT / "python", env=variables)
        tested.append(version)
    if not tested:
        sys.exit("error: no Python to test the wheel with")
    exported = FOLDER / "wheel" / "exported"
    run([python, "-c", EXPORT, exported], cwd=ROOT, env=variables)
    run([environments.ENVIRONMENTS["oracle"].python, "-c", LOAD, exported / "saved_model"], env={**variables, "TF_CPP_MIN_LOG_LEVEL": "3"})
    print(f"the wheel works under Python {', '.join(tested)}")


def static():
    """Builds the static binary for this processor and runs the tests of the command line with it."""
    with quick_builds():
        binary = build.static("x86_64-unknown-linux-musl", "", FOLDER)
    kind = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=False)
    assert "not a dynamic executable" in kind.stdout + kind.stderr or "statically linked" in kind.stdout, kind
    tests = ["--test=cli", "--test=formats", "--test=layouts"]
    # Usage lines begin with the name that the program has.
    (FOLDER / "static").mkdir(exist_ok=True)
    installed = shutil.copy2(binary, FOLDER / "static" / "tfod")
    # With the features of the other tests, because cargo leaves the program that belongs to the tests it ran last in target/release.
    run(["cargo", "test", "--release", "--workspace", "--features", "run", *tests], cwd=ROOT, env={**os.environ, "TFOD_BIN": str(installed)})


def crates():
    """Packs every crate as it would be published."""
    run(["cargo", "package", "--workspace", "--exclude", "tfod-cases", "--exclude", "tfod-page", "--allow-dirty", "--no-verify"], cwd=ROOT)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="+", choices=["wheel", "static", "crates"])
    failed = []
    for what in parser.parse_args().what:
        try:
            {"wheel": wheel, "static": static, "crates": crates}[what]()
        except build.Unavailable as error:
            # Only where neither rustup's server nor Debian's packages can be reached: nothing here is wrong, and nothing was tested.
            print(f"NOT TESTED: {error}")
        except subprocess.CalledProcessError as error:
            print(f"error: {what}: {error}", flush=True)
            failed.append(what)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
