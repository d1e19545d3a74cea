//! Graphs as text: protobuf's text format, turned into the message that it stands for, so that there is one reader of graphs.
//!
//! Only fields that reading a graph needs are in the table; others are passed over. Specified in
//! <https://protobuf.dev/reference/protobuf/textformat-spec/>.

use std::path::Path;

use tfod_proto::DataType;
use tfod_proto::prost::encoding::{WireType, encode_key, encode_varint};

use crate::InspectError;

/// How much of a text an error shows.
const SHOWN_BYTES: usize = 30;

/// How deeply messages may be nested.
const MAX_DEPTH: usize = 64;

/// What a field holds.
#[derive(Clone, Copy)]
enum Type {
    Message(&'static [Row]),
    Bytes,
    /// Integers, booleans, enums.
    Varint,
    Float,
    Double,
}

/// A field: its name, number and type.
type Row = (&'static str, u32, Type);

use Type::{Bytes, Double, Float, Message, Varint};

const GRAPH: &[Row] = &[
    ("node", 1, Message(NODE)),
    ("library", 2, Message(&[("function", 1, Message(FUNCTION))])),
    ("version", 3, Varint),
    (
        "versions",
        4,
        Message(&[("producer", 1, Varint), ("min_consumer", 2, Varint)]),
    ),
];
const NODE: &[Row] = &[
    ("name", 1, Bytes),
    ("op", 2, Bytes),
    ("input", 3, Bytes),
    ("device", 4, Bytes),
    ("attr", 5, Message(ATTR)),
];
const ATTR: &[Row] = &[("key", 1, Bytes), ("value", 2, Message(VALUE))];
const VALUE: &[Row] = &[
    ("list", 1, Message(LIST)),
    ("s", 2, Bytes),
    ("i", 3, Varint),
    ("f", 4, Float),
    ("b", 5, Varint),
    ("type", 6, Varint),
    ("shape", 7, Message(SHAPE)),
    ("tensor", 8, Message(TENSOR)),
    ("placeholder", 9, Bytes),
    ("func", 10, Message(&[("name", 1, Bytes)])),
];
const LIST: &[Row] = &[
    ("s", 2, Bytes),
    ("i", 3, Varint),
    ("f", 4, Float),
    ("b", 5, Varint),
    ("type", 6, Varint),
    ("shape", 7, Message(SHAPE)),
];
const SHAPE: &[Row] = &[
    (
        "dim",
        2,
        Message(&[("size", 1, Varint), ("name", 2, Bytes)]),
    ),
    ("unknown_rank", 3, Varint),
];
const TENSOR: &[Row] = &[
    ("dtype", 1, Varint),
    ("tensor_shape", 2, Message(SHAPE)),
    ("tensor_content", 4, Bytes),
    ("float_val", 5, Float),
    ("double_val", 6, Double),
    ("int_val", 7, Varint),
    ("string_val", 8, Bytes),
    ("scomplex_val", 9, Float),
    ("int64_val", 10, Varint),
    ("bool_val", 11, Varint),
    ("dcomplex_val", 12, Double),
    ("half_val", 13, Varint),
    ("uint32_val", 16, Varint),
    ("uint64_val", 17, Varint),
];
const FUNCTION: &[Row] = &[
    ("signature", 1, Message(&[("name", 1, Bytes)])),
    ("node_def", 3, Message(NODE)),
];

/// The name of a text's first field, if it begins like a message.
pub(crate) fn first_field(text: &[u8]) -> Option<&str> {
    let mut reader = Reader::new(text);
    reader.skip();
    let name = reader.word();
    reader.skip();
    let follows = matches!(reader.peek(), Some(b':' | b'{' | b'<'));
    (follows && !name.is_empty()).then_some(name)
}

/// What comes after comments and space, of which there may be any amount.
pub(crate) fn after_comments(text: &[u8]) -> &[u8] {
    let mut reader = Reader::new(text);
    reader.skip();
    text.get(reader.at..).unwrap_or_default()
}

/// The `GraphDef` that a text stands for, encoded.
pub(crate) fn encode(path: &Path, text: &[u8]) -> Result<Vec<u8>, InspectError> {
    let mut reader = Reader::new(text);
    let mut out = Vec::new();
    match reader.message(Some(GRAPH), None, 0, &mut out) {
        Ok(()) => Ok(out),
        Err(problem) => {
            let before = text.get(..reader.token).unwrap_or(text);
            let mut lines = before.rsplit(|byte| *byte == b'\n');
            let last = lines.next().unwrap_or_default();
            Err(InspectError::Text {
                path: path.to_owned(),
                line: lines.count() + 1,
                column: last.len() + 1,
                problem,
                found: reader.found(),
            })
        }
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    /// Where what is being read begins.
    token: usize,
}

type Read<T> = Result<T, &'static str>;

impl<'a> Reader<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            at: 0,
            token: 0,
        }
    }

