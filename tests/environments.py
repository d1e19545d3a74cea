"""Makes the Python environments that the tests run in: one with the reference, and one for every other program that reads the files.

Each is a virtual environment in a folder of its own, with a stamp that holds a hash of its requirements and its Python: it is made
once, remade when its pins change, and a half-made one, which has no stamp, is remade too. Standard library only; runs
under Python 3.9 to 3.11, and finds other Pythons on the path and among pyenv's.
"""

import argparse
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Optional, Tuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "tests" / "requirements"
FOLDER = pathlib.Path(os.environ.get("TFOD_VENVS", ROOT / "target" / "venvs"))
STAMP = "requirements.sha256"


@dataclass(frozen=True)
class Environment:
    """An environment: its name, the Pythons it can use (best first), its requirement files, a check of the result."""

    name: str
    pythons: Tuple[str, ...]
    check: str
    mandatory: bool = False
    for_tests: bool = True  # else only for benchmarks, or for `run.py --consumers`

    @property
    def requirements(self):
        """The requirement files and the options of their `pip install`, in order."""
        files = [(REQUIREMENTS / f"{self.name}.txt", [])]
        no_deps = REQUIREMENTS / f"{self.name}.no-deps.txt"
        if no_deps.exists():
            files.append((no_deps, ["--no-deps"]))
        return files

    def versions(self):
        """Returns what the check prints: the names and versions of the main packages."""
        return run([self.python, "-c", self.check], env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}).splitlines()[-1]

    @property
    def folder(self):
        return FOLDER / self.name

    @property
    def python(self):
        return self.folder / "bin" / "python"


ENVIRONMENTS = {
    environment.name: environment
    for environment in (
        Environment(
            "oracle",
            # Under 3.11 protobuf 3.20.3 is pure Python and everything is two to four times slower.
            pythons=("3.10", "3.9", "3.11"),
            check="import tensorflow as tf; from object_detection import exporter_lib_v2; "
            "from google.protobuf.internal import api_implementation as a; print('TensorFlow', tf.__version__, 'protobuf', a.Type())",
            mandatory=True,
        ),
        Environment("tf-old", ("3.8",), "import tensorflow as tf; print('TensorFlow', tf.__version__)"),
        Environment("tf-new", ("3.12", "3.13", "3.11", "3.10"), "import tensorflow as tf; print('TensorFlow', tf.__version__)"),
        Environment("tf115", ("3.7",), "import tensorflow as tf; print('TensorFlow', tf.__version__)"),
        Environment(
            "onnx",
            ("3.10", "3.11", "3.12"),
            "import onnx, onnxruntime, openvino; print('onnx', onnx.__version__, 'onnxruntime', onnxruntime.__version__)",
        ),
        Environment("openvino", ("3.12", "3.11", "3.10", "3.13"), "import openvino; print('OpenVINO', openvino.__version__)"),
        Environment(
            "tflite",
            ("3.10", "3.11", "3.9"),
            "import ai_edge_litert.interpreter, mediapipe, tflite_runtime.interpreter; from importlib.metadata import version; "
            "print(', '.join(f'{name} {version(name)}' for name in ('ai-edge-litert', 'tflite-runtime', 'mediapipe', 'tflite-support')))",
        ),
        Environment("tf24", ("3.8",), "import tensorflow as tf; print('TensorFlow', tf.__version__)", for_tests=False),
        Environment("tf210", ("3.10", "3.9"), "import tensorflow as tf; print('TensorFlow', tf.__version__)", for_tests=False),
        Environment("opencv", ("3.10", "3.11", "3.12"), "import cv2; print('OpenCV', cv2.__version__)", for_tests=False),
        Environment(
            "batch",
            ("3.12", "3.11", "3.13"),
            "import apache_beam, onnxruntime, ray; print('Ray', ray.__version__, 'Apache Beam', apache_beam.__version__)",
            for_tests=False,
        ),
        Environment("tfjs", ("3.10", "3.9"), "import tensorflowjs.converters; print('tensorflowjs', tensorflowjs.__version__)", for_tests=False),
        Environment("tf2onnx", ("3.10", "3.11", "3.9"), "import tf2onnx; print('tf2onnx', tf2onnx.__version__)", for_tests=False),
        Environment("release", ("3.11", "3.10", "3.9", "3.12", "3.13"), "from importlib.metadata import version; print('zig', version('ziglang'), 'maturin', version('maturin'))", for_tests=False),
        Environment("python", ("3.11", "3.10", "3.9", "3.12", "3.13"), "import mypy.version; print('mypy', mypy.version.__version__)", for_tests=False),
    )
}


