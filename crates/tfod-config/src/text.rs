//! Protocol buffers in text format: reading into, and printing of, messages known by their descriptors.
//!
//! The dialect is that of protobuf 3.20.3's `google.protobuf.text_format` for Python, found by running it: a line-based
//! tokenizer ([`lexer`]), Python's spellings of numbers and escapes ([`literal`]), merging with "the last one wins"
//! ([`parser`]), and the printer whose output the official exporter writes ([`printer`]).

mod lexer;
mod literal;
mod parser;
mod printer;
mod source;
pub(crate) mod suggest;

pub use parser::SkippedBlock;
pub(crate) use parser::merge;
pub(crate) use printer::{print, scalar_text};
pub(crate) use source::SourceText;

#[cfg(test)]
mod tests;
