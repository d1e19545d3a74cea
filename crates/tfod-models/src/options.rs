//! What the graph is to take in and give out, beyond what the configuration says. With the defaults it is what the official exporter
//! writes.

use std::collections::HashSet;

use tfod_graph::Dim;

use crate::error::ModelError;
use crate::fields::invalid_option;
use crate::input::{INPUT_NAME, InputType};
use crate::labels::KeypointLabels;
use crate::side_inputs::SideInput;

/// How many images the graph takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// This many.
    Fixed(u64),
    /// As many as it is given.
    Dynamic,
}

impl Batch {
    /// The largest that may be fixed: every image has its own copy of the suppression.
    pub const LARGEST: u64 = 1024;
}

/// Where the graph ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// After non-max suppression: everything that the reference returns.
    #[default]
    Detections,
    /// Before it: decoded boxes and converted scores of all anchors.
    Boxes,
    /// At the network's own predictions: undecoded boxes and unconverted scores.
    Encodings,
}

/// An option of a graph, for errors about its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GraphOption {
    /// [`GraphOptions::input`]
    InputType,
    /// [`GraphOptions::input_name`]
    InputName,
    /// [`GraphOptions::float_input`]
    FloatInput,
    /// [`GraphOptions::batch`]
    Batch,
    /// [`GraphOptions::input_size`]
    InputSize,
    /// [`GraphOptions::no_preprocess`]
    NoPreprocess,
    /// [`GraphOptions::no_resizing`]
    NoResizing,
    /// [`GraphOptions::outputs`]
    Outputs,
    /// [`GraphOptions::class_thresholds`]
    ClassThresholds,
    /// Whether there are [`GraphOptions::side_inputs`].
    UseSideInputs,
    /// The shapes of [`GraphOptions::side_inputs`].
    SideInputShapes,
    /// The types of [`GraphOptions::side_inputs`].
    SideInputTypes,
    /// The names of [`GraphOptions::side_inputs`].
    SideInputNames,
}

impl GraphOption {
    /// The beginning of a sentence that ends with the value.
    pub(crate) fn subject(self) -> &'static str {
        match self {
            Self::InputType => "the type of the input is",
            Self::InputName => "the name of the input is",
            Self::FloatInput => "taking pixels as floats is",
            Self::Batch => "the batch is",
            Self::InputSize => "the size of the input is",
            Self::NoPreprocess => "leaving preprocessing to the caller is",
            Self::NoResizing => "leaving resizing to the caller is",
            Self::Outputs => "the outputs wanted are",
            Self::ClassThresholds => "a class with a score threshold is",
            Self::UseSideInputs => "taking side inputs is",
            Self::SideInputShapes => "the shapes of the side inputs are",
            Self::SideInputTypes => "the types of the side inputs are",
            Self::SideInputNames => "the names of the side inputs are",
        }
    }
}

/// The options of a graph.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct GraphOptions {
    /// The kind of input.
    pub input: InputType,
    /// What the input is called; by default [`INPUT_NAME`].
    pub input_name: Option<String>,
    /// Take pixels as 32-bit floats, 0 to 255, where they would be bytes.
    pub float_input: bool,
    /// The number of images; by default the one of the input type.
    pub batch: Option<Batch>,
    /// Height and width of the images given; by default they are known only at run time.
    pub input_size: Option<[u64; 2]>,
    /// Take the network's own input, resized and normalised, instead of images.
    pub no_preprocess: bool,
    /// Take pixels that are resized and padded already, in the network's own size; the graph does the rest of preprocessing, and all of them count as image. Only
    /// for resizers that give all images one size.
    pub no_resizing: bool,
    /// Where the graph ends.
    pub stage: Stage,
    /// The outputs wanted, by key; by default all.
    pub outputs: Option<Vec<String>>,
    /// Score thresholds of single classes, in place of the one of non-max suppression. Boxes take part in the suppression of a class only with scores above its
    /// threshold, so what is dropped leaves its place among the detections to others.
    pub class_thresholds: Vec<ClassThreshold>,
    /// What the label map says that the configuration names, where it names one: see [`Description::keypoint_labels`](crate::meta::Description).
    pub keypoint_labels: Option<KeypointLabels>,
    /// Inputs beside the image, for detectors that take some.
    pub side_inputs: Option<Vec<SideInput>>,
    /// Leave out the numbers of anchors: for networks of which only the layers are held against a checkpoint. There can be hundreds of thousands of anchors.
    pub(crate) without_anchors: bool,
}

