//! Whole models: snapshots of their text, where their weights go, and what is refused.

use std::borrow::Cow;
use std::fs;

use tfod_graph::{
    Binary, Builder, ConvAttrs, DType, Dim, Graph, MapInput, NmsAttrs, Padding, ParameterSpec,
    Reduce, ResizeMethod, Shape, SoftNmsAttrs, Tensor, TensorView, Unary, ValidateError, ValueId,
    Weights,
};

use crate::proto::StringStringEntryProto;
use crate::{Error, ExternalData, InputLayout, OnnxWriter, Options, dump};

fn parameter(b: &mut Builder, name: &str, shape: &[u64]) -> ValueId {
    b.parameter(ParameterSpec {
        name,
        path: vec![name.into()],
        shape,
        trainable: true,
    })
    .unwrap()
}

/// Weights of a graph: counted through, so that every element tells where it comes from.
fn weights(graph: &Graph) -> Weights<'static> {
    let views = graph.parameters().map(|(_, parameter)| {
        let count = parameter.shape.iter().product::<u64>();
        let values = (0..u16::try_from(count).unwrap()).map(f32::from);
        TensorView {
            dtype: parameter.dtype,
            shape: parameter.shape.clone(),
            data: values.flat_map(f32::to_le_bytes).collect(),
        }
    });
    Weights(views.collect())
}

fn text(graph: &Graph, options: &Options) -> String {
    dump::model(
        &OnnxWriter::new(graph, &weights(graph), options)
            .unwrap()
            .model(),
    )
}

fn refusal(graph: &Graph, options: &Options) -> Error {
    OnnxWriter::new(graph, &weights(graph), options).unwrap_err()
}

/// A detector in small: preprocessing, a backbone with a pyramid, a head with predictions of one row for each position.
fn network() -> Graph {
    let mut b = Builder::new("network");
    let batch = Dim::symbol("batch");
    let image = vec![
        batch.clone(),
        Dim::symbol("height"),
        Dim::symbol("width"),
        3.into(),
    ];
    let image = b.input("image", DType::U8, Shape(image));
    let x = b.cast("floats", image, DType::F32).unwrap();
    let x = b
        .resize("resized", x, ResizeMethod::Bilinear, [8, 8], false)
        .unwrap();
    let x = b.binary_scalar("scaled", Binary::Mul, x, 0.5).unwrap();
    let kernel = parameter(&mut b, "stem/kernel", &[3, 3, 3, 4]);
    let x = b
        .conv2d("stem", x, kernel, ConvAttrs::new(2, Padding::Same))
        .unwrap();
    let vectors = ["gamma", "beta", "mean", "variance"].map(|name| parameter(&mut b, name, &[4]));
    let x = b.batch_norm("normal", x, vectors, 0.001).unwrap();
    let fine = b.unary("active", Unary::Relu6, x).unwrap();
    let kernel = parameter(&mut b, "down/kernel", &[3, 3, 4, 1]);
    let coarse = b
        .depthwise_conv2d("down", fine, kernel, ConvAttrs::new(2, Padding::Same))
        .unwrap();
    let up = b
        .resize("up", coarse, ResizeMethod::Nearest, [4, 4], false)
        .unwrap();
    let fine = b.binary("merged", Binary::Add, up, fine).unwrap();
    let (kernel, bias) = (
        parameter(&mut b, "head/kernel", &[1, 1, 4, 6]),
        parameter(&mut b, "head/bias", &[6]),
    );
    // One kernel and bias for both levels.
    let flat = [("fine", fine, 16), ("coarse", coarse, 4)].map(|(level, map, positions)| {
        b.scope::<_, ValidateError>(level, |b| {
            let y = b.conv2d("conv", map, kernel, ConvAttrs::new(1, Padding::Same))?;
            let y = b.bias_add("biased", y, bias)?;
            b.reshape("flat", y, &[batch.clone(), positions.into(), 6.into()])
        })
        .unwrap()
    });
    let all = b.concat("all", 1, &flat).unwrap();
    let scores = b.unary("sigmoid", Unary::Sigmoid, all).unwrap();
    b.output("scores", scores);
    b.output("pyramid", fine);
    b.finish()
}

