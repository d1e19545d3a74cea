//! Graphs and SavedModels in protobuf's text format, turned into the encoded messages that they stand for, so that there is one reader of each.
//!
//! Only fields that readers need are in the tables of `text_schema`; others are passed over. Specified in
//! <https://protobuf.dev/reference/protobuf/textformat-spec/>.

use std::fmt;

use tfod_proto::DataType;
use tfod_proto::prost::encoding::{WireType, encode_key, encode_varint};

use super::text_schema::{ANY_ASSET, ASSET, GRAPH, Row, SAVED_MODEL, Type};
use Type::{Bytes, Double, Enum, Float, Message, Packed, Signed, Varint};

/// What a text has at a place where something else was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextError {
    /// From 1.
    pub line: usize,
    /// In bytes, from 1.
    pub column: usize,
    /// What was expected.
    pub problem: &'static str,
    /// What is there.
    pub found: String,
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            column,
            problem,
            found,
        } = self;
        write!(f, "{line}:{column}: {problem}, found {found}")
    }
}

impl std::error::Error for TextError {}

/// How much of a text an error shows.
const SHOWN_BYTES: usize = 30;

/// How deeply messages may be nested.
const MAX_DEPTH: usize = 64;

/// The name of a text's first field, if it begins like a message.
pub fn first_field(text: &[u8]) -> Option<&str> {
    let mut reader = Reader::new(text);
    reader.skip();
    let name = reader.word();
    reader.skip();
    let follows = matches!(reader.peek(), Some(b':' | b'{' | b'<'));
    (follows && !name.is_empty()).then_some(name)
}

/// Whether a file that begins with these bytes is a text: UTF-8 without characters that only terminals and binary formats have.
pub fn is_text(start: &[u8]) -> bool {
    let is_of_text = |byte: &u8| !matches!(byte, 0..=8 | 11 | 14..=31 | 127);
    // The last character may be cut.
    let is_utf8 = std::str::from_utf8(start).map_or_else(|e| e.error_len().is_none(), |_| true);
    is_utf8 && start.iter().all(is_of_text)
}

/// The line, from 1, on which a text's first field stands.
pub fn first_line(text: &[u8]) -> usize {
    let before = text.len() - after_comments(text).len();
    let before = text.get(..before).unwrap_or_default();
    before.split(|byte| *byte == b'\n').count()
}

/// A text without a UTF-8 byte-order mark at its beginning.
pub fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

/// What comes after comments and space, of which there may be any amount.
pub fn after_comments(text: &[u8]) -> &[u8] {
    let mut reader = Reader::new(text);
    reader.skip();
    text.get(reader.at..).unwrap_or_default()
}

/// The `GraphDef` that a text stands for, encoded.
///
/// # Errors
/// Where the text is not in the format, or a field has another type.
pub fn graph(text: &[u8]) -> Result<Vec<u8>, TextError> {
    encode(text, &GRAPH)
}

/// The `SavedModel` that a text stands for, encoded.
///
/// # Errors
/// As [`graph`].
pub fn saved_model(text: &[u8]) -> Result<Vec<u8>, TextError> {
    encode(text, &SAVED_MODEL)
}

