"""Rows of the artwork's arrays."""

from __future__ import annotations

import numpy as np

from lucida.data.emoji import concepts, read_emoji
from lucida.workflows.artwork_features import concept_rows, split_rows
from lucida.workflows.described_encoder import describe


def test_rows_of_a_split_are_its_concepts_in_ascending_order():
    corpus = read_emoji(1000)
    known, second = split_rows(corpus, "train", "openmoji"), split_rows(corpus, "second_artist", "twemoji")
    assert (np.diff(known) > 0).all()
    assert np.isin(second, known).all()
    assert not np.isin(second, split_rows(corpus, "train", "twemoji")).any()
    assert {concepts()[i].code for i in second} == {p.identity for p in corpus.split("second_artist")}
    assert concept_rows()[concepts()[7].code] == 7


def test_a_concept_is_described_by_its_name_and_keywords():
    cat = concepts()[concept_rows()["1F431"]]
    assert describe(cat).name == "cat face"
    assert "kitten" in describe(cat).words
