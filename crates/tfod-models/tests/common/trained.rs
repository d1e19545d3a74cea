//! The variables of a network, in place of a checkpoint.

use std::collections::{BTreeSet, HashMap};

use tfod_config::protos::DetectionModel;
use tfod_models::fit::{Found, Variables};
use tfod_models::{GraphOptions, build};

use super::keypoint_labels;

pub(crate) struct Trained(HashMap<Vec<String>, (usize, Vec<u64>)>);

impl Trained {
    /// Variables by their paths, with their sizes.
    pub(crate) fn new(variables: impl IntoIterator<Item = (Vec<String>, Vec<u64>)>) -> Self {
        let numbered = variables.into_iter().enumerate();
        Self(
            numbered
                .map(|(i, (path, shape))| (path, (i, shape)))
                .collect(),
        )
    }

    /// One more.
    pub(crate) fn and(mut self, path: &[&str], shape: Vec<u64>) -> Self {
        let path = path.iter().map(|name| (*name).to_owned()).collect();
        self.0.insert(path, (self.0.len(), shape));
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
        let (id, shape) = self.0.get(path)?;
        Some(Found { id: *id, shape })
    }

    fn children(&self, path: &[&str]) -> BTreeSet<String> {
        let below = self.0.keys().filter(|key| {
            let start = key.iter().map(String::as_str).take(path.len());
            start.eq(path.iter().copied())
        });
        below
            .filter_map(|key| key.get(path.len()).cloned())
            .collect()
    }

    fn count(&self) -> usize {
        self.0.len()
    }
}
