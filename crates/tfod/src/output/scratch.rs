//! Folders in which outputs are written before they are renamed into place. One stands in the same file system as the output, and has a lock:
//!
//! ```text
//! .tfod-Ab3dE9/
//!   lock   locked by the process that made the folder, as long as that runs
//!   new/   what is being written
//! ```
//!
//! A folder is removed when its [`Scratch`] is dropped. A process that a signal ends calls [`discard_unfinished`] before; what a process that was killed outright left,
//! the next one removes when it makes a folder in the same place: it can take the lock. Folders that hold anything else than the two entries above are
//! not touched, whatever their name.
//!
//! The lock is a file because folders cannot be opened, and so not locked, on Windows. It is beside `new` because an open file would keep Windows from renaming the
//! folder around it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{OutputError, exchange_all, exists, failed, sync};

const PREFIX: &str = ".tfod-";
/// How many characters follow the prefix.
const RANDOM: usize = 6;
const LOCK: &str = "lock";
const CONTENT: &str = "new";
/// The lock in an output folder, there while its parts are exchanged.
const TURN: &str = ".tfod-lock";
/// How often a step is done anew when another process was in the way.
const ATTEMPTS: usize = 100;

/// What this process has to remove before it ends: folders, and files that are locks.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// The list of what is unfinished. While it is held, [`discard_unfinished`] waits; once that has run, everybody else waits until the process has ended.
pub(crate) struct Held(MutexGuard<'static, Vec<PathBuf>>);

/// Keeps [`discard_unfinished`] from running between renames that belong together.
pub(crate) fn hold() -> Held {
    Held(UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Removes what exports and freezes that are under way in this process have written so far. For programs that a signal is about to end: afterwards, no thread of this process can
/// begin, finish or report an output, so the program has to end itself at once.
pub fn discard_unfinished() {
    let held = ManuallyDrop::new(hold());
    for path in held.0.iter() {
        for _ in 0..ATTEMPTS {
            // Another thread may be making files in it still.
            if remove(path).is_ok() {
                break;
            }
        }
    }
}

/// A folder to write in, which is removed when this is dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    content: PathBuf,
    /// Closed before the folder is removed.
    lock: Option<File>,
}

impl Scratch {
    /// Makes a folder in `parent`, and removes there what processes that were killed have left.
    ///
    /// # Errors
    /// If the system refuses to make it.
    pub fn new_in(parent: &Path) -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for _ in 0..ATTEMPTS {
            let mut held = hold();
            let path = tempfile::Builder::new()
                .prefix(PREFIX)
                .rand_bytes(RANDOM)
                .tempdir_in(parent)?
                .keep();
            match claim(&path) {
                Ok(lock) => {
                    held.0.push(path.clone());
                    drop(held);
                    let content = path.join(CONTENT);
                    let scratch = Self {
                        path,
                        content,
                        lock: Some(lock),
                    };
                    fs::create_dir(&scratch.content)?;
                    remove_abandoned(parent, &scratch.path);
                    return Ok(scratch);
                }
                // Another process took it for an abandoned one before it was locked; or it cannot be locked, and so has to go.
                Err(error) => last = error,
            }
            let _ = remove(&path);
        }
        Err(last)
    }

    /// The folder for the content.
    pub fn content(&self) -> &Path {
        &self.content
    }

    /// Makes the content a folder of its own, where nothing is yet. `false` if something is there meanwhile.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn become_folder(&self, target: &Path) -> Result<bool, OutputError> {
        let _held = hold();
        match fs::rename(&self.content, target) {
            Ok(()) => Ok(true),
            Err(_) if exists(target) => Ok(false),
            Err(error) => Err(failed(target, "put in place")(error)),
        }
    }

    /// Puts entries of the content in place in a folder, each by renaming, once `check` has looked at it; what is there under these names goes. Another process
    /// that does the same is waited for. If one cannot be put in place, all is as it was.
    ///
    /// # Errors
    /// That of `check`, and if the system refuses.
    pub fn put_in_place<E: From<OutputError>>(
        &self,
        target: &Path,
        names: &[&str],
        check: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let _turn = Turn::wait_for(target).map_err(failed(target, "lock"))?;
        check()?;
        let is_there =
            |name: &&&str| exists(&target.join(name)) || exists(&self.content.join(name));
        let names: Vec<&str> = names.iter().filter(is_there).copied().collect();
        // What is replaced must not be gone before the new files are on the disk.
        if names.iter().any(|name| exists(&target.join(name))) {
            sync(&self.content)?;
        }
        let _held = hold();
        Ok(exchange_all(target, &self.content, &names)?)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut held = hold();
        self.lock.take();
        let _ = remove(&self.path);
        held.0.retain(|path| *path != self.path);
    }
}

