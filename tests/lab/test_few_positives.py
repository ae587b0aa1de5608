"""Measures of rare positives, planted features, contrastive heads, and the page on few positives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lucida.lab import datasets, frozen_features
from lucida.lab.datasets import Dataset
from lucida.lab.experiment import Bench
from lucida.lab.experiments import few_positives, few_positives_pairs
from lucida.lab.experiments import load as load_experiment
from lucida.lab.experiments.few_positives import (
    MEASURES,
    PLACES,
    PLANTED,
    Place,
    binary_measures,
    observe_ranking,
    observe_test,
    recall_at_precision,
)
from lucida.lab.experiments.few_positives_pairs import ARMS, BALANCED, MINUS_TEN, SOFTMAX, Heads, Pairs, PairTask
from lucida.lab.frozen_features import Clouds, NameFeatures
from lucida.lab.networks import Perceptron
from lucida.lab.stack import Updates
from lucida.lab.training import Member, Training, train_members
from lucida.losses.contrastive import contrastive_loss
from lucida.losses.sigmoid import sigmoid_loss
from lucida.training.imbalance import REMEDIES
from tests.lab.drawn_bench import whole_page

CLASSES, WIDTH = 8, 4


def made_clouds() -> Clouds:
    draw = np.random.default_rng(0)
    roots = np.stack([np.tril(draw.normal(0, 0.3, (WIDTH, WIDTH))) + np.eye(WIDTH) for _ in range(CLASSES)])
    return Clouds(draw.normal(0, 1.5, (CLASSES, WIDTH)), np.abs(roots) * np.tri(WIDTH))


def population(each: int) -> Dataset:
    drawn = made_clouds().draw(each, np.random.default_rng(1))
    labels = torch.arange(CLASSES).repeat_interleave(each)
    inputs = {"inputs": torch.from_numpy(drawn).flatten(0, 1)}
    return Dataset("planted features", inputs, labels, CLASSES, np.arange(len(labels)), "made")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """A small population in place of the planted one; its places are one in ten and one in a hundred."""
    data = population(2000)
    monkeypatch.setitem(datasets.DATASETS, "planted features", lambda: data)
    monkeypatch.setitem(datasets.DATASETS, "emoji features, short", lambda: replace(data, name="emoji"))
    monkeypatch.setattr(few_positives, "clouds", made_clouds)
    return data


def test_every_part_is_as_skewed_and_has_enough_positives(small: Dataset) -> None:
    for place in PLACES:
        skew = place.skew()
        assert skew.train == skew.validation == skew.test == (40 * place.ratio, 40)
        assert skew.test[1] >= 30
    parts = Place(PLANTED, 10).skew().parts(small, 3)
    positives = int(parts.names.argmax())
    rows = parts.split.test
    assert torch.equal(parts.names[small.labels[rows]] == 1, small.labels[rows] == positives)


def test_measures_are_those_of_scikit_learn() -> None:
    from sklearn import metrics

    draw = np.random.default_rng(4)
    labels = torch.from_numpy((draw.random(600) < 0.1).astype(int))
    logits = torch.from_numpy(np.stack([np.zeros(600), draw.normal(-2, 1, 600) + 2 * labels.numpy()], axis=1))
    found = dict(zip(MEASURES, binary_measures(logits, labels), strict=True))
    gap, answers = logits[:, 1].numpy(), (logits[:, 1] > 0).numpy()
    assert found["PR-AUC"] == pytest.approx(metrics.average_precision_score(labels, gap))
    assert found["ROC-AUC"] == pytest.approx(metrics.roc_auc_score(labels, gap))
    assert found["F1"] == pytest.approx(metrics.f1_score(labels, answers))
    assert found["MCC"] == pytest.approx(metrics.matthews_corrcoef(labels, answers))
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, answers))
    precision, recall, _ = metrics.precision_recall_curve(labels, gap)
    assert found["recall at precision one half"] == pytest.approx(recall[precision >= 0.5].max())
    mean = float(torch.sigmoid(logits[:, 1]).mean())
    assert found["times too many positives"] == pytest.approx(math.log2(mean / float(labels.double().mean())))


def test_recall_at_a_precision_counts_equal_scores_together() -> None:
    positive = np.array([True, False, False, False])
    assert recall_at_precision(np.array([1.0, 1.0, 1.0, 0.0]), positive, 0.5) == 0.0
    assert recall_at_precision(np.array([2.0, 1.0, 1.0, 0.0]), positive, 0.5) == 1.0


def test_the_odds_of_planted_features_are_the_best_score() -> None:
    """They are the logarithm of the densities' ratio, and no direction ranks better."""
    from scipy import stats

    made, data = made_clouds(), population(400)
    x, positive = data.inputs["inputs"].numpy(), (data.labels == 2).numpy()
    densities = np.stack(
        [stats.multivariate_normal(m, r @ r.T).pdf(x[:50]) for m, r in zip(made.means, made.roots, strict=True)]
    )
    expected = np.log(densities[2]) - np.log(np.delete(densities, 2, axis=0).sum(axis=0))
    assert made.log_odds(x[:50], 2) == pytest.approx(expected)
    logits = torch.from_numpy(np.stack([np.zeros(len(x)), made.log_odds(x, 2)], axis=1))
    best = binary_measures(logits, torch.from_numpy(positive).long())[0]
    for direction in np.random.default_rng(5).normal(size=(20, WIDTH)):
        own = torch.from_numpy(np.stack([np.zeros(len(x)), x @ direction], axis=1))
        assert binary_measures(own, torch.from_numpy(positive).long())[0] < best


