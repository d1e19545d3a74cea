//! Why a checkpoint may not fit the further tasks of a CenterNet's configuration: tasks that one of the two has not, and fields that decide how much a head predicts.

use tfod_config::protos;
use tfod_config::protos::center_net::{
    DeepMacMaskEstimation, DensePoseEstimation, KeypointEstimation, MaskEstimation,
    TemporalOffsetEstimation, TrackEstimation,
};

use super::fit::{Candidates, trained_head};
use crate::fit::Variables;

const KEYPOINTS: &str = "model.center_net.keypoint_estimation_task";
const OFFSETS: &str = "model.center_net.keypoint_estimation_task.per_keypoint_offset";
const DEPTH: &str = "model.center_net.keypoint_estimation_task.predict_depth";
const DEPTHS: &str = "model.center_net.keypoint_estimation_task.per_keypoint_depth";
const MASKS: &str = "model.center_net.mask_estimation_task";
const PARTS: &str = "model.center_net.densepose_estimation_task";
const NUM_PARTS: &str = "model.center_net.densepose_estimation_task.num_parts";
const TRACK: &str = "model.center_net.track_estimation_task";
const EMBEDDING: &str = "model.center_net.track_estimation_task.reid_embed_size";
const MOVEMENT: &str = "model.center_net.temporal_offset_task";
const DIM: &str = "model.center_net.deepmac_mask_estimation.dim";
const PIXEL_DIM: &str = "model.center_net.deepmac_mask_estimation.pixel_embedding_dim";

fn said(is_there: bool) -> &'static str {
    if is_there { "given" } else { "left out" }
}

/// What a trained head predicts at each location.
fn predicted(variables: &dyn Variables, head: &str) -> Option<i32> {
    trained_head(variables, head).map(|(_, channels)| channels)
}

/// Changes of one field each.
pub(super) fn candidates(all: &mut Candidates<'_>, variables: &dyn Variables) {
    if let Some(task) = &all.base.deepmac_mask_estimation {
        // Other tasks are not looked at.
        return deep_mac(all, task, variables);
    }
    keypoints(all, variables);
    masks(all, variables);
    let track = all.base.track_estimation_task.as_ref();
    let trained = predicted(variables, "track/reid");
    let change = trained.map(|size| TrackEstimation {
        reid_embed_size: Some(size),
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
    let moves = all.base.temporal_offset_task.is_some();
    let trained = predicted(variables, "track/offset").is_some();
    all.push(MOVEMENT, said(moves), said(trained), |c| {
        c.temporal_offset_task = trained.then(TemporalOffsetEstimation::default);
    });
}

fn masks(all: &mut Candidates<'_>, variables: &dyn Variables) {
    let is_there = all.base.mask_estimation_task.is_some();
    let trained = predicted(variables, "segmentation/heatmap").is_some();
    all.push(MASKS, said(is_there), said(trained), |c| {
        c.mask_estimation_task = trained.then(MaskEstimation::default);
        if !trained {
            c.densepose_estimation_task = None;
        }
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

fn keypoints(all: &mut Candidates<'_>, variables: &dyn Variables) {
    for (index, task) in all.base.keypoint_estimation_task.iter().enumerate() {
        let head =
            |head: &str| predicted(variables, &format!("{}/keypoint/{head}", task.task_name()));
        let Some(keypoints) = head("heatmap") else {
            all.push(KEYPOINTS, "given", "left out", |c| {
                c.keypoint_estimation_task.remove(index);
            });
            continue;
        };
        let change = |c: &mut protos::CenterNet, set: &dyn Fn(&mut KeypointEstimation)| {
            c.keypoint_estimation_task.get_mut(index).map(set);
        };
        if let Some(offsets) = head("offset").filter(|_| keypoints > 1) {
            let own = offsets > 2;
            all.push(OFFSETS, task.per_keypoint_offset(), own, |c| {
                change(c, &|task| task.per_keypoint_offset = Some(own));
            });
        }
        let depths = head("depth");
        let has_depth = depths.is_some();
        all.push(DEPTH, task.predict_depth(), has_depth, |c| {
            change(c, &|task| {
                task.predict_depth = Some(has_depth);
                task.per_keypoint_depth = Some(depths > Some(1));
            });
        });
        if let Some(depths) = depths.filter(|_| task.predict_depth()) {
            let own = depths > 1;
            all.push(DEPTHS, task.per_keypoint_depth(), own, |c| {
                change(c, &|task| task.per_keypoint_depth = Some(own));
            });
        }
    }
}

fn deep_mac(all: &mut Candidates<'_>, task: &DeepMacMaskEstimation, variables: &dyn Variables) {
    if let Some(dim) = predicted(variables, "INSTANCE_EMBEDDING") {
        all.push(DIM, task.dim(), dim, |c| {
            c.deepmac_mask_estimation.get_or_insert_default().dim = Some(dim);
        });
    }
    if let Some(dim) = predicted(variables, "PIXEL_EMBEDDING") {
        all.push(PIXEL_DIM, task.pixel_embedding_dim(), dim, |c| {
            c.deepmac_mask_estimation
                .get_or_insert_default()
                .pixel_embedding_dim = Some(dim);
        });
    }
}
