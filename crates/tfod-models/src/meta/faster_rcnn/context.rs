//! Context R-CNN (Beery et al. 2020, <https://arxiv.org/abs/1912.03538>): the features of each box attend to a memory bank, features of objects in other images of the same camera, which is
//! given beside the image. After the reference's `context_rcnn_lib_tf2`, whose attention has one layer and one head.

use tfod_config::protos;
use tfod_config::protos::AttentionPosition;
use tfod_config::protos::detection_model::Model as Proto;
use tfod_graph::{Binary, Builder, Compare, DType, Dim, Reduce, Shape, Tensor, Unary, ValueId};

use super::crops::flat_dim;
use crate::error::ModelError;
use crate::facts::Meaning;
use crate::fields::{Message, invalid, invalid_option, size, unsupported};
use crate::hyperparams::BatchNorm;
use crate::layers::{Path, batch_norm_of_rows, channels, dense};
use crate::options::{GraphOption, GraphOptions};
use crate::side_inputs::SideInput;

/// The field of the configuration.
pub(super) const FIELD: &str = "context_config";
/// The names of the side inputs, which the reference takes as arguments.
pub(super) const FEATURES: &str = "context_features";
const COUNT: &str = "valid_context_size";
/// What they mean.
pub(super) const INPUTS: [(&str, Meaning); 2] = [
    (
        FEATURES,
        Meaning {
            text: "the memory bank of each image: features of objects in other images of the same camera",
            unit: "",
        },
    ),
    (
        COUNT,
        Meaning {
            text: "how many features of each image's memory bank count, the first ones; the others may hold anything",
            unit: "count",
        },
    ),
];
/// Where the layers are in the reference's object tree.
pub(super) const LAYERS: &str = "_context_feature_extract_fn";
/// What is added to the weight of features that do not count, before they become parts of 1.
const NOT_VALID: f32 = -100_000.0;
/// Lengths are not taken for smaller than the root of this.
const SMALLEST_SQUARE: f32 = 1e-12;
/// The largest memory bank: positions are counted in 32 bits.
const LARGEST: u64 = 1 << 24;

/// Whether a configuration has attention.
pub(super) fn is_configured(config: &protos::DetectionModel) -> bool {
    matches!(&config.model, Some(Proto::FasterRcnn(rcnn)) if rcnn.context_config.is_some())
}

/// The configuration of the attention.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context {
    position: Option<Position>,
    /// Channels of keys, values and queries.
    bottleneck: u64,
    /// The smaller, the more counts the best match.
    temperature: f32,
    /// Features of the bank and their length, where no side inputs are described.
    usual: [u64; 2],
}

/// Where features attend to the bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// What is cropped of the feature maps.
    Crops,
    /// What boxes are classified by.
    Features,
}

/// The side inputs of a graph.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    context: Context,
    /// `[batch, context_size, length]`
    features: ValueId,
    /// `[batch]` ([`DType::I32`]): how many of these count.
    count: ValueId,
}

impl Context {
    /// Reads `context_config`; `None` where there is none.
    ///
    /// # Errors
    /// For what only the reference's TensorFlow 1 code has.
    pub(super) fn from_config(
        config: Message<'_, protos::FasterRcnn>,
    ) -> Result<Option<Self>, ModelError> {
        let Some(context) = config.context_config.as_ref() else {
            return Ok(None);
        };
        let context = config.at(FIELD, context);
        refuse_unsupported(config, context)?;
        let number = |name, value| size(context.field(name), value, 1);
        let temperature = context.attention_temperature();
        if temperature == 0.0 || !temperature.is_finite() {
            let field = context.field("attention_temperature");
            return Err(invalid(field, temperature, "a number, but not 0"));
        }
        Ok(Some(Self {
            position: match context.attention_position() {
                AttentionPosition::AttentionDefault => None,
                AttentionPosition::PostRpn => Some(Position::Crops),
                AttentionPosition::PostBoxClassifier => Some(Position::Features),
            },
            bottleneck: number(
                "attention_bottleneck_dimension",
                context.attention_bottleneck_dimension(),
            )?,
            temperature,
            usual: [
                number(
                    "max_num_context_features",
                    context.max_num_context_features(),
                )?,
                number("context_feature_length", context.context_feature_length())?,
            ],
        }))
    }

