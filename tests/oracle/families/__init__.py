"""The cases of each family of detectors beyond the first, a module each."""


def cases():
    """Returns the cases of all families."""
    from . import efficientdet, mobilenet, resnet

    return [case for family in (mobilenet, resnet, efficientdet) for case in family.cases()]
