//! Sizes that are computed: a polynomial, and how it was written.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::LONGEST_TEXT;
use super::sum::Sum;

/// A size in terms of symbols. Cloning shares it.
#[derive(Clone)]
pub struct Formula(pub(super) Arc<Parts>);

pub(super) struct Parts {
    pub(super) sum: Sum,
    pub(super) spelling: Spelling,
    /// Bytes of the text.
    pub(super) length: usize,
}

/// How a formula was written.
#[derive(Clone)]
pub(super) enum Spelling {
    /// As its polynomial is.
    Canonical,
    /// As a sum.
    Sum(Terms),
    /// As a product, of formulas and a number.
    Product(Vec<Formula>, u64),
    /// As a quotient rounded up.
    Quotient(Formula, u64),
}

/// A sum as it was written.
#[derive(Clone)]
pub(super) struct Terms {
    /// Each with whether it is subtracted.
    pub(super) terms: Vec<(bool, Formula)>,
    pub(super) number: i128,
}

impl Terms {
    pub(super) fn add(&mut self, other: Self, is_subtracted: bool) -> Option<()> {
        let terms = other.terms.into_iter();
        self.terms
            .extend(terms.map(|(negative, term)| (negative != is_subtracted, term)));
        self.number = if is_subtracted {
            self.number.checked_sub(other.number)?
        } else {
            self.number.checked_add(other.number)?
        };
        Some(())
    }

    /// A sum in which a minus would come first, or after another sign, has its terms in another order.
    pub(super) fn spelling(self) -> Spelling {
        let is_negative = |(_, term): &(bool, Formula)| term.begins_with_minus();
        match self.terms.first() {
            Some((false, _)) if !self.terms.iter().any(is_negative) => Spelling::Sum(self),
            _ => Spelling::Canonical,
        }
    }
}

impl Spelling {
    /// Bytes of the text, or more; `None` for that of a polynomial.
    pub(super) fn length(&self) -> Option<usize> {
        // Signs, brackets and numbers.
        const AROUND: usize = 24;
        let of = |formula: &Formula| formula.0.length.saturating_add(AROUND);
        let total = |formulas: &mut dyn Iterator<Item = &Formula>| {
            formulas.fold(AROUND, |sum, formula| sum.saturating_add(of(formula)))
        };
        match self {
            Self::Canonical => None,
            Self::Sum(sum) => Some(total(&mut sum.terms.iter().map(|(_, term)| term))),
            Self::Product(factors, _) => Some(total(&mut factors.iter())),
            Self::Quotient(formula, _) => Some(of(formula)),
        }
    }
}

impl Formula {
    pub(super) fn new(sum: Sum, spelling: Spelling) -> Self {
        let short = spelling.length().filter(|length| *length <= LONGEST_TEXT);
        let (spelling, length) = match short {
            Some(length) => (spelling, length),
            None => (Spelling::Canonical, sum.to_string().len()),
        };
        Self(Arc::new(Parts {
            sum,
            spelling,
            length,
        }))
    }

    /// Whether the text is a sum, which needs brackets inside of a product.
    pub(super) fn is_sum(&self) -> bool {
        match &self.0.spelling {
            Spelling::Sum(_) => true,
            Spelling::Canonical => self.0.sum.0.len() > 1,
            Spelling::Product(..) | Spelling::Quotient(..) => false,
        }
    }

    /// Whether the text does.
    pub(super) fn begins_with_minus(&self) -> bool {
        match &self.0.spelling {
            Spelling::Canonical => self.0.sum.0.values().all(|coefficient| *coefficient < 0),
            Spelling::Product(factors, _) => factors
                .first()
                .is_some_and(|factor| !factor.is_sum() && factor.begins_with_minus()),
            Spelling::Sum(_) | Spelling::Quotient(..) => false,
        }
    }
}

impl PartialEq for Formula {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.sum == other.0.sum
    }
}

impl Eq for Formula {}

impl Hash for Formula {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.sum.hash(state);
    }
}

/// The polynomial, so that equal formulas look alike.
impl fmt::Debug for Formula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.sum.fmt(f)
    }
}

impl fmt::Display for Formula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.spelling {
            Spelling::Canonical => write!(f, "{}", self.0.sum),
            Spelling::Sum(sum) => {
                for (position, (is_subtracted, term)) in sum.terms.iter().enumerate() {
                    match (position, is_subtracted) {
                        (0, _) => write!(f, "{term}")?,
                        (_, false) => write!(f, "+{term}")?,
                        (_, true) if term.is_sum() => write!(f, "-({term})")?,
                        (_, true) => write!(f, "-{term}")?,
                    }
                }
                match sum.number {
                    0 => Ok(()),
                    number => write!(f, "{number:+}"),
                }
            }
            Spelling::Product(factors, by) => {
                for (position, factor) in factors.iter().enumerate() {
                    if position > 0 {
                        f.write_str("*")?;
                    }
                    if factor.is_sum() || position > 0 && factor.begins_with_minus() {
                        write!(f, "({factor})")?;
                    } else {
                        write!(f, "{factor}")?;
                    }
                }
                match by {
                    1 => Ok(()),
                    by => write!(f, "*{by}"),
                }
            }
            Spelling::Quotient(formula, by) if formula.is_sum() => {
                write!(f, "ceil(({formula})/{by})")
            }
            Spelling::Quotient(formula, by) => write!(f, "ceil({formula}/{by})"),
        }
    }
}
