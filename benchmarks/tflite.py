"""Compares TFLite models of one checkpoint by the official exporter and TensorFlow's converter, and by tfod: cost of exporting, size, latency.

The official side is `export_tflite_graph_tf2.py`, which takes only fixed sizes and makes a SavedModel, and then `tf.lite.TFLiteConverter`; its time is the sum of both programs', its memory the larger
of theirs. Both sides end in `TFLite_Detection_PostProcess` with fast suppression and as many detections, and take an image that the caller has resized and normalised, so that latencies are those of
the same computation. A third side is what tfod writes without flags: uint8 images, normalisation in the model, and suppression for each class by operators of TFLite's schema. With one thread in
LiteRT, calls of all sides take turns in one process, so that what else the machine does counts for all. Prints Markdown tables and writes JSON. Needs the environments oracle and tflite.
"""

import json
import shutil

import measure

# Of what the official exporter refuses, what it takes instead; both sides are given it.
FIXED = "model {{ ssd {{ image_resizer {{ fixed_shape_resizer {{ height: {0} width: {0} }} }} }} }}"
MODELS = {
    "shapes": (160, 20, None),  # side of the image, detections, override
    "fpnlite_320": (320, 100, None),
    "efficientdet_d0": (512, 100, FIXED.format(512)),
    "resnet50_640": (640, 100, None),
}
EXAMPLE = measure.ROOT / "examples" / "shapes"

CONVERT = """
import sys
import tensorflow as tf
converter = tf.lite.TFLiteConverter.from_saved_model(sys.argv[1])
open(sys.argv[2], "wb").write(converter.convert())
"""

RUN = measure.TURNS + """
import sys
from ai_edge_litert.interpreter import Interpreter
most, seconds, paths = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]

def loaded(path):
    interpreter = Interpreter(path, num_threads=1)
    interpreter.allocate_tensors()
    [given] = interpreter.get_input_details()
    pixels = image(*given["shape"][1:3])
    interpreter.set_tensor(given["index"], pixels if given["dtype"] == np.uint8 else (pixels / 127.5 - 1).astype(np.float32))
    return interpreter

interpreters = [loaded(path) for path in paths]
times = in_turns([interpreter.invoke for interpreter in interpreters], most, seconds)
say(times, [len(interpreter._get_ops_details()) for interpreter in interpreters])
"""

ROWS = (
    *((f"export, {title}", key, form) for title, key, form in measure.COSTS),
    ("`model.tflite`", "bytes", measure.megabytes),
    *measure.LATENCIES,
    ("operators", "nodes", measure.count),
)


def trained(python, name):
    """Returns the config and the checkpoint's folder of a model."""
    if name == "shapes":
        return EXAMPLE / "pipeline.config", EXAMPLE / "checkpoint"
    made = measure.official_export(python, name)
    return made / "pipeline.config", made / "checkpoint"


def both(*costs):
    """Returns what programs cost that run one after the other, of which the last writes the result."""
    wall, cpu = (sum(cost[key] for cost in costs) for key in ("wall", "cpu"))
    return {"wall": wall, "cpu": cpu, "memory": max(cost["memory"] for cost in costs), "bytes": costs[-1]["bytes"]}


def official(python, flags, detections, folder):
    """Exports and converts as the documentation of the Object Detection API says; returns what it costs, and the file."""
    exported, model = folder / "official", folder / "official.tflite"
    export = [python, "-m", "object_detection.export_tflite_graph_tf2", *flags, f"--output_directory={exported}", f"--max_detections={detections}"]
    costs = both(measure.written(export, exported), measure.written([python, "-c", CONVERT, exported / "saved_model", model], model))
    return costs, model


def latencies(files, arguments):
    """Returns {side: what running costs}."""
    python = measure.environment("tflite")

    def run(*given):
        return json.loads(measure.output_of([python, "-c", RUN, *given]).splitlines()[-1])

    return measure.latencies(run, files, arguments.calls, arguments.seconds)


def compare(python, name, arguments):
    """Returns what each side costs and makes."""
    _, detections, override = MODELS[name]
    config, checkpoint = trained(python, name)
    flags = [f"--pipeline_config_path={config}", f"--trained_checkpoint_dir={checkpoint}"]
    if override:
        flags.append(f"--config_override={override}")
    folder = arguments.output / "tflite" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    runs = [official(python, flags, detections, folder) for _ in range(arguments.official_runs)]
    sides, files = {"official": measure.median_of([costs for costs, _ in runs])}, {"official": runs[-1][1]}
    ours = {"tfod": ["--tflite_nms=fast", "--no_preprocess"], "tfod, no flags": []}
    for side, more in ours.items():
        output = folder / side.replace(", ", "-").replace(" ", "-")
        command = [arguments.tfod, "export", "--format=tflite", *flags, *more, f"--output_directory={output}"]
        costs = measure.median_of([measure.written(command, output) for _ in range(arguments.runs)])
        files[side] = output / "model.tflite"
        sides[side] = {**costs, "bytes": measure.size(files[side])}
    for side, costs in latencies(files, arguments).items():
        sides[side].update(costs)
    measure.remove(folder)
    return sides


def main():
    parser = measure.parser(__doc__, MODELS)
    parser.add_argument("--official-runs", type=int, default=1, help="exports and conversions by the official programs (one to two minutes each)")
    parser.add_argument("--runs", type=int, default=5, help="exports by tfod; the median counts")
    parser.add_argument("--calls", type=int, default=400, help="most calls of a file")
    parser.add_argument("--seconds", type=int, default=60, help="after so long no further turn begins")
    arguments = parser.parse_args()
    facts = {"machine": measure.machine(arguments), "runs": [arguments.official_runs, arguments.runs, arguments.calls], "models": {}}
    print(f"{facts['machine']}; medians of {arguments.official_runs} (official) and {arguments.runs} (tfod) exports; one thread in LiteRT.")
    python = measure.reference_python()
    # The example is for trying this program.
    for name in [arguments.only] if arguments.only else [name for name in MODELS if name != "shapes"]:
        sides = facts["models"][name] = compare(python, name, arguments)
        title = measure.MODELS.get(name, "the example, 160x160, 3 classes")
        print(f"\n{title}:\n\n{measure.table(ROWS, sides, ('official', 'tfod'))}", flush=True)
    facts["least_memory"] = measure.launcher_memory()
    print(f"\nPeak memory below {facts['least_memory'] / 1e6:.0f} MB, this program's own, cannot be seen.")
    measure.save(arguments, "tflite.json", facts)


if __name__ == "__main__":
    main()
