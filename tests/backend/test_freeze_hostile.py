"""Freezing files that nobody should have written: every one gets an error that says where, in bounded time and memory, and no output.

The files are small variations of one well-formed SavedModel, written message by message; `test_the_well_formed_file_freezes` keeps it so.
"""

import copy
import random
import subprocess

import pytest
import tensorflow as tf
from oracle import saved_models
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2

from .test_freeze import BINARY, MODELS, tfod_freeze

SECONDS = 10
# For what a run may use, for the 64 MiB of addresses that the C library reserves, without using them, for each of two threads (one waits for signals, one
# expands calls), and for the second one's stack.
BYTES = 500_000_000 + 2 * 64 * 2**20 + 16 * 2**20
FLOAT, INT, BOOL = types_pb2.DT_FLOAT, types_pb2.DT_INT32, types_pb2.DT_BOOL

pytestmark = pytest.mark.quick


def node(nodes, name, op, inputs=(), **attrs):
    """Appends a node to a graph's or function's list. Attributes: an int is a type, a str a function, a list types, others as they are."""
    added = nodes.add(name=name, op=op, input=inputs)
    for key, value in attrs.items():
        if isinstance(value, bool):
            added.attr[key].b = value
        elif isinstance(value, int):
            added.attr[key].type = value
        elif isinstance(value, str):
            added.attr[key].func.name = value
        elif isinstance(value, list):
            added.attr[key].list.type.extend(value)
        else:
            added.attr[key].CopyFrom(value)
    return added


def call(nodes, name, function, *inputs, types=None, results=(FLOAT,), op="PartitionedCall"):
    return node(nodes, name, op, inputs, f=function, Tin=list(types or [FLOAT] * len(inputs)), Tout=list(results))


def function(graph, name, inputs=("x",), types=None, output="y", output_type=FLOAT):
    """Appends a function of the library whose body is still empty and whose result is the first output of node `y`."""
    added = graph.library.function.add()
    added.signature.name = name
    for argument, data_type in zip(inputs, types or [FLOAT] * len(inputs)):
        added.signature.input_arg.add(name=argument, type=data_type)
    added.signature.output_arg.add(name="result", type=output_type)
    added.ret["result"] = output
    return added


def identity(graph, name):
    """A function that negates its argument."""
    added = function(graph, name, output="y:y:0")
    node(added.node_def, "y", "Neg", ["x"], T=FLOAT)
    return added


def base():
    """A SavedModel whose default signature calls `outer`, which calls `inner` twice, one inside the other."""
    message = saved_model_pb2.SavedModel(saved_model_schema_version=1)
    meta_graph = message.meta_graphs.add()
    meta_graph.meta_info_def.tags.append("serve")
    meta_graph.meta_info_def.tensorflow_version = tf.__version__
    graph = meta_graph.graph_def
    graph.versions.producer = 1645
    identity(graph, "inner")
    outer = function(graph, "outer", output="y:output:0")
    call(outer.node_def, "first", "inner", "x")
    call(outer.node_def, "y", "inner", "first:output:0")
    placeholder = node(graph.node, "serving_default_x", "Placeholder", dtype=FLOAT)
    placeholder.attr["shape"].shape.dim.add(size=4)
    call(graph.node, "StatefulPartitionedCall", "outer", "serving_default_x", op="StatefulPartitionedCall")
    signature = meta_graph.signature_def["serving_default"]
    signature.method_name = "tensorflow/serving/predict"
    for entries, key, name in ((signature.inputs, "x", "serving_default_x:0"), (signature.outputs, "y", "StatefulPartitionedCall:0")):
        entries[key].name, entries[key].dtype = name, FLOAT
        entries[key].tensor_shape.dim.add(size=4)
    return message


def parts(message):
    """Returns the main graph, the node that calls `outer`, and the functions by name."""
    graph = message.meta_graphs[0].graph_def
    return graph, graph.node[1], {each.signature.name: each for each in graph.library.function}


HOSTILE = {}


def hostile(*words):
    """Registers a change of the well-formed message, and words that the error must have."""

    def register(change):
        HOSTILE[change.__name__] = (change, words)
        return change

    return register


