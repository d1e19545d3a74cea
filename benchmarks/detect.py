"""Compares pictures per second, end to end: `tfod detect`, with its own runtime and with ONNX Runtime, beside a Python script with ONNX Runtime and Pillow.

All are given the same ONNX model and the same JPEGs, of 640x480 pixels, and write a line of JSON for each picture. The whole run counts: starting, reading the model, decoding,
computing, writing. Sides take turns, and medians count. The script is what people write: one picture after another. What the sides find has to be the same, but for scores that rounding
moves across the threshold. Needs the environments oracle (for official exports) and batch.
"""

import json
import shutil

import measure

MODELS = {"shapes": 400, "fpnlite_320": 100, "ssd_mobilenet_v2_300": 100}
TITLES = {"shapes": "SSD of examples/shapes, 3 classes"}
ROUNDS = 3
THRESHOLD = 0.5

MAKE_PICTURES = """
import pathlib, sys
import numpy as np
from PIL import Image
folder, count = pathlib.Path(sys.argv[1]), int(sys.argv[2])
random = np.random.Generator(np.random.PCG64(1))
for number in range(count):
    # Large shapes and some grain, as photographs have them: files of some 60 kB.
    coarse = Image.fromarray(random.integers(0, 255, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((640, 480), Image.Resampling.BICUBIC)).astype(int)
    grain = random.normal(0, 6, smooth.shape)
    Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(folder / f"{number:05}.jpg", quality=90)
"""

SCRIPT = """
import json, pathlib, sys
import numpy as np
import onnxruntime
from PIL import Image
model, folder, output, threshold = *sys.argv[1:4], float(sys.argv[4])
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
[given] = session.get_inputs()
names = ["detection_boxes", "detection_classes", "detection_scores"]
with open(output, "w") as lines:
    for path in sorted(pathlib.Path(folder).iterdir()):
        pixels = np.asarray(Image.open(path).convert("RGB"))
        boxes, classes, scores = (found[0] for found in session.run(names, {given.name: pixels[np.newaxis]}))
        kept = scores >= threshold
        height, width = pixels.shape[:2]
        boxes = boxes[kept] * [height, width, height, width]
        found = [{"class_id": int(c), "score": float(s), "box": b.tolist()} for b, c, s in zip(boxes, classes[kept], scores[kept])]
        lines.write(json.dumps({"image": str(path), "detections": found}) + "\\n")
"""


def prepare(name, python, arguments):
    """Makes a model and pictures; returns their paths."""
    folder = arguments.output / "detect" / name
    shutil.rmtree(folder, ignore_errors=True)
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    trained = measure.ROOT / "examples" / "shapes"
    if name != "shapes":
        trained = measure.official_export(measure.reference_python(), name)
    flags = [f"--pipeline_config_path={trained / 'pipeline.config'}", f"--trained_checkpoint_dir={trained / 'checkpoint'}"]
    measure.output_of([arguments.tfod, "export", "--format=onnx", *flags, f"--output_directory={folder / 'exported'}"])
    measure.output_of([python, "-c", MAKE_PICTURES, pictures, MODELS[name]])
    return folder / "exported" / "model.onnx", pictures


def detections(path):
    """Returns the detections of each picture of a file of results, in the order of names; fails if a picture was passed over."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {line["image"]: line["detections"] for line in lines}


def check(found, expected):
    """Ends the program if two sides do not find the same."""
    if found.keys() != expected.keys():
        measure.fail("the sides looked at other pictures")
    total = sum(map(len, expected.values()))
    apart = sum(abs(len(found[image]) - len(expected[image])) for image in expected)
    if apart > total / 50:
        measure.fail(f"the sides differ in {apart} of {total} detections")
    return total


def compare(name, python, arguments):
    """Returns {side: measured}, and how many detections there are."""
    model, pictures = prepare(name, python, arguments)
    folder = model.parent.parent
    detect = [arguments.tfod, "detect", model, pictures, "--write=jsonl", "--pixels=pillow", f"--score_threshold={THRESHOLD}"]
    library = ["--runtime=onnxruntime", f"--runtime_library={python.parent.parent}"]
    commands = {
        "script": ([python, "-c", SCRIPT, model, pictures, folder / "script.jsonl", THRESHOLD], folder / "script.jsonl"),
        "tfod": ([*detect, f"--output={folder / 'own'}"], folder / "own" / "detections.jsonl"),
        "tfod, ONNX Runtime": ([*detect, *library, f"--output={folder / 'library'}"], folder / "library" / "detections.jsonl"),
    }
    runs = {side: [] for side in commands}
    for _ in range(arguments.rounds):
        for side, (command, _) in commands.items():
            runs[side].append(measure.measured(command))
    found = {side: detections(path) for side, (_, path) in commands.items()}
    total = min(check(those, found["script"]) for those in found.values())
    results = {side: measure.median_of(those) for side, those in runs.items()}
    for result in results.values():
        result["rate"] = MODELS[name] / result["wall"]
    measure.remove(folder)
    return results, total


ROWS = (("pictures a second", "rate", lambda value: f"{value:.1f}"), *measure.COSTS)


def main():
    parser = measure.parser(__doc__, MODELS)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each side runs")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    python = measure.environment("batch")
    facts = {"machine": measure.machine(arguments), "rounds": arguments.rounds, "models": {}}
    print(f"{facts['machine']}; medians of {arguments.rounds} runs each, sides taking turns.")
    for name in [arguments.only] if arguments.only else MODELS:
        results, total = compare(name, python, arguments)
        facts["models"][name] = {"pictures": MODELS[name], "detections": total, **results}
        title = TITLES.get(name) or measure.MODELS[name]
        print(f"\n{title}, {MODELS[name]} pictures, {total} detections:\n", flush=True)
        for side in ("tfod", "tfod, ONNX Runtime"):
            sides = {"script": results["script"], side: results[side]}
            print(f"{measure.table(ROWS, sides, (side, 'script'))}\n", flush=True)
    measure.save(arguments, "detect.json", facts)


if __name__ == "__main__":
    main()
