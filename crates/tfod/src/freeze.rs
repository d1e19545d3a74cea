//! From a SavedModel to one file: a `GraphDef` with the weights inside.
//!
//! A regular file is written beside its place and renamed, so that it is never half there, whatever happens to the process. As with `cp`, when it reaches the disk
//! is left to the system. Into devices and pipes the bytes go at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tfod_tensorflow::{
    Endpoint, FreezeError, FreezeOptions, Frozen, FrozenTable, InputShape, SavedModelReader, Update,
};

use crate::output::identity::Identity;
use crate::output::{Destination, OutputError, failed, write_into};
use crate::progress::Step;
use crate::write_behind::{Failed, WriteBehind};

/// How many of the largest constants a report names.
const LARGEST: usize = 5;

/// A SavedModel to be frozen.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Freeze {
    /// The folder with `saved_model.pb` or `saved_model.pbtxt`, or that file.
    pub saved_model_dir: PathBuf,
    /// Where the graph goes. None of the SavedModel's files may be there.
    pub output: Destination,
    /// Write protobuf text instead of binary.
    pub as_text: bool,
    /// What is frozen, and how.
    pub options: FreezeOptions,
    /// Shapes that inputs shall have; sizes computed from them become constants.
    pub input_shapes: Vec<InputShape>,
    /// Fold batch normalisation into the convolution before it.
    pub fold_batch_norm: bool,
    /// Store large constants in half precision, behind casts.
    pub half: bool,
}

/// What a freeze did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FreezeReport {
    /// The inputs, by key.
    pub inputs: Vec<Endpoint>,
    /// The outputs, by key.
    pub outputs: Vec<Endpoint>,
    /// How many nodes there are of each operation.
    pub op_counts: BTreeMap<String, usize>,
    /// The functions that stayed functions.
    pub functions: Vec<String>,
    /// How many tensors that sizes decide became constants, if sizes of inputs were fixed.
    pub fixed_sizes: Option<usize>,
    /// How many batch normalisations were folded, if that was asked for.
    pub folded: Option<usize>,
    /// How many constants were stored in half precision, if that was asked for.
    pub halved: Option<usize>,
    /// The assignments to variables that were dropped, if that was asked for.
    pub dropped_updates: Vec<Update>,
    /// The operation that fills the tables; it has to run once before the first call.
    pub initialiser: Option<String>,
    /// The lookup tables.
    pub tables: Vec<FrozenTable>,
    /// What is to be known before the graph is used.
    pub warnings: Vec<String>,
    /// Bytes of all constants.
    pub constant_bytes: u64,
    /// The largest constants, largest first.
    pub largest: Vec<(String, u64)>,
    /// Where the graph is.
    pub output: Destination,
    /// Its size.
    pub bytes: u64,
    /// Time from the start to the last byte in place.
    pub elapsed: Duration,
}

