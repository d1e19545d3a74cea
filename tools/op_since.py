"""Writes the table of TensorFlow releases that operations came with (crates/tfod-tensorflow/src/op_defs/since.tsv).

Usage: op_since.py TABLE OPLIST...  Each OPLIST is called VERSION.pb and holds what `TF_GetAllOpList` of that release's C library returns:

    from tensorflow.python.client import pywrap_tf_session as c
    open("2.15.1.pb", "wb").write(c.TF_GetBuffer(c.TF_GetAllOpList()))

The first line lists the releases, oldest first. Then one line an operation that the oldest release lacks, or that has got attributes since: name,
release that it was first seen in (`-` for the oldest), attributes that it did not have then, each NAME:RELEASE. A release is its place in the
first line, from 0.
"""

import pathlib
import sys

from tensorflow.core.framework import op_def_pb2


def main():
    table, *lists = map(pathlib.Path, sys.argv[1:])
    lists.sort(key=lambda path: [int(part) for part in path.stem.split(".")])
    since = {}
    for release, path in enumerate(lists):
        registered = op_def_pb2.OpList()
        registered.ParseFromString(path.read_bytes())
        for op in registered.op:
            _, attrs = since.setdefault(op.name, (release, {}))
            for attr in op.attr:
                attrs.setdefault(attr.name, release)
    lines = ["\t".join(path.stem for path in lists)]
    for name, (first, attrs) in sorted(since.items()):
        later = [f"{attr}:{release}" for attr, release in sorted(attrs.items()) if release > first]
        if first > 0 or later:
            lines.append("\t".join([name, str(first or "-"), *later]))
    table.write_text("".join(line + "\n" for line in lines))


if __name__ == "__main__":
    main()
