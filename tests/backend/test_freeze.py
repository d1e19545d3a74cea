"""Freezing against the script that TensorFlow's users run: the same interface, the same numbers, and a cleaner graph.

Every SavedModel of `oracle.saved_models` is frozen by `tfod freeze` and run by TensorFlow as it is, with Grappler off, beside the script's
result. Numbers must be equal bit for bit; where the script fails, the SavedModel's own outputs are met within 1e-5.
Environment variable: TFOD_BIN (the binary under test, default target/release/tfod).
"""

import json
import os
import pathlib
import re
import shutil
import subprocess

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import environments
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from oracle import cache, large, saved_models, serve, snappy
from parity import compare
from tensorflow.core.protobuf import saved_model_pb2

from . import frozen_graphs

BINARY = pathlib.Path(os.environ.get("TFOD_BIN", cache.ROOT / "target" / "release" / "tfod"))
HERE = pathlib.Path(__file__).resolve().parent
SHAPES = cache.ROOT / "examples" / "shapes"
MODELS = saved_models.load_builders()
CLOSE = 1e-5  # where other kernels may run
FOLDED = 1e-4  # folding changes rounding
HALF = 1e-2  # fp16 has eleven bits
FEW_BYTES = 4000


def parameters(models):
    return [pytest.param(model, id=model.name, marks=getattr(pytest.mark, model.tier)) for model in models]


FREEZABLE = [model for model in MODELS.values() if model.refused is None]
REFUSED = [model for model in MODELS.values() if model.refused is not None]


def choose(*names):
    return parameters(MODELS[name] for name in names)


def tfod_freeze(saved_model, output, *options):
    """Runs the command; returns the finished process."""
    assert BINARY.exists(), f"{BINARY} does not exist: build it with `cargo build --release`, or set TFOD_BIN"
    command = [BINARY, "freeze", f"--saved_model_dir={saved_model}", f"--output={output}", *options]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)


def frozen(saved_model, output, *options):
    """Freezes; returns the GraphDef."""
    result = tfod_freeze(saved_model, output, *options)
    assert result.returncode == 0, f"{' '.join(map(str, result.args))}\nexit status {result.returncode}\n{result.stdout}{result.stderr}"
    return tf.compat.v1.GraphDef.FromString(pathlib.Path(output).read_bytes())


def signatures(model):
    """Yields (saved_model, about, options, batches) of each signature of a model, made if they are not there."""
    folder = saved_models.prepare(model)
    for index, about in enumerate(json.loads((folder / "about.json").read_text())["signatures"]):
        options = [f"--tags={','.join(model.tags)}"] if model.tags != ("serve",) else []
        if about["signature"] != "serving_default":
            options.append(f"--signature={about['signature']}")
        yield folder, index, about, options


def script_graph(folder, index):
    """Returns the script's result, or None where it has none."""
    path = folder / f"{index}.pb"
    return tf.compat.v1.GraphDef.FromString(path.read_bytes()) if path.exists() else None


def assert_same(ours, theirs, tolerance, what):
    """Compares outputs by key; tolerance 0 asks for equal bits."""
    if tolerance == 0:
        assert list(ours) == list(theirs), what
        for key, value in theirs.items():
            found = np.asarray(ours[key])
            assert (found.dtype, found.shape) == (value.dtype, value.shape), f"{what}: {key}"
            equal = found.tolist() == value.tolist() if value.dtype == object else found.tobytes() == value.tobytes()
            assert equal, f"{what}: {key} differs: " + "; ".join(compare.problems(ours, theirs, 0) if value.dtype.kind == "f" else [])
        return
    assert set(ours) == set(theirs), what
    for key, value in theirs.items():
        if value.dtype.kind not in "fc":
            np.testing.assert_array_equal(ours[key], value, err_msg=f"{what}: {key}")
    compare.assert_equal(real_numbers(ours), real_numbers(theirs), what, tolerance)


def real_numbers(outputs):
    """Returns the floating-point outputs, complex ones as pairs of numbers."""
    floats = {key: np.asarray(value) for key, value in outputs.items() if np.asarray(value).dtype.kind in "fc"}
    return {key: np.stack([value.real, value.imag]) if value.dtype.kind == "c" else value for key, value in floats.items()}


def exactness(model):
    """Returns the tolerance for a graph with the kernels of the script's."""
    return CLOSE if model.script_fails or model.other_kernels else 0


def by_anchor(outputs):
    """Returns detections ordered by anchor and class: rounding may swap two whose scores are equal but for the last bit."""
    if "detection_anchor_indices" not in outputs:
        return outputs
    order = np.lexsort((outputs["detection_classes"][0], outputs["detection_anchor_indices"][0]))
    return {key: value[:, order] if key.startswith("detection_") else value for key, value in outputs.items()}


def assert_runs_the_same(graph_def, interface, folder, index, about, tolerance, arrange=lambda outputs: outputs):
    """Compares the graph's outputs with the recorded ones, both arranged first."""
    for number, (inputs, outputs) in enumerate(saved_models.batches_of(folder, index, about)):
        found = saved_models.run_interface(graph_def, interface, inputs)
        keys = [entry["key"] for entry in interface["outputs"]]
        wanted = arrange({key: outputs[key] for key in keys})
        assert_same(arrange(found), wanted, tolerance, f"{about['signature']}, input {number}")


@pytest.mark.parametrize("model", parameters(FREEZABLE))
def test_freezes_as_the_script_does(model, tmp_path):
    for folder, index, about, options in signatures(model):
        graph_def = frozen(folder / "saved_model", tmp_path / "frozen.pb", *options)
        found = frozen_graphs.problems(graph_def, about, model.kept_calls)
        assert not found, "\n".join(found[:20])
        assert not frozen_graphs.call_edges(graph_def)

        variables = set(about["variables"]) - set(model.unread)
        missing = variables - frozen_graphs.constants(graph_def) - {entry["name"][:-2] for entry in about["inputs"] + about["outputs"]}
        if not model.script_fails and not model.kept_calls:
            assert not missing, f"no constants are called {sorted(missing)}"

        theirs = script_graph(folder, index)
        if theirs is not None:
            functional = {op for op in frozen_graphs.operations(graph_def) if op in frozen_graphs.FUNCTIONAL}
            assert functional <= set(frozen_graphs.operations(theirs)), "control flow that the script lowers is left"
            assert len(graph_def.node) <= len(theirs.node)
            assert graph_def.ByteSize() <= theirs.ByteSize() + FEW_BYTES  # no constant is there twice
        assert_runs_the_same(graph_def, about, folder, index, about, exactness(model))


@pytest.mark.parametrize("model", parameters(FREEZABLE))
def test_text_form_is_the_same_message(model, tmp_path):
    for folder, _, _, options in signatures(model):
        binary = frozen(folder / "saved_model", tmp_path / "frozen.pb", *options)
        texts = []
        for name, more in (("frozen.pbtxt", []), ("frozen.txt", ["--as_text"])):
            result = tfod_freeze(folder / "saved_model", tmp_path / name, *options, *more)
            assert result.returncode == 0, result.stderr
            texts.append((tmp_path / name).read_text())
        assert texts[0] == texts[1]
        assert text_format.Parse(texts[0], tf.compat.v1.GraphDef()) == binary


@pytest.mark.parametrize("model", parameters(FREEZABLE))
def test_freezing_twice_gives_the_same_bytes(model, tmp_path):
    for folder, _, _, options in signatures(model):
        for name in ("one.pb", "two.pb"):
            frozen(folder / "saved_model", tmp_path / name, *options)
        assert (tmp_path / "one.pb").read_bytes() == (tmp_path / "two.pb").read_bytes()


