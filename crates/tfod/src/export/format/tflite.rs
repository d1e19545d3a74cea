//! TFLite models, of the main signature, for one size of images.

use std::path::PathBuf;

use serde_json::{Map, Value, json};
use tfod_models::{Batch, GraphOption, GraphOptions, Model, ModelError};
use tfod_tflite::{Options, TfliteWriter, WeightType};

use super::{Descriptor, Format, FormatReport, Source, Writer, members};
use crate::export::ExportError;
use crate::progress::Step;
use crate::report::{bytes, count};

/// Options that only TFLite has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TfliteOptions {
    /// How kernels are stored.
    pub weights: WeightType,
}

pub(super) struct Tflite;

impl Descriptor for Tflite {
    fn name(&self) -> &'static str {
        "tflite"
    }

    fn about(&self) -> &'static str {
        "model.tflite: for LiteRT (TensorFlow Lite), fixed sizes"
    }

    fn item(&self) -> &'static str {
        "model.tflite"
    }

    fn without_decoding(&self) -> Option<&'static str> {
        Some("TFLite")
    }

    /// All sizes are fixed: a batch of one and images of the network's own size, if nothing else is asked for.
    fn fitted(
        &self,
        asked: &GraphOptions,
        model: &Model,
    ) -> Result<Option<GraphOptions>, ModelError> {
        let mut options = asked.clone();
        if !matches!(options.batch, Some(Batch::Fixed(_))) {
            options.batch = Some(Batch::Fixed(1));
        }
        options.input_size = options.input_size.or(model.image_size);
        if options.input_size.is_none() {
            return Err(ModelError::Option {
                option: GraphOption::InputSize,
                given: "any".to_owned(),
                expected: "height and width of the images that a TFLite model is given, such as 640x640, where the configuration does not fix them".to_owned(),
            });
        }
        Ok((options != *asked).then_some(options))
    }

    fn prepare<'a>(&self, model: &Source<'_, 'a>) -> Result<Box<dyn Writer + 'a>, ExportError> {
        let main = model.main()?;
        let mut options = Options::default();
        options.weights = model.export.tflite.weights;
        let architecture = model.facts.get("architecture").and_then(Value::as_str);
        architecture
            .unwrap_or_default()
            .clone_into(&mut options.description);
        Ok(Box::new(Prepared {
            writer: TfliteWriter::new(main.graph, main.weights, &options)?,
            signature: main.name.to_owned(),
            weights: options.weights,
            left_to_the_caller: resizing(model.facts),
        }))
    }
}

/// What the caller does with an image before the model has it, in pixels, where the model takes images of the network's own size. Where all of preprocessing is the caller's, it says so itself.
fn resizing(facts: &Map<String, Value>) -> Option<Value> {
    let preprocessing = facts.get("preprocessing")?;
    if preprocessing.get("done_by")? != "model" {
        return None;
    }
    let steps = preprocessing.get("steps")?.as_array()?;
    let step = |name: &str| {
        steps
            .iter()
            .find(|step| step.get("step") == Some(&json!(name)))
    };
    let numbers = |step: Option<&Value>, member: &str| -> Option<Vec<f64>> {
        let values = step?.get(member)?.as_array()?;
        values.iter().map(Value::as_f64).collect()
    };
    let shape = facts.get("inputs")?.get(0)?.get("shape")?;
    let size = json!([shape.get(1)?, shape.get(2)?]);
    let resize = step("resize")?;
    if *resize.get("size")? != size {
        return None;
    }
    let mut resizing = json!({ "size": size, "description": resize.get("description")? });
    let (pad, normalize) = (step("pad"), step("normalize"));
    if let (Some(values), Some(scale), Some(shift), Some(members)) = (
        numbers(pad, "values"),
        numbers(normalize, "scale"),
        numbers(normalize, "shift"),
        resizing.as_object_mut(),
    ) {
        // What becomes the padding of the network's input once it is normalised.
        let pixels = values.iter().zip(scale.iter().zip(&shift));
        let pixels = pixels.map(|(value, (scale, shift))| (value - shift) / scale);
        members.insert("padding".to_owned(), json!(pixels.collect::<Vec<f64>>()));
    }
    Some(resizing)
}

struct Prepared<'a> {
    writer: TfliteWriter<'a>,
    signature: String,
    weights: WeightType,
    left_to_the_caller: Option<Value>,
}

impl Writer for Prepared<'_> {
    fn write(
        self: Box<Self>,
        place: &dyn Fn(Format) -> PathBuf,
        tell: &dyn Fn(Step),
    ) -> Result<FormatReport, ExportError> {
        tell(Step::Write("the TFLite model"));
        let written = self.writer.write(&place(Format::Tflite))?;
        Ok(FormatReport {
            format: Format::Tflite,
            summary: format!(
                "{} in {}, kernels in {}, for TensorFlow Lite {} or newer",
                count(written.num_operators(), "operator"),
                bytes(written.bytes),
                self.weights.name(),
                written.runtime,
            ),
            figures: json!({
                "operators": written.num_operators(),
                "bytes": written.bytes,
                "weights": self.weights.name(),
                "min_runtime_version": written.runtime,
            }),
            beside: Vec::new(),
            particulars: members(json!({
                "signature": self.signature,
                "operators": written.operators,
                "weights": self.weights.name(),
                "min_runtime_version": written.runtime,
                "resizing_by_caller": self.left_to_the_caller,
            })),
        })
    }
}