@hostile("outer", "call")
def recursive_function(message):
    _, _, functions = parts(message)
    functions["outer"].node_def[0].attr["f"].func.name = "outer"


@hostile("inner")
def mutually_recursive_functions(message):
    _, _, functions = parts(message)
    del functions["inner"].node_def[:]
    functions["inner"].ret["result"] = "y:output:0"
    call(functions["inner"].node_def, "y", "outer", "x")


@hostile("branch")
def recursive_branch(message):
    graph, caller, _ = parts(message)
    branch = function(graph, "branch", output="y:output:0")
    node(branch.node_def, "p", "Any", ["x", "x"], Tidx=INT)
    node(branch.node_def, "y", "If", ["p:output:0", "x"], Tcond=BOOL, Tin=[FLOAT], Tout=[FLOAT], then_branch="branch", else_branch="inner")
    caller.attr["f"].func.name = "branch"


@hostile("nowhere")
def missing_function(message):
    _, _, functions = parts(message)
    functions["outer"].node_def[0].attr["f"].func.name = "nowhere"


@hostile("first")
def cycle_in_a_function(message):
    _, _, functions = parts(message)
    functions["outer"].node_def[0].input[0] = "y:output:0"


@hostile("a")
def cycle_in_the_main_graph(message):
    graph, caller, _ = parts(message)
    node(graph.node, "a", "Neg", ["b"], T=FLOAT)
    node(graph.node, "b", "Neg", ["a"], T=FLOAT)
    caller.input[0] = "b"


@hostile("a")
def node_that_reads_itself(message):
    graph, caller, _ = parts(message)
    node(graph.node, "a", "Neg", ["a"], T=FLOAT)
    caller.input[0] = "a"


@hostile("StatefulPartitionedCall")
def call_with_too_few_arguments(message):
    _, caller, _ = parts(message)
    del caller.input[:]
    del caller.attr["Tin"].list.type[:]


@hostile("StatefulPartitionedCall")
def call_with_too_many_arguments(message):
    _, caller, _ = parts(message)
    caller.input.append("serving_default_x")
    caller.attr["Tin"].list.type.append(FLOAT)


@hostile("`y`", "Neg")
def operation_with_too_many_inputs(message):
    _, _, functions = parts(message)
    functions["inner"].node_def[0].input.append("x")


@hostile("`y`", "AddV2")
def operation_with_too_few_inputs(message):
    _, _, functions = parts(message)
    functions["inner"].node_def[0].op = "AddV2"
    functions["inner"].ret["result"] = "y:z:0"


@hostile("StatefulPartitionedCall")
def argument_of_another_type(message):
    graph, caller, _ = parts(message)
    node(graph.node, "number", "Cast", ["serving_default_x"], SrcT=FLOAT, DstT=INT)
    caller.input[0] = "number"


@hostile("`y`")
def mixed_types_in_an_operation(message):
    _, _, functions = parts(message)
    body = functions["inner"].node_def
    node(body, "n", "Cast", ["x"], SrcT=FLOAT, DstT=INT)
    body[0].op = "AddV2"
    body[0].input.append("n:y:0")
    functions["inner"].ret["result"] = "y:z:0"


@hostile("result", "int32")
def result_of_another_type(message):
    _, _, functions = parts(message)
    functions["inner"].signature.output_arg[0].type = INT


@hostile("first")
def port_that_does_not_exist(message):
    _, _, functions = parts(message)
    functions["outer"].node_def[1].input[0] = "first:output:7"


@hostile("first")
def port_name_that_does_not_exist(message):
    _, _, functions = parts(message)
    functions["outer"].node_def[1].input[0] = "first:nothing:0"


@hostile("phantom")
def input_that_does_not_exist(message):
    _, _, functions = parts(message)
    functions["outer"].node_def[1].input[0] = "phantom:output:0"


@hostile("phantom")
def control_input_that_does_not_exist(message):
    _, _, functions = parts(message)
    functions["outer"].node_def[1].input.append("^phantom")


@hostile("phantom")
def result_that_does_not_exist(message):
    _, _, functions = parts(message)
    functions["outer"].ret["result"] = "phantom:output:0"


@hostile("result")
def result_that_is_not_given(message):
    _, _, functions = parts(message)
    functions["outer"].ret.clear()


