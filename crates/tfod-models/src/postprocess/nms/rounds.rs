//! Two rounds of selection, for speed: first among high scores only. Where that gives as many detections as there can be, all others have lower scores, and the low
//! ones need not be looked at. Where not, all scores are selected from. The detections are the same either way.

use tfod_graph::{Builder, Compare, DType, Reduce, Tensor, ValueId};

use super::NonMaxSuppression;
use super::select::Table;
use crate::error::ModelError;

/// From so many scores on, most of the time goes into sorting those that are never selected.
const WORTH_TWO_ROUNDS: u64 = 1 << 15;
/// The first round is about this many times as many anchors as there can be detections.
const FIRST_ROUND: u64 = 10;

impl NonMaxSuppression {
    /// The scores to select from: without those that cannot become detections, which get the threshold's, and so are not selected. `found` selects by
    /// scores and returns which places of the table hold detections, as booleans of rank 2.
    pub(super) fn worthwhile_scores(
        self,
        b: &mut Builder,
        candidates: Table,
        found: impl FnOnce(&mut Builder, ValueId) -> Result<ValueId, ModelError>,
    ) -> Result<ValueId, ModelError> {
        if !self.is_worth_two_rounds(candidates) {
            return Ok(candidates.scores);
        }
        b.scope("first_round", |b| {
            let scores = self.high_scores(b, candidates)?;
            let found = found(b, scores)?;
            let found = b.cast("found_float", found, DType::F32)?;
            let found = b.reduce("num_found", Reduce::Sum, found, &[0, 1])?;
            #[expect(clippy::cast_precision_loss, reason = "sizes are at most 2^20")]
            let wanted = b.constant("num_wanted", Tensor::scalar_f32(self.max_total as f32))?;
            let is_enough = b.compare("is_enough", Compare::GreaterEqual, found, wanted)?;
            Ok(b.select("scores", is_enough, scores, candidates.scores)?)
        })
    }

    /// Whether leaving low scores out pays: not where the table cannot fill, and not in soft suppression, which changes scores.
    fn is_worth_two_rounds(self, candidates: Table) -> bool {
        let Some(num_anchors) = candidates.num_anchors else {
            return false;
        };
        let places = candidates.rows.saturating_mul(self.limit());
        self.soft_nms_sigma == 0.0
            && places >= self.max_total
            && num_anchors > FIRST_ROUND.saturating_mul(self.max_total)
            && num_anchors.saturating_mul(candidates.rows) >= WORTH_TWO_ROUNDS
    }

    /// The scores of the first round.
    fn high_scores(self, b: &mut Builder, candidates: Table) -> Result<ValueId, ModelError> {
        let threshold = b.constant("threshold", Tensor::scalar_f32(self.score_threshold))?;
        let best = b.reduce("best_of_anchors", Reduce::Max, candidates.scores, &[1])?;
        let count = FIRST_ROUND.saturating_mul(self.max_total);
        let [best, _] = b.top_k("best", best, count)?;
        let high = b.slice_last("high", best, count.saturating_sub(1), 1)?;
        let is_high = b.compare("is_high", Compare::Greater, candidates.scores, high)?;
        Ok(b.select("high_scores", is_high, candidates.scores, threshold)?)
    }
}
