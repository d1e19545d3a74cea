//! Polynomials over symbols and rounded quotients, in one order.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{Dim, MOST_PARTS};

/// What products are made of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Factor {
    Symbol(Arc<str>),
    /// The sum divided by the number, rounded up.
    Quotient(Arc<Sum>, u64),
}

/// A polynomial: for each product of factors, which are in order, its coefficient, which is not 0. The empty product is that of the number alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Sum(pub(super) BTreeMap<Vec<Factor>, i128>);

impl Sum {
    pub(super) fn number(number: i128) -> Self {
        let mut sum = Self::default();
        // Nothing is there that it could be too large with.
        let _ = sum.add(Vec::new(), number);
        sum
    }

    pub(super) fn of(product: Vec<Factor>) -> Self {
        Self(BTreeMap::from([(product, 1)]))
    }

    /// See [`Dim::with_sizes`].
    pub(super) fn with_sizes(&self, size_of: &dyn Fn(&str) -> Option<u64>) -> Option<Dim> {
        let mut positive = Dim::Known(0);
        let mut negative = Dim::Known(0);
        for (product, coefficient) in &self.0 {
            let mut term = Dim::Known(u64::try_from(coefficient.unsigned_abs()).ok()?);
            for factor in product {
                let factor = match factor {
                    Factor::Symbol(name) => {
                        size_of(name).map_or_else(|| Dim::symbol(name), Dim::Known)
                    }
                    Factor::Quotient(sum, by) => sum.with_sizes(size_of)?.div_ceil(*by)?,
                };
                term = term.times(&factor)?;
            }
            if *coefficient < 0 {
                negative = negative.plus(&term)?;
            } else {
                positive = positive.plus(&term)?;
            }
        }
        positive.minus(&negative)
    }

    pub(super) fn add(&mut self, product: Vec<Factor>, times: i128) -> Option<()> {
        let coefficient = self.0.get(&product).copied().unwrap_or(0);
        match coefficient.checked_add(times)? {
            0 => self.0.remove(&product),
            coefficient => self.0.insert(product, coefficient),
        };
        Some(())
    }

    /// The number, if there is nothing else.
    pub(super) fn constant(&self) -> Option<i128> {
        match self.single() {
            Some(([], number)) => Some(number),
            Some(_) => None,
            None => self.0.is_empty().then_some(0),
        }
    }

    /// The only product and its coefficient.
    pub(super) fn single(&self) -> Option<(&[Factor], i128)> {
        let mut terms = self.0.iter();
        match (terms.next(), terms.next()) {
            (Some((product, coefficient)), None) => Some((product, *coefficient)),
            _ => None,
        }
    }

    /// How many terms and factors there are, inner ones included.
    pub(super) fn parts(&self) -> usize {
        let factor = |factor: &Factor| match factor {
            Factor::Symbol(_) => 1,
            Factor::Quotient(sum, _) => sum.parts().saturating_add(1),
        };
        let products = self.0.keys();
        let parts =
            products.map(|product| product.iter().map(factor).fold(1, usize::saturating_add));
        parts.fold(0, usize::saturating_add)
    }

    pub(super) fn mentions(&self, wanted: &Factor) -> bool {
        let mut factors = self.0.keys().flatten();
        factors.any(|factor| match factor {
            _ if factor == wanted => true,
            Factor::Symbol(_) => false,
            Factor::Quotient(sum, _) => sum.mentions(wanted),
        })
    }

    pub(super) fn plus(&self, other: &Self, times: i128) -> Option<Self> {
        let mut sum = self.clone();
        for (product, coefficient) in &other.0 {
            sum.add(product.clone(), coefficient.checked_mul(times)?)?;
        }
        Some(sum)
    }

    pub(super) fn times(&self, other: &Self) -> Option<Self> {
        if self.0.len().saturating_mul(other.0.len()) > MOST_PARTS {
            return None;
        }
        let mut result = Self::default();
        for (a, m) in &self.0 {
            for (b, n) in &other.0 {
                let mut product = [a.as_slice(), b].concat();
                product.sort_unstable();
                result.add(product, m.checked_mul(*n)?)?;
            }
        }
        Some(result)
    }

