//! Names: unique within one function or graph, and made to fit where TensorFlow is particular.

use std::collections::HashSet;

/// The names taken in one name space.
#[derive(Debug, Default)]
pub(crate) struct Names {
    taken: HashSet<String>,
}

impl Names {
    /// A name space where these are taken already.
    pub(crate) fn reserving<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            taken: names.into_iter().map(str::to_owned).collect(),
        }
    }

    /// Takes `stem`, or the first of `stem_1`, `stem_2`, … that is free.
    pub(crate) fn fresh(&mut self, stem: &str) -> String {
        let mut name = stem.to_owned();
        let mut count = 0u64;
        while !self.taken.insert(name.clone()) {
            count += 1;
            name = format!("{stem}_{count}");
        }
        name
    }
}

/// A name as one part of a path: `/`, `.` and `-` become `_`.
pub(crate) fn flat(name: &str) -> String {
    name.replace(['/', '.', '-'], "_")
}

/// A name in the form of a function's arguments: flat, in lower case, beginning with a letter.
pub(crate) fn argument(name: &str) -> String {
    let mut flat = flat(name).to_ascii_lowercase();
    if !flat.starts_with(|c: char| c.is_ascii_alphabetic()) {
        flat.insert_str(0, "arg_");
    }
    flat
}

/// The names of results, as TensorFlow numbers them: `Identity`, `Identity_1`, …
pub(crate) fn numbered(stem: &str, index: usize) -> String {
    match index {
        0 => stem.to_owned(),
        n => format!("{stem}_{n}"),
    }
}

/// Whether a name can be that of a Python argument.
pub(crate) fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_names_are_numbered() {
        let mut names = Names::reserving(["a", "a_1"]);
        assert_eq!(names.fresh("a"), "a_2");
        assert_eq!(names.fresh("b"), "b");
        assert_eq!(names.fresh("b"), "b_1");
    }

    #[test]
    fn names_are_made_to_fit() {
        assert_eq!(flat("Head/conv-1.x"), "Head_conv_1_x");
        assert_eq!(argument("Head/conv"), "head_conv");
        assert_eq!(argument("1x1/kernel"), "arg_1x1_kernel");
        assert!(
            is_identifier("input_tensor") && !is_identifier("input/tensor") && !is_identifier("")
        );
    }
}
