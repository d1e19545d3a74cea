"""What the reference computes between an image and its detections, for a checkpoint of a case: `python -m oracle.stages RESULTS OUTPUT.npz`.

The arrays: `images` (uint8, one batch), `preprocessed` (the network's input), the predictions `box_encodings` and
`class_predictions_with_background`, and the outputs as `default/<key>` and, under other thresholds, `changed/<key>`; these are `score_threshold`,
`IOU_THRESHOLD` and `MAX_DETECTIONS`.
"""

import hashlib
import os
import pathlib
import subprocess
import sys

import numpy as np

from . import cache

SIZE = (90, 120)
COUNT = 2
IOU_THRESHOLD = 0.45
MAX_DETECTIONS = 7
KEPT = 5  # detections of the first image above the changed score threshold
SEED = 77


def prepare(results):
    """Returns the path of the arrays for a case's results, computed if they are not there."""
    here = pathlib.Path(__file__)
    source = hashlib.sha256(here.read_bytes()).hexdigest()[:12]
    path = cache.FOLDER / "stages" / f"{pathlib.Path(results).name}-{source}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.npz")
        subprocess.run([sys.executable, "-m", "oracle.stages", results, partial], cwd=here.parent.parent, check=True)
        partial.rename(path)
    return path


def changed(config, score_threshold):
    """Returns the config with other thresholds."""
    copy = type(config)()
    copy.CopyFrom(config)
    nms = copy.model.ssd.post_processing.batch_non_max_suppression
    nms.score_threshold = score_threshold
    nms.iou_threshold = IOU_THRESHOLD
    nms.max_detections_per_class = nms.max_total_detections = MAX_DETECTIONS
    return copy


def compute(results):
    import tensorflow as tf

    from . import images, reference

    tf.config.run_functions_eagerly(True)
    config = reference.parse((results / "pipeline.config").read_text())
    model, _ = reference.restore(config, str(results / "checkpoint"))
    batch, _ = reference.stable_images(model, images.textured, SEED, *SIZE, COUNT)
    default = reference.run(model, "float_image_tensor", batch.astype(np.float32))
    scores = default["detection_scores"][0]
    score_threshold = round(float(scores[KEPT - 1] + scores[KEPT]) / 2, 5)
    preprocessed, true_shapes = model.preprocess(tf.constant(batch.astype(np.float32)))
    predictions = model.predict(preprocessed, true_shapes)
    arrays = {"images": batch, "preprocessed": preprocessed.numpy(), "score_threshold": np.array(score_threshold)}
    for key in ("box_encodings", "class_predictions_with_background"):
        arrays[key] = predictions[key].numpy()
    other, _ = reference.restore(changed(config, score_threshold), str(results / "checkpoint"))
    for prefix, outputs in (("default", default), ("changed", reference.run(other, "float_image_tensor", batch.astype(np.float32)))):
        arrays.update({f"{prefix}/{key}": value for key, value in outputs.items()})
    return arrays


if __name__ == "__main__":
    np.savez(sys.argv[2], **compute(pathlib.Path(sys.argv[1])))
