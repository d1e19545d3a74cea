"""The reference's Context R-CNN, which is given a memory bank beside the image: seeded checkpoints, inputs and results, as `worker` makes them for other models.

Run as a script, `python -m oracle.context_rcnn CASE...` computes the results of cases of `families.context_rcnn`.
"""

import contextlib
import sys

import numpy as np

from . import cache

VALID = (5, 3, 8)  # of each image of a batch, how many of the features count


def folder(case):
    """Returns where the results of a case are."""
    return cache.folder(case)


def memory(case, batch):
    """Returns the side inputs of a batch, by name."""
    random = np.random.Generator(np.random.PCG64([case.seed, 5]))
    features = random.normal(0, 2, (batch, *case.memory)).astype(np.float32)
    return {"context_features": features, "valid_context_size": np.array([VALID[index % len(VALID)] for index in range(batch)], np.int32)}


def results(case, python=sys.executable):
    """Returns the folder of the results of a case, computing them in a process of their own if they are not there."""
    import subprocess

    made = folder(case)
    with cache.making(made.name):
        if not (made / "about.json").exists():
            ran = subprocess.run([python, "-m", "oracle.context_rcnn", case.name], cwd=cache.ROOT / "tests", capture_output=True, text=True, check=False)
            assert ran.returncode == 0, ran.stderr
    return made


@contextlib.contextmanager
def with_memory(case):
    """Builds models that are given their memory bank wherever they predict."""
    import tensorflow as tf

    from . import checkpoints

    build, named_variables = checkpoints.build, checkpoints.named_variables

    def build_with_memory(config):
        model = build(config)
        predict = model.predict

        def predict_with_memory(images, true_shapes):
            given = {name: tf.constant(value) for name, value in memory(case, images.shape[0]).items()}
            return predict(images, true_shapes, **given)

        model.predict = predict_with_memory
        return model

    def uniquely_named(model):
        """The attention's layers are built without a scope, so their variables have the same names."""
        attention = {variable.ref() for layer in projections(model) for variable in layer.variables}
        others = [(variable.name, variable) for variable in model.variables if variable.ref() not in attention]
        own = [(f"projection_{index}/{variable.name}", variable) for index, layer in enumerate(projections(model)) for variable in layer.variables]
        found = sorted(others + own, key=lambda item: item[0])
        assert len({name for name, _ in found}) == len(found), "variable names are not unique"
        return found

    checkpoints.build, checkpoints.named_variables = build_with_memory, uniquely_named
    try:
        yield
    finally:
        checkpoints.build, checkpoints.named_variables = build, named_variables


def projections(model):
    """Returns the attention's layers that have variables, as far as they are there."""
    block = model._context_feature_extract_fn
    layers = (block._key_proj, block._val_proj, block._query_proj, block._feature_proj)
    return [part for layer in layers if layer for part in (layer.projection, layer.batch_norm)]


def main():
    import tensorflow as tf

    from . import worker
    from .families import context_rcnn

    tf.config.run_functions_eagerly(True)
    by_name = {case.name: case for case in context_rcnn.cases()}
    for name in sys.argv[1:]:
        case = by_name[name]
        with with_memory(case):
            print(name, worker.compute(case, folder(case), cache.found(case)), flush=True)


if __name__ == "__main__":
    main()
