//! Writing FlatBuffers front to back.
//!
//! Usual builders write back to front, and copy everything into one buffer first, large weights included. Here a buffer is described as nodes (tables,
//! vectors, texts), children before parents. [`Builder::lay_out`] then gives every node its place, parents first, because references only point forwards,
//! and blobs last: so all offsets are known before the first byte is written, and blobs are streamed.
//!
//! The format: numbers are little-endian and aligned to their size. A table begins with the distance back to its vtable, which says
//! where each field is; a field at its default is left out. References are unsigned 32-bit distances. Vectors begin with the number of their
//! elements, texts are vectors of bytes with a zero behind them.

use std::collections::HashMap;

/// The alignment of blobs, that of the vector instructions which read weights.
const BLOB_ALIGNMENT: u64 = 16;

/// The bytes of a number of elements and of a reference.
const WORD: u64 = 4;

/// The largest buffer: verifiers read sizes as signed 32-bit integers.
pub(crate) const LIMIT: u64 = (1 << 31) - 1;

/// Names a node of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeRef(usize);

/// A field of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Field {
    Byte(u8),
    Int(i32),
    Float(f32),
    Ref(NodeRef),
}

impl Field {
    fn size(self) -> usize {
        match self {
            Self::Byte(_) => 1,
            Self::Int(_) | Self::Float(_) | Self::Ref(_) => 4,
        }
    }
}

#[derive(Debug)]
enum Node {
    /// Fields by slot.
    Table(Vec<(usize, Field)>),
    Refs(Vec<NodeRef>),
    /// Integers and floats of 32 bits.
    Words(Vec<[u8; 4]>),
    /// Integers of 64 bits.
    Longs(Vec<i64>),
    Bytes(Vec<u8>),
    Text(String),
    /// The number of bytes.
    Blob(u64),
}

/// A buffer being described.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    nodes: Vec<Node>,
}

impl Builder {
    fn add(&mut self, node: Node) -> NodeRef {
        self.nodes.push(node);
        NodeRef(self.nodes.len() - 1)
    }

    /// A table of these fields. Those at their defaults are to be left out.
    pub(crate) fn table(&mut self, fields: Vec<(usize, Field)>) -> NodeRef {
        self.add(Node::Table(fields))
    }

    pub(crate) fn refs(&mut self, refs: Vec<NodeRef>) -> NodeRef {
        self.add(Node::Refs(refs))
    }

    pub(crate) fn ints(&mut self, values: &[i32]) -> NodeRef {
        let words = values.iter().map(|value| value.to_le_bytes());
        self.add(Node::Words(words.collect()))
    }

    pub(crate) fn floats(&mut self, values: &[f32]) -> NodeRef {
        let words = values.iter().map(|value| value.to_le_bytes());
        self.add(Node::Words(words.collect()))
    }

    pub(crate) fn longs(&mut self, values: Vec<i64>) -> NodeRef {
        self.add(Node::Longs(values))
    }

    /// A vector of bytes, which may be a buffer again: they are aligned as blobs are.
    pub(crate) fn bytes(&mut self, bytes: Vec<u8>) -> NodeRef {
        self.add(Node::Bytes(bytes))
    }

    pub(crate) fn text(&mut self, text: &str) -> NodeRef {
        self.add(Node::Text(text.to_owned()))
    }

    /// A vector of bytes that are written later; see [`Laid::blobs`].
    pub(crate) fn blob(&mut self, length: u64) -> NodeRef {
        self.add(Node::Blob(length))
    }

