//! The formats of models: what each is called, which files it has, and how its content is recognised.
//!
//! [`Format::descriptor`] is the one table of them. Exporting (`tfod`) and looking into files (`tfod-inspect`) have a `match` over [`Format`] each, which says
//! how that is done and does not compile while a format is missing; everything else asks the table.
//!
//! ```
//! use tfod_formats::Format;
//!
//! let file = b"\x1c\x00\x00\x00TFL3";
//! assert_eq!(Format::of_content(file), Some(Format::Tflite));
//! assert_eq!(Format::Tflite.descriptor().file, "model.tflite");
//! ```

mod graph_def;
mod onnx;
mod saved_model;
mod tflite;

pub use graph_def::is_meta_graph;
use tfod_proto::wire::{Field, Fields};

/// What a model can be exported as.
///
/// Not `non_exhaustive`: the crates that deal with every format are to be told by the compiler when there is a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A SavedModel: the folder `saved_model`.
    SavedModel,
    /// A `GraphDef` with the weights inside: the file `frozen.pb`.
    Frozen,
    /// An ONNX model: the file `model.onnx`.
    Onnx,
    /// A TFLite model: the file `model.tflite`.
    Tflite,
}

/// What is the same wherever a format is dealt with.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    /// What users call it as something to export.
    pub name: &'static str,
    /// What it is, in a line, for help.
    pub about: &'static str,
    /// What `inspect` calls it in JSON. Files of the format that were not exported by this project have the same kind, so it may be wider than `name`.
    pub kind: &'static str,
    /// The same for people, with its article.
    pub described: &'static str,
    /// Its file in an export, or its folder.
    pub file: &'static str,
    /// The file by which a folder is recognised as one of this format; `None` if the format is a single file.
    pub folder_has: Option<&'static str>,
    /// Files that may be beside its own, and belong to it.
    pub beside: &'static [&'static str],
    /// How its content is recognised.
    pub mark: Mark,
    /// Fields with which its form as text begins, if it has one.
    pub text_fields: &'static [&'static str],
    /// Whether one model can have several signatures.
    pub has_signatures: bool,
    /// Whether programs that run it decode files of images.
    pub decodes_images: bool,
}

impl Descriptor {
    /// What it is, without an article.
    pub fn title(&self) -> &'static str {
        let words = self.described.split_once(' ');
        words.map_or(self.described, |(_, title)| title)
    }
}

/// How the content of a file is recognised.
#[derive(Clone, Copy, Debug)]
pub enum Mark {
    /// The format has an identifier: these bytes at this place, which no other file has.
    Identifier {
        /// The offset from the beginning of the file.
        at: usize,
        /// What is there.
        bytes: &'static [u8],
    },
    /// It is a message of protocol buffers, which has no identifier, and is recognised by its fields.
    Message(fn(&[u8]) -> bool),
}

impl Format {
    /// All that are supported, in the order in which they are written: a format that is made from another comes after it.
    pub const ALL: [Self; 4] = [Self::SavedModel, Self::Frozen, Self::Onnx, Self::Tflite];

