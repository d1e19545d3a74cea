//! What is wrong with annotations is told with its place, whatever the files hold.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use tfod_evaluate::example::{read_image, read_names};
use tfod_evaluate::tfrecord::{Records, is_tfrecord};
use tfod_evaluate::{Dataset, Labels, coco, example, voc};

const COCO: &str = r#"{
  "info": {"year": 2026, "nested": [[[{"a": null}]]]},
  "images": [{"id": 3, "file_name": "a/b.jpg", "width": 20, "height": 10}],
  "categories": [{"id": 7, "name": "cat", "supercategory": "animal"}],
  "annotations": [
    {"id": 1, "image_id": 3, "category_id": 7, "bbox": [1, 2, 3, 4], "area": 9.5, "iscrowd": 0, "segmentation": [[1, 2, 4, 2, 4, 6]]},
    {"id": 2, "image_id": 3, "category_id": 7, "bbox": [1, 2, 3, 4], "area": 9, "iscrowd": 1, "segmentation": {"size": [10, 20], "counts": [5, 5, 190]}}
  ]
}"#;

fn written(name: &str, text: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    (folder, path)
}

/// What is said of a file after its path.
fn problem<T: std::fmt::Debug>(
    name: &str,
    text: &str,
    read: impl Fn(&Path) -> Result<T, tfod_evaluate::ReadError>,
) -> String {
    let (_folder, path) = written(name, text.as_bytes());
    let message = read(&path).unwrap_err().to_string();
    let prefix = format!("{}: ", path.display());
    message.strip_prefix(&prefix).unwrap().to_owned()
}

fn coco_problem(from: &str, to: &str) -> String {
    assert!(COCO.contains(from), "{from}");
    problem("a.json", &COCO.replacen(from, to, 1), coco::read_dataset)
}

#[test]
fn coco_is_read() {
    let (_folder, path) = written("a.json", COCO.as_bytes());
    let dataset = coco::read_dataset(&path).unwrap();
    assert_eq!(dataset.images[0].size, Some((20, 10)));
    assert_eq!(dataset.categories[0].name, "cat");
    assert!(dataset.annotations[1].crowd && !dataset.annotations[0].crowd);
    assert!(dataset.notes.is_empty(), "{:?}", dataset.notes);
    let masks = dataset.annotations.iter().map(|annotation| {
        let segmentation = annotation.segmentation.as_ref().unwrap();
        segmentation.mask(Some((20, 10))).unwrap().area()
    });
    assert_eq!(masks.collect::<Vec<_>>(), [6, 5]);
}

