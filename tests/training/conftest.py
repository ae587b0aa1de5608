"""The toy problems as a fixture: tests are no package, so the module is loaded by its path."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOYS = Path(__file__).with_name("toys.py")


@pytest.fixture(scope="session")
def toys() -> ModuleType:
    specification = importlib.util.spec_from_file_location("lucida_toys", TOYS)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look their module up there
    specification.loader.exec_module(module)
    return module
