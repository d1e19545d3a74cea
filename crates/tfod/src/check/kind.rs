//! What a config, or a checkpoint, is of: told by the config's messages, and by the keys of the checkpoint's variables, which are held against the marks of
//! each meta-architecture. Those that cannot be exported yet are recognised too, and so is what is no detector of TensorFlow 2 at all.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use tfod_checkpoint::{Bundle, BundleKind, Entry, unescape};
use tfod_config::protos;
use tfod_models::meta::{ALL, Family, Marks, describe};
use tfod_text::Shown;

/// What a config describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigKind {
    /// The family.
    pub family: Family,
    /// The feature extractor, as the config calls it.
    pub extractor: String,
    /// Classes without background.
    pub num_classes: Option<i32>,
}

impl ConfigKind {
    /// Recognises what a config describes; `None` if it describes no model.
    pub fn of(model: &protos::DetectionModel) -> Option<Self> {
        let description = describe(model)?;
        Some(Self {
            family: description.family,
            extractor: description.extractor.to_owned(),
            num_classes: description.num_classes,
        })
    }
}

impl fmt::Display for ConfigKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_kind(f, self.family, &self.extractor, self.num_classes)
    }
}

fn write_kind(
    f: &mut fmt::Formatter<'_>,
    family: Family,
    extractor: &str,
    num_classes: Option<i32>,
) -> fmt::Result {
    f.write_str(family.name())?;
    if !extractor.is_empty() {
        write!(f, ", {extractor}")?;
    }
    match num_classes {
        Some(1) => f.write_str(", 1 class"),
        Some(n) => write!(f, ", {n} classes"),
        None => Ok(()),
    }
}

/// What a checkpoint is of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckpointKind {
    /// A detector of the TensorFlow 2 Object Detection API.
    Detector {
        /// The family.
        family: Family,
        /// The feature extractor or backbone, where it is known; else empty.
        extractor: String,
        /// Classes without background, where they are known.
        num_classes: Option<i32>,
    },
    /// The variables of a SavedModel; with the family, where they are of an official export, whose names have lost their layers.
    SavedModelVariables(Option<Family>),
    /// A backbone alone, to start training from.
    Backbone,
    /// A detector of the TensorFlow 1 Object Detection API.
    TensorFlow1(Family),
    /// What training saves before its first step, when the model has no variables yet.
    BeforeFirstStep,
    /// Another checkpoint of TensorFlow 1.
    NameBased,
    /// Another checkpoint of TensorFlow 2; with the names at its root.
    Other(Vec<String>),
}

impl CheckpointKind {
    /// Recognises a checkpoint by its keys. The feature extractor and the classes of an SSD are not looked for here.
    pub fn of(bundle: &Bundle) -> Self {
        let keys: Vec<&str> = bundle.entries().map(Entry::key).collect();
        let below = |root: &str, marks: fn(&Marks) -> &'static [(&'static str, Family)]| {
            let mut all = ALL.iter().flat_map(|meta| marks(&meta.marks));
            let found = all.find(|(start, _)| {
                let has = |key: &&str| {
                    key.strip_prefix(root)
                        .is_some_and(|rest| rest.starts_with(start))
                };
                keys.iter().any(has)
            });
            found.map(|(_, family)| *family)
        };
        if bundle.kind() == BundleKind::NameBased {
            return below("", |marks| marks.tensorflow_1)
                .map_or(Self::NameBased, Self::TensorFlow1);
        }
        if let Some(family) = below("model/", |marks| marks.trained) {
            return Self::Detector {
                family,
                extractor: backbone(family, &keys).unwrap_or_default().to_owned(),
                num_classes: num_classes(family, bundle),
            };
        }
        let saved = below("_model/", |marks| marks.exported);
        let saved = saved.or_else(|| below("", |marks| marks.exported));
        if saved.is_some() || saved_model_of(bundle.prefix()).is_some() {
            return Self::SavedModelVariables(saved);
        }
        let roots: BTreeSet<&str> = keys
            .iter()
            .filter_map(|key| key.split('/').next())
            .filter(|root| *root != tfod_checkpoint::OBJECT_GRAPH_KEY)
            .collect();
        if roots.contains("feature_extractor") || roots.contains("_feature_extractor") {
            return Self::Backbone;
        }
        if roots == BTreeSet::from(["save_counter", "step"]) {
            return Self::BeforeFirstStep;
        }
        let names = roots
            .into_iter()
            .map(|root| unescape(root).unwrap_or_else(|| root.to_owned()));
        Self::Other(names.collect())
    }

    /// What to do with a detector of a family that cannot be exported yet.
    pub fn workaround(&self) -> Option<String> {
        match self {
            Self::Detector { family, .. } => family.workaround(),
            _ => None,
        }
    }

    /// Whether it is of a detector that training wrote.
    pub fn is_detector(&self) -> bool {
        matches!(self, Self::Detector { .. })
    }

    /// Its name in JSON, one word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Detector { .. } => "detector",
            Self::SavedModelVariables(_) => "saved_model_variables",
            Self::Backbone => "backbone",
            Self::BeforeFirstStep => "before_first_step",
            Self::TensorFlow1(_) => "tensorflow_1_detector",
            Self::NameBased => "tensorflow_1",
            Self::Other(_) => "other",
        }
    }

    /// What to do with a checkpoint that is no detector's, and has this prefix.
    pub fn remedy(&self, prefix: &Path) -> Option<String> {
        let remedy = match self {
            Self::Detector { .. } => None,
            Self::SavedModelVariables(_) => return Some(instead_of_saved_model(prefix)),
            Self::Backbone => Some("give the folder that training wrote to"),
            Self::BeforeFirstStep => Some("choose a later checkpoint"),
            Self::TensorFlow1(_) | Self::NameBased => Some(
                "TensorFlow 1 models are trained and exported by TensorFlow 1's Object Detection API; train again with TensorFlow 2",
            ),
            Self::Other(_) => Some(
                "a checkpoint of the TensorFlow 2 Object Detection API keeps its detector under `model`",
            ),
        };
        remedy.map(str::to_owned)
    }
}

