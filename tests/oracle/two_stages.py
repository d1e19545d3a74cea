"""Which images detectors of two stages are compared on.

Their raw outputs are in the order of the proposals, which rounding must not change; and crops of boxes that end at the border of a map have a last row or column of samples that is inside of it
or not by the last bit of the box's other side, so that all outputs have to be steady under several draws of noise.
"""

import numpy as np
import tensorflow as tf

from . import checkpoints

BEST = 60  # proposals, more than the seeded models keep
APART = 2e-6  # what rounding moves scores by in networks that do not magnify it
DRAWS = 4
# Of any output, features among them, of which there are a hundred thousand and more: rounding moves the one that moves most half as far as input noise does.
MOST_MOVEMENT = 8e-5


def is_steady(model, image, detections, seed):
    """Returns whether rounding changes nothing of an image's detections, float32 [height, width, 3]; True for models of one stage."""
    if not hasattr(model, "_number_of_stages"):
        return True
    seeds = [seed + 1_000_000 * draw for draw in range(1, DRAWS + 1)]
    return proposals_are_apart(model, image, seed) and all(movement(model, image, detections, other) <= MOST_MOVEMENT for other in seeds)


def movement(model, image, detections, seed):
    """Returns the largest movement of an output under input noise, features and masks among them; infinity where shapes change."""
    moved = checkpoints.detect(model, checkpoints.noisy(image, seed)[np.newaxis])
    pairs = [(moved[key].numpy(), value.numpy()) for key, value in detections.items() if value is not None]
    return max(np.max(np.abs(a - b) / (1 + np.abs(b)), initial=0) if a.shape == b.shape else np.inf for a, b in pairs)


def proposals_are_apart(model, image, seed):
    """Returns whether the best proposals for an image have scores that rounding does not turn around."""
    still = scores_of_proposals(model, image)
    best = np.argsort(-still)[:BEST]
    moved = np.abs(scores_of_proposals(model, checkpoints.noisy(image, seed))[best] - still[best]).max()
    # Input noise moves scores several times as far as rounding does.
    return -np.diff(still[best]).max() > max(APART, moved / 2)


def scores_of_proposals(model, image):
    """Returns the scores of all anchors of the first stage."""
    predictions, _ = checkpoints.predict(model, image[np.newaxis])
    return tf.nn.softmax(predictions["rpn_objectness_predictions_with_background"])[0, :, 1].numpy()
