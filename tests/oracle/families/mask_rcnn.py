"""Mask R-CNN: three stages, and Inception-ResNet-v2, which the published one has.

The published model at full size takes the reference minutes; what is compared is as large as lets one run end in three.
"""

from dataclasses import replace

from ..cases import Case
from ..configs import BatchNorm, Nms, Resizer, field, hyperparams
from .faster_rcnn import FEW_DETECTIONS, FEW_PROPOSALS, PADDED, SMALL, keep_aspect_ratio

INCEPTION = "faster_rcnn_inception_resnet_v2_keras"


def fixed(height, width):
    return Resizer("fixed_shape", (("height", height), ("width", width)))


def masks(height, width, depth=None, layers=None, agnostic=None, upsample=None, activation=None, batch_norm=None):
    """Returns the lines of `mask_rcnn_box_predictor` that are about masks."""
    return tuple(
        [
            *hyperparams(activation, batch_norm),
            *field("predict_instance_masks", True),
            *field("mask_height", height),
            *field("mask_width", width),
            *field("mask_prediction_conv_depth", depth),
            *field("mask_prediction_num_conv_layers", layers),
            *field("masks_are_class_agnostic", agnostic),
            *field("convolve_then_upsample_masks", upsample),
        ]
    )


SMALL_MASKS = replace(SMALL, stages=3, proposals=16, nms=Nms(0.0, 0.6, 6, 8), masks=masks(9, 11, 24, 2))

CASES = [
    Case("mask_rcnn", SMALL_MASKS.text(), seed=860, checkpoint="training", images=((96, 128),), float_images=((2, 90, 120),), tier="default"),
    Case(
        "mask_rcnn_upsampled",
        replace(
            SMALL_MASKS,
            resizer=keep_aspect_ratio(80, 130),
            matmul=True,
            share_box=True,
            masks=masks(8, 15, 0, 3, agnostic=True, upsample=True, batch_norm=BatchNorm(), activation="RELU_6"),
            more=(("return_raw_detections_during_predict", True), ("output_final_box_features", True), ("resize_masks", False)),
        ).text(),
        seed=861,
        images=((100, 75),),
        float_images=((1, 70, 110),),
        tier="default",
    ),
    # Masks are cropped by boxes relative to the image, padded or not, which often end at its border: whether native crops have a last row of samples there or none is decided
    # by the last bit, which rounding changes.
    Case(
        "mask_rcnn_pyramid",
        replace(
            SMALL_MASKS,
            extractor="faster_rcnn_resnet50_fpn_keras",
            resizer=PADDED,
            num_classes=5,
            matmul=True,
            masks=masks(14, 14, layers=1),
        ).text(),
        seed=862,
        images=((96, 120),),
        float_images=((2, 90, 120),),
        tier="exhaustive",
    ),
    Case(
        "mask_rcnn_inception_resnet_v2",
        replace(SMALL_MASKS, extractor=INCEPTION, resizer=PADDED, matmul=True, masks=masks(9, 9, 0, 2)).text(),
        seed=863,
        images=((96, 120),),
        float_images=((1, 90, 120),),
        tier="default",
    ),
    Case(
        "faster_rcnn_inception_resnet_v2_stride_8",
        replace(SMALL, stages=1, extractor=INCEPTION, resizer=fixed(80, 96), stride=8, anchors=(("height_stride", 8), ("width_stride", 8)), proposals=20).text(),
        seed=864,
        images=((80, 96),),
        float_images=((1, 90, 120),),
        tier="exhaustive",
    ),
]


def published(side, proposals=FEW_PROPOSALS, nms=Nms(0.0, 0.6, FEW_DETECTIONS, FEW_DETECTIONS), resizer=None, matmul=None):
    """Returns the config of the published model for images of one size, but for the numbers of proposals and detections, and for the resizer and the way of cropping where they are given."""
    return replace(
        SMALL,
        num_classes=90,
        stages=3,
        extractor=INCEPTION,
        resizer=resizer or fixed(side, side),
        scales=(0.25, 0.5, 1.0, 2.0),
        rpn_depth=None,
        proposals=proposals,
        crop_size=17,
        pool=(1, 1),
        nms=nms,
        matmul=matmul,
        masks=masks(33, 33, 0, 4),
    ).text()


def full_size():
    # By matrix products for the same reason as the pyramid above; the published model has native crops.
    padded = keep_aspect_ratio(192, 256, pad_to_max_dimension=True)
    # Images of bytes are half as large as the network's, so that all programs find the same places between pixels: a rounding of these, as by ONNX Runtime's resizing, is magnified by
    # 200 layers to more than the tolerance.
    return [
        Case("mask_rcnn_inception_resnet_v2_256", published(256, resizer=padded, matmul=True), seed=871, images=((96, 128),), float_images=((1, 160, 200),), tier="exhaustive"),
    ]


def cases():
    """Returns every case of the family."""
    return CASES + full_size()
