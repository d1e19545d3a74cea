"""What the benchmarks share: running a command and measuring it, the environments, the models, tables.

Models are those of `oracle.official`: seeded checkpoints and their official exports, made at the first run, which takes some minutes each, and kept in
target/oracle-cache.
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

ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
MODELS = {
    "fpnlite_320": "SSD MobileNetV2 FPNLite 320x320, 90 classes",
    "ssd_mobilenet_v2_300": "SSD MobileNetV2 300x300, 90 classes",
    "resnet50_640": "RetinaNet ResNet-50 640x640, 90 classes",
    "efficientdet_d0": "EfficientDet D0 512x512, 90 classes",
    "faster_rcnn_resnet50_640": "Faster R-CNN ResNet-50 640x640, 90 classes",
    "mask_rcnn_inception_resnet_v2_1024": "Mask R-CNN Inception-ResNet-v2 1024x1024, 90 classes",
    "center_net_hourglass_104": "CenterNet Hourglass-104 512x512, 90 classes",
}
EXPORT = "import sys; from oracle import official; print(official.export(sys.argv[1], say=lambda text: print(text, file=sys.stderr)))"
IMPLEMENTATION = "from google.protobuf.internal import api_implementation; print(api_implementation.Type())"


# For programs that measure how fast models run, each in a process of the runtime's environment. Calls take turns, so that what else the machine does counts for all models alike.
TURNS = """
import json, resource, time
import numpy as np

def image(height, width):
    return np.random.Generator(np.random.PCG64(1)).integers(0, 255, (1, height, width, 3)).astype(np.uint8)

def in_turns(calls, most, seconds):
    # What ran before has an influence by what it leaves in caches, so the order of each round is drawn.
    order = np.random.Generator(np.random.PCG64(2))
    for call in calls:
        call()  # the first call allocates and plans
    times, start = [[] for _ in calls], time.perf_counter()
    while len(times[0]) < most and (len(times[0]) < 2 or time.perf_counter() - start < seconds):
        for side in order.permutation(len(calls)):
            before = time.perf_counter()
            calls[side]()
            times[side].append(time.perf_counter() - before)
    return times

