"""Words that tell groups apart: planted ones are found, common ones are not, rare ones need evidence."""

from __future__ import annotations

import numpy as np
import pytest

from lucida.data.pictures import Picture
from lucida.data.truth import PictureObject
from lucida.evaluation.distinctive_words import Word, distinctive_words, group_names, log_odds_scores, terms


def picture(**known) -> Picture:
    return Picture("1", None, **known)  # type: ignore[arg-type]  # nobody opens it


def test_what_is_said_of_a_picture() -> None:
    objects = (PictureObject("traffic_light"), PictureObject("car"), PictureObject("car"))
    assert terms(picture(objects=objects)) == ("traffic light", "car")
    assert terms(picture(captions=("The cat is on the mat.", "A cat"), label="Cat")) == ("cat", "mat")
    assert terms(picture(captions=("Ein Vogel über dem Fluß",)))[1] == "vogel"
    assert terms(picture(captions=("一辆红色汽车，很新",))) == ("一辆", "辆红", "红色", "色汽", "汽车", "很新")
    assert terms(picture()) == ()


def test_planted_words_are_found_and_common_ones_are_not() -> None:
    generator = np.random.default_rng(0)
    groups = np.repeat([0, 1, 2], 200)
    planted = ("cat", "dog", "fire engine")
    said = [
        ["street", *([planted[g]] if generator.random() < 0.6 else []), *(["rare"] if i == 5 else [])]
        for i, g in enumerate(groups)
    ]
    words = distinctive_words(said, groups, 3)
    assert [[word.text for word in own] for own in words] == [["cat"], ["dog"], ["fire engine"]]
    for word in (own[0] for own in words):
        assert word.share == pytest.approx(0.6, abs=0.08)
        assert word.elsewhere == 0
    assert group_names(words) == list(planted)


def test_nothing_is_distinctive_of_chance() -> None:
    generator = np.random.default_rng(1)
    said = [[f"word {k}" for k in generator.integers(50, size=5)] for _ in range(400)]
    groups = generator.integers(4, size=400)
    assert sum(len(own) for own in distinctive_words(said, groups, 4)) <= 2  # of 200 looked at
    assert distinctive_words([[]] * 3, [0, 1, 2], 3) == [(), (), ()]


def test_the_score_is_a_standardised_log_odds_difference() -> None:
    counts, sizes = np.array([[8.0], [2.0]]), np.array([10.0, 20.0])
    yes = 10 * 10.5 / 31
    no = 10 * 20.5 / 31
    odds = np.log((8 + yes) / (2 + no)) - np.log((2 + yes) / (18 + no))
    error = np.sqrt(1 / (8 + yes) + 1 / (2 + no) + 1 / (2 + yes) + 1 / (18 + no))
    assert log_odds_scores(counts, sizes)[:, 0] == pytest.approx([odds / error, -odds / error])


def test_parts_of_a_word_that_stands_there_are_left_out() -> None:
    said = [["fire truck", "truck", "trucks"]] * 50 + [["boat"]] * 50
    words = distinctive_words(said, np.repeat([0, 1], 50), 2)
    assert len(words[0]) == 1


def test_names_differ() -> None:
    cat, rug, sun = Word("cat", 9, 0.9, 0.1), Word("rug", 5, 0.1, 0), Word("sun", 4, 0.1, 0)
    assert group_names([[cat, rug], [cat, sun], [cat], [], []]) == [
        *("cat, rug", "cat, sun", "cat (3)", "cluster 4", "cluster 5"),
    ]
