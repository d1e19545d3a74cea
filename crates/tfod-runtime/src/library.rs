//! Where the shared library of ONNX Runtime is.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use tfod_text::Shown;

/// The environment variable that names the library, for other programs, too.
const VARIABLE: &str = "ORT_DYLIB_PATH";
/// Environments of Python, by the variables that they set.
const ENVIRONMENTS: [&str; 2] = ["VIRTUAL_ENV", "CONDA_PREFIX"];
/// Where systems have libraries.
const SYSTEM: [&str; 3] = ["/usr/local/lib", "/usr/lib", "/opt/homebrew/lib"];

/// How the library's name begins. Others begin with `libonnxruntime_`.
const NAME: &str = if cfg!(windows) {
    "onnxruntime.dll"
} else if cfg!(target_os = "macos") {
    "libonnxruntime."
} else {
    "libonnxruntime.so"
};

/// Finds the library of ONNX Runtime: that which is given, which may be its folder or an environment of Python in which `onnxruntime` is installed; or else that of the
/// environment variable `ORT_DYLIB_PATH`, of the active environment of Python, or of the system.
///
/// # Errors
///
/// If there is none, with where it was looked for.
pub fn find_onnx_runtime(given: Option<&Path>) -> Result<PathBuf, String> {
    let named = given.map(Path::to_owned);
    let variable = env::var_os(VARIABLE).filter(|value| !value.is_empty());
    if let Some(path) = named.or_else(|| variable.map(PathBuf::from)) {
        return of(&path).ok_or_else(|| {
            let of = if given.is_none() { VARIABLE } else { "" };
            let separator = if of.is_empty() { "" } else { ": " };
            format!(
                "{of}{separator}{}: there is no library of ONNX Runtime; expected a file {NAME}…, a folder with it, or an environment of Python with the package onnxruntime",
                path.shown()
            )
        });
    }
    let environments = ENVIRONMENTS
        .iter()
        .filter_map(env::var_os)
        .map(PathBuf::from);
    let places = environments.chain(SYSTEM.map(PathBuf::from));
    let places: Vec<PathBuf> = places.collect();
    places.iter().find_map(|place| of(place)).ok_or_else(|| {
        let places: Vec<String> = places.iter().map(|one| one.shown().to_string()).collect();
        format!(
            "no library of ONNX Runtime ({NAME}…) is found in {}; `pip install onnxruntime`, and activate that environment or name it by --runtime_library or the environment variable {VARIABLE}",
            places.join(", ")
        )
    })
}

/// The library itself, in a folder, or in an environment of Python.
fn of(path: &Path) -> Option<PathBuf> {
    if path.is_file() {
        return Some(path.to_owned());
    }
    let package = |folder: PathBuf| folder.join("onnxruntime").join("capi");
    let pythons = entries(&path.join("lib")).into_iter();
    let pythons = pythons.filter(|folder| name_of(folder).starts_with("python3"));
    let mut folders = vec![
        path.to_owned(),
        path.join("lib"),
        path.join("capi"),
        package(path.to_owned()),
    ];
    folders.extend(pythons.map(|folder| package(folder.join("site-packages"))));
    folders.push(package(path.join("Lib").join("site-packages")));
    let files = folders.iter().flat_map(|folder| entries(folder));
    files
        .filter(|file| file.is_file())
        .find(|file| name_of(file).starts_with(NAME))
}

/// What is in a folder, in order of its name; nothing if it cannot be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(folder).into_iter().flatten();
    let mut entries: Vec<PathBuf> = read
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .collect();
    entries.sort_unstable();
    entries
}

fn name_of(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_library_is_found_in_an_environment_of_python() {
        let root = tempfile::tempdir().unwrap();
        let capi = root
            .path()
            .join("lib/python3.12/site-packages/onnxruntime/capi");
        fs::create_dir_all(&capi).unwrap();
        assert_eq!(of(root.path()), None);
        let problem = find_onnx_runtime(Some(root.path())).unwrap_err();
        assert!(
            problem.starts_with(&root.path().shown().to_string()),
            "{problem}"
        );
        let ending = if cfg!(windows) { "" } else { "1.23.2" };
        let library = capi.join(format!("{NAME}{ending}"));
        fs::write(capi.join("libonnxruntime_providers_shared.so"), "").unwrap();
        fs::write(&library, "").unwrap();
        for given in [root.path(), &capi, capi.parent().unwrap(), &library] {
            assert_eq!(find_onnx_runtime(Some(given)).unwrap(), library);
        }
    }
}
