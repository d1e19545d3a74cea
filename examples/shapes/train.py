"""Trains the shapes example with the TensorFlow 2 Object Detection API, and measures what it learned.

Draws the data, runs the API's own training loop on `pipeline.config` from random weights, saves the checkpoint without the
optimizer's state (three times smaller; `step` and the model stay), and prints precision, recall and average
precision at IoU 0.5 on held-out pictures. Needs the Python environment that `tests/environments.py` makes.
"""

import argparse
import json
import os
import shutil
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from tensorflow.python.ops import control_flow_ops

# tf-slim's example decoder looks for these two names where newer TensorFlows no longer have them.
control_flow_ops.case = tf.case
control_flow_ops.cond = tf.cond

from object_detection import model_lib_v2
from object_detection.builders import model_builder
from object_detection.utils import config_util

import draw

HERE = os.path.dirname(os.path.abspath(__file__))
IOU_NEEDED = 0.5
SCORE_NEEDED = 0.5


def train(work, steps):
    """Runs the API's training loop in `work` and returns the folder of its checkpoints."""
    # The config names its files relative to the folder of the data, so that no machine's paths are in it.
    for name in ("pipeline.config", "label_map.pbtxt"):
        shutil.copy(os.path.join(HERE, name), work)
    os.chdir(work)
    steps = steps or config_util.get_configs_from_pipeline_file("pipeline.config")["train_config"].num_steps
    shutil.rmtree("training", ignore_errors=True)
    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.INFO)  # the loop reports its losses at this level
    model_lib_v2.train_loop(
        "pipeline.config",
        "training",
        train_steps=steps,
        checkpoint_every_n=steps,  # at the end: a run of minutes needs no other
        checkpoint_max_to_keep=1,
        record_summaries=False,
        num_steps_per_iteration=50,
    )
    return os.path.join(work, "training")


def restore(folder):
    """Returns (model, step): the detection model for inference and its training step, from the newest checkpoint."""
    config = config_util.get_configs_from_pipeline_file(os.path.join(HERE, "pipeline.config"))["model"]
    model = model_builder.build(config, is_training=False)
    step = tf.Variable(0, dtype=tf.int64, trainable=False, name="global_step")
    status = tf.train.Checkpoint(step=step, model=model).restore(tf.train.latest_checkpoint(folder)).expect_partial()
    detect(model, np.zeros((160, 160, 3), np.uint8))  # the first call creates the variables
    status.assert_existing_objects_matched()
    return model, step


def save(model, step, folder):
    """Writes `step` and the model, with no optimizer state, as a checkpoint folder numbered by the step."""
    shutil.rmtree(folder, ignore_errors=True)
    checkpoint = tf.train.Checkpoint(step=step, model=model)
    manager = tf.train.CheckpointManager(checkpoint, folder, max_to_keep=1)
    return manager.save(checkpoint_number=int(step.numpy()))


def detect(model, image):
    """Returns (boxes [detections, 4], classes from 1, scores) for a uint8 [height, width, 3] image."""
    images, true_shapes = model.preprocess(tf.cast(image[np.newaxis], tf.float32))
    found = model.postprocess(model.predict(images, true_shapes), true_shapes)
    count = int(found["num_detections"][0])
    return (
        found["detection_boxes"][0, :count].numpy(),
        found["detection_classes"][0, :count].numpy().astype(int) + 1,
        found["detection_scores"][0, :count].numpy(),
    )


def iou(a, b):
    """Returns the intersection over union of two boxes (ymin, xmin, ymax, xmax)."""
    height = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    width = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - height * width
    return height * width / union if union > 0 else 0.0


def judge(detections, truth, class_id):
    """Returns (scores, hits, objects) of one class: each detection's score, whether it is right, and the objects' number.

    Detections are taken by falling score; each takes the best object of its picture that is still free, if their IoU is
    at least 0.5.
    """
    flat = [
        (score, seed, box)
        for seed, (boxes, classes, scores) in detections.items()
        for box, found, score in zip(boxes, classes, scores)
        if found == class_id
    ]
    flat.sort(key=lambda item: -item[0])
    free = {seed: [item["box"] for item in objects if item["id"] == class_id] for seed, objects in truth.items()}
    objects = sum(len(boxes) for boxes in free.values())
    hits = []
    for _, seed, box in flat:
        overlaps = [iou(box, other) for other in free[seed]]
        best = int(np.argmax(overlaps)) if overlaps else -1
        hits.append(best >= 0 and overlaps[best] >= IOU_NEEDED)
        if hits[-1]:
            del free[seed][best]
    return np.array([item[0] for item in flat]), np.array(hits, bool), objects


def average_precision(hits, objects):
    """Returns the area under the precision-recall curve, precision made monotone first."""
    right = np.cumsum(hits)
    precision = np.maximum.accumulate((right / np.arange(1, len(hits) + 1))[::-1])[::-1]
    return float((precision * hits).sum() / objects)


def evaluate(model):
    """Returns the figures on the held-out pictures, as a dict that goes into `quality.json`."""
    truth, detections = {}, {}
    for seed in draw.HELD_OUT_SEEDS:
        image, truth[seed] = draw.draw(seed)
        detections[seed] = detect(model, image)
    figures = {"pictures": len(truth), "iou": IOU_NEEDED, "score": SCORE_NEEDED, "classes": {}}
    for class_id, name in enumerate(draw.CLASSES, start=1):
        scores, hits, objects = judge(detections, truth, class_id)
        kept = scores >= SCORE_NEEDED
        figures["classes"][name] = {
            "objects": objects,
            "precision": round(float(hits[kept].mean()) if kept.any() else 0.0, 4),
            "recall": round(float(hits[kept].sum() / objects), 4),
            "average_precision": round(average_precision(hits, objects), 4),
        }
    for key in ("precision", "recall", "average_precision"):
        figures["mean_" + key] = round(float(np.mean([item[key] for item in figures["classes"].values()])), 4)
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", default=os.path.join(HERE, "..", "..", "target", "shapes"), help="data and training files")
    parser.add_argument("--output", default=HERE, help="gets checkpoint/ and quality.json")
    parser.add_argument("--steps", type=int, help="training steps, a multiple of 50 (default: the config's num_steps)")
    parser.add_argument("--threads", type=int, default=0, help="threads TensorFlow may use (0: all cores)")
    parser.add_argument("--evaluate-only", action="store_true", help="measure the checkpoint that is in --output")
    arguments = parser.parse_args()

    work, output = os.path.abspath(arguments.work), os.path.abspath(arguments.output)
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.random.set_seed(1)
    if not arguments.evaluate_only:
        os.makedirs(work, exist_ok=True)
        draw.write_records(os.path.join(work, "train.tfrecord"), draw.TRAIN_SEEDS)
        draw.write_records(os.path.join(work, "held_out.tfrecord"), draw.HELD_OUT_SEEDS)
        draw.write_test_pictures(os.path.join(output, "images"))
        start = time.time()
        training = train(work, arguments.steps)
        print(f"trained in {time.time() - start:.0f} s", flush=True)
        model, step = restore(training)
        print("saved", save(model, step, os.path.join(output, "checkpoint")))
    model, step = restore(os.path.join(output, "checkpoint"))
    figures = {"step": int(step.numpy()), **evaluate(model)}
    print(json.dumps(figures, indent=1))
    with open(os.path.join(output, "quality.json"), "w") as file:
        json.dump(figures, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
