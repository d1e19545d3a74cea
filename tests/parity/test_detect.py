"""`tfod detect` beside ONNX Runtime and beside the reference: boxes, classes, scores, masks in the picture, keypoints, and COCO results as pycocotools reads them."""

import contextlib
import io
import json
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from oracle.families import center_net_keypoints, mask_rcnn
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from . import compare, tiers
from .conftest import BINARY, ROOT, run_export
from .test_onnx import run as run_onnx

SHAPES = ROOT / "examples" / "shapes"
PIXELS = 0.02  # how far sides may be apart: 1e-4 of the pictures' sizes
SIDES = ("ymin", "xmin", "ymax", "xmax")


def detect(*arguments):
    """Returns the lines of JSON that are printed for pictures."""
    command = [str(part) for part in (BINARY, "detect", *arguments, "--json")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    *lines, summary = [json.loads(line) for line in ran.stdout.splitlines()]
    assert summary["summary"]["pictures"] == len(lines)
    return lines


def rows(outputs, least=0.0):
    """Returns the rows of a model's outputs that are detections with such scores, by key without prefix."""
    count = int(outputs["num_detections"][0])
    kept = np.flatnonzero(outputs["detection_scores"][0][:count] >= least)
    return {key.removeprefix("detection_"): value[0][kept] for key, value in outputs.items() if key.startswith("detection_")}


def assert_boxes(line, expected):
    """Holds boxes, classes and scores of a line to a model's outputs."""
    size = np.float32([line["height"], line["width"]] * 2)
    found = line["detections"]
    assert [one["class_id"] for one in found] == expected["classes"].astype(int).tolist()
    boxes = np.float32([[one["box"][side] for side in SIDES] for one in found]).reshape(-1, 4)
    np.testing.assert_allclose(boxes, expected["boxes"] * size, rtol=0, atol=PIXELS)
    np.testing.assert_allclose([one["score"] for one in found], expected["scores"], rtol=0, atol=1e-4)


@pytest.mark.quick
def test_detections_are_those_of_onnx_runtime(other_tensorflow, tmp_path):
    folder = run_export(tmp_path / "model", SHAPES, "image_tensor", "--format=onnx", f"--label_map={SHAPES / 'label_map.pbtxt'}")
    (tmp_path / "pictures").mkdir()
    images = []
    for place, name in enumerate(("test_1.png", "test_2.jpg")):
        # As PNG, so that decoding is not what is compared.
        image = Image.open(SHAPES / "images" / name).convert("RGB")
        image.save(tmp_path / "pictures" / f"{7 + place}.png")
        images.append(np.asarray(image)[None])
    runs = run_onnx(other_tensorflow("onnx"), folder / "model.onnx", images, ["onnxruntime"])["onnxruntime"]
    for least in (0.5, 0.0):
        lines = detect(folder, tmp_path / "pictures", "--score_threshold", least, "--output", tmp_path / "out")
        for line, outputs in zip(lines, runs, strict=True):
            expected = rows(outputs, least)
            assert len(expected["scores"]) > 1
            assert_boxes(line, expected)

    truth = {"images": [{"id": 7}, {"id": 8}], "categories": [{"id": 1}, {"id": 2}, {"id": 3}], "annotations": [], "info": {}}
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        results = coco.loadRes(str(tmp_path / "out" / "coco_results.json"))
    assert sorted(results.getImgIds()) == [7, 8]
    for line in lines:
        found = results.loadAnns(results.getAnnIds(imgIds=[line["image_id"]]))
        assert [one["category_id"] for one in found] == [one["class_id"] for one in line["detections"]]
        for one, other in zip(found, line["detections"]):
            box = other["box"]
            np.testing.assert_allclose(one["bbox"], [box["xmin"], box["ymin"], box["xmax"] - box["xmin"], box["ymax"] - box["ymin"]], atol=1e-3)


def on_sides(boxes, height, width):
    """Returns which pixels [boxes, height, width] have their centres on a side of a box, as the reference counts: the first and the last are on those of the image."""
    near_y, near_x = (np.abs(np.linspace(0, 1, size)[None, :, None] - boxes[:, None, sides]).min(axis=-1) < 1e-5 for size, sides in ((height, [0, 2]), (width, [1, 3])))
    return near_y[:, :, None] | near_x[:, None, :]


CASES = [
    case
    for case in (*mask_rcnn.cases(), *center_net_keypoints.cases())
    if case.name == "mask_rcnn" or case.name.endswith(("_masks_and_parts", "_keypoints_of_two_classes"))
]
assert len(CASES) == 3


@pytest.mark.parametrize("case", tiers.cases(CASES))
def test_masks_and_keypoints_are_those_of_the_reference(case, oracle, tmp_path):
    from object_detection.utils import ops

    image, expected = compare.recorded(oracle(case) / "image_tensor.npz")[0]
    Image.fromarray(image[0].astype(np.uint8)).save(tmp_path / "picture.png")
    folder = run_export(tmp_path / "model", oracle(case), "image_tensor", "--format=onnx")
    (line,) = detect(folder, tmp_path / "picture.png", "--score_threshold", "0")
    expected = rows(expected)
    assert_boxes(line, expected)
    size = (line["height"], line["width"])
    assert ("masks" in expected) != ("keypoints" in expected)
    if "masks" in expected:
        masks = tf.constant(expected["masks"])
        placed = ops.reframe_box_masks_to_image_masks(masks, tf.constant(expected["boxes"]), *size).numpy() > 0.5
        assert 0.001 < np.mean(placed) < 0.99
        found = np.stack([coco_mask.decode(one["mask"]) for one in line["detections"]]).astype(bool)
        # Where a side of a box lies on the centre of a pixel, rounding decides whether it is in the map. A likelihood near the threshold may fall on either side.
        differs = (found != placed) & ~on_sides(expected["boxes"], *size)
        assert np.sum(differs) <= 0.01 * np.sum(placed)
    else:
        points = np.float32([[[point["y"], point["x"]] for point in one["keypoints"]] for one in line["detections"]])
        np.testing.assert_allclose(points, expected["keypoints"] * np.float32(size), rtol=0, atol=PIXELS)
        scores = [[point["score"] for point in one["keypoints"]] for one in line["detections"]]
        np.testing.assert_allclose(scores, expected["keypoint_scores"], rtol=0, atol=1e-4)
