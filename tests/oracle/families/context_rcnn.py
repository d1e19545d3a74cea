"""Context R-CNN: Faster R-CNN whose features attend to a memory bank. Its cases have results of their own (`oracle.context_rcnn`), because they have further inputs."""

from dataclasses import dataclass, replace
from typing import Tuple

from ..cases import Case
from ..configs import Nms, Resizer, Symbol, block, field
from .faster_rcnn import SMALL


@dataclass(frozen=True)
class ContextCase(Case):
    memory: Tuple[int, int] = (9, 20)  # features of the bank, and their length


def context(base, position=None, bottleneck=16, temperature=None):
    """Returns a config with `context_config`."""
    lines = block(
        "context_config",
        field("attention_bottleneck_dimension", bottleneck),
        field("attention_temperature", temperature),
        field("attention_position", Symbol(position) if position else None),
        field("max_num_context_features", 9),
        field("context_feature_length", 20),
    )
    text = base.text()
    place = text.index("    clip_anchors_to_image")
    return text[:place] + "".join(f"    {line}\n" for line in lines) + text[place:]


FIXED = Resizer("fixed_shape", (("height", 96), ("width", 112)))


def cases():
    """Returns every case of the family."""
    return [
        ContextCase(
            "context_rcnn",
            context(SMALL, temperature=0.2),
            seed=880,
            checkpoint="training",
            images=((96, 128), (140, 90)),
            float_images=((2, 90, 120),),
        ),
        ContextCase(
            "context_rcnn_after_proposals",
            context(replace(SMALL, resizer=FIXED, proposals=30, share_box=True, matmul=True, nms=Nms(0.0, 0.6, 20, 20)), "POST_RPN", 24, 0.1),
            seed=881,
            images=((96, 112),),
            float_images=((3, 90, 120),),
            tier="default",
        ),
        ContextCase(
            "context_rcnn_without_attention",
            context(replace(SMALL, extractor="faster_rcnn_resnet50_fpn_keras"), "ATTENTION_DEFAULT"),
            seed=882,
            images=((96, 128),),
            float_images=((1, 90, 120),),
            tier="exhaustive",
        ),
    ]
