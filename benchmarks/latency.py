"""Compares how fast exported models run: tfod's and the official export's, in TensorFlow (SavedModels, and frozen graphs) and in ONNX Runtime.

The official side is the official exporter's SavedModel as it is, and that frozen by the script that people use, which folds batch normalisations into convolutions, and converted by tf2onnx;
tfod's SavedModel is frozen by `tfod freeze --fold_batch_norm`. All files take one uint8 image of any size and hold the whole model with its suppression. They are run with one thread and with
two; calls of both sides take turns in one process, so that what else the machine does counts for both, and the medians of all calls count. Where tf2onnx cannot convert the official export, or
ONNX Runtime cannot run what it makes of it, that is said, and tfod's runs alone. Prints Markdown tables and writes JSON. Needs the environments oracle, onnx and tf2onnx.
"""

import json
import os
import resource
import shutil

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

RUN_SAVED_MODELS = measure.TURNS + """
import sys
import tensorflow as tf
threads, height, width, most, seconds = map(int, sys.argv[1:6])
tf.config.threading.set_intra_op_parallelism_threads(threads)
tf.config.threading.set_inter_op_parallelism_threads(threads)
pixels = tf.constant(image(height, width))
signatures = [tf.saved_model.load(path).signatures["serving_default"] for path in sys.argv[6:]]

def nodes(signature):
    graph = signature.graph.as_graph_def()
    return len(graph.node) + sum(len(function.node_def) for function in graph.library.function)

calls = [lambda signature=signature: {key: value.numpy() for key, value in signature(pixels).items()} for signature in signatures]
say(in_turns(calls, most, seconds), list(map(nodes, signatures)))
"""

RUN_FROZEN = measure.TURNS + """
import sys
import tensorflow as tf
v1 = tf.compat.v1
threads, height, width, most, seconds = map(int, sys.argv[1:6])
config = v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
pixels = image(height, width)
nodes = []

def loaded(path):
    graph_def = v1.GraphDef.FromString(open(path, "rb").read())
    nodes.append(len(graph_def.node) + sum(len(function.node_def) for function in graph_def.library.function))
    with tf.Graph().as_default() as graph:
        v1.import_graph_def(graph_def, name="")
    fetches = [f"{node.name}:0" for node in graph_def.node if node.op == "Identity" and node.name.split("_")[0] == "Identity"]
    call = v1.Session(graph=graph, config=config).make_callable(fetches, ["input_tensor:0"])
    return lambda: call(pixels)

calls = [loaded(path) for path in sys.argv[6:]]
say(in_turns(calls, most, seconds), nodes)
"""

RUN_ONNX = measure.TURNS + """
import sys
import onnx, onnxruntime
threads, height, width, most, seconds = map(int, sys.argv[1:6])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = threads
options.log_severity_level = 3
pixels = image(height, width)

def loaded(path):
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    [given] = session.get_inputs()
    return lambda: session.run(None, {given.name: pixels})

def count(graph):
    bodies = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return len(graph.node) + sum(map(count, bodies))

nodes = [count(onnx.load(path, load_external_data=False).graph) for path in sys.argv[6:]]
calls = [loaded(path) for path in sys.argv[6:]]
say(in_turns(calls, most, seconds), nodes)
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
    measure.output_of([arguments.tfod, "export", "--format=saved_model,onnx", *flags, f"--output_directory={folder / 'tfod'}"])
    ours = folder / "tfod.pb"
    measure.output_of([arguments.tfod, "freeze", f"--saved_model_dir={folder / 'tfod' / 'saved_model'}", f"--output={ours}", "--fold_batch_norm"])
    paths = {
        "TensorFlow, SavedModel": {"official": official / "saved_model", "tfod": folder / "tfod" / "saved_model"},
        "TensorFlow, frozen": {"official": frozen, "tfod": ours},
        "ONNX Runtime": {"official": converted, "tfod": folder / "tfod" / "model.onnx"},
    }
    failure = None
    if conversion.returncode != 0:
        failure = f"tf2onnx does not convert the official export: {last_line(conversion)}"
    else:
        trial = run("ONNX Runtime", name, 2, 1, 0, converted)
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


PROGRAMS = {"TensorFlow, SavedModel": ("oracle", RUN_SAVED_MODELS), "TensorFlow, frozen": ("oracle", RUN_FROZEN), "ONNX Runtime": ("onnx", RUN_ONNX)}


def run(program, name, threads, *given):
    """Runs files in one process: `given` are the most calls of each, after how many seconds no further turn begins, and the paths."""
    environment, code = PROGRAMS[program]
    return measure.run([measure.environment(environment), "-c", code, threads, *MODELS[name], *given])


def compare(paths, name, threads, arguments):
    """Returns {program: {side: measured}} with a number of threads."""

    def runner(program):
        return lambda *given: json.loads(measure.printed(run(program, name, threads, *given)))

    chosen = {program: sides for program, sides in paths.items() if arguments.program in (None, program)}
    return {program: measure.latencies(runner(program), sides, arguments.calls, arguments.seconds) for program, sides in chosen.items()}


ROWS = (*measure.LATENCIES, ("nodes", "nodes", measure.count))


def main():
    parser = measure.parser(__doc__, MODELS)
    parser.add_argument("--calls", type=int, default=90, help="most calls of a file")
    parser.add_argument("--seconds", type=int, default=120, help="after so long no further turn begins")
    parser.add_argument("--program", choices=PROGRAMS, help="one of the programs")
    parser.add_argument("--threads", type=int, choices=(1, 2), help="one of the numbers of threads")
    arguments = parser.parse_args()
    facts = {"machine": measure.machine(arguments), "calls": [arguments.calls, arguments.seconds], "models": {}}
    print(f"{facts['machine']}; medians of {arguments.calls} calls, or of as many as begin in {arguments.seconds} s.")
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
