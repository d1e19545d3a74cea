"""CenterNet: objects as peaks of heat maps (`hourglass_104` and its siblings, ResNets and MobileNets).

The smallest networks are compared in the default tier, on images of 64 to 128 pixels; the large ones, which take long, in the exhaustive one.
"""

import os
import pathlib
from dataclasses import dataclass
from typing import Optional, Tuple

from ..cases import Case
from ..configs import Resizer, block, field

# The image sizes that the network's feature maps halve exactly are multiples of these; of others, of 64 or less.
MULTIPLES = {"hourglass_52": 128, "hourglass_104": 128}


@dataclass(frozen=True)
class Head:
    """Convolutions of a head before its last."""

    filters: Tuple[int, ...] = ()
    kernels: Tuple[int, ...] = ()

    def lines(self):
        return [*(line for n in self.filters for line in field("num_filters", n)), *(line for n in self.kernels for line in field("kernel_sizes", n))]


def padded(size, smaller=None, pad_values=()):
    """Returns the resizer that published models have."""
    values = [("per_channel_pad_value", value) for value in pad_values]
    fields = (("min_dimension", smaller or size), ("max_dimension", size), ("pad_to_max_dimension", True), *values)
    return Resizer("keep_aspect_ratio", fields)


def fixed(height, width):
    return Resizer("fixed_shape", (("height", height), ("width", width)))


@dataclass(frozen=True)
class CenterNet:
    """The options of one config."""

    extractor: str = "hourglass_10"
    num_classes: int = 3
    resizer: Resizer = padded(64)
    bgr_ordering: Optional[bool] = None
    means: Tuple[float, ...] = ()
    stds: Tuple[float, ...] = ()
    depth_multiplier: Optional[float] = None
    use_separable_conv: Optional[bool] = None
    interpolation: Optional[str] = None
    use_depthwise: Optional[bool] = None
    count: Optional[int] = 20
    window: Optional[int] = None
    center_head: Optional[Head] = Head((24,), (3,))
    scale_head: Optional[Head] = Head((16,), (3,))
    offset_head: Optional[Head] = Head((16,), (3,))
    boxes: bool = True
    nms: Tuple[Tuple[str, object], ...] = ()  # fields of a suppression
    more: Tuple[str, ...] = ()  # lines

    def text(self):
        """Returns the config in protobuf's text format, with the training parts that real configs have."""

        def head(name, options):
            return block(name, options.lines()) if options is not None else []

        suppression = block("post_processing", block("batch_non_max_suppression", *(field(name, value) for name, value in self.nms)))
        model = block(
            "center_net",
            field("num_classes", self.num_classes),
            block(
                "feature_extractor",
                field("type", self.extractor),
                *(field("channel_means", value) for value in self.means),
                *(field("channel_stds", value) for value in self.stds),
                field("bgr_ordering", self.bgr_ordering),
                field("depth_multiplier", self.depth_multiplier),
                field("use_separable_conv", self.use_separable_conv),
                field("upsampling_interpolation", self.interpolation),
            ),
            block("image_resizer", self.resizer.lines()),
            field("use_depthwise", self.use_depthwise),
            block(
                "object_detection_task",
                field("task_loss_weight", 1.0),
                field("offset_loss_weight", 1.0),
                field("scale_loss_weight", 0.1),
                block("localization_loss", block("l1_localization_loss")),
                head("scale_head_params", self.scale_head),
                head("offset_head_params", self.offset_head),
            )
            if self.boxes
            else [],
            block(
                "object_center_params",
                field("object_center_loss_weight", 1.0),
                field("min_box_overlap_iou", 0.7),
                field("max_box_predictions", self.count),
                field("peak_max_pool_kernel_size", self.window),
                block("classification_loss", block("penalty_reduced_logistic_focal_loss", field("alpha", 2.0), field("beta", 4.0))),
                head("center_head_params", self.center_head),
            ),
            suppression if self.nms else [],
            list(self.more),
        )
        return "\n".join(block("model", model)) + "\n"


# The published models' normalisation.
HOURGLASS = {"bgr_ordering": True, "means": (104.01362025, 114.03422265, 119.9165958), "stds": (73.6027665, 69.89082075, 70.9150767)}
RESNET = {"means": (123.68, 116.779, 103.939), "stds": (57.375, 57.12, 58.395)}


def case(name, seed, tier="default", checkpoint="plain", images=((64, 64), (50, 90), (20, 100)), float_images=((2, 60, 80),), **options):
    return Case(f"centernet_{name}", CenterNet(**options).text(), seed, checkpoint, images, float_images, tier)