const NMS: NmsAttrs = NmsAttrs {
    max_output_size: 3,
    iou_threshold: 0.5,
    score_threshold: 0.1,
};

/// For each image, suppression by class; `attrs` are the thresholds of each class.
fn detections(batch: Dim, attrs: [NmsAttrs; 2]) -> Graph {
    let mut b = Builder::new("detections");
    let boxes = b.input(
        "boxes",
        DType::F32,
        Shape(vec![batch.clone(), 9.into(), 4.into()]),
    );
    let scores = b.input("scores", DType::F32, Shape(vec![batch, 9.into(), 2.into()]));
    let inputs = [(boxes, MapInput::Sliced), (scores, MapInput::Sliced)];
    let results = b
        .map::<ValidateError>("per_image", &inputs, |b, args| {
            let rows = b.unstack("by_class", args[1], 1)?;
            let mut columns = [const { Vec::new() }; 2];
            for (row, attrs) in rows.into_iter().zip(attrs) {
                let results = b.non_max_suppression("class", args[0], row, attrs)?;
                for (column, result) in columns.iter_mut().zip(results) {
                    column.push(result);
                }
            }
            let indices = b.stack("indices", 0, &columns[0])?;
            let counts = b.stack("counts", 0, &columns[1])?;
            let selected = b.gather("selected", args[0], indices)?;
            for (key, value) in [("boxes", selected), ("counts", counts)] {
                b.output(key, value);
            }
            Ok(())
        })
        .unwrap();
    for (key, value) in ["selected", "counts"].into_iter().zip(results) {
        b.output(key, value);
    }
    b.finish()
}

#[test]
fn a_network_has_transposes_at_its_ends_only() {
    let text = text(&network(), &Options::default());
    // The image, both predictions, and the map that is a result itself.
    assert_eq!(text.matches("Transpose").count(), 4);
    insta::assert_snapshot!(text);
}

#[test]
fn channels_first_images_need_no_transpose() {
    let options = Options {
        input_layout: InputLayout::Nchw,
        ..Options::default()
    };
    let text = text(&network(), &options);
    assert!(
        text.contains("in image: u8[batch, 3, height, width]"),
        "{text}"
    );
    assert_eq!(text.matches("Transpose").count(), 3);
}

#[test]
fn suppression_of_all_classes_and_images_is_one_operator() {
    let text = text(
        &detections(Dim::symbol("batch"), [NMS; 2]),
        &Options::default(),
    );
    assert_eq!(text.matches("NonMaxSuppression").count(), 1);
    insta::assert_snapshot!(text);
}

#[test]
fn classes_with_thresholds_of_their_own_are_suppressed_by_themselves() {
    let other = NmsAttrs {
        iou_threshold: 0.6,
        ..NMS
    };
    for batch in [Dim::symbol("batch"), 3.into()] {
        let text = text(&detections(batch, [NMS, other]), &Options::default());
        assert_eq!(text.matches("NonMaxSuppression").count(), 2);
    }
}

#[test]
fn operator_sets_differ_where_the_standard_does() {
    let mut b = Builder::new("sets");
    let x = b.input(
        "x",
        DType::F32,
        Shape(vec![Dim::symbol("batch"), 4.into(), 4.into(), 2.into()]),
    );
    let up = b
        .resize("up", x, ResizeMethod::Bilinear, [6, 6], true)
        .unwrap();
    let max = b.reduce("max", Reduce::Max, up, &[1, 2]).unwrap();
    b.output("y", max);
    let graph = b.finish();
    let text = |opset| {
        let options = Options {
            opset,
            ..Options::default()
        };
        text(&graph, &options)
    };
    insta::assert_snapshot!(format!("{}\n{}", text(17), text(18)));
}

