"""A store of the oracle's results on disk, and the pool of worker processes that fills it.

A result's key is a hash of everything it depends on: the case, the source of the harness that computes it, the environment's pins. So results
are computed once, shared by all tests, and reused by later runs; a change of the harness makes new ones. Most of the time goes into trying which weights and
images make the comparison well-posed: `found.json` beside this file has what was found, so that nothing is tried again. Standard library only.
"""

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import threading
import time

_HERE = pathlib.Path(__file__).resolve().parent
ROOT = _HERE.parent.parent
FOUND = _HERE / "found.json"
FOLDER = pathlib.Path(os.environ.get("TFOD_ORACLE_CACHE", ROOT / "target" / "oracle-cache"))
TRYING = ("images.py", "checkpoints.py", "reference.py")  # decide which weights and images are taken
SOURCES = (*TRYING, "snappy.py", "worker.py")
# Of models that have modules of their own.
OF_FAMILY = {"center_net {": ("center_net.py", "center_net_tasks.py"), "faster_rcnn {": ("two_stages.py",), "context_config {": ("context_rcnn.py",)}
CASES_PER_PROCESS = 6  # shares TensorFlow's import, and bounds what its caches keep in memory
WORKERS = 2


@functools.cache
def sources_hash(*further):
    """Returns a hash of the modules, `further` ones too, and pins that results depend on."""
    pins = sorted((_HERE.parent / "requirements").glob("oracle*.txt"))
    return _hash_of_files([_HERE / name for name in SOURCES + further] + pins)


def _hash_of_files(paths):
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


@functools.cache
def key(case):
    """Returns the key of a case's results. What was found by trying gives the same ones as trying."""
    return _hashed(trial(case), sources_hash())


@functools.cache
def trial(case):
    """Returns the key of what is found by trying; the case's name and tier are labels and do not count."""
    content = {name: value for name, value in dataclasses.asdict(case).items() if name not in ("name", "tier")}
    further = [names for start, names in OF_FAMILY.items() if start in case.config]
    return _hashed(content, _hash_of_files(_HERE / name for name in TRYING + sum(further, ())))


def _hashed(*content):
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]


def found(case):
    """Returns which weights and images of the case an earlier run has found by trying, as its `about.json` has them; None if it has to be tried."""
    return _found().get(trial(case))


@functools.cache
def _found():
    return json.loads(FOUND.read_text()) if FOUND.exists() else {}


def record(cases):
    """Enters what was found for cases that have results, and takes out what no case of any tier has any more."""
    entries = _found() | {trial(case): {"name": case.name, **_choices(case)} for case in cases if is_done(case)}
    wanted = {trial(case) for case in cases}
    lines = sorted((entry["name"], f"{json.dumps(trial)}: {json.dumps(entry)}") for trial, entry in entries.items() if trial in wanted)
    FOUND.write_text("{\n" + ",\n".join(line for _, line in lines) + "\n}\n")


def _choices(case):
    about = json.loads((folder(case) / "about.json").read_text())
    return {part: about[part] for part in ("weights", "images")}


def folder(case):
    """Returns the folder of the case's results: `pipeline.config`, `checkpoint/`, `{input_type}.npz`, `about.json`."""
    return FOLDER / key(case)


@contextlib.contextmanager
def making(name):
    """Holds the lock on something that takes long to make: another process that wants it waits instead of making it too."""
    path = FOLDER / "locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_done(case):
    return (folder(case) / "about.json").exists()


class Pool:
    """Computes missing results in the background; `wait` returns as soon as one case's are there."""

    def __init__(self, python, cases, workers=WORKERS):
        """Starts on the cases in their order, with the interpreter of the oracle environment."""
        self._workers = workers
        self._python = str(python)
        self._queue = [case for case in cases if not is_done(case)]
        self._errors = {}
        self._lock = threading.Lock()
        self._stopped = False
        self._processes = set()
        self._threads = [threading.Thread(target=self._work, args=(index,), daemon=True) for index in range(workers)]
        for thread in self._threads:
            thread.start()

    def _take(self):
        with self._lock:
            if self._stopped:
                return []
            share = min(CASES_PER_PROCESS, -(-len(self._queue) // self._workers))
            taken, self._queue = self._queue[:share], self._queue[share:]
            return taken

    def _work(self, index):
        log = FOLDER / "logs" / f"worker-{os.getpid()}-{index}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        while True:
            batch = self._take()
            if not batch:
                return
            request = json.dumps([{"folder": str(folder(case)), "case": dataclasses.asdict(case), "found": found(case)} for case in batch])
            with log.open("a") as output:
                process = subprocess.Popen(
                    [self._python, "-m", "oracle.worker"],
                    cwd=ROOT / "tests",
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    text=True,
                    env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
                )
                self._processes.add(process)
                process.communicate(request)
                self._processes.discard(process)
            for case in batch:
                error = folder(case).with_suffix(".error")
                if not is_done(case):
                    known = error.read_text() if error.exists() else f"the process ended with status {process.returncode}"
                    self._errors[case.name] = f"{known}\n(log: {log})"

    def wait(self, case, seconds=1800):
        """Returns the folder of the case's results; raises RuntimeError with the worker's message if they cannot be made."""
        end = time.monotonic() + seconds
        while not is_done(case):
            if case.name in self._errors:
                raise RuntimeError(f"the reference failed on case {case.name}: {self._errors[case.name]}")
            if time.monotonic() > end:
                raise RuntimeError(f"the reference took longer than {seconds} s on case {case.name}")
            time.sleep(0.1)
        return folder(case)

    def stop(self):
        """Ends the workers; finished results stay."""
        with self._lock:
            self._stopped = True
        for process in list(self._processes):
            process.terminate()
            process.wait()
            for partial in FOLDER.glob(f"*.partial-{process.pid}"):
                shutil.rmtree(partial, ignore_errors=True)
        for thread in self._threads:
            thread.join(timeout=10)
