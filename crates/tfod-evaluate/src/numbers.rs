//! Numbers of things that are in memory, as other types: exact, since memory does not hold 2^53 of them.

#[expect(clippy::cast_precision_loss, reason = "below 2^53")]
pub(crate) fn real(number: usize) -> f64 {
    number as f64
}

/// The number that follows so many that are numbered from 1.
pub(crate) fn next_id(number: usize) -> i64 {
    i64::try_from(number).map_or(i64::MAX, |number| number.saturating_add(1))
}