    /// What is where the reading stopped, for an error.
    fn found(&self) -> String {
        let rest = self.text.get(self.token..).unwrap_or_default();
        if rest.is_empty() {
            return "the end of the text".to_owned();
        }
        let read = self.at.saturating_sub(self.token).clamp(1, SHOWN_BYTES);
        let shown = rest.get(..read).unwrap_or(rest).trim_ascii_end();
        let shown = if shown.is_empty() {
            rest.get(..1).unwrap_or(rest)
        } else {
            shown
        };
        format!("`{}`", shown.escape_ascii())
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Passes over spaces and comments.
    fn skip(&mut self) {
        while let Some(byte) = self.peek() {
            if byte == b'#' {
                while self.peek().is_some_and(|b| b != b'\n') {
                    self.at += 1;
                }
            } else if byte.is_ascii_whitespace() {
                self.at += 1;
            } else {
                break;
            }
        }
        self.token = self.at;
    }

    /// Letters, digits and what numbers have.
    fn word(&mut self) -> &'a str {
        self.token = self.at;
        let rest = self.text.get(self.at..).unwrap_or_default();
        let is_part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'+');
        let length = rest.iter().take_while(|b| is_part(b)).count();
        self.at += length;
        rest.get(..length)
            .and_then(|word| std::str::from_utf8(word).ok())
            .unwrap_or_default()
    }

    /// Fields up to the closing bracket, or to the end. Without rows, all are passed over.
    fn message(
        &mut self,
        rows: Option<&'static [Row]>,
        closing: Option<u8>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Read<()> {
        if depth > MAX_DEPTH {
            return Err("expected at most 64 messages inside of each other");
        }
        loop {
            self.skip();
            match (self.peek(), closing) {
                (None, None) => return Ok(()),
                (None, Some(_)) => {
                    return Err("expected a field or the closing bracket of a message");
                }
                (Some(byte), Some(closing)) if byte == closing => {
                    self.at += 1;
                    return Ok(());
                }
                _ => {}
            }
            let name = self.word();
            if name.is_empty() {
                return Err("expected the name of a field");
            }
            let row = rows.and_then(|rows| rows.iter().find(|row| row.0 == name));
            self.skip();
            let has_colon = self.take(b':');
            self.skip();
            if self.take(b'[') {
                self.skip();
                while !self.take(b']') {
                    self.value(row, true, depth, out)?;
                    self.skip();
                    self.take(b',');
                    self.skip();
                }
            } else {
                self.value(row, has_colon, depth, out)?;
            }
            self.skip();
            if !self.take(b',') {
                self.take(b';');
            }
        }
    }

    fn value(
        &mut self,
        row: Option<&'static Row>,
        has_colon: bool,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Read<()> {
        let closing = match self.peek() {
            Some(b'{') => Some(b'}'),
            Some(b'<') => Some(b'>'),
            _ => None,
        };
        if closing.is_some() {
            self.at += 1;
            let (rows, number) = match row {
                Some((_, number, Message(rows))) => (Some(*rows), Some(*number)),
                Some(_) => return Err("expected a value instead of a message"),
                None => (None, None),
            };
            let mut inner = Vec::new();
            self.message(rows, closing, depth + 1, &mut inner)?;
            if let Some(number) = number {
                put_bytes(out, number, &inner);
            }
            return Ok(());
        }
        if !has_colon {
            return Err("expected a colon or a message");
        }
        if let Some(b'"' | b'\'') = self.peek() {
            let start = self.at;
            let string = self.string()?;
            match row {
                Some((_, number, Bytes)) => put_bytes(out, *number, &string),
                None => {}
                Some(_) => {
                    self.token = start;
                    return Err("expected a number or a message instead of a string");
                }
            }
            return Ok(());
        }
        let word = self.word();
        if word.is_empty() {
            return Err("expected a value");
        }
        let Some((_, number, kind)) = row else {
            return Ok(());
        };
        match kind {
            Varint => {
                encode_key(*number, WireType::Varint, out);
                encode_varint(integer(word).ok_or("expected an integer")?, out);
            }
            Float => {
                encode_key(*number, WireType::ThirtyTwoBit, out);
                // `inf` ends in the suffix, too.
                let digits = word.strip_suffix(['f', 'F']).unwrap_or(word);
                let float = digits.parse::<f32>().or_else(|_| word.parse());
                out.extend(float.map_err(|_| "expected a number")?.to_le_bytes());
            }
            Double => {
                encode_key(*number, WireType::SixtyFourBit, out);
                let double: f64 = word.parse().map_err(|_| "expected a number")?;
                out.extend(double.to_le_bytes());
            }
            Bytes | Message(_) => return Err("expected a string or a message instead of a word"),
        }
        Ok(())
    }

    /// Strings beside each other are one.
    fn string(&mut self) -> Read<Vec<u8>> {
        let mut out = Vec::new();
        while let Some(quote @ (b'"' | b'\'')) = self.peek() {
            self.at += 1;
            loop {
                let byte = self.next_in_string()?;
                match byte {
                    _ if byte == quote => break,
                    b'\\' => self.escape(&mut out)?,
                    b'\n' => {
                        self.token = self.at - 1;
                        return Err("expected the string's closing quote");
                    }
                    _ => out.push(byte),
                }
            }
            self.skip();
        }
        Ok(out)
    }

    fn next_in_string(&mut self) -> Read<u8> {
        let Some(byte) = self.peek() else {
            self.token = self.at;
            return Err("expected the string's closing quote");
        };
        self.at += 1;
        Ok(byte)
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Read<()> {
        const BAD: &str = "expected an escape of the text format";
        self.token = self.at - 1;
        let byte = self.next_in_string()?;
        out.push(match byte {
            b'a' => 7,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            b'\\' | b'\'' | b'"' | b'?' => byte,
            b'0'..=b'7' => {
                self.at -= 1;
                self.digits(8, 3)?
            }
            b'x' | b'X' => self.digits(16, 2)?,
            _ => return Err(BAD),
        });
        Ok(())
    }

    /// At most so many digits, as a byte.
    fn digits(&mut self, base: u32, most: usize) -> Read<u8> {
        let (mut value, mut found) = (0u32, 0);
        while found < most
            && let Some(digit) = self.peek().and_then(|b| char::from(b).to_digit(base))
        {
            value = value * base + digit;
            found += 1;
            self.at += 1;
        }
        match u8::try_from(value) {
            Ok(byte) if found > 0 => Ok(byte),
            _ => Err("expected an escape of one byte"),
        }
    }
}

fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// An integer in any base, a boolean, or the name of an element type; negative ones as their two's complement.
fn integer(word: &str) -> Option<u64> {
    match word {
        "true" => return Some(1),
        "false" => return Some(0),
        _ => {}
    }
    if let Some(dtype) = DataType::from_str_name(word) {
        return Some(i64::from(i32::from(dtype)).cast_unsigned());
    }
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word),
    };
    let value = if let Some(hex) = digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        u64::from_str_radix(hex, 16).ok()?
    } else if digits.len() > 1 && digits.starts_with('0') {
        u64::from_str_radix(digits, 8).ok()?
    } else {
        digits.parse().ok()?
    };
    Some(if negative {
        value.wrapping_neg()
    } else {
        value
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tfod_proto::GraphDef;
    use tfod_proto::prost::Message as _;

    fn decode(text: &str) -> GraphDef {
        let encoded = encode(Path::new("graph.pbtxt"), text.as_bytes()).expect(text);
        GraphDef::decode(&*encoded).expect(text)
    }

    #[test]
    fn every_spelling_is_read() {
        let graph = decode(
            r#"# a comment
            node { name: "a" 'b' op: "Const"
              attr { key: "value" value < tensor { dtype: DT_FLOAT float_val: [1, 2.5, -inf, 3f, nan]
                     tensor_shape { dim { size: -1 } dim: { size: 0x10 } } tensor_content: "\001\x41\n" } > }
              attr { key: "b" value { b: true }}; unknown_field: [ { x: 1 }, "s" ] experimental_debug_info { original_node_names: "x" }
            }
            versions { producer: 1645 min_consumer: 017 }"#,
        );
        let node = &graph.node[0];
        assert_eq!((&*node.name, &*node.op), ("ab", "Const"));
        let Some(tfod_proto::attr_value::Value::Tensor(tensor)) = &node.attr["value"].value else {
            panic!("no tensor");
        };
        assert_eq!(tensor.float_val[..4], [1.0, 2.5, f32::NEG_INFINITY, 3.0]);
        assert!(tensor.float_val[4].is_nan());
        assert_eq!(tensor.tensor_content, b"\x01A\n");
        let sizes = tensor
            .tensor_shape
            .as_ref()
            .map(|s| [s.dim[0].size, s.dim[1].size]);
        assert_eq!(sizes, Some([-1, 16]));
        let versions = graph.versions.expect("versions");
        assert_eq!((versions.producer, versions.min_consumer), (1645, 15));
    }

    #[test]
    fn errors_have_their_place() {
        let cases = [
            (
                "node {\n  name: \"a\"\n",
                "graph.pbtxt:3:1: expected a field or the closing bracket of a message, found the end of the text",
            ),
            (
                "node {\n name \"a\" }",
                r#"graph.pbtxt:2:7: expected a colon or a message, found `\"`"#,
            ),
            (
                "node: 3",
                "graph.pbtxt:1:7: expected a string or a message instead of a word, found `3`",
            ),
            (
                "\n\nversions { producer: x }",
                "graph.pbtxt:3:22: expected an integer, found `x`",
            ),
            (
                "node { name: \"\\400\" }",
                r"graph.pbtxt:1:15: expected an escape of one byte, found `\\400`",
            ),
            (
                "}",
                "graph.pbtxt:1:1: expected the name of a field, found `}`",
            ),
            (
                "node { name: \"a\n\" }",
                r"graph.pbtxt:1:16: expected the string's closing quote, found `\n`",
            ),
        ];
        for (text, expected) in cases {
            let error = encode(Path::new("graph.pbtxt"), text.as_bytes()).expect_err(text);
            assert_eq!(error.to_string(), expected);
        }
        let deep = "a {".repeat(100_000);
        assert!(encode(Path::new("x"), deep.as_bytes()).is_err());
    }

    #[test]
    fn the_first_field_tells_what_it_is() {
        assert_eq!(first_field(b"# x\n\n model {"), Some("model"));
        assert_eq!(first_field(b"node: <"), Some("node"));
        assert_eq!(first_field(b"{ \"a\": 1 }"), None);
        assert_eq!(first_field(b"hello world"), None);
    }
}
