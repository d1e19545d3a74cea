//! A detector's variables by the index alone, for a checkpoint whose data file is not there: the object graph, which says how to get from
//! object to object, is in that file. TensorFlow stores a variable under its shortest path, and those are the paths that architectures give.

use std::collections::BTreeSet;

use tfod_checkpoint::{Bundle, variable_key};
use tfod_models::fit::{Found, Variables};

use crate::judgement::{ModelVariables, VariableSource};
use crate::trained::MODEL;

/// The variables whose keys are below the model's.
pub(super) struct Index(ModelVariables);

impl Index {
    pub(super) fn of(bundle: &Bundle) -> Self {
        let entries = bundle.entries().filter(|entry| {
            entry
                .key()
                .strip_prefix(MODEL)
                .is_some_and(|rest| rest.starts_with('/') && !rest.contains("/.OPTIMIZER_SLOT/"))
        });
        Self(ModelVariables::of(entries))
    }
}

impl Variables for Index {
    fn find(&self, path: &[String]) -> Option<Found<'_>> {
        let full: Vec<&str> = std::iter::once(MODEL)
            .chain(path.iter().map(String::as_str))
            .collect();
        self.0.find(&variable_key(&full))
    }

    fn children(&self, path: &[&str]) -> BTreeSet<String> {
        let full: Vec<&str> = std::iter::once(MODEL).chain(path.iter().copied()).collect();
        self.0.children(&full)
    }

    fn count(&self) -> usize {
        self.0.len()
    }
}

impl VariableSource for Index {
    fn variables(&self) -> &ModelVariables {
        &self.0
    }
}
