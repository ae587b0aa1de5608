"""The page: rebuilt from the folder alone, self-contained, escaped, without what was not measured."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lucida.core.errors import LucidaError
from lucida.core.results import Metric, Results
from lucida.core.run_folder import RunFolder
from lucida.report.material import Curve, Example, Material, thumbnails_folder
from lucida.report.page import marked, read_rows, write_report

VOID = {"meta", "img", "br", "link", "input", "hr", "line", "circle", "rect", "polyline"}


class Page(HTMLParser):
    """A page's elements, its text, and whether tags are balanced."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str, attribute: str) -> list[str]:
        return [a.get(attribute) or "" for t, a in self.tags if t == tag and attribute in a]

    @property
    def sections(self) -> list[str]:
        return self.all("section", "id")


@pytest.fixture(scope="module")
def full(full_run: RunFolder) -> Page:
    return Page(write_report(full_run))


@pytest.fixture(scope="module")
def photos(photo_run: RunFolder) -> Page:
    return Page(write_report(photo_run))


def test_a_full_run_shows_every_section(full: Page) -> None:
    assert full.sections == [
        *("examples", "learning", "zero-shot", "retrieval", "hallucination", "questions", "parameters", "cost"),
        *("left-out", "repeat", "glossary", "numbers"),
    ]
    assert len([a for t, a in full.tags if t == "svg"]) >= 14
    for said in (
        "12,000 of 50,000 pictures were sampled",
        "[34.3, 44.1], n = 381",
        "lucida run --split-seed 0 --seed 0",
        "OpenMoji, CC BY-SA 4.0",
        "something/nobody_knows",
        "broken.jpg",
        "only one checkpoint was given",
        "3,413,024",
    ):
        assert said in full.text


def test_every_metric_is_printed(full: Page, full_run: RunFolder) -> None:
    names = full_run.load_results().metrics
    assert len(names) > 100
    assert all(name in full.text for name in names)


def test_the_page_needs_nothing_else(full: Page) -> None:
    assert all(source.startswith("data:image/") for source in full.all("img", "src"))
    assert len(full.all("img", "src")) >= 30
    assert {t for t, _ in full.tags} & {"script", "link", "iframe", "object"} == set()
    assert not re.search(r"https?://|@import|url\(", full.source)


def test_the_page_can_be_moved_through_and_read_aloud(full: Page) -> None:
    ids = [a["id"] for _, a in full.tags if a.get("id")]
    assert len(ids) == len(set(ids))
    links = full.all("a", "href")
    assert len(links) == len(full.sections) + 1
    assert all(link[0] == "#" and link[1:] in ids for link in links)
    assert len(full.all("img", "alt")) == len(full.all("img", "src"))
    assert all(full.all("svg", "aria-label"))


def test_right_and_wrong_are_told_by_more_than_colour(full: Page) -> None:
    assert full.source.count("✓</b> right") == full.text.count("✓ right") == 8
    assert full.source.count("✗</b> wrong") == 5


def test_captions_and_twins_are_shown_in_both_ways(full: Page) -> None:
    for title in ("Captions (CHAIR)", "Captions (statements)", "the object is taken out", "the object is put in"):
        assert title in full.text, title


def test_photographs_show_only_what_they_have(photos: Page) -> None:
    expected = ["examples", "learning", "zero-shot", "retrieval", "cost", "left-out", "repeat", "glossary", "numbers"]
    assert photos.sections == expected
    assert photos.all("a", "href") == ["#content", *(f"#{section}" for section in expected)]
    shown = photos.text.lower()
    for word in ("emoji", "artist", "chair", "frozen", "blind", "adversarial", "scene"):
        assert word not in shown.split("}")[-1]
    assert "the corpus does not list every object of a picture" in photos.text


def test_text_of_the_user_is_escaped(photos: Page) -> None:
    assert "<script>alert(1)</script> & co" in photos.text
    assert "<script" not in photos.source
    assert "sons <1>.jpg" in photos.text


def test_words_that_name_what_is_not_there_are_marked_and_escaped() -> None:
    example = Example("a.png", "A dog, a <cat> and a dogfish", made_up=("dog",))
    assert marked(example) == 'A <mark title="not in the picture">dog</mark>, a &lt;cat&gt; and a dogfish'


def test_the_same_folder_gives_the_same_page_elsewhere(full_run: RunFolder, tmp_path: Path, full: Page) -> None:
    shutil.copytree(full_run.path, tmp_path / "moved")
    assert write_report(RunFolder(tmp_path / "moved")).read_text(encoding="utf-8") == full.source


def test_a_lost_thumbnail_leaves_a_note(photo_run: RunFolder, tmp_path: Path) -> None:
    shutil.copytree(photo_run.path, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    shutil.rmtree(thumbnails_folder(folder))
    assert "no picture" in Page(write_report(folder)).text


def test_results_alone_make_a_page(empty_run: Callable[[Results], RunFolder]) -> None:
    page = Page(write_report(empty_run(Results())))
    assert page.sections == ["cost"]  # the peak memory is always known


def test_numbers_that_are_none_make_a_page(empty_run: Callable[[Results], RunFolder]) -> None:
    results = Results()
    nothing = Metric(float("nan"), None, 0)
    for name in (
        *("zero_shot/test/top1", "zero_shot/test/frozen_start_top1", "transfer/test/top1", "count/accuracy"),
        *("pope/random/accuracy", "pope/random/precision", "chair/chair_i", "blind/true/accuracy", "blind/gap"),
        *("retrieval/test/text_to_image/recall_at_1", "blind/shuffled_loss"),
    ):
        results.add(name, nothing)
    page = Page(write_report(empty_run(results)))
    assert "hallucination" in page.sections
    assert "nan" not in page.text.lower().split("}")[-1]


def test_a_run_without_results_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LucidaError, match=r"file not found.*results\.json"):
        write_report(RunFolder(tmp_path))


def test_rows_survive_a_kill_in_the_middle_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"kind": "train", "step": 1, "loss": 2.0}\n{"kind": "train", "step": 2, "lo', encoding="utf-8")
    assert read_rows(path) == [{"kind": "train", "step": 1, "loss": 2.0}]
    assert read_rows(tmp_path / "missing.jsonl") == []


def test_a_curve_of_null_losses_or_one_step_is_left_out(empty_run: Callable[[Results], RunFolder]) -> None:
    folder = empty_run(Results())
    Material(curves=(Curve("A"), Curve("B", "missing.jsonl"))).save(folder)
    rows = '{"kind": "train", "step": 1, "loss": null}\n{"kind": "train", "step": 2, "loss": 1.0}\n'
    folder.metrics.write_text(rows, encoding="utf-8")
    assert "learning" not in Page(write_report(folder)).sections
