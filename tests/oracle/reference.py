"""Runs the reference implementation eagerly on a checkpoint: the results an export must reproduce.

The model is built, restored and called as the official exporter's module does it, only without tracing a graph, which takes a minute.
"""

import contextlib

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from object_detection import exporter_lib_v2
from object_detection.protos import pipeline_pb2

from . import center_net, checkpoints, images, two_stages

# Rounding differs between two right implementations; results that a change this small (relative) can reorder prove nothing.
NOISE = 1e-5
# What models predict, before it is decoded.
PREDICTIONS = {
    "box_encodings",
    "class_predictions_with_background",
    "refined_box_encodings",
    "rpn_box_encodings",
    "rpn_objectness_predictions_with_background",
}
CANDIDATES = 100


def parse(text):
    """Returns the config of a text as a `TrainEvalPipelineConfig` message."""
    return text_format.Parse(text, pipeline_pb2.TrainEvalPipelineConfig())


def restore(config, folder):
    """Returns (model, status): a model restored from the newest checkpoint in the folder, as the official exporter does it.

    Call `status.assert_existing_objects_matched()` after the first use of the model, which creates its variables.
    """
    model = checkpoints.build(config)
    status = tf.train.Checkpoint(model=model).restore(tf.train.latest_checkpoint(folder))
    return model, status.expect_partial()


def run(model, input_type, batch):
    """Returns the outputs, {key: float32 array}, that the official export has for this input."""
    module = exporter_lib_v2.DETECTION_MODULE_MAP[input_type](model)
    with classes_of_proposals(model):
        # The image module's `__call__` is an attribute of the instance, the others' is a method.
        outputs = module.__call__(tf.constant(batch))
    has_classes = getattr(model, "_number_of_stages", None) != 1
    return {key: value.numpy() for key, value in outputs.items() if has_classes or key != "detection_classes"}


@contextlib.contextmanager
def classes_of_proposals(model):
    """Gives the proposals of a model of one stage classes, which it has none of, because the exporter fails without."""
    if getattr(model, "_number_of_stages", None) != 1:
        yield
        return
    postprocess = model.postprocess

    def with_classes(*args):
        detections = postprocess(*args)
        # Nor has the exporter a use for what a combined suppression does not give.
        detections = {key: value for key, value in detections.items() if value is not None}
        return {**detections, "detection_classes": tf.zeros_like(detections["detection_scores"])}

    model.postprocess = with_classes
    try:
        yield
    finally:
        del model.postprocess


def is_stable(model, image, seed):
    """Returns whether an image's raw outputs hardly move, and its detections keep their order, under noise like rounding errors."""
    if hasattr(model, "prediction_head_dict"):
        return center_net.is_stable(model, image, seed)
    image = image.astype(np.float32)
    predictions, true_shapes = checkpoints.predict(model, image[np.newaxis])
    detections = model.postprocess(predictions, true_shapes)
    rng = np.random.Generator(np.random.PCG64([seed, 3]))
    for _ in range(2):
        changed = dict(predictions)
        for key in sorted(PREDICTIONS & predictions.keys()):
            value = predictions[key].numpy()
            changed[key] = tf.constant(value + (NOISE * rng.normal(size=value.shape) * (1 + np.abs(value))).astype(np.float32))
        if order(model.postprocess(changed, true_shapes)) != order(detections):
            return False
    noisy, moved = checkpoints.movement(model, image, detections, seed)
    return moved <= checkpoints.MOST_MOVEMENT and order(noisy) == order(detections) and two_stages.is_steady(model, image, seed)


def order(detections):
    """Returns which anchors and classes were detected, in their order, as something to compare."""
    count = int(detections["num_detections"][0])
    keys = {"detection_anchor_indices", "detection_classes"} & set(detections)  # use_combined_nms gives no anchors
    found = [detections[key][0, :count].numpy() for key in sorted(keys)]
    if not keys:  # proposals
        found = [np.round(detections["detection_boxes"][0, :count].numpy(), 3)]
    return (count, *(value.tobytes() for value in found))


def stable_images(model, make, seed, height, width, count):
    """Returns (`count` images, float32 or uint8 [count, height, width, 3], whose detections are stable; their numbers)."""
    chosen = []
    for candidate in range(CANDIDATES):
        if is_stable(model, image_of(make, seed, height, width, candidate), seed):
            chosen.append(candidate)
        if len(chosen) == count:
            return images_of(make, seed, height, width, chosen), chosen
    raise AssertionError(f"only {len(chosen)} of {CANDIDATES} images of {height}x{width} have stable detections, {count} wanted")


def image_of(make, seed, height, width, candidate):
    """Returns one of the images that may be taken, by its number."""
    return make(seed * 1_000_000 + 10_000 * candidate + 7 * height + width, height, width)


def images_of(make, seed, height, width, candidates):
    return np.stack([image_of(make, seed, height, width, candidate) for candidate in candidates])


def inputs(model, case, found=None):
    """Returns ({input type: [batch, ...]}, what was found) for a case: its images, chosen so that the comparison is well-posed, and their numbers.

    What an earlier call found gives the same images without a trial.
    """
    wanted = {
        "image_tensor": (images.textured, case.seed + 1, [(1, *size) for size in case.images]),
        "float_image_tensor": (images.textured_float, case.seed + 2, case.float_images),
    }
    batches, numbers = {}, {}
    for input_type, (make, seed, sizes) in wanted.items():
        if found:
            numbers[input_type] = found[input_type]
            made = [images_of(make, seed, height, width, chosen) for (_, height, width), chosen in zip(sizes, found[input_type])]
            batches[input_type] = made
        else:
            chosen = [stable_images(model, make, seed, height, width, count) for count, height, width in sizes]
            batches[input_type], numbers[input_type] = map(list, zip(*chosen)) if chosen else ([], [])
    return batches, numbers