    /// Gives every node its place, `root` being the one that was added last.
    ///
    /// # Errors
    /// The size of the buffer, if it is beyond [`LIMIT`].
    pub(crate) fn lay_out(self, root: NodeRef, identifier: [u8; 4]) -> Result<Laid, u64> {
        let mut places = vec![0; self.nodes.len()];
        let mut vtables: HashMap<Vec<u8>, u64> = HashMap::new();
        // For each table its vtable, and whether that is written before it.
        let mut vtable_of = HashMap::new();
        let mut end = 2 * WORD;
        for (index, node) in self.nodes.iter().enumerate().rev() {
            if let Node::Table(fields) = node {
                let vtable = vtable(fields);
                let known = vtables.get(&vtable).copied();
                let at = known.unwrap_or_else(|| end.next_multiple_of(2));
                if known.is_none() {
                    end = at + vtable.len() as u64;
                    vtables.insert(vtable, at);
                }
                vtable_of.insert(index, (at, known.is_none()));
            }
            if !matches!(node, Node::Blob(_)) {
                places[index] = place(node, end);
                end = places[index] + size(node);
            }
        }
        let mut blobs = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            if let Node::Blob(length) = node {
                places[index] = place(node, end);
                blobs.push((places[index], *length));
                end = places[index] + WORD + length;
            }
        }
        let length = end.next_multiple_of(WORD);
        if length > LIMIT {
            return Err(length);
        }
        let mut head = Head::default();
        head.word(places[root.0]);
        head.bytes.extend(identifier);
        for (index, node) in self.nodes.iter().enumerate().rev() {
            if let (Node::Table(fields), Some((at, true))) = (node, vtable_of.get(&index)) {
                head.pad_to(*at);
                head.bytes.extend(vtable(fields));
            }
            if matches!(node, Node::Blob(_)) {
                continue;
            }
            head.pad_to(places[index]);
            match node {
                Node::Table(fields) => {
                    let vtable = vtable_of.get(&index).map_or(0, |(at, _)| *at);
                    head.word(places[index] - vtable);
                    for (_, field) in in_order(fields) {
                        head.field(field, &places);
                    }
                }
                Node::Refs(refs) => {
                    head.word(refs.len() as u64);
                    for node in refs {
                        head.field(Field::Ref(*node), &places);
                    }
                }
                Node::Words(words) => {
                    head.word(words.len() as u64);
                    head.bytes.extend(words.as_flattened());
                }
                Node::Longs(values) => {
                    head.word(values.len() as u64);
                    head.bytes
                        .extend(values.iter().flat_map(|v| v.to_le_bytes()));
                }
                Node::Bytes(bytes) => {
                    head.word(bytes.len() as u64);
                    head.bytes.extend(bytes);
                }
                Node::Text(text) => {
                    head.word(text.len() as u64);
                    head.bytes.extend(text.as_bytes());
                    head.bytes.push(0);
                }
                Node::Blob(_) => {}
            }
        }
        Ok(Laid {
            head: head.bytes,
            blobs,
            length,
        })
    }
}

/// A buffer whose nodes have their places.
#[derive(Debug)]
pub(crate) struct Laid {
    /// All but the blobs.
    pub(crate) head: Vec<u8>,
    /// Of each blob, in the order in which they were added: where the number of its bytes is, which stands before them, and that number.
    pub(crate) blobs: Vec<(u64, u64)>,
    /// The bytes of the whole buffer.
    pub(crate) length: u64,
}

/// Fields as they stand in a table: large ones first, so that none needs padding.
fn in_order(fields: &[(usize, Field)]) -> Vec<(usize, Field)> {
    let mut fields = fields.to_vec();
    fields.sort_by_key(|(slot, field)| (std::cmp::Reverse(field.size()), *slot));
    fields
}

/// What says where the fields of a table are.
fn vtable(fields: &[(usize, Field)]) -> Vec<u8> {
    let slots = fields.iter().map(|(slot, _)| slot + 1).max().unwrap_or(0);
    let mut entries = vec![0u16; 2 + slots];
    let mut end = 4;
    for (slot, field) in in_order(fields) {
        entries[2 + slot] = short(end);
        end += field.size();
    }
    entries[0] = short(2 * entries.len());
    entries[1] = short(end);
    entries
        .iter()
        .flat_map(|entry| entry.to_le_bytes())
        .collect()
}

/// Tables of the schemas have a few dozen fields.
fn short(value: usize) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

/// Where a node begins that follows on what ends here. The elements of a vector stand behind their number, and are aligned.
fn place(node: &Node, end: u64) -> u64 {
    let alignment = match node {
        Node::Bytes(_) | Node::Blob(_) => BLOB_ALIGNMENT,
        Node::Longs(_) => 2 * WORD,
        Node::Table(_) | Node::Refs(_) | Node::Words(_) | Node::Text(_) => WORD,
    };
    (end + WORD).next_multiple_of(alignment) - WORD
}

