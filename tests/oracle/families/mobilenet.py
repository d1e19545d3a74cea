"""SSD over MobileNets: without a pyramid (`ssd_mobilenet_v1_keras`, `ssd_mobilenet_v2_keras`) and MobileNetV1 with one, the convolutional predictor,
and the anchor generators that go with them.

`Ssd()` with no arguments is a small model for quick tests. An option set to None leaves its field out of the text, so that the field's default is tested.
"""

import itertools
import os
import pathlib
from dataclasses import dataclass, replace
from typing import Optional, Tuple

from ..cases import IMPOSSIBLE, Case
from ..configs import BatchNorm, Nms, Resizer, Symbol, block, field, hyperparams
from ..design import Design


@dataclass(frozen=True)
class SsdAnchors:
    """`ssd_anchor_generator`; its layers are the extractor's. Strides and offsets are (vertical, horizontal) for each layer."""

    scale_range: Tuple[Optional[float], Optional[float]] = (0.2, 0.95)
    scales: Tuple[float, ...] = ()
    aspect_ratios: Tuple[float, ...] = (1.0, 2.0, 0.5, 3.0, 0.3333)
    interpolated: Optional[float] = None
    reduce_lowest: Optional[bool] = None
    base: Tuple[Optional[float], Optional[float]] = (None, None)
    strides: Tuple[Tuple[int, int], ...] = ()
    offsets: Tuple[Tuple[int, int], ...] = ()

    def lines(self, layers):
        return block(
            "ssd_anchor_generator",
            field("num_layers", layers),
            field("min_scale", self.scale_range[0]),
            field("max_scale", self.scale_range[1]),
            *(field("scales", scale) for scale in self.scales[:layers]),
            *(field("aspect_ratios", ratio) for ratio in self.aspect_ratios),
            field("interpolated_scale_aspect_ratio", self.interpolated),
            field("reduce_boxes_in_lowest_layer", self.reduce_lowest),
            field("base_anchor_height", self.base[0]),
            field("base_anchor_width", self.base[1]),
            *(field("height_stride", y) for y, _ in self.strides[:layers]),
            *(field("width_stride", x) for _, x in self.strides[:layers]),
            *(field("height_offset", y) for y, _ in self.offsets[:layers]),
            *(field("width_offset", x) for _, x in self.offsets[:layers]),
        )


@dataclass(frozen=True)
class FlexibleAnchors:
    """`flexible_grid_anchor_generator`: (base sizes, aspect ratios, strides, offsets) for each layer."""

    grids: Tuple[Tuple[Tuple[float, ...], Tuple[float, ...], Tuple[int, int], Tuple[Optional[int], Optional[int]]], ...]
    normalize: Optional[bool] = None

    def lines(self, layers):
        grids = [
            block(
                "anchor_grid",
                *(field("base_sizes", size) for size in sizes),
                *(field("aspect_ratios", ratio) for ratio in ratios),
                field("height_stride", strides[0]),
                field("width_stride", strides[1]),
                field("height_offset", offsets[0]),
                field("width_offset", offsets[1]),
            )
            for sizes, ratios, strides, offsets in self.grids[:layers]
        ]
        return block("flexible_grid_anchor_generator", *grids, field("normalize_coordinates", self.normalize))


@dataclass(frozen=True)
class MultiscaleAnchors:
    """`multiscale_anchor_generator` from a lowest level upwards."""

    min_level: int = 4
    scales_per_octave: int = 2

    def lines(self, layers):
        return block(
            "multiscale_anchor_generator",
            field("min_level", self.min_level),
            field("max_level", self.min_level + layers - 1),
            *(field("aspect_ratios", ratio) for ratio in (1.0, 2.0, 0.5)),
            field("scales_per_octave", self.scales_per_octave),
        )


@dataclass(frozen=True)
class Convolutional:
    """`convolutional_box_predictor`."""

    activation: Optional[str] = "RELU_6"
    batch_norm: Optional[BatchNorm] = BatchNorm()
    depths: Tuple[Optional[int], Optional[int]] = (0, 0)  # least and most
    layers_before: Optional[int] = 0
    dropout: Optional[bool] = False
    kernel_size: Optional[int] = 1
    depthwise: Optional[bool] = None
    clip: Optional[Tuple[float, float]] = None

    def lines(self):
        clip = block("box_encodings_clip_range", field("min", self.clip[0]), field("max", self.clip[1])) if self.clip else []
        return block(
            "convolutional_box_predictor",
            field("min_depth", self.depths[0]),
            field("max_depth", self.depths[1]),
            field("num_layers_before_predictor", self.layers_before),
            field("use_dropout", self.dropout),
            field("dropout_keep_probability", 0.8),
            field("kernel_size", self.kernel_size),
            field("box_code_size", 4),
            field("apply_sigmoid_to_scores", True),  # the reference's Keras predictor does not look at it
            field("class_prediction_bias_init", -4.6),
            field("use_depthwise", self.depthwise),
            clip,
            hyperparams(self.activation, self.batch_norm),
        )


