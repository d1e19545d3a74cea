//! Reads a text into a message known by its descriptor.
//!
//! What the text sets is merged into what the message has: the last scalar wins, messages merge, lists grow, setting a
//! member of a oneof clears the others. The grammar is the reference's: brackets `{}` or `<>`, an optional colon before
//! them, one optional `,` or `;` after each field, lists `[a, b]` for repeated fields. Recursion is as deep as the
//! schema's messages nest, which a text cannot change.

use std::fmt;
use std::ops::Range;

use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value,
};

use super::lexer::{Lexer, Token, TokenKind};
use super::{SourceText, literal, suggest};
use crate::{Diagnostic, Problem};

/// A text with more damaged blocks than this is refused. Noting one takes time in proportion to the text before it.
const MOST_SKIPPED: usize = 100;

/// A top-level block that was left out because something in it does not fit the schema, and no export reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedBlock {
    /// The block's field name, such as `train_config`.
    pub block: String,
    /// The line on which its closing bracket stands.
    pub last_line: usize,
    /// What was found first, and where.
    pub diagnostic: Diagnostic,
}

impl fmt::Display for SkippedBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            block,
            last_line,
            diagnostic,
        } = self;
        let margin = " ".repeat(diagnostic.line.to_string().len());
        write!(
            f,
            "{diagnostic}\n{margin} = the block `{block}`, which ends on line {last_line}, is left out: an export does not read it"
        )
    }
}

/// What merging a text has to tell besides the message.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    /// The bytes of every top-level message that was read, brackets included, in the order of the text.
    pub(crate) blocks: Vec<Range<usize>>,
    /// The blocks left out.
    pub(crate) skipped: Vec<SkippedBlock>,
}

/// Merges a text into `message`. Top-level blocks named in `skippable` may be damaged.
///
/// After an error `message` has what the text set before the place of the error.
pub(crate) fn merge(
    source: SourceText<'_>,
    message: &mut DynamicMessage,
    skippable: &[&str],
) -> Result<Merged, Box<Diagnostic>> {
    let mut parser = Parser {
        source,
        lexer: Lexer::new(source.text),
        root: message.descriptor(),
        skippable,
        merged: Merged::default(),
    };
    while parser.lexer.peek().kind != TokenKind::End {
        parser.field(message, Level::Top)?;
    }
    Ok(parser.merged)
}

/// Where a field stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Top,
    Nested,
}

/// An opening bracket that has been taken.
struct Opening {
    field: String,
    start: usize,
    close: char,
}

struct Parser<'a> {
    source: SourceText<'a>,
    lexer: Lexer<'a>,
    root: MessageDescriptor,
    skippable: &'a [&'a str],
    merged: Merged,
}

impl<'a> Parser<'a> {
    fn error(&self, span: Range<usize>, problem: Problem) -> Box<Diagnostic> {
        self.source.diagnostic(span, problem)
    }

    fn unexpected(&self, expected: impl Into<String>) -> Box<Diagnostic> {
        let token = self.lexer.peek();
        let problem = Problem::Unexpected {
            expected: expected.into(),
            found: token.describe(),
        };
        self.error(token.span(), problem)
    }

    /// Reads one field: name, value or list of values, separator.
    fn field(&mut self, message: &mut DynamicMessage, level: Level) -> Result<(), Box<Diagnostic>> {
        let field = self.field_name(&message.descriptor())?;
        let is_message = matches!(field.kind(), Kind::Message(_));
        if !self.lexer.take(':') && !is_message {
            return Err(self.unexpected(format!("`:` after `{}`", field.name())));
        }
        if (field.is_list() || field.is_map()) && self.lexer.take('[') {
            self.list(message, &field, level)?;
        } else {
            self.value(message, &field, level)?;
        }
        if !self.lexer.take(',') {
            self.lexer.take(';');
        }
        Ok(())
    }

