"""Average precision, annotations and comparisons beside the programs that define them.

`crates/tfod-evaluate/examples/evaluate.rs` is given the same files as `pycocotools`: random sets of boxes, masks and keypoints, in which scores are equal, boxes
have no area, objects are crowds, classes have no objects or no detections, and images have more detections than count. Annotations of Pascal VOC and TFRecords are
read beside the Object Detection API, which writes the records, too.
"""

import contextlib
import io
import json
import re
import subprocess

import numpy as np
import pytest

from . import operations

pytestmark = pytest.mark.quick

SEEDS = range(6)
WIDTH, HEIGHT = 320, 240


def evaluate(*arguments, failing=False):
    """Runs the example; returns what it printed, or its error."""
    binary = operations.EXAMPLES / "evaluate"
    assert binary.exists(), f"{binary} does not exist: cargo build --release -p tfod-evaluate --examples"
    result = subprocess.run([str(part) for part in (binary, *arguments)], capture_output=True, text=True, check=False)
    if failing:
        assert result.returncode == 1, result.stdout
        return result.stderr
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def reference(annotations, results, kind):
    """What pycocotools computes of two files: its figures, and the average precision of each class."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        evaluation = COCOeval(truth, truth.loadRes(str(results)), {"boxes": "bbox", "masks": "segm"}.get(kind, kind))
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision, recall = evaluation.eval["precision"][:, :, :, 0, -1], evaluation.eval["recall"][:, :, 0, -1]
    mean = lambda values: np.mean(values[values > -1]) if (values > -1).any() else -1
    classes = {
        category: [mean(precision[:, :, index]), mean(precision[0, :, index]), mean(precision[5, :, index]), mean(recall[:, index])]
        for index, category in enumerate(evaluation.params.catIds)
    }
    return evaluation.stats, classes


def assert_equal(folder, truth, results, kind):
    annotations, detections = folder / "annotations.json", folder / "results.json"
    annotations.write_text(json.dumps(truth))
    detections.write_text(json.dumps(results))
    figures, classes = reference(annotations, detections, kind)
    ours = evaluate("score", kind, annotations, detections)
    np.testing.assert_allclose(ours["figures"], figures, rtol=0, atol=1e-12)
    assert [found["category"] for found in ours["classes"]] == list(classes)
    for found in ours["classes"]:
        np.testing.assert_allclose([*found["precision"], found["recall"]], classes[found["category"]], rtol=0, atol=1e-12)
    return figures


def random_box(random):
    """A box within the image; some small, some large, some without area or on whole pixels."""
    size = np.exp(random.uniform(np.log(2), np.log(220), 2)) * random.choice([0, 1], 2, p=[0.02, 0.98])
    corner = random.uniform(0, [WIDTH, HEIGHT]) * 0.7
    size = np.minimum(size, [WIDTH, HEIGHT] - corner)
    box = [*corner, *size]
    return [float(value) for value in (np.round(box) if random.random() < 0.3 else box)]


def moved(random, box):
    """A box that overlaps another more or less."""
    shift = random.normal(0, random.choice([0.0, 0.02, 0.1, 0.3]), 4) * [box[2], box[3], box[2], box[3]]
    x, y, width, height = np.array(box) + shift
    return [float(x), float(y), float(max(width, 0)), float(max(height, 0))]


def random_score(random):
    """A score, of which many are equal."""
    return float(random.choice([round(random.random(), 1), random.random(), 0.5]))


def polygon(random, box):
    """A few corners of a box and points within."""
    x, y, width, height = box
    points = random.uniform(0, 1, (random.integers(3, 9), 2)) * [width, height] + [x, y]
    if random.random() < 0.3:
        points = np.array([[x, y], [x, y + height], [x + width, y + height], [x + width, y]])
    return [float(value) for value in points.reshape(-1)]


def random_set(seed, images=12, categories=6, crowded=1):
    """Annotated images, without outlines: classes and images in no order, and with gaps between their numbers."""
    random = np.random.default_rng(seed)
    image_ids = [int(i) for i in random.permutation(np.arange(images) * 7 + 3)]
    category_ids = [int(i) for i in random.permutation(np.arange(categories) * 3 + 1)]
    truth = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": WIDTH, "height": HEIGHT} for i in image_ids],
        "categories": [{"id": i, "name": f"class {i}"} for i in category_ids],
        "annotations": [],
    }
    for image in image_ids[1:]:  # the first has no objects
        for _ in range(random.integers(0, 14)):
            box = random_box(random)
            # The last class has no objects, the one before it only crowds.
            category = int(random.choice(category_ids[:-1]))
            crowd = int(category == category_ids[-2] or random.random() < 0.1)
            area = box[2] * box[3] * random.choice([1.0, 0.6])
            number = len(truth["annotations"]) + 1
            truth["annotations"].append(
                {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": crowd}
            )
    random.shuffle(truth["annotations"])
    results = []
    for annotation in truth["annotations"]:
        for _ in range(random.integers(0, 4) * crowded):
            category = annotation["category_id"] if random.random() < 0.9 else int(random.choice(category_ids[1:]))
            box = moved(random, annotation["bbox"])
            results.append({"image_id": annotation["image_id"], "category_id": category, "bbox": box, "score": random_score(random)})
    for image in image_ids[:-1]:  # the last has only what overlaps its objects
        for _ in range(random.integers(0, 8) * crowded):
            category = int(random.choice([*category_ids[1:], 99999]))  # the first is not detected but by chance, and one does not exist
            results.append({"image_id": image, "category_id": category, "bbox": random_box(random), "score": random_score(random)})
    random.shuffle(results)
    return random, truth, results


@pytest.mark.parametrize("seed", SEEDS)
def test_boxes(seed, tmp_path):
    _, truth, results = random_set(seed)
    figures = assert_equal(tmp_path, truth, results, "boxes")
    assert 0 < figures[0] < 1


def test_more_detections_than_count(tmp_path):
    """There are up to 300 of an image and class, and many of them have the same score."""
    _, truth, results = random_set(100, images=3, categories=4, crowded=60)
    assert len(results) > 1000
    assert_equal(tmp_path, truth, results, "boxes")


def test_the_number_zero_matches_nothing(tmp_path):
    """pycocotools stores the numbers of the objects that were matched, and 0 where none was."""
    _, truth, results = random_set(7)
    for annotation in truth["annotations"]:
        annotation["id"] -= 1
    with_zero = assert_equal(tmp_path, truth, results, "boxes")
    for annotation in truth["annotations"]:
        annotation["id"] += 1
    assert not np.array_equal(with_zero, assert_equal(tmp_path, truth, results, "boxes"))
    for annotation in truth["annotations"]:
        annotation["id"] -= 1
    (tmp_path / "annotations.json").write_text(json.dumps(truth))
    assert "id 0" in evaluate("coco", tmp_path / "annotations.json")["notes"][0]


def test_nothing_to_find(tmp_path):
    """Without objects every figure is -1, and without those of some areas the figures of these are."""
    _, truth, results = random_set(8, images=40)
    annotations = truth["annotations"]
    truth["annotations"] = [annotation for annotation in annotations if annotation["area"] > 96**2]
    assert not all(annotation["iscrowd"] for annotation in truth["annotations"])
    figures = assert_equal(tmp_path, truth, results, "boxes")
    assert figures[3] == figures[4] == -1 < figures[0]
    truth["annotations"] = []
    assert set(assert_equal(tmp_path, truth, results, "boxes")) == {-1}


def test_perfect_detections(tmp_path):
    """Each object detected as it is; only boxes without area overlap nothing."""
    _, truth, _ = random_set(9)
    kept = [annotation for annotation in truth["annotations"] if not annotation["iscrowd"]]
    truth["annotations"] = [annotation for annotation in kept if min(annotation["bbox"][2:]) > 0]
    results = [
        {"image_id": a["image_id"], "category_id": a["category_id"], "bbox": a["bbox"], "score": 0.5} for a in truth["annotations"]
    ]
    assert abs(assert_equal(tmp_path, truth, results, "boxes")[0] - 1) < 1e-12


@pytest.mark.parametrize("boxes", (True, False), ids=("with_boxes", "without_boxes"))
@pytest.mark.parametrize("seed", SEEDS)
def test_masks(seed, boxes, tmp_path):
    """Polygons, several of them, runs in both forms; areas of detections are those of their boxes where they have some."""
    from pycocotools import mask

    random, truth, results = random_set(seed + 20)

    def shape(box, form):
        polygons = [polygon(random, box) for _ in range(random.integers(1, 3))]
        if form == "polygons":
            return polygons
        runs = mask.merge(mask.frPyObjects(polygons, HEIGHT, WIDTH))
        if form == "compressed":
            return {"size": runs["size"], "counts": runs["counts"].decode()}
        pixels = mask.decode(runs).reshape(-1, order="F")
        changes = np.flatnonzero(np.diff(pixels)) + 1
        counts = np.diff([0, *changes, len(pixels)])
        return {"size": [HEIGHT, WIDTH], "counts": [0] * int(pixels[0]) + [int(count) for count in counts]}

    for annotation in truth["annotations"]:
        form = "lengths" if annotation["iscrowd"] else random.choice(["polygons", "compressed"])
        annotation["segmentation"] = shape(annotation["bbox"], form)
    for result in results:
        if random.random() < 0.5:
            near = [a["segmentation"] for a in truth["annotations"] if a["image_id"] == result["image_id"] and not a["iscrowd"]]
        else:
            near = []
        if near:
            result["segmentation"] = near[random.integers(len(near))]
        if not near or isinstance(result["segmentation"], list):
            result["segmentation"] = shape(result["bbox"], "compressed")
        if not boxes:
            del result["bbox"]
    figures = assert_equal(tmp_path, truth, results, "masks")
    assert figures[0] > -1


def test_masks_of_boxes(tmp_path):
    """Detections without an outline cover their boxes."""
    random, truth, results = random_set(40)
    for annotation in truth["annotations"]:
        annotation["segmentation"] = [polygon(random, annotation["bbox"])]
    results = [result for result in results if result["bbox"][0] > -WIDTH and result["bbox"][1] > -HEIGHT]
    assert_equal(tmp_path, truth, results, "masks")


@pytest.mark.parametrize("seed", range(10))
def test_polygons(seed, tmp_path):
    """Pixel by pixel: polygons that cross themselves, leave the image, turn back, and have points twice."""
    from pycocotools import mask

    random = np.random.default_rng(seed)
    shapes = []
    for _ in range(30):
        points = random.uniform(-0.4, 1.4, (random.integers(3, 12), 2)) * [WIDTH, HEIGHT]
        if random.random() < 0.5:
            points = np.round(points * random.choice([1, 2, 5])) / 5
        points = np.repeat(points, random.integers(1, 3, len(points)), axis=0)
        shapes.append([float(value) for value in points.reshape(-1)])
    truth = {
        "images": [{"id": 1, "file_name": "", "width": WIDTH, "height": HEIGHT}],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [
            {"id": i + 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "segmentation": [*shapes[: i % 3], shape]}
            for i, shape in enumerate(shapes)
        ],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(truth))
    for ours, given in zip(evaluate("coco", tmp_path / "annotations.json")["annotations"], truth["annotations"]):
        expected = mask.merge(mask.frPyObjects(given["segmentation"], HEIGHT, WIDTH))
        assert ours["counts"] == expected["counts"].decode()
        assert ours["mask_area"] == mask.area(expected)
        assert ours["mask_bounds"] == list(mask.toBbox(expected))


@pytest.mark.parametrize("boxes", (True, False), ids=("with_boxes", "without_boxes"))
@pytest.mark.parametrize("seed", SEEDS)
def test_keypoints(seed, boxes, tmp_path):
    random, truth, results = random_set(seed + 60, crowded=3)

    def points(box):
        return random.uniform(0, 1, (17, 2)) * box[2:] + box[:2]

    for annotation in truth["annotations"]:
        labels = random.choice([0, 1, 2], (17, 1)) * (random.random() > 0.2)
        annotation["points"] = points(annotation["bbox"])
        annotation["keypoints"] = [float(value) for value in np.hstack([annotation["points"] * (labels > 0), labels]).reshape(-1)]
        annotation["num_keypoints"] = int((labels > 0).sum())
    for result in results:
        near = [a for a in truth["annotations"] if a["image_id"] == result["image_id"]]
        if near and random.random() < 0.9:
            chosen = near[random.integers(len(near))]
            spread = random.choice([0, 0.01, 0.05, 0.1])
            found = chosen["points"] + random.normal(0, 1, (17, 2)) * spread * (chosen["area"] ** 0.5)
            result["category_id"] = chosen["category_id"]
        else:
            found = points(result["bbox"])
        result["keypoints"] = [float(value) for value in np.hstack([found, np.ones((17, 1))]).reshape(-1)]
        if not boxes:
            del result["bbox"]
    for annotation in truth["annotations"]:
        del annotation["points"]
    figures = assert_equal(tmp_path, truth, results, "keypoints")
    assert 0 < figures[0] < 1


VOC = """<annotation>
  <folder>VOC</folder>
  <filename>{name}</filename>
  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>
  {objects}
