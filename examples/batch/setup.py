"""For Beam's runners on other machines, which install this package: `with_beam.py … --setup_file examples/batch/setup.py`."""

from setuptools import setup

setup(name="tfod-batch", version="1", py_modules=["detector", "output", "pictures"])
