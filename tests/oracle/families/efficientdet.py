"""EfficientDet: EfficientNet with a weighted bidirectional pyramid (`ssd_efficientnet-b0_bifpn_keras` and its siblings).

The reference accepts no image below 129 pixels, and fails where height and width are no multiples of the coarsest level's stride. The published
numbers are compared for all of D0 to D7: D0 on images of 512 pixels, as published, the others, which take minutes so, on images of 256.
"""

import itertools
import os
import pathlib
import re
from dataclasses import dataclass, replace
from typing import Optional

from ..cases import Case
from ..configs import BatchNorm, Fpnlite, Nms, Resizer, block, field, hyperparams
from ..design import Design


@dataclass(frozen=True)
class EfficientDet:
    """The options of one config: those of a weight-shared detector, whose feature extractor is replaced."""

    rest: Fpnlite = Fpnlite(
        size=(192, 192),
        levels=(3, 6),
        scales_per_octave=3,
        predictor_depth=32,
        predictor_activation="SWISH",
        share_tower=None,
        nms=Nms(iou_threshold=0.5),
    )
    variant: int = 0
    has_bifpn: bool = True  # without, the variant's own numbers hold
    iterations: Optional[int] = 2
    filters: Optional[int] = 32
    combine: Optional[str] = None
    min_depth: Optional[int] = None
    pad_to_multiple: Optional[int] = None
    override_base: Optional[bool] = None
    activation: Optional[str] = "SWISH"
    batch_norm: Optional[BatchNorm] = BatchNorm()
    synchronised: bool = False  # in the extractor and the predictor
    force_use_bias: bool = True  # in both, too

    def extractor(self):
        """Returns the lines of `feature_extractor`."""
        bifpn = block(
            "bifpn",
            field("min_level", self.rest.levels[0]),
            field("max_level", self.rest.levels[1]),
            field("num_iterations", self.iterations),
            field("num_filters", self.filters),
            field("combine_method", self.combine),
        )
        return block(
            "feature_extractor",
            field("type", f"ssd_efficientnet-b{self.variant}_bifpn_keras"),
            bifpn if self.has_bifpn else [],
            field("min_depth", self.min_depth),
            field("pad_to_multiple", self.pad_to_multiple),
            hyperparams(self.activation, self.batch_norm),
            field("override_base_feature_extractor_hyperparams", self.override_base),
        )

    def text(self):
        """Returns the config in protobuf's text format."""
        lines = self.rest.text().split("\n")
        begin = next(index for index, line in enumerate(lines) if line.strip() == "feature_extractor {")
        indent = lines[begin][: -len("feature_extractor {")]
        end = lines.index(indent + "}", begin)
        lines[begin : end + 1] = [indent + line for line in self.extractor()]
        text = "\n".join(lines)
        if self.force_use_bias:
            text = text.replace("conv_hyperparams {", "conv_hyperparams {\n force_use_bias: true")
        return text.replace(" batch_norm {", " sync_batch_norm {") if self.synchronised else text


def detector(rest=None, **changes):
    """Returns the small model with some options changed; `rest` are those of `Fpnlite`."""
    options = EfficientDet()
    return replace(options, rest=replace(options.rest, **(rest or {})), **changes)


def padded(size):
    """Returns the resizer that published models have, for square images of `size` pixels."""
    return Resizer("keep_aspect_ratio", (("min_dimension", size), ("max_dimension", size), ("pad_to_max_dimension", True)))


QUICK = [
    Case(
        "efficientdet",
        detector({"resizer": padded(192)}).text(),
        seed=500,
        checkpoint="training",
        images=((192, 192), (140, 210)),
        float_images=((2, 150, 170),),
    ),
    Case(
        "efficientdet_attention_without_bias",
        detector(
            {"size": (140, 250), "levels": (4, 6), "share_tower": True, "dropout": 0.8, "tower_layers": 1},
            pad_to_multiple=64,
            iterations=1,
            combine="attention",
            synchronised=True,
            force_use_bias=False,
        ).text(),
        seed=501,
        images=((140, 250), (99, 230)),
        float_images=((2, 150, 170),),
    ),
]

OPTIONS = {
    "variant": tuple(range(8)),
    "combine": (None, "sum", "weighted_sum"),
    "shape": (((192, 192), (3, 6), None), ((150, 250), (2, 6), 64), ((256, 256), (3, 7), None)),  # with levels and the multiple to pad to
    "iterations": (2, 1),
    "filters": ((32, None), (None, 24)),  # with the least
    "activation": ("SWISH", "RELU_6"),
    "batch_norm": (BatchNorm(), BatchNorm(None, False, 0.01)),
    "synchronised": (False, True),
    "force_use_bias": (True, False),
    "override_base": (None, True),
    "share_tower": (None, True),
    "predictor_depthwise": (True, None),
    "dropout": (None, 0.8),
}