def say(times, nodes):
    print(json.dumps({"times": times, "nodes": nodes, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""


def parser(documentation, models):
    """Returns a parser with the options that all benchmarks have."""
    found = argparse.ArgumentParser(description=documentation.splitlines()[0])
    found.add_argument("--tfod", default=ROOT / "target" / "release" / "tfod", type=pathlib.Path, help="the binary")
    found.add_argument("--output", default=ROOT / "target" / "benchmarks", type=pathlib.Path, help="gets the results as JSON, and the files made")
    found.add_argument("--only", choices=models, help="one of the models")
    return found


def fail(message):
    sys.exit(f"error: {message}")


def environment(name):
    """Returns the interpreter of an environment, made if it is not there."""
    try:
        return environments.make(name, say=lambda text: print(text, file=sys.stderr))
    except (environments.Unavailable, RuntimeError) as error:
        fail(error)


def reference_python():
    """Returns the interpreter of the reference's environment; refuses one that is slower than it need be."""
    python = environment("oracle")
    implementation = output_of([python, "-c", IMPLEMENTATION]).strip()
    if implementation != "cpp":
        fail(
            f"protobuf in {python} is the {implementation!r} implementation, not 'cpp'; TensorFlow would be two to four times slower "
            "than it need be. Use Python 3.10 or 3.9."
        )
    return python


def machine(arguments):
    """Returns a line about what the figures were measured on; ends the program if there is no binary."""
    if not arguments.tfod.exists():
        fail(f"{arguments.tfod} does not exist: build it with `cargo build --release`")
    version = environments.choose_python(environments.ENVIRONMENTS["oracle"])[1]
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {version} with compiled protobuf"


def run(command, **options):
    """Runs a command; returns its exit status and what it prints."""
    return subprocess.run([str(part) for part in command], env=ENVIRONMENT, capture_output=True, text=True, check=False, **options)


def output_of(command, **options):
    """Runs a command that must succeed; returns what it prints."""
    return printed(run(command, **options))


def printed(result):
    """Returns what a command has printed; ends the program if it failed."""
    if result.returncode != 0:
        fail(f"{' '.join(result.args)}: exit status {result.returncode}\n{result.stderr[-3000:]}")
    return result.stdout


def official_export(python, name):
    """Returns the folder of a model's official export: `checkpoint/`, `saved_model/`, `pipeline.config`."""
    result = subprocess.run([python, "-c", EXPORT, name], cwd=TESTS, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode != 0:
        fail(f"cannot make the official export {name}")
    return pathlib.Path(result.stdout.splitlines()[-1])


def measured(command):
    """Runs a command; returns its wall and CPU time in seconds and its peak resident memory in bytes.

    The peak is at least this process's own size (see `launcher_memory`): a child starts as a copy of its parent.
    """
    start = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=ENVIRONMENT)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        fail(f"{' '.join(map(str, command))}: exit status {process.returncode}\n{errors.decode(errors='replace')[-3000:]}")
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "memory": usage.ru_maxrss * 1024}


def size(path):
    """Returns the bytes of a file, or of all files of a folder."""
    return sum(each.stat().st_size for each in (path.rglob("*") if path.is_dir() else [path]) if each.is_file())


def remove(path):
    """Removes a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def written(command, output):
    """Runs a command that writes `output`, a file or a folder that is not there before; returns what it costs, and the size of what it writes."""
    remove(output)
    os.sync()  # what was written before is not counted
    return {**measured(command), "bytes": size(output)}


def beside_copying(command, output, runs):
    """Returns the medians of what a command costs that writes `output`, and of what `cp` costs that writes the same bytes once more.

    Both run in turns, so that what else the machine does, and writing files to the disk, counts for both.
    """
    copy = output.with_name(f"{output.name}.cp")
    turns = [(written(command, output), written(["cp", "-r", output, copy], copy)) for _ in range(runs)]
    remove(copy)
    return {"tfod": median_of([ours for ours, _ in turns]), "cp": median_of([copied for _, copied in turns])}


def compared_with_copying(sides):
    """Returns a sentence about how long tfod takes, beside `cp`."""
    median, fastest = (sides["tfod"][key] / sides["cp"][key] for key in ("wall", "fastest"))
    return f"tfod takes {median:.3g} times as long as `cp` of its output (fastest runs: {fastest:.3g})."


def launcher_memory():
    """Returns the peak resident memory, in bytes, below which `measured` cannot see."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def median_of(runs):
    """Returns the median of each measured quantity, and the fastest and slowest wall times."""
    walls = [run["wall"] for run in runs]
    return {**{key: statistics.median(run[key] for run in runs) for key in runs[0]}, "fastest": min(walls), "slowest": max(walls)}


def latencies(run, sides, calls, seconds):
    """Returns {side: what running costs} of models, {side: path}; `run` runs a program with `TURNS` on a number of calls, of seconds and on paths.

    Latencies are those of one process for all of them, memory is that of a process of each side's own.
    """
    together = run(calls, seconds, *sides.values())
    return {
        side: {"latency": statistics.median(times), "fastest_call": min(times), "calls": len(times), "nodes": nodes, "running_memory": run(1, 0, path)["memory"]}
        for (side, path), times, nodes in zip(sides.items(), together["times"], together["nodes"])
    }


def seconds(value):
    return f"{value:.3g} s"


def megabytes(value):
    return f"{value / 1e6:,.0f} MB" if value >= 1e7 else f"{value / 1e6:.3g} MB"


def count(value):
    return f"{value:,}"


def milliseconds(value):
    return f"{value * 1e3:.1f} ms"


COSTS = (("wall time", "wall", seconds), ("CPU time", "cpu", seconds), ("peak memory", "memory", megabytes))
LATENCIES = (
    ("latency, median", "latency", milliseconds),
    ("latency, least", "fastest_call", milliseconds),
    ("calls", "calls", count),
    ("peak memory of running", "running_memory", megabytes),
)


def table(rows, sides, ratio):
    """Returns a comparison as Markdown; `rows` are (title, key, form), `ratio` are the two sides whose quotient is the last column, which is empty if one is absent."""
    names = list(sides)
    over, under = (sides.get(name, {}) for name in ratio)
    lines = ["| | " + " | ".join([*names, " / ".join(ratio)]) + " |", "| --- |" + " ---: |" * (len(names) + 1)]
    for title, key, form in rows:
        cells = [form(sides[name][key]) if key in sides[name] else "" for name in names]
        quotient = f"{over[key] / under[key]:.3g}" if over.get(key) and under.get(key) else ""
        lines.append(f"| {title} | " + " | ".join([*cells, quotient]) + " |")
    return "\n".join(lines)


def save(arguments, name, facts):
    (arguments.output / name).write_text(json.dumps(facts, indent=1) + "\n")
