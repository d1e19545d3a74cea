//! What TensorFlow's operations look like: arguments, attributes with their defaults, statefulness.
//!
//! A function body names a tensor by node, output argument and index; which of a node's outputs that is, only the operation's definition
//! tells. `op_defs.tsv` has the definitions of all operations registered by TensorFlow 2.2 to 2.21, written by `tools/op_table.py`, whose
//! header describes the columns. A line is parsed when its operation is first asked for.

pub mod since;

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

use tfod_proto::wire::{Field, Fields, Malformed};

static TEXT: &str = include_str!("op_defs.tsv");

type Row = (&'static str, OnceLock<Option<OpDef<'static>>>);

static ROWS: LazyLock<HashMap<&'static str, Row>> = LazyLock::new(|| {
    let named = |line: &'static str| Some((line.split_once('\t')?.0, (line, OnceLock::new())));
    TEXT.lines().filter_map(named).collect()
});

/// The definition of an operation, or `None` if no TensorFlow has it.
pub fn find(op: &str) -> Option<&'static OpDef<'static>> {
    let (line, parsed) = ROWS.get(op)?;
    parsed.get_or_init(|| OpDef::parse(line)).as_ref()
}

/// One operation. `'d` is how long its names are there: always for TensorFlow's own, as long as the file for those that a file defines.
#[derive(Debug)]
pub struct OpDef<'d> {
    /// Whether running it can have effects beyond its outputs, or depends on more than its inputs.
    pub is_stateful: bool,
    /// In order.
    pub inputs: Vec<ArgDef<'d>>,
    /// In order.
    pub outputs: Vec<ArgDef<'d>>,
    /// In the order of the definition.
    pub attrs: Vec<AttrDef<'d>>,
}

/// An input or output argument: one tensor or a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgDef<'d> {
    /// Its name in the definition.
    pub name: &'d str,
    /// What it stands for.
    pub kind: ArgKind<'d>,
    /// Whether it is a reference to a variable of TensorFlow 1, which the operation may change.
    pub is_ref: bool,
}

/// How many tensors an argument stands for, and of which types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArgKind<'d> {
    /// One tensor.
    One(ArgType<'d>),
    /// As many tensors of one type as the attribute of that name says.
    Many(ArgType<'d>, &'d str),
    /// One tensor for each type of the list in the attribute of that name.
    Types(&'d str),
}

/// The element type of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgType<'d> {
    /// A number of `DataType`.
    Fixed(i32),
    /// What the attribute of that name says.
    Attr(&'d str),
}

/// An attribute.
#[derive(Debug)]
pub struct AttrDef<'d> {
    /// Its name.
    pub name: &'d str,
    /// The encoded `AttrValue` that absence stands for.
    pub default: Option<Vec<u8>>,
}

impl<'d> OpDef<'d> {
    fn parse(line: &'d str) -> Option<Self> {
        let mut columns = line.split('\t').skip(1);
        let mut items = || Some(columns.next()?.split(' ').filter(|&item| item != "-"));
        Some(Self {
            is_stateful: items()?.any(|flag| flag == "stateful"),
            inputs: items()?.map(ArgDef::parse).collect::<Option<_>>()?,
            outputs: items()?.map(ArgDef::parse).collect::<Option<_>>()?,
            attrs: items()?.map(AttrDef::parse).collect::<Option<_>>()?,
        })
    }

    /// Reads an `OpDef` message: its name, and as much of it as tells its arguments. It counts as stateful, and defaults of attributes are left out,
    /// because nothing says whether they hold for the library that will be loaded.
    ///
    /// # Errors
    /// Where it is no such message.
    pub fn read(message: &'d [u8]) -> Result<(&'d str, Self), Malformed> {
        let mut name = "";
        let mut def = Self {
            is_stateful: true,
            inputs: Vec::new(),
            outputs: Vec::new(),
            attrs: Vec::new(),
        };
        for field in Fields::of(message) {
            match field? {
                (1, field) => name = field.borrowed_text().ok_or(Malformed::at(message))?,
                (2, Field::Bytes(argument)) => def.inputs.push(ArgDef::read(argument)?),
                (3, Field::Bytes(argument)) => def.outputs.push(ArgDef::read(argument)?),
                _ => {}
            }
        }
        Ok((name, def))
    }

    /// The default of an attribute, encoded.
    pub fn default(&self, attr: &str) -> Option<&[u8]> {
        self.attrs
            .iter()
            .find(|def| def.name == attr)?
            .default
            .as_deref()
    }
}