</annotation>
"""
VOC_OBJECT = """<object>
    <name>{label}</name><pose>Left</pose><truncated>0</truncated><difficult>{difficult}</difficult>
    <bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox>
    <part><name>head</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></part>
  </object>"""
LABELS = {"cat & mouse": 5, "dog": 2, "caf\u00e9": 9}


def write_voc(folder, random, images=5):
    """Writes a folder of annotations with images beside; returns for each image its objects."""
    import PIL.Image
    from xml.sax.saxutils import escape

    written = []
    (folder / "VOC" / "JPEGImages").mkdir(parents=True)
    (folder / "Annotations").mkdir()
    for index in range(images):
        width, height = (int(side) for side in random.integers(60, 200, 2))
        objects = []
        for _ in range(index):
            xmin, ymin = (int(value) for value in random.integers(1, 50, 2))
            xmax, ymax = xmin + int(random.integers(0, 9)), ymin + float(random.integers(1, 20)) / 2
            label = str(random.choice(list(LABELS)))
            objects.append(dict(label=label, difficult=int(random.random() < 0.4), xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax))
        name = f"image {index}.jpg"
        PIL.Image.new("RGB", (width, height), (index, 20, 30)).save(folder / "VOC" / "JPEGImages" / name)
        text = "\n".join(VOC_OBJECT.format(**{**entry, "label": escape(entry["label"])}) for entry in objects)
        xml = VOC.format(name=name, width=width, height=height, objects=text)
        (folder / "Annotations" / f"image {index}.xml").write_text(xml, encoding="utf-8")
        written.append({"name": name, "width": width, "height": height, "objects": objects})
    return written


def label_arguments():
    return [f"{name}={number}" for name, number in LABELS.items()]


def test_pascal_voc(tmp_path):
    """As the API's conversion reads it: no pixel is added, difficult objects are kept, parts are not objects."""
    written = write_voc(tmp_path, np.random.default_rng(1))
    ours = evaluate("voc", tmp_path, *label_arguments())
    assert [(image["file_name"], image["width"], image["height"]) for image in ours["images"]] == [
        (image["name"], image["width"], image["height"]) for image in written
    ]
    expected = [(index + 1, entry) for index, image in enumerate(written) for entry in image["objects"]]
    assert len(ours["annotations"]) == len(expected) > 5
    for found, (image, entry) in zip(ours["annotations"], expected):
        size = [entry["xmax"] - entry["xmin"], entry["ymax"] - entry["ymin"]]
        assert found["image_id"] == image and found["category_id"] == LABELS[entry["label"]]
        assert found["bbox"] == [entry["xmin"], entry["ymin"], *size] and found["area"] == size[0] * size[1]
        assert found["difficult"] == bool(entry["difficult"]) and not found["iscrowd"]
    assert "difficult" in ours["notes"][0]
    # Without numbers, classes are numbered in the order of their names; the folder of the files can be given, too.
    alone = evaluate("voc", tmp_path / "Annotations")
    assert {category["name"]: category["id"] for category in alone["categories"]} == {"caf\u00e9": 1, "cat & mouse": 2, "dog": 3}


