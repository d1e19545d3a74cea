"""What seeded checkpoints and stable images of CenterNets need where these find more than boxes: keypoints, masks, DensePose, embeddings, DeepMAC.

Which candidate becomes a keypoint, and on which side of a threshold a pixel is, are choices that rounding can turn, so images are taken in which noise
turns none.
"""

import numpy as np

# By the end of a head's name: the mean and spread of its last bias, and by how much its last kernel's variance is more than that of other heads.
HEADS = {
    "keypoint/heatmap": ((-0.5, 0.5), 50.0),
    "keypoint/regression": ((0.0, 2.0), 50.0),
    "keypoint/offset": ((0.5, 0.2), 1.0),
    "keypoint/depth": ((3.0, 1.0), 50.0),
    "segmentation/heatmap": ((0.0, 0.3), 100.0),
    "densepose/heatmap": ((0.0, 0.3), 100.0),
    "densepose/regression": ((0.5, 0.3), 20.0),
    "track/reid": ((0.0, 0.5), 50.0),
    "track/offset": ((0.0, 1.0), 50.0),
    "INSTANCE_EMBEDDING": ((0.0, 0.5), 20.0),
    "PIXEL_EMBEDDING": ((0.0, 0.5), 20.0),
}

# What moves steadily under noise moves by less than this; a choice that is turned moves by more.
STEADY = 0.02
CHOSEN = ("detection_keypoints", "detection_keypoint_scores", "detection_keypoint_depths", "detection_masks", "detection_surface_coords")


def of_head(head):
    """Returns (bias, gain) of a head, or None."""
    return next((values for end, values in HEADS.items() if head and head.endswith(end)), None)


def bias(head, otherwise):
    """Returns the mean and spread of the last bias of a head, which may be None."""
    found = of_head(head)
    return found[0] if found else otherwise


def gain(head):
    """Returns by how much the variance of a head's last kernel is more than that of other heads."""
    found = of_head(head)
    return found[1] if found else 1.0


def build_idle(model):
    """Gives the classifier behind embeddings its variables, which checkpoints of a training have."""
    if model._track_params is not None:
        model.track_reid_classification_net.build([None, model._track_params.reid_embed_size])


def further_variables(model):
    """Returns [(None, variable)] for those that are in no head and not in the feature extractor."""
    nets = [getattr(model, "_mask_net", None), getattr(model, "track_reid_classification_net", None)]
    return [(None, variable) for net in nets if net is not None for variable in net.weights]


def choices(detections):
    """Returns what noise must not turn, as arrays that then move by less than a tenth."""
    return [detections[key][0].numpy().astype(np.float32) * (0.1 / STEADY) for key in CHOSEN if key in detections]