@hostile("StatefulPartitionedCall:9")
def signature_with_a_port_that_does_not_exist(message):
    message.meta_graphs[0].signature_def["serving_default"].outputs["y"].name = "StatefulPartitionedCall:9"


@hostile("phantom")
def signature_with_a_tensor_that_does_not_exist(message):
    message.meta_graphs[0].signature_def["serving_default"].outputs["y"].name = "phantom:0"


@hostile("`y`")
def signature_without_a_tensor(message):
    message.meta_graphs[0].signature_def["serving_default"].outputs["y"].name = ""


@hostile("serving_default")
def signature_without_outputs(message):
    message.meta_graphs[0].signature_def["serving_default"].outputs.clear()


def constant(message, *sizes):
    """Makes the main graph add a Const of this shape whose value is one element to the call's argument; returns its tensor."""
    graph, caller, _ = parts(message)
    added = node(graph.node, "large", "Const", dtype=FLOAT)
    tensor = added.attr["value"].tensor
    tensor.dtype = FLOAT
    for size in sizes:
        tensor.tensor_shape.dim.add(size=size)
    tensor.float_val.append(1.0)
    node(graph.node, "sum", "AddV2", ["serving_default_x", "large"], T=FLOAT)
    caller.input[0] = "sum"
    return tensor


@hostile("large")
def constant_with_a_size_that_overflows(message):
    constant(message, 1 << 62, 1 << 62, 1 << 62)


@hostile("large")
def constant_with_a_negative_size(message):
    constant(message, -7, 3)


@hostile("large")
def constant_with_more_content_than_shape(message):
    tensor = constant(message, 2)
    del tensor.float_val[:]
    tensor.tensor_content = bytes(400)


@hostile("large")
def constant_of_another_type_than_it_says(message):
    constant(message, 2).dtype = INT


@hostile("large")
def constant_of_an_unknown_type(message):
    graph, _, _ = parts(message)
    constant(message, 2).dtype = 9999
    graph.node[2].attr["dtype"].type = 9999


@hostile("missing")
def variable_that_no_file_has(message):
    graph, caller, _ = parts(message)
    handle = node(graph.node, "missing", "VarHandleOp", dtype=FLOAT)
    handle.attr["shared_name"].s = b"missing"
    handle.attr["shape"].shape.dim.add(size=1 << 50)
    node(graph.node, "read", "ReadVariableOp", ["missing"], dtype=FLOAT)
    caller.input[0] = "read"


@hostile("pack")
def operation_with_an_absurd_count(message):
    graph, caller, _ = parts(message)
    pack = node(graph.node, "pack", "Pack", ["serving_default_x"], T=FLOAT)
    pack.attr["N"].i = 1 << 60
    caller.input[0] = "pack"


@hostile("split")
def operation_with_absurdly_many_outputs(message):
    graph, caller, _ = parts(message)
    split = node(graph.node, "split", "Unpack", ["serving_default_x"], T=FLOAT)
    split.attr["num"].i = 1 << 60
    caller.input[0] = f"split:{(1 << 60) + 1}"


@hostile("function", "deep")
def calls_nested_too_deep(message):
    graph, caller, _ = parts(message)
    for index in range(20_000):
        added = function(graph, f"deep_{index}", output="y:output:0")
        call(added.node_def, "y", f"deep_{index + 1}", "x")
    identity(graph, "deep_20000")
    caller.attr["f"].func.name = "deep_0"


@hostile("function")
def exponentially_many_calls(message):
    graph, caller, _ = parts(message)
    for index in range(40):
        added = function(graph, f"twice_{index}", output="y:output:0")
        call(added.node_def, "first", f"twice_{index + 1}", "x")
        call(added.node_def, "y", f"twice_{index + 1}", "first:output:0")
    identity(graph, "twice_40")
    caller.attr["f"].func.name = "twice_0"


