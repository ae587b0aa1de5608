"""``lucida data inspect``: the datasheet of pairs, from recorded files alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lucida.core.errors import LucidaError
from lucida.core.run_folder import RunFolder
from lucida.report.datasheet_page import Datasheet, as_text, write_datasheet


@dataclass(frozen=True)
class Inspected:
    """The page, and the datasheet in a few lines."""

    report: Path
    text: str


def inspect_data(path: Path) -> Inspected:
    """Rebuild the page of a folder of ``lucida data construct``.

    Raises:
        LucidaError: it is no such folder, or its construction did not end.
    """
    folder = RunFolder(path)
    if not folder.results.is_file():
        known = (path / "stages").is_dir()
        raise LucidaError(
            "its construction did not end: there is no results.json" if known else "not a folder of pairs",
            where=path,
            remedy="the same `lucida data construct` goes on" if known else "name one of `lucida data construct`",
        )
    report = write_datasheet(folder)
    results = folder.load_results()
    return Inspected(report, as_text(Datasheet.of(results, folder.results), results))
