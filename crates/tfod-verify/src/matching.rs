//! Which weight of one model is which of the other.

use std::collections::HashMap;

use crate::layout::{Layout, SAME};
use tfod_inspect::{
    Element, Elements, InspectError, Inspection, StoredTensor, StoredType, ValueDifference,
    difference, in_order, num_elements,
};

/// Tensors that claim more elements than this are compared only where they say so in as many bytes.
const MAX_WRITTEN_OUT: u64 = 1 << 24;
/// How many elements tell whether two tensors are near each other.
const SAMPLED: u64 = 1024;
/// How many pairs are sampled, at most.
const MAX_SAMPLES: usize = 1 << 14;

/// How a tensor of one model was matched with one of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matched {
    /// They have the same name.
    Name,
    /// They have the same numbers in an order that is known.
    Content,
    /// They have the same numbers, but not in an order that is known.
    Numbers,
    /// They have the same values but for rounding: one stores them, the other computes them.
    Value,
    /// One has the values of the other, but for a factor for each channel, or a sum, which are those of other weights; and for rounding.
    Folded,
    /// They have the same shape, up to the order of dimensions, and of those the nearest values.
    Nearest,
}

impl Matched {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Content => "content",
            Self::Numbers => "numbers in an unknown order",
            Self::Value => "value",
            Self::Folded => "value through folding",
            Self::Nearest => "shape and nearest values",
        }
    }
}

/// A tensor of one model and the one of the other that it was matched with.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The first model's name.
    pub first: String,
    /// The second's.
    pub second: String,
    /// How they were matched.
    pub how: Matched,
    /// How the elements of one are those of the other.
    pub layout: &'static str,
    /// How far they are apart.
    pub by: ValueDifference,
}

impl Pair {
    /// Whether they are not the same, and it is not rounding.
    pub fn differs(&self) -> bool {
        !self.by.is_none() && !matches!(self.how, Matched::Value | Matched::Folded)
    }
}

/// The weights of one model, and which have found their pair.
pub(crate) struct Weights<'a> {
    pub(crate) found: &'a Inspection,
    pub(crate) tensors: Vec<&'a StoredTensor>,
    /// What each may be called in any format.
    pub(crate) names: Vec<Vec<String>>,
    /// Which of them have to be in the other model. The others may be what something of the other model is here.
    pub(crate) is_required: Vec<bool>,
    pub(crate) is_matched: Vec<bool>,
}

/// How alike two tensors have to be to be each other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shapes {
    /// They are of one format, which has one shape for each.
    Equal,
    /// Formats have shapes and orders of their own.
    OfFormats,
}

impl<'a> Weights<'a> {
    pub(super) fn unmatched(&self) -> impl Iterator<Item = (usize, &'a StoredTensor)> {
        let all = self.tensors.iter().zip(&self.is_matched).enumerate();
        all.filter(|(_, (_, is_matched))| !**is_matched)
            .map(|(index, (tensor, _))| (index, *tensor))
    }

    pub(super) fn matched(&mut self, index: usize) {
        if let Some(is_matched) = self.is_matched.get_mut(index) {
            *is_matched = true;
        }
    }

    pub(super) fn elements(&self, tensor: &StoredTensor) -> Result<Elements<'a>, InspectError> {
        self.found.elements(tensor)
    }
}

/// Which tensor is the only one of its name; `None` for what several are called.
fn named(names: &[(usize, String)]) -> HashMap<&str, Option<usize>> {
    let mut named: HashMap<&str, Option<usize>> = HashMap::new();
    for (index, name) in names {
        let only = named.entry(name).or_insert(Some(*index));
        if *only != Some(*index) {
            *only = None;
        }
    }
    named
}

/// The tensors of two models of which each has names that lead to the other, and none that leads elsewhere.
fn of_one_name(a: &[(usize, String)], b: &[(usize, String)]) -> Vec<(usize, usize)> {
    let (firsts, seconds) = (named(a), named(b));
    // `None` where names contradict each other.
    let (mut there, mut back) = (HashMap::new(), HashMap::new());
    let agree = |of: &mut HashMap<usize, Option<usize>>, from, to| {
        let leads = of.entry(from).or_insert(Some(to));
        if *leads != Some(to) {
            *leads = None;
        }
    };
    for (name, first) in &firsts {
        if let (Some(i), Some(Some(j))) = (first, seconds.get(name)) {
            agree(&mut there, *i, *j);
            agree(&mut back, *j, *i);
        }
    }
    let pairs = there.into_iter().filter_map(|(i, j)| {
        let j = j?;
        (back.get(&j) == Some(&Some(i))).then_some((i, j))
    });
    let mut pairs: Vec<(usize, usize)> = pairs.collect();
    pairs.sort_unstable();
    pairs
}

