//! Equal sizes are equal however they are computed, and nothing grows without end.

use proptest::prelude::*;

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
        let two = || (inner.clone(), inner.clone()).prop_map(|(a, b)| (Box::new(a), Box::new(b)));
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
        .map(|(product, coefficient)| coefficient * product.iter().map(factor).product::<i128>())
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