@pytest.mark.parametrize("model", parameters(FREEZABLE))
def test_control_flow_can_be_kept(model, tmp_path):
    for folder, index, about, options in signatures(model):
        lowered = frozen_graphs.operations(frozen(folder / "saved_model", tmp_path / "lowered.pb", *options))
        graph_def = frozen(folder / "saved_model", tmp_path / "kept.pb", *options, "--keep_control_flow")
        found = frozen_graphs.problems(graph_def, about, kept_functions=True)
        assert not found, "\n".join(found[:20])
        kept = frozen_graphs.operations(graph_def)
        if lowered.keys() & frozen_graphs.LOWERED and not model.name.startswith("v1_"):
            assert not kept.keys() & frozen_graphs.LOWERED, "control flow is lowered in spite of --keep_control_flow"
            assert kept.keys() & frozen_graphs.FUNCTIONAL
        assert_runs_the_same(graph_def, about, folder, index, about, CLOSE)


def friendly(interface):
    """Returns the interface with every tensor called as its key, as TensorFlow allows node names."""

    def named(entries):
        return [{**entry, "name": re.sub(r"[^A-Za-z0-9_.\\/>-]", "_", entry["key"]) + ":0"} for entry in entries]

    return {"inputs": named(interface["inputs"]), "outputs": named(interface["outputs"])}


CLASHING = ("outputs_that_are_inputs", "names_that_collide")  # keys that are an input's and an output's at once


@pytest.mark.parametrize("model", parameters(model for model in FREEZABLE if model.name not in CLASHING))
def test_friendly_names_are_the_keys(model, tmp_path):
    for folder, index, about, options in signatures(model):
        interface = friendly(about)
        names = [entry["name"] for entry in interface["inputs"] + interface["outputs"]]
        if len(set(names)) < len(names):
            continue
        graph_def = frozen(folder / "saved_model", tmp_path / "frozen.pb", *options, "--friendly_names")
        found = frozen_graphs.problems(graph_def, interface, model.kept_calls)
        assert not found, "\n".join(found[:20])
        assert_runs_the_same(graph_def, interface, folder, index, about, exactness(model))


@pytest.mark.parametrize("name", CLASHING)
@pytest.mark.quick
def test_friendly_names_that_clash_stay_apart(name, tmp_path):
    """Inputs have their keys; outputs called alike get a name that the table tells."""
    for folder, index, about, options in signatures(MODELS[name]):
        table = tmp_path / "table.json"
        graph_def = frozen(folder / "saved_model", tmp_path / "frozen.pb", *options, "--friendly_names", f"--json={table}")
        interface = shown_interface(json.loads(table.read_text()))
        assert [entry["name"] for entry in interface["inputs"]] == [entry["name"] for entry in friendly(about)["inputs"]]
        assert not frozen_graphs.problems(graph_def, interface)
        assert_runs_the_same(graph_def, interface, folder, index, about, 0)


def shown_interface(table):
    """Returns the interface that the --json file tells, in the form of `oracle.freeze_script`."""
    return {
        side: [{"key": row["key"], "name": row["tensor"], "dtype": row["dtype"], "shape": row["shape"]} for row in table[side]]
        for side in ("inputs", "outputs")
    }


@pytest.mark.parametrize("model", parameters(FREEZABLE))
def test_the_table_is_the_interface(model, tmp_path):
    for folder, _, about, options in signatures(model):
        table = tmp_path / "table.json"
        result = tfod_freeze(folder / "saved_model", tmp_path / "frozen.pb", *options, f"--json={table}")
        assert result.returncode == 0, result.stderr
        shown = shown_interface(json.loads(table.read_text()))
        for side in ("inputs", "outputs"):
            names = [(entry["key"], entry["name"], entry["dtype"]) for entry in shown[side]]
            assert names == [(entry["key"], entry["name"], entry["dtype"]) for entry in about[side]]
            for entry in shown[side]:
                assert re.search(rf"{re.escape(entry['key'])}\s.*{re.escape(entry['name'])}", result.stdout), result.stdout


@pytest.mark.parametrize("model", parameters(model for model in FREEZABLE if model.norms is not None))
def test_batch_norms_are_folded(model, tmp_path):
    for folder, index, about, options in signatures(model):
        plain = frozen(folder / "saved_model", tmp_path / "plain.pb", *options)
        graph_def = frozen(folder / "saved_model", tmp_path / "folded.pb", *options, "--fold_batch_norm")
        found = frozen_graphs.problems(graph_def, about)
        assert not found, "\n".join(found[:20])
        counts = frozen_graphs.operations(graph_def)
        assert sum(counts[op] for op in frozen_graphs.NORMS) == model.norms, counts
        if model.norms == 0:
            assert not counts.keys() & {"Rsqrt", "Mul", "Sub", "RealDiv", "Sqrt"}, f"the multiplication is left: {counts}"
            assert len(graph_def.node) < len(plain.node)
        assert_runs_the_same(graph_def, about, folder, index, about, FOLDED)


FOLDABLE = ("application", "subclassed", "mixed_float16", "v1_batch_norm", "lstm", "official_shapes") + tuple(
    model.name for model in FREEZABLE if model.tier != "quick"
)


@pytest.mark.parametrize("model", choose(*FOLDABLE))
def test_folding_keeps_results(model, tmp_path):
    """On whole models, where some batch norms are folded and some are elsewhere."""
    for folder, index, about, options in signatures(model):
        graph_def = frozen(folder / "saved_model", tmp_path / "folded.pb", *options, "--fold_batch_norm")
        found = frozen_graphs.problems(graph_def, about)
        assert not found, "\n".join(found[:20])
        tolerance = HALF if model.name == "mixed_float16" else FOLDED
        assert_runs_the_same(graph_def, about, folder, index, about, tolerance, arrange=by_anchor)


HALVED = ("sequential", "convolutional", "application", "attention", "lstm", "a_variable_read_often", "variable_dtypes", "v1_resource_variables")


@pytest.mark.parametrize("model", choose(*HALVED))
def test_half_precision_constants(model, tmp_path):
    for folder, index, about, options in signatures(model):
        plain = frozen(folder / "saved_model", tmp_path / "plain.pb", *options)
        graph_def = frozen(folder / "saved_model", tmp_path / "half.pb", *options, "--half")
        found = frozen_graphs.problems(graph_def, about)
        assert not found, "\n".join(found[:20])
        large = [
            node
            for node in graph_def.node
            if node.op == "Const" and node.attr["dtype"].type == tf.float32.as_datatype_enum and node.ByteSize() > 8000
        ]
        assert not large, [node.name for node in large]
        if plain.ByteSize() > 200_000:
            assert graph_def.ByteSize() < 0.65 * plain.ByteSize()
        assert_runs_the_same(graph_def, about, folder, index, about, HALF)


@pytest.mark.parametrize("model", parameters(REFUSED))
def test_what_has_state_is_refused(model, tmp_path):
    """The error names the node and the reason, and no file is written."""
    folder = saved_models.prepare(model)
    output = tmp_path / "frozen.pb"
    result = tfod_freeze(folder / "saved_model", output)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "saved_model.pb" in result.stderr and "node `" in result.stderr, result.stderr
    for pattern in model.refused:
        assert re.search(pattern, result.stderr, re.IGNORECASE), f"nothing like {pattern!r} in: {result.stderr}"
    assert not output.exists() and not list(tmp_path.iterdir())