def write_records(path, examples):
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in examples:
            writer.write(example.SerializeToString())


def reference_annotations(monkeypatch, path, labels=None, **options):
    """What the Object Detection API evaluates of a file: its decoder, then its conversion to COCO's form."""
    import tensorflow as tf
    from object_detection.data_decoders import tf_example_decoder
    from object_detection.metrics import coco_tools
    from tf_slim.data import tfexample_decoder

    # The decoder calls functions that TensorFlow has moved since.
    for name in ("case", "cond"):
        monkeypatch.setattr(tfexample_decoder.control_flow_ops, name, getattr(tf, name), raising=False)
    decoder = tf_example_decoder.TfExampleDecoder(label_map_proto_file=labels, **options)
    annotations = []
    for index, record in enumerate(tf.data.TFRecordDataset(str(path))):
        decoded = {key: value.numpy() for key, value in decoder.decode(record).items()}
        height, width = decoded["image"].shape[:2]
        scale = np.array([height, width, height, width], np.float32)
        masks, points = decoded.get("groundtruth_instance_masks"), decoded.get("groundtruth_keypoints")
        if points is not None:
            points = np.nan_to_num(points * scale[:2])
        area = decoded["groundtruth_area"]
        crowd = decoded["groundtruth_is_crowd"]
        annotations += coco_tools.ExportSingleImageGroundtruthToCoco(
            index + 1,
            len(annotations) + 1,
            set(range(100)),
            decoded["groundtruth_boxes"] * scale,
            decoded["groundtruth_classes"],
            groundtruth_keypoints=points,
            groundtruth_keypoint_visibilities=None if points is None else decoded["groundtruth_keypoint_visibilities"] * 2,
            groundtruth_masks=None if masks is None else masks.astype(np.uint8),
            groundtruth_is_crowd=crowd if len(crowd) else None,
            groundtruth_area=area if len(area) else None,
        )
    return annotations