#[test]
fn the_same_graph_gives_the_same_bytes() {
    let (graph, folder) = (
        detections(Dim::symbol("batch"), [NMS; 2]),
        tempfile::tempdir().unwrap(),
    );
    let write = |name: &str| {
        let path = folder.path().join(name);
        let weights = weights(&graph);
        OnnxWriter::new(&graph, &weights, &Options::default())
            .unwrap()
            .write(&path)
            .unwrap();
        fs::read(path).unwrap()
    };
    assert_eq!(write("a.onnx"), write("b.onnx"));
}

#[test]
fn any_writer_gets_the_bytes_of_the_files() {
    let mut b = Builder::new("anywhere");
    let x = b.input("x", DType::F32, Shape(vec![1.into(), 512.into()]));
    let large = parameter(&mut b, "large", &[1, 512]);
    let y = b.binary("y", Binary::Add, x, large).unwrap();
    b.output("y", y);
    let graph = b.finish();
    let weights = weights(&graph);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    for external_data in [ExternalData::Never, ExternalData::Always] {
        let options = Options {
            external_data,
            ..Options::default()
        };
        let writer = OnnxWriter::new(&graph, &weights, &options).unwrap();
        let in_files = writer.write(&path).unwrap();
        let (mut model, mut data) = (Vec::new(), Vec::new());
        let elsewhere = writer.write_to(&mut model, Some(("m.onnx.data", &mut data)));
        assert_eq!(elsewhere.unwrap(), in_files);
        assert_eq!(model, std::fs::read(&path).unwrap());
        let alone = writer.write_to(Vec::new(), None);
        if external_data == ExternalData::Always {
            assert_eq!(
                data,
                std::fs::read(path.with_extension("onnx.data")).unwrap()
            );
            assert!(matches!(alone, Err(Error::NoDataWriter { .. })));
        } else {
            assert!(data.is_empty() && alone.is_ok());
        }
    }
    let full = OnnxWriter::new(&graph, &weights, &Options::default()).unwrap();
    let mut room = [0; 64];
    assert!(matches!(
        full.write_to(&mut room[..], None),
        Err(Error::Writer(_))
    ));
}

#[test]
fn external_weights_are_where_the_model_says() {
    let mut b = Builder::new("external");
    let x = b.input("x", DType::F32, Shape::known(&[1, 8, 8, 8]));
    let (first, second) = (
        parameter(&mut b, "first", &[3, 3, 8, 8]),
        parameter(&mut b, "second", &[3, 3, 8, 4]),
    );
    let x = b
        .conv2d("a", x, first, ConvAttrs::new(1, Padding::Same))
        .unwrap();
    let x = b
        .conv2d("b", x, second, ConvAttrs::new(1, Padding::Same))
        .unwrap();
    b.output("y", x);
    let graph = b.finish();
    let weights = weights(&graph);
    let options = Options {
        external_data: ExternalData::Always,
        ..Options::default()
    };
    let writer = OnnxWriter::new(&graph, &weights, &options).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.onnx");
    let summary = writer.write(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), summary.onnx_bytes);
    let data = fs::read(folder.path().join("net.onnx.data")).unwrap();
    assert_eq!(Some(data.len() as u64), summary.data_bytes);
    let model = writer.model();
    let tensors = &model.graph.as_ref().unwrap().initializer;
    let entry = |tensor: usize, key: &str| -> usize {
        let entries = tensors[tensor].external_data.iter();
        let mut values = entries
            .filter(|e| e.key() == key)
            .map(StringStringEntryProto::value);
        values.next().unwrap().parse().unwrap()
    };
    assert_eq!((entry(0, "offset"), entry(0, "length")), (0, 9 * 64 * 4));
    assert_eq!(entry(1, "offset") % 64, 0);
    // Output channel 1, input channel 2, row 1, column 0 of `second`: element (1, 0, 2, 1) of the graph's.
    let at = entry(1, "offset") + (8 * 9 + 2 * 9 + 3) * 4;
    let value = f32::from_le_bytes(data[at..at + 4].try_into().unwrap());
    assert_eq!(
        value.to_bits(),
        f32::from(3 * 8 * 4 + 2 * 4 + 1_u8).to_bits()
    );
}

