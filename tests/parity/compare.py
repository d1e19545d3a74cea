"""Comparing outputs with the reference's: same keys, dtypes and shapes, and max |a - b| / (1 + |b|) within the tolerance.

Padding rows count: nothing is masked. Where TFOD_DIFFERENCES names a file, it gets a line for every comparison, with the largest difference first, so that `sort -g` shows
which cases are near the tolerance.
"""

import os

import numpy as np

TOLERANCE = 1e-4
LOG = os.environ.get("TFOD_DIFFERENCES")


def recorded(path):
    """Returns [(input, {key: output})] of an oracle result file."""
    arrays = np.load(path)
    count = sum(name.startswith("input_") for name in arrays.files)
    return [(arrays[f"input_{index}"], group(arrays, f"output_{index}/")) for index in range(count)]


def group(arrays, prefix):
    """Returns the arrays whose names start with the prefix, by the rest of their names."""
    return {name[len(prefix) :]: arrays[name] for name in arrays.files if name.startswith(prefix)}


def largest_difference(ours, theirs):
    """Returns (difference, index) of the worst element; NaN is equal only to NaN, and infinities only to themselves."""
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.abs(ours - theirs) / (1 + np.abs(theirs))
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    difference = np.where(same, 0.0, np.where(np.isnan(difference), np.inf, difference))
    if difference.size == 0:
        return 0.0, ()
    index = np.unravel_index(np.argmax(difference), difference.shape)
    return float(difference[index]), tuple(int(i) for i in index)


def problems(ours, theirs, tolerance=TOLERANCE):
    """Returns a line for every way in which the outputs differ from the reference's; none if they agree."""
    ours = {key: np.asarray(value) for key, value in ours.items()}
    lines = []
    if set(ours) != set(theirs):
        lines.append(f"keys: missing {sorted(set(theirs) - set(ours))}, unexpected {sorted(set(ours) - set(theirs))}")
    for key in sorted(set(ours) & set(theirs)):
        a, b = ours[key], theirs[key]
        if a.dtype != b.dtype or a.shape != b.shape:
            lines.append(f"{key}: {a.dtype}{list(a.shape)}, the reference has {b.dtype}{list(b.shape)}")
            continue
        difference, index = largest_difference(a, b)
        if difference > tolerance:
            lines.append(f"{key}: differs by {difference:.3g} at {list(index)}: {a[index]!r}, the reference has {b[index]!r}")
    return lines


def assert_equal(ours, theirs, what, tolerance=TOLERANCE):
    """Fails with every difference found."""
    if LOG:
        worst = max(((largest_difference(np.asarray(ours[key]), value)[0], key) for key, value in theirs.items() if np.shape(ours.get(key)) == value.shape), default=(0.0, "nothing"))
        with open(LOG, "a") as log:
            log.write(f"{worst[0]:.1e} {worst[1]} {os.environ.get('PYTEST_CURRENT_TEST', '')} {what}\n")
    found = problems(ours, theirs, tolerance)
    assert not found, f"{what}:\n  " + "\n  ".join(found)
