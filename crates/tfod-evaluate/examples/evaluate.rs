//! Evaluates results, and prints annotations as they were read, as JSON, for tests.
//!
//! `evaluate score boxes|masks|keypoints ANNOTATIONS RESULTS`, `evaluate compare RESULTS RESULTS`, `evaluate coco FILE`, `evaluate voc FOLDER [NAME=ID…]`,
//! `evaluate tfrecord FILE [NAME=ID…]`.

use std::error::Error;
use std::path::Path;

use serde_json::{Value, json};
use tfod_evaluate::{
    At, COCO_SIGMAS, Comparing, Dataset, Found, Kind, Labels, Segmentation, coco, compare,
    evaluate, example, voc,
};

type Failure = Box<dyn Error>;

fn score(kind: &str, annotations: &str, results: &str) -> Result<Value, Failure> {
    let kind = match kind {
        "boxes" => Kind::Boxes,
        "masks" => Kind::Masks,
        "keypoints" => Kind::Keypoints {
            sigmas: &COCO_SIGMAS,
        },
        other => return Err(format!("`{other}` is no kind").into()),
    };
    let dataset = coco::read_dataset(Path::new(annotations))?;
    let detections = coco::read_results(Path::new(results))?;
    let evaluation = evaluate(&dataset, &detections, kind)?;
    let figures = evaluation.figures();
    let classes = evaluation.classes.iter();
    let classes: Vec<Value> = classes
        .map(|class| {
            json!({
                "category": class.category,
                "objects": class.objects,
                "precision": [class.precision(At::Mean), class.precision(At::Half), class.precision(At::ThreeQuarters)],
                "recall": class.recall(),
            })
        })
        .collect();
    Ok(json!({
        "names": figures.iter().map(tfod_evaluate::Figure::name).collect::<Vec<_>>(),
        "figures": figures.iter().map(|figure| figure.value).collect::<Vec<_>>(),
        "classes": classes,
        "unknown_classes": evaluation.unknown_classes,
    }))
}

fn differences(first: &str, second: &str) -> Result<Value, Failure> {
    let first = coco::read_results(Path::new(first))?;
    let second = coco::read_results(Path::new(second))?;
    let comparison = compare(&first, &second, Comparing::default());
    let differences = comparison.differences.iter().map(|difference| {
        let (a, b, overlap) = match difference.found {
            Found::OnlyFirst(a) => (Some(a), None, None),
            Found::OnlySecond(b) => (None, Some(b), None),
            Found::Both {
                first,
                second,
                overlap,
            } => (Some(first), Some(second), Some(overlap)),
        };
        json!({"image": difference.image, "first": a, "second": b, "overlap": overlap, "weight": difference.weight})
    });
    Ok(json!({
        "differences": differences.collect::<Vec<_>>(),
        "both": comparison.both,
        "only_first": comparison.only_first,
        "only_second": comparison.only_second,
        "across_threshold": comparison.across_threshold,
    }))
}

/// A dataset in COCO's form.
fn told(dataset: &Dataset) -> Result<Value, Failure> {
    let images = dataset.images.iter().map(|image| {
        let (width, height) = image.size.unzip();
        json!({"id": image.id, "file_name": image.file_name, "width": width, "height": height})
    });
    let categories = dataset.categories.iter();
    let categories = categories.map(|category| json!({"id": category.id, "name": category.name}));
    let mut annotations = Vec::new();
    for annotation in &dataset.annotations {
        let size = dataset
            .images
            .iter()
            .find(|image| image.id == annotation.image)
            .and_then(|image| image.size);
        let mask = annotation.segmentation.as_ref();
        let mask = mask
            .map(|segmentation: &Segmentation| segmentation.mask(size))
            .transpose()?;
        let points = annotation.keypoints.as_ref();
        annotations.push(json!({
            "id": annotation.id,
            "image_id": annotation.image,
            "category_id": annotation.category,
            "bbox": annotation.bbox,
            "area": annotation.area,
            "iscrowd": u8::from(annotation.crowd),
            "difficult": annotation.difficult,
            "counts": mask.as_ref().map(tfod_evaluate::Rle::to_compressed),
            "mask_area": mask.as_ref().map(tfod_evaluate::Rle::area),
            "mask_bounds": mask.as_ref().map(tfod_evaluate::Rle::bounds),
            "keypoints": points.map(|keypoints| keypoints.points.as_flattened()),
        }));
    }
    Ok(json!({
        "images": images.collect::<Vec<_>>(),
        "categories": categories.collect::<Vec<_>>(),
        "annotations": annotations,
        "notes": dataset.notes,
    }))
}

fn labels(arguments: &[String]) -> Result<Option<Labels>, Failure> {
    let mut labels = Labels::new();
    for argument in arguments {
        let (name, id) = argument.split_once('=').ok_or("expected NAME=ID")?;
        labels.insert(name.to_owned(), id.parse()?);
    }
    Ok((!labels.is_empty()).then_some(labels))
}

fn tfrecord(file: &Path, labels: Option<Labels>) -> Result<Value, Failure> {
    let dataset = example::read_dataset(&[file], labels.as_ref())?;
    let mut told = told(&dataset)?;
    let mut encoded = Vec::new();
    for example in example::read_examples(file, labels)? {
        let example = example?;
        let sum = crc32c::crc32c(&example.encoded);
        encoded.push(json!([example.source_id, example.encoded.len(), sum]));
    }
    told["encoded"] = Value::Array(encoded);
    Ok(told)
}

fn run(arguments: &[String]) -> Result<Value, Failure> {
    let [command, rest @ ..] = arguments else {
        return Err("expected a command: score, compare, coco, voc or tfrecord".into());
    };
    match (&**command, rest) {
        ("score", [kind, annotations, results]) => score(kind, annotations, results),
        ("compare", [first, second]) => differences(first, second),
        ("coco", [file]) => told(&coco::read_dataset(Path::new(file))?),
        ("voc", [folder, names @ ..]) => told(&voc::read_folder(
            Path::new(folder),
            labels(names)?.as_ref(),
        )?),
        ("tfrecord", [file, names @ ..]) => tfrecord(Path::new(file), labels(names)?),
        (other, _) => Err(format!("`{other}` does not take {rest:?}").into()),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(value) => println!("{value}"),
        Err(error) => {
            eprintln!("error: {error}");
            std::process::exit(1);
        }
    }
}
