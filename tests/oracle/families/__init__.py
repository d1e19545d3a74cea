"""The cases of each family of detectors beyond the first, a module each."""


def cases():
    """Returns the cases of all families."""
    from . import efficientdet, mobilenet, postprocessing, resizers, resnet

    return [case for family in (mobilenet, resnet, efficientdet, postprocessing, resizers) for case in family.cases()]