    fn field_name(
        &mut self,
        message: &MessageDescriptor,
    ) -> Result<FieldDescriptor, Box<Diagnostic>> {
        let token = self.lexer.peek();
        if self.lexer.is_at('[') {
            let problem = Problem::Extension {
                message: message.name().to_owned(),
            };
            return Err(self.error(token.span(), problem));
        }
        if !token
            .text
            .starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
        {
            return Err(self.unexpected(format!("a field name of `{}`", message.name())));
        }
        match message.get_field_by_name(token.text) {
            Some(field) => {
                self.lexer.next();
                Ok(field)
            }
            None => Err(self.error(token.span(), self.unknown_field(message, token))),
        }
    }

    fn unknown_field(&self, message: &MessageDescriptor, token: Token<'_>) -> Problem {
        let name = token.text;
        if self.root.get_field_by_name(name).is_some() {
            return Problem::MisplacedBlock {
                message: message.name().to_owned(),
                name: name.to_owned(),
            };
        }
        let fields: Vec<FieldDescriptor> = message.fields().collect();
        let has_field = |other: &MessageDescriptor| {
            !other.is_map_entry() && other.get_field_by_name(name).is_some()
        };
        Problem::UnknownField {
            message: message.name().to_owned(),
            name: token.clipped(),
            nearest: suggest::nearest(name, fields.iter().map(FieldDescriptor::name)),
            elsewhere: message
                .parent_pool()
                .all_messages()
                .filter(has_field)
                .map(|other| other.name().to_owned())
                .collect(),
        }
    }

    /// Reads the values of a list, whose opening bracket has been taken.
    fn list(
        &mut self,
        message: &mut DynamicMessage,
        field: &FieldDescriptor,
        level: Level,
    ) -> Result<(), Box<Diagnostic>> {
        if self.lexer.take(']') {
            return Ok(());
        }
        loop {
            self.value(message, field, level)?;
            if self.lexer.take(']') {
                return Ok(());
            }
            if !self.lexer.take(',') {
                return Err(
                    self.unexpected(format!("`,` or `]` in the list of `{}`", field.name()))
                );
            }
        }
    }

    fn value(
        &mut self,
        message: &mut DynamicMessage,
        field: &FieldDescriptor,
        level: Level,
    ) -> Result<(), Box<Diagnostic>> {
        if let Kind::Message(kind) = field.kind() {
            return self.message(message, field, kind, level);
        }
        let value = self.scalar(field)?;
        match message.get_field_mut(field) {
            Value::List(values) => values.push(value),
            singular => *singular = value,
        }
        Ok(())
    }

    /// Reads a message in its brackets into a field.
    fn message(
        &mut self,
        message: &mut DynamicMessage,
        field: &FieldDescriptor,
        kind: MessageDescriptor,
        level: Level,
    ) -> Result<(), Box<Diagnostic>> {
        let opening = self.opening(field)?;
        if level == Level::Top
            && self.skippable.contains(&field.name())
            && self.skip_if_damaged(&opening, &kind)?
        {
            return Ok(());
        }
        let end = match message.get_field_mut(field) {
            Value::Message(present) => self.fields(present, &opening)?,
            Value::List(values) => {
                let mut element = DynamicMessage::new(kind);
                let end = self.fields(&mut element, &opening)?;
                values.push(Value::Message(element));
                end
            }
            Value::Map(entries) => {
                let mut entry = DynamicMessage::new(kind.clone());
                let end = self.fields(&mut entry, &opening)?;
                let key = entry
                    .get_field(&kind.map_entry_key_field())
                    .into_owned()
                    .into_map_key();
                let value = entry.get_field(&kind.map_entry_value_field()).into_owned();
                entries.extend(key.map(|key| (key, value)));
                end
            }
            _ => return Err(self.unsupported(field)),
        };
        if level == Level::Top {
            self.merged.blocks.push(opening.start..end);
        }
        Ok(())
    }

    fn opening(&mut self, field: &FieldDescriptor) -> Result<Opening, Box<Diagnostic>> {
        let start = self.lexer.peek().span().start;
        let close = if self.lexer.take('{') {
            '}'
        } else if self.lexer.take('<') {
            '>'
        } else {
            return Err(self.unexpected(format!("`{{`, because `{}` is a message", field.name())));
        };
        Ok(Opening {
            field: field.name().to_owned(),
            start,
            close,
        })
    }

