//! Which of the supported networks is a checkpoint of? Found by trying: usual configurations of its meta-architecture are compared with the
//! checkpoint, and the best ones are changed field by field until they fit.

use tfod_config::protos;

use super::{Fit, Refined, Variables, fit_of, refine};
use crate::meta::{self, Description, MetaArchitecture};

/// How many configurations are changed to fit; the best of them is the answer.
const REFINED: usize = 2;

/// The supported network that a checkpoint is nearest to.
#[derive(Clone, Debug)]
pub struct Closest {
    /// The feature extractor, as configurations call it.
    pub extractor: String,
    /// A configuration of it. Only what leaves traces in a checkpoint is meant: classes, layers, widths; not sizes of images or thresholds.
    pub config: protos::DetectionModel,
    /// How the two go together.
    pub fit: Fit,
}

impl Closest {
    fn description(&self) -> Option<Description<'_>> {
        meta::describe(&self.config)
    }

    /// The classes that it tells apart. A checkpoint only tells how many scores an anchor has, so this goes with
    /// [`Self::has_background`]: one class more without background would fit as well.
    pub fn num_classes(&self) -> Option<i32> {
        self.description()?.num_classes
    }

    /// Whether the background is a class besides; `None` where configurations have no say in that.
    pub fn has_background(&self) -> Option<bool> {
        self.description()?.has_background
    }

    /// Whether everything in the checkpoint is of this network.
    pub fn is_complete(&self) -> bool {
        self.fit.is_complete() && self.fit.unused == 0
    }
}

/// Finds the supported network of a meta-architecture that a checkpoint is nearest to; `None` if it has no variable of any.
///
/// Every usual configuration is built, which takes tens of milliseconds for a large one, so the names of variables decide on the meta-architecture before.
pub fn closest(meta: &MetaArchitecture, variables: &dyn Variables) -> Option<Closest> {
    let support = meta.support.as_ref()?;
    let mut tried = Vec::new();
    for config in (support.templates)() {
        let fit = fit_of(&config, None, variables);
        if let Some(fit) = fit.filter(|fit| fit.missing.len() < fit.total()) {
            tried.push((fit, config));
        }
    }
    tried.sort_by_key(|(fit, _)| fit.distance());
    let mut best: Option<Refined> = None;
    for (fit, config) in tried.into_iter().take(REFINED) {
        // Nothing is nearer than one that fits.
        if best.as_ref().is_some_and(|best| best.fit.distance() == 0) {
            break;
        }
        let refined = refine(support, (config, fit), None, variables);
        let distance = refined.fit.distance();
        if best
            .as_ref()
            .is_none_or(|best| distance < best.fit.distance())
        {
            best = Some(refined);
        }
    }
    let Refined { config, fit, .. } = best?;
    Some(Closest {
        extractor: meta::describe(&config)?.extractor.to_owned(),
        config,
        fit,
    })
}
