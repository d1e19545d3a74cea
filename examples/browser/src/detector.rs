//! A model that finds objects in pictures, with what its metadata tells of it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tfod_runtime::{Model, Tensor, Values};

/// What is wrong, in words that come after the name of a file.
pub type Problem = String;

/// The outputs that tell detections, as `tfod export` calls them.
const OUTPUTS: [&str; 4] = [BOXES, CLASSES, SCORES, COUNT];
const BOXES: &str = "detection_boxes";
const CLASSES: &str = "detection_classes";
const SCORES: &str = "detection_scores";
const COUNT: &str = "num_detections";

/// A model that was read.
#[derive(Debug)]
pub struct Detector {
    model: Model,
    input: Input,
    labels: Vec<Label>,
}

/// What the model takes: one picture.
#[derive(Clone, Debug)]
struct Input {
    name: String,
    is_float: bool,
    channels_first: bool,
    /// Where the model takes pictures of one size alone.
    height: Option<usize>,
    width: Option<usize>,
}

/// An input in the model's metadata.
#[derive(Deserialize)]
struct Declared {
    name: String,
    dtype: String,
    shape: Vec<Value>,
    layout: Option<String>,
}

/// A class, of which the metadata gives the name.
#[derive(Clone, Debug, Deserialize)]
struct Label {
    id: u64,
    name: String,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Detection {
    /// The number of the class, from 1 on.
    pub class: u64,
    /// Its name; without one, its number.
    pub name: String,
    /// How sure the model is, from 0 to 1.
    pub score: f32,
    /// Upper, left, lower and right edge, as parts of the picture's height and width.
    #[serde(rename = "box")]
    pub edges: [f32; 4],
}

impl Detector {
    /// Reads a model from the bytes of its file.
    ///
    /// # Errors
    ///
    /// If it is no ONNX model that `tfod export` wrote, does not take pictures as people have them, or gives no detections.
    pub fn open(file: &[u8]) -> Result<Self, Problem> {
        let model = Model::from_bytes(Path::new("model"), file)
            .map_err(|error| format!("cannot be run: {}", error.problem()))?;
        let missing: Vec<&str> = OUTPUTS
            .into_iter()
            .filter(|wanted| !model.outputs().iter().any(|name| name == wanted))
            .collect();
        if !missing.is_empty() {
            return Err(format!(
                "has no output {}; expected a model of `tfod export --format onnx` without `--no_nms` and `--raw_encodings`",
                missing.join(", ")
            ));
        }
        let input = Input::of(&model)?;
        let labels = match model.metadata().get("labels") {
            Some(text) => serde_json::from_str(text)
                .map_err(|error| format!("has no labels in its metadata `labels`: {error}"))?,
            None => Vec::new(),
        };
        Ok(Self {
            model,
            input,
            labels,
        })
    }

    /// What the page has to know: the size of pictures where it is fixed, and the names of classes.
    pub fn describe(&self) -> Value {
        let names: Vec<&str> = self.labels.iter().map(|label| &*label.name).collect();
        let about = |key: &str| self.model.metadata().get(key);
        json!({
            "architecture": about("architecture"),
            "num_classes": about("num_classes").and_then(|text| text.parse::<u64>().ok()),
            "labels": names,
            "height": self.input.height,
            "width": self.input.width,
        })
    }

    /// Runs the model on a picture's pixels: red, green, blue and alpha, which does not count, row by row. Gives what was found, best first.
    ///
    /// # Errors
    ///
    /// If the picture has not as many pixels, or not the model's size, or the model fails.
    pub fn detect(
        &self,
        height: usize,
        width: usize,
        pixels: &[u8],
    ) -> Result<Vec<Detection>, Problem> {
        let picture = self.input.tensor(height, width, pixels)?;
        let outputs = self
            .model
            .run(&[(&self.input.name, &picture)])
            .map_err(|error| error.problem())?;
        let find = |wanted: &str| {
            let found = outputs.iter().find(|(name, _)| name == wanted);
            let (_, tensor) = found.ok_or_else(|| format!("the model gave no `{wanted}`"))?;
            match tensor.values() {
                Values::F32(values) => Ok(&**values),
                other => Err(format!(
                    "the model gave `{wanted}` as {}",
                    other.type_name()
                )),
            }
        };
        let count = find(COUNT)?.first().copied().unwrap_or(0.0);
        let (boxes, _) = find(BOXES)?.as_chunks();
        let (classes, scores) = (find(CLASSES)?, find(SCORES)?);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "as many as there are, whatever the model says"
        )]
        let rows = boxes.iter().zip(classes).zip(scores).take(count as usize);
        let mut detections: Vec<Detection> = rows
            .map(|((edges, class), score)| self.detection(*edges, *class, *score))
            .collect();
        detections.sort_by(|one, other| other.score.total_cmp(&one.score));
        Ok(detections)
    }

    fn detection(&self, edges: [f32; 4], class: f32, score: f32) -> Detection {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small whole number"
        )]
        let class = class as u64;
        let label = self.labels.iter().find(|label| label.id == class);
        Detection {
            class,
            name: label.map_or_else(|| format!("class {class}"), |label| label.name.clone()),
            score,
            edges,
        }
    }
}

