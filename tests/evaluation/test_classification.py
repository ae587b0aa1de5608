"""Metrics of classifiers: equal to scikit-learn's, with intervals that hold what they claim."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as reference

from lucida.core.errors import LucidaError
from lucida.core.results import Metric
from lucida.evaluation.classification import Measures, classification_metrics, confusion, undefined
from lucida.evaluation.labelled_scores import LabelledScores, labelled_scores
from lucida.evaluation.resampling import Draw


def _case(seed: int, n: int = 300, classes: int = 5) -> tuple[NDArray, NDArray]:
    generator = np.random.default_rng(seed)
    labels = generator.choice(classes, size=n, p=np.geomspace(1, 0.05, classes) / np.geomspace(1, 0.05, classes).sum())
    logits = generator.normal(size=(n, classes))
    logits[np.arange(n), labels] += 1.5
    return np.round(logits, 1), labels  # rounded: ties


@pytest.mark.parametrize("seed", range(3))
def test_values_are_scikit_learns(seed: int) -> None:
    logits, labels = _case(seed)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    said, one_hot = logits.argmax(axis=1), np.eye(5)[labels]
    expected = {
        "accuracy": reference.accuracy_score(labels, said),
        "balanced_accuracy": reference.balanced_accuracy_score(labels, said),
        "mcc": reference.matthews_corrcoef(labels, said),
        "log_loss": reference.log_loss(labels, p),
        "roc_auc": reference.roc_auc_score(labels, p, multi_class="ovr"),
        "pr_auc": reference.average_precision_score(one_hot, p),
    }
    for average in ("macro", "weighted"):
        for name in ("precision", "recall", "f1"):
            score = getattr(reference, f"{name}_score")
            expected[f"{name}_{average}"] = score(labels, said, average=average, zero_division=0)
    found = classification_metrics(p, labels, resamples=20)
    assert {name: found[name].value for name in expected} == pytest.approx(expected)
    assert np.array_equal(confusion(labels, said, 5), reference.confusion_matrix(labels, said))


def test_what_scikit_learn_warns_of_is_zero_in_means_and_nan_alone() -> None:
    labels, said = np.array([0, 0, 1, 1, 3]), np.array([0, 2, 1, 0, 0])  # 2 has no row, 3 is never said
    found = classification_metrics(np.eye(4)[said], labels, resamples=50)
    present = [0, 1, 3]
    for name in ("precision", "recall", "f1"):
        score = getattr(reference, f"{name}_score")
        for average in ("macro", "weighted"):
            expected = score(labels, said, average=average, labels=present, zero_division=0)
            assert found[f"{name}_{average}"].value == pytest.approx(expected)
    assert np.isnan(found["class/3/precision"].value)
    assert np.isnan(found["class/2/recall"].value)
    assert found["class/2/support"].value == 0
    assert found["mcc"].value == pytest.approx(reference.matthews_corrcoef(labels, said))
    one = classification_metrics(np.eye(2)[[0, 1, 0]], [0, 0, 0], train_counts=[5, 3], resamples=50)
    for name in ("mcc", "roc_auc", "pr_auc", "accuracy_few"):
        assert np.isnan(one[name].value), name
        assert one[name].ci95 is None, name
    assert one["accuracy"].value == pytest.approx(2 / 3)
    assert found.keys() >= undefined(found).keys() == {n for n, m in found.items() if np.isnan(m.value)}
    assert "no row" in undefined(found)["class/2/recall"]
    assert "never said" in undefined(found)["class/3/precision"]
    assert "one class" in undefined(one)["mcc"]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(5, 40))
def test_weights_are_scikit_learns_sample_weights(seed: int, classes: int, n: int) -> None:
    generator = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), generator.integers(classes, size=n)])
    scores = generator.integers(4, size=(len(labels), classes)) + 0.25
    scores /= scores.sum(axis=1, keepdims=True)
    scored = labelled_scores(scores, labels)
    weights = generator.integers(1, 4, size=(len(labels), 2)).astype(float)
    draw = Draw(weights, np.zeros((2, classes, 2)), np.ones(2, np.int64))
    found, y = Measures(scored)(draw), scored.labels
    of = [1] if classes == 2 else range(classes)
    for r in range(2):
        w = {"sample_weight": weights[:, r]}
        assert found["accuracy"][r] == pytest.approx(reference.accuracy_score(y, scored.predicted, **w))
        assert found["mcc"][r] == pytest.approx(reference.matthews_corrcoef(y, scored.predicted, **w))
        assert found["log_loss"][r] == pytest.approx(reference.log_loss(y, _p(scored), **w))
        for row, c in enumerate(of):
            area = reference.roc_auc_score(y == c, scored.ranking[:, c], **w)
            precision = reference.average_precision_score(y == c, scored.ranking[:, c], **w)
            assert found["roc_auc"][row, r] == pytest.approx(area)
            assert found["pr_auc"][row, r] == pytest.approx(precision)


def _p(scored: LabelledScores) -> NDArray:
    return scored.ranking / scored.ranking.sum(axis=1, keepdims=True)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_order_names_and_copies_of_rows_change_nothing(seed: int) -> None:
    logits, labels = _case(seed, n=60, classes=4)
    logits += [0, 0.001, 0.002, 0.003]  # ties between rows stay; those within a row would go to the lower class
    counts, order, renamed = (
        np.array([40, 8, 20, 3]),
        np.random.default_rng(seed).permutation(60),
        np.array([2, 0, 3, 1]),
    )
    base = _values(classification_metrics(logits, labels, train_counts=counts, resamples=0))
    moved = classification_metrics(logits[order], labels[order], train_counts=counts, resamples=0)
    twice = classification_metrics(np.tile(logits, (2, 1)), np.tile(labels, 2), train_counts=counts, resamples=0)
    other = classification_metrics(
        logits[:, np.argsort(renamed)], renamed[labels], train_counts=counts[np.argsort(renamed)], resamples=0
    )
    for same in (moved, twice, other):
        assert _values(same) == pytest.approx(base, nan_ok=True)


def _values(metrics: dict[str, Metric]) -> dict[str, float]:
    return {name: metric.value for name, metric in metrics.items() if not name.startswith("class/")}


def test_two_classes_by_score_logits_and_threshold() -> None:
    generator = np.random.default_rng(0)
    labels = (np.arange(400) < 20).astype(int)
    score = generator.normal(size=400) + 2 * labels - 2
    p = 1 / (1 + np.exp(-score))
    forms = [score, p, np.stack([np.zeros(400), score], axis=1), np.stack([1 - p, p], axis=1)]
    found = [_values(classification_metrics(form, labels, train_counts=[900, 30], resamples=0)) for form in forms]
    for other in found[1:]:
        assert other == pytest.approx(found[0], nan_ok=True)
    assert found[0]["pr_auc"] == pytest.approx(reference.average_precision_score(labels, score))
    assert "accuracy_medium" not in found[0]
    moved = classification_metrics(score, labels, threshold=0.2, train_counts=[900, 30], resamples=0)
    assert moved["accuracy_few"].value == pytest.approx(reference.recall_score(labels, p >= 0.2))
    turned = classification_metrics(-score, 1 - labels, train_counts=[30, 900], resamples=0)  # class 0 is the rarer
    assert turned["pr_auc"].value == pytest.approx(found[0]["pr_auc"])


def test_logits_far_apart_keep_their_order() -> None:
    logits = np.array([[0.0, 50.0, 1.0], [0.0, 60.0, 1.0], [3.0, 0.0, 1.0], [0.0, 0.0, 9.0]])
    metrics = classification_metrics(logits, [0, 1, 0, 2], resamples=0)
    assert metrics["class/1/recall"].value == 1
    scored = labelled_scores(logits, [0, 1, 0, 2])
    assert scored.ranking[:, 1].max() > scored.ranking[0, 1] > 40  # both are 1 as probabilities


COVERED = ("balanced_accuracy", "accuracy_few", "f1_macro", "mcc", "roc_auc", "pr_auc", "class/1/recall", "class/1/f1")


def test_intervals_cover_with_five_positives_in_a_thousand() -> None:
    labels = np.repeat([0, 1], [995, 5])

    def sample(generator: np.random.Generator, copies: int) -> tuple[NDArray, NDArray]:
        truth = np.tile(labels, copies)
        return generator.normal(size=len(truth)) + 2 * truth - 1.5, truth

    truth = classification_metrics(*sample(np.random.default_rng(99), 1000), train_counts=[995, 5], resamples=0)
    holds: dict[str, list[bool]] = {name: [] for name in COVERED}
    for seed in range(150):
        found = classification_metrics(
            *sample(np.random.default_rng(seed), 1), train_counts=[995, 5], resamples=200, seed=seed
        )
        for name in COVERED:
            low, high = found[name].ci95 or (np.nan, np.nan)
            holds[name].append(low <= truth[name].value <= high)
    coverage = {name: np.mean(held) for name, held in holds.items()}
    print("coverage of the 95 % intervals:", {name: f"{share:.3f}" for name, share in coverage.items()})
    assert min(coverage.values()) >= 0.9


def test_rows_of_one_cluster_stay_together() -> None:
    logits, labels = _case(1, n=100)
    apart = classification_metrics(np.repeat(logits, 8, axis=0), np.repeat(labels, 8), resamples=400)
    together = classification_metrics(
        np.repeat(logits, 8, axis=0), np.repeat(labels, 8), clusters=np.repeat(np.arange(100), 8), resamples=400
    )
    for name in ("accuracy", "balanced_accuracy", "f1_macro", "pr_auc", "log_loss", "mcc"):
        assert _width(together[name]) > 1.8 * _width(apart[name]), name
    assert together["accuracy"].n == 100


def _width(metric: Metric) -> float:
    assert metric.ci95 is not None
    return metric.ci95[1] - metric.ci95[0]


@pytest.mark.parametrize(
    ("scores", "labels", "options", "words"),
    [
        ([[0.0, np.nan]], [0], {}, "scores of 1 of 1 rows are not finite (row 0)"),
        ([[0.0, 1.0]], [2], {}, "label 2 is not one of the 2 classes 0 to 1 (row 0)"),
        (np.zeros((0, 3)), [], {}, "no row to score"),
        ([[0.0, 1.0]], [0, 1], {}, "labels [2] for scores [1, 2]"),
        ([[0.0, 1.0]], [0], {"train_counts": [1]}, "training counts [1] for 2 classes"),
        ([[0.0, 1.0, 2.0]], [0], {"threshold": 0.5}, "a threshold needs two classes, not 3"),
        ([[0.0, 1.0]], [0], {"clusters": [1, 2]}, "2 clusters for 1 rows"),
        ([[0.0, 2.0]], [0], {"scale": "probabilities"}, "each row must sum to 1"),
        ([[0.0, 1.0]], [0], {"names": ["cat", "cat"]}, "1 different names for 2 classes"),
        ([[0.0, 1.0]], [0.5], {}, "labels must be whole numbers"),
    ],
)
def test_bad_input_is_one_line(scores: Any, labels: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(LucidaError) as error:
        classification_metrics(scores, labels, **options)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
