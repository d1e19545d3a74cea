//! The operations. Each variant says what it computes; `infer` says what it accepts and what comes out.

use crate::dim::Dim;
use crate::graph::{Graph, ParamId};
use crate::tensor::{DType, Tensor};

/// How a convolution or pooling treats the borders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Padding {
    /// The output has `ceil(size / stride)` positions. When an odd number of rows or columns has to be added, the extra one
    /// goes to the bottom or right.
    Same,
    /// No padding: `ceil((size - dilated_kernel + 1) / stride)` positions.
    Valid,
}

/// The attributes of a two-dimensional convolution, `[height, width]` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvAttrs {
    /// Step of the window.
    pub strides: [u64; 2],
    /// Border treatment.
    pub padding: Padding,
    /// Distance between neighbouring taps of the kernel.
    pub dilations: [u64; 2],
}

impl ConvAttrs {
    /// Stride as given in both directions, no dilation.
    pub fn new(stride: u64, padding: Padding) -> Self {
        Self {
            strides: [stride; 2],
            padding,
            dilations: [1; 2],
        }
    }
}

/// The attributes of pooling, `[height, width]` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolAttrs {
    /// Size of the window.
    pub window: [u64; 2],
    /// Step of the window.
    pub strides: [u64; 2],
    /// Border treatment.
    pub padding: Padding,
}

impl PoolAttrs {
    /// Window and stride as given in both directions.
    pub fn new(window: u64, stride: u64, padding: Padding) -> Self {
        Self {
            window: [window; 2],
            strides: [stride; 2],
            padding,
        }
    }
}

/// Element-wise functions of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unary {
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// `exp(x)`
    Exp,
    /// The natural logarithm.
    Log,
    /// The nearest whole number; of two, the even one.
    Round,
    /// The square root.
    Sqrt,
    /// The distance from 0.
    Abs,
}

/// Element-wise functions of two values of one number type, with NumPy broadcasting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a * b`
    Mul,
    /// `a / b`; for floats only.
    Div,
    /// The quotient rounded towards minus infinity.
    FloorDiv,
    /// The larger.
    Maximum,
    /// The smaller.
    Minimum,
}

/// Comparisons, with NumPy broadcasting; the result is [`DType::Bool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compare {
    /// `a < b`
    Less,
    /// `a > b`
    Greater,
    /// `a >= b`
    GreaterEqual,
    /// `a == b`
    Equal,
}

/// Reductions over axes, which disappear from the shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduce {
    /// The sum.
    Sum,
    /// The largest.
    Max,
    /// The smallest.
    Min,
}

/// Where [`Op::Resize`] takes the samples of an image to be, which decides the source of each position of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PixelGrid {
    /// In the upper left corners of pixels: `position * in / out`.
    Corners,
    /// In the centres of pixels: `(position + 0.5) * in / out - 0.5`.
    Centers,
    /// The first and the last samples of source and result are in the same place: `position * (in - 1) / (out - 1)`, and `position * in / out` for
    /// a result of one position.
    AlignedCorners,
}

/// Interpolation of [`Op::Resize`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResizeMethod {
    /// Bilinear over the 2x2 neighbours; samples beyond the border repeat it.
    Bilinear,
    /// The nearest lower neighbour, `floor(position * in / out)`; with [`PixelGrid::Centers`] `floor((position + 0.5) * in / out)`; with
    /// [`PixelGrid::AlignedCorners`] the nearest one, of two the later.
    Nearest,
    /// Bicubic: Keys' kernel with a = -0.75, or a = -0.5 and renormalised border weights with [`PixelGrid::Centers`].
    Bicubic,
    /// The average over the source area, whose sides are the distance between positions; [`PixelGrid::Centers`] is as [`PixelGrid::Corners`].
    Area,
}

/// The attributes of [`Op::NonMaxSuppression`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NmsAttrs {
    /// How many boxes may be selected, and the length of the results.
    pub max_output_size: u64,
    /// A box is suppressed when its intersection over union with a selected one is greater.
    pub iou_threshold: f32,
    /// Only boxes with a greater score are looked at.
    pub score_threshold: f32,
}

