//! Which checkpoint a folder, or a prefix, stands for.
//!
//! A folder's state file names the latest checkpoint, often by an absolute path on the machine where it was trained, or
//! with Windows separators; then its base name within the folder is meant. A folder without a state file has one
//! checkpoint, or numbered ones. How the choice came about is returned, so that it can be told to whoever has to trust it.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tfod_text::Shown;

use crate::Error;
use crate::bundle::index_path;
use crate::error::some_of;
use crate::state::{CheckpointState, STATE_FILE};

/// A checkpoint that has an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Its prefix, as [`Bundle::open`](crate::Bundle::open) takes it.
    pub prefix: PathBuf,
    /// Why this one.
    pub found: Found,
}

/// How a checkpoint was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Found {
    /// A prefix, or a file of a checkpoint, was given.
    Prefix,
    /// The folder's state file names it.
    StateFile,
    /// The folder's state file names a path that does not exist (this one), whose base name is in the folder.
    StateFileBaseName(String),
    /// There is no state file; it has the highest number, of this many numbered checkpoints.
    HighestNumber(usize),
    /// There is no state file; it is the only checkpoint in the folder, and has no number.
    OnlyOne,
    /// It was chosen by number, name or path.
    Chosen,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix => f.write_str("as given"),
            Self::StateFile => f.write_str("named by the folder's `checkpoint` file"),
            Self::StateFileBaseName(path) => {
                write!(
                    f,
                    "named by the folder's `checkpoint` file as `{path}`, and found beside it"
                )
            }
            Self::HighestNumber(1) => {
                f.write_str("the only one in a folder without a `checkpoint` file")
            }
            Self::HighestNumber(count) => {
                write!(
                    f,
                    "the highest-numbered of {count} in a folder without a `checkpoint` file"
                )
            }
            Self::OnlyOne => f.write_str("the only one in a folder without a `checkpoint` file"),
            Self::Chosen => f.write_str("as chosen"),
        }
    }
}

/// Finds the checkpoint that `given` stands for: a folder, a prefix, or one of a checkpoint's files.
///
/// `choice` picks one of a folder's checkpoints by number (`12`), name (`ckpt-12`) or prefix (`elsewhere/ckpt-12`),
/// whatever the state file says. Data shards are not looked for.
///
/// # Errors
///
/// [`Error::NoCheckpoint`], which lists what was looked for and what the folder holds; the errors of
/// [`CheckpointState::read`].
pub fn locate(given: &Path, choice: Option<&str>) -> Result<Located, Error> {
    if !given.is_dir() {
        return match choice {
            None => from_prefix(given),
            Some(choice) => Err(no_checkpoint(
                given,
                format!("not a folder that `{choice}` could be chosen from"),
                vec![],
            )),
        };
    }
    let folder = Folder::list(given)?;
    match choice {
        Some(choice) => folder.choose(choice),
        None => match CheckpointState::read(&given.join(STATE_FILE)) {
            Ok(Some(state)) => folder.named_by(&state.model_checkpoint_path),
            Ok(None) => folder.without_state(),
            // The folder that holds an export has a subfolder of that name.
            Err(_) if given.join(STATE_FILE).is_dir() => folder.without_state(),
            Err(error) => Err(error),
        },
    }
}

fn no_checkpoint(given: &Path, reason: String, looked_for: Vec<PathBuf>) -> Error {
    Error::NoCheckpoint {
        given: given.to_owned(),
        reason,
        looked_for,
        holds: None,
        choices: Vec::new(),
    }
}

/// Whether there is an index, as a listing of the folder sees it: whatever is no folder. Opening it tells whether it can be read.
fn has_index(prefix: &Path) -> bool {
    fs::metadata(index_path(prefix)).is_ok_and(|metadata| !metadata.is_dir())
}

/// `given` is a prefix, or a prefix with the rest of a file name.
fn from_prefix(given: &Path) -> Result<Located, Error> {
    let name = given.file_name().unwrap_or_default().to_string_lossy();
    let stem = name
        .strip_suffix(".index")
        .or_else(|| Some(name.rsplit_once(".data-")?.0));
    let candidates =
        std::iter::once(given.to_owned()).chain(stem.map(|stem| given.with_file_name(stem)));
    let mut looked_for = Vec::new();
    for prefix in candidates {
        if has_index(&prefix) {
            return Ok(Located {
                prefix,
                found: Found::Prefix,
            });
        }
        looked_for.push(index_path(&prefix));
    }
    Err(no_checkpoint(
        given,
        "no such folder, and no checkpoint of that name".to_owned(),
        looked_for,
    ))
}

