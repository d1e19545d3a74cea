//! Sizes: numbers, symbols, and what is computed from these.
//!
//! A size that is known only at run time is a [`Formula`]. It is kept as a polynomial with whole coefficients over *factors*, which are symbols and
//! quotients rounded up, in one order. So sizes that are computed alike are equal, whatever way they were computed: `batch * proposals` and
//! `proposals * batch`, `ceil(ceil(height / 4) / 4)` and `ceil(height / 16)`, `(height + 2) - 2` and `height`. Formulas that are not equal may still have
//! the same value (nothing here knows that a height is positive, or even).
//!
//! Beside the polynomial a formula remembers how it was written, for people: `ceil(height/8)*ceil(width/8)*6+ceil(height/16)*ceil(width/16)*6`
//! says more than its canonical order would. Comparison and hashing look at the polynomial only.
//!
//! Formulas are bounded: one that would have more than [`MOST_PARTS`] parts is not made (the operation gives `None`), and one that would take more than
//! [`LONGEST_TEXT`] bytes to print is printed in its canonical form.

mod formula;
mod sum;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

pub use formula::Formula;
use formula::{Spelling, Terms};
use sum::{Factor, Sum};

/// How many terms and factors a formula may have, those of its quotients included. The anchors of a detector with six feature maps have 36.
const MOST_PARTS: usize = 1024;
/// How many bytes a formula may take to be printed as it was written.
const LONGEST_TEXT: usize = 4096;

/// One dimension of a shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// A size known when the graph is written.
    Known(u64),
    /// A size known only at run time. Equal formulas are equal sizes throughout a graph and its sub-graphs.
    Unknown(Formula),
}

impl Dim {
    /// A dimension known only at run time, with a name of its own.
    pub fn symbol(name: &str) -> Self {
        let sum = Sum::of(vec![Factor::Symbol(Arc::from(name))]);
        Self::Unknown(Formula::new(sum, Spelling::Canonical))
    }

    /// The number, if it is known.
    pub fn known(&self) -> Option<u64> {
        match self {
            Self::Known(n) => Some(*n),
            Self::Unknown(_) => None,
        }
    }

    /// Whether this is the known size `n`.
    pub fn is(&self, n: u64) -> bool {
        self.known() == Some(n)
    }

    /// Whether this is a symbol alone, and nothing computed.
    pub fn is_symbol(&self) -> bool {
        match self {
            Self::Known(_) => false,
            Self::Unknown(formula) => {
                matches!(formula.0.sum.single(), Some(([Factor::Symbol(_)], 1)))
            }
        }
    }

    /// Whether this symbol is in the formula.
    pub fn mentions(&self, symbol: &Self) -> bool {
        match (self, symbol) {
            (Self::Unknown(formula), Self::Unknown(symbol)) => match symbol.0.sum.single() {
                Some(([symbol], 1)) => formula.0.sum.mentions(symbol),
                _ => false,
            },
            _ => false,
        }
    }

    /// The sum; `None` when it is too large.
    pub fn plus(&self, other: &Self) -> Option<Self> {
        let sum = self.sum().plus(&other.sum(), 1)?;
        let mut written = self.terms();
        written.add(other.terms(), false)?;
        Self::of(sum, written.spelling())
    }

    /// The difference; `None` when it is too large, or certainly below 0.
    pub fn minus(&self, other: &Self) -> Option<Self> {
        let (own, others) = (self.sum(), other.sum());
        let sum = own.plus(&others, -1)?;
        // What cancels is not to be seen.
        let cancels = own
            .0
            .keys()
            .any(|product| !product.is_empty() && others.0.contains_key(product));
        let mut written = self.terms();
        written.add(other.terms(), true)?;
        let spelling = if cancels {
            Spelling::Canonical
        } else {
            written.spelling()
        };
        Self::of(sum, spelling)
    }

