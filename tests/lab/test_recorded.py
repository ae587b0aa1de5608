"""The published full-scale results belong to the experiments as they stand, and docs/lab.md to the results."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lucida.core.results import Results
from lucida.lab.experiments import NAMES, load
from lucida.lab.pages import FIRST_SEED
from lucida.report.lab_page import read_page

ROOT = Path(__file__).resolve().parents[2]
RECORDED = ROOT / "docs" / "results" / "lab"
FILES = sorted(RECORDED.glob("*.json"))
RECORDED_NAMES = [path.stem for path in FILES]


def test_recorded_pages_are_pages() -> None:
    print(f"{len(FILES)} recorded pages of {len(NAMES)}; not yet: {sorted(set(NAMES) - set(RECORDED_NAMES))}")
    assert len(FILES) >= 3
    assert set(RECORDED_NAMES) <= set(NAMES)


@pytest.mark.parametrize("name", RECORDED_NAMES)
def test_a_recorded_page_is_of_the_design_as_it_stands(name: str) -> None:
    path = RECORDED / f"{name}.json"
    results = Results.load(path)
    page, experiment = read_page(results, path), load(name)
    assert page.name == name
    assert page.scale == "full"
    assert page.seeds == experiment.design.seeds["full"] >= 8
    assert page.design_hash == experiment.design.hash(experiment.settings["full"], page.seeds), "changed after the run"
    for ruling in page.rulings:
        effect = results.metrics[f"claim/{ruling.name}/effect"]
        assert effect.n == page.seeds
        assert effect.ci95 is not None
    for origin in results.details["measured_at"]:
        assert origin["processor"]
        assert origin["commit"]
        assert not origin["uncommitted_changes"]
    first = f"({FIRST_SEED['full']} to"
    assert any(first in text for _, text in page.design)


@pytest.mark.parametrize("name", RECORDED_NAMES)
def test_the_short_answer_was_written_for_the_verdicts(name: str) -> None:
    """An answer in prose, not the sentence that is put together where no author has seen such verdicts."""
    page = read_page(Results.load(RECORDED / f"{name}.json"), name)
    fitting = [(answer.text, answer.text_zh) for answer in load(name).answers if answer.fits(page.rulings)]
    assert fitting[:1] == [(page.answer, page.answer_zh)]


def test_the_page_of_the_repository_is_drawn_from_the_recorded_results() -> None:
    tool = ROOT / "tools" / "lab_page.py"
    checked = subprocess.run([sys.executable, str(tool), "--check"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
