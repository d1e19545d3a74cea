//! Changes to a frozen graph: what makes it smaller or faster and rounds differently, and sizes of its inputs.

mod arithmetic;
mod fold_batch_norm;
mod half;
mod shape_functions;
mod sizes;

pub use sizes::InputShape;
