"""Seeded checkpoints of reference models that detect: weights made so that no score saturates or is equal to all others.

With fixed batch-norm statistics the signal of random weights grows or dies from layer to layer, and a comparison would pass whatever
the exported graph did. So each batch norm's moving statistics are set to those measured in a forward pass over textured
images, and the class head's scale is searched until the detections' scores are spread. Random networks also amplify rounding errors, so that two
right implementations would differ: activations are shifted into the part of ReLU6 that is mostly linear, and the amplification is
measured. `make` fails if no scale gives a checkpoint that is good in both respects.
"""

import gc
import os
import sys

import numpy as np
import tensorflow as tf
from object_detection.builders import model_builder
from object_detection.core import freezable_batch_norm, freezable_sync_batch_norm
from object_detection.protos import faster_rcnn_box_coder_pb2

from . import images, snappy

HEAD_GAINS = (0.05, 0.3, 0.02, 0.1, 1.0, 0.008, 0.003)  # variance of the class head's kernel, times its fan-in
OTHER_SEEDS = 3  # how many are tried after the one of the case
KERNEL_GAINS = (2.0, 1.0, 1.4)  # of all other kernels; only models without batch norm need more than the first
INPUT_NOISE = 5e-7  # relative; moves the outputs several times as far as the rounding errors of another implementation do
DRAWS = 4  # of input noise, where one does not tell
MOST_MOVEMENT = 5e-5  # of an output under that noise, |a - b| / (1 + |b|): half of the tolerance of the comparison
BATCH_NORMS = (
    tf.keras.layers.BatchNormalization,  # of backbones that the config has no say in
    freezable_batch_norm.FreezableBatchNorm,
    freezable_sync_batch_norm.FreezableSyncBatchNorm,
    tf.keras.layers.experimental.SyncBatchNormalization,  # of hourglasses
)


def of_family(config):
    """Returns the module that makes checkpoints and chooses images for models of another kind than this one; None for SSDs."""
    if config.model.WhichOneof("model") == "center_net":
        from . import center_net  # imports this module

        return center_net
    return None


def build(config):
    """Returns a model of the config's `model` message, for inference, with no variables yet."""
    tf.keras.backend.clear_session()
    gc.collect()
    other = of_family(config)
    return other.build(config) if other else model_builder.build(config.model, is_training=False)


def predict(model, batch):
    """Returns (predictions, true shapes), what the model post-processes, for a float32 [batch, height, width, 3] tensor."""
    preprocessed, true_shapes = model.preprocess(tf.convert_to_tensor(batch, tf.float32))
    return model.predict(preprocessed, true_shapes), true_shapes


def detect(model, batch):
    """Returns the model's detections for a float32 [batch, height, width, 3] tensor."""
    return model.postprocess(*predict(model, batch))


def named_variables(model):
    """Returns the model's variables as (name, variable), sorted by name: an order that does not depend on how it was built."""
    found = sorted(((variable.name, variable) for variable in model.variables), key=lambda item: item[0])
    assert len({name for name, _ in found}) == len(found), "variable names are not unique"
    return found


def fan_in(name, shape):
    """Returns the number of inputs that each output of a convolution's or dense layer's kernel sums over."""
    return int(np.prod(shape[:2]) if "depthwise_kernel" in name else np.prod(shape[:-1]))


def is_class_head(name):
    return "ClassHead" in name or "class_head" in name


def is_box_head(name):
    return "BoxHead" in name or "box_head" in name


def ends_residual_block(name):
    """Returns whether a variable is of a ResNet block's last batch norm, whose result is added to the block's input and then activated."""
    return "_3_bn/" in name


def gain_of_crops(model, name):
    """Returns by how much a variable's values are scaled because of crops from the maps of a pyramid, which change with their boxes: the maps, and what is normalised of their crops, vary
    less, and the first stage sees them as if they did not. Masks, of which there are millions of pixels, are nearer to undecided."""
    if name.endswith("MaskPredictor_last_conv2d/kernel:0"):
        return 0.3
    if not hasattr(model, "_number_of_stages") or "Fpn" not in type(model._feature_extractor).__name__:
        return 1.0
    if name.endswith("gamma:0") and (name.startswith("freezable_batch_norm") or "/smoothing_" in name or "/bottom_up_block" in name):
        return 0.2
    return 5.0 if name == "RPNConv/kernel:0" else 1.0


