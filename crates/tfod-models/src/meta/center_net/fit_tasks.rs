//! Why a checkpoint may not fit the further tasks of a CenterNet's configuration: tasks that one of the two has not, and fields that decide how much a head predicts.

use tfod_config::protos;
use tfod_config::protos::center_net::{
    DeepMacMaskEstimation, DensePoseEstimation, KeypointEstimation, MaskEstimation,
    PredictionHeadParams, TemporalOffsetEstimation, TrackEstimation,
};

use super::deepmac::{INSTANCES, MASK_NET, PIXELS, PROJECTION, with_weights};
use super::fit::{Candidates, said, told, trained_head};
use super::heads::HEADS;
use super::keypoints::{DEPTH, HEATMAP, MOST_KEYPOINTS, MOST_TASKS, OFFSET, REGRESSION};
use super::tracking::CLASSIFICATION_NET;
use crate::KeypointLabels;
use crate::fit::Variables;

const KEYPOINTS: &str = "model.center_net.keypoint_estimation_task";
const LABEL_MAP: &str = "model.center_net.keypoint_label_map_path";
const MASKS: &str = "model.center_net.mask_estimation_task";
const MASK_HEAD: &str = "model.center_net.mask_estimation_task.mask_head_params";
const PARTS: &str = "model.center_net.densepose_estimation_task";
const NUM_PARTS: &str = "model.center_net.densepose_estimation_task.num_parts";
const TRACK: &str = "model.center_net.track_estimation_task";
const EMBEDDING: &str = "model.center_net.track_estimation_task.reid_embed_size";
const CLASSIFIER: &str = "model.center_net.track_estimation_task.num_fc_layers";
const MOVEMENT: &str = "model.center_net.temporal_offset_task";
const DEEP_MAC: &str = "model.center_net.deepmac_mask_estimation";
const NETWORK: &str = "model.center_net.deepmac_mask_estimation.network_type";
const WIDTH: &str = "model.center_net.deepmac_mask_estimation.num_init_channels";
const XY: &str = "model.center_net.deepmac_mask_estimation.use_xy";
const INSTANCE: &str = "model.center_net.deepmac_mask_estimation.use_instance_embedding";
const DIM: &str = "model.center_net.deepmac_mask_estimation.dim";
const PIXEL_DIM: &str = "model.center_net.deepmac_mask_estimation.pixel_embedding_dim";

/// What a trained head predicts at each location.
fn predicted(variables: &dyn Variables, head: &str) -> Option<i32> {
    trained_head(variables, head).map(|(_, channels)| channels)
}

/// Changes of one field each.
pub(super) fn candidates(
    all: &mut Candidates<'_>,
    labels: Option<&KeypointLabels>,
    variables: &dyn Variables,
) {
    if let Some(task) = &all.base.deepmac_mask_estimation {
        // Other tasks are not looked at.
        return deep_mac(all, task, variables);
    }
    further_deep_mac(all, variables);
    keypoints(all, labels, variables);
    masks(all, variables);
    let track = all.base.track_estimation_task.as_ref();
    let trained = predicted(variables, "track/reid");
    let layers = classifier_layers(variables);
    let change = trained.map(|size| TrackEstimation {
        reid_embed_size: Some(size),
        num_fc_layers: layers,
        ..TrackEstimation::default()
    });
    all.push(TRACK, said(track.is_some()), said(trained.is_some()), |c| {
        c.track_estimation_task = change;
    });
    if let (Some(track), Some(size)) = (track, trained) {
        all.push(EMBEDDING, track.reid_embed_size(), size, |c| {
            c.track_estimation_task
                .get_or_insert_default()
                .reid_embed_size = Some(size);
        });
    }
    if let (Some(track), Some(layers)) = (track, layers) {
        all.push(CLASSIFIER, track.num_fc_layers(), layers, |c| {
            c.track_estimation_task
                .get_or_insert_default()
                .num_fc_layers = Some(layers);
        });
    }
    let moves = all.base.temporal_offset_task.is_some();
    let trained = predicted(variables, "track/offset").is_some();
    all.push(MOVEMENT, said(moves), said(trained), |c| {
        c.temporal_offset_task = trained.then(TemporalOffsetEstimation::default);
    });
}

/// The layers of the classifier that training has behind the embeddings; all but the last have a normalisation besides.
fn classifier_layers(variables: &dyn Variables) -> Option<i32> {
    let layers = variables.children(&[CLASSIFICATION_NET]);
    let count = layers
        .iter()
        .filter(|name| name.starts_with("layer_with_weights-"))
        .count();
    i32::try_from(count.div_ceil(2)).ok().filter(|n| *n > 0)
}

