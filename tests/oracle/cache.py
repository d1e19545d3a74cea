"""A store of the oracle's results on disk, and the pool of worker processes that fills it.

A result's key is a hash of everything it depends on: the case, the source of the harness that computes it, the environment's pins. So results
are computed once, shared by all tests, and reused by later runs; a change of the harness makes new ones. Standard
library only.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FOLDER = pathlib.Path(os.environ.get("TFOD_ORACLE_CACHE", ROOT / "target" / "oracle-cache"))
SOURCES = ("images.py", "snappy.py", "checkpoints.py", "reference.py", "worker.py")
CASES_PER_PROCESS = 6  # shares TensorFlow's import, and bounds what its caches keep in memory
WORKERS = 2


def sources_hash(*further):
    """Returns a hash of the modules, `further` ones too, and pins that results depend on."""
    digest = hashlib.sha256()
    here = pathlib.Path(__file__).resolve().parent
    pins = sorted((here.parent / "requirements").glob("oracle*.txt"))
    for path in [here / name for name in SOURCES + further] + pins:
        digest.update(path.read_bytes())
    return digest.hexdigest()


_SOURCES_HASH = sources_hash()
# Of models that have a module of their own.
_OF_FAMILY = {"center_net {": sources_hash("center_net.py", "center_net_tasks.py")}


def key(case):
    """Returns the case's key; its name and tier are labels and do not count."""
    content = {name: value for name, value in dataclasses.asdict(case).items() if name not in ("name", "tier")}
    of_family = [hashed for start, hashed in _OF_FAMILY.items() if start in case.config]
    text = json.dumps(content, sort_keys=True) + (of_family or [_SOURCES_HASH])[0]
    return hashlib.sha256(text.encode()).hexdigest()[:20]


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
            request = json.dumps([{"folder": str(folder(case)), "case": dataclasses.asdict(case)} for case in batch])
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
