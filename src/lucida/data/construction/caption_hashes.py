"""Captions compared: a normal form for equality, MinHash of letter groups for nearness, found without all pairs.

MinHash (Broder 1997): two sets share the smallest value of a random hash with the probability of their Jaccard
likeness. Bands of several such values are equal by chance far less often than each of them, so who shares a band is a
candidate; each candidate is then compared in full.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BANDS, ROWS = 8, 4
"""Bands and values of each: of pairs that are 0.9 alike 99.9 % share a band, at 0.8 98 %, at 0.5 40 %, at 0.3 6 %."""

LETTERS = 4  # of a group
_WORDS = re.compile(r"[^\W_]+")
_SALTS = np.array(
    [
        int.from_bytes(hashlib.blake2b(f"lucida {k}".encode(), digest_size=8).digest(), "big")
        for k in range(BANDS * ROWS)
    ],
    np.uint64,
)


def normal(caption: str) -> str:
    """Words in small letters with single spaces; punctuation and accents' spelling make no difference.

    A caption without any word (signs, emoji) stays as it is, so that not all of these are one.

    >>> normal("A dog, running!"), normal("Ａ DOG running"), normal(" 🐶  ! ")
    ('a dog running', 'a dog running', '🐶 !')
    """
    text = unicodedata.normalize("NFKC", caption).casefold()
    return " ".join(_WORDS.findall(text) or text.split())


def text_digest(text: str) -> bytes:
    """128 bits that stand for a text: two texts in 10^15 would share one with probability 10^-9."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def letter_groups(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes of all groups of :data:`LETTERS` neighbouring letters, a text after another.

    Returns:
        The hashes, and where those of each text begin, ``[n + 1]``. A text has one group at least: it is padded.
    """
    padded = [f" {text} ".ljust(LETTERS) for text in texts]
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    lengths = np.fromiter(map(len, padded), np.int64, len(padded))
    groups = np.zeros(max(len(codes) - LETTERS + 1, 0), np.uint64)
    for k in range(LETTERS):
        groups = groups * np.uint64(0x100000001B3) + codes[k : k + len(groups)]
    ends = np.cumsum(lengths)
    inside = np.ones(len(groups), bool)
    for k in range(1, LETTERS):  # groups that begin in one text and end in the next are none
        cut = ends[:-1] - k
        inside[cut[cut < len(groups)]] = False
    starts = np.concatenate([[0], np.cumsum(lengths - LETTERS + 1)])
    return _mixed(groups[inside]), starts


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Each bit of the result depends on each of the value (the finaliser of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def bands(texts: Sequence[str]) -> NDArray[np.uint64]:
    """MinHash bands of normal captions, ``uint64 [n, BANDS]``."""
    if not texts:
        return np.zeros((0, BANDS), np.uint64)
    groups, starts = letter_groups(texts)
    least = np.empty((len(texts), BANDS * ROWS), np.uint64)
    for k, salt in enumerate(_SALTS):
        least[:, k] = np.minimum.reduceat(_mixed(groups ^ salt), starts[:-1])
    out = np.zeros((len(texts), BANDS), np.uint64)
    for k in range(ROWS):
        out = _mixed(out * np.uint64(0x9E3779B97F4A7C15) + least[:, k::ROWS])
    return out


def jaccard(first: Sequence[str], second: Sequence[str]) -> NDArray[np.float64]:
    """Shared letter groups by all letter groups of each pair of normal captions, ``[n]``.

    >>> jaccard(["a dog runs"], ["a dog ran"]).round(2)
    array([0.42])
    """
    if not len(first):
        return np.zeros(0)
    sides = []
    for texts in (first, second):
        groups, starts = letter_groups(texts)
        owner = np.repeat(np.arange(len(texts), dtype=np.uint64), np.diff(starts))
        sides.append(np.unique((owner << np.uint64(40)) | (groups >> np.uint64(24))))  # pair and 40 bits of the group
    shared = np.intersect1d(sides[0], sides[1], assume_unique=True)
    sizes = [np.bincount((side >> np.uint64(40)).astype(np.int64), minlength=len(first)) for side in (*sides, shared)]
    return sizes[2] / (sizes[0] + sizes[1] - sizes[2])
