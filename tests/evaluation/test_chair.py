"""CHAIR by hand, for captioners we know, and over lengths."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.evaluation.chair import (
    HallucinatedName,
    chair_curve,
    chair_metrics,
    first_words,
    hallucinated_names,
    read_captions,
)
from lucida.evaluation.vocabulary import Vocabulary

NAMES = ["dog", "cat", "horse", "kite", "bus"]
VOCABULARY = Vocabulary(NAMES)
CAPTIONS = ["A dog and a puppy with a cat.", "Two horses.", "Nothing to see.", "A bus, no kites."]
PRESENT = [["dog"], ["horse", "bus"], ["kite"], ["bus"]]


def test_by_hand() -> None:
    metrics = chair_metrics(CAPTIONS, PRESENT, VOCABULARY)
    expected = {"chair_i": 1 / 5, "chair_s": 1 / 4, "recall": 3 / 5, "mean_words": 17 / 4, "mean_objects": 4 / 4}
    for name, value in expected.items():
        metric = metrics[f"chair/{name}"]
        assert metric.value == pytest.approx(value), name
        assert metric.ci95[0] <= value <= metric.ci95[1]
    assert metrics["chair/chair_s"].n == 4
    assert metrics["chair/chair_i"].n == 3  # one caption names nothing


def test_the_table_of_names() -> None:
    table = hallucinated_names(read_captions(CAPTIONS, PRESENT, VOCABULARY))
    assert table[0] == HallucinatedName("cat", 1, 1, 0)
    assert HallucinatedName("dog", 0, 2, 1) in table
    assert [row.name for row in table] == ["cat", "dog", "bus", "horse"]


@given(st.lists(st.sets(st.sampled_from(NAMES)), min_size=2, max_size=12), st.integers(0, 99))
def test_captioners_we_know(present: list[set[str]], seed: int) -> None:
    perfect = [", ".join(f"a {name}" for name in sorted(names)) for names in present]
    metrics = chair_metrics(perfect, present, VOCABULARY)
    shown = any(present)
    assert metrics["chair/chair_s"].value == 0
    for name, value in (("chair_i", 0), ("recall", 1)):
        assert metrics[f"chair/{name}"].value == value if shown else math.isnan(metrics[f"chair/{name}"].value)
    everything = chair_metrics([", ".join(NAMES)] * len(present), present, VOCABULARY)
    absent = sum(len(NAMES) - len(names) for names in present)
    assert everything["chair/chair_i"].value == pytest.approx(absent / (len(NAMES) * len(present)))
    order = np.random.default_rng(seed).permutation(len(present)).tolist()
    moved = chair_metrics([perfect[i] for i in order], [present[i] for i in order], VOCABULARY)
    for name, metric in metrics.items():
        assert moved[name].value == pytest.approx(metric.value, nan_ok=True)


def test_captions_of_one_picture_are_one_cluster() -> None:
    captions, present = ["a dog"] * 20 + ["a cat"] * 20, [["dog"]] * 40
    pictures = [i // 10 for i in range(40)]
    apart = chair_metrics(captions, present, VOCABULARY)["chair/chair_s"]
    together = chair_metrics(captions, present, VOCABULARY, pictures=pictures)["chair/chair_s"]
    assert (apart.value, together.value, together.n) == (0.5, 0.5, 4)
    assert together.ci95[0] < apart.ci95[0] - 0.1


def test_the_policy_of_cutting_is_stated() -> None:
    text = 'It shows a dog. "And a cat!" Then a horse comes'
    assert first_words(text, 7, keep_unfinished=True) == 'It shows a dog. "And a cat!"'
    assert first_words(text, 6, keep_unfinished=False) == "It shows a dog."
    assert first_words(text, 8, keep_unfinished=False) == 'It shows a dog. "And a cat!"'
    assert first_words(text, 99, keep_unfinished=False) == text
    assert first_words(text, 2, keep_unfinished=False) == ""


def test_the_curve_grows_with_length() -> None:
    captions = ["A dog is here. " * 2 + "There is also a cat, a horse and a bus."] * 6
    curve = chair_curve(captions, [["dog"]] * 6, VOCABULARY, (4, 13, 99), keep_unfinished=True)
    values = [curve[f"chair/first_{n}_words/chair_i"].value for n in (4, 13, 99)]
    assert values == pytest.approx([0, 1 / 3, 3 / 5])
    dropped = chair_curve(captions, [["dog"]] * 6, VOCABULARY, (13,), keep_unfinished=False)
    assert dropped["chair/first_13_words/chair_i"].value == 0


def test_what_does_not_fit_is_an_error() -> None:
    with pytest.raises(LucidaError, match="1 captions for 2"):
        chair_metrics(["a dog"], [["dog"], ["cat"]], VOCABULARY)
    with pytest.raises(LucidaError, match="does not know 'zebra'"):
        chair_metrics(["a dog"], [["zebra"]], VOCABULARY)
