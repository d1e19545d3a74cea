"""Compares how fast exported models run: tfod's and the official export's, in TensorFlow (frozen graphs) and in ONNX Runtime.

The official side is the official exporter's SavedModel, frozen by the script that people use and converted by tf2onnx. All files take one uint8 image of any size
and hold the whole model with its suppression. Each is run in a process of its own, with one thread and with two; sides take turns,
and the medians of all runs count. Where tf2onnx cannot convert the official export, or ONNX Runtime cannot run what it makes of it, that is said, and tfod's runs alone.
Prints Markdown tables and writes JSON. Needs the environments oracle, onnx and tf2onnx.
"""

import json
import os
import resource
import shutil
import statistics

import measure

MODELS = {
    # height and width of the image
    "fpnlite_320": (320, 320),
    "ssd_mobilenet_v2_300": (300, 300),
    "resnet50_640": (640, 640),
    "efficientdet_d0": (512, 512),
    "faster_rcnn_resnet50_640": (640, 640),
    "mask_rcnn_inception_resnet_v2_1024": (1024, 1024),
    "center_net_hourglass_104": (512, 512),
}
ROUNDS = 4  # even, so that each of two sides comes first as often as the other

TIMES = """
import resource, time

def times_of(call, most, seconds):
    times, start = [], time.perf_counter()
    while len(times) < most and (not times or time.perf_counter() - start < seconds):
        before = time.perf_counter()
        call()
        times.append(time.perf_counter() - before)
    return times

def measured(call, runs, seconds):
    times_of(call, 3, seconds / 10)  # the first calls allocate and plan
    return {"times": times_of(call, runs, seconds), "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
"""

RUN_TENSORFLOW = TIMES + """
import json, sys
import numpy as np
import tensorflow as tf
v1 = tf.compat.v1
path, threads, height, width, runs, seconds = sys.argv[1], *map(int, sys.argv[2:])
graph_def = v1.GraphDef.FromString(open(path, "rb").read())
config = v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
image = np.random.Generator(np.random.PCG64(1)).integers(0, 255, (1, height, width, 3)).astype(np.uint8)
with tf.Graph().as_default() as graph, v1.Session(graph=graph, config=config) as session:
    v1.import_graph_def(graph_def, name="")
    fetches = [f"{node.name}:0" for node in graph_def.node if node.op == "Identity" and node.name.split("_")[0] == "Identity"]
    call = session.make_callable(fetches, ["input_tensor:0"])
    found = measured(lambda: call(image), runs, seconds)
nodes = len(graph_def.node) + sum(len(function.node_def) for function in graph_def.library.function)
print(json.dumps({**found, "nodes": nodes}))
"""

RUN_ONNX = TIMES + """
import json, sys
import numpy as np
import onnx, onnxruntime
path, threads, height, width, runs, seconds = sys.argv[1], *map(int, sys.argv[2:])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = threads
options.log_severity_level = 3
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
image = np.random.Generator(np.random.PCG64(1)).integers(0, 255, (1, height, width, 3)).astype(np.uint8)
[given] = session.get_inputs()
found = measured(lambda: session.run(None, {given.name: image}), runs, seconds)

def count(graph):
    bodies = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return len(graph.node) + sum(map(count, bodies))

print(json.dumps({**found, "nodes": count(onnx.load(path, load_external_data=False).graph)}))
"""


def prepare(name, arguments):
    """Makes the files of a model; returns {program: {side: path}}, and why a side is absent, or None."""
    python = measure.reference_python()
    official = measure.official_export(python, name)
    folder = arguments.output / "latency" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    frozen, converted = folder / "official.pb", folder / "official.onnx"
    measure.output_of([python, measure.TESTS / "oracle" / "freeze_script.py", official / "saved_model", frozen])
    convert = [measure.environment("tf2onnx"), "-m", "tf2onnx.convert", "--saved-model", official / "saved_model"]
    conversion = measure.run([*convert, "--opset", "17", "--output", converted], preexec_fn=limit_memory)
    flags = [f"--pipeline_config_path={official / 'pipeline.config'}", f"--trained_checkpoint_dir={official / 'checkpoint'}"]
    measure.output_of([arguments.tfod, "export", "--format=frozen,onnx", *flags, f"--output_directory={folder / 'tfod'}"])
    paths = {
        "TensorFlow": {"official": frozen, "tfod": folder / "tfod" / "frozen.pb"},
        "ONNX Runtime": {"official": converted, "tfod": folder / "tfod" / "model.onnx"},
    }
    failure = None
    if conversion.returncode != 0:
        failure = f"tf2onnx does not convert the official export: {last_line(conversion)}"
    else:
        trial = run_once("ONNX Runtime", converted, 2, name, 1, 0)
        if trial.returncode != 0:
            failure = f"ONNX Runtime does not run what tf2onnx makes of the official export: {last_line(trial)}"
    if failure:
        del paths["ONNX Runtime"]["official"]
    return paths, failure


