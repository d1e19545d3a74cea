//! What is wrong with a file of annotations, and where.

use std::path::{Path, PathBuf};

use tfod_text::Shown;

/// Why annotations or detections cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}: {}{problem}", path.shown(), Place(place))]
pub struct ReadError {
    /// The file or folder.
    pub path: PathBuf,
    /// The line, byte, record or entry; empty for the file as a whole.
    pub place: String,
    /// What is wrong, what was expected, and what to do.
    pub problem: String,
}

struct Place<'a>(&'a str);

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, "{}: ", self.0.shown())
    }
}

impl ReadError {
    pub(crate) fn new(path: &Path, place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            place: place.into(),
            problem: problem.into(),
        }
    }

    pub(crate) fn io(path: &Path, error: &std::io::Error) -> Self {
        Self::new(path, "", format!("cannot be read: {error}"))
    }
}

/// Reads a whole file that is not larger than a limit.
pub(crate) fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    use std::io::Read as _;
    let file = tfod_checkpoint::open_regular(path).map_err(|error| ReadError::io(path, &error))?;
    let mut bytes = Vec::new();
    // A file may grow while it is read.
    let mut limited = file.take(limit + 1);
    limited
        .read_to_end(&mut bytes)
        .map_err(|error| ReadError::io(path, &error))?;
    if bytes.len() as u64 > limit {
        let limit = limit >> 20;
        let problem = format!("the file is larger than {limit} MB, which is the limit");
        return Err(ReadError::new(path, "", problem));
    }
    Ok(bytes)
}
