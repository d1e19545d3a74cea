//! Encoded `NodeDef`s.

use tfod_proto::wire::{Fields, Malformed, Text, map_entry};

/// A node as it is in a file. `S` is how its names are held: `&str` or, of a mapped file, `String` (see [`Text`]).
#[derive(Debug, Default)]
pub struct Node<'a, S> {
    /// Its name.
    pub name: S,
    /// Its operation, or the function that it calls.
    pub op: S,
    /// What it reads: `node`, `node:1`, in functions `node:output:0`; `^node` for what has to run before.
    pub inputs: Vec<S>,
    /// Its attributes: encoded `AttrValue`s by name.
    pub attrs: Vec<(S, &'a [u8])>,
}

impl<'a, S: Text<'a>> Node<'a, S> {
    /// Reads a `NodeDef`.
    ///
    /// # Errors
    /// Where it is no such message.
    pub fn parse(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut node = Self {
            name: S::default(),
            op: S::default(),
            inputs: Vec::new(),
            attrs: Vec::new(),
        };
        for field in Fields::of(message) {
            let (number, field) = field?;
            let text = || {
                let text = field.bytes().and_then(S::of_bytes);
                text.ok_or_else(|| Malformed::because(message, "a name is no text"))
            };
            match number {
                1 => node.name = text()?,
                2 => node.op = text()?,
                3 => node.inputs.push(text()?),
                5 => {
                    let problem = "an attribute is no message";
                    let entry = field.bytes();
                    let entry = entry.ok_or_else(|| Malformed::because(message, problem))?;
                    node.attrs.push(map_entry(entry)?);
                }
                _ => {}
            }
        }
        Ok(node)
    }

    /// An attribute's encoded value.
    pub fn attr(&self, name: &str) -> Option<&'a [u8]> {
        super::attr::find(&self.attrs, name).copied()
    }
}