def test_planted_features_have_the_moments_of_the_real_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    real = population(300)
    monkeypatch.setattr(frozen_features, "short_emoji_features", lambda: real)
    made = frozen_features.clouds.__wrapped__()
    drawn = made.draw(20_000, np.random.default_rng(2))
    for k in range(CLASSES):
        own = real.inputs["inputs"][real.labels == k].numpy()
        assert drawn[k].mean(axis=0) == pytest.approx(own.mean(axis=0), abs=0.05)
        assert np.cov(drawn[k], rowvar=False) == pytest.approx(np.cov(own, rowvar=False), abs=0.1)


def test_weights_move_probabilities_and_not_the_ranking(small: Dataset) -> None:
    place, network = Place(PLANTED, 10), Perceptron(WIDTH, 2, depth=1, width=8)
    seen = {}
    for name in ("cross_entropy", "weighted"):
        training = Training(
            "planted features", 64, 200, 200, Updates("momentum"), skew=place.skew(), remedy=REMEDIES[name]
        )
        members = [Member(seed, 0.02, network) for seed in range(4)]
        outcome = train_members(training, members, observers={"t": observe_test, "r": observe_ranking})
        seen[name] = outcome.observed["t"][:, -1]
        assert np.isnan(outcome.observed["t"][:, 0]).all()
        ranking = outcome.observed["r"][:, -1]
        assert ((ranking >= 0) & (ranking <= 1)).all()
    plain, weighted = (dict(zip(MEASURES, seen[name].mean(axis=0).T, strict=True)) for name in seen)
    assert weighted["times too many positives"][0] > plain["times too many positives"][0] + 0.5
    assert weighted["PR-AUC"][0] == pytest.approx(plain["PR-AUC"][0], abs=0.1)
    assert plain["PR-AUC"][0] == plain["PR-AUC"][1]  # a threshold ranks nothing
    assert plain["F1"][1] > plain["F1"][0] - 0.05


def made_pairs(seed: int) -> Pairs:
    draw = torch.Generator().manual_seed(seed)
    names = torch.randn(60, 64, generator=draw)
    seen, other = (names + 0.5 * torch.randn(60, 64, generator=draw) for _ in range(2))
    order = torch.randperm(60, generator=draw)
    return Pairs(seen, other, names, order[:30], order[30:])


def test_the_pairs_task_has_the_losses_of_the_workbench() -> None:
    own = made_pairs(0)
    batch = {"images": own.seen[:6], "texts": own.names[:6], "ids": torch.tensor([0, 1, 2, 3, 4, 0])}
    heads = Heads(-10.0, 0)
    images, texts = heads(batch["images"], batch["texts"])
    assert images.norm(dim=1).detach().numpy() == pytest.approx(1.0, abs=1e-5)
    losses = {arm: PairTask(heads, arm).loss(batch) for arm in (SOFTMAX, MINUS_TEN, BALANCED)}
    assert {float(loss.weight) for loss in losses.values()} == {6.0}
    expected = {
        SOFTMAX: contrastive_loss(images, texts, 10.0, ids=batch["ids"]),
        MINUS_TEN: sigmoid_loss(images, texts, 10.0, -10.0, ids=batch["ids"]),
        BALANCED: sigmoid_loss(images, texts, 10.0, -10.0, ids=batch["ids"], positive_weight=5.0),
    }
    for arm, loss in losses.items():
        torch.testing.assert_close(loss.loss_sum / loss.weight, expected[arm])


