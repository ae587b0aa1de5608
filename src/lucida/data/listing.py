"""What a source of pictures holds, found out without decoding any: a sample costs no more than its own pictures."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

from lucida.data.pictures import Picture, Skipped

_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True, eq=False)
class Listing:
    """The pictures of a source by number.

    Attributes:
        splits: the split of each, None where the source names none.
        labels: the class of each, None where the source names none.
        pictures: makes those of the given numbers, in that order; in place of one, why it cannot be used.
        skipped: what the source names but cannot be used, and why.
        exhaustive_objects: an object that is not listed is truly absent.
    """

    splits: Sequence[str | None]
    labels: Sequence[str | None]
    pictures: Callable[[Sequence[int]], list[Picture | Skipped]]
    skipped: tuple[Skipped, ...] = ()
    exhaustive_objects: bool = False

    def __len__(self) -> int:
        return len(self.splits)


def concatenate(listings: Sequence[Listing]) -> Listing:
    """One listing of several, in their order."""
    if len(listings) == 1:
        return listings[0]
    ends = list(accumulate(len(listing) for listing in listings))

    def pictures(numbers: Sequence[int]) -> list[Picture | Skipped]:
        asked: list[list[int]] = [[] for _ in listings]
        for number in numbers:
            part = bisect_right(ends, number)
            asked[part].append(number - (ends[part - 1] if part else 0))
        made = [iter(listing.pictures(those)) for listing, those in zip(listings, asked, strict=True)]
        return [next(made[bisect_right(ends, number)]) for number in numbers]

    return Listing(
        [split for listing in listings for split in listing.splits],
        [label for listing in listings for label in listing.labels],
        pictures,
        tuple(row for listing in listings for row in listing.skipped),
        all(listing.exhaustive_objects for listing in listings),
    )


def split_word(name: str) -> str | None:
    """The split that a whole word means, whatever its spelling.

    >>> split_word("Val"), split_word("cats")
    ('validation', None)
    """
    return _SPLITS.get(name.lower())


def split_in_name(name: str) -> str | None:
    """The split that a file's name mentions, if it mentions one.

    >>> split_in_name("instances_train2017.json"), split_in_name("test-00000-of-00001"), split_in_name("train-test")
    ('train', 'test', None)
    """
    found = {_SPLITS[word] for word in re.findall(r"[a-z]+", name.lower()) if word in _SPLITS}
    return found.pop() if len(found) == 1 else None


@dataclass(eq=False)
class FileFinder:
    """Finds files by the names a table gives them, in several folders, reading each folder once."""

    folders: Sequence[Path]
    _names: dict[Path, frozenset[str]] = field(default_factory=dict)

    def find(self, name: str) -> Path | None:
        """The file, in the first folder that has it."""
        for folder in self.folders:
            path = folder / name
            if path.name in self._listed(path.parent):
                return path
        windows = name.replace("\\", "/")
        return self.find(windows) if windows != name else None

    def _listed(self, folder: Path) -> frozenset[str]:
        if folder not in self._names:
            try:
                with os.scandir(folder) as entries:
                    self._names[folder] = frozenset(entry.name for entry in entries if entry.is_file())
            except (OSError, ValueError):  # a name that no file can have
                self._names[folder] = frozenset()
        return self._names[folder]
