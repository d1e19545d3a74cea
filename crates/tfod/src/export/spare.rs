//! Files that an export is made from, where its own files would take their place: the config is kept beside, what would lose more is refused.

use std::fs;
use std::path::Path;

use tfod_checkpoint::{OBJECT_GRAPH_KEY, SAVE_COUNTER, STATE_FILE};
use tfod_config::PipelineConfig;
use tfod_formats::Format;
use tfod_tensorflow::Asset;
use tfod_text::Shown;

use super::checkpoint::CHECKPOINT;
use super::staging::Staging;
use super::{Export, ExportError};
use crate::output::holds;
use crate::output::identity::is_same;
use crate::trained::{MODEL, TrainedModel};

impl Export {
    /// Where the exported configuration takes the place of the one that the export is made from, keeps that beside it, with its comments, its order, and without what is merged in.
    /// Gives the name that it gets; `None` where nothing is lost.
    pub(super) fn keep_config(
        &self,
        target: &Path,
        staging: &Staging,
        config: &PipelineConfig,
        original: &[u8],
    ) -> Result<Option<String>, ExportError> {
        let item = self.layout.places().config;
        if !is_replaced(target, item, &self.pipeline_config)
            || config.to_text().as_bytes() == original
        {
            return Ok(None);
        }
        let first = format!("{item}.original");
        let others = (2..).map(|number| format!("{first}.{number}"));
        // An earlier export may have kept the same one.
        let name = std::iter::once(first.clone()).chain(others).find(|name| {
            let path = target.join(name);
            let is_free = fs::symlink_metadata(&path).is_err();
            is_free || holds(&path, original)
        });
        let name = name.unwrap_or(first);
        staging.file(&name, original)?;
        Ok(Some(name))
    }

    pub(super) fn kept_warning(&self, name: &str) -> String {
        format!(
            "{} is what this export was made from, and now holds the exported configuration; the original is kept beside it as {name}",
            self.pipeline_config.shown()
        )
    }

    /// Refuses to remove, or to write anew in another form, the label map that this export is made from.
    pub(super) fn spare_label_map(
        &self,
        target: &Path,
        assets: &[Asset],
    ) -> Result<(), ExportError> {
        let Some(label_map) = &self.label_map else {
            return Ok(());
        };
        let writes_assets = self.formats.contains(&Format::SavedModel);
        for asset in assets {
            let item = format!(
                "{}/assets/{}",
                self.layout.item(Format::SavedModel),
                asset.file_name
            );
            let is_kept = || writes_assets && holds(label_map, &asset.contents);
            if is_replaced(target, &item, label_map) && !is_kept() {
                return Err(would_lose(label_map, "its text as it is".to_owned()));
            }
        }
        Ok(())
    }

    /// Refuses to put another file of an export in the place of one that this export is made from. A configuration in the place of the exported one is
    /// no matter of this: it is kept.
    pub(super) fn spare_files(&self, target: &Path) -> Result<(), ExportError> {
        let config = self.layout.places().config;
        let label_map = self.label_map.iter().map(|path| (path, "the label map"));
        let options = self.option_files.iter();
        let options = options.map(|path| (path, "the options that are read from it"));
        let others: Vec<_> = label_map.chain(options).collect();
        let items = self.layout.replaceable().unwrap_or_default();
        for item in items.iter().filter(|item| !item.is_folder) {
            let own = (&self.pipeline_config, "the configuration");
            let own = (item.name != config).then_some(own);
            let mut inputs = own.into_iter().chain(others.iter().copied());
            if let Some((path, what)) =
                inputs.find(|(path, _)| is_replaced(target, item.name, path))
            {
                return Err(would_lose(path, what.to_owned()));
            }
        }
        Ok(())
    }

    /// Refuses to replace the checkpoint that this export is made from by the model in it, if it has more.
    pub(super) fn spare_checkpoint(
        &self,
        target: &Path,
        trained: &TrainedModel,
    ) -> Result<(), ExportError> {
        let folder = trained.prefix().parent().unwrap_or(Path::new(""));
        let places = self.layout.places();
        let (Some(checkpoint), Some(name)) = (places.checkpoint, trained.prefix().file_name())
        else {
            return Ok(());
        };
        if !is_replaced(target, checkpoint, folder) {
            return Ok(());
        }
        if name != CHECKPOINT {
            let state = folder.join(STATE_FILE);
            let what = "the names of the checkpoints beside it";
            return if state.exists() {
                Err(would_lose(&state, what.to_owned()))
            } else {
                Ok(())
            };
        }
        let kept = trained.objects().subset(&[MODEL, SAVE_COUNTER]);
        let kept = kept.checkpoint_keys();
        let keys = trained.bundle().entries().map(tfod_checkpoint::Entry::key);
        let lost: Vec<&str> = keys
            .filter(|key| *key != OBJECT_GRAPH_KEY && !kept.contains(key))
            .collect();
        match lost.first() {
            Some(first) => {
                let count = lost.len();
                let what = format!(
                    "{count} tensors that are not the model's, first `{}`",
                    first.shown()
                );
                Err(would_lose(trained.prefix(), what))
            }
            None => Ok(()),
        }
    }
}

pub(super) fn would_lose(path: &Path, what: String) -> ExportError {
    let path = path.to_owned();
    ExportError::WouldLose { path, what }
}

/// Whether an item of the target is this file or folder. Of a link, only the link is replaced.
pub(super) fn is_replaced(target: &Path, item: &str, input: &Path) -> bool {
    let item = target.join(item);
    let input = if input.as_os_str().is_empty() {
        Path::new(".")
    } else {
        input
    };
    fs::symlink_metadata(&item).is_ok_and(|metadata| !metadata.is_symlink())
        && is_same(&item, input)
}