def first_call(saved_model, inputs):
    """Returns what the signature gives when it is called for the first time after loading, without Grappler, which reorders sums."""
    loaded = tf.saved_model.load(str(saved_model))
    with saved_models.without_grappler():
        outputs = loaded.signatures["serving_default"](**{key: tf.constant(value) for key, value in inputs.items()})
    return {key: value.numpy() for key, value in outputs.items()}


def first_run(saved_model, inputs):
    """Returns what the signature gives when it is run for the first time in a session, as TensorFlow 1 runs it."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        signature = v1.saved_model.load(session, ["serve"], str(saved_model)).signature_def["serving_default"]
        feeds = {signature.inputs[key].name: value for key, value in inputs.items()}
        return session.run({key: info.name for key, info in signature.outputs.items()}, feeds)


def inputs_for(interface, rng):
    """Returns random inputs of the shapes in the table; unknown sizes are 2."""
    shapes = {row["key"]: [2 if size < 0 else size for size in row["shape"]] for row in interface["inputs"]}
    return {key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}


# Of TensorFlow 1, or with an operation (ResourceCountUpTo) that TensorFlow 2 does not load within a function.
RUN_IN_SESSIONS = ("v1_assignment", "v1_references_assigned_and_read", "v1_training_step", "counters_read_later")

UPDATED = {
    "counter": {"counter"},
    "stateful_recurrent_layer": {"lstm/Variable", "lstm/Variable_1"},
    "batch_norm_in_training": {"batch_normalization/moving_mean", "batch_normalization/moving_variance"},
    "scattered_update": {"weight"},
    "random_generator": {"StateVar"},
    "read_after_assignments": {"total", "steps"},
    "assignment_in_a_branch": {"total"},
    "assignment_in_a_function_not_inlined": {"total"},
    "rows_changed_and_read": {"rows", "counts"},
    "elements_changed_and_read": {"weight"},
    "slices_assigned_and_read": {"weight"},
    "counters_read_later": {"calls", "left"},
    "generator_drawn_from_twice": {"StateVar"},
    "v1_assignment": {"total"},
    "v1_references_assigned_and_read": {"total", "step"},
    "v1_training_step": {"kernel"},
}


@pytest.mark.parametrize("name", UPDATED)
@pytest.mark.quick
def test_dropped_updates_leave_the_first_call(name, tmp_path):
    """Every call gives what TensorFlow's first call after loading gives, and each assignment dropped is named."""
    saved_model = saved_models.prepare(MODELS[name]) / "saved_model"
    refused = tfod_freeze(saved_model, tmp_path / "frozen.pb")
    assert refused.returncode == 1 and "--drop_updates" in refused.stderr, refused.stderr
    table = tmp_path / "table.json"
    result = tfod_freeze(saved_model, tmp_path / "frozen.pb", "--drop_updates", f"--json={table}")
    assert result.returncode == 0, result.stderr
    shown = json.loads(table.read_text())
    assert {update["variable"] for update in shown["dropped_updates"]} == UPDATED[name]
    for update in shown["dropped_updates"]:
        assert re.search(rf"{update['variable']} by .*{update['node']}", result.stdout), result.stdout
    graph_def = tf.compat.v1.GraphDef.FromString((tmp_path / "frozen.pb").read_bytes())
    interface = shown_interface(shown)
    inputs = inputs_for(interface, np.random.Generator(np.random.PCG64(4)))
    for sign in (1, -1):  # both ways through conditionals
        given = {key: sign * np.abs(value) for key, value in inputs.items()}
        wanted = (first_run if name in RUN_IN_SESSIONS else first_call)(saved_model, given)
        for _ in range(2):
            assert_same(saved_models.run_interface(graph_def, interface, given), wanted, CLOSE, name)


@pytest.mark.quick
def test_values_that_only_a_run_decides_are_refused(tmp_path):
    """The error names the variable, and the nodes that read it and assign to it."""
    saved_model = saved_models.prepare(MODELS["assignment_in_a_loop"]) / "saved_model"
    result = tfod_freeze(saved_model, tmp_path / "frozen.pb", "--drop_updates")
    assert result.returncode == 1 and "`total`" in result.stderr, result.stderr
    for op in ("ReadVariableOp", "AssignVariableOp"):
        assert re.search(rf"function `while_body_\w+`, node `while/{op}` \({op}\)", result.stderr), result.stderr
    assert not list(tmp_path.iterdir())


TABLES = {
    "static_table": {("string", "int64", 2)},
    "table_from_an_asset": {("string", "int64", 3)},
    "tables_from_columns_of_an_asset": {("string", "float32", 3), ("int64", "string", 2)},
    "v1_tables_of_two_kinds": {("string", "int64", 2)},
    "tables_without_names": {("string", "int64", 2), ("string", "float32", 2), ("string", "int64", 1)},
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.quick
def test_tables_and_what_fills_them_are_named(name, tmp_path):
    saved_model = saved_models.prepare(MODELS[name]) / "saved_model"
    table = tmp_path / "table.json"
    result = tfod_freeze(saved_model, tmp_path / "frozen.pb", f"--json={table}")
    assert result.returncode == 0, result.stderr
    shown = json.loads(table.read_text())
    assert shown["initializer"] == saved_models.INITIALIZER and f"run `{saved_models.INITIALIZER}`" in result.stdout
    assert {(row["key_dtype"], row["value_dtype"], row["entries"]) for row in shown["tables"]} == TABLES[name]
    for row in shown["tables"]:
        assert re.search(rf"{re.escape(row['node'])}: {row['key_dtype']} to {row['value_dtype']}, {row['entries']} entr", result.stdout)


@pytest.mark.quick
def test_the_file_of_a_table_is_needed(tmp_path):
    saved_model = tmp_path / "saved_model"
    shutil.copytree(saved_models.prepare(MODELS["table_from_an_asset"]) / "saved_model", saved_model)
    (asset,) = (saved_model / "assets").iterdir()
    over_it = tfod_freeze(saved_model, asset)
    assert over_it.returncode == 1 and "words.txt" in over_it.stderr, over_it.stderr
    asset.write_text("a\n\nc\n")
    empty = tfod_freeze(saved_model, tmp_path / "frozen.pb")
    assert empty.returncode == 1 and "words.txt: line 2 is empty" in empty.stderr, empty.stderr
    asset.unlink()
    missing = tfod_freeze(saved_model, tmp_path / "frozen.pb")
    assert missing.returncode == 1 and "words.txt" in missing.stderr and "cannot be frozen" in missing.stderr, missing.stderr


@pytest.mark.quick
def test_functions_with_tables_are_frozen_by_name(tmp_path):
    """Tables and assets are objects that the function captures."""
    path = tmp_path / "words.txt"
    path.write_text("x\ny\n")
    module = tf.Module()
    lines = tf.lookup.TextFileInitializer(str(path), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER)
    module.lines = tf.lookup.StaticVocabularyTable(lines, 1)
    module.counts = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
    module.counts.insert(tf.constant(["x"]), tf.constant([5], tf.int64))
    module.unused = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([1], [2]), 0)
    look_up = tf.function(lambda words: module.lines.lookup(words) + module.counts.lookup(words), input_signature=[tf.TensorSpec([None], tf.string, name="words")])
    module.look_up = look_up
    tf.saved_model.save(module, str(tmp_path / "model"), signatures={})
    table = tmp_path / "table.json"
    graph_def = frozen(tmp_path / "model", tmp_path / "frozen.pb", "--function=look_up", f"--json={table}")
    interface = shown_interface(json.loads(table.read_text()))
    assert not frozen_graphs.problems(graph_def, interface)
    words = np.array(["y", "x", "z"], object)
    (found,) = saved_models.run_interface(graph_def, interface, {"words": words}).values()
    np.testing.assert_array_equal(found, look_up(tf.constant(words)).numpy())
    assert len(json.loads(table.read_text())["tables"]) == 2