/// A folder and what is in it.
struct Folder<'a> {
    path: &'a Path,
    /// All names, sorted; subfolders end in `/`.
    names: Vec<String>,
}

impl<'a> Folder<'a> {
    fn list(path: &'a Path) -> Result<Self, Error> {
        let failed = |problem| Error::Io {
            path: path.to_owned(),
            action: "list",
            problem,
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_folder = match entry.file_type() {
                Ok(kind) => kind.is_dir(),
                Err(problem) if problem.kind() == ErrorKind::NotFound => continue,
                Err(problem) => return Err(failed(problem)),
            };
            names.push(if is_folder { name + "/" } else { name });
        }
        names.sort_unstable();
        Ok(Self { path, names })
    }

    /// The names of its checkpoints.
    fn checkpoints(&self) -> impl Iterator<Item = &str> {
        self.names
            .iter()
            .filter_map(|name| name.strip_suffix(".index"))
    }

    fn located(&self, name: &str, found: Found) -> Located {
        Located {
            prefix: self.path.join(name),
            found,
        }
    }

    fn fail(&self, reason: String, looked_for: Vec<PathBuf>) -> Error {
        Error::NoCheckpoint {
            given: self.path.to_owned(),
            reason: reason + &self.hint(),
            looked_for,
            holds: Some(self.names.clone()),
            choices: self.newest_first().into_iter().map(str::to_owned).collect(),
        }
    }

    /// The names of its checkpoints, those with the highest numbers first and those without one last.
    fn newest_first(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.checkpoints().collect();
        names.sort_by_key(|name| std::cmp::Reverse(number(name)));
        names
    }

    /// Points to a folder near by that has a checkpoint: those of an exported model are the usual mistake.
    fn hint(&self) -> String {
        let is_saved_model = self.names.iter().any(|name| name == "saved_model.pb");
        let near_by = if is_saved_model {
            self.path.parent().unwrap_or(self.path)
        } else {
            self.path
        };
        let better = near_by.join("checkpoint");
        let has_checkpoint = better.is_dir()
            && Folder::list(&better).is_ok_and(|inner| inner.checkpoints().next().is_some());
        match (is_saved_model, has_checkpoint) {
            (false, false) => String::new(),
            (false, true) => format!(" (did you mean {}?)", better.shown()),
            (true, true) => format!(" (it is a SavedModel; did you mean {}?)", better.shown()),
            (true, false) => {
                " (it is a SavedModel; give the folder that training wrote to)".to_owned()
            }
        }
    }

    fn named_by(&self, named: &str) -> Result<Located, Error> {
        let as_it_stands = self.path.join(named);
        if has_index(&as_it_stands) {
            return Ok(Located {
                prefix: as_it_stands,
                found: Found::StateFile,
            });
        }
        let base_name = named.rsplit(['/', '\\']).next().unwrap_or(named);
        let beside = self.path.join(base_name);
        if !base_name.is_empty() && has_index(&beside) {
            return Ok(Located {
                prefix: beside,
                found: Found::StateFileBaseName(named.to_owned()),
            });
        }
        let mut looked_for = vec![index_path(&as_it_stands), index_path(&beside)];
        looked_for.dedup();
        let choose = match self.newest_first().as_slice() {
            [] => String::new(),
            [only] => format!("; the only checkpoint there is `{only}`: choose it by name"),
            names => format!(
                "; choose one of those that are there by name: {}",
                some_of(names)
            ),
        };
        Err(self.fail(
            format!("its `checkpoint` file names `{named}`, which does not exist{choose}"),
            looked_for,
        ))
    }

