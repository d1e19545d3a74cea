//! Non-max suppression by TFLite's own operator, which differs from the graph's operation:
//!
//! * It drops a box whose overlap with a selected one is *at least* the threshold: it gets the next larger number.
//! * It compares a selected box with itself in order not to select it again, which boxes without area, overlapping nothing, evade: they are put where they have
//!   an area, and where nothing is beside them.
//! * Boxes of equal scores come in no particular order.

use tfod_graph::{DType, NmsAttrs, Node};

use super::{Lowering, size, unsupported};
use crate::Error;
use crate::emit::TensorId;
use crate::operator::{Activation, Arithmetic, Operator, Plain};
use crate::stored::Stored;

/// A coordinate beyond those of all images, in pixels or in their sizes.
const FAR: f32 = -1e6;

impl Lowering<'_, '_> {
    pub(super) fn non_max_suppression(
        &mut self,
        node: &Node,
        attrs: NmsAttrs,
    ) -> Result<Vec<TensorId>, Error> {
        if attrs.iou_threshold >= 1.0 {
            return Err(unsupported(
                &node.name,
                format!(
                    "non-max suppression above an overlap of {}",
                    attrs.iou_threshold
                ),
                "an iou_threshold below 1",
            ));
        }
        let boxes = self.operand(node, 0)?;
        let scores = self.operand(node, 1)?;
        let boxes = self.with_areas(node, boxes)?;
        // Smaller numbers are zero to some processors.
        let overlap = attrs.iou_threshold.next_up().max(f32::MIN_POSITIVE);
        let inputs = [
            boxes,
            scores,
            self.integer(size(&node.name, attrs.max_output_size)?),
            self.float(overlap),
            self.float(attrs.score_threshold),
        ];
        let results = node.outputs.iter().map(|value| self.typed(*value));
        let results = results.collect::<Result<Vec<_>, _>>()?;
        let operator = Operator::Plain(Plain::NonMaxSuppressionV4);
        Ok(self
            .emitter
            .add_several(&node.name, operator, &inputs, &results))
    }

    /// Boxes `[n, 4]` in which each one without area is another, which overlaps none.
    fn with_areas(&mut self, node: &Node, boxes: TensorId) -> Result<TensorId, Error> {
        if let Some(&known) = self.suppressible.get(&boxes) {
            return Ok(known);
        }
        let count = self.emitter.shape(boxes).first().copied().unwrap_or(0);
        let rows = size(&node.name, count)?;
        let name = |part: &str| format!("{}/{part}", node.name);
        let column = vec![count];
        let unpack = Operator::Unpack { count: 4, axis: 1 };
        let corners = vec![(DType::F32, column.clone()); 4];
        let corners = self
            .emitter
            .add_several(&name("corner"), unpack, &[boxes], &corners);
        let &[top, left, bottom, right] = corners.as_slice() else {
            return Err(unsupported(&node.name, "these boxes", "four coordinates"));
        };
        let mut compute = |part: &str, kind, operands: [TensorId; 2]| {
            let operator = Operator::Arithmetic(kind, Activation::None);
            self.emitter
                .add(&name(part), operator, &operands, DType::F32, &column)
        };
        let height = compute("height", Arithmetic::Sub, [bottom, top]);
        let width = compute("width", Arithmetic::Sub, [right, left]);
        let area = compute("area", Arithmetic::Mul, [height, width]);
        // Of a box that is reversed in one direction it is negative.
        let abs = Operator::Plain(Plain::Abs);
        let extent = name("extent");
        let extent = self.emitter.add(&extent, abs, &[area], DType::F32, &column);
        let zero = self.float(0.0);
        let greater = Operator::Plain(Plain::Greater);
        let has_area = name("has_area");
        let inputs = [extent, zero];
        let has_area = self
            .emitter
            .add(&has_area, greater, &inputs, DType::Bool, &column);
        let has_area = self.reshape(&name("has_area/column"), has_area, &[count, 1])?;
        #[allow(
            clippy::cast_precision_loss,
            reason = "the distance of two holds for more boxes than there are"
        )]
        let far = (0..rows).flat_map(|row| {
            let top = FAR - 2.0 * row as f32;
            [top, FAR, top + 1.0, FAR + 1.0]
        });
        let far = Stored::floats(&[count, 4], &far.collect::<Vec<f32>>());
        let far = self.emitter.constant(&format!("boxes/far_{count}"), far);
        let select = Operator::Plain(Plain::SelectV2);
        let inputs = [has_area, boxes, far];
        let result = name("boxes");
        let result = self
            .emitter
            .add(&result, select, &inputs, DType::F32, &[count, 4]);
        self.suppressible.insert(boxes, result);
        Ok(result)
    }
}