    /// Divided by `by`, which is not 0, and rounded up.
    pub(super) fn div_ceil(&self, by: u64) -> Option<Self> {
        // What all terms and the divisor have in common is divided by first; the number is rounded up.
        let coefficients = self.0.iter().filter(|(product, _)| !product.is_empty());
        let common = coefficients.fold(by, |common, (_, coefficient)| {
            greatest_common_divisor(common, coefficient.unsigned_abs())
        });
        let by = i128::from(by / common);
        let common = i128::from(common);
        // Multiples of the divisor need no rounding.
        let mut whole = Self::default();
        let mut rest = Self::default();
        for (product, coefficient) in &self.0 {
            let coefficient = if product.is_empty() {
                -(coefficient.checked_neg()?.div_euclid(common))
            } else {
                coefficient / common
            };
            whole.add(product.clone(), coefficient.div_euclid(by))?;
            rest.add(product.clone(), coefficient.rem_euclid(by))?;
        }
        match rest.constant() {
            Some(0) => return Some(whole),
            Some(_) => return whole.plus(&Self::number(1), 1),
            None => {}
        }
        let by = u64::try_from(by).ok()?;
        let rounded = match rest.once_rounded(by) {
            Some((sum, by)) => sum.div_ceil(by)?,
            None => Self::of(vec![Factor::Quotient(Arc::new(rest), by)]),
        };
        whole.plus(&rounded, 1)
    }

    /// For a quotient plus a number, to be divided again by `by`: what is to be divided once, and by what.
    pub(super) fn once_rounded(&self, by: u64) -> Option<(Self, u64)> {
        let number = self.0.get([].as_slice()).copied().unwrap_or(0);
        let mut others = self.0.iter().filter(|(product, _)| !product.is_empty());
        match (others.next(), others.next()) {
            (Some((product, 1)), None) => match product.as_slice() {
                [Factor::Quotient(inner, divisor)] => {
                    let number = number.checked_mul((*divisor).into())?;
                    let sum = inner.plus(&Self::number(number), 1)?;
                    Some((sum, divisor.checked_mul(by)?))
                }
                _ => None,
            },
            _ => None,
        }
    }
}

fn greatest_common_divisor(a: u64, b: u128) -> u64 {
    let (mut a, mut b) = (u128::from(a), b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    // No divisor of `a` is larger than it.
    u64::try_from(a).unwrap_or(1)
}

/// Terms that are added before those that are subtracted, the number last of its sign.
impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.0.get([].as_slice()).map(|number| (&[][..], *number));
        let products = self.0.iter().filter(|(product, _)| !product.is_empty());
        let products = products.map(|(product, coefficient)| (product.as_slice(), *coefficient));
        let terms: Vec<(&[Factor], i128)> = products.chain(number).collect();
        let (added, subtracted): (Vec<_>, Vec<_>) = terms
            .into_iter()
            .partition(|(_, coefficient)| *coefficient > 0);
        if added.is_empty() && subtracted.is_empty() {
            return f.write_str("0");
        }
        for (position, (product, coefficient)) in added.iter().chain(&subtracted).enumerate() {
            match coefficient {
                ..0 => f.write_str("-")?,
                _ if position > 0 => f.write_str("+")?,
                _ => {}
            }
            for (position, factor) in product.iter().enumerate() {
                if position > 0 {
                    f.write_str("*")?;
                }
                write!(f, "{factor}")?;
            }
            match (product.is_empty(), coefficient.unsigned_abs()) {
                (false, 1) => {}
                (false, times) => write!(f, "*{times}")?,
                (true, number) => write!(f, "{number}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Symbol(name) => f.write_str(name),
            Self::Quotient(sum, by) if sum.0.len() > 1 => write!(f, "ceil(({sum})/{by})"),
            Self::Quotient(sum, by) => write!(f, "ceil({sum}/{by})"),
        }
    }
}
