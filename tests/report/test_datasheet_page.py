"""The datasheet is drawn from a results file and thumbnails alone, and escapes what others wrote."""

from __future__ import annotations

import numpy as np
import pytest

from lucida.core.config import to_dict
from lucida.core.errors import LucidaError
from lucida.core.results import Metric, Results
from lucida.core.run_folder import RunFolder
from lucida.report.datasheet_page import (
    KEY,
    ConceptCount,
    Datasheet,
    Doubt,
    DroppedPairs,
    ShownPair,
    StageCount,
    as_text,
    write_datasheet,
)
from lucida.report.material import Material, save_thumbnail


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path / "run", {}, seed=0)


def saved(folder, sheet, **metrics):
    results = Results(details={KEY: to_dict(sheet)})
    for name, value in {"pairs/read": 1200, "pairs/kept": 900, **metrics}.items():
        results.add(name.replace("__", "/"), Metric(value))
    results.save(folder.results)
    Material(title="Pairs of x").save(folder)
    return results


def test_everything_that_is_recorded_is_shown(folder):
    thumbnail = save_thumbnail(folder, "a", np.full((20, 30, 3), 120, np.uint8))
    pair = ShownPair("a.tar:1", "<script>dog</script>", thumbnail, "train")
    other = ShownPair("a.tar:2", "a dog & co", "gone.png", "test")
    sheet = Datasheet(
        (StageCount("read", 1200, 1000, (("a link", 200),)), StageCount("clean", 1000, 900, (("boilerplate", 100),))),
        (pair,),
        (DroppedPairs("clean", "boilerplate", 100, (ShownPair("a.tar:3", "IMG_1", twin="a.tar:1"),)),),
        (ConceptCount("dog", 700, 300), ConceptCount("cat", 20, 20)),
        (0.0, 0.9, 1.0),
        (0.0, 0.7, 1.0),
        (Doubt("caption", 0.875, pair, other), Doubt("picture", 1.0, pair, pair)),
        (("train", 800), ("test", 100)),
    )
    results = saved(folder, sheet, audit__across_splits=7, audit__pictures_alike=3)
    page = write_datasheet(folder).read_text(encoding="utf-8")
    for text in (
        "900",
        "of 1,200 read",
        "a link (read)",
        "100 pairs: boilerplate",
        "like a.tar:1",
        "Most frequent before",
        "800 train, 100 test",
        "Across splits: captions alike",
        "likeness 0.875",
        "Likely copies: pictures alike",
        "&lt;script&gt;dog&lt;/script&gt;",
        "no picture",
    ):
        assert text in page
    assert "<script>" not in page
    assert Datasheet.of(Results.load(folder.results), folder.results) == sheet
    assert as_text(sheet, results).splitlines() == [
        "read                1,000 of 1,200; dropped: 200 a link",
        "clean                 900 of 1,000; dropped: 100 boilerplate",
        "Pictures alike: 3",
        "Likely leaks between splits: 7",
    ]


def test_what_was_not_measured_does_not_appear(folder):
    saved(folder, Datasheet((StageCount("read", 1200, 900),)))
    page = write_datasheet(folder).read_text(encoding="utf-8")
    for text in ("Pairs in doubt", "Concepts before", "What was dropped, and why", "Effective number", "Splits"):
        assert text not in page


def test_another_kind_of_run_is_one_line(folder):
    Results().save(folder.results)
    with pytest.raises(LucidaError, match="not a folder of pairs"):
        write_datasheet(folder)
