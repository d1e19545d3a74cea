//! Operations element by element.

use tfod_graph::{Binary, Builder, Built, Compare, DType, Tensor, Unary, ValueId};

use crate::{Case, Inputs, integer};

pub(crate) const CASES: &[Case] = &[
    Case::new("unary", unary),
    Case::new("binary", binary),
    Case::new("binary_i32", binary_i32),
    Case::new("binary_u8", binary_u8),
    Case::new("logic", logic),
    Case::new("softmax", softmax),
    Case::new("cast", cast),
];

fn unary(b: &mut Builder, given: &Inputs) -> Built<()> {
    for (key, unary) in [
        ("relu", Unary::Relu),
        ("relu6", Unary::Relu6),
        ("sigmoid", Unary::Sigmoid),
        ("exp", Unary::Exp),
    ] {
        let value = b.unary(key, unary, given.image)?;
        b.output(key, value);
    }
    let squares = b.binary("squares", Binary::Mul, given.image, given.image)?;
    let positive = b.binary_scalar("positive", Binary::Add, squares, 0.1)?;
    let log = b.unary("log", Unary::Log, positive)?;
    b.output("log", log);
    // Halves, which are rounded to even numbers.
    let integers = integers(b, given)?;
    let halves = b.cast("halves", integers, DType::F32)?;
    let halves = b.binary_scalar("halved", Binary::Mul, halves, 0.5)?;
    let round = b.unary("round", Unary::Round, halves)?;
    b.output("round", round);
    Ok(())
}

/// Small integers of both signs.
fn integers(b: &mut Builder, given: &Inputs) -> Built {
    let scaled = b.binary_scalar("scaled_image", Binary::Mul, given.image, 9.7)?;
    b.cast("integers", scaled, DType::I32)
}

/// What is computed of every type of number.
fn arithmetic(b: &mut Builder, suffix: &str, x: ValueId, by: ValueId) -> Built<()> {
    for (key, binary) in [
        ("add", Binary::Add),
        ("sub", Binary::Sub),
        ("mul", Binary::Mul),
        ("floor_div", Binary::FloorDiv),
        ("maximum", Binary::Maximum),
        ("minimum", Binary::Minimum),
    ] {
        let key = format!("{key}{suffix}");
        let value = b.binary(&key, binary, x, by)?;
        b.output(&key, value);
    }
    for (key, compare) in [
        ("less", Compare::Less),
        ("greater", Compare::Greater),
        ("greater_equal", Compare::GreaterEqual),
    ] {
        let key = format!("{key}{suffix}");
        let value = b.compare(&key, compare, x, by)?;
        b.output(&key, value);
    }
    Ok(())
}

fn divisor(b: &mut Builder) -> Built {
    b.constant("divisor", Tensor::scalar_f32(0.3))
}

fn binary(b: &mut Builder, given: &Inputs) -> Built<()> {
    let divisor = divisor(b)?;
    let div = b.binary("div", Binary::Div, given.image, divisor)?;
    b.output("div", div);
    arithmetic(b, "", given.image, divisor)
}

fn binary_i32(b: &mut Builder, given: &Inputs) -> Built<()> {
    let integers = integers(b, given)?;
    let four = integer(b, 4)?;
    arithmetic(b, "_i32", integers, four)
}

fn binary_u8(b: &mut Builder, given: &Inputs) -> Built<()> {
    let seven = Tensor::from_bytes(DType::U8, &[], vec![7]).unwrap_or(Tensor::scalar_i32(7));
    let seven = b.constant("seven", seven)?;
    arithmetic(b, "_u8", given.pixels, seven)
}

fn logic(b: &mut Builder, given: &Inputs) -> Built<()> {
    let (low, high) = (b.constant("low", Tensor::scalar_f32(-0.2))?, divisor(b)?);
    let above = b.compare("above", Compare::Greater, given.image, low)?;
    let below = b.compare("below", Compare::Less, given.image, high)?;
    let and = b.and("and", above, below)?;
    b.output("and", and);
    let select = b.select("select", and, given.image, high)?;
    b.output("select", select);
    let select = b.select("select_bool", and, below, above)?;
    b.output("select_bool", select);
    Ok(())
}

fn softmax(b: &mut Builder, given: &Inputs) -> Built<()> {
    let value = b.softmax("softmax", given.image)?;
    b.output("softmax", value);
    Ok(())
}

fn cast(b: &mut Builder, given: &Inputs) -> Built<()> {
    let integers = integers(b, given)?;
    b.output("cast_to_i32", integers);
    let truths = b.cast("cast_to_bool", integers, DType::Bool)?;
    b.output("cast_to_bool", truths);
    let floats = b.cast("cast_to_f32", given.pixels, DType::F32)?;
    b.output("cast_to_f32", floats);
    Ok(())
}
