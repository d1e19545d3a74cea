"""The one command for all tests: builds, runs the Rust tests, makes the Python environments, runs the parity suite.

Exits with 0 only if every runner did. Standard library only; Python 3.9 to 3.11.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import environments

ROOT = pathlib.Path(__file__).resolve().parent.parent
NEEDED = 16e9  # bytes of disk
FEATURES = ["--features", "run"]  # with the runtime of `detect` and `verify --image`, as release binaries have it
LEFT_OUT = {"quick": "not default and not exhaustive", "default": "not exhaustive", "exhaustive": ""}  # expressions of pytest's markers


def timed(name, command, results, **options):
    """Runs a command with its output shown; appends (name, ok, seconds) to the results and returns ok."""
    print(f"\n=== {name}: {' '.join(map(str, command))}", flush=True)
    start = time.time()
    status = subprocess.run([str(part) for part in command], check=False, **options).returncode
    results.append((name, status == 0, time.time() - start))
    return status == 0


def build(results):
    return timed("build", ["cargo", "build", "--release", "--workspace", "--all-targets", *FEATURES], results, cwd=ROOT)


def rust(results):
    """Builds the workspace and runs its tests; returns whether the build worked, without which nothing else can run."""
    built = build(results)
    if built:
        timed("Rust tests", ["cargo", "test", "--release", "--workspace", "--no-fail-fast", *FEATURES], results, cwd=ROOT)
    return built


class Preparation(threading.Thread):
    """What depends on nothing in Rust, in the background while the build has cores to spare: makes the tests' Python environments, and computes the
    reference's results of a tier's cases as far as it gets; None as the tier computes none."""

    def __init__(self, tier):
        super().__init__(daemon=True)
        self.missing, self.error, self.seconds = {}, RuntimeError("they were not made to the end"), 0.0
        self.tier, self.reference, self.started = tier, None, 0.0
        self.start()

    def run(self):
        start = time.time()
        try:
            python = environments.make("oracle")
            if self.tier:
                # The build comes first: nothing can be tested without it.
                command = ["nice", "-n", "10", python, "-m", "oracle.fill", self.tier]
                self.reference = subprocess.Popen([str(part) for part in command], cwd=ROOT / "tests", stdout=subprocess.DEVNULL)
                self.started = time.time()
            self.missing = environments.make_all()
            self.error = None
        except Exception as error:  # whatever it is, the tests cannot run
            self.error = error
        self.seconds = time.time() - start

    def wait(self, results):
        """Waits for the end and reports it; returns whether the mandatory ones are there."""
        print("\n=== environments", flush=True)
        self.join()
        if self.error is not None:
            print(f"error: {self.error}")
        results.append(("environments, beside the build", self.error is None, self.seconds))
        return self.error is None

    def stop(self, results):
        """Ends the computing of the reference's results: from here on the tests do it, in the order of their need."""
        if self.reference:
            self.reference.terminate()
            self.reference.wait()
            # What failed, the tests report.
            results.append(("the reference, beside the build", True, time.time() - self.started))


def parity(tier, missing, results, arguments):
    """Runs pytest in the oracle's environment; `missing` says why an optional environment is not there."""
    variables = {f"TFOD_MISSING_{name.upper().replace('-', '_')}": reason for name, reason in missing.items()}
    options = {"cwd": ROOT / "tests", "env": {**os.environ, **variables}}
    # Gigabytes of exports: beside the build, where there is room for them, rather than in a small /tmp.
    scratch = ROOT / "target" / "pytest"
    scratch.mkdir(parents=True, exist_ok=True)
    tests = [environments.ENVIRONMENTS["oracle"].python, "-m", "pytest", "-q", "--durations=25"]
    tests += ["-m", LEFT_OUT[tier]] if LEFT_OUT[tier] else []
    if arguments:
        timed(f"tests ({tier})", [*tests, f"--basetemp={scratch / 'chosen'}", *arguments], results, **options)
    else:

        def suite(name, *files):
            return f"{name} ({tier})", [*tests, f"--basetemp={scratch / name}", f"--junitxml={scratch / name}.xml", *files]

        # The files are shared out so that both end at about the same time.
        inputs = "parity/test_inputs.py"
        both([suite("parity", "parity", f"--ignore={inputs}"), suite("backend", "backend", inputs)], results, **options)


