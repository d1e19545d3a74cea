//! Names near a misspelt one, by edit distance (insertions, deletions, substitutions, swaps of neighbours).

/// Characters of a name that are compared: more than any name of the schema has.
const COMPARED: usize = 100;
/// How many names to suggest.
const MOST: usize = 3;

/// The candidates within a third of the name's length, nearest first.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Vec<String> {
    let mut ranked = ranked(name, candidates);
    let tolerated = (name.chars().take(COMPARED).count() / 3).max(1);
    ranked.retain(|&(distance, _)| distance <= tolerated);
    ranked.truncate(MOST);
    ranked
        .into_iter()
        .map(|(_, candidate)| candidate.to_owned())
        .collect()
}

/// All candidates, nearest first; equally near ones keep their order.
pub(super) fn sorted<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    ranked(name, candidates)
        .into_iter()
        .map(|(_, candidate)| candidate.to_owned())
        .collect()
}

fn ranked<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<(usize, &'a str)> {
    let mut ranked: Vec<_> = candidates
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .collect();
    ranked.sort_by_key(|&(distance, _)| distance);
    ranked
}

/// The edit distance, ignoring case.
fn distance(left: &str, right: &str) -> usize {
    let left = compared(left);
    let right = compared(right);
    // Rows of the distance table: two before, before, current. Column j is the first j characters of `right`.
    let mut two_before: Vec<usize> = Vec::new();
    let mut before: Vec<usize> = (0..=right.len()).collect();
    for i in 0..left.len() {
        let mut current = vec![i + 1];
        for j in 0..right.len() {
            let substituted = before[j] + usize::from(left[i] != right[j]);
            let mut best = substituted.min(before[j + 1] + 1).min(current[j] + 1);
            if i > 0 && j > 0 && left[i] == right[j - 1] && left[i - 1] == right[j] {
                best = best.min(two_before[j - 1] + 1);
            }
            current.push(best);
        }
        two_before = before;
        before = current;
    }
    before[right.len()]
}

fn compared(name: &str) -> Vec<char> {
    name.chars()
        .take(COMPARED)
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (left, right, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("num_clases", "num_classes", 1),
            ("num_calsses", "num_classes", 1),
            ("Sigmoid", "SIGMOID", 0),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(left, right), expected, "{left} {right}");
            assert_eq!(distance(right, left), expected, "{right} {left}");
        }
    }

    #[test]
    fn only_near_names_are_suggested() {
        let fields = ["num_classes", "box_coder", "min_score", "max_score"];
        assert_eq!(nearest("num_class", fields), ["num_classes"]);
        assert_eq!(nearest("mix_score", fields), ["min_score", "max_score"]);
        assert!(nearest("learning_rate", fields).is_empty());
        assert!(nearest("x", fields).is_empty());
        assert!(nearest(&"x".repeat(100_000), fields).is_empty());
    }
}
