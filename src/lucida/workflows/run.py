"""``lucida run``: pictures, dual encoder, multimodal LLM, and a report."""

from __future__ import annotations

from pathlib import Path

from lucida.core.results import Results
from lucida.report.page import write_report
from lucida.workflows.artwork_run import run_artwork
from lucida.workflows.pictures_run import run_pictures
from lucida.workflows.run_config import RunConfig


def run(config: RunConfig) -> Path:
    """Train, measure, report; a run that was stopped goes on where it was.

    Returns:
        The report.

    Raises:
        LucidaError: the input will not do; found before the run folder is made, where that is possible.
    """
    results = Results()
    folder, material = (run_pictures if config.pictures else run_artwork)(config, results)
    results.save(folder.results)
    material.save(folder)
    return write_report(folder)
