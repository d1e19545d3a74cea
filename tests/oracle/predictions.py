"""What the reference's network gives for an image, for a checkpoint of a case of any family: `python -m oracle.predictions RESULTS OUTPUT.npz`.

The arrays: `preprocessed`, the network's input, and the predictions as `network/<key>`, by the keys that exports with `--raw_encodings` have. The image is the first one of `stages`.
"""

import hashlib
import os
import pathlib
import subprocess
import sys

import numpy as np

from . import cache, stages


def prepare(results):
    """Returns the path of the arrays for a case's results, computed if they are not there."""
    here = pathlib.Path(__file__)
    source = hashlib.sha256(here.read_bytes()).hexdigest()[:12]
    path = cache.FOLDER / "predictions" / f"{pathlib.Path(results).name}-{source}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.npz")
        subprocess.run([sys.executable, "-m", "oracle.predictions", results, partial], cwd=here.parent.parent, check=True)
        partial.rename(path)
    return path


def compute(results):
    import tensorflow as tf

    from . import checkpoints, images, reference

    tf.config.run_functions_eagerly(True)
    model, _ = reference.restore(reference.parse((results / "pipeline.config").read_text()), str(results / "checkpoint"))
    image, _ = reference.stable_images(model, images.textured, stages.SEED, *stages.SIZE, 1)
    preprocessed, _ = model.preprocess(tf.constant(image, tf.float32))
    predictions, _ = checkpoints.predict(model, image)
    arrays = {"preprocessed": preprocessed.numpy()}
    for key, value in predictions.items():
        # An hourglass predicts after each of its stages, for training; the last counts.
        value = value[-1] if isinstance(value, list) else value
        if tf.is_tensor(value):
            arrays[f"network/{key.replace('/', '_')}"] = value.numpy()
    return arrays


if __name__ == "__main__":
    np.savez(sys.argv[2], **compute(pathlib.Path(sys.argv[1])))
