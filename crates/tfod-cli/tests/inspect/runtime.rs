//! `--runtime onnxruntime`: what is said where the library is missing, is another file, or of another version. `tests/backend/test_runtime.py` runs models by it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::detect::detect;
use crate::make::{Folder, example};

fn refused(folder: &Folder, flags: &[&str]) -> String {
    let model = folder.path("model.onnx");
    if !model.exists() {
        crate::detect::fixed_model(folder, "model.onnx", &[0.0; 8]);
    }
    let done = detect(&[&model, &example("images/test_1.png")], flags);
    assert_eq!(done.status.code(), Some(1));
    String::from_utf8(done.stderr).unwrap()
}

/// A library that answers as ONNX Runtime 1.10 does when it is asked for its version; `None` where there is no compiler.
fn old_library(folder: &Folder) -> Option<PathBuf> {
    let source = folder.write(
        "old.rs",
        br#"
        use std::ffi::{c_char, c_void};
        #[repr(C)]
        pub struct Base(extern "C" fn(u32) -> *const c_void, extern "C" fn() -> *const c_char);
        extern "C" fn api(_: u32) -> *const c_void { std::ptr::null() }
        extern "C" fn version() -> *const c_char { c"1.10.0".as_ptr() }
        static BASE: Base = Base(api, version);
        #[unsafe(no_mangle)]
        pub extern "C" fn OrtGetApiBase() -> *const Base { &BASE }
        "#,
    );
    let library = folder.path("libonnxruntime.so.1.10.0");
    let made = Command::new("rustc")
        .args(["--edition", "2024", "--crate-type", "cdylib", "-o"])
        .args([&library, &source])
        .output();
    if !made.is_ok_and(|made| made.status.success()) {
        println!("skipped: there is no rustc that makes libraries");
        return None;
    }
    Some(library)
}

#[test]
fn a_library_that_cannot_be_used_is_named() {
    let folder = Folder::new();
    let by = |library: &Path| {
        let library = library.to_str().unwrap();
        refused(
            &folder,
            &["--runtime", "onnxruntime", "--runtime_library", library],
        )
    };
    let missing = folder.path("nowhere");
    let errors = by(&missing);
    let expected = format!(
        "error: {}: there is no library of ONNX Runtime; expected a file ",
        missing.display()
    );
    assert!(errors.starts_with(&expected), "{errors}");

    let other = folder.write("libother.so", b"no library");
    let errors = by(&other);
    let expected = format!(
        "model.onnx: cannot be run: {}: cannot be loaded as the library of ONNX Runtime: ",
        other.display()
    );
    assert!(errors.contains(&expected), "{errors}");

    let errors = refused(&folder, &["--runtime_library", other.to_str().unwrap()]);
    let expected = "error: --runtime_library is that of --runtime onnxruntime; add that\n";
    assert_eq!(errors, expected);

    if let Some(old) = old_library(&folder) {
        let errors = by(&old);
        let expected = "is ONNX Runtime 1.10.0, expected 1.17 or a later one";
        assert!(errors.contains(expected), "{errors}");
    }
}
