//! Writing beside, and putting in place by renaming, so that an output folder is never half written.
//!
//! A new output folder appears by one rename. In an existing one each item is exchanged with the old one in a single step where the system
//! can do that, and the exchanges are taken back when one fails. What an earlier export wrote and this one does not is taken away in the same manner: a folder never holds
//! parts of two models. What is not part of an export stays: it is linked into the new folders before they take the place of the old ones.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::output::{OutputError, Scratch, Turn, exchange_all, exists, failed, hold, sync};

/// Something that exports write into their folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// Its name in the folder.
    pub(super) name: &'static str,
    /// Whether it is a folder.
    pub(super) is_folder: bool,
}

impl Item {
    /// As people see it.
    pub(super) fn shown(self) -> String {
        let slash = if self.is_folder { "/" } else { "" };
        format!("{}{slash}", self.name)
    }

    /// Whether something of its kind is in a folder.
    pub(super) fn is_in(self, folder: &Path) -> bool {
        exists(&folder.join(self.name)) && self.check(folder).is_ok()
    }

    /// Refuses what stands in its place and is not of its kind: a file for a folder, a folder or a device for a file. A link is judged by what it leads to, if
    /// that is there.
    fn check(self, folder: &Path) -> Result<(), OutputError> {
        let path = folder.join(self.name);
        let (Ok(there), Ok(end)) = (fs::symlink_metadata(&path), fs::metadata(&path)) else {
            return Ok(());
        };
        let found = match (there.is_symlink(), end.is_dir(), end.is_file()) {
            (_, true, _) if self.is_folder => return Ok(()),
            (_, _, true) if !self.is_folder => return Ok(()),
            (false, true, _) => "a folder",
            (true, true, _) => "a link to a folder",
            (false, _, true) => "a file",
            (true, _, true) => "a link to a file",
            (false, ..) => "a device, pipe or socket",
            (true, ..) => "a link to a device, pipe or socket",
        };
        Err(OutputError::InTheWay {
            path,
            expected: if self.is_folder {
                "a folder, or nothing"
            } else {
                "a file, or nothing"
            },
            found,
        })
    }
}

/// A folder beside the output, which is removed when it is dropped.
#[derive(Debug)]
pub(super) struct Staging {
    target: PathBuf,
    /// Whether the target has to be made.
    is_new: bool,
    scratch: Scratch,
    /// All that exports of this layout write.
    replaceable: Option<Vec<Item>>,
}

/// What became of an earlier export.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Replaced {
    /// What it wrote and this one does not; it is gone.
    pub(super) removed: Vec<String>,
    /// Folders of which the same holds, but not for all in them: what no export wrote is still there.
    pub(super) emptied: Vec<String>,
    /// What exports write and this one does not, but no earlier one is known to have written; it is still there.
    pub(super) left: Vec<String>,
}

impl Staging {
    /// Makes the folder. The target need not exist. `replaceable` are all parts that an export in it can have; without them, it must not exist.
    /// Things in the way of those that `concerns` tells are refused at once.
    pub(super) fn new(
        target: &Path,
        replaceable: Option<Vec<Item>>,
        concerns: impl Fn(&Item) -> bool,
    ) -> Result<Self, OutputError> {
        let is_new = !exists(target);
        let target = if is_new {
            let absolute = std::path::absolute(target).map_err(failed(target, "find"))?;
            let parent = absolute.parent().unwrap_or(&absolute);
            fs::create_dir_all(parent).map_err(failed(parent, "make the folder"))?;
            absolute
        } else {
            check_folder(target)?;
            fs::canonicalize(target).map_err(failed(target, "open the folder"))?
        };
        let beside = match target.parent() {
            Some(parent) if is_new => parent,
            _ => &target,
        };
        let scratch = Scratch::new_in(beside).map_err(failed(beside, "write into the folder"))?;
        let staging = Self {
            target,
            is_new,
            scratch,
            replaceable,
        };
        if !is_new {
            staging.check_target(concerns)?;
        }
        Ok(staging)
    }