@hostile("function")
def exponentially_many_branches(message):
    graph, caller, _ = parts(message)
    for index in range(40):
        added = function(graph, f"either_{index}", output="y:output:0")
        node(added.node_def, "p", "IsFinite", ["x"], T=FLOAT)
        following = f"either_{index + 1}"
        attrs = {"then_branch": following, "else_branch": following, "Tcond": BOOL, "Tin": [FLOAT], "Tout": [FLOAT]}
        lowered = node(added.node_def, "y", "If", ["p:y:0", "x"], **attrs)
        lowered.attr["_lower_using_switch_merge"].b = True
    identity(graph, "either_40")
    caller.attr["f"].func.name = "either_0"


@hostile("loop")
def loop_whose_body_has_another_arity(message):
    graph, caller, _ = parts(message)
    condition = function(graph, "condition", output="y:y:0", output_type=BOOL)
    node(condition.node_def, "y", "IsFinite", ["x"], T=FLOAT)
    body = function(graph, "body", inputs=("x", "z"), output="y:z:0")
    node(body.node_def, "y", "AddV2", ["x", "z"], T=FLOAT)
    loop = node(graph.node, "loop", "While", ["serving_default_x"], T=[FLOAT], cond="condition", body="body")
    loop.attr["_lower_using_switch_merge"].b = True
    caller.input[0] = "loop"


@hostile("loop")
def loop_without_a_condition(message):
    graph, caller, _ = parts(message)
    loop = node(graph.node, "loop", "While", ["serving_default_x"], T=[FLOAT], cond="nowhere", body="inner")
    loop.attr["_lower_using_switch_merge"].b = True
    caller.input[0] = "loop"


@hostile("first")
def two_nodes_of_one_name(message):
    _, _, functions = parts(message)
    functions["outer"].node_def.append(copy.deepcopy(functions["outer"].node_def[0]))


@hostile("inner")
def two_functions_of_one_name(message):
    graph, _, _ = parts(message)
    identity(graph, "inner").node_def[0].op = "Abs"


@hostile("`y`", "T")
def operation_without_its_type(message):
    _, _, functions = parts(message)
    functions["inner"].node_def[0].attr.clear()


@hostile("StatefulPartitionedCall")
def call_without_a_function(message):
    _, caller, _ = parts(message)
    del caller.attr["f"]


def bounded(*arguments):
    """Runs `tfod` with SECONDS of time and BYTES of address space; returns (exit status, standard error). Past either it is killed or aborts."""

    # The shell sets the limit: a function that does it in the child makes Python copy its own page tables, half a second a call.
    limited = ["sh", "-c", f'ulimit -v {BYTES // 1024}; exec "$@"', "sh"]
    command = [*limited, *(str(part) for part in (BINARY, *arguments))]
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False)
    return result.returncode, result.stderr


def write(message, folder):
    folder.mkdir()
    data = message if isinstance(message, bytes) else message.SerializeToString()
    (folder / "saved_model.pb").write_bytes(data)
    return folder


def freeze_bounded(folder, tmp_path, *flags):
    """Freezes; whatever comes of it, it is an exit status of the documented ones and no panic. Returns (exit status, standard error)."""
    status, errors = bounded("freeze", f"--saved_model_dir={folder}", f"--output={tmp_path / 'frozen.pb'}", *flags)
    assert status in (0, 1) and "panicked" not in errors, f"exit status {status}: {errors[-2000:]}"
    return status, errors


def assert_refused(folder, tmp_path, words, *flags):
    status, errors = freeze_bounded(folder, tmp_path, *flags)
    assert status == 1, "it was frozen"
    assert errors.startswith("error: ") and len(errors) < 5000, errors[:5000]
    assert str(folder) in errors
    # The path has words of its own.
    said = errors.replace(str(folder), "")
    for word in words:
        assert word in said, f"no {word!r} in: {said}"
    assert not (tmp_path / "frozen.pb").exists()


def test_the_well_formed_file_freezes(tmp_path):
    result = tfod_freeze(write(base(), tmp_path / "model"), tmp_path / "frozen.pb")
    assert result.returncode == 0, result.stderr
    graph_def = tf.compat.v1.GraphDef.FromString((tmp_path / "frozen.pb").read_bytes())
    assert sorted(each.op for each in graph_def.node) == ["Identity", "Neg", "Neg", "Placeholder"]