def assign_weights(model, rng, kernel_gain, class_bias, box_scale):
    """Gives every variable a seeded value; the box head's are scaled to make boxes near their anchors."""
    for name, variable in named_variables(model):
        shape = variable.shape.as_list()
        kind = name.split("/")[-1].split(":")[0]
        if "kernel" in kind or (kind == "weights" and len(shape) == 4):
            value = rng.normal(0, (kernel_gain / fan_in(name, shape)) ** 0.5, size=shape)
        elif kind == "bifpn_combine_weights":
            value = rng.uniform(-0.3, 1.5, size=shape)
            value[0] = 0.1 + abs(value[0])  # not all negative: they would be zeros
        elif kind == "gamma":
            value = rng.uniform(0.5, 1.5, size=shape) * (0.3 if ends_residual_block(name) else 1.0)
        elif kind == "beta":
            # Tens of sums, each a little above zero, would run into the ceiling of ReLU6.
            value = rng.normal(0.0 if ends_residual_block(name) else 1.0, 0.5, size=shape)
        elif kind == "bias":
            value = rng.normal(class_bias if is_class_head(name) else 0.0 if is_box_head(name) else 0.5, 0.3, size=shape)
        elif kind == "moving_mean":
            value = np.zeros(shape)
        elif kind == "moving_variance":
            value = np.ones(shape)
        else:
            raise ValueError(f"do not know how to make a value for {name} of shape {shape}")
        if is_box_head(name) and "depthwise" not in name:
            value *= box_scale
        variable.assign((value * gain_of_crops(model, name)).astype(np.float32))


def measure_batch_norms(model, batch, rng):
    """Sets every batch norm's moving statistics to those of a forward pass over the batch, a few per cent off."""

    def measuring_call(layer, inputs, training=None):
        mean, variance = (moment.numpy() for moment in tf.nn.moments(inputs, list(range(inputs.shape.rank - 1))))
        # A feature map of one pixel hardly varies: keep its statistics within reach of the others'.
        variance = np.maximum(variance, 0.1 * variance.mean() + 1e-3)
        if layer.beta is None:
            mean = mean - np.sqrt(variance)  # does what a beta of 1 does
        mean = mean + 0.05 * np.sqrt(variance) * rng.normal(size=mean.shape)
        variance = variance * rng.uniform(0.95, 1.05, size=variance.shape)
        layer.moving_mean.assign(mean)
        layer.moving_variance.assign(variance)
        return tf.nn.batch_normalization(
            inputs, layer.moving_mean, layer.moving_variance, layer.beta, layer.gamma, layer.epsilon
        )

    plain = [cls.call for cls in BATCH_NORMS]
    try:
        for cls in BATCH_NORMS:
            cls.call = measuring_call
        preprocessed, true_shapes = model.preprocess(batch)
        model.predict(preprocessed, true_shapes)
    finally:
        for cls, call in zip(BATCH_NORMS, plain):
            cls.call = call


def spread(detections, bounded):
    """Returns (good, description): whether the first image's scores could show an error.

    At least 80 % of them must be distinct, below 0.9999 (if the score converter gives probabilities), and span over 0.004.
    """
    scores = detections["detection_scores"][0].numpy()[: int(detections["num_detections"][0])]
    if len(scores) < min(5, detections["detection_scores"].shape[1]):
        return False, f"only {len(scores)} detections"
    distinct = len(np.unique(scores)) / len(scores)
    unsaturated = float((scores < 0.9999).mean()) if bounded else 1.0
    span = float(scores.max() - scores.min())
    summary = f"{len(scores)} detections, {distinct:.0%} distinct, {unsaturated:.0%} unsaturated, {scores.min():.4f}..{scores.max():.4f}"
    return bool(distinct >= 0.8 and unsaturated >= 0.8 and span > 0.004 and np.isfinite(scores).all()), summary


def noisy(image, seed, draw=0):
    """Returns an image, float32 [height, width, 3], under input noise; other draws give other noise."""
    rng = np.random.Generator(np.random.PCG64([seed + 1_000_000 * draw, 4]))
    return image * (1 + INPUT_NOISE * rng.normal(size=image.shape)).astype(np.float32)


def distance(a, b):
    """Returns the largest distance of an element of `a` from that of `b`, relative to it where it is large; 0 for empty arrays."""
    return float(np.max(np.abs(a - b) / (1 + np.abs(b)), initial=0.0))


def movement(model, image, still, seed):
    """Returns (detections, largest movement of a raw output) of an image, float32 [height, width, 3], under input noise; `still` are those without."""
    moved = detect(model, noisy(image, seed)[np.newaxis])
    return moved, max(distance(moved[key], still[key]) for key in ("raw_detection_boxes", "raw_detection_scores"))


def make(config, seed, found=None):
    """Returns (model, what was found) with variables as described at the top.

    Some seeds give a network that magnifies rounding errors whatever the gains; then others that follow from the seed are tried. Raises AssertionError if
    none gives a spread. What an earlier call found makes the same variables without a trial.
    """
    attempt_of_family = (of_family(config) or sys.modules[__name__]).attempt
    if found:
        return attempt_of_family(config, found["seed"], found)
    failures = []
    for other in range(OTHER_SEEDS + 1):
        try:
            return attempt_of_family(config, seed + other * 1000)
        except AssertionError as failure:
            failures.append(str(failure))
        except tf.errors.InvalidArgumentError as failure:
            # DeepMAC gathers beyond the map where the centre of a box lies on the far border, which is an error on CPUs.
            failures.append(failure.message)
    raise AssertionError("\n".join(failures))


def heads_of(model):
    """Returns (post-processing, box coder) of a `model` message, both as messages."""
    if model.HasField("faster_rcnn"):
        # The box coder cannot be configured: it is that of the defaults.
        return model.faster_rcnn.second_stage_post_processing, faster_rcnn_box_coder_pb2.FasterRcnnBoxCoder()
    return model.ssd.post_processing, model.ssd.box_coder.faster_rcnn_box_coder


