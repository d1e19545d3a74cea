//! A model that is run on pictures.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tfod_config::LabelMap;
use tfod_image::Picture;
use tfod_models::{Batch, GraphOptions, InputType};
use tfod_runnable::{Feed, FoundModel, Launch, RunnableError, RunnableModel, Session};
use tfod_runtime::Tensor;

use crate::decode::{NEEDED, Outputs, READ};
use crate::{ClassNames, DetectError, Detection, KeypointNames};

/// What a detector is to do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DetectorOptions {
    /// The config of a checkpoint; by default that in its folder or the one above.
    pub pipeline_config: Option<PathBuf>,
    /// Where classes have their names from; by default the model's own metadata or manifest.
    pub label_map: Option<PathBuf>,
    /// Only detections of these classes, by name or number; all if there are none.
    pub classes: Vec<String>,
    /// Only detections with at least this score.
    pub score_threshold: f32,
    /// How many pictures are given to the model at once, if it leaves that open.
    pub batch: usize,
    /// How to start a process of its own for the model, with a limit of memory; `None` runs it in this one, without.
    pub apart: Option<Launch>,
}

impl DetectorOptions {
    /// Scores from which on detections are shown, as in the reference's drawings.
    pub const SCORE_THRESHOLD: f32 = 0.5;
}

impl Default for DetectorOptions {
    /// All classes, pictures one by one, in this process.
    fn default() -> Self {
        Self {
            pipeline_config: None,
            label_map: None,
            classes: Vec::new(),
            score_threshold: Self::SCORE_THRESHOLD,
            batch: 1,
            apart: None,
        }
    }
}

/// A model that is ready.
#[derive(Debug)]
pub struct Detector {
    model: RunnableModel,
    session: Session,
    launch: Option<Launch>,
    feed: Feed,
    batch: usize,
    classes: ClassNames,
    keypoints: KeypointNames,
    wanted: Option<BTreeSet<u32>>,
    threshold: f32,
}

/// Reads a model, to compute what detections are made of.
fn open(model: &RunnableModel, launch: Option<&Launch>) -> Result<Session, RunnableError> {
    model.open_for(launch, &READ.map(str::to_owned))
}

impl Detector {
    /// Makes a model ready: a checkpoint with its config, the folder of an export, a SavedModel, a frozen graph or an ONNX model.
    ///
    /// # Errors
    ///
    /// If it is no detector that can be run here, or the label map cannot be read, or has not the classes wanted.
    pub fn open(path: &Path, options: &DetectorOptions) -> Result<Self, DetectError> {
        if !tfod_runnable::IS_THERE {
            return Err(DetectError::NoRuntime);
        }
        let labels = options.label_map.as_deref();
        let labels = labels.map(LabelMap::read).transpose()?;
        let found = FoundModel::open(path)?.with_config(options.pipeline_config.clone());
        let mut graph = GraphOptions::new(InputType::ImageTensor);
        graph.batch = (options.batch > 1).then_some(Batch::Dynamic);
        let model = RunnableModel::of(found.given(), &graph)?;
        let unsupported = |reason: &str| {
            DetectError::Runnable(RunnableError::Unsupported {
                path: model.given().to_owned(),
                reason: reason.to_owned(),
            })
        };
        let outputs = &model.facts().outputs;
        let gives = |key: &&&str| outputs.iter().any(|port| port.key == **key);
        if let Some(missing) = NEEDED.iter().find(|key| !gives(key)) {
            return Err(unsupported(&format!(
                "gives no `{missing}`, so detections cannot be read; expected the outputs of the Object Detection API, after non-max suppression"
            )));
        }
        if model.leaves_preprocessing_to_caller() {
            return Err(unsupported(
                "leaves preprocessing to its caller; export it without that (--no_preprocess), to detect with it here",
            ));
        }
        let feed = model
            .feed()?
            .alone()
            .map_err(|reason| unsupported(&reason))?;
        let classes = labels.as_ref().map_or_else(
            || ClassNames::of_metadata(model.facts()),
            ClassNames::of_labels,
        );
        let wanted = match &options.classes[..] {
            [] => None,
            given => Some(classes.meant(given).map_err(DetectError::Classes)?),
        };
        let session = open(&model, options.apart.as_ref())?;
        Ok(Self {
            session,
            launch: options.apart.clone(),
            batch: feed.fixed_batch().unwrap_or(options.batch.max(1)),
            feed,
            classes,
            keypoints: KeypointNames::of_metadata(model.facts()),
            wanted,
            threshold: options.score_threshold,
            model,
        })
    }

    /// What was given as the model.
    pub fn path(&self) -> &Path {
        self.model.given()
    }

    /// What classes are called.
    pub fn classes(&self) -> &ClassNames {
        &self.classes
    }

    /// What keypoints are called, and which are connected.
    pub fn keypoints(&self) -> &KeypointNames {
        &self.keypoints
    }

    /// The least score of detections.
    pub fn score_threshold(&self) -> f32 {
        self.threshold
    }

    /// How many pictures can be given at once.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Whether pictures of these widths and heights can be given at once.
    pub fn go_together(&self, one: (u32, u32), other: (u32, u32)) -> bool {
        self.feed.size(one) == self.feed.size(other)
    }

    /// What is in pictures; each has its detections, the best first.
    ///
    /// # Errors
    ///
    /// If there are more than [`Self::batch`], or they do not [go together](Self::go_together); if the model fails, or gives something else than detections.
    pub fn detect(&mut self, pictures: &[&Picture]) -> Result<Vec<Vec<Detection>>, DetectError> {
        let Some((first, others)) = pictures.split_first() else {
            return Ok(Vec::new());
        };
        let input = self.feed.tensor_of(first, others)?;
        let names = self.session.inputs().to_vec();
        let inputs: Vec<(&str, &Tensor)> = names.iter().map(|name| (&**name, &input)).collect();
        let outputs = match self.session.run(&inputs) {
            Ok(outputs) => outputs,
            Err(error) => {
                let error = self.model.failed(&error);
                // A process that has ended answers no more.
                self.session = open(&self.model, self.launch.as_ref())?;
                return Err(DetectError::Failed(error));
            }
        };
        let gives = |reason| RunnableError::Unsupported {
            path: self.model.given().to_owned(),
            reason,
        };
        let outputs = Outputs::of(&outputs).map_err(gives)?;
        let is_wanted = |class_id: u32, score: f32| {
            let wanted = self.wanted.as_ref();
            score >= self.threshold && wanted.is_none_or(|wanted| wanted.contains(&class_id))
        };
        let places = 0..pictures.len();
        let found = places.map(|place| outputs.detections(place, is_wanted));
        let found = found.collect::<Result<_, _>>();
        found.map_err(|reason| DetectError::Failed(gives(reason)))
    }
}
