//! What the configuration says of keypoint tasks.

use std::collections::HashMap;

use tfod_config::protos;
use tfod_config::protos::center_net::{KeypointEstimation, PredictionHeadParams};

use super::super::heads::HeadLayers;
use super::super::objects::peak_window;
use crate::error::ModelError;
use crate::fields::{FieldPath, Message, invalid, missing, size, unsupported};
use crate::labels::{Keypoint, KeypointClass, KeypointLabels};

/// More tasks are a mistake: each is of a class of its own, and has heads of its own.
pub(in super::super) const MOST_TASKS: usize = 256;
/// More keypoints of all tasks together are a mistake; whole bodies with hands and faces have some 130.
pub(in super::super) const MOST_KEYPOINTS: usize = 1 << 14;

/// How candidates of a keypoint are ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Ranking {
    /// The nearest to where the object's regression puts the keypoint.
    MinDistance,
    /// By score / (distance + `score_distance_offset`).
    ScoreDistanceRatio,
    /// By score / (distance + longer side of the box * `score_distance_multiplier`).
    ScoreScaledDistanceRatio,
    /// By score times a Gaussian of the distance, whose width goes by the box.
    GaussianWeighted,
    /// By score times a Gaussian of the distance, whose width goes by the image; only with `argmax_postprocessing`.
    GaussianWeightedConst,
}

impl Ranking {
    const ALL: [(&'static str, Self); 5] = [
        ("min_distance", Self::MinDistance),
        ("score_distance_ratio", Self::ScoreDistanceRatio),
        (
            "score_scaled_distance_ratio",
            Self::ScoreScaledDistanceRatio,
        ),
        ("gaussian_weighted", Self::GaussianWeighted),
        ("gaussian_weighted_const", Self::GaussianWeightedConst),
    ];

    fn named(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|(own, _)| *own == name)
            .map(|(_, ranking)| ranking)
    }
}

/// One keypoint task: the keypoints of one class.
#[derive(Clone, Debug)]
pub(in super::super) struct Task {
    /// Where it stands.
    pub path: FieldPath,
    /// Its name, which its heads have too.
    pub name: String,
    /// The class, from 0.
    pub class_id: i32,
    /// The keypoints in the order of the heads' channels.
    pub keypoints: Vec<Keypoint>,
    /// For each keypoint, how wide its Gaussian is, `std_dev_multiplier` included.
    pub std_devs: Vec<f32>,
    /// Of the heads of heat maps, offsets and regression.
    pub heads: [HeadLayers; 3],
    /// Of the head of depths.
    pub depth_head: HeadLayers,
    /// Candidates with lower scores do not count.
    pub candidate_threshold: f32,
    /// Candidates of a keypoint.
    pub num_candidates: u64,
    /// The window in which a candidate is the largest; with 1, any cell is one.
    pub peak_window: u64,
    /// The score of a keypoint without candidate.
    pub unmatched_score: f32,
    /// By how much boxes are enlarged before candidates outside of them are left out.
    pub box_scale: f32,
    /// How far candidates may be, in parts of the longer side of the box.
    pub search_scale: f32,
    /// How candidates are ranked.
    pub ranking: Ranking,
    /// What is added to distances.
    pub distance_offset: f32,
    /// What a box's longer side is multiplied by before it is added to distances.
    pub distance_multiplier: f32,
    /// Whether each keypoint has offsets of its own.
    pub per_keypoint_offset: bool,
    /// How many channels depths have; `None` where they are not predicted.
    pub depth_channels: Option<u64>,
    /// Whether keypoints beyond the image are moved to its border and lose their score.
    pub clips: bool,
    /// Above which score a keypoint counts for the object's score; `None` where that stays as it is.
    pub rescoring_threshold: Option<f32>,
    /// Whether each keypoint is the largest cell of its rescored map, instead of the best of several candidates.
    pub uses_arg_max: bool,
    /// The square of a Gaussian's width, in parts of the shorter side of the map.
    pub gaussian_ratio: f32,
}

impl Task {
    /// How many keypoints it has.
    pub(in super::super) fn num_keypoints(&self) -> u64 {
        self.keypoints.len() as u64
    }
}

/// All keypoint tasks of a model.
#[derive(Clone, Debug)]
pub(in super::super) struct Tasks {
    /// In the order of the configuration; names, classes and keypoints' ids are those of one task each.
    pub tasks: Vec<Task>,
    /// Whether there is one task, and its class is the only one: then outputs have the task's keypoints in its own order.
    pub is_single: bool,
}

