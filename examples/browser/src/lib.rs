//! What the page computes: an exported ONNX model is read, and run on pictures.
//!
//! The page's worker calls the functions in [`exports`], which are plain C functions, so that neither a generator of bindings nor its output is needed.
//! [`detector`] is the work, without WebAssembly: it is tested as any library.

pub mod detector;
mod exports;