/// The score threshold of a class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassThreshold {
    /// The class, counted from 1.
    pub id: u64,
    /// Detections of it with lower scores are dropped; 0 to 1.
    pub score: f32,
}

/// Whether a name can be that of an argument in every program that calls the model.
pub(crate) fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl GraphOptions {
    /// The largest side of an image that may be fixed.
    pub const LARGEST_SIDE: u64 = 1 << 16;

    /// The defaults for a kind of input.
    pub fn new(input: InputType) -> Self {
        Self {
            input,
            ..Self::default()
        }
    }

    /// Checks what can be checked without a configuration.
    ///
    /// # Errors
    /// When an option has a value that it cannot have, or does not go with another one.
    pub fn check(&self) -> Result<(), ModelError> {
        if let Some(Batch::Fixed(n)) = self.batch
            && !(1..=Batch::LARGEST).contains(&n)
        {
            return Err(invalid_option(
                GraphOption::Batch,
                n,
                format!("1 to {}", Batch::LARGEST),
            ));
        }
        if let Some([height, width]) = self.input_size
            && [height, width]
                .iter()
                .any(|side| !(1..=Self::LARGEST_SIDE).contains(side))
        {
            return Err(invalid_option(
                GraphOption::InputSize,
                format!("{height}x{width}"),
                format!("1 to {} in both directions", Self::LARGEST_SIDE),
            ));
        }
        if let Some(name) = &self.input_name
            && !is_identifier(name)
        {
            let expected = "letters, digits and `_`, beginning with a letter";
            return Err(invalid_option(
                GraphOption::InputName,
                format!("{name:?}"),
                expected,
            ));
        }
        let mut ids = HashSet::new();
        for ClassThreshold { id, score } in &self.class_thresholds {
            if !(0.0..=1.0).contains(score) {
                let given = format!("{id} with a threshold of {score}");
                let expected = "a threshold from 0 to 1";
                return Err(invalid_option(
                    GraphOption::ClassThresholds,
                    given,
                    expected,
                ));
            }
            if !ids.insert(id) {
                let given = format!("{id}, twice");
                let expected = "each class once";
                return Err(invalid_option(
                    GraphOption::ClassThresholds,
                    given,
                    expected,
                ));
            }
        }
        if self.input.is_encoded() {
            self.check_encoded()?;
        }
        Ok(())
    }

    /// Refuses what only pixels have, where files are given.
    fn check_encoded(&self) -> Result<(), ModelError> {
        let size = self
            .input_size
            .map(|[height, width]| format!("{height}x{width}"));
        let set = |is_set: bool| is_set.then(|| "on".to_owned());
        for (option, given, reason) in [
            (
                GraphOption::InputSize,
                size,
                "whose images have sizes of their own",
            ),
            (
                GraphOption::FloatInput,
                set(self.float_input),
                "which have no pixels",
            ),
            (
                GraphOption::NoPreprocess,
                set(self.no_preprocess),
                "which the model has to decode",
            ),
            (
                GraphOption::NoResizing,
                set(self.no_resizing),
                "whose images have sizes of their own",
            ),
        ] {
            if let Some(given) = given {
                let expected = if given == "on" {
                    format!("off with inputs of type {}, {reason}", self.input)
                } else {
                    format!("none with inputs of type {}, {reason}", self.input)
                };
                return Err(invalid_option(option, given, expected));
            }
        }
        Ok(())
    }

    /// The name of the input.
    pub(crate) fn input_name(&self) -> &str {
        self.input_name.as_deref().unwrap_or(INPUT_NAME)
    }

    /// The size of the batch as the graph has it.
    pub(crate) fn batch_dim(&self) -> Dim {
        match (self.batch, self.input) {
            (Some(Batch::Fixed(n)), _) => Dim::Known(n),
            (None, InputType::ImageTensor | InputType::ImageAndBoxesTensor)
                if !self.no_preprocess =>
            {
                Dim::Known(1)
            }
            (Some(Batch::Dynamic) | None, _) => Dim::symbol("batch"),
        }
    }
}
