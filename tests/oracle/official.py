"""SavedModels of the official exporter: of the shipped example, and of seeded checkpoints of one model an architecture.

An export takes the exporter a minute or more, so it is kept in a folder whose name has a hash of what it depends on. As a program,
`python -m oracle.official NAME FOLDER` makes the seeded checkpoint of one of them, in a process of its own.
"""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import Optional, Tuple

import numpy as np

from . import cache, cases, images
from .configs import Nms
from .families import faster_rcnn, mask_rcnn
from .saved_models import model

SHAPES = cache.ROOT / "examples" / "shapes"
GAINS = (1.0, 0.3, 0.1, 0.03, 3.0)  # of the prediction layers, until scores are spread


@dataclass(frozen=True)
class Seeded:
    """A model whose weights are made here: its config, and the image sizes (height, width) that its export is run on."""

    config: str
    sizes: Tuple[Tuple[int, int], ...]
    smaller: Optional[str] = None  # a config with the same variables, which are measured on it where the model itself takes minutes


def resizer(size):
    return f"""
    image_resizer {{
      keep_aspect_ratio_resizer {{ min_dimension: {size} max_dimension: {size} pad_to_max_dimension: true }}
    }}"""


def hyperparams(extra):
    return f"""conv_hyperparams {{
        regularizer {{ l2_regularizer {{ weight: 0.00004 }} }}
        initializer {{ truncated_normal_initializer {{ stddev: 0.03 }} }}
        {extra}
      }}"""


def efficientdet_d0(size=512, num_classes=90):
    swish = "activation: SWISH force_use_bias: true batch_norm { scale: true decay: 0.99 epsilon: 0.001 }"
    return f"""model {{
  ssd {{
    num_classes: {num_classes}
    add_background_class: false
    encode_background_as_zeros: true
    box_coder {{ faster_rcnn_box_coder {{ y_scale: 1 x_scale: 1 height_scale: 1 width_scale: 1 }} }}
    matcher {{ argmax_matcher {{ }} }}
    similarity_calculator {{ iou_similarity {{ }} }}
    anchor_generator {{
      multiscale_anchor_generator {{
        min_level: 3 max_level: 7 anchor_scale: 4 aspect_ratios: [1.0, 2.0, 0.5] scales_per_octave: 3
      }}
    }}{resizer(size)}
    box_predictor {{
      weight_shared_convolutional_box_predictor {{
        depth: 64 num_layers_before_predictor: 3 kernel_size: 3 use_depthwise: true class_prediction_bias_init: -4.6
        {hyperparams(swish)}
      }}
    }}
    feature_extractor {{
      type: "ssd_efficientnet-b0_bifpn_keras"
      bifpn {{ min_level: 3 max_level: 7 num_iterations: 3 num_filters: 64 }}
      {hyperparams(swish)}
    }}
    loss {{
      classification_loss {{ weighted_sigmoid_focal {{ }} }}
      localization_loss {{ weighted_smooth_l1 {{ }} }}
    }}
    post_processing {{
      batch_non_max_suppression {{
        score_threshold: 1e-8 iou_threshold: 0.5 max_detections_per_class: 100 max_total_detections: 100
      }}
      score_converter: SIGMOID
    }}
  }}
}}
"""


def faster_rcnn_resnet50(size=640, num_classes=90):
    return f"""model {{
  faster_rcnn {{
    num_classes: {num_classes}{resizer(size)}
    feature_extractor {{ type: "faster_rcnn_resnet50_keras" batch_norm_trainable: true }}
    first_stage_anchor_generator {{
      grid_anchor_generator {{
        scales: [0.25, 0.5, 1.0, 2.0] aspect_ratios: [0.5, 1.0, 2.0] height_stride: 16 width_stride: 16
      }}
    }}
    first_stage_box_predictor_conv_hyperparams {{
      op: CONV
      regularizer {{ l2_regularizer {{ weight: 0.0 }} }}
      initializer {{ truncated_normal_initializer {{ stddev: 0.01 }} }}
    }}
    first_stage_nms_score_threshold: 0.0
    first_stage_nms_iou_threshold: 0.7
    first_stage_max_proposals: 100
    first_stage_localization_loss_weight: 2.0
    first_stage_objectness_loss_weight: 1.0
    initial_crop_size: 14
    maxpool_kernel_size: 2
    maxpool_stride: 2
    second_stage_box_predictor {{
      mask_rcnn_box_predictor {{
        fc_hyperparams {{
          op: FC
          regularizer {{ l2_regularizer {{ weight: 0.0 }} }}
          initializer {{ variance_scaling_initializer {{ factor: 1.0 uniform: true mode: FAN_AVG }} }}
        }}
        share_box_across_classes: true
      }}
    }}
    second_stage_post_processing {{
      batch_non_max_suppression {{
        score_threshold: 0.0 iou_threshold: 0.6 max_detections_per_class: 50 max_total_detections: 100
      }}
      score_converter: SOFTMAX
    }}
    use_static_shapes: true
    use_matmul_crop_and_resize: true
    clip_anchors_to_image: true
  }}
}}
"""


