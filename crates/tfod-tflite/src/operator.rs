//! TFLite's operators: their numbers, their options, and the version of each that has what is used of it.
//!
//! A runtime refuses versions that are higher than those it knows, so every operator has the lowest that computes what is asked for.

use tfod_graph::{DType, Padding};

use crate::flatbuffer::{Builder, Field, NodeRef};
use crate::flexbuffer::{self, Number};

/// What an operator does to its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Activation {
    #[default]
    None,
    Relu,
    Relu6,
}

impl Activation {
    fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Relu => 1,
            Self::Relu6 => 3,
        }
    }
}

/// The window of a convolution, `[height, width]` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WindowOptions {
    pub(crate) padding: Padding,
    pub(crate) strides: [i32; 2],
    pub(crate) dilations: [i32; 2],
    pub(crate) activation: Activation,
    /// Whether the kernel has 8 bits, and all else is floats.
    pub(crate) is_hybrid: bool,
}

/// Where samples of an image are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) align_corners: bool,
    pub(crate) half_pixel_centers: bool,
}

/// Operators without options, or with empty ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    FloorDiv,
    Maximum,
    Minimum,
    Relu,
    Relu6,
    Logistic,
    Exp,
    Log,
    Round,
    Sqrt,
    Abs,
    Less,
    Greater,
    GreaterEqual,
    Equal,
    And,
    SelectV2,
    TopK,
    Transpose,
    NonMaxSuppressionV4,
}

/// Arithmetic with an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
}

/// Reductions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reduction {
    Mean,
    Sum,
    Max,
    Min,
}

/// An operator with its options.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operator {
    Plain(Plain),
    Arithmetic(Arithmetic, Activation),
    Conv2d(WindowOptions),
    DepthwiseConv2d(WindowOptions, i32),
    TransposeConv(WindowOptions),
    /// The window's height and width.
    MaxPool(WindowOptions, [i32; 2]),
    /// The window's height and width.
    AveragePool(WindowOptions, [i32; 2]),
    BatchMatMul,
    ArgMax,
    Reduction {
        kind: Reduction,
        keep_dims: bool,
    },
    Softmax,
    Reshape(Vec<i32>),
    Concatenation {
        axis: i32,
    },
    Pack {
        count: i32,
        axis: i32,
    },
    Unpack {
        count: i32,
        axis: i32,
    },
    /// The number of dimensions.
    Pad(usize),
    /// The number of dimensions.
    Slice(usize),
    ResizeBilinear(Grid),
    ResizeNearest(Grid),
    Gather {
        batch_dims: i32,
    },
    Cast(DType, DType),
    /// Of floats of 16 bits.
    Dequantize,
    PostProcess(PostProcess),
}

/// `TFLite_Detection_PostProcess`: boxes are decoded and suppressed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PostProcess {
    pub(crate) max_detections: i32,
    /// Of one class; looked at by regular suppression only.
    pub(crate) per_class: i32,
    pub(crate) classes: i32,
    /// Scores are at least that.
    pub(crate) score_threshold: f32,
    pub(crate) iou_threshold: f32,
    /// Of y, x, height and width.
    pub(crate) scales: [f32; 4],
    /// Whether classes are suppressed one by one.
    pub(crate) is_regular: bool,
}

impl PostProcess {
    const NAME: &str = "TFLite_Detection_PostProcess";

    fn options(self) -> Vec<u8> {
        let [y, x, height, width] = self.scales.map(Number::Float);
        flexbuffer::map(vec![
            ("max_detections", Number::Int(self.max_detections)),
            ("detections_per_class", Number::Int(self.per_class)),
            ("max_classes_per_detection", Number::Int(1)),
            ("num_classes", Number::Int(self.classes)),
            ("nms_score_threshold", Number::Float(self.score_threshold)),
            ("nms_iou_threshold", Number::Float(self.iou_threshold)),
            ("use_regular_nms", Number::Int(self.is_regular.into())),
            ("y_scale", y),
            ("x_scale", x),
            ("h_scale", height),
            ("w_scale", width),
        ])
    }
}

/// How a file refers to an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Code {
    /// Its number.
    pub(crate) number: u8,
    /// Its version.
    pub(crate) version: i32,
    /// Its name, if it has no number of its own.
    pub(crate) custom: Option<&'static str>,
}

