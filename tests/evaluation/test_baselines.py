"""Baselines equal what they describe; the warning speaks where accuracy misleads and is silent elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.metrics import f1_score, log_loss

from lucida.core.errors import LucidaError
from lucida.core.results import Metric
from lucida.evaluation.baselines import always_majority, baselines, chance, warning_of
from lucida.evaluation.classification import classification_metrics
from lucida.report.classification_tables import as_table, confusion_table

LABELS = np.repeat([0, 1], [995, 5])


def test_majority_is_scikit_learns_prior() -> None:
    train, test = np.repeat([0, 1, 2], [2, 9, 4]), np.repeat([0, 1, 2], [5, 5, 7])
    dummy = DummyClassifier(strategy="prior").fit(np.zeros((15, 1)), train)
    found = always_majority(test, 3, np.bincount(train), resamples=0)
    nothing = np.zeros((17, 1))
    assert found["accuracy"].value == pytest.approx(dummy.score(nothing, test))
    assert found["log_loss"].value == pytest.approx(log_loss(test, dummy.predict_proba(nothing)))
    assert found["f1_macro"].value == pytest.approx(f1_score(test, dummy.predict(nothing), average="macro"))
    assert (found["mcc"].value, found["roc_auc"].value) == (0, 0.5)


def test_chance_is_the_mean_of_guesses() -> None:
    labels, counts = np.repeat([0, 1, 3], [600, 300, 100]), [9, 5, 2, 1]  # class 2 has no row
    exact, generator = chance(labels, 4, counts), np.random.default_rng(0)
    drawn = [
        classification_metrics(np.eye(4)[generator.integers(4, size=1000)], labels, train_counts=counts, resamples=0)
        for _ in range(200)
    ]
    assert exact.keys() == drawn[0].keys()
    for name in (
        "accuracy",
        "balanced_accuracy",
        "accuracy_many",
        "accuracy_few",
        "mcc",
        "roc_auc",
        "pr_auc",
        "f1_macro",
    ):
        assert exact[name].value == pytest.approx(np.mean([one[name].value for one in drawn]), abs=0.01), name
    assert exact["log_loss"].value == pytest.approx(np.log(4))
    assert exact["calibration_error"].value == pytest.approx(0)
    assert np.isnan(exact["class/2/recall"].value)


def test_warning_where_accuracy_is_that_of_silence() -> None:
    rows = baselines(LABELS, 2, [9950, 50], resamples=100, prefix="test")
    silent = rows["always negative"]
    words = warning_of(silent, silent, prefix="test")
    assert words is not None
    assert "99.5" in words
    assert "0.0" in words
    assert "no higher than saying the most frequent class" in words
    generator = np.random.default_rng(0)
    alarms = 3.0 * LABELS + generator.normal(size=1000) - 1.2  # finds the rare class, and many others
    found = classification_metrics(alarms, LABELS, train_counts=[9950, 50], prefix="test", resamples=100)
    assert ", yet " in (warning_of(found, silent, prefix="test") or "")


def test_warning_where_frequent_classes_hide_the_others() -> None:
    labels, said = np.repeat([0, 1, 2], [45, 45, 10]), np.repeat([0, 1, 2, 0], [45, 45, 1, 9])
    found = classification_metrics(np.eye(3)[said], labels, train_counts=[45, 45, 10], resamples=0)
    silent = always_majority(labels, 3, [45, 45, 10], resamples=0)
    assert "is that of the frequent classes, but 10.0" in (warning_of(found, silent) or "")


def test_no_warning_where_accuracy_is_honest() -> None:
    labels = np.tile([0, 1, 2, 3], 50)
    silent = always_majority(labels, 4, resamples=0)
    guesses = classification_metrics(np.eye(4)[np.random.default_rng(0).integers(4, size=200)], labels, resamples=0)
    assert warning_of(guesses, silent) is None  # useless, and accuracy says so
    right = classification_metrics(np.eye(4)[labels], labels, resamples=0)
    assert warning_of(right, silent) is None
    perfect = classification_metrics(6.0 * LABELS - 3, LABELS, resamples=100)
    assert warning_of(perfect, always_majority(LABELS, 2, resamples=0)) is None


def test_tables_hold_the_baselines() -> None:
    rows = baselines(LABELS, 2, [9950, 50], resamples=100)
    rows = {"模型": rows["always negative"], **rows}
    lines = as_table(rows, ("accuracy", "pr_auc", "accuracy_medium")).splitlines()
    assert len(lines) == 4
    assert "medium" not in lines[0]
    assert lines[2].startswith("always negative  99.5 % [98.8, 99.8]")
    assert lines[1].index("99.5") == lines[2].index("99.5") - 2  # two letters, four columns wide
    assert as_table({"a": {"accuracy": Metric(0.5)}, "b": {}}).splitlines()[2] == "b       –"
    matrix = confusion_table("Confusion", [[8, 2], [0, 0]], ["no", "yes"])
    assert [cell.small for row in matrix.rows for cell in row.cells] == ["80\xa0%", "20\xa0%", "", ""]


def test_baselines_of_bad_input() -> None:
    with pytest.raises(LucidaError, match="not one of the classes 0 to 1"):
        chance([0, 2], 2)
    with pytest.raises(LucidaError, match="need labels"):
        always_majority([], 2)
    with pytest.raises(LucidaError, match="no class has a row in training"):
        always_majority([0, 1], 2, [0, 0])
