"""Faster R-CNN: two stages over a ResNet, or over one with a feature pyramid (`faster_rcnn_resnet50_keras` and its siblings).

The networks cannot be made narrow, but images, crops and the number of proposals can be small. Published models belong to the exhaustive tier: ResNet-50 at 640 pixels at full size;
the others, which take minutes, on smaller images: what they differ in is the depth of the network and the size of images.
"""

import itertools
import os
import pathlib
import re
from dataclasses import dataclass, replace
from typing import Optional, Tuple

from ..cases import Case
from ..configs import BatchNorm, Nms, Resizer, Symbol, block, field, hyperparams
from ..design import Design

SOFT = ("faster_rcnn_pyramid_native",)  # soft suppression, which ONNX has not


def keep_aspect_ratio(least, most, **fields):
    """Returns a resizer to at least and at most these sides."""
    return Resizer("keep_aspect_ratio", tuple({"min_dimension": least, "max_dimension": most, **fields}.items()))


@dataclass(frozen=True)
class FasterRcnn:
    """The options of one config. Sizes are pixels."""

    num_classes: int = 3
    resizer: Resizer = keep_aspect_ratio(96, 128, pad_to_max_dimension=True)
    extractor: str = "faster_rcnn_resnet50_keras"
    stride: Optional[int] = None  # of the first stage's feature maps
    stages: Optional[int] = None
    levels: Optional[Tuple[int, int]] = None  # of a pyramid; None: the extractor's own, without a message
    anchor_levels: Tuple[int, int] = (2, 6)  # of a pyramid
    pyramid_depth: Optional[int] = None
    activation: Optional[str] = "RELU_6"  # of a pyramid's convolutions
    batch_norm: Optional[BatchNorm] = BatchNorm()
    override_base: Optional[bool] = True
    scales: Tuple[float, ...] = (0.125, 0.25, 0.5)
    aspect_ratios: Tuple[float, ...] = (0.5, 1.0, 2.0)
    anchors: Tuple[Tuple[str, object], ...] = (("height_stride", 16), ("width_stride", 16))
    scales_per_octave: Optional[int] = 1  # of a pyramid
    other_anchors: Optional[Tuple[str, ...]] = None  # lines of first_stage_anchor_generator
    atrous_rate: Optional[int] = None
    rpn_kernel: Optional[int] = None
    rpn_depth: Optional[int] = 64
    rpn_batch_norm: Optional[BatchNorm] = None
    rpn_score_threshold: Optional[float] = 0.0
    rpn_iou_threshold: Optional[float] = 0.7
    proposals: Optional[int] = 24
    crop_size: int = 8
    pool: Tuple[int, int] = (2, 2)  # kernel and stride
    dropout: Optional[float] = None  # keep probability; None: no dropout
    fc_batch_norm: Optional[BatchNorm] = None
    share_box: Optional[bool] = None
    masks: Tuple[str, ...] = ()  # lines of mask_rcnn_box_predictor
    nms: Nms = Nms(0.0, 0.6, 10, 16)
    score_converter: Optional[str] = "SOFTMAX"
    logit_scale: Optional[float] = None
    more_post_processing: Tuple[str, ...] = ()  # lines
    matmul: Optional[bool] = None  # use_matmul_crop_and_resize
    more: Tuple[Tuple[str, object], ...] = ()  # (field, value) of the message

    def is_pyramid(self):
        return "_fpn_" in self.extractor

    def anchor_generator(self):
        """Returns the lines of `first_stage_anchor_generator`."""
        if self.other_anchors is not None:
            return self.other_anchors
        ratios = [line for ratio in self.aspect_ratios for line in field("aspect_ratios", ratio)]
        if self.is_pyramid():
            return block(
                "multiscale_anchor_generator",
                field("min_level", self.anchor_levels[0]),
                field("max_level", self.anchor_levels[1]),
                field("anchor_scale", 4.0),
                ratios,
                field("scales_per_octave", self.scales_per_octave),
                field("normalize_coordinates", False),
            )
        scales = [line for scale in self.scales for line in field("scales", scale)]
        return block("grid_anchor_generator", scales, ratios, *(field(name, value) for name, value in self.anchors))

    def feature_extractor(self):
        """Returns the lines of `feature_extractor`."""
        pyramid = []
        if self.is_pyramid():
            if self.levels is not None:
                pyramid = block(
                    "fpn",
                    field("min_level", self.levels[0]),
                    field("max_level", self.levels[1]),
                    field("additional_layer_depth", self.pyramid_depth),
                )
            pyramid = pyramid + hyperparams(self.activation, self.batch_norm)
            pyramid = pyramid + field("override_base_feature_extractor_hyperparams", self.override_base)
        return block("feature_extractor", field("type", self.extractor), field("first_stage_features_stride", self.stride), field("batch_norm_trainable", True), pyramid)

    def text(self):
        """Returns the config in protobuf's text format, with the training parts that real configs have."""
        rpn = hyperparams(None, self.rpn_batch_norm)
        rpn[0] = "first_stage_box_predictor_conv_hyperparams {"
        dense = hyperparams(None, self.fc_batch_norm)
        dense[0] = "fc_hyperparams {"
        model = block(
            "faster_rcnn",
            field("number_of_stages", self.stages),
            field("num_classes", self.num_classes),
            block("image_resizer", self.resizer.lines()),
            self.feature_extractor(),
            block("first_stage_anchor_generator", self.anchor_generator()),
            field("first_stage_atrous_rate", self.atrous_rate),
            rpn,
            field("first_stage_box_predictor_kernel_size", self.rpn_kernel),
            field("first_stage_box_predictor_depth", self.rpn_depth),
            field("first_stage_nms_score_threshold", self.rpn_score_threshold),
            field("first_stage_nms_iou_threshold", self.rpn_iou_threshold),
            field("first_stage_max_proposals", self.proposals),
            field("first_stage_localization_loss_weight", 2.0),
            field("first_stage_objectness_loss_weight", 1.0),
            field("initial_crop_size", self.crop_size),
            field("maxpool_kernel_size", self.pool[0]),
            field("maxpool_stride", self.pool[1]),
            block(
                "second_stage_box_predictor",
                block(
                    "mask_rcnn_box_predictor",
                    field("use_dropout", None if self.dropout is None else True),
                    field("dropout_keep_probability", self.dropout),
                    dense,
                    field("share_box_across_classes", self.share_box),
                    self.masks,
                ),
            ),
            block(
                "second_stage_post_processing",
                block(
                    "batch_non_max_suppression",
                    field("score_threshold", self.nms.score_threshold),
                    field("iou_threshold", self.nms.iou_threshold),
                    field("max_detections_per_class", self.nms.per_class),
                    field("max_total_detections", self.nms.total),
                    field("use_class_agnostic_nms", self.nms.class_agnostic),
                    *(field(name, value) for name, value in self.nms.more),
                ),
                field("score_converter", Symbol(self.score_converter) if self.score_converter else None),
                field("logit_scale", self.logit_scale),
                self.more_post_processing,
            ),
            field("second_stage_localization_loss_weight", 2.0),
            field("second_stage_classification_loss_weight", 1.0),
            field("use_matmul_crop_and_resize", self.matmul),
            field("clip_anchors_to_image", True),
            field("use_static_balanced_label_sampler", True),
            field("use_matmul_gather_in_matcher", True),
            *(field(name, value) for name, value in self.more),
        )
        training = block("train_config", field("batch_size", 16), field("num_steps", 50000), field("fine_tune_checkpoint_type", "classification"))
        return "\n".join(block("model", model) + training) + "\n"


