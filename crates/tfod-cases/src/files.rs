//! Operations on files of images, in graphs of their own: their input is the files' bytes.

use tfod_graph::{
    Binary, Builder, DType, Dim, Graph, MapInput, Reduce, Shape, ValidateError, ValueId,
};

use crate::parameter;

/// Pixels of files, `decoded`, one by one and times the sum of a variable's rows, with their sizes and bytes.
///
/// # Errors
/// Where an operation is not accepted.
pub fn files() -> Result<Graph, ValidateError> {
    decoding("files", |_, file| Ok(file))
}

/// As [`files`], of files in examples.
///
/// # Errors
/// Where an operation is not accepted.
pub fn examples() -> Result<Graph, ValidateError> {
    decoding("examples", |b, example| {
        b.example_feature("example_feature", example, "some/image")
    })
}

fn decoding(
    name: &str,
    file_of: impl Fn(&mut Builder, ValueId) -> Result<ValueId, ValidateError>,
) -> Result<Graph, ValidateError> {
    let mut b = Builder::new("files");
    let given = b.input(name, DType::String, Shape(vec![Dim::symbol("batch")]));
    let factor = parameter(&mut b, "factor", &[2, 3])?;
    let inputs = [(given, MapInput::Sliced), (factor, MapInput::Whole)];
    let results = b.map::<ValidateError>("each_file", &inputs, |b, args| {
        let file = file_of(b, args[0])?;
        let image = b.decode_image("decode_image", file, ["height", "width"])?;
        let pixels = b.cast("pixels", image, DType::F32)?;
        let factor = b.reduce("factor", Reduce::Sum, args[1], &[0])?;
        let scaled = b.binary("scaled", Binary::Mul, pixels, factor)?;
        let size = b.shape_of("size", image)?;
        b.output("scaled", scaled);
        b.output("size", size);
        b.output("file", file);
        Ok(())
    })?;
    for (key, value) in ["decoded", "size", "file"].into_iter().zip(results) {
        b.output(key, value);
    }
    Ok(b.finish())
}
