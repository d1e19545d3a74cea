//! Which feature maps are kept channels-first.
//!
//! The graph is channels-last; ONNX's convolutions, normalisation and resizing are channels-first. Every value of four dimensions is given one
//! [`Layout`], in two walks over the graph: backwards, what the consumers of each value would like; forwards, what comes out of the producers,
//! followed by all operations that work in either layout. A transpose is needed only where a value is used in the layout that it has not.

use std::collections::HashMap;

use tfod_graph::{Dim, Graph, Node, Op, Shape, ValueId};

/// The order of the dimensions of a feature map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `[n, h, w, c]`, that of the graph. Also the layout of all that has not four dimensions.
    ChannelsLast,
    /// `[n, c, h, w]`.
    ChannelsFirst,
}

/// Channels-first from channels-last: which axis comes where.
pub(crate) const TO_FIRST: [usize; 4] = [0, 3, 1, 2];
/// Channels-last from channels-first.
pub(crate) const TO_LAST: [usize; 4] = [0, 2, 3, 1];

impl Layout {
    /// Where an axis of the graph is.
    pub(crate) fn axis(self, axis: usize) -> usize {
        match self {
            Self::ChannelsLast => axis,
            Self::ChannelsFirst => TO_LAST.get(axis).copied().unwrap_or(axis),
        }
    }

    /// One item for each axis of the graph, in the order of the layout.
    pub(crate) fn arrange<T: Clone>(self, items: &[T]) -> Vec<T> {
        match (self, items) {
            (Self::ChannelsFirst, [n, h, w, c]) => [n, c, h, w].map(T::clone).to_vec(),
            _ => items.to_vec(),
        }
    }

    pub(crate) fn shape(self, shape: &Shape) -> Shape {
        Shape(self.arrange::<Dim>(shape.dims()))
    }
}

/// What an operation has to do with layouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Takes its first input, and gives its result, channels-first.
    ChannelsFirst,
    /// Works in either layout, in which it takes all inputs and gives its result.
    Follows,
    /// Takes its input in either layout; its result has no layout.
    TakesEither,
    /// Works on the graph's own order.
    ChannelsLast,
}

/// The layout of each value of one graph.
#[derive(Debug)]
pub(crate) struct Plan {
    channels_first: HashMap<ValueId, bool>,
}

/// What the consumers of a value would like.
#[derive(Clone, Copy, Debug, Default)]
struct Wish {
    first: bool,
    last: bool,
}

impl Plan {
    /// Decides for every value. `inputs` is the layout in which the graph is given its feature maps.
    pub(crate) fn new(graph: &Graph, inputs: Layout) -> Self {
        let wishes = wishes(graph);
        let mut plan = Self {
            channels_first: HashMap::new(),
        };
        for (_, node) in graph.nodes() {
            for output in &node.outputs {
                let is_map = graph.value(*output).shape.rank() == 4;
                let first = is_map
                    && match (&node.op, role(graph, node)) {
                        (Op::Input, _) => inputs == Layout::ChannelsFirst,
                        (_, Role::ChannelsFirst) => true,
                        (_, Role::Follows) => {
                            let wished = wishes.get(output).copied().unwrap_or_default();
                            node.inputs.iter().any(|v| plan.is_first(*v))
                                || wished.first && !wished.last
                        }
                        (_, Role::TakesEither | Role::ChannelsLast) => false,
                    };
                plan.channels_first.insert(*output, first);
            }
        }
        plan
    }

    fn is_first(&self, value: ValueId) -> bool {
        self.channels_first.get(&value).copied().unwrap_or(false)
    }

    /// The layout in which a value is computed.
    pub(crate) fn of(&self, value: ValueId) -> Layout {
        if self.is_first(value) {
            Layout::ChannelsFirst
        } else {
            Layout::ChannelsLast
        }
    }
}

fn wishes(graph: &Graph) -> HashMap<ValueId, Wish> {
    let mut wishes: HashMap<ValueId, Wish> = HashMap::new();
    for output in graph.outputs() {
        wishes.entry(output.value).or_default().last = true;
    }
    let nodes: Vec<&Node> = graph.nodes().map(|(_, node)| node).collect();
    for node in nodes.into_iter().rev() {
        let own = match (role(graph, node), node.outputs.as_slice()) {
            (Role::ChannelsFirst, _) => Wish {
                first: true,
                last: false,
            },
            (Role::Follows, [output]) => wishes.get(output).copied().unwrap_or_default(),
            (Role::Follows | Role::TakesEither, _) => Wish::default(),
            (Role::ChannelsLast, _) => Wish {
                first: false,
                last: true,
            },
        };
        for input in &node.inputs {
            let wish = wishes.entry(*input).or_default();
            wish.first |= own.first;
            wish.last |= own.last;
        }
    }
    wishes
}

fn role(graph: &Graph, node: &Node) -> Role {
    let rank = |value: Option<&ValueId>| value.map_or(0, |v| graph.value(*v).shape.rank());
    match &node.op {
        Op::Conv2d(_)
        | Op::DepthwiseConv2d(_)
        | Op::ConvTranspose2d { .. }
        | Op::MaxPool(_)
        | Op::AveragePool(_)
        | Op::GlobalAveragePool
        | Op::BatchNorm { .. }
        | Op::Resize { .. }
        | Op::CropAndResize { .. } => Role::ChannelsFirst,
        Op::BiasAdd
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Compare(_)
        | Op::And
        | Op::Select
        | Op::Softmax
        | Op::Cast(_)
        | Op::Pad(_)
        | Op::PadEnd(_)
        | Op::Concat { .. }
        | Op::Slice(_)
            if rank(node.outputs.first()) == 4 =>
        {
            Role::Follows
        }
        // What is left must be in the same order in both layouts: channels may not stay beside rows or columns.
        Op::Reduce { axes, .. } if rank(node.inputs.first()) == 4 => {
            let keeps = |axis: usize| !axes.contains(&axis);
            if keeps(3) && (keeps(1) || keeps(2)) {
                Role::ChannelsLast
            } else {
                Role::TakesEither
            }
        }
        Op::ShapeOf => Role::TakesEither,
        Op::Unstack { axis: 3 } if rank(node.inputs.first()) == 4 => Role::TakesEither,
        Op::BiasAdd
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Compare(_)
        | Op::And
        | Op::Select
        | Op::Softmax
        | Op::Cast(_)
        | Op::Pad(_)
        | Op::PadEnd(_)
        | Op::Concat { .. }
        | Op::Slice(_)
        | Op::Reduce { .. }
        | Op::Unstack { .. }
        | Op::Input
        | Op::Constant(_)
        | Op::Parameter(_)
        | Op::Range(_)
        | Op::Reshape(_)
        | Op::Transpose(_)
        | Op::MatMul
        | Op::Stack { .. }
        | Op::Gather { .. }
        | Op::ArgMax { .. }
        | Op::TopK { .. }
        | Op::NonMaxSuppression(_)
        | Op::SoftNonMaxSuppression(_)
        | Op::DecodeImage { .. }
        | Op::ExampleFeature { .. }
        | Op::Map { .. } => Role::ChannelsLast,
    }
}
