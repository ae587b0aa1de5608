"""The tiny processors as a fixture: tests are no package, so the module is loaded by its path."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def tiny_processors() -> ModuleType:
    path = Path(__file__).with_name("tiny_processors.py")
    specification = importlib.util.spec_from_file_location("lucida_tiny_processors", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
