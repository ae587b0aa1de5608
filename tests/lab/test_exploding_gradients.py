"""Clipping, penalties and optimizers do to an exploding gradient what the page says; its claims are measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from lucida.lab.datasets import load
from lucida.lab.experiments.exploding_gradients import (
    CLIPPED,
    L1,
    L2,
    NOTHING,
    PERCEPTRONS,
    VALUES,
    Remedy,
    _record_steps,
    observe_weights,
)
from lucida.lab.experiments.exploding_gradients_page import EXPERIMENT
from lucida.lab.networks import Perceptron
from lucida.lab.observations import Observations
from lucida.lab.signal_propagation import decades, predicted
from lucida.lab.training import Member, Moment, Training, train_members
from tests.lab.drawn_bench import whole_page

NETWORK = Perceptron(64, 10, 6, 16, gain=2.0)


def first_step(remedy: Remedy, rate: float = 0.0) -> tuple[float, float]:
    """Norm of the first gradient, and how far the first step went."""
    states: list[Tensor] = []

    def look(moment: Moment) -> Tensor:
        states.append(torch.cat([p.detach().flatten() for p in moment.stack.stacked_parameters().values()]))
        return torch.zeros(1)

    training = Training("digits", 16, steps=1, every=1, **remedy.training)
    outcome = train_members(training, [Member(0, rate, NETWORK)], observers={"look": look})
    return float(outcome.grad_norm[0, 0]), float((states[1] - states[0]).norm())


def test_clipping_changes_the_step_and_not_the_gradient() -> None:
    plain, step = first_step(NOTHING, 1e-3)
    assert plain > 10
    assert step == pytest.approx(1e-3 * plain, rel=1e-2)
    clipped, short = first_step(CLIPPED, 0.1)
    assert clipped == pytest.approx(plain)
    assert short == pytest.approx(0.1, rel=1e-2)
    values, cut = first_step(VALUES, 0.1)
    parameters = sum(p.numel() for p in NETWORK.build(0).parameters())
    assert values == pytest.approx(plain)
    assert cut <= 0.1 * 0.1 * parameters**0.5


@pytest.mark.parametrize("remedy", [L1, L2])
def test_penalties_are_too_weak_to_prevent_anything(remedy: Remedy) -> None:
    assert first_step(remedy)[0] == pytest.approx(first_step(NOTHING)[0], rel=0.02)


def test_steps_to_the_target_leave_the_penalty_out() -> None:
    """The loss they are read off is the task's own; who never gets there is marked."""
    heavy = Remedy("heavy", training={"l2": 1.0})
    network, found, outcomes = Perceptron(64, 10, 2, 16), Observations(), {}
    for remedy, rate in ((NOTHING, 0.1), (heavy, 0.1), (CLIPPED, 0.0)):
        training = Training("digits", 32, steps=60, every=5, **remedy.training)
        outcome = train_members(training, [Member(seed, rate, network) for seed in (0, 1)])
        _record_steps(found, remedy, "digits", PERCEPTRONS[0], outcome)
        outcomes[remedy.name] = outcome
    assert (outcomes["heavy"].batch_loss[:, 0] > 5 * outcomes["heavy"].loss[:, 0]).all()
    np.testing.assert_array_equal(outcomes["heavy"].loss[:, 0], outcomes[NOTHING.name].loss[:, 0])
    metrics = found.metrics()
    free, still = (metrics[f"steps to the target/{remedy.name}/{PERCEPTRONS[0]}"] for remedy in (NOTHING, CLIPPED))
    assert 0 < free.value < 60
    assert free.censored == 0
    assert (still.value, still.censored) == (60, 2)
    assert metrics[f"missed the target/{CLIPPED.name}/{PERCEPTRONS[0]}"].value == 1


def test_of_equal_weights_the_gain_decides_and_the_activation_how_fast() -> None:
    found = {
        (kind, gain): float(decades(predicted(Perceptron(64, 10, 10, 64, kind, gain=gain), load("digits")).gradients))
        for kind in ("relu", "tanh")
        for gain in (1.0, 4.0)
    }
    assert found["relu", 1.0] == pytest.approx(0, abs=0.01)
    assert found["relu", 4.0] == pytest.approx(9 * np.log10(4), abs=0.01)
    assert abs(found["tanh", 1.0]) < 0.5
    assert 1.0 < found["tanh", 4.0] < found["relu", 4.0]


def test_weights_are_seen_in_units_of_he() -> None:
    networks = [replace(NETWORK, width=64, gain=gain) for gain in (1.0, 2.0)]
    training = Training("digits", 16, steps=1, every=1)
    members = [Member(0, 0.0, network) for network in networks]
    found = train_members(training, members, observers={"weights": observe_weights}).observed["weights"]
    np.testing.assert_allclose(found[:, 0], [1.0, 2.0], rtol=0.03)


def test_the_page_shows_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is trained."""
    whole_page(monkeypatch, EXPERIMENT, "full", 150)
