"""Checkpoints that the reference's own training loop writes, in a few steps on drawn pictures.

Seeded checkpoints (see checkpoints.py) are saved by hand and hold what is worth comparing. These hold what training leaves behind: optimizer
slots, moving averages, counters, and whatever else the training loop hangs on the model object. As a program,
`python -m oracle.training` makes the runs whose names it is given, in one process. The results are kept in the oracle's cache.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import Tuple

from . import cache
from .configs import Fpnlite, Nms
from .families.center_net import CenterNet
from .families.faster_rcnn import FasterRcnn, keep_aspect_ratio

PICTURES = 4
PICTURE_SIZE = (64, 64)  # height, width
CLASSES = ("disc", "box")


@dataclass(frozen=True)
class Run:
    """A training run: `config` has the model, `optimizer` the text of the `optimizer` message; one checkpoint before the first step,
    then one every `every` steps, of which the last `keep` stay.
    """

    name: str
    config: str
    optimizer: str
    steps: int = 2
    every: int = 1
    keep: int = 7
    meta: str = "ssd"  # the field of the meta-architecture in the model's message

    def checkpoints(self):
        """Returns the numbers of the checkpoints that the run leaves, and the step of each: {number: step}."""
        written = {number + 1: number * self.every for number in range(1 + self.steps // self.every)}
        return dict(list(written.items())[-self.keep :])


RATE = "learning_rate { constant_learning_rate { learning_rate: 0.001 } }"
MOMENTUM = f"momentum_optimizer {{ {RATE} momentum_optimizer_value: 0.9 }}"
ADAM = f"adam_optimizer {{ {RATE} }}"
# The least of what has a feature pyramid and heads that share weights. Batch norms forget quickly and kernels are large, so that what two steps leave
# is no constant function of the image.
FPNLITE = (
    Fpnlite(
        num_classes=len(CLASSES),
        size=PICTURE_SIZE,
        levels=(4, 5),
        depth_multiplier=0.1,
        min_depth=8,
        fpn_depth=16,
        predictor_depth=8,
        tower_layers=1,
        nms=Nms(per_class=10, total=10),
    )
    .text()
    .replace("decay: 0.997", "decay: 0.5")
    .replace("stddev: 0.01", "stddev: 0.2")
)

# Its batch norms do not learn, so its maps are large: with larger weights and steps, scores would be 0 or 1.
SLOWLY = MOMENTUM.replace("0.001", "0.000000001")
TWO_STAGES = FasterRcnn(num_classes=len(CLASSES), resizer=keep_aspect_ratio(64, 64), proposals=8, crop_size=4, more=(("second_stage_batch_size", 8),)).text()
TWO_STAGES = TWO_STAGES.replace("stddev: 0.01", "stddev: 0.00005")
CENTERS = CenterNet(num_classes=len(CLASSES)).text()

RUNS = {
    run.name: run
    for run in (
        Run("momentum", FPNLITE, f"{MOMENTUM} use_moving_average: false"),
        Run("adam", FPNLITE, f"{ADAM} use_moving_average: false", keep=1),
        Run("moving_average", FPNLITE, f"{MOMENTUM} use_moving_average: true"),
        Run("two_stages", TWO_STAGES, f"{SLOWLY} use_moving_average: false", steps=1, meta="faster_rcnn"),
        Run("centers", CENTERS, f"{ADAM} use_moving_average: false", meta="center_net"),
    )
}


def folder(run):
    """Returns the folder of a run: `pipeline.config`; `train/`, which training wrote; `saved_again/`, the last checkpoint as the official exporter saves it
    again; `reference.npz`, what the reference computes from it for `input_0`.
    """
    source = json.dumps(dataclasses.asdict(run), sort_keys=True) + pathlib.Path(__file__).read_text() + cache.sources_hash()
    return cache.FOLDER / "training" / f"{run.name}-{hashlib.sha256(source.encode()).hexdigest()[:16]}"


def make(runs):
    """Makes the runs that are not in the cache, in one process of their own; returns {name: folder}."""
    with cache.making("training"):
        missing = [run.name for run in runs if not folder(run).exists()]
        if missing:
            environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
            command = [sys.executable, "-m", "oracle.training", *missing]
            result = subprocess.run(command, cwd=cache.ROOT / "tests", env=environment, capture_output=True, text=True, check=False)
            assert result.returncode == 0, f"{' '.join(command)}: exit status {result.returncode}\n{result.stderr[-4000:]}"
    return {run.name: folder(run) for run in runs}


def write_pictures(path):
    """Writes a file of records with a disc and a box in each picture."""
    import numpy as np
    import tensorflow as tf

    height, width = PICTURE_SIZE
    rows, columns = np.mgrid[:height, :width]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for index in range(PICTURES):
            rng = np.random.Generator(np.random.PCG64(index))
            picture = rng.integers(0, 60, size=(height, width, 3), dtype=np.uint8)
            radius, top, left = rng.integers(8, 14), rng.integers(16, 24), rng.integers(16, width - 16)
            picture[(rows - top) ** 2 + (columns - left) ** 2 <= radius**2] = (220, 80, 40)
            side, lower, corner = rng.integers(14, 22), rng.integers(36, 40), rng.integers(2, width - 24)
            picture[lower : lower + side, corner : corner + side] = (40, 90, 210)
            boxes = np.array(
                [[top - radius, left - radius, top + radius, left + radius], [lower, corner, lower + side, corner + side]], np.float32
            ) / [height, width, height, width]
            features = {
                "image/encoded": [tf.io.encode_png(picture).numpy()],
                "image/format": [b"png"],
                "image/source_id": [str(index).encode()],
                "image/filename": [f"{index}.png".encode()],
                "image/height": [height],
                "image/width": [width],
                "image/object/class/label": [1, 2],
                "image/object/class/text": [name.encode() for name in CLASSES],
            }
            for side_name, column in zip(("ymin", "xmin", "ymax", "xmax"), boxes.T):
                features[f"image/object/bbox/{side_name}"] = [float(value) for value in column]
            writer.write(tf.train.Example(features=tf.train.Features(feature={k: feature(v) for k, v in features.items()})).SerializeToString())


def feature(values):
    """Returns a list of values as a feature of a `tf.train.Example`."""
    import tensorflow as tf

    if isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if isinstance(values[0], float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def config_text(run, data):
    """Returns the run's config: its model, and how it is trained on the pictures in the folder `data`."""
    model, *_ = run.config.partition("train_config")
    return f"""{model}train_config {{
  batch_size: {PICTURES}
  num_steps: {run.steps}
  optimizer {{ {run.optimizer} }}
  data_augmentation_options {{ random_horizontal_flip {{ }} }}
  max_number_of_boxes: 8
  unpad_groundtruth_tensors: false
}}
train_input_reader {{
  label_map_path: "{data / 'label_map.pbtxt'}"
  tf_record_input_reader {{ input_path: "{data / 'pictures.tfrecord'}" }}
}}
"""


