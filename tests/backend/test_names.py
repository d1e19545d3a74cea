"""Names of the modules in this folder: its path comes first, so one called like an installed package would be imported in its place, by anybody."""

import importlib.machinery
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent.parent
NAMES = sorted(path.stem for path in HERE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists())
pytestmark = pytest.mark.quick


def test_no_module_is_called_like_an_installed_one():
    assert {"environments", "oracle", "run"} <= set(NAMES)
    elsewhere = [path for path in sys.path if pathlib.Path(path).resolve() != HERE]
    assert not [name for name in NAMES if importlib.machinery.PathFinder.find_spec(name, elsewhere)]
