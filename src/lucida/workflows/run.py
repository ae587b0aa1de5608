"""``lucida run``: pictures, dual encoder, multimodal LLM, and a report."""

from __future__ import annotations

from pathlib import Path

from lucida.core.results import Results
from lucida.core.run_folder import RunFolder
from lucida.report.page import write_report
from lucida.workflows.artwork_run import run_artwork
from lucida.workflows.pictures_run import run_pictures
from lucida.workflows.run_config import RunConfig


def run(config: RunConfig) -> Path:
    """Train, measure, report; a run that was stopped goes on where it was.

    Returns:
        The report.
    """
    folder = RunFolder.create(config.out, config, seed=config.seed)
    results = Results()
    material = (run_pictures if config.pictures else run_artwork)(config, folder, results)
    results.save(folder.results)
    material.save(folder)
    return write_report(folder)
