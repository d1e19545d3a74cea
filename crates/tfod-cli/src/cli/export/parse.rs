//! Values of the flags of `tfod export`.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use tfod::{Batch, GraphOptions, SignatureOptions};

pub(super) fn batch(text: &str) -> Result<Batch, String> {
    let largest = Batch::LARGEST;
    match text.trim().parse() {
        _ if text.trim() == "dynamic" => Ok(Batch::Dynamic),
        Ok(n) if (1..=largest).contains(&n) => Ok(Batch::Fixed(n)),
        _ => Err(format!("expected 1 to {largest}, or dynamic")),
    }
}

pub(super) fn input_size(text: &str) -> Result<[u64; 2], String> {
    let largest = GraphOptions::LARGEST_SIDE;
    let side = |text: &str| text.trim().parse().ok();
    text.split_once(['x', 'X', '\u{d7}'])
        .and_then(|(height, width)| Some([side(height)?, side(width)?]))
        .filter(|sides| sides.iter().all(|side| (1..=largest).contains(side)))
        .ok_or_else(|| {
            format!("expected height and width in pixels, 1 to {largest}, such as 480x640")
        })
}

pub(super) fn signature(text: &str) -> Result<SignatureOptions, String> {
    let (name, rest) = text
        .trim()
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or("expected NAME=TYPE or NAME=TYPE:INPUT, such as bytes=encoded_image_string_tensor:image_bytes")?;
    let (input, input_name) = match rest.split_once(':') {
        Some((input, input_name)) => (input, Some(input_name.to_owned())),
        None => (rest, None),
    };
    let input = input
        .parse()
        .map_err(|problem: tfod::ModelError| problem.to_string())?;
    let mut signature = SignatureOptions::new(name, input);
    signature.input_name = input_name;
    Ok(signature)
}

/// What `--score_threshold` says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ScoreThresholds {
    /// Of all classes that have none of their own.
    pub(super) all: Option<f32>,
    /// By name or id.
    pub(super) classes: Vec<(String, f32)>,
    /// The file that they were read from.
    pub(super) file: Option<PathBuf>,
}

impl ScoreThresholds {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut scores = Self::default();
        if let Some(file) = text.strip_prefix('@') {
            let text = read_small(Path::new(file)).map_err(|error| format!("{file}: {error}"))?;
            scores.file = Some(file.into());
            for (number, line) in (1..).zip(text.lines()) {
                let line = line.trim();
                if !line.is_empty() && !line.starts_with('#') {
                    let in_line = |error| format!("{file}:{number}: {error}");
                    let mut items = items_of_line(line).into_iter();
                    items
                        .try_for_each(|item| scores.add(item))
                        .map_err(in_line)?;
                }
            }
        } else {
            for item in text.split(',') {
                scores.add(item.trim())?;
            }
        }
        Ok(scores)
    }

    fn add(&mut self, item: &str) -> Result<(), String> {
        let Some((name, score)) = item.rsplit_once('=') else {
            let score = fraction(item)
                .map_err(|_| format!("`{item}`: expected a number from 0 to 1, or NAME=NUMBER"))?;
            return match self.all.replace(score) {
                None => Ok(()),
                Some(_) => Err(format!(
                    "`{item}`: there is a score for all other classes already"
                )),
            };
        };
        let (name, score) = (name.trim(), score.trim());
        let score =
            fraction(score).map_err(|error| format!("`{item}`: {error} behind the name"))?;
        if name.is_empty() {
            return Err(format!(
                "`{item}`: expected the name or id of a class before `=`"
            ));
        }
        self.classes.push((name.to_owned(), score));
        Ok(())
    }
}

/// The items of a line: one, or a list as it stands on a command line. Names in a file may have commas, so a line is a list only where each of its parts can be an
/// item by itself: `person=0.6,dog=0.3`, `0.5,dog=0.3`, and not `cup, large=0.3` or `0,5 l bottle=0.3`.
fn items_of_line(line: &str) -> Vec<&str> {
    let line = line.strip_suffix(',').unwrap_or(line);
    let items: Vec<&str> = line.split(',').map(str::trim).collect();
    let is_score = |item: &str| item.contains('.') && item.parse::<f32>().is_ok();
    if items
        .iter()
        .all(|item| item.contains('=') || is_score(item))
    {
        items
    } else {
        vec![line]
    }
}

/// A text file that a person wrote.
fn read_small(path: &Path) -> Result<String, String> {
    /// More than the names of all classes of ImageNet's 21,841 take.
    const LARGEST: u64 = 1 << 22;
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    let read = file.take(LARGEST + 1).read_to_string(&mut text);
    read.map_err(|error| error.to_string())?;
    if text.len() as u64 > LARGEST {
        return Err(format!("larger than {LARGEST} bytes"));
    }
    Ok(text)
}

pub(super) fn fraction(text: &str) -> Result<f32, String> {
    let number = text.trim().parse().ok();
    number
        .filter(|n| (0.0..=1.0).contains(n))
        .ok_or_else(|| "expected a number from 0 to 1".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_thresholds_is_an_item_or_a_list() {
        for (line, items) in [
            ("person=0.6", &["person=0.6"][..]),
            ("person=0.6, dog = 0.3,", &["person=0.6", "dog = 0.3"]),
            ("0.5,dog=0.3", &["0.5", "dog=0.3"]),
            ("0.5", &["0.5"]),
            ("person=0.6,dog=high", &["person=0.6", "dog=high"]),
            ("cup, large=0.3", &["cup, large=0.3"]),
            ("0,5 l bottle=0.3", &["0,5 l bottle=0.3"]),
            ("1", &["1"]),
        ] {
            assert_eq!(items_of_line(line), items, "{line}");
        }
    }
}
