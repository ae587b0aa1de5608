"""``lucida lab``: list the questions, run experiments, write the book."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lucida.core.errors import LucidaError
from lucida.core.progress import clock, say
from lucida.core.results import Results
from lucida.lab.datasets import own_pictures, pictures_from
from lucida.lab.design import Scale
from lucida.lab.experiment import Experiment
from lucida.lab.experiments import NAMES, load
from lucida.lab.pages import run_experiment
from lucida.report.book import write_book
from lucida.report.lab_page import read_page

RECORDED = Path("docs/results/lab")  # of a checkout: the full-scale results that are published


@dataclass(frozen=True)
class LabRunConfig:
    """How to run experiments.

    Attributes:
        all: every page.
        scale: "quick" shows the shape in minutes, "full" is what the book is built from.
        seeds: how many; by default what each design says for the scale.
        out: a folder for the results, one a page, and the book of them.
        pictures: labelled pictures of yours (a folder for each class, Parquet, a table), on which some pages measure
            too; of CIFAR-10, say.
    """

    all: bool = False
    scale: Scale = "quick"
    seeds: int | None = None
    out: Path = Path("runs/lab")
    pictures: Path | None = None


@dataclass(frozen=True)
class LabBookConfig:
    """What to make the book of.

    Attributes:
        results: a folder with results of lab pages (``*.json``, or ``*/results.json`` as `lucida lab run` leaves
            them); by default the published ones of a checkout, else those of runs/lab.
        out: the folder of the book.
    """

    results: Path | None = None
    out: Path = Path("runs/lab/book")


def lab_list() -> str:
    """Names and questions, a page two lines."""
    lines = []
    for name in NAMES:
        design = load(name).design
        lines += [f"{name}", f"    {design.question}"]
    return "\n".join(lines)


def lab_run(names: Sequence[str], config: LabRunConfig) -> Path:
    """Run experiments one after another, each with its ``results.json``; parts in the cache are not measured again.

    Returns:
        The index of the book of all results in the folder.

    Raises:
        LucidaError: no page is named, one is unknown, or the seeds are too few.
    """
    chosen = list(NAMES) if config.all else list(dict.fromkeys(names))
    if not chosen:
        raise LucidaError("no page is named", remedy="name one of `lucida lab list`, or give --all")
    experiments = [load(name) for name in chosen]
    for experiment in experiments:
        _check_seeds(experiment, config.seeds)
        _check_out(config.out / experiment.design.name / "results.json", config.scale)
    with pictures_from(config.pictures):
        if config.pictures is not None:
            say(own_pictures().note)  # what is wrong with them is said before anything is measured
        for experiment in experiments:
            results = run_experiment(experiment, config.scale, config.seeds)
            path = config.out / experiment.design.name / "results.json"
            results.save(path)
            say(_told(results, path))
    return write_book(_result_files(config.out), config.out / "book")


def lab_book(config: LabBookConfig) -> Path:
    """Write the book from recorded results.

    Raises:
        LucidaError: there are none.
    """
    folder = config.results or (RECORDED if RECORDED.is_dir() else LabRunConfig().out)
    files = _result_files(folder)
    if not files:
        raise LucidaError("no results of lab pages", where=folder, remedy="`lucida lab run --all` makes them")
    return write_book(files, config.out)


def _check_seeds(experiment: Experiment, seeds: int | None) -> None:
    most_levels = max(len(claim.levels) for claim in experiment.design.claims)
    needed = max(3, most_levels)
    if seeds is not None and seeds < needed:
        raise LucidaError(
            f"{seeds} seeds decide nothing", where=experiment.design.name, remedy=f"take {needed} or more"
        )


def _check_out(path: Path, scale: Scale) -> None:
    """Before anything is measured: the results can be written, and those of a full run are not lost to a quick one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LucidaError(f"cannot make the folder of the results: {error.strerror}", where=path.parent) from None
    if scale == "quick" and path.exists() and read_page(Results.load(path), path).scale == "full":
        raise LucidaError("there are full-scale results", where=path, remedy="name another folder with --out")


def _result_files(folder: Path) -> list[Path]:
    return sorted([*folder.glob("*.json"), *folder.glob("*/results.json")])


def _told(results: Results, path: Path) -> str:
    """A line for each primary claim, and where the numbers are."""
    page = read_page(results, path)
    lines = [f"{page.name}: {clock(results.seconds['measured'])}, {page.seeds} seeds, {path}"]
    for ruling in page.rulings:
        effect = results.metrics[f"claim/{ruling.name}/effect"]
        low, high = effect.ci95 or (float("nan"), float("nan"))
        word = ruling.word if ruling.primary else f"({ruling.word})"
        lines.append(f"  {word:14} {ruling.statement}  {effect.value:+.3g} [{low:+.3g}, {high:+.3g}] {ruling.measure}")
    return "\n".join(lines)
