//! Which candidate is an object's keypoint: the best one near to where the object's own regression puts it, if there is one.

use tfod_graph::{Binary, Builder, Compare, DType, Dim, Reduce, Tensor, Unary, ValueId};

use super::super::maps::inserted;
use super::super::objects::Objects;
use super::candidates::Candidates;
use super::config::{Ranking, Task};
use super::{Keypoints, TaskMaps};
use crate::error::ModelError;

/// The distance of candidates that do not count, in cells.
const FAR: f32 = 1e5;

/// The overlap up to which the corners of a box may be moved, for the width of its Gaussian.
const MIN_OVERLAP: f64 = 0.7;

/// Boxes, each part for itself: `f32[batch, 1, n]`.
#[derive(Clone, Copy)]
struct Boxes {
    low: [ValueId; 2],
    high: [ValueId; 2],
    sides: [ValueId; 2],
}

impl Boxes {
    fn new(b: &mut Builder, boxes: ValueId) -> Result<Self, ModelError> {
        let parts = b.unstack("corners", boxes, 2)?;
        let mut columns = Vec::with_capacity(parts.len());
        for part in parts {
            columns.push(row_of_objects(b, "corner", part)?);
        }
        let &[ymin, xmin, ymax, xmax] = columns.as_slice() else {
            return Err(ModelError::Inconsistent("a box has four corners".into()));
        };
        let height = b.binary("height", Binary::Sub, ymax, ymin)?;
        let width = b.binary("width", Binary::Sub, xmax, xmin)?;
        Ok(Self {
            low: [ymin, xmin],
            high: [ymax, xmax],
            sides: [height, width],
        })
    }

    fn longer_side(&self, b: &mut Builder) -> Result<ValueId, ModelError> {
        let [height, width] = self.sides;
        Ok(b.binary("longer_side", Binary::Maximum, height, width)?)
    }

    /// The same boxes, with sides of another length.
    fn scaled(&self, b: &mut Builder, scale: f32) -> Result<Self, ModelError> {
        let [mut low, mut high, mut sides] = [self.low, self.high, self.sides];
        for axis in 0..2 {
            let half = b.binary_scalar("half", Binary::Mul, self.sides[axis], 0.5)?;
            let center = b.binary("center", Binary::Add, self.low[axis], half)?;
            let reach = b.binary_scalar("reach", Binary::Mul, self.sides[axis], 0.5 * scale)?;
            low[axis] = b.binary("low", Binary::Sub, center, reach)?;
            high[axis] = b.binary("high", Binary::Add, center, reach)?;
            sides[axis] = b.binary("side", Binary::Sub, high[axis], low[axis])?;
        }
        Ok(Self { low, high, sides })
    }
}

/// `[batch, n]` as `[batch, 1, n]`: the same for each keypoint.
fn row_of_objects(b: &mut Builder, name: &str, x: ValueId) -> Result<ValueId, ModelError> {
    inserted(b, name, x, 1)
}

/// Where the objects' own regression puts their keypoints, in cells: y and x, `f32[batch, k, n]`.
pub(super) fn regressed(
    b: &mut Builder,
    task: &Task,
    maps: &TaskMaps,
    objects: &Objects,
) -> Result<[ValueId; 2], ModelError> {
    let places = objects.places;
    let vectors = places.take(b, "regression", maps.regression)?;
    let mut dims = b.shape(places.locations).dims().to_vec();
    dims.extend([Dim::Known(task.num_keypoints()), Dim::Known(2)]);
    let vectors = b.reshape("vectors", vectors, &dims)?;
    let vectors = b.transpose("vectors_by_keypoint", vectors, &[3, 0, 2, 1])?;
    let &[dy, dx] = b.unstack("vector", vectors, 0)?.as_slice() else {
        return Err(ModelError::Inconsistent("a vector has two parts".into()));
    };
    let mut starts = [places.rows, places.columns];
    for start in &mut starts {
        let float = b.cast("start", *start, DType::F32)?;
        *start = row_of_objects(b, "starts", float)?;
    }
    let [rows, columns] = starts;
    Ok([
        b.binary("regressed_y", Binary::Add, rows, dy)?,
        b.binary("regressed_x", Binary::Add, columns, dx)?,
    ])
}

