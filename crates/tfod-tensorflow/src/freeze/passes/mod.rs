//! Changes to a frozen graph that make it smaller or faster, and round differently.

mod arithmetic;
mod fold_batch_norm;
mod half;
