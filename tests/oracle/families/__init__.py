"""The cases of each family of detectors beyond the first, a module each."""


def cases():
    """Returns the cases of all families."""
    from . import center_net, efficientdet, faster_rcnn, mobilenet, postprocessing, resizers, resnet

    return [case for family in (mobilenet, resnet, efficientdet, center_net, faster_rcnn, postprocessing, resizers) for case in family.cases()]
