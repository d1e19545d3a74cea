"""RetinaNet: ResNet v1 of three depths with a feature pyramid (`ssd_resnet50_v1_fpn_keras` and its siblings).

The reference accepts no image below 129 pixels, so small models are narrow instead. It reads nothing of the config's `fpn`: levels are 3 to 7. Published models are compared at full size for ResNet-50 at 640 pixels;
the others, which take minutes, on images of 256.
"""

import itertools
import os
import pathlib
import re
from dataclasses import replace

from ..cases import Case
from ..configs import BatchNorm, Fpnlite, Nms
from ..design import Design

SMALL = Fpnlite(
    extractor="ssd_resnet50_v1_fpn_keras",
    size=(160, 160),
    levels=(3, 7),
    depth_multiplier=0.25,
    fpn_depth=None,
    depthwise=None,
    predictor_depth=32,
    predictor_depthwise=None,
    override_base=None,
    share_tower=None,
)

QUICK = [
    Case("resnet", SMALL.text(), seed=300, images=((160, 160), (99, 230)), float_images=((2, 150, 170),)),
    Case(
        "resnet_padded",
        replace(SMALL, size=(150, 170), pad_to_multiple=32, override_base=True, min_depth=24, depth_multiplier=0.2).text(),
        seed=301,
        checkpoint="training",
        images=((150, 170), (201, 88)),
        float_images=((2, 130, 140),),
    ),
]

OPTIONS = {
    "depth": (50, 101, 152),
    # With what they are padded to: the reference fails where levels do not halve exactly.
    "shape": (((160, 160), None), ((135, 200), 32)),
    "width": ((0.25, 16), (0.125, 12)),  # multiplier and least
    "activation": ("RELU_6", "SWISH"),
    "batch_norm": (BatchNorm(), BatchNorm(None, None, 0.0), BatchNorm(True, False, 0.01, synchronised=True)),
    "override_base": (True, None),
    "ignored": (None, True),  # use_depthwise, use_explicit_padding, and all of fpn
    "dropout": (None, 0.8),
}


def text_of(row):
    """Returns the config of some values of options."""
    row = dict(row)
    size, multiple = row.pop("shape", OPTIONS["shape"][0])
    multiplier, least = row.pop("width", OPTIONS["width"][0])
    ignored = row.pop("ignored", None)
    options = replace(
        SMALL,
        extractor=f"ssd_resnet{row.pop('depth', 50)}_v1_fpn_keras",
        size=size,
        pad_to_multiple=multiple,
        depth_multiplier=multiplier,
        min_depth=least,
        fpn_levels=(2, 6) if ignored else None,
        fpn_depth=96 if ignored else None,
        depthwise=ignored,
        explicit_padding=ignored,
        **row,
    )
    return options.text()


DESIGN = Design(OPTIONS, text_of, coupled=(("override_base", "batch_norm", "activation"),))


def combinations():
    """Returns the rows of the design as cases."""
    kinds = itertools.cycle(("plain", "training", "sharded"))
    return [
        Case(
            f"options_resnet_{index:02}",
            text_of(row),
            seed=310 + index,
            checkpoint=next(kinds),
            images=((140, 190),),
            float_images=((1, 160, 150),),
            tier=tier,
        )
        for index, (row, tier) in enumerate(DESIGN.rows())
    ]


def published(depth, size):
    """Returns the config of a published model of 90 classes, but for its initialisers, for square images of `size` pixels."""
    options = Fpnlite(
        extractor=f"ssd_resnet{depth}_v1_fpn_keras",
        num_classes=90,
        size=(size, size),
        levels=(3, 7),
        depth_multiplier=1.0,
        fpn_depth=None,
        depthwise=None,
        predictor_depth=256,
        predictor_depthwise=None,
        share_tower=None,
        tower_layers=4,
        nms=Nms(per_class=100, total=100),
    )
    return options.text()


def resized(text, size):
    """Returns a config for square images of another size."""
    return re.sub(r"(fixed_shape_resizer \{\s*height: )\d+(\s*width: )\d+", rf"\g<1>{size}\g<2>{size}", text)


def full_size():
    """Returns the published models, and the zoo's where TFOD_ZOO names its folder.

    ResNet-152 takes many minutes at its sizes: it is compared on small images.
    """
    sizes = ((50, 640), (50, 1024), (101, 640), (152, 256), (101, 1024))
    texts = {f"resnet{depth}_{size}": published(depth, size) for depth, size in sizes}
    zoo = os.environ.get("TFOD_ZOO")
    if zoo:
        for path in sorted(pathlib.Path(zoo).glob("ssd_resnet*_v1_fpn_*.config")):
            text = path.read_text()
            texts["zoo_" + path.stem] = resized(text, 256) if "152" in path.stem else text
    return [
        Case(name, text, seed=350 + index, images=((480, 700),), float_images=((1, 300, 200),), tier="default" if name == "resnet50_640" else "exhaustive")
        for index, (name, text) in enumerate(texts.items())
    ]


def cases():
    """Returns every case of the family."""
    return QUICK + full_size() + combinations()