impl<'d> ArgDef<'d> {
    fn read(message: &'d [u8]) -> Result<Self, Malformed> {
        let (mut name, mut of, mut count, mut list) = ("", ArgType::Fixed(0), None, None);
        let mut is_ref = false;
        for field in Fields::of(message) {
            let (number, field) = field?;
            let text = || field.borrowed_text().ok_or(Malformed::at(message));
            match number {
                1 => name = text()?,
                3 => {
                    let found = field.varint().and_then(|number| i32::try_from(number).ok());
                    of = ArgType::Fixed(found.ok_or(Malformed::at(message))?);
                }
                4 => of = ArgType::Attr(text()?),
                5 => count = Some(text()?),
                6 => list = Some(text()?),
                16 => is_ref = field.varint() != Some(0),
                _ => {}
            }
        }
        let kind = match (list, count) {
            (Some(list), _) => ArgKind::Types(list),
            (None, Some(count)) => ArgKind::Many(of, count),
            (None, None) => ArgKind::One(of),
        };
        Ok(Self { name, kind, is_ref })
    }

    fn parse(item: &'d str) -> Option<Self> {
        let (name, kind) = item.split_once(':')?;
        let (kind, is_ref) = kind
            .strip_suffix('&')
            .map_or((kind, false), |kind| (kind, true));
        if let Some(list) = kind.strip_prefix('@') {
            return Some(Self {
                name,
                kind: ArgKind::Types(list),
                is_ref,
            });
        }
        let (of, count) = kind
            .split_once('*')
            .map_or((kind, None), |(of, count)| (of, Some(count)));
        let of = match of.strip_prefix('$') {
            Some(attr) => ArgType::Attr(attr),
            None => ArgType::Fixed(of.parse().ok()?),
        };
        let kind = count.map_or(ArgKind::One(of), |count| ArgKind::Many(of, count));
        Some(Self { name, kind, is_ref })
    }
}

impl<'d> AttrDef<'d> {
    fn parse(item: &'d str) -> Option<Self> {
        let (name, rest) = item.split_once(':')?;
        let default = match rest.split_once('=') {
            Some((_kind, hex)) => Some(unhex(hex)?),
            None => None,
        };
        Some(Self { name, default })
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| (*byte as char).to_digit(16);
    let pair = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_understood() {
        for line in TEXT.lines() {
            assert!(OpDef::parse(line).is_some(), "{line}");
        }
        assert!(ROWS.len() > 1900);
    }

    #[test]
    fn arguments_of_every_kind() {
        let split = find("Split").expect("Split exists");
        assert_eq!(
            split.inputs[0],
            ArgDef {
                name: "split_dim",
                kind: ArgKind::One(ArgType::Fixed(3)),
                is_ref: false
            }
        );
        assert_eq!(
            split.outputs[0].kind,
            ArgKind::Many(ArgType::Attr("T"), "num_split")
        );
        let call = find("StatefulPartitionedCall").expect("the call exists");
        assert!(call.is_stateful);
        assert_eq!(call.outputs[0].kind, ArgKind::Types("Tout"));
    }

    #[test]
    fn defaults_are_attribute_values() {
        let pooling = find("MaxPool").expect("MaxPool exists");
        // Field 2, four bytes.
        assert_eq!(pooling.default("data_format"), Some(&b"\x12\x04NHWC"[..]));
        assert_eq!(pooling.default("ksize"), None);
    }

    #[test]
    fn definitions_of_a_file_are_read() {
        // Parts {outputs: many of T, as many as n; ids: int64}, and an input of the types in L.
        let message = b"\x0a\x01P\x12\x06\x0a\x01x\x32\x01L\x1a\x09\x0a\x01o\x22\x01T\x2a\x01n\x1a\x05\x0a\x01i\x18\x09";
        let (name, def) = OpDef::read(message).expect("well-formed");
        assert_eq!(name, "P");
        assert_eq!(def.inputs[0].kind, ArgKind::Types("L"));
        assert_eq!(def.outputs[0].kind, ArgKind::Many(ArgType::Attr("T"), "n"));
        assert_eq!(def.outputs[1].kind, ArgKind::One(ArgType::Fixed(9)));
        assert!(OpDef::read(&message[..9]).is_err());
    }

    #[test]
    fn unknown_operations_are_none() {
        assert!(find("NoSuchOperation").is_none());
    }
}
