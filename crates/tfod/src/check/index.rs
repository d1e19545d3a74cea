//! A detector's variables by the index alone, for a checkpoint whose data file is not there: the object graph, which says how to get from
//! object to object, is in that file. TensorFlow stores a variable under its shortest path, and those are the paths that architectures give.

use std::collections::BTreeMap;

use tfod_checkpoint::{Bundle, variable_key};
use tfod_models::fit::{Found, Variables};

use crate::trained::MODEL;

/// The variables by key, each with a number and its sizes.
pub(super) struct Index(BTreeMap<String, (usize, Vec<u64>)>);

impl Index {
    pub(super) fn of(bundle: &Bundle) -> Self {
        let entries = bundle.entries().filter(|entry| {
            entry
                .key()
                .strip_prefix(MODEL)
                .is_some_and(|rest| rest.starts_with('/') && !rest.contains("/.OPTIMIZER_SLOT/"))
        });
        let variables = entries.enumerate().map(|(number, entry)| {
            let shape = entry.shape().iter().map(|n| *n as u64).collect();
            (entry.key().to_owned(), (number, shape))
        });
        Self(variables.collect())
    }
}

impl Variables for Index {
    fn find(&self, path: &[String]) -> Option<Found<'_>> {
        let full: Vec<&str> = std::iter::once(MODEL)
            .chain(path.iter().map(String::as_str))
            .collect();
        let (id, shape) = self.0.get(&variable_key(&full))?;
        Some(Found { id: *id, shape })
    }

    fn count(&self) -> usize {
        self.0.len()
    }
}
