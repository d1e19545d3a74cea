//! Inputs beside the image, which some detectors take: how they are spelt on the official exporter's command line.
//!
//! There, shapes and types are evaluated as Python. Here they are read: lists of numbers, and the names of types.

use std::fmt;

use tfod_graph::DType;

use crate::error::ModelError;
use crate::fields::invalid_option;
use crate::options::{GraphOption, is_identifier};

/// An input beside the image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SideInput {
    /// What it is called.
    pub name: String,
    /// Its element type.
    pub dtype: DType,
    /// Its sizes; `None` for one that is known only at run time.
    pub shape: Vec<Option<u64>>,
}

/// The most dimensions of a side input.
const MOST_DIMENSIONS: usize = 8;
/// The most side inputs.
const MOST_INPUTS: usize = 64;

/// Types by their names in TensorFlow, and Python's own that TensorFlow takes for one of them.
const TYPES: [(&str, DType); 7] = [
    ("float32", DType::F32),
    ("int32", DType::I32),
    ("int64", DType::I64),
    ("uint8", DType::U8),
    ("bool", DType::Bool),
    ("string", DType::String),
    ("float", DType::F32),
];

impl SideInput {
    /// An input of this name, type and shape.
    pub fn new(name: impl Into<String>, dtype: DType, shape: Vec<Option<u64>>) -> Self {
        Self {
            name: name.into(),
            dtype,
            shape,
        }
    }

    /// Reads the three lists of the official exporter: shapes are separated by `/` and their sizes by commas, `-1` or `None` for a size known only at run time; types
    /// (`tf.float32`) and names are separated by commas.
    ///
    /// # Errors
    /// For a list that cannot be read, or that is longer than another.
    pub fn parse(shapes: &str, types: &str, names: &str) -> Result<Vec<Self>, ModelError> {
        let names = listed(GraphOption::SideInputNames, names, ',', "names")?;
        let names = names.into_iter().map(|name| {
            if is_identifier(name) {
                return Ok(name);
            }
            let expected = "letters, digits and `_`, beginning with a letter";
            let given = format!("{name:?}");
            Err(invalid_option(GraphOption::SideInputNames, given, expected))
        });
        let names = names.collect::<Result<Vec<_>, _>>()?;
        if let Some((_, twice)) = names
            .iter()
            .enumerate()
            .find(|(i, name)| names[..*i].contains(name))
        {
            let given = format!("{twice}, twice");
            return Err(invalid_option(
                GraphOption::SideInputNames,
                given,
                "each name once",
            ));
        }
        let shapes = listed(GraphOption::SideInputShapes, shapes, '/', "shapes")?;
        let types = listed(GraphOption::SideInputTypes, types, ',', "types")?;
        for (option, count) in [
            (GraphOption::SideInputShapes, shapes.len()),
            (GraphOption::SideInputTypes, types.len()),
        ] {
            if count != names.len() {
                let expected = format!("one for each of the names {}", names.join(", "));
                let given = match option {
                    GraphOption::SideInputShapes => shapes.join("/"),
                    _ => types.join(","),
                };
                return Err(invalid_option(option, given, expected));
            }
        }
        let lists = names.iter().zip(types).zip(shapes);
        lists
            .map(|((name, dtype), sizes)| {
                Ok(Self::new(*name, read_type(dtype)?, read_shape(sizes)?))
            })
            .collect()
    }
}

impl fmt::Display for SideInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = self.shape.iter();
        let sizes: Vec<String> = sizes
            .map(|n| n.map_or("-1".into(), |n| n.to_string()))
            .collect();
        write!(f, "{} {}[{}]", self.name, self.dtype, sizes.join(","))
    }
}

/// The items of a list, at least one.
fn listed<'a>(
    option: GraphOption,
    text: &'a str,
    separator: char,
    what: &str,
) -> Result<Vec<&'a str>, ModelError> {
    let separated = match separator {
        '/' => "/",
        _ => "commas",
    };
    let expected = || format!("1 to {MOST_INPUTS} {what}, separated by {separated}");
    if text.trim().is_empty() {
        return Err(invalid_option(option, "\"\"", expected()));
    }
    let items: Vec<&str> = text.split(separator).map(str::trim).collect();
    if items.len() > MOST_INPUTS || items.iter().any(|item| item.is_empty()) {
        return Err(invalid_option(option, format!("{text:?}"), expected()));
    }
    Ok(items)
}

