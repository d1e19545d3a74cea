"""Pipeline configs of SSD MobileNetV2 FPNLite models, and others of its structure, written from a table of options.

`Fpnlite()` with no arguments is a small model for quick tests; `zoo(size)` has the published 320 and 640 models'
numbers. An option set to None leaves its field out of the text, so that the field's default is tested.
"""

from dataclasses import dataclass, replace
from typing import Optional, Tuple, Union


@dataclass(frozen=True)
class Nms:
    """Numbers of the non-max suppression."""

    score_threshold: Optional[float] = 1e-8
    iou_threshold: Optional[float] = 0.6
    per_class: Optional[int] = 40
    total: Optional[int] = 40
    class_agnostic: Optional[bool] = None
    classes_per_detection: Optional[int] = None
    more: Tuple[Tuple[str, object], ...] = ()  # (field, value)
    change_coordinate_frame: Optional[bool] = None


@dataclass(frozen=True)
class BatchNorm:
    """Batch-norm parameters of a `conv_hyperparams`."""

    scale: Optional[bool] = True
    center: Optional[bool] = None
    epsilon: Optional[float] = 0.001
    synchronised: bool = False


@dataclass(frozen=True)
class Resizer:
    """An image resizer: its name without `_resizer`, and its fields."""

    name: str
    fields: Tuple[Tuple[str, Union[bool, int, float, str]], ...] = ()

    def lines(self):
        return block(f"{self.name}_resizer", *(field(name, Symbol(value) if isinstance(value, str) else value) for name, value in self.fields))


@dataclass(frozen=True)
class Fpnlite:
    """The options of one config. Sizes are pixels, levels are powers of two of the stride."""

    num_classes: int = 3
    size: Tuple[int, int] = (96, 96)  # height, width
    resizer: Optional[Resizer] = None  # instead of a fixed size
    pad_to_multiple: Optional[int] = None  # in the feature extractor
    levels: Tuple[int, int] = (3, 6)
    aspect_ratios: Tuple[float, ...] = (1.0, 2.0, 0.5)
    scales_per_octave: Optional[int] = 2
    anchor_scale: Optional[float] = 4.0
    box_coder: Tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)  # y, x, height, width
    depth_multiplier: Optional[float] = 0.35
    min_depth: Optional[int] = 16
    fpn_depth: Optional[int] = 96
    depthwise: Optional[bool] = True
    activation: Optional[str] = "RELU_6"
    batch_norm: Optional[BatchNorm] = BatchNorm()
    override_base: Optional[bool] = True
    predictor_depth: int = 48
    predictor_depthwise: Optional[bool] = True
    predictor_activation: Optional[str] = "RELU_6"
    predictor_batch_norm: Optional[BatchNorm] = BatchNorm()
    tower_layers: Optional[int] = 2
    share_tower: Optional[bool] = True
    kernel_size: Optional[int] = 3
    dropout: Optional[float] = None  # keep probability; None: no dropout
    class_bias: Optional[float] = -4.6
    encode_background_as_zeros: Optional[bool] = True
    score_converter: Optional[str] = "SIGMOID"
    logit_scale: Optional[float] = None
    nms: Nms = Nms()
    extractor: str = "ssd_mobilenet_v2_fpn_keras"
    pad_to_multiple: Optional[int] = None
    explicit_padding: Optional[bool] = None
    fpn_levels: Optional[Tuple[int, int]] = None  # None: those of the anchors
    other_box_coder: Optional[Tuple[str, ...]] = None  # lines of a box_coder in place of faster_rcnn_box_coder
    box_code_size: Optional[int] = None
    more_post_processing: Tuple[str, ...] = ()  # lines
    more: Tuple[Tuple[str, object], ...] = ()  # (field, value) of the `ssd` message

    def faster_rcnn_box_coder(self):
        """Returns the lines of the usual box coder."""
        names = ("y_scale", "x_scale", "height_scale", "width_scale")
        return block("faster_rcnn_box_coder", *(field(name, value) for name, value in zip(names, self.box_coder)))

    def text(self):
        """Returns the config in protobuf's text format, with the training parts that real configs have."""
        model = block(
            "ssd",
            field("num_classes", self.num_classes),
            field("inplace_batchnorm_update", True),
            field("freeze_batchnorm", False),
            block("box_coder", self.other_box_coder or self.faster_rcnn_box_coder()),
            block("matcher", block("argmax_matcher", field("matched_threshold", 0.5), field("unmatched_threshold", 0.5))),
            block("similarity_calculator", block("iou_similarity")),
            field("encode_background_as_zeros", self.encode_background_as_zeros),
            block(
                "anchor_generator",
                block(
                    "multiscale_anchor_generator",
                    field("min_level", self.levels[0]),
                    field("max_level", self.levels[1]),
                    field("anchor_scale", self.anchor_scale),
                    *(field("aspect_ratios", ratio) for ratio in self.aspect_ratios),
                    field("scales_per_octave", self.scales_per_octave),
                ),
            ),
            block(
                "image_resizer",
                (self.resizer or Resizer("fixed_shape", (("height", self.size[0]), ("width", self.size[1])))).lines(),
            ),
            block(
                "box_predictor",
                block(
                    "weight_shared_convolutional_box_predictor",
                    field("depth", self.predictor_depth),
                    field("class_prediction_bias_init", self.class_bias),
                    hyperparams(self.predictor_activation, self.predictor_batch_norm),
                    field("num_layers_before_predictor", self.tower_layers),
                    field("share_prediction_tower", self.share_tower),
                    field("use_depthwise", self.predictor_depthwise),
                    field("kernel_size", self.kernel_size),
                    field("use_dropout", None if self.dropout is None else True),
                    field("dropout_keep_probability", self.dropout),
                    field("box_code_size", self.box_code_size),
                ),
            ),
            block(
                "feature_extractor",
                field("type", self.extractor),
                field("use_depthwise", self.depthwise),
                block(
                    "fpn",
                    field("min_level", (self.fpn_levels or self.levels)[0]),
                    field("max_level", (self.fpn_levels or self.levels)[1]),
                    field("additional_layer_depth", self.fpn_depth),
                ),
                field("min_depth", self.min_depth),
                field("depth_multiplier", self.depth_multiplier),
                field("pad_to_multiple", self.pad_to_multiple),
                field("use_explicit_padding", self.explicit_padding),
                hyperparams(self.activation, self.batch_norm),
                field("override_base_feature_extractor_hyperparams", self.override_base),
            ),
            block(
                "loss",
                block("classification_loss", block("weighted_sigmoid_focal", field("alpha", 0.25), field("gamma", 2.0))),
                block("localization_loss", block("weighted_smooth_l1")),
                field("classification_weight", 1.0),
                field("localization_weight", 1.0),
            ),
            field("normalize_loss_by_num_matches", True),
            field("normalize_loc_loss_by_codesize", True),
            block(
                "post_processing",
                block(
                    "batch_non_max_suppression",
                    field("score_threshold", self.nms.score_threshold),
                    field("iou_threshold", self.nms.iou_threshold),
                    field("max_detections_per_class", self.nms.per_class),
                    field("max_total_detections", self.nms.total),
                    field("use_class_agnostic_nms", self.nms.class_agnostic),
                    field("max_classes_per_detection", self.nms.classes_per_detection),
                    *(field(name, value) for name, value in self.nms.more),
                    field("change_coordinate_frame", self.nms.change_coordinate_frame),
                ),
                field("score_converter", Symbol(self.score_converter) if self.score_converter else None),
                field("logit_scale", self.logit_scale),
                self.more_post_processing,
            ),
            *(field(name, value) for name, value in self.more),
        )
        training = block(
            "train_config",
            field("batch_size", 16),
            block("data_augmentation_options", block("random_horizontal_flip")),
            block(
                "optimizer",
                block(
                    "momentum_optimizer",
                    block(
                        "learning_rate",
                        block("cosine_decay_learning_rate", field("learning_rate_base", 0.08), field("total_steps", 50000)),
                    ),
                    field("momentum_optimizer_value", 0.9),
                ),
                field("use_moving_average", False),
            ),
            field("num_steps", 50000),
            field("fine_tune_checkpoint", "models/mobilenet_v2/mobilenet_v2.ckpt-1"),
            field("fine_tune_checkpoint_type", "classification"),
        )
        reader = block(
            "train_input_reader",
            field("label_map_path", "data/label_map.pbtxt"),
            block("tf_record_input_reader", field("input_path", "data/train-?????-of-00010.tfrecord")),
        )
        lines = block("model", model) + training + reader
        return "\n".join(lines) + "\n"