def limit_memory():
    """Limits a process to half of the machine's memory: without, tf2onnx takes all of it for the largest models, and the machine stands still."""
    most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def last_line(result):
    """Returns the end of what a program says that failed."""
    return (result.stderr.strip().splitlines() or [f"exit status {result.returncode}"])[-1]


PROGRAMS = {"TensorFlow": ("oracle", RUN_TENSORFLOW), "ONNX Runtime": ("onnx", RUN_ONNX)}


def run_once(program, path, threads, name, runs, seconds):
    """Runs a file in a process of its own."""
    environment, code = PROGRAMS[program]
    return measure.run([measure.environment(environment), "-c", code, path, threads, *MODELS[name], runs, seconds])


def compare(paths, name, threads, arguments):
    """Returns {program: {side: measured}} with a number of threads."""
    results = {}
    for program, sides in paths.items():
        answers = {side: [] for side in sides}
        for side in turns(sides):
            answers[side].append(json.loads(measure.printed(run_once(program, sides[side], threads, name, arguments.runs, arguments.seconds))))
        results[program] = {side: summary(those) for side, those in answers.items()}
    return results


def turns(sides):
    """Yields each side as often as there are rounds, every other round in the opposite order."""
    for turn in range(ROUNDS):
        yield from sides if turn % 2 == 0 else reversed(sides)


def summary(answers):
    """Returns what the processes of a file have measured, together."""
    times = [time for answer in answers for time in answer["times"]]
    return {
        "nodes": answers[0]["nodes"],
        "latency": statistics.median(times),
        "fastest": min(times),
        "runs": len(times),
        "memory": statistics.median(answer["memory"] for answer in answers),
    }


ROWS = (
    ("latency, median", "latency", lambda value: f"{value * 1e3:.1f} ms"),
    ("latency, least", "fastest", lambda value: f"{value * 1e3:.1f} ms"),
    ("runs", "runs", measure.count),
    ("peak memory of the process", "memory", measure.megabytes),
    ("nodes", "nodes", measure.count),
)


def main():
    parser = measure.parser(__doc__, MODELS)
    parser.add_argument("--runs", type=int, default=30, help=f"most runs a process; there are {ROUNDS} processes a file")
    parser.add_argument("--seconds", type=int, default=30, help="after so long a process begins no further run")
    parser.add_argument("--threads", type=int, choices=(1, 2), help="one of the numbers of threads")
    arguments = parser.parse_args()
    facts = {"machine": measure.machine(arguments), "runs": [ROUNDS, arguments.runs, arguments.seconds], "models": {}}
    print(f"{facts['machine']}; medians of {ROUNDS} times {arguments.runs} runs, or of as many as begin in {arguments.seconds} s.")
    for name in [arguments.only] if arguments.only else MODELS:
        paths, failure = prepare(name, arguments)
        facts["models"][name] = {"failure": failure}
        if failure:
            print(f"\n{measure.MODELS[name]}: {failure}")
        for threads in [arguments.threads] if arguments.threads else (1, 2):
            results = facts["models"][name][threads] = compare(paths, name, threads, arguments)
            for program, sides in results.items():
                what = f"{measure.MODELS[name]}, {program}, {threads} thread{'s' if threads > 1 else ''}"
                print(f"\n{what}:\n\n{measure.table(ROWS, sides, ('official', 'tfod'))}", flush=True)
        measure.remove(arguments.output / "latency" / name)
    measure.save(arguments, "latency.json", facts)


if __name__ == "__main__":
    main()