impl Tasks {
    /// Those of a configuration; `None` where it has none.
    pub(in super::super) fn from_config(
        config: Message<'_, protos::CenterNet>,
        labels: Option<&KeypointLabels>,
    ) -> Result<Option<Self>, ModelError> {
        const FIELD: &str = "keypoint_estimation_task";
        if config.keypoint_estimation_task.is_empty() {
            return Ok(None);
        }
        let map_field = config.field("keypoint_label_map_path");
        let labels = labels.ok_or_else(|| missing(map_field))?;
        let has_boxes = config.object_detection_task.is_some();
        let num_tasks = config.keypoint_estimation_task.len();
        if num_tasks > MOST_TASKS {
            let given = format!("{num_tasks} tasks");
            return Err(invalid(
                config.field(FIELD),
                given,
                format!("at most {MOST_TASKS}"),
            ));
        }
        let is_single = num_tasks == 1 && config.num_classes() == 1;
        let classes = labels.by_name();
        let mut taken = Taken::default();
        let mut tasks: Vec<Task> = Vec::with_capacity(num_tasks);
        for (index, each) in config.keypoint_estimation_task.iter().enumerate() {
            let message = Message::new(config.path().item(FIELD, index), each);
            let name = message.keypoint_class_name();
            let class = classes.get(name).copied().ok_or_else(|| {
                invalid(
                    message.field("keypoint_class_name"),
                    format!("{name:?}"),
                    format!(
                        "the name of a class with keypoints in {:?}: {}",
                        labels.origin,
                        labels.names()
                    ),
                )
            })?;
            taken.add((message.path(), each.task_name()), class, &labels.origin)?;
            let depthwise = config.use_depthwise();
            tasks.push(task(message, class, (is_single, has_boxes, depthwise))?);
        }
        let tasks = Self { tasks, is_single };
        tasks.check_ids(&labels.origin)?;
        Ok(Some(tasks))
    }

    /// How many keypoints outputs have.
    pub(in super::super) fn num_keypoints(&self) -> u64 {
        self.tasks.iter().map(Task::num_keypoints).sum()
    }

    /// The keypoints in the order in which outputs have them.
    pub(in super::super) fn in_order(&self) -> Vec<&Keypoint> {
        let mut all: Vec<&Keypoint> = self.tasks.iter().flat_map(|t| &t.keypoints).collect();
        if !self.is_single {
            all.sort_by_key(|keypoint| keypoint.id);
        }
        all
    }

    /// Whether keypoints beyond the image are moved to its border: where all tasks say so.
    pub(in super::super) fn clips(&self) -> bool {
        self.tasks.iter().all(|task| task.clips)
    }

    /// Of several tasks or classes, a keypoint's id is its place in the outputs.
    fn check_ids(&self, origin: &str) -> Result<(), ModelError> {
        if self.is_single {
            return Ok(());
        }
        let count = self.num_keypoints();
        let is_place = |id: i32| u64::try_from(id).is_ok_and(|id| id < count);
        for task in &self.tasks {
            if let Some(keypoint) = task.keypoints.iter().find(|k| !is_place(k.id)) {
                return Err(invalid(
                    task.path.child("keypoint_class_name"),
                    format!(
                        "that of a class whose keypoint {:?} has the id {} in {origin:?}",
                        keypoint.label, keypoint.id
                    ),
                    format!(
                        "ids from 0 to {}, as all tasks together have {count} keypoints (the reference fails on others while it runs)",
                        count - 1
                    ),
                ));
            }
        }
        Ok(())
    }
}

/// What earlier tasks have, of which no other may have the same.
#[derive(Default)]
struct Taken<'a> {
    /// Where the task of a name stands.
    names: HashMap<&'a str, FieldPath>,
    /// Where the task of a class stands, by the class's id.
    classes: HashMap<i32, FieldPath>,
    /// What a keypoint is called, by its id.
    keypoints: HashMap<i32, &'a str>,
}

