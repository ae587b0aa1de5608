"""What the batch-size page measures with, against closed forms."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian
from torch.func import functional_call

from lucida.lab.batch_costs import predicted_bytes, saved_bytes
from lucida.lab.datasets import load, split, training_batch
from lucida.lab.experiments import batch_size
from lucida.lab.experiments import load as load_experiment
from lucida.lab.experiments.batch_size import (
    FIXED,
    SHARPNESS_RANGE,
    TARGETS,
    _equal_loss,
    _record_loss,
    _record_sharpness,
    _speed_up,
)
from lucida.lab.experiments.batch_size_claims import DEEP, FULL, TASKS, TWO
from lucida.lab.experiments.batch_size_page import _without_sharpness
from lucida.lab.experiments.batch_size_probes import Departure, final_sharpness, whole_set_noise
from lucida.lab.experiments.batch_size_settings import EXAMPLES, SETTINGS, STEPS
from lucida.lab.loss_curves import at_loss, moving_mean, reached_by_all
from lucida.lab.networks import ConvNet, Perceptron
from lucida.lab.noise_scale import GradientMoments, critical_batch, gradient_moments
from lucida.lab.observations import Observations
from lucida.lab.sharpness import barrier, distance, largest_eigenvalues, moved, rescaled
from lucida.lab.stack import Stack, StackTask, StackTrainer, Updates
from lucida.lab.training import Member, Outcome, Training, train_members
from lucida.training.batches import Batch
from lucida.training.tasks import ClassificationTask, LossOutput
from tests.lab.drawn_bench import whole_page

NETWORK = Perceptron(6, 3, depth=2, width=4)
SEEDS = (0, 1)


def stack(network: Perceptron = NETWORK) -> Stack:
    return Stack([network.build(seed) for seed in SEEDS])


def examples(n: int, members: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(members, n, 6, generator=generator)
    return {"inputs": inputs, "labels": torch.randint(3, (members, n), generator=generator)}


class SquaredError:
    """``(w·x - y)²/2``: an example's gradient is ``(w·x - y) x``."""

    def __init__(self, model: nn.Module):
        self.model = model

    def loss(self, batch: Batch) -> LossOutput:
        missed = self.model(batch["inputs"]).squeeze(-1) - batch["labels"]
        return LossOutput(missed.square().sum() / 2, float(len(missed)))


def test_moments_of_a_linear_model_are_those_of_its_known_gradients() -> None:
    torch.manual_seed(0)
    linear = Stack([nn.Linear(5, 1, bias=False) for _ in range(3)])
    batch = {"inputs": torch.randn(3, 7, 5), "labels": torch.randn(3, 7)}
    moments = gradient_moments(linear, batch, SquaredError, chunk=3)
    for k in range(3):
        x = batch["inputs"][k]
        grads = (x @ linear.stacked_parameters()["weight"][k].T - batch["labels"][k, :, None]) * x
        assert moments.trace[k].item() == pytest.approx(torch.cov(grads.T).trace().item(), rel=1e-4)
        assert moments.squared_mean[k].item() == pytest.approx(grads.mean(dim=0).square().sum().item(), rel=1e-4)
    assert moments.examples == 7


def test_estimates_from_samples_are_unbiased() -> None:
    """Over all samples of three out of six examples both estimates average to the values of the six."""
    gradients = np.random.default_rng(0).normal(0.5, 1, size=(6, 4))
    true_square = float(np.square(gradients.mean(axis=0)).sum())
    true_trace = float(np.cov(gradients.T).trace())
    squares, traces, naive = [], [], []
    for rows in combinations(range(6), 3):
        own = torch.tensor(gradients[list(rows)])
        moments = GradientMoments(own.mean(dim=0).square().sum()[None], own.T.cov().trace()[None], 3)
        squares.append(moments.squared_gradient(6).item())
        traces.append(moments.trace.item())
        naive.append(moments.squared_mean.item())
    assert np.mean(squares) == pytest.approx(true_square)
    assert np.mean(traces) == pytest.approx(true_trace)
    assert np.mean(naive) > 1.1 * true_square  # which is why the estimate corrects it


def test_a_training_set_seen_whole_needs_no_estimate() -> None:
    moments = gradient_moments(stack(), examples(9))
    torch.testing.assert_close(moments.squared_gradient(9), moments.squared_mean)
    torch.testing.assert_close(moments.squared_gradient(), moments.squared_mean - moments.trace / 9)
    torch.testing.assert_close(moments.noise_scale(9), moments.trace / moments.squared_mean)