@pytest.mark.quick
def test_changes_of_tables_are_dropped_where_nothing_looks_into_them(tmp_path):
    saved_model = saved_models.prepare(MODELS["table_that_a_call_changes"]) / "saved_model"
    both = tfod_freeze(saved_model, tmp_path / "frozen.pb", "--drop_updates")
    assert both.returncode == 1 and "the outputs look into" in both.stderr, both.stderr
    kept = tfod_freeze(saved_model, tmp_path / "frozen.pb")
    assert kept.returncode == 1 and "changes the table `" in kept.stderr and "--drop_updates" in kept.stderr, kept.stderr
    table = tmp_path / "table.json"
    graph_def = frozen(saved_model, tmp_path / "frozen.pb", "--drop_updates", "--outputs=length", f"--json={table}")
    shown = json.loads(table.read_text())
    (update,) = shown["dropped_updates"]
    assert update["op"] == "LookupTableInsertV2" and "variable" not in update and not shown["tables"]
    again = tfod_freeze(saved_model, tmp_path / "frozen.pb", "--drop_updates", "--outputs=length")
    assert f"dropped    table {update['table']} by " in again.stdout, again.stdout
    found = saved_models.run_interface(graph_def, shown_interface(shown), {"words": np.array(["a", "bcd"], object)})
    assert found["length"].tolist() == [1, 3]


@pytest.mark.quick
def test_only_the_wanted_outputs_are_frozen(tmp_path):
    """What stands in the way of another output does not matter."""
    saved_model = saved_models.prepare(MODELS["a_table_behind_one_output"]) / "saved_model"
    table = tmp_path / "table.json"
    graph_def = frozen(saved_model, tmp_path / "frozen.pb", "--outputs=scores", f"--json={table}")
    interface = shown_interface(json.loads(table.read_text()))
    assert not any("Table" in op for op in frozen_graphs.operations(graph_def))
    inputs = inputs_for(interface, np.random.Generator(np.random.PCG64(4)))
    found = saved_models.run_interface(graph_def, interface, inputs)
    np.testing.assert_array_equal(found["scores"], first_call(saved_model, inputs)["scores"])
    wrong = tfod_freeze(saved_model, tmp_path / "other.pb", "--outputs=scores,classes")
    assert wrong.returncode == 1 and "`classes`" in wrong.stderr and "`names`, `scores`" in wrong.stderr, wrong.stderr


@pytest.mark.quick
def test_the_only_graph_is_taken_whatever_its_tags(tmp_path):
    saved_model = saved_models.prepare(MODELS["without_tags"]) / "saved_model"
    result = tfod_freeze(saved_model, tmp_path / "frozen.pb")
    assert result.returncode == 0 and "without tags" in result.stderr, result.stderr
    named_tags = tfod_freeze(saved_model, tmp_path / "named.pb", "--tags=")
    assert named_tags.returncode == 0 and not named_tags.stderr, named_tags.stderr
    assert (tmp_path / "frozen.pb").read_bytes() == (tmp_path / "named.pb").read_bytes()
    wrong = tfod_freeze(saved_model, tmp_path / "other.pb", "--tags=serve")
    assert wrong.returncode == 1 and "one without tags" in wrong.stderr, wrong.stderr


@pytest.mark.quick
def test_the_file_itself_works_as_its_folder(tmp_path):
    saved_model = saved_models.prepare(MODELS["sequential"]) / "saved_model"
    frozen(saved_model, tmp_path / "folder.pb")
    frozen(saved_model / "saved_model.pb", tmp_path / "file.pb")
    assert (tmp_path / "folder.pb").read_bytes() == (tmp_path / "file.pb").read_bytes()


def unknown_sizes(graph_def):
    """Returns the tensors whose shape TensorFlow does not infer."""
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        outputs = [tensor for operation in graph.get_operations() for tensor in operation.outputs]
    # The last outputs of a normalisation are room for gradients.
    outputs = [tensor for tensor in outputs if not tensor.op.type.startswith("FusedBatchNorm") or tensor.value_index == 0]
    plain = [tensor for tensor in outputs if tensor.dtype not in (tf.variant, tf.resource)]
    return [tensor for tensor in plain if not tensor.shape.is_fully_defined()]


def unknown_before_suppression(graph_def):
    """Returns the names of those that no suppression decides, but for the counters of loops, whose shape TensorFlow never tells."""
    unknown = unknown_sizes(graph_def)
    decided = set()
    stack = [operation for tensor in unknown for operation in [tensor.op] if operation.type.startswith("NonMaxSuppression")]
    while stack:
        operation = stack.pop()
        if operation not in decided:
            decided.add(operation)
            stack += [consumer for tensor in operation.outputs for consumer in tensor.consumers()]
    others = [tensor for tensor in unknown if tensor.op not in decided and "NonMaxSuppression/" not in tensor.name]
    return [tensor.name for tensor in others if tensor.dtype not in (tf.int32, tf.bool) or tensor.shape.rank is not None]


@pytest.mark.quick
def test_sizes_of_inputs_are_fixed_with_what_follows(tmp_path):
    table = tmp_path / "table.json"
    saved_model = saved_models.prepare(MODELS["sizes_computed_from_sizes"]) / "saved_model"
    free = frozen(saved_model, tmp_path / "free.pb")
    assert frozen_graphs.operations(free)["Shape"] and unknown_sizes(free)
    graph_def = frozen(saved_model, tmp_path / "fixed.pb", "--input_shape=image=2,10,13,3", f"--json={table}")
    shown = json.loads(table.read_text())
    interface = shown_interface(shown)
    assert not frozen_graphs.problems(graph_def, interface)
    operations = frozen_graphs.operations(graph_def)
    assert not operations.keys() & {"Shape", "Pack", "FloorDiv", "Range", "Cast"}, operations
    assert shown["fixed_sizes"] > 0 and not unknown_sizes(graph_def)
    inputs = {"image": np.random.Generator(np.random.PCG64(4)).normal(size=(2, 10, 13, 3)).astype(np.float32)}
    found = saved_models.run_interface(graph_def, interface, inputs)
    assert_same(found, first_call(saved_model, inputs), CLOSE, "fixed sizes")
    assert {row["key"]: row["shape"] for row in shown["outputs"]} == {key: list(value.shape) for key, value in found.items()}
    partly = tfod_freeze(saved_model, tmp_path / "partly.pb", "--input_shape=image=?,10,13,3", f"--json={table}")
    assert partly.returncode == 0, partly.stderr
    assert {row["key"]: row["shape"] for row in json.loads(table.read_text())["outputs"]}["padded"] == [-1, 12, 15, 4]


@pytest.mark.parametrize("model", choose("official_shapes", "official_fpnlite_320", "official_efficientdet_d0"))
def test_official_exports_with_fixed_sizes_have_unknown_ones_in_suppression_only(model, tmp_path):
    ((folder, index, about, options),) = signatures(model)
    inputs, outputs = saved_models.batches_of(folder, index, about)[0]
    (image,) = inputs.values()
    free = frozen(folder / "saved_model", tmp_path / "free.pb", *options)
    assert unknown_before_suppression(free)
    shape = ",".join(map(str, image.shape))
    graph_def = frozen(folder / "saved_model", tmp_path / "frozen.pb", f"--input_shape=input_tensor={shape}", *options)
    assert not unknown_before_suppression(graph_def)
    found = saved_models.run_interface(graph_def, about, inputs)
    assert_same(found, outputs, exactness(model), model.name)