    fn without_state(&self) -> Result<Located, Error> {
        let mut numbered: Vec<_> = self
            .checkpoints()
            .filter_map(|name| Some((number(name)?, name)))
            .collect();
        numbered.sort_unstable();
        match (
            numbered.as_slice(),
            self.checkpoints().collect::<Vec<_>>().as_slice(),
        ) {
            ([.., (second, other), (highest, name)], _) if second == highest => {
                let reason = format!(
                    "two checkpoints have the number {highest}, `{other}` and `{name}`: choose by name"
                );
                Err(self.fail(reason, vec![]))
            }
            ([.., (_, name)], _) => Ok(self.located(name, Found::HighestNumber(numbered.len()))),
            ([], [name]) => Ok(self.located(name, Found::OnlyOne)),
            ([], []) => Err(self.fail(
                "no checkpoint in this folder".to_owned(),
                vec![self.path.join(STATE_FILE), self.path.join("*.index")],
            )),
            ([], _) => Err(self.fail(
                "several checkpoints without numbers: choose one by name".to_owned(),
                vec![],
            )),
        }
    }

    fn choose(&self, choice: &str) -> Result<Located, Error> {
        let stem = choice.strip_suffix(".index").unwrap_or(choice);
        let in_folder = self.path.join(stem);
        let candidates = [in_folder, PathBuf::from(stem)];
        if let Some(prefix) = candidates.iter().find(|prefix| has_index(prefix)) {
            return Ok(Located {
                prefix: prefix.clone(),
                found: Found::Chosen,
            });
        }
        let mut looked_for: Vec<_> = candidates.iter().map(|prefix| index_path(prefix)).collect();
        looked_for.dedup();
        let Some(wanted) = digits(choice) else {
            return Err(self.fail(format!("no checkpoint `{choice}`"), looked_for));
        };
        match self
            .checkpoints()
            .filter(|name| number(name) == Some(wanted))
            .collect::<Vec<_>>()
            .as_slice()
        {
            [name] => Ok(self.located(name, Found::Chosen)),
            [] => Err(self.fail(
                format!("no checkpoint with the number {wanted}"),
                vec![self.path.join(format!("*-{wanted}.index"))],
            )),
            several => Err(self.fail(
                format!(
                    "several checkpoints with the number {wanted}, {}: choose by name",
                    several.join(" and ")
                ),
                vec![],
            )),
        }
    }
}

/// The number at the end of a checkpoint's name: 12 of `ckpt-12`.
fn number(name: &str) -> Option<u64> {
    digits(name.rsplit_once('-')?.1)
}

