"""The book: every number on every page is the one its results file holds; nothing is said by colour alone."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.core.results import Metric, Results
from lucida.report.book import WORDS, write_book
from lucida.report.lab_page import page_values, read_page
from lucida.report.sourced import filled, formatted, looked_up
from lucida.report.tracing import trace
from tests.report.invented_lab import rich, small

RECORDED = Path(__file__).resolve().parents[2] / "docs" / "results" / "lab"


class Page(HTMLParser):
    """Tags, ids and links; whether tags are balanced."""

    VOID = frozenset({"meta", "link", "br", "hr", "img", "input"})

    def __init__(self, path: Path):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str, attribute: str) -> list[str]:
        return [a.get(attribute) or "" for t, a in self.tags if t == tag and attribute in a]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("results")
    for name, results in (("a", rich()), ("b", small()), ("c", small("no-topic", "", "inconclusive"))):
        results.save(folder / f"{name}.json")
    return sorted(folder.glob("*.json"))


@pytest.fixture(scope="module")
def book(files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_book(files, tmp_path_factory.mktemp("book") / "new" / "folder").parent


def test_a_page_a_question_with_an_index_and_a_style_sheet(book: Path) -> None:
    assert sorted(path.name for path in book.iterdir()) == [
        *("book.css", "index.html", "no-topic.html", "optimizers.html", "small.html"),
    ]


def test_every_number_is_the_one_of_the_results_file(book: Path, files: list[Path]) -> None:
    by_name = {(results := Results.load(path)).details["page"]["name"]: results for path in files}
    for name, results in by_name.items():
        traced = trace((book / f"{name}.html").read_text(), results)
        print(f"{name}: {traced.numbers} numbers")
        assert (traced.wrong, traced.untraced) == ((), ())
        assert traced.numbers >= (800 if name == "optimizers" else 10)
    traced = trace((book / "index.html").read_text(), by_name)
    assert (traced.wrong, traced.untraced) == ((), ())
    assert traced.numbers >= 20


def test_a_changed_number_is_found(book: Path, files: list[Path]) -> None:
    html = (book / "optimizers.html").read_text()
    results = Results.load(files[0])
    changed = html.replace("64.0\N{NO-BREAK SPACE}%", "65.0\N{NO-BREAK SPACE}%", 1)
    assert any("64.0" in wrong for wrong in trace(changed, results).wrong)
    by_hand = html.replace("<p data-words=", "<p>It gains 3 points.</p><p data-words=", 1)
    assert trace(by_hand, results).untraced == ("It gains 3 points.",)
    reworded = html.replace("Momentum adds ", "Momentum takes ", 1)
    assert any("takes" in wrong for wrong in trace(reworded, results).wrong)
    results.metrics["accuracy/Adam/digits"] = Metric(0.1)
    assert trace(html, results).wrong


def test_a_number_written_by_hand_in_an_answer_is_found(tmp_path: Path) -> None:
    results = small()
    results.details["page"]["answer"] = "It loses 30 points, in float32, by `1/2`."
    results.save(tmp_path / "r.json")
    write_book([tmp_path / "r.json"], tmp_path / "book")
    traced = trace((tmp_path / "book" / "small.html").read_text(), results)
    assert len(traced.untraced) == 1
    assert "30 points" in traced.untraced[0]


def test_a_wrong_tally_is_found(book: Path, files: list[Path]) -> None:
    by_name = {(results := Results.load(path)).details["page"]["name"]: results for path in files}
    html = (book / "index.html").read_text()
    assert trace(html.replace('data-count="refuted">1<', 'data-count="refuted">2<'), by_name).wrong


def test_recorded_results_make_a_book_in_which_every_number_is_traced(tmp_path: Path) -> None:
    recorded = sorted(RECORDED.glob("*.json"))
    if not recorded:
        pytest.skip("no results of the lab are recorded in docs/results/lab yet")
    write_book(recorded, tmp_path)
    by_name = {(results := Results.load(path)).details["page"]["name"]: results for path in recorded}
    total = 0
    for name, results in by_name.items():
        traced = trace((tmp_path / f"{name}.html").read_text(), results)
        total += traced.numbers
        print(f"{name}: {traced.numbers} numbers, {len(traced.quoted)} texts with digits quoted")
        assert (name, traced.wrong, traced.untraced) == (name, (), ())
    print(f"{len(by_name)} pages, {total} numbers")
    traced = trace((tmp_path / "index.html").read_text(), by_name)
    assert (traced.wrong, traced.untraced) == ((), ())


finite = st.floats(-1e12, 1e12)
values = st.one_of(finite, st.floats(-1e-9, 1e-9), st.just(math.nan))
metrics = st.builds(
    lambda value, half, n, bare: Metric(value, None if bare else (value - half, value + half), n),
    *(values, st.floats(0, 1e6), st.integers(1, 10**7), st.booleans()),
)
names = st.text("abc, /:.()<&%'\"", min_size=1, max_size=12)


@settings(deadline=None, max_examples=25)
@given(st.dictionaries(names, metrics, max_size=6), st.data())
def test_pages_of_all_kinds_of_numbers_are_traced(found: dict[str, Metric], data: st.DataObject) -> None:
    from lucida.report.book import Question, render_page

    results = small()
    results.metrics |= found
    forms = data.draw(st.lists(st.sampled_from(["", ":%", ":ci", ":% ci", ":+", ":2", ":points", ":n"]), min_size=6))
    results.details["page"]["answer"] = " ".join(f"{{{n}{f}}}" for n, f in zip(found, forms, strict=False))
    page = read_page(results, "x")
    traced = trace(render_page(Question(page, results, "x")), results)
    assert (traced.wrong, traced.untraced) == ((), ())
    assert traced.numbers >= len(found)


def test_a_page_has_all_its_parts_and_both_languages(book: Path) -> None:
    page = Page(book / "optimizers.html")
    assert page.all("section", "id") == [
        *("answer", "claims", "part-1", "part-2", "part-3", "more", "further", "design", "change", "left-out", "again"),
        *("sources", "numbers"),
    ]
    assert page.all("html", "lang") == ["en"]
    assert page.all("p", "lang").count("zh-Hans") == 6
    assert page.all("div", "lang") == ["zh-Hans"]
    for said in ("动量法把准确率提高了", "8.3\N{NO-BREAK SPACE}个百分点", "98.3\N{NO-BREAK SPACE}%", "not measured",
                 "does not fit into memory", "0123456789ab", "with uncommitted changes", "torch", "1 h 10 min",
                 "lucida lab run optimizers --scale full --seeds 8", "1/2"):  # fmt: skip
        assert said in page.text, said


def test_runs_that_were_cut_off_are_told_with_their_claim(book: Path) -> None:
    (claim,) = re.findall(r"<article.*?</article>", (book / "optimizers.html").read_text(encoding="utf-8"), re.S)[1:2]
    assert "the budget ended before" in claim
    assert 'censored/0" data-as="count">3</span>' in claim


def test_what_is_other_peoples_text_is_escaped(book: Path) -> None:
    assert "<plain" not in (book / "optimizers.html").read_text()
    assert "<plain SGD>" in Page(book / "optimizers.html").text


def test_no_script_and_nothing_from_the_network(book: Path) -> None:
    for path in book.glob("*.html"):
        page = Page(path)
        assert "script" not in {tag for tag, _ in page.tags}
        assert not [a for tag, a in page.tags if tag in ("img", "iframe", "object")]
        assert page.all("link", "href") == ["book.css"]
    assert not re.search(r"url\(|@import", (book / "book.css").read_text())


def test_links_lead_somewhere(book: Path) -> None:
    pages = {path.name: Page(path) for path in book.glob("*.html")}
    ids = {name: [a["id"] for _, a in page.tags if "id" in a] for name, page in pages.items()}
    assert all(len(found) == len(set(found)) for found in ids.values())
    checked = 0
    for name, page in pages.items():
        for link in page.all("a", "href"):
            if link.startswith("https://"):
                continue
            target, _, place = link.partition("#")
            assert (target or name) in pages, link
            assert not place or place in ids[target or name], link
            checked += 1
    assert checked > 30


def test_every_verdict_is_a_word_and_a_sign(book: Path) -> None:
    for path in book.glob("*.html"):
        chips = re.findall(r'<span class="chip (\w+)".*?</span>', path.read_text(), re.DOTALL)
        whole = re.findall(
            r'<span class="chip \w+"[^>]*><svg.*?</svg><b[^>]*>(\w+)</b></span>', path.read_text(), re.DOTALL
        )
        assert whole == chips
        assert set(chips) <= set(WORDS)
    assert len({m for m in re.findall(r"<path d=\"\s*(M[^\"]+)\"", (book / "index.html").read_text())}) >= 4


def test_the_index_groups_by_topic_and_says_what_the_verdicts_mean(book: Path) -> None:
    page = Page(book / "index.html")
    text = " ".join(page.text.split())
    places = [text.index(topic, 300) for topic in ("Optimisation", "Generalisation", "Other questions")]
    assert places == sorted(places)
    assert "Of 5 primary claims: 1 supported 1 refuted 1 depends 2 inconclusive" in text
    for said in ("quick scale", "full scale", "Holm", "A processor with 2 cores"):
        assert said in text


def test_the_page_survives_its_file(files: list[Path]) -> None:
    page = read_page(Results.load(files[0]), files[0])
    results = Results(details={"page": json.loads(json.dumps(page_values(page)))})
    assert read_page(results, "again") == page


def _broken(change: dict[str, Any], tmp_path: Path) -> list[Path]:
    results = small()
    results.details["page"] |= change
    results.save(tmp_path / "r.json")
    return [tmp_path / "r.json"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answer": "{claim/onlyy/effect}"}, "did you mean 'claim/only/effect'"),
        ({"answer_zh": "{settings/width}"}, "unknown metric 'settings/width'"),
        ({"name": "../up"}, "cannot be the name of a page"),
        ({"name": "index"}, "cannot be the name of a page"),
        ({"drawings": [{"kind": "pie"}]}, "unknown kind of drawing 'pie'"),
        ({"titel": "x"}, "did you mean 'title'"),
    ],
)
def test_a_broken_page_is_one_line(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(LucidaError, match=re.escape(said)) as caught:
        write_book(_broken(change, tmp_path), tmp_path / "book")
    assert "\n" not in str(caught.value)
    assert "r.json" in str(caught.value)
    assert not (tmp_path / "book").exists()


def test_bad_files_and_folders_are_one_line(tmp_path: Path, files: list[Path]) -> None:
    Results().save(tmp_path / "other.json")
    with pytest.raises(LucidaError, match="not the results of a lab page"):
        write_book([tmp_path / "other.json"], tmp_path / "book")
    with pytest.raises(LucidaError, match="file not found"):
        write_book([tmp_path / "absent.json"], tmp_path / "book")
    with pytest.raises(LucidaError, match="two results files are of the page 'small'"):
        write_book([files[1], files[1]], tmp_path / "book")
    with pytest.raises(LucidaError, match="no results files"):
        write_book([], tmp_path / "book")
    (tmp_path / "file").write_text("")
    with pytest.raises(LucidaError, match="cannot write the book") as caught:
        write_book(files, tmp_path / "file")
    assert "\n" not in str(caught.value)


def test_placeholders() -> None:
    results = Results(metrics={"a": Metric(0.25, (0.2, 0.3), 1200), "b:c": Metric(-2.0)})
    results.details = {"settings": {"depths": [5, 20], "on": True}, "page": {"seeds": 8}}

    def plain(text: str) -> str:
        return re.sub(r"<[^>]+>", "", filled(text, results, "x")).replace("\N{NO-BREAK SPACE}", " ")

    assert plain("{a} {a:%} {a:ci} {a:% ci} {a:n} {a:1} {a:+}") == (
        "0.250 25.0 % 0.250 [0.200, 0.300] 25.0 % [20.0, 30.0] 1,200 0.2 +0.250"
    )
    assert plain("{b:c} {b:c:1} {seeds} {settings/depths/1} <`x_1`>") == "−2.00 −2.0 8 20 &lt;x_1&gt;"
    for wrong in ("{settings/on}", "{settings}", "{}x{ }", "{a:ci:%}"):
        with pytest.raises(LucidaError):
            filled(wrong.removeprefix("{}x"), results, "x")


def test_places_in_a_results_file() -> None:
    results = Results(metrics={"a/value": Metric(1.0, (0.0, 2.0), 3)}, seconds={"x/y": 2.0}, peak_mb=5.0)
    results.details = {"page": {"levels": {"a/b": {"c": [1, 2]}}}}
    paths = ("metrics/a/value/value", "metrics/a/value/ci95/high", "metrics/a/value/n", "seconds/x/y", "peak_mb")
    assert [looked_up(results, path) for path in paths] == [1.0, 2.0, 3, 2.0, 5.0]
    assert looked_up(results, "details/page/levels/a/b/c/1") == 2
    for path in ("metrics/a", "details/page/levels/a", "details/page/levels/a/b/c/2", "left_out/z", "peak_mb/x"):
        with pytest.raises(KeyError):
            looked_up(results, path)


@given(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from(["", "%", "points +", "brief", "3", "count"]))
def test_every_number_can_be_written(value: float, form: str) -> None:
    text = formatted(value, form)
    assert text
    assert "-" not in text
    assert "nan" not in text
    assert not re.fullmatch(r"[−+]0(\.0+)?\D*", text)
