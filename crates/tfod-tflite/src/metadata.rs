//! TFLite Metadata: what programs that know a model by its task have to know of its tensors, in a FlatBuffer of its own within the model, and files that it refers
//! to, behind the model.
//!
//! Specified by `metadata_schema.fbs` of TFLite Support, and for boxes that the program decodes by `object_detector_metadata_schema.fbs` of MediaPipe. What is at its default
//! is left out, so that the file asks for no newer parser than it needs.

use std::collections::BTreeMap;

use crate::flatbuffer::{Builder, Field, NodeRef};

/// The identifier of the format.
const IDENTIFIER: [u8; 4] = *b"M001";
/// The identifier of the format of [`Decoding`].
const DECODING_IDENTIFIER: [u8; 4] = *b"V001";
/// What that is called.
const DECODING: &str = "DETECTOR_METADATA";

/// The first version of the format.
const FIRST: &str = "1.0.0";
/// The first that has groups of tensors.
const WITH_GROUPS: &str = "1.2.0";
/// The first that has parts of another format.
const WITH_CUSTOM: &str = "1.5.0";

/// What is said of a model and its tensors, for people and programs.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Metadata {
    /// What the model is called.
    pub name: String,
    /// What it does.
    pub description: String,
    /// Of inputs, by their names. Inputs and outputs of which nothing is said have their names only.
    pub inputs: BTreeMap<String, TensorNotes>,
    /// Of outputs, by their keys.
    pub outputs: BTreeMap<String, TensorNotes>,
    /// Outputs that belong together row by row: what they are together, and their names in the notes.
    pub groups: Vec<(String, Vec<String>)>,
    /// How boxes are decoded, where the program that runs the model does it.
    pub decoding: Option<Decoding>,
    /// The files that notes refer to: names and contents.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// What is said of a tensor.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TensorNotes {
    /// By what programs find it.
    pub name: String,
    /// What it is, for people.
    pub description: String,
    /// What its numbers are.
    pub content: Content,
    /// What the caller does with pixels.
    pub normalization: Option<PixelNormalization>,
    /// The file that has names for its values or places.
    pub labels: Option<Labels>,
}

impl TensorNotes {
    /// What is only called something and explained.
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: description.into(),
            ..Self::default()
        }
    }
}

/// What the numbers of a tensor are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// Numbers.
    #[default]
    Features,
    /// Pixels: red, green, blue.
    Rgb,
    /// Pixels with other channels.
    OtherImage,
    /// Boxes: ymin, xmin, ymax, xmax, as parts of the image's height and width.
    Boxes,
}

/// A pixel's number becomes `(number - mean) / std`, in all channels alike or in each its own way.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PixelNormalization {
    /// One for all channels, or one for each.
    pub mean: Vec<f32>,
    /// As many.
    pub std: Vec<f32>,
}

impl PixelNormalization {
    /// Of channels; where all are alike, they are one.
    pub fn new<const N: usize>(mean: [f32; N], std: [f32; N]) -> Self {
        let bits = |values: &[f32; N]| values.map(f32::to_bits);
        let is_one = [bits(&mean), bits(&std)]
            .iter()
            .all(|values| values.windows(2).all(|pair| pair[0] == pair[1]));
        let keep = if is_one { N.min(1) } else { N };
        Self {
            mean: mean[..keep].to_vec(),
            std: std[..keep].to_vec(),
        }
    }
}

/// A file with a name in each line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Labels {
    /// Of the values of the tensor, from 0.
    OfValues(String),
    /// Of the places in its last dimension.
    OfPlaces(String),
}

/// Boxes that the program decodes and suppresses. An encoding is `[ty, tx, th, tw]`: the box has the centre `ty / scales[0] * height + y` and the height
/// `exp(th / scales[2]) * height`, likewise for x and the width.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Decoding {
    /// The centres and sizes of anchors: y, x, height, width.
    pub anchors: Vec<[f32; 4]>,
    /// The classes of scores, of which all are looked at.
    pub classes: u32,
    /// Of y, x, height and width.
    pub scales: [f32; 4],
    /// Whether scores are logits, of which the program takes the logistic function.
    pub is_logit: bool,
}