@pytest.mark.parametrize(
    "shape, words",
    [("image=2,10", "4 dimensions, not 2"), ("image=2,10,13,4", "dimension 3 is 3, not 4"), ("picture=1,2,3,3", "no such input; there are `image`")],
)
@pytest.mark.quick
def test_sizes_that_do_not_fit_are_refused(shape, words, tmp_path):
    saved_model = saved_models.prepare(MODELS["sizes_computed_from_sizes"]) / "saved_model"
    result = tfod_freeze(saved_model, tmp_path / "frozen.pb", f"--input_shape={shape}")
    assert result.returncode == 1 and words in result.stderr and "--input_shape" in result.stderr, result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["sequential", "lstm", "unusual_names", "v1_tables_of_two_kinds", "table_from_an_asset"])
@pytest.mark.quick
def test_the_text_form_of_a_saved_model_works_as_the_binary_one(name, tmp_path):
    saved_model, text = saved_models.prepare(MODELS[name]) / "saved_model", tmp_path / "text"
    shutil.copytree(saved_model, text)
    message = saved_model_pb2.SavedModel.FromString((text / "saved_model.pb").read_bytes())
    (text / "saved_model.pb").unlink()
    (text / "saved_model.pbtxt").write_text(text_format.MessageToString(message))
    frozen(saved_model, tmp_path / "binary.pb")
    frozen(text, tmp_path / "text.pb")
    assert (tmp_path / "text.pb").read_bytes() == (tmp_path / "binary.pb").read_bytes()
    (text / "saved_model.pbtxt").write_text("meta_graphs {\n  graph_def { node { name: 3 } }\n}")
    damaged = tfod_freeze(text, tmp_path / "damaged.pb")
    assert damaged.returncode == 1 and "saved_model.pbtxt:2:28: expected a string" in damaged.stderr, damaged.stderr


@pytest.mark.quick
def test_loops_tell_what_tf2onnx_wants(tmp_path):
    saved_model = saved_models.prepare(MODELS["lstm"]) / "saved_model"
    assert "--keep_control_flow" in tfod_freeze(saved_model, tmp_path / "lowered.pb").stdout
    assert "--keep_control_flow" not in tfod_freeze(saved_model, tmp_path / "kept.pb", "--keep_control_flow").stdout


