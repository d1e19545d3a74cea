//! Whether two paths lead to the same file, however they are spelled. Files are not opened for that, since opening a pipe waits for its other end.

use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// What a file is known by: its device and number. Two names (hard links) of one file have the same.
#[cfg(unix)]
type Id = (u64, u64);
/// What a file is known by: its path without links.
#[cfg(not(unix))]
type Id = PathBuf;

/// Where a path leads: a file that is there; or else the next folder that is, and the names below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    id: Id,
    below: Vec<OsString>,
}

#[cfg(unix)]
fn id_of(path: &Path) -> Option<Id> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn id_of(path: &Path) -> Option<Id> {
    fs::canonicalize(path).ok()
}

impl Identity {
    /// Of a path; `None` where the system says nothing of it.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let mut path: PathBuf = std::path::absolute(path).ok()?;
        let mut below = Vec::new();
        loop {
            if let Some(id) = id_of(&path) {
                below.reverse();
                return Some(Self { id, below });
            }
            match path.components().next_back()? {
                Component::Normal(name) => below.push(name.to_owned()),
                // The name before it is not there, so the two lead nowhere.
                _ => return None,
            }
            path.pop();
        }
    }

    /// Of this process's standard output.
    #[cfg(unix)]
    pub(crate) fn of_standard_output() -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let file = fs::File::from(rustix::io::dup(std::io::stdout()).ok()?);
        let metadata = file.metadata().ok()?;
        Some(Self {
            id: (metadata.dev(), metadata.ino()),
            below: Vec::new(),
        })
    }

    /// Of this process's standard output.
    #[cfg(not(unix))]
    pub(crate) fn of_standard_output() -> Option<Self> {
        None
    }
}

/// Whether two paths lead to the same place.
pub(crate) fn is_same(a: &Path, b: &Path) -> bool {
    Identity::of(a).is_some_and(|a| Some(a) == Identity::of(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_does_not_count() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir(root.join("folder")).unwrap();
        fs::write(root.join("file"), "").unwrap();
        fs::write(root.join("other"), "").unwrap();
        assert!(is_same(&root.join("file"), &root.join("folder/../file")));
        assert!(is_same(&root.join("file"), &root.join("./file")));
        assert!(!is_same(&root.join("file"), &root.join("other")));
        // What is not there yet.
        assert!(is_same(&root.join("a/b"), &root.join("folder/../a/b")));
        assert!(!is_same(&root.join("a/b"), &root.join("a/c")));
        assert!(!is_same(&root.join("a/b"), &root.join("b")));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_what_they_lead_to() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir(root.join("folder")).unwrap();
        fs::write(root.join("file"), "").unwrap();
        std::os::unix::fs::symlink(root.join("file"), root.join("link")).unwrap();
        std::os::unix::fs::symlink(root.join("folder"), root.join("linked")).unwrap();
        fs::hard_link(root.join("file"), root.join("hard")).unwrap();
        assert!(is_same(&root.join("file"), &root.join("link")));
        assert!(is_same(&root.join("file"), &root.join("hard")));
        assert!(is_same(&root.join("linked/new"), &root.join("folder/new")));
    }
}
