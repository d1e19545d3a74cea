//! One file as output: a regular file, which is replaced as a whole; a device or a pipe, which is written into; or standard output.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf, is_separator};

use tfod_text::Shown;

use super::identity::{self, Identity};
use super::{OutputError, Scratch, failed, hold};
use crate::write_behind::{Failed, WriteBehind, write_behind};

/// Where one file goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To a path. A regular file there is replaced when the new one is complete; its folder is made if it is not there. Character devices and pipes are written into. Links are followed.
    File(PathBuf),
    /// To the standard output of this process.
    StandardOutput,
}

impl From<PathBuf> for Destination {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<&Path> for Destination {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl Destination {
    /// What a command line says: a path, or `-` for standard output, which has other names too where the system has them.
    pub fn of_argument(argument: PathBuf) -> Self {
        let names = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];
        if names.iter().any(|name| argument == OsStr::new(name)) {
            Self::StandardOutput
        } else {
            Self::File(argument)
        }
    }

    /// Whether it is standard output, by that name or by a path.
    pub fn is_standard_output(&self) -> bool {
        match self {
            Self::StandardOutput => true,
            // A new file is no stream that anything else is written to, even where standard output is the file that it replaces.
            Self::File(path) => {
                fs::metadata(path).is_ok_and(|metadata| !metadata.is_file())
                    && Identity::of_standard_output()
                        .is_some_and(|output| Identity::of(path) == Some(output))
            }
        }
    }

    /// Whether what is written to one would be lost in, or mixed with, what is written to the other. A device such as `/dev/null` may be given twice.
    pub fn collides_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(a), Self::File(b)) => !is_device(a) && identity::is_same(a, b),
            (one, other) => one.is_standard_output() && other.is_standard_output(),
        }
    }

    /// What it is called in messages.
    pub fn name(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::StandardOutput => Path::new("standard output"),
        }
    }

    /// Refuses what cannot be written to, and to overwrite one of the `inputs`. Nothing is opened or written for that.
    ///
    /// # Errors
    /// [`OutputError::InTheWay`], [`OutputError::Overwrites`]; what the system says of the path.
    pub fn spare<'a>(&self, inputs: impl IntoIterator<Item = &'a Path>) -> Result<(), OutputError> {
        let Self::File(path) = self else {
            return Ok(());
        };
        Target::of(path)?;
        let own = Identity::of(path);
        match inputs
            .into_iter()
            .find(|input| own.is_some() && Identity::of(input) == own)
        {
            Some(input) => Err(OutputError::Overwrites {
                path: path.clone(),
                what: format!("an input: {}", input.shown()),
            }),
            None => Ok(()),
        }
    }

    /// Writes a text.
    ///
    /// # Errors
    /// If it cannot be written; then a regular file is as it was.
    pub fn write_text(&self, text: &str) -> Result<(), OutputError> {
        let written = self.write(|out| io::Write::write_all(out, text.as_bytes()));
        match written {
            Ok(_) => Ok(()),
            Err(Failed::Writing(error)) => Err(error),
            Err(Failed::Producing(source)) => Err(failed(self.name(), "write")(source)),
        }
    }

    /// Writes what `produce` makes; gives the number of bytes.
    pub(crate) fn write<E>(
        &self,
        produce: impl FnOnce(&mut WriteBehind) -> Result<(), E>,
    ) -> Result<u64, Failed<OutputError, E>> {
        let Self::File(path) = self else {
            let output = standard_output();
            let output =
                output.map_err(|source| Failed::Writing(failed(self.name(), "open")(source)))?;
            return write_into(&output, self.name(), produce);
        };
        match Target::of(path).map_err(Failed::Writing)? {
            Target::Stream => {
                let file = OpenOptions::new().write(true).open(path);
                let file = file.map_err(|source| Failed::Writing(failed(path, "open")(source)))?;
                write_into(&file, path, produce)
            }
            Target::Regular(real) => replace(&real, path, produce),
        }
    }
}

