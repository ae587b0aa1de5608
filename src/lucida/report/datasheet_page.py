"""The page of ``lucida data``: a datasheet of pairs, drawn from ``results.json`` and thumbnails of its folder alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lucida.core.results import Metric, Results
from lucida.core.run_folder import RunFolder
from lucida.report.figures import Line, bar_plot, line_plot
from lucida.report.page import Run, Section, closing_sections, facts_of, write_page
from lucida.report.sections import Cell, Figure, Headline, Row, Table, drawn
from lucida.report.wording import capitalised, number

KEY = "datasheet"  # of Results.details


@dataclass(frozen=True)
class ShownPair:
    """A pair on the page; without a thumbnail where its picture is not here or cannot be read.

    ``twin`` is the id of the pair that stays instead of a duplicate.
    """

    id: str
    caption: str
    thumbnail: str = ""
    split: str = ""
    twin: str = ""


@dataclass(frozen=True)
class StageCount:
    """What a stage did: pairs in and out, dropped by reason, the most frequent first."""

    name: str
    rows_in: int
    rows_out: int
    dropped: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class DroppedPairs:
    """Some of the pairs that a stage dropped for one reason, and how many there are."""

    stage: str
    reason: str
    count: int
    pairs: tuple[ShownPair, ...] = ()


@dataclass(frozen=True)
class Doubt:
    """Two pairs that a loss or a test would wrongly take for different: "caption" or "picture" is what they share."""

    kind: str
    likeness: float
    first: ShownPair
    second: ShownPair

    @property
    def leaks(self) -> bool:
        """From one split into another."""
        return self.first.split != self.second.split


@dataclass(frozen=True)
class ConceptCount:
    """Captions that name a concept, before balancing and after."""

    concept: str
    before: int
    after: int


@dataclass(frozen=True)
class Datasheet:
    """What the page shows beside the metrics; stored as ``details["datasheet"]``.

    Attributes:
        stages: in their order.
        kept: some of the pairs that stay.
        dropped: some of those that do not, by stage and reason.
        concepts: the most frequent ones.
        held_before, held_after: share of all mentions by the most frequent part of the concepts, in steps of 5 %.
        doubts: the likest first.
        splits: pairs of each split that the source names.
    """

    stages: tuple[StageCount, ...] = ()
    kept: tuple[ShownPair, ...] = ()
    dropped: tuple[DroppedPairs, ...] = ()
    concepts: tuple[ConceptCount, ...] = ()
    held_before: tuple[float, ...] = ()
    held_after: tuple[float, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    splits: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, results: Results, where: Path) -> Datasheet:
        """That of a results file.

        Raises:
            LucidaError: it is not that of a construction.
        """
        return results.detail(
            cls, KEY, where, missing="not a folder of pairs", remedy="`lucida data construct` makes one"
        )


def write_datasheet(folder: RunFolder) -> Path:
    """Rebuild ``report.html`` from what a folder of ``lucida data construct`` holds.

    Raises:
        LucidaError: there are no results, or they are of another kind.
    """
    run = Run.read(folder)
    sheet = Datasheet.of(run.results, folder.results)
    parts = [*_sections(sheet, run.results), *closing_sections(run, _words(sheet))]
    return write_page(run, parts, headlines=_headlines(sheet, run.results), facts=_facts(run, sheet))


def as_text(sheet: Datasheet, results: Results) -> str:
    """The datasheet in a few lines, for a terminal."""
    lines = []
    for stage in sheet.stages:
        told = ", ".join(f"{count:,} {reason}" for reason, count in stage.dropped)
        lines.append(
            f"{stage.name:12} {stage.rows_out:>12,} of {stage.rows_in:,}" + (f"; dropped: {told}" if told else "")
        )
    for title, name in _AUDITED:
        if name in results.metrics:
            lines.append(f"{title}: {results.metrics[name].value:,.4g}")
    return "\n".join(lines)


_AUDITED = (
    ("Captions alike, of different pictures", "audit/captions_alike"),
    ("Pictures alike", "audit/pictures_alike"),
    ("Likely leaks between splits", "audit/across_splits"),
    ("False negatives expected in a batch of 1,024", "audit/collisions_in_a_batch"),
)


def _headlines(sheet: Datasheet, results: Results) -> list[Headline]:
    metrics = results.metrics
    shown = [
        Headline(
            "Pairs that stay", f"{metrics['pairs/kept'].value:,.0f}", f"of {metrics['pairs/read'].value:,.0f} read"
        )
    ]
    if "concepts/effective_after" in metrics:
        before = metrics["concepts/effective_before"].value
        after = metrics["concepts/effective_after"].value
        beside = ("as many equally frequent concepts would be as varied",)
        shown.append(
            Headline("Effective number of concepts", f"{after:,.0f}", f"{before:,.0f} before balancing", beside)
        )
    if "audit/collisions_in_a_batch" in metrics:
        value = metrics["audit/collisions_in_a_batch"].value
        title = "False negatives expected in a batch of 1,024"
        shown.append(Headline(title, f"{value:.2g}", "pairs of other pictures with the same caption, word for word"))
    if sheet.splits and "audit/across_splits" in metrics:
        leaks = metrics["audit/across_splits"].value
        shown.append(Headline("Likely leaks between splits", f"{leaks:,.0f}", "pairs alike, one on each side"))
    return shown


def _facts(run: Run, sheet: Datasheet) -> list[tuple[str, str]]:
    facts = facts_of(run)
    facts.insert(0, ("A pair", "a picture and one caption"))
    if sheet.splits:
        facts.insert(0, ("Splits", ", ".join(f"{count:,} {name or 'unnamed'}" for name, count in sheet.splits)))
    return facts


def _sections(sheet: Datasheet, results: Results) -> Iterable[Section]:
    yield Section("stages", "What stayed", "tables.html", _stages(sheet), _LEADS["stages"])
    yield Section("kept", "Pairs that stay", "data_pairs.html", {"pairs": sheet.kept}, _LEADS["kept"])
    yield Section("dropped", "What was dropped, and why", "data_dropped.html", {"groups": _by_stage(sheet)},
                  _LEADS["dropped"])  # fmt: skip
    figures = [*_held(sheet), *_concepts(sheet)]
    yield Section("concepts", "Concepts before and after", "figures.html", {"figures": figures}, _LEADS["concepts"])
    yield Section("audit", "Pairs in doubt", "data_doubts.html", _doubts(sheet, results), _LEADS["audit"])


_LEADS = {
    "stages": "Each stage takes the pairs that the one before left. Every pair that was dropped stands with its "
    "reason in the stage's folder.",
    "kept": "Drawn at random.",
    "dropped": "Some for each reason, drawn at random: look whether you would have dropped them too.",
    "concepts": "A concept with more captions than the cap keeps its pairs with the probability cap / captions; a pair "
    "stays if one of its concepts keeps it, so frequent companions of rare concepts stay above the cap.",
    "audit": "A contrastive loss takes every other pair of a batch for a negative. Where the caption is true of both "
    "pictures, or the pictures are the same, that is wrong; across splits it is a leak. The likest first.",
}


def _stages(sheet: Datasheet) -> dict[str, list]:
    rows = []
    for stage in sheet.stages:
        share = number(stage.rows_out / stage.rows_in, share=True) if stage.rows_in else ""
        rows.append(
            Row(capitalised(stage.name), (Cell(f"{stage.rows_in:,}"), Cell(f"{stage.rows_out:,}"), Cell(share)))
        )
    table = Table("Pairs by stage", ("in", "out", "stay"), tuple(rows))
    reasons = [
        (f"{reason} ({stage.name})", float(count), f"{count:,}")
        for stage in sheet.stages
        for reason, count in stage.dropped
    ]
    reasons.sort(key=lambda row: -row[1])
    title = "Dropped, by reason"
    figures = [Figure(title, bar_plot(title, reasons[:12]), "In brackets the stage.")] if reasons else []
    return drawn(figures=figures, tables=[table])


def _by_stage(sheet: Datasheet) -> dict[str, list[DroppedPairs]]:
    groups: dict[str, list[DroppedPairs]] = {}
    for group in sheet.dropped:
        groups.setdefault(capitalised(group.stage), []).append(group)
    return groups


def _held(sheet: Datasheet) -> list[Figure]:
    if not sheet.held_before:
        return []
    x = [100 * k / (len(sheet.held_before) - 1) for k in range(len(sheet.held_before))]
    lines = [Line("before", x, sheet.held_before, quiet=True), Line("after", x, sheet.held_after)]
    title = "Mentions by the most frequent concepts"
    svg = line_plot(title, lines, x_label="% of the concepts, the most frequent first", share=True)
    caption = "Share of all mentions; a straight line would be perfect balance."
    return [Figure(title, svg, caption)]


def _concepts(sheet: Datasheet) -> list[Figure]:
    if not sheet.concepts:
        return []
    shown = sheet.concepts[:10]
    longest = max(concept.before for concept in shown)
    figures = []
    for title, which in (("Most frequent before", "before"), ("The same after", "after")):
        rows = [(c.concept, float(getattr(c, which)), f"{getattr(c, which):,}") for c in shown]
        caption = "Captions that name the concept." if which == "before" else f"The longest bar before: {longest:,}."
        figures.append(Figure(title, bar_plot(title, rows, longest=longest), caption))
    return figures


def _doubts(sheet: Datasheet, results: Results) -> dict[str, object]:
    groups = {}
    for title, kind, leaks in _KINDS:
        chosen = [doubt for doubt in sheet.doubts if doubt.kind == kind and doubt.leaks is leaks]
        if chosen:
            groups[title] = chosen
    facts = [(title, _told(name, results.metrics[name])) for title, name in _AUDITED if name in results.metrics]
    return {"groups": groups, "facts": facts}


def _told(name: str, metric: Metric) -> str:
    return f"{metric.value:.3g}" if name.endswith("batch") else f"{metric.value:,.0f} pairs"


_KINDS = (
    ("Across splits: pictures alike", "picture", True),
    ("Across splits: captions alike", "caption", True),
    ("Likely false negatives: captions alike, other pictures", "caption", False),
    ("Likely copies: pictures alike", "picture", False),
)

_GLOSSARY = (
    ("Pair", "", "A picture and one caption."),
    ("Near-copy", "pairs",
     "A picture whose small version agrees with another's in nearly all comparisons of neighbouring pixels: saved "
     "again, scaled, brightened."),
    ("Likeness of captions", "doubts",
     "Shared groups of four letters by all groups of both, punctuation and case aside (Jaccard): 1 is equality."),
    ("Concept", "concepts", "A word or phrase of the list that captions are matched against, as whole words."),
    ("Effective number", "concepts",
     "As many equally frequent concepts have the same entropy as these, so one concept that dominates lowers it."),
    ("False negative", "doubts",
     "Another pair of the batch whose caption is true of this picture too: the loss pushes them apart all the same."),
)  # fmt: skip


def _words(sheet: Datasheet) -> list[tuple[str, str]]:
    """Entries of the glossary that the page uses."""
    there = {"": True, "pairs": True, "doubts": bool(sheet.doubts), "concepts": bool(sheet.concepts)}
    return [(word, meaning) for word, key, meaning in _GLOSSARY if there[key]]
