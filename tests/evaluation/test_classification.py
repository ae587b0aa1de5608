"""Metrics of classifiers: equal to scikit-learn's, with intervals that hold what they claim."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as reference

from lucida.evaluation.classification import classification_metrics, confusion


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