/// The attributes of [`Op::SoftNonMaxSuppression`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoftNmsAttrs {
    /// How many boxes may be selected, and the length of the results.
    pub max_output_size: u64,
    /// Only boxes with a greater score are looked at.
    pub score_threshold: f32,
    /// Scores of boxes that overlap a selected one decay by `exp(-iou² / (2 sigma))` (Bodla et al. 2017).
    pub sigma: f32,
}

/// How one input reaches the body of [`Op::Map`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MapInput {
    /// The body sees one slice along the leading dimension at a time.
    Sliced,
    /// The body sees the whole value each time.
    Whole,
}

/// What a node computes.
#[derive(Clone, Debug)]
pub enum Op {
    /// A value supplied at run time.
    Input,
    /// A tensor held by the graph.
    Constant(Tensor),
    /// A trained tensor, described by [`Graph::parameter`].
    Parameter(ParamId),
    /// Convolution of `[n, h, w, c]` with a kernel `[kh, kw, c, d]`.
    Conv2d(ConvAttrs),
    /// Convolution of each channel by itself: `[n, h, w, c]` with a kernel `[kh, kw, c, m]`. Output channel `i * m + j`
    /// comes from input channel `i`. Both strides must be equal.
    DepthwiseConv2d(ConvAttrs),
    /// What the gradient of a [`Op::Conv2d`] with [`Padding::Same`] is with respect to its input: `[n, h, w, d]` with a kernel `[kh, kw, c, d]` gives
    /// `[n, h * stride, w * stride, c]`. Each position of the input adds the kernel, times its values, to the positions of the result that
    /// the convolution would have made it from.
    ConvTranspose2d {
        /// Step of the window in both directions.
        stride: u64,
    },
    /// The largest value in each window of each channel of `[n, h, w, c]`. Padding is smaller than every value.
    MaxPool(PoolAttrs),
    /// The average of each window of each channel of `[n, h, w, c]`. Padding does not count: at the border, the average is over fewer values.
    AveragePool(PoolAttrs),
    /// The average of each channel of `[n, h, w, c]` over all positions, as a map of one position: `[n, 1, 1, c]`.
    GlobalAveragePool,
    /// Adds a vector over the last dimension.
    BiasAdd,
    /// `gamma * (x - mean) / sqrt(variance + epsilon) + beta` over the last dimension of `[n, h, w, c]`.
    /// Inputs: x, gamma, beta, mean, variance.
    BatchNorm {
        /// Added to the variance.
        epsilon: f32,
    },
    /// Matrix products: `[..., n, k]` and `[..., k, m]` give `[..., n, m]`; the dimensions in front broadcast as NumPy's.
    MatMul,
    /// An element-wise function.
    Unary(Unary),
    /// An element-wise function of two values.
    Binary(Binary),
    /// A comparison of two values.
    Compare(Compare),
    /// `a and b` of two booleans, with NumPy broadcasting.
    And,
    /// Inputs: condition, a, b. `a` where the condition holds, `b` elsewhere, with NumPy broadcasting of all three.
    Select,
    /// `exp(x) / sum(exp(x))` over the last dimension.
    Softmax,
    /// Conversion of the element type. Float to integer rounds towards zero; to [`DType::Bool`], everything but 0 is true.
    Cast(DType),
    /// Zeros added before and after each dimension.
    Pad(Vec<(u64, u64)>),
    /// Zeros added after each dimension. Inputs: x, how many ([`DType::I32`], one for each dimension). The result has the dimensions that are
    /// given here; they must be what the numbers make.
    PadEnd(Vec<Dim>),
    /// Resizes `[n, h, w, c]` to `[n, size[0], size[1], c]`; results of bilinear, bicubic and area are [`DType::F32`]. Inputs: x and, where the size
    /// is known only at run time, height and width, `[2]` ([`DType::I32`]).
    Resize {
        /// Interpolation.
        method: ResizeMethod,
        /// Output height and width.
        size: [Dim; 2],
        /// Where samples are.
        grid: PixelGrid,
    },
    /// Crops of images, resized bilinearly (`tf.image.crop_and_resize`). Inputs: images `[batch, h, w, c]`; boxes `[n, 4]`, each ymin, xmin,
    /// ymax, xmax, where 0 is the centre of the first row or column of pixels and 1 that of the last; the image of each box `[n]`
    /// ([`DType::I32`]). Gives `[n, height, width, c]`. Sample `i` of `height` is at `ymin * (h - 1) + i * ((ymax - ymin) * (h - 1) / (height - 1))`, a
    /// single one in the middle of the box; columns likewise. Samples beyond the centres of the outer pixels are 0, even where only a
    /// rounding error has put them there. A box may be of no size, or reversed.
    CropAndResize {
        /// Rows of a crop.
        height: u64,
        /// Columns of a crop.
        width: u64,
    },
    /// The sizes of a value ([`DType::I32`]), one for each dimension.
    ShapeOf,
    /// Input: how many, a scalar ([`DType::I32`]). The numbers from 0 on, in a vector of this size.
    Range(Dim),
    /// The same elements in another shape. At most one dimension may differ in being unknown: an unknown output dimension stands
    /// for what is left.
    Reshape(Vec<Dim>),
    /// The dimensions in another order: axis `i` of the result is axis `order[i]` of the input.
    Transpose(Vec<usize>),
    /// Joins along an axis.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// The part from `begin` on with `size` elements; `None` takes all of a dimension.
    Slice(Vec<Option<(u64, u64)>>),
    /// One output for each position along an axis, which disappears.
    Unstack {
        /// The axis, of known size.
        axis: usize,
    },
    /// Joins values of one shape along a new axis.
    Stack {
        /// Where the new axis is in the result.
        axis: usize,
    },
    /// Inputs: data, indices (any shape, [`DType::I32`]). Takes slices of `data` along its dimension `batch_dims`; the dimensions before it are the
    /// same in both, and each index takes from its own part of the data. The result has the shape of the indices followed by the rest of data's.
    Gather {
        /// How many leading dimensions data and indices share.
        batch_dims: usize,
    },
    /// A reduction over axes.
    Reduce {
        /// What is computed.
        kind: Reduce,
        /// The axes, ascending.
        axes: Vec<usize>,
    },
    /// Where the largest value along an axis is ([`DType::I32`]); of equals, the first. The axis disappears.
    ArgMax {
        /// The axis.
        axis: usize,
    },
    /// The `k` largest along the last dimension, in descending order; of equals, the one with the lower index comes first. Inputs: x and, where `k`
    /// is known only at run time, how many, a scalar ([`DType::I32`]). Outputs: values, indices ([`DType::I32`]).
    TopK {
        /// How many; at most the size of the dimension.
        k: Dim,
    },
    /// Greedy selection of boxes. Inputs: boxes `[n, 4]`, scores `[n]`. Boxes are taken in the order of descending score (of equals, the
    /// lower index first). Outputs: selected indices `[m]` ([`DType::I32`]), and how many there are, a scalar ([`DType::I32`]); `m` is
    /// `max_output_size`, and the indices are filled up with zeros.
    NonMaxSuppression(NmsAttrs),
    /// As [`Op::NonMaxSuppression`], but overlapping boxes lose score instead of being dropped. Outputs: indices, their scores as they have become `[m]`
    /// (both filled up with zeros), and how many there are.
    SoftNonMaxSuppression(SoftNmsAttrs),
    /// Decodes the file of an image, a scalar ([`DType::String`]): JPEG, PNG, GIF (of several frames the first) or BMP. Gives its pixels, red, green and
    /// blue, `[size[0], size[1], 3]` ([`DType::U8`]): grey is repeated, opacity is left away, of 16 bits the upper 8 are kept, and the orientation that a
    /// camera wrote down (EXIF) is not applied. Anything else ends the run with an error.
    DecodeImage {
        /// Height and width, which the file decides.
        size: [Dim; 2],
    },
    /// The bytes of one feature of a serialised `tf.train.Example`, a scalar ([`DType::String`]): the only element of its list, and no bytes where
    /// the example has no such feature. Anything else ends the run with an error.
    ExampleFeature {
        /// The name of the feature.
        key: String,
    },
    /// Runs the body for each position along the leading dimension of the sliced inputs, and stacks the results along a new leading
    /// dimension. The body's inputs correspond to the node's. Sizes that the body finds out at run time may differ from slice to slice; those of its
    /// outputs must not.
    Map {
        /// The sub-graph.
        body: Box<Graph>,
        /// For each input, how the body sees it. At least one is sliced.
        inputs: Vec<MapInput>,
    },
}