def assert_annotations(ours, expected):
    assert len(ours) == len(expected) > 0
    for found, given in zip(ours, expected):
        for key in ("id", "image_id", "category_id", "bbox", "area"):
            assert found[key] == given[key], key
        assert bool(found["iscrowd"]) == bool(given["iscrowd"])
        if "segmentation" in given:
            assert found["counts"] == given["segmentation"]["counts"]
        if "keypoints" in given:
            assert found["keypoints"] == given["keypoints"]


def test_records_of_pascal_voc(tmp_path, monkeypatch):
    """Records that the API's own program makes of a folder, bit for bit as its evaluation reads them."""
    from lxml import etree
    from object_detection.dataset_tools import create_pascal_tf_record
    from object_detection.utils import dataset_util

    written = write_voc(tmp_path, np.random.default_rng(2))
    examples = []
    for index in range(len(written)):
        xml = etree.fromstring((tmp_path / "Annotations" / f"image {index}.xml").read_text(encoding="utf-8"))
        data = dataset_util.recursive_parse_xml_to_dict(xml)["annotation"]
        examples.append(create_pascal_tf_record.dict_to_tf_example(data, str(tmp_path), LABELS))
    write_records(tmp_path / "voc.tfrecord", examples)
    label_map = tmp_path / "labels.pbtxt"
    label_map.write_text("".join(f"item {{ id: {n} name: '{name}' }}\n" for name, n in LABELS.items()), encoding="utf-8")
    expected = reference_annotations(monkeypatch, tmp_path / "voc.tfrecord", str(label_map))
    for arguments in (label_arguments(), []):
        ours = evaluate("tfrecord", tmp_path / "voc.tfrecord", *arguments)
        assert_annotations(ours["annotations"], expected)
        assert [annotation["difficult"] for annotation in ours["annotations"]] == [
            bool(entry["difficult"]) for image in written for entry in image["objects"]
        ]
    assert [source for source, _, _ in ours["encoded"]] == [image["name"] for image in written]
    sizes = [(tmp_path / "VOC" / "JPEGImages" / image["name"]).stat().st_size for image in written]
    assert [size for _, size, _ in ours["encoded"]] == sizes


