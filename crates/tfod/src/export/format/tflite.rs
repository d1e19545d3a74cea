//! TFLite models, of the main signature, for one size of images.

mod metadata;

use std::path::PathBuf;

use serde_json::{Value, json};
use tfod_checkpoint::release_pages;
use tfod_models::{Batch, Facts, GraphOption, GraphOptions, Model, ModelError, NoEnding, Stage};
use tfod_tflite::{Options, Suppression, TfliteWriter, WeightType};

use super::option::{FormatOption, OptionValue};
use super::{Exporter, Format, FormatInput, FormatReport, Writer, members};
use crate::export::labels::ClassNames;
use crate::export::signatures::Signature;
use crate::export::{Export, ExportError, manifest};
use crate::progress::Step;
use crate::report::{bytes, count};

/// Options that only TFLite has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TfliteOptions {
    /// How kernels are stored.
    pub weights: WeightType,
    /// By what detections are selected.
    pub suppression: Suppression,
}

pub(super) struct Tflite;

const HEADING: &str = "Options of the TFLite model";

/// What the operator that decodes and suppresses gives.
const DETECTIONS: [&str; 4] = [
    "detection_boxes",
    "detection_classes",
    "detection_scores",
    "num_detections",
];
/// What a model may give besides: it comes before that.
const BEFORE: [&str; 2] = ["raw_detection_boxes", "raw_detection_scores"];

const OPTIONS: &[FormatOption] = &[WEIGHTS, SUPPRESSION];

const SUPPRESSION: FormatOption = FormatOption {
    name: "tflite_nms",
    heading: HEADING,
    about: "By what the TFLite model selects detections; builtin without it",
    details: Some(
        "  builtin  TFLite's operators: the results of all formats
  regular  TFLite_Detection_PostProcess, class by class, as in the
           official converter's models with --ssd_use_regular_nms;
           boxes without area stay; slow with many classes and a
           low threshold
  fast     the same for all classes at once: less time, and fewer
           boxes where objects of different classes overlap
  regular and fast give detection_boxes, detection_classes,
  detection_scores and num_detections, with --outputs the raw
  ones too, and need --batch 1",
    ),
    value_name: "KIND",
    value: OptionValue::Name(|| Suppression::ALL.map(Suppression::name).to_vec()),
    set: |export, value| {
        let mut all = Suppression::ALL.into_iter();
        export.tflite.suppression = all.find(|kind| kind.name() == value)?;
        Some(())
    },
};

const WEIGHTS: FormatOption = FormatOption {
    name: "weights",
    heading: HEADING,
    about: "How the kernels of the TFLite model are stored; float32 without it",
    details: Some(
        "  float32  with all bits of the checkpoint
  float16  half the size; runtimes widen them when they load the
           model, whose encodings change by some 1e-3
  dynamic_int8
           a third of the size; kernels of convolutions have 8
           bits, activations are quantised while the model runs, and
           encodings change by some 1e-2; slower than float32 on some
           processors, for TensorFlow Lite 2.4.0 or newer",
    ),
    value_name: "TYPE",
    value: OptionValue::Name(|| WeightType::ALL.map(WeightType::name).to_vec()),
    set: |export, value| {
        let mut all = WeightType::ALL.into_iter();
        let weights = all.find(|weights| weights.name() == value)?;
        export.tflite.weights = weights;
        Some(())
    },
};

fn refused(option: GraphOption, given: &str, expected: impl Into<String>) -> ExportError {
    ExportError::Options(ModelError::Option {
        option,
        given: given.to_owned(),
        expected: expected.into(),
    })
}

/// Refuses the operator that decodes and suppresses for models that end otherwise.
fn check_ending(suppression: Suppression, reason: Option<NoEnding>) -> Result<(), ExportError> {
    match reason {
        Some(reason) if suppression != Suppression::Builtin => Err(ExportError::OtherSuppression {
            suppression: suppression.name(),
            reason,
        }),
        _ => Ok(()),
    }
}

