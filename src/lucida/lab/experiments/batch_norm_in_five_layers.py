"""Batch norm in a five-layer network: the gain of each layer predicted and measured; then 10 to 50 layers.

Gradients here are those of the loss by the *outputs of the linear maps*: what a layer hands down to the one below.
Before training, the gain of a layer (the norm it hands down over the norm it gets) follows from the weights alone:

* without normalisation, weights of He's variance times ``gain²``: ``gain``;
* with batch norm before a ReLU: ``√(π / (π - 1)) ≈ 1.21``, whatever the weights (Yang et al. 2019, 1902.08129, for wide
  layers and large batches). Batch norm divides by the standard deviation *over the batch*, which is smaller than the
  root mean square the ReLU leaves, because half a bell curve has a mean;
* with layer norm: 1, since the mean over examples stays in what it divides by.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from lucida.lab.experiment import Bench, final_loss, validation_error
from lucida.lab.networks import Perceptron, perceptron_for
from lucida.lab.norms import NormName
from lucida.lab.observations import Observations
from lucida.lab.signal_propagation import before_training, decades, observe_layers
from lucida.lab.training import Training

DATA = ("digits", "emoji")
FIVE, FIFTY = 5, 50
NORMS: tuple[NormName, ...] = ("none", "batch", "layer")
DEEP: tuple[tuple[NormName, bool], ...] = (*((norm, False) for norm in NORMS), ("batch", True))  # True: residual
LARGE = 4.0  # the gain of the claims


@dataclass(frozen=True)
class Settings:
    """The numbers of a scale.

    Attributes:
        width, batch_size: of the networks before training: the wider, the closer to the prediction.
        gains: of the weights' standard deviation over He's.
        depths: of the deep networks; the last is fifty.
        trained_width, steps, trained_batch_size, rates: of the training runs; rates are where tuning starts.
    """

    width: int
    batch_size: int
    gains: tuple[float, ...]
    depths: tuple[int, ...]
    trained_width: int
    steps: int
    trained_batch_size: int
    rates: tuple[float, ...]


def predicted_gain(norm: NormName, gain: float) -> float:
    """Norm a wide ReLU layer hands down over the norm it gets, before training.

    >>> [round(predicted_gain(norm, 2.0), 3) for norm in ("none", "batch", "layer")]
    [2.0, 1.211, 1.0]
    """
    return {"none": gain, "batch": math.sqrt(math.pi / (math.pi - 1)), "layer": 1.0}[norm]


def arm(norm: NormName, gain: float = 1.0, depth: int = FIVE, *, residual: bool = False) -> str:
    """The name of an arm on the page.

    >>> arm("batch", 2.0), arm("none", depth=50, residual=True)
    ('batch norm, 5 layers, gain 2', 'no norm, 50 layers, residual')
    """
    name = "no norm" if norm == "none" else f"{norm} norm"
    return f"{name}, {depth} layers" + (f", gain {gain:g}" if gain != 1 else "") + (", residual" if residual else "")


def measure(bench: Bench, settings: Settings) -> Observations:
    """Gains before training, the explosion of deep networks, and what they mean for training."""
    found = Observations()
    for data, norm, gain in product(DATA, NORMS, settings.gains):
        _five_layers(bench, settings, found, data, norm, gain)
    for data, (norm, residual) in product(DATA, DEEP):
        _deep(bench, settings, found, data, norm, residual=residual)
    for data in DATA:
        _trained_away(bench, settings, found, data)
    for data, norm, gain in product(DATA, NORMS[:2], settings.gains):
        found.record("accuracy", arm(norm, gain), _accuracy(bench, settings, data, norm, gain), data)
    for norm, gain in product(NORMS, settings.gains):
        found.facts[f"predicted gain/{arm(norm, gain)}"] = predicted_gain(norm, gain)
    return found


def _gradients(bench: Bench, settings: Settings, data: str, name: str, network: Perceptron) -> NDArray:
    """By layer before training, ``[seeds, L]``."""
    return before_training(bench, f"{name}, {data}", data, network, settings.batch_size)[:, 0]


def _five_layers(bench: Bench, settings: Settings, found: Observations, data: str, norm: NormName, gain: float) -> None:
    name = arm(norm, gain)
    network = perceptron_for(data, FIVE, settings.width, norm=norm, gain=gain)
    gradients = _gradients(bench, settings, data, name, network)
    found.record("decades", name, np.abs(decades(gradients)), data)
    found.record("gain of a layer", name, 10 ** (decades(gradients) / (FIVE - 1)), data)
    found.draw(f"five/{data}/{name}", range(1, FIVE + 1), gradients / gradients[:, -1:])


def _deep(bench: Bench, settings: Settings, found: Observations, data: str, norm: NormName, *, residual: bool) -> None:
    """Explosion by depth; all depths but fifty are for the curve alone."""
    course = []
    for depth in settings.depths:
        network = perceptron_for(data, depth, settings.width, norm=norm, residual=residual)
        gradients = _gradients(bench, settings, data, arm(norm, depth=depth, residual=residual), network)
        course.append(decades(gradients))
    name = arm(norm, depth=FIFTY, residual=residual)
    found.record("explosion", name, course[settings.depths.index(FIFTY)], data)
    found.draw(f"depth/{data}/{name}", settings.depths, np.stack(course, axis=1))
    found.draw(f"fifty/{data}/{name}", range(1, FIFTY + 1), gradients / gradients[:, -1:])


def _trained_away(bench: Bench, settings: Settings, found: Observations, data: str) -> None:
    """The same fifty layers with batch norm while they train at the rate that trains them best."""
    network = perceptron_for(data, FIFTY, settings.trained_width, norm="batch")
    training = Training(data, settings.trained_batch_size, settings.steps, every=settings.steps // 10)
    name = f"{arm('batch', depth=FIFTY)}, {data}"
    rate = bench.tuned(name, training, network, settings.rates, final_loss)
    outcome = bench.over_seeds(name, training, network, rate, {"layers": observe_layers})
    explosion = decades(outcome.observed["layers"][:, :, 0])
    found.draw(f"trained/{data}", outcome.steps, explosion)
    found.record("explosion", "trained, before", explosion[:, 0], data)
    found.record("explosion", "trained, after", explosion[:, -1], data)


def _accuracy(bench: Bench, settings: Settings, data: str, norm: NormName, gain: float) -> NDArray:
    """Test accuracy of five layers at the arm's own best rate, ``[seeds]``."""
    network = perceptron_for(data, FIVE, settings.trained_width, norm=norm, gain=gain)
    training = Training(data, settings.trained_batch_size, settings.steps, every=settings.steps)
    name = f"{arm(norm, gain)}, {data}"
    rate = bench.tuned(name, training, network, settings.rates, validation_error)
    return bench.over_seeds(name, training, network, rate).final("test_accuracy")