fn read_type(text: &str) -> Result<DType, ModelError> {
    let name = text.strip_prefix("tf.").unwrap_or(text);
    let name = name.strip_prefix("dtypes.").unwrap_or(name);
    let known = TYPES.iter().find(|(known, _)| *known == name);
    known.map(|(_, dtype)| *dtype).ok_or_else(|| {
        let names: Vec<String> = TYPES[..6]
            .iter()
            .map(|(name, _)| format!("tf.{name}"))
            .collect();
        invalid_option(
            GraphOption::SideInputTypes,
            format!("{text:?}"),
            names.join(", "),
        )
    })
}

fn read_shape(text: &str) -> Result<Vec<Option<u64>>, ModelError> {
    let sizes = text.split(',').map(|size| match size.trim() {
        "-1" | "None" => Some(None),
        size => {
            let is_number = size.bytes().all(|byte| byte.is_ascii_digit());
            let number = size.parse::<u64>().ok().filter(|n| is_number && *n > 0);
            number.map(Some)
        }
    });
    let sizes: Option<Vec<_>> = sizes.take(MOST_DIMENSIONS + 1).collect();
    sizes.filter(|sizes| sizes.len() <= MOST_DIMENSIONS).ok_or_else(|| {
        let expected = format!(
            "1 to {MOST_DIMENSIONS} sizes, separated by commas: whole numbers from 1 on, or -1 for one known only at run time"
        );
        invalid_option(GraphOption::SideInputShapes, format!("{text:?}"), expected)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(shapes: &str, types: &str, names: &str) -> String {
        SideInput::parse(shapes, types, names)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn the_exporters_own_example_is_read() {
        let inputs = SideInput::parse(
            "1,2000,2057/1",
            "tf.float32,tf.int32",
            "context_features,valid_context_size",
        );
        let inputs: Vec<String> = inputs.unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(
            inputs,
            [
                "context_features f32[1,2000,2057]",
                "valid_context_size i32[1]"
            ]
        );
        let other = SideInput::parse(" 1, None /-1 ", "tf.dtypes.uint8, float", " a , b_2");
        let other: Vec<String> = other.unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(other, ["a u8[1,-1]", "b_2 f32[-1]"]);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for (shapes, types, names, text) in [
            ("1", "tf.float32", "", "expected 1 to 64 names"),
            ("", "tf.float32", "a", "expected 1 to 64 shapes"),
            ("1", "", "a", "expected 1 to 64 types"),
            ("1", "tf.float32", "a,", "separated by commas"),
            ("1/1", "tf.float32,tf.float32", "a,a", "a, twice"),
            ("1", "tf.float32", "2nd", "beginning with a letter"),
            (
                "1",
                "tf.float32,tf.int32",
                "a",
                "one for each of the names a",
            ),
            (
                "1",
                "tf.float32,tf.int32",
                "a,b",
                "one for each of the names a, b",
            ),
            ("1", "__import__('os')", "a", "tf.float32, tf.int32"),
            ("1", "tf.complex64", "a", "tf.string"),
            ("1,x", "tf.float32", "a", "sizes, separated by commas"),
            ("0", "tf.float32", "a", "whole numbers from 1 on"),
            ("-2", "tf.float32", "a", "-1 for one known only"),
            ("+1", "tf.float32", "a", "whole numbers"),
            ("1,,2", "tf.float32", "a", "whole numbers"),
            ("99999999999999999999", "tf.float32", "a", "whole numbers"),
            ("1,1,1,1,1,1,1,1,1", "tf.float32", "a", "1 to 8 sizes"),
        ] {
            let problem = problem(shapes, types, names);
            assert!(
                problem.contains(text),
                "{shapes:?} {types:?} {names:?}: {problem}"
            );
        }
    }
}