/// The folder of the SavedModel whose variables have this prefix.
fn saved_model_of(prefix: &Path) -> Option<&Path> {
    let folder = prefix
        .parent()
        .filter(|_| prefix.ends_with("variables/variables"))?;
    let folder = folder.parent()?;
    let is_saved_model = |name: &str| folder.join(name).is_file();
    let is_there = is_saved_model("saved_model.pb") || is_saved_model("saved_model.pbtxt");
    is_there.then_some(folder)
}

/// What to do with the variables of a SavedModel.
fn instead_of_saved_model(prefix: &Path) -> String {
    const WHY: &str = "a SavedModel cannot be exported again, as its variables are not all of the model, or have lost their layers' names";
    let Some(folder) = saved_model_of(prefix) else {
        return format!(
            "{WHY}; give the checkpoint it was exported from, which exports keep in the folder `checkpoint` beside `saved_model`; a SavedModel itself can be frozen"
        );
    };
    let beside = folder.parent().unwrap_or(Path::new(""));
    let checkpoint = beside.join("checkpoint");
    let instead = if checkpoint.is_dir() {
        format!("give the checkpoint beside it, {}", checkpoint.shown())
    } else {
        "give the checkpoint it was exported from".to_owned()
    };
    format!(
        "{WHY}; {instead}, or freeze the SavedModel: {}",
        folder.shown()
    )
}

/// The keys of the model's variables behind `model/`, optimizer slots left out.
fn model_keys<'a>(keys: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    let keys = keys.iter().filter_map(|key| key.strip_prefix("model/"));
    keys.filter(|key| !key.contains("/.OPTIMIZER_SLOT/"))
}

fn backbone(family: Family, keys: &[&str]) -> Option<&'static str> {
    let found = family.meta().marks.backbones.iter().find(|mark| {
        let count = model_keys(keys).filter(|key| key.starts_with(mark.start));
        let count = count.count();
        mark.count.map_or(count > 0, |expected| count == expected)
    });
    found.map(|mark| mark.name)
}

/// The classes of detectors whose last bias of the class head has one value for each.
fn num_classes(family: Family, bundle: &Bundle) -> Option<i32> {
    let (head, background) = family.meta().marks.class_head?;
    let biases = bundle.entries().filter(|entry| {
        let key = entry.key().strip_prefix("model/");
        key.is_some_and(|key| {
            key.starts_with(head) && key.contains("/bias/") && !key.contains("/.OPTIMIZER_SLOT/")
        })
    });
    let size = *biases.last()?.shape().last()?;
    i32::try_from(size).ok()?.checked_sub(background)
}

impl fmt::Display for CheckpointKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Detector {
                family,
                extractor,
                num_classes,
            } => write_kind(f, *family, extractor, *num_classes),
            Self::SavedModelVariables(None) => f.write_str("the variables of a SavedModel"),
            Self::SavedModelVariables(Some(family)) => {
                write!(
                    f,
                    "the variables of an exported SavedModel ({})",
                    family.name()
                )
            }
            Self::Backbone => f.write_str("a backbone to start training from, not a detector"),
            Self::BeforeFirstStep => f.write_str(
                "what training saved before its first step, when the model had no variables yet",
            ),
            Self::TensorFlow1(family) => write!(
                f,
                "a detector of the TensorFlow 1 Object Detection API ({})",
                family.name()
            ),
            Self::NameBased => f.write_str("a checkpoint of TensorFlow 1"),
            Self::Other(names) => {
                /// How many names are shown.
                const SHOWN: usize = 8;
                let shown = names.iter().take(SHOWN);
                let shown: Vec<String> = shown.map(|name| name.shown().to_string()).collect();
                write!(
                    f,
                    "no checkpoint of the TensorFlow 2 Object Detection API; it holds {}",
                    shown.join(", ")
                )
            }
        }
    }
}