@dataclass(frozen=True)
class WeightShared:
    """`weight_shared_convolutional_box_predictor`."""

    depth: int = 32
    layers_before: int = 1

    def lines(self):
        return block(
            "weight_shared_convolutional_box_predictor",
            field("depth", self.depth),
            field("num_layers_before_predictor", self.layers_before),
            field("kernel_size", 3),
            field("class_prediction_bias_init", -4.6),
            hyperparams("RELU_6", BatchNorm()),
        )


@dataclass(frozen=True)
class Ssd:
    """The options of one config. Sizes are pixels, `fpn` is (lowest level, highest level, channels)."""

    extractor: str = "ssd_mobilenet_v2_keras"
    num_classes: int = 3
    size: Tuple[int, int] = (96, 96)  # height, width
    resizer: Optional[Resizer] = None  # instead of a fixed size
    depth_multiplier: Optional[float] = 0.35
    min_depth: Optional[int] = 16
    num_layers: Optional[int] = None
    fpn: Optional[Tuple[int, int, Optional[int]]] = None
    pad_to_multiple: Optional[int] = None
    explicit_padding: Optional[bool] = None
    depthwise: Optional[bool] = None
    activation: Optional[str] = "RELU_6"
    batch_norm: Optional[BatchNorm] = BatchNorm()
    override_base: Optional[bool] = True
    anchors: object = SsdAnchors()
    predictor: object = Convolutional()
    add_background_class: Optional[bool] = None
    score_converter: str = "SIGMOID"
    nms: Nms = Nms()

    def text(self):
        """Returns the config in protobuf's text format."""
        layers = self.fpn[1] - self.fpn[0] + 1 if self.fpn else self.num_layers or 6
        resizer = self.resizer or Resizer("fixed_shape", (("height", self.size[0]), ("width", self.size[1])))
        fpn = []
        if self.fpn:
            names = ("min_level", "max_level", "additional_layer_depth")
            fpn = block("fpn", *(field(name, value) for name, value in zip(names, self.fpn)))
        model = block(
            "ssd",
            field("num_classes", self.num_classes),
            field("add_background_class", self.add_background_class),
            field("inplace_batchnorm_update", True),
            block(
                "box_coder",
                block(
                    "faster_rcnn_box_coder",
                    *(field(f"{name}_scale", value) for name, value in (("y", 10.0), ("x", 10.0), ("height", 5.0), ("width", 5.0))),
                ),
            ),
            block("matcher", block("argmax_matcher", field("matched_threshold", 0.5), field("unmatched_threshold", 0.5))),
            block("similarity_calculator", block("iou_similarity")),
            field("encode_background_as_zeros", True),
            block("anchor_generator", self.anchors.lines(layers)),
            block("image_resizer", resizer.lines()),
            block("box_predictor", self.predictor.lines()),
            block(
                "feature_extractor",
                field("type", self.extractor),
                field("depth_multiplier", self.depth_multiplier),
                field("min_depth", self.min_depth),
                field("num_layers", self.num_layers),
                fpn,
                field("pad_to_multiple", self.pad_to_multiple),
                field("use_explicit_padding", self.explicit_padding),
                field("use_depthwise", self.depthwise),
                hyperparams(self.activation, self.batch_norm),
                field("override_base_feature_extractor_hyperparams", self.override_base),
            ),
            block(
                "loss",
                block("classification_loss", block("weighted_sigmoid_focal", field("alpha", 0.75), field("gamma", 2.0))),
                block("localization_loss", block("weighted_smooth_l1")),
                field("classification_weight", 1.0),
                field("localization_weight", 1.0),
            ),
            block(
                "post_processing",
                block(
                    "batch_non_max_suppression",
                    field("score_threshold", self.nms.score_threshold),
                    field("iou_threshold", self.nms.iou_threshold),
                    field("max_detections_per_class", self.nms.per_class),
                    field("max_total_detections", self.nms.total),
                ),
                field("score_converter", Symbol(self.score_converter)),
            ),
        )
        return "\n".join(block("model", model)) + "\n"


