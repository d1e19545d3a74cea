"""CenterNet with further tasks: keypoints of one class and of several, masks, DensePose, embeddings and movements.

The label maps that keypoint tasks need are written into the system's folder for temporary files, under names that go by what they say.
"""

import hashlib
import os
import pathlib
import tempfile

from ..configs import block, field
from .center_net import HOURGLASS, RESNET, Head, case, fixed, padded

PERSON = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow"),
    *("left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
)


def label_map(*classes):
    """Returns the path of a label map of classes: (id, name, ((id, label), ...))."""
    lines = []
    for number, name, keypoints in classes:
        keypoints = (block("keypoints", field("id", each), field("label", label)) for each, label in keypoints)
        lines += block("item", field("id", number), field("name", name), *keypoints)
    text = "\n".join(lines) + "\n"
    path = pathlib.Path(tempfile.gettempdir()) / f"tfod-label-map-{hashlib.sha256(text.encode()).hexdigest()[:16]}.pbtxt"
    if not path.exists():
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(text)
        partial.rename(path)  # other processes may be reading
    return str(path)


# The order of a class's keypoints is that of the label map, which is not that of their ids.
ANIMALS = label_map((2, "person", ((0, "nose"), (3, "eye"), (1, "ear"))), (1, "dog", ((4, "snout"), (2, "tail"))), (3, "cat", ()))
ONE = label_map((1, "person", ((0, "nose"), (3, "eye"), (1, "ear"), (7, "toe"))))
COCO = label_map((1, "/m/01g317", tuple(enumerate(PERSON))))


def loss():
    return block(
        "loss",
        block("localization_loss", block("l1_localization_loss")),
        block("classification_loss", block("penalty_reduced_logistic_focal_loss", field("alpha", 2.0), field("beta", 4.0))),
    )


def sigmoid_loss():
    return block("classification_loss", block("weighted_sigmoid"))


def heads(**options):
    return [line for name, head in options.items() for line in block(f"{name}_head_params", head.lines())]


def task(class_name, *more, name=None, **options):
    """Returns the lines of a keypoint task; candidates are looked for in all of the small images. Its name is that of the class, or any text."""
    options = {"candidate_search_scale": 4.0, "box_scale": 4.0, "keypoint_candidate_score_threshold": 0.3, **options}
    fields = (field(name, value) for name, value in options.items())
    return block(
        "keypoint_estimation_task", field("task_name", name or class_name.strip("/").replace("/", "_")), field("keypoint_class_name", class_name), loss(), *fields, *more
    )


def keypoints(labels, *tasks):
    return (*field("keypoint_label_map_path", labels), *(line for each in tasks for line in each))


def masks(**options):
    return block("mask_estimation_task", sigmoid_loss(), *(field(name, value) for name, value in options.items()))


def std(label, value):
    return block("keypoint_label_to_std", field("key", label), field("value", value))


SMALL_HEADS = heads(heatmap=Head((16, 8), (3, 1)), offset=Head((8,), (5,)), regress=Head((12,), (3,)))
NARROW = heads(heatmap=Head((16,), (3,)), offset=Head((16,), (3,)), regress=Head((16,), (3,)))

TWO = keypoints(
    ANIMALS,
    task(
        "person",
        SMALL_HEADS,
        num_candidates_per_keypoint=10,
        per_keypoint_offset=True,
        offset_peak_radius=3,
        clip_out_of_frame_keypoints=True,
        rescore_instances=True,
        rescoring_threshold=0.35,
    ),
    task(
        "dog",
        NARROW,
        num_candidates_per_keypoint=1,
        peak_max_pool_kernel_size=1,
        candidate_ranking_mode="score_scaled_distance_ratio",
        score_distance_multiplier=0.3,
        clip_out_of_frame_keypoints=True,
        rescore_instances=True,
        unmatched_keypoint_score=0.05,
    ),
)

# More candidates are asked for than there are locations. The task has a name that no node of a graph can have.
WEIGHTED = keypoints(
    ONE,
    task(
        "person",
        NARROW,
        std("nose", 0.4),
        std("toe", 1.5),
        name="pose: d'un/homme \u00e0 4",
        candidate_ranking_mode="gaussian_weighted",
        std_dev_multiplier=4.0,
        num_candidates_per_keypoint=300,
        keypoint_candidate_score_threshold=0.001,
        predict_depth=True,
        per_keypoint_depth=True,
        rescore_instances=True,
    ),
)

