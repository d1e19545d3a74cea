"""What a frozen graph must look like, whatever it computes: its interface, and that nothing is in it that need not be.

`problems` returns a line for every violation. The script's own results have several of these faults, ours must have none.
"""

from collections import Counter

from oracle import saved_models
from tensorflow.python.framework import op_def_registry

FUNCTIONAL = {"If", "StatelessIf", "While", "StatelessWhile", "Case", "StatelessCase", "PartitionedCall", "StatefulPartitionedCall"}
LOWERED = {"Switch", "RefSwitch", "_SwitchN", "Merge", "Enter", "Exit", "NextIteration", "LoopCond"}
NORMS = {"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"}


def node_name(reference):
    """Returns the node that an input such as `^a`, `a:1` or `a` refers to."""
    return reference.lstrip("^").split(":")[0]


def operations(graph_def):
    """Returns how often each operation occurs, in functions too."""
    return Counter(node.op for body in bodies(graph_def) for node in body)


def bodies(graph_def):
    return [graph_def.node] + [function.node_def for function in graph_def.library.function]


def problems(graph_def, interface, kept_functions=False):
    """Returns the violations of a frozen graph that must have this interface (see `oracle.freeze_script`)."""
    nodes = {node.name: node for node in graph_def.node}
    found = [f"{count} nodes are called {name}" for name, count in Counter(node.name for node in graph_def.node).items() if count > 1]
    missing = [
        f"{node.name} reads {reference}, which is not there"
        for node in graph_def.node
        for reference in node.input
        if node_name(reference) not in nodes
    ]
    if missing:
        return found + missing
    return (
        found
        + interface_problems(graph_def, nodes, interface)
        + attribute_problems(graph_def)
        + order_problems(graph_def, nodes)
        + reach_problems(graph_def, nodes, interface)
        + control_problems(graph_def, nodes)
        + ([] if kept_functions or not graph_def.library.function else [f"{len(graph_def.library.function)} functions are left"])
    )


def interface_problems(graph_def, nodes, interface):
    found = []
    placeholders = {node.name for node in graph_def.node if node.op == "Placeholder"}
    with_default = {node.name for node in graph_def.node if node.op == "PlaceholderWithDefault"}
    wanted = {node_name(entry["name"]) for entry in interface["inputs"]}
    if placeholders - wanted or wanted - placeholders - with_default:
        found.append(f"placeholders: missing {sorted(wanted - placeholders - with_default)}, stray {sorted(placeholders - wanted)}")
    for entry in interface["outputs"]:
        if node_name(entry["name"]) not in nodes:
            found.append(f"output {entry['key']}: there is no node {node_name(entry['name'])}")
    return found


def attribute_problems(graph_def):
    """Attributes that an older TensorFlow may not know: at their default, private, or not the operation's at all."""
    functions = {function.signature.name for function in graph_def.library.function}
    found = []
    for node in (node for body in bodies(graph_def) for node in body):
        if node.op in functions:
            continue
        definition = op_def_registry.get(node.op)
        if definition is None:
            found.append(f"{node.name}: unknown operation {node.op}")
            continue
        known = {attr.name: attr for attr in definition.attr}
        for name, value in node.attr.items():
            if name not in known:
                found.append(f"{node.name} ({node.op}): attribute {name} is not the operation's")
            elif known[name].HasField("default_value") and known[name].default_value == value:
                found.append(f"{node.name} ({node.op}): attribute {name} is written out at its default")
    return found


def order_problems(graph_def, nodes):
    """Inputs come before their readers, except where a loop closes."""
    seen, found = set(), []
    for node in graph_def.node:
        for reference in node.input:
            source = node_name(reference)
            if source not in seen and nodes[source].op != "NextIteration":
                found.append(f"{node.name} ({node.op}) comes before its input {source}")
        seen.add(node.name)
    return found


def reached(nodes, starts):
    found, waiting = set(), list(starts)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [node_name(reference) for reference in nodes[name].input]
    return found


def reach_problems(graph_def, nodes, interface):
    """All nodes but inputs are needed by some output, or by the operation that fills the tables."""
    outputs = [node_name(entry["name"]) for entry in interface["outputs"]] + [saved_models.INITIALIZER]
    needed = reached(nodes, [name for name in outputs if name in nodes])
    return [
        f"{node.name} ({node.op}) is not needed by any output"
        for node in graph_def.node
        if node.name not in needed and node.op != "Placeholder"
    ]


def has_effect(op):
    """Whether running an operation may do more than compute its outputs; of one that no table has, it may."""
    definition = op_def_registry.get(op)
    return definition is None or definition.is_stateful


def control_problems(graph_def, nodes):
    """A control input orders something: an operation with an effect, or membership in a branch or loop."""
    found = []
    useful = {}

    def is_useful(name):
        if name not in useful:
            behind = (nodes[each] for each in reached(nodes, [name]))
            useful[name] = any(node.op in LOWERED or has_effect(node.op) for node in behind)
        return useful[name]

    for node in graph_def.node:
        for reference in node.input:
            if reference.startswith("^") and not is_useful(reference[1:]):
                found.append(f"{node.name} ({node.op}) waits for {reference[1:]}, which has no effect")
    return found


def call_edges(graph_def):
    """Returns the Identities that only mark where a call was inlined: named by TensorFlow's inliner, or in chains."""
    nodes = {node.name: node for node in graph_def.node}
    edges = [node.name for node in graph_def.node if node.name.startswith("Func/")]
    for node in graph_def.node:
        if node.op == "Identity" and nodes[node_name(node.input[0])].op == "Identity" and "/" in node.name:
            edges.append(node.name)
    return edges


def constants(graph_def):
    return {node.name for node in graph_def.node if node.op == "Const"}
