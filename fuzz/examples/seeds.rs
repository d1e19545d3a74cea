//! Makes the seeds that are not text, from the fixtures of the crates and the configs in `seeds/config`, and a dictionary of the
//! schema's words. Run in the folder `fuzz`: `cargo run --example seeds`.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::Path;

use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};
use tfod_checkpoint::{Bundle, index_path, shard_path};
use tfod_config::{PipelineConfig, protos};
use tfod_graph::{Binary, Builder, Dim, Shape, Tensor, Unary, Weights, passes};
use tfod_onnx::{OnnxWriter, Options};
use tfod_tensorflow::{FreezeOptions, NamedGraph, SavedModelReader, SavedModelWriter};
use tfod_tflite::{
    Content, Labels, Metadata, PixelNormalization, TensorNotes, TfliteWriter, WeightType,
};

/// Larger files are not tried.
const LARGEST: usize = 8192;

const FIXTURES: &str = "../crates/tfod-checkpoint/tests/fixtures";

fn main() -> Result<(), Box<dyn Error>> {
    checkpoints()?;
    models()?;
    graphs()?;
    networks()?;
    mobile()?;
    images()?;
    onnx_models()?;
    records()?;
    dictionary()?;
    Ok(())
}

/// The fixtures of images.
fn images() -> Result<(), Box<dyn Error>> {
    fs::create_dir_all("seeds/image")?;
    for entry in fs::read_dir("../crates/tfod-image/tests/fixtures")? {
        let path = entry?.path();
        let bytes = fs::read(&path)?;
        if path.extension().is_some_and(|extension| extension != "tsv") && bytes.len() <= LARGEST {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            fs::write(format!("seeds/image/{name}"), bytes)?;
        }
    }
    Ok(())
}

/// Frozen graphs, binary and text, of the SavedModels among the seeds; and an ONNX model.
fn graphs() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    for entry in fs::read_dir("seeds/saved_model")? {
        let path = entry?.path();
        let seed = fs::read(&path)?;
        fs::write(
            folder.path().join("saved_model.pb"),
            seed.get(1..).unwrap_or_default(),
        )?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let reader = SavedModelReader::open(folder.path())?;
        // Those with variables cannot be frozen without them.
        let Ok(frozen) = reader.freeze(&FreezeOptions::default()) else {
            continue;
        };
        frozen.write_binary(&mut fs::File::create(format!("seeds/graph/{name}"))?)?;
        frozen.write_text(&mut fs::File::create(format!("seeds/graph_text/{name}"))?)?;
    }
    let mut builder = Builder::new("seed");
    let x = builder.input(
        "x",
        tfod_graph::DType::F32,
        Shape(vec![Dim::symbol("batch"), 3.into()]),
    );
    let shift = Tensor::f32(&[3], &[0.5, -1.0, 2.0]).ok_or("three numbers")?;
    let shift = builder.constant("shift", shift)?;
    let shifted = builder.binary("shifted", Binary::Add, x, shift)?;
    let y = builder.unary("relu", Unary::Relu, shifted)?;
    builder.output("y", y);
    let graph = builder.finish();
    let weights = Weights::default();
    OnnxWriter::new(&graph, &weights, &Options::default())?.write("seeds/graph/onnx".as_ref())?;
    Ok(())
}

/// Frozen graphs of single operations, those that are not larger than what fuzzing tries.
fn networks() -> Result<(), Box<dyn Error>> {
    fs::create_dir_all("seeds/constants")?;
    for case in tfod_cases::cases() {
        let graph = tfod_cases::toy(&[case], Dim::symbol("batch"))?;
        let graph = passes::standard(&graph)?;
        let weights = tfod_cases::weights(&graph);
        let folder = tempfile::tempdir()?;
        let named = NamedGraph::serving(&graph, &weights);
        SavedModelWriter::new(&[named], &[])?.write(folder.path())?;
        let reader = SavedModelReader::open(folder.path())?;
        let frozen = reader.freeze(&FreezeOptions::default())?;
        let mut bytes = Vec::new();
        frozen.write_binary(&mut bytes)?;
        if bytes.len() <= LARGEST {
            fs::write(format!("seeds/constants/{}", case.name), bytes)?;
        }
    }
    Ok(())
}