#[test]
fn what_is_wrong_in_coco_has_a_place() {
    let cases = [
        (
            coco_problem("[1, 2, 3, 4]", "[1, 2, 3]"),
            "line 6, column 64: not annotations of COCO: invalid length 3, expected an array of length 4",
        ),
        (
            coco_problem("\"image_id\": 3, ", ""),
            "line 6, column 118: not annotations of COCO: missing field `image_id`",
        ),
        (
            coco_problem("\"iscrowd\": 1", "\"iscrowd\": 2"),
            "line 7, column 92: not annotations of COCO: `iscrowd` is 2, expected 0 or 1",
        ),
        (
            coco_problem("\"id\": 2", "\"id\": 1"),
            "annotations[1] (id 1): a second annotation of this id",
        ),
        (
            coco_problem("190", "191"),
            "annotations[1] (id 2): `segmentation`: the runs of a mask add up to 201, expected 200 for 20x10 pixels",
        ),
        (
            coco_problem("[10, 20]", "[4000000, 4000000]"),
            "annotations[1] (id 2): `segmentation`: a mask of 4000000x4000000 pixels is too large: the limit is 100000 a side and 2147483648 in all",
        ),
        (
            coco_problem("[5, 5, 190]", "\"5~\""),
            "annotations[1] (id 2): `segmentation`: the runs of a mask are damaged at character 1 of 2: expected characters from `0` to `o`, at most seven for a run",
        ),
        (
            coco_problem("[1, 2, 3, 4]", "[1, 2, -3, 4]"),
            "annotations[0] (id 1): `bbox` is -3 wide and 4 high, expected x, y, width, height",
        ),
        (
            coco_problem("\"area\": 9,", "\"keypoints\": [1, 2],"),
            "annotations[1] (id 2): `keypoints` has numbers left over; expected three for each keypoint: x, y, visibility",
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }
    let deep = "[".repeat(100_000);
    let found = coco_problem("[[1, 2, 4, 2, 4, 6]]", &deep);
    assert!(found.contains("recursion limit exceeded"), "{found}");
    let results = problem(
        "a.json",
        r#"[{"image_id": 1, "category_id": 1, "score": 1, "bbox": [1, 2, 3, 4]}, {"image_id": 1, "category_id": 1, "score": 1}]"#,
        coco::read_results,
    );
    let expected =
        "entry 1: some detections have a `bbox` and others have none: write it for all or for none";
    assert_eq!(results, expected);
}

#[test]
fn what_coco_leaves_open_is_noted() {
    let text = COCO
        .replace("\"area\": 9,", "")
        .replace("\"id\": 1,", "\"id\": 0,")
        .replace(
            "\"image_id\": 3, \"category_id\": 7, \"bbox\": [1, 2, 3, 4], \"area\": 9.5",
            "\"image_id\": 4, \"category_id\": 7, \"bbox\": [1, 2, 3, 4], \"area\": 9.5",
        );
    let (_folder, path) = written("a.json", text.as_bytes());
    let dataset = coco::read_dataset(&path).unwrap();
    assert_eq!(dataset.notes.len(), 3, "{:?}", dataset.notes);
    assert!((dataset.annotations[1].area - 12.0).abs() < f64::EPSILON);
}

#[test]
fn classes_get_the_numbers_of_a_model() {
    let (_folder, path) = written("a.json", COCO.as_bytes());
    let mut dataset = coco::read_dataset(&path).unwrap();
    let labels = Labels::from([("cat".to_owned(), 1), ("dog".to_owned(), 2)]);
    dataset.renumber(&labels).unwrap();
    assert!(
        dataset
            .annotations
            .iter()
            .all(|object| object.category == 1)
    );
    assert_eq!(dataset.categories[0].id, 1);
    let labels = Labels::from([("dog".to_owned(), 2)]);
    let error = dataset.renumber(&labels).unwrap_err().to_string();
    assert!(error.contains("`cat`"), "{error}");
}

const VOC: &str = "<annotation>
  <filename>a.jpg</filename>
  <size><width>20</width><height>10</height></size>
  <object>
    <name>cat</name>
    <bndbox><xmin>1</xmin><ymin>2.5</ymin><xmax>3</xmax><ymax>4</ymax></bndbox>
  </object>
</annotation>";

fn read_voc(path: &Path) -> Result<Dataset, tfod_evaluate::ReadError> {
    voc::read_folder(path.parent().unwrap(), None)
}

fn voc_problem(from: &str, to: &str) -> String {
    assert!(VOC.contains(from), "{from}");
    problem("a.xml", &VOC.replacen(from, to, 1), read_voc)
}

#[test]
fn what_is_wrong_in_voc_has_a_line() {
    let cases = [
        (
            voc_problem("<xmin>1</xmin>", ""),
            "line 6: `bndbox` has no `xmin`",
        ),
        (
            voc_problem("<xmax>3<", "<xmax>three<"),
            "line 6: `xmax` is `three`, expected a number",
        ),
        (
            voc_problem("<xmax>3<", "<xmax>0.5<"),
            "line 6: the box from 1, 2.5 to 0.5, 4 ends before it begins: correct it, or remove the object",
        ),
        (
            voc_problem("<xmax>3<", "<xmax>inf<"),
            "line 6: `xmax` is not finite",
        ),
        (
            voc_problem("<height>10</height>", ""),
            "line 3: `size` has no `height`",
        ),
        (
            voc_problem("</object>", ""),
            "line 8: no XML that can be read: expected 'object' tag, not 'annotation'",
        ),
        (
            problem("a.xml", "<html/>", read_voc),
            "line 1: expected an `annotation`, found `html`",
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }
    // Entities that double at each step are not expanded.
    let bomb = r#"<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><annotation>&b;</annotation>"#;
    let found = problem("a.xml", bomb, read_voc);
    assert!(
        found.starts_with("line 1: no XML that can be read"),
        "{found}"
    );
    let deep = "<a>".repeat(1_000_000);
    let found = problem("a.xml", &deep, read_voc);
    assert!(found.contains("no XML that can be read"), "{found}");
    let folder = tempfile::tempdir().unwrap();
    let error = voc::read_folder(folder.path(), None).unwrap_err();
    assert!(error.to_string().contains("expected files `*.xml`"));
    let labels = Labels::from([("dog".to_owned(), 1)]);
    let with_labels = |path: &Path| voc::read_folder(path.parent().unwrap(), Some(&labels));
    assert_eq!(
        problem("a.xml", VOC, with_labels),
        "line 4: the class `cat` is not among those of the label map"
    );
}

/// A record with its checksums.
fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(tfod_checkpoint::masked_crc(&length).to_le_bytes());
    record.extend(bytes);
    record.extend(tfod_checkpoint::masked_crc(bytes).to_le_bytes());
    record
}

/// A feature of bytes in an example.
fn of_bytes(features: &[(&str, &[u8])]) -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| {
        [
            &[number << 3 | 2, u8::try_from(bytes.len()).unwrap()][..],
            bytes,
        ]
        .concat()
    };
    let entries = features.iter().map(|(name, bytes)| {
        let list = field(1, &field(1, bytes));
        field(1, &[field(1, name.as_bytes()), field(2, &list)].concat())
    });
    field(1, &entries.collect::<Vec<_>>().concat())
}

