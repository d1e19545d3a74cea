//! What a frozen graph computes from constants alone.

use std::collections::HashMap;
use std::rc::Rc;

use crate::constants::{Array, Data, Decoded, Operation, compute};

use super::super::constants::{Content, Store};
use super::super::data_type::FLOAT;
use super::super::error::FreezeError;
use super::super::graph::{Graph, Tensor};

/// Arrays larger than this are not computed: 256 MB.
const MAX_ELEMENTS: usize = 1 << 26;

/// Expressions deeper than this are not followed.
const MAX_DEPTH: usize = 32;

/// The constants of a graph, computed once each.
#[derive(Default)]
pub(super) struct Constants(HashMap<Tensor, Option<Rc<Array>>>);

impl Constants {
    /// The value of a tensor of 32-bit floats, if it is computed from constants by the operations that normalisations consist of.
    pub(super) fn floats(
        &mut self,
        graph: &Graph<'_>,
        store: &Store,
        tensor: Tensor,
    ) -> Result<Option<Rc<Array>>, FreezeError> {
        let value = self.at_depth(graph, store, tensor, 0)?;
        Ok(value.filter(|array| array.floats().is_some()))
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
            return Ok(stored(store, content)?.map(Rc::new));
        }
        if !is_followed(&node.op) {
            return Ok(None);
        }
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for &input in &node.inputs {
            let Some(input) = self.at_depth(graph, store, input, depth + 1)? else {
                return Ok(None);
            };
            inputs.push(input);
        }
        let inputs: Vec<&Array> = inputs.iter().map(|input| &**input).collect();
        let operation = Operation {
            op: &node.op,
            attrs: &node.attrs,
        };
        let outputs = compute(operation, &inputs, MAX_ELEMENTS);
        let outputs = outputs.and_then(|outputs| outputs.into_iter().nth(tensor.port as usize));
        Ok(outputs.map(Rc::new))
    }
}

/// The value of a constant: floats, or integers that the graph holds.
pub(super) fn stored(store: &Store, content: &Content<'_>) -> Result<Option<Array>, FreezeError> {
    let shape = store.shape(content);
    let count = shape
        .iter()
        .try_fold(1usize, |count, &size| count.checked_mul(size));
    if count.is_none_or(|count| count > MAX_ELEMENTS) {
        return Ok(None);
    }
    let data = if content.data_type() == FLOAT {
        store.floats(content)?.map(Data::Float)
    } else {
        let Content::Encoded(message) = content else {
            return Ok(None);
        };
        return Ok(Decoded::of(message).and_then(|value| Array::of(&value, MAX_ELEMENTS)));
    };
    Ok(data.and_then(|data| Array::new(shape, data)))
}

/// The operations by which graphs make the factors and terms of normalisations from what they store.
fn is_followed(op: &str) -> bool {
    matches!(
        op,
        "Identity"
            | "StopGradient"
            | "Neg"
            | "Rsqrt"
            | "Sqrt"
            | "Square"
            | "Reciprocal"
            | "Inv"
            | "Reshape"
            | "Squeeze"
            | "ExpandDims"
            | "BroadcastTo"
            | "Add"
            | "AddV2"
            | "Sub"
            | "Mul"
            | "RealDiv"
            | "Div"
    )
}