FLEXIBLE = FlexibleAnchors(
    grids=tuple(
        ((12.0 * 1.6**layer, 16.0 * 1.6**layer, 20.0 * 1.6**layer), ratios, (16 * 2**layer, 15 * 2**layer), (8 * 2**layer, None))
        for layer, ratios in enumerate(((1.0,), (1.0, 2.0, 0.5), (0.7,), (1.0, 0.5, 1.5), (1.0,), (1.0,)))
    )
)
SCALES = SsdAnchors(scales=(0.1, 0.25, 0.4, 0.6, 0.7, 0.9), interpolated=1.5, reduce_lowest=False, aspect_ratios=(1.0, 1.7))
CENTRES = SsdAnchors(
    scale_range=(0.15, None),
    interpolated=0.0,
    base=(0.8, 1.3),
    aspect_ratios=(1.0, 2.0),
    strides=tuple((14 * 2**layer, 17 * 2**layer) for layer in range(6)),
    offsets=tuple((7 * 2**layer - 5, 3 - layer) for layer in range(6)),
)

QUICK = [
    Case("ssd_mobilenet_v2", Ssd(size=(96, 128)).text(), seed=301, checkpoint="training"),
    Case(
        "ssd_mobilenet_v1_depthwise_heads",
        Ssd(
            "ssd_mobilenet_v1_keras",
            depth_multiplier=0.5,
            num_layers=4,
            depthwise=True,
            anchors=SCALES,
            predictor=Convolutional(depths=(24, 64), layers_before=2, dropout=None, kernel_size=3, depthwise=True),
        ).text(),
        seed=302,
        checkpoint="sharded",
    ),
    Case(
        "ssd_explicit_padding_flexible_anchors",
        Ssd(
            size=(75, 110),
            num_layers=5,
            explicit_padding=True,
            batch_norm=BatchNorm(None, False, 0.01),
            anchors=FLEXIBLE,
            predictor=Convolutional(batch_norm=None, depths=(0, 32), layers_before=1, clip=(-0.8, 0.6), kernel_size=3),
            add_background_class=False,
        ).text(),
        seed=303,
    ),
    Case(
        "mobilenet_v1_fpn",
        Ssd(
            "ssd_mobilenet_v1_fpn_keras",
            fpn=(3, 6, 64),
            depthwise=True,
            depth_multiplier=0.6,
            anchors=MultiscaleAnchors(3),
            predictor=WeightShared(),
        ).text(),
        seed=304,
        checkpoint="snappy",
    ),
]

# Values of each option; the first one of each is the most common in real configs.
OPTIONS = {
    "extractor": ("ssd_mobilenet_v2_keras", "ssd_mobilenet_v1_keras"),
    "num_classes": (3, 1),
    "size": ((128, 160), (75, 110)),
    "depth_multiplier": (0.35, 0.5, 1.0),
    "min_depth": (16, 8, None),
    "num_layers": (4, 3, 2),  # six make maps of one pixel of such small images, whose random weights amplify rounding too much
    "pad_to_multiple": (None, 32),
    "explicit_padding": (None, True),
    "depthwise": (None, True),
    "activation": ("RELU_6", "SWISH"),
    "batch_norm": (BatchNorm(), BatchNorm(True, False, 0.01)),
    "override_base": (True, None),
    "anchors": (SsdAnchors(), SCALES, CENTRES, MultiscaleAnchors()),
    "predictor_activation": ("RELU_6", "SWISH"),
    "predictor_batch_norm": (BatchNorm(), BatchNorm(None, False, None), None),
    "depths": ((0, 0), (0, 48), (24, 64)),
    "layers_before": (0, 2),
    "dropout": (False, None),
    "kernel_size": (3, 1),
    "predictor_depthwise": (None, True),
    "clip": (None, (-0.8, 0.6)),
    "add_background_class": (None, False),
}
# Options of the predictor, and what its class calls them.
PREDICTOR = {
    "predictor_activation": "activation",
    "predictor_batch_norm": "batch_norm",
    "depths": "depths",
    "layers_before": "layers_before",
    "dropout": "dropout",
    "kernel_size": "kernel_size",
    "predictor_depthwise": "depthwise",
    "clip": "clip",
}


def text_of(row):
    """Returns the config of some values of options."""
    rest = {name: value for name, value in row.items() if name not in PREDICTOR}
    predictor = {PREDICTOR[name]: value for name, value in row.items() if name in PREDICTOR}
    return replace(Ssd(), predictor=replace(Convolutional(), **predictor), **rest).text()


