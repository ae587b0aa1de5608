"""The note on remedies is drawn from its results files."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from lucida.core.results import Metric, Results
from lucida.report.remedy_frontier import frontier_picture

ROOT = Path(__file__).resolve().parents[2]
NOTE = ROOT / "docs" / "notes" / "remedies.md"
sys.path.insert(0, str(ROOT / "tools"))


@pytest.mark.parametrize("name", ["default", "patient"])
def test_the_note_shows_a_picture_of_each_results_file(name: str) -> None:
    shown = re.findall(rf"!\[[^\]]+\]\(([^)]*remedies-{name}\.svg)\)", NOTE.read_text(encoding="utf-8"))
    assert len(shown) == 1
    results = Results.load(ROOT / "docs" / "results" / "remedies" / f"{name}.json")
    made = frontier_picture(results.metrics, results.details["trials"])
    assert (NOTE.parent / shown[0]).read_text(encoding="utf-8") == made


def test_what_an_older_file_has_not_measured_is_an_empty_cell() -> None:
    from remedies_note import ABILITIES, table

    results = Results(details={"trials": ["as it is"]})
    results.add("as it is/count_accuracy", Metric(0.5, (0.4, 0.6), 10))
    results.add("as it is/where_accuracy", Metric(float("nan"), None, 0))
    row = table(results, ABILITIES).splitlines()[-1]
    assert row.startswith("| as it is | 50.0 [40.0, 60.0] |")
    assert {cell.strip() for cell in row.split("|")[3:]} == {""}
