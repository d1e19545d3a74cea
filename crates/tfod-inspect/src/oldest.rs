//! The oldest TensorFlow that can read a graph, as far as its operations tell.
//!
//! A release refuses a graph with an operation, or with an attribute of one, that it does not know. Which release brought which is a table
//! ([`op_defs::since`]). What comes of it is a lower bound: older releases certainly refuse; whether that one accepts also depends on what the table does
//! not say, such as the element types that a kernel has.

use serde_json::{Value, json};
use tfod_tensorflow::op_defs::{self, since};

use crate::graph::Node;

/// How many reasons are kept.
const REASONS: usize = 5;

/// A lower bound on the release of TensorFlow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Oldest {
    /// A place in [`since::releases`].
    release: usize,
    /// What no older release knows.
    because: Vec<String>,
    /// Operations that no release knows.
    custom: Vec<String>,
    /// Loaders drop unknown attributes that are at their defaults.
    may_strip_defaults: bool,
}

impl Oldest {
    pub(crate) fn new(may_strip_defaults: bool) -> Self {
        Self {
            may_strip_defaults,
            ..Self::default()
        }
    }

    pub(crate) fn add(&mut self, node: &Node<'_>) {
        let Some(release) = since::operation(&node.op) else {
            if self.custom.len() < REASONS && !self.custom.contains(&node.op) {
                self.custom.push(node.op.clone());
            }
            return;
        };
        self.raise(release, || format!("operation {}", node.op));
        for (attr, value) in &node.attrs {
            // Those with an underscore are for everybody.
            if attr.starts_with('_') || self.may_strip_defaults && is_default(&node.op, attr, value)
            {
                continue;
            }
            if let Some(release) = since::attribute(&node.op, attr) {
                self.raise(release, || format!("attribute `{attr}` of {}", node.op));
            }
        }
    }

    fn raise(&mut self, release: usize, reason: impl Fn() -> String) {
        if release < self.release || release == 0 {
            return;
        }
        if release > self.release {
            self.because.clear();
            self.release = release;
        }
        if self.because.len() < REASONS {
            let reason = reason();
            if !self.because.contains(&reason) {
                self.because.push(reason);
            }
        }
    }

    /// The first release that knows all operations and attributes; the oldest that was looked at, if it does.
    pub fn release(&self) -> &'static str {
        since::releases().get(self.release).unwrap_or(&"")
    }

    /// The newest release that was looked at and certainly refuses the graph; `None` if none does.
    pub fn refused_by(&self) -> Option<&'static str> {
        since::releases().get(self.release.checked_sub(1)?).copied()
    }

    /// What the refusing release does not know, a few of it.
    pub fn because(&self) -> &[String] {
        &self.because
    }

    /// Operations that no release of TensorFlow has, a few of them.
    pub fn custom(&self) -> &[String] {
        &self.custom
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "known_to": self.release(),
            "refused_by": self.refused_by(),
            "because": self.because,
            "custom_ops": self.custom,
        })
    }
}

fn is_default(op: &str, attr: &str, value: &[u8]) -> bool {
    op_defs::find(op).is_some_and(|def| def.default(attr) == Some(value))
}

impl std::fmt::Display for Oldest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.refused_by() {
            None => write!(
                f,
                "{} has all operations and attributes; older releases were not looked at",
                self.release()
            )?,
            Some(refusing) => write!(
                f,
                "newer than {refusing}, which lacks {}; {} has all operations and attributes",
                self.because.join(", "),
                self.release()
            )?,
        }
        if !self.custom.is_empty() {
            write!(f, "; no release has {}", self.custom.join(", "))?;
        }
        Ok(())
    }
}