    /// Declares the side inputs, as the options describe them or else as the configuration does.
    ///
    /// # Errors
    /// For other side inputs than the reference takes.
    pub(super) fn inputs(
        self,
        b: &mut Builder,
        options: &GraphOptions,
    ) -> Result<Memory, ModelError> {
        let usual = || {
            let [size, length] = self.usual.map(Some);
            let batch = options.batch_dim().known();
            vec![
                SideInput::new(FEATURES, DType::F32, vec![batch, size, length]),
                SideInput::new(COUNT, DType::I32, vec![batch]),
            ]
        };
        let described = options.side_inputs.clone().unwrap_or_else(usual);
        check_names(&described)?;
        let mut declared = [None; 2];
        for input in &described {
            let place = usize::from(input.name == COUNT);
            let shape = match place {
                0 => features_shape(input, options)?,
                _ => count_shape(input, options)?,
            };
            declared[place] = Some(b.input(&input.name, input.dtype, shape));
        }
        let missing = || ModelError::Inconsistent("a side input without a declaration".into());
        Ok(Memory {
            context: self,
            features: declared[0].ok_or_else(missing)?,
            count: declared[1].ok_or_else(missing)?,
        })
    }
}

/// Refuses what the reference refuses.
fn refuse_unsupported(
    config: Message<'_, protos::FasterRcnn>,
    context: Message<'_, protos::Context>,
) -> Result<(), ModelError> {
    const REASON: &str = "the reference has more in its TensorFlow 1 code only";
    let more = |name, is_set: bool, given: String, supported: &str| {
        if is_set {
            let supported = format!("{supported}: {REASON}");
            return Err(unsupported(context.field(name), given, supported));
        }
        Ok(())
    };
    let flag = |name, flag: bool, only: bool| {
        more(name, flag != only, flag.to_string(), &only.to_string())
    };
    let one = |name, count: i32| more(name, count > 1, count.to_string(), "1");
    flag("use_self_attention", context.use_self_attention(), false)?;
    flag(
        "use_long_term_attention",
        context.use_long_term_attention(),
        true,
    )?;
    flag(
        "self_attention_in_sequence",
        context.self_attention_in_sequence(),
        false,
    )?;
    one("num_attention_heads", context.num_attention_heads())?;
    one("num_attention_layers", context.num_attention_layers())?;
    // The reference crops detections again without attention's arguments, which is an error there.
    let stages = config.number_of_stages();
    if stages != 2 {
        let reason =
            "2 with context_config, whose attention the reference's other stages do not know";
        return Err(unsupported(
            config.field("number_of_stages"),
            stages,
            reason,
        ));
    }
    for (name, is_set) in [
        (
            "output_final_box_features",
            config.output_final_box_features(),
        ),
        (
            "output_final_box_rpn_features",
            config.output_final_box_rpn_features(),
        ),
    ] {
        if is_set {
            let reason = "false with context_config, whose attention the reference does not apply to detections";
            return Err(unsupported(config.field(name), true, reason));
        }
    }
    Ok(())
}

fn check_names(described: &[SideInput]) -> Result<(), ModelError> {
    let names: Vec<&str> = described.iter().map(|input| input.name.as_str()).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    if sorted == [FEATURES, COUNT] {
        return Ok(());
    }
    let expected = format!("{FEATURES},{COUNT}, in any order: Context R-CNN takes these");
    Err(invalid_option(
        GraphOption::SideInputNames,
        names.join(","),
        expected,
    ))
}

fn check_type(input: &SideInput, dtype: DType, name: &str) -> Result<(), ModelError> {
    if input.dtype == dtype {
        return Ok(());
    }
    let given = format!("{} for {}", input.dtype, input.name);
    Err(invalid_option(GraphOption::SideInputTypes, given, name))
}

fn invalid_shape(input: &SideInput, expected: impl Into<String>) -> ModelError {
    let sizes: Vec<String> = input
        .shape
        .iter()
        .map(|size| size.map_or_else(|| "-1".to_owned(), |n| n.to_string()))
        .collect();
    let given = format!("{} for {}", sizes.join(","), input.name);
    invalid_option(GraphOption::SideInputShapes, given, expected)
}