/// A graph whose only parameter has this many bytes.
fn large(bytes: u64) -> Graph {
    let mut b = Builder::new("large");
    let x = b.input("x", DType::F32, Shape::known(&[1]));
    let table = parameter(&mut b, "table", &[bytes / 4]);
    let sum = b.binary("sum", Binary::Add, table, x).unwrap();
    b.output("y", sum);
    b.finish()
}

#[test]
fn weights_beyond_protobufs_limit_get_a_file_of_their_own() {
    const BYTES: u64 = (1 << 31) + 4096;
    let graph = large(BYTES);
    // Never touched, so never in memory.
    let data = vec![0; usize::try_from(BYTES).unwrap()];
    let view = TensorView {
        dtype: DType::F32,
        shape: vec![BYTES / 4],
        data: Cow::Owned(data),
    };
    let weights = Weights(vec![view]);
    let summary = |external_data| {
        let options = Options {
            external_data,
            ..Options::default()
        };
        OnnxWriter::new(&graph, &weights, &options).map(|writer| writer.summary())
    };
    let auto = summary(ExternalData::Auto).unwrap();
    assert_eq!(auto.data_bytes, Some(BYTES));
    assert!(auto.onnx_bytes < 1024);
    let error = summary(ExternalData::Never).unwrap_err();
    assert!(
        matches!(error, Error::ModelTooLarge { bytes, .. } if bytes > BYTES),
        "{error}"
    );
}

#[test]
fn small_tensors_stay_in_the_model() {
    let graph = large(64);
    let options = Options {
        external_data: ExternalData::Always,
        ..Options::default()
    };
    let weights = weights(&graph);
    let writer = OnnxWriter::new(&graph, &weights, &options).unwrap();
    assert_eq!(writer.summary().data_bytes, None);
}

#[test]
fn results_of_one_value_and_given_values_are_copies() {
    let mut b = Builder::new("copies");
    let x = b.input("x", DType::F32, Shape::known(&[2]));
    let known = b.constant("known", Tensor::scalar_f32(1.5)).unwrap();
    let y = b.unary("y", Unary::Relu, x).unwrap();
    for (key, value) in [
        ("first", y),
        ("second", y),
        ("given", x),
        ("constant", known),
    ] {
        b.output(key, value);
    }
    insta::assert_snapshot!(text(&b.finish(), &Options::default()));
}

#[test]
fn an_unused_result_keeps_its_place() {
    for used in 0..2 {
        let mut b = Builder::new("pair");
        let x = b.input("x", DType::F32, Shape::known(&[4]));
        let results = b.top_k("best", x, 2).unwrap();
        b.output("y", results[used]);
        let text = text(&b.finish(), &Options::default());
        let line = text.lines().find(|line| line.contains("TopK")).unwrap();
        let (outputs, _) = line.split_once('=').unwrap();
        let names: Vec<&str> = outputs.split(',').map(str::trim).collect();
        assert!(
            names.len() == 2 && names.iter().all(|name| !name.is_empty()),
            "{line}"
        );
    }
}