impl Decoding {
    /// That box encodings begin at 0 and have no keypoints.
    pub fn new(anchors: Vec<[f32; 4]>, classes: u32, scales: [f32; 4], is_logit: bool) -> Self {
        Self {
            anchors,
            classes,
            scales,
            is_logit,
        }
    }
}

impl Metadata {
    /// The FlatBuffer, for a model with these inputs and outputs.
    ///
    /// # Errors
    /// Its size, if it is beyond the limit.
    pub(crate) fn buffer(&self, inputs: &[&str], outputs: &[&str]) -> Result<Vec<u8>, u64> {
        let mut b = Builder::default();
        let name = b.text(&self.name);
        let description = b.text(&self.description);
        let mut graph = Vec::new();
        for (slot, keys, notes) in [(2, inputs, &self.inputs), (3, outputs, &self.outputs)] {
            let tables = keys.iter().map(|key| match notes.get(*key) {
                Some(notes) => notes_table(&mut b, notes),
                None => notes_table(&mut b, &TensorNotes::new(*key, "")),
            });
            let tables = tables.collect();
            graph.push((slot, Field::Ref(b.refs(tables))));
        }
        let mut parser = FIRST;
        if !self.groups.is_empty() {
            parser = WITH_GROUPS;
            let groups = self.groups.iter().map(|(name, tensors)| {
                let name = b.text(name);
                let tensors = tensors.iter().map(|tensor| b.text(tensor)).collect();
                let tensors = b.refs(tensors);
                b.table(vec![(0, Field::Ref(name)), (1, Field::Ref(tensors))])
            });
            let groups = groups.collect();
            graph.push((8, Field::Ref(b.refs(groups))));
        }
        if let Some(decoding) = &self.decoding {
            parser = WITH_CUSTOM;
            let name = b.text(DECODING);
            let data = b.bytes(decoding.buffer()?);
            let custom = b.table(vec![(0, Field::Ref(name)), (1, Field::Ref(data))]);
            graph.push((9, Field::Ref(b.refs(vec![custom]))));
        }
        let graph = b.table(graph);
        let graphs = b.refs(vec![graph]);
        let parser = b.text(parser);
        let root = b.table(vec![
            (0, Field::Ref(name)),
            (1, Field::Ref(description)),
            (3, Field::Ref(graphs)),
            (7, Field::Ref(parser)),
        ]);
        Ok(b.lay_out(root, IDENTIFIER)?.head)
    }
}

impl Decoding {
    fn buffer(&self) -> Result<Vec<u8>, u64> {
        let mut b = Builder::default();
        let anchors = self.anchors.iter().map(|[y, x, height, width]| {
            let fields = [x, y, width, height].into_iter().enumerate();
            let fields = fields.map(|(slot, value)| (slot, Field::Float(*value)));
            b.table(fields.collect())
        });
        let anchors = anchors.collect();
        let anchors = b.refs(anchors);
        let fixed = b.table(vec![(0, Field::Ref(anchors))]);
        let anchors = b.table(vec![(0, Field::Ref(fixed))]);
        let [y, x, height, width] = self.scales;
        let int = |value: u32| Field::Int(i32::try_from(value).unwrap_or(i32::MAX));
        let boxes = u32::try_from(self.anchors.len()).unwrap_or(u32::MAX);
        let decoding = b.table(vec![
            (0, int(self.classes)),
            (1, int(boxes)),
            (2, int(4)),
            // Of each of no keypoints; no other number is accepted.
            (5, int(2)),
            (6, Field::Float(x)),
            (7, Field::Float(y)),
            (8, Field::Float(width)),
            (9, Field::Float(height)),
            (10, Field::Byte(1)),
            (11, Field::Byte(self.is_logit.into())),
        ]);
        let parser = b.text(FIRST);
        let root = b.table(vec![
            (0, Field::Ref(parser)),
            (1, Field::Ref(anchors)),
            (2, Field::Ref(decoding)),
        ]);
        Ok(b.lay_out(root, DECODING_IDENTIFIER)?.head)
    }
}