@pytest.fixture(scope="module")
def coco_records(tmp_path_factory):
    """Records that the API's own program makes of COCO's annotations, with masks and keypoints."""
    import PIL.Image
    from object_detection.dataset_tools import create_coco_tf_record

    folder = tmp_path_factory.mktemp("coco_records")
    random, truth, _ = random_set(80, images=6)
    index = {category["id"]: category for category in truth["categories"]}
    examples = []
    for image in truth["images"]:
        pixels = random.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(folder / image["file_name"])
        annotations = [a for a in truth["annotations"] if a["image_id"] == image["id"]]
        for annotation in annotations:
            annotation["segmentation"] = [polygon(random, annotation["bbox"])]
            annotation["iscrowd"] = 0
        if annotations:
            annotations[0]["iscrowd"] = 1
            annotations[0]["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": [100, 5000, WIDTH * HEIGHT - 5100]}
        keypoints = {
            a["id"]: {
                "keypoints": [float(value) for value in random.integers(1, 200, 51) % (200, 200, 3)[0]],
                "num_keypoints": 17,
            }
            for a in annotations[1:]
        }
        for entry in keypoints.values():
            entry["keypoints"][2::3] = [int(value) for value in random.integers(0, 3, 17)]
        _, example, *_ = create_coco_tf_record.create_tf_example(
            image, annotations, str(folder), index, include_masks=True, keypoint_annotations_dict=keypoints
        )
        examples.append(example)
    write_records(folder / "coco.tfrecord", examples)
    (folder / "labels.pbtxt").write_text("".join(f"item {{ id: {n} name: '{c['name']}' }}\n" for n, c in index.items()))
    return folder, [f"{category['name']}={number}" for number, category in index.items()], examples


def test_records_of_coco(coco_records, monkeypatch):
    from object_detection.protos import input_reader_pb2

    folder, labels, _ = coco_records
    path = folder / "coco.tfrecord"
    ours = evaluate("tfrecord", path, *labels)
    expected = reference_annotations(
        monkeypatch, path, str(folder / "labels.pbtxt"), load_instance_masks=True, instance_mask_type=input_reader_pb2.PNG_MASKS, num_keypoints=17
    )
    assert_annotations(ours["annotations"], expected)
    assert any(annotation["iscrowd"] for annotation in ours["annotations"])
    assert any(any(annotation["keypoints"]) for annotation in ours["annotations"])
    # The records have no numbers of classes, but names.
    assert "label map is needed" in evaluate("tfrecord", path, failing=True)
    assert f"`{labels[0].split('=')[0]}` in `image/object/class/text`" in evaluate("tfrecord", path, *labels[1:], failing=True)


def test_damaged_records(coco_records, tmp_path):
    """Every byte counts: each change is found, and told with its place."""
    import gzip

    folder, labels, examples = coco_records
    whole = (folder / "coco.tfrecord").read_bytes()
    second = len(examples[0].SerializeToString()) + 16
    changed = tmp_path / "changed.tfrecord"

    def problem(data):
        changed.write_bytes(data)
        return evaluate("tfrecord", changed, *labels, failing=True)

    def flipped(offset):
        return whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :]

    for offset, expected in (
        (0, "record 0, from byte 0: no TFRecord"),
        (11, "record 0, from byte 0: no TFRecord"),
        (12, "record 0, from byte 12: the checksum of the record is"),
        (second - 1, "record 0, from byte 12: the checksum of the record is"),
        (second, f"record 1, from byte {second}: the checksum of the record's length is wrong"),
        (len(whole) - 1, "the checksum of the record is"),
    ):
        assert expected in problem(flipped(offset))
    assert "cut short" in problem(whole[:-1]) and "cut short" in problem(whole[: second + 3])
    assert "uncompress it with gunzip" in problem(gzip.compress(whole))


