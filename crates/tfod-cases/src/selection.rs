//! Sorting and non-max suppression.

use tfod_graph::{Builder, Built, NmsAttrs, Reduce, SoftNmsAttrs, ValueId};

use crate::{Case, Inputs};

pub(crate) const CASES: &[Case] = &[
    Case::new("top_k", top_k),
    Case::new("non_max_suppression", non_max_suppression),
    Case::new("non_max_suppression_by_class", by_class),
    Case::new("non_max_suppression_edges", edges),
    Case::new("soft_non_max_suppression", soft_non_max_suppression),
    Case::new("input", input),
];

fn top_k(b: &mut Builder, given: &Inputs) -> Built<()> {
    let [values, indices] = b.top_k("top_k", given.scores, 5)?;
    b.output("top_k_values", values);
    b.output("top_k_indices", indices);
    let gather = b.gather("gather", given.boxes, indices)?;
    b.output("gather", gather);
    Ok(())
}

/// More is asked for than there are boxes; their number may be unknown.
fn non_max_suppression(b: &mut Builder, given: &Inputs) -> Built<()> {
    let best = b.reduce("best", Reduce::Max, given.scores, &[0])?;
    let attrs = NmsAttrs {
        max_output_size: 15,
        iou_threshold: 0.3,
        score_threshold: 0.2,
    };
    for (key, boxes, scores) in [
        ("nms", given.boxes, best),
        ("nms_unknown", given.many_boxes, given.many_scores),
    ] {
        let [indices, count] = b.non_max_suppression(key, boxes, scores, attrs)?;
        b.output(&format!("{key}_indices"), indices);
        b.output(&format!("{key}_count"), count);
    }
    Ok(())
}

/// Boxes without area and reversed ones, a score that is just the threshold, no score above the threshold, more boxes than are asked for, and an overlap that is just
/// the threshold.
fn edges(b: &mut Builder, given: &Inputs) -> Built<()> {
    for (key, max_output_size, iou_threshold, score_threshold) in [
        ("edges", 15, 0.4, 0.25),
        ("edges_none", 15, 0.4, 1.0),
        ("edges_limited", 3, 0.4, 0.25),
        ("edges_half", 15, 0.5, 0.25),
    ] {
        let attrs = NmsAttrs {
            max_output_size,
            iou_threshold,
            score_threshold,
        };
        let (boxes, scores) = (given.edge_boxes, given.edge_scores);
        let [indices, count] = b.non_max_suppression(key, boxes, scores, attrs)?;
        b.output(&format!("nms_{key}_indices"), indices);
        b.output(&format!("nms_{key}_count"), count);
    }
    Ok(())
}

fn by_class(b: &mut Builder, given: &Inputs) -> Built<()> {
    let largest = b.reduce("largest", Reduce::Max, given.class_scores, &[0])?;
    let rows = b.unstack("rows", largest, 1)?;
    let by_class = b.stack("by_class", 0, &rows)?;
    let [indices, counts] = b.scope("alone", |b| classes(b, given.boxes, by_class, 0))?;
    b.output("nms_by_class_indices", indices);
    b.output("nms_by_class_counts", counts);
    Ok(())
}

/// Suppression of classes that share boxes, which a back end may join to one operator. `axis` is that of the classes.
pub(crate) fn classes(
    b: &mut Builder,
    boxes: ValueId,
    scores: ValueId,
    axis: usize,
) -> Built<[ValueId; 2]> {
    let attrs = NmsAttrs {
        max_output_size: 4,
        iou_threshold: 0.5,
        score_threshold: 0.1,
    };
    let rows = b.unstack("by_class", scores, axis)?;
    let mut columns = [const { Vec::new() }; 2];
    for row in rows {
        let results = b.non_max_suppression("class", boxes, row, attrs)?;
        for (column, result) in columns.iter_mut().zip(results) {
            column.push(result);
        }
    }
    // The last in another order, so that the rows are needed one by one.
    columns[1].reverse();
    let [indices, counts] = columns;
    Ok([
        b.stack("indices", 0, &indices)?,
        b.stack("counts", 0, &counts)?,
    ])
}

fn soft_non_max_suppression(b: &mut Builder, given: &Inputs) -> Built<()> {
    let best = b.reduce("best", Reduce::Max, given.scores, &[0])?;
    let attrs = SoftNmsAttrs {
        max_output_size: 15,
        score_threshold: 0.2,
        sigma: 0.5,
    };
    let [indices, scores, count] =
        b.soft_non_max_suppression("soft_nms", given.boxes, best, attrs)?;
    b.output("soft_nms_indices", indices);
    b.output("soft_nms_scores", scores);
    b.output("soft_nms_count", count);
    Ok(())
}

/// An input that is an output too.
#[expect(clippy::unnecessary_wraps, reason = "cases are of one type")]
fn input(b: &mut Builder, given: &Inputs) -> Built<()> {
    b.output("boxes_again", given.boxes);
    Ok(())
}
