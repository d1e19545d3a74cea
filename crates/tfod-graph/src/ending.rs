//! What some formats have as one operator and the graph has as many nodes: boxes are decoded, and the best are kept.
//!
//! The nodes say exactly what is computed. An [`Ending`] says beside them which of their values are what such an operator takes and gives, so that a back end that
//! has one need not recognise it among a hundred nodes; for all others it is as if it were not there. Passes keep it, with the values where they went.

use std::fmt;
use std::sync::Arc;

use crate::dim::Dim;
use crate::graph::{Graph, ValueId};
use crate::tensor::DType;

/// Boxes `[batch, n, 4]` are decoded relative to anchors, suppressed by their scores, and the best of all classes are the results.
///
/// An encoding is `[ty, tx, th, tw]`, an anchor `[y, x, height, width]` with its centre: the box has the centre `ty / scales[0] * height + y` and the height
/// `exp(th / scales[2]) * height`, likewise for x and the width.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    /// `[batch, n, 4]`
    pub encodings: ValueId,
    /// `[batch, n, classes]`, or `[batch, n, 1 + classes]` where there is a background.
    pub scores: ValueId,
    /// Whether the first column of the scores is the background, which is no class.
    pub has_background: bool,
    /// `n` of them.
    pub anchors: Arc<[[f32; 4]]>,
    /// Of y, x, height and width.
    pub scales: [f32; 4],
    /// A box is suppressed when its intersection over union with a better one is greater.
    pub iou_threshold: f32,
    /// Only greater scores are looked at.
    pub score_threshold: f32,
    /// At most so many of one class; `None` where boxes of different classes suppress each other, and only the best class of each is looked at.
    pub max_per_class: Option<u64>,
    /// At most so many, and the rows of the results, which are filled up with zeros.
    pub max_total: u64,
    /// What comes out.
    pub results: Results,
}

/// The results of an [`Ending`], floats; those that nothing in the graph needs are not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Results {
    /// `[batch, rows, 4]`: ymin, xmin, ymax, xmax, clipped to the unit square. Those that this leaves without area are not there.
    pub boxes: Option<ValueId>,
    /// `[batch, rows]`, from 0.
    pub classes: Option<ValueId>,
    /// `[batch, rows]`
    pub scores: Option<ValueId>,
    /// `[batch]`
    pub count: Option<ValueId>,
}

impl Results {
    /// All of them: boxes, classes, scores, count.
    pub fn all(&self) -> [Option<ValueId>; 4] {
        [self.boxes, self.classes, self.scores, self.count]
    }
}

impl Ending {
    /// The ending with its values where they went; `None` where one that it takes, or all that it gives, went nowhere.
    pub(crate) fn moved(&self, to: impl Fn(ValueId) -> Option<ValueId>) -> Option<Self> {
        let [boxes, classes, scores, count] = self.results.all().map(|value| value.and_then(&to));
        let results = Results {
            boxes,
            classes,
            scores,
            count,
        };
        results.all().iter().flatten().next()?;
        Some(Self {
            encodings: to(self.encodings)?,
            scores: to(self.scores)?,
            results,
            ..self.clone()
        })
    }

    /// Whether its values have the shapes that it says.
    pub(crate) fn fits(&self, graph: &Graph) -> bool {
        let is = |value: ValueId, dims: &[Option<&Dim>]| {
            graph.values.get(value.index()).is_some_and(|value| {
                let found = value.shape.dims();
                let mut pairs = found.iter().zip(dims);
                value.dtype == DType::F32
                    && found.len() == dims.len()
                    && pairs.all(|(dim, wanted)| wanted.is_none_or(|wanted| dim == wanted))
            })
        };
        let Some(encodings) = graph.values.get(self.encodings.index()) else {
            return false;
        };
        let Some(batch) = encodings.shape.dims().first() else {
            return false;
        };
        let [rows, count, four] = [self.max_total, self.anchors.len() as u64, 4].map(Dim::Known);
        let [boxes, classes, scores, number] = self.results.all();
        let fits = |result: Option<ValueId>, dims: &[Option<&Dim>]| {
            result.is_none_or(|result| is(result, dims))
        };
        is(self.encodings, &[Some(batch), Some(&count), Some(&four)])
            && is(self.scores, &[Some(batch), Some(&count), None])
            && fits(boxes, &[Some(batch), Some(&rows), Some(&four)])
            && fits(classes, &[Some(batch), Some(&rows)])
            && fits(scores, &[Some(batch), Some(&rows)])
            && fits(number, &[Some(batch)])
    }

    /// Its attributes in the text form.
    pub(crate) fn write(&self, f: &mut dyn fmt::Write) -> fmt::Result {
        write!(
            f,
            "anchors={} scales={:?} iou_threshold={} score_threshold={}",
            self.anchors.len(),
            self.scales,
            self.iou_threshold,
            self.score_threshold
        )?;
        if let Some(most) = self.max_per_class {
            write!(f, " max_per_class={most}")?;
        }
        write!(f, " max_total={}", self.max_total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::Builder;
    use crate::op::{Reduce, Unary};
    use crate::passes;
    use crate::tensor::Shape;
    use crate::validate::validate;

    /// A graph that ends so; what its nodes compute is of no concern here.
    fn graph(rows: u64) -> Graph {
        let mut b = Builder::new("g");
        let x = b.input("x", DType::F32, Shape::known(&[1, 3, 4]));
        let encodings = b.unary("encodings", Unary::Relu, x).unwrap();
        let scores = b.input("scores", DType::F32, Shape::known(&[1, 3, 2]));
        let boxes = b.slice_last("boxes", encodings, 0, 4).unwrap();
        let best = b.reduce("best", Reduce::Max, scores, &[2]).unwrap();
        let count = b.reduce("count", Reduce::Sum, best, &[1]).unwrap();
        b.end(Ending {
            encodings,
            scores,
            has_background: false,
            anchors: [[0.5, 0.5, 1.0, 1.0]; 3].into(),
            scales: [10.0, 10.0, 5.0, 5.0],
            iou_threshold: 0.5,
            score_threshold: 0.25,
            max_per_class: Some(2),
            max_total: rows,
            results: Results {
                boxes: Some(boxes),
                classes: None,
                scores: Some(best),
                count: Some(count),
            },
        });
        b.output("boxes", boxes);
        b.output("scores", best);
        b.finish()
    }

    #[test]
    fn passes_keep_it_and_what_goes_is_no_result() {
        let graph = passes::standard(&graph(3)).unwrap();
        validate(&graph).unwrap();
        let ending = graph.ending().unwrap();
        assert_eq!(graph.name_of(ending.encodings), "encodings");
        assert_eq!(ending.results.count, None);
        assert_eq!(graph.name_of(ending.results.scores.unwrap()), "best");
        let text = graph.to_string();
        assert!(
            text.contains(
                "ending\n  boxes, best = decode_and_suppress(encodings, scores) anchors=3"
            ),
            "{text}"
        );

        let mut without = graph.clone();
        without.retain_outputs(|_| false);
        assert_eq!(passes::prune(&without).unwrap().ending(), None);
    }

    #[test]
    fn its_values_have_the_shapes_that_it_says() {
        let error = validate(&graph(4)).unwrap_err().to_string();
        assert!(error.contains("decode_and_suppress"), "{error}");
    }
}