/// The distance of every candidate, `f32[batch, k, n, c]`, and of the nearest that counts, `f32[batch, k, n]`.
fn distances(
    b: &mut Builder,
    [y, x]: [ValueId; 2],
    candidates: &Candidates,
) -> Result<[ValueId; 2], ModelError> {
    let mut squares = Vec::with_capacity(2);
    for (name, from, to) in [("dy", y, candidates.y), ("dx", x, candidates.x)] {
        let from = inserted(b, "from", from, 3)?;
        let to = inserted(b, "to", to, 2)?;
        let difference = b.binary(name, Binary::Sub, from, to)?;
        squares.push(b.binary("square", Binary::Mul, difference, difference)?);
    }
    let sum = b.binary("squares", Binary::Add, squares[0], squares[1])?;
    let distances = b.unary("distance", Unary::Sqrt, sum)?;
    let are_valid = inserted(b, "are_valid", candidates.are_valid, 2)?;
    let far = b.constant("far", Tensor::scalar_f32(FAR))?;
    let distances = b.select("distances", are_valid, distances, far)?;
    let nearest = b.reduce("nearest", Reduce::Min, distances, &[3])?;
    Ok([distances, nearest])
}

/// How candidates rank, `f32[batch, k, n, c]`: the largest is the best.
fn ranks(
    b: &mut Builder,
    task: &Task,
    distances: ValueId,
    scores: ValueId,
    boxes: Option<Boxes>,
) -> Result<ValueId, ModelError> {
    let needed = || boxes.ok_or_else(|| ModelError::Inconsistent("boxes are predicted".into()));
    let scores = inserted(b, "scores", scores, 2)?;
    let beyond = match task.ranking {
        Ranking::MinDistance | Ranking::GaussianWeightedConst => {
            return Ok(b.binary_scalar("nearness", Binary::Mul, distances, -1.0)?);
        }
        Ranking::GaussianWeighted => return gaussian(b, task, distances, scores, needed()?),
        Ranking::ScoreDistanceRatio => {
            let offset = task.distance_offset;
            b.binary_scalar("beyond", Binary::Add, distances, offset)?
        }
        Ranking::ScoreScaledDistanceRatio => {
            let side = needed()?.longer_side(b)?;
            let offset = b.binary_scalar("offset", Binary::Mul, side, task.distance_multiplier)?;
            let offset = inserted(b, "offsets", offset, 3)?;
            b.binary("beyond", Binary::Add, distances, offset)?
        }
    };
    Ok(b.binary("ranks", Binary::Div, scores, beyond)?)
}

/// Scores times a Gaussian of the distance, whose width is a number of each keypoint times one of each box.
fn gaussian(
    b: &mut Builder,
    task: &Task,
    distances: ValueId,
    scores: ValueId,
    boxes: Boxes,
) -> Result<ValueId, ModelError> {
    let own = Tensor::f32(&[task.num_keypoints(), 1], &task.std_devs)
        .ok_or_else(|| ModelError::Inconsistent("one width for each keypoint".into()))?;
    let own = b.constant("std_devs", own)?;
    let of_box = std_dev(b, boxes)?;
    let sigma = b.binary("sigma", Binary::Mul, own, of_box)?;
    let sigma = inserted(b, "sigmas", sigma, 3)?;
    let negative = b.binary_scalar("negative", Binary::Mul, distances, -1.0)?;
    let square = b.binary("negative_square", Binary::Mul, negative, distances)?;
    let twice = b.binary_scalar("twice_sigma", Binary::Mul, sigma, 2.0)?;
    let width = b.binary("width", Binary::Mul, twice, sigma)?;
    let exponent = b.binary("exponent", Binary::Div, square, width)?;
    let weight = b.unary("weight", Unary::Exp, exponent)?;
    Ok(b.binary("ranks", Binary::Mul, scores, weight)?)
}

/// The width of a box's Gaussian, `f32[batch, 1, n]`: a sixth of an odd number of cells, which goes by how far corners may be moved for the overlap to stay
/// above a minimum (Law and Deng 2018, <https://arxiv.org/abs/1808.01244>).
fn std_dev(b: &mut Builder, boxes: Boxes) -> Result<ValueId, ModelError> {
    let [height, width] = boxes.sides;
    let sum = b.binary("half_perimeter", Binary::Add, height, width)?;
    let area = b.binary("area", Binary::Mul, width, height)?;
    let iou = MIN_OVERLAP;
    // `a r² + b r + c = 0`: boxes that are moved, that lie within, and around.
    let cases = [
        ("moved", 1.0, -1.0, (1.0 - iou) / (1.0 + iou)),
        ("around", 4.0 * iou, 2.0 * iou, iou - 1.0),
        ("within", 4.0, -2.0, 1.0 - iou),
    ];
    let mut smallest: Option<ValueId> = None;
    for (name, a, linear, constant) in cases {
        let root = b.scope(name, |b| {
            let linear = b.binary_scalar("linear", Binary::Mul, sum, narrow(linear))?;
            let constant = b.binary_scalar("constant", Binary::Mul, area, narrow(constant))?;
            root(b, narrow(a), linear, constant)
        })?;
        smallest = Some(match smallest {
            Some(other) => b.binary("smallest", Binary::Minimum, other, root)?,
            None => root,
        });
    }
    let smallest = smallest.ok_or_else(|| ModelError::Inconsistent("three cases".into()))?;
    let whole = b.binary_scalar("whole", Binary::FloorDiv, smallest, 1.0)?;
    let whole = b.binary_scalar("not_negative", Binary::Maximum, whole, 0.0)?;
    let twice = b.binary_scalar("twice", Binary::Mul, whole, 2.0)?;
    let odd = b.binary_scalar("odd", Binary::Add, twice, 1.0)?;
    Ok(b.binary_scalar("std_dev", Binary::Div, odd, 6.0)?)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the graph computes in 32 bits"
)]
fn narrow(x: f64) -> f32 {
    x as f32
}

