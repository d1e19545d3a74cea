"""The columns of the matrix: a model for each family of detectors. A new family is one more line here."""

from oracle.cases import all_cases

# Title, and the case of the parity suite whose checkpoint, images and results are taken.
FAMILIES = {
    "SSD MobileNet V2": "ssd_mobilenet_v2",
    "SSD MobileNet V2 FPNLite": "base",
    "RetinaNet ResNet-50": "resnet",
    "EfficientDet": "efficientdet",
    "Faster R-CNN": "faster_rcnn",
    "Mask R-CNN": "mask_rcnn",
    "CenterNet": "centernet_hourglass_10",
    "CenterNet with keypoints": "centernet_keypoints_of_two_classes",
}


def cases():
    """Returns {title: case}."""
    known = {case.name: case for case in all_cases()}
    return {title: known[name] for title, name in FAMILIES.items()}