/// Matches tensors of the same name and type, and of the same shape as far as formats go: by the names that they have, then by what they may be called.
pub(crate) fn by_name(
    a: &mut Weights<'_>,
    b: &mut Weights<'_>,
    shapes: Shapes,
    pairs: &mut Vec<Pair>,
) -> Result<(), InspectError> {
    let own = |of: &'_ [&'_ StoredTensor]| -> Vec<(usize, String)> {
        let names = of.iter().map(|tensor| tensor.name.clone());
        names.enumerate().collect()
    };
    let same = of_one_name(&own(&a.tensors), &own(&b.tensors));
    match_named(a, b, shapes, &same, pairs)?;
    let aliases = |of: &Weights<'_>| -> Vec<(usize, String)> {
        let left = of.names.iter().zip(&of.is_matched).enumerate();
        let left = left.filter(|(_, (_, is_matched))| !**is_matched);
        left.flat_map(|(index, (names, _))| names.iter().map(move |name| (index, name.clone())))
            .collect()
    };
    let alike = of_one_name(&aliases(a), &aliases(b));
    match_named(a, b, shapes, &alike, pairs)
}

fn match_named(
    a: &mut Weights<'_>,
    b: &mut Weights<'_>,
    shapes: Shapes,
    named: &[(usize, usize)],
    pairs: &mut Vec<Pair>,
) -> Result<(), InspectError> {
    for &(i, j) in named {
        let (Some(first), Some(second)) = (a.tensors.get(i).copied(), b.tensors.get(j).copied())
        else {
            continue;
        };
        let is_required = |of: &Weights<'_>, index| of.is_required.get(index) == Some(&true);
        if first.dtype != second.dtype || !(is_required(a, i) || is_required(b, j)) {
            continue;
        }
        let (x, y) = (a.elements(first)?, b.elements(second)?);
        let found = match shapes {
            Shapes::Equal if first.shape == second.shape => in_order(&x, &y).map(|by| (SAME, by)),
            Shapes::OfFormats if x.count() == y.count() => nearest_layout(first, &x, second, &y),
            _ => None,
        };
        if let Some((layout, by)) = found {
            pairs.push(pair(first, second, Matched::Name, layout, by));
            a.matched(i);
            b.matched(j);
        }
    }
    Ok(())
}

fn pair(
    first: &StoredTensor,
    second: &StoredTensor,
    how: Matched,
    layout: Layout,
    by: ValueDifference,
) -> Pair {
    Pair {
        first: first.name.clone(),
        second: second.name.clone(),
        how,
        layout: layout.name,
        by,
    }
}

/// What tensors of the same numbers have in common, whatever their order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Digest {
    dtype: StoredType,
    count: u64,
    sum: u64,
}

/// `None` for what cannot be digested in reasonable time.
fn digest(elements: &Elements<'_>) -> Option<Digest> {
    let Elements::Numbers {
        dtype,
        count,
        stored,
    } = elements
    else {
        return None;
    };
    let size = dtype.size()?;
    let repeats = count.checked_sub(elements.num_stored())?;
    let mixed = |bytes: &[u8]| {
        let mut wide = [0; 16];
        wide.iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = *from);
        let [low, high] = [0, 8].map(|at| {
            let half = wide.get(at..at + 8).and_then(|half| half.try_into().ok());
            u64::from_le_bytes(half.unwrap_or_default())
        });
        mix(low ^ mix(high))
    };
    let chunks = stored.chunks_exact(size);
    let last = chunks.clone().next_back().map_or(0, mixed);
    let sum = chunks.fold(0u64, |sum, element| sum.wrapping_add(mixed(element)));
    Some(Digest {
        dtype: *dtype,
        count: *count,
        sum: sum.wrapping_add(last.wrapping_mul(repeats)),
    })
}

