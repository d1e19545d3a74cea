"""Writes the table of TensorFlow's operations that freezing relies on (crates/tfod-tensorflow/src/op_defs/op_defs.tsv).

Usage: op_table.py TABLE. Adds the operations that the interpreter's TensorFlow registers, replacing those already in TABLE. Run it with the
oldest TensorFlow first, then with newer ones: operations that were removed stay, and new attributes come in with their defaults.

One line an operation, five columns separated by tabs: name, flags, inputs, outputs, attributes. Items are separated by spaces:

  flags       `stateful` or `-`
  input       NAME:TYPE, where TYPE is a number of `DataType`, `$ATTR` (the type is that attribute), or `@ATTR` (one tensor for each type
              in that list); `*ATTR` after it: that many tensors; `&` at the end: a reference to a variable
  attribute   NAME:KIND, and `=HEX` where there is a default, an encoded `AttrValue`
"""

import pathlib
import sys

from tensorflow.core.framework import op_def_pb2
from tensorflow.python.client import pywrap_tf_session


def argument(arg):
    if arg.type_list_attr:
        kind = "@" + arg.type_list_attr
    elif arg.type_attr:
        kind = "$" + arg.type_attr
    else:
        kind = str(arg.type)
    count = "*" + arg.number_attr if arg.number_attr else ""
    return f"{arg.name}:{kind}{count}{'&' if arg.is_ref else ''}"


def attribute(attr):
    if not attr.HasField("default_value"):
        return f"{attr.name}:{attr.type}"
    return f"{attr.name}:{attr.type}={attr.default_value.SerializeToString(deterministic=True).hex()}"


def line(op):
    columns = [
        [op.name],
        ["stateful"] if op.is_stateful else [],
        [argument(arg) for arg in op.input_arg],
        [argument(arg) for arg in op.output_arg],
        [attribute(attr) for attr in op.attr],
    ]
    return "\t".join(" ".join(column) or "-" for column in columns)


def main():
    path = pathlib.Path(sys.argv[1])
    table = {}
    if path.exists():
        table = {text.split("\t")[0]: text for text in path.read_text().splitlines()}
    registered = op_def_pb2.OpList()
    buffer = pywrap_tf_session.TF_GetAllOpList()
    registered.ParseFromString(pywrap_tf_session.TF_GetBuffer(buffer))
    table.update({op.name: line(op) for op in registered.op})
    path.write_text("".join(table[name] + "\n" for name in sorted(table)))


if __name__ == "__main__":
    main()