fn notes_table(b: &mut Builder, notes: &TensorNotes) -> NodeRef {
    let mut fields = vec![(0, Field::Ref(b.text(&notes.name)))];
    if !notes.description.is_empty() {
        fields.push((1, Field::Ref(b.text(&notes.description))));
    }
    let (kind, properties) = match notes.content {
        Content::Features => (1, Vec::new()),
        Content::Rgb => (2, vec![(0, Field::Byte(1))]),
        Content::OtherImage => (2, Vec::new()),
        Content::Boxes => {
            // Where xmin, ymin, xmax and ymax are.
            let index = b.ints(&[1, 0, 3, 2]);
            (3, vec![(0, Field::Ref(index)), (1, Field::Byte(1))])
        }
    };
    let properties = b.table(properties);
    let content = b.table(vec![(0, Field::Byte(kind)), (1, Field::Ref(properties))]);
    fields.push((3, Field::Ref(content)));
    if let Some(PixelNormalization { mean, std }) = &notes.normalization {
        let [mean, std] = [mean, std].map(|values| b.floats(values));
        let options = b.table(vec![(0, Field::Ref(mean)), (1, Field::Ref(std))]);
        let unit = b.table(vec![(0, Field::Byte(1)), (1, Field::Ref(options))]);
        fields.push((4, Field::Ref(b.refs(vec![unit]))));
    }
    if let Some(labels) = &notes.labels {
        let (kind, file) = match labels {
            Labels::OfPlaces(file) => (2, file),
            Labels::OfValues(file) => (3, file),
        };
        let name = b.text(file);
        let file = b.table(vec![(0, Field::Ref(name)), (2, Field::Byte(kind))]);
        fields.push((6, Field::Ref(b.refs(vec![file]))));
    }
    b.table(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_that_are_alike_are_one() {
        let one = PixelNormalization::new([127.5; 3], [127.5; 3]);
        assert_eq!((one.mean, one.std), (vec![127.5], vec![127.5]));
        let three = PixelNormalization::new([1.0, 2.0, 3.0], [1.0; 3]);
        assert_eq!((three.mean.len(), three.std.len()), (3, 3));
    }

    #[test]
    fn no_newer_parser_is_asked_for_than_needed() {
        let parser = |metadata: &Metadata| {
            let bytes = metadata.buffer(&["x"], &["y"]).unwrap_or_default();
            assert_eq!(&bytes[4..8], b"M001");
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let mut versions = [FIRST, WITH_GROUPS, WITH_CUSTOM].into_iter();
            versions.rfind(|version| text.contains(version))
        };
        let mut metadata = Metadata::default();
        assert_eq!(parser(&metadata), Some("1.0.0"));
        let rows = vec!["y".to_owned()];
        metadata.groups = vec![("rows".to_owned(), rows)];
        assert_eq!(parser(&metadata), Some("1.2.0"));
        let decoding = Decoding::new(vec![[0.5; 4]; 3], 2, [10.0, 10.0, 5.0, 5.0], true);
        metadata.decoding = Some(decoding);
        assert_eq!(parser(&metadata), Some("1.5.0"));
    }

    /// What is within is aligned as it would be in a file of its own.
    #[test]
    fn boxes_to_be_decoded_are_a_buffer_of_their_own() {
        let mut metadata = Metadata::default();
        let decoding = Decoding::new(vec![[0.5; 4]; 3], 2, [10.0, 10.0, 5.0, 5.0], true);
        let own = decoding.buffer().unwrap_or_default();
        metadata.decoding = Some(decoding);
        let bytes = metadata.buffer(&[], &[]).unwrap_or_default();
        let at = bytes.windows(own.len()).position(|part| part == own);
        assert_eq!(at.map(|at| at % 16), Some(0));
    }
}
