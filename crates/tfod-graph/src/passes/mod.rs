//! Graph to graph.
//!
//! A pass keeps what the graph computes and the invariants of the crate. All are written over one helper,
//! `Rewriter`: it walks the old graph in order, and writes the new one.
//!
//! | pass | does |
//! | --- | --- |
//! | [`fold`] | computes what depends on constants and weights alone |
//! | [`prune`] | drops what no output needs |
//! | [`share`] | makes equal computations one |
//! | [`with_sizes`] | gives sizes known only at run time numbers |
//! | [`unroll`] | replaces a map over a small, known leading dimension by its body |

mod fold;
mod prune;
mod rewriter;
mod share;
mod sizes;
mod unroll;

pub use fold::{Decided, decided, fold};
pub use prune::{needed_parameters, prune};
pub use share::share;
pub use sizes::with_sizes;
pub use unroll::unroll;

use crate::graph::Graph;
use crate::validate::ValidateError;

/// Maps over at most this many slices are unrolled by [`standard`].
const UNROLL_LIMIT: u64 = 1;

/// What every export runs: unroll, share, prune.
///
/// # Errors
/// When the graph breaks an invariant of the crate.
pub fn standard(graph: &Graph) -> Result<Graph, ValidateError> {
    let graph = unroll(graph, UNROLL_LIMIT)?;
    let graph = share(&graph)?;
    prune(&graph)
}