/// ONNX models of single operations, those that are small.
fn onnx_models() -> Result<(), Box<dyn Error>> {
    const SMALL: usize = 1024;
    fs::create_dir_all("seeds/onnx")?;
    for case in tfod_cases::cases() {
        let graph = tfod_cases::toy(&[case], Dim::symbol("batch"))?;
        let graph = passes::standard(&graph)?;
        let weights = tfod_cases::weights(&graph);
        let mut bytes = Vec::new();
        // Some operations are of TensorFlow alone.
        let Ok(writer) = OnnxWriter::new(&graph, &weights, &Options::default()) else {
            continue;
        };
        writer.write_to(&mut bytes, None)?;
        if bytes.len() <= SMALL {
            fs::write(format!("seeds/onnx/{}", case.name), bytes)?;
        }
    }
    Ok(())
}

/// A record of the Object Detection API, with all that is read of one.
fn records() -> Result<(), Box<dyn Error>> {
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len() % 128).unwrap_or(0);
        let more = u8::try_from(content.len() / 128).unwrap_or(0);
        [&[number << 3 | 2, length | 0x80, more][..], content].concat()
    }
    let feature = |name: &str, kind: u8, list: Vec<u8>| {
        let value = field(kind, &list);
        field(1, &[field(1, name.as_bytes()), field(2, &value)].concat())
    };
    let texts = |name: &str, texts: &[&str]| {
        let texts = texts.iter().map(|text| field(1, text.as_bytes()));
        feature(name, 1, texts.collect::<Vec<_>>().concat())
    };
    let floats = |name: &str, values: &[f32]| {
        let values: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        feature(name, 2, field(1, &values))
    };
    let numbers = |name: &str, values: &[u8]| feature(name, 3, field(1, values));
    let object = |part: &str| format!("image/object/{part}");
    let features = [
        texts("image/filename", &["a.jpg"]),
        texts("image/source_id", &["7"]),
        texts("image/encoded", &["no image"]),
        numbers("image/width", &[100]),
        numbers("image/height", &[80]),
        floats(&object("bbox/ymin"), &[0.1, 0.2]),
        floats(&object("bbox/xmin"), &[0.1, 0.2]),
        floats(&object("bbox/ymax"), &[0.5, 0.9]),
        floats(&object("bbox/xmax"), &[0.4, 0.8]),
        floats(&object("area"), &[0.0, 30.0]),
        texts(&object("class/text"), &["cat", "dog"]),
        numbers(&object("class/label"), &[1, 2]),
        numbers(&object("is_crowd"), &[0, 1]),
        numbers(&object("difficult"), &[1, 0]),
        floats(&object("keypoint/x"), &[0.1, f32::NAN]),
        floats(&object("keypoint/y"), &[0.1, 0.2]),
        numbers(&object("keypoint/visibility"), &[2, 0]),
    ];
    fs::create_dir_all("seeds/example")?;
    fs::write("seeds/example/by_hand", field(1, &features.concat()))?;
    Ok(())
}

/// TFLite models of single operations, those that are not larger than what fuzzing tries, with kernels of either type.
fn mobile() -> Result<(), Box<dyn Error>> {
    fs::create_dir_all("seeds/tflite")?;
    let cases = tfod_cases::cases().into_iter();
    for case in cases.filter(|case| !tfod_cases::REFUSED_BY_TFLITE.contains(&case.name)) {
        let graph = tfod_cases::toy(&[case], Dim::symbol("batch"))?;
        let graph = tfod_cases::fixed(&passes::standard(&graph)?)?;
        let weights = tfod_cases::weights(&graph);
        for kind in WeightType::ALL {
            let mut options = tfod_tflite::Options::default();
            options.weights = kind;
            let mut bytes = Vec::new();
            TfliteWriter::new(&graph, &weights, &options)?.write_to(&mut bytes)?;
            if bytes.len() <= LARGEST {
                fs::write(format!("seeds/tflite/{}_{}", case.name, kind.name()), bytes)?;
            }
        }
    }
    described()
}

