"""Mean-field predictions against closed forms and wide networks; gradients through time against powers of a matrix."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lucida.lab.datasets import Dataset
from lucida.lab.networks import ActivationName, Perceptron
from lucida.lab.norms import NormName
from lucida.lab.sequence_networks import Recurrent, RecurrentNetwork
from lucida.lab.signal_propagation import (
    averages,
    layer_gain,
    layer_signals,
    observe_layers,
    observe_time,
    predicted,
    predicted_through_time,
    state_gradients,
)
from lucida.lab.training import Member, Moment, Training, train_members

CLASSES, INPUTS = 4, 40


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def examples(n: int = 128) -> Dataset:
    labels = torch.arange(n) % CLASSES
    return Dataset("drawn", {"inputs": drawn(n, INPUTS)}, labels, CLASSES, np.arange(n), "")


def test_averages_are_the_closed_forms() -> None:
    relu = averages("relu", 2.0)
    assert relu.square == pytest.approx(1.0, rel=1e-4)
    assert relu.mean == pytest.approx(1 / math.sqrt(math.pi), rel=1e-4)
    sigmoid = averages("sigmoid", 1.0)
    assert sigmoid.mean == pytest.approx(0.5)
    assert sigmoid.difference == pytest.approx(sigmoid.square - sigmoid.mean**2, rel=1e-3)  # independent: the variance
    tiny = averages("tanh", 1.0, apart=1e-10)  # of close examples: their distance times the mean squared slope
    assert tiny.difference == pytest.approx(tiny.slope * 1e-10, rel=1e-3)


@pytest.mark.parametrize(
    ("activation", "norm", "gain"),
    [
        ("relu", "batch", math.sqrt(math.pi / (math.pi - 1))),
        ("relu", "layer", 1.0),
        ("relu", "none", 2.0),
        ("linear", "none", 2 * math.sqrt(2)),
    ],
)
def test_gains_of_a_layer_are_the_closed_forms(activation: ActivationName, norm: NormName, gain: float) -> None:
    network = Perceptron(INPUTS, CLASSES, activation=activation, norm=norm, gain=2.0)
    assert layer_gain(network) == pytest.approx(gain, rel=2e-3)


@pytest.mark.parametrize(
    ("activation", "norm", "residual", "gain"),
    [
        ("sigmoid", "none", False, 1.0),
        ("sigmoid", "layer", False, 1.0),
        ("sigmoid", "batch", False, 1.0),
        ("sigmoid", "none", True, 1.0),
        ("tanh", "none", False, 4.0),
        ("relu", "none", False, 1.0),
    ],
)
def test_wide_networks_do_as_predicted(activation: ActivationName, norm: NormName, residual: bool, gain: float) -> None:
    network = Perceptron(INPUTS, CLASSES, 8, 300, activation, norm, "xavier", gain, residual)
    data = examples()
    batch = data.inputs | {"labels": data.labels}
    found = torch.stack([layer_signals(network.build(seed).double().train(), batch) for seed in range(3)]).numpy()
    theory = predicted(network, data)
    ratios = np.log10(found[:, 0] / found[:, 0, -1:]).mean(axis=0)
    np.testing.assert_allclose(ratios, np.log10(theory.gradients), atol=0.25)
    np.testing.assert_allclose(np.log10(found[:, 2]).mean(axis=0), np.log10(theory.varied), atol=0.2)


def test_small_weights_hide_their_vanishing_from_the_weights_own_gradients() -> None:
    """Activations shrink on the way up as gradients do on the way down: their product is the same in every layer."""
    network = Perceptron(INPUTS, CLASSES, 30, 32, initialisation="small")
    data = examples()
    found = layer_signals(network.build(0).double(), data.inputs | {"labels": data.labels})
    assert float(found[0, 0] / found[0, -1]) < 1e-30
    assert abs(math.log10(float(found[1, 1] / found[1, -1]))) < 1
    assert float(found[:2].min()) > 0


def test_gradients_through_a_linear_recurrent_net_are_powers_of_its_matrix() -> None:
    network = Recurrent(1, CLASSES, width=6, activation="linear", gain=1.3).build(0).double()
    assert isinstance(network, RecurrentNetwork)
    with torch.no_grad():
        network.state.weight.add_(drawn(6, 6) / 10)  # no longer orthogonal
    batch = {"inputs": drawn(5, 7, 1), "labels": torch.arange(5) % CLASSES}
    found = state_gradients(network, batch)
    logits = network(batch["inputs"])
    probabilities = logits.softmax(dim=-1) - nn.functional.one_hot(batch["labels"], CLASSES)
    last = probabilities @ network.head.weight / len(probabilities)
    for t in range(7):
        power = torch.linalg.matrix_power(network.state.weight, 6 - t)
        torch.testing.assert_close(found[t], (last @ power).norm())


def test_an_orthogonal_matrix_of_a_gain_is_its_power() -> None:
    config = Recurrent(1, CLASSES, width=6, activation="linear", gain=1.5)
    data = Dataset("", {"inputs": drawn(9, 8, 1)}, torch.arange(9) % CLASSES, CLASSES, np.arange(9), "")
    found = state_gradients(config.build(0).double(), data.inputs | {"labels": data.labels})
    powers = 1.5 ** np.arange(7, -1, -1)
    np.testing.assert_allclose((found / found[-1]).numpy(), powers, rtol=1e-5)
    np.testing.assert_allclose(predicted_through_time(config, data), powers)


def test_tanh_through_time_is_predicted() -> None:
    data = Dataset("", {"inputs": drawn(32, 12, 1)}, torch.arange(32) % CLASSES, CLASSES, np.arange(32), "")
    for gain in (0.7, 2.0):
        config = Recurrent(1, CLASSES, width=100, gain=gain)
        batch = data.inputs | {"labels": data.labels}
        found = torch.stack([state_gradients(config.build(seed).double(), batch) for seed in range(3)]).numpy()
        measured = np.log10(found / found[:, -1:]).mean(axis=0)
        np.testing.assert_allclose(measured, np.log10(predicted_through_time(config, data)), atol=0.25)


def test_observers_change_nothing() -> None:
    def run(observed: bool, data: str) -> np.ndarray:
        network = Perceptron(64, 10, 3, 8, norm="batch") if data == "digits" else Recurrent(1, 10, width=4)
        training = Training(data, batch_size=8, steps=2, every=1)
        watch = {"look": observe_layers if data == "digits" else observe_time} if observed else None
        members = [Member(seed, 0.1, network) for seed in (0, 1)]  # type: ignore[arg-type]
        return train_members(training, members, observers=watch).loss

    for data in ("digits", "digit sequences"):
        np.testing.assert_array_equal(run(True, data), run(False, data))


def test_observers_see_double_precision() -> None:
    seen: list[Tensor] = []

    def look(moment: Moment) -> Tensor:
        seen.append(observe_layers(moment))
        return seen[-1]

    network = Perceptron(64, 10, 30, 8, initialisation="small")
    train_members(Training("digits", 8, 1, 1), [Member(0, 0.0, network)], observers={"look": look})
    assert seen[0].dtype == torch.float64
    assert float(seen[0][0, 0, 0]) > 0
