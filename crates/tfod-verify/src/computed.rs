//! Which tensors of two models have the same values where one stores what the other computes.
//!
//! Values that two programs compute are equal but for rounding, and not always cut alike: one has boxes in a table of centres and one of sizes, another a vector
//! for each coordinate. So tables of few columns are compared column by column, and a tensor is found if all its columns are.

use std::collections::{BTreeMap, HashMap};

use tfod_inspect::{
    Constants, Element, Elements, Facts, InspectError, StoredTensor, StoredType, ValueDifference,
    difference,
};

use crate::Side;
use crate::layout::SAME;
use crate::matching::{Matched, Pair, Weights, is_float};

/// How far two values may be apart, as a part of the largest magnitude among them: a few roundings of single precision.
const ROUNDING: f64 = 4e-6;
/// Tables with more columns are compared as a whole.
const MAX_COLUMNS: u64 = 4;
/// Tables with fewer rows are compared as a whole.
const MIN_ROWS: u64 = 8;
/// More elements are not compared: what is computed has fewer.
const MAX_ELEMENTS: u64 = 1 << 24;
/// More columns of one length than this are not paired by distance.
const MAX_PAIRED: usize = 64;
/// How many pairs are compared, at most.
const MAX_COMPARED: usize = 1 << 14;

/// A tensor, or a column of one.
struct Piece<'a> {
    tensor: usize,
    info: &'a StoredTensor,
    column: Option<u64>,
    numbers: Vec<f64>,
}

impl Piece<'_> {
    fn name(&self) -> String {
        match self.column {
            Some(column) => format!("{}[:, {column}]", self.info.name),
            None => self.info.name.clone(),
        }
    }
}

/// The pieces of what has no pair yet.
fn pieces<'a>(of: &Weights<'a>) -> Result<Vec<Piece<'a>>, InspectError> {
    let mut pieces = Vec::new();
    for (tensor, info) in of.unmatched().filter(|(_, info)| is_float(info)) {
        let elements = of.elements(info)?;
        if !(2..=MAX_ELEMENTS).contains(&elements.count()) {
            continue;
        }
        let columns = info.shape.last().copied().unwrap_or(1).max(1);
        let is_table =
            (2..=MAX_COLUMNS).contains(&columns) && elements.count() / columns >= MIN_ROWS;
        let columns = if is_table { columns } else { 1 };
        for column in 0..columns {
            let step = usize::try_from(columns).unwrap_or(usize::MAX);
            let places = (column..elements.count()).step_by(step);
            let numbers = places.map(|at| elements.get(at).and_then(Element::real));
            let Some(numbers) = numbers.collect() else {
                continue;
            };
            pieces.push(Piece {
                tensor,
                info,
                column: is_table.then_some(column),
                numbers,
            });
        }
    }
    Ok(pieces)
}

/// Whether two lists of numbers are the same but for rounding.
fn are_near(a: &[f64], b: &[f64]) -> bool {
    let largest = a.iter().chain(b).fold(0.0f64, |most, x| most.max(x.abs()));
    let is_near = |(x, y): (&f64, &f64)| (x - y).abs() <= ROUNDING * largest;
    a.len() == b.len() && largest.is_finite() && a.iter().zip(b).all(is_near)
}