    /// Where an item is until it is put in place.
    pub(super) fn path(&self, item: &str) -> PathBuf {
        self.scratch.content().join(item)
    }

    /// Makes a folder for an item; the item without a name is the folder itself.
    pub(super) fn folder(&self, item: &str) -> Result<PathBuf, OutputError> {
        let path = self.path(item);
        make_below(self.scratch.content(), &path).map_err(failed(&path, "make the folder"))?;
        Ok(path)
    }

    /// Writes a file.
    pub(super) fn file(&self, item: &str, contents: &[u8]) -> Result<(), OutputError> {
        let path = self.path(item);
        if let Some(parent) = path.parent() {
            let made = make_below(self.scratch.content(), parent);
            made.map_err(failed(parent, "make the folder"))?;
        }
        fs::write(&path, contents).map_err(failed(&path, "write"))
    }

    /// Removes the folder of an item that was only needed for others.
    pub(super) fn discard(&self, item: &str) -> Result<(), OutputError> {
        let path = self.path(item);
        fs::remove_dir_all(&path).map_err(failed(&path, "remove"))
    }

    /// Puts the items in place, and takes away those that `wrote` gives: what the export wrote that is there already, if it is known.
    ///
    /// Where another process has made a new target meanwhile, that is an existing one now.
    pub(super) fn commit(
        self,
        items: &[&str],
        wrote: impl FnOnce(&Path) -> Vec<String>,
    ) -> Result<Replaced, OutputError> {
        if self.is_new {
            let held = hold();
            match fs::rename(self.scratch.content(), &self.target) {
                Ok(()) => return Ok(Replaced::default()),
                Err(_) if exists(&self.target) => {}
                Err(error) => {
                    return Err(failed(&self.target, "put the export in place as")(error));
                }
            }
            drop(held);
        }
        // Of two exports into one folder, the one that comes second waits here, so that the result is one of them and no mixture.
        let _turn = Turn::wait_for(&self.target).map_err(failed(&self.target, "lock"))?;
        // A new folder replaces nothing, so nobody waits for it.
        sync(self.scratch.content())?;
        let _held = hold();
        let wrote = wrote(&self.target);
        let is_gone = |item: &Item| wrote.iter().any(|name| name == item.name);
        self.check_target(|item| items.contains(&item.name) || is_gone(item))?;
        let mut replaced = Replaced::default();
        let mut moves: Vec<&str> = items.to_vec();
        let mut gone = Vec::new();
        for item in self.replaceable.iter().flatten() {
            if items.contains(&item.name) || !item.is_in(&self.target) {
                continue;
            }
            if is_gone(item) {
                moves.push(item.name);
                gone.push(item);
            } else {
                replaced.left.push(item.shown());
            }
        }
        for item in &moves {
            let (old, new) = (self.target.join(item), self.path(item));
            if old.is_dir() {
                keep_foreign(&old, &new, item)?;
            }
        }
        for item in gone {
            let told = if exists(&self.path(item.name)) {
                &mut replaced.emptied
            } else {
                &mut replaced.removed
            };
            told.push(item.shown());
        }
        exchange_all(&self.target, self.scratch.content(), &moves)?;
        Ok(replaced)
    }

    /// Refuses a target in which nothing can be replaced, or something is in the way of these items.
    fn check_target(&self, concerns: impl Fn(&Item) -> bool) -> Result<(), OutputError> {
        let Some(items) = &self.replaceable else {
            return Err(OutputError::InTheWay {
                path: self.target.clone(),
                expected: "nothing",
                found: "a folder that another process has made meanwhile",
            });
        };
        check_folder(&self.target)?;
        let mut items = items.iter().filter(|item| concerns(item));
        items.try_for_each(|item| item.check(&self.target))
    }
}

/// Refuses a target that is no folder.
fn check_folder(target: &Path) -> Result<(), OutputError> {
    if target.is_dir() {
        return Ok(());
    }
    Err(OutputError::InTheWay {
        path: target.to_owned(),
        expected: "a folder, or nothing",
        found: "something else",
    })
}

