"""``lucida run``: pictures, dual encoder, multimodal LLM, and a report."""

from __future__ import annotations

from pathlib import Path

from lucida.core.results import Results
from lucida.core.run_folder import RunFolder
from lucida.data.corpus import Corpus
from lucida.data.emoji import read_emoji
from lucida.data.readers import read_pictures
from lucida.report.page import write_report
from lucida.workflows.artwork_run import run_artwork
from lucida.workflows.pictures_run import run_pictures
from lucida.workflows.run_config import RunConfig
from lucida.workflows.stages import timed_stage


def read_corpus(config: RunConfig) -> Corpus:
    """The user's own pictures, or the artwork.

    Raises:
        LucidaError: the pictures cannot be read.
    """
    if config.pictures is None:
        return read_emoji(config.split_seed)
    return read_pictures(config.pictures, limit=config.max_pictures, split_seed=config.split_seed)


def run(config: RunConfig) -> Path:
    """Train, measure, report; a run that was stopped goes on where it was.

    Returns:
        The report.
    """
    results = Results()
    with timed_stage(
        results, "pictures" if config.pictures else "artwork"
    ):  # bad input stops here and leaves nothing behind
        corpus = read_corpus(config)
    folder = RunFolder.create(config.out, config, seed=config.seed)
    material = (run_pictures if config.pictures else run_artwork)(config, corpus, folder, results)
    results.save(folder.results)
    material.save(folder)
    return write_report(folder)
