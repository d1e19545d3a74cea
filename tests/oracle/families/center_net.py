"""CenterNet: objects as peaks of heat maps (`hourglass_104` and its siblings, ResNets and MobileNets).

The smallest networks are compared in the default tier, on images of 64 to 128 pixels; the large ones, which take long, in the exhaustive one.
"""

import os
import pathlib
from dataclasses import dataclass
from typing import Optional, Tuple

from ..cases import Case
from ..configs import Resizer, block, field

# The image sizes that the network's feature maps halve exactly are multiples of these.
MULTIPLES = {"hourglass_10": 8, "hourglass_20": 16, "hourglass_32": 32, "hourglass_52": 128, "hourglass_104": 128}


@dataclass(frozen=True)
class Head:
    """Convolutions of a head before its last."""

    filters: Tuple[int, ...] = ()
    kernels: Tuple[int, ...] = ()

    def lines(self):
        return [*(line for n in self.filters for line in field("num_filters", n)), *(line for n in self.kernels for line in field("kernel_sizes", n))]


def padded(size, smaller=None, **more):
    """Returns the resizer that published models have."""
    fields = (("min_dimension", smaller or size), ("max_dimension", size), ("pad_to_max_dimension", True), *more.items())
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
            ),
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


SMALL = [
    case("hourglass_10", 800, tier="quick", checkpoint="training", **HOURGLASS),
]


def cases():
    return SMALL