class Symbol(str):
    """An enum value: written without quotes."""


def field(name, value):
    """Returns the lines of a scalar field; none if the value is None."""
    if value is None:
        return []
    if isinstance(value, bool):
        value = "true" if value else "false"
    elif isinstance(value, str) and not isinstance(value, Symbol):
        value = f'"{value}"'
    return [f"{name}: {value}"]


def block(name, *parts):
    """Returns the lines of a message field holding the parts' lines."""
    return [name + " {"] + ["  " + line for part in parts for line in part] + ["}"]


def hyperparams(activation, batch_norm):
    """Returns the lines of `conv_hyperparams`."""
    norm = []
    if batch_norm is not None:
        norm = block(
            "sync_batch_norm" if batch_norm.synchronised else "batch_norm",
            field("scale", batch_norm.scale),
            field("center", batch_norm.center),
            field("decay", 0.997),
            field("epsilon", batch_norm.epsilon),
        )
    return block(
        "conv_hyperparams",
        field("activation", Symbol(activation) if activation else None),
        block("regularizer", block("l2_regularizer", field("weight", 0.00004))),
        block("initializer", block("random_normal_initializer", field("stddev", 0.01), field("mean", 0.0))),
        norm,
    )


def zoo(size, **changes):
    """Returns the options of the published 90-class model for square images of `size` (320 or 640) pixels."""
    options = Fpnlite(
        num_classes=90,
        size=(size, size),
        levels=(3, 7),
        depth_multiplier=1.0,
        fpn_depth=128,
        predictor_depth=128,
        tower_layers=4,
        nms=Nms(per_class=100, total=100),
    )
    return replace(options, **changes)
