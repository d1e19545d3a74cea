"""The cases of the parity suite: which configs, checkpoints and input images are compared.

The quick tier is a handful of small models. The default tier adds small models that have every value of every option, combined as real configs combine
them (see `design`), and one published model of each family of SSDs at full size. The exhaustive tier adds what is left: all pairs of values, and all published models.
"""

import functools
import itertools
import os
import pathlib
from dataclasses import dataclass, field, replace
from typing import Tuple

from . import configs
from .configs import BatchNorm, Fpnlite, Nms
from .design import Design


TIERS = ("quick", "default", "exhaustive")  # each has the cases of those before it


@dataclass(frozen=True)
class Case:
    """One checkpoint and its inputs: `images` are (height, width), `float_images` are (batch, height, width)."""

    name: str
    config: str = field(repr=False)
    seed: int
    checkpoint: str = "plain"  # see checkpoints.save
    images: Tuple[Tuple[int, int], ...] = ((96, 96), (71, 133), (150, 110))
    float_images: Tuple[Tuple[int, int, int], ...] = ((1, 120, 90), (2, 64, 80), (3, 131, 96))
    tier: str = "quick"  # the first one that has it


QUICK = [
    Case("base", Fpnlite().text(), seed=1),
    Case("training_checkpoint", Fpnlite(num_classes=1, dropout=0.8, size=(128, 96)).text(), seed=2, checkpoint="training"),
    Case(
        "plain_convolutions",
        Fpnlite(depthwise=False, predictor_depthwise=False, share_tower=False, levels=(3, 5), kernel_size=3).text(),
        seed=3,
        checkpoint="sharded",
    ),
    Case(
        "no_tower_softmax",
        Fpnlite(tower_layers=0, score_converter="SOFTMAX", num_classes=5, aspect_ratios=(1.0,), levels=(4, 6)).text(),
        seed=4,
        checkpoint="two_saves",
    ),
    Case(
        "padding_rows",
        Fpnlite(size=(96, 160), nms=Nms(0.3, 0.4, 30, 100), batch_norm=BatchNorm(scale=None, center=False), activation="RELU").text(),
        seed=5,
    ),
    Case(
        "class_agnostic",
        Fpnlite(num_classes=7, nms=Nms(1e-8, 0.5, 20, 20, class_agnostic=True), override_base=None, predictor_depth=96).text(),
        seed=6,
        checkpoint="snappy",
    ),
]

# Values of each option; the first one of each is the most common in real configs.
OPTIONS = {
    "num_classes": (3, 1, 2, 20),
    "size": ((96, 96), (128, 64), (96, 224), (160, 160)),  # multiples of 32: the reference fails on others
    "levels": ((3, 7), (3, 6), (3, 5), (4, 6), (2, 5), (3, 4)),
    "aspect_ratios": ((1.0, 2.0, 0.5), (1.0,), (1.0, 2.0, 3.0, 0.5, 0.3333)),
    "scales_per_octave": (2, None, 1, 3),
    "anchor_scale": (4.0, None, 3.0),
    "box_coder": ((10.0, 10.0, 5.0, 5.0), (1.0, 2.0, 3.0, 4.0)),
    "depth_multiplier": (1.0, 0.35, 0.5, 0.1),
    "min_depth": (16, 8, 32, None),
    "fpn_depth": (128, 64, 100, None),
    "depthwise": (True, False),
    "activation": ("RELU_6", "RELU", "SWISH", None),
    "batch_norm": (BatchNorm(), BatchNorm(None, None, None), BatchNorm(True, False, 0.01), None),
    "override_base": (True, None),
    "predictor_depth": (128, 64, 35),
    "predictor_depthwise": (True, None),
    "predictor_activation": ("RELU_6", "RELU", "SWISH", "NONE"),
    "predictor_batch_norm": (BatchNorm(), BatchNorm(None, None, None), BatchNorm(True, False, 0.01), None),
    "tower_layers": (4, 2, 1, None),
    "share_tower": (True, None),
    "kernel_size": (3, None, 1, 5),
    "dropout": (None, 0.8),
    "class_bias": (-4.6, None),
    "encode_background_as_zeros": (True, None),
    "score_converter": ("SIGMOID", "SOFTMAX", None),
    "logit_scale": (None, 2.0),
    "nms": (
        Nms(1e-8, 0.6, 100, 100),
        Nms(0.2, 0.5, 10, 30),
        Nms(None, None, None, None),
        Nms(0.0, 0.45, 5, 5, class_agnostic=True),
        Nms(0.1, 0.9, 7, 50, class_agnostic=False),
    ),
}


# Pairs of values that the reference itself refuses or fails on.
IMPOSSIBLE = (
    {"batch_norm": None, "override_base": True},  # looks for the backbone's batch-norm layers by name
    {"kernel_size": 1, "predictor_depthwise": True},  # "Should not use 1x1 kernel when using depthwise conv"
)

DESIGN = Design(
    OPTIONS,
    lambda row: replace(Fpnlite(), **row).text(),
    coupled=(
        ("share_tower", "tower_layers", "predictor_batch_norm"),  # which layers of the towers are shared, and where their norms are
        ("override_base", "batch_norm", "activation"),  # what the backbone takes of the config's hyperparameters
        ("num_classes", "score_converter", "nms"),  # which scores are suppressed, and together with which others
    ),
    impossible=IMPOSSIBLE,
)


def combinations():
    """Returns the rows of the design as cases, with checkpoints and inputs of several kinds."""
    sizes = itertools.cycle((((96, 96), (40, 57), (230, 170)), ((160, 160), (99, 301)), ((128, 128), (61, 45))))
    batches = itertools.cycle((((1, 70, 50), (3, 100, 160)), ((2, 140, 99),), ((3, 44, 44), (1, 200, 260))))
    kinds = itertools.cycle(("plain", "training", "sharded", "snappy", "exported"))
    return [
        Case(
            f"options_{index:02}",
            DESIGN.text(row),
            seed=100 + index,
            checkpoint=next(kinds),
            images=next(sizes),
            float_images=next(batches),
            tier=tier,
        )
        for index, (row, tier) in enumerate(DESIGN.rows())
    ]


def full_size():
    """Returns the published models at full size: always our own texts of them, and the zoo's where TFOD_ZOO names its folder."""
    texts = {f"fpnlite_{size}": configs.zoo(size).text() for size in (320, 640)}
    zoo = os.environ.get("TFOD_ZOO")
    if zoo:
        for path in sorted(pathlib.Path(zoo).glob("ssd_mobilenet_v2_fpnlite_*.config")):
            texts["zoo_" + path.stem] = path.read_text()
    return [
        Case(
            name,
            text,
            seed=200 + index,
            checkpoint="training",
            images=((320, 320), (250, 410)) if "320" in name else ((480, 700),),
            float_images=((2, 200, 300),) if "320" in name else ((1, 640, 640),),
            tier="default" if name == "fpnlite_320" else "exhaustive",
        )
        for index, (name, text) in enumerate(texts.items())
    ]


@functools.lru_cache(maxsize=None)
def all_cases():
    """Returns every case, quick ones first and the longest in between, so that two workers end together."""
    from . import families  # imports this module

    return tuple(QUICK + full_size() + combinations() + families.cases())


def of_tier(tier):
    """Returns the cases that a tier has, those of smaller tiers first."""
    tiers = TIERS[: TIERS.index(tier) + 1]
    return sorted((case for case in all_cases() if case.tier in tiers), key=lambda case: tiers.index(case.tier))
