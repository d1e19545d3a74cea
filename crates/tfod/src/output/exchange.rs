//! Putting what was written beside in place: in one step each, where the system can do that, and all or nothing.

use std::fs;
use std::io;
use std::path::Path;

use super::{OutputError, failed};

/// Whether anything is there, be it a link that leads nowhere.
pub(crate) fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Waits until a file, or all files below a folder, are on the disk: what they replace must not be gone before.
pub(crate) fn sync(path: &Path) -> Result<(), OutputError> {
    let metadata = path.symlink_metadata().map_err(failed(path, "read"))?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path).map_err(failed(path, "read the folder"))? {
            let entry = entry.map_err(failed(path, "read the folder"))?;
            sync(&entry.path())?;
        }
    } else if metadata.is_file() {
        let file = fs::OpenOptions::new().write(true).open(path);
        let synced = file.and_then(|file| file.sync_all());
        synced.map_err(failed(path, "write to the disk"))?;
    }
    Ok(())
}

/// Exchanges entries of two folders. Those that only one has go to the other. If one cannot be moved, those before are put back.
pub(crate) fn exchange_all(target: &Path, new: &Path, names: &[&str]) -> Result<(), OutputError> {
    let swap = |name: &str| swap(&target.join(name), &new.join(name));
    for (done, name) in names.iter().enumerate() {
        if let Err(error) = swap(name) {
            for name in names.iter().take(done).rev() {
                // The first error is the one to report; what can be taken back is.
                let _ = swap(name);
            }
            return Err(error);
        }
    }
    Ok(())
}

/// Exchanges an entry with the old one, or puts it where there is none; done twice, all is as before.
fn swap(old: &Path, new: &Path) -> Result<(), OutputError> {
    let result = match (exists(old), exists(new)) {
        (true, true) => exchange(old, new),
        (true, false) => fs::rename(old, new),
        (false, _) => fs::rename(new, old),
    };
    result.map_err(failed(old, "put in place"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renames_exchange_too() {
        let root = tempfile::tempdir().unwrap();
        let (a, b) = (root.path().join("a"), root.path().join("b"));
        fs::write(&a, "a").unwrap();
        fs::write(&b, "b").unwrap();
        exchange_by_renames(&a, &b).unwrap();
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        assert_eq!([read(&a), read(&b)], ["b", "a"]);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2);
    }
}