/// `(-b + sqrt(b² - 4 a c)) / 2`, as the reference has it, which does not divide by `a`.
fn root(
    b: &mut Builder,
    a: f32,
    linear: ValueId,
    constant: ValueId,
) -> Result<ValueId, ModelError> {
    let square = b.binary("square", Binary::Mul, linear, linear)?;
    let product = b.binary_scalar("product", Binary::Mul, constant, 4.0 * a)?;
    let discriminant = b.binary("discriminant", Binary::Sub, square, product)?;
    let root = b.unary("root", Unary::Sqrt, discriminant)?;
    let sum = b.binary("sum", Binary::Sub, root, linear)?;
    Ok(b.binary_scalar("half", Binary::Mul, sum, 0.5)?)
}

/// Which of the nearby candidates may be taken, `bool[batch, k, n]`: those with enough score, within the box and near enough.
fn may_be_taken(
    b: &mut Builder,
    task: &Task,
    [y, x, scores, nearest]: [ValueId; 4],
    boxes: Option<Boxes>,
) -> Result<ValueId, ModelError> {
    let threshold = b.constant("threshold", Tensor::scalar_f32(task.candidate_threshold))?;
    let enough = b.compare("has_score", Compare::GreaterEqual, scores, threshold)?;
    let Some(boxes) = boxes else {
        return Ok(enough);
    };
    let boxes = b.scope("enlarged", |b| boxes.scaled(b, task.box_scale))?;
    let longer = boxes.longer_side(b)?;
    let radius = b.binary_scalar("radius", Binary::Mul, longer, task.search_scale)?;
    let mut all = enough;
    for (larger, smaller) in [
        (y, boxes.low[0]),
        (boxes.high[0], y),
        (x, boxes.low[1]),
        (boxes.high[1], x),
        (radius, nearest),
    ] {
        let holds = b.compare("is_near", Compare::GreaterEqual, larger, smaller)?;
        all = b.and("may_be_taken", all, holds)?;
    }
    Ok(all)
}

/// The keypoints of all objects, whatever their class.
pub(super) fn refine(
    b: &mut Builder,
    task: &Task,
    maps: &TaskMaps,
    candidates: &Candidates,
    (objects, boxes): (&Objects, Option<ValueId>),
) -> Result<Keypoints, ModelError> {
    let own = regressed(b, task, maps, objects)?;
    let [distances, nearest] = distances(b, own, candidates)?;
    let boxes = boxes.map(|boxes| b.scope("boxes", |b| Boxes::new(b, boxes)));
    let boxes = boxes.transpose()?;
    let ranks = ranks(b, task, distances, candidates.scores, boxes)?;
    let best = b.arg_max("best", ranks, 3)?;
    let mut taken = |name: &str, values: ValueId| b.gather_batched(name, values, best, 2);
    let y = taken("candidate_y", candidates.y)?;
    let x = taken("candidate_x", candidates.x)?;
    let scores = match task.ranking {
        // The weighted scores are the keypoints' own.
        Ranking::GaussianWeighted => None,
        _ => Some(taken("candidate_score", candidates.scores)?),
    };
    let depths = candidates.depths;
    let depths = depths
        .map(|depths| taken("candidate_depth", depths))
        .transpose()?;
    let scores = match scores {
        Some(scores) => scores,
        None => b.reduce("weighted_score", Reduce::Max, ranks, &[3])?,
    };
    let are_taken = may_be_taken(b, task, [y, x, scores, nearest], boxes)?;
    let unmatched = b.constant("unmatched", Tensor::scalar_f32(task.unmatched_score))?;
    let depths = match depths {
        Some(depths) => {
            let none = b.constant("no_depth", Tensor::scalar_f32(0.0))?;
            Some(b.select("depths", are_taken, depths, none)?)
        }
        None => None,
    };
    Ok(Keypoints {
        y: b.select("y", are_taken, y, own[0])?,
        x: b.select("x", are_taken, x, own[1])?,
        scores: b.select("scores", are_taken, scores, unmatched)?,
        depths,
    })
}
