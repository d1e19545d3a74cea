//! `tfod diff`

use std::path::PathBuf;
use std::process::ExitCode;

use tfod_inspect::counted;
use tfod_inspect::diff::{CheckpointDiff, Diff, diff};

use tfod_text::Shown;

use super::output;
use super::progress::Progress;

/// Say what differs between two checkpoints or two configs, by meaning
///
/// Configs are compared field by field, whatever their layout; a field that one leaves at its
/// default and the other writes down does not differ; lists are aligned. Checkpoints are compared
/// tensor by tensor: keys that only one has, other shapes and types, other values and how far they
/// are apart, with a summary for each part of the model. Where data files are absent, the checksums
/// in the indexes are compared.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(super) struct Args {
    /// A checkpoint (folder, prefix or .index) or a pipeline.config
    #[arg(value_name = "FIRST")]
    first: PathBuf,

    /// Another of the same kind
    #[arg(value_name = "SECOND")]
    second: PathBuf,

    /// Print JSON; docs/inspect.md explains its keys
    #[arg(long = "json")]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  What did I change in the zoo's config?
    tfod diff zoo/pipeline.config train/pipeline.config

  Which parts of the model moved between two checkpoints?
    tfod diff train/ckpt-1 train/ckpt-7

Exit status:
  0  the same
  1  different
  2  one cannot be read, or they are of different kinds";

/// How many tensors of a kind are named.
const SHOWN: usize = 20;
/// Longer values are cut.
const WIDTH: usize = 100;
/// How much is shown before the first difference of values that are cut there.
const CONTEXT: usize = 20;

impl Args {
    pub(super) fn run(self) -> ExitCode {
        let compared = Progress::during(|progress| {
            progress.tell("comparing");
            diff(&self.first, &self.second)
        });
        let found = match compared {
            Ok(found) => found,
            Err(error) => return output::error(&error),
        };
        let text = output::document(self.json, || found.json(), || text(&found));
        match (found.unread(), found.is_same()) {
            ([], same) => output::verdict(&text, same),
            ([(name, problem), ..], _) => {
                let _ = output::print(&text);
                output::error(&format!("`{}` was not compared: {problem}", name.shown()))
            }
        }
    }
}

fn text(found: &Diff) -> String {
    match found {
        Diff::Configs(diff) if diff.changes.is_empty() => match diff.unread.as_slice() {
            [] => "the same\n".to_owned(),
            _ => "the same, as far as they were compared\n".to_owned(),
        },
        Diff::Configs(diff) => diff.changes.iter().map(config_change).collect(),
        Diff::Checkpoints(diff) => checkpoints(diff),
    }
}

/// A field that differs, and how.
fn config_change(change: &tfod_inspect::Change) -> String {
    let text = |setting: Option<&tfod_inspect::Setting>| setting.map_or("", |s| &s.text).to_owned();
    let (from, to) = (change.from.as_ref(), change.to.as_ref());
    let (x, y) = (text(from), text(to));
    let common = x.chars().zip(y.chars()).take_while(|(x, y)| x == y).count();
    // What comes long before the first difference is cut, too.
    let start = if common + CONTEXT > WIDTH {
        common - CONTEXT
    } else {
        0
    };
    format!(
        "{}: {} -> {}\n",
        change.path,
        setting(from, start),
        setting(to, start)
    )
}

/// A setting, from a character on.
fn setting(setting: Option<&tfod_inspect::Setting>, start: usize) -> String {
    let Some(setting) = setting else {
        return "-".to_owned();
    };
    let shown: String = setting.text.chars().skip(start).take(WIDTH).collect();
    let before = if start > 0 { "…" } else { "" };
    let is_all = setting.text.chars().nth(start + WIDTH).is_none();
    let after = if is_all { "" } else { "…" };
    let default = if setting.is_default { " (default)" } else { "" };
    format!("{before}{shown}{after}{default}")
}

fn checkpoints(diff: &CheckpointDiff) -> String {
    let mut text = Vec::new();
    let mut section = |title: &str, lines: Vec<String>| {
        if lines.is_empty() {
            return;
        }
        text.push(format!("{title} ({}):", lines.len()));
        text.extend(lines.iter().take(SHOWN).map(|line| format!("  {line}")));
        if lines.len() > SHOWN {
            text.push(format!("  … and {} more", lines.len() - SHOWN));
        }
    };
    let infos = |infos: &[tfod_inspect::StoredTensor]| -> Vec<String> {
        let line =
            |t: &tfod_inspect::StoredTensor| format!("{} {} {:?}", t.name, t.type_name(), t.shape);
        infos.iter().map(line).collect()
    };
    section("only in the first", infos(&diff.only_in_first));
    section("only in the second", infos(&diff.only_in_second));
    let reshaped = diff.reshaped.iter().map(|(a, b)| {
        let (x, y) = (a.type_name(), b.type_name());
        format!("{}: {x} {:?} -> {y} {:?}", a.name, a.shape, b.shape)
    });
    section("of another type or shape", reshaped.collect());
    let changed = diff.changed.iter().map(|changed| match changed.by {
        Some(by) => format!("{}: {by}", changed.name),
        None => format!("{}: another checksum", changed.name),
    });
    section("of other values", changed.collect());
    let unread = diff
        .unread
        .iter()
        .map(|(name, why)| format!("{name}: {why}"));
    section("not compared", unread.collect());
    let by_checksum = match diff.equal_by_checksum {
        0 => String::new(),
        count => format!(" ({count} by their checksums, their data being absent)"),
    };
    text.push(format!(
        "the same: {}{by_checksum}",
        counted(diff.equal, "tensor")
    ));
    if !diff.is_same() {
        text.push("by part:".to_owned());
        text.extend(parts(diff));
    }
    text.join("\n") + "\n"
}

/// A line a part.
fn parts(diff: &CheckpointDiff) -> impl Iterator<Item = String> + '_ {
    let width = diff.parts.keys().map(String::len).max().unwrap_or(0);
    diff.parts.iter().map(move |(name, part)| {
        let counts = [
            (part.equal, "the same"),
            (part.changed, "of other values"),
            (part.reshaped, "of another type or shape"),
            (part.only_in_first, "only in the first"),
            (part.only_in_second, "only in the second"),
            (part.unread, "not compared"),
        ];
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let counts: Vec<String> = counts.map(|(n, what)| format!("{n} {what}")).collect();
        let max = if part.max > 0.0 {
            format!("; at most {:.3e} apart", part.max)
        } else {
            String::new()
        };
        format!("  {:width$}  {}{max}", name.shown(), counts.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_far_behind_is_shown() {
        let change = |from: &str, to: &str| {
            let setting = |text: &str| {
                Some(tfod_inspect::Setting {
                    text: text.to_owned(),
                    is_default: false,
                })
            };
            config_change(&tfod_inspect::Change {
                path: "a".to_owned(),
                from: setting(from),
                to: setting(to),
            })
        };
        assert_eq!(change("1", "2"), "a: 1 -> 2\n");
        let long = "x".repeat(200);
        let shown = change(&format!("{long}1{long}"), &format!("{long}2"));
        let (common, rest) = ("x".repeat(20), "x".repeat(79));
        assert_eq!(shown, format!("a: …{common}1{rest}… -> …{common}2\n"));
    }
}