fn digits(text: &str) -> Option<u64> {
    let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixture(tempfile::TempDir);

    impl Fixture {
        fn new(files: &[&str]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            for file in files {
                let path = folder.path().join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "").unwrap();
            }
            Self(folder)
        }

        fn state(self, path: &str) -> Self {
            let path = path.replace("HERE", self.0.path().to_str().unwrap());
            fs::write(
                self.0.path().join(STATE_FILE),
                CheckpointState::single(path).to_string(),
            )
            .unwrap();
            self
        }

        fn locate(&self, choice: Option<&str>) -> Result<(String, Found), String> {
            self.locate_in("", choice)
        }

        fn locate_in(&self, given: &str, choice: Option<&str>) -> Result<(String, Found), String> {
            let root = self.0.path();
            match locate(&root.join(given), choice) {
                Ok(Located { prefix, found }) => Ok((
                    prefix
                        .strip_prefix(root)
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned(),
                    found,
                )),
                Err(error) => Err(error
                    .to_string()
                    .replace(&format!("{}/", root.display()), "")),
            }
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "compared with results")]
    fn ok(name: &str, found: Found) -> Result<(String, Found), String> {
        Ok((name.to_owned(), found))
    }

    #[test]
    fn the_state_file_decides() {
        let files = ["ckpt-1.index", "ckpt-2.index", "sub/ckpt-3.index"];
        let named = |path| Fixture::new(&files).state(path).locate(None);
        assert_eq!(named("ckpt-1"), ok("ckpt-1", Found::StateFile));
        assert_eq!(named("sub/ckpt-3"), ok("sub/ckpt-3", Found::StateFile));
        assert_eq!(named("HERE/ckpt-1"), ok("ckpt-1", Found::StateFile));
    }

    #[test]
    fn paths_of_other_machines_mean_their_base_name() {
        for path in [
            "/home/someone/train/ckpt-1",
            "C:\\Users\\someone\\train\\ckpt-1",
            "old/ckpt-1",
            "C:\\a/ckpt-1",
        ] {
            let fixture = Fixture::new(&["ckpt-1.index", "ckpt-2.index"]).state(path);
            assert_eq!(
                fixture.locate(None),
                ok("ckpt-1", Found::StateFileBaseName(path.to_owned()))
            );
        }
    }

    #[test]
    fn a_state_file_that_names_nothing_is_an_error_that_says_what_there_is() {
        let fixture = Fixture::new(&["ckpt-1.index"]).state("/gone/ckpt-9");
        let error = fixture.locate(None).unwrap_err();
        assert!(error.contains("names `/gone/ckpt-9`, which does not exist; the only checkpoint there is `ckpt-1`: choose it by name; looked for /gone/ckpt-9.index, ckpt-9.index"), "{error}");
        assert!(
            error.contains("the folder holds checkpoint, ckpt-1.index"),
            "{error}"
        );
    }

    #[test]
    fn a_state_file_that_names_nothing_lists_the_checkpoints_that_are_there() {
        let fixture =
            Fixture::new(&["ckpt-9.index", "ckpt-11.index", "best.index"]).state("ckpt-12");
        let error = fixture.locate(None).unwrap_err();
        assert!(
            error.contains("choose one of those that are there by name: ckpt-11, ckpt-9, best;"),
            "{error}"
        );
    }

    #[test]
    fn without_a_state_file_the_highest_number_wins() {
        let fixture = Fixture::new(&[
            "ckpt-9.index",
            "ckpt-10.index",
            "ckpt-010x.index",
            "model.index",
        ]);
        assert_eq!(fixture.locate(None), ok("ckpt-10", Found::HighestNumber(2)));
        assert_eq!(
            Fixture::new(&["model.ckpt.index"]).locate(None),
            ok("model.ckpt", Found::OnlyOne)
        );
        let error = Fixture::new(&["a-7.index", "b-07.index"])
            .locate(None)
            .unwrap_err();
        assert!(
            error.contains("two checkpoints have the number 7, `a-7` and `b-07`"),
            "{error}"
        );
    }

    #[test]
    fn a_choice_overrides_the_state_file() {
        let fixture =
            Fixture::new(&["ckpt-1.index", "ckpt-12.index", "sub/x.index"]).state("ckpt-1");
        for choice in ["12", "ckpt-12", "ckpt-12.index"] {
            assert_eq!(
                fixture.locate(Some(choice)),
                ok("ckpt-12", Found::Chosen),
                "{choice}"
            );
        }
        assert_eq!(fixture.locate(Some("sub/x")), ok("sub/x", Found::Chosen));
        let absolute = fixture.0.path().join("ckpt-12");
        assert_eq!(
            fixture.locate(absolute.to_str()),
            ok("ckpt-12", Found::Chosen)
        );
        assert!(
            fixture
                .locate(Some("3"))
                .unwrap_err()
                .contains("no checkpoint with the number 3")
        );
        assert!(
            fixture
                .locate(Some("ckpt-3"))
                .unwrap_err()
                .contains("no checkpoint `ckpt-3`; looked for ckpt-3.index")
        );
    }

    #[test]
    fn prefixes_and_files_stand_for_themselves() {
        let fixture =
            Fixture::new(&["sm/variables/variables.index", "ckpt-1.index"]).state("ckpt-1");
        for given in [
            "variables",
            "variables.index",
            "variables.data-00000-of-00001",
        ] {
            let given = format!("sm/variables/{given}");
            assert_eq!(
                fixture.locate_in(&given, None),
                ok("sm/variables/variables", Found::Prefix),
                "{given}"
            );
        }
        assert!(
            fixture
                .locate_in("ckpt-2", None)
                .unwrap_err()
                .contains("looked for ckpt-2.index")
        );
        assert!(fixture.locate_in("ckpt-1", Some("3")).is_err());
    }

    #[test]
    fn an_empty_folder_or_that_of_an_export_is_an_error_with_a_hint() {
        assert!(
            Fixture::new(&[])
                .locate(None)
                .unwrap_err()
                .contains("the folder is empty")
        );
        let export = Fixture::new(&["checkpoint/ckpt-0.index", "saved_model/saved_model.pb"]);
        let error = export.locate(None).unwrap_err();
        assert!(error.contains("(did you mean checkpoint?)"), "{error}");
        assert!(
            error.contains("the folder holds checkpoint/, saved_model/"),
            "{error}"
        );
    }
}