    /// The table of formats.
    pub fn descriptor(self) -> &'static Descriptor {
        match self {
            Self::SavedModel => &saved_model::DESCRIPTOR,
            Self::Frozen => &graph_def::DESCRIPTOR,
            Self::Onnx => &onnx::DESCRIPTOR,
            Self::Tflite => &tflite::DESCRIPTOR,
        }
    }

    /// What users call it.
    pub fn name(self) -> &'static str {
        self.descriptor().name
    }

    /// The format of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// What it is, in a line.
    pub fn about(self) -> &'static str {
        self.descriptor().about
    }

    /// Its file or folder in an export.
    pub fn file(self) -> &'static str {
        self.descriptor().file
    }

    /// Whether that is a folder.
    pub fn is_folder(self) -> bool {
        self.descriptor().folder_has.is_some()
    }

    /// The format whose identifier a file has.
    pub fn of_identifier(content: &[u8]) -> Option<Self> {
        Self::find(|descriptor| match descriptor.mark {
            Mark::Identifier { at, bytes } => content
                .get(at..)
                .is_some_and(|rest| rest.starts_with(bytes)),
            Mark::Message(_) => false,
        })
    }

    /// The format of a message, which is nothing that has an identifier, nor text.
    pub fn of_message(content: &[u8]) -> Option<Self> {
        Self::find(|descriptor| match descriptor.mark {
            Mark::Message(is_it) => is_it(content),
            Mark::Identifier { .. } => false,
        })
    }

    /// The format of a file, if it is one that is known.
    pub fn of_content(content: &[u8]) -> Option<Self> {
        Self::of_identifier(content).or_else(|| Self::of_message(content))
    }

    /// The format whose form as text begins with a field.
    pub fn of_text_field(field: &str) -> Option<Self> {
        Self::find(|descriptor| descriptor.text_fields.contains(&field))
    }

    fn find(is_it: impl Fn(&Descriptor) -> bool) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|format| is_it(format.descriptor()))
    }
}

/// The first fields of a message that is looked into to recognise it: enough to meet one that decides, because graphs begin with nodes, and ONNX models have
/// some metadata before the graph. `None` in place of one that is damaged.
fn first_fields(content: &[u8]) -> impl Iterator<Item = Option<(u32, Field<'_>)>> {
    const LOOKED_AT: usize = 1024;
    Fields::of(content).take(LOOKED_AT).map(Result::ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_a_format_is_its_own() {
        for format in Format::ALL {
            assert_eq!(Format::named(format.name()), Some(format));
            let described = format.descriptor().described;
            let article = described.split(' ').next();
            assert!(matches!(article, Some("a" | "an")), "{described}");
            for other in Format::ALL.into_iter().filter(|other| *other != format) {
                let [a, b] = [format, other].map(Format::descriptor);
                assert_ne!(a.kind, b.kind);
                assert_ne!(a.title(), b.title());
                assert_ne!(a.file, b.file);
                assert!(!a.beside.contains(&b.file), "{} {}", a.name, b.name);
                let shared = a.text_fields.iter().find(|f| b.text_fields.contains(f));
                assert_eq!(shared, None, "{} {}", a.name, b.name);
            }
        }
    }

    #[test]
    fn what_is_damaged_or_empty_is_no_format() {
        for content in [
            &b""[..],
            b"\x0a",
            b"TFL3",
            b"\x1c\x00\x00\x00TFL",
            b"\x08\x07\x3a\xff",
        ] {
            assert_eq!(Format::of_content(content), None, "{content:?}");
        }
    }

    #[test]
    fn messages_are_told_apart_by_their_fields() {
        // A node with a name and an operation.
        let node = b"\x0a\x01x\x12\x05Const";
        let field = |number: u8, content: &[u8]| {
            let length = u8::try_from(content.len()).unwrap_or(0);
            [&[(number << 3) | 2, length][..], content].concat()
        };
        let graph = field(1, node);
        assert_eq!(Format::of_content(&graph), Some(Format::Frozen));
        let meta_graph = [field(1, &field(5, b"2.10.0")), field(2, &graph)].concat();
        assert!(is_meta_graph(&meta_graph));
        assert_eq!(Format::of_content(&meta_graph), None);
        let saved_model = [&b"\x08\x01"[..], &field(2, &meta_graph)].concat();
        assert_eq!(Format::of_content(&saved_model), Some(Format::SavedModel));
        let onnx = [&b"\x08\x08"[..], &field(2, b"maker"), &field(7, &graph)].concat();
        assert_eq!(Format::of_content(&onnx), Some(Format::Onnx));
        // The same in another order.
        let onnx = [field(2, b"maker"), field(8, b"\x10\x11"), field(7, &graph)].concat();
        assert_eq!(Format::of_content(&onnx), Some(Format::Onnx));
    }
}