/// Matches what is left by its values.
pub(super) fn by_value(
    a: &mut Weights<'_>,
    b: &mut Weights<'_>,
    pairs: &mut Vec<Pair>,
) -> Result<(), InspectError> {
    let (firsts, seconds) = (pieces(a)?, pieces(b)?);
    let mut of_length: HashMap<usize, Vec<usize>> = HashMap::new();
    for (index, piece) in seconds.iter().enumerate() {
        of_length
            .entry(piece.numbers.len())
            .or_default()
            .push(index);
    }
    // Which piece of the second each of the first is.
    let mut partner: Vec<Option<usize>> = vec![None; firsts.len()];
    let mut is_taken = vec![false; seconds.len()];
    let mut compared = 0;
    for (piece, partner) in firsts.iter().zip(&mut partner) {
        let candidates = of_length.get(&piece.numbers.len());
        for &candidate in candidates.map_or(&[][..], Vec::as_slice) {
            let (Some(other), Some(is_taken)) =
                (seconds.get(candidate), is_taken.get_mut(candidate))
            else {
                continue;
            };
            if *is_taken || compared == MAX_COMPARED {
                continue;
            }
            compared += 1;
            if are_near(&piece.numbers, &other.numbers) {
                *partner = Some(candidate);
                *is_taken = true;
                break;
            }
        }
    }
    withdraw_parts(&firsts, &seconds, &mut partner);
    for (piece, partner) in firsts.iter().zip(&partner) {
        let Some(other) = partner.and_then(|partner| seconds.get(partner)) else {
            continue;
        };
        let Some(by) = apart(&piece.numbers, &other.numbers) else {
            continue;
        };
        pairs.push(pair(piece.name(), other.name(), by));
        a.matched(piece.tensor);
        b.matched(other.tensor);
    }
    Ok(())
}

/// A table that has no pair yet.
struct Table<'a> {
    tensor: usize,
    info: &'a StoredTensor,
    numbers: Vec<f64>,
}

/// The tables of so many columns that have no pair yet.
fn tables<'a>(of: &Weights<'a>, columns: u64) -> Result<Vec<Table<'a>>, InspectError> {
    let mut tables = Vec::new();
    for (tensor, info) in of.unmatched().filter(|(_, info)| is_float(info)) {
        let elements = of.elements(info)?;
        let counts = MIN_ROWS * columns..=MAX_ELEMENTS;
        if info.shape.last() != Some(&columns) || !counts.contains(&elements.count()) {
            continue;
        }
        let numbers = (0..elements.count()).map(|at| elements.get(at).and_then(Element::real));
        if let Some(numbers) = numbers.collect() {
            tables.push(Table {
                tensor,
                info,
                numbers,
            });
        }
    }
    Ok(tables)
}

/// Heights and widths of boxes, and their centres, from their corners: ymin, xmin, ymax, xmax.
fn sizes_and_centers(corners: &[f64]) -> [Vec<f64>; 2] {
    let (mut sizes, mut centers) = (Vec::new(), Vec::new());
    for corners in corners.chunks_exact(4) {
        if let [y0, x0, y1, x1] = corners {
            sizes.extend([y1 - y0, x1 - x0]);
            centers.extend([f64::midpoint(*y0, *y1), f64::midpoint(*x0, *x1)]);
        }
    }
    [sizes, centers]
}

/// Matches boxes of which one model stores the corners, and the other heights and widths, and centres.
pub(super) fn by_corners<'a>(
    a: &mut Weights<'a>,
    b: &mut Weights<'a>,
    pairs: &mut Vec<Pair>,
) -> Result<(), InspectError> {
    for is_turned in [false, true] {
        let (of, other) = if is_turned {
            (&mut *b, &mut *a)
        } else {
            (&mut *a, &mut *b)
        };
        let mut halves = tables(other, 2)?;
        for table in tables(of, 4)?.into_iter().take(MAX_PAIRED) {
            let wanted = sizes_and_centers(&table.numbers);
            let place = |numbers| {
                let mut candidates = halves.iter().take(MAX_PAIRED);
                candidates.position(|half| are_near(numbers, &half.numbers))
            };
            let [Some(sizes), Some(centers)] = wanted.each_ref().map(|numbers| place(numbers))
            else {
                continue;
            };
            if sizes == centers {
                continue;
            }
            for (numbers, at) in wanted.iter().zip([sizes, centers]) {
                let Some(half) = halves.get(at) else {
                    continue;
                };
                let Some(by) = apart(numbers, &half.numbers) else {
                    continue;
                };
                let names = [&table.info.name, &half.info.name].map(String::clone);
                let [first, second] = names;
                pairs.push(if is_turned {
                    pair(second, first, by)
                } else {
                    pair(first, second, by)
                });
                other.matched(half.tensor);
            }
            of.matched(table.tensor);
            halves.retain(|half| other.is_matched.get(half.tensor) == Some(&false));
        }
    }
    Ok(())
}