/// A folder in which this process alone exchanges parts. Others wait until this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    path: PathBuf,
    lock: Option<File>,
}

impl Turn {
    /// Waits for processes that are exchanging parts of the same folder.
    pub(crate) fn wait_for(folder: &Path) -> io::Result<Self> {
        let path = folder.join(TURN);
        for _ in 0..ATTEMPTS {
            // Made and entered in the list in one, so that a signal between leaves nothing.
            let mut held = hold();
            let lock = open_lock(&path)?;
            if let Err(fs::TryLockError::WouldBlock) = lock.try_lock() {
                drop(held);
                // Until the process before is done; where files cannot be locked, nothing is held.
                let _ = lock.lock();
                continue;
            }
            if is_at(&lock, &path) {
                held.0.push(path.clone());
                return Ok(Self {
                    path,
                    lock: Some(lock),
                });
            }
            // The process before has removed it.
        }
        Err(io::Error::from(io::ErrorKind::WouldBlock))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut held = hold();
        let removed = fs::remove_file(&self.path);
        self.lock.take();
        if removed.is_err() {
            let _ = fs::remove_file(&self.path);
        }
        held.0.retain(|path| *path != self.path);
    }
}

/// Opens a lock, which is made if it is not there. Links are not followed, and nothing is waited for.
fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt as _;
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        options.custom_flags(i32::try_from(flags.bits()).unwrap_or_default());
    }
    let lock = options.open(path)?;
    if lock.metadata()?.is_file() {
        Ok(lock)
    } else {
        Err(io::Error::other("a lock is expected to be a regular file"))
    }
}

/// Takes the lock of a folder; an error where another process has it.
fn claim(folder: &Path) -> io::Result<File> {
    let path = folder.join(LOCK);
    let lock = open_lock(&path)?;
    match lock.try_lock() {
        // Where files cannot be locked, nothing is held, and nothing removed later.
        Ok(()) | Err(fs::TryLockError::Error(_)) => {}
        Err(error @ fs::TryLockError::WouldBlock) => return Err(error.into()),
    }
    if is_at(&lock, &path) {
        Ok(lock)
    } else {
        Err(io::Error::from(io::ErrorKind::NotFound))
    }
}

/// Whether an open file is the one at a path.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let (Ok(open), Ok(there)) = (file.metadata(), fs::symlink_metadata(path)) else {
        return false;
    };
    (open.dev(), open.ino()) == (there.dev(), there.ino())
}

/// Whether an open file is the one at a path: there, a file that is open cannot be replaced.
#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}

/// Removes what processes that were killed have left beside `own`. What cannot be removed is no reason to fail.
fn remove_abandoned(parent: &Path, own: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path == own || !is_ours(&path, own) {
            continue;
        }
        let lock = open_lock(&path.join(LOCK));
        let Ok(lock) = lock else { continue };
        if lock.try_lock().is_ok() && is_at(&lock, &path.join(LOCK)) {
            #[cfg(not(unix))]
            drop(lock);
            let _ = remove(&path);
        }
    }
}

/// Whether a folder has the name, the owner and the entries of those made here.
fn is_ours(path: &Path, own: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let random = name.and_then(|name| name.strip_prefix(PREFIX));
    let has_name = random.is_some_and(|random| {
        random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
    });
    if !has_name || !has_owner_of(path, own) {
        return false;
    }
    let Ok(entries) = fs::read_dir(path) else {
        return false;
    };
    entries.into_iter().all(|entry| {
        entry.is_ok_and(|entry| entry.file_name() == LOCK || entry.file_name() == CONTENT)
    })
}