/// The outputs that are left where one operator decodes and suppresses.
fn left_outputs(asked: Option<&Vec<String>>) -> Result<Vec<String>, ExportError> {
    let Some(keys) = asked else {
        return Ok(DETECTIONS.map(str::to_owned).to_vec());
    };
    let given = |key: &String| DETECTIONS.contains(&key.as_str());
    let is_left = |key: &&String| given(key) || BEFORE.contains(&key.as_str());
    if let Some(key) = keys.iter().find(|key| !is_left(key)) {
        let expected = format!(
            "{}: TFLite's operator for suppression gives no more; builtin suppression does",
            [&DETECTIONS[..], &BEFORE].concat().join(", ")
        );
        return Err(refused(GraphOption::Outputs, key, expected));
    }
    if !keys.iter().any(given) {
        let expected = format!(
            "at least one of {}, which TFLite's operator for suppression gives; without them use builtin suppression",
            DETECTIONS.join(", ")
        );
        return Err(refused(GraphOption::Outputs, &keys.join(","), expected));
    }
    Ok(keys.clone())
}

impl Exporter for Tflite {
    fn options(&self) -> &'static [FormatOption] {
        OPTIONS
    }

    /// All sizes are fixed: a batch of one and images of the network's own size, if nothing else is asked for, or sizes that other formats leave to the caller.
    fn fitted(
        &self,
        asked: &GraphOptions,
        model: &Model,
        export: &Export,
    ) -> Result<Option<GraphOptions>, ExportError> {
        if export.writes_one_format() && asked.batch == Some(Batch::Dynamic) {
            return Err(refused(
                GraphOption::Batch,
                "dynamic",
                format!(
                    "1 to {}: a TFLite model takes batches of one size",
                    Batch::LARGEST
                ),
            ));
        }
        let mut options = asked.clone();
        if !matches!(options.batch, Some(Batch::Fixed(_))) {
            options.batch = Some(Batch::Fixed(1));
        }
        let resizing = &model.facts.resizing;
        if options.input_size.is_none()
            && !options.no_preprocess
            && resizing.size.is_some()
            && resizing.size == model.image_size
        {
            options.no_resizing = true;
        }
        options.input_size = options.input_size.or(model.image_size);
        if options.input_size.is_none() {
            return Err(refused(
                GraphOption::InputSize,
                "any",
                "height and width of the images that a TFLite model is given, such as 640x640, where the configuration does not fix them",
            ));
        }
        let suppression = export.tflite.suppression;
        if suppression != Suppression::Builtin {
            if options.stage != Stage::Detections {
                let suppression = suppression.name();
                return Err(ExportError::NothingToSuppress { suppression });
            }
            let reason = model.no_ending;
            check_ending(
                suppression,
                reason.filter(|reason| !reason.depends_on_size()),
            )?;
            options.outputs = Some(left_outputs(options.outputs.as_ref())?);
        }
        Ok((options != *asked).then_some(options))
    }

    fn prepare<'a>(
        &self,
        model: &FormatInput<'_, 'a>,
    ) -> Result<Box<dyn Writer + 'a>, ExportError> {
        let main = model.main()?;
        let mut options = Options::default();
        options.weights = model.export.tflite.weights;
        options.suppression = model.export.tflite.suppression;
        let Signature {
            model: network,
            options: asked,
            ..
        } = model.network;
        check_ending(options.suppression, network.no_ending)?;
        let architecture = &network.architecture;
        options.description.clone_from(architecture);
        options.metadata = model.labels.map(|labels| {
            let count = network.num_classes;
            metadata::metadata(model.network, &ClassNames { labels, count })
        });
        Ok(Box::new(Prepared {
            writer: TfliteWriter::new(main.graph, main.weights, &options)?.telling(release_pages),
            signature: main.name.to_owned(),
            weights: options.weights,
            suppression: (asked.stage == Stage::Detections && suppresses(&network.facts))
                .then(|| options.suppression.name()),
            left_to_the_caller: resizing(model.network),
        }))
    }
}

/// Whether the last stage, which gives the detections, has non-max suppression.
fn suppresses(facts: &Facts) -> bool {
    let last = facts.stages.last();
    last.is_some_and(|stage| stage.suppression.is_some())
}

/// What the caller does with an image before the model has it, in pixels, where the model takes images of the network's own size and does not resize them. Where all of preprocessing is the caller's, it says so itself.
fn resizing(network: &Signature) -> Option<Value> {
    if network.options.no_preprocess {
        return None;
    }
    let Model { graph, facts, .. } = &network.model;
    let image = graph.value(*graph.inputs().first()?).shape.sizes()?;
    let size = facts.resizing.size?;
    let is_left = network.options.no_resizing || facts.resizing.keeps_size;
    (is_left && image.get(1..3)? == size).then_some(())?;
    let resizing = &facts.resizing.description;
    Some(match &facts.resizing.padding {
        None => json!({ "size": size, "description": resizing }),
        Some(padding) => {
            let pixel = facts.normalization.pixel(padding.values);
            json!({
                "size": size,
                "description": format!("{resizing}; then padded {}", padding.description),
                "padding": manifest::numbers(pixel),
            })
        }
    })
}

