"""Compares exports of one checkpoint by the official exporter and by tfod: cost of exporting, size, cost of loading.

Both run here, one after the other, on the same seeded checkpoints. For the scale, `cp` writes the bytes of tfod's output once more. Prints Markdown tables and writes JSON.
Needs the oracle environment (`tests/environments.py oracle`), with compiled protobuf: with the pure Python one the official exporter is slowed down unfairly, and the
benchmark refuses to run.
"""

import statistics

import measure

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

ROWS = (
    *((f"export, {title}", key, form) for title, key, form in measure.COSTS),
    ("saved_model.pb", "graph_bytes", measure.megabytes),
    ("whole output folder", "bytes", measure.megabytes),
    ("graph nodes", "nodes", measure.count),
    ("functions", "functions", measure.count),
    ("objects", "objects", measure.count),
    ("load in TensorFlow", "load", measure.seconds),
    ("first call", "first_call", measure.seconds),
)


def numbers(text):
    return [float(word) for word in text.splitlines()[-1].split()]


def examine(python, output, loads):
    """Returns the sizes, counts and loading times of an export."""
    saved_model = output / "saved_model"
    graph = saved_model / "saved_model.pb"
    nodes, functions, objects = (int(number) for number in numbers(measure.output_of([python, "-c", NODES, graph])))
    times = [numbers(measure.output_of([python, "-c", LOAD, saved_model])) for _ in range(loads)]
    return {
        "graph_bytes": graph.stat().st_size,
        "nodes": nodes,
        "functions": functions,
        "objects": objects,
        "load": statistics.median(load for load, _ in times),
        "first_call": statistics.median(call for _, call in times),
    }


def compare(python, name, arguments):
    """Returns what each side costs and makes."""
    trained = measure.official_export(python, name)
    flags = [
        "--input_type=image_tensor",
        f"--pipeline_config_path={trained / 'pipeline.config'}",
        f"--trained_checkpoint_dir={trained / 'checkpoint'}",
    ]
    folder = arguments.output / "export" / name
    folder.mkdir(parents=True, exist_ok=True)
    theirs, ours = folder / "official", folder / "tfod"
    official = [python, "-m", "object_detection.exporter_main_v2", *flags, f"--output_directory={theirs}"]
    sides = {"official": measure.median_of([measure.written(official, theirs) for _ in range(arguments.official_runs)])}
    sides.update(measure.beside_copying([arguments.tfod, "export", *flags, f"--output_directory={ours}"], ours, arguments.runs))
    for side, output in (("official", theirs), ("tfod", ours)):
        sides[side].update(examine(python, output, arguments.loads))
    measure.remove(folder)
    return sides


def main():
    parser = measure.parser(__doc__, measure.MODELS)
    parser.add_argument("--official-runs", type=int, default=1, help="exports by the official exporter (a minute each)")
    parser.add_argument("--runs", type=int, default=5, help="exports by tfod and copies; the median counts")
    parser.add_argument("--loads", type=int, default=3, help="loads of each export, each in a fresh process; the median counts")
    arguments = parser.parse_args()
    facts = {"machine": measure.machine(arguments), "runs": [arguments.official_runs, arguments.runs, arguments.loads], "models": {}}
    print(f"{facts['machine']}; medians of {arguments.official_runs} (official) and {arguments.runs} (tfod, cp) exports, {arguments.loads} loads.")
    python = measure.reference_python()
    for name in [arguments.only] if arguments.only else measure.MODELS:
        sides = facts["models"][name] = compare(python, name, arguments)
        print(f"\n{measure.MODELS[name]}:\n\n{measure.table(ROWS, sides, ('official', 'tfod'))}")
        print(f"\n{measure.compared_with_copying(sides)}", flush=True)
    facts["least_memory"] = measure.launcher_memory()
    measure.save(arguments, "export.json", facts)


if __name__ == "__main__":
    main()
