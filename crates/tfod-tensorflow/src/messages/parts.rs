//! A bound on the memory that messages take when they are read: an empty one has two bytes in the file, and a hundred in memory.

use std::cell::Cell;
use std::rc::Rc;

use tfod_proto::wire::{Fields, Malformed};

/// What there may be of a graph: nodes, their inputs and attributes, functions, signatures. The largest detectors have half a million.
pub(crate) const MAX_PARTS: usize = 1 << 23;

/// The problem of a message that has more.
pub(crate) const TOO_MANY: &str = "there are more than 8388608 nodes, inputs, attributes and other parts up to here, which is too many";

/// How many bytes of a message that is decoded whole count as a part.
const BYTES: usize = 8;

/// How many parts there may still be. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Parts(Rc<Cell<usize>>);

impl Default for Parts {
    fn default() -> Self {
        Self(Rc::new(Cell::new(MAX_PARTS)))
    }
}

impl Parts {
    /// Counts a message and its fields, before memory is taken for them.
    ///
    /// # Errors
    /// Where that is too many.
    pub(crate) fn count(&self, message: &[u8]) -> Result<(), Malformed> {
        let most = self.0.get().saturating_add(1);
        self.take(message, 1 + Fields::of(message).take(most).count())
    }

    /// Counts a message that is decoded whole, with all in it.
    ///
    /// # Errors
    /// As [`Self::count`].
    pub(crate) fn count_all(&self, message: &[u8]) -> Result<(), Malformed> {
        self.take(message, 1 + message.len() / BYTES)
    }

    fn take(&self, message: &[u8], parts: usize) -> Result<(), Malformed> {
        let left = self.0.get().checked_sub(parts);
        self.0
            .set(left.ok_or_else(|| Malformed::because(message, TOO_MANY))?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_count_together() {
        assert!(TOO_MANY.contains(&MAX_PARTS.to_string()));
        let parts = Parts::default();
        let message = vec![0x08; 2 * (MAX_PARTS / 2 - 2)];
        parts.count(&message).expect("half of what there may be");
        let other = parts.clone();
        other.count(&message).expect("the other half");
        let problem = parts.count(&message).expect_err("more than there may be");
        assert_eq!(problem.problem(), TOO_MANY);
        assert!(other.count_all(&message).is_err());
        assert!(Parts::default().count_all(&message).is_ok());
    }
}
