"""What all suites share: memory is given back as tests go."""

import ctypes
import gc
import pathlib
import sys

STATUS = pathlib.Path("/proc/self/statm")
GROWTH = 300e6  # bytes after which cycles are collected
PAGE = 4096

_kept = None


def resident():
    """Returns the memory that the process holds, in bytes."""
    return int(STATUS.read_text().split()[1]) * PAGE


def pytest_runtest_logfinish():
    """Collects reference cycles. A loaded SavedModel and its functions hold each other, and Python looks for such cycles only when a quarter of all objects
    are new, which beside the million objects of TensorFlow's import means hundreds of models."""
    global _kept
    if sys.platform != "linux":
        return
    if _kept is None:
        _kept = resident()
    if resident() > _kept + GROWTH:
        gc.collect()
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):
            libc.malloc_trim(0)
        _kept = resident()
