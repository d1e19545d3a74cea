//! Splits a text into tokens, the way the reference's tokenizer does.
//!
//! An identifier may hold `+` and `-` after its first character, a number anything that might belong to one: whether a
//! token is a good number is decided where a number is wanted. A string ends at its quote or at the end of its line.
//! Every other character is a token by itself.

use std::ops::Range;

use super::source::END_OF_TEXT;
use super::source::printable;

/// What a token begins with, which says how far it reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// `[a-zA-Z_][0-9a-zA-Z_+-]*`
    Identifier,
    /// `([0-9+-]|\.[0-9])[0-9a-zA-Z_.+-]*`
    Number,
    /// A quoted string with its quotes; the closing one may be missing.
    String {
        /// Whether the closing quote is there.
        closed: bool,
    },
    /// Any other character.
    Symbol,
    /// The end of the text.
    End,
}

/// A token and its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) kind: TokenKind,
    pub(super) text: &'a str,
    start: usize,
}

impl Token<'_> {
    /// The bytes of the text that the token takes.
    pub(super) fn span(&self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }

    /// The token as an error message shows it.
    pub(super) fn describe(&self) -> String {
        let text = self.clipped();
        match self.kind {
            TokenKind::End => END_OF_TEXT.to_owned(),
            TokenKind::String { .. } => format!("the string {text}"),
            TokenKind::Symbol if self.text.contains(char::is_control) => {
                format!("the character {}", self.text.escape_debug())
            }
            _ => format!("`{text}`"),
        }
    }

    /// The token's text, printable and of bounded length.
    pub(super) fn clipped(&self) -> String {
        const SHOWN: usize = 60;
        let mut characters = self.text.chars().map(printable);
        let mut text: String = characters.by_ref().take(SHOWN).collect();
        if characters.next().is_some() {
            text.push_str("...");
        }
        text
    }
}

/// A position in the text, at a token. Cheap to copy, which is how the parser goes back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    token: Token<'a>,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let token = token_at(text, 0);
        Self { text, token }
    }

    /// The token at the position.
    pub(super) fn peek(&self) -> Token<'a> {
        self.token
    }

    /// Takes the token at the position.
    pub(super) fn next(&mut self) -> Token<'a> {
        let taken = self.token;
        self.token = token_at(self.text, taken.span().end);
        taken
    }

    /// Takes the token at the position if it is this character by itself.
    pub(super) fn take(&mut self, symbol: char) -> bool {
        let here = self.is_at(symbol);
        if here {
            self.next();
        }
        here
    }

    /// Whether the token at the position is this character by itself.
    pub(super) fn is_at(&self, symbol: char) -> bool {
        self.token.kind == TokenKind::Symbol && self.token.text.starts_with(symbol)
    }
}

/// The first token at or after `offset`, which is at a character boundary.
fn token_at(text: &str, offset: usize) -> Token<'_> {
    let rest = skip_blank(&text[offset..]);
    let start = text.len() - rest.len();
    let mut characters = rest.chars();
    let (kind, length) = match (characters.next(), characters.next()) {
        (None, _) => (TokenKind::End, 0),
        (Some('a'..='z' | 'A'..='Z' | '_'), _) => (
            TokenKind::Identifier,
            run(rest, |byte| {
                byte.is_ascii_alphanumeric() || b"_+-".contains(&byte)
            }),
        ),
        (Some('0'..='9' | '+' | '-'), _) | (Some('.'), Some('0'..='9')) => (
            TokenKind::Number,
            run(rest, |byte| {
                byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte)
            }),
        ),
        (Some(quote @ ('"' | '\'')), _) => string(rest, quote),
        (Some(other), _) => (TokenKind::Symbol, other.len_utf8()),
    };
    Token {
        kind,
        text: &rest[..length],
        start,
    }
}

/// Skips white space and comments.
fn skip_blank(text: &str) -> &str {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(is_space);
        if !rest.starts_with('#') {
            return rest;
        }
        rest = rest.find('\n').map_or("", |newline| &rest[newline..]);
    }
}

/// White space as Python's regular expressions have it: Unicode's, and the four ASCII separators.
fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\x1c'..='\x1f').contains(&character)
}

/// The length of the longest prefix of such bytes, which are ASCII.
fn run(text: &str, belongs: impl Fn(u8) -> bool) -> usize {
    text.bytes().take_while(|&byte| belongs(byte)).count()
}

/// A string from its opening quote on. A backslash keeps the next character, but not a newline, from ending it.
fn string(text: &str, quote: char) -> (TokenKind, usize) {
    let mut escaped = false;
    for (offset, character) in text.char_indices().skip(1) {
        if character == '\n' {
            return (TokenKind::String { closed: false }, offset);
        }
        if escaped {
            escaped = false;
        } else if character == '\\' {
            escaped = true;
        } else if character == quote {
            return (TokenKind::String { closed: true }, offset + 1);
        }
    }
    (TokenKind::String { closed: false }, text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<&str> {
        let mut lexer = Lexer::new(text);
        std::iter::from_fn(|| Some(lexer.next()).filter(|token| token.kind != TokenKind::End))
            .map(|token| token.text)
            .collect()
    }

    #[test]
    fn tokens_are_maximal() {
        assert_eq!(tokens("a:-1.5e+3f;b"), ["a", ":", "-1.5e+3f", ";", "b"]);
        assert_eq!(tokens("a-b+1.c"), ["a-b+1", ".", "c"]);
        assert_eq!(tokens(".5 . 5"), [".5", ".", "5"]);
        assert_eq!(tokens("{}<>[]"), ["{", "}", "<", ">", "[", "]"]);
        assert_eq!(tokens("caf\u{e9}"), ["caf", "\u{e9}"]);
    }

    #[test]
    fn blanks_and_comments_are_skipped() {
        assert_eq!(
            tokens("# one\r\n \t\x0b\x1f\u{a0}\u{3000}a # two { \n# three"),
            ["a"]
        );
        // Lines end at a newline only, so a comment swallows what follows a lone carriage return.
        assert_eq!(tokens("# one\ra\nb"), ["b"]);
    }

    #[test]
    fn strings_end_at_their_quote_or_line() {
        assert_eq!(tokens(r#""a'b" 'c"d'"#), [r#""a'b""#, r#"'c"d'"#]);
        assert_eq!(tokens(r#""a\"b\\"c"#), [r#""a\"b\\""#, "c"]);
        assert_eq!(tokens("\"a # b\nc"), ["\"a # b", "c"]);
        assert_eq!(tokens("\"a\\\nc"), ["\"a\\", "c"]);
        let open = Lexer::new("'a\\'").peek();
        assert_eq!(open.kind, TokenKind::String { closed: false });
    }
}