fn size(node: &Node) -> u64 {
    match node {
        Node::Table(fields) => WORD + fields.iter().map(|(_, f)| f.size() as u64).sum::<u64>(),
        Node::Refs(refs) => WORD * (1 + refs.len() as u64),
        Node::Words(words) => WORD * (1 + words.len() as u64),
        Node::Longs(values) => WORD * (1 + 2 * values.len() as u64),
        Node::Bytes(bytes) => WORD + bytes.len() as u64,
        Node::Text(text) => WORD + text.len() as u64 + 1,
        Node::Blob(length) => WORD + length,
    }
}

/// The part of a buffer that is built in memory.
#[derive(Default)]
struct Head {
    bytes: Vec<u8>,
}

impl Head {
    fn pad_to(&mut self, place: u64) {
        while (self.bytes.len() as u64) < place {
            self.bytes.push(0);
        }
    }

    /// Places are below [`LIMIT`].
    fn word(&mut self, value: u64) {
        let value = u32::try_from(value).unwrap_or(u32::MAX);
        self.bytes.extend(value.to_le_bytes());
    }

    fn field(&mut self, field: Field, places: &[u64]) {
        match field {
            Field::Byte(value) => self.bytes.push(value),
            Field::Int(value) => self.bytes.extend(value.to_le_bytes()),
            Field::Float(value) => self.bytes.extend(value.to_le_bytes()),
            Field::Ref(node) => self.word(places[node.0] - self.bytes.len() as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(bytes: &[u8], at: usize) -> usize {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
    }

    fn short(bytes: &[u8], at: usize) -> usize {
        usize::from(u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap()))
    }

    /// Where a field of a table is.
    fn field(bytes: &[u8], table: usize, slot: usize) -> Option<usize> {
        let vtable = table - word(bytes, table);
        let entry = 4 + 2 * slot;
        let offset = (entry < short(bytes, vtable)).then(|| short(bytes, vtable + entry))?;
        (offset > 0).then_some(table + offset)
    }

    #[test]
    fn what_was_described_is_read_back() {
        let mut b = Builder::default();
        let blob = b.blob(5);
        let other = b.blob(3);
        let text = b.text("name");
        let inner = b.table(vec![(1, Field::Byte(7)), (3, Field::Int(-2))]);
        let twin = b.table(vec![(1, Field::Byte(8)), (3, Field::Ref(text))]);
        let list = b.refs(vec![inner, twin]);
        let root = b.table(vec![
            (0, Field::Ref(blob)),
            (2, Field::Ref(list)),
            (4, Field::Ref(other)),
        ]);
        let laid = b.lay_out(root, *b"TEST").unwrap();
        let head = &laid.head;
        assert_eq!(&head[4..8], b"TEST");
        let root = word(head, 0);
        let list = field(head, root, 2).unwrap();
        let list = list + word(head, list);
        assert_eq!(word(head, list), 2);
        let [inner, twin] = [4, 8].map(|at| list + at + word(head, list + at));
        assert_eq!(head[field(head, inner, 1).unwrap()], 7);
        assert_eq!(word(head, field(head, inner, 3).unwrap()), 0xffff_fffe);
        assert_eq!(field(head, inner, 0), None);
        assert_eq!(field(head, inner, 9), None);
        // Tables of one form share what says so.
        assert_eq!(inner - word(head, inner), twin - word(head, twin));
        let text = field(head, twin, 3).unwrap();
        let text = text + word(head, text);
        assert_eq!(word(head, text), 4);
        assert_eq!(&head[text + 4..text + 9], b"name\0");
        // Blobs follow, their bytes aligned.
        for (slot, (place, length)) in [(0, laid.blobs[0]), (4, laid.blobs[1])] {
            let at = field(head, root, slot).unwrap();
            assert_eq!((at + word(head, at)) as u64, place);
            assert_eq!((place + 4) % 16, 0);
            assert!(place >= head.len() as u64 && place + 4 + length <= laid.length);
        }
    }

    #[test]
    fn what_offsets_cannot_reach_is_refused() {
        let mut b = Builder::default();
        let blob = b.blob(LIMIT);
        let root = b.table(vec![(0, Field::Ref(blob))]);
        assert!(b.lay_out(root, *b"TEST").unwrap_err() > LIMIT);
    }
}