def text_of(row):
    """Returns the config of some values of options."""
    row = dict(row)
    size, levels, multiple = row.pop("shape", OPTIONS["shape"][0])
    filters, least = row.pop("filters", OPTIONS["filters"][0])
    rest = {name: row.pop(name) for name in ("share_tower", "predictor_depthwise", "dropout") if name in row}
    norm = row.get("batch_norm", BatchNorm())
    options = detector(
        {"size": size, "levels": levels, "predictor_batch_norm": norm, **rest}, pad_to_multiple=multiple, filters=filters, min_depth=least, **row
    )
    return options.text()


# Together they decide which variables and operations stand behind each convolution.
DESIGN = Design(OPTIONS, text_of, coupled=(("batch_norm", "synchronised", "force_use_bias"),))


def combinations():
    """Returns the rows of the design as cases."""
    kinds = itertools.cycle(("plain", "training", "sharded", "exported"))
    return [
        Case(
            f"options_efficientdet_{index:02}",
            text_of(row),
            seed=510 + index,
            checkpoint=next(kinds),
            images=((140, 190),),
            float_images=((1, 160, 150),),
            tier=tier,
        )
        for index, (row, tier) in enumerate(DESIGN.rows())
    ]


# Of D0 to D7: the variant of EfficientNet, rounds, channels, layers of the towers, how nodes add (table 1 of the paper; D7 is D6 on larger images).
PUBLISHED = (
    (0, 3, 64, 3, None),
    (1, 4, 88, 3, None),
    (2, 5, 112, 3, None),
    (3, 6, 160, 4, None),
    (4, 7, 224, 4, None),
    (5, 7, 288, 4, None),
    (6, 8, 384, 5, "sum"),
    (6, 8, 384, 5, "sum"),
)


def published(index, size):
    """Returns the config of a published model of 90 classes, but for its initialisers, for square images of `size` pixels."""
    variant, iterations, channels, layers, combine = PUBLISHED[index]
    rest = {
        "num_classes": 90,
        "resizer": padded(size),
        "levels": (3, 7),
        "predictor_depth": channels,
        "tower_layers": layers,
        "nms": Nms(iou_threshold=0.5, per_class=100, total=100),
    }
    return detector(rest, variant=variant, iterations=iterations, filters=channels, combine=combine)


# Of D0 to D4, as published. D5 to D7 take minutes each at theirs (1280, 1408, 1536): their networks are compared on small images.
SIZES = (512, 640, 768, 896, 1024)
SMALL = 256


# Among the millions of scores of large images some are closer to each other than OpenVINO's rounding, which reorders them, and where images are resized too, its raw
# outputs move by up to 6e-4. These are compared in TensorFlow and ONNX Runtime; what OpenVINO makes of the architecture, D0, D5, D6 and the small variants show.
TOO_LARGE_FOR_OPENVINO = tuple(f"efficientdet_d{index}" for index in range(1, len(SIZES)))


def size_of(text):
    """Returns how large the square images of a published model's network are."""
    found = re.search(r"max_dimension: (\d+)", text)
    return int(found[1]) if found else SMALL


def zoo_texts():
    """Returns the zoo's configs by case name where TFOD_ZOO names its folder, those of the largest models for small images."""
    folder = os.environ.get("TFOD_ZOO")
    texts = {}
    for path in sorted(pathlib.Path(folder).glob("ssd_efficientdet_*.config")) if folder else ():
        text = path.read_text()
        if size_of(text) not in SIZES:
            text = re.sub(r"(m(in|ax)_dimension: )\d+", rf"\g<1>{SMALL}", text)
        texts["zoo_" + path.stem] = text
    return texts


def full_size():
    """Returns the published models, EfficientNet-B7, which none of them uses, with its own defaults, and the zoo's."""
    sizes = [*SIZES, SMALL, SMALL]
    texts = {f"efficientdet_d{index}": published(index, size).text() for index, size in enumerate(sizes)}
    texts["efficientdet_b7"] = detector({"size": (SMALL, SMALL), "levels": (3, 7)}, variant=7, has_bifpn=False).text()
    texts.update(zoo_texts())
    return [
        Case(
            name,
            text,
            seed=540 + index,
            checkpoint="training" if index == 0 else "plain",
            # As large as the network's: resizing moves raw scores by 1e-5 in ONNX runtimes, and 100 of 4 million scores are closer than that.
            images=((size, size),),
            float_images=((1, 300, 200),),
            tier="default" if name == "efficientdet_d0" else "exhaustive",
        )
        for index, (name, text) in enumerate(texts.items())
        for size in [size_of(text)]
    ]


def cases():
    """Returns every case of the family."""
    return QUICK + full_size() + combinations()
