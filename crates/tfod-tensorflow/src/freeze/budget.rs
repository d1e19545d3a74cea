//! A bound on the work and memory that a file can ask for.
//!
//! A function that calls the next one twice, forty deep, is a small file and a graph of 2^40 nodes. Every step of the expansion is paid from
//! one budget, large enough for ten times the largest detection model.

/// What the budget starts with. A node takes about twenty.
const AMOUNT: u64 = 1 << 22;

/// The deepest nesting of calls.
pub(crate) const MAX_DEPTH: usize = 100;

/// The stack on which calls are expanded, in bytes. Without optimisation, so many calls take less than 3 MB (measured); conditionals and loops take more.
pub(crate) const STACK: usize = 16 << 20;

/// What is left.
#[derive(Debug)]
pub(crate) struct Budget(u64);

/// The budget is used up.
#[derive(Debug)]
pub(crate) struct Exhausted;

impl std::fmt::Display for Exhausted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "inlining all calls up to here gives more than {AMOUNT} nodes, inputs and attributes, which is too many"
        )
    }
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self(AMOUNT)
    }

    /// Pays for something that takes the memory of `amount` inputs.
    pub(crate) fn pay(&mut self, amount: usize) -> Result<(), Exhausted> {
        self.0 = self.0.checked_sub(amount as u64).ok_or(Exhausted)?;
        Ok(())
    }
}
