"""Members are trained as declared: splits, order, pairs of arms, what is recorded, whichever way is faster."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lucida.lab import training as lab_training
from lucida.lab.networks import Perceptron
from lucida.lab.penalties import Penalised
from lucida.lab.probing import gradients, member_norms, signals
from lucida.lab.stack import Stack, Updates
from lucida.lab.training import Member, Moment, Outcome, Training, train_members
from lucida.training.tasks import ClassificationTask

NETWORK = Perceptron(64, 10, depth=2, width=16, norm="batch")
TRAINING = Training("digits", batch_size=16, steps=12, every=6, updates=Updates("momentum"))
MEMBERS = [Member(seed, rate, NETWORK) for seed in (0, 1) for rate in (0.03, 0.1)]


def weight_gradient_norms(moment: Moment) -> Tensor:
    """Of the hidden layers' matrices, ``[M, layers]``."""
    _, grads = gradients(moment.stack, moment.batch)
    hidden = [grad for name, grad in grads.items() if name.startswith("blocks") and grad.ndim == 3]
    return torch.stack([member_norms(grad) for grad in hidden], dim=1)


def outcome(training: Training, *, stacked: bool) -> Outcome:
    return train_members(training, MEMBERS, observers={"norms": weight_gradient_norms}, stacked=stacked)


@pytest.mark.parametrize("penalty", [{}, {"l1": 1e-4, "l2": 1e-2}])
def test_both_ways_measure_the_same(penalty: dict[str, float]) -> None:
    training = replace(TRAINING, **penalty)
    stacked, single = (outcome(training, stacked=way) for way in (True, False))
    assert (stacked.batch_loss != single.batch_loss).any()  # two ways, whose sums are rounded differently
    for name in ("loss", "batch_loss", "grad_norm", "train_accuracy", "validation_accuracy", "test_accuracy"):
        np.testing.assert_allclose(getattr(stacked, name), getattr(single, name), rtol=2e-4, atol=2e-4, err_msg=name)
    np.testing.assert_allclose(stacked.observed["norms"], single.observed["norms"], rtol=1e-3)
    assert stacked.steps.tolist() == [0, 6, 12]
    assert stacked.observed["norms"].shape == (4, 3, 2)