def test_the_critical_batch_is_found_again_and_stays_in_reach_of_the_data() -> None:
    sizes = [2, 8, 32, 128, 1000]
    assert critical_batch(sizes, [7 * (1 + 90 / b) for b in sizes]) == pytest.approx((7, 90), rel=1e-3)
    _, never = critical_batch(sizes, [100.0] * 5)  # no speed-up at all
    assert 0 < never < 2


def full_hessian(network: nn.Module, batch: Batch) -> Tensor:
    names = [name for name, _ in network.named_parameters()]
    parts = [p.detach() for p in network.parameters()]

    def loss(flat: Tensor) -> Tensor:
        pieces = flat.split([p.numel() for p in parts])
        state = {n: piece.view_as(p) for n, piece, p in zip(names, pieces, parts, strict=True)}
        return nn.functional.cross_entropy(functional_call(network, state, (batch["inputs"],)), batch["labels"])

    found = hessian(loss, torch.cat([p.flatten() for p in parts]))
    assert isinstance(found, Tensor)
    return found


def test_power_iteration_finds_the_largest_eigenvalue_of_the_full_hessian() -> None:
    networks, batch = stack(Perceptron(6, 3, depth=2, width=4, activation="tanh")), examples(20)
    found = largest_eigenvalues(networks, batch, iterations=2000, tolerance=1e-6)
    for k in range(networks.members):
        own = {name: tensor[k] for name, tensor in batch.items()}
        eigenvalues = torch.linalg.eigvalsh(full_hessian(networks.member(k), own))
        assert found[k].item() == pytest.approx(eigenvalues[-1].item(), rel=1e-3)


class Saddle(nn.Module):
    """A loss of ``-2 a² + b²/2``: the eigenvalue of largest size is -4, the largest one 1."""

    def __init__(self) -> None:
        super().__init__()
        self.ab = nn.Parameter(torch.zeros(2))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.sum() * 0 - 2 * self.ab[0].square() + self.ab[1].square() / 2


class Value:
    """The loss is what the model says."""

    def __init__(self, model: nn.Module):
        self.model = model

    def loss(self, batch: Batch) -> LossOutput:
        return LossOutput(self.model(batch["inputs"]), 1.0)


def test_a_negative_eigenvalue_of_larger_size_does_not_hide_the_largest() -> None:
    found = largest_eigenvalues(Stack([Saddle(), Saddle()]), {"inputs": torch.zeros(2, 1)}, Value, tolerance=1e-6)
    torch.testing.assert_close(found, torch.ones(2), rtol=1e-3, atol=0)


def test_rescaling_keeps_the_function_and_moves_the_sharpness() -> None:
    networks, batch = stack(), examples(20)
    other = rescaled(networks, "blocks.0.linear", "blocks.1.linear", 4.0)
    torch.testing.assert_close(other(batch["inputs"]), networks(batch["inputs"]), rtol=1e-4, atol=1e-5)
    before, after = (largest_eigenvalues(s, batch, iterations=500) for s in (networks, other))
    assert bool((after / before > 1.5).all())


def test_distance_and_barrier() -> None:
    networks, batch = stack(), examples(20)
    start = {name: p.detach().clone() for name, p in networks.stacked_parameters().items()}
    assert distance(networks, start).tolist() == [0.0, 0.0]
    assert barrier(networks, start, batch).tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    doubled = moved(networks, {name: 2 * w for name, w in start.items()})
    assert distance(doubled, start).tolist() == pytest.approx([1.0, 1.0])


def test_between_two_copies_of_one_function_lies_a_barrier() -> None:
    """With all hidden units turned round a tanh network is what it was; halfway nothing but the biases is left."""
    networks, batch = stack(Perceptron(6, 3, depth=1, width=4, activation="tanh")), examples(12)
    trainer = StackTrainer(networks, ClassificationTask, [1.0, 1.0], Updates())
    for _ in range(50):
        trainer.step(batch)
    start = {name: p.detach().clone() for name, p in networks.stacked_parameters().items()}
    turned = {name: w if name == "head.bias" else -w for name, w in start.items()}
    other = moved(networks, turned)
    torch.testing.assert_close(other(batch["inputs"]), networks(batch["inputs"]))
    nothing = moved(networks, {name: w if name == "head.bias" else 0 * w for name, w in start.items()})
    losses = [StackTask(s, ClassificationTask).member_losses(batch).detach() for s in (nothing, networks)]
    torch.testing.assert_close(barrier(other, start, batch), losses[0] - losses[1], rtol=1e-4, atol=1e-5)
    assert bool((losses[0] > losses[1]).all())


