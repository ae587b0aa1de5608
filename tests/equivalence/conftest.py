"""The toy problems of ``tests/training``, here too."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def toys() -> ModuleType:
    path = Path(__file__).parents[1] / "training" / "toys.py"
    specification = importlib.util.spec_from_file_location("lucida_toys", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look their module up there
    specification.loader.exec_module(module)
    return module
