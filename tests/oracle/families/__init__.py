"""The cases of each family of detectors beyond the first, a module each."""


def cases():
    """Returns the cases of all families but Context R-CNN, whose models have further inputs."""
    from . import center_net, center_net_keypoints, deepmac, efficientdet, faster_rcnn, mask_rcnn, mobilenet, postprocessing, resizers, resnet

    families = (mobilenet, resnet, efficientdet, center_net, center_net_keypoints, deepmac, faster_rcnn, mask_rcnn, postprocessing, resizers)
    return [case for family in families for case in family.cases()]
