"""The cases about image resizers: every kind on a small FPNLite, with images that are wide, tall, of odd sizes, and smaller and larger than what they
become."""

from ..cases import Case
from ..configs import Fpnlite, Nms, Resizer


def keep_aspect_ratio(low, high, *values, **fields):
    """Returns a resizer; `values` are those that it pads with."""
    fields = {"min_dimension": low, "max_dimension": high, **fields}
    return Resizer("keep_aspect_ratio", (*fields.items(), *(("per_channel_pad_value", value) for value in values)))


QUICK = [
    Case(
        "keep_aspect_ratio",
        Fpnlite(resizer=keep_aspect_ratio(96, 96, pad_to_max_dimension=True)).text(),
        seed=300,
        images=((96, 96), (71, 133), (150, 110), (300, 41)),
        float_images=((1, 120, 90), (2, 64, 80), (3, 131, 96)),
    ),
    Case(
        "pad_values",
        Fpnlite(
            resizer=keep_aspect_ratio(64, 128, 0.5, -0.25, 1.0, pad_to_max_dimension=True, resize_method="NEAREST_NEIGHBOR"),
            nms=Nms(change_coordinate_frame=False),
        ).text(),
        seed=301,
        images=((64, 128), (50, 61), (201, 93)),
        float_images=((1, 33, 200), (2, 90, 70)),
    ),
    Case(
        "grayscale",
        Fpnlite(
            resizer=keep_aspect_ratio(80, 96, 0.5, 0.5, 0.5, pad_to_max_dimension=True, convert_to_grayscale=True),
            nms=Nms(0.2, 0.5, 20, 30, class_agnostic=True),
        ).text(),
        seed=302,
        images=((75, 99), (120, 64)),
        float_images=((2, 64, 80),),
    ),
]


def cases():
    """Returns the cases of the family."""
    return QUICK
