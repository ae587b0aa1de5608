"""Captions compared: letter groups and Jaccard as sets give them; MinHash finds what is alike."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucida.data.construction.caption_hashes import BANDS, LETTERS, bands, jaccard, letter_groups, normal

TEXTS = st.lists(st.text(st.characters(blacklist_categories=("Cs",)), max_size=20).map(normal), min_size=1, max_size=8)


def groups(text: str) -> set[str]:
    padded = f" {text} ".ljust(LETTERS)
    return {padded[i : i + LETTERS] for i in range(len(padded) - LETTERS + 1)}


@given(TEXTS)
def test_letter_groups_are_those_of_each_text_alone(texts):
    hashes, starts = letter_groups(texts)
    assert len(hashes) == starts[-1]
    alone = [letter_groups([text])[0].tolist() for text in texts]
    assert [hashes[a:b].tolist() for a, b in pairwise(starts)] == alone
    assert [len(set(own)) for own in alone] == [len(groups(text)) for text in texts]


@given(TEXTS, st.randoms())
def test_jaccard_is_that_of_sets(texts, random):
    other = random.sample(texts, len(texts))
    expected = [len(groups(a) & groups(b)) / len(groups(a) | groups(b)) for a, b in zip(texts, other, strict=True)]
    assert jaccard(texts, other) == pytest.approx(expected)


@given(TEXTS)
def test_bands_do_not_depend_on_the_neighbours(texts):
    assert bands(texts).tolist() == [bands([text])[0].tolist() for text in texts]


def test_what_is_alike_shares_a_band_and_what_is_not_rarely_does():
    """As often as bands of MinHash promise, within what so many draws may differ by."""
    generator = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    texts = ["".join(generator.choice(letters, 60)) for _ in range(400)]
    near = [text[:56] + "qqqq" for text in texts]
    alike = jaccard(texts, near)
    found = (bands(texts) == bands(near)).any(axis=1)
    promised = 1 - (1 - alike**4) ** BANDS
    assert 0.8 < alike.mean() < 0.9
    assert abs(found.mean() - promised.mean()) < 0.03
    assert not (bands(texts) == bands(texts[::-1])).any(axis=1).any()


def test_a_normal_form_has_words_alone():
    assert normal("  “Café” — n°5 & CO.!") == "café n 5 co"
    assert (normal(" !! "), normal("  ")) == ("!!", "")
