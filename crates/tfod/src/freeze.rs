//! From a SavedModel to one file: a `GraphDef` with the weights inside.
//!
//! The file is written beside its place and renamed, so that it is never half there, whatever happens to the process. As with `cp`, when it reaches the disk
//! is left to the system.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;
use tfod_tensorflow::{Endpoint, FreezeError, FreezeOptions, Frozen, SavedModelReader};

use crate::progress::Step;
use crate::write_behind::{Failed, WriteBehind, write_behind};

/// How many of the largest constants a report names.
const LARGEST: usize = 5;

/// A SavedModel to be frozen.
#[derive(Clone, Debug)]
pub struct Freeze {
    /// The folder with `saved_model.pb`.
    pub saved_model_dir: PathBuf,
    /// The file to write; replaced if it is there.
    pub output: PathBuf,
    /// Write protobuf text instead of binary.
    pub as_text: bool,
    /// What is frozen, and how.
    pub options: FreezeOptions,
    /// Fold batch normalisation into the convolution before it.
    pub fold_batch_norm: bool,
    /// Store large constants in half precision, behind casts.
    pub half: bool,
}

/// What a freeze did.
#[derive(Clone, Debug)]
pub struct FreezeReport {
    /// The inputs, by key.
    pub inputs: Vec<Endpoint>,
    /// The outputs, by key.
    pub outputs: Vec<Endpoint>,
    /// How many nodes there are of each operation.
    pub op_counts: BTreeMap<String, usize>,
    /// The functions that stayed functions.
    pub functions: Vec<String>,
    /// How many batch normalisations were folded, if that was asked for.
    pub folded: Option<usize>,
    /// How many constants were stored in half precision, if that was asked for.
    pub halved: Option<usize>,
    /// Bytes of all constants.
    pub constant_bytes: u64,
    /// The largest constants, largest first.
    pub largest: Vec<(String, u64)>,
    /// The file.
    pub output: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Time from the start to the rename.
    pub elapsed: Duration,
}

/// Why a SavedModel was not frozen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FreezeFileError {
    /// The SavedModel cannot be read, or cannot be frozen.
    #[error(transparent)]
    Freeze(#[from] FreezeError),
    /// The output cannot be written.
    #[error("{}: cannot {action}: {source}", path.display())]
    Output {
        /// The file or folder.
        path: PathBuf,
        /// What was being done, as a verb.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

impl Freeze {
    /// Freezes.
    ///
    /// # Errors
    /// For anything that prevents it; then an earlier output is as it was.
    pub fn run(&self) -> Result<FreezeReport, FreezeFileError> {
        self.run_telling(&|_| {})
    }

    /// Freezes, and calls `tell` at the beginning of each step.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_telling(&self, tell: &dyn Fn(Step)) -> Result<FreezeReport, FreezeFileError> {
        let start = Instant::now();
        tell(Step::Expand);
        let reader = SavedModelReader::open(&self.saved_model_dir)?;
        let mut frozen = reader.freeze(&self.options)?;
        let folded = if self.fold_batch_norm {
            Some(frozen.fold_batch_norm()?)
        } else {
            None
        };
        let halved = if self.half {
            Some(frozen.halve_constants()?)
        } else {
            None
        };
        tell(Step::Frozen);
        write_file(&self.output, |out| {
            if self.as_text {
                frozen.write_text(out)
            } else {
                frozen.write_binary(out)
            }
        })?;
        let mut report = describe(&frozen)?;
        report.folded = folded;
        report.halved = halved;
        report.output.clone_from(&self.output);
        let metadata = fs::metadata(&self.output);
        report.bytes = metadata.map_err(failed(&self.output, "read"))?.len();
        report.elapsed = start.elapsed();
        Ok(report)
    }
}

/// What there is to say of a frozen graph before it is a file.
fn describe(frozen: &Frozen<'_>) -> Result<FreezeReport, FreezeError> {
    let constants = frozen.constants()?;
    let mut largest: Vec<(String, u64)> = constants
        .iter()
        .map(|(name, bytes)| ((*name).to_owned(), *bytes))
        .collect();
    largest.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    largest.truncate(LARGEST);
    let counts = frozen.op_counts().into_iter();
    Ok(FreezeReport {
        inputs: frozen.inputs(),
        outputs: frozen.outputs(),
        op_counts: counts.map(|(op, count)| (op.to_owned(), count)).collect(),
        functions: frozen.functions().map(str::to_owned).collect(),
        folded: None,
        halved: None,
        constant_bytes: constants.iter().map(|(_, bytes)| bytes).sum(),
        largest,
        output: PathBuf::new(),
        bytes: 0,
        elapsed: Duration::ZERO,
    })
}

fn failed<'a>(
    path: &'a Path,
    action: &'static str,
) -> impl FnOnce(io::Error) -> FreezeFileError + 'a {
    move |source| FreezeFileError::Output {
        path: path.to_owned(),
        action,
        source,
    }
}

/// Writes a file beside its place, and renames it.
pub(crate) fn write_file<E>(
    path: &Path,
    write: impl FnOnce(&mut WriteBehind) -> Result<(), E>,
) -> Result<(), FreezeFileError>
where
    FreezeFileError: From<E>,
{
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder).map_err(failed(folder, "make the folder"))?;
    let file = new_file_in(folder).map_err(failed(folder, "write into the folder"))?;
    write_behind(file.as_file(), write).map_err(|error| match error {
        Failed::Writing(source) => failed(path, "write")(source),
        Failed::Producing(error) => error.into(),
    })?;
    file.persist(path)
        .map_err(|error| failed(path, "put the file in place")(error.error))?;
    Ok(())
}

/// A file in a folder that has no name of its own yet, with the permissions of any new file: what the user's mask leaves.
pub(crate) fn new_file_in(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".tfod-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}
