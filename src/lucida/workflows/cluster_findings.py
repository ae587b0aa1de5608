"""From assignments to what a person reads: names, representative pictures, outliers, groups of near-duplicates."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lucida.core.run_folder import RunFolder
from lucida.data.galleries import as_words
from lucida.data.pictures import Picture
from lucida.data.pixels import DecodedPictures
from lucida.evaluation.clusters import purity
from lucida.evaluation.distinctive_words import Word, distinctive_words, group_names, terms
from lucida.evaluation.near_duplicates import Duplicates
from lucida.report.cluster_page import (
    SURE,
    ClusterCard,
    ClusterFindings,
    ClusterWord,
    DuplicateGroup,
    Outlier,
    Shown,
    SweepPoint,
)
from lucida.report.material import save_thumbnail
from lucida.workflows.cluster_mixture import Assignments

OUTLIERS, GROUPS, OF_A_GROUP = 24, 30, 4  # shown on the page
THUMBNAIL = 112  # pixels
COLUMNS = (
    "picture", "cluster", "name", "probability", "second_cluster", "second_probability", "log_likelihood", "outlier",
    "duplicate_group",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Found:
    """Pictures and where they belong."""

    decoded: DecodedPictures
    assigned: Assignments
    duplicates: Duplicates
    outlier_share: float

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """In the order of the assignments."""
        return self.decoded.corpus.pictures

    @cached_property
    def outliers(self) -> NDArray[np.int64]:
        """The least likely pictures, ascending in likelihood."""
        count = int(np.ceil(self.outlier_share * len(self.pictures)))
        return np.argsort(self.assigned.log_likelihood, kind="stable")[:count]

    @cached_property
    def members(self) -> list[NDArray[np.int64]]:
        """Rows of each cluster."""
        order = np.argsort(self.assigned.cluster, kind="stable")
        return np.split(order, np.cumsum(self.assigned.sizes)[:-1])

    def representatives(self, k: int, count: int) -> NDArray[np.int64]:
        """Members of the highest posterior times density, no two of one group of near-duplicates."""
        rows = self.members[k]
        with np.errstate(divide="ignore"):
            score = np.log(self.assigned.probability[rows]) + self.assigned.log_likelihood[rows]
        ranked = rows[np.argsort(-score, kind="stable")]
        groups = self.duplicates.groups[ranked]
        _, firsts = np.unique(np.where(groups < 0, -1 - np.arange(len(ranked)), groups), return_index=True)
        return ranked[np.sort(firsts)][:count]


def describe(found: Found, folder: RunFolder, sweep: list[SweepPoint], representatives: int) -> ClusterFindings:
    """What the page shows; thumbnails go to the run folder."""
    assigned = found.assigned
    words = distinctive_words([terms(picture) for picture in found.pictures], assigned.cluster, assigned.count)
    names = group_names(words)
    labelled = np.array([i for i, picture in enumerate(found.pictures) if picture.label], np.int64)
    labels = [str(found.pictures[i].label) for i in labelled]
    pure = purity(labels, assigned.cluster[labelled]) if len(set(labels)) > 1 else {}
    cards = []
    for k, rows in enumerate(found.members):
        label, share = pure.get(k, ("", None))
        cards.append(
            ClusterCard(
                number=k + 1,
                name=names[k],
                size=len(rows),
                share=len(rows) / len(found.pictures),
                confidence=float(assigned.probability[rows].mean()),
                words=tuple(_card_word(word) for word in words[k]),
                pictures=tuple(_shown(found, folder, i) for i in found.representatives(k, representatives)),
                label=as_words(str(label)),
                purity=share,
            )
        )
    ends = np.digitize(assigned.probability, SURE)
    return ClusterFindings(
        tuple(cards),
        tuple(_outlier(found, folder, i, names) for i in found.outliers[:OUTLIERS]),
        _groups(found, folder),
        tuple(sweep),
        tuple(np.bincount(ends, minlength=len(SURE) + 1).tolist()),
    )


def _card_word(word: Word) -> ClusterWord:
    return ClusterWord(word.text, word.share, word.elsewhere)


def _shown(found: Found, folder: RunFolder, i: int) -> Shown:
    picture = found.pictures[i]
    text = picture.captions[0] if picture.captions else as_words(picture.label or "")
    if not text and picture.objects:
        text = ", ".join(dict.fromkeys(as_words(thing.name) for thing in picture.objects))
    thumbnail = save_thumbnail(folder, picture.id, np.asarray(found.decoded.pixels[i]), size=THUMBNAIL)
    return Shown(thumbnail, picture.id, text[:160])


def _outlier(found: Found, folder: RunFolder, i: int, names: list[str]) -> Outlier:
    k = int(found.assigned.cluster[i])
    typical = float(np.median(found.assigned.log_likelihood[found.members[k]]))
    return Outlier(_shown(found, folder, i), names[k], float(found.assigned.log_likelihood[i]), typical)


def _groups(found: Found, folder: RunFolder) -> tuple[DuplicateGroup, ...]:
    """The largest groups, each with its weakest link."""
    members = found.duplicates.members
    weakest = {k: (1.0, 1.0) for k in range(len(members))}
    for first, _, cosine, likeness in found.duplicates.pairs:
        k = int(found.duplicates.groups[first])
        weakest[k] = min(weakest[k][0], cosine), min(weakest[k][1], likeness)
    order = sorted(range(len(members)), key=lambda k: (-len(members[k]), k))[:GROUPS]
    return tuple(
        DuplicateGroup(
            tuple(_shown(found, folder, i) for i in members[k][:OF_A_GROUP]), len(members[k]), *weakest[k]
        )
        for k in order
    )  # fmt: skip


def write_assignments(path: Path, found: Found, names: list[str]) -> None:
    """A row for each picture; clusters and groups are numbered from 1, an empty field means none.

    Written row by row beside and renamed: a million pictures are never one text.
    """
    beside = path.with_name(f".{path.name}.partial")
    try:
        with beside.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(COLUMNS)
            rows.writerows(_rows(found, names))
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _rows(found: Found, names: list[str]) -> Iterator[tuple[object, ...]]:
    assigned, outliers = found.assigned, set(found.outliers.tolist())
    for i, picture in enumerate(found.pictures):
        k, second, group = int(assigned.cluster[i]), int(assigned.second[i]), int(found.duplicates.groups[i])
        yield (
            picture.id,
            k + 1,
            names[k],
            f"{assigned.probability[i]:.4f}",
            second + 1 if second >= 0 else "",
            f"{assigned.second_probability[i]:.4f}" if second >= 0 else "",
            f"{assigned.log_likelihood[i]:.3f}",
            int(i in outliers),
            group + 1 if group >= 0 else "",
        )
