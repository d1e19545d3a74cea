//! Scalars that are numbers where they are known, and computed by the graph where they are not.
//!
//! Sizes of images may be known when the graph is written or only when it runs. A formula over sizes is written once, with these: what it is
//! given decides whether it folds to a number or becomes nodes. Either way it is computed in 32 bits.

use tfod_graph::{Binary, Builder, Compare, DType, Dim, Tensor, Unary, ValueId};

use crate::error::ModelError;

/// A scalar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scalar<T> {
    /// Known when the graph is written.
    Known(T),
    /// A value of the graph.
    Computed(ValueId),
}

/// `i32[]`
pub(crate) type Int = Scalar<i32>;
/// `f32[]`
pub(crate) type Float = Scalar<f32>;
/// `bool[]`
pub(crate) type Truth = Scalar<bool>;

/// The arithmetic of a graph's number type.
pub(crate) trait Number: Copy {
    /// `None` when the result is not a number of the type.
    fn apply(binary: Binary, a: Self, b: Self) -> Option<Self>;
    /// Whether the first is smaller.
    fn is_less(a: Self, b: Self) -> bool;
    /// As a constant of the graph.
    fn tensor(self) -> Tensor;
}

impl Number for i32 {
    fn apply(binary: Binary, a: Self, b: Self) -> Option<Self> {
        match binary {
            Binary::Add => a.checked_add(b),
            Binary::Sub => a.checked_sub(b),
            Binary::Mul => a.checked_mul(b),
            Binary::FloorDiv => {
                let quotient = a.checked_div(b)?;
                let is_cut = a.checked_rem(b)? != 0 && (a < 0) != (b < 0);
                quotient.checked_sub(i32::from(is_cut))
            }
            Binary::Maximum => Some(a.max(b)),
            Binary::Minimum => Some(a.min(b)),
            Binary::Div => None,
        }
    }

    fn is_less(a: Self, b: Self) -> bool {
        a < b
    }

    fn tensor(self) -> Tensor {
        Tensor::scalar_i32(self)
    }
}

impl Number for f32 {
    fn apply(binary: Binary, a: Self, b: Self) -> Option<Self> {
        let result = match binary {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
            Binary::FloorDiv => (a / b).floor(),
            Binary::Maximum => a.max(b),
            Binary::Minimum => a.min(b),
        };
        result.is_finite().then_some(result)
    }

    fn is_less(a: Self, b: Self) -> bool {
        a < b
    }

    fn tensor(self) -> Tensor {
        Tensor::scalar_f32(self)
    }
}

impl<T: Number> Scalar<T> {
    /// As a value of the graph.
    pub(crate) fn value(self, b: &mut Builder, name: &str) -> Result<ValueId, ModelError> {
        match self {
            Self::Known(number) => Ok(b.constant(name, number.tensor())?),
            Self::Computed(value) => Ok(value),
        }
    }

    /// [`tfod_graph::Op::Binary`]
    pub(crate) fn binary(
        self,
        b: &mut Builder,
        name: &str,
        binary: Binary,
        other: Self,
    ) -> Result<Self, ModelError> {
        if let (Self::Known(x), Self::Known(y)) = (self, other) {
            let result = T::apply(binary, x, y);
            return result.map(Self::Known).ok_or_else(|| {
                ModelError::Inconsistent(format!(
                    "`{name}` is out of range: an image of impossible size"
                ))
            });
        }
        let x = self.value(b, &format!("{name}/of"))?;
        let y = other.value(b, &format!("{name}/by"))?;
        Ok(Self::Computed(b.binary(name, binary, x, y)?))
    }

    /// Whether this is smaller.
    pub(crate) fn less(
        self,
        b: &mut Builder,
        name: &str,
        other: Self,
    ) -> Result<Truth, ModelError> {
        if let (Self::Known(x), Self::Known(y)) = (self, other) {
            return Ok(Truth::Known(T::is_less(x, y)));
        }
        let x = self.value(b, &format!("{name}/of"))?;
        let y = other.value(b, &format!("{name}/by"))?;
        Ok(Truth::Computed(b.compare(name, Compare::Less, x, y)?))
    }
}

impl Int {
    /// As a float.
    pub(crate) fn to_float(self, b: &mut Builder, name: &str) -> Result<Float, ModelError> {
        match self {
            #[expect(
                clippy::cast_precision_loss,
                reason = "the graph's conversion rounds to 32 bits too"
            )]
            Self::Known(n) => Ok(Float::Known(n as f32)),
            Self::Computed(value) => Ok(Float::Computed(b.cast(name, value, DType::F32)?)),
        }
    }

    /// The dimension of that size; `symbol` names one that is known only at run time.
    pub(crate) fn dim(self, symbol: &str) -> Dim {
        match self {
            Self::Known(n) => Dim::Known(u64::try_from(n).unwrap_or_default()),
            Self::Computed(_) => Dim::symbol(symbol),
        }
    }
}

