//! What TensorFlow's operations look like: arguments, attributes with their defaults, statefulness.
//!
//! A function body names a tensor by node, output argument and index; which of a node's outputs that is, only the operation's definition
//! tells. `op_defs.tsv` has the definitions of all operations registered by TensorFlow 2.2 to 2.21, written by `tools/op_table.py`, whose
//! header describes the columns. A line is parsed when its operation is first asked for.

pub mod since;

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

static TEXT: &str = include_str!("op_defs.tsv");

type Row = (&'static str, OnceLock<Option<OpDef>>);

static ROWS: LazyLock<HashMap<&'static str, Row>> = LazyLock::new(|| {
    let named = |line: &'static str| Some((line.split_once('\t')?.0, (line, OnceLock::new())));
    TEXT.lines().filter_map(named).collect()
});

/// The definition of an operation, or `None` if no TensorFlow has it.
pub fn find(op: &str) -> Option<&'static OpDef> {
    let (line, parsed) = ROWS.get(op)?;
    parsed.get_or_init(|| OpDef::parse(line)).as_ref()
}

/// One operation.
#[derive(Debug)]
pub struct OpDef {
    /// Whether running it can have effects beyond its outputs, or depends on more than its inputs.
    pub is_stateful: bool,
    /// In order.
    pub inputs: Vec<ArgDef>,
    /// In order.
    pub outputs: Vec<ArgDef>,
    /// In the order of the definition.
    pub attrs: Vec<AttrDef>,
}

/// An input or output argument: one tensor or a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgDef {
    /// Its name in the definition.
    pub name: &'static str,
    /// What it stands for.
    pub kind: ArgKind,
    /// Whether it is a reference to a variable of TensorFlow 1, which the operation may change.
    pub is_ref: bool,
}

/// How many tensors an argument stands for, and of which types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArgKind {
    /// One tensor.
    One(ArgType),
    /// As many tensors of one type as the attribute of that name says.
    Many(ArgType, &'static str),
    /// One tensor for each type of the list in the attribute of that name.
    Types(&'static str),
}

/// The element type of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgType {
    /// A number of `DataType`.
    Fixed(i32),
    /// What the attribute of that name says.
    Attr(&'static str),
}

/// An attribute.
#[derive(Debug)]
pub struct AttrDef {
    /// Its name.
    pub name: &'static str,
    /// The encoded `AttrValue` that absence stands for.
    pub default: Option<Vec<u8>>,
}

impl OpDef {
    fn parse(line: &'static str) -> Option<Self> {
        let mut columns = line.split('\t').skip(1);
        let mut items = || Some(columns.next()?.split(' ').filter(|&item| item != "-"));
        Some(Self {
            is_stateful: items()?.any(|flag| flag == "stateful"),
            inputs: items()?.map(ArgDef::parse).collect::<Option<_>>()?,
            outputs: items()?.map(ArgDef::parse).collect::<Option<_>>()?,
            attrs: items()?.map(AttrDef::parse).collect::<Option<_>>()?,
        })
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

impl ArgDef {
    fn parse(item: &'static str) -> Option<Self> {
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

impl AttrDef {
    fn parse(item: &'static str) -> Option<Self> {
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
    fn unknown_operations_are_none() {
        assert!(find("NoSuchOperation").is_none());
    }
}
