"""The page: rebuilt from the folder alone, self-contained, escaped, without what was not measured."""

from __future__ import annotations

from lucida.core.run_folder import RunFolder
from lucida.report.page import write_report

SECTIONS = ("examples", "learning", "zero-shot", "retrieval", "hallucination", "parameters", "cost", "left-out")


def test_a_full_run_shows_every_section(full_run: RunFolder) -> None:
    page = write_report(full_run).read_text(encoding="utf-8")
    for section in SECTIONS:
        assert f'<section id="{section}"' in page
