"""What all tests share: few threads, a cache of their own, and a count of the doctests that ran."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Two workers on two cores: more threads than cores make every torch call wait for the others.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that needs the network is a mistake; say so at once

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the developer's cache; one cache a worker and session."""
    patch = pytest.MonkeyPatch()
    patch.setenv("LUCIDA_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


@pytest.fixture
def shared_data() -> Path:
    """The photographs beside the project; tests that use them are skipped where they are missing."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the photographs of ../shared/data are not here")
    return folder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many doctests ran: a check proves that it looked."""
    passed = [r for r in terminalreporter.stats.get("passed", []) if r.nodeid.startswith("src/")]
    if passed:
        terminalreporter.write_line(f"doctests passed: {len(passed)}")
