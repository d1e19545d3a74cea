//! Models that the ONNX back end writes, run.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use tfod_graph::{Binary, Builder, DType, Dim, Shape, Tensor as Constant, Unary, Weights};
use tfod_onnx::{OnnxWriter, Options};
use tfod_runtime::{Error, Model, Tensor, Values};

/// `y = relu(x + [0.5, -1, 2])`, `z = x - 1`, for any number of rows.
fn write(path: &Path) {
    let mut builder = Builder::new("toy");
    let shape = Shape(vec![Dim::symbol("rows"), 3.into()]);
    let x = builder.input("x", DType::F32, shape);
    let shift = Constant::f32(&[3], &[0.5, -1.0, 2.0]).unwrap();
    let shift = builder.constant("shift", shift).unwrap();
    let shifted = builder.binary("shifted", Binary::Add, x, shift).unwrap();
    let y = builder.unary("relu", Unary::Relu, shifted).unwrap();
    let z = builder.binary_scalar("less", Binary::Sub, x, 1.0).unwrap();
    builder.output("y", y);
    builder.output("z", z);
    let (graph, weights) = (builder.finish(), Weights::default());
    let writer = OnnxWriter::new(&graph, &weights, &Options::default()).unwrap();
    writer.write(path).unwrap();
}

fn toy() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    write(&path);
    (folder, path)
}

fn rows(values: &[f32]) -> Tensor {
    Tensor::new(vec![values.len() / 3, 3], Values::F32(values.to_vec())).unwrap()
}

#[test]
fn outputs_have_names_shapes_and_values() {
    let (_folder, path) = toy();
    let model = Model::open(&path).unwrap();
    assert_eq!(
        (model.inputs(), model.outputs()),
        (&["x".to_owned()][..], &["y".to_owned(), "z".to_owned()][..])
    );
    for count in [1, 2] {
        let x = rows(&[1.0, 0.5, -3.0].repeat(count));
        let outputs = model.run(&[("x", &x)]).unwrap();
        let expected = [
            ("y".to_owned(), rows(&[1.5, 0.0, 0.0].repeat(count))),
            ("z".to_owned(), rows(&[0.0, -0.5, -4.0].repeat(count))),
        ];
        assert_eq!(outputs, expected);
        assert_eq!(outputs[0].1.first(), Some(rows(&[1.5, 0.0, 0.0])));
    }
}

#[test]
fn other_inputs_are_refused() {
    let (_folder, path) = toy();
    let model = Model::open(&path).unwrap();
    let x = rows(&[0.0; 3]);
    let error = model.run(&[("w", &x)]).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("its inputs are x; given were w"),
        "{error}"
    );
    assert!(model.run(&[]).is_err() && model.run(&[("x", &x), ("w", &x)]).is_err());
    let flat = Tensor::new(vec![3], Values::F32(vec![0.0; 3])).unwrap();
    let error = model.run(&[("x", &flat)]).unwrap_err().to_string();
    assert!(
        error.ends_with("its input `x` has the shape [any, 3]; given was [3]"),
        "{error}"
    );
    let whole = Tensor::new(vec![1, 3], Values::I32(vec![0; 3])).unwrap();
    let error = model.run(&[("x", &whole)]).unwrap_err().to_string();
    assert!(
        error.ends_with("its input `x` is of float32; given was int32"),
        "{error}"
    );
    assert!(matches!(
        Tensor::new(vec![2, 3], Values::U8(vec![0; 5])),
        Err(Error::Shape { .. })
    ));
}

#[test]
fn damage_is_an_error_and_no_panic() {
    let (folder, path) = toy();
    let bytes = fs::read(&path).unwrap();
    let damaged = folder.path().join("damaged.onnx");
    let x = rows(&[0.0; 3]);
    let try_it = |bytes: &[u8]| -> Result<(), Error> {
        fs::write(&damaged, bytes).unwrap();
        let model = Model::open(&damaged)?;
        let inputs: Vec<(&str, &Tensor)> = model
            .inputs()
            .iter()
            .map(|name| (name.as_str(), &x))
            .collect();
        model.run(&inputs)?;
        Ok(())
    };
    assert!(try_it(&bytes).is_ok());
    let mut failed = 0;
    for index in 0..bytes.len() {
        failed += u32::from(try_it(&bytes[..index]).is_err());
        let mut changed = bytes.clone();
        changed[index] ^= [0x01, 0x80, 0xff][index % 3];
        failed += u32::from(try_it(&changed).is_err());
    }
    assert!(failed > 100, "{failed}");
    let missing = Model::open(&folder.path().join("missing.onnx")).unwrap_err();
    assert!(
        missing.to_string().contains("missing.onnx: cannot be read"),
        "{missing}"
    );
}
