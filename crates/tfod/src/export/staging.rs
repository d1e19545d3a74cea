//! Writing beside, and putting in place by renaming, so that an output folder is never half written.
//!
//! A new output folder appears by one rename. In an existing one each item is exchanged with the old one in a single step where the system
//! can do that, and the exchanges are taken back when one fails. What is not part of an export stays: it is linked into the new folders before
//! they take the place of the old ones.
//!
//! A process that is killed leaves its folder behind; the next export into the same place sees that nobody holds it locked, and removes it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::ExportError;

/// How folders of this kind are called.
const PREFIX: &str = ".tfod-";
/// How often a folder is made anew that another process took for an abandoned one, before this one had locked it.
const ATTEMPTS: usize = 100;

/// A folder beside the output, which is removed when it is dropped.
#[derive(Debug)]
pub(super) struct Staging {
    target: PathBuf,
    /// Whether the target has to be made.
    is_new: bool,
    dir: TempDir,
    _lock: File,
}

fn failed<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(io::Error) -> ExportError + 'a {
    move |source| ExportError::Output {
        path: path.to_owned(),
        action,
        source,
    }
}

/// Whether anything is there, be it a link that leads nowhere.
fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

impl Staging {
    /// Makes the folder. The target need not exist.
    pub(super) fn new(target: &Path) -> Result<Self, ExportError> {
        let is_new = !exists(target);
        let target = if is_new {
            let absolute = std::path::absolute(target).map_err(failed(target, "find"))?;
            let parent = absolute.parent().unwrap_or(&absolute);
            fs::create_dir_all(parent).map_err(failed(parent, "make the folder"))?;
            absolute
        } else {
            if !target.is_dir() {
                return Err(ExportError::InTheWay {
                    path: target.to_owned(),
                    expected: "a folder, or nothing",
                    found: "something else",
                });
            }
            fs::canonicalize(target).map_err(failed(target, "open the folder"))?
        };
        let beside = match target.parent() {
            Some(parent) if is_new => parent,
            _ => &target,
        };
        remove_abandoned(beside);
        let (dir, lock) = locked_folder(beside)?;
        if !is_new {
            check_target(&target)?;
        }
        Ok(Self {
            target,
            is_new,
            dir,
            _lock: lock,
        })
    }

    /// Where an item is until it is put in place.
    pub(super) fn path(&self, item: &str) -> PathBuf {
        self.dir.path().join(item)
    }

    /// Makes a folder for an item; the item without a name is the folder itself.
    pub(super) fn folder(&self, item: &str) -> Result<PathBuf, ExportError> {
        let path = self.path(item);
        fs::create_dir_all(&path).map_err(failed(&path, "make the folder"))?;
        Ok(path)
    }