    /// Reads fields up to and including the closing bracket; gives the offset behind it.
    fn fields(
        &mut self,
        message: &mut DynamicMessage,
        opening: &Opening,
    ) -> Result<usize, Box<Diagnostic>> {
        while !self.lexer.is_at(opening.close) {
            if self.lexer.peek().kind == TokenKind::End {
                let problem = Problem::Unclosed {
                    field: opening.field.clone(),
                    close: opening.close,
                    line: self.source.position(opening.start).0,
                };
                return Err(self.error(self.lexer.peek().span(), problem));
            }
            self.field(message, Level::Nested)?;
        }
        Ok(self.lexer.next().span().end)
    }

    /// Reads a block to see whether it fits the schema, without keeping anything of it.
    ///
    /// If it does, goes back to its beginning; if not, goes on behind it, notes the damage, and returns true. What a
    /// message holds already never decides whether a text can be merged into it, so an empty message serves.
    fn skip_if_damaged(
        &mut self,
        opening: &Opening,
        kind: &MessageDescriptor,
    ) -> Result<bool, Box<Diagnostic>> {
        let inside = self.lexer;
        let outcome = self.fields(&mut DynamicMessage::new(kind.clone()), opening);
        self.lexer = inside;
        let Err(diagnostic) = outcome else {
            return Ok(false);
        };
        if !diagnostic.problem.leaves_structure_intact()
            || self.merged.skipped.len() == MOST_SKIPPED
        {
            return Err(diagnostic);
        }
        match self.closing(opening.close) {
            Some(closing) => {
                self.merged.skipped.push(SkippedBlock {
                    block: opening.field.clone(),
                    last_line: self.source.position(closing.span().start).0,
                    diagnostic: *diagnostic,
                });
                Ok(true)
            }
            None => Err(diagnostic),
        }
    }