/// Whether a path is a folder, no link, of the same user.
fn has_owner_of(path: &Path, own: &Path) -> bool {
    let (Ok(metadata), Ok(own)) = (fs::symlink_metadata(path), fs::symlink_metadata(own)) else {
        return false;
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        metadata.is_dir() && metadata.uid() == own.uid()
    }
    #[cfg(not(unix))]
    {
        metadata.is_dir() && own.is_dir()
    }
}

/// Removes a lock, or a folder with its lock at the end, so that half a removal leaves a folder that can be recognised.
fn remove(path: &Path) -> io::Result<()> {
    let gone = |result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    if !fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
        return gone(fs::remove_file(path));
    }
    gone(fs::remove_dir_all(path.join(CONTENT)))?;
    gone(fs::remove_file(path.join(LOCK)))?;
    gone(fs::remove_dir(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_folder_is_removed_with_all_in_it() {
        let root = tempfile::tempdir().unwrap();
        let scratch = Scratch::new_in(root.path()).unwrap();
        fs::create_dir(scratch.content().join("a")).unwrap();
        fs::write(scratch.content().join("a/b"), "c").unwrap();
        assert_eq!(names(root.path()).len(), 1);
        drop(scratch);
        assert!(names(root.path()).is_empty());
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_is_in_use_is_not() {
        let root = tempfile::tempdir().unwrap();
        let make = |name: &str, lock: bool, content: bool| {
            let folder = root.path().join(name);
            fs::create_dir(&folder).unwrap();
            if lock {
                fs::write(folder.join(LOCK), "").unwrap();
            }
            if content {
                fs::create_dir(folder.join(CONTENT)).unwrap();
                fs::write(folder.join(CONTENT).join("half"), "").unwrap();
            }
        };
        make(".tfod-aaaaaa", true, true);
        make(".tfod-bbbbbb", false, true);
        make(".tfod-cccccc", true, false);
        make(".tfod-dddddd", false, false);
        let in_use = Scratch::new_in(root.path()).unwrap();
        assert_eq!(names(root.path()).len(), 1);
        let other = Scratch::new_in(root.path()).unwrap();
        assert!(in_use.content().is_dir() && other.content().is_dir());
    }

    #[test]
    fn what_is_not_ours_stays() {
        let root = tempfile::tempdir().unwrap();
        for folder in [".tfod-notes", ".tfod-abcdef", ".tfod-", "tfod-ghijkl"] {
            fs::create_dir(root.path().join(folder)).unwrap();
            fs::write(root.path().join(folder).join("mine"), "mine").unwrap();
        }
        fs::write(root.path().join(".tfod-mnopqr"), "mine").unwrap();
        #[cfg(unix)]
        {
            let outside = root.path().join("outside");
            fs::create_dir(&outside).unwrap();
            fs::create_dir(outside.join(CONTENT)).unwrap();
            std::os::unix::fs::symlink(&outside, root.path().join(".tfod-stuvwx")).unwrap();
        }
        let before = names(root.path());
        drop(Scratch::new_in(root.path()).unwrap());
        assert_eq!(names(root.path()), before);
        for folder in [".tfod-notes", ".tfod-abcdef", ".tfod-", "tfod-ghijkl"] {
            assert!(root.path().join(folder).join("mine").is_file(), "{folder}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_lock_that_is_a_link_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join(".tfod-aaaaaa");
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(root.path().join("made"), folder.join(LOCK)).unwrap();
        drop(Scratch::new_in(root.path()).unwrap());
        assert!(!root.path().join("made").exists());
    }

    #[test]
    fn turns_are_taken_one_after_the_other_and_leave_nothing() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(TURN), "").unwrap();
        let count = Mutex::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let turn = Turn::wait_for(root.path()).unwrap();
                    let mut inside = count.try_lock().unwrap();
                    std::thread::sleep(std::time::Duration::from_millis(2));
                    *inside += 1;
                    drop(inside);
                    drop(turn);
                });
            }
        });
        assert_eq!(*count.lock().unwrap(), 8);
        assert!(names(root.path()).is_empty());
    }
}