/// The names of all operations: from one table, so that the compiler sees to its being whole.
macro_rules! mnemonics {
    ($($operation:pat => $name:literal,)*) => {
        impl Op {
            /// The name in the text form.
            pub fn mnemonic(&self) -> &'static str {
                match self {
                    $($operation => $name,)*
                }
            }

            /// The names of all operations.
            pub const MNEMONICS: &'static [&'static str] = &[$($name),*];
        }
    };
}

mnemonics! {
    Op::Input => "input",
    Op::Constant(_) => "constant",
    Op::Parameter(_) => "parameter",
    Op::Conv2d(_) => "conv2d",
    Op::DepthwiseConv2d(_) => "depthwise_conv2d",
    Op::ConvTranspose2d { .. } => "conv_transpose2d",
    Op::MaxPool(_) => "max_pool",
    Op::AveragePool(_) => "average_pool",
    Op::GlobalAveragePool => "global_average_pool",
    Op::BiasAdd => "bias_add",
    Op::BatchNorm { .. } => "batch_norm",
    Op::MatMul => "mat_mul",
    Op::Unary(Unary::Relu) => "relu",
    Op::Unary(Unary::Relu6) => "relu6",
    Op::Unary(Unary::Sigmoid) => "sigmoid",
    Op::Unary(Unary::Exp) => "exp",
    Op::Unary(Unary::Log) => "log",
    Op::Unary(Unary::Round) => "round",
    Op::Unary(Unary::Sqrt) => "sqrt",
    Op::Unary(Unary::Abs) => "abs",
    Op::Binary(Binary::Add) => "add",
    Op::Binary(Binary::Sub) => "sub",
    Op::Binary(Binary::Mul) => "mul",
    Op::Binary(Binary::Div) => "div",
    Op::Binary(Binary::FloorDiv) => "floor_div",
    Op::Binary(Binary::Maximum) => "maximum",
    Op::Binary(Binary::Minimum) => "minimum",
    Op::Compare(Compare::Less) => "less",
    Op::Compare(Compare::Greater) => "greater",
    Op::Compare(Compare::GreaterEqual) => "greater_equal",
    Op::Compare(Compare::Equal) => "equal",
    Op::And => "and",
    Op::Select => "select",
    Op::Softmax => "softmax",
    Op::Cast(_) => "cast",
    Op::Pad(_) => "pad",
    Op::PadEnd(_) => "pad_end",
    Op::Resize { .. } => "resize",
    Op::CropAndResize { .. } => "crop_and_resize",
    Op::ShapeOf => "shape_of",
    Op::Range(_) => "range",
    Op::Reshape(_) => "reshape",
    Op::Transpose(_) => "transpose",
    Op::Concat { .. } => "concat",
    Op::Slice(_) => "slice",
    Op::Unstack { .. } => "unstack",
    Op::Stack { .. } => "stack",
    Op::Gather { .. } => "gather",
    Op::Reduce {
        kind: Reduce::Sum, ..
    } => "reduce_sum",
    Op::Reduce {
        kind: Reduce::Max, ..
    } => "reduce_max",
    Op::Reduce {
        kind: Reduce::Min, ..
    } => "reduce_min",
    Op::ArgMax { .. } => "arg_max",
    Op::TopK { .. } => "top_k",
    Op::NonMaxSuppression(_) => "non_max_suppression",
    Op::SoftNonMaxSuppression(_) => "soft_non_max_suppression",
    Op::DecodeImage { .. } => "decode_image",
    Op::ExampleFeature { .. } => "example_feature",
    Op::Map { .. } => "map",
}
