"""Which tier tests of a case belong to."""

import zlib

import pytest
from oracle.families import resizers

IMAGES = ("image_tensor", "float_image_tensor")
#: What is computed differently for pixels of one image and for a batch of floats: where images are resized.
_BY_INPUT = {case.name for case in resizers.cases()}


def mark(tier):
    return getattr(pytest.mark, tier)


def cases(of):
    """Returns pytest's parameters for cases, each in its own tier."""
    return [pytest.param(case, id=case.name, marks=mark(case.tier)) for case in of]


def with_inputs(of, back_end):
    """Returns pytest's parameters (case, input type).

    In the default tier a case is run with one of the input types, another in every other back end, unless it is about what differs between them: the network
    behind both is the same. `back_end` is the number of the back end.
    """
    parameters = []
    for case in of:
        chosen = IMAGES[(zlib.crc32(case.name.encode()) + back_end) % len(IMAGES)]
        for input_type in IMAGES:
            in_default = case.tier != "default" or case.name in _BY_INPUT or input_type == chosen
            tier = case.tier if in_default else "exhaustive"
            parameters.append(pytest.param(case, input_type, id=f"{case.name}-{input_type}", marks=mark(tier)))
    return parameters