def test_records_that_do_not_fit_together(tmp_path):
    import tensorflow as tf

    def feature(values):
        if isinstance(values[0], bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        if isinstance(values[0], float):
            return tf.train.Feature(float_list=tf.train.FloatList(value=values))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    def problem(**changes):
        values = {f"image/object/bbox/{side}": [0.1, 0.2] for side in ("xmin", "ymin")}
        values |= {f"image/object/bbox/{side}": [0.5, 0.6] for side in ("xmax", "ymax")}
        values |= {"image/object/class/label": [1, 2], "image/width": [20], "image/height": [30]}
        values |= {"image/" + key.replace("__", "/"): value for key, value in changes.items()}
        features = {key: feature(value) for key, value in values.items() if value}
        write_records(tmp_path / "a.tfrecord", [tf.train.Example(features=tf.train.Features(feature=features))])
        if not changes:
            return evaluate("tfrecord", tmp_path / "a.tfrecord")
        return evaluate("tfrecord", tmp_path / "a.tfrecord", failing=True)

    assert len(problem()["annotations"]) == 2
    assert "[1, 2, 2, 2] values of ymin, xmin, ymax, xmax" in problem(object__bbox__ymin=[0.1])
    assert "`image/object/class/label` has 3 values, expected 2" in problem(object__class__label=[1, 2, 3])
    assert "`image/object/class/label` is missing" in problem(object__class__label=[])
    assert "`image/object/is_crowd` has floats, expected integers" in problem(object__is_crowd=[0.5, 1.0])
    assert "`image/object/mask` of object 0 is no mask" in problem(object__mask=[b"\x89PNG", b"x"])
    assert "`image/width` and `image/height` are missing" in problem(width=[])
    assert "is not finite" in problem(object__bbox__xmax=[float("nan"), 1.0])
    with tf.io.TFRecordWriter(str(tmp_path / "b.tfrecord")) as writer:
        writer.write(b"\x0a\x05\x0a\x7f1234")
    assert "record 0, from byte 12: no `tf.train.Example`" in evaluate("tfrecord", tmp_path / "b.tfrecord", failing=True)


def test_comparison(tmp_path):
    """Two sets of detections of which the differences are known."""
    box = lambda x, score, **changes: {"image_id": 1, "category_id": 1, "bbox": [x, 0, 10, 10], "score": score, **changes}
    first = [box(0, 0.9), box(20, 0.8), box(40, 0.7), box(60, 0.51), box(80, 0.3), box(100, 0.95, category_id=2)]
    second = [box(60, 0.49), box(1, 0.85), box(20, 0.3), box(140, 0.99, image_id=2), box(80, 0.2), box(100, 0.95, category_id=3)]
    for name, detections in (("a", first), ("b", second)):
        (tmp_path / f"{name}.json").write_text(json.dumps(detections))
    ours = evaluate("compare", tmp_path / "a.json", tmp_path / "b.json")
    told = [(difference["first"], difference["second"]) for difference in ours["differences"]]
    # The pair below the threshold in both is none; the moved box weighs what it lacks of the other: 1 - 90 / 110.
    assert told == [(None, 3), (5, None), (None, 5), (2, None), (1, 2), (0, 1), (3, 0)]
    weights = [difference["weight"] for difference in ours["differences"]]
    np.testing.assert_allclose(weights, [0.99, 0.95, 0.95, 0.7, 0.5, 1 - 90 / 110, 0.02], atol=1e-12)
    assert (ours["both"], ours["only_first"], ours["only_second"], ours["across_threshold"]) == (3, 2, 2, 2)
    mirrored = evaluate("compare", tmp_path / "b.json", tmp_path / "a.json")
    assert {(d["second"], d["first"]) for d in mirrored["differences"]} == set(told)


@pytest.mark.exhaustive
def test_as_large_as_cocos_validation(tmp_path):
    """5,000 images, 36,000 objects, 500,000 detections of 80 classes."""
    import time

    random = np.random.default_rng(0)
    truth = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": WIDTH, "height": HEIGHT} for i in range(1, 5001)],
        "categories": [{"id": i, "name": str(i)} for i in range(1, 81)],
        "annotations": [],
    }
    results = []
    for number in range(1, 36_001):
        box = random_box(random)
        image, category = int(random.integers(1, 5001)), int(random.integers(1, 81))
        truth["annotations"].append(
            {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": box[2] * box[3], "iscrowd": int(number % 90 == 0)}
        )
        for _ in range(7):
            results.append({"image_id": image, "category_id": category, "bbox": moved(random, box), "score": random_score(random)})
            other, guess = int(random.integers(1, 5001)), int(random.integers(1, 81))
            results.append({"image_id": other, "category_id": guess, "bbox": box, "score": random_score(random)})
    assert_equal(tmp_path, truth, results, "boxes")
    start = time.monotonic()
    evaluate("score", "boxes", tmp_path / "annotations.json", tmp_path / "results.json")
    assert time.monotonic() - start < 15


SHAPES = operations.ROOT / "examples" / "shapes"
PICTURES = SHAPES / "images"


def tfod_detect(*arguments, status=0):
    """Runs `tfod detect`; returns what it prints and its errors."""
    binary = operations.EXAMPLES.parent / "tfod"
    command = [binary, "detect", *arguments]
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert result.returncode == status, result.stderr
    return result.stdout, result.stderr


def summary(*arguments):
    return json.loads(tfod_detect(*arguments, "--json")[0].splitlines()[-1])["summary"]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """Annotations of the shipped pictures in the three forms, with one object that is not there, and an image that is not among the pictures."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("shapes")
    (folder / "voc").mkdir()
    known = json.loads((PICTURES / "test_boxes.json").read_text())
    known["test_1.png"]["objects"].append({"class": "square", "id": 2, "box": [0.05, 0.05, 0.2, 0.3]})
    # The numbers of classes are others than the model's: names count.
    numbers = {"triangle": 10, "circle": 20, "square": 30}
    truth = {"images": [], "annotations": [], "categories": [{"id": n, "name": name} for name, n in numbers.items()]}
    examples = []
    for number, (name, image) in enumerate(known.items(), 70):
        width, height = image["width"], image["height"]
        truth["images"].append({"id": number, "file_name": f"somewhere/{name}", "width": width, "height": height})
        objects = []
        for entry in image["objects"]:
            ymin, xmin, ymax, xmax = np.array(entry["box"]) * [height, width, height, width]
            box = [xmin, ymin, xmax - xmin, ymax - ymin]
            truth["annotations"].append(
                {"id": len(truth["annotations"]) + 1, "image_id": number, "category_id": numbers[entry["class"]], "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            )
            objects.append(VOC_OBJECT.format(label=entry["class"], difficult=0, xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax))
        xml = VOC.format(name=name, width=width, height=height, objects="\n".join(objects))
        (folder / "voc" / f"{name}.xml").write_text(xml)
        sides = {side: [entry["box"][index] for entry in image["objects"]] for index, side in enumerate(("ymin", "xmin", "ymax", "xmax"))}
        floats = {f"image/object/bbox/{side}": tf.train.Feature(float_list=tf.train.FloatList(value=values)) for side, values in sides.items()}
        texts = {"image/filename": [name.encode()], "image/object/class/text": [entry["class"].encode() for entry in image["objects"]]}
        texts = {key: tf.train.Feature(bytes_list=tf.train.BytesList(value=values)) for key, values in texts.items()}
        sizes = {f"image/{key}": tf.train.Feature(int64_list=tf.train.Int64List(value=[image[key]])) for key in ("width", "height")}
        examples.append(tf.train.Example(features=tf.train.Features(feature={**floats, **texts, **sizes})))
    truth["images"].append({"id": 1, "file_name": "absent.png", "width": 9, "height": 9})
    truth["annotations"].append({"id": 99, "image_id": 1, "category_id": 10, "bbox": [0, 0, 5, 5], "area": 25, "iscrowd": 0})
    (folder / "coco.json").write_text(json.dumps(truth))
    write_records(folder / "shapes.tfrecord", examples)
    return folder


def shapes_arguments(annotations):
    return [SHAPES / "checkpoint", PICTURES, "--label_map", SHAPES / "label_map.pbtxt", "--annotations", annotations]


def test_detect_evaluates_as_pycocotools(shapes, tmp_path):
    """The figures are those of the written results, of the pictures that there are."""
    told = summary(*shapes_arguments(shapes / "coco.json"), "--output", tmp_path / "found", "--write", "coco")
    truth = json.loads((shapes / "coco.json").read_text())
    renumbered = {10: 3, 20: 1, 30: 2}
    truth["images"] = truth["images"][:-1]
    truth["annotations"] = [{**a, "category_id": renumbered[a["category_id"]]} for a in truth["annotations"][:-1]]
    truth["categories"] = [{**c, "id": renumbered[c["id"]]} for c in truth["categories"]]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    figures, classes = reference(tmp_path / "truth.json", tmp_path / "found" / "coco_results.json", "boxes")
    boxes = told["evaluation"]["boxes"]
    names = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR_1", "AR_10", "AR", "AR_small", "AR_medium", "AR_large")
    np.testing.assert_allclose([boxes[name] for name in names], figures, rtol=0, atol=1e-12)
    for entry in boxes["classes"]:
        expected = classes[entry["class_id"]]
        np.testing.assert_allclose([entry[name] for name in ("AP", "AP50", "AP75", "AR")], expected, rtol=0, atol=1e-12)
    assert {entry["class"]: entry["objects"] for entry in boxes["classes"]} == {"circle": 3, "square": 2, "triangle": 4}
    assert 0.5 < boxes["AP50"] < 1  # one square is not there
    assert json.loads((tmp_path / "found" / "detect.json").read_text())["evaluation"] == told["evaluation"]


def test_detect_takes_annotations_of_every_form(shapes):
    expected = summary(*shapes_arguments(shapes / "coco.json"))["evaluation"]["boxes"]
    for form in ("voc", "shapes.tfrecord"):
        found = summary(*shapes_arguments(shapes / form))["evaluation"]["boxes"]
        assert found.keys() == expected.keys()
        for name in found.keys() - {"classes"}:
            assert abs(found[name] - expected[name]) < 1e-6, (form, name)
    text, errors = tfod_detect(*shapes_arguments(shapes / "coco.json"))
    assert "1 annotated images are not among the pictures" in errors
    assert "boxes: 9 objects in 2 pictures" in text
    assert re.search(rf"  AP50 +IoU 0.50, all areas, 100 detections +{expected['AP50']:.3f}\n", text)
    assert "  triangle        4" in text


def test_detect_refuses_annotations_that_do_not_fit(shapes, tmp_path):
    truth = json.loads((shapes / "coco.json").read_text())

    def problem(change):
        changed = json.loads(json.dumps(truth))
        change(changed)
        (tmp_path / "changed.json").write_text(json.dumps(changed))
        return tfod_detect(*shapes_arguments(tmp_path / "changed.json"), status=1)[1]

    assert "classes that the model does not have: `star`" in problem(lambda changed: changed["categories"][0].update(name="star"))
    absent = lambda changed: [image.update(file_name=f"x{i}.png") for i, image in enumerate(changed["images"])]
    assert "none of the pictures is annotated: the annotations are of x0.png, x1.png, x2.png" in problem(absent)
    assert "missing field `bbox`" in problem(lambda changed: changed["annotations"][0].pop("bbox"))
    _, errors = tfod_detect(SHAPES / "checkpoint", PICTURES, "--annotations", shapes / "voc", status=1)
    assert "give a label map" in errors
    _, errors = tfod_detect(*shapes_arguments(tmp_path / "nowhere"), status=1)
    assert "nowhere: cannot be read" in errors


def test_detect_compares_models(shapes, tmp_path):
    """The same model has no differences; one that has a higher threshold lacks detections."""
    base = [SHAPES / "checkpoint", PICTURES, "--label_map", SHAPES / "label_map.pbtxt"]
    same = summary(*base, "--compare", SHAPES / "checkpoint")["comparison"]
    assert (same["both"], same["only_first"], same["only_second"], same["largest_score_difference"]) == (8, 0, 0, 0)
    assert same["smallest_overlap"] == 1 and all(difference["weight"] == 0 for difference in same["differences"])
    binary = operations.EXAMPLES.parent / "tfod"
    export = [binary, "export", "--pipeline_config_path", SHAPES / "pipeline.config", "--trained_checkpoint_dir", SHAPES / "checkpoint"]
    export += ["--output_directory", tmp_path / "strict", "--format", "onnx", "--score_threshold", "0.95", "--label_map", SHAPES / "label_map.pbtxt"]
    subprocess.run([str(part) for part in export], check=True, capture_output=True)
    told = summary(*base, "--compare", tmp_path / "strict", "--annotations", shapes / "coco.json")
    found = told["comparison"]
    assert found["both"] + found["only_first"] == 8 and found["only_first"] > 0 == found["only_second"]
    lacking = [difference for difference in found["differences"] if difference["second"] is None]
    assert len(lacking) == found["only_first"] and all(0.5 <= difference["weight"] < 0.95 for difference in lacking)
    assert found["differences"][: len(lacking)] == lacking  # they are the worst
    assert found["evaluation"]["boxes"]["AP"] < told["evaluation"]["boxes"]["AP"]
    text, _ = tfod_detect(*base, "--compare", tmp_path / "strict", "--annotations", shapes / "coco.json")
    assert f"{found['only_first']} by the first alone, 0 by the second alone" in text
    assert "the worst differences:" in text and f"{lacking[0]['first']['score']:.3f} / -" in text