/// Matches what is left column by column, where both models have as many columns of one length: a table of one is columns in the other, and their values differ.
pub(super) fn by_column(
    a: &mut Weights<'_>,
    b: &mut Weights<'_>,
    pairs: &mut Vec<Pair>,
) -> Result<(), InspectError> {
    let (firsts, seconds) = (pieces(a)?, pieces(b)?);
    let mut of_length: BTreeMap<usize, [Vec<&Piece<'_>>; 2]> = BTreeMap::new();
    for (side, pieces, of) in [(0, &firsts, &*a), (1, &seconds, &*b)] {
        for piece in pieces {
            let both = of_length.entry(piece.numbers.len()).or_default();
            if let (Some(list), Some(true)) = (both.get_mut(side), of.is_required.get(piece.tensor))
            {
                list.push(piece);
            }
        }
    }
    for (length, [firsts, seconds]) in of_length {
        let is_told = firsts.len() == seconds.len() && firsts.len() <= MAX_PAIRED;
        if (length as u64) < MIN_ROWS || !is_told {
            continue;
        }
        for (first, second) in nearest(&firsts, &seconds) {
            if let Some(by) = apart(&first.numbers, &second.numbers) {
                let how = if are_near(&first.numbers, &second.numbers) {
                    Matched::Value
                } else {
                    Matched::Nearest
                };
                pairs.push(Pair {
                    how,
                    ..pair(first.name(), second.name(), by)
                });
                a.matched(first.tensor);
                b.matched(second.tensor);
            }
        }
    }
    Ok(())
}

/// Each of the first with one of the second, the nearest of all pairs before the others.
fn nearest<'p, 'a>(
    firsts: &[&'p Piece<'a>],
    seconds: &[&'p Piece<'a>],
) -> Vec<(&'p Piece<'a>, &'p Piece<'a>)> {
    let distance = |first: &Piece<'_>, second: &Piece<'_>| -> f64 {
        let numbers = first.numbers.iter().zip(&second.numbers);
        numbers.map(|(x, y)| (x - y).abs()).sum()
    };
    let mut all = Vec::new();
    for (i, first) in firsts.iter().enumerate() {
        let others = seconds.iter().enumerate();
        all.extend(others.map(|(j, second)| (distance(first, second), i, j)));
    }
    all.sort_by(|x, y| x.0.total_cmp(&y.0));
    let mut is_taken = [vec![false; firsts.len()], vec![false; seconds.len()]];
    let mut pairs = Vec::new();
    for (_, i, j) in all {
        let [of_first, of_second] = &mut is_taken;
        let (Some(x @ false), Some(y @ false)) = (of_first.get_mut(i), of_second.get_mut(j)) else {
            continue;
        };
        (*x, *y) = (true, true);
        if let (Some(first), Some(second)) = (firsts.get(i), seconds.get(j)) {
            pairs.push((*first, *second));
        }
    }
    pairs
}

/// Of numbers that one model has apart.
const APART: &str = "single numbers";

/// Matches the few numbers that one model computes from variables with constants of one number in the other.
pub(super) fn by_numbers(
    sides: [&Side; 2],
    of: [&mut Weights<'_>; 2],
    pairs: &mut Vec<Pair>,
) -> Result<(), InspectError> {
    let [a, b] = sides;
    let [first, second] = of;
    for (name, by) in in_numbers(a, first, b)? {
        let second = APART.to_owned();
        pairs.push(pair(name, second, by));
    }
    for (name, by) in in_numbers(b, second, a)? {
        let first = APART.to_owned();
        pairs.push(pair(first, name, by));
    }
    Ok(())
}

fn pair(first: String, second: String, by: ValueDifference) -> Pair {
    Pair {
        first,
        second,
        how: Matched::Value,
        layout: SAME.name,
        by,
    }
}

/// What of a model is computed from variables, and of which each number is a constant of the other.
fn in_numbers(
    side: &Side,
    of: &mut Weights<'_>,
    other: &Side,
) -> Result<Vec<(String, ValueDifference)>, InspectError> {
    let mut numbers = Vec::new();
    for tensor in other.found.tensors.iter().filter(|tensor| is_float(tensor)) {
        let elements = other.found.elements(tensor)?;
        if elements.count() == 1 {
            numbers.extend(elements.get(0).and_then(Element::real));
        }
    }
    let left: Vec<(usize, &StoredTensor)> = of.unmatched().collect();
    let mut found = Vec::new();
    for (index, tensor) in left {
        let elements = of.elements(tensor)?;
        if !is_of_variables(side, tensor) || !(2..=MAX_COLUMNS).contains(&elements.count()) {
            continue;
        }
        let wanted = (0..elements.count()).map(|at| elements.get(at).and_then(Element::real));
        let Some(wanted) = wanted.collect::<Option<Vec<f64>>>() else {
            continue;
        };
        let largest = wanted.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        let nearest = wanted.iter().map(|x| {
            let distances = numbers.iter().map(|y| ((x - y).abs(), *y));
            distances.min_by(|x, y| x.0.total_cmp(&y.0))
        });
        let nearest = nearest.map(|near| near.filter(|near| near.0 <= ROUNDING * largest));
        let nearest = nearest.map(|near| near.map(|(_, number)| number));
        if let Some(nearest) = nearest.collect::<Option<Vec<f64>>>()
            && let Some(by) = apart(&wanted, &nearest)
        {
            found.push((tensor.name.clone(), by));
            of.matched(index);
        }
    }
    Ok(found)
}

/// Takes back what was found of tensors of which other pieces were not, and of those that these had been found to be, until there are none.
fn withdraw_parts(firsts: &[Piece<'_>], seconds: &[Piece<'_>], partner: &mut [Option<usize>]) {
    loop {
        let mut missing: HashMap<(bool, usize), usize> = HashMap::new();
        let found: Vec<usize> = partner.iter().flatten().copied().collect();
        for (piece, partner) in firsts.iter().zip(partner.iter()) {
            *missing.entry((false, piece.tensor)).or_default() += usize::from(partner.is_none());
        }
        for (index, piece) in seconds.iter().enumerate() {
            *missing.entry((true, piece.tensor)).or_default() +=
                usize::from(!found.contains(&index));
        }
        let is_whole = |side, tensor| missing.get(&(side, tensor)) == Some(&0);
        let mut is_done = true;
        for (piece, partner) in firsts.iter().zip(partner.iter_mut()) {
            let other = partner.and_then(|partner| seconds.get(partner));
            if let Some(other) = other
                && !(is_whole(false, piece.tensor) && is_whole(true, other.tensor))
            {
                *partner = None;
                is_done = false;
            }
        }
        if is_done {
            return;
        }
    }
}

pub(super) fn apart(a: &[f64], b: &[f64]) -> Option<ValueDifference> {
    let elements = |numbers: &[f64]| {
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        Elements::Numbers {
            dtype: StoredType::Float64,
            count: numbers.len() as u64,
            stored: bytes.into(),
        }
    };
    difference(&elements(a), &elements(b), |index| index, true)
}

/// Whether a constant of a graph is no weight whatever it is for: zeros, which add nothing, 0, 1, 2 and so on, which count rows or columns, or boxes in a row, which stand
/// in for those that a suppression must not see.
pub(super) fn is_filler(side: &Side, tensor: &StoredTensor) -> bool {
    if is_of_variables(side, tensor) {
        return false;
    }
    let Ok(elements) = side.found.elements(tensor) else {
        return false;
    };
    let (Some((mut zeros, _)), Some((counted, _))) = (elements.reals(), elements.reals()) else {
        return false;
    };
    #[expect(clippy::cast_precision_loss, reason = "no tensor has as many elements")]
    let mut counted = counted
        .enumerate()
        .map(|(at, number)| number.total_cmp(&(at as f64)).is_eq());
    zeros.all(|number| number == 0.0)
        || counted.all(|is_counted| is_counted)
        || matches!(side.facts(), Facts::Tflite(_)) && are_aside(tensor, &elements)
}

/// Whether these are boxes of side 1, each two below the one before: TFLite's suppression is given such in place of boxes without area.
fn are_aside(tensor: &StoredTensor, elements: &Elements<'_>) -> bool {
    let Some((numbers, _)) = elements.reals() else {
        return false;
    };
    if tensor.shape.len() != 2 || tensor.shape.last() != Some(&4) {
        return false;
    }
    let numbers: Vec<f64> = numbers.collect();
    let (boxes, _) = numbers.as_chunks::<4>();
    let is = |x: f64, y: f64| x.total_cmp(&y).is_eq();
    let is_unit = |&[y0, x0, y1, x1]: &[f64; 4]| is(y1 - y0, 1.0) && is(x1 - x0, 1.0);
    let follow = |pair: &[[f64; 4]]| match pair {
        [[y, x, ..], [next_y, next_x, ..]] => is(y - next_y, 2.0) && is(*x, *next_x),
        _ => false,
    };
    boxes.iter().all(is_unit) && boxes.windows(2).all(follow)
}

/// Whether a constant is only there to be computed from.
pub(super) fn is_origin(side: &Side, tensor: &StoredTensor) -> bool {
    let constants = side.constants.as_ref();
    constants.is_some_and(|constants| constants.origins.contains(&tensor.name))
}

/// What of the variables and computed tensors of a graph that have no pair need none: variables that nothing uses, those of which all that is computed
/// from them has a pair, and what is computed from nothing but what has a pair.
pub(super) fn spare(side: &Side, of: &mut Weights<'_>) {
    let Some(constants) = &side.constants else {
        return;
    };
    let has_pair: HashMap<&str, bool> = of
        .tensors
        .iter()
        .zip(&of.is_matched)
        .map(|(tensor, is_matched)| (&*tensor.name, *is_matched))
        .collect();
    let spared: Vec<bool> = of
        .tensors
        .iter()
        .map(|tensor| is_spared(constants, &has_pair, tensor))
        .collect();
    for (is_required, is_spared) in of.is_required.iter_mut().zip(spared) {
        *is_required &= !is_spared;
    }
}

fn is_spared(constants: &Constants, has_pair: &HashMap<&str, bool>, tensor: &StoredTensor) -> bool {
    let name = &*tensor.name;
    let is_found = |name: &str| has_pair.get(name) == Some(&true);
    if let Some(from) = constants.from.get(name) {
        let variables = from.iter().filter(|name| is_variable_key(name));
        return variables.clone().count() > 0 && variables.into_iter().all(|key| is_found(key));
    }
    if !tensor.is_stored_in_bundle() || constants.variables.contains(name) {
        return false;
    }
    let computed = constants.from.iter();
    let computed = computed.filter(|(_, from)| from.contains(name));
    computed.clone().all(|(name, _)| is_found(name))
}

/// Whether it is a variable that a tensor is computed from, and not a node.
fn is_variable_key(name: &str) -> bool {
    name.ends_with("/.ATTRIBUTES/VARIABLE_VALUE")
}

/// Whether a tensor is computed from variables.
pub(super) fn is_of_variables(side: &Side, tensor: &StoredTensor) -> bool {
    let constants = side.constants.as_ref();
    let from = constants.and_then(|constants| constants.from.get(&tensor.name));
    from.is_some_and(|from| from.iter().any(|name| is_variable_key(name)))
}