    /// Goes behind the bracket that closes the block, if all brackets up to there pair and all strings end.
    fn closing(&mut self, close: char) -> Option<Token<'a>> {
        let mut open = vec![close];
        loop {
            let token = self.lexer.next();
            match (token.kind, token.text) {
                (TokenKind::End | TokenKind::String { closed: false }, _) => return None,
                (TokenKind::Symbol, "{") => open.push('}'),
                (TokenKind::Symbol, "<") => open.push('>'),
                (TokenKind::Symbol, "[") => open.push(']'),
                (TokenKind::Symbol, "}" | ">" | "]") => {
                    if !open
                        .pop()
                        .is_some_and(|expected| token.text.starts_with(expected))
                    {
                        return None;
                    }
                    if open.is_empty() {
                        return Some(token);
                    }
                }
                _ => {}
            }
        }
    }

    /// Reads a value that is not a message.
    fn scalar(&mut self, field: &FieldDescriptor) -> Result<Value, Box<Diagnostic>> {
        match field.kind() {
            Kind::Int32 => self
                .integer(field, "an integer from -2147483648 to 2147483647")
                .map(Value::I32),
            Kind::Uint32 => self
                .integer(field, "an integer from 0 to 4294967295")
                .map(Value::U32),
            Kind::Float => self
                .literal(field, "a number", literal::float)
                .map(|value| Value::F32(literal::round_to_f32(value))),
            Kind::Bool => self
                .literal(field, "`true` or `false`", literal::boolean)
                .map(Value::Bool),
            Kind::String => self.string(field).map(Value::String),
            Kind::Enum(kind) => self.enumeration(field, &kind).map(Value::EnumNumber),
            _ => Err(self.unsupported(field)),
        }
    }

    fn integer<T: TryFrom<i128>>(
        &mut self,
        field: &FieldDescriptor,
        expected: &str,
    ) -> Result<T, Box<Diagnostic>> {
        self.literal(field, expected, |text| {
            T::try_from(literal::integer(text)?).ok()
        })
    }

    /// Reads a value of one token.
    fn literal<T>(
        &mut self,
        field: &FieldDescriptor,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, Box<Diagnostic>> {
        match read(self.lexer.peek().text) {
            Some(value) => {
                self.lexer.next();
                Ok(value)
            }
            None => Err(self.bad_value(field, expected)),
        }
    }

    /// An error at the token that should have been a value. If no value can be such a token at all, brackets or the
    /// like are amiss.
    fn bad_value(&self, field: &FieldDescriptor, expected: &str) -> Box<Diagnostic> {
        let token = self.lexer.peek();
        match token.kind {
            TokenKind::String { closed: false } => self.unclosed_string(token),
            TokenKind::Symbol | TokenKind::End => {
                let single = if token.text == "[" {
                    ", because it is not a repeated field"
                } else {
                    ""
                };
                self.unexpected(format!("{expected} for `{}`{single}", field.name()))
            }
            _ => {
                let problem = Problem::Value {
                    field: field.name().to_owned(),
                    expected: expected.to_owned(),
                    found: token.describe(),
                };
                self.error(token.span(), problem)
            }
        }
    }

    fn unclosed_string(&self, token: Token<'_>) -> Box<Diagnostic> {
        let quote = if token.text.starts_with('"') {
            '"'
        } else {
            '\''
        };
        self.error(token.span(), Problem::UnclosedString { quote })
    }

    /// Reads one or more adjoining strings.
    fn string(&mut self, field: &FieldDescriptor) -> Result<String, Box<Diagnostic>> {
        let first = self.lexer.peek();
        let mut end = first.span().end;
        let mut bytes = Vec::new();
        if !matches!(first.kind, TokenKind::String { .. }) {
            return Err(self.bad_value(field, "a quoted string"));
        }
        while let TokenKind::String { closed } = self.lexer.peek().kind {
            let token = self.lexer.peek();
            if !closed {
                return Err(self.unclosed_string(token));
            }
            let content = token.text.get(1..token.text.len() - 1).unwrap_or_default();
            literal::unescape(content, &mut bytes).map_err(|bad| {
                let shift = token.span().start + 1;
                let problem = Problem::Escape {
                    expected: bad.expected,
                    found: content.get(bad.span.clone()).unwrap_or(content).to_owned(),
                };
                self.error(bad.span.start + shift..bad.span.end + shift, problem)
            })?;
            end = token.span().end;
            self.lexer.next();
        }
        String::from_utf8(bytes).map_err(|_| {
            let problem = Problem::StringNotUtf8 {
                field: field.name().to_owned(),
            };
            self.error(first.span().start..end, problem)
        })
    }

    /// Reads an enum's value, by name or number.
    fn enumeration(
        &mut self,
        field: &FieldDescriptor,
        kind: &EnumDescriptor,
    ) -> Result<i32, Box<Diagnostic>> {
        let token = self.lexer.peek();
        let value = match literal::python_integer(token.text) {
            Some(number) => i32::try_from(number)
                .ok()
                .and_then(|number| kind.get_value(number)),
            None => kind.get_value_by_name(token.text),
        };
        if let Some(value) = value {
            self.lexer.next();
            return Ok(value.number());
        }
        if !matches!(token.kind, TokenKind::Identifier | TokenKind::Number) {
            return Err(self.bad_value(field, &format!("a value of the enum `{}`", kind.name())));
        }
        let values: Vec<_> = kind.values().collect();
        let problem = Problem::UnknownEnumValue {
            field: field.name().to_owned(),
            enumeration: kind.name().to_owned(),
            found: token.clipped(),
            known: suggest::sorted(
                token.text,
                values.iter().map(prost_reflect::EnumValueDescriptor::name),
            ),
        };
        Err(self.error(token.span(), problem))
    }

    fn unsupported(&self, field: &FieldDescriptor) -> Box<Diagnostic> {
        let problem = Problem::Unsupported {
            field: field.full_name().to_owned(),
            kind: format!("{:?}", field.kind()),
        };
        self.error(self.lexer.peek().span(), problem)
    }
}