fn masks(all: &mut Candidates<'_>, variables: &dyn Variables) {
    let is_there = all.base.mask_estimation_task.is_some();
    let trained = trained_head(variables, "segmentation/heatmap").map(|(params, _)| params);
    if let (Some(task), Some(params)) = (&all.base.mask_estimation_task, &trained) {
        let configured = told(task.mask_head_params.as_ref());
        all.push(MASK_HEAD, configured, told(Some(params)), |c| {
            c.mask_estimation_task
                .get_or_insert_default()
                .mask_head_params = Some(params.clone());
        });
    }
    all.push(MASKS, said(is_there), said(trained.is_some()), |c| {
        if trained.is_none() {
            c.densepose_estimation_task = None;
        }
        c.mask_estimation_task = trained.map(|params| MaskEstimation {
            mask_head_params: Some(params),
            ..MaskEstimation::default()
        });
    });
    let pose = all.base.densepose_estimation_task.as_ref();
    let parts = predicted(variables, "densepose/heatmap");
    if is_there {
        let change = parts.map(|parts| DensePoseEstimation {
            num_parts: Some(parts),
            ..DensePoseEstimation::default()
        });
        all.push(PARTS, said(pose.is_some()), said(parts.is_some()), |c| {
            c.densepose_estimation_task = change;
        });
    }
    if let (Some(pose), Some(parts)) = (pose, parts) {
        all.push(NUM_PARTS, pose.num_parts(), parts, |c| {
            c.densepose_estimation_task
                .get_or_insert_default()
                .num_parts = Some(parts);
        });
    }
}

/// A keypoint task of a checkpoint: its name, and how many keypoints it has.
type Trained = (String, usize);

/// The keypoint tasks of a checkpoint, by the heads of their heat maps; none where there are more than a network can have.
fn trained_tasks(variables: &dyn Variables) -> Vec<Trained> {
    let heads = variables.children(&[HEADS]).into_iter();
    let tasks = heads.filter_map(|head| {
        let count = usize::try_from(predicted(variables, &head)?).ok()?;
        let name = head.strip_suffix(HEATMAP)?.strip_suffix('/')?;
        Some((name.to_owned(), count))
    });
    let tasks: Vec<Trained> = tasks.collect();
    // Each keypoint is given a name.
    let mut counts = tasks.iter().map(|(_, count)| *count);
    let total = counts.try_fold(0usize, usize::checked_add);
    let is_possible = total.is_some_and(|total| total <= MOST_KEYPOINTS);
    if is_possible && tasks.len() <= MOST_TASKS {
        tasks
    } else {
        Vec::new()
    }
}

/// A label map in which the class of each task has so many keypoints.
fn label_map<'a>(tasks: impl Iterator<Item = (&'a KeypointEstimation, usize)>) -> KeypointLabels {
    let classes = tasks.map(|(task, count)| (task.keypoint_class_name(), count));
    KeypointLabels::counted("the checkpoint", classes)
}

fn keypoints(all: &mut Candidates<'_>, labels: Option<&KeypointLabels>, variables: &dyn Variables) {
    let trained = trained_tasks(variables);
    let classes = labels.map(KeypointLabels::by_name).unwrap_or_default();
    let configured = |task: &KeypointEstimation| {
        let class = classes.get(task.keypoint_class_name());
        class.map(|class| class.keypoints.len())
    };
    let in_checkpoint = |task: &KeypointEstimation| {
        let mut tasks = trained.iter();
        let found = tasks.find(|(name, _)| name == task.task_name());
        found.map(|(_, count)| *count)
    };
    task_list(all, &trained, &configured, variables);

    let tasks = &all.base.keypoint_estimation_task;
    let counted = |count: &dyn Fn(&KeypointEstimation) -> Option<usize>| {
        let other = |task: &&KeypointEstimation| {
            in_checkpoint(task).is_some() && in_checkpoint(task) != configured(task)
        };
        let told = tasks.iter().filter(other).map(|task| {
            let count = count(task).unwrap_or_default();
            let keypoints = if count == 1 { "keypoint" } else { "keypoints" };
            format!("{count} {keypoints} of {:?}", task.keypoint_class_name())
        });
        told.collect::<Vec<_>>().join(" and ")
    };
    let counts = tasks.iter().map(|task| {
        let count = in_checkpoint(task).or_else(|| configured(task));
        Some((task, count?))
    });
    if let Some(counts) = counts.collect::<Option<Vec<_>>>() {
        let labels = label_map(counts.into_iter());
        let [configured, trained] = [counted(&configured), counted(&in_checkpoint)];
        let by = "the label map";
        all.push_with(LABEL_MAP, by, configured, trained, |_| (), Some(labels));
    }

    for (index, task) in all.base.keypoint_estimation_task.iter().enumerate() {
        let head = |head: &str| predicted(variables, &format!("{}/{head}", task.task_name()));
        let Some(keypoints) = head(HEATMAP) else {
            continue;
        };
        let field = |name: &str| format!("{KEYPOINTS}[{index}].{name}");
        let change = |c: &mut protos::CenterNet, set: &dyn Fn(&mut KeypointEstimation)| {
            c.keypoint_estimation_task.get_mut(index).map(set);
        };
        for (name, part) in KEYPOINT_HEADS {
            let head = format!("{}/{part}", task.task_name());
            let Some((params, _)) = trained_head(variables, &head) else {
                continue;
            };
            let mut task = task.clone();
            let configured = told(head_params(&mut task, part).as_ref());
            all.push(field(name), configured, told(Some(&params)), |c| {
                if let Some(task) = c.keypoint_estimation_task.get_mut(index) {
                    *head_params(task, part) = Some(params);
                }
            });
        }
        if let Some(offsets) = head(OFFSET).filter(|_| keypoints > 1) {
            let own = offsets > 2;
            let configured = task.per_keypoint_offset();
            all.push(field("per_keypoint_offset"), configured, own, |c| {
                change(c, &|task| task.per_keypoint_offset = Some(own));
            });
        }
        let depths = head(DEPTH);
        let has_depth = depths.is_some();
        let configured = task.predict_depth();
        all.push(field("predict_depth"), configured, has_depth, |c| {
            change(c, &|task| {
                task.predict_depth = Some(has_depth);
                task.per_keypoint_depth = Some(depths > Some(1));
            });
        });
        if let Some(depths) = depths.filter(|_| task.predict_depth()) {
            let own = depths > 1;
            let configured = task.per_keypoint_depth();
            all.push(field("per_keypoint_depth"), configured, own, |c| {
                change(c, &|task| task.per_keypoint_depth = Some(own));
            });
        }
    }
}

