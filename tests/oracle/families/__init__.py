"""The cases of each family of detectors beyond the first, a module each."""


def cases():
    """Returns the cases of all families."""
    from . import efficientdet, mobilenet, postprocessing, resnet

    return [case for family in (mobilenet, resnet, efficientdet, postprocessing) for case in family.cases()]
