"""Writes `docs/consumers.md` from what the programs did."""

import re
from dataclasses import dataclass

HEAD = """# Programs that read the result

Each line is a program that was run on files that tfod made, each column a family of detectors, by a small seeded model of it. `yes`: the program takes the file, and every output equals
the reference's within 1e-4, padding included. This document is written by the run:

```sh
python3 tests/run.py --consumers
```

No TensorRT is run: what its documentation asks of a model is checked on the graph, which ONNX Runtime then runs.

Faster R-CNN and Mask R-CNN are over ResNet-50, CenterNets over a small hourglass. There is no column for Context R-CNN, which is given a memory bank beside the image, and none for the other tasks of CenterNet
(masks, DensePose, tracking, DeepMAC).

It makes an environment for every program (some gigabytes below `target/`), and fails where something works that is said not to, or the other way round. Programs in further formats and
options, on larger models, are in the test suites.

"""


@dataclass(frozen=True)
class Cell:
    works: bool
    said: str  # in which ways it works, or what the program says


def document(lines, families, cells, versions):
    """Returns the text."""
    parts = [HEAD, table(lines, families, cells)]
    limits = [text for line in lines for text in limits_of(line, families, cells)]
    if limits:
        parts += ["\n## What does not work, and why\n\n", "\n".join(limits), "\n"]
    parts += ["\n## Versions\n\n", "\n".join(f"- {text}" for text in sorted(set(versions.values()))), "\n"]
    return "".join(parts)


def table(lines, families, cells):
    rows = [["program", "reads", *families], ["---", "---", *[":---:" for _ in families]]]
    rows += [[line.title, line.takes, *["yes" if cells[line, family].works else "no" for family in families]] for line in lines]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def limits_of(line, families, cells):
    """Yields a paragraph for each reason, with what the program says."""
    reasons = {}
    for family in families:
        if not cells[line, family].works:
            reasons.setdefault(line.limits.get(family, line.limits.get("*", "Not expected.")), []).append(family)
    for reason, those in reasons.items():
        said = re.sub(r"\s+", " ", cells[line, those[0]].said)
        yield f"- **{line.title}** ({line.takes}): {', '.join(those)}. {reason} It says: `{said}`"
