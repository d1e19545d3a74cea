//! Arithmetic on constants: what a graph computes from constants alone, as arrays of 32-bit floats.

use std::collections::HashMap;
use std::rc::Rc;

use super::super::constants::Store;
use super::super::error::FreezeError;
use super::super::graph::{Graph, Node, Tensor};
use super::super::wire::attr;

/// A dense array, row-major.
#[derive(Debug, PartialEq)]
pub(super) struct Array {
    pub(super) shape: Vec<usize>,
    pub(super) numbers: Vec<f32>,
}

/// Arrays larger than this are not computed: 256 MB.
const MAX_ELEMENTS: usize = 1 << 26;

/// Expressions deeper than this are not followed.
const MAX_DEPTH: usize = 32;

/// The constants of a graph, computed once each.
#[derive(Default)]
pub(super) struct Constants(HashMap<Tensor, Option<Rc<Array>>>);

impl Constants {
    /// The value of a tensor, if it is computed from constants by the operations known here.
    pub(super) fn value(
        &mut self,
        graph: &Graph<'_>,
        store: &Store,
        tensor: Tensor,
    ) -> Result<Option<Rc<Array>>, FreezeError> {
        self.at_depth(graph, store, tensor, 0)
    }

    fn at_depth(
        &mut self,
        graph: &Graph<'_>,
        store: &Store,
        tensor: Tensor,
        depth: usize,
    ) -> Result<Option<Rc<Array>>, FreezeError> {
        if let Some(known) = self.0.get(&tensor) {
            return Ok(known.clone());
        }
        let computed = if depth > MAX_DEPTH {
            None
        } else {
            self.compute(graph, store, tensor, depth)?
        };
        self.0.insert(tensor, computed.clone());
        Ok(computed)
    }

    fn compute(
        &mut self,
        graph: &Graph<'_>,
        store: &Store,
        tensor: Tensor,
        depth: usize,
    ) -> Result<Option<Rc<Array>>, FreezeError> {
        let node = graph.node(tensor.node);
        if let Some(content) = &node.content {
            let shape = store.shape(content);
            let is_small = shape
                .iter()
                .try_fold(1usize, |count, &size| count.checked_mul(size))
                .is_some_and(|count| count <= MAX_ELEMENTS);
            let numbers = if is_small {
                store.floats(content)?
            } else {
                None
            };
            return Ok(numbers.map(|numbers| Rc::new(Array { shape, numbers })));
        }
        let mut value = |input: Option<&Tensor>| match input {
            Some(&input) => self.at_depth(graph, store, input, depth + 1),
            None => Ok(None),
        };
        if let Some(function) = unary(&node.op) {
            let Some(of) = value(node.inputs.first())? else {
                return Ok(None);
            };
            let numbers = of.numbers.iter().map(|&number| function(number)).collect();
            return Ok(Some(Rc::new(Array {
                shape: of.shape.clone(),
                numbers,
            })));
        }
        if matches!(
            &*node.op,
            "Reshape" | "Squeeze" | "ExpandDims" | "BroadcastTo"
        ) {
            let Some(of) = value(node.inputs.first())? else {
                return Ok(None);
            };
            return Ok(reshaped(graph, node, &of).map(Rc::new));
        }
        let Some(function) = binary(&node.op) else {
            return Ok(None);
        };
        let (Some(left), Some(right)) = (value(node.inputs.first())?, value(node.inputs.get(1))?)
        else {
            return Ok(None);
        };
        Ok(broadcast(&left, &right, function).map(Rc::new))
    }
}

/// The array under the shape that an operation gives it.
fn reshaped(graph: &Graph<'_>, node: &Node<'_>, of: &Array) -> Option<Array> {
    let given = || {
        let content = graph.node(node.inputs.get(1)?.node).content.as_ref()?;
        content.integers()
    };
    let mut shape = of.shape.clone();
    match &*node.op {
        "Reshape" => {
            let sizes = given()?;
            let known: usize = sizes
                .iter()
                .filter(|&&size| size != -1)
                .try_fold(1usize, |count, &size| {
                    count.checked_mul(usize::try_from(size).ok()?)
                })?;
            let rest = of.numbers.len().checked_div(known).unwrap_or(0);
            let size = |&size: &i64| usize::try_from(size).unwrap_or(rest);
            shape = sizes.iter().map(size).collect();
        }
        "Squeeze" => {
            let dims = node.attr("squeeze_dims").or_else(|| node.attr("axis"));
            let dims = dims.and_then(attr::ints).unwrap_or_default();
            let dims: Vec<usize> = dims
                .iter()
                .map(|&dim| place_in(dim, of.shape.len()))
                .collect::<Option<_>>()?;
            let goes = |&(dim, &size): &(usize, &usize)| {
                size == 1 && (dims.is_empty() || dims.contains(&dim))
            };
            let kept = of.shape.iter().enumerate().filter(|dim| !goes(dim));
            shape = kept.map(|(_, &size)| size).collect();
        }
        "ExpandDims" => {
            let [dim] = given()?[..] else { return None };
            shape.insert(place_in(dim, of.shape.len() + 1)?, 1);
        }
        _ => {
            let sizes = given()?;
            let size = |&size: &i64| usize::try_from(size).ok();
            let shape: Vec<usize> = sizes.iter().map(size).collect::<Option<_>>()?;
            let count = shape
                .iter()
                .try_fold(1usize, |count, &size| count.checked_mul(size))?;
            if count > MAX_ELEMENTS {
                return None;
            }
            let ones = Array {
                numbers: vec![1.0; count],
                shape,
            };
            return broadcast(of, &ones, |number, _| number).filter(|all| all.shape == ones.shape);
        }
    }
    let count = shape
        .iter()
        .try_fold(1usize, |count, &size| count.checked_mul(size))?;
    (count == of.numbers.len()).then(|| Array {
        shape,
        numbers: of.numbers.clone(),
    })
}