impl<'a> Taken<'a> {
    /// Adds a task, by its place and name, and refuses what the reference refuses of tasks together, and more keypoints than there can be.
    fn add(
        &mut self,
        (path, name): (FieldPath, &'a str),
        class: &'a KeypointClass,
        origin: &str,
    ) -> Result<(), ModelError> {
        if let Some(other) = self.names.insert(name, path) {
            return Err(invalid(
                path.child("task_name"),
                format!("{name:?}, as that of {other} is"),
                "a name of its own for each task",
            ));
        }
        let field = path.child("keypoint_class_name");
        if let Some(other) = self.classes.insert(class.id, path) {
            let given = format!("of the class that {other} has too");
            return Err(invalid(field, given, "another class for each task"));
        }
        for Keypoint { id, label } in &class.keypoints {
            if let Some(other) = self.keypoints.insert(*id, label) {
                let given = format!(
                    "that of a class whose keypoint {label:?} has the id {id}, as {other:?} has"
                );
                return Err(invalid(
                    field,
                    given,
                    format!("an id of its own for each keypoint in {origin:?}"),
                ));
            }
        }
        if self.keypoints.len() > MOST_KEYPOINTS {
            let given = format!(
                "that of a class with {} keypoints in {origin:?}",
                class.keypoints.len()
            );
            let expected = format!("at most {MOST_KEYPOINTS} keypoints of all tasks together");
            return Err(invalid(field, given, expected));
        }
        Ok(())
    }
}

fn task(
    config: Message<'_, KeypointEstimation>,
    class: &KeypointClass,
    (is_single, has_boxes, depthwise): (bool, bool, bool),
) -> Result<Task, ModelError> {
    let head = |name, params: &Option<PredictionHeadParams>| {
        HeadLayers::from_config(&config, name, params.as_ref(), depthwise)
    };
    let heads = [
        head("heatmap_head_params", &config.heatmap_head_params)?,
        head("offset_head_params", &config.offset_head_params)?,
        head("regress_head_params", &config.regress_head_params)?,
    ];
    let std_dev = |keypoint: &Keypoint| {
        let own = config.keypoint_label_to_std.get(&keypoint.label);
        own.copied().unwrap_or(1.0) * config.std_dev_multiplier()
    };
    let uses_arg_max = is_single && config.argmax_postprocessing();
    let num_keypoints = class.keypoints.len() as u64;
    let depth_channels = config.predict_depth().then(|| {
        if config.per_keypoint_depth() {
            num_keypoints
        } else {
            1
        }
    });
    if depth_channels.is_some() && !is_single {
        return Err(unsupported(
            config.field("predict_depth"),
            "true where there are several tasks or classes (the reference cannot run it either)",
            "one keypoint task and one class, or false",
        ));
    }
    let task = Task {
        path: config.path(),
        name: config.task_name().to_owned(),
        class_id: class.id - 1,
        std_devs: class.keypoints.iter().map(std_dev).collect(),
        keypoints: class.keypoints.clone(),
        heads,
        depth_head: HeadLayers::standard(depthwise),
        candidate_threshold: config.keypoint_candidate_score_threshold(),
        num_candidates: size(
            config.field("num_candidates_per_keypoint"),
            config.num_candidates_per_keypoint(),
            1,
        )?,
        peak_window: peak_window(&config, config.peak_max_pool_kernel_size())?,
        unmatched_score: config.unmatched_keypoint_score(),
        box_scale: config.box_scale(),
        search_scale: config.candidate_search_scale(),
        ranking: ranking(config, uses_arg_max, has_boxes)?,
        distance_offset: config.score_distance_offset(),
        distance_multiplier: config.score_distance_multiplier(),
        per_keypoint_offset: config.per_keypoint_offset(),
        depth_channels,
        clips: config.clip_out_of_frame_keypoints(),
        rescoring_threshold: config
            .rescore_instances()
            .then(|| config.rescoring_threshold()),
        uses_arg_max,
        gaussian_ratio: config.gaussian_denom_ratio(),
    };
    if uses_arg_max && !task.per_keypoint_offset && num_keypoints != 1 {
        return Err(unsupported(
            config.field("argmax_postprocessing"),
            "true where per_keypoint_offset is false (the reference cannot run it either)",
            "true with per_keypoint_offset, or false",
        ));
    }
    Ok(task)
}

/// How candidates are ranked, where the reference can rank them so.
fn ranking(
    config: Message<'_, KeypointEstimation>,
    uses_arg_max: bool,
    has_boxes: bool,
) -> Result<Ranking, ModelError> {
    const MODE: &str = "candidate_ranking_mode";
    let mode = config.candidate_ranking_mode();
    let is_possible =
        |ranking: Ranking| (ranking == Ranking::GaussianWeightedConst) == uses_arg_max;
    let ranking = Ranking::named(mode).filter(|ranking| is_possible(*ranking));
    let ranking = ranking.ok_or_else(|| {
        let modes = Ranking::ALL.into_iter();
        let modes = modes.filter(|(_, ranking)| is_possible(*ranking));
        let modes: Vec<&str> = modes.map(|(name, _)| name).collect();
        let with = if uses_arg_max { "with" } else { "without" };
        let expected = format!("{} {with} argmax_postprocessing", modes.join(", "));
        invalid(config.field(MODE), format!("{mode:?}"), expected)
    })?;
    let needs_boxes = matches!(
        ranking,
        Ranking::ScoreScaledDistanceRatio
            | Ranking::GaussianWeighted
            | Ranking::GaussianWeightedConst
    );
    if needs_boxes && !has_boxes {
        return Err(unsupported(
            config.field(MODE),
            format!("{mode} without object_detection_task, whose boxes it goes by"),
            "min_distance, score_distance_ratio, or an object_detection_task",
        ));
    }
    Ok(ranking)
}
