"""Compares how fast exported models run: tfod's and the official export's, in TensorFlow (frozen graphs) and in ONNX Runtime.

The official side is the official exporter's SavedModel, frozen by the script that people use and converted by tf2onnx. All files take one uint8 image of any size
and hold the whole model with its suppression. Each is run in a process of its own, with one thread and with two; sides take turns,
and the medians of all runs count. Prints Markdown tables and writes JSON. Needs the environments oracle, onnx and tf2onnx.
"""

import json
import shutil
import statistics

import measure

MODELS = {
    # height and width of the image
    "fpnlite_320": (320, 320),
    "ssd_mobilenet_v2_300": (300, 300),
    "resnet50_640": (640, 640),
    "efficientdet_d0": (512, 512),
}
ROUNDS = 3

RUN_TENSORFLOW = """
import json, sys, time
import numpy as np
import tensorflow as tf
v1 = tf.compat.v1
path, threads, height, width, runs = sys.argv[1], *map(int, sys.argv[2:])
graph_def = v1.GraphDef.FromString(open(path, "rb").read())
config = v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
image = np.random.Generator(np.random.PCG64(1)).integers(0, 255, (1, height, width, 3)).astype(np.uint8)
with tf.Graph().as_default() as graph, v1.Session(graph=graph, config=config) as session:
    v1.import_graph_def(graph_def, name="")
    fetches = [f"{node.name}:0" for node in graph_def.node if node.op == "Identity" and node.name.split("_")[0] == "Identity"]
    call = session.make_callable(fetches, ["input_tensor:0"])
    times = []
    for _ in range(runs + 3):
        start = time.perf_counter()
        call(image)
        times.append(time.perf_counter() - start)
nodes = len(graph_def.node) + sum(len(function.node_def) for function in graph_def.library.function)
print(json.dumps({"times": times[3:], "nodes": nodes}))
"""

RUN_ONNX = """
import json, sys, time
import numpy as np
import onnx, onnxruntime
path, threads, height, width, runs = sys.argv[1], *map(int, sys.argv[2:])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = threads
options.log_severity_level = 3
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
image = np.random.Generator(np.random.PCG64(1)).integers(0, 255, (1, height, width, 3)).astype(np.uint8)
[given] = session.get_inputs()
times = []
for _ in range(runs + 3):
    start = time.perf_counter()
    session.run(None, {given.name: image})
    times.append(time.perf_counter() - start)

def count(graph):
    bodies = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return len(graph.node) + sum(map(count, bodies))

print(json.dumps({"times": times[3:], "nodes": count(onnx.load(path, load_external_data=False).graph)}))
"""


def prepare(name, arguments):
    """Makes the files of a model; returns {program: {side: path}}."""
    python = measure.reference_python()
    official = measure.official_export(python, name)
    folder = arguments.output / "latency" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    frozen, converted = folder / "official.pb", folder / "official.onnx"
    measure.output_of([python, measure.TESTS / "oracle" / "freeze_script.py", official / "saved_model", frozen])
    convert = [measure.environment("tf2onnx"), "-m", "tf2onnx.convert", "--saved-model", official / "saved_model"]
    measure.output_of([*convert, "--opset", "17", "--output", converted])
    flags = [f"--pipeline_config_path={official / 'pipeline.config'}", f"--trained_checkpoint_dir={official / 'checkpoint'}"]
    measure.output_of([arguments.tfod, "export", "--format=frozen,onnx", *flags, f"--output_directory={folder / 'tfod'}"])
    return {
        "TensorFlow": {"official": frozen, "tfod": folder / "tfod" / "frozen.pb"},
        "ONNX Runtime": {"official": converted, "tfod": folder / "tfod" / "model.onnx"},
    }


def compare(paths, name, threads, arguments):
    """Returns {program: {side: measured}} with a number of threads."""
    programs = {"TensorFlow": ("oracle", RUN_TENSORFLOW), "ONNX Runtime": ("onnx", RUN_ONNX)}
    results = {}
    for program, sides in paths.items():
        environment, code = programs[program]
        python = measure.environment(environment)
        times, nodes = {side: [] for side in sides}, {}
        for _ in range(ROUNDS):
            for side, path in sides.items():
                answer = json.loads(measure.output_of([python, "-c", code, path, threads, *MODELS[name], arguments.runs]))
                times[side] += answer["times"]
                nodes[side] = answer["nodes"]
        results[program] = {side: {"nodes": nodes[side], "latency": statistics.median(times[side]), "fastest": min(times[side])} for side in sides}
    return results


ROWS = (
    ("latency, median", "latency", lambda value: f"{value * 1e3:.1f} ms"),
    ("latency, least", "fastest", lambda value: f"{value * 1e3:.1f} ms"),
    ("nodes", "nodes", measure.count),
)


def main():
    parser = measure.parser(__doc__, MODELS)
    parser.add_argument("--runs", type=int, default=30, help=f"runs a process; there are {ROUNDS} processes a file")
    arguments = parser.parse_args()
    facts = {"machine": measure.machine(arguments), "runs": [ROUNDS, arguments.runs], "models": {}}
    print(f"{facts['machine']}; medians of {ROUNDS} times {arguments.runs} runs.")
    for name in [arguments.only] if arguments.only else MODELS:
        paths = prepare(name, arguments)
        facts["models"][name] = {}
        for threads in (1, 2):
            results = facts["models"][name][threads] = compare(paths, name, threads, arguments)
            for program, sides in results.items():
                what = f"{measure.MODELS[name]}, {program}, {threads} thread{'s' if threads > 1 else ''}"
                print(f"\n{what}:\n\n{measure.table(ROWS, sides, ('official', 'tfod'))}", flush=True)
    measure.save(arguments, "latency.json", facts)


if __name__ == "__main__":
    main()