/// The parameters of heads that a keypoint task has, and the heads.
const KEYPOINT_HEADS: [(&str, &str); 3] = [
    ("heatmap_head_params", HEATMAP),
    ("offset_head_params", OFFSET),
    ("regress_head_params", REGRESSION),
];

fn head_params<'a>(
    task: &'a mut KeypointEstimation,
    head: &str,
) -> &'a mut Option<PredictionHeadParams> {
    match head {
        HEATMAP => &mut task.heatmap_head_params,
        OFFSET => &mut task.offset_head_params,
        _ => &mut task.regress_head_params,
    }
}

/// A task of this name as the checkpoint has it.
fn trained_task(name: &str, variables: &dyn Variables) -> KeypointEstimation {
    let channels = |head: &str| predicted(variables, &format!("{name}/{head}"));
    let depths = channels(DEPTH);
    let mut task = KeypointEstimation {
        task_name: Some(name.to_owned()),
        keypoint_class_name: Some(name.to_owned()),
        per_keypoint_offset: Some(channels(OFFSET) > Some(2)),
        predict_depth: Some(depths.is_some()),
        per_keypoint_depth: Some(depths > Some(1)),
        ..KeypointEstimation::default()
    };
    for (_, head) in KEYPOINT_HEADS {
        let trained = trained_head(variables, &format!("{name}/{head}"));
        *head_params(&mut task, head) = trained.map(|(params, _)| params);
    }
    task
}

/// Names of tasks, in words.
fn names<'a>(tasks: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = tasks.map(|name| format!("{name:?}")).collect();
    if names.is_empty() {
        return said(false).to_owned();
    }
    names.join(", ")
}

/// The tasks that the checkpoint has: those of the configuration that are among them; of the others, names are exchanged as far as there are any, and the rest is
/// left out or added.
fn task_list(
    all: &mut Candidates<'_>,
    trained: &[Trained],
    configured: &dyn Fn(&KeypointEstimation) -> Option<usize>,
    variables: &dyn Variables,
) {
    let tasks = &all.base.keypoint_estimation_task;
    let is_trained = |task: &KeypointEstimation| {
        let mut trained = trained.iter();
        trained.any(|(name, _)| name == task.task_name())
    };
    let mut missing = trained.iter().filter(|(name, _)| {
        let mut tasks = tasks.iter();
        !tasks.any(|task| task.task_name() == name)
    });
    // With the keypoints that the label map has for their classes, which is a cause of its own.
    let mut wanted: Vec<(KeypointEstimation, usize)> = Vec::new();
    for task in tasks {
        let mut task = task.clone();
        if !is_trained(&task) {
            let Some((name, _)) = missing.next() else {
                continue;
            };
            task.task_name = Some(name.clone());
        }
        let count = configured(&task);
        wanted.push((task, count.unwrap_or_default()));
    }
    for (name, count) in missing {
        wanted.push((trained_task(name, variables), *count));
    }
    let before = names(tasks.iter().map(KeypointEstimation::task_name));
    let after = names(wanted.iter().map(|(task, _)| task.task_name()));
    let labels = label_map(wanted.iter().map(|(task, count)| (task, *count)));
    let wanted = wanted.into_iter().map(|(task, _)| task).collect();
    let change = |c: &mut protos::CenterNet| c.keypoint_estimation_task = wanted;
    let by = "the config";
    all.push_with(KEYPOINTS, by, before, after, change, Some(labels));
}

