"""Nodes of exports that compute from nothing but constants, read without any library. OpenCV's importers cannot run them, and no program should have to.

The same is tested in Rust on every operation of each back end (crates/*/tests/constants.rs).
"""

# How a value comes into a loop of TensorFlow, an empty list, which no constant can be, and a result that is a constant itself.
NEEDED = {"Enter", "TensorListReserve", "Identity"}


def fields(message):
    """Yields the number and value of each field of an encoded message."""

    def varint(at):
        value = shift = 0
        while True:
            byte = message[at]
            value |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            if byte < 128:
                return value, at

    at = 0
    while at < len(message):
        key, at = varint(at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = varint(at)
        else:
            size, at = varint(at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
            value, at = message[at : at + size], at + size
        yield number, value


def below(message, *path):
    """Returns all fields at a path of field numbers."""
    found = [message]
    for number in path:
        found = [value for each in found for n, value in fields(each) if n == number]
    return found


def texts(message, number):
    return [bytes(value).decode() for value in below(message, number)]


def of_nodes(nodes):
    nodes = [(texts(node, 1)[0], texts(node, 2)[0], [name for name in texts(node, 3) if not name.startswith("^")]) for node in nodes]
    constants = {name for name, op, _ in nodes if op == "Const"}
    return [f"{name} ({op})" for name, op, inputs in nodes if inputs and op not in NEEDED and all(each.split(":")[0] in constants for each in inputs)]


def of_graph(graph):
    """Returns those of an encoded GraphDef and of its functions."""
    return of_nodes(below(graph, 1)) + [each for function in below(graph, 2, 1) for each in of_nodes(below(function, 3))]


def of_onnx(graph):
    """Returns those of an encoded GraphProto. A result that is a constant itself has to be copied."""
    constants = {name for tensor in below(graph, 5) for name in texts(tensor, 8)}
    nodes = [("".join(texts(node, 3)), texts(node, 4)[0], [name for name in texts(node, 1) if name]) for node in below(graph, 1)]
    return [f"{name} ({op})" for name, op, inputs in nodes if inputs and op != "Identity" and constants.issuperset(inputs)]


# TFLite's numbers: a result that is a constant itself has to be copied, and kernels of 16 bits widened, which runtimes do once.
RESHAPE, DEQUANTIZE, HALF = 22, 6, 1


class Table:
    """A table of a TFLite model, by where there is a reference to it."""

    def __init__(self, file, reference):
        self.file, self.at = file, reference + self.integer(file, reference)

    @staticmethod
    def integer(file, at, size=4):
        return int.from_bytes(file[at : at + size], "little", signed=size == 4)

    def field(self, slot):
        vtable = self.at - self.integer(self.file, self.at)
        at = vtable + 4 + 2 * slot
        offset = self.integer(self.file, at, 2) if at < vtable + self.integer(self.file, vtable, 2) else 0
        return self.at + offset if offset else None

    def number(self, slot, size=4):
        at = self.field(slot)
        return 0 if at is None else self.integer(self.file, at, size)

    def vector(self, slot):
        """Where a vector's elements begin, and how many there are."""
        field = self.field(slot)
        if field is None:
            return 0, 0
        at = field + self.integer(self.file, field)
        return at + 4, self.integer(self.file, at)

    def text(self, slot):
        at, count = self.vector(slot)
        return bytes(self.file[at : at + count]).decode()

    def places(self, slot):
        at, count = self.vector(slot)
        return range(at, at + 4 * count, 4)

    def numbers(self, slot):
        return [self.integer(self.file, at) for at in self.places(slot)]

    def tables(self, slot):
        return [Table(self.file, at) for at in self.places(slot)]


def of_tflite(file):
    """Returns those of a TFLite model."""
    model, found = Table(file, 0), []
    codes = [code.number(3) for code in model.tables(1)]
    stored = [buffer.vector(0)[1] > 0 for buffer in model.tables(4)]
    for graph in model.tables(2):
        tensors, results = graph.tables(0), set(graph.numbers(2))
        constants = {number for number, tensor in enumerate(tensors) if stored[tensor.number(2)]}
        for step in graph.tables(3):
            code, inputs, outputs = codes[step.number(0)], step.numbers(1), step.numbers(2)
            if code == DEQUANTIZE and all(tensors[n].number(1, 1) == HALF for n in inputs):
                constants.update(outputs)
            elif constants.issuperset(inputs) and not (code == RESHAPE and results.issuperset(outputs)):
                found.append(f"operator {code}: {', '.join(tensors[n].text(3) for n in outputs)}")
    return found


def of_export(folder):
    """Returns those of all formats in a folder."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.name == "saved_model.pb":
            found += [f"{path}: {each}" for graph in below(memoryview(path.read_bytes()), 2, 2) for each in of_graph(graph)]
        elif path.name == "frozen.pb":
            found += [f"{path}: {each}" for each in of_graph(memoryview(path.read_bytes()))]
        elif path.name == "model.onnx":
            found += [f"{path}: {each}" for graph in below(memoryview(path.read_bytes()), 7) for each in of_onnx(graph)]
        elif path.name == "model.tflite":
            found += [f"{path}: {each}" for each in of_tflite(memoryview(path.read_bytes()))]
    return found
