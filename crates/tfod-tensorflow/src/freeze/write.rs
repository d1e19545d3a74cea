//! The frozen graph as the bytes of a `GraphDef`: sizes first, then one node after the other, weights straight from their files.

use std::io::Write;

use super::error::FreezeError;
use super::frozen::{Frozen, Listing};
use super::functions::KeptFunction;
use super::graph::{Graph, Node, NodeId};
use super::wire::{
    MESSAGE_LIMIT, MIN_CONSUMER, bytes_field_len, put_bytes, put_bytes_header, put_varint_field,
};

type Result<T> = std::result::Result<T, FreezeError>;

/// Everything of a node but its constant.
struct Head {
    bytes: Vec<u8>,
    /// Sizes of the constant's tensor, its attribute's value and its attribute's map entry.
    constant: Option<[u64; 3]>,
}

impl Head {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
            + self
                .constant
                .map_or(0, |[_, _, entry]| bytes_field_len(entry))
    }
}

/// Length of the key `value` in an attribute's map entry, as a field.
const VALUE_KEY: &[u8] = b"\x0a\x05value";

impl Frozen<'_> {
    fn head(&self, node: &Node<'_>, name: &str, inputs: &[String]) -> Result<Head> {
        let mut bytes = Vec::new();
        put_bytes(&mut bytes, 1, name.as_bytes());
        put_bytes(&mut bytes, 2, node.op.as_bytes());
        for input in inputs {
            put_bytes(&mut bytes, 3, input.as_bytes());
        }
        let mut attrs: Vec<(&str, &[u8])> = node
            .attrs
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        let dtype = node
            .content
            .as_ref()
            .map(|content| super::constants::dtype_attr(content.data_type()));
        attrs.extend(dtype.as_deref().map(|dtype| ("dtype", dtype)));
        attrs.sort_unstable_by_key(|(name, _)| *name);
        for (name, value) in attrs {
            let mut entry = Vec::with_capacity(name.len() + value.len() + 8);
            put_bytes(&mut entry, 1, name.as_bytes());
            put_bytes(&mut entry, 2, value);
            put_bytes(&mut bytes, 5, &entry);
        }
        let constant = match &node.content {
            Some(content) => {
                let tensor = self.store.tensor_len(content)?;
                let value = bytes_field_len(tensor);
                Some([
                    tensor,
                    value,
                    VALUE_KEY.len() as u64 + bytes_field_len(value),
                ])
            }
            None => None,
        };
        Ok(Head { bytes, constant })
    }

    fn head_of(&self, graph: &Graph<'_>, listing: &Listing, id: NodeId) -> Result<Head> {
        let node = graph.node(id);
        self.head(node, listing.name(id), &listing.inputs(graph, id)?)
    }

    /// Everything of a function but its nodes.
    pub(crate) fn function_head(function: &KeptFunction<'_>, listing: &Listing) -> Result<Vec<u8>> {
        let mut signature = Vec::new();
        put_bytes(&mut signature, 1, function.name.as_bytes());
        let argument = |name: &str, data_type: i32| {
            let mut argument = Vec::new();
            put_bytes(&mut argument, 1, name.as_bytes());
            put_varint_field(&mut argument, 3, i64::from(data_type).cast_unsigned());
            argument
        };
        for (name, node) in &function.inputs {
            let data_type = function.graph.data_type(super::graph::Tensor::of(*node));
            put_bytes(&mut signature, 2, &argument(name, data_type));
        }
        for (name, data_type, _) in &function.outputs {
            put_bytes(&mut signature, 3, &argument(name, *data_type));
        }
        let controls = listing.controls(function);
        if listing
            .order
            .iter()
            .any(|&node| function.graph.node(node).is_effect)
        {
            // Field 17, a varint, and field 20, bytes: beyond 15, keys have two bytes.
            signature.extend_from_slice(&[0x88, 0x01, 1]);
        }
        for control in &controls {
            signature.extend_from_slice(&[0xa2, 0x01]);
            super::wire::put_varint(&mut signature, control.len() as u64);
            signature.extend_from_slice(control.as_bytes());
        }
        let mut head = Vec::new();
        put_bytes(&mut head, 1, &signature);
        let mut map = |number: u32, key: &str, value: &str| {
            let mut entry = Vec::new();
            put_bytes(&mut entry, 1, key.as_bytes());
            put_bytes(&mut entry, 2, value.as_bytes());
            put_bytes(&mut head, number, &entry);
        };
        for (name, _, tensor) in &function.outputs {
            map(4, name, &listing.tensor(&function.graph, *tensor)?);
        }
        for control in &controls {
            map(6, control, control);
        }
        Ok(head)
    }

    fn function_len(&self, function: &KeptFunction<'_>, listing: &Listing) -> Result<u64> {
        let mut len = Self::function_head(function, listing)?.len() as u64;
        for &node in &listing.order {
            len += bytes_field_len(self.head_of(&function.graph, listing, node)?.len());
        }
        Ok(len)
    }

    fn library_len(&self) -> Result<u64> {
        let mut len = 0;
        for (function, listing) in &self.functions {
            len += bytes_field_len(self.function_len(function, listing)?);
        }
        Ok(len)
    }

    fn versions(&self) -> Vec<u8> {
        let mut versions = Vec::new();
        if self.producer > 0 {
            put_varint_field(&mut versions, 1, u64::from(self.producer.cast_unsigned()));
        }
        if !self.functions.is_empty() {
            put_varint_field(&mut versions, 2, MIN_CONSUMER);
        }
        versions
    }

    /// The size of the binary form, in bytes.
    ///
    /// # Errors
    ///
    /// [`FreezeError::Variables`] if a string variable is damaged.
    pub fn binary_len(&self) -> Result<u64> {
        let mut len = bytes_field_len(self.versions().len() as u64);
        for &node in &self.listing.order {
            len += bytes_field_len(self.head_of(&self.graph, &self.listing, node)?.len());
        }
        if !self.functions.is_empty() {
            len += bytes_field_len(self.library_len()?);
        }
        Ok(len)
    }

    /// Writes the graph as a binary `GraphDef`, node by node; the memory needed does not grow with the weights.
    ///
    /// # Errors
    ///
    /// [`FreezeError::TooLarge`], before anything is written; [`FreezeError::Variables`] if a variable turns out to be damaged;
    /// [`FreezeError::Write`].
    pub fn write_binary(&self, out: &mut impl Write) -> Result<()> {
        self.check_size()?;
        for &node in &self.listing.order {
            self.write_node(1, &self.graph, &self.listing, node, out)?;
        }
        if !self.functions.is_empty() {
            let mut header = Vec::new();
            put_bytes_header(&mut header, 2, self.library_len()?);
            out.write_all(&header)?;
        }
        for (function, listing) in &self.functions {
            let mut header = Vec::new();
            put_bytes_header(&mut header, 1, self.function_len(function, listing)?);
            header.extend_from_slice(&Self::function_head(function, listing)?);
            out.write_all(&header)?;
            for &node in &listing.order {
                self.write_node(3, &function.graph, listing, node, out)?;
            }
        }
        let mut versions = Vec::new();
        put_bytes(&mut versions, 4, &self.versions());
        out.write_all(&versions)?;
        self.store.check_lengths()
    }

    fn write_node(
        &self,
        field: u32,
        graph: &Graph<'_>,
        listing: &Listing,
        id: NodeId,
        out: &mut impl Write,
    ) -> Result<()> {
        let head = self.head_of(graph, listing, id)?;
        let mut bytes = Vec::with_capacity(head.bytes.len() + 32);
        put_bytes_header(&mut bytes, field, head.len());
        bytes.extend_from_slice(&head.bytes);
        let (Some([tensor, value, entry]), Some(content)) =
            (head.constant, &graph.node(id).content)
        else {
            return Ok(out.write_all(&bytes)?);
        };
        put_bytes_header(&mut bytes, 5, entry);
        bytes.extend_from_slice(VALUE_KEY);
        put_bytes_header(&mut bytes, 2, value);
        put_bytes_header(&mut bytes, 8, tensor);
        out.write_all(&bytes)?;
        self.store.write_tensor(content, out)
    }

    /// Checks that the graph fits into one message.
    pub(crate) fn check_size(&self) -> Result<()> {
        let total = self.binary_len()?;
        if total <= MESSAGE_LIMIT {
            return Ok(());
        }
        let mut largest = Vec::new();
        for &id in &self.listing.order {
            if let Some(content) = &self.graph.node(id).content {
                largest.push((
                    self.listing.name(id).to_owned(),
                    self.store.tensor_len(content)?,
                ));
            }
        }
        largest.sort_by(|(_, one), (_, other)| other.cmp(one));
        largest.truncate(3);
        Err(FreezeError::TooLarge {
            total,
            limit: MESSAGE_LIMIT,
            largest,
            is_halved: self.is_halved,
        })
    }
}
