//! What integers of a graph are as sizes.
//!
//! Where a shape is known only at run time, TensorFlow's nodes take it apart, compute with sizes, and put shapes together. This follows them from node to
//! node, so that a shape that is read from a tensor in one place and given to a `Reshape` in another is one formula. What is not followed is a size of its own.

use std::collections::HashMap;

use tfod_graph::{Binary, Builder, DType, Dim, Op, Tensor, ValueId};

/// Longer vectors are no shapes.
const MAX_RANK: u64 = 16;

/// One element of a vector of sizes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Size {
    /// A size.
    Dim(Dim),
    /// -1, which stands for what is left.
    Rest,
}

/// The sizes that are known of values; each belongs to one graph or body.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    /// By the depth of the body, too: bodies have values of their own.
    known: HashMap<(usize, ValueId), Vec<Size>>,
    depth: usize,
    named: usize,
}

impl Sizes {
    /// Goes into a body, whose arguments these values of the graph around it are.
    pub(super) fn enter(&mut self, arguments: &[(ValueId, ValueId)]) {
        let outer = self.depth;
        self.depth += 1;
        let depth = self.depth;
        self.known.retain(|(of, _), _| *of != depth);
        for (outside, inside) in arguments {
            if let Some(sizes) = self.known.get(&(outer, *outside)).cloned() {
                self.known.insert((depth, *inside), sizes);
            }
        }
    }

    pub(super) fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// A size that nothing else has.
    pub(super) fn fresh(&mut self) -> Dim {
        self.named += 1;
        Dim::symbol(&format!("size_{}", self.named))
    }

    /// The elements of a scalar or vector of integers as sizes; `None` if it is none.
    pub(super) fn of(&mut self, b: &Builder, value: ValueId) -> Option<Vec<Size>> {
        if let Some(sizes) = self.known.get(&(self.depth, value)) {
            return Some(sizes.clone());
        }
        let info = b.graph().value(value);
        let count = info.shape.elements().filter(|count| *count <= MAX_RANK)?;
        if info.dtype != DType::I32 || info.shape.rank() > 1 {
            return None;
        }
        let sizes: Vec<Size> = (0..count).map(|_| Size::Dim(self.fresh())).collect();
        self.known.insert((self.depth, value), sizes.clone());
        Some(sizes)
    }

    /// The elements as sizes of which none is what is left.
    pub(super) fn dims(&mut self, b: &Builder, value: ValueId) -> Option<Vec<Dim>> {
        let sizes = self.of(b, value)?.into_iter();
        let dims = sizes.map(|size| match size {
            Size::Dim(dim) => Some(dim),
            Size::Rest => None,
        });
        dims.collect()
    }

    /// Follows the node that defines a value.
    pub(super) fn note(&mut self, b: &Builder, value: ValueId) {
        let graph = b.graph();
        let of = graph.value(value);
        let count = of.shape.elements();
        if of.dtype != DType::I32 || of.shape.rank() > 1 || count.is_none_or(|n| n > MAX_RANK) {
            return;
        }
        let (node, output) = (graph.node(of.node), of.output);
        let sizes = match &node.op {
            Op::Constant(tensor) => constant(tensor),
            Op::ShapeOf => node.inputs.first().map(|input| {
                let dims = graph.value(*input).shape.dims();
                dims.iter().cloned().map(Size::Dim).collect()
            }),
            Op::Unstack { axis: 0 } => node
                .inputs
                .first()
                .and_then(|input| self.of(b, *input)?.get(output).cloned())
                .map(|size| vec![size]),
            Op::Stack { axis: 0 } | Op::Concat { axis: 0 } => {
                let parts = node.inputs.iter().map(|input| self.of(b, *input));
                let parts: Option<Vec<Vec<Size>>> = parts.collect();
                parts.map(|parts| parts.concat())
            }
            Op::Reshape(_) => node.inputs.first().and_then(|input| self.of(b, *input)),
            Op::Slice(ranges) => match (ranges.as_slice(), node.inputs.as_slice()) {
                ([Some((begin, size))], [input]) => self.of(b, *input).and_then(|sizes| {
                    let begin = usize::try_from(*begin).ok()?;
                    let end = begin.checked_add(usize::try_from(*size).ok()?)?;
                    sizes.get(begin..end).map(<[Size]>::to_vec)
                }),
                ([None], [input]) => self.of(b, *input),
                _ => None,
            },
            Op::Binary(binary) => match node.inputs.as_slice() {
                [x, y] => self.combined(b, *binary, *x, *y),
                _ => None,
            },
            _ => None,
        };
        if let Some(sizes) = sizes.filter(|sizes| Some(sizes.len() as u64) == count) {
            self.known.insert((self.depth, value), sizes);
        }
    }

    /// Sums, differences and products, element by element.
    fn combined(
        &mut self,
        b: &Builder,
        binary: Binary,
        x: ValueId,
        y: ValueId,
    ) -> Option<Vec<Size>> {
        let combine = match binary {
            Binary::Add => Dim::plus,
            Binary::Sub => Dim::minus,
            Binary::Mul => Dim::times,
            Binary::Div | Binary::FloorDiv | Binary::Maximum | Binary::Minimum => return None,
        };
        let (x, y) = (self.dims(b, x)?, self.dims(b, y)?);
        let count = x.len().max(y.len());
        let at = |of: &[Dim], i: usize| of.get(if of.len() == 1 { 0 } else { i }).cloned();
        let mut sizes = Vec::with_capacity(count);
        for i in 0..count {
            let size = combine(&at(&x, i)?, &at(&y, i)?);
            sizes.push(Size::Dim(size.unwrap_or_else(|| self.fresh())));
        }
        Some(sizes)
    }
}

fn constant(tensor: &Tensor) -> Option<Vec<Size>> {
    let numbers = tensor.to_i32()?.into_iter();
    let sizes = numbers.map(|n| match (n, u64::try_from(n)) {
        (-1, _) => Some(Size::Rest),
        (_, Ok(n)) => Some(Size::Dim(Dim::Known(n))),
        _ => None,
    });
    sizes.collect()
}

/// The dimensions of what a tensor of the dimensions `from` becomes.
pub(super) fn reshaped(sizes: &mut Sizes, from: &[Dim], to: &[Size]) -> Option<Vec<Dim>> {
    let rest = to.iter().filter(|size| **size == Size::Rest).count();
    let given = |size: &Size| match size {
        Size::Dim(dim) => Some(dim.clone()),
        Size::Rest => None,
    };
    if rest == 0 {
        return to.iter().map(given).collect();
    }
    if rest > 1 {
        return None;
    }
    let left = left(from, &to.iter().filter_map(given).collect::<Vec<Dim>>());
    let left = left.unwrap_or_else(|| sizes.fresh());
    let dims = to
        .iter()
        .map(|size| given(size).unwrap_or_else(|| left.clone()));
    Some(dims.collect())
}

/// What is left of sizes when these are taken out; `None` if that is no formula.
fn left(from: &[Dim], to: &[Dim]) -> Option<Dim> {
    let mut from = from.to_vec();
    let mut by = 1u64;
    for dim in to {
        match dim {
            Dim::Known(n) => by = by.checked_mul(*n)?,
            Dim::Unknown(_) => {
                let at = from.iter().position(|other| other == dim)?;
                from.swap_remove(at);
            }
        }
    }
    let all = Dim::product(&from)?;
    let left = all.div_ceil(by)?;
    (left.times(&Dim::Known(by))? == all).then_some(left)
}
