"""Compares freezing by the Python script that people use and by tfod: time, memory and size.

Both run here, one after the other, on the same official exports. For the scale, `cp` writes the bytes of tfod's output once more.
Prints Markdown tables and writes JSON. Needs the oracle environment, with compiled protobuf: with the pure Python one the script is slowed down unfairly,
and the benchmark refuses to run.
"""

import shutil

import measure

ROWS = (*measure.COSTS, ("output", "bytes", measure.megabytes))


def compare(python, name, folder, arguments):
    """Returns what each side costs."""
    saved_model = measure.official_export(python, name) / "saved_model"
    ours, theirs = (folder / f"{name}.{side}.pb" for side in ("tfod", "script"))
    script = [python, measure.TESTS / "oracle" / "freeze_script.py", saved_model, theirs]
    tfod = [arguments.tfod, "freeze", f"--saved_model_dir={saved_model}", f"--output={ours}"]
    sides = {"script": measure.median_of([measure.written(script, theirs) for _ in range(arguments.script_runs)])}
    sides.update(measure.beside_copying(tfod, ours, arguments.runs))
    for made in (ours, theirs):
        measure.remove(made)
    return sides


def main():
    parser = measure.parser(__doc__, measure.MODELS)
    parser.add_argument("--script-runs", type=int, default=1, help="runs of the script (a minute each for the large model)")
    parser.add_argument("--runs", type=int, default=9, help="runs of tfod and of cp; the median counts")
    arguments = parser.parse_args()
    facts = {"machine": measure.machine(arguments), "runs": [arguments.script_runs, arguments.runs], "models": {}}
    print(f"{facts['machine']}; medians of {arguments.script_runs} (script) and {arguments.runs} (tfod, cp) runs.")
    python = measure.reference_python()
    folder = arguments.output / "freeze"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in [arguments.only] if arguments.only else measure.MODELS:
        sides = facts["models"][name] = compare(python, name, folder, arguments)
        print(f"\n{measure.MODELS[name]}:\n\n{measure.table(ROWS, sides, ('script', 'tfod'))}")
        print(f"\n{measure.compared_with_copying(sides)}", flush=True)
    facts["least_memory"] = measure.launcher_memory()
    print(f"\nPeak memory below {facts['least_memory'] / 1e6:.0f} MB, this program's own, cannot be seen.")
    measure.save(arguments, "freeze.json", facts)


if __name__ == "__main__":
    main()