def center_net(feature_extractor, size, num_classes=90):
    return f"""model {{
  center_net {{
    num_classes: {num_classes}
    feature_extractor {{
      type: "{feature_extractor}"
      bgr_ordering: true
      channel_means: [104.01362025, 114.03422265, 119.9165958]
      channel_stds: [73.6027665, 69.89082075, 70.9150767]
    }}{resizer(size)}
    object_detection_task {{
      task_loss_weight: 1.0 offset_loss_weight: 1.0 scale_loss_weight: 0.1
      localization_loss {{ l1_localization_loss {{ }} }}
    }}
    object_center_params {{
      object_center_loss_weight: 1.0 min_box_overlap_iou: 0.7 max_box_predictions: 100
      classification_loss {{ penalty_reduced_logistic_focal_loss {{ alpha: 2.0 beta: 4.0 }} }}
    }}
  }}
}}
"""


SEEDED = {
    "efficientdet_d0": Seeded(efficientdet_d0(), ((512, 512), (300, 410))),
    "faster_rcnn_resnet50": Seeded(faster_rcnn_resnet50(), ((640, 640), (300, 410))),
    "center_net_small": Seeded(center_net("hourglass_10", 256, 20), ((256, 256), (200, 310))),
    # For the benchmarks only.
    "center_net_hourglass_104": Seeded(center_net("hourglass_104", 512), ((512, 512),)),
    "faster_rcnn_resnet50_640": Seeded(
        faster_rcnn.published(50, faster_rcnn.square(640), proposals=300, nms=Nms(0.0, 0.6, 100, 300)),
        ((640, 640),),
    ),
    "mask_rcnn_inception_resnet_v2_1024": Seeded(
        mask_rcnn.published(1024, proposals=300, nms=Nms(0.0, 0.6, 100, 100)),
        ((256, 256),),
        smaller=mask_rcnn.published(256),
    ),
}


def export(name, say=lambda text: None):
    """Returns the folder of an official export for `image_tensor`, made if it is not there: `saved_model/`, `checkpoint/`, `pipeline.config`.

    `name` is "shapes", "fpnlite_320" (the checkpoint of the parity case), or one of `SEEDED`.
    """
    with cache.making(f"official-{name}"):
        return _export(name, say)