def both(suites, results, **options):
    """Runs two test suites at the same time, since each leaves a core idle for long; shows the first one's output, then the other's."""
    (name, command), (other, other_command) = suites
    with tempfile.TemporaryFile() as log:
        start, ended = time.time(), []
        running = subprocess.Popen([str(part) for part in other_command], stdout=log, stderr=subprocess.STDOUT, **options)
        waiting = threading.Thread(target=lambda: ended.append((running.wait(), time.time())))
        waiting.start()
        try:
            timed(name, command, results, **options)
            waiting.join()
        finally:
            running.terminate()
        ((status, end),) = ended
        results.append((other, status == 0, end - start))
        print(f"\n=== {other}: {' '.join(map(str, other_command))}", flush=True)
        log.seek(0)
        shutil.copyfileobj(log, sys.stdout.buffer)
        sys.stdout.flush()


def packaging(results):
    """Tests what is installed: the wheel without Rust, the static binary, the crates as they are packed."""
    timed("packaging", [sys.executable, "installed.py", "crates", "wheel", "static"], results, cwd=ROOT / "tests")


def consumers(results):
    """Makes the environments of all programs that read exports, runs them, and writes docs/consumers.md."""
    missing = environments.make_all(list(environments.ENVIRONMENTS))
    if missing:
        results.append((f"environments ({', '.join(missing)} missing)", False, 0))
        return
    node = ["npm", "install", "--no-fund", "--no-audit", "--no-package-lock"]
    page = timed("the page in Chromium", [sys.executable, "page.py"], results, cwd=ROOT / "tests")
    timed("many pictures, with Ray and Beam", [sys.executable, "batch.py"], results, cwd=ROOT / "tests")
    # Without the page, the matrix would say of it what is not so.
    if timed("packages for Node", node, results, cwd=ROOT / "tests" / "consumers" / "tfjs") and page:
        timed("consumers", [environments.ENVIRONMENTS["oracle"].python, "-m", "consumers"], results, cwd=ROOT / "tests")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] + " Without a flag: the tier that CI runs.")
    tier = parser.add_mutually_exclusive_group()
    tier.add_argument("--quick", dest="tier", action="store_const", const="quick", help="Rust tests and small models: daily work")
    tier.add_argument("--exhaustive", dest="tier", action="store_const", const="exhaustive", help="all pairs of options, all published models: hours")
    tier.add_argument("--no-parity", dest="tier", action="store_const", const="none", help="Rust tests only; no Python packages")
    tier.add_argument("--consumers", dest="tier", action="store_const", const="consumers", help="every program that reads exports; writes docs/consumers.md")
    parser.add_argument("pytest", nargs="*", help="more arguments for pytest, after --")
    arguments = parser.parse_args()
    if not (3, 9) <= sys.version_info[:2] <= (3, 11):
        print(f"note: written for Python 3.9 to 3.11, running under {sys.version.split()[0]}")

    free = shutil.disk_usage(ROOT).free
    if free < NEEDED and not (ROOT / "target" / "oracle-cache").exists():
        print(f"note: {free / 1e9:.1f} GB of disk are free; a first run fills {NEEDED / 1e9:.0f} GB")

    results = []
    tier = arguments.tier or "default"
    if tier == "consumers":
        if build(results):
            consumers(results)
    elif tier == "none":
        rust(results)
    else:
        preparation = Preparation(None if arguments.pytest else tier)
        built = rust(results)
        ready = preparation.wait(results)
        preparation.stop(results)
        if ready and built:
            if tier != "quick" and not arguments.pytest:
                packaging(results)
            parity(tier, preparation.missing, results, arguments.pytest)

    print("\n=== summary")
    for name, ok, seconds in results:
        print(f"{'ok    ' if ok else 'FAILED'} {name} ({seconds:.0f} s)")
    print(f"disk: {shutil.disk_usage(ROOT).free / 1e9:.1f} GB free")
    sys.exit(0 if all(ok for _, ok, _ in results) else 1)


if __name__ == "__main__":
    main()
