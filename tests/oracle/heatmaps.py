"""What the reference computes between an image and the objects of a CenterNet, for a checkpoint of a case: `python -m oracle.heatmaps RESULTS FOLDER`.

The folder gets `arrays.npz`: `images` (uint8, one batch), `preprocessed` (the network's input), `maps/<head>`, what these say of every location as
`everywhere/<key>`, and the outputs as `default/<key>`. `tied` in it has `pipeline.config` and `checkpoint` of a model in whose heat maps all locations
are equal but for one class; its outputs are `tied/<key>`.
"""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np

from . import cache

SIZE = (24, 120)  # so wide that some rows of the heat maps are beyond the image
COUNT = 2
SEED = 78
STRIDE = 4
TIED_LOGIT = 0.3


def prepare(results):
    """Returns the folder for a case's results, made if it is not there."""
    here = pathlib.Path(__file__)
    source = hashlib.sha256(here.read_bytes()).hexdigest()[:12]
    folder = cache.FOLDER / "heatmaps" / f"{pathlib.Path(results).name}-{source}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = folder.with_suffix(f".{os.getpid()}")
        subprocess.run([sys.executable, "-m", "oracle.heatmaps", results, partial], cwd=here.parent.parent, check=True)
        partial.rename(folder)
    return folder


def everywhere(maps, size):
    """Returns boxes, as parts of the network's input, and scores of all locations of a batch's maps."""
    batch, height, width, classes = maps["object_center"].shape
    places = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=-1).astype(np.float32)
    centers, sides = places + maps["box/offset"], np.maximum(maps["box/scale"], 0)
    boxes = np.concatenate([centers - sides / 2, centers + sides / 2], axis=-1) * STRIDE / np.tile(size, 2)
    scores = 1 / (1 + np.exp(-maps["object_center"]))
    return {
        "raw_detection_boxes": boxes.reshape(batch, -1, 4).astype(np.float32),
        "raw_detection_scores": scores.reshape(batch, -1, classes).astype(np.float32),
    }


def compute(results, folder):
    import tensorflow as tf

    from . import images, reference

    tf.config.run_functions_eagerly(True)
    config = reference.parse((results / "pipeline.config").read_text())
    model, _ = reference.restore(config, str(results / "checkpoint"))
    batch, _ = reference.stable_images(model, images.textured, SEED, *SIZE, COUNT)
    default = reference.run(model, "float_image_tensor", batch.astype(np.float32))
    # The module normalises images one by one.
    preprocessed, true_shapes = model.preprocess(tf.constant(batch.astype(np.float32)))
    predictions = model.predict(preprocessed, true_shapes)
    maps = {name: predictions[name][-1].numpy() for name in model.prediction_head_dict}
    arrays = {"images": batch, "preprocessed": preprocessed.numpy()}
    arrays.update({f"maps/{name}": value for name, value in maps.items()})
    arrays.update({f"everywhere/{name}": value for name, value in everywhere(maps, preprocessed.shape[1:3]).items()})
    arrays.update({f"default/{key}": value for key, value in default.items()})

    last = model.prediction_head_dict["object_center"][-1].layers[-1]
    kernel, bias = last.kernel.numpy(), last.bias.numpy()
    kernel[..., 1:] = 0
    bias[1:] = TIED_LOGIT
    last.kernel.assign(kernel)
    last.bias.assign(bias)
    arrays.update({f"tied/{key}": value for key, value in reference.run(model, "float_image_tensor", batch.astype(np.float32)).items()})
    tf.train.CheckpointManager(tf.train.Checkpoint(model=model), str(folder / "tied" / "checkpoint"), max_to_keep=1).save()
    shutil.copy(results / "pipeline.config", folder / "tied" / "pipeline.config")
    np.savez(folder / "arrays.npz", **arrays)


if __name__ == "__main__":
    target = pathlib.Path(sys.argv[2])
    (target / "tied").mkdir(parents=True)
    compute(pathlib.Path(sys.argv[1]), target)