ARG_MAX = keypoints(
    ONE,
    task(
        "person",
        NARROW,
        argmax_postprocessing=True,
        candidate_ranking_mode="gaussian_weighted_const",
        gaussian_denom_ratio=0.6,
        per_keypoint_offset=True,
        predict_depth=True,
    ),
)

# The reference searches batches of one only.
SINGLE_IMAGES = {"num_classes": 1, "count": 6, "float_images": ((1, 60, 80),)}

PARTS = block("densepose_estimation_task", field("class_id", 1), field("num_parts", 3), loss())
TRACK = block("track_estimation_task", field("num_track_ids", 7), field("num_fc_layers", 3), field("reid_embed_size", 6), sigmoid_loss())
MOVEMENT = block("temporal_offset_task", block("localization_loss", block("l1_localization_loss")))
SUPPRESSION = (
    ("score_threshold", 0.01),
    ("iou_threshold", 0.5),
    ("max_detections_per_class", 5),
    ("max_total_detections", 9),
    ("change_coordinate_frame", False),
)

DEFAULT = [
    case("keypoints_of_two_classes", 840, checkpoint="training", count=10, more=TWO),
    case("keypoints_weighted", 841, num_classes=1, count=8, resizer=fixed(64, 64), more=WEIGHTED),
    case("keypoints_arg_max", 842, more=ARG_MAX, **SINGLE_IMAGES),
    case(
        "masks_and_parts",
        843,
        checkpoint="training",
        count=5,
        more=(*masks(mask_height=6, mask_width=9, score_threshold=0.4), *PARTS, *TRACK, *MOVEMENT),
    ),
]

FURTHER = [
    case(
        "keypoints_without_boxes",
        844,
        tier="exhaustive",
        num_classes=1,
        count=8,
        boxes=False,
        more=keypoints(ONE, task("person", NARROW, candidate_ranking_mode="score_distance_ratio", score_distance_offset=0.5)),
    ),
    case(
        "keypoints_with_one_depth",
        845,
        tier="exhaustive",
        num_classes=1,
        count=8,
        resizer=padded(96, 64),
        more=keypoints(ONE, task("person", NARROW, predict_depth=True, clip_out_of_frame_keypoints=True)),
    ),
    case(
        "all_tasks_suppressed",
        846,
        tier="exhaustive",
        count=10,
        nms=SUPPRESSION,
        use_depthwise=True,
        more=(
            *keypoints(ANIMALS, task("person", SMALL_HEADS, rescore_instances=True), task("dog", NARROW)),
            *masks(mask_height=6, mask_width=6),
            *TRACK,
            *MOVEMENT,
        ),
    ),
]


def published(name, seed, extractor, size, **options):
    """Returns a case as published: 17 keypoints of persons, 90 classes; but 20 objects, because rounding sorts 100 scores of random weights in another order."""
    person = task(
        "/m/01g317",
        *(std(label, value) for label, value in zip(PERSON, (0.26, 0.25, 0.25, 0.35, 0.35, 0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89))),
        keypoint_regression_loss_weight=0.1,
        offset_peak_radius=3,
        per_keypoint_offset=True,
        candidate_search_scale=0.3,
        box_scale=1.2,
        keypoint_candidate_score_threshold=0.1,
    )
    sizes = {"images": ((size, size), (size * 3 // 4, size)), "float_images": ((1, size // 2, size),)}
    return case(
        name,
        seed,
        tier="exhaustive",
        checkpoint="training",
        extractor=extractor,
        num_classes=90,
        count=20,
        resizer=padded(size),
        center_head=None,
        scale_head=None,
        offset_head=None,
        more=keypoints(COCO, person),
        **sizes,
        **options,
    )


PUBLISHED = [
    published("resnet50_v2_512_keypoints", 853, "resnet_v2_50", 512),
    published("resnet50_v1_fpn_512_keypoints", 851, "resnet_v1_50_fpn", 512, **RESNET),
    published("hourglass104_512_keypoints", 852, "hourglass_104", 512, **HOURGLASS),
]


def cases():
    return DEFAULT + FURTHER + PUBLISHED