DESIGN = Design(
    OPTIONS,
    text_of,
    coupled=(
        ("depths", "layers_before", "predictor_depthwise"),  # the layers before the heads, and how wide they are
        ("explicit_padding", "depthwise", "num_layers"),  # the layers behind the backbone
        ("override_base", "batch_norm", "activation"),
    ),
    impossible=IMPOSSIBLE,
    seed=2,
)


def combinations():
    """Returns the rows of the design as cases."""
    images = itertools.cycle((((96, 96), (40, 57)), ((160, 130),), ((61, 45),)))
    batches = itertools.cycle((((3, 70, 50),), ((2, 140, 99),), ((1, 44, 44),)))
    kinds = itertools.cycle(("plain", "training", "sharded", "exported"))
    return [
        Case(
            f"options_ssd_{index:02}",
            text_of(row),
            seed=320 + index,
            checkpoint=next(kinds),
            images=next(images),
            float_images=next(batches),
            tier=tier,
        )
        for index, (row, tier) in enumerate(DESIGN.rows())
    ]


def pyramids():
    """Returns MobileNetV1 pyramids of further shapes, one of them under a convolutional predictor."""
    base = Ssd("ssd_mobilenet_v1_fpn_keras", depth_multiplier=0.5, predictor=WeightShared())
    texts = {
        "options_v1_fpn_explicit": replace(
            base, fpn=(3, 7, 48), explicit_padding=True, size=(96, 64), anchors=MultiscaleAnchors(3, 1), override_base=None
        ),
        "options_v1_fpn_low": replace(
            base,
            fpn=(2, 4, None),
            anchors=SsdAnchors(reduce_lowest=False),
            predictor=Convolutional(kernel_size=3, dropout=True),
            batch_norm=None,
            override_base=True,
        ),
        "options_v1_fpn_depthwise": replace(
            base, fpn=(4, 6, 64), depthwise=True, explicit_padding=True, min_depth=None, anchors=MultiscaleAnchors(4), pad_to_multiple=32
        ),
    }
    return [
        Case(name, options.text(), seed=350 + index, images=((90, 120),), float_images=((2, 64, 80),), tier="default")
        for index, (name, options) in enumerate(texts.items())
    ]


def of_any_size():
    """Returns models whose images keep their sizes, so that anchors are computed from those of the feature maps; multiscale ones are among the cases of resizers."""
    base = Ssd(resizer=Resizer("identity"), num_layers=4)
    texts = {
        "any_size_ssd_anchors": base,
        "any_size_ssd_anchors_placed": replace(base, anchors=CENTRES),
        "any_size_flexible_anchors": replace(base, anchors=FLEXIBLE),
    }
    return [
        Case(name, options.text(), seed=370 + index, images=((96, 96), (75, 130), (180, 121)), float_images=((2, 101, 140),), tier="default")
        for index, (name, options) in enumerate(texts.items())
    ]


def published():
    """Returns the published models at full size, and the SSD of MobileNetV1 in their manner; the zoo's texts too where TFOD_ZOO names its folder."""
    ssd = Ssd(num_classes=90, size=(300, 300), depth_multiplier=1.0, nms=Nms(per_class=100, total=100))
    models = {
        "ssd_mobilenet_v2_300": ssd,
        "ssd_mobilenet_v1_300": replace(ssd, extractor="ssd_mobilenet_v1_keras", predictor=Convolutional(dropout=True)),
        "mobilenet_v1_fpn_640": replace(
            ssd,
            extractor="ssd_mobilenet_v1_fpn_keras",
            size=(640, 640),
            fpn=(3, 7, None),
            anchors=MultiscaleAnchors(3),
            predictor=WeightShared(depth=256, layers_before=4),
        ),
    }
    texts = {name: options.text() for name, options in models.items()}
    zoo = os.environ.get("TFOD_ZOO")
    if zoo:
        for pattern in ("ssd_mobilenet_v2_320x320_*.config", "ssd_mobilenet_v1_fpn_*.config"):
            texts.update({"zoo_" + path.stem: path.read_text() for path in sorted(pathlib.Path(zoo).glob(pattern))})
    return [
        Case(
            name,
            text,
            seed=360 + index,
            checkpoint="training",
            # By ratios that floating point has exactly: of 190,000 scores some are so close that what resizing rounds in ONNX runtimes reorders them.
            images=((480, 640),) if "640" in name else ((300, 300), (150, 600)),
            float_images=((1, 200, 300),),
            tier="default" if name == "ssd_mobilenet_v2_300" else "exhaustive",
        )
        for index, (name, text) in enumerate(texts.items())
    ]


def cases():
    """Returns all cases of the family."""
    return QUICK + published() + pyramids() + of_any_size() + combinations()