SMALL = FasterRcnn()
PYRAMID = FasterRcnn(extractor="faster_rcnn_resnet50_fpn_keras", matmul=True)
STATIC = (("use_static_shapes", True), ("use_static_shapes_for_eval", True))

# None is of the quick tier: ResNets cannot be made narrow here.
CASES = [
    Case(
        "faster_rcnn",
        replace(SMALL, matmul=True, share_box=True, more=(("use_static_shapes", True),)).text(),
        seed=700,
        checkpoint="training",
        images=((96, 128), (140, 90)),
        float_images=((2, 90, 120),),
    ),
    Case(
        "faster_rcnn_own_sizes",
        replace(SMALL, resizer=keep_aspect_ratio(80, 130)).text(),
        seed=701,
        images=((100, 75), (64, 150)),
        float_images=((2, 70, 110),),
    ),
    # Of proposals in the padding, combined suppression gives boxes whose corners are the other way round.
    Case(
        "faster_rcnn_pyramid",
        replace(PYRAMID, more=(("use_combined_nms_in_first_stage", True),)).text(),
        seed=702,
        checkpoint="sharded",
        images=((96, 128),),
        float_images=((2, 100, 80),),
    ),
    Case(
        # By matrix products: in native crops of final boxes, which often end at the image's border, the last bit of a box decides whether the last row of samples
        # is inside of the image or 0.
        "faster_rcnn_features",
        replace(
            SMALL,
            extractor="faster_rcnn_resnet101_keras",
            resizer=Resizer("fixed_shape", (("height", 96), ("width", 112))),
            rpn_batch_norm=BatchNorm(),
            rpn_kernel=1,
            dropout=0.5,
            fc_batch_norm=BatchNorm(True, None, 0.01),
            nms=Nms(0.1, 0.4, 20, 30),
            matmul=True,
            more=(("output_final_box_features", True), ("output_final_box_rpn_features", True)),
        ).text(),
        seed=703,
        images=((96, 112),),
        float_images=((2, 100, 80),),
    ),
    Case(
        "faster_rcnn_static_partitioned",
        replace(SMALL, matmul=True, nms=Nms(0.0, 0.6, 10, 16, more=(("use_static_shapes", True), ("use_partitioned_nms", True))), more=STATIC).text(),
        seed=704,
        images=((96, 128),),
        float_images=((2, 90, 120),),
    ),
    Case(
        "faster_rcnn_static_padded",
        replace(
            SMALL,
            share_box=True,
            proposals=40,
            nms=Nms(0.25, 0.5, 12, 20, more=(("use_static_shapes", True),)),
            more=(*STATIC, ("use_partitioned_nms_in_first_stage", False)),
        ).text(),
        seed=705,
        images=((96, 128),),
        float_images=((2, 90, 120),),
    ),
    Case(
        "faster_rcnn_combined_class_agnostic",
        replace(
            SMALL,
            num_classes=7,
            extractor="faster_rcnn_resnet152_keras",
            pool=(3, 1),
            nms=Nms(0.05, 0.6, 20, 20, class_agnostic=True),
            score_converter="SIGMOID",
            logit_scale=2.0,
            more=(("use_combined_nms_in_first_stage", True),),
        ).text(),
        seed=706,
        images=((96, 128),),
        float_images=((1, 90, 120),),
    ),
    Case(
        "faster_rcnn_one_stage",
        replace(SMALL, stages=1, atrous_rate=2, rpn_score_threshold=0.3, rpn_iou_threshold=0.5, rpn_depth=None, proposals=60).text(),
        seed=707,
        images=((96, 128), (200, 120)),
        float_images=((2, 90, 120),),
    ),
    Case(
        "faster_rcnn_pyramid_native",
        replace(
            PYRAMID,
            extractor="faster_rcnn_resnet101_fpn_keras",
            matmul=None,
            levels=(3, 6),
            anchor_levels=(3, 6),
            pyramid_depth=64,
            override_base=None,
            activation="SWISH",
            resizer=Resizer("fixed_shape", (("height", 96), ("width", 128))),
            num_classes=1,
            nms=Nms(0.0, 0.6, 10, 10, more=(("soft_nms_sigma", 0.4),)),
        ).text(),
        seed=708,
        images=((100, 120),),
        float_images=((2, 100, 80),),
    ),
    # The reference fails where a side is so far from a multiple of 32 that an anchor is all in the padding.
    Case(
        "faster_rcnn_pyramid_own_sizes",
        replace(
            PYRAMID,
            extractor="faster_rcnn_resnet152_fpn_keras",
            levels=(3, 5),
            anchor_levels=(3, 5),
            batch_norm=None,
            override_base=None,
            resizer=keep_aspect_ratio(96, 160),
        ).text(),
        seed=709,
        images=((120, 160),),
        float_images=((2, 80, 80),),
    ),
]

