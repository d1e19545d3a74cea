//! `hourglass_104` and its smaller siblings.

use tfod_graph::{Builder, ValueId};

use super::{FeatureExtractor, Further, Pixels};
use crate::backbone::hourglass::Hourglass;
use crate::error::ModelError;
use crate::facts::Normalization;
use crate::layers::Path;

struct HourglassExtractor {
    pixels: Pixels,
    network: Hourglass,
}

pub(super) fn of(pixels: &Pixels, network: Hourglass) -> Box<dyn FeatureExtractor> {
    let pixels = *pixels;
    Box::new(HourglassExtractor { pixels, network })
}

impl FeatureExtractor for HourglassExtractor {
    fn normalization(&self) -> Normalization {
        self.pixels.normalization(Further::Nothing)
    }

    fn build(
        &self,
        b: &mut Builder,
        path: &Path,
        images: ValueId,
    ) -> Result<Vec<ValueId>, ModelError> {
        self.network.build(b, &path.child("_network"), images)
    }
}
