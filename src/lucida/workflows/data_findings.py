"""From finished stages to what the datasheet shows: counts, concepts, examples with thumbnails, pairs in doubt."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lucida.core.config import to_dict
from lucida.core.results import Metric, Results
from lucida.core.run_folder import RunFolder
from lucida.core.statistics import wilson
from lucida.data.construction.balancing import CONCEPTS_FILE
from lucida.data.construction.pair_audit import PairAudit, audit_pairs, find_rows, sample_rows
from lucida.data.construction.rows import read_rows, source_of
from lucida.data.construction.stages import StageResult
from lucida.data.pictures import BadPicture
from lucida.report.datasheet_page import (
    KEY,
    ConceptCount,
    Datasheet,
    Doubt,
    DroppedPairs,
    ShownPair,
    StageCount,
)
from lucida.report.material import Material, save_thumbnail, thumbnails_folder

CONCEPTS, STEPS = 200, 20
THUMBNAIL = 132  # pixels
_WORDS = 400  # letters of a caption that is shown


def describe(
    done: Sequence[StageResult], folder: RunFolder, root: Path, results: Results, *, examples: int, memory: str
) -> None:
    """Put into the results what the datasheet shows; thumbnails go into the folder.

    Args:
        done: the stages in their order.
        folder: of the run.
        root: that rows refer to pictures from.
        results: to add to.
        examples: shown of each kind.
        memory: of DuckDB.
    """
    shutil.rmtree(thumbnails_folder(folder), ignore_errors=True)
    rows = [stage for stage in done if stage.manifest.stage != "write"]
    show = _Show(folder, root)
    final, scratch = rows[-1].paths, folder.path / ".audit"
    try:
        kept = sample_rows(final, scratch, each=2 * examples, reasons=False)
        dropped = [group for stage in done for group in _dropped(stage, scratch, examples, show)]
        audit = audit_pairs(final, scratch, most=2 * examples, memory=memory)
        ids = [id for doubt in audit.listed for id in (doubt.first, doubt.second)]
        found = find_rows(final, scratch, ids)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    doubts = [Doubt(d.kind, d.likeness, show(found[d.first]), show(found[d.second])) for d in audit.listed]
    _measure_stages(done, results)
    splits = tuple(audit.splits.items()) if set(audit.splits) != {""} else ()
    _measure_audit(audit, results, splits=bool(splits))
    sheet = Datasheet(
        tuple(_count(stage) for stage in done), tuple(map(show, kept)), tuple(dropped), doubts=tuple(doubts),
        splits=splits, **_concepts(done, results),
    )  # fmt: skip
    results.details[KEY] = to_dict(sheet)


def _count(stage: StageResult) -> StageCount:
    manifest = stage.manifest
    return StageCount(manifest.stage, manifest.rows_in, manifest.rows_out, tuple(manifest.dropped.items()))


def _measure_stages(done: Sequence[StageResult], results: Results) -> None:
    results.add("pairs/read", Metric(done[0].manifest.rows_in))
    results.add("pairs/kept", Metric(done[-1].manifest.rows_out))
    for stage in done:
        results.add(f"{stage.manifest.stage}/kept_share", wilson(stage.manifest.rows_out, stage.manifest.rows_in))


def _measure_audit(audit: PairAudit, results: Results, *, splits: bool) -> None:
    results.add("audit/captions_alike", Metric(audit.captions))
    results.add("audit/collisions_in_a_batch", Metric(audit.collisions))
    results.add("audit/same_caption_share", wilson(audit.same_caption_rows, audit.rows))
    if audit.looked:
        results.add("audit/pictures_alike", Metric(audit.pictures))
    else:
        results.leave_out("Copies of pictures", "no stage looked at the pictures, so they were not compared")
    if splits:
        results.add("audit/across_splits", Metric(audit.leaks))
    else:
        results.leave_out("Leaks between splits", "the source names no splits")


def _dropped(stage: StageResult, scratch: Path, examples: int, show: _Show) -> Iterable[DroppedPairs]:
    manifest = stage.manifest
    if not manifest.dropped or not examples:
        return
    rows = sample_rows(stage.dropped_paths, scratch, each=examples, reasons=True)
    for reason, count in manifest.dropped.items():
        chosen = tuple(show(row) for row in rows if row["reason"] == reason)
        yield DroppedPairs(manifest.stage, reason, count, chosen)


class _Show:
    """Rows as the page shows them; a picture that cannot be read has no thumbnail."""

    def __init__(self, folder: RunFolder, root: Path):
        self.folder, self.root = folder, root
        self._saved: dict[str, str] = {}

    def __call__(self, row: dict[str, Any]) -> ShownPair:
        caption = row["caption"] or ""
        caption = caption if len(caption) <= _WORDS else f"{caption[:_WORDS]}…"
        return ShownPair(row["id"] or "", caption, self._thumbnail(row), row["split"] or "", row.get("twin") or "")

    def _thumbnail(self, row: dict[str, Any]) -> str:
        identity = row["identity"] or ""
        if not identity or source_of(row, self.root) is None:
            return ""
        if identity not in self._saved:
            self._saved[identity] = self._save(row, identity)
        return self._saved[identity]

    def _save(self, row: dict[str, Any], identity: str) -> str:
        source = source_of(row, self.root)
        try:
            picture, _ = source.open_reduced(THUMBNAIL) if source else (None, None)
        except (BadPicture, OSError):
            picture = None
        return save_thumbnail(self.folder, identity, np.asarray(picture), size=THUMBNAIL) if picture else ""


def _concepts(done: Sequence[StageResult], results: Results) -> dict[str, Any]:
    """The most frequent concepts, and how mentions spread over all of them."""
    balanced = [stage for stage in done if stage.manifest.stage == "balance"]
    if not balanced:
        results.leave_out("Concepts", "the stage balance was not asked for")
        return {}
    listed = [row for rows in read_rows(balanced[0].folder / CONCEPTS_FILE) for row in rows]
    if not listed:
        return {}
    before, after = (np.array([row[which] for row in listed], float) for which in ("before", "after"))
    results.add("concepts/count", Metric(len(listed)))
    results.add("concepts/effective_before", Metric(_effective(before)))
    results.add("concepts/effective_after", Metric(_effective(after)))
    shown = tuple(ConceptCount(row["concept"], row["before"], row["after"]) for row in listed[:CONCEPTS])
    return {"concepts": shown, "held_before": _held(before), "held_after": _held(after)}


def _effective(counts: np.ndarray) -> float:
    """Exponential of the entropy of the concepts' shares."""
    shares = counts[counts > 0] / max(counts.sum(), 1)
    return math.exp(-float((shares * np.log(shares)).sum()))


def _held(counts: np.ndarray) -> tuple[float, ...]:
    """Share of all mentions by the most frequent 0, 5, … 100 % of the concepts."""
    ordered = np.concatenate([[0.0], np.cumsum(np.sort(counts)[::-1])]) / max(counts.sum(), 1)
    places = np.linspace(0, len(counts), STEPS + 1)
    return tuple(np.interp(places, np.arange(len(ordered)), ordered).tolist())


def material(name: str, done: Sequence[StageResult]) -> Material:
    """Title, summary and facts of the page."""
    first, last = done[0].manifest, done[-1].manifest
    stages = ", ".join(stage.manifest.stage for stage in done[1:]) or "no stage"
    return Material(
        title=f"Pairs of {name}",
        summary=f"{last.rows_out:,} pairs out of {first.rows_in:,} that the source holds, after {stages}.",
        stage_titles={"read": "Reading", "clean": "Cleaning", "page": "Audit and page"},
    )
