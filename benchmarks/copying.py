"""Compares exporting and freezing by tfod with copying what they write: a model cannot be written faster than its bytes.

tfod and `cp` take turns on the official exports of large models, which are copied first: what is read lies in the system's cache of files as after a download. Prints a Markdown
table and writes JSON. Needs the oracle environment for the official exports, which are made at the first run.
"""

import shutil

import measure

MODELS = ("faster_rcnn_resnet50_640", "mask_rcnn_inception_resnet_v2_1024", "center_net_hourglass_104")


def compare(python, name, folder, arguments):
    """Returns {what is done: what each side costs}."""
    official = folder / f"{name}.official"
    shutil.copytree(measure.official_export(python, name), official)
    flags = [f"--pipeline_config_path={official / 'pipeline.config'}", f"--trained_checkpoint_dir={official / 'checkpoint'}"]
    exported, frozen = folder / name, folder / f"{name}.pb"
    export = [arguments.tfod, "export", *flags, f"--output_directory={exported}"]
    freeze = [arguments.tfod, "freeze", f"--saved_model_dir={official / 'saved_model'}", f"--output={frozen}"]
    costs = {}
    for what, command, output in (("export", export, exported), ("freezing", freeze, frozen)):
        costs[what] = measure.beside_copying(command, output, arguments.runs)
        measure.remove(output)
    measure.remove(official)
    return costs


def row(name, what, sides):
    tfod, copied = sides["tfod"], sides["cp"]
    ratios = (tfod[key] / copied[key] for key in ("wall", "fastest"))
    times = " | ".join([measure.seconds(tfod["wall"]), measure.seconds(copied["wall"]), *(f"{ratio:.2f}" for ratio in ratios)])
    return f"| {measure.MODELS[name]}, {what} | {measure.megabytes(tfod['bytes'])} | {times} | {measure.megabytes(tfod['memory'])} |"


def main():
    parser = measure.parser(__doc__, MODELS)
    parser.add_argument("--runs", type=int, default=9, help="runs of tfod and of cp; the median counts")
    arguments = parser.parse_args()
    facts = {"machine": measure.machine(arguments), "runs": arguments.runs, "models": {}}
    python = measure.reference_python()
    folder = arguments.output / "copying"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(f"{facts['machine']}; medians of {arguments.runs} runs in turns.\n")
    print("| | bytes | tfod | `cp` | tfod / `cp` | fastest runs | peak memory of tfod |\n| --- |" + " ---: |" * 6)
    for name in [arguments.only] if arguments.only else MODELS:
        costs = facts["models"][name] = compare(python, name, folder, arguments)
        for what, sides in costs.items():
            print(row(name, what, sides), flush=True)
    measure.save(arguments, "copying.json", facts)


if __name__ == "__main__":
    main()
