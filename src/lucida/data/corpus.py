"""A corpus: pictures with a name, a credit line, and a list of what was left out."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lucida.core.cache import content_hash
from lucida.core.errors import LucidaError
from lucida.core.seeds import stream
from lucida.data.pictures import Picture, Skipped


@dataclass(frozen=True)
class Corpus:
    """Pictures and what is known of them as a whole.

    Attributes:
        name: for the reader of a report.
        pictures: in a fixed order, with unique ids.
        credit: who made the pictures, under which licence.
        skipped: pictures that could not be used, and why.
        exhaustive_objects: an object that is not listed is truly absent, so absence can be asked about.
        n_available: pictures the source holds, if a limit took a sample of them.
        drawn: the splits that were drawn here; others the source brought.

    Raises:
        LucidaError: two pictures have one id.
    """

    name: str
    pictures: tuple[Picture, ...]
    credit: str = ""
    skipped: tuple[Skipped, ...] = ()
    exhaustive_objects: bool = False
    n_available: int | None = None
    drawn: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        ids = Counter(picture.id for picture in self.pictures)
        if len(ids) < len(self.pictures):
            raise LucidaError(f"two pictures have the id {ids.most_common(1)[0][0]!r}", where=self.name)

    def __len__(self) -> int:
        return len(self.pictures)

    def __iter__(self) -> Iterator[Picture]:
        return iter(self.pictures)

    def where(self, keep: Callable[[Picture], bool]) -> Corpus:
        """The pictures for which ``keep`` is true."""
        return dataclasses.replace(self, pictures=tuple(picture for picture in self.pictures if keep(picture)))

    def split(self, *names: str) -> Corpus:
        """The pictures of the named splits."""
        return self.where(lambda picture: picture.split in names)

    def rows(self, *names: str) -> np.ndarray:
        """Indices of the pictures of the named splits, ``int64 [n]``."""
        return np.array([i for i, picture in enumerate(self.pictures) if picture.split in names], np.int64)

    @cached_property
    def splits(self) -> dict[str, int]:
        """How many pictures each split has, in order of appearance."""
        return dict(Counter(picture.split for picture in self.pictures))

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The labels, sorted."""
        return tuple(sorted({picture.label for picture in self.pictures if picture.label}))

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """The names of objects, the most frequent first."""
        counts = Counter(thing.name for picture in self.pictures for thing in picture.objects)
        return tuple(sorted(counts, key=lambda name: (-counts[name], name)))

    def fingerprint(self) -> str:
        """Another text when any picture, caption, label or split is another."""
        rows = [[p.id, p.source.content_key(), p.captions, p.split, p.label, p.identity] for p in self.pictures]
        objects = [[[thing.name, thing.box] for thing in picture.objects] for picture in self.pictures]
        return content_hash(self.name, rows, objects)


def draw_splits(corpus: Corpus, split_seed: int, *, validation_share: float = 0.1, test_share: float = 0.1) -> Corpus:
    """Splits for a corpus that brings none: drawn by identity, stratified by label.

    Args:
        corpus: whose splits are replaced.
        split_seed: of the draw.
        validation_share: of the identities of each label; of three or more, at least one is taken unless it is 0.
        test_share: likewise.
    """
    wanted = {name: share for name, share in (("test", test_share), ("validation", validation_share)) if share > 0}
    by_label: dict[str, list[str]] = {}
    for picture in corpus:
        by_label.setdefault(picture.label or "", []).append(picture.identity)
    split: dict[str, str] = {}
    for label, listed in by_label.items():
        identities = sorted(set(listed))
        order = stream(split_seed, "splits", label).permutation(len(identities))
        place = (np.arange(len(order)) + 0.5) / len(order)
        for i, at in zip(order, place, strict=True):
            name = "test" if at < test_share else "validation" if at < test_share + validation_share else "train"
            split.setdefault(identities[i], name)
    if len(split) >= 3 and not set(wanted) <= set(split.values()):  # many classes of few pictures: draw without strata
        names = sorted(split)
        order = iter(stream(split_seed, "splits", "all").permutation(len(names)).tolist())
        split = dict.fromkeys(names, "train")
        for name, share in wanted.items():
            for _ in range(max(1, round(share * len(names)))):
                split[names[next(order)]] = name
    pictures = tuple(dataclasses.replace(picture, split=split[picture.identity]) for picture in corpus)
    return dataclasses.replace(corpus, pictures=pictures, drawn=frozenset(wanted))
