"""Vanishing gradients: which of depth, activation, initialisation, residual path and normalisation makes them.

Before training, the gradient of every layer is measured and predicted (:mod:`lucida.lab.signal_propagation`), and with
it how much of what a layer sees differs between examples: in a stack both fade by the same factor. Then every kind of
network is trained at its own best rate. The second kind of network is a recurrent one, whose layers are steps of time.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from lucida.lab.datasets import load
from lucida.lab.experiment import Bench, final_loss, validation_error
from lucida.lab.networks import ActivationName, InitialisationName, Perceptron, perceptron_for
from lucida.lab.norms import NormName
from lucida.lab.observations import Observations
from lucida.lab.sequence_networks import recurrent_for
from lucida.lab.signal_propagation import (
    LEAST_NORM,
    averages,
    before_training,
    decades,
    layer_gain,
    predicted,
    predicted_through_time,
)
from lucida.lab.training import Training

DATA = ("digits", "emoji")
SEQUENCES = "digit sequences"
DEPTH = 20  # of the claims
FADING, KEEPING = 0.5, 1.0  # gains of the recurrent matrix that are compared


@dataclass(frozen=True)
class Cell:
    """One kind of network."""

    activation: ActivationName
    initialisation: InitialisationName
    residual: bool = False
    norm: NormName = "none"

    @property
    def arm(self) -> str:
        """Its name on the page.

        >>> Cell("sigmoid", "xavier", residual=True).arm
        'sigmoid, Xavier, residual'
        """
        names = {"small": "small weights", "xavier": "Xavier", "he": "He"}
        parts = [self.activation.replace("_", " "), names[self.initialisation]]
        parts += ["residual"] if self.residual else []
        parts += [f"{self.norm} norm"] if self.norm != "none" else []
        return ", ".join(parts)

    def network(self, data: str, depth: int, width: int) -> Perceptron:
        """The perceptron for a data set."""
        return perceptron_for(
            data, depth, width, activation=self.activation, norm=self.norm, initialisation=self.initialisation,
            residual=self.residual,
        )  # fmt: skip


SIGMOID, RELU = Cell("sigmoid", "xavier"), Cell("relu", "he")
SIGMOID_RESIDUAL = Cell("sigmoid", "xavier", residual=True)
SIGMOID_BATCH, SIGMOID_LAYER = Cell("sigmoid", "xavier", norm="batch"), Cell("sigmoid", "xavier", norm="layer")
RELU_SMALL, RELU_SMALL_LAYER = Cell("relu", "small"), Cell("relu", "small", norm="layer")
TANH_LAYER = Cell("tanh", "xavier", norm="layer")
TRAINED = (SIGMOID, RELU, SIGMOID_RESIDUAL, SIGMOID_BATCH, SIGMOID_LAYER, RELU_SMALL, RELU_SMALL_LAYER)
LOOKED_AT = (*TRAINED, TANH_LAYER)
NORMALISED = {"batch norm": SIGMOID_BATCH, "layer norm": SIGMOID_LAYER}


@dataclass(frozen=True)
class Settings:
    """The numbers of a scale.

    Attributes:
        width, batch_size: of the networks before training: the wider, the closer to the prediction.
        cells, depths: of the maps; gradients alone are also looked at in ``deeper`` networks.
        time_gains: of the recurrent matrix before training.
        trained_width, trained_batch_size: of every training.
        steps, rates: of the claims' networks: how long, and where tuning starts.
        map_steps, map_rates: of the maps.
        time_steps, time_rates: of the recurrent network's training.
    """

    width: int
    batch_size: int
    cells: tuple[Cell, ...]
    depths: tuple[int, ...]
    deeper: tuple[int, ...]
    time_gains: tuple[float, ...]
    trained_width: int
    trained_batch_size: int
    steps: int
    rates: tuple[float, ...]
    map_steps: int
    map_rates: tuple[float, ...]
    time_steps: int
    time_rates: tuple[float, ...]


def measure(bench: Bench, settings: Settings) -> Observations:
    """Gradients of every cell before training, then how well it trains at its own best rate."""
    found = Observations()
    for data, cell in product(DATA, LOOKED_AT):
        _before_training(bench, settings, found, data, cell)
    for data, cell in product(DATA, TRAINED):
        accuracy = _accuracy(bench, settings, data, cell, DEPTH, settings.steps, settings.rates)
        found.record("accuracy", cell.arm, accuracy, data)
    for data, (norm, cell) in product(DATA, NORMALISED.items()):
        for arm, own in (("normalised", cell), ("not normalised", SIGMOID)):
            found.record("accuracy with a norm", arm, found.numbers["accuracy", own.arm, data], f"{norm}, {data}")
    for cell, depth in product(settings.cells, (*settings.depths, *settings.deeper)):
        layers = _layers(bench, "digits", cell, depth, settings)
        found.record("gradient by depth", cell.arm, decades(layers[:, 0]), f"{depth}")
        theory = predicted(cell.network("digits", depth, settings.width), load("digits")).gradients
        found.facts[f"predicted by depth/{cell.arm}/{depth}"] = float(decades(theory))
    for cell, depth in product(settings.cells, settings.depths):
        accuracy = _accuracy(bench, settings, "digits", cell, depth, settings.map_steps, settings.map_rates)
        found.record("accuracy by depth", cell.arm, accuracy, f"{depth}")
    _ingredients(found)
    _through_time(bench, settings, found)
    return found


def _layers(bench: Bench, data: str, cell: Cell, depth: int, settings: Settings) -> NDArray:
    """Of a cell before the first step, ``[seeds, 3, depth]``."""
    network = cell.network(data, depth, settings.width)
    return before_training(bench, f"{cell.arm}, {depth} layers, {data}", data, network, settings.batch_size)


def _before_training(bench: Bench, settings: Settings, found: Observations, data: str, cell: Cell) -> None:
    """Gradient and signal by layer, measured and predicted, and the first layer's own gradient."""
    layers = _layers(bench, data, cell, DEPTH, settings)
    by_layer, network = range(1, DEPTH + 1), cell.network(data, DEPTH, settings.width)
    theory = predicted(network, load(data))
    found.record("decades", cell.arm, decades(layers[:, 0]), data)
    found.record("first gradient", cell.arm, np.log10(np.maximum(layers[:, 1, 0], LEAST_NORM)), data)
    found.record("gain of a layer", cell.arm, 10 ** (decades(layers[:, 0]) / (DEPTH - 1)), data)
    found.record("signal", cell.arm, np.log10(layers[:, 2, -1]), data)
    found.draw(f"gradients/{data}/{cell.arm}", by_layer, layers[:, 0] / layers[:, 0, -1:])
    found.draw(f"weights/{data}/{cell.arm}", by_layer, layers[:, 1])
    found.draw(f"signal/{data}/{cell.arm}", by_layer, layers[:, 2])
    found.draw(f"predicted gradients/{data}/{cell.arm}", by_layer, theory.gradients[None])
    found.draw(f"predicted signal/{data}/{cell.arm}", by_layer, theory.varied[None])
    found.facts[f"predicted decades/{cell.arm}/{data}"] = float(decades(theory.gradients))
    found.facts[f"predicted gain/{cell.arm}"] = layer_gain(network)  # where the data no longer matter