/// The batch of a side input is that of the images.
fn check_batch(
    input: &SideInput,
    given: Option<u64>,
    options: &GraphOptions,
) -> Result<Dim, ModelError> {
    let batch = options.batch_dim();
    match (given, batch.known()) {
        (None, _) => Ok(batch),
        (Some(n), Some(of_images)) if n == of_images => Ok(batch),
        (Some(_), of_images) => {
            let size = of_images.map_or_else(|| "-1".to_owned(), |n| n.to_string());
            let expected = format!("{size} as its first size, as many as there are images");
            Err(invalid_shape(input, expected))
        }
    }
}

fn features_shape(input: &SideInput, options: &GraphOptions) -> Result<Shape, ModelError> {
    check_type(input, DType::F32, "tf.float32")?;
    let [batch, Some(size), Some(length)] = *input.shape.as_slice() else {
        let expected = "three sizes: of the batch, of the memory bank, and of each of its features; the last two known";
        return Err(invalid_shape(input, expected));
    };
    if size > LARGEST {
        return Err(invalid_shape(input, format!("at most {LARGEST} features")));
    }
    let batch = check_batch(input, batch, options)?;
    Ok(Shape(vec![batch, size.into(), length.into()]))
}

fn count_shape(input: &SideInput, options: &GraphOptions) -> Result<Shape, ModelError> {
    check_type(input, DType::I32, "tf.int32")?;
    let [batch] = *input.shape.as_slice() else {
        return Err(invalid_shape(input, "one size, that of the batch"));
    };
    Ok(Shape(vec![check_batch(input, batch, options)?]))
}

/// A projection of features: a dense layer, normalisation and activation.
#[derive(Clone, Copy, Debug)]
struct Projection {
    name: &'static str,
    units: u64,
    /// Whether results have the length 1.
    is_normal: bool,
}

impl Projection {
    /// Projects `[batch, n, c]` with known `n` and `c`: `[batch, n, units]`.
    fn build(self, b: &mut Builder, x: ValueId) -> Result<ValueId, ModelError> {
        let layers = Path::new(LAYERS).child(self.name);
        let [batch, Dim::Known(n), depth] = b.shape(x).dims() else {
            return Err(ModelError::Inconsistent(
                "features of an unknown number".into(),
            ));
        };
        let (batch, n, depth) = (batch.clone(), *n, depth.clone());
        b.scope(self.name, |b| {
            let rows = flat_dim(&batch, n)?;
            let rows = b.reshape("rows", x, &[rows, depth])?;
            let y = dense(
                b,
                "projection",
                &layers.child("projection"),
                rows,
                self.units,
            )?;
            let path = layers.child("batch_norm");
            let y = batch_norm_of_rows(b, "batch_norm", &path, y, BatchNorm::KERAS)?;
            let y = b.unary("relu6", Unary::Relu6, y)?;
            let y = if self.is_normal { normalized(b, y)? } else { y };
            let dims = [batch, n.into(), self.units.into()];
            Ok(b.reshape("by_image", y, &dims)?)
        })
    }
}

/// Rows `[n, c]` divided by their lengths.
fn normalized(b: &mut Builder, x: ValueId) -> Result<ValueId, ModelError> {
    let squares = b.binary("squares", Binary::Mul, x, x)?;
    let sum = b.reduce("square_sum", Reduce::Sum, squares, &[1])?;
    let sum = b.binary_scalar("at_least", Binary::Maximum, sum, SMALLEST_SQUARE)?;
    let length = b.unary("length", Unary::Sqrt, sum)?;
    let mut column = b.shape(length).dims().to_vec();
    column.push(1.into());
    let length = b.reshape("length_column", length, &column)?;
    Ok(b.binary("normalized", Binary::Div, x, length)?)
}

/// 1 for each of the first elements of `n`, of which `count` says how many count, and 0 for the others: `[batch, n]` from `[batch]`.
fn valid_mask(b: &mut Builder, name: &str, count: ValueId, n: u64) -> Result<ValueId, ModelError> {
    b.scope(name, |b| {
        let unknown = || ModelError::Inconsistent("a number for each image".into());
        let numbers: Vec<i32> = (0..).take(usize::try_from(n).unwrap_or_default()).collect();
        let numbers = Tensor::i32(&[1, n], &numbers).ok_or_else(unknown)?;
        let numbers = b.constant("numbers", numbers)?;
        let batch = b.shape(count).dims().first().cloned().ok_or_else(unknown)?;
        let column = b.reshape("count", count, &[batch, 1.into()])?;
        let is_valid = b.compare("is_valid", Compare::Less, numbers, column)?;
        Ok(b.cast("mask", is_valid, DType::F32)?)
    })
}

