"""Two models on the same rows, and methods over seeds: noise is called noise."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from lucida.core.errors import LucidaError
from lucida.evaluation.classification import classification_metrics
from lucida.evaluation.comparison import paired_difference, ranked

LABELS = np.repeat([0, 1, 2], [300, 60, 12])


def _pair(seed: int, gain: float) -> tuple[NDArray, NDArray]:
    """Two models that share most of their noise; the first is better at the rare classes by ``gain``."""
    generator = np.random.default_rng(seed)
    shared = generator.normal(size=(len(LABELS), 3))
    shared[np.arange(len(LABELS)), LABELS] += 1.5
    a, b = (shared + 0.3 * generator.normal(size=shared.shape) for _ in range(2))
    a[:, 1:] += gain
    return a, b


@pytest.mark.parametrize(
    "metric", ["accuracy", "balanced_accuracy", "mcc", "roc_auc", "pr_auc", "log_loss", "class/2/f1"]
)
def test_difference_is_that_of_the_metrics(metric: str) -> None:
    a, b = _pair(0, 0.7)
    one, other = (classification_metrics(scores, LABELS, resamples=0)[metric].value for scores in (a, b))
    found = paired_difference(a, b, LABELS, metric, resamples=200)
    assert found.value == pytest.approx(one - other)
    assert found.ci95 is not None
    assert found.ci95[0] <= found.value <= found.ci95[1]
    turned = paired_difference(b, a, LABELS, metric, resamples=200)
    assert turned.value == pytest.approx(-found.value)


def test_shared_rows_make_the_interval_shorter() -> None:
    a, b = _pair(0, 0.7)
    found = paired_difference(a, b, LABELS, "pr_auc", resamples=300)
    alone = [classification_metrics(scores, LABELS, resamples=300)["pr_auc"].ci95 for scores in (a, b)]
    assert found.ci95 is not None
    apart = np.sqrt(sum((high - low) ** 2 for low, high in filter(None, alone)))
    assert found.ci95[1] - found.ci95[0] < 0.7 * apart


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "f1_macro"])
def test_equal_models_are_rarely_told_apart(metric: str) -> None:
    told = []
    for seed in range(100):
        a, b = _pair(seed, 0.0)
        low, high = paired_difference(a, b, LABELS, metric, resamples=150, seed=seed).ci95 or (np.nan, np.nan)
        told.append(not low <= 0 <= high)
    print(f"{metric}: equal models told apart in {np.mean(told):.3f} of the comparisons")
    assert np.mean(told) <= 0.08


def test_models_that_are_right_on_the_same_few_rows_are_not_surely_equal() -> None:
    labels = np.repeat([0, 1], [200, 5])
    low, high = paired_difference(labels * 4.0 - 2, labels * 4.0 - 2, labels, "balanced_accuracy").ci95 or (0, 0)
    assert low < -0.02 < 0.02 < high


def test_difference_with_bad_input() -> None:
    a, b = _pair(0, 0.0)
    with pytest.raises(LucidaError, match="no metric 'f2'"):
        paired_difference(a, b, LABELS, "f2")
    with pytest.raises(LucidaError, match="3 classes against 2"):
        paired_difference(a, np.eye(2)[np.minimum(LABELS, 1)], np.minimum(LABELS, 1), "accuracy")


def test_ranking_by_hand() -> None:
    generator = np.random.default_rng(0)
    shared = generator.normal(size=6)
    values = np.stack(
        [shared, shared + 2 + 0.1 * generator.normal(size=6), shared + 2 + 0.1 * generator.normal(size=6)]
    )
    found = ranked(["plain", "cheap", "dear"], values, costs={"plain": 1, "cheap": 2, "dear": 9})
    assert {place.name: place.noise for place in found.places} == {"cheap": True, "dear": True, "plain": False}
    assert found.recommendation.choice == "cheap"
    last = found.places[-1]
    best = values[["plain", "cheap", "dear"].index(found.recommendation.best)]
    assert last.behind.value == pytest.approx((best - values[0]).mean())
    interval = stats.ttest_rel(best, values[0]).confidence_interval()
    assert last.behind.ci95 == pytest.approx((interval.low, interval.high))
    rest = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
    expected = stats.studentized_range.sf(last.behind.value / np.sqrt((rest**2).sum() / (2 * 5) / 6), 3, 2 * 5)
    assert last.p_value == pytest.approx(expected)
    losses = ranked(["plain", "cheap", "dear"], -values, larger_is_better=False)
    assert [place.name for place in losses.places] == [place.name for place in found.places]
    assert losses.places[-1].behind.value == pytest.approx(last.behind.value)


def test_equal_methods_are_noise_to_each_other() -> None:
    generator, told, with_best_alone = np.random.default_rng(0), [], []
    for _ in range(300):
        values = generator.normal(size=(12, 5))
        found = ranked([str(i) for i in range(12)], values)
        told.append(len(found.recommendation.noise) < 11)
        best = int(values.mean(axis=1).argmax())
        against = stats.ttest_rel(values[best], np.delete(values, best, axis=0), axis=1).pvalue
        with_best_alone.append(against.min() < 0.05)
    print(f"a difference between equal methods: {np.mean(told):.3f}; best alone {np.mean(with_best_alone):.3f}")
    assert np.mean(told) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)
    assert np.mean(with_best_alone) > 0.2


def test_a_clear_gain_is_told_with_five_seeds_and_many_methods() -> None:
    generator, told = np.random.default_rng(1), []
    for _ in range(50):
        values = generator.normal(size=(20, 5)) + 3 * generator.normal(size=5)  # seeds differ more than methods
        values[7] += 6
        found = ranked([str(i) for i in range(20)], values)
        told.append(found.recommendation.choice == "7" and not found.recommendation.noise)
    assert np.mean(told) > 0.9


def test_splits_of_one_pool_are_not_independent_seeds() -> None:
    """Shares of right answers among rows that splits of a pool test again and again: the stretched interval holds."""
    generator, held, plain = np.random.default_rng(2), [], []
    for _ in range(300):
        right = generator.random(300) < 0.7
        shares = [right[generator.permutation(300)[:90]].mean() for _ in range(5)]
        for answers, overlap in ((held, 90 / 210), (plain, 0.0)):
            low, high = ranked(["one"], [shares], overlap=overlap).places[0].mean.ci95 or (0.0, 0.0)
            answers.append(low <= 0.7 <= high)
    print(f"held the truth: {np.mean(held):.3f}, as if independent {np.mean(plain):.3f}")
    assert np.mean(plain) < 0.9 < np.mean(held)


def test_sentences_and_ties() -> None:
    same = ranked(["simple", "twin"], [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    assert same.recommendation.choice == same.recommendation.best == "simple"
    assert same.recommendation.sentence == "simple is best and cheapest; 3 seeds do not tell it from twin."
    shifted = ranked(["simple", "better"], [[0.1, 0.2, 0.3], [1.1, 1.2, 1.3]])  # by the same amount under every seed
    assert shifted.recommendation.sentence == "better is best by more than noise."
    noisy = ranked(["simple", "better"], [[1.0, 2.0, 3.0], [1.1, 1.7, 3.6]])
    assert "use simple, the cheapest of these" in noisy.recommendation.sentence


@pytest.mark.parametrize(
    ("names", "values", "words"),
    [
        (["a"], [[1.0]], "one seed cannot tell"),
        (["a", "a"], [[1.0, 2], [1, 2]], "two methods have one name"),
        (["a", "b"], [[1.0, 2], [1, np.nan]], "a value of 'b' is not finite"),
        ([], np.zeros((0, 2)), "for 0 methods"),
    ],
)
def test_rankings_of_bad_input(names: list[str], values: NDArray, words: str) -> None:
    with pytest.raises(LucidaError, match=words):
        ranked(names, values)
