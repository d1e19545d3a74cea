//! Tensors on their way between two processes.
//!
//! A message is a line of JSON, and the bytes of the tensors that it lists by name, type and shape:
//!
//! ```text
//! {"tensors": [["x", "float32", [2, 3]]]}
//! 24 bytes
//! ```

use std::io::{self, BufRead, Read as _, Write};

use serde_json::{Value, json};

use crate::{Tensor, Values};

/// What no line is longer than.
const LONGEST_LINE: u64 = 16 << 20;

/// How many characters of an error are told.
const LONGEST_ERROR: usize = 1 << 16;

/// Names and tensors.
pub(crate) type Named = Vec<(String, Tensor)>;

/// Writes tensors.
pub(crate) fn send<'a>(
    to: &mut impl Write,
    tensors: impl Iterator<Item = (&'a str, &'a Tensor)> + Clone,
) -> io::Result<()> {
    let described = tensors
        .clone()
        .map(|(name, tensor)| json!([name, tensor.values().type_name(), tensor.shape()]));
    send_line(to, &json!({"tensors": described.collect::<Vec<_>>()}))?;
    for (_, tensor) in tensors {
        tensor.values().write_le(to)?;
    }
    to.flush()
}

/// Writes an error.
pub(crate) fn send_error(to: &mut impl Write, problem: &str) -> io::Result<()> {
    let problem: String = problem.chars().take(LONGEST_ERROR).collect();
    send_line(to, &json!({"error": problem}))
}

/// Writes a line of JSON.
pub(crate) fn send_line(to: &mut impl Write, message: &Value) -> io::Result<()> {
    writeln!(to, "{message}")?;
    to.flush()
}

/// Reads a line of JSON; `None` at the end of all messages.
pub(crate) fn receive_line(from: &mut impl BufRead) -> io::Result<Option<Value>> {
    let mut line = Vec::new();
    let mut limited = from.by_ref().take(LONGEST_LINE);
    limited.read_until(b'\n', &mut line)?;
    match line.last() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(serde_json::from_slice(&line)?)),
        Some(_) if limited.limit() == 0 => Err(wrong("a line that does not end")),
        Some(_) => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Reads the tensors that a line lists, of at most so many bytes in all. Memory is taken as they arrive.
pub(crate) fn receive(
    from: &mut impl BufRead,
    line: &mut Value,
    most_bytes: usize,
) -> io::Result<Named> {
    let described: Vec<(String, String, Vec<usize>)> =
        serde_json::from_value(taken(line, "tensors"))?;
    let too_many = || wrong("more than may be sent at once");
    let mut left = most_bytes;
    let mut tensors = Vec::new();
    for (name, kind, shape) in described {
        let count = shape
            .iter()
            .try_fold(1usize, |all, size| all.checked_mul(*size))
            .filter(|count| *count <= left)
            .ok_or_else(too_many)?;
        let values = Values::read_le(&kind, count, from)?;
        left = left.checked_sub(values.bytes()).ok_or_else(too_many)?;
        tensors.push((name, Tensor::new(shape, values).map_err(io::Error::other)?));
    }
    Ok(tensors)
}

/// Takes a value out of a line; null if it is not there.
pub(crate) fn taken(line: &mut Value, key: &str) -> Value {
    line.get_mut(key).map(Value::take).unwrap_or_default()
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn tensor(shape: &[usize], values: Values) -> Tensor {
        Tensor::new(shape.to_vec(), values).unwrap()
    }

    #[test]
    fn messages_come_out_as_they_went_in() {
        let many = (0u8..=255).cycle().take(100_000);
        let sent = [
            ("a", tensor(&[2], Values::F32(vec![1.5, f32::NAN]))),
            ("a\n\"b", tensor(&[1, 1], Values::F64(vec![f64::INFINITY]))),
            ("", tensor(&[2, 50_000], Values::U8(many.collect()))),
            ("c", tensor(&[], Values::I64(vec![i64::MIN]))),
            ("d", tensor(&[0, 7], Values::I32(vec![]))),
            ("e", tensor(&[2], Values::Bool(vec![true, false]))),
        ];
        let mut bytes = Vec::new();
        send(
            &mut bytes,
            sent.iter().map(|(name, tensor)| (*name, tensor)),
        )
        .unwrap();
        send_error(&mut bytes, "no").unwrap();
        let mut from = bytes.as_slice();
        let mut line = receive_line(&mut from).unwrap().unwrap();
        let found = receive(&mut from, &mut line, 100_026).unwrap();
        // Not a number is equal to none, but prints alike.
        let sent = sent.map(|(name, tensor)| (name.to_owned(), tensor));
        assert_eq!(format!("{found:?}"), format!("{sent:?}"));
        let line = receive_line(&mut from).unwrap().unwrap();
        assert_eq!(line["error"], "no");
        assert!(receive_line(&mut from).unwrap().is_none());
        // A byte less than that.
        let mut from = bytes.as_slice();
        let mut line = receive_line(&mut from).unwrap().unwrap();
        assert!(receive(&mut from, &mut line, 100_025).is_err());
    }

    #[test]
    fn messages_cut_short_or_wrong_are_errors() {
        let tensor = tensor(&[2], Values::I32(vec![1, 2]));
        let mut bytes = Vec::new();
        send(&mut bytes, [("x", &tensor)].into_iter()).unwrap();
        for end in 1..bytes.len() {
            let mut from = &bytes[..end];
            let line = receive_line(&mut from);
            let found = line.and_then(|line| receive(&mut from, &mut line.unwrap(), 8));
            assert!(found.is_err(), "{end}");
        }
        for mut line in [
            json!({}),
            json!(3),
            json!({"tensors": [["x", "float32"]]}),
            json!({"tensors": [["x", "string", []]]}),
            json!({"tensors": [["x", "bool", [usize::MAX, 2]]]}),
            json!({"tensors": [["x", "uint8", [1u64 << 62]]]}),
        ] {
            let found = receive(&mut &b"0123"[..], &mut line, usize::MAX);
            assert!(found.is_err(), "{line}");
        }
        let endless = vec![b' '; 17 << 20];
        assert!(receive_line(&mut endless.as_slice()).is_err());
    }
}