/// Why a SavedModel was not frozen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FreezeFileError {
    /// The SavedModel cannot be read, or cannot be frozen.
    #[error(transparent)]
    Freeze(#[from] FreezeError),
    /// The output cannot be written, or must not be.
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl From<Failed<OutputError, FreezeError>> for FreezeFileError {
    fn from(failure: Failed<OutputError, FreezeError>) -> Self {
        match failure {
            Failed::Writing(error) => error.into(),
            Failed::Producing(error) => error.into(),
        }
    }
}

impl Freeze {
    /// Freezes a folder's SavedModel into a file: `serving_default`, as TensorFlow would name and lower things, with nothing folded or halved.
    pub fn new(saved_model_dir: impl Into<PathBuf>, output: impl Into<Destination>) -> Self {
        Self {
            saved_model_dir: saved_model_dir.into(),
            output: output.into(),
            as_text: false,
            options: FreezeOptions::default(),
            input_shapes: Vec::new(),
            fold_batch_norm: false,
            half: false,
        }
    }

    /// Freezes.
    ///
    /// # Errors
    /// For anything that prevents it; then an earlier regular file at the output is as it was.
    pub fn run(&self) -> Result<FreezeReport, FreezeFileError> {
        self.run_with_progress(&|_| {})
    }

    /// Freezes, and calls `tell` at the beginning of each step.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_with_progress(&self, tell: &dyn Fn(Step)) -> Result<FreezeReport, FreezeFileError> {
        let start = Instant::now();
        self.spare_inputs(&self.output)?;
        self.freeze(
            tell,
            |frozen| {
                let bytes = self.output.write(|out| self.write(frozen, out))?;
                Ok((self.output.clone(), bytes))
            },
            start,
        )
    }

    /// Refuses an output, this one or another that is made of the report, that cannot be written to, or would overwrite what is frozen.
    ///
    /// # Errors
    /// As [`Destination::spare`].
    pub fn spare_inputs(&self, output: &Destination) -> Result<(), OutputError> {
        let inputs = files_of(&self.saved_model_dir);
        output.spare(inputs.iter().map(PathBuf::as_path))
    }

    /// Freezes into a new file of a folder that is itself not yet in place.
    pub(crate) fn run_into_new_file(
        &self,
        path: &Path,
        tell: &dyn Fn(Step),
    ) -> Result<FreezeReport, FreezeFileError> {
        let start = Instant::now();
        self.freeze(
            tell,
            |frozen| {
                let file = File::create_new(path).map_err(failed(path, "write"))?;
                let bytes = write_into(&file, path, |out| self.write(frozen, out))?;
                Ok((path.into(), bytes))
            },
            start,
        )
    }

    fn freeze(
        &self,
        tell: &dyn Fn(Step),
        write: impl FnOnce(&mut Frozen<'_>) -> Result<(Destination, u64), FreezeFileError>,
        start: Instant,
    ) -> Result<FreezeReport, FreezeFileError> {
        tell(Step::Expand);
        let reader = SavedModelReader::open(&self.saved_model_dir)?;
        let mut frozen = reader.freeze(&self.options)?;
        let fixed = if self.input_shapes.is_empty() {
            None
        } else {
            Some(frozen.fix_input_shapes(&self.input_shapes)?)
        };
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
        tell(Step::Write("the frozen graph"));
        let (output, bytes) = write(&mut frozen)?;
        let mut report = describe(&frozen)?;
        report.fixed_sizes = fixed;
        report.folded = folded;
        report.halved = halved;
        report.output = output;
        report.bytes = bytes;
        report.elapsed = start.elapsed();
        Ok(report)
    }

    fn write(&self, frozen: &Frozen<'_>, out: &mut WriteBehind) -> Result<(), FreezeError> {
        if self.as_text {
            frozen.write_text(out)
        } else {
            frozen.write_binary(out)
        }
    }
}

/// The files of a SavedModel, given as its folder or as the file in it: that file, those that stand beside it, and all in the folders that belong to it, those in
/// folders below them included.
fn files_of(saved_model: &Path) -> Vec<PathBuf> {
    let is_file = saved_model.is_file();
    let folder = match saved_model.parent().filter(|_| is_file) {
        Some(parent) => parent,
        None => saved_model,
    };
    let mut files: Vec<PathBuf> = FILES.iter().map(|name| folder.join(name)).collect();
    if is_file {
        files.push(saved_model.to_owned());
    }
    // Links may lead to a folder around them.
    let mut seen = Vec::new();
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(|name| folder.join(name)).collect();
    while let Some(folder) = folders.pop() {
        let identity = Identity::of(&folder);
        if seen.contains(&identity) {
            continue;
        }
        seen.push(identity);
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            let list = if path.is_dir() {
                &mut folders
            } else {
                &mut files
            };
            list.push(path);
        }
    }
    files
}

/// The files that TensorFlow, Keras and TensorFlow Hub write into the folder of a SavedModel.
const FILES: [&str; 5] = [
    "saved_model.pb",
    "saved_model.pbtxt",
    "fingerprint.pb",
    "keras_metadata.pb",
    "tfhub_module.pb",
];