def _ingredients(found: Observations) -> None:
    """The averages of which the gains are made, at unit variance."""
    kinds: tuple[ActivationName, ...] = ("sigmoid", "tanh", "relu")
    for kind in kinds:
        own = averages(kind, 1.0)
        found.facts[f"mean/{kind}"], found.facts[f"square/{kind}"] = own.mean, own.square
        found.facts[f"slope/{kind}"], found.facts[f"variance/{kind}"] = own.slope, own.square - own.mean**2


def _accuracy(
    bench: Bench, settings: Settings, data: str, cell: Cell, depth: int, steps: int, rates: tuple[float, ...]
) -> NDArray:
    """Accuracy on training examples at the end, at the cell's own best rate, ``[seeds]``."""
    training = Training(data, settings.trained_batch_size, steps, every=steps)
    network = cell.network(data, depth, settings.trained_width)
    arm = f"{cell.arm}, {depth} layers, {data}" + ("" if rates == settings.rates else ", map")
    rate = bench.tuned(arm, training, network, rates, final_loss)
    return bench.over_seeds(arm, training, network, rate).final("train_accuracy")


def time_arm(gain: float, *, norm: bool = False) -> str:
    """The name of a recurrent network on the page.

    >>> time_arm(0.5), time_arm(0.5, norm=True)
    ('recurrent, gain 0.5', 'recurrent, gain 0.5, layer norm')
    """
    return f"recurrent, gain {gain:g}" + (", layer norm" if norm else "")


def _through_time(bench: Bench, settings: Settings, found: Observations) -> None:
    """The gradient by step of time, and what a network that forgets can learn of a long sequence."""
    looked_at = [(gain, False) for gain in settings.time_gains] + [(FADING, True)]
    for gain, norm in looked_at:
        arm, kind = time_arm(gain, norm=norm), "layer" if norm else "none"
        network = recurrent_for(SEQUENCES, settings.trained_width, gain=gain, norm=kind)
        gradients = before_training(bench, arm, SEQUENCES, network, settings.batch_size)
        theory = predicted_through_time(network, load(SEQUENCES))
        steps = range(1, gradients.shape[1] + 1)
        found.draw(f"time/{arm}", steps, gradients / gradients[:, -1:])
        found.draw(f"predicted time/{arm}", steps, theory[None])
        found.record("decades through time", arm, decades(gradients))
        found.facts[f"predicted decades through time/{arm}"] = float(decades(theory))
        if gain in (FADING, KEEPING):
            training = Training(SEQUENCES, settings.trained_batch_size, settings.time_steps, every=settings.time_steps)
            rate = bench.tuned(arm, training, network, settings.time_rates, validation_error)
            found.record("accuracy through time", arm, bench.over_seeds(arm, training, network, rate).final(
                "test_accuracy"))  # fmt: skip
