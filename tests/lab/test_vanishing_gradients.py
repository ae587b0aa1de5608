"""Sigmoids vanish as predicted, layer norm fails and batch norm cures as the closed forms say; the page is whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from lucida.lab.datasets import load
from lucida.lab.experiments.vanishing_gradients import (
    DEPTH,
    LOOKED_AT,
    RELU,
    RELU_SMALL,
    SIGMOID,
    SIGMOID_BATCH,
    SIGMOID_LAYER,
    SIGMOID_RESIDUAL,
    TANH_LAYER,
    TRAINED,
    Cell,
)
from lucida.lab.experiments.vanishing_gradients_page import EXPERIMENT, full_cells
from lucida.lab.networks import Perceptron
from lucida.lab.signal_propagation import layer_gain, observe_layers, predicted
from lucida.lab.training import Member, Training, train_members
from tests.lab.drawn_bench import whole_page


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def over_normal(function: object) -> float:
    value, _ = integrate.quad(lambda z: function(z) * stats.norm.pdf(z), -12, 12)  # type: ignore[operator]
    return float(value)


def gain(cell: Cell) -> float:
    return layer_gain(cell.network("digits", DEPTH, 64))


def test_gains_before_a_sigmoid_are_integrals() -> None:
    """By another quadrature: only the mean stands between layer norm and batch norm."""
    slope = over_normal(lambda z: (sigmoid(z) * (1 - sigmoid(z))) ** 2)
    square, mean = over_normal(lambda z: sigmoid(z) ** 2), over_normal(sigmoid)
    assert gain(SIGMOID_LAYER) == pytest.approx(math.sqrt(slope / square), rel=1e-3)
    assert gain(SIGMOID_BATCH) == pytest.approx(math.sqrt(slope / (square - mean**2)), rel=2e-3)
    assert gain(SIGMOID_LAYER) < 0.4 < 1.0 < gain(SIGMOID_BATCH)
    assert 1.0 < gain(TANH_LAYER) < 1.2
    assert gain(SIGMOID_RESIDUAL) > 1.0


def test_weights_of_xavier_lose_and_small_ones_lose_all() -> None:
    assert gain(SIGMOID) < 0.25
    assert gain(RELU) == pytest.approx(1.0, abs=1e-3)
    assert gain(RELU_SMALL) == pytest.approx(0.01 * math.sqrt(64 / 2), rel=1e-3)


def test_what_vanishes_on_the_way_down_vanishes_on_the_way_up() -> None:
    """The share that differs between examples shrinks by the square of the gradient's factor."""
    found = predicted(SIGMOID.network("digits", DEPTH, 64), load("digits"))
    down, up = found.gradients[9] / found.gradients[10], found.varied[10] / found.varied[9]
    assert up == pytest.approx(down**2, rel=1e-2)


@pytest.mark.parametrize("cell", [SIGMOID, SIGMOID_LAYER, SIGMOID_BATCH, TANH_LAYER, RELU])
def test_measured_in_a_wide_network(cell: Cell) -> None:
    network = cell.network("digits", 10, 256)
    members = [Member(seed, 0.0, network) for seed in (0, 1)]
    outcome = train_members(Training("digits", 64, 1, 1), members, observers={"layers": observe_layers})
    gradients = outcome.observed["layers"][:, 0, 0]
    measured = np.log10(gradients / gradients[:, -1:]).mean(axis=0)
    np.testing.assert_allclose(measured, np.log10(predicted(network, load("digits")).gradients), atol=0.3)


def test_maps_hold_every_factor() -> None:
    cells = full_cells()
    assert len(set(cells)) == len(cells)
    assert len({cell.activation for cell in cells}) == 6
    assert len({cell.initialisation for cell in cells}) == 3
    assert {cell.norm for cell in cells} == {"none", "batch", "layer"}
    assert any(cell.residual for cell in cells)
    quick = EXPERIMENT.settings["quick"]
    assert len(quick.cells) * len(quick.depths) == 24
    assert all(isinstance(cell.network("emoji", 5, 8), Perceptron) for cell in cells)


def test_the_page_shows_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is trained."""
    whole_page(monkeypatch, EXPERIMENT, "quick", 60)
    assert set(TRAINED) < set(LOOKED_AT)