/// The finaliser of SplitMix64: every bit of the result depends on every bit given.
fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Tensors of one model by what is in them, so that one is taken in no time however many are alike.
#[derive(Default)]
struct Contents<'a> {
    of_shape: HashMap<(Digest, &'a [u64], bool), Vec<usize>>,
    of_any_shape: HashMap<(Digest, bool), Vec<usize>>,
}

impl<'a> Contents<'a> {
    fn put(&mut self, digest: Digest, shape: &'a [u64], is_required: bool, index: usize) {
        let of_shape = self.of_shape.entry((digest, shape, is_required));
        of_shape.or_default().push(index);
        let of_any_shape = self.of_any_shape.entry((digest, is_required));
        of_any_shape.or_default().push(index);
    }

    /// One that is not matched: of the same shape if there is one, or else, across formats, of any.
    fn take(
        &mut self,
        (digest, shape): (Digest, &'a [u64]),
        shapes: Shapes,
        is_required: bool,
        is_matched: &[bool],
    ) -> Option<usize> {
        let free = |list: &mut Vec<usize>| {
            std::iter::from_fn(|| list.pop()).find(|j| is_matched.get(*j) == Some(&false))
        };
        let mut of_shape = self.of_shape.get_mut(&(digest, shape, is_required));
        let found = of_shape.as_mut().and_then(|list| free(list));
        if found.is_some() || shapes == Shapes::Equal {
            return found;
        }
        let of_any_shape = self.of_any_shape.get_mut(&(digest, is_required));
        of_any_shape.and_then(free)
    }
}

/// Matches tensors of the same numbers. Gives the number of pairs of which only one has to be in the other model, and which may be chance.
pub(crate) fn by_content<'a>(
    a: &mut Weights<'a>,
    b: &mut Weights<'a>,
    shapes: Shapes,
    pairs: &mut Vec<Pair>,
) -> Result<usize, InspectError> {
    let mut contents = Contents::default();
    for (index, tensor) in b.unmatched() {
        let is_required = b.is_required.get(index) == Some(&true);
        if let Some(digest) = digest(&b.elements(tensor)?) {
            contents.put(digest, &tensor.shape, is_required, index);
        }
    }
    let mut by_chance = 0;
    let firsts: Vec<(usize, &StoredTensor)> = a.unmatched().collect();
    for (i, first) in firsts {
        let x = a.elements(first)?;
        let Some(digest) = digest(&x) else {
            continue;
        };
        // One of the two has to be in the other.
        let is_required = a.is_required.get(i) == Some(&true);
        let mut take = |is_other_required| {
            let wanted = (digest, first.shape.as_slice());
            contents.take(wanted, shapes, is_other_required, &b.is_matched)
        };
        let sure = take(true);
        let is_sure = sure.is_some() && is_required;
        let Some(j) = sure.or_else(|| is_required.then(|| take(false)).flatten()) else {
            continue;
        };
        let Some(second) = b.tensors.get(j).copied() else {
            continue;
        };
        let y = b.elements(second)?;
        let Some((layout, by)) = nearest_layout(first, &x, second, &y) else {
            continue;
        };
        let how = if by.is_none() {
            Matched::Content
        } else {
            Matched::Numbers
        };
        by_chance += usize::from(!is_sure);
        pairs.push(pair(first, second, how, layout, by));
        a.matched(i);
        b.matched(j);
    }
    Ok(by_chance)
}

/// The layout in which two tensors differ least, and by how much.
fn nearest_layout(
    first: &StoredTensor,
    x: &Elements<'_>,
    second: &StoredTensor,
    y: &Elements<'_>,
) -> Option<(Layout, ValueDifference)> {
    let mut best: Option<(Layout, ValueDifference)> = None;
    for layout in Layout::candidates(&first.shape, &second.shape) {
        let by = if layout.keeps_order() {
            in_order(x, y)?
        } else if x.count() <= MAX_WRITTEN_OUT.max(x.num_stored()) {
            difference(x, y, layout.places(&first.shape), false)?
        } else {
            continue;
        };
        let is_better = best.is_none_or(|(_, found)| {
            (by.not_finite, by.mean).partial_cmp(&(found.not_finite, found.mean))
                == Some(std::cmp::Ordering::Less)
                || by.is_none() && !found.is_none()
        });
        if is_better {
            best = Some((layout, by));
        }
        if by.is_none() {
            break;
        }
    }
    best
}