@pytest.mark.parametrize("function, key", [("__call__", "output_0"), ("embed", "e"), ("inner.scale(x: float32 [2], by: float32 [])", "output_1")])
@pytest.mark.quick
def test_functions_without_signatures_are_frozen_by_name(function, key, tmp_path):
    """Of the object graph, with the variables and constants that they capture; results beside the restored functions'."""
    module = unsigned_module(tmp_path / "saved_model")
    refused = tfod_freeze(tmp_path / "saved_model", tmp_path / "frozen.pb")
    assert refused.returncode == 1 and "--function" in refused.stderr and "embed(x: float32 [?, 4])" in refused.stderr, refused.stderr
    table = tmp_path / "table.json"
    graph_def = frozen(tmp_path / "saved_model", tmp_path / "frozen.pb", f"--function={function}", f"--json={table}")
    interface = shown_interface(json.loads(table.read_text()))
    inputs = inputs_for(interface, np.random.Generator(np.random.PCG64(4)))
    call = {"__call__": module, "embed": module.embed}.get(function, module.inner.scale)
    wanted = call(**{key: tf.constant(value) for key, value in inputs.items()})
    if isinstance(wanted, dict):
        wanted = list(wanted.values())
    wanted = wanted if isinstance(wanted, (list, tuple)) else [wanted]
    found = saved_models.run_interface(graph_def, interface, inputs)
    assert key in found and len(found) == len(wanted)
    for output, value in zip(interface["outputs"], wanted):
        np.testing.assert_allclose(found[output["key"]], value.numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.quick
def test_a_function_of_several_specs_is_told_apart(tmp_path):
    unsigned_module(tmp_path / "saved_model")
    several = tfod_freeze(tmp_path / "saved_model", tmp_path / "frozen.pb", "--function=inner.scale")
    assert several.returncode == 1 and several.stderr.count("inner.scale(x: float32") == 2, several.stderr
    missing = tfod_freeze(tmp_path / "saved_model", tmp_path / "frozen.pb", "--function=encode")
    assert missing.returncode == 1 and "`encode`" in missing.stderr and "embed(x" in missing.stderr, missing.stderr


def unsigned_module(folder):
    """Saves a module without signatures, some of whose functions are called with several specs and capture constants; returns it restored."""
    rng = np.random.Generator(np.random.PCG64(20))

    class Inner(tf.Module):
        def __init__(self):
            self.offset = tf.constant(rng.normal(size=2).astype(np.float32) * np.ones(2, np.float32))

        @tf.function
        def scale(self, x, by):
            return x * by, x + self.offset[: tf.shape(x)[0]]

    class Net(tf.Module):
        def __init__(self):
            self.weight, self.inner = tf.Variable(rng.normal(size=(4, 3)).astype(np.float32)), Inner()

        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
        def __call__(self, x):
            return x @ self.weight

        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
        def embed(self, x):
            return {"e": x @ self.weight + 1}

    net = Net()
    net.inner.scale(tf.zeros([2]), tf.zeros([]))
    net.inner.scale(tf.zeros([1]), tf.zeros([]))
    tf.saved_model.save(net, str(folder), signatures={})
    return tf.saved_model.load(str(folder))


@pytest.mark.quick
def test_tensors_stand_for_a_signature(tmp_path):
    """In a graph of TensorFlow 1: the same nodes as by its signature, and any node's first output can be fed."""
    model = MODELS["v1_reference_variables"]
    for folder, index, about, _ in signatures(model):
        saved_model = folder / "saved_model"
        table = tmp_path / "table.json"
        names = {side: ",".join(entry["name"] for entry in about[side]) for side in ("inputs", "outputs")}
        options = [f"--inputs={names['inputs']}", f"--outputs={names['outputs']}", f"--json={table}"]
        graph_def = frozen(saved_model, tmp_path / "tensors.pb", *options)
        interface = shown_interface(json.loads(table.read_text()))
        for inputs, outputs in saved_models.batches_of(folder, index, about):
            keyed = {entry["name"]: inputs[entry["key"]] for entry in about["inputs"]}
            found = saved_models.run_interface(graph_def, interface, keyed)
            for entry in about["outputs"]:
                np.testing.assert_array_equal(found[entry["name"]], outputs[entry["key"]])
        missing = tfod_freeze(saved_model, tmp_path / "other.pb", "--inputs=pictures", "--outputs=second/Tanh")
        assert missing.returncode == 1 and "the given tensors, input `pictures`" in missing.stderr, missing.stderr


@pytest.mark.quick
def test_a_graph_without_signatures_and_functions_asks_for_tensors(tmp_path):
    with tf.Graph().as_default():
        tf.identity(tf.compat.v1.placeholder(tf.float32, [None, 4], name="x") * 2.0, name="y")
        with tf.compat.v1.Session() as session:
            builder = tf.compat.v1.saved_model.Builder(str(tmp_path / "model"))
            builder.add_meta_graph_and_variables(session, ["serve"])
            builder.save()
    refused = tfod_freeze(tmp_path / "model", tmp_path / "frozen.pb")
    assert refused.returncode == 1 and "the file has none" in refused.stderr and "--inputs, --outputs" in refused.stderr, refused.stderr
    graph_def = frozen(tmp_path / "model", tmp_path / "frozen.pb", "--inputs=x", "--outputs=y")
    interface = {"inputs": [{"key": "x", "name": "x:0"}], "outputs": [{"key": "y", "name": "y:0"}]}
    found = saved_models.run_interface(graph_def, interface, {"x": np.ones((2, 4), np.float32)})
    np.testing.assert_array_equal(found["y"], np.full((2, 4), 2, np.float32))


@pytest.mark.quick
def test_ragged_and_sparse_tensors_are_their_components(tmp_path):
    """One entry a component."""

    @tf.function(input_signature=[tf.SparseTensorSpec([None, 3], tf.float32)])
    def run(x):
        dense = tf.sparse.to_dense(x) * 2.0
        return {"rows": tf.RaggedTensor.from_tensor(dense, padding=0.0), "doubled": tf.sparse.from_dense(dense), "dense": dense}

    module = tf.Module()
    module.run = run
    saved_models.save(tmp_path / "saved_model", module, serving_default=run)
    table = tmp_path / "table.json"
    graph_def = frozen(tmp_path / "saved_model", tmp_path / "frozen.pb", f"--json={table}")
    interface = shown_interface(json.loads(table.read_text()))
    given = tf.SparseTensor([[0, 0], [0, 1], [1, 0]], [1.0, 2.0, 3.0], [2, 3])
    # TensorFlow itself takes the inputs of a signature apart.
    inputs = {"x": given.indices.numpy(), "x_1": given.values.numpy(), "x_2": given.dense_shape.numpy()}
    assert {entry["key"] for entry in interface["inputs"]} == set(inputs)
    found = saved_models.run_interface(graph_def, interface, inputs)
    wanted = run(given)
    values = {f"doubled/{name}": getattr(wanted["doubled"], name).numpy() for name in ("indices", "values", "dense_shape")}
    values.update({f"rows/{name}": getattr(wanted["rows"], name).numpy() for name in ("values", "row_splits")}, dense=wanted["dense"].numpy())
    assert set(found) == set(values)
    for key, value in values.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


def with_custom_operation(source, folder, has_definition):
    """Copies a model whose operation `UniqueWithCounts`, of three outputs, gets the name of one that no TensorFlow has."""
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.python.framework import op_def_registry

    subprocess.run(["cp", "-r", str(source), str(folder)], check=True)
    path = folder / "saved_model.pb"
    message = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    (graph,) = message.meta_graphs
    for function in graph.graph_def.library.function:
        for node in function.node_def:
            node.op = "CustomUnique" if node.op == "UniqueWithCounts" else node.op
    operations = graph.meta_info_def.stripped_op_list.op
    for index, operation in reversed(list(enumerate(operations))):
        if operation.name == "UniqueWithCounts":
            del operations[index]
    if has_definition:
        definition = operations.add()
        definition.CopyFrom(op_def_registry.get("UniqueWithCounts"))
        definition.name = "CustomUnique"
    path.write_bytes(message.SerializeToString())


@pytest.mark.quick
def test_custom_operations_are_defined_by_the_file(tmp_path):
    """Which output is which, the file's own definition says; without one, that is an error."""
    counts = lambda x: dict(zip("yic", tf.raw_ops.UniqueWithCounts(x=x, out_idx=tf.int64)))  # noqa: E731
    module = tf.Module()
    saved_models.save(tmp_path / "plain", module, serving_default=saved_models.named(counts, x=tf.TensorSpec([None], tf.int32)))
    with_custom_operation(tmp_path / "plain", tmp_path / "custom", has_definition=True)
    result = tfod_freeze(tmp_path / "custom", tmp_path / "frozen.pb", f"--json={tmp_path / 'table.json'}")
    assert result.returncode == 0 and "CustomUnique" in result.stderr, result.stderr
    interface = shown_interface(json.loads((tmp_path / "table.json").read_text()))
    graph_def = tf.compat.v1.GraphDef.FromString((tmp_path / "frozen.pb").read_bytes())
    for node in graph_def.node:
        node.op = "UniqueWithCounts" if node.op == "CustomUnique" else node.op
    x = np.array([7, 5, 7, 7, 2], np.int32)
    found = saved_models.run_interface(graph_def, interface, {"x": x})
    assert [found[key].tolist() for key in "yic"] == [[7, 5, 2], [0, 1, 0, 0, 2], [3, 1, 1]]
    with_custom_operation(tmp_path / "plain", tmp_path / "undefined", has_definition=False)
    undefined = tfod_freeze(tmp_path / "undefined", tmp_path / "other.pb")
    assert undefined.returncode == 1 and "CustomUnique" in undefined.stderr, undefined.stderr


OTHER_FILES = {
    "frozen graph": ("model.pb", "GraphDef"),
    "renamed graph": ("folder/saved_model.pb", "GraphDef"),
    "git lfs": ("lfs/saved_model.pb", "git lfs pull"),
    "keras": ("model.keras", "model.export"),
    "hdf5": ("model.h5", "model.export"),
    "onnx": ("model.onnx", "ONNX"),
}


@pytest.mark.parametrize("kind", OTHER_FILES)
@pytest.mark.quick
def test_other_files_say_what_they_are(kind, tmp_path):
    name, word = OTHER_FILES[kind]
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    if "graph" in kind:
        frozen(saved_models.prepare(MODELS["sequential"]) / "saved_model", file)
    elif kind == "git lfs":
        file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    elif kind == "onnx":  # ir_version, producer_name, graph, opset_import
        file.write_bytes(b"\x08\x08\x12\x01p\x3a\x02\x12\x00\x42\x02\x10\x11")
    else:
        net = tf.keras.Sequential([tf.keras.layers.Input((3,)), tf.keras.layers.Dense(2)])
        net.save(str(file))
    given = file.parent if name.endswith("/saved_model.pb") else file
    result = tfod_freeze(given, tmp_path / "out.pb")
    assert result.returncode == 1 and str(file) in result.stderr and word in result.stderr, result.stderr
    assert not (tmp_path / "out.pb").exists()


@pytest.mark.quick
def test_calls_that_stay_are_told(tmp_path):
    """TensorFlow's converter leaves them, too; OpenCV cannot read the graph."""
    saved_model = saved_models.prepare(MODELS["noinline"]) / "saved_model"
    table = tmp_path / "table.json"
    result = tfod_freeze(saved_model, tmp_path / "frozen.pb", f"--json={table}")
    assert result.returncode == 0 and "forbids to inline" in result.stderr, result.stderr
    (warning,) = json.loads(table.read_text())["warnings"]
    graph_def = tf.compat.v1.GraphDef.FromString((tmp_path / "frozen.pb").read_bytes())
    assert any(function.signature.name in warning for function in graph_def.library.function), warning


@pytest.mark.quick
def test_a_hub_module_says_what_it_is(tmp_path):
    folder = tmp_path / "module"
    subprocess.run(["cp", "-r", str(saved_models.prepare(MODELS["only_other_signatures"]) / "saved_model"), str(folder)], check=True)
    (folder / "tfhub_module.pb").write_bytes(b"\x08\x03")
    result = tfod_freeze(folder, tmp_path / "out.pb")
    assert result.returncode == 1 and "TensorFlow Hub" in result.stderr, result.stderr


def keras3_model(name, tmp_path):
    """Returns the folder of a model that Keras 3 writes, and what Keras gives for an input."""
    command = [interpreter("tf-new"), HERE / "write_keras3.py", name, tmp_path / "saved_model", tmp_path / "arrays.npz"]
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert result.returncode == 0, (result.stdout + result.stderr)[-4000:]
    return tmp_path / "saved_model", np.load(tmp_path / "arrays.npz")


def keras3_outputs(saved_model, arrays, tmp_path, *options):
    """Freezes a model of Keras 3; returns the graph, the table and the outputs, run by Keras 3's own TensorFlow."""
    table = tmp_path / "table.json"
    graph_def = frozen(saved_model, tmp_path / "frozen.pb", f"--json={table}", *options)
    shown = json.loads(table.read_text())
    interface = shown_interface(shown)
    inputs = {interface["inputs"][0]["key"]: arrays["x"]}
    (output,) = run_elsewhere("tf-new", "run_frozen.py", tmp_path / "frozen.pb", interface, inputs, tmp_path).values()
    return graph_def, shown, output


@pytest.mark.parametrize(
    "name, norms",
    [
        pytest.param("norm_after_bias", 1, marks=pytest.mark.quick),
        pytest.param("norm_on_an_axis", 1, marks=pytest.mark.quick),
        pytest.param("resnet50", 53, marks=pytest.mark.default),
        pytest.param("efficientnet_b0", 49, marks=pytest.mark.default),
    ],
)
def test_batch_norms_of_keras_3_are_folded(name, norms, tmp_path):
    """Their biases and statistics come through reshapes and squeezes of constants."""
    saved_model, arrays = keras3_model(name, tmp_path)
    graph_def, shown, output = keras3_outputs(saved_model, arrays, tmp_path, "--fold_batch_norm")
    assert shown["folded_batch_norms"] == norms
    counts = frozen_graphs.operations(graph_def)
    assert not any(counts[op] for op in (*frozen_graphs.NORMS, "Rsqrt")), counts
    compare.assert_equal({"y": output}, {"y": arrays["y"]}, name, FOLDED)


@pytest.mark.parametrize("name, entries", [("string_lookup", 3), ("vocabulary_in_a_file", 2), ("text_vectorization", 3), ("text_sequence", 3)])
@pytest.mark.quick
def test_tables_of_keras_3_are_kept(name, entries, tmp_path):
    """Run in a session, after what fills them."""
    saved_model, arrays = keras3_model(name, tmp_path)
    _, shown, output = keras3_outputs(saved_model, arrays, tmp_path)
    (table,) = shown["tables"]
    assert (table["key_dtype"], table["value_dtype"], table["entries"]) == ("string", "int64", entries)
    assert shown["initializer"] == saved_models.INITIALIZER
    assert (output.dtype, output.shape) == (arrays["y"].dtype, arrays["y"].shape)
    np.testing.assert_allclose(output, arrays["y"], atol=CLOSE)
    assert len(np.unique(output, axis=0)) > 2  # not as if all words were unknown


@pytest.mark.quick
def test_seed_generators_of_keras_3_start_anew(tmp_path):
    """Two draws of one call differ, and the second one is from the state that the first one left."""
    saved_model, arrays = keras3_model("seed_generator", tmp_path)
    _, shown, output = keras3_outputs(saved_model, arrays, tmp_path, "--drop_updates")
    assert len(shown["dropped_updates"]) == 2
    np.testing.assert_allclose(output, arrays["y"], atol=CLOSE)


@pytest.mark.quick
def test_a_wrong_signature_lists_the_right_ones(tmp_path):
    folder = saved_models.prepare(MODELS["several_signatures"]) / "saved_model"
    result = tfod_freeze(folder, tmp_path / "frozen.pb", "--signature=serving_defualt")
    assert result.returncode == 1
    for word in ("serving_defualt", "serving_default", "loss", "predict"):
        assert word in result.stderr
    result = tfod_freeze(saved_models.prepare(MODELS["only_other_signatures"]) / "saved_model", tmp_path / "frozen.pb")
    assert result.returncode == 1 and "serving_default" in result.stderr and "embed" in result.stderr


@pytest.mark.quick
def test_wrong_tags_list_the_right_ones(tmp_path):
    folder = saved_models.prepare(MODELS["other_tags"]) / "saved_model"
    for tags in ([], ["--tags=gpu"], ["--tags=serve,tpu"]):
        result = tfod_freeze(folder, tmp_path / "frozen.pb", *tags)
        assert result.returncode == 1, tags
        assert "serve" in result.stderr and "gpu" in result.stderr and "train" in result.stderr, result.stderr
    graph_def = frozen(folder, tmp_path / "frozen.pb", "--tags=gpu,serve")
    assert len(graph_def.node) > 2


@pytest.mark.quick
def test_what_is_no_saved_model_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    file = tmp_path / "frozen_inference_graph.pb"
    file.write_bytes(b"")
    for place in (tmp_path / "missing", tmp_path / "empty", file):
        result = tfod_freeze(place, tmp_path / "out.pb")
        assert result.returncode == 1 and str(place) in result.stderr, result.stderr
        assert "saved_model.pb" in result.stderr


@pytest.mark.quick
def test_damaged_variables_are_told(tmp_path):
    """A byte changed in a shard, and a shard cut short."""
    source = saved_models.prepare(MODELS["several_shards"]) / "saved_model"
    for damage in (lambda data: data[:20] + bytes([data[20] ^ 1]) + data[21:], lambda data: data[:-30]):
        folder = tmp_path / "damaged"
        subprocess.run(["cp", "-r", str(source), str(folder)], check=True)
        shard = sorted((folder / "variables").glob("*.data-*"))[1]
        shard.write_bytes(damage(shard.read_bytes()))
        result = tfod_freeze(folder, tmp_path / "frozen.pb")
        assert result.returncode == 1 and shard.name in result.stderr, result.stderr
        assert not (tmp_path / "frozen.pb").exists()
        subprocess.run(["rm", "-r", str(folder)], check=True)


@pytest.fixture
def large_model(tmp_path):
    """A model with two variables of 1.1 GB, zeros but for their last numbers; gives its folder and these."""
    module = tf.Module()
    module.halves = [tf.Variable(tf.zeros([1]), name=f"half_{index}", shape=[None]) for index in range(2)]
    sizes = lambda: {"y": module.halves[0][-1] + module.halves[1][0], "n": tf.size(module.halves[0])}  # noqa: E731
    saved_models.save(tmp_path / "large", module, serving_default=saved_models.named(sizes))
    keys = [f"halves/{index}/.ATTRIBUTES/VARIABLE_VALUE" for index in range(2)]
    last = np.array([0.5, -3.0, 65504.0], np.float32)
    large.enlarge(tmp_path / "large" / "variables" / "variables", dict.fromkeys(keys, LARGE), last.tobytes())
    return tmp_path / "large", last


LARGE = 275_000_000


@pytest.mark.default
def test_more_than_a_message_holds_is_refused_before_writing(large_model, tmp_path):
    """Told with the total, the largest and a way out, within seconds."""
    saved_model, _ = large_model
    result = tfod_freeze(saved_model, tmp_path / "frozen.pb")
    assert result.returncode == 1, result.stdout
    for word in ("2147483647", "220000", "half_0", "half_1", "SavedModel", "--half"):
        assert word in result.stderr, f"no {word!r} in: {result.stderr}"
    assert not (tmp_path / "frozen.pb").exists()


@pytest.mark.default
def test_what_is_too_large_fits_in_half_precision(large_model, tmp_path):
    """As the refusal advises; the file is looked into where it matters, for TensorFlow would hold it in memory."""
    saved_model, last = large_model
    table = tmp_path / "table.json"
    result = tfod_freeze(saved_model, tmp_path / "frozen.pb", "--half", f"--json={table}")
    assert result.returncode == 0, result.stderr
    shown = json.loads(table.read_text())
    assert shown["halved_constants"] == 2 and shown["bytes"] == (tmp_path / "frozen.pb").stat().st_size < 1_110_000_000
    constants = list(large.large_nodes(tmp_path / "frozen.pb", LARGE))
    assert len(constants) == 2
    for position, size in constants:
        head = bytes(large.numbers_at(tmp_path / "frozen.pb", position, 200, "B"))
        assert re.search(rb"half_[01].*Const", head, re.DOTALL), head
        assert snappy.varint(LARGE) in head  # the shape
        middle, end = position + size // 2, position + size - 2 * last.size
        assert not any(large.numbers_at(tmp_path / "frozen.pb", middle, last.size, "e"))
        assert large.numbers_at(tmp_path / "frozen.pb", end, last.size, "e") == tuple(last.astype(np.float16))


@pytest.fixture(scope="module")
def our_shapes(tmp_path_factory):
    """Our export of the shipped example, as a model with the script's result for it."""
    folder = tmp_path_factory.mktemp("shapes")
    command = [
        BINARY,
        "export",
        "--input_type=image_tensor",
        f"--pipeline_config_path={SHAPES / 'pipeline.config'}",
        f"--trained_checkpoint_dir={SHAPES / 'checkpoint'}",
        f"--output_directory={folder / 'export'}",
    ]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    _, batches = next(iter(recorded(MODELS["official_shapes"])))

    def build(saved_model, rng):
        (folder / "export" / "saved_model").rename(saved_model)
        return [inputs for inputs, _ in batches]

    saved_models.make(saved_models.Model("our_shapes", build), folder)
    return folder, json.loads((folder / "about.json").read_text())["signatures"][0]


def recorded(model):
    """Yields (about, batches) of each signature."""
    for folder, index, about, _ in signatures(model):
        yield about, saved_models.batches_of(folder, index, about)


@pytest.mark.quick
def test_our_export_freezes_as_the_script_does(our_shapes, tmp_path):
    folder, about = our_shapes
    graph_def = frozen(folder / "saved_model", tmp_path / "frozen.pb")
    found = frozen_graphs.problems(graph_def, about)
    assert not found, "\n".join(found[:20])
    assert not frozen_graphs.call_edges(graph_def)
    assert_runs_the_same(graph_def, about, folder, 0, about, 0)


@pytest.mark.quick
def test_our_export_frozen_is_the_official_export_frozen(our_shapes, tmp_path):
    """The same tensors by name, with equal values: scripts for the official file run on ours."""
    folder, about = our_shapes
    (official,) = (about for about, _ in recorded(MODELS["official_shapes"]))
    for side in ("inputs", "outputs"):
        names = [[(entry["key"], entry["name"], entry["dtype"]) for entry in each[side]] for each in (about, official)]
        assert names[0] == names[1]
    graph_def = frozen(folder / "saved_model", tmp_path / "frozen.pb")
    for about, batches in recorded(MODELS["official_shapes"]):
        for inputs, outputs in batches:
            compare.assert_equal(saved_models.run_interface(graph_def, about, inputs), outputs, "official", 1e-4)


def interpreter(name):
    """Returns the interpreter of another environment, or skips the test with the reason."""
    reason = os.environ.get(f"TFOD_MISSING_{name.upper().replace('-', '_')}")
    if reason is None and not (environments.ENVIRONMENTS[name].folder / environments.STAMP).exists():
        reason = f"environment {name} has not been made: run tests/environments.py"
    if reason is not None:
        pytest.skip(reason)
    return environments.ENVIRONMENTS[name].python


def run_elsewhere(environment, runner, graph, about, inputs, tmp_path):
    """Runs a frozen file in another environment; returns the outputs by key."""
    feeds = {entry["name"][:-2]: inputs[entry["key"]] for entry in about["inputs"]}
    np.savez(tmp_path / "inputs.npz", **feeds)
    names = [entry["name"] for entry in about["outputs"]]
    serve.run(interpreter(environment), HERE / runner, graph, tmp_path / "inputs.npz", tmp_path / "outputs.npz", *names)
    arrays = np.load(tmp_path / "outputs.npz", allow_pickle=True)
    return {entry["key"]: arrays[entry["name"]] for entry in about["outputs"]}


OLD_TENSORFLOW = (
    "sequential functional lstm gru while_captures_a_variable cond_captures_a_variable switch_case map_functions nested "
    "several_shards nested_functions captured_constants v1_control_flow norm_after_convolutions official_shapes official_fpnlite_320"
).split()
# Old kernels sum less exactly (a mean over a large feature map differs by 2e-4), and the detections of these change places for it.
NEW_TENSORFLOW = OLD_TENSORFLOW + ["official_efficientdet_d0", "official_faster_rcnn_resnet50", "official_center_net_small"]


@pytest.mark.parametrize(
    "environment, model",
    [
        # What the oldest TensorFlow runs, the others run in the exhaustive tier: each run takes two seconds.
        pytest.param(
            environment,
            *param.values,
            id=f"{environment}-{param.id}",
            marks=param.marks if environment == "tf115" or param.id == "official_shapes" else pytest.mark.exhaustive,
        )
        for environment, names in (("tf115", OLD_TENSORFLOW), ("tf-old", OLD_TENSORFLOW), ("tf-new", NEW_TENSORFLOW))
        for param in choose(*names)
    ],
)
def test_other_tensorflows_run_frozen_graphs(environment, model, tmp_path):
    for folder, index, about, options in signatures(model):
        frozen(folder / "saved_model", tmp_path / "frozen.pb", *options)
        inputs, outputs = saved_models.batches_of(folder, index, about)[-1]
        found = run_elsewhere(environment, "run_frozen.py", tmp_path / "frozen.pb", about, inputs, tmp_path)
        assert_same(found, outputs, compare.TOLERANCE, environment)


@pytest.mark.parametrize("environment", ["tf115", "tf-old", "tf-new"])
@pytest.mark.quick
def test_other_tensorflows_run_our_export_frozen(environment, our_shapes, tmp_path):
    folder, about = our_shapes
    frozen(folder / "saved_model", tmp_path / "frozen.pb")
    inputs, outputs = saved_models.batches_of(folder, 0, about)[-1]
    found = run_elsewhere(environment, "run_frozen.py", tmp_path / "frozen.pb", about, inputs, tmp_path)
    compare.assert_equal(found, outputs, environment)


OPENVINO = "sequential convolutional functional subclassed application norm_after_convolutions v1_batch_norm official_shapes".split()


@pytest.mark.parametrize("model", choose(*OPENVINO))
def test_openvino_runs_frozen_graphs(model, tmp_path):
    for folder, index, about, options in signatures(model):
        frozen(folder / "saved_model", tmp_path / "frozen.pb", *options)
        inputs, outputs = saved_models.batches_of(folder, index, about)[-1]
        found = run_elsewhere("openvino", "run_openvino.py", tmp_path / "frozen.pb", about, inputs, tmp_path)
        compare.assert_equal(found, outputs, "OpenVINO")


@pytest.mark.quick
def test_openvino_runs_our_export_frozen(our_shapes, tmp_path):
    folder, about = our_shapes
    frozen(folder / "saved_model", tmp_path / "frozen.pb")
    inputs, outputs = saved_models.batches_of(folder, 0, about)[-1]
    found = run_elsewhere("openvino", "run_openvino.py", tmp_path / "frozen.pb", about, inputs, tmp_path)
    compare.assert_equal(found, outputs, "OpenVINO")
