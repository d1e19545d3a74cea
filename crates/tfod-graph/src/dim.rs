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

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

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

/// A size in terms of symbols. Cloning shares it.
#[derive(Clone)]
pub struct Formula(Arc<Parts>);

struct Parts {
    sum: Sum,
    spelling: Spelling,
    /// Bytes of the text.
    length: usize,
}

/// How a formula was written.
#[derive(Clone)]
enum Spelling {
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
struct Terms {
    /// Each with whether it is subtracted.
    terms: Vec<(bool, Formula)>,
    number: i128,
}

impl Terms {
    fn add(&mut self, other: Self, is_subtracted: bool) -> Option<()> {
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
    fn spelling(self) -> Spelling {
        let is_negative = |(_, term): &(bool, Formula)| term.begins_with_minus();
        match self.terms.first() {
            Some((false, _)) if !self.terms.iter().any(is_negative) => Spelling::Sum(self),
            _ => Spelling::Canonical,
        }
    }
}

impl Spelling {
    /// Bytes of the text, or more; `None` for that of a polynomial.
    fn length(&self) -> Option<usize> {
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
    fn new(sum: Sum, spelling: Spelling) -> Self {
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
    fn is_sum(&self) -> bool {
        match &self.0.spelling {
            Spelling::Sum(_) => true,
            Spelling::Canonical => self.0.sum.0.len() > 1,
            Spelling::Product(..) | Spelling::Quotient(..) => false,
        }
    }

    /// Whether the text does.
    fn begins_with_minus(&self) -> bool {
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

/// What products are made of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Factor {
    Symbol(Arc<str>),
    /// The sum divided by the number, rounded up.
    Quotient(Arc<Sum>, u64),
}

/// A polynomial: for each product of factors, which are in order, its coefficient, which is not 0. The empty product is that of the number alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Sum(BTreeMap<Vec<Factor>, i128>);

impl Sum {
    fn number(number: i128) -> Self {
        let mut sum = Self::default();
        // Nothing is there that it could be too large with.
        let _ = sum.add(Vec::new(), number);
        sum
    }

    fn of(product: Vec<Factor>) -> Self {
        Self(BTreeMap::from([(product, 1)]))
    }

    /// See [`Dim::with_sizes`].
    fn with_sizes(&self, size_of: &dyn Fn(&str) -> Option<u64>) -> Option<Dim> {
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

    fn add(&mut self, product: Vec<Factor>, times: i128) -> Option<()> {
        let coefficient = self.0.get(&product).copied().unwrap_or(0);
        match coefficient.checked_add(times)? {
            0 => self.0.remove(&product),
            coefficient => self.0.insert(product, coefficient),
        };
        Some(())
    }

    /// The number, if there is nothing else.
    fn constant(&self) -> Option<i128> {
        match self.single() {
            Some(([], number)) => Some(number),
            Some(_) => None,
            None => self.0.is_empty().then_some(0),
        }
    }

    /// The only product and its coefficient.
    fn single(&self) -> Option<(&[Factor], i128)> {
        let mut terms = self.0.iter();
        match (terms.next(), terms.next()) {
            (Some((product, coefficient)), None) => Some((product, *coefficient)),
            _ => None,
        }
    }

    /// How many terms and factors there are, inner ones included.
    fn parts(&self) -> usize {
        let factor = |factor: &Factor| match factor {
            Factor::Symbol(_) => 1,
            Factor::Quotient(sum, _) => sum.parts().saturating_add(1),
        };
        let products = self.0.keys();
        let parts =
            products.map(|product| product.iter().map(factor).fold(1, usize::saturating_add));
        parts.fold(0, usize::saturating_add)
    }

    fn mentions(&self, wanted: &Factor) -> bool {
        let mut factors = self.0.keys().flatten();
        factors.any(|factor| match factor {
            _ if factor == wanted => true,
            Factor::Symbol(_) => false,
            Factor::Quotient(sum, _) => sum.mentions(wanted),
        })
    }

    fn plus(&self, other: &Self, times: i128) -> Option<Self> {
        let mut sum = self.clone();
        for (product, coefficient) in &other.0 {
            sum.add(product.clone(), coefficient.checked_mul(times)?)?;
        }
        Some(sum)
    }

    fn times(&self, other: &Self) -> Option<Self> {
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
    fn div_ceil(&self, by: u64) -> Option<Self> {
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
    fn once_rounded(&self, by: u64) -> Option<(Self, u64)> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_get_numbers() {
        let [a, b] = ["a", "b"].map(Dim::symbol);
        let half = a.grown(1).unwrap().div_ceil(2).unwrap();
        let size = half.times(&b).unwrap().minus(&a).unwrap();
        let with = |numbers: &[(&str, u64)]| {
            size.with_sizes(&|name| {
                let mut known = numbers.iter();
                known.find(|(other, _)| *other == name).map(|(_, n)| *n)
            })
        };
        assert_eq!(with(&[("a", 6), ("b", 5)]), Some(Dim::Known(14)));
        let part = b.times(&Dim::Known(4)).unwrap().shrunk(6);
        assert_eq!(with(&[("a", 6)]), part);
        assert_eq!(with(&[]), Some(size.clone()));
        assert_eq!(with(&[("a", 6), ("b", 1)]), None);
    }
    use proptest::prelude::*;

    fn symbols() -> [Dim; 3] {
        ["batch", "height", "width"].map(Dim::symbol)
    }

    /// Sizes that the reference's layers make equal are equal: padding that a window takes off again, and halving in one or two steps.
    #[test]
    fn what_is_computed_alike_is_equal_and_printed_as_it_was_written() {
        let height = Dim::symbol("height");
        let padded = height.grown(2).unwrap();
        assert_eq!(padded.to_string(), "height+2");
        assert_eq!(padded.shrunk(2), Some(height.clone()));
        assert_eq!(padded.shrunk(2).unwrap().to_string(), "height");
        assert_eq!(height.shrunk(3).unwrap().to_string(), "height-3");
        assert_eq!(height.div_ceil(1), Some(height.clone()));
        assert_eq!(height.div_ceil(0), None);
        let quarter = height.div_ceil(2).and_then(|d| d.div_ceil(2)).unwrap();
        assert_eq!(Some(&quarter), height.div_ceil(4).as_ref());
        assert_eq!(quarter.to_string(), "ceil(height/4)");
        let sum = quarter.grown(1).and_then(|d| d.div_ceil(2)).unwrap();
        assert_eq!(sum.to_string(), "ceil((ceil(height/4)+1)/2)");
        let again = sum.div_ceil(2).unwrap();
        assert_eq!(again.to_string(), "ceil((ceil(height/4)+1)/4)");
        assert_eq!(
            Some(again),
            height.grown(4).and_then(|height| height.div_ceil(16))
        );
        let joined = quarter.plus(&height).and_then(|d| d.grown(5)).unwrap();
        assert_eq!(joined.to_string(), "ceil(height/4)+height+5");
        assert_eq!(
            joined.div_ceil(3).unwrap().to_string(),
            "ceil((ceil(height/4)+height+5)/3)"
        );
    }

    #[test]
    fn numbers_are_computed_with_and_have_an_end() {
        let known = Dim::Known;
        assert_eq!(known(4).shrunk(4), None);
        assert_eq!(known(4).minus(&known(4)), Some(known(0)));
        assert_eq!(known(4).minus(&known(5)), None);
        assert_eq!(known(4).plus(&known(3)), Some(known(7)));
        assert_eq!(known(4).times(&known(3)), Some(known(12)));
        assert_eq!(known(u64::MAX).grown(1), None);
        assert_eq!(known(u64::MAX).times(&known(2)), None);
        assert_eq!(known(5).div_ceil(2), Some(known(3)));
        assert_eq!(known(5).div_ceil(0), None);
    }

    #[test]
    fn products_sums_and_differences_do_not_depend_on_the_order() {
        let [batch, height, width] = symbols();
        let [proposals, cells] =
            [(&batch, &height), (&height, &width)].map(|(a, b)| a.times(b).unwrap());
        assert_eq!(height.times(&batch), Some(proposals.clone()));
        assert_eq!(proposals.times(&width), batch.times(&cells));
        assert_eq!(batch.times(&Dim::Known(1)), Some(batch.clone()));
        assert_eq!(batch.times(&Dim::Known(0)), Some(Dim::Known(0)));
        let sum = height.plus(&width).unwrap();
        assert_eq!(width.plus(&height), Some(sum.clone()));
        assert_eq!(sum.minus(&width), Some(height.clone()));
        assert_eq!(sum.minus(&width).unwrap().to_string(), "height");
        assert_eq!(sum.minus(&sum), Some(Dim::Known(0)));
        // Distribution.
        let grown = sum.times(&batch).unwrap();
        assert_eq!(grown.to_string(), "(height+width)*batch");
        assert_eq!(Some(grown), proposals.plus(&batch.times(&width).unwrap()));
        assert_eq!(height.plus(&height), height.times(&2.into()));
        assert_eq!(height.plus(&height).unwrap().to_string(), "height+height");
        assert_eq!(height.minus(&sum).unwrap().to_string(), "-width");
        assert_eq!(
            Dim::Known(9).minus(&sum).unwrap().to_string(),
            "9-height-width"
        );
        assert_ne!(height.minus(&width), width.minus(&height));
    }

    #[test]
    fn only_a_name_is_a_symbol() {
        let [batch, height, _] = symbols();
        assert!(batch.is_symbol() && !Dim::Known(3).is_symbol());
        for other in [
            batch.grown(1),
            batch.times(&height),
            batch.times(&2.into()),
            batch.div_ceil(2),
        ] {
            assert!(!other.unwrap().is_symbol());
        }
        let back = batch.grown(1).and_then(|dim| dim.shrunk(1)).unwrap();
        assert!(back.is_symbol());
        let rounded = batch.grown(1).and_then(|dim| dim.div_ceil(2)).unwrap();
        assert!(rounded.mentions(&batch) && !rounded.mentions(&height));
    }

    /// The number of all anchors, as heads and anchor generators compute it each for itself.
    #[test]
    fn anchors_are_counted_in_any_way() {
        let [_, height, width] = symbols();
        let level = |stride: u64| {
            let [h, w] = [&height, &width].map(|side| side.div_ceil(stride).unwrap());
            Dim::product([&h, &w, &6.into()]).unwrap()
        };
        let all = level(8).plus(&level(16)).unwrap();
        assert_eq!(
            all.to_string(),
            "ceil(height/8)*ceil(width/8)*6+ceil(height/16)*ceil(width/16)*6"
        );
        let rows = all.times(&90.into()).unwrap();
        assert_eq!(
            rows.to_string(),
            "(ceil(height/8)*ceil(width/8)*6+ceil(height/16)*ceil(width/16)*6)*90"
        );
        let other = level(16).times(&90.into()).unwrap();
        assert_eq!(Some(rows), other.plus(&level(8).times(&90.into()).unwrap()));
    }

    #[test]
    fn formulas_have_an_end() {
        let mut doubled = Dim::symbol("n");
        for _ in 0..100 {
            doubled = doubled.plus(&doubled).unwrap();
            assert!(doubled.to_string().len() <= LONGEST_TEXT);
        }
        assert!((0..40).all(|_| {
            doubled = doubled.plus(&doubled).unwrap_or(Dim::Known(0));
            doubled.to_string().len() <= LONGEST_TEXT
        }));
        let mut sum = Dim::Known(0);
        let mut names = (0..).map(|i| Dim::symbol(&format!("n{i}")));
        let refused = names.find(|name| match sum.plus(name) {
            Some(larger) => {
                sum = larger;
                false
            }
            None => true,
        });
        assert!(refused.is_some());
        assert!(sum.to_string().len() < 10 * MOST_PARTS);
        assert_eq!(sum.times(&sum), None);
        let mut power = Dim::symbol("n").grown(1);
        let mut count = 0;
        while let Some(next) = power.as_ref().and_then(|power| power.times(power)) {
            power = Some(next);
            count += 1;
        }
        assert!(count < 64);
        let mut nested = Dim::symbol("n");
        let mut depth = 0;
        while let Some(next) = nested
            .plus(&Dim::symbol("m"))
            .and_then(|dim| dim.div_ceil(7))
        {
            nested = next;
            depth += 1;
            assert!(depth <= MOST_PARTS);
        }
        assert!(!nested.to_string().is_empty());
    }

    /// A way to compute a size, and the value for given symbols.
    #[derive(Clone, Debug)]
    enum Way {
        Number(u64),
        Symbol(usize),
        Plus(Box<Way>, Box<Way>),
        Minus(Box<Way>, Box<Way>),
        Times(Box<Way>, Box<Way>),
        DivCeil(Box<Way>, u64),
    }

    impl Way {
        fn dim(&self) -> Option<Dim> {
            match self {
                Self::Number(n) => Some(Dim::Known(*n)),
                Self::Symbol(i) => Some(symbols()[*i].clone()),
                Self::Plus(a, b) => a.dim()?.plus(&b.dim()?),
                Self::Minus(a, b) => a.dim()?.minus(&b.dim()?),
                Self::Times(a, b) => a.dim()?.times(&b.dim()?),
                Self::DivCeil(a, n) => a.dim()?.div_ceil(*n),
            }
        }

        fn value(&self, values: [i128; 3]) -> i128 {
            match self {
                Self::Number(n) => (*n).into(),
                Self::Symbol(i) => values[*i],
                Self::Plus(a, b) => a.value(values) + b.value(values),
                Self::Minus(a, b) => a.value(values) - b.value(values),
                Self::Times(a, b) => a.value(values) * b.value(values),
                Self::DivCeil(a, n) => -(-a.value(values)).div_euclid((*n).into()),
            }
        }
    }

    fn way() -> impl Strategy<Value = Way> {
        let leaf = prop_oneof![
            (0u64..9).prop_map(Way::Number),
            (0usize..3).prop_map(Way::Symbol)
        ];
        leaf.prop_recursive(5, 24, 2, |inner| {
            let two =
                || (inner.clone(), inner.clone()).prop_map(|(a, b)| (Box::new(a), Box::new(b)));
            prop_oneof![
                two().prop_map(|(a, b)| Way::Plus(a, b)),
                two().prop_map(|(a, b)| Way::Minus(a, b)),
                two().prop_map(|(a, b)| Way::Times(a, b)),
                (inner, 1u64..7).prop_map(|(a, n)| Way::DivCeil(Box::new(a), n)),
            ]
        })
    }

    fn value_of(sum: &Sum, values: [i128; 3]) -> i128 {
        let factor = |factor: &Factor| match factor {
            Factor::Symbol(name) => match &**name {
                "batch" => values[0],
                "height" => values[1],
                _ => values[2],
            },
            Factor::Quotient(sum, by) => -(-value_of(sum, values)).div_euclid((*by).into()),
        };
        let terms = sum.0.iter();
        terms
            .map(|(product, coefficient)| {
                coefficient * product.iter().map(factor).product::<i128>()
            })
            .sum()
    }

    proptest! {
        /// The polynomial has the value of what was computed, whatever the symbols stand for.
        #[test]
        fn formulas_have_the_value_of_what_they_are_made_of(way in way(), values in [0i128..50, 0i128..50, 0i128..50]) {
            if let Some(dim) = way.dim() {
                prop_assert_eq!(value_of(&dim.sum(), values), way.value(values), "{}", dim);
            }
        }

        /// What is printed as it was written reads as the polynomial does.
        #[test]
        fn the_text_says_the_same(way in way(), values in [1i128..50, 1i128..50, 1i128..50]) {
            if let Some(dim) = way.dim() {
                prop_assert_eq!(read(&dim.to_string(), values), way.value(values), "{}", dim);
            }
        }
    }

    /// The value of a formula's text.
    fn read(text: &str, values: [i128; 3]) -> i128 {
        let mut rest = text;
        let value = read_sum(&mut rest, values);
        assert!(rest.is_empty(), "{text}: {rest}");
        value
    }

    fn read_sum(text: &mut &str, values: [i128; 3]) -> i128 {
        let mut sum = 0;
        loop {
            let sign = if text.starts_with('-') { -1 } else { 1 };
            *text = text.strip_prefix(['+', '-']).unwrap_or(text);
            let mut product = read_factor(text, values);
            while let Some(rest) = text.strip_prefix('*') {
                *text = rest;
                product *= read_factor(text, values);
            }
            sum += sign * product;
            if !text.starts_with(['+', '-']) {
                return sum;
            }
        }
    }

    fn read_factor(text: &mut &str, values: [i128; 3]) -> i128 {
        let is_ceil = text.starts_with("ceil(");
        if is_ceil || text.starts_with('(') {
            *text = text.trim_start_matches("ceil").strip_prefix('(').unwrap();
            let mut value = read_sum(text, values);
            if let Some(rest) = text.strip_prefix('/') {
                *text = rest;
                value = -(-value).div_euclid(read_factor(text, values));
            }
            *text = text.strip_prefix(')').unwrap();
            return value;
        }
        let end = text
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        *text = rest;
        match word {
            "batch" => values[0],
            "height" => values[1],
            "width" => values[2],
            number => number.parse().unwrap(),
        }
    }
}
