//! Names of nodes in a file: unique, and made of the characters that TensorFlow allows.

use std::collections::{HashMap, HashSet};

/// The names given out so far.
#[derive(Debug, Default)]
pub(crate) struct Names {
    taken: HashSet<String>,
    /// The next number to try for a name that is taken.
    next: HashMap<String, usize>,
}

impl Names {
    /// `wanted`, or if it is taken, `wanted` with the first free number.
    pub(crate) fn unique(&mut self, wanted: &str) -> String {
        let wanted = allowed(wanted);
        if self.taken.insert(wanted.clone()) {
            return wanted;
        }
        let next = self.next.entry(wanted.clone()).or_insert(1);
        loop {
            let name = format!("{wanted}_{next}");
            *next += 1;
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }
}

/// A name with characters replaced that TensorFlow does not allow: `[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*`.
fn allowed(name: &str) -> String {
    let is_first = |c: char| c.is_ascii_alphanumeric() || c == '.';
    let mut allowed: String = name
        .chars()
        .map(|c| {
            if is_first(c) || matches!(c, '_' | '\\' | '/' | '>' | '-') {
                c
            } else {
                '_'
            }
        })
        .collect();
    if !allowed.starts_with(is_first) {
        allowed.insert(0, '.');
    }
    allowed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_unique() {
        let mut names = Names::default();
        let given: Vec<String> = ["x", "x", "x_1", "x"]
            .iter()
            .map(|name| names.unique(name))
            .collect();
        assert_eq!(given, ["x", "x_1", "x_1_1", "x_2"]);
    }

    #[test]
    fn names_become_allowed() {
        let mut names = Names::default();
        assert_eq!(names.unique("layer:0/kernel é"), "layer_0/kernel__");
        assert_eq!(names.unique("_private"), "._private");
        assert_eq!(names.unique(""), ".");
    }
}