def test_observers_change_nothing() -> None:
    members = [Member(seed, 0.1, Perceptron(64, 10, depth=2, width=8)) for seed in SEEDS]
    training = Training("digits", 32, steps=6, every=3)
    observers = {
        "noise": whole_set_noise("digits", SEEDS),
        "sharpness": final_sharpness("digits", SEEDS, training.steps, 10),
        "departure": Departure(),
    }
    plain, watched = train_members(training, members), train_members(training, members, observers=observers)
    np.testing.assert_allclose(plain.batch_loss, watched.batch_loss, rtol=1e-6)
    np.testing.assert_array_equal(plain.test_accuracy, watched.test_accuracy)
    noise, sharpness = watched.observed["noise"], watched.observed["sharpness"]
    assert noise.shape == (2, 3, 4)
    np.testing.assert_allclose(noise[..., 0], noise[..., 2] / noise[..., 1], rtol=1e-5)
    assert np.isnan(sharpness[:, :-1]).all()
    assert (sharpness[:, -1] > 0).all()
    assert (watched.observed["departure"][:, 0, 0] == 0).all()
    assert (watched.observed["departure"][:, -1, 0] > 0).all()


def test_the_whole_set_is_that_of_each_seed() -> None:
    whole, data = training_batch("digits", (3, 4)), load("digits")
    rows = split(data, 4).train
    assert torch.equal(whole["labels"][1], data.labels[rows])
    assert whole["inputs"].shape == (2, len(rows), 1, 8, 8)
    assert torch.equal(whole["inputs"][1], training_batch("digits", 4)["inputs"])


def test_at_loss_takes_the_first_time() -> None:
    loss = np.array([[2.0, 0.5, 2.0, 0.5], [0.1, 0.1, 0.1, 0.1]])
    found = at_loss(loss, np.array([0.0, 1.0, 2.0, 3.0]), [1.0, 0.01])
    assert found[:, 0].tolist() == pytest.approx([0.5, 0.0])
    assert np.isnan(found[:, 1]).all()
    own = at_loss(loss, np.array([0.0, 1.0, 2.0, 3.0]), np.array([[0.5], [0.05]]))
    assert own[0, 0] == 1.0
    assert np.isnan(own[1, 0])


def test_a_loss_that_one_course_misses_is_no_common_one() -> None:
    """Everybody reaches the common loss, whoever diverges included."""
    good, slow = np.array([[2.0, 1.0, 0.1], [2.0, 0.3, 0.1]]), np.array([[2.0, 1.2, 0.6], [2.0, np.nan, np.nan]])
    common = reached_by_all([good, slow], 0.2)
    assert common.tolist() == [0.6, 2.0]
    assert reached_by_all([good], 0.2).tolist() == [0.2, 0.2]
    for loss in (good, slow):
        assert np.isfinite(at_loss(loss, np.arange(3.0), common[:, None])).all()


def test_means_of_ten_steps() -> None:
    values = np.arange(12.0)[None]
    np.testing.assert_allclose(moving_mean(values), [[4.5, 5.5, 6.5]])
    values[0, 0] = np.nan
    assert np.isnan(moving_mean(values)[0]).tolist() == [True, False, False]


@pytest.mark.parametrize("batch_size", [2, 50])
def test_saved_bytes_are_what_the_layers_say(batch_size: int) -> None:
    for network in (Perceptron(64, 10, 3, 16), ConvNet(1, 10, 3, 4)):
        batch = {"inputs": torch.randn(batch_size, 1, 8, 8), "labels": torch.zeros(batch_size, dtype=torch.long)}
        measured = saved_bytes(network.build(0), batch)
        assert 0 <= measured - predicted_bytes(network, (1, 8, 8), batch_size) <= 8  # a scalar of the loss


def test_budgets_are_what_they_are_called() -> None:
    task = SETTINGS["full"].tasks[0]
    for batch in SETTINGS["full"].batches:
        equal = task.training(batch, EXAMPLES)
        assert equal.steps * task.size(batch) == pytest.approx(task.steps * 32, rel=0.06)
        assert task.training(batch, STEPS).steps == task.steps
    assert load_experiment("batch-size").design.primary[0].treatment == f"{FULL}, {FIXED}"


def an_outcome(**records: np.ndarray) -> Outcome:
    """Two seeds, three evaluations; the records that are given, and nothing of note otherwise."""
    plain = np.tile([2.0, 1.0, 0.5], (2, 1))
    names = ("loss", "train_accuracy", "validation_accuracy", "test_accuracy", "batch_loss", "grad_norm")
    every = dict.fromkeys(names, plain) | records
    alive, steps = np.ones(2, dtype=bool), np.array([0, 10, 20])
    return Outcome(steps=steps, **every, alive=alive, observed={}, seconds_per_step=1.0)


