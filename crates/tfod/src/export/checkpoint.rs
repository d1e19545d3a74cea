//! The checkpoint of an export, which has the model alone, and what the one that it is made from has beyond that.

use std::fs;
use std::path::Path;

use tfod_checkpoint::{
    Bundle, BundleWriter, CheckpointState, DType as StoredType, OBJECT_GRAPH_KEY, SAVE_COUNTER,
    STATE_FILE,
};
use tfod_models::Model;

use super::{ExportError, Unused};
use crate::output::failed;
use crate::trained::{MODEL, TrainedModel};

/// The prefix of the checkpoint in an export.
pub(super) const CHECKPOINT: &str = "ckpt-0";

pub(super) fn unused(trained: &TrainedModel, model: &Model, left_over: Vec<String>) -> Unused {
    let mut unused = Unused {
        model: left_over,
        ..Unused::default()
    };
    for key in trained.keys_beyond(&model.graph) {
        if unused.model.iter().any(|other| other == key) {
            continue;
        }
        let list = if key.contains("/.OPTIMIZER_SLOT/") || key.starts_with("optimizer/") {
            &mut unused.optimizer
        } else {
            &mut unused.other
        };
        list.push(key.to_owned());
    }
    unused
}

/// How often the training had saved; this is one more. A checkpoint need not say.
pub(super) fn saves_so_far(bundle: &Bundle, save_counter: &str) -> Result<i64, ExportError> {
    if bundle.get(save_counter).is_none() {
        return Ok(0);
    }
    let counter = bundle.tensor(save_counter)?;
    let bytes = <[u8; 8]>::try_from(counter.bytes.as_ref());
    Ok(bytes.map_or(0, i64::from_le_bytes).max(0))
}

/// The checkpoint of the model alone, which training can start from.
pub(super) fn write_checkpoint(folder: &Path, trained: &TrainedModel) -> Result<(), ExportError> {
    let mut objects = trained.objects().subset(&[MODEL, SAVE_COUNTER]);
    let save_counter = objects.add_save_counter();
    let mut keys = objects.checkpoint_keys();
    keys.insert(OBJECT_GRAPH_KEY);
    let bundle = trained.bundle();
    let saves = saves_so_far(bundle, &save_counter)?.saturating_add(1);
    let mut writer = BundleWriter::create(&folder.join(CHECKPOINT))?;
    for key in keys {
        if key == OBJECT_GRAPH_KEY {
            writer.add_object_graph(&objects)?;
        } else if key == save_counter {
            writer.add(key, StoredType::Int64, &[], &saves.to_le_bytes())?;
        } else {
            writer.copy(bundle, key)?;
        }
    }
    writer.finish_files()?;
    let state = CheckpointState::single(CHECKPOINT).to_string();
    let path = folder.join(STATE_FILE);
    Ok(fs::write(&path, state).map_err(failed(&path, "write"))?)
}
