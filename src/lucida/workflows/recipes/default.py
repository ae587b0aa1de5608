"""The recipe of ``make run``: the whole life on a laptop in minutes."""

from __future__ import annotations

from lucida.workflows.run_config import RunConfig


def recipe() -> RunConfig:
    """All defaults."""
    return RunConfig()
