"""The cases about image resizers: every kind on a small FPNLite, with images that are wide, tall, of odd sizes, and smaller and larger than what they
become.

Where a resizer leaves the size to the image, the feature extractor pads to a multiple of 32, without which the reference can add the levels of the pyramid
for few sizes only; strides that divide the size and strides that do not place anchors differently.
"""

from dataclasses import replace

from ..cases import Case
from ..configs import Fpnlite, Nms, Resizer

STRIDE = 32  # the largest of the backbone; the coarsest level has 64
MODEL = Fpnlite(pad_to_multiple=STRIDE)


def keep_aspect_ratio(low, high, *values, **fields):
    """Returns a resizer; `values` are those that it pads with."""
    fields = {"min_dimension": low, "max_dimension": high, **fields}
    return Resizer("keep_aspect_ratio", (*fields.items(), *(("per_channel_pad_value", value) for value in values)))


def fixed_shape(height, width, **fields):
    return Resizer("fixed_shape", tuple({"height": height, "width": width, **fields}.items()))


def conditional_shape(condition, threshold, **fields):
    return Resizer("conditional_shape", tuple({"condition": condition, "size_threshold": threshold, **fields}.items()))


def pad_to_multiple(**fields):
    return Resizer("pad_to_multiple", tuple({"multiple": STRIDE, **fields}.items()))


def case(name, seed, resizer, images, float_images, tier="default", **options):
    return Case(name, replace(MODEL, resizer=resizer, **options).text(), seed, images=images, float_images=float_images, tier=tier)


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
    case("identity", 303, Resizer("identity"), ((64, 128), (71, 133)), ((2, 64, 64), (1, 131, 192)), tier="quick"),
    case(
        "conditional_greater",
        304,
        conditional_shape("GREATER", 128),
        ((64, 128), (100, 201), (260, 133)),
        ((2, 150, 150), (1, 64, 91)),
        tier="quick",
    ),
    case(
        "pad_to_multiple",
        305,
        pad_to_multiple(),
        ((71, 133), (64, 40)),
        ((3, 50, 90), (1, 129, 64)),
        tier="quick",
        nms=Nms(0.1, 0.5, 100, 500, class_agnostic=True),  # more than there are anchors in the smallest image
    ),
]

FULL = [
    case("fixed_nearest", 310, fixed_shape(128, 64, resize_method="NEAREST_NEIGHBOR"), ((75, 99), (200, 41)), ((2, 128, 64),)),
    case("fixed_bicubic", 311, fixed_shape(64, 128, resize_method="BICUBIC"), ((75, 99), (200, 41)), ((2, 91, 260),)),
    case(
        "fixed_area",
        312,
        fixed_shape(96, 96, resize_method="AREA", convert_to_grayscale=True),
        ((75, 99), (200, 141)),
        ((2, 40, 260),),
        pad_to_multiple=None,
    ),
    case(
        "keep_bicubic",
        313,
        keep_aspect_ratio(64, 128, -1.0, 0.0, 0.0, pad_to_max_dimension=True, resize_method="BICUBIC"),
        ((75, 99), (200, 41)),
        ((3, 91, 260),),
    ),
    case(
        "keep_area",
        314,
        keep_aspect_ratio(128, 128, pad_to_max_dimension=True, resize_method="AREA"),
        ((75, 99), (300, 201)),
        ((2, 128, 100),),
    ),
    case("keep_unpadded", 315, keep_aspect_ratio(64, 128), ((71, 142), (130, 67), (90, 91)), ((2, 33, 66), (1, 300, 110))),
    case(
        "keep_unpadded_bicubic",
        316,
        keep_aspect_ratio(128, 192, resize_method="BICUBIC", convert_to_grayscale=True),
        ((70, 105), (303, 211)),
        ((2, 50, 50),),
    ),
    case(
        "keep_unpadded_nearest", 317, keep_aspect_ratio(64, 192, resize_method="NEAREST_NEIGHBOR"), ((50, 150), (333, 115)), ((2, 99, 99),)
    ),
    case(
        "conditional_smaller",
        318,
        conditional_shape("SMALLER", 128, resize_method="NEAREST_NEIGHBOR"),
        ((64, 64), (128, 192), (50, 77)),
        ((2, 90, 61),),
    ),
    case(
        "conditional_bicubic",
        319,
        conditional_shape("SMALLER", 64, resize_method="BICUBIC", convert_to_grayscale=True),
        ((40, 80), (128, 66)),
        ((2, 51, 19),),
    ),
    case("conditional_area", 320, conditional_shape("GREATER", 128, resize_method="AREA"), ((150, 300), (201, 211)), ((2, 310, 155),)),
    case("pad_to_multiple_gray", 321, pad_to_multiple(convert_to_grayscale=True), ((65, 130), (41, 70)), ((2, 64, 128),)),
]

# Methods that ONNX has no operator for, on images of unknown size.
NOT_IN_ONNX = {each.name for each in FULL if each.name.endswith(("bicubic", "area"))}

# OpenVINO does not divide as IEEE 754 says. Where sizes are known only at run time, positions of the nearest pixels are quotients that may then be rounded
# to the next one.
NEEDS_EXACT_DIVISION = {each.name for each in QUICK + FULL if "NEAREST_NEIGHBOR" in each.config}


def cases():
    """Returns the cases of the family."""
    return QUICK + FULL
