//! Score calibration by functions given as points, between which it is linear: one for all classes, or one for each (isotonic regression gives such functions; Zadrozny
//! and Elkan 2002, <https://doi.org/10.1145/775047.775151>). After the reference's `calibration_builder`.
//!
//! A score lies in the first interval `[x_i, x_i+1)` that holds it; the function goes on level for 1 beyond its first and its last point. A score in no interval
//! is given what the *first* interval makes of it, however large it is: so it is in the reference.

use std::collections::BTreeMap;

use tfod_config::protos;
use tfod_graph::{Binary, Builder, Compare, DType, Dim, Tensor, ValueId};

use crate::error::ModelError;
use crate::fields::{FieldPath, invalid};

/// Far more points than anybody has measured.
const MOST_POINTS: usize = 1 << 16;

/// A linear piece of a function: from `low` to `high`, where it has the values `from` and `to`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Interval {
    low: f32,
    high: f32,
    from: f32,
    to: f32,
}

/// Where a class has no function: no score lies in it, and the interval that is then taken leaves it as it is.
const UNCHANGED: Interval = Interval {
    low: 0.0,
    high: 1.0,
    from: 0.0,
    to: 1.0,
};

/// What no score lies in, to make all functions as long.
const NOTHING: Interval = Interval {
    low: f32::INFINITY,
    high: f32::NEG_INFINITY,
    ..UNCHANGED
};

/// A piecewise linear function.
#[derive(Clone, Debug, PartialEq)]
pub struct Function(Vec<Interval>);

/// The functions by which scores are calibrated.
#[derive(Clone, Debug, PartialEq)]
pub enum Functions {
    /// `function_approximation`: one for all classes, the background included.
    Shared(Function),
    /// `class_id_function_approximations`: by the class's place among the scores, where the background is 0 if it has one. Classes without one keep their scores.
    PerClass(BTreeMap<u64, Function>),
}

impl Function {
    /// Reads the points.
    ///
    /// # Errors
    /// For no points, or points that are no numbers.
    pub fn from_config(
        field: FieldPath,
        pairs: Option<&protos::XyPairs>,
    ) -> Result<Self, ModelError> {
        let points: Vec<[f32; 2]> = pairs
            .iter()
            .flat_map(|pairs| &pairs.x_y_pair)
            .map(|pair| [pair.x(), pair.y()])
            .collect();
        if let Some(bad) = points.iter().flatten().find(|number| !number.is_finite()) {
            return Err(invalid(field, bad, "numbers"));
        }
        let (Some([first_x, first_y]), Some([last_x, last_y]), ..=MOST_POINTS) =
            (points.first(), points.last(), points.len())
        else {
            let given = format!("a list of {}", points.len());
            return Err(invalid(field, given, format!("1 to {MOST_POINTS} points")));
        };
        let before = [first_x - 1.0, *first_y];
        let after = [last_x + 1.0, *last_y];
        let points: Vec<[f32; 2]> = [before].into_iter().chain(points).chain([after]).collect();
        let intervals = points.windows(2).filter_map(|pair| match *pair {
            [[low, from], [high, to]] => Some(Interval {
                low,
                high,
                from,
                to,
            }),
            _ => None,
        });
        Ok(Self(intervals.collect()))
    }
}

impl Functions {
    /// Calibrates scores `[batch, num_anchors, classes]`.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub fn apply(&self, b: &mut Builder, scores: ValueId) -> Result<ValueId, ModelError> {
        let dims = b.shape(scores).dims().to_vec();
        let classes = dims.last().and_then(Dim::known).unwrap_or(1);
        let rows = match self {
            Self::Shared(function) => vec![function.0.clone()],
            Self::PerClass(functions) => {
                let unchanged = vec![UNCHANGED];
                let function = |class| functions.get(&class).map_or(&unchanged, |f| &f.0);
                (0..classes).map(|class| function(class).clone()).collect()
            }
        };
        let columns = rows.iter().map(Vec::len).max().unwrap_or(1);
        let count = rows.len();
        let intervals: Vec<Interval> = rows
            .into_iter()
            .flat_map(|row| {
                row.into_iter()
                    .chain(std::iter::repeat(NOTHING))
                    .take(columns)
            })
            .collect();
        let interval = self.interval(b, scores, &intervals, [count, columns])?;

        let pieces: Vec<f32> = intervals
            .iter()
            .flat_map(|i| [i.low, i.high, i.from, i.to])
            .collect();
        let pieces = table(b, "pieces", &[intervals.len(), 4], &pieces)?;
        let piece = b.gather("piece", pieces, interval)?;
        let parts = b.unstack("piece_parts", piece, 3)?;
        let &[low, high, from, to] = parts.as_slice() else {
            return Err(ModelError::Inconsistent("a piece has four parts".into()));
        };
        let distance = b.binary("distance", Binary::Sub, scores, low)?;
        let length = b.binary("length", Binary::Sub, high, low)?;
        let weight = b.binary("weight", Binary::Div, distance, length)?;
        let one = b.constant("one", Tensor::scalar_f32(1.0))?;
        let rest = b.binary("rest", Binary::Sub, one, weight)?;
        let from = b.binary("from", Binary::Mul, rest, from)?;
        let to = b.binary("to", Binary::Mul, weight, to)?;
        Ok(b.binary("calibrated", Binary::Add, from, to)?)
    }

    /// Which of the intervals each score lies in, of those of its class, or the first of these.
    fn interval(
        &self,
        b: &mut Builder,
        scores: ValueId,
        intervals: &[Interval],
        size: [usize; 2],
    ) -> Result<ValueId, ModelError> {
        let dims = b.shape(scores).dims().to_vec();
        let column: Vec<Dim> = dims.iter().cloned().chain([1.into()]).collect();
        let column = b.reshape("column", scores, &column)?;
        let low: Vec<f32> = intervals.iter().map(|i| i.low).collect();
        let low = table(b, "low", &size, &low)?;
        let high: Vec<f32> = intervals.iter().map(|i| i.high).collect();
        let high = table(b, "high", &size, &high)?;
        let above = b.compare("above", Compare::GreaterEqual, column, low)?;
        let below = b.compare("below", Compare::Less, column, high)?;
        let inside = b.and("inside", above, below)?;
        let inside = b.cast("inside_float", inside, DType::F32)?;
        let [_, interval] = b.top_k("interval", inside, 1)?;
        let interval = b.reshape("intervals", interval, &dims)?;
        if matches!(self, Self::Shared(_)) {
            return Ok(interval);
        }
        let [rows, columns] = size;
        let starts: Vec<i32> = (0..rows)
            .map(|row| i32::try_from(row * columns).unwrap_or(i32::MAX))
            .collect();
        let starts = Tensor::i32(&[rows as u64], &starts)
            .ok_or_else(|| ModelError::Inconsistent("a start for each class".into()))?;
        let starts = b.constant("class_starts", starts)?;
        Ok(b.binary("class_intervals", Binary::Add, interval, starts)?)
    }
}

fn table(
    b: &mut Builder,
    name: &str,
    sizes: &[usize; 2],
    values: &[f32],
) -> Result<ValueId, ModelError> {
    let tensor = Tensor::f32(&sizes.map(|size| size as u64), values)
        .ok_or_else(|| ModelError::Inconsistent(format!("`{name}` of another shape")))?;
    Ok(b.constant(name, tensor)?)
}
