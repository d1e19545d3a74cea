//! What can go wrong when a SavedModel is frozen.

use std::fmt;
use std::io;
use std::path::PathBuf;

use tfod_text::Shown;

/// Any failure of freezing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FreezeError {
    /// There is no SavedModel.
    #[error("{}: there is no {}; give the folder of a SavedModel{}", folder.shown(), if folder.exists() { "saved_model.pb here" } else { "such folder, and so no saved_model.pb" }, hint.as_deref().map(|hint| format!(" ({})", hint.shown())).unwrap_or_default())]
    NoSavedModel {
        /// The folder given.
        folder: PathBuf,
        /// What the folder seems to be, or where a SavedModel is.
        hint: Option<String>,
    },

    /// A file of another kind.
    #[error("{}{}: this is {found}", path.shown(), line.map(|line| format!(":{line}")).unwrap_or_default())]
    NotSavedModel {
        /// The file.
        path: PathBuf,
        /// Of a text, the line that shows what it is.
        line: Option<usize>,
        /// What it is, and what to do.
        found: &'static str,
    },

    /// The operating system refused.
    #[error("{}: cannot read: {problem}", path.shown())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        problem: io::Error,
    },

    /// The file is not the message that it should be.
    #[error("{}: byte {offset} is not part of a SavedModel message ({what}); the file is damaged or another kind of file", path.shown(), what = what.shown())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Offset in the file.
        offset: usize,
        /// What was being read.
        what: String,
    },

    /// The file has more parts than any model, which would take memory without end.
    #[error("{}: byte {offset}: {} ({what}); the file is damaged, or made to exhaust memory", path.shown(), crate::messages::TOO_MANY)]
    TooMany {
        /// The file.
        path: PathBuf,
        /// Offset in the file.
        offset: usize,
        /// What was being read.
        what: String,
    },

    /// The text form of a SavedModel is not one.
    #[error("{}:{problem}", path.shown())]
    Text {
        /// The file.
        path: PathBuf,
        /// Where, and what was expected.
        problem: crate::messages::text::TextError,
    },

    /// No meta graph has the tags.
    #[error("{}: {}; the file has {}", path.shown(), no_graph(wanted), choices(available))]
    Tags {
        /// The file.
        path: PathBuf,
        /// The tags asked for.
        wanted: Vec<String>,
        /// The tags of each graph in the file.
        available: Vec<String>,
    },

    /// No signature has the key.
    #[error("{}: there is no signature `{wanted}`; the file has {}{}", path.shown(), choices(available), and_functions(functions), wanted = wanted.shown())]
    Signature {
        /// The file.
        path: PathBuf,
        /// The key asked for.
        wanted: String,
        /// The keys in the file.
        available: Vec<String>,
        /// The functions in the file, with the specs of their arguments.
        functions: Vec<String>,
    },

    /// No function has the name, or several have it.
    #[error("{}: {} `{wanted}`; {} {}", path.shown(), if *is_ambiguous { "there are several functions" } else { "there is no function" }, if *is_ambiguous { "give one of" } else { "the file has" }, choices(available), wanted = wanted.shown())]
    Function {
        /// The file.
        path: PathBuf,
        /// The name asked for.
        wanted: String,
        /// Whether several have the name.
        is_ambiguous: bool,
        /// Those that were meant, or all functions of the file.
        available: Vec<String>,
    },

    /// The signature has no such output.
    #[error("{}: signature `{signature}` has no output `{wanted}`; it has {}", path.shown(), choices(available), signature = signature.shown(), wanted = wanted.shown())]
    NoOutput {
        /// The file.
        path: PathBuf,
        /// The key of the signature.
        signature: String,
        /// The key asked for.
        wanted: String,
        /// The keys of its outputs.
        available: Vec<String>,
    },

    /// An input cannot have the shape that was asked for.
    #[error("{}: input `{input}`: {problem}", path.shown(), input = input.shown(), problem = problem.shown())]
    InputShape {
        /// The file.
        path: PathBuf,
        /// The key of the input, or the name asked for.
        input: String,
        /// What is wrong.
        problem: String,
    },

    /// A signature names a tensor that it cannot have.
    #[error("{}: {}, {what} `{key}`: {problem}", path.shown(), if signature.is_empty() { "the given tensors".to_owned() } else { format!("signature `{}`", signature.shown()) }, key = key.shown(), problem = problem.shown())]
    SignatureTensor {
        /// The file.
        path: PathBuf,
        /// The key of the signature; empty where tensors were given by name.
        signature: String,
        /// `input` or `output`.
        what: &'static str,
        /// The key of the input or output.
        key: String,
        /// What is wrong.
        problem: String,
    },

    /// The graph is not one that could run.
    #[error("{}: {place}: {problem}", path.shown(), problem = problem.shown())]
    Graph {
        /// The file.
        path: PathBuf,
        /// The node.
        place: Box<NodePlace>,
        /// What was expected and found.
        problem: String,
    },

    /// The graph can run, but no graph without variables does the same.
    #[error("{}: {place} cannot be frozen: {reason}", path.shown(), reason = reason.shown())]
    Refused {
        /// The file.
        path: PathBuf,
        /// The node.
        place: Box<NodePlace>,
        /// Why.
        reason: String,
    },

    /// The graph assigns to one of its variables.
    #[error("{}: {place} changes the {what} `{name}`, and a frozen graph has only {}; freeze with updates dropped to have every call \
             start from the saved values", path.shown(), what.kept(), name = name.shown())]
    Updates {
        /// The file.
        path: PathBuf,
        /// The node.
        place: Box<NodePlace>,
        /// What is changed.
        what: Changed,
        /// The name of the variable or table.
        name: String,
    },

    /// Inlining all calls would not end, or not soon.
    #[error("{}: {place}: {problem}", path.shown(), problem = problem.shown())]
    Limit {
        /// The file.
        path: PathBuf,
        /// The call at which it was noticed.
        place: Box<NodePlace>,
        /// Which limit, and its value.
        problem: String,
    },

    /// The bundle of variables is damaged or incomplete.
    #[error(transparent)]
    Variables(#[from] tfod_checkpoint::Error),

    /// The frozen graph is more than a protobuf message can hold.
    #[error(
        "the frozen graph would have {total} bytes, and a GraphDef can have {limit}; the largest constants are {}; keep the model as a \
         SavedModel{}",
        sizes(largest), if *is_halved { "" } else { ", or store large constants in half precision" }
    )]
    TooLarge {
        /// The size of the whole graph.
        total: u64,
        /// The largest allowed size.
        limit: u64,
        /// Name and size of the largest constants, largest first.
        largest: Vec<(String, u64)>,
        /// Whether large constants are in half precision already.
        is_halved: bool,
    },

    /// The output could not be written.
    #[error("cannot write the frozen graph: {0}")]
    Write(#[from] io::Error),
}