/// Whether its elements are floats.
pub(crate) fn is_float(tensor: &StoredTensor) -> bool {
    use StoredType::{BFloat16, Float16, Float32, Float64};
    matches!(tensor.dtype, Some(Float32 | Float64 | Float16 | BFloat16))
}

/// Whether two tensors may be one with other values: one format has one shape and one type for it; across formats, numbers may be rounded.
fn is_comparable(first: &StoredTensor, second: &StoredTensor, shapes: Shapes) -> bool {
    let is_of_type = first.dtype == second.dtype;
    match shapes {
        Shapes::Equal => is_of_type && first.shape == second.shape,
        Shapes::OfFormats => is_of_type || is_float(first) && is_float(second),
    }
}

/// Matches what is left by its shape, up to the order of dimensions, and by nearest values; constants only from `least` elements on, and only what has to be in the other.
pub(crate) fn by_shape(
    a: &mut Weights<'_>,
    b: &mut Weights<'_>,
    shapes: Shapes,
    least: u64,
    pairs: &mut Vec<Pair>,
) -> Result<(), InspectError> {
    let sizes = |tensor: &StoredTensor| {
        let mut sizes: Vec<u64> = tensor.shape.iter().copied().filter(|n| *n != 1).collect();
        sizes.sort_unstable();
        sizes
    };
    let is_candidate = |of: &Weights<'_>, index: usize, tensor: &StoredTensor| {
        of.is_required.get(index) == Some(&true)
            && (tensor.is_stored_in_bundle() || num_elements(&tensor.shape) >= Some(least))
    };
    let mut groups: HashMap<Vec<u64>, Vec<usize>> = HashMap::new();
    for (index, tensor) in b.unmatched().filter(|(j, t)| is_candidate(b, *j, t)) {
        groups.entry(sizes(tensor)).or_default().push(index);
    }
    // Every pair of a group with its distance, then the nearest pairs first.
    let mut candidates = Vec::new();
    for (i, first) in a.unmatched().filter(|(i, t)| is_candidate(a, *i, t)) {
        let group = groups.get(&sizes(first)).map_or(&[][..], Vec::as_slice);
        for &j in group {
            if candidates.len() == MAX_SAMPLES {
                break;
            }
            if let Some(second) = b.tensors.get(j).copied()
                && is_comparable(first, second, shapes)
            {
                let distance = sampled(first, &a.elements(first)?, second, &b.elements(second)?);
                candidates.push((distance, i, j));
            }
        }
    }
    candidates.sort_by(|x, y| x.0.total_cmp(&y.0));
    for (_, i, j) in candidates {
        let is_free = |of: &Weights<'_>, index| of.is_matched.get(index) == Some(&false);
        let (Some(first), Some(second)) = (a.tensors.get(i).copied(), b.tensors.get(j).copied())
        else {
            continue;
        };
        if !is_free(a, i) || !is_free(b, j) {
            continue;
        }
        let (x, y) = (a.elements(first)?, b.elements(second)?);
        if let Some((layout, by)) = nearest_layout(first, &x, second, &y) {
            pairs.push(pair(first, second, Matched::Nearest, layout, by));
            a.matched(i);
            b.matched(j);
        }
    }
    Ok(())
}

/// The mean distance of some elements, in the layout in which it is least.
fn sampled(first: &StoredTensor, x: &Elements<'_>, second: &StoredTensor, y: &Elements<'_>) -> f64 {
    let count = x.count();
    let step = (count / SAMPLED).max(1);
    let mut least = f64::INFINITY;
    for layout in Layout::candidates(&first.shape, &second.shape) {
        let place = layout.places(&first.shape);
        let (mut sum, mut pairs) = (0.0, 0.0);
        for index in (0..SAMPLED).map(|n| n.saturating_mul(step)) {
            let real = |of: &Elements<'_>, at| of.get(at).and_then(Element::real);
            if let (Some(p), Some(q)) = (real(x, index), real(y, place(index))) {
                sum += (p - q).abs();
                pairs += 1.0;
            }
        }
        if pairs > 0.0 && sum / pairs < least {
            least = sum / pairs;
        }
    }
    least
}
