"""Which images detectors of two stages are compared on.

Their raw outputs are in the order of the proposals, which rounding must not change; and crops of boxes that end at the border of a map have a last row or column of samples that is inside of it
or not by the last bit of the box's other side, so that all outputs have to be steady under several draws of noise.
"""

import numpy as np
import tensorflow as tf

from . import checkpoints

BEST = 60  # proposals, more than the seeded models keep, and four times as many as those that keep few
APART = 2e-6  # what rounding moves scores by in networks that do not magnify it
# Of any output, features among them, of which there are a hundred thousand and more: rounding moves the one that moves most half as far as input noise does.
MOST_MOVEMENT = 8e-5


def is_steady(model, image, seed):
    """Returns whether rounding changes nothing of what is found in an image, float32 [height, width, 3]; True for models of one stage."""
    if not hasattr(model, "_number_of_stages"):
        return True
    if not proposals_are_apart(model, image, seed):
        return False
    still = outputs(model, image)
    return all(movement(still, outputs(model, checkpoints.noisy(image, seed, draw))) <= MOST_MOVEMENT for draw in range(1, checkpoints.DRAWS + 1))


def outputs(model, image):
    """Returns what an export gives for an image, as {key: array}."""
    found = checkpoints.detect(model, image[np.newaxis])
    return {key: value.numpy() for key, value in found.items() if tf.is_tensor(value) and value.dtype == tf.float32}


def movement(still, moved):
    """Returns the largest movement of an output; infinity where shapes change."""
    return max(checkpoints.distance(moved[key], value) if moved[key].shape == value.shape else np.inf for key, value in still.items())


def proposals_are_apart(model, image, seed):
    """Returns whether the best proposals for an image have scores that rounding does not turn around."""
    still = scores_of_proposals(model, image)
    best = np.argsort(-still)[: min(BEST, 4 * model.max_num_proposals)]
    moved = np.abs(scores_of_proposals(model, checkpoints.noisy(image, seed))[best] - still[best]).max()
    gaps = -np.diff(still[best])
    # Input noise moves scores several times as far as rounding does. Of equal ones, as in padding, every implementation takes the first.
    return gaps[gaps > 0].min(initial=np.inf) > max(APART, moved / 2)


def scores_of_proposals(model, image):
    """Returns the scores of all anchors of the first stage."""
    predictions, _ = checkpoints.predict(model, image[np.newaxis])
    return tf.nn.softmax(predictions["rpn_objectness_predictions_with_background"])[0, :, 1].numpy()