# Sizes of images are those that the network's feature maps halve exactly, where the resizer does not see to that.
SMALL = [
    case("hourglass_10", 800, tier="quick", checkpoint="training", **HOURGLASS),
    # Two sizes, suppression by class, and a window that is not the usual one.
    case(
        "hourglass_20",
        801,
        checkpoint="snappy",
        extractor="hourglass_20",
        resizer=fixed(64, 96),
        means=(104.0, 114.0, 120.0),
        stds=(70.0, 71.0, 72.0),
        window=5,
        nms=(("score_threshold", 0.1), ("iou_threshold", 0.4), ("max_detections_per_class", 7), ("max_total_detections", 15), ("change_coordinate_frame", False)),
    ),
    # One class, heads of several convolutions and of none, padding of another colour, suppression across classes.
    case(
        "resnet_v1_18_fpn",
        802,
        checkpoint="training",
        extractor="resnet_v1_18_fpn",
        num_classes=1,
        resizer=padded(96, 64, pad_values=(30.0, 60.0, 90.0)),
        bgr_ordering=True,
        center_head=Head((16, 24), (5, 1)),
        scale_head=Head(),
        nms=(("score_threshold", 0.0), ("iou_threshold", 0.5), ("max_detections_per_class", 30), ("max_total_detections", 30), ("change_coordinate_frame", False), ("use_class_agnostic_nms", True)),
        images=((96, 96), (64, 90), (150, 60)),
        float_images=((2, 60, 80),),
        **RESNET,
    ),
    # More objects asked for than there are values; separable heads.
    case(
        "mobilenet_v2",
        803,
        extractor="mobilenet_v2",
        num_classes=1,
        resizer=fixed(64, 96),
        depth_multiplier=0.35,
        use_depthwise=True,
        count=500,
        images=((64, 96), (50, 90)),
    ),
    # Sizes that are known only at run time, with and without padding.
    case(
        "mobilenet_v2_fpn",
        804,
        checkpoint="exported",
        extractor="mobilenet_v2_fpn",
        resizer=Resizer("pad_to_multiple", (("multiple", 32),)),
        depth_multiplier=0.5,
        use_separable_conv=True,
        interpolation="bilinear",
        images=((64, 96), (50, 90)),
    ),
    case(
        "mobilenet_v2_fpn_sep_conv",
        805,
        checkpoint="sharded",
        extractor="mobilenet_v2_fpn_sep_conv",
        resizer=Resizer("identity"),
        use_separable_conv=False,
        use_depthwise=True,
        count=None,
        window=1,
        center_head=None,
        images=((64, 96), (32, 32)),
        float_images=((2, 64, 64),),
    ),
    case(
        "sep_conv_by_name_alone",
        806,
        extractor="mobilenet_v2_fpn_sep_conv",
        resizer=fixed(64, 64),
        depth_multiplier=0.35,
        images=((64, 64),),
        float_images=((1, 64, 64),),
    ),
    case(
        "resnet_v2_50",
        807,
        extractor="resnet_v2_50",
        resizer=padded(64),
        means=(1.0,),
        images=((64, 64), (50, 90)),
        float_images=((2, 64, 64),),
    ),
]

# The rest are locations without a peak, which have equal scores: OpenVINO's TopK does not say which of equals comes first.
FEWER_PEAKS_THAN_OBJECTS = ("centernet_mobilenet_v2",)

# On small images: what differs is the network.
LARGE = [
    case(
        name,
        820 + index,
        tier="exhaustive",
        extractor=name,
        resizer=padded(MULTIPLES.get(name, 64)),
        images=((64, 64), (50, 90)),
        float_images=((2, 64, 64),),
        **options,
    )
    for index, (name, options) in enumerate(
        [
            ("hourglass_32", HOURGLASS),
            ("hourglass_52", HOURGLASS),
            ("hourglass_104", HOURGLASS),
            ("resnet_v1_34_fpn", RESNET),
            ("resnet_v1_50_fpn", RESNET),
            ("resnet_v1_101_fpn", RESNET),
            ("resnet_v2_101", {}),
        ]
    )
]

PUBLISHED = {
    "hourglass104_512": {"extractor": "hourglass_104", "resizer": padded(512), **HOURGLASS},
    # Of 100 objects among the peaks of so large a map, rounding turns some around in nearly every image.
    "hourglass104_1024": {"extractor": "hourglass_104", "resizer": padded(1024), "count": 20, **HOURGLASS},
    "resnet101_v1_fpn_512": {"extractor": "resnet_v1_101_fpn", "resizer": padded(512), **RESNET},
}


def full_size():
    """Returns the published models of boxes at full size: always our own texts of them, and the zoo's where TFOD_ZOO names its folder."""
    heads = {"center_head": None, "scale_head": None, "offset_head": None}
    texts = {name: CenterNet(**{"num_classes": 90, "count": 100, **heads, **options}).text() for name, options in PUBLISHED.items()}
    zoo = os.environ.get("TFOD_ZOO")
    if zoo:
        paths = [path for path in sorted(pathlib.Path(zoo).glob("centernet_*.config")) if "kpts" not in path.name]
        texts.update({"zoo_" + path.stem: path.read_text() for path in paths})
    return [
        Case(f"centernet_{name}", text, 840 + index, "training", ((400, 500),), ((1, 512, 512),), "exhaustive")
        for index, (name, text) in enumerate(texts.items())
    ]


def cases():
    return SMALL + LARGE + full_size()