impl Float {
    /// Rounded towards zero.
    pub(crate) fn truncated(self, b: &mut Builder, name: &str) -> Result<Int, ModelError> {
        match self {
            #[expect(clippy::cast_possible_truncation, reason = "this is what is asked for")]
            Self::Known(x) => Ok(Int::Known(x as i32)),
            Self::Computed(value) => Ok(Int::Computed(b.cast(name, value, DType::I32)?)),
        }
    }

    /// Rounded to the nearest whole number; of two, to the even one.
    pub(crate) fn rounded(self, b: &mut Builder, name: &str) -> Result<Int, ModelError> {
        let rounded = match self {
            Self::Known(x) => Self::Known(x.round_ties_even()),
            Self::Computed(value) => {
                Self::Computed(b.unary(&format!("{name}/rounded"), Unary::Round, value)?)
            }
        };
        rounded.truncated(b, name)
    }
}

impl Truth {
    /// The first where it holds, else the second.
    pub(crate) fn select<T: Number>(
        self,
        b: &mut Builder,
        name: &str,
        yes: Scalar<T>,
        no: Scalar<T>,
    ) -> Result<Scalar<T>, ModelError> {
        match self {
            Self::Known(true) => Ok(yes),
            Self::Known(false) => Ok(no),
            Self::Computed(condition) => {
                let yes = yes.value(b, &format!("{name}/yes"))?;
                let no = no.value(b, &format!("{name}/no"))?;
                Ok(Scalar::Computed(b.select(name, condition, yes, no)?))
            }
        }
    }
}

/// Height and width of a feature map.
pub(crate) fn spatial(b: &mut Builder, name: &str, map: ValueId) -> Result<[Int; 2], ModelError> {
    let known = |dim: &Dim| dim.known().and_then(|n| i32::try_from(n).ok());
    if let [_, height, width, _] = b.shape(map).dims()
        && let (Some(height), Some(width)) = (known(height), known(width))
    {
        return Ok([Int::Known(height), Int::Known(width)]);
    }
    let shape = b.shape_of(&format!("{name}/shape"), map)?;
    match *b.unstack(&format!("{name}/size"), shape, 0)?.as_slice() {
        [_, height, width, _] => Ok([Int::Computed(height), Int::Computed(width)]),
        _ => Err(ModelError::Inconsistent(
            "a feature map has four dimensions".into(),
        )),
    }
}

/// A vector of integers, `i32[n]`.
pub(crate) fn vector(b: &mut Builder, name: &str, values: &[Int]) -> Result<ValueId, ModelError> {
    let values = values
        .iter()
        .map(|value| value.value(b, &format!("{name}/part")))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(b.stack(name, 0, &values)?)
}

/// A vector of floats, `f32[n]`; a constant where all are known.
pub(crate) fn float_vector(
    b: &mut Builder,
    name: &str,
    values: &[Float],
) -> Result<ValueId, ModelError> {
    let known = values.iter().map(|value| match value {
        Float::Known(x) => Some(*x),
        Float::Computed(_) => None,
    });
    if let Some(known) = known.collect::<Option<Vec<f32>>>()
        && let Some(tensor) = Tensor::f32(&[known.len() as u64], &known)
    {
        return Ok(b.constant(name, tensor)?);
    }
    let values = values
        .iter()
        .map(|value| value.value(b, &format!("{name}/part")))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(b.stack(name, 0, &values)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Known numbers are divided as the graph divides: towards minus infinity.
        #[test]
        fn quotients_are_rounded_down(a in -1000i32..1000, b in prop::sample::select(vec![-7, -2, -1, 1, 3, 10])) {
            let quotient = i32::apply(Binary::FloorDiv, a, b);
            prop_assert_eq!(quotient.map(f64::from), Some((f64::from(a) / f64::from(b)).floor()));
        }
    }

    #[test]
    fn what_is_known_needs_no_nodes_and_what_is_not_needs_them() {
        let mut b = Builder::new("g");
        let three = Int::Known(3).binary(&mut b, "sum", Binary::Add, Int::Known(4));
        assert_eq!(three, Ok(Int::Known(7)));
        assert_eq!(b.graph().nodes().len(), 0);
        let map = b.input(
            "map",
            DType::F32,
            tfod_graph::Shape(vec![1.into(), Dim::symbol("h"), 4.into(), 3.into()]),
        );
        let [height, _] = spatial(&mut b, "map", map).unwrap();
        let sum = height.binary(&mut b, "sum", Binary::Add, Int::Known(4));
        assert!(matches!(sum, Ok(Int::Computed(_))));
        assert!(
            Int::Known(1)
                .binary(&mut b, "quotient", Binary::FloorDiv, Int::Known(0))
                .is_err()
        );
    }
}