fn encode(text: &[u8], rows: &'static [Row]) -> Result<Vec<u8>, TextError> {
    let mut reader = Reader::new(text);
    let mut out = Vec::new();
    match reader.message(Some(rows), None, 0, &mut out) {
        Ok(()) => Ok(out),
        Err(problem) => {
            let before = text.get(..reader.token).unwrap_or(text);
            let mut lines = before.rsplit(|byte| *byte == b'\n');
            let last = lines.next().unwrap_or_default();
            Err(TextError {
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

/// Numbers of a packed field, which is written when another field begins.
#[derive(Default)]
struct Pending {
    number: Option<u32>,
    bytes: Vec<u8>,
}

impl Pending {
    fn push(&mut self, number: u32, value: &[u8]) {
        self.number = Some(number);
        self.bytes.extend_from_slice(value);
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        if let Some(number) = self.number.take() {
            put_bytes(out, number, &self.bytes);
            self.bytes.clear();
        }
    }
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
        let mut packed = Pending::default();
        loop {
            self.skip();
            match (self.peek(), closing) {
                (None, None) => {
                    packed.flush(out);
                    return Ok(());
                }
                (None, Some(_)) => {
                    return Err("expected a field or the closing bracket of a message");
                }
                (Some(byte), Some(closing)) if byte == closing => {
                    self.at += 1;
                    packed.flush(out);
                    return Ok(());
                }
                _ => {}
            }
            if self.peek() == Some(b'[') {
                self.any(depth, out)?;
                continue;
            }
            let name = self.word();
            if name.is_empty() {
                return Err("expected the name of a field");
            }
            let row = rows.and_then(|rows| rows.iter().find(|row| row.0 == name));
            if row.map(|row| row.1) != packed.number {
                packed.flush(out);
            }
            self.skip();
            let has_colon = self.take(b':');
            self.skip();
            if self.take(b'[') {
                self.skip();
                while !self.take(b']') {
                    self.value(row, true, depth, out, &mut packed)?;
                    self.skip();
                    self.take(b',');
                    self.skip();
                }
            } else {
                self.value(row, has_colon, depth, out, &mut packed)?;
            }
            self.skip();
            if !self.take(b',') {
                self.take(b';');
            }
        }
    }

    /// A message in an `Any`, which has the message's type in place of a field's name.
    fn any(&mut self, depth: usize, out: &mut Vec<u8>) -> Read<()> {
        let rest = self.text.get(self.at + 1..).unwrap_or_default();
        let length = rest.iter().position(|byte| matches!(byte, b']' | b'\n'));
        let name = length.and_then(|length| rest.get(..length));
        let name = name.ok_or("expected the name of a type and a closing bracket")?;
        self.at += name.len() + 1;
        if !self.take(b']') {
            return Err("expected the name of a type and a closing bracket");
        }
        self.skip();
        self.take(b':');
        self.skip();
        let closing = match self.peek() {
            Some(b'{') => b'}',
            Some(b'<') => b'>',
            _ => return Err("expected a message"),
        };
        self.at += 1;
        let is_asset = name.ends_with(ANY_ASSET.as_bytes());
        let rows: Option<&'static [Row]> = if is_asset { Some(&ASSET) } else { None };
        let mut inner = Vec::new();
        self.message(rows, Some(closing), depth + 1, &mut inner)?;
        if is_asset {
            put_bytes(out, 1, name);
            put_bytes(out, 2, &inner);
        }
        Ok(())
    }

    fn value(
        &mut self,
        row: Option<&'static Row>,
        has_colon: bool,
        depth: usize,
        out: &mut Vec<u8>,
        packed: &mut Pending,
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
            Packed(kind) => packed.push(*number, &scalar(kind, word)?.0),
            kind => {
                let (value, wire_type) = scalar(kind, word)?;
                encode_key(*number, wire_type, out);
                out.extend_from_slice(&value);
            }
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

/// A single value, encoded without its key.
fn scalar(kind: &Type, word: &str) -> Read<(Vec<u8>, WireType)> {
    let mut out = Vec::new();
    Ok(match kind {
        Varint => {
            encode_varint(integer(word).ok_or("expected an integer")?, &mut out);
            (out, WireType::Varint)
        }
        Signed => {
            let value = integer(word).ok_or("expected an integer")?.cast_signed();
            encode_varint(((value << 1) ^ (value >> 63)).cast_unsigned(), &mut out);
            (out, WireType::Varint)
        }
        Enum(names) => {
            let named = names.iter().find(|(name, _)| *name == word);
            let value = named.map(|&(_, value)| value).or_else(|| integer(word));
            encode_varint(value.ok_or("expected the name of a value")?, &mut out);
            (out, WireType::Varint)
        }
        Float => {
            // `inf` ends in the suffix, too.
            let digits = word.strip_suffix(['f', 'F']).unwrap_or(word);
            let float = digits.parse::<f32>().or_else(|_| word.parse());
            out.extend(float.map_err(|_| "expected a number")?.to_le_bytes());
            (out, WireType::ThirtyTwoBit)
        }
        Double => {
            let double: f64 = word.parse().map_err(|_| "expected a number")?;
            out.extend(double.to_le_bytes());
            (out, WireType::SixtyFourBit)
        }
        Packed(kind) => return scalar(kind, word),
        Bytes | Message(_) => return Err("expected a string or a message instead of a word"),
    })
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
        let encoded = graph(text.as_bytes()).expect(text);
        GraphDef::decode(&*encoded).expect(text)
    }

    #[test]
    fn every_spelling_is_read() {
        let decoded = decode(
            r#"# a comment
            node { name: "a" 'b' op: "Const"
              attr { key: "value" value < tensor { dtype: DT_FLOAT float_val: [1, 2.5, -inf, 3f, nan]
                     tensor_shape { dim { size: -1 } dim: { size: 0x10 } } tensor_content: "\001\x41\n" } > }
              attr { key: "b" value { b: true }}; unknown_field: [ { x: 1 }, "s" ] experimental_debug_info { original_node_names: "x" }
            }
            versions { producer: 1645 min_consumer: 017 }"#,
        );
        let node = &decoded.node[0];
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
        let versions = decoded.versions.expect("versions");
        assert_eq!((versions.producer, versions.min_consumer), (1645, 15));
    }

    #[test]
    fn errors_have_their_place() {
        let cases = [
            (
                "node {\n  name: \"a\"\n",
                "3:1: expected a field or the closing bracket of a message, found the end of the text",
            ),
            (
                "node {\n name \"a\" }",
                r#"2:7: expected a colon or a message, found `\"`"#,
            ),
            (
                "node: 3",
                "1:7: expected a string or a message instead of a word, found `3`",
            ),
            (
                "\n\nversions { producer: x }",
                "3:22: expected an integer, found `x`",
            ),
            (
                "node { name: \"\\400\" }",
                r"1:15: expected an escape of one byte, found `\\400`",
            ),
            ("}", "1:1: expected the name of a field, found `}`"),
            (
                "node { name: \"a\n\" }",
                r"1:16: expected the string's closing quote, found `\n`",
            ),
        ];
        for (text, expected) in cases {
            let error = graph(text.as_bytes()).expect_err(text);
            assert_eq!(error.to_string(), expected);
        }
        let deep = "a {".repeat(100_000);
        assert!(graph(deep.as_bytes()).is_err());
    }

    #[test]
    fn saved_models_are_read_with_what_any_holds() {
        let text = r#"saved_model_schema_version: 1
            meta_graphs {
              meta_info_def { tags: "serve" stripped_op_list { op { name: "Custom" output_arg { name: "y" type: DT_FLOAT } } } }
              saver_def { restore_op_name: "restore" version: V2 }
              collection_def { key: "saved_model_assets" value { any_list { value {
                [type.googleapis.com/tensorflow.AssetFileDef] { tensor_info { name: "path:0" } filename: "words.txt" }
              } } } }
              signature_def { key: "s" value { outputs { key: "y" value { composite_tensor {
                type_spec { type_spec_class: RAGGED_TENSOR_SPEC } components { name: "y:0" dtype: DT_INT64 } } } } } }
              object_graph_def { concrete_functions { key: "f" value { output_signature { int64_value: -3 } } } }
            }"#;
        let encoded = saved_model(text.as_bytes()).expect(text);
        let model = tfod_proto::SavedModel::decode(&*encoded).expect("a SavedModel");
        let meta_graph = &model.meta_graphs[0];
        assert_eq!(
            meta_graph.meta_info_def.as_ref().map(|info| &*info.tags[0]),
            Some("serve")
        );
        let functions = meta_graph
            .object_graph_def
            .as_ref()
            .map(|graph| &graph.concrete_functions["f"]);
        let number = functions.and_then(|f| f.output_signature.as_ref()?.kind.clone());
        assert_eq!(
            number,
            Some(tfod_proto::structured_value::Kind::Int64Value(-3))
        );
        let has = |bytes: &[u8]| encoded.windows(bytes.len()).any(|window| window == bytes);
        assert!(has(b"\x0a\x08\x0a\x06path:0\x12\x09words.txt"));
        assert!(
            has(b"\x0a\x02\x08\x03"),
            "the class of the composite tensor"
        );
    }

    #[test]
    fn the_first_field_tells_what_it_is() {
        assert_eq!(first_field(b"# x\n\n model {"), Some("model"));
        assert_eq!(first_field(b"node: <"), Some("node"));
        assert_eq!(first_field(b"{ \"a\": 1 }"), None);
        assert_eq!(first_field(b"hello world"), None);
    }
}