/// The folders that they make there.
const FOLDERS: [&str; 3] = ["variables", "assets", "assets.extra"];

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
        fixed_sizes: None,
        folded: None,
        halved: None,
        dropped_updates: frozen.dropped_updates().to_vec(),
        initialiser: frozen.initialiser().map(str::to_owned),
        tables: frozen.tables(),
        warnings: warnings(frozen),
        constant_bytes: constants.iter().map(|(_, bytes)| bytes).sum(),
        largest,
        output: Destination::StandardOutput,
        bytes: 0,
        elapsed: Duration::ZERO,
    })
}

fn warnings(frozen: &Frozen<'_>) -> Vec<String> {
    let names = |ops: BTreeSet<&str>| ops.into_iter().collect::<Vec<_>>().join(", ");
    let mut warnings = Vec::new();
    if let Some(tags) = frozen.other_tags() {
        let tags = match tags {
            "" => "without tags".to_owned(),
            tags => format!("tagged `{tags}`"),
        };
        warnings.push(format!(
            "the file has no graph tagged `serve`; this is its only one, {tags}"
        ));
    }
    let custom = frozen.custom_operations();
    if !custom.is_empty() {
        warnings.push(format!(
            "no release of TensorFlow has the operations {}: what runs the graph must load the library that they are from",
            names(custom)
        ));
    }
    let called = frozen.called_functions();
    if !called.is_empty() {
        warnings.push(format!(
            "the model forbids to inline {}: its calls stay calls, as in TensorFlow's own frozen graphs; TensorFlow runs them, and readers without functions, such \
             as OpenCV, do not",
            names(called)
        ));
    }
    let python = frozen.python_operations();
    if !python.is_empty() {
        warnings.push(format!(
            "{}: calls a Python function, which is not in the file; the graph runs only in a process that has registered it",
            names(python)
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A SavedModel's files, of which no content is read here.
    fn saved_model(root: &Path) -> Vec<PathBuf> {
        let names = [
            "saved_model.pb",
            "fingerprint.pb",
            "variables/variables.index",
            "assets/words.txt",
            "assets/deep/er/words.txt",
            "assets.extra/note.txt",
        ];
        let files = names.map(|name| root.join(name));
        for file in &files {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "kept").unwrap();
        }
        files.to_vec()
    }

    fn overwrites(given: &Path, output: &Path) -> bool {
        let freeze = Freeze::new(given, output);
        let error = freeze.run().unwrap_err();
        matches!(
            error,
            FreezeFileError::Output(OutputError::Overwrites { .. })
        )
    }

    #[test]
    fn no_file_of_the_model_is_overwritten_however_the_model_is_given() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let files = saved_model(root);
        for given in [root.to_owned(), root.join("saved_model.pb")] {
            for file in &files {
                assert!(overwrites(&given, file), "{given:?} {file:?}");
                assert_eq!(fs::read(file).unwrap(), b"kept");
            }
            // What an earlier run wrote beside them is no file of the model.
            fs::write(root.join("frozen.pb"), "").unwrap();
            assert!(!overwrites(&given, &root.join("frozen.pb")), "{given:?}");
        }
        let renamed = root.join("model.pbtxt");
        fs::rename(root.join("saved_model.pb"), &renamed).unwrap();
        assert!(overwrites(&renamed, &renamed));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_is_the_same_under_each_of_its_names() {
        use std::os::unix::fs::symlink;
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let model = root.join("model");
        saved_model(&model);
        fs::hard_link(model.join("saved_model.pb"), root.join("hard.pb")).unwrap();
        symlink(model.join("saved_model.pb"), root.join("soft.pb")).unwrap();
        // Words that are elsewhere, and a folder that leads back to one around it.
        fs::create_dir(root.join("words")).unwrap();
        fs::write(root.join("words/list.txt"), "kept").unwrap();
        symlink(root.join("words"), model.join("assets/linked")).unwrap();
        symlink(&model, model.join("assets/back")).unwrap();
        for given in [&model, &model.join("saved_model.pb"), &root.join("soft.pb")] {
            assert!(overwrites(given, &root.join("hard.pb")), "{given:?}");
            assert!(overwrites(given, &root.join("soft.pb")), "{given:?}");
        }
        assert!(overwrites(&model, &root.join("words/list.txt")));
        assert!(overwrites(
            &model.join("saved_model.pb"),
            &model.join("assets/back/assets/words.txt")
        ));
    }
}
