"""The artwork and its splits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.data.corpus import Corpus, draw_splits
from lucida.data.emoji import ARTISTS, STYLES, ArtworkSource, concepts, rasterize, read_emoji
from lucida.data.pictures import Picture


def test_about_1900_concepts_have_both_pictures():
    assert 1850 < len(concepts()) < 2000
    assert all(set(concept.files) == set(ARTISTS) for concept in concepts())
    cat = next(concept for concept in concepts() if concept.code == "1F431")
    assert cat.name == "cat face"
    assert not cat.apart
    assert sum(concept.apart for concept in concepts()) > 330  # 258 flags, clock faces, keycaps, boxed letters


@given(st.integers(0, 2**31))
@settings(max_examples=5, deadline=None)
def test_no_group_is_both_trained_and_unseen(split_seed):
    corpus = read_emoji(split_seed)
    groups = {name: {p.attributes["group"] for p in corpus.split(name)} for name in corpus.splits}
    assert not groups["train"] & groups["unseen_concepts"]
    assert not groups["train"] & groups["validation_unseen"]
    assert not groups["validation_unseen"] & groups["unseen_concepts"]
    known = {p.identity for p in corpus.split("train") if p.attributes["artist"] == "openmoji"}
    second = corpus.split("second_artist")
    assert {p.identity for p in second} <= known
    assert {p.attributes["artist"] for p in second} == {"twemoji"}
    assert abs(len(second) - len(known) / 2) <= 1
    assert not {p.id for p in second} & {p.id for p in corpus.split("train")}


def test_another_seed_draws_other_splits():
    assert read_emoji(0).fingerprint() == read_emoji(0).fingerprint() != read_emoji(1).fingerprint()


@pytest.mark.parametrize("style", STYLES)
def test_artwork_has_shape_and_transparency(style):
    cat = next(concept for concept in concepts() if concept.code == "1F431")
    picture = rasterize(cat, style, 64)
    assert picture.shape == (64, 64, 4)
    assert picture[0, 0, 3] == 0 < picture[..., 3].max()


def test_a_source_is_drawn_over_white():
    picture = np.asarray(ArtworkSource("1F431", "twemoji", 72).open())
    assert picture.shape == (72, 72, 3)
    assert (picture[0, 0] == 255).all()


def test_drawn_splits_keep_identities_together_and_every_label_in_training():
    source = ArtworkSource("1F431", "twemoji")
    pictures = tuple(
        Picture(f"{label}{i}", source, label=label, identity=f"{label}{i // 2}") for label in "abc" for i in range(40)
    )
    corpus = draw_splits(Corpus("letters", pictures), 3)
    assert corpus.splits == {"train": 96, "validation": 12, "test": 12}
    of = {}
    for picture in corpus:
        assert of.setdefault(picture.identity, picture.split) == picture.split
    assert draw_splits(Corpus("letters", pictures), 3).pictures == corpus.pictures


def test_ids_are_unique():
    source = ArtworkSource("1F431", "twemoji")
    with pytest.raises(LucidaError, match="two pictures have the id 'x'"):
        Corpus("twice", (Picture("x", source), Picture("x", source)))


def test_every_concept_has_keywords_that_are_no_name():
    assert sum(bool(concept.keywords) for concept in concepts()) > 0.98 * len(concepts())
    cat = next(concept for concept in concepts() if concept.code == "1F431")
    assert {"animal", "kitten"} <= set(cat.keywords)
    assert all(concept.name.lower() not in map(str.lower, concept.keywords) for concept in concepts())