def test_the_machines_speed_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the clock says: a choice by measured seconds once let the load decide how sums were rounded."""
    first = train_members(TRAINING, MEMBERS)
    assert 0 < first.seconds_per_step < 60
    clock = iter(range(10**6))
    monkeypatch.setattr(lab_training.time, "process_time", lambda: float(next(clock)) ** 2)
    second = train_members(TRAINING, MEMBERS)
    assert second.seconds_per_step != first.seconds_per_step
    np.testing.assert_array_equal(first.batch_loss, second.batch_loss)
    np.testing.assert_array_equal(first.loss, second.loss)


def test_noise_is_that_of_the_members_and_the_step() -> None:
    """Whatever was drawn before, and whatever else is measured."""
    noisy = replace(NETWORK, norm="batch_noisy")
    members = [Member(seed, 0.1, noisy) for seed in (0, 1)]
    first = train_members(TRAINING, members)
    torch.rand(100)
    state = torch.random.get_rng_state()
    second = train_members(TRAINING, members, observers={"rates": lambda moment: moment.rates})
    np.testing.assert_array_equal(first.batch_loss, second.batch_loss)
    torch.testing.assert_close(torch.random.get_rng_state(), state, rtol=0, atol=0)  # the caller's stream goes on
    assert (np.diff(first.batch_loss[:, :2]) != 0).all()


def test_a_target_is_reached_or_not() -> None:
    outcome = train_members(TRAINING, MEMBERS)
    assert not outcome.reached(0.0).any()
    assert outcome.steps_to(0.0).tolist() == [12.0] * 4
    assert outcome.reached(100.0).all()
    assert outcome.steps_to(100.0).tolist() == [10.0] * 4


def test_looking_changes_nothing() -> None:
    def look(moment: Moment) -> Tensor:
        signals(moment.stack, moment.batch)
        losses, _ = gradients(moment.stack, moment.batch)
        return losses

    looked, plain = (train_members(TRAINING, MEMBERS, observers=o) for o in ({"look": look}, {}))
    np.testing.assert_array_equal(looked.loss, plain.loss)
    np.testing.assert_array_equal(looked.batch_loss, plain.batch_loss)


def test_members_of_a_seed_are_pairs() -> None:
    """The same split, order and first weights for every arm."""
    half = replace(NETWORK, norm="none")
    a, b = (train_members(TRAINING, [Member(seed, 0.0, half) for seed in (0, 1)]) for _ in range(2))
    np.testing.assert_array_equal(a.batch_loss, b.batch_loss)
    assert a.batch_loss[0, 0] != a.batch_loss[1, 0]
    deep = half.build(3), replace(half, activation="tanh").build(3)
    for x, y in zip(deep[0].parameters(), deep[1].parameters(), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=0)


def test_a_training_goes_on_from_an_earlier_one() -> None:
    first = train_members(TRAINING, MEMBERS)
    earlier = replace(TRAINING, batch_size=32)
    members = [replace(member, rate=0.02) for member in MEMBERS]
    ended = train_members(earlier, [replace(member, rate=0.1) for member in MEMBERS])
    going_on = train_members(replace(TRAINING, before=(earlier, 0.1)), members)
    np.testing.assert_allclose(going_on.loss[:, 0], ended.loss[:, -1], rtol=1e-5)
    assert not np.allclose(going_on.loss[:, 0], first.loss[:, 0])


def test_a_diverged_member_is_marked_and_the_others_go_on() -> None:
    members = [Member(0, rate, replace(NETWORK, norm="none")) for rate in (0.1, 1e30)]
    measured = train_members(TRAINING, members)
    assert measured.alive.tolist() == [True, False]
    assert measured.stable().tolist() == [True, False]
    assert np.isfinite(measured.batch_loss[0]).all()
    assert np.isnan(measured.batch_loss[1, -1])


def test_steps_to_a_target() -> None:
    spike = np.where(np.arange(100) == 3, 1e18, 2.0)  # a running sum would forget the losses behind it
    losses = np.stack([np.linspace(2, 0, 100), np.full(100, 2.0), np.where(np.arange(100) < 50, 2.0, np.nan), spike])
    empty = np.zeros((4, 1))
    measured = Outcome(np.array([0]), empty, empty, empty, empty, losses, losses, np.ones(4, bool), {}, 0.0)
    steps = measured.steps_to(1.0, window=10)
    assert losses[0, int(steps[0]) - 10 : int(steps[0])].mean() <= 1.0
    assert losses[0, int(steps[0]) - 11 : int(steps[0]) - 1].mean() > 1.0
    assert steps[1:].tolist() == [100, 100, 100]
    assert measured.steps_to(9.0, window=10).tolist() == [10, 10, 10, 14]
    assert measured.steps_to(9.0, window=101).tolist() == [100] * 4


def test_the_l2_penalty_is_weight_decay_of_matrices() -> None:
    """PyTorch's coupled decay of SGD, on the matrices alone."""
    network = Perceptron(8, 3, depth=1, width=4).build(0).double()
    batch = {"inputs": torch.randn(5, 8, dtype=torch.float64), "labels": torch.arange(5) % 3}
    plain, penalised = ClassificationTask(network), Penalised(ClassificationTask(network), l1=0.0, l2=0.1)

    def mean_gradients(task: ClassificationTask | Penalised) -> dict[str, Tensor]:
        output = task.loss(batch)
        named = dict(network.named_parameters())
        grads = torch.autograd.grad(output.loss_sum / output.weight, list(named.values()))
        return dict(zip(named, grads, strict=True))

    without, given = mean_gradients(plain), mean_gradients(penalised)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(given[name], without[name] + (0.1 * parameter if parameter.ndim > 1 else 0.0))
    l1 = mean_gradients(Penalised(plain, l1=0.1, l2=0.0))
    torch.testing.assert_close(
        l1["head.weight"] - without["head.weight"], 0.1 * network.get_parameter("head.weight").sign()
    )


def test_gradients_of_a_stack_are_the_members_own() -> None:
    networks: list[nn.Module] = [NETWORK.build(seed) for seed in (0, 1)]
    stack = Stack(networks).train()
    batch = {"inputs": torch.randn(2, 6, 64), "labels": torch.randint(10, (2, 6))}
    before = {name: buffer.clone() for name, buffer in stack.stacked_buffers().items()}
    losses, grads = gradients(stack, batch)
    for k, network in enumerate(networks):
        output = ClassificationTask(network.train()).loss({name: x[k] for name, x in batch.items()})
        mean = output.loss_sum / output.weight
        torch.testing.assert_close(losses[k], mean.detach())
        own = torch.autograd.grad(mean, list(network.parameters()))
        for (name, _), grad in zip(network.named_parameters(), own, strict=True):
            torch.testing.assert_close(grads[name][k], grad, rtol=1e-4, atol=1e-6)
    for name, buffer in stack.stacked_buffers().items():
        torch.testing.assert_close(buffer, before[name], rtol=0, atol=0)
