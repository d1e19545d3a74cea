"""Cases of post-processing: box coders, score conversion with calibrations, and every kind of non-max suppression, on small models.

Options are combined as far as they go together, so that a case tests several.
"""

from ..cases import Case
from ..configs import Fpnlite, Nms, Resizer, block, field

# ONNX has no soft suppression: exports are refused.
NOT_IN_ONNX = ("post_soft_nms", "post_soft_nms_agnostic")


def points(pairs):
    """Returns the lines of an `XYPairs`."""
    return [line for x, y in pairs for line in block("x_y_pair", field("x", x), field("y", y))]


def calibration(*lines):
    return tuple(block("calibration_config", *lines))


SHARED = calibration(block("function_approximation", block("x_y_pairs", points(((0.0, 0.02), (0.15, 0.1), (0.4, 0.55), (0.9, 0.93))))))

# The background has one, class 2 has none, there is no class 9.
PER_CLASS = calibration(
    block(
        "class_id_function_approximations",
        *(
            block("class_id_xy_pairs_map", field("key", key), block("value", points(pairs)))
            for key, pairs in (
                (0, ((0.1, 0.3), (0.8, 0.5))),
                (1, ((0.0, 0.0), (0.2, 0.35), (1.0, 1.0))),
                (3, ((0.5, 0.6),)),
                (4, ((0.05, 0.01), (0.1, 0.2), (0.3, 0.31), (0.7, 0.75), (0.99, 0.8))),
                (9, ((0.0, 1.0),)),
            )
        ),
    )
)

# Raw logits reach beyond the last point by more than 1, where the reference falls back to the first value.
OF_LOGITS = calibration(block("function_approximation", block("x_y_pairs", points(((-1.0, 0.11), (0.4, 0.3), (0.9, 0.95), (1.0, 0.2))))))

TEMPERATURE = calibration(block("temperature_scaling_calibration", field("scaler", 1.7)))


def keypoints(count, **scales):
    return tuple(block("keypoint_box_coder", field("num_keypoints", count), *(field(name, value) for name, value in scales.items())))


def static(partitioned=False, **numbers):
    more = (("use_static_shapes", True), ("use_partitioned_nms", True)) if partitioned else (("use_static_shapes", True),)
    return Nms(more=more, **numbers)


def combined(*more, **numbers):
    return Nms(more=(("use_combined_nms", True), ("change_coordinate_frame", False), *more), **numbers)


KEYPOINTS = {"other_box_coder": keypoints(3), "box_code_size": 10}

QUICK = {
    "calibrated": Fpnlite(logit_scale=1.3, more_post_processing=SHARED),
    "static_shapes": Fpnlite(nms=static(score_threshold=0.3, iou_threshold=0.4, per_class=20, total=50)),
    "combined_nms": Fpnlite(nms=combined(score_threshold=0.3, iou_threshold=0.5, per_class=25, total=60)),
    "keypoints": Fpnlite(**KEYPOINTS),
}

# As many scores as are worth a first round among the highest; which finds enough, or not.
QUICK["two_rounds"] = Fpnlite(num_classes=30)
QUICK["two_rounds_to_the_end"] = Fpnlite(num_classes=30, nms=Nms(iou_threshold=0.01, per_class=2, total=60))

FULL = {
    "calibrated_by_class": Fpnlite(num_classes=4, score_converter="SOFTMAX", more_post_processing=PER_CLASS),
    "calibrated_logits": Fpnlite(score_converter=None, more_post_processing=OF_LOGITS, nms=Nms(score_threshold=0.25)),
    "static_shapes_agnostic": Fpnlite(nms=static(score_threshold=0.3, iou_threshold=0.6, per_class=30, total=70, class_agnostic=True)),
    "static_shapes_few_rows": Fpnlite(num_classes=2, nms=static(per_class=4, total=30, class_agnostic=False), **KEYPOINTS),
    "partitioned": Fpnlite(nms=static(True, score_threshold=0.3, iou_threshold=0.4, per_class=20, total=50), **KEYPOINTS),
    "partitioned_agnostic": Fpnlite(nms=static(True, score_threshold=0.35, iou_threshold=0.5, per_class=9, total=60, class_agnostic=True)),
    "partitioned_all": Fpnlite(num_classes=20, nms=static(True, per_class=10, total=100), score_converter="SOFTMAX"),
    "combined_nms_few_rows": Fpnlite(
        num_classes=2, nms=combined(("use_static_shapes", True), score_threshold=0.4, per_class=6, total=40, classes_per_detection=3), **KEYPOINTS
    ),
    "soft_nms": Fpnlite(nms=Nms(0.1, 0.5, 20, 30, more=(("soft_nms_sigma", 0.4),)), more_post_processing=SHARED),
    "soft_nms_agnostic": Fpnlite(
        nms=Nms(0.05, 0.3, 20, 40, class_agnostic=True, more=(("soft_nms_sigma", 0.7), ("use_hard_nms", True), ("use_cpu_nms", True)))
    ),
    "square_boxes": Fpnlite(
        other_box_coder=tuple(block("square_box_coder", field("y_scale", 4.0), field("x_scale", 3.0), field("length_scale", 2.0))),
        box_code_size=3,
        nms=Nms(0.2, 0.5, 20, 40, more=(("use_hard_nms", True), ("use_partitioned_nms", True), ("change_coordinate_frame", False))),
    ),
    "corners_by_stddev": Fpnlite(other_box_coder=tuple(block("mean_stddev_box_coder", field("stddev", 0.02)))),
    "no_background": Fpnlite(
        num_classes=4,
        more=(("add_background_class", False), ("return_raw_detections_during_predict", True)),
        nms=Nms(classes_per_detection=2),
    ),
    "explicit_background": Fpnlite(
        num_classes=4,
        score_converter="SOFTMAX",
        logit_scale=0.7,
        more_post_processing=TEMPERATURE,
        more=(("add_background_class", False), ("explicit_background_class", True)),
        other_box_coder=keypoints(5, y_scale=3.0, x_scale=2.0, height_scale=4.0, width_scale=5.0),
        box_code_size=14,
        nms=Nms(0.3, 0.5, 20, 100, class_agnostic=True),
    ),
}


# After all others: seeds go by the order.
LATER = {
    "combined_nms_two_rounds": Fpnlite(num_classes=30, nms=combined(score_threshold=0.01, iou_threshold=0.5, per_class=25, total=60)),
    # Places that no box has taken, and boxes in the padding of the image, which clipping leaves without area: both come after the last detection.
    "static_shapes_beside_the_image": Fpnlite(
        resizer=Resizer("keep_aspect_ratio", (("min_dimension", 96), ("max_dimension", 96), ("pad_to_max_dimension", True))),
        nms=static(score_threshold=0.35, iou_threshold=0.4, per_class=40, total=120),
    ),
}


def cases():
    """Returns the cases, each on few images."""
    return [
        Case(
            f"post_{name}",
            options.text(),
            seed=400 + index,
            images=((96, 96), (71, 133)),
            float_images=((2, 64, 80),),
            tier="quick" if name in QUICK else "default",
        )
        for index, (name, options) in enumerate({**QUICK, **FULL, **LATER}.items())
    ]