class Unavailable(Exception):
    """An environment cannot be made on this machine; the message says why."""


def run(command, **options):
    """Runs a command quietly; on failure raises RuntimeError with the end of what it printed."""
    result = subprocess.run(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    if result.returncode != 0:
        tail = "\n".join(result.stdout.splitlines()[-30:])
        raise RuntimeError(f"{' '.join(map(str, command))}: exit status {result.returncode}\n{tail}")
    return result.stdout


def find_python(version) -> Optional[str]:
    """Returns an interpreter of this version ("3.10"), or None: the running one, pyenv's newest patch, or one on the path."""
    candidates = []
    if version == f"{sys.version_info.major}.{sys.version_info.minor}" and sys.prefix == sys.base_prefix:
        candidates.append(sys.executable)
    roots = [os.environ.get("PYENV_ROOT"), os.path.expanduser("~/.pyenv")]
    if shutil.which("pyenv"):
        roots.insert(0, subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=False).stdout.strip())
    for root in filter(None, roots):
        found = pathlib.Path(root, "versions").glob(f"{version}.*/bin/python{version}")
        candidates += [str(path) for path in sorted(found, key=lambda path: int(path.parts[-3].split(".")[2]), reverse=True)]
    candidates.append(shutil.which(f"python{version}"))
    for candidate in filter(None, candidates):
        # A pyenv shim exists for every version that any pyenv Python has, and fails unless that one is active.
        question = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
        answer = subprocess.run([candidate, "-c", question], capture_output=True, text=True, check=False)
        if answer.returncode == 0 and answer.stdout.strip() == version:
            return candidate
    return None


def choose_python(environment):
    """Returns (interpreter, version), or raises `Unavailable`."""
    for version in environment.pythons:
        found = find_python(version)
        if found:
            return found, version
    raise Unavailable(f"environment {environment.name}: needs Python {' or '.join(environment.pythons)}, found none of them")


def wanted_stamp(environment, version):
    """Returns the stamp's text: a hash of all that decides the environment's contents."""
    digest = hashlib.sha256(version.encode())
    for path, options in environment.requirements:
        digest.update(path.read_bytes() + repr(options).encode())
    return digest.hexdigest() + "\n"


def make(name, say=print):
    """Makes the environment if it is not there or out of date, and returns its interpreter's path.

    Raises `Unavailable` if there is no Python for it, RuntimeError if an installation or the final check fails.
    """
    environment = ENVIRONMENTS[name]
    interpreter, version = choose_python(environment)
    stamp, wanted = environment.folder / STAMP, wanted_stamp(environment, version)
    if stamp.exists() and stamp.read_text() == wanted:
        say(f"environment {name}: ready ({environment.folder})")
        return environment.python

    start = time.time()
    say(f"environment {name}: making {environment.folder} with {interpreter} (a minute or two)")
    shutil.rmtree(environment.folder, ignore_errors=True)
    environment.folder.parent.mkdir(parents=True, exist_ok=True)
    run([interpreter, "-m", "venv", environment.folder])
    for path, options in environment.requirements:
        say(f"environment {name}: installing {path.name}")
        run([environment.python, "-m", "pip", "install", "--quiet", *options, "-r", path])
    say(f"environment {name}: {environment.versions()}, made in {time.time() - start:.0f} s")
    stamp.write_text(wanted)
    return environment.python


def make_all(names=tuple(name for name, environment in ENVIRONMENTS.items() if environment.for_tests), say=print):
    """Makes environments, by default those of the tests; returns {name: reason} for the optional ones that cannot be. A mandatory one that fails raises."""
    missing = {}
    for name in names:
        try:
            make(name, say)
        except (Unavailable, RuntimeError) as error:
            if ENVIRONMENTS[name].mandatory:
                raise
            missing[name] = str(error)
            say(f"environment {name}: NOT AVAILABLE, tests that need it are skipped: {error}")
    return missing


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"which of {', '.join(ENVIRONMENTS)} (default: all)")
    parser.add_argument("--folder", type=pathlib.Path, help="where to make them (default: target/venvs, or TFOD_VENVS)")
    arguments = parser.parse_args()
    if arguments.folder:
        global FOLDER
        FOLDER = arguments.folder.resolve()
    for name in arguments.names:
        if name not in ENVIRONMENTS:
            parser.error(f"unknown environment {name!r}; known: {', '.join(ENVIRONMENTS)}")
    try:
        make_all(*([arguments.names] if arguments.names else []))
    except (Unavailable, RuntimeError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