/// What is seen of each pixel by the first layer of the network that makes masks, and what that makes of it.
fn first_layer(variables: &dyn Variables, kernel: &str) -> Option<[i32; 2]> {
    let path = std::iter::once(MASK_NET).chain(kernel.split('/'));
    let path: Vec<String> = path.map(str::to_owned).collect();
    match *variables.find(&path)?.shape {
        [_, _, from, to] => Some([i32::try_from(from).ok()?, i32::try_from(to).ok()?]),
        _ => None,
    }
}

/// The `DeepMAC`s that a checkpoint may be of: its embeddings tell the sizes, and its first kernel what is seen.
fn trained_deep_macs(variables: &dyn Variables) -> Vec<DeepMacMaskEstimation> {
    let [Some(dim), Some(pixel_dim)] = [INSTANCES, PIXELS].map(|head| predicted(variables, head))
    else {
        return Vec::new();
    };
    let of = |network: &str| DeepMacMaskEstimation {
        dim: Some(dim),
        pixel_embedding_dim: Some(pixel_dim),
        network_type: Some(network.to_owned()),
        ..DeepMacMaskEstimation::default()
    };
    let with_weights = with_weights().filter_map(|(name, kernel)| {
        let [from, to] = first_layer(variables, kernel)?;
        let choices = [[true, true], [true, false], [false, true], [false, false]];
        let seen = choices.into_iter().find(|[xy, instance]| {
            let further = if *xy { 2 } else { 0 } + if *instance { dim } else { 0 };
            pixel_dim.checked_add(further) == Some(from)
        });
        let [xy, instance] = seen?;
        Some(DeepMacMaskEstimation {
            num_init_channels: Some(to),
            use_xy: Some(xy),
            use_instance_embedding: Some(instance),
            ..of(name)
        })
    });
    let found: Vec<_> = with_weights.collect();
    if found.is_empty() {
        // Those without weights: nothing tells them apart but the sizes that they allow.
        let projection = DeepMacMaskEstimation {
            use_xy: Some(false),
            use_instance_embedding: Some(false),
            ..of(PROJECTION)
        };
        return vec![projection];
    }
    found
}

/// A `DeepMAC` where the configuration has none.
fn further_deep_mac(all: &mut Candidates<'_>, variables: &dyn Variables) {
    for task in trained_deep_macs(variables) {
        let trained = format!("one of network_type {}", task.network_type());
        let configured = said(false).to_owned();
        all.push(DEEP_MAC, configured, trained, |c| {
            c.deepmac_mask_estimation = Some(task);
        });
    }
}

fn deep_mac(all: &mut Candidates<'_>, task: &DeepMacMaskEstimation, variables: &dyn Variables) {
    fn of(c: &mut protos::CenterNet) -> &mut DeepMacMaskEstimation {
        c.deepmac_mask_estimation.get_or_insert_default()
    }
    let trained = trained_deep_macs(variables);
    let Some(any) = trained.first() else {
        all.push(DEEP_MAC, said(true), said(false), |c| {
            c.deepmac_mask_estimation = None;
        });
        return;
    };
    all.push(DIM, task.dim(), any.dim(), |c| of(c).dim = any.dim);
    let dims = [task.pixel_embedding_dim(), any.pixel_embedding_dim()];
    all.push(PIXEL_DIM, dims[0], dims[1], |c| {
        of(c).pixel_embedding_dim = any.pixel_embedding_dim;
    });
    let widths = [task.num_init_channels(), any.num_init_channels()];
    all.push(WIDTH, widths[0], widths[1], |c| {
        of(c).num_init_channels = any.num_init_channels;
    });
    all.push(XY, task.use_xy(), any.use_xy(), |c| {
        of(c).use_xy = any.use_xy;
    });
    let flags = [task.use_instance_embedding(), any.use_instance_embedding()];
    all.push(INSTANCE, flags[0], flags[1], |c| {
        of(c).use_instance_embedding = any.use_instance_embedding;
    });
    for other in &trained {
        let [configured, trained] = [task, other].map(DeepMacMaskEstimation::network_type);
        all.push(NETWORK, configured, trained, |c| {
            of(c).network_type = Some(trained.to_owned());
        });
    }
}