/// Whether a path within an item is one that exports write, of this program or the official one, and so may be replaced.
fn is_ours(item: &str, relative: &Path) -> bool {
    let Some(path) = relative.to_str() else {
        return false;
    };
    match item {
        "checkpoint" => path == "checkpoint" || path.starts_with("ckpt-0."),
        "saved_model" => {
            [
                "saved_model.pb",
                "fingerprint.pb",
                "assets/labels.txt",
                "assets/label_map.pbtxt",
            ]
            .contains(&path)
                || path == "variables/variables.index"
                || path.starts_with("variables/variables.data-")
        }
        _ => false,
    }
}

/// Whether a folder within an item is one that exports make.
fn is_our_folder(item: &str, relative: &Path) -> bool {
    item == "saved_model"
        && ["variables", "assets"]
            .iter()
            .any(|name| relative == Path::new(name))
}

/// Links, or copies, into the new folder what the old one has beyond an export.
fn keep_foreign(old: &Path, new: &Path, item: &str) -> Result<(), OutputError> {
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let from = old.join(&folder);
        for entry in fs::read_dir(&from).map_err(failed(&from, "read the folder"))? {
            let entry = entry.map_err(failed(&from, "read the folder"))?;
            let relative = folder.join(entry.file_name());
            let (source, copy) = (entry.path(), new.join(&relative));
            let kind = entry.file_type().map_err(failed(&source, "read"))?;
            if kind.is_dir() {
                if !is_our_folder(item, &relative) {
                    fs::create_dir_all(&copy).map_err(failed(&copy, "make the folder"))?;
                }
                folders.push(relative);
            } else if !is_ours(item, &relative) && !exists(&copy) {
                if let Some(parent) = copy.parent() {
                    fs::create_dir_all(parent).map_err(failed(parent, "make the folder"))?;
                }
                keep(&source, &copy, kind.is_symlink()).map_err(failed(&source, "keep"))?;
            }
        }
    }
    Ok(())
}

fn keep(source: &Path, copy: &Path, is_link: bool) -> io::Result<()> {
    #[cfg(unix)]
    if is_link {
        return std::os::unix::fs::symlink(fs::read_link(source)?, copy);
    }
    let _ = is_link;
    fs::hard_link(source, copy).or_else(|_| fs::copy(source, copy).map(drop))
}

