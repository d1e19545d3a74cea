"""Compares freezing by the Python script that people use and by tfod: time, memory and size, on a small model and on a large one.

Both run here, one after the other, on the same official exports: SSD MobileNetV2 FPNLite 320 and CenterNet Hourglass-104 512, both with 90
classes and seeded weights (made at the first run, which takes some minutes, and kept in target/oracle-cache). For the scale of the large
one, `cp` writes the bytes of tfod's output once more. Prints Markdown tables and writes JSON. Needs the oracle environment, with
compiled protobuf: with the pure Python one the script is slowed down unfairly, and the benchmark refuses to run.
"""

import argparse
import json
import os
import pathlib
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
sys.path.insert(0, str(TESTS))

import environments

MODELS = {
    "fpnlite_320": "SSD MobileNetV2 FPNLite 320x320, 90 classes",
    "center_net_hourglass_104": "CenterNet Hourglass-104 512x512, 90 classes",
}
EXPORT = "import sys; from oracle import official; print(official.export(sys.argv[1], say=lambda text: print(text, file=sys.stderr)))"
ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}


def measured(command, output):
    """Runs a command that writes `output`; returns its wall and CPU time in seconds, its peak resident memory and the output's size in bytes.

    The peak is at least this process's own size (see `launcher_memory`): a child starts as a copy of its parent.
    """
    output.unlink(missing_ok=True)
    start = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=ENVIRONMENT)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit status {process.returncode}\n{errors.decode(errors='replace')[-3000:]}")
    size = output.stat().st_size
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "memory": usage.ru_maxrss * 1024, "bytes": size}


def launcher_memory():
    """Returns the peak resident memory, in bytes, below which `measured` cannot see."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def median_of(runs):
    """Returns the median of each measured quantity, and the fastest and slowest wall times."""
    walls = [run["wall"] for run in runs]
    return {**{key: statistics.median(run[key] for run in runs) for key in runs[0]}, "fastest": min(walls), "slowest": max(walls)}


def prepare(python, name):
    """Returns the official export's SavedModel."""
    result = subprocess.run([python, "-c", EXPORT, name], cwd=TESTS, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"cannot make the official export {name}")
    return pathlib.Path(result.stdout.splitlines()[-1]) / "saved_model"


ROWS = (
    ("wall time", "wall", lambda value: f"{value:.3g} s"),
    ("CPU time", "cpu", lambda value: f"{value:.3g} s"),
    ("peak memory", "memory", lambda value: f"{value / 1e6:,.0f} MB"),
    ("output", "bytes", lambda value: f"{value / 1e6:.3g} MB"),
)


def table(sides):
    """Returns the comparison as Markdown; `cp` has a column where it was run."""
    names = list(sides)
    lines = ["| | " + " | ".join(names) + " | script / tfod |", "| --- |" + " ---: |" * (len(names) + 1)]
    for title, key, form in ROWS:
        cells = [form(sides[name][key]) for name in names]
        lines.append(f"| {title} | {' | '.join(cells)} | {sides['script'][key] / sides['tfod'][key]:.3g} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tfod", default=ROOT / "target" / "release" / "tfod", type=pathlib.Path, help="the binary")
    parser.add_argument("--output", default=ROOT / "target" / "benchmarks", type=pathlib.Path, help="gets freeze.json and the frozen graphs")
    parser.add_argument("--script-runs", type=int, default=1, help="runs of the script (a minute each for the large model)")
    parser.add_argument("--runs", type=int, default=5, help="runs of tfod and of cp; the median counts")
    parser.add_argument("--only", choices=MODELS, help="one of the models")
    arguments = parser.parse_args()
    if not arguments.tfod.exists():
        sys.exit(f"{arguments.tfod} does not exist: build it with `cargo build --release`")
    try:
        python = environments.make("oracle")
    except (environments.Unavailable, RuntimeError) as error:
        sys.exit(f"error: {error}")
    kind = "from google.protobuf.internal import api_implementation; print(api_implementation.Type())"
    implementation = subprocess.run([python, "-c", kind], capture_output=True, text=True, check=True).stdout.strip()
    if implementation != "cpp":
        sys.exit(
            f"refused: protobuf in {python} is the {implementation!r} implementation, not 'cpp'; the script would be two to four times slower "
            "than it need be. Use Python 3.10 or 3.9."
        )

    folder = arguments.output / "freeze"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    facts = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python of the script: {environments.choose_python(environments.ENVIRONMENTS['oracle'])[1]}",
        "protobuf": implementation,
        "runs": {"script": arguments.script_runs, "tfod": arguments.runs},
        "models": {},
    }
    print(f"{facts['machine']}; medians of {arguments.script_runs} (script) and {arguments.runs} (tfod, cp) runs.")
    for name in [arguments.only] if arguments.only else MODELS:
        saved_model = prepare(python, name)
        ours, theirs, copy = (folder / f"{name}.{side}.pb" for side in ("tfod", "script", "cp"))
        script = [python, TESTS / "oracle" / "freeze_script.py", saved_model, theirs]
        tfod = [arguments.tfod, "freeze", f"--saved_model_dir={saved_model}", f"--output={ours}"]
        sides = {
            "script": median_of([measured(script, theirs) for _ in range(arguments.script_runs)]),
            "tfod": median_of([measured(tfod, ours) for _ in range(arguments.runs)]),
            "cp": median_of([measured(["cp", ours, copy], copy) for _ in range(arguments.runs)]),
        }
        facts["models"][name] = {"model": MODELS[name], **sides}
        print(f"\n{MODELS[name]}:\n\n{table(sides)}")
        print(f"\ntfod takes {sides['tfod']['wall'] / sides['cp']['wall']:.3g} times as long as `cp` of its output.")
    facts["least_memory"] = launcher_memory()
    print(f"\nPeak memory below {facts['least_memory'] / 1e6:.0f} MB, this program's own, cannot be seen.")
    (arguments.output / "freeze.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
