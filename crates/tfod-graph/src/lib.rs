//! The graph that architectures write and back ends read.
//!
//! # What it is
//!
//! A [`Graph`] is one network: a list of [`Node`]s in the order in which they can be computed. A node applies one
//! [`Op`] to some values and defines new ones; a [`Value`] is a tensor of known element type and shape, defined once and
//! never changed (static single assignment). Nodes and values live in the graph and are named by small handles
//! ([`NodeId`], [`ValueId`]); handles of one graph mean nothing in another.
//!
//! Three kinds of node have no input and stand for data:
//!
//! * [`Op::Input`]: what the caller supplies at run time;
//! * [`Op::Constant`]: a tensor that the graph itself holds (sizes, thresholds, anchors);
//! * [`Op::Parameter`]: a trained tensor. The graph holds only its description ([`Parameter`]); its bytes are supplied
//!   beside the graph, as [`Weights`], normally straight from a memory-mapped checkpoint. So a graph is small, and can be built,
//!   checked and printed with no checkpoint at all.
//!
//! # Conventions
//!
//! * Images and feature maps are `[batch, height, width, channels]`.
//! * Boxes are `[ymin, xmin, ymax, xmax]`.
//! * Operations have TensorFlow's numerical semantics; where these are surprising, the variant's documentation says how.
//! * A dimension ([`Dim`]) is a number, or a formula of named symbols. Two dimensions are the same only if they are the same number or their
//!   formulas are equal by arithmetic: nothing here guesses.
//! * Sizes, axes and thresholds are attributes of the operation, not inputs. A back end whose format wants them as tensors makes
//!   constants of them.
//!
//! # Invariants
//!
//! [`Builder`] keeps them while a graph is written, [`validate`] checks them after any pass, and back ends rely on them without
//! looking again:
//!
//! 1. every node's inputs are defined by earlier nodes;
//! 2. node names are unique within a graph, and made of letters, digits and `_ . - /`;
//! 3. the element type and shape of every value are those that [`infer`](mod@infer) gives for its node;
//! 4. a sub-graph ([`Op::Map`]) sees only its own inputs: what it needs from outside is passed to it.
//!
//! # Where things are
//!
//! | module | holds |
//! | --- | --- |
//! | [`op`] | the operations, with their semantics |
//! | [`infer`](mod@infer) | for every operation: what it accepts, and the types and shapes of its results |
//! | [`builder`] | writing a graph: scopes, names, and a method for each operation |
//! | [`validate`](mod@validate) | the invariants, checked |
//! | [`passes`] | graph to graph: pruning, sharing, unrolling |
//! | [`print`](mod@print) | the text form, for snapshots and for reading |
//! | [`tensor`] | element types, shapes, constant tensors |
//! | [`ending`] | what some formats have as one operator |
//! | [`dim`] | sizes, and what is computed from them |

pub mod builder;
pub mod dim;
pub mod ending;
pub mod graph;
pub mod infer;
pub mod op;
pub mod passes;
pub mod print;
pub mod tensor;
pub mod validate;

pub use builder::{Builder, Built, ParameterSpec};
pub use dim::{Dim, Formula};
pub use ending::{Ending, Results};
pub use graph::{Graph, Node, NodeId, Output, ParamId, Parameter, Value, ValueId, Weights};
pub use infer::{MAX_RANK, ShapeError};
pub use op::{
    Binary, Compare, ConvAttrs, MapInput, NmsAttrs, Op, Padding, PixelGrid, PoolAttrs, Reduce,
    ResizeMethod, SoftNmsAttrs, Unary,
};
pub use tensor::{DType, Shape, Tensor, TensorView};
pub use validate::{ValidateError, validate, validate_weights};