def usual_size(model):
    """Returns the (height, width) of images that statistics are measured on."""
    meta = getattr(model, model.WhichOneof("model"))
    resizer = meta.image_resizer
    if resizer.HasField("keep_aspect_ratio_resizer") and meta.DESCRIPTOR.name == "FasterRcnn":
        keep = resizer.keep_aspect_ratio_resizer
        return keep.min_dimension, min(keep.max_dimension, keep.min_dimension * 5 // 4)
    return resizer.fixed_shape_resizer.height, resizer.fixed_shape_resizer.width


def attempt(config, seed, found=None):
    """Returns (model, what was found) of one seed; raises AssertionError if no gain gives a spread."""
    post_processing, coder = heads_of(config.model)
    box_scale = min(coder.y_scale, coder.x_scale, coder.height_scale, coder.width_scale) / 10
    identity = post_processing.score_converter == post_processing.IDENTITY
    height, width = usual_size(config.model)
    batch = tf.constant(np.stack([images.textured(1000 * seed + index, height, width) for index in range(3)]), tf.float32)
    model = build(config)
    detect(model, batch[:1])  # creates the variables
    tried = []
    for kernel_gain in [found["kernel_gain"]] if found else KERNEL_GAINS:
        rng = np.random.Generator(np.random.PCG64(seed))
        # Raw logits as scores must be positive to pass a score threshold of zero.
        assign_weights(model, rng, kernel_gain, class_bias=0.5 if identity else -1.5, box_scale=box_scale)
        measure_batch_norms(model, batch, rng)
        # The head's last kernel is linear: scaling it scales the logits about their bias.
        heads = [
            (variable, variable.numpy())
            for name, variable in named_variables(model)
            if is_class_head(name) and "kernel" in name and "depthwise" not in name
        ]
        assert heads, f"no class head among {[name for name, _ in named_variables(model)]}"
        for gain in [found["head_gain"]] if found else HEAD_GAINS:
            for variable, value in heads:
                variable.assign(value * np.float32((gain / kernel_gain) ** 0.5))
            if found:
                return model, found
            image = batch[0].numpy()
            detections = detect(model, image[np.newaxis])
            _, moved = movement(model, image, detections, seed)
            good, summary = spread(detections, bounded=not identity)
            tried.append(f"gains {kernel_gain}, {gain}: {summary}, moved {moved:.2g}")
            if good and moved <= MOST_MOVEMENT:
                return model, {"seed": seed, "kernel_gain": kernel_gain, "head_gain": gain, "detections": summary, "moved": float(f"{moved:.2g}")}
    raise AssertionError("no gain of the class head gives spread scores and a small movement:\n" + "\n".join(tried))


def save(model, folder, kind, seed):
    """Saves the model as a training job would; `kind` is one of

    - "plain": `step` and the model,
    - "training": these and a momentum optimizer with its slot variables,
    - "sharded": as "training", in three shards,
    - "snappy": as "training", with a compressed index,
    - "two_saves": as "plain", with an older checkpoint of other values beside it,
    - "exported": the model alone, as an exporter saves it again.
    """
    step = tf.Variable(12000 + seed, dtype=tf.int64, trainable=False, name="global_step")
    parts = {"model": model} if kind == "exported" else {"step": step, "model": model}
    if kind in ("training", "sharded", "snappy"):
        optimizer = tf.keras.optimizers.legacy.SGD(learning_rate=0.01, momentum=0.9)
        optimizer._create_all_weights(model.trainable_variables)  # the slots a training step would have made
        rng = np.random.Generator(np.random.PCG64([seed, 2]))
        for variable in optimizer.variables()[1:]:
            variable.assign(rng.normal(0, 0.01, size=variable.shape.as_list()).astype(np.float32))
        parts["optimizer"] = optimizer
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(**parts), folder, max_to_keep=5)
    if kind == "two_saves":
        right = [variable.numpy() for variable in model.variables]
        for variable in model.variables:
            variable.assign(variable + 1.0)
        manager.save(checkpoint_number=3)
        for variable, value in zip(model.variables, right):
            variable.assign(value)
    prefix = manager.save(checkpoint_number=12)
    if kind == "sharded":
        split_shards(prefix, 3)
    if kind == "snappy":
        snappy.compress_index(prefix + ".index")


def split_shards(prefix, count):
    """Rewrites a checkpoint of one shard as one of `count`, as a job on several hosts writes them."""
    reader = tf.train.load_checkpoint(prefix)
    keys = sorted(reader.get_variable_to_shape_map())
    parts = []
    for index in range(count):
        names = keys[index::count]
        parts.append(f"{prefix}_part{index}/shard")
        os.makedirs(os.path.dirname(parts[-1]))
        tf.raw_ops.SaveV2(
            prefix=parts[-1],
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=[tf.constant(reader.get_tensor(name)) for name in names],
        )
    del reader
    for suffix in (".index", ".data-00000-of-00001"):
        os.remove(prefix + suffix)
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=prefix, delete_old_dirs=True)