    /// The product; `None` when it is too large.
    pub fn times(&self, other: &Self) -> Option<Self> {
        let sum = self.sum().times(&other.sum())?;
        let mut factors = Vec::new();
        let mut by = 1u64;
        for dim in [self, other] {
            match dim {
                Self::Known(n) => by = by.checked_mul(*n)?,
                Self::Unknown(formula) => match &formula.0.spelling {
                    Spelling::Product(inner, n) => {
                        factors.extend(inner.iter().cloned());
                        by = by.checked_mul(*n)?;
                    }
                    Spelling::Canonical | Spelling::Sum(_) | Spelling::Quotient(..) => {
                        factors.push(formula.clone());
                    }
                },
            }
        }
        Self::of(sum, Spelling::Product(factors, by))
    }

    /// The size with `n` more; `None` when it is too large.
    pub fn grown(&self, n: u64) -> Option<Self> {
        self.plus(&Self::Known(n))
    }

    /// The size with `n` less; `None` when certainly nothing is left.
    pub fn shrunk(&self, n: u64) -> Option<Self> {
        self.minus(&Self::Known(n)).filter(|dim| !dim.is(0))
    }

    /// The size divided by `n` and rounded up; `None` when `n` is 0 or the result is too large.
    pub fn div_ceil(&self, n: u64) -> Option<Self> {
        match self {
            _ if n == 0 => None,
            Self::Known(size) => Some(Self::Known(size.div_ceil(n))),
            Self::Unknown(_) if n == 1 => Some(self.clone()),
            Self::Unknown(formula) => {
                let sum = formula.0.sum.div_ceil(n)?;
                // Rounding up twice is rounding up once.
                let spelling = match &formula.0.spelling {
                    Spelling::Quotient(inner, by) => by
                        .checked_mul(n)
                        .map(|by| Spelling::Quotient(inner.clone(), by)),
                    Spelling::Canonical | Spelling::Sum(_) | Spelling::Product(..) => None,
                };
                let spelling = spelling.unwrap_or_else(|| Spelling::Quotient(formula.clone(), n));
                Self::of(sum, spelling)
            }
        }
    }

    /// The size where symbols have the numbers that `size_of` gives; others stay. `None` when it is too large, or below 0.
    pub fn with_sizes(&self, size_of: &dyn Fn(&str) -> Option<u64>) -> Option<Self> {
        match self {
            Self::Known(_) => Some(self.clone()),
            Self::Unknown(formula) => formula.0.sum.with_sizes(size_of),
        }
    }

    /// The product of several sizes; `None` when it is too large.
    pub fn product<'a>(dims: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let mut dims = dims.into_iter();
        dims.try_fold(Self::Known(1), |product, dim| product.times(dim))
    }

    fn of(sum: Sum, spelling: Spelling) -> Option<Self> {
        match sum.constant() {
            Some(number) => u64::try_from(number).ok().map(Self::Known),
            None if sum.parts() > MOST_PARTS => None,
            None => Some(Self::Unknown(match spelling {
                Spelling::Sum(Terms {
                    mut terms,
                    number: 0,
                }) if matches!(terms.as_slice(), [(false, _)]) => {
                    return terms.pop().map(|(_, formula)| Self::Unknown(formula));
                }
                Spelling::Product(mut factors, 1) if factors.len() == 1 => {
                    return factors.pop().map(Self::Unknown);
                }
                spelling => Formula::new(sum, spelling),
            })),
        }
    }

    fn sum(&self) -> Sum {
        match self {
            Self::Known(n) => Sum::number((*n).into()),
            Self::Unknown(formula) => formula.0.sum.clone(),
        }
    }

    fn terms(&self) -> Terms {
        match self {
            Self::Known(n) => Terms {
                terms: Vec::new(),
                number: (*n).into(),
            },
            Self::Unknown(formula) => match &formula.0.spelling {
                Spelling::Sum(terms) => terms.clone(),
                Spelling::Canonical | Spelling::Product(..) | Spelling::Quotient(..) => Terms {
                    terms: vec![(false, formula.clone())],
                    number: 0,
                },
            },
        }
    }
}

impl From<u64> for Dim {
    fn from(n: u64) -> Self {
        Self::Known(n)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(n) => write!(f, "{n}"),
            Self::Unknown(formula) => write!(f, "{formula}"),
        }
    }
}