#[test]
fn images_of_records_are_read_by_their_places() {
    let records = [
        of_bytes(&[("image/filename", b"a.jpg"), ("image/encoded", b"one")]),
        of_bytes(&[("image/source_id", b"7"), ("image/encoded", b"two")]),
        of_bytes(&[("image/filename", b"")]),
        b"no example".to_vec(),
    ];
    let file: Vec<u8> = records.iter().flat_map(|bytes| record(bytes)).collect();
    let (_folder, path) = written("a.tfrecord", &[&file[..], &[1; 9]].concat());
    assert!(is_tfrecord(&path));
    let found: Vec<_> = read_names(&path).unwrap().collect();
    let names = found.iter().flatten().map(|(_, name)| name.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["a.jpg", "7", "record 2"]);
    let problems = found.iter().filter_map(|one| one.as_ref().err());
    let problems: Vec<String> = problems.map(ToString::to_string).collect();
    assert!(problems[0].contains("record 3, from byte "), "{problems:?}");
    assert!(
        problems[0].contains("no `tf.train.Example`"),
        "{problems:?}"
    );
    assert!(problems[1].contains("cut short"), "{problems:?}");
    // In any order.
    let mut records = Records::open(&path).unwrap();
    let mut image = |index: usize| {
        let (place, _) = found[index].as_ref().unwrap();
        records.seek(place).unwrap();
        let (at, bytes) = records.next().unwrap().unwrap();
        assert_eq!(&at, place);
        read_image(&at, &bytes).map_err(|error| error.problem)
    };
    assert_eq!(image(1), Ok(b"two".to_vec()));
    assert_eq!(image(0), Ok(b"one".to_vec()));
    let missing = "`image/encoded` is missing: there is no image in the record";
    assert_eq!(image(2), Err(missing.to_owned()));
    let (_folder, other) = written("a.json", b"{\"images\": []}");
    assert!(!is_tfrecord(&other));
}

#[test]
fn a_record_cannot_claim_more_than_its_file_has() {
    let length = (1u64 << 60).to_le_bytes();
    let mut file = length.to_vec();
    file.extend(tfod_checkpoint::masked_crc(&length).to_le_bytes());
    file.extend([0; 100]);
    let (_folder, path) = written("a.tfrecord", &file);
    let error = example::read_dataset(&[&path], None)
        .unwrap_err()
        .to_string();
    let expected = "record 0, from byte 0: the record has 1152921504606846976 bytes, but only 100 follow: the file is cut short";
    assert!(error.ends_with(expected), "{error}");
}

proptest! {
    #[test]
    fn damage_never_panics(place in 0usize..2000, byte in any::<u8>(), cut in any::<bool>()) {
        let damaged = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            let place = place % bytes.len();
            bytes[place] = byte;
            bytes.truncate(if cut { place } else { bytes.len() });
            bytes
        };
        let (_folder, path) = written("a.json", &damaged(COCO));
        if let Ok(dataset) = coco::read_dataset(&path) {
            for annotation in &dataset.annotations {
                let _ = annotation.segmentation.as_ref().map(|shape| shape.mask(Some((20, 10))));
            }
        }
        let (_folder, path) = written("a.xml", &damaged(VOC));
        let _ = read_voc(&path);
    }

    #[test]
    fn any_record_is_an_example_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (_folder, path) = written("a.tfrecord", &record(&bytes));
        let _ = example::read_dataset(&[&path], None);
        let (_folder, path) = written("a.tfrecord", &bytes);
        let _ = example::read_dataset(&[&path], None);
    }
}
