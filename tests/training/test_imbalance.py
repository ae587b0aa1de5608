"""One contract for all remedies; the remedies in the training loop; what the post-hoc ones do to any logits."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lucida.core.durations import Duration
from lucida.core.errors import LucidaError
from lucida.core.run_folder import RunFolder
from lucida.losses.imbalance import deferred, make_loss
from lucida.training import post_hoc
from lucida.training.batches import BatchStream, Draw, ExampleData, Resampled
from lucida.training.imbalance import REMEDIES, ClassifierConfig, Remedy, fit_classifier, folds_of
from lucida.training.loop import train
from lucida.training.post_hoc import SCORES, adjusted_logits, moved_thresholds, score
from lucida.training.tasks import ClassificationTask
from lucida.training.tuning import Floor, tuned

COUNTS = [60, 14, 6]
SHORT = ClassifierConfig(steps=60, batch_size=32, learning_rate=0.05)


def clouds(
    seed: int, counts: list[int] = COUNTS, width: int = 6, distance: float = 1.5
) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian classes that overlap, features off centre and of different scale."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    centres = distance * np.random.default_rng(7).normal(size=(len(counts), width))
    features = centres[labels] + generator.normal(size=(len(labels), width))
    return (3 + features * np.geomspace(0.1, 10, width)).astype(np.float32), labels


def answers(classifier: Any, features: np.ndarray) -> np.ndarray:
    return classifier.logits(features).argmax(dim=1).numpy()


def test_the_names_are_the_keys() -> None:
    assert len(REMEDIES) == 18
    assert all(name == remedy.name for name, remedy in REMEDIES.items())
    assert all(remedy.source and remedy.cost for remedy in REMEDIES.values())


@pytest.mark.parametrize("remedy", REMEDIES.values(), ids=list(REMEDIES))
class TestEveryRemedy:
    def test_it_learns_and_its_logits_are_finite(self, remedy: Remedy) -> None:
        features, labels = clouds(0)
        test, truth = clouds(1, [40, 40, 40])
        classifier = fit_classifier(features, labels, 3, remedy, SHORT, seed=0)
        logits = classifier.logits(test)
        assert (logits.shape, logits.dtype) == ((120, 3), torch.float32)
        assert torch.isfinite(logits).all()
        assert score(logits, truth) > 0.6  # a third by chance
        assert classifier.steps == SHORT.steps  # equal footing
        assert np.isfinite(classifier.loss)

    def test_a_seed_gives_the_same_numbers(self, remedy: Remedy) -> None:
        features, labels = clouds(0)
        torch.manual_seed(1)
        first = fit_classifier(features, labels, 3, remedy, SHORT, seed=0).logits(features)
        torch.manual_seed(2)  # no random number from outside
        again = fit_classifier(features, labels, 3, remedy, SHORT, seed=0).logits(features)
        other = fit_classifier(features, labels, 3, remedy, SHORT, seed=1).logits(features)
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_its_grid_can_be_set(self, remedy: Remedy) -> None:
        features, labels = clouds(0)
        tried = []
        for name, values in remedy.grid.items():
            for value in (values[0], values[-1]):
                changed = fit_classifier(features, labels, 3, remedy.with_settings(**{name: value}), SHORT, seed=0)
                tried.append(changed.logits(features))
        assert all(not torch.equal(*pair) for pair in zip(tried[::2], tried[1::2], strict=True))

    def test_a_hidden_layer_and_views(self, remedy: Remedy) -> None:
        features, labels = clouds(0)
        config = replace(SHORT, hidden=8)
        views = np.stack([features, features + 0.1 * np.random.default_rng(0).normal(size=features.shape)])
        classifier = fit_classifier(features, labels, 3, remedy, config, seed=0, views=views.astype(np.float16))
        assert score(classifier.logits(features), labels) > 0.6

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"labels": np.repeat([0, 2], 40)}, r"no example \(class 1\)"),
            ({"labels": np.repeat([0, 1, 3], [60, 14, 6])}, "whole numbers from 0 to 2"),
            ({"labels": np.repeat([-1, 1, 2], [60, 14, 6])}, "whole numbers from 0 to 2"),
            ({"labels": np.linspace(0, 2, 80)}, "whole numbers from 0 to 2"),
            ({"labels": np.arange(9) % 3}, r"features \[80, 6\] and labels \[9\] do not fit"),
            ({"row 5": np.nan}, r"a feature is NaN or infinite \(features, row 5\)"),
            ({"row 0": -np.inf}, r"a feature is NaN or infinite \(features, row 0\)"),
        ],
    )
    def test_bad_input_is_one_line(self, remedy: Remedy, wrong: dict[str, Any], message: str) -> None:
        features, labels = clouds(0)
        for name, value in wrong.items():
            if name.startswith("row"):
                features[int(name[4:]), 2] = value
        with pytest.raises(LucidaError, match=message) as caught:
            fit_classifier(features, wrong.get("labels", labels), 3, remedy, SHORT, seed=0)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["smote", "classifier_retraining", "threshold_moving", "ldam_drw"])
def test_a_class_with_one_example(name: str) -> None:
    features, labels = clouds(0, [30, 10, 1])
    classifier = fit_classifier(features, labels, 3, REMEDIES[name], SHORT, seed=0)
    assert torch.isfinite(classifier.logits(features)).all()


def test_remedies_help_the_rare_class() -> None:
    """On clouds that overlap: each finds more of the rarest class than plain cross-entropy; focal is about equal."""
    features, labels = clouds(0, [400, 100, 16], distance=0.6)
    test, truth = clouds(1, [200, 200, 200], distance=0.6)
    config = ClassifierConfig(steps=100, batch_size=64, learning_rate=0.05)
    recall = {}
    for name, remedy in REMEDIES.items():
        found = answers(fit_classifier(features, labels, 3, remedy, config, seed=0), test)
        recall[name] = (found[truth == 2] == 2).mean()
    plain = recall.pop("cross_entropy")
    assert abs(recall.pop("focal") - plain) < 0.15
    assert {name: value for name, value in recall.items() if value <= plain} == {}


def test_what_views_are_drawn() -> None:
    """Each time a row is shown one of its views is: a classifier of views that say nothing learns nothing."""
    features, labels = clouds(0, [40, 40, 40])
    noise = np.random.default_rng(0).normal(size=(3, *features.shape)).astype(np.float32)
    blind = fit_classifier(features, labels, 3, REMEDIES["cross_entropy"], SHORT, seed=0, views=noise)
    same = fit_classifier(features, labels, 3, REMEDIES["cross_entropy"], SHORT, seed=0, views=features[None])
    plain = fit_classifier(features, labels, 3, REMEDIES["cross_entropy"], SHORT, seed=0)
    assert score(blind.logits(features), labels) < 0.6 < score(plain.logits(features), labels)
    torch.testing.assert_close(same.logits(features), plain.logits(features))
    with pytest.raises(LucidaError, match="views"):
        fit_classifier(features, labels, 3, REMEDIES["smote"], SHORT, seed=0, views=features)


# ---------------------------------------------------------------------------------------------- in the training loop


class Rows:
    """Rows with their labels, for the loop."""

    def __init__(self, features: np.ndarray, labels: np.ndarray):
        self.features, self.labels = features, labels
        self.drawn: list[float] = []

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Any, draw: Draw) -> dict[str, torch.Tensor]:
        self.drawn += [float(draw(k).random()) for k in range(len(indices))]
        return {"input": torch.from_numpy(self.features[indices]), "labels": torch.from_numpy(self.labels[indices])}


def run(toys: ModuleType, folder: Path, task: Any, data: Any, **changes: Any) -> Any:
    config = toys.settings(changes.pop("steps", 12), **changes)
    return train(task, data, config, RunFolder(folder), progress=False, resume=True)


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Linear(6, 3)


def weights_after(toys: ModuleType, folder: Path, loss: Any, **changes: Any) -> torch.Tensor:
    task = ClassificationTask(network(), loss)
    run(toys, folder, task, Rows(*clouds(0)), learning_rate=0.05, **changes)
    return task.model.weight.detach()


def test_no_loss_is_plain_cross_entropy(toys: ModuleType, tmp_path: Path) -> None:
    none = weights_after(toys, tmp_path / "a", None)
    assert torch.equal(none, weights_after(toys, tmp_path / "b", make_loss("cross_entropy", COUNTS)))
    assert not torch.equal(none, weights_after(toys, tmp_path / "c", make_loss("weighted", COUNTS)))


def test_a_weighted_loss_has_the_gradient_of_the_whole_batch_in_parts(toys: ModuleType, tmp_path: Path) -> None:
    loss = make_loss("weighted", COUNTS)
    whole = weights_after(toys, tmp_path / "a", loss)
    torch.testing.assert_close(weights_after(toys, tmp_path / "b", loss, micro_batch_size=5), whole)


def test_deferred_weights_set_in_during_a_run_and_after_a_resumed_one(toys: ModuleType, tmp_path: Path) -> None:
    seen: list[tuple[float, bool]] = []

    class Recorded(type(deferred("cross_entropy", COUNTS))):  # type: ignore[misc]  # the class of the loss, watched
        def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            seen.append((self.progress, bool((self.weights(labels) != 1).any())))
            return super().__call__(logits, labels)

    plain = deferred("cross_entropy", COUNTS, share=0.5, beta=0.99)
    task = ClassificationTask(network(), Recorded(plain.base, plain.class_weights, plain.share))
    run(toys, tmp_path, task, Rows(*clouds(0)))
    assert [progress for progress, _ in seen] == [step / 12 for step in range(12)]
    assert [late for _, late in seen] == [False] * 6 + [True] * 6


@pytest.mark.parametrize("sampling", ["oversampled", "undersampled", "class_balanced", "square_root"])
def test_any_task_takes_a_sampling(toys: ModuleType, tmp_path: Path, sampling: Any) -> None:
    """It only chooses rows: here pairs of a dual encoder, with classes by what they show."""
    task, pairs = toys.toy("contrastive")
    labels = np.arange(len(pairs)) // 40  # 40 pairs and 13
    data = Resampled(pairs, labels, sampling)
    run(toys, tmp_path / "a", task, data, steps=6)
    stopped, _ = toys.toy("contrastive")
    run(toys, tmp_path / "b", stopped, data, steps=6, micro_batch_size=5)
    for a, b in zip(task.model.parameters(), stopped.model.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    stream = BatchStream(data, batch_size=len(data))
    shown = Counter(labels[index % len(pairs)] for _, index in stream.places(0))
    if sampling in ("oversampled", "undersampled"):
        assert shown[0] == shown[1] == (40 if sampling == "oversampled" else 13)
    else:
        assert 0.32 < shown[1] / len(data) < 0.7  # a quarter as they come


def test_a_row_shown_again_has_draws_of_its_own() -> None:
    rows = Rows(*clouds(0))
    data = Resampled(rows, rows.labels, "oversampled")
    stream = BatchStream(data, batch_size=60)
    labels = torch.cat([stream.micro_batches(step)[0]["labels"] for step in range(3)])
    assert Counter(labels.tolist()) == {0: 60, 1: 60, 2: 60}
    assert len(set(rows.drawn)) == 180


def test_a_run_is_not_continued_under_another_sampling(toys: ModuleType, tmp_path: Path) -> None:
    rows = Rows(*clouds(0))
    every = Duration(3, "steps")
    run(toys, tmp_path, ClassificationTask(network()), Resampled(rows, rows.labels, "instance"), checkpoint_every=every)
    other = Resampled(rows, rows.labels, "square_root")
    with pytest.raises(LucidaError, match="sampling"):
        run(toys, tmp_path, ClassificationTask(network()), other, checkpoint_every=every)


def test_labels_must_fit_the_data() -> None:
    with pytest.raises(LucidaError, match="2 labels do not fit 3 examples"):
        Resampled(ExampleData(3, lambda i, g: i, dict), np.zeros(2), "instance")


# -------------------------------------------------------------------------------------------------- after the training


def test_adjusted_logits_are_the_balanced_bayes_answer() -> None:
    """Of true probabilities under a prior, adjustment by 1 gives those under equal classes."""
    generator = np.random.default_rng(0)
    likelihood, prior = generator.random((50, 4)), np.array([0.7, 0.2, 0.06, 0.04])
    logits = torch.from_numpy(np.log(likelihood * prior) + generator.normal(size=(50, 1)))
    balanced = adjusted_logits(logits, (1000 * prior).astype(int)).softmax(dim=1)
    np.testing.assert_allclose(balanced.numpy(), likelihood / likelihood.sum(axis=1, keepdims=True))
    assert torch.equal(adjusted_logits(logits, [7, 1, 1, 1], tau=0.0), logits)
    with pytest.raises(LucidaError, match=r"logits \[50, 4\] do not fit 2 classes"):
        adjusted_logits(logits, [1, 1])


def test_the_loss_and_the_adjustment_agree_at_the_optimum() -> None:
    """A bias can take up the prior, so both have one optimum: what differs is how far training and decay let them."""
    features, labels = clouds(0, [120, 40, 20], width=2, distance=0.5)
    config = ClassifierConfig(steps=300, batch_size=180, learning_rate=0.1, weight_decay=0.0)
    chosen = [REMEDIES[name] for name in ("logit_adjustment_loss", "logit_adjustment_post_hoc")]
    both = [fit_classifier(features, labels, 3, remedy, config, seed=0).logits(features) for remedy in chosen]
    torch.testing.assert_close(both[0].softmax(dim=1), both[1].softmax(dim=1), atol=0.005, rtol=0)


@given(seed=st.integers(0, 999), metric=st.sampled_from(sorted(SCORES)), classes=st.integers(2, 5))
@settings(max_examples=60, deadline=None)
def test_moved_thresholds_never_do_worse(seed: int, metric: str, classes: int) -> None:
    generator = np.random.default_rng(seed)
    labels = np.minimum(generator.geometric(0.6, 80) - 1, classes - 1)
    logits = generator.normal(size=(80, classes)) + 1.5 * np.eye(classes)[labels] - np.arange(classes)
    offsets = moved_thresholds(logits, labels, metric=metric)
    assert score(logits + offsets.double().numpy(), labels, metric) >= score(logits, labels, metric) - 1e-9


@given(seed=st.integers(0, 999), metric=st.sampled_from(sorted(SCORES)))
@settings(max_examples=40, deadline=None)
def test_two_classes_get_the_best_of_all_thresholds(seed: int, metric: str) -> None:
    generator = np.random.default_rng(seed)
    labels = (generator.random(40) < 0.2).astype(int)
    labels[:2] = 0, 1
    logits = np.stack([np.zeros(40), np.round(generator.normal(size=40) + labels - 1, 1)], axis=1)  # with ties
    cuts = np.unique(logits[:, 1])
    tried = [-np.inf, *(cuts[1:] + cuts[:-1]) / 2, np.inf]
    best = max(
        score(np.stack([np.zeros(40), np.where(logits[:, 1] > cut, 1.0, -1.0)], axis=1), labels, metric)
        for cut in tried
    )
    offsets = moved_thresholds(logits, labels, metric=metric)
    assert score(logits + offsets.double().numpy(), labels, metric) == pytest.approx(best, abs=1e-9)


def test_of_very_many_thresholds_every_so_many_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    labels = np.minimum(generator.geometric(0.7, 3000) - 1, 2)
    logits = generator.normal(size=(3000, 3)) + 2 * np.eye(3)[labels] - 2 * np.arange(3)
    exact = score(logits + moved_thresholds(logits, labels).double().numpy(), labels)
    monkeypatch.setattr(post_hoc, "OFFSETS", 50)
    fewer = score(logits + moved_thresholds(logits, labels).double().numpy(), labels)
    assert score(logits, labels) + 0.05 < exact
    assert abs(fewer - exact) < 0.01


def test_scores_equal_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    labels = np.minimum(generator.geometric(0.5, 200) - 1, 3)
    logits = generator.normal(size=(200, 4)) + np.eye(4)[labels]
    said = logits.argmax(axis=1)
    assert score(logits, labels) == pytest.approx(metrics.balanced_accuracy_score(labels, said))
    assert score(logits, labels, "accuracy") == pytest.approx(metrics.accuracy_score(labels, said))
    assert score(logits, labels, "f1_macro") == pytest.approx(metrics.f1_score(labels, said, average="macro"))
    rarest = metrics.f1_score(labels, said, average=None)[np.bincount(labels).argmin()]
    assert score(logits, labels, "f1_rarest") == pytest.approx(rarest)
    with pytest.raises(LucidaError, match="no score 'f2'; use balanced_accuracy"):
        score(logits, labels, "f2")
    with pytest.raises(LucidaError, match="no score 'f2'"):
        moved_thresholds(logits, labels, metric="f2")


# --------------------------------------------------------------------------------------------------------- the tuner


@given(counts=st.lists(st.integers(1, 20), min_size=2, max_size=5), folds=st.integers(2, 6), seed=st.integers(0, 9))
@settings(max_examples=50, deadline=None)
def test_folds_are_stratified_and_never_hold_out_a_whole_class(counts: list[int], folds: int, seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    fold = folds_of(labels, folds, seed)
    for c, count in enumerate(counts):
        held = np.bincount(fold[labels == c] + 1, minlength=folds + 1)
        assert (held[0] == 1) == (count == 1)
        assert held[1:].max() - held[1:].min() <= 1
        assert held[1:].max() < count
    sizes = np.bincount(fold[fold >= 0], minlength=folds)
    assert sizes.max() - sizes.min() <= 1 + len(counts)


def test_the_tuner_finds_what_helps_and_reports_all_it_tried() -> None:
    features, labels = clouds(0, [200, 50, 20], distance=0.6)
    remedy = REMEDIES["logit_adjustment_post_hoc"].with_settings(grid={"tau": (0.0, 1.0)})
    found = tuned(remedy, features, labels, 3, SHORT, seed=0)
    assert found.settings == {"tau": 1.0}
    assert found.remedy.post_hoc_settings["tau"] == 1.0
    assert [combination for combination, _ in found.scores] == [{"tau": 0.0}, {"tau": 1.0}]
    assert found.scores[1][1] > found.scores[0][1]
    plain = tuned(REMEDIES["cross_entropy"], features, labels, 3, SHORT, seed=0)
    assert (plain.remedy, plain.config, plain.settings, plain.trainings) == (REMEDIES["cross_entropy"], SHORT, {}, 0)
    moved = tuned(REMEDIES["threshold_moving"], features, labels, 3, SHORT, seed=0, metric="accuracy")
    assert moved.remedy.post_hoc_settings == {"metric": "accuracy"}


def test_the_rate_is_tuned_first_and_the_training_gets_it() -> None:
    features, labels = clouds(0)
    rates = (1e-4, 0.05)
    found = tuned(REMEDIES["ldam"], features, labels, 3, SHORT, seed=0, folds=3, rates=rates)
    tried = [settings["learning_rate"] for settings, _ in found.scores[:2]]
    assert tried == [rate * 10 for rate in rates]  # of cosines
    assert found.config.learning_rate == found.settings["learning_rate"] in tried
    assert found.config.steps == SHORT.steps
    scores = dict(zip(tried, [score for _, score in found.scores[:2]], strict=True))
    assert scores[found.config.learning_rate] == max(scores.values())
    assert found.trainings == 3 * (2 + 3)
    alone = tuned(REMEDIES["cross_entropy"], features, labels, 3, SHORT, seed=0, folds=3, rates=rates)
    assert alone.settings.keys() == {"learning_rate"}


def test_settings_that_take_too_much_from_some_classes_are_passed_over() -> None:
    features, labels = clouds(0, [200, 50, 20], distance=0.6)
    taus = (0.0, 0.5, 1.0, 2.0)
    remedy = REMEDIES["logit_adjustment_post_hoc"].with_settings(grid={"tau": taus})

    def found(floor: Floor | None = None) -> Any:
        return tuned(remedy, features, labels, 3, SHORT, seed=0, floor=floor)

    free = found()
    heads = {}
    for tau in taus:
        alone = remedy.with_settings(grid={"tau": (tau,)})
        heads[tau] = tuned(alone, features, labels, 3, SHORT, seed=0).recalls[0]
    assert heads[0.0] > heads[0.5] > heads[1.0] > heads[2.0]
    assert free.settings["tau"] > 0
    assert found(Floor((0,), heads[0.0])).settings == {"tau": 0.0}
    assert found(Floor((0,), heads[0.0])).recalls[0] == heads[0.0]
    assert found(Floor((0,), heads[2.0])).settings == free.settings  # a floor that all keep to changes nothing
    assert found(Floor((0,), 2.0)).settings == {"tau": 0.0}  # none does: the one that keeps most


def test_what_is_known_after_the_training_is_tuned_on_the_same_trainings() -> None:
    features, labels = clouds(0)
    after = tuned(REMEDIES["logit_adjustment_post_hoc"], features, labels, 3, SHORT, seed=0, folds=3)
    during = tuned(REMEDIES["logit_adjustment_loss"], features, labels, 3, SHORT, seed=0, folds=3)
    assert (after.trainings, during.trainings) == (3, 3 * len(REMEDIES["logit_adjustment_loss"].grid["tau"]))
    with pytest.raises(LucidaError, match="at least two folds"):
        tuned(REMEDIES["focal"], features, labels, 3, SHORT, seed=0, folds=1)