struct Prepared<'a> {
    writer: TfliteWriter<'a>,
    signature: String,
    weights: WeightType,
    /// By what detections are selected, if they are.
    suppression: Option<&'static str>,
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
                "{} in {}, kernels in {}, {}for TensorFlow Lite {} or newer",
                count(written.num_operators(), "operator"),
                bytes(written.bytes),
                self.weights.name(),
                self.suppression
                    .map_or_else(String::new, |kind| format!("{kind} suppression, ")),
                written.runtime,
            ),
            figures: json!({
                "operators": written.num_operators(),
                "bytes": written.bytes,
                "weights": self.weights.name(),
                "non_max_suppression": self.suppression,
                "min_runtime_version": written.runtime,
            }),
            beside: Vec::new(),
            particulars: members(json!({
                "signature": self.signature,
                "operators": written.operators,
                "weights": self.weights.name(),
                "non_max_suppression": self.suppression,
                "min_runtime_version": written.runtime,
                "resizing_by_caller": self.left_to_the_caller,
            })),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use tfod_graph::{Builder, DType, Shape, Unary};
    use tfod_models::InputType;
    use tfod_models::facts::{ImagePadding, Normalization, Resizing, StageFacts};

    use super::*;

    /// A network that sees blue, green, red, and has grey below and on the right of the image.
    fn network(image: [u64; 2]) -> Signature {
        let mut b = Builder::new("g");
        let shape = Shape::known(&[1, image[0], image[1], 3]);
        let x = b.input("input_tensor", DType::F32, shape);
        let y = b.unary("y", Unary::Relu, x).unwrap();
        b.output("y", y);
        let facts = Facts {
            resizing: Resizing {
                resizer: "keep_aspect_ratio_resizer",
                size: Some([8, 8]),
                keeps_size: true,
                method: None,
                description: "to 8x8".to_owned(),
                padding: Some(ImagePadding {
                    values: [0.0, 1.0, 2.0],
                    description: "to 8x8".to_owned(),
                }),
                grayscale: false,
            },
            normalization: Normalization {
                scale: [0.5, 1.0, 2.0],
                shift: [-8.0, -9.0, -10.0],
                reversed: true,
                padding_too: false,
            },
            stages: Vec::new(),
            keypoints: Vec::new(),
            further_inputs: Vec::new(),
        };
        Signature {
            name: "serving_default".to_owned(),
            options: GraphOptions::new(InputType::FloatImageTensor),
            model: Model {
                graph: b.finish(),
                idle: Vec::new(),
                architecture: "some".to_owned(),
                num_classes: 1,
                image_size: Some([8, 8]),
                no_ending: None,
                facts,
            },
        }
    }

    #[test]
    fn the_caller_pads_with_red_green_blue() {
        let found = resizing(&network([8, 8])).unwrap();
        // Of the three, the network sees the last channel of the pixel first.
        assert_eq!(found["padding"], json!([20.0, 10.0, 5.0]));
        assert_eq!(found["size"], json!([8, 8]));
        assert_eq!(found["description"], "to 8x8; then padded to 8x8");
    }

    #[test]
    fn who_resizes_is_said_as_it_is() {
        let mut network = network([8, 8]);
        network.model.facts.resizing.keeps_size = false;
        assert_eq!(resizing(&network), None, "the model resizes these again");
        let export = Export::new("config", "checkpoint", "out");
        let Signature { options, model, .. } = &network;
        let fitted = Tflite.fitted(options, model, &export).unwrap().unwrap();
        assert!(fitted.no_resizing);
        assert_eq!(fitted.input_size, Some([8, 8]));
        // Whoever names a size has what other formats give for it.
        let mut sized = options.clone();
        sized.input_size = Some([8, 8]);
        let sized = Tflite.fitted(&sized, model, &export).unwrap().unwrap();
        assert!(!sized.no_resizing);
        network.options = fitted;
        assert_eq!(resizing(&network).unwrap()["size"], json!([8, 8]));
    }

    #[test]
    fn a_batch_of_any_size_is_refused_where_no_other_format_has_it() {
        let Signature {
            mut options, model, ..
        } = network([8, 8]);
        options.batch = Some(Batch::Dynamic);
        let mut export = Export::new("config", "checkpoint", "out");
        export.formats = vec![Format::Tflite];
        let alone = Tflite.fitted(&options, &model, &export).unwrap_err();
        assert!(alone.to_string().contains("batches of one size"), "{alone}");
        export.formats.push(Format::Onnx);
        let beside = Tflite.fitted(&options, &model, &export).unwrap().unwrap();
        assert_eq!(beside.batch, Some(Batch::Fixed(1)));
        export.formats.pop();
        options.batch = None;
        assert!(Tflite.fitted(&options, &model, &export).is_ok());
    }

    #[test]
    fn one_operator_leaves_the_outputs_that_it_gives() {
        let Signature {
            mut options, model, ..
        } = network([8, 8]);
        let mut export = Export::new("config", "checkpoint", "out");
        export.tflite.suppression = Suppression::Fast;
        let fitted = Tflite.fitted(&options, &model, &export).unwrap().unwrap();
        assert_eq!(fitted.outputs.unwrap(), DETECTIONS);
        let some = vec!["detection_scores".to_owned(), BEFORE[0].to_owned()];
        options.outputs = Some(some.clone());
        let fitted = Tflite.fitted(&options, &model, &export).unwrap().unwrap();
        assert_eq!(fitted.outputs.unwrap(), some);
        options.outputs = Some(vec!["detection_anchor_indices".to_owned()]);
        let refused = Tflite.fitted(&options, &model, &export).unwrap_err();
        let said = refused.to_string();
        assert!(
            said.contains("detection_anchor_indices; expected detection_boxes"),
            "{said}"
        );
        options.outputs = Some(BEFORE.map(str::to_owned).to_vec());
        let refused = Tflite.fitted(&options, &model, &export).unwrap_err();
        let said = refused.to_string();
        assert!(
            said.contains("at least one of detection_boxes") && said.contains("builtin"),
            "{said}"
        );
        options.outputs = None;
        options.stage = Stage::Boxes;
        let refused = Tflite.fitted(&options, &model, &export).unwrap_err();
        let said = refused.to_string();
        assert!(
            said.contains("fast suppression has no effect on a graph that ends before"),
            "{said}"
        );
        export.tflite.suppression = Suppression::Builtin;
        assert!(Tflite.fitted(&options, &model, &export).is_ok());
    }

    #[test]
    fn what_ends_otherwise_is_refused_with_the_reason() {
        let Signature {
            options, mut model, ..
        } = network([8, 8]);
        let mut export = Export::new("config", "checkpoint", "out");
        export.tflite.suppression = Suppression::Regular;
        // At the size of the TFLite model there may be none.
        model.no_ending = Some(NoEnding::Padding);
        assert!(Tflite.fitted(&options, &model, &export).is_ok());
        let refused = check_ending(Suppression::Regular, model.no_ending).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "TFLite's regular suppression is not for images that the model pads; expected builtin suppression"
        );
        model.no_ending = Some(NoEnding::BoxCoder("square_box_coder"));
        let refused = Tflite.fitted(&options, &model, &export).unwrap_err();
        let said = refused.to_string();
        assert!(said.contains("for boxes of square_box_coder;"), "{said}");
        export.tflite.suppression = Suppression::Builtin;
        assert!(Tflite.fitted(&options, &model, &export).is_ok());
    }

    #[test]
    fn only_models_with_suppression_are_said_to_have_one() {
        let mut facts = network([8, 8]).model.facts;
        assert!(!suppresses(&facts));
        let stage = |suppression| StageFacts {
            name: "detections",
            suppression,
            boxes: None,
            scores: None,
        };
        facts.stages = vec![stage(None)];
        assert!(!suppresses(&facts));
        facts.stages = vec![stage(Some(tfod_models::facts::Suppression {
            score_threshold: 0.0,
            class_thresholds: Vec::new(),
            iou_threshold: 0.5,
            max_detections_per_class: None,
            max_total_detections: 10,
            soft_nms_sigma: 0.0,
        }))];
        assert!(suppresses(&facts));
    }

    #[test]
    fn a_model_that_resizes_itself_leaves_nothing_to_the_caller() {
        assert_eq!(resizing(&network([9, 8])), None);
        let mut network = network([8, 8]);
        network.options.no_preprocess = true;
        assert_eq!(resizing(&network), None);
    }
}