OPTIONS = {
    "depth": (50, 101, 152),
    "pyramid": (None, (None, (2, 6)), ((3, 7), (3, 7)), ((4, 5), (4, 5))),  # its levels, and those of anchors
    "num_classes": (3, 1, 20),
    "resizer": (
        keep_aspect_ratio(96, 128, pad_to_max_dimension=True),
        keep_aspect_ratio(80, 130),
        Resizer("fixed_shape", (("height", 100), ("width", 130))),
        keep_aspect_ratio(90, 120, pad_to_max_dimension=True, resize_method="NEAREST_NEIGHBOR"),
    ),
    "anchors": ((0.25, 0.5, 1.0), (0.125, 0.5)),  # scales
    "matmul": (True, None),
    "share_box": (None, True),
    "first_nms": ("usual", "padded", "partitioned", "combined"),
    "nms": (
        Nms(0.0, 0.6, 10, 16),
        Nms(0.2, 0.5, 30, 30),
        Nms(0.0, 0.45, 5, 5, class_agnostic=True),
        Nms(0.0, 0.6, 10, 16, more=(("use_static_shapes", True),)),
    ),
    "score_converter": ("SOFTMAX", "SIGMOID", None),
    "crop": ((8, (2, 2)), (7, (1, 1)), (9, (3, 2))),
    "dropout": (None, 0.8),
    "rpn": ((3, 1, None), (1, 1, BatchNorm()), (3, 2, None)),  # kernel, rate, normalisation
    "features": (False, True),
}
# The reference takes away anchors that are all in the padding to a multiple of 32, and then has fewer anchors than predictions; not with static shapes, and not
# where anchors are as large as the padding. So these are the sizes of pyramids with small anchors.
WITHOUT_PADDING = dict(
    zip(
        OPTIONS["resizer"],
        (
            OPTIONS["resizer"][0],
            keep_aspect_ratio(128, 160),
            Resizer("fixed_shape", (("height", 96), ("width", 160))),
            keep_aspect_ratio(96, 128, pad_to_max_dimension=True, resize_method="NEAREST_NEIGHBOR"),
        ),
    )
)
# In native crops of boxes that end at the border of a map, the last bit of the other side decides whether the last samples are in the map. With these sizes, no image
# of the rows ends there.
PADDED = keep_aspect_ratio(80, 128, pad_to_max_dimension=True)
FOUR_TO_FIVE = "min_dimension: 128"  # of images of these proportions, both sides become multiples of 32
FIRST_NMS = {
    "usual": (),
    "padded": (*STATIC, ("use_partitioned_nms_in_first_stage", False)),
    "partitioned": STATIC,
    "combined": (("use_combined_nms_in_first_stage", True),),
}


