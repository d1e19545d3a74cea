//! Decoding and suppression by TFLite's operator for that, where its user prefers it to the graph's own nodes.
//!
//! Its scores are at least the threshold, where the graph's are above it: it gets the next larger number. Beyond that it differs, and what can be mended is mended
//! behind it: boxes are clipped, and rows that it leaves as they were in memory become zeros.

use std::collections::HashSet;

use tfod_graph::{DType, Ending, Op, ValueId};

use super::{Lowering, size, unsupported};
use crate::Error;
use crate::emit::TensorId;
use crate::operator::{Operator, Plain, PostProcess};
use crate::stored::Stored;
use crate::writer::Suppression;

/// What the operator is called where the model has to call it something.
const NAME: &str = "decode_and_suppress";

impl Lowering<'_, '_> {
    /// Refuses outputs that need what only the graph's own suppression gives, whose place the operator takes: it may select other boxes.
    pub(super) fn check_outputs(&self, ending: &Ending) -> Result<(), Error> {
        let given = ending.results.all();
        for output in self.graph.outputs() {
            let mut needed = HashSet::from([output.value]);
            for (_, node) in self.graph.nodes().rev() {
                let is_given = |value: &ValueId| given.contains(&Some(*value));
                let is_wanted = |value: &ValueId| needed.contains(value) && !is_given(value);
                if !node.outputs.iter().any(is_wanted) {
                    continue;
                }
                let suppresses = matches!(
                    node.op,
                    Op::NonMaxSuppression(_) | Op::SoftNonMaxSuppression(_)
                );
                if suppresses || node.outputs.iter().any(is_given) {
                    return Err(unsupported(
                        &node.name,
                        format!(
                            "the output `{}`, which the operator for decoding and suppression does not give,",
                            output.key
                        ),
                        "boxes, classes, scores and their number, or builtin suppression",
                    ));
                }
                needed.extend(node.inputs.iter().copied());
            }
        }
        Ok(())
    }

    /// Writes the operator, and binds the graph's results to what it gives.
    pub(super) fn ending(&mut self, ending: &Ending) -> Result<(), Error> {
        let encodings = self.find(ending.encodings)?;
        let scores = self.find(ending.scores)?;
        let (batch, columns) = match *self.emitter.shape(scores) {
            [batch, _, columns] => (batch, columns),
            _ => (0, 0),
        };
        if batch != 1 {
            return Err(unsupported(
                self.graph.name_of(ending.scores),
                format!("decoding and suppression of {batch} images by the one operator for that"),
                "a batch of one, or builtin suppression",
            ));
        }
        // One column more than classes is a background before them, which the operator passes over; where it can be, it is left out of the kernels when all nodes are lowered.
        let classes = columns.saturating_sub(u64::from(ending.has_background));
        let operator = self.post_process(ending, classes)?;
        let flat: Vec<f32> = ending.anchors.iter().flatten().copied().collect();
        let count = ending.anchors.len() as u64;
        let anchors = Stored::floats(&[count, 4], &flat);
        let anchors = self
            .emitter
            .constant("decode_and_suppress/anchors", anchors);
        let rows = ending.max_total;
        let results = [vec![1, rows, 4], vec![1, rows], vec![1, rows], vec![1]];
        let results = results.map(|sizes| (DType::F32, sizes));
        let inputs = [encodings, scores, anchors];
        let given =
            self.emitter
                .add_several(NAME, Operator::PostProcess(operator), &inputs, &results);
        let &[boxes, classes, scores, found] = given.as_slice() else {
            return Ok(());
        };
        #[allow(
            clippy::cast_precision_loss,
            reason = "there are far fewer rows than numbers without fractions"
        )]
        let places: Vec<f32> = (0..rows).map(|row| row as f32).collect();
        let places = Stored::floats(&[1, rows], &places);
        let places = self.emitter.constant("decode_and_suppress/rows", places);
        let less = Operator::Plain(Plain::Less);
        let sizes = [1, rows];
        let name = "decode_and_suppress/is_any";
        let is_any = self
            .emitter
            .add(name, less, &[places, found], DType::Bool, &sizes);
        let column = self.reshape("decode_and_suppress/is_any/column", is_any, &[1, rows, 1])?;
        let [low, high] = [0.0, 1.0].map(|bound| self.float(bound));
        let mut clipped = boxes;
        for (part, plain, bound) in [("low", Plain::Maximum, low), ("high", Plain::Minimum, high)] {
            let name = format!("decode_and_suppress/clipped/{part}");
            let operator = Operator::Plain(plain);
            let sizes = [1, rows, 4];
            clipped = self
                .emitter
                .add(&name, operator, &[clipped, bound], DType::F32, &sizes);
        }
        let boxes = self.any("boxes", column, clipped);
        let classes = self.any("classes", is_any, classes);
        let scores = self.any("scores", is_any, scores);
        let results = ending.results;
        self.take(results.boxes, boxes);
        self.take(results.classes, classes);
        self.take(results.scores, scores);
        self.take(results.count, found);
        Ok(())
    }

    fn post_process(&self, ending: &Ending, classes: u64) -> Result<PostProcess, Error> {
        let is_regular = self.suppression == Suppression::Regular;
        if is_regular && ending.max_per_class.is_none() {
            return Err(unsupported(
                self.graph.name_of(ending.scores),
                "suppression of all classes together by regular suppression",
                "fast suppression, which does that, or builtin suppression",
            ));
        }
        let limit = |n: u64| size(NAME, n);
        Ok(PostProcess {
            max_detections: limit(ending.max_total)?,
            per_class: limit(ending.max_per_class.unwrap_or(ending.max_total))?,
            classes: limit(classes)?,
            // Smaller numbers are zero to some processors, and the operator refuses an overlap of zero.
            score_threshold: if ending.score_threshold < 0.0 {
                // Other formats drop scores below zero too.
                0.0
            } else {
                ending.score_threshold.next_up().max(f32::MIN_POSITIVE)
            },
            iou_threshold: ending.iou_threshold.max(f32::MIN_POSITIVE),
            scales: ending.scales,
            is_regular,
        })
    }

    /// Rows that are detections; the others are zeros.
    fn any(&mut self, part: &str, is_any: TensorId, rows: TensorId) -> TensorId {
        let zero = self.float(0.0);
        let sizes = self.emitter.shape(rows).to_vec();
        let name = format!("decode_and_suppress/{part}");
        let select = Operator::Plain(Plain::SelectV2);
        self.emitter
            .add(&name, select, &[is_any, rows, zero], DType::F32, &sizes)
    }

    fn take(&mut self, value: Option<ValueId>, id: TensorId) {
        if let Some(value) = value {
            self.bound.insert(value, id);
        }
    }
}