/// The number of all operators that are not in the schema.
const CUSTOM: u8 = 32;

/// The minor version of TensorFlow 1 or, from 100 on, of TensorFlow 2 whose interpreter has an operator first.
const TWO: u32 = 100;

impl Operator {
    /// The number, the version, the first runtime that has it, the name.
    fn row(&self) -> (u8, i32, u32, &'static str) {
        match self {
            Self::Plain(plain) => match plain {
                Plain::FloorDiv => (90, 1, 13, "FLOOR_DIV"),
                Plain::Maximum => (55, 1, 14, "MAXIMUM"),
                Plain::Minimum => (57, 1, 14, "MINIMUM"),
                Plain::Relu => (19, 1, 5, "RELU"),
                Plain::Relu6 => (21, 1, 5, "RELU6"),
                Plain::Logistic => (14, 1, 14, "LOGISTIC"),
                Plain::Exp => (47, 1, 7, "EXP"),
                Plain::Log => (73, 1, 14, "LOG"),
                Plain::Round => (116, 1, 14, "ROUND"),
                Plain::Sqrt => (75, 1, 14, "SQRT"),
                Plain::Abs => (101, 1, 13, "ABS"),
                Plain::Less => (58, 1, 14, "LESS"),
                Plain::Greater => (61, 1, 14, "GREATER"),
                Plain::GreaterEqual => (62, 1, 14, "GREATER_EQUAL"),
                Plain::Equal => (71, 1, 14, "EQUAL"),
                Plain::And => (86, 1, 11, "LOGICAL_AND"),
                Plain::SelectV2 => (123, 1, TWO + 2, "SELECT_V2"),
                Plain::TopK => (48, 1, 7, "TOPK_V2"),
                Plain::Transpose => (39, 1, 6, "TRANSPOSE"),
                Plain::NonMaxSuppressionV4 => (120, 1, TWO + 1, "NON_MAX_SUPPRESSION_V4"),
            },
            Self::Arithmetic(Arithmetic::Add, _) => (0, 1, 5, "ADD"),
            Self::Arithmetic(Arithmetic::Sub, _) => (41, 1, 6, "SUB"),
            Self::Arithmetic(Arithmetic::Mul, _) => (18, 1, 5, "MUL"),
            Self::Arithmetic(Arithmetic::Div, _) => (42, 1, 6, "DIV"),
            Self::Conv2d(window) if window.is_hybrid => (3, 5, TWO + 4, "CONV_2D"),
            Self::Conv2d(_) => (3, 1, 5, "CONV_2D"),
            Self::DepthwiseConv2d(window, _) if window.is_hybrid => {
                (4, 6, TWO + 3, "DEPTHWISE_CONV_2D")
            }
            Self::DepthwiseConv2d(window, _) if window.dilations != [1, 1] => {
                (4, 2, 12, "DEPTHWISE_CONV_2D")
            }
            Self::DepthwiseConv2d(..) => (4, 1, 5, "DEPTHWISE_CONV_2D"),
            Self::TransposeConv(_) => (67, 1, 9, "TRANSPOSE_CONV"),
            Self::MaxPool(..) => (17, 1, 5, "MAX_POOL_2D"),
            Self::AveragePool(..) => (1, 1, 5, "AVERAGE_POOL_2D"),
            Self::BatchMatMul => (126, 1, TWO + 3, "BATCH_MATMUL"),
            Self::ArgMax => (56, 1, 9, "ARG_MAX"),
            Self::Reduction { kind, .. } => match kind {
                Reduction::Mean => (40, 1, 6, "MEAN"),
                Reduction::Sum => (74, 1, 10, "SUM"),
                Reduction::Max => (82, 1, 11, "REDUCE_MAX"),
                Reduction::Min => (89, 1, 11, "REDUCE_MIN"),
            },
            Self::Softmax => (25, 1, 5, "SOFTMAX"),
            Self::Reshape(_) => (22, 1, 5, "RESHAPE"),
            Self::Concatenation { .. } => (2, 1, 5, "CONCATENATION"),
            Self::Pack { .. } => (83, 1, 11, "PACK"),
            Self::Unpack { .. } => (88, 1, 13, "UNPACK"),
            Self::Pad(0..=4) => (34, 1, 5, "PAD"),
            Self::Pad(_) => (34, 4, TWO + 6, "PAD"),
            Self::Slice(0..=4) => (65, 1, 14, "SLICE"),
            Self::Slice(_) => (65, 5, TWO + 5, "SLICE"),
            Self::ResizeBilinear(grid) if grid.half_pixel_centers => {
                (23, 3, TWO + 2, "RESIZE_BILINEAR")
            }
            Self::ResizeBilinear(_) => (23, 1, 7, "RESIZE_BILINEAR"),
            Self::ResizeNearest(grid) if grid.half_pixel_centers || grid.align_corners => {
                (97, 3, TWO + 3, "RESIZE_NEAREST_NEIGHBOR")
            }
            Self::ResizeNearest(_) => (97, 1, 13, "RESIZE_NEAREST_NEIGHBOR"),
            Self::Gather { batch_dims: 0 } => (36, 1, 6, "GATHER"),
            Self::Gather { .. } => (36, 5, TWO + 5, "GATHER"),
            Self::Cast(..) => (53, 1, 5, "CAST"),
            Self::Dequantize => (6, 3, 15, "DEQUANTIZE"),
            Self::PostProcess(_) => (CUSTOM, 1, 9, PostProcess::NAME),
        }
    }