def text_of(row):
    """Returns the config of some values of options."""
    row = dict(row)
    depth, pyramid = row.pop("depth", 50), row.pop("pyramid", None)
    crop_size, pool = row.pop("crop", OPTIONS["crop"][0])
    kernel, rate, norm = row.pop("rpn", OPTIONS["rpn"][0])
    more = FIRST_NMS[row.pop("first_nms", "usual")]
    if row.pop("features", False):
        row["matmul"] = True  # as the case faster_rcnn_features says
        more = (*more, ("output_final_box_features", True), ("output_final_box_rpn_features", True))
    options = replace(
        SMALL,
        extractor=f"faster_rcnn_resnet{depth}_{'' if pyramid is None else 'fpn_'}keras",
        scales=row.pop("anchors", OPTIONS["anchors"][0]),
        crop_size=crop_size,
        pool=pool,
        rpn_kernel=kernel,
        atrous_rate=rate,
        rpn_batch_norm=norm,
        more=more,
        **row,
    )
    if pyramid is not None:
        options = replace(options, levels=pyramid[0], anchor_levels=pyramid[1])
        if pyramid[1][0] < 4 and STATIC[0] not in more:
            options = replace(options, resizer=WITHOUT_PADDING[options.resizer])
    if not options.matmul:
        options = replace(options, resizer=PADDED)
    return options.text()


# The numbers of anchors that partitioned suppression needs are known only where images have one size.
IMPOSSIBLE = ({"first_nms": "partitioned", "resizer": keep_aspect_ratio(80, 130)},)
DESIGN = Design(
    OPTIONS,
    text_of,
    coupled=(("share_box", "nms", "num_classes"), ("pyramid", "matmul", "resizer")),
    impossible=IMPOSSIBLE,
)


