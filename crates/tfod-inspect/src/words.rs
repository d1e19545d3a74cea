//! Numbers with their nouns, for people.

use std::fmt::Display;

/// A number and what it counts: `1 tensor`, `2 tensors`. `noun` is the singular; those that end like `class` or `box` get `es`, like `entry` `ies`.
pub fn counted(count: impl Display, noun: &str) -> String {
    let count = count.to_string();
    if count == "1" {
        return format!("1 {noun}");
    }
    let plural = match noun.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        _ if noun.ends_with(['s', 'x']) || noun.ends_with("ch") => format!("{noun}es"),
        _ => format!("{noun}s"),
    };
    format!("{count} {plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular_and_all_others_are_plural() {
        assert_eq!(counted(1, "tensor"), "1 tensor");
        assert_eq!(counted(0, "tensor"), "0 tensors");
        assert_eq!(counted(21, "class"), "21 classes");
        assert_eq!(counted(2, "entry"), "2 entries");
        assert_eq!(counted(2, "array"), "2 arrays");
        assert_eq!(counted(3, "batch"), "3 batches");
    }
}