def test_operations_that_no_table_has_are_kept(tmp_path):
    """Custom operations: what runs the frozen graph may know them."""
    message = base()
    _, _, functions = parts(message)
    functions["inner"].node_def[0].op = "Frobnicate"
    result = tfod_freeze(write(message, tmp_path / "model"), tmp_path / "frozen.pb")
    assert result.returncode == 0, result.stderr
    graph_def = tf.compat.v1.GraphDef.FromString((tmp_path / "frozen.pb").read_bytes())
    assert [each.op for each in graph_def.node].count("Frobnicate") == 2


@pytest.mark.parametrize("flags", [(), ("--keep_control_flow",)], ids=["lowered", "kept"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(name, flags, tmp_path):
    change, words = HOSTILE[name]
    message = base()
    change(message)
    assert message != base()
    if flags and name in ("exponentially_many_branches", "recursive_branch"):
        # Kept as functions these are small, and TensorFlow runs them.
        words = None
    folder = write(message, tmp_path / "model")
    if words is None:
        freeze_bounded(folder, tmp_path, *flags)
    else:
        assert_refused(folder, tmp_path, words, *flags)


def nested_message(depth):
    """A node whose attribute is a function whose attribute is a function …"""
    data = b""
    for _ in range(depth):
        entry = b"\x0a\x01f\x12" + length(data) + data
        function_name = b"\x0a\x05inner"
        named = function_name + b"\x12" + length(entry) + entry
        data = b"\x52" + length(named) + named
    entry = b"\x0a\x01f\x12" + length(data) + data
    body = b"\x0a\x01n\x12\x0fPartitionedCall" + b"\x2a" + length(entry) + entry
    graph = b"\x0a" + length(body) + body
    meta_graph = b"\x0a\x07\x22\x05serve" + b"\x12" + length(graph) + graph
    return base().SerializeToString() + b"\x12" + length(meta_graph) + meta_graph


def length(data):
    """Returns the varint of a length."""
    value, encoded = len(data), b""
    while value > 127:
        encoded += bytes([value & 127 | 128])
        value >>= 7
    return encoded + bytes([value])


BYTES_OF_NO_MESSAGE = {
    "empty": b"",
    "text": b"node { name: 'x' }\n" * 100,
    "a_length_beyond_the_end": b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    "an_endless_varint": b"\x08" + b"\xff" * 100,
    "a_cut_file": base().SerializeToString()[:-40],
    "a_web_page": b"<!DOCTYPE html><html><body>404</body></html>",
    "a_pointer_to_a_large_file": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9000000\n",
}


@pytest.mark.parametrize("name", BYTES_OF_NO_MESSAGE)
def test_what_is_no_message_is_refused(name, tmp_path):
    assert_refused(write(BYTES_OF_NO_MESSAGE[name], tmp_path / "model"), tmp_path, ["saved_model.pb"])


def test_messages_nested_too_deep_end(tmp_path):
    """Twenty thousand attributes inside each other must not exhaust the stack, whether they are read or skipped."""
    folder = write(nested_message(20_000), tmp_path / "model")
    freeze_bounded(folder, tmp_path)


@pytest.mark.parametrize("name", ["nested_functions", "while_captures_a_variable", "v1_control_flow", "variable_dtypes"])
def test_changed_bytes_never_crash(name, tmp_path):
    """Bytes of real files changed, cut out and repeated: frozen or refused, and never worse."""
    source = saved_models.prepare(MODELS[name]) / "saved_model"
    data = (source / "saved_model.pb").read_bytes()
    folder = tmp_path / "model"
    subprocess.run(["cp", "-r", str(source), str(folder)], check=True)
    rng = random.Random(name)
    statuses = set()
    for _ in range(100):
        changed = bytearray(data)
        for _ in range(rng.choice((1, 1, 3, 20))):
            start = rng.randrange(len(changed))
            kind = rng.choice(("change", "cut", "repeat"))
            if kind == "change":
                changed[start] = rng.randrange(256)
            elif kind == "cut":
                del changed[start : start + rng.randrange(1, 9)]
            else:
                changed[start:start] = changed[start : start + rng.randrange(1, 60)]
        (folder / "saved_model.pb").write_bytes(changed)
        statuses.add(freeze_bounded(folder, tmp_path)[0])
    assert 1 in statuses