#[cfg(unix)]
fn is_device(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_char_device())
}

#[cfg(not(unix))]
fn is_device(_path: &Path) -> bool {
    false
}

/// What stands at a path.
enum Target {
    /// A regular file, or nothing: the path without a link at its end.
    Regular(PathBuf),
    /// A device or a pipe.
    Stream,
}

impl Target {
    fn of(path: &Path) -> Result<Self, OutputError> {
        let in_the_way = |found| OutputError::InTheWay {
            path: path.to_owned(),
            expected: "a file, a pipe or a character device, or nothing",
            found,
        };
        let name = path.as_os_str().as_encoded_bytes();
        if name.last().is_some_and(|&byte| is_separator(byte.into())) {
            return Err(OutputError::InTheWay {
                path: path.to_owned(),
                expected: "the name of a file",
                found: "that of a folder, with a separator at its end",
            });
        }
        let kind = match fs::metadata(path) {
            Ok(metadata) => metadata.file_type(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return match fs::symlink_metadata(path) {
                    Ok(_) => Err(in_the_way("a link that leads nowhere")),
                    Err(_) => Ok(Self::Regular(path.to_owned())),
                };
            }
            Err(error) => return Err(failed(path, "write")(error)),
        };
        if kind.is_file() {
            let real = fs::canonicalize(path).map_err(failed(path, "open"))?;
            return Ok(Self::Regular(real));
        }
        if kind.is_dir() {
            return Err(in_the_way("a folder"));
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::FileTypeExt as _;
            if kind.is_block_device() {
                return Err(in_the_way("a block device"));
            }
            if kind.is_socket() {
                return Err(in_the_way("a socket"));
            }
        }
        Ok(Self::Stream)
    }
}

/// Standard output as a file, without the buffer that the program has for text.
#[cfg(unix)]
fn standard_output() -> io::Result<File> {
    Ok(File::from(rustix::io::dup(io::stdout())?))
}

/// Standard output as a file, without the buffer that the program has for text.
#[cfg(windows)]
fn standard_output() -> io::Result<File> {
    use std::os::windows::io::AsHandle as _;
    Ok(File::from(io::stdout().as_handle().try_clone_to_owned()?))
}

/// Writes into a file that is open.
pub(crate) fn write_into<E>(
    file: &File,
    name: &Path,
    produce: impl FnOnce(&mut WriteBehind) -> Result<(), E>,
) -> Result<u64, Failed<OutputError, E>> {
    write_behind(file, produce).map_err(|error| match error {
        Failed::Writing(source) => Failed::Writing(failed(name, "write")(source)),
        Failed::Producing(error) => Failed::Producing(error),
    })
}

/// Writes a file beside its place, and renames it.
fn replace<E>(
    path: &Path,
    name: &Path,
    produce: impl FnOnce(&mut WriteBehind) -> Result<(), E>,
) -> Result<u64, Failed<OutputError, E>> {
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let beside = || {
        fs::create_dir_all(folder).map_err(failed(folder, "make the folder"))?;
        let scratch = Scratch::new_in(folder).map_err(failed(folder, "write into the folder"))?;
        let new = scratch.content().join("file");
        let file = File::create_new(&new).map_err(failed(name, "write"))?;
        Ok((scratch, new, file))
    };
    let (_scratch, new, file) = beside().map_err(Failed::Writing)?;
    let bytes = write_into(&file, name, produce)?;
    // What is replaced must not be gone before the new file is on the disk.
    if fs::symlink_metadata(path).is_ok() {
        let synced = file.sync_all();
        synced.map_err(|source| Failed::Writing(failed(name, "write to the disk")(source)))?;
    }
    drop(file);
    let _held = hold();
    fs::rename(&new, path)
        .map_err(|error| Failed::Writing(failed(name, "put the file in place")(error)))?;
    Ok(bytes)
}