    pub(crate) fn code(&self) -> Code {
        let (number, version, _, name) = self.row();
        Code {
            number,
            version,
            custom: (number == CUSTOM).then_some(name),
        }
    }

    /// What TFLite calls it.
    pub(crate) fn name(&self) -> &'static str {
        self.row().3
    }

    /// The first runtime that runs it, as the minor version of TensorFlow 1, or 100 more than that of TensorFlow 2.
    pub(crate) fn since(&self) -> u32 {
        self.row().2
    }

    /// The activation that it can apply, if it can.
    pub(crate) fn activation(&mut self) -> Option<&mut Activation> {
        match self {
            Self::Arithmetic(_, activation) => Some(activation),
            Self::Conv2d(window)
            | Self::DepthwiseConv2d(window, _)
            | Self::MaxPool(window, _)
            | Self::AveragePool(window, _) => Some(&mut window.activation),
            _ => None,
        }
    }

    /// Has a convolution take a kernel of 8 bits.
    pub(crate) fn make_hybrid(&mut self) {
        if let Self::Conv2d(window) | Self::DepthwiseConv2d(window, _) = self {
            window.is_hybrid = true;
        }
    }

    /// The options of an operator that is not in the schema.
    pub(crate) fn custom_options(&self) -> Option<Vec<u8>> {
        match self {
            Self::PostProcess(options) => Some(options.options()),
            _ => None,
        }
    }

    /// The number of its kind of options in the union of all, and the options.
    pub(crate) fn options(&self, b: &mut Builder) -> Option<(u8, NodeRef)> {
        let (kind, fields) = match self {
            Self::Plain(plain) => {
                let kind = match plain {
                    Plain::Relu
                    | Plain::Relu6
                    | Plain::Logistic
                    | Plain::Log
                    | Plain::Round
                    | Plain::Sqrt => return None,
                    Plain::Transpose => 26,
                    Plain::Exp => 33,
                    Plain::TopK => 34,
                    Plain::Maximum | Plain::Minimum => 39,
                    Plain::Less => 41,
                    Plain::Greater => 44,
                    Plain::GreaterEqual => 45,
                    Plain::Equal => 53,
                    Plain::And => 62,
                    Plain::FloorDiv => 65,
                    Plain::NonMaxSuppressionV4 => 95,
                    Plain::Abs => 78,
                    Plain::SelectV2 => 98,
                };
                (kind, Vec::new())
            }
            Self::Arithmetic(kind, activation) => {
                let kind = match kind {
                    Arithmetic::Add => 11,
                    Arithmetic::Mul => 21,
                    Arithmetic::Sub => 28,
                    Arithmetic::Div => 29,
                };
                (kind, vec![byte(0, activation.number())])
            }
            Self::Conv2d(window) => {
                let mut fields = steps(window);
                fields.push(byte(3, window.activation.number()));
                fields.extend(dilations(window, 4));
                (1, fields)
            }
            Self::DepthwiseConv2d(window, multiplier) => {
                let mut fields = steps(window);
                fields.push((3, Field::Int(*multiplier)));
                fields.push(byte(4, window.activation.number()));
                fields.extend(dilations(window, 5));
                (2, fields)
            }
            Self::TransposeConv(window) => (49, steps(window)),
            Self::BatchMatMul => (101, Vec::new()),
            Self::ArgMax => (40, vec![byte(0, type_number(DType::I32))]),
            Self::MaxPool(window, [height, width]) | Self::AveragePool(window, [height, width]) => {
                let mut fields = steps(window);
                fields.push((3, Field::Int(*width)));
                fields.push((4, Field::Int(*height)));
                fields.push(byte(5, window.activation.number()));
                (5, fields)
            }
            Self::Reduction { keep_dims, .. } => (27, vec![byte(0, (*keep_dims).into())]),
            Self::Softmax => (9, vec![(0, Field::Float(1.0))]),
            Self::Reshape(shape) => (17, vec![(0, Field::Ref(b.ints(shape)))]),
            Self::Concatenation { axis } => (10, vec![(0, Field::Int(*axis))]),
            Self::Pack { count, axis } => {
                (59, vec![(0, Field::Int(*count)), (1, Field::Int(*axis))])
            }
            Self::Unpack { count, axis } => {
                (64, vec![(0, Field::Int(*count)), (1, Field::Int(*axis))])
            }
            Self::Pad(_) => (22, Vec::new()),
            Self::Slice(_) => (48, Vec::new()),
            Self::Dequantize => (38, Vec::new()),
            Self::PostProcess(_) => return None,
            Self::ResizeBilinear(grid) => (
                15,
                vec![
                    byte(2, grid.align_corners.into()),
                    byte(3, grid.half_pixel_centers.into()),
                ],
            ),
            Self::ResizeNearest(grid) => (
                74,
                vec![
                    byte(0, grid.align_corners.into()),
                    byte(1, grid.half_pixel_centers.into()),
                ],
            ),
            Self::Gather { batch_dims } => (
                23,
                vec![(0, Field::Int(*batch_dims)), (1, Field::Int(*batch_dims))],
            ),
            Self::Cast(from, to) => (
                37,
                vec![byte(0, type_number(*from)), byte(1, type_number(*to))],
            ),
        };
        let fields = fields.into_iter().filter(|(_, field)| !is_zero(*field));
        Some((kind, b.table(fields.collect())))
    }
}