impl Input {
    fn of(model: &Model) -> Result<Self, Problem> {
        let text = model.metadata().get("inputs").ok_or(
            "says nothing of its inputs in its metadata; expected a model of `tfod export --format onnx`",
        )?;
        let declared: Vec<Declared> = serde_json::from_str(text).map_err(|error| {
            format!("has other metadata `inputs` than `tfod export` writes: {error}")
        })?;
        let [input] = &declared[..] else {
            let names: Vec<&str> = declared.iter().map(|input| &*input.name).collect();
            let names = names.join(", ");
            return Err(format!("expected one input, a picture; it has {names}"));
        };
        let done_by = model.metadata().get("preprocessing");
        let done_by = done_by.and_then(|text| serde_json::from_str::<Value>(text).ok());
        if done_by.is_some_and(|steps| steps["done_by"] == "caller") {
            let problem = "takes pictures that were resized and normalised before; expected a model that was made without `--no_preprocess`";
            return Err(problem.to_owned());
        }
        let is_float = match &*input.dtype {
            "uint8" => false,
            "float32" => true,
            other => {
                return Err(format!(
                    "takes {other}; expected pixels, as uint8 or float32"
                ));
            }
        };
        let channels_first = input.layout.as_deref() == Some("NCHW");
        let size = |value: &Value| value.as_u64().and_then(|size| usize::try_from(size).ok());
        let sizes: Vec<Option<usize>> = input.shape.iter().map(size).collect();
        let ((&[batch, height, width, channels], false)
        | (&[batch, channels, height, width], true)) = (&sizes[..], channels_first)
        else {
            let shape = Value::from(input.shape.clone());
            return Err(format!("takes {shape}; expected one picture"));
        };
        if let Some(number @ 2..) = batch {
            return Err(format!(
                "takes {number} pictures at once; expected a model that was made with `--batch 1` or `dynamic`"
            ));
        }
        if channels != Some(3) {
            return Err("takes no pictures of three colours".to_owned());
        }
        Ok(Self {
            name: input.name.clone(),
            is_float,
            channels_first,
            height,
            width,
        })
    }

    /// A picture as the model takes it.
    fn tensor(&self, height: usize, width: usize, pixels: &[u8]) -> Result<Tensor, Problem> {
        let expected = (self.height.unwrap_or(height), self.width.unwrap_or(width));
        if expected != (height, width) {
            let (rows, columns) = expected;
            return Err(format!(
                "the picture is {width}x{height}; the model takes {columns}x{rows}"
            ));
        }
        let area = height.checked_mul(width);
        if area.and_then(|area| area.checked_mul(4)) != Some(pixels.len()) || pixels.is_empty() {
            let bytes = pixels.len();
            return Err(format!(
                "a picture of {width}x{height} cannot have {bytes} bytes"
            ));
        }
        let (pixels, _) = pixels.as_chunks::<4>();
        let (shape, bytes): (_, Vec<u8>) = if self.channels_first {
            let channels =
                (0..3).flat_map(|channel| pixels.iter().map(move |pixel| pixel[channel]));
            (vec![1, 3, height, width], channels.collect())
        } else {
            let pixels = pixels
                .iter()
                .flat_map(|[red, green, blue, _]| [*red, *green, *blue]);
            (vec![1, height, width, 3], pixels.collect())
        };
        let values = if self.is_float {
            Values::F32(bytes.into_iter().map(f32::from).collect())
        } else {
            Values::U8(bytes)
        };
        Tensor::new(shape, values).map_err(|error| error.to_string())
    }
}