/// Makes a folder and those between it and the root, but not the root: once a signal has had that removed, nothing may bring it back.
fn make_below(root: &Path, folder: &Path) -> io::Result<()> {
    let mut path = root.to_owned();
    for part in folder.strip_prefix(root).unwrap_or(folder) {
        path.push(part);
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITEMS: [&str; 3] = ["checkpoint", "saved_model", "pipeline.config"];

    fn all_items() -> Vec<Item> {
        let item = |(name, is_folder)| Item { name, is_folder };
        [
            ("checkpoint", true),
            ("saved_model", true),
            ("pipeline.config", false),
            ("manifest.json", false),
            ("frozen.pb", false),
        ]
        .map(item)
        .into()
    }

    fn new(target: &Path) -> Result<Staging, OutputError> {
        Staging::new(target, Some(all_items()), |_| true)
    }

    fn nothing(_: &Path) -> Vec<String> {
        Vec::new()
    }

    fn stage(target: &Path, mark: &str) -> Staging {
        let staging = new(target).unwrap();
        let checkpoint = staging.folder("checkpoint").unwrap();
        fs::write(checkpoint.join("ckpt-0.index"), mark).unwrap();
        let model = staging.folder("saved_model").unwrap();
        fs::create_dir(model.join("variables")).unwrap();
        fs::write(model.join("variables/variables.index"), mark).unwrap();
        staging.file("pipeline.config", mark.as_bytes()).unwrap();
        staging
    }

    fn listing(folder: &Path) -> Vec<String> {
        let mut names = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(at) = folders.pop() {
            for entry in fs::read_dir(at).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(folder).unwrap().to_str().unwrap();
                    names.push(format!("{name}={}", fs::read_to_string(&path).unwrap()));
                }
            }
        }
        names.sort();
        names
    }

    #[test]
    fn a_new_folder_appears_whole() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("a/b");
        let staging = stage(&target, "1");
        assert!(!target.exists());
        staging.commit(&ITEMS, nothing).unwrap();
        assert_eq!(
            listing(root.path()),
            [
                "a/b/checkpoint/ckpt-0.index=1",
                "a/b/pipeline.config=1",
                "a/b/saved_model/variables/variables.index=1"
            ]
        );
    }

    #[test]
    fn an_export_replaces_an_export_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        stage(root.path(), "1").commit(&ITEMS, nothing).unwrap();
        fs::write(root.path().join("notes.txt"), "mine").unwrap();
        fs::write(root.path().join("checkpoint/ckpt-7.index"), "mine").unwrap();
        fs::create_dir(root.path().join("saved_model/assets.extra")).unwrap();
        fs::write(root.path().join("saved_model/assets.extra/warmup"), "mine").unwrap();
        let stale = root
            .path()
            .join("saved_model/variables/variables.data-00000-of-00002");
        fs::write(stale, "1").unwrap();
        stage(root.path(), "2").commit(&ITEMS, nothing).unwrap();
        assert_eq!(
            listing(root.path()),
            [
                "checkpoint/ckpt-0.index=2",
                "checkpoint/ckpt-7.index=mine",
                "notes.txt=mine",
                "pipeline.config=2",
                "saved_model/assets.extra/warmup=mine",
                "saved_model/variables/variables.index=2"
            ]
        );
    }

    #[test]
    fn what_is_dropped_leaves_no_trace() {
        let root = tempfile::tempdir().unwrap();
        stage(root.path(), "1").commit(&ITEMS, nothing).unwrap();
        let before = listing(root.path());
        drop(stage(root.path(), "2"));
        assert_eq!(listing(root.path()), before);
    }

    #[test]
    fn of_two_new_exports_the_second_replaces_the_first() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("out");
        let (one, two) = (stage(&target, "1"), stage(&target, "2"));
        one.commit(&ITEMS, nothing).unwrap();
        two.commit(&ITEMS, nothing).unwrap();
        assert_eq!(
            listing(root.path()),
            [
                "out/checkpoint/ckpt-0.index=2",
                "out/pipeline.config=2",
                "out/saved_model/variables/variables.index=2"
            ]
        );
    }

    #[test]
    fn what_only_the_earlier_export_wrote_goes() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path();
        stage(target, "1").commit(&ITEMS, nothing).unwrap();
        fs::write(target.join("frozen.pb"), "1").unwrap();
        let commit = |mark: &str, wrote: &[&str]| {
            let wrote: Vec<String> = wrote.iter().map(|name| (*name).to_owned()).collect();
            let items = ["checkpoint", "pipeline.config"];
            let staging = stage(target, mark);
            staging.discard("saved_model").unwrap();
            staging.commit(&items, |_| wrote).unwrap()
        };
        // What nobody is known to have written stays; so does what exports do not write, whatever the list says.
        fs::write(target.join("notes.txt"), "mine").unwrap();
        let replaced = commit("2", &["notes.txt", "../x"]);
        assert_eq!(replaced.left, ["saved_model/", "frozen.pb"]);
        assert!(replaced.removed.is_empty());
        fs::write(target.join("saved_model/variables/notes.txt"), "mine").unwrap();
        let replaced = commit("3", &["saved_model", "frozen.pb", "pipeline.config"]);
        assert_eq!(replaced.removed, ["frozen.pb"]);
        assert_eq!(replaced.emptied, ["saved_model/"]);
        assert!(replaced.left.is_empty());
        assert_eq!(
            listing(target),
            [
                "checkpoint/ckpt-0.index=3",
                "notes.txt=mine",
                "pipeline.config=3",
                "saved_model/variables/notes.txt=mine",
            ]
        );
        fs::remove_file(target.join("saved_model/variables/notes.txt")).unwrap();
        fs::write(target.join("saved_model/saved_model.pb"), "1").unwrap();
        assert_eq!(commit("4", &["saved_model"]).removed, ["saved_model/"]);
        assert!(!target.join("saved_model").exists());
    }

    #[test]
    fn a_failing_exchange_is_taken_back() {
        let root = tempfile::tempdir().unwrap();
        stage(root.path(), "1").commit(&ITEMS, nothing).unwrap();
        let before = listing(root.path());
        // An item that was never written: its exchange must fail after the others succeeded.
        let staging = stage(root.path(), "2");
        let items = ["checkpoint", "saved_model", "absent"];
        assert!(staging.commit(&items, nothing).is_err());
        assert_eq!(listing(root.path()), before);
    }

    #[test]
    fn things_in_the_way_are_named() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(new(&file), Err(OutputError::InTheWay { .. })));
        fs::write(root.path().join("saved_model"), "").unwrap();
        let error = new(root.path()).unwrap_err().to_string();
        assert!(
            error.contains("saved_model") && error.contains("a file"),
            "{error}"
        );
        assert_eq!(listing(root.path()), ["file=", "saved_model="]);
        fs::remove_file(root.path().join("saved_model")).unwrap();
        // An empty folder too: a file is expected.
        for item in ["manifest.json", "frozen.pb", "pipeline.config"] {
            fs::create_dir(root.path().join(item)).unwrap();
            let error = new(root.path()).unwrap_err().to_string();
            assert!(
                error.contains(item) && error.contains("found a folder"),
                "{error}"
            );
            fs::remove_dir(root.path().join(item)).unwrap();
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_replaced_if_it_leads_to_what_would_be() {
        use std::os::unix::fs::symlink;
        let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let target = root.path();
        fs::write(elsewhere.path().join("file"), "mine").unwrap();
        fs::create_dir(elsewhere.path().join("folder")).unwrap();
        for (name, end, refused) in [
            ("pipeline.config", "folder", Some("a link to a folder")),
            ("saved_model", "file", Some("a link to a file")),
            ("pipeline.config", "file", None),
            ("saved_model", "folder", None),
            ("saved_model", "nowhere", None),
        ] {
            symlink(elsewhere.path().join(end), target.join(name)).unwrap();
            match (new(target), refused) {
                (Ok(_), None) => {
                    stage(target, "1").commit(&ITEMS, nothing).unwrap();
                    assert!(!target.join(name).is_symlink());
                    fs::remove_dir_all(target.join("saved_model")).unwrap();
                    fs::remove_file(target.join("pipeline.config")).unwrap();
                }
                (Err(error), Some(found)) => {
                    let error = error.to_string();
                    assert!(error.contains(&format!("found {found};")), "{error}");
                    fs::remove_file(target.join(name)).unwrap();
                }
                (result, _) => unreachable!("{name} to {end}: {result:?}"),
            }
        }
        assert_eq!(listing(elsewhere.path()), ["file=mine"]);
    }

    #[test]
    fn what_the_export_does_not_touch_is_not_in_its_way() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path();
        stage(target, "1").commit(&ITEMS, nothing).unwrap();
        fs::create_dir(target.join("frozen.pb")).unwrap();
        let staging = || {
            let concerns = |item: &Item| ITEMS.contains(&item.name);
            let staging = Staging::new(target, Some(all_items()), concerns).unwrap();
            for name in ["checkpoint", "saved_model"] {
                staging.folder(name).unwrap();
            }
            staging.file("pipeline.config", b"2").unwrap();
            staging
        };
        assert_eq!(
            staging().commit(&ITEMS, nothing).unwrap(),
            Replaced::default()
        );
        assert!(target.join("frozen.pb").is_dir());
        // What it would remove is.
        let listed = |_: &Path| vec!["frozen.pb".to_owned()];
        let error = staging().commit(&ITEMS, listed).unwrap_err().to_string();
        assert!(error.contains("expected a file"), "{error}");
        assert_eq!(listing(target), ["pipeline.config=2"]);
    }
}