def combinations():
    """Returns the rows of the design as cases, all of the exhaustive tier: the default one has cases chosen by hand."""
    kinds = itertools.cycle(("plain", "training", "sharded"))
    return [
        Case(
            f"options_faster_rcnn_{index:02}",
            text,
            seed=720 + index,
            checkpoint=next(kinds),
            images=((96, 120),),
            float_images=((2, 96 if FOUR_TO_FIVE in text else 90, 120),),
            tier="exhaustive",
        )
        for index, text in enumerate(text_of(row) for row, _ in DESIGN.rows())
    ]


# As many proposals and detections as keep their order. Rounding errors are relative to logits, and so is what tells neighbours in a ranking apart, so no scale of the weights
# helps: of 300 proposals among 20,000 anchors, ten or so change places with the next in every image, and each moves all rows behind it.
FEW_PROPOSALS = 32
FEW_DETECTIONS = 20
FEWER_PROPOSALS = 8  # where no image keeps the order of more


# Of models whose first seed gives the padding of all images nearly equal scores that are among the best, or leaves no image in order.
OTHER_SEEDS = {"faster_rcnn_resnet50_fpn_640": 1781, "faster_rcnn_resnet50_1024": 1783, "faster_rcnn_resnet101_640": 2784}


def published(depth, resizer, **changes):
    """Returns the config of a published model of 90 classes, but for the numbers of proposals and detections."""
    usual = dict(
        extractor=f"faster_rcnn_resnet{depth}_keras",
        num_classes=90,
        resizer=resizer,
        scales=(0.25, 0.5, 1.0, 2.0),
        rpn_depth=None,
        proposals=FEW_PROPOSALS,
        crop_size=14,
        share_box=True,
        matmul=True,
        nms=Nms(0.0, 0.6, FEW_DETECTIONS, FEW_DETECTIONS),
        more=(("use_static_shapes", True),),
    )
    return FasterRcnn(**{**usual, **changes}).text()


def square(side):
    return keep_aspect_ratio(side, side, pad_to_max_dimension=True)


def full_size():
    """Returns the published models, and the zoo's where TFOD_ZOO names its folder; those that take the reference more than three minutes, on smaller images."""
    wide = dict(matmul=None, share_box=None, more=())
    texts = {
        "faster_rcnn_resnet50_640": published(50, square(640)),
        "faster_rcnn_resnet50_fpn_640": published(
            50,
            square(640),
            extractor="faster_rcnn_resnet50_fpn_keras",
            levels=(2, 6),
            scales_per_octave=2,
            aspect_ratios=(1.0, 2.0, 0.5),
            share_box=None,
            proposals=FEWER_PROPOSALS,
        ),
        "faster_rcnn_resnet50_800x1333": published(50, keep_aspect_ratio(800, 1333, pad_to_max_dimension=True), **wide),
        "faster_rcnn_resnet50_1024": published(50, square(1024), proposals=FEWER_PROPOSALS),
        "faster_rcnn_resnet101_640": published(101, square(640), proposals=FEWER_PROPOSALS),
        "faster_rcnn_resnet152_640": published(152, square(640)),
    }
    zoo = os.environ.get("TFOD_ZOO")
    if zoo:
        for path in sorted(pathlib.Path(zoo).glob("faster_rcnn_*.config")):
            text = re.sub(r"(first_stage_max_proposals: )\d+", rf"\g<1>{FEW_PROPOSALS}", path.read_text())
            text = re.sub(r"(max_(total_detections|detections_per_class): )\d+", rf"\g<1>{FEW_DETECTIONS}", text)
            if not re.search("resnet50_v1_(640|fpn)", path.stem):
                text = re.sub(r"(m(in|ax)_dimension: )\d+", r"\g<1>320", text)
            texts["zoo_" + path.stem] = text
    return [
        Case(name, text, seed=OTHER_SEEDS.get(name, 780 + index), images=((480, 700),), float_images=((1, 300, 320),), tier="exhaustive")
        for index, (name, text) in enumerate(texts.items())
    ]


def cases():
    """Returns every case of the family."""
    return [replace(case, tier="default") for case in CASES] + full_size() + combinations()
