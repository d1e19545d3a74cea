"""Compares exports of one checkpoint by the official exporter and by tfod: cost of exporting, size, cost of loading.

Both run here, one after the other, on the same seeded checkpoint of the 90-class 320x320 SSD MobileNetV2 FPNLite. Prints a Markdown table
and writes JSON. Needs the oracle environment (`tests/environments.py oracle`), with compiled protobuf: with the pure
Python one the official exporter is slowed down unfairly, and the benchmark refuses to run.
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import environments
from oracle import cache, cases

LOAD = """
import sys, time
import tensorflow as tf
start = time.perf_counter()
model = tf.saved_model.load(sys.argv[1])
loaded = time.perf_counter()
model.signatures["serving_default"](input_tensor=tf.zeros([1, 320, 320, 3], tf.uint8))["detection_scores"].numpy()
print(loaded - start, time.perf_counter() - loaded)
"""

NODES = """
import sys
from tensorflow.core.protobuf import saved_model_pb2
message = saved_model_pb2.SavedModel()
message.ParseFromString(open(sys.argv[1], "rb").read())
graph = message.meta_graphs[0].graph_def
print(len(graph.node) + sum(len(function.node_def) for function in graph.library.function),
      len(graph.library.function), len(message.meta_graphs[0].object_graph_def.nodes))
"""

ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}


def measured(command):
    """Runs a command; returns its wall time and CPU time in seconds and its peak resident memory in bytes."""
    start = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=ENVIRONMENT)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit status {process.returncode}\n{errors.decode(errors='replace')[-3000:]}")
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "memory": usage.ru_maxrss * 1024}


def answer(python, code, *arguments):
    """Runs code in the oracle environment; returns the numbers it prints last."""
    command = [str(part) for part in (python, "-c", code, *arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    if result.returncode != 0:
        sys.exit(f"{command[0]}: {result.stderr[-3000:]}")
    return [float(word) for word in result.stdout.splitlines()[-1].split()]


def median_of(runs):
    """Returns the median of each measured quantity."""
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def examine(python, output, loads):
    """Returns the sizes, counts and loading times of an export."""
    saved_model = output / "saved_model"
    graph = saved_model / "saved_model.pb"
    nodes, functions, objects = (int(number) for number in answer(python, NODES, graph))
    times = [answer(python, LOAD, saved_model) for _ in range(loads)]
    return {
        "graph_bytes": graph.stat().st_size,
        "bytes": sum(path.stat().st_size for path in output.rglob("*") if path.is_file()),
        "nodes": nodes,
        "functions": functions,
        "objects": objects,
        "load": statistics.median(load for load, _ in times),
        "first_call": statistics.median(call for _, call in times),
    }


ROWS = (
    ("export, wall time", "wall", lambda value: f"{value:.3g} s"),
    ("export, CPU time", "cpu", lambda value: f"{value:.3g} s"),
    ("export, peak memory", "memory", lambda value: f"{value / 1e6:,.0f} MB"),
    ("saved_model.pb", "graph_bytes", lambda value: f"{value / 1e6:.3g} MB"),
    ("whole output folder", "bytes", lambda value: f"{value / 1e6:.3g} MB"),
    ("graph nodes", "nodes", lambda value: f"{value:,}"),
    ("functions", "functions", lambda value: f"{value:,}"),
    ("objects", "objects", lambda value: f"{value:,}"),
    ("load in TensorFlow", "load", lambda value: f"{value:.3g} s"),
    ("first call", "first_call", lambda value: f"{value:.3g} s"),
)


def table(official, ours):
    """Returns the comparison as Markdown."""
    lines = ["| | official exporter | tfod | ratio |", "| --- | ---: | ---: | ---: |"]
    for title, key, form in ROWS:
        ratio = official[key] / ours[key] if ours[key] else float("inf")
        lines.append(f"| {title} | {form(official[key])} | {form(ours[key])} | {ratio:.3g} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tfod", default=ROOT / "target" / "release" / "tfod", type=pathlib.Path, help="the binary")
    parser.add_argument("--output", default=ROOT / "target" / "benchmarks", type=pathlib.Path, help="gets export.json and both exports")
    parser.add_argument("--official-runs", type=int, default=1, help="exports by the official exporter (a minute each)")
    parser.add_argument("--runs", type=int, default=5, help="exports by tfod; the median counts")
    parser.add_argument("--loads", type=int, default=3, help="loads of each export, each in a fresh process; the median counts")
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
            f"refused: protobuf in {python} is the {implementation!r} implementation, not 'cpp'; the official exporter would be two to four "
            "times slower than it need be. Use Python 3.10 or 3.9."
        )

    case = next(case for case in cases.all_cases() if case.name == "fpnlite_320")
    results = cache.Pool(python, [case]).wait(case)
    arguments.output.mkdir(parents=True, exist_ok=True)
    flags = [
        "--input_type=image_tensor",
        f"--pipeline_config_path={results / 'pipeline.config'}",
        f"--trained_checkpoint_dir={results / 'checkpoint'}",
    ]
    sides = {}
    for name, command, runs in (
        ("official", [python, "-m", "object_detection.exporter_main_v2"], arguments.official_runs),
        ("tfod", [arguments.tfod, "export"], arguments.runs),
    ):
        output = arguments.output / name
        costs = []
        for _ in range(runs):
            shutil.rmtree(output, ignore_errors=True)
            costs.append(measured([*command, *flags, f"--output_directory={output}"]))
        sides[name] = {**median_of(costs), **examine(python, output, arguments.loads)}

    facts = {
        "model": "SSD MobileNetV2 FPNLite 320x320, 90 classes, image_tensor",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "protobuf": implementation,
        "runs": {"official": arguments.official_runs, "tfod": arguments.runs, "loads": arguments.loads},
        **sides,
    }
    (arguments.output / "export.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(f"{facts['model']}; {facts['machine']}.\n")
    print(table(sides["official"], sides["tfod"]))


if __name__ == "__main__":
    main()