def train(run, place):
    """Runs the reference's training loop; leaves everything in a new folder `place`."""
    import tensorflow as tf
    from object_detection import model_lib_v2
    from tensorflow.python.ops import control_flow_ops

    # The decoder of records looks for these where TensorFlow had them once.
    control_flow_ops.case, control_flow_ops.cond = tf.compat.v1.case, tf.compat.v1.cond
    place.mkdir(parents=True)
    write_pictures(place / "pictures.tfrecord")
    items = "".join(f"item {{ id: {index + 1} name: '{name}' }}\n" for index, name in enumerate(CLASSES))
    (place / "label_map.pbtxt").write_text(items)
    text = config_text(run, place)
    (place / "given.config").write_text(text)
    # Initial values, too, which Keras draws by itself.
    tf.keras.utils.set_random_seed(1)
    model_lib_v2.train_loop(
        str(place / "given.config"),
        str(place / "train"),
        checkpoint_every_n=run.every,
        checkpoint_max_to_keep=run.keep,
        num_steps_per_iteration=1,
        record_summaries=False,
    )
    (place / "pipeline.config").write_text(text)


def run_reference(place):
    """Does with the last checkpoint what the official exporter does, but for writing a SavedModel."""
    import numpy as np
    import tensorflow as tf

    from . import images, reference

    tf.config.run_functions_eagerly(True)
    try:
        model, status = reference.restore(reference.parse((place / "pipeline.config").read_text()), str(place / "train"))
        batch = images.textured(7, *PICTURE_SIZE)[np.newaxis]
        outputs = reference.run(model, "image_tensor", batch)
        status.assert_existing_objects_matched()
    finally:
        tf.config.run_functions_eagerly(False)
    np.savez(place / "reference.npz", input_0=batch, **{f"output_0/{key}": value for key, value in outputs.items()})
    tf.train.CheckpointManager(tf.train.Checkpoint(model=model), str(place / "saved_again"), 1).save(checkpoint_number=0)


def main():
    for name in sys.argv[1:]:
        run = RUNS[name]
        final = folder(run)
        work = final.with_suffix(f".partial-{os.getpid()}")
        shutil.rmtree(work, ignore_errors=True)
        try:
            train(run, work)
            run_reference(work)
            work.rename(final)
        finally:
            shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
