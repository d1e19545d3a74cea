//! Large constants in half the space: stored as 16-bit floats, behind a `Cast` to 32 bits.

use std::collections::HashMap;

use super::super::constants::Content;
use super::super::data_type::{FLOAT, HALF};
use super::super::error::FreezeError;
use super::super::frozen::Frozen;
use super::super::graph::{Node, NodeId, Tensor};
use super::super::wire::value;

/// Constants with fewer elements stay as they are: they take little space, and rounding them can do harm.
const MIN_ELEMENTS: u64 = 1024;

impl Frozen<'_> {
    /// Stores constants of at least 1024 32-bit floats as 16-bit floats, followed by a `Cast`; gives their number. A constant with an element
    /// beyond the range of 16 bits stays as it is, and so do those of functions.
    ///
    /// # Errors
    ///
    /// Where a constant's value cannot be read.
    pub fn halve_constants(&mut self) -> Result<usize, FreezeError> {
        self.is_halved = true;
        let mut casts = HashMap::new();
        for id in self.listing.order.clone() {
            if !self.can_be_halved(id)? {
                continue;
            }
            let node = self.graph.node_mut(id);
            let (name, scope) = (node.name.clone(), node.scope);
            node.content = node
                .content
                .take()
                .map(|content| Content::Half(Box::new(content)));
            node.outputs = Some(vec![HALF]);
            let from = Tensor::of(id);
            let cast = Node::new(format!("{name}/Cast"), "Cast", vec![from], vec![FLOAT])
                .with("SrcT", value::data_type(HALF))
                .with("DstT", value::data_type(FLOAT));
            casts.insert(from, Tensor::of(self.graph.add(scope, cast)));
        }
        for node in self
            .graph
            .nodes
            .iter_mut()
            .filter(|node| node.op != "Cast" || !casts_half(node))
        {
            for input in &mut node.inputs {
                *input = casts.get(input).copied().unwrap_or(*input);
            }
        }
        let halved = casts.len();
        self.list_again()?;
        Ok(halved)
    }

    fn can_be_halved(&self, id: NodeId) -> Result<bool, FreezeError> {
        let Some(content) = &self.graph.node(id).content else {
            return Ok(false);
        };
        let shape = self.store.shape(content);
        let elements = shape
            .iter()
            .try_fold(1u64, |count, &size| count.checked_mul(size as u64));
        let is_large = elements.is_some_and(|count| count >= MIN_ELEMENTS);
        let is_end = self.outputs.iter().any(|output| output.tensor.node == id);
        // A constant that repeats one value takes no space.
        let is_stored = self.store.tensor_len(content)? > MIN_ELEMENTS * 4;
        if !is_large || !is_stored || is_end || content.data_type() != FLOAT {
            return Ok(false);
        }
        let max = half::f16::MAX.to_f32();
        let mut fits = true;
        self.store.stream(content, &mut |chunk| {
            let mut numbers = chunk
                .chunks_exact(4)
                .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
            fits = fits && numbers.all(|number| !number.is_finite() || number.abs() <= max);
            Ok(())
        })?;
        Ok(fits)
    }
}

/// Whether a node takes 16-bit floats, which no constant was before.
fn casts_half(node: &Node<'_>) -> bool {
    node.data_type_attr("SrcT") == Some(HALF)
}