/// What a call changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Changed {
    /// A variable.
    Variable,
    /// A lookup table.
    Table,
}

impl Changed {
    /// What a frozen graph has of the kind.
    fn kept(self) -> &'static str {
        match self {
            Self::Variable => "constants",
            Self::Table => "tables that are filled once",
        }
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Variable => "variable",
            Self::Table => "table",
        })
    }
}

/// A change of a variable or a table that was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// What is changed.
    pub what: Changed,
    /// The name of the variable or table.
    pub name: String,
    /// The node that assigned.
    pub place: NodePlace,
}

/// A node, and the function that it is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodePlace {
    /// The function's name; `None` in the main graph.
    pub function: Option<String>,
    /// The node's name; empty if the function as a whole is meant.
    pub node: String,
    /// The node's operation; empty if the end of a function is meant, which has a name only.
    pub op: String,
}

impl fmt::Display for NodePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(function) = &self.function {
            write!(f, "function `{}`", function.shown())?;
            if self.node.is_empty() {
                return Ok(());
            }
            f.write_str(", ")?;
        }
        write!(f, "node `{}`", self.node.shown())?;
        if !self.op.is_empty() {
            write!(f, " ({})", self.op.shown())?;
        }
        Ok(())
    }
}

fn choices(available: &[String]) -> String {
    match available {
        [] => "none".to_owned(),
        some => some
            .iter()
            .map(|choice| match choice.as_str() {
                "" => "one without tags".to_owned(),
                choice => format!("`{}`", choice.shown()),
            })
            .collect::<Vec<_>>()
            .join(", "),
    }
}

fn no_graph(wanted: &[String]) -> String {
    match wanted {
        [] => "there is no graph without tags".to_owned(),
        tags => format!("no graph is tagged {tags:?}"),
    }
}

fn and_functions(functions: &[String]) -> String {
    match functions {
        [] => String::new(),
        some => format!("; functions that can be frozen by name: {}", choices(some)),
    }
}

fn sizes(largest: &[(String, u64)]) -> String {
    let size = |(name, bytes): &(String, u64)| format!("`{}` ({bytes} bytes)", name.shown());
    largest.iter().map(size).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_without_tags_is_told_in_words() {
        let error = |wanted: &[&str]| {
            let error = FreezeError::Tags {
                path: "saved_model.pb".into(),
                wanted: wanted.iter().map(|&tag| tag.to_owned()).collect(),
                available: vec!["serve".to_owned()],
            };
            error.to_string()
        };
        assert_eq!(
            error(&[]),
            "saved_model.pb: there is no graph without tags; the file has `serve`"
        );
        assert_eq!(
            error(&["train"]),
            "saved_model.pb: no graph is tagged [\"train\"]; the file has `serve`"
        );
    }

    #[test]
    fn half_precision_is_advised_once() {
        let error = |is_halved| {
            let error = FreezeError::TooLarge {
                total: 3,
                limit: 2,
                largest: vec![("kernel".to_owned(), 3)],
                is_halved,
            };
            error.to_string()
        };
        assert!(error(false).ends_with("SavedModel, or store large constants in half precision"));
        assert!(error(true).ends_with("keep the model as a SavedModel"));
    }
}