def test_heads_learn_to_retrieve_what_they_were_not_trained_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path))
    monkeypatch.setattr(few_positives_pairs, "pairs", made_pairs)
    bench = Bench(load_experiment("few-positives"), (0, 1))
    for arm in ARMS:
        found = few_positives_pairs.train_pairs(bench, arm, arm, 12, 20, (0, 1), (0.01,), "test")
        assert found["recalls"].shape == (2, 5)
        assert found["losses"].shape == (2, 100)
        assert found["recalls"][:, -1].min() > 0.3, arm  # one in thirty at random
        assert found["losses"][:, -1].mean() < found["losses"][:, 0].mean()


def test_artists_and_concepts_are_drawn_by_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = np.arange(2 * 30 * 2, dtype=np.float32).reshape(2, 30, 2)
    rows = np.arange(4, 24)
    monkeypatch.setattr(few_positives_pairs, "emoji_artwork_features", lambda components: pictures)
    names = NameFeatures(rows, pictures[0, rows] + 0.5)
    monkeypatch.setattr(few_positives_pairs, "emoji_name_features", lambda components: names)
    own = few_positives_pairs.pairs.__wrapped__(1)
    both = {tuple(x) for x in torch.stack([own.seen, own.held_out], dim=1).flatten(1).tolist()}
    assert len(both) == 20
    assert all(abs(a - c) == 60 for a, _, c, _ in both)  # the same concept by the other artist
    assert sorted([*own.validation.tolist(), *own.test.tolist()]) == list(range(20))


def drawn_pairs(
    bench: Any, what: str, arm: str, size: int, epochs: int, seeds: Sequence[int], rates: Sequence[float], part: str
) -> dict[str, NDArray]:
    draw, m = np.random.default_rng(len(what)), len(seeds) * len(rates)
    shapes = {"losses": (m, 40), "recalls": (m, 5 if part == "test" else 1), "bias": (m,), "scale": (m,)}
    found = {name: draw.random(shape) for name, shape in shapes.items()}
    return found | {"steps": np.arange(1, 6), "alive": np.ones(m, dtype=bool)}


def test_the_page_is_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small: Dataset) -> None:
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path))
    monkeypatch.setattr(few_positives_pairs, "train_pairs", drawn_pairs)
    monkeypatch.setattr(few_positives_pairs, "pairs", made_pairs)
    monkeypatch.setattr(few_positives, "_best", drawn_best)
    page = whole_page(monkeypatch, load_experiment("few-positives"), "quick", 500)
    tables = [d for d in page.drawings if d.kind == "table" and "All measures" in d.title]
    assert len(tables) == len(PLACES)
    assert all(table.rows[-1][0] == "always no" for table in tables)


def drawn_best(bench: Bench, found: Any, place: Place) -> None:
    """There are not as many small planted features as one in a thousand needs."""
    for arm in (few_positives.BEST, few_positives.moved(few_positives.BEST)):
        for name in MEASURES:
            few_positives.record(found, name, arm, np.linspace(0.1, 0.9, len(bench.seeds)), str(place))


def test_the_best_possible_is_better_than_chance(small: Dataset) -> None:
    from lucida.lab.observations import Observations

    found, place = Observations(), Place(PLANTED, 10)
    bench = Bench(load_experiment("long-tail"), (0, 1, 2))
    few_positives._best(bench, found, place)
    few_positives._never(bench, found, place)
    numbers = {
        arm: found.numbers["PR-AUC", arm, str(place)].mean() for arm in (few_positives.BEST, few_positives.NEVER)
    }
    assert numbers[few_positives.BEST] > 3 * numbers[few_positives.NEVER]
    assert abs(found.numbers[MEASURES[-1], few_positives.BEST, str(place)].mean()) < 0.4  # its odds are calibrated