/// A mask `[batch, n]` as `[batch, n, 1]`, or as `[batch, 1, n]`.
fn as_matrix(
    b: &mut Builder,
    name: &str,
    mask: ValueId,
    axis: usize,
) -> Result<ValueId, ModelError> {
    let mut dims = b.shape(mask).dims().to_vec();
    dims.insert(axis, 1.into());
    Ok(b.reshape(name, mask, &dims)?)
}

impl Memory {
    /// Features of boxes `[batch * n, h, w, c]`, and what the memory bank has to say of each added to all its positions, where that is done. `boxes` are `[batch, n, 4]`; `count` says
    /// of each image how many of them count, `[batch]`.
    pub(super) fn attended(
        self,
        b: &mut Builder,
        position: Position,
        features: ValueId,
        boxes: ValueId,
        count: ValueId,
    ) -> Result<ValueId, ModelError> {
        if self.context.position != Some(position) {
            return Ok(features);
        }
        b.scope("AttentionBlock", |b| {
            let attention = self.attention(b, features, boxes, count)?;
            Ok(b.binary("attended", Binary::Add, features, attention)?)
        })
    }

    /// What is added to features: `[batch * n, 1, 1, c]`.
    fn attention(
        self,
        b: &mut Builder,
        features: ValueId,
        boxes: ValueId,
        count: ValueId,
    ) -> Result<ValueId, ModelError> {
        let Context {
            bottleneck,
            temperature,
            ..
        } = self.context;
        let [batch, Dim::Known(n), _] = b.shape(boxes).dims() else {
            return Err(ModelError::Inconsistent(
                "boxes of an unknown number".into(),
            ));
        };
        let (batch, n) = (batch.clone(), *n);
        let depth = channels(b, features);
        let size = b.shape(self.features).dims().get(1).and_then(Dim::known);
        let size = size.unwrap_or_default();
        let averages = b.global_average_pool("averages", features)?;
        let averages = b.reshape("by_image", averages, &[batch, n.into(), depth.into()])?;
        let project = |name| Projection {
            name,
            units: bottleneck,
            is_normal: true,
        };
        let queries = project("_query_proj").build(b, averages)?;
        let keys = project("_key_proj").build(b, self.features)?;
        let values = project("_val_proj").build(b, self.features)?;

        let count = b.cast("num_proposals", count, DType::I32)?;
        let boxes_mask = valid_mask(b, "valid_boxes", count, n)?;
        let boxes_mask = as_matrix(b, "valid_box_rows", boxes_mask, 2)?;
        let mask = valid_mask(b, "valid_features", self.count, size)?;
        let rows = as_matrix(b, "valid_feature_rows", mask, 2)?;
        let queries = b.binary("queries", Binary::Mul, queries, boxes_mask)?;
        let keys = b.binary("keys", Binary::Mul, keys, rows)?;
        let values = b.binary("values", Binary::Mul, values, rows)?;

        let keys = b.transpose("keys_transposed", keys, &[0, 2, 1])?;
        let weights = b.mat_mul("weights", queries, keys)?;
        let one = b.constant("one", Tensor::scalar_f32(1.0))?;
        let others = b.binary("not_valid", Binary::Sub, one, mask)?;
        let others = as_matrix(b, "not_valid_columns", others, 1)?;
        let penalty = b.binary_scalar("penalty", Binary::Mul, others, NOT_VALID)?;
        let weights = b.binary("valid_weights", Binary::Add, weights, penalty)?;
        let weights = b.binary_scalar("sharpened", Binary::Div, weights, temperature)?;
        let weights = b.softmax("softmax", weights)?;
        let found = b.mat_mul("found", weights, values)?;
        let output = Projection {
            name: "_feature_proj",
            units: depth,
            is_normal: false,
        };
        let output = output.build(b, found)?;
        let dims = b.shape(features).dims().first().cloned();
        let boxes =
            dims.ok_or_else(|| ModelError::Inconsistent("features without boxes".into()))?;
        Ok(b.reshape(
            "attention",
            output,
            &[boxes, 1.into(), 1.into(), depth.into()],
        )?)
    }
}
