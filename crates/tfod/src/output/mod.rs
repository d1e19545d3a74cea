//! Where outputs go, and how they get there whole: written beside their place ([`Scratch`]) and renamed, or, where that is a device or a pipe, written into it. Nothing that a command reads
//! is overwritten by it ([`identity`]).

mod destination;
mod error;
pub(crate) mod identity;
mod scratch;

pub use destination::Destination;
pub(crate) use destination::write_into;
pub use error::OutputError;
pub(crate) use error::failed;
pub use scratch::{Scratch, discard_unfinished};
pub(crate) use scratch::{Turn, hold};