def _export(name, say):
    if name in SEEDED:
        source = pathlib.Path(__file__).read_text() + SEEDED[name].config
    elif name == "shapes":
        source = "".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((SHAPES / "checkpoint").iterdir()))
        source += (SHAPES / "pipeline.config").read_text()
    else:
        source = cache.key(parity_case(name))
    folder = cache.FOLDER / "official" / f"{name}-{hashlib.sha256(source.encode()).hexdigest()[:16]}"
    if (folder / "pipeline.config").exists():
        return folder
    work = folder.with_suffix(f".partial-{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        config, checkpoint = work / "given.config", work / "trained"
        if name in SEEDED:
            say(f"{name}: making a seeded checkpoint")
            config.write_text(SEEDED[name].config)
            run([sys.executable, "-m", "oracle.official", name, checkpoint])
        elif name == "shapes":
            config, checkpoint = SHAPES / "pipeline.config", SHAPES / "checkpoint"
        else:
            results = cache.Pool(sys.executable, [parity_case(name)]).wait(parity_case(name))
            config, checkpoint = results / "pipeline.config", results / "checkpoint"
        say(f"{name}: the official exporter")
        run(
            [sys.executable, "-m", "object_detection.exporter_main_v2", "--input_type=image_tensor"]
            + [f"--pipeline_config_path={config}", f"--trained_checkpoint_dir={checkpoint}", f"--output_directory={work / 'export'}"]
        )
        (work / "export").rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def parity_case(name):
    return next(case for case in cases.all_cases() if case.name == name)


def run(command):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    tests = cache.ROOT / "tests"
    result = subprocess.run([str(part) for part in command], cwd=tests, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit status {result.returncode}\n{result.stderr[-4000:]}")


def exported(name, folder, sizes):
    """Copies an export's SavedModel to `folder` and returns inputs of the sizes."""
    shutil.copytree(export(name) / "saved_model", folder, symlinks=False)
    return [{"input_tensor": images.textured(31 + index, *size)[np.newaxis]} for index, size in enumerate(sizes)]


@model()
def official_shapes(folder, rng):
    return exported("shapes", folder, ((128, 128), (90, 140)))


@model(tier="default")
def official_fpnlite_320(folder, rng):
    return exported("fpnlite_320", folder, ((320, 320), (250, 410)))


@model(tier="exhaustive")
def official_efficientdet_d0(folder, rng):
    return exported("efficientdet_d0", folder, SEEDED["efficientdet_d0"].sizes)


@model(tier="default")
def official_faster_rcnn_resnet50(folder, rng):
    return exported("faster_rcnn_resnet50", folder, SEEDED["faster_rcnn_resnet50"].sizes)


@model(tier="default")
def official_center_net_small(folder, rng):
    return exported("center_net_small", folder, SEEDED["center_net_small"].sizes)


def kernel_gain(name, gain):
    """Returns the variance, times the fan-in, of a kernel: prediction layers, which no batch norm follows, must not say too much."""
    if "BoxHead" in name or "box_head" in name or "BoxEncoding" in name:
        return 0.003
    return gain if is_prediction_layer(name) else 2.0


def is_prediction_layer(name):
    """The reference leaves the heads of CenterNet unnamed: `conv2d_14` and so on."""
    return name.startswith("conv2d_") or any(part in name for part in ("ClassHead", "class_head", "ClassPredictor"))


def bias_mean(name, shape):
    """Returns the mean of a bias: class scores start low, and the two numbers of CenterNet's sizes and offsets positive."""
    if not is_prediction_layer(name):
        return 0.0
    return 3.0 if name.startswith("conv2d_") and shape == [2] else -1.5


def seed_weights(net, rng, gain):
    """Gives every variable a seeded value; prediction kernels get the gain, others keep the signal's size from layer to layer."""
    for variable in sorted(net.variables, key=lambda variable: variable.name):
        shape, name = variable.shape.as_list(), variable.name
        kind = name.split("/")[-1].split(":")[0]
        if len(shape) >= 2:
            fan_in = np.prod(shape[:2] if "depthwise" in kind else shape[:-1])
            value = rng.normal(0, (kernel_gain(name, gain) / fan_in) ** 0.5, size=shape)
        elif kind == "gamma":
            value = rng.uniform(0.5, 1.5, size=shape)
        elif kind in ("beta", "bias"):
            value = rng.normal(bias_mean(name, shape) if kind == "bias" else 0.0, 0.3, size=shape)
        else:
            continue  # moving statistics are measured; the weights of fused features are right as they are
        variable.assign(value.astype(np.float32))


def measuring_call(rng):
    """Returns a batch norm's `call` that normalises by the batch's statistics and keeps them, a few per cent off."""
    import tensorflow as tf

    def call(layer, inputs, training=None, mask=None):
        mean, variance = (moment.numpy() for moment in tf.nn.moments(inputs, list(range(inputs.shape.rank - 1))))
        variance = np.maximum(variance, 0.1 * variance.mean() + 1e-3)
        layer.moving_mean.assign(mean + 0.05 * np.sqrt(variance) * rng.normal(size=mean.shape))
        layer.moving_variance.assign(variance * rng.uniform(0.95, 1.05, size=variance.shape))
        statistics = (layer.moving_mean, layer.moving_variance, layer.beta, layer.gamma)
        return tf.nn.batch_normalization(inputs, *statistics, layer.epsilon)

    return call


def make_checkpoint(name, folder):
    """Saves a seeded checkpoint of a model, as a training job would, whose scores are spread."""
    import keras.src.layers.normalization.batch_normalization as batch_normalization
    import tensorflow as tf

    from . import checkpoints, reference

    tf.config.run_functions_eagerly(True)
    seeded = SEEDED[name]
    net = checkpoints.build(reference.parse(seeded.smaller or seeded.config))
    height, width = seeded.sizes[0]
    batch = tf.constant(images.textured(5, height, width)[np.newaxis], tf.float32)
    checkpoints.detect(net, batch)  # creates the variables
    base = batch_normalization.BatchNormalizationBase
    tried = []
    for gain in GAINS:
        rng = np.random.Generator(np.random.PCG64(11))
        seed_weights(net, rng, gain)
        plain = base.call
        try:
            base.call = measuring_call(rng)
            net.predict(*net.preprocess(batch))
        finally:
            base.call = plain
        good, summary = checkpoints.spread(checkpoints.detect(net, batch), bounded=True)
        tried.append(f"gain {gain}: {summary}")
        if good:
            break
    else:
        raise AssertionError(f"{name}: no gain spreads the scores:\n" + "\n".join(tried))
    print(tried[-1])
    tf.train.CheckpointManager(tf.train.Checkpoint(step=tf.Variable(7, dtype=tf.int64), model=net), folder, 1).save()


if __name__ == "__main__":
    make_checkpoint(*sys.argv[1:])