    /// Writes a file.
    pub(super) fn file(&self, item: &str, contents: &[u8]) -> Result<(), ExportError> {
        let path = self.path(item);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed(parent, "make the folder"))?;
        }
        fs::write(&path, contents).map_err(failed(&path, "write"))
    }

    /// Removes the folder of an item that was only needed for others.
    pub(super) fn discard(&self, item: &str) -> Result<(), ExportError> {
        let path = self.path(item);
        fs::remove_dir_all(&path).map_err(failed(&path, "remove"))
    }

    /// Puts the items in place.
    pub(super) fn commit(self, items: &[&str]) -> Result<(), ExportError> {
        if self.is_new {
            // Folders for temporary use are closed to others; an export has the permissions that new folders have.
            let open = self.folder(".permissions")?;
            let permissions = fs::metadata(&open)
                .map_err(failed(&open, "read"))?
                .permissions();
            fs::remove_dir(&open).map_err(failed(&open, "remove"))?;
            fs::set_permissions(self.dir.path(), permissions)
                .map_err(failed(self.dir.path(), "set the permissions of"))?;
            return fs::rename(self.dir.path(), &self.target)
                .map_err(failed(&self.target, "put the export in place as"));
        }
        // Of two exports into one folder, the one that comes second waits here, so that the result is one of them and no mixture.
        let _turn = lock_folder(&self.target).map_err(failed(&self.target, "open the folder"))?;
        for item in items {
            let (old, new) = (self.target.join(item), self.dir.path().join(item));
            if old.is_dir() {
                keep_foreign(&old, &new, item)?;
            }
        }
        for (done, item) in items.iter().enumerate() {
            if let Err(error) = self.swap(item) {
                for item in items.iter().take(done).rev() {
                    // The first error is the one to report; what can be taken back is.
                    let _ = self.swap(item);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Exchanges an item with the old one, or puts it where there is none; done twice, all is as before.
    fn swap(&self, item: &str) -> Result<(), ExportError> {
        let (old, new) = (self.target.join(item), self.dir.path().join(item));
        let result = match (exists(&old), exists(&new)) {
            (true, true) => exchange(&old, &new),
            (true, false) => fs::rename(&old, &new),
            (false, _) => fs::rename(&new, &old),
        };
        result.map_err(failed(&old, "put in place"))
    }
}

/// Makes a folder and locks it.
fn locked_folder(beside: &Path) -> Result<(TempDir, File), ExportError> {
    let make = failed(beside, "write into the folder");
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for _ in 0..ATTEMPTS {
        let dir = match tempfile::Builder::new().prefix(PREFIX).tempdir_in(beside) {
            Ok(dir) => dir,
            Err(error) => return Err(make(error)),
        };
        // Between the two steps, another process may have locked it and be removing it.
        match lock_folder(dir.path()) {
            Ok(lock) if dir.path().exists() => return Ok((dir, lock)),
            Ok(_) => {}
            Err(error) => last = error,
        }
    }
    Err(make(last))
}

/// Removes what killed processes left: folders that nobody holds locked. One that cannot be removed is no reason to fail.
fn remove_abandoned(beside: &Path) {
    let Ok(entries) = fs::read_dir(beside) else {
        return;
    };
    for entry in entries.flatten() {
        let is_ours = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(PREFIX))
            && entry.file_type().is_ok_and(|kind| kind.is_dir());
        let folder = is_ours.then(|| File::open(entry.path()).ok()).flatten();
        if folder.is_some_and(|folder| folder.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Holds a folder until the file is dropped. Where folders cannot be locked, nothing is held.
fn lock_folder(folder: &Path) -> io::Result<File> {
    let file = File::open(folder)?;
    let _ = file.lock();
    Ok(file)
}

/// Refuses a target in which a file stands for a folder of an export, or the reverse.
fn check_target(target: &Path) -> Result<(), ExportError> {
    for (item, is_folder) in [
        ("checkpoint", true),
        ("saved_model", true),
        ("pipeline.config", false),
        ("frozen.pb", false),
        ("model.onnx", false),
        ("model.onnx.data", false),
    ] {
        let path = target.join(item);
        if exists(&path) && path.is_dir() != is_folder {
            let (expected, found) = if is_folder {
                ("a folder, or nothing", "a file")
            } else {
                ("a file, or nothing", "a folder")
            };
            return Err(ExportError::InTheWay {
                path,
                expected,
                found,
            });
        }
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn exchange(old: &Path, new: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, old, CWD, new, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        // Some file systems cannot exchange.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
            exchange_by_renames(old, new)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn exchange(old: &Path, new: &Path) -> io::Result<()> {
    exchange_by_renames(old, new)
}

fn exchange_by_renames(old: &Path, new: &Path) -> io::Result<()> {
    let mut aside = new.as_os_str().to_owned();
    aside.push(".old");
    fs::rename(old, &aside)?;
    if let Err(error) = fs::rename(new, old) {
        fs::rename(&aside, old)?;
        return Err(error);
    }
    fs::rename(&aside, new)
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

/// Links, or copies, into the new folder what the old one has beyond an export.
fn keep_foreign(old: &Path, new: &Path, item: &str) -> Result<(), ExportError> {
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let from = old.join(&folder);
        for entry in fs::read_dir(&from).map_err(failed(&from, "read the folder"))? {
            let entry = entry.map_err(failed(&from, "read the folder"))?;
            let relative = folder.join(entry.file_name());
            let (source, copy) = (entry.path(), new.join(&relative));
            let kind = entry.file_type().map_err(failed(&source, "read"))?;
            if kind.is_dir() {
                fs::create_dir_all(&copy).map_err(failed(&copy, "make the folder"))?;
                folders.push(relative);
            } else if !is_ours(item, &relative) && !exists(&copy) {
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

#[cfg(test)]
mod tests {
    use super::*;

    const ITEMS: [&str; 3] = ["checkpoint", "saved_model", "pipeline.config"];

    fn stage(target: &Path, mark: &str) -> Staging {
        let staging = Staging::new(target).unwrap();
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
        staging.commit(&ITEMS).unwrap();
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
        stage(root.path(), "1").commit(&ITEMS).unwrap();
        fs::write(root.path().join("notes.txt"), "mine").unwrap();
        fs::write(root.path().join("checkpoint/ckpt-7.index"), "mine").unwrap();
        fs::create_dir(root.path().join("saved_model/assets.extra")).unwrap();
        fs::write(root.path().join("saved_model/assets.extra/warmup"), "mine").unwrap();
        let stale = root
            .path()
            .join("saved_model/variables/variables.data-00000-of-00002");
        fs::write(stale, "1").unwrap();
        stage(root.path(), "2").commit(&ITEMS).unwrap();
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
        stage(root.path(), "1").commit(&ITEMS).unwrap();
        let before = listing(root.path());
        drop(stage(root.path(), "2"));
        assert_eq!(listing(root.path()), before);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_is_in_use_is_not() {
        let root = tempfile::tempdir().unwrap();
        let abandoned = root.path().join(".tfod-old");
        fs::create_dir(&abandoned).unwrap();
        fs::write(abandoned.join("half"), "").unwrap();
        let other = stage(root.path(), "1");
        assert!(!abandoned.exists());
        stage(root.path(), "2").commit(&ITEMS).unwrap();
        other.commit(&ITEMS).unwrap();
        assert_eq!(
            listing(root.path()),
            [
                "checkpoint/ckpt-0.index=1",
                "pipeline.config=1",
                "saved_model/variables/variables.index=1"
            ]
        );
    }

    #[test]
    fn a_failing_exchange_is_taken_back() {
        let root = tempfile::tempdir().unwrap();
        stage(root.path(), "1").commit(&ITEMS).unwrap();
        let before = listing(root.path());
        // An item that was never written: its exchange must fail after the others succeeded.
        let staging = stage(root.path(), "2");
        let items = ["checkpoint", "saved_model", "absent"];
        assert!(staging.commit(&items).is_err());
        assert_eq!(listing(root.path()), before);
    }

    #[test]
    fn renames_exchange_too() {
        let root = tempfile::tempdir().unwrap();
        let (a, b) = (root.path().join("a"), root.path().join("b"));
        fs::write(&a, "a").unwrap();
        fs::write(&b, "b").unwrap();
        exchange_by_renames(&a, &b).unwrap();
        assert_eq!(listing(root.path()), ["a=b", "b=a"]);
    }

    #[test]
    fn things_in_the_way_are_named() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(
            Staging::new(&file),
            Err(ExportError::InTheWay { .. })
        ));
        fs::write(root.path().join("saved_model"), "").unwrap();
        let error = Staging::new(root.path()).unwrap_err().to_string();
        assert!(
            error.contains("saved_model") && error.contains("a file"),
            "{error}"
        );
        assert_eq!(listing(root.path()), ["file=", "saved_model="]);
    }
}