fn byte(slot: usize, value: u8) -> (usize, Field) {
    (slot, Field::Byte(value))
}

/// Whether a field is at the default of most, which is left out.
fn is_zero(field: Field) -> bool {
    matches!(field, Field::Byte(0) | Field::Int(0))
}

fn steps(window: &WindowOptions) -> Vec<(usize, Field)> {
    let padding = match window.padding {
        Padding::Same => 0,
        Padding::Valid => 1,
    };
    let [height, width] = window.strides;
    vec![
        byte(0, padding),
        (1, Field::Int(width)),
        (2, Field::Int(height)),
    ]
}

/// Dilations from a slot on; 1 is the default.
fn dilations(window: &WindowOptions, slot: usize) -> impl Iterator<Item = (usize, Field)> {
    let [height, width] = window.dilations;
    let fields = [(slot, width), (slot + 1, height)].into_iter();
    fields
        .filter(|(_, dilation)| *dilation != 1)
        .map(|(slot, dilation)| (slot, Field::Int(dilation)))
}

/// TFLite's number for floats of 16 bits.
pub(crate) const HALF: u8 = 1;

/// TFLite's number for signed integers of 8 bits.
pub(crate) const INT8: u8 = 9;

/// TFLite's number for an element type.
pub(crate) fn type_number(dtype: DType) -> u8 {
    match dtype {
        DType::F32 => 0,
        DType::I32 => 2,
        DType::U8 => 3,
        DType::I64 => 4,
        DType::String => 5,
        DType::Bool => 6,
    }
}

/// A runtime of [`Operator::since`] as users know it.
pub(crate) fn runtime(since: u32) -> String {
    match since.checked_sub(TWO) {
        Some(minor) => format!("2.{minor}.0"),
        None => format!("1.{since}.0"),
    }
}