def test_a_diverged_network_counts_as_the_sharpest_and_is_counted() -> None:
    found, task = Observations(), SETTINGS["quick"].tasks[0]
    measure_name = f"log2 sharpness, {STEPS}"
    _record_sharpness(found, measure_name, "gone", np.array([np.nan, 8.0, np.inf]), task)
    _record_sharpness(found, measure_name, "fine", np.array([-1.0, 8.0, 2.0]), task)
    gone, fine = (found.numbers[measure_name, arm, task.name] for arm in ("gone", "fine"))
    sharpest = np.log2(SHARPNESS_RANGE[1])
    assert gone.tolist() == [sharpest, 3.0, sharpest]
    assert fine.tolist() == [np.log2(SHARPNESS_RANGE[0]), 3.0, 1.0]
    assert found.facts == {
        f"without a sharpness/{task.name}": 2, f"without a sharpness/{measure_name}, gone/{task.name}": 2
    }  # fmt: skip
    assert _without_sharpness(found) == (
        f" Some runs diverged so far that the curvature is no number: "
        f"{{without a sharpness/{measure_name}, gone/{task.name}:0}} ({measure_name}, gone; {task.name}). "
        "They count as the sharpest there is, as if it were 10,000."
    )
    assert _without_sharpness(Observations(facts={f"without a sharpness/{task.name}": 0})) == ""


def test_a_loss_that_is_no_number_is_a_large_one() -> None:
    found, task = Observations(), SETTINGS["quick"].tasks[0]
    _record_loss(found, "training loss", "gone", np.array([np.nan, 0.5, np.inf, 1e9]), task)
    assert found.numbers["training loss", "gone", task.name].tolist() == [1e3, 0.5, 1e3, 1e3]
    assert found.metrics()[f"training loss/gone/{task.name}"].censored == 3


def test_at_equal_loss_nobody_is_compared_who_is_not_there() -> None:
    found, task = Observations(), SETTINGS["quick"].tasks[0]
    assert task.targets[-1] == 0.1
    reaching = an_outcome(loss=np.array([[2.0, 0.5, 0.05], [2.0, 0.5, 0.05]]))
    missing = an_outcome(loss=np.array([[2.0, 0.2, 0.05], [2.0, 0.8, 0.5]]))
    _equal_loss(found, task, {32: reaching, 0: missing})
    assert found.numbers["loss compared at", "all batch sizes", task.name].tolist() == [0.1, 0.5]
    assert found.facts[f"equal loss above the target/{task.name}"] == 1
    assert found.numbers["test accuracy at equal loss", "batch 32", task.name][1] == 1.0  # at its second evaluation
    assert found.numbers["test accuracy at equal loss", FULL, task.name][1] == 0.5  # at its last


def test_steps_that_were_not_enough_are_marked() -> None:
    found, task = Observations(), SETTINGS["quick"].tasks[0]
    reaching, missing = (an_outcome(loss=np.tile([2.0, last, last], (2, 1))) for last in (0.1, 0.4))
    courses = {
        batch: {"target 0": outcome, "target 1": outcome}
        for batch, outcome in ((2, missing), (32, reaching), (0, reaching))
    }
    _speed_up(found, task, courses)
    assert found.facts[f"missed/late/{task.name}"] == 2
    assert found.facts[f"missed/early/{task.name}"] == 0
    assert found.numbers["steps to the late target", TWO, task.name].tolist() == [20.0, 20.0]
    metrics = found.metrics()
    assert metrics[f"steps to the late target/{TWO}/{task.name}"].censored == 2
    assert metrics[f"steps to the late target/{FULL}/{task.name}"].censored == 0


def test_the_noise_scale_is_compared_with_the_critical_batch_seed_by_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Observations()
    for task in TASKS:
        found.draw(f"noise/{task}/scale", [1, 5, 9], np.array([[1.0, 8.0, 4.0], [1.0, 2.0, 1.0]]))
    for task, target in product(DEEP, TARGETS):
        found.record("log2 mean noise scale to the target", target, [7.0, 3.0], task)
        found.record("log2 critical batch", target, [4.0, 4.0], task)
    monkeypatch.setattr(batch_size, "measure", lambda *_: found)
    experiment = load_experiment("batch-size")
    assert experiment.measure(None, None) is found  # type: ignore[arg-type]
    claim = next(claim for claim in experiment.design.claims if claim.name == "noise_foretells")
    assert found.differences(claim)[DEEP[0]].tolist() == [0.0, -2.0]
    metrics = found.metrics()
    assert metrics[f"noise scale over critical batch/late/{DEEP[0]}"].value == pytest.approx(2.0)
    assert metrics[f"highest noise scale/{TASKS[0]}"].value == pytest.approx(4.0)
    assert metrics[f"step of the highest noise scale/{TASKS[0]}"].value == 5


def test_the_page_shows_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is trained."""
    whole_page(monkeypatch, load_experiment("batch-size"), "quick", 30)