/// A dimension counted from the first or, negative, from the last of so many.
fn place_in(dim: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let dim = if dim < 0 { dim + rank } else { dim };
    usize::try_from(dim).ok().filter(|_| dim < rank)
}

fn unary(op: &str) -> Option<fn(f32) -> f32> {
    Some(match op {
        "Identity" | "StopGradient" => |x| x,
        "Neg" => |x| -x,
        "Rsqrt" => |x| 1.0 / x.sqrt(),
        "Sqrt" => f32::sqrt,
        "Square" => |x| x * x,
        "Reciprocal" | "Inv" => |x| 1.0 / x,
        _ => return None,
    })
}

/// The function of an operation on two tensors that broadcasts.
fn binary(op: &str) -> Option<fn(f32, f32) -> f32> {
    Some(match op {
        "Add" | "AddV2" => |x, y| x + y,
        "Sub" => |x, y| x - y,
        "Mul" => |x, y| x * y,
        "RealDiv" | "Div" => |x, y| x / y,
        _ => return None,
    })
}

/// Applies a function to two arrays whose shapes are aligned at their ends, with dimensions of size 1 repeated.
fn broadcast(left: &Array, right: &Array, function: fn(f32, f32) -> f32) -> Option<Array> {
    let rank = left.shape.len().max(right.shape.len());
    let aligned = |shape: &[usize]| {
        let mut aligned = vec![1; rank - shape.len()];
        aligned.extend_from_slice(shape);
        aligned
    };
    let (from, other) = (aligned(&left.shape), aligned(&right.shape));
    let mut shape = Vec::with_capacity(rank);
    for (&one, &other) in from.iter().zip(&other) {
        shape.push(match (one, other) {
            (one, other) if one == other => one,
            (1, size) | (size, 1) => size,
            _ => return None,
        });
    }
    let count = shape
        .iter()
        .try_fold(1usize, |count, &size| count.checked_mul(size))
        .filter(|&count| count <= MAX_ELEMENTS)?;
    let place = |sizes: &[usize], mut index: usize| {
        let (mut place, mut stride) = (0, 1);
        for (&size, &whole) in sizes.iter().zip(&shape).rev() {
            place += (index % whole) % size * stride;
            index /= whole;
            stride *= size;
        }
        place
    };
    let at = |index| {
        function(
            left.numbers[place(&from, index)],
            right.numbers[place(&other, index)],
        )
    };
    let numbers = (0..count).map(at).collect();
    Some(Array { shape, numbers })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(shape: &[usize], numbers: &[f32]) -> Array {
        Array {
            shape: shape.to_vec(),
            numbers: numbers.to_vec(),
        }
    }

    #[test]
    fn shapes_are_aligned_at_their_ends() {
        let sum = binary("AddV2").expect("it is known");
        let found = broadcast(
            &array(&[2, 1], &[10.0, 20.0]),
            &array(&[3], &[1.0, 2.0, 3.0]),
            sum,
        );
        assert_eq!(
            found,
            Some(array(&[2, 3], &[11.0, 12.0, 13.0, 21.0, 22.0, 23.0]))
        );
        assert_eq!(
            broadcast(&array(&[2], &[0.0, 0.0]), &array(&[3], &[0.0; 3]), sum),
            None
        );
    }

    #[test]
    fn empty_arrays_stay_empty() {
        let product = binary("Mul").expect("it is known");
        assert_eq!(
            broadcast(&array(&[0], &[]), &array(&[], &[1.0]), product),
            Some(array(&[0], &[]))
        );
    }
}
