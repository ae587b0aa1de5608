"""Small sources of pairs as a fixture: tests are no package, so the module is loaded by its path."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def pair_sources() -> ModuleType:
    path = Path(__file__).with_name("pair_sources.py")
    specification = importlib.util.spec_from_file_location("lucida_pair_sources", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