/// A TFLite model with metadata and a file of names.
fn described() -> Result<(), Box<dyn Error>> {
    let mut b = Builder::new("seed");
    let x = b.input("x", tfod_graph::DType::F32, Shape::known(&[1, 3]));
    let y = b.unary("y", Unary::Exp, x)?;
    b.output("result", y);
    let mut image = TensorNotes::new("image", "pixels");
    image.content = Content::Rgb;
    image.normalization = Some(PixelNormalization::new([127.5; 3], [127.5; 3]));
    let mut category = TensorNotes::new("category", "classes");
    category.labels = Some(Labels::OfValues("labels.txt".to_owned()));
    let mut metadata = Metadata::default();
    metadata.inputs.insert("x".to_owned(), image);
    metadata.outputs.insert("result".to_owned(), category);
    let names = b"???\nperson".to_vec();
    metadata.files.insert("labels.txt".to_owned(), names);
    let mut options = tfod_tflite::Options::default();
    options.metadata = Some(metadata);
    let (graph, weights) = (b.finish(), Weights::default());
    let mut file = fs::File::create("seeds/tflite/described")?;
    TfliteWriter::new(&graph, &weights, &options)?.write_to(&mut file)?;
    Ok(())
}

fn checkpoints() -> Result<(), Box<dyn Error>> {
    for (name, prefix) in [
        ("bare", "bare/ckpt-1"),
        ("training", "training/ckpt-1"),
        ("partitioned", "partitioned/vars"),
        ("types", "types/vars"),
        ("two_shards", "two_shards/vars"),
    ] {
        let prefix = Path::new(FIXTURES).join(prefix);
        let index = fs::read(index_path(&prefix))?;
        let seed = [&[1], &index[..]].concat();
        fs::write(format!("seeds/index/{name}"), seed)?;
        if let Ok(data) = fs::read(shard_path(&prefix, 0, 1)) {
            let size = u32::try_from(index.len())?.to_le_bytes();
            let seed = [&size, &index[..], &data].concat();
            fs::write(format!("seeds/tensors/{name}"), seed)?;
        }
        if let Ok(graph) = Bundle::open(&prefix)?.object_graph() {
            fs::write(format!("seeds/object_graph/{name}"), graph.encode())?;
        }
    }
    Ok(())
}

fn models() -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir("seeds/config")? {
        let path = entry?.path();
        let config = PipelineConfig::read(&path)?.config;
        let Some(model) = &config.message().model else {
            continue;
        };
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        // As the target reads them: the defaults, and a label map that goes with the keypoint tasks.
        let seed = [&[0, 0], &model.encode_to_vec()[..]].concat();
        fs::write(format!("seeds/model/{name}"), seed)?;
    }
    Ok(())
}

/// Every name in the schema, in libFuzzer's format.
fn dictionary() -> Result<(), Box<dyn Error>> {
    fn enumeration(kind: &EnumDescriptorProto, words: &mut BTreeSet<String>) {
        words.extend(kind.value.iter().map(|value| value.name().to_owned()));
    }
    fn message(kind: &DescriptorProto, words: &mut BTreeSet<String>) {
        words.extend(kind.field.iter().map(|field| field.name().to_owned()));
        kind.enum_type.iter().for_each(|e| enumeration(e, words));
        kind.nested_type.iter().for_each(|m| message(m, words));
    }
    let files = FileDescriptorSet::decode(protos::FILE_DESCRIPTOR_SET)?;
    let mut words = BTreeSet::new();
    for file in &files.file {
        file.message_type
            .iter()
            .for_each(|m| message(m, &mut words));
        file.enum_type
            .iter()
            .for_each(|e| enumeration(e, &mut words));
    }
    let lines: Vec<String> = words.iter().map(|word| format!("\"{word}\"\n")).collect();
    fs::write("config.dict", lines.concat())?;
    Ok(())
}