#[test]
fn what_cannot_be_written_is_refused_by_name() {
    let mut b = Builder::new("soft");
    let boxes = b.input("boxes", DType::F32, Shape::known(&[9, 4]));
    let scores = b.input("scores", DType::F32, Shape::known(&[9]));
    let attrs = SoftNmsAttrs {
        max_output_size: 3,
        score_threshold: 0.1,
        sigma: 0.5,
    };
    let soft = b.soft_non_max_suppression("class", boxes, scores, attrs);
    b.output("selected", soft.unwrap()[0]);
    let mut errors = vec![refusal(&b.finish(), &Options::default())];

    let opset = |opset| Options {
        opset,
        ..Options::default()
    };
    errors.push(refusal(&network(), &opset(12)));
    errors.push(refusal(&network(), &opset(99)));

    for method in [ResizeMethod::Bicubic, ResizeMethod::Area] {
        let mut b = Builder::new("resized");
        let shape = vec![1.into(), Dim::symbol("height"), 8.into(), 3.into()];
        let image = b.input("image", DType::U8, Shape(shape));
        let small = b.resize("small", image, method, [4, 4], false).unwrap();
        b.output("small", small);
        errors.push(refusal(&b.finish(), &Options::default()));
    }

    for (numbers, side) in [(15, 7), (22, 7), (17, 4097)] {
        let mut b = Builder::new("crops");
        let image = b.input("image", DType::F32, Shape::known(&[1, 8, 8, 3]));
        let boxes = b.input("boxes", DType::F32, Shape::known(&[9, 4]));
        let images = b.input("images", DType::I32, Shape::known(&[9]));
        let crops = b.crop_and_resize("crops", image, boxes, images, [7, side]);
        b.output("crops", crops.unwrap());
        errors.push(refusal(&b.finish(), &opset(numbers)));
    }

    let mut b = Builder::new("files");
    let files = b.input("files", DType::String, Shape(vec![Dim::symbol("batch")]));
    let inputs = [(files, MapInput::Sliced)];
    let sizes = b
        .map::<ValidateError>("each", &inputs, |b, args| {
            let image = b.decode_image("image", args[0], ["height", "width"])?;
            let size = b.shape_of("size", image)?;
            b.output("size", size);
            Ok(())
        })
        .unwrap();
    b.output("sizes", sizes[0]);
    errors.push(refusal(&b.finish(), &Options::default()));

    let mut b = Builder::new("lengths");
    let lengths = b.input("lengths", DType::I32, Shape::known(&[3]));
    let inputs = [(lengths, MapInput::Sliced)];
    let ranges = b
        .map::<ValidateError>("each", &inputs, |b, args| {
            let range = b.range("range", args[0], Dim::symbol("length"))?;
            b.output("range", range);
            Ok(())
        })
        .unwrap();
    b.output("ranges", ranges[0]);
    errors.push(refusal(&b.finish(), &Options::default()));

    let mut b = Builder::new("echo");
    let x = b.input("x", DType::F32, Shape::known(&[2]));
    errors.push(refusal(b.graph(), &Options::default()));
    b.output("x", x);
    errors.push(refusal(&b.finish(), &Options::default()));

    let mut b = Builder::new("huge");
    let x = b.input("x", DType::F32, Shape::known(&[2]));
    let padded = b.pad("padded", x, &[(0, u64::MAX - 2)]).unwrap();
    b.output("padded", padded);
    errors.push(refusal(&b.finish(), &Options::default()));

    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let graph = network();
    let weights = weights(&graph);
    let writer = OnnxWriter::new(&graph, &weights, &Options::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing/model.onnx");
    let error = writer.write(&missing).unwrap_err().to_string();
    assert!(
        error.contains("missing/model.onnx: cannot write"),
        "{error}"
    );
    let error = writer.write("..".as_ref()).unwrap_err();
    assert!(matches!(error, Error::FileName { .. }), "{error}");
}

#[test]
fn crops_have_no_initializer_that_nothing_needs() {
    for size in [[1, 1], [1, 3], [2, 5], [4, 4]] {
        let mut b = Builder::new("crops");
        let map = b.input("map", DType::F32, Shape::known(&[1, 6, 7, 2]));
        let boxes = b.input("boxes", DType::F32, Shape::known(&[3, 4]));
        let images = b.input("images", DType::I32, Shape::known(&[3]));
        let crops = b
            .crop_and_resize("crops", map, boxes, images, size)
            .unwrap();
        b.output("crops", crops);
        let graph = b.finish();
        let weights = weights(&graph);
        let writer = OnnxWriter::new(&graph, &weights, &Options::default()).unwrap();
        let graph = writer.model().graph.unwrap();
        let needed: Vec<&String> = graph.node.iter().flat_map(|node| &node.input).collect();
        for initializer in &graph.initializer {
            let name = initializer.name.as_ref().unwrap();
            assert!(needed.contains(&name), "{size:?}: {name}");
        }
    }
}
