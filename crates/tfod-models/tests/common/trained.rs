//! The variables of a network, in place of a checkpoint.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};

use tfod_config::protos::DetectionModel;
use tfod_models::fit::{Found, Variables};
use tfod_models::{GraphOptions, build};

use super::keypoint_labels;

pub(crate) struct Trained {
    variables: HashMap<Vec<String>, (usize, Vec<u64>)>,
    /// How often their number was asked for.
    counted: Cell<usize>,
}

impl Trained {
    /// Variables by their paths, with their sizes.
    pub(crate) fn new(variables: impl IntoIterator<Item = (Vec<String>, Vec<u64>)>) -> Self {
        let numbered = variables.into_iter().enumerate();
        let numbered = numbered.map(|(i, (path, shape))| (path, (i, shape)));
        Self {
            variables: numbered.collect(),
            counted: Cell::new(0),
        }
    }

    /// How many networks were held against them: each is asked once how many variables there are.
    pub(crate) fn networks(&self) -> usize {
        self.counted.get()
    }

    /// One more.
    pub(crate) fn and(mut self, path: &[&str], shape: Vec<u64>) -> Self {
        let path = path.iter().map(|name| (*name).to_owned()).collect();
        let id = self.variables.len();
        self.variables.insert(path, (id, shape));
        self
    }

    /// Those of a network, and those that training has besides.
    pub(crate) fn of(config: &DetectionModel) -> Self {
        let mut options = GraphOptions::default();
        options.keypoint_labels = Some(keypoint_labels());
        let model = build(config, &options).unwrap();
        let needed = model.graph.parameters();
        let needed = needed.map(|(_, p)| (p.path.clone(), p.shape.clone()));
        let idle = model.idle.iter().map(|path| (path.clone(), vec![1]));
        Self::new(needed.chain(idle))
    }
}

impl Variables for Trained {
    fn find(&self, path: &[String]) -> Option<Found<'_>> {
        let (id, shape) = self.variables.get(path)?;
        Some(Found { id: *id, shape })
    }

    fn children(&self, path: &[&str]) -> BTreeSet<String> {
        let below = self.variables.keys().filter(|key| {
            let start = key.iter().map(String::as_str).take(path.len());
            start.eq(path.iter().copied())
        });
        below
            .filter_map(|key| key.get(path.len()).cloned())
            .collect()
    }

    fn count(&self) -> usize {
        self.counted.set(self.counted.get() + 1);
        self.variables.len()
    }
}
