"""Exploding gradients: what makes them, and of each remedy whether it prevents them or only survives them.

What makes them is measured before training, as a factorial: the activation against the gain of the weights, in a
perceptron and through the time of a recurrent network. The remedies are then compared on networks that explode: what
the first gradient is with them, at how many learning rates of a wide range a run stays stable, or learns, and what
test accuracy each reaches at its own best rate.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lucida.lab.datasets import load
from lucida.lab.experiment import Bench, validation_error
from lucida.lab.loss_curves import at_loss, moving_mean
from lucida.lab.networks import ActivationName, Perceptron, perceptron_for
from lucida.lab.observations import Observations, by_seed
from lucida.lab.sequence_networks import Recurrent, recurrent_for
from lucida.lab.signal_propagation import (
    before_training,
    decades,
    observe_layers,
    predicted,
    predicted_through_time,
)
from lucida.lab.stack import Updates
from lucida.lab.training import Member, Moment, Outcome, Training

DATA = ("digits", "emoji")
SEQUENCES = "digit sequences"
RECURRENT = "recurrent net"
PERCEPTRONS = tuple(f"perceptron, {data}" for data in DATA)
STRONG, MILD = 2.0, 1.5  # gains of the recurrent matrix
TIMES = {f"{RECURRENT}, gain {gain:g}": gain for gain in (STRONG, MILD)}
DEPTH = 10
LARGE = 4.0  # gain of the weights where the cause is looked for; over He's in a perceptron
TOO_LARGE = 2.0  # of the perceptrons that get a remedy
TARGET = 0.75  # of the loss of guessing
LOOKS = 20  # evaluations of a perceptron while it trains
LEARNED = 0.1  # above the share of the most frequent class, on training examples
_WINDOW = 10  # steps of which a course shows the mean


@dataclass(frozen=True)
class Remedy:
    """What is done against the explosion; ``network`` and ``training`` change the settings of those."""

    name: str
    network: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


NOTHING = Remedy("nothing")
SMALLER = Remedy("weights of gain one", {"gain": 1.0})
BATCH, LAYER = Remedy("batch norm", {"norm": "batch"}), Remedy("layer norm", {"norm": "layer"})
CLIPPED = Remedy("norm clipped", training={"updates": Updates(max_grad_norm=1.0)})
VALUES = Remedy("values clipped", training={"updates": Updates(max_grad_value=0.1)})
L1, L2 = Remedy("L1 penalty", training={"l1": 1e-3}), Remedy("L2 penalty", training={"l2": 1e-2})
ADAM = Remedy("Adam", training={"updates": Updates("adam")})
RMSPROP = Remedy("RMSprop", training={"updates": Updates("rmsprop")})
REMEDIES = (NOTHING, SMALLER, BATCH, LAYER, CLIPPED, VALUES, L1, L2, ADAM, RMSPROP)
TRIED = {
    **dict.fromkeys(PERCEPTRONS, REMEDIES),
    **dict(zip(TIMES, ((NOTHING, SMALLER, LAYER, CLIPPED, ADAM), (NOTHING, CLIPPED)), strict=True)),
}
WATCHED = (NOTHING, CLIPPED, L2, ADAM, SMALLER)  # whose weights are followed while they train


@dataclass(frozen=True)
class Settings:
    """The numbers of a scale.

    Attributes:
        width, batch_size: of the perceptrons before training.
        activations, gains: of the factorial.
        time_gains: of the recurrent matrix before training.
        trained_width, steps, trained_batch_size: of all training runs.
        rates: tuned over, and the wide range over which stable runs are counted.
        finer: whether the best rate is looked for again, in steps of the square root of ten.
        time_steps, time_rates: of the recurrent network's training: where its tuning starts.
    """

    width: int
    batch_size: int
    activations: tuple[ActivationName, ...]
    gains: tuple[float, ...]
    time_gains: tuple[float, ...]
    trained_width: int
    steps: int
    trained_batch_size: int
    rates: tuple[float, ...]
    finer: bool
    time_steps: int
    time_rates: tuple[float, ...]


def cell(activation: str, gain: float) -> str:
    """The name of a cell of the factorial.

    >>> cell("leaky_relu", 4.0)
    'leaky relu, gain 4'
    """
    return f"{activation.replace('_', ' ')}, gain {gain:g}"


def measure(bench: Bench, settings: Settings) -> Observations:
    """The cause, then the remedies."""
    found = Observations()
    _cause(bench, settings, found)
    _cause_through_time(bench, settings, found)
    for data, remedy in product(DATA, REMEDIES):
        _perceptron(bench, settings, found, data, remedy)
    for level in TIMES:
        for remedy in TRIED[level]:
            _recurrent(bench, settings, found, level, remedy)
    _courses(bench, settings, found)
    return found


def _cause(bench: Bench, settings: Settings, found: Observations) -> None:
    """Activation against gain in perceptrons before training."""
    course: dict[tuple[str, float], list[NDArray]] = {}
    for data, activation, gain in product(DATA, settings.activations, settings.gains):
        network = perceptron_for(data, DEPTH, settings.width, activation=activation, gain=gain)
        name = cell(activation, gain)
        gradients = before_training(bench, f"{name}, {data}", data, network, settings.batch_size)[:, 0]
        found.record("decades", name, decades(gradients), data)
        course.setdefault((activation, gain), []).append(decades(gradients))
        found.draw(f"layers/{data}/{name}", range(1, DEPTH + 1), gradients / gradients[:, -1:])
        theory = predicted(network, load(data)).gradients
        found.facts[f"predicted decades/{name}/{data}"] = float(decades(theory))
        found.draw(f"predicted layers/{data}/{name}", range(1, DEPTH + 1), theory[None])
        if activation == "tanh":
            found.record("decades by gain", f"gain {gain:g}", decades(gradients), f"perceptron, {data}")
    for (kind, factor), both in course.items():
        found.record("decades by activation", kind, np.mean(both, axis=0), f"gain {factor:g}")


def _cause_through_time(bench: Bench, settings: Settings, found: Observations) -> None:
    """The gain of the recurrent matrix, before training."""
    activations: tuple[ActivationName, ...] = ("tanh", "linear")
    for activation, gain in product(activations, settings.time_gains):
        network = recurrent_for(SEQUENCES, settings.trained_width, activation=activation, gain=gain)
        name = cell(activation, gain)
        gradients = before_training(bench, f"recurrent {name}", SEQUENCES, network, settings.batch_size)
        steps = range(1, gradients.shape[1] + 1)
        found.draw(f"time/{name}", steps, gradients / gradients[:, -1:])
        theory = predicted_through_time(network, load(SEQUENCES))
        found.draw(f"predicted time/{name}", steps, theory[None])
        found.record("decades", name, decades(gradients), RECURRENT)
        found.facts[f"predicted decades/{name}/{RECURRENT}"] = float(decades(theory))
        known = {1.0: 1.0, STRONG: LARGE}  # in a recurrent matrix, a gain of two is a large one
        if activation == "tanh" and gain in known:
            found.record("decades by gain", f"gain {known[gain]:g}", decades(gradients), RECURRENT)


def _perceptron(bench: Bench, settings: Settings, found: Observations, data: str, remedy: Remedy) -> None:
    """Tuned accuracy, and what happens over the whole range of rates."""
    choices = {"gain": TOO_LARGE} | remedy.network
    network = perceptron_for(data, DEPTH, settings.trained_width, **choices)
    training = Training(data, settings.trained_batch_size, settings.steps, every=settings.steps, **remedy.training)
    level, name = f"perceptron, {data}", f"{remedy.name}, perceptron, {data}"
    rate = _tuned(bench, settings, name, training, network)
    watched = replace(training, every=settings.steps // LOOKS)
    observers = (
        {"layers": observe_layers, "weights": observe_weights} if remedy in WATCHED and data == "digits" else None
    )
    outcome = bench.over_seeds(name, watched, network, rate, observers)
    _record_tuned(found, remedy, level, outcome)
    _record_steps(found, remedy, data, level, outcome)
    if observers is not None:
        _record_watched(found, remedy, outcome)
    members = [Member(seed, rate, network) for seed, rate in product(bench.seeds, settings.rates)]
    everywhere = bench.train(f"{name}, all rates", training, members)
    _record_range(found, settings, remedy, level, everywhere, len(bench.seeds))


def _tuned(bench: Bench, settings: Settings, name: str, training: Training, network: Perceptron) -> float:
    rate = bench.tuned(name, training, network, settings.rates, validation_error)
    if not settings.finer:
        return rate
    near = (rate / 10**0.5, rate, rate * 10**0.5)
    return bench.tuned(name, training, network, near, validation_error)


def _record_tuned(found: Observations, remedy: Remedy, level: str, outcome: Outcome) -> None:
    data = SEQUENCES if level in TIMES else level.rpartition(", ")[2]
    accuracy = outcome.final("test_accuracy")
    found.record("accuracy", remedy.name, accuracy, level)
    # Whoever learned nothing can still guess: what lies between nonsense and guessing is worth nothing.
    found.record("worth", remedy.name, np.maximum(accuracy, most_frequent(data)), level)
    found.record("first gradient", remedy.name, np.log10(outcome.grad_norm[:, 0]), level)


def _record_steps(found: Observations, remedy: Remedy, data: str, level: str, outcome: Outcome) -> None:
    """Steps until the loss of training examples, which no penalty is part of, is down to the target; their cost."""
    target = TARGET * float(np.log(load(data).classes))
    steps = at_loss(outcome.loss, outcome.steps, [target])[:, 0]
    missed = np.isnan(steps)
    found.record("steps to the target", remedy.name, np.where(missed, outcome.steps[-1], steps), level, cut=missed)
    found.record("missed the target", remedy.name, missed, level)
    found.facts[f"milliseconds/{remedy.name}/{level}"] = 1000 * outcome.seconds_per_step / len(outcome.alive)


def _record_watched(found: Observations, remedy: Remedy, outcome: Outcome) -> None:
    """The inner weights and the explosion while a network trains."""
    courses = {"weights": outcome.observed["weights"], "explosion": decades(outcome.observed["layers"][:, :, 0])}
    for name, values in courses.items():
        found.draw(f"{name}/{remedy.name}", outcome.steps, values)
        found.record(f"{name} at the start", remedy.name, values[:, 0])
        found.record(f"{name} at the end", remedy.name, values[:, -1])


def _record_range(
    found: Observations, settings: Settings, remedy: Remedy, level: str, outcome: Outcome, seeds: int
) -> None:
    """Shares of the rates at which a run was stable, or learned; the largest rate below which all were stable."""
    stable = by_seed(outcome.stable(), seeds)
    data = level.rpartition(", ")[2]
    accuracy = by_seed(outcome.final("train_accuracy"), seeds)
    learned = accuracy >= most_frequent(data) + LEARNED
    found.record("stable", remedy.name, stable.mean(axis=1), level)
    found.record("learned", remedy.name, (learned & stable).mean(axis=1), level)
    runs = np.cumprod(stable, axis=1).sum(axis=1)  # of the smallest rates, how many in a row
    step = np.log10(settings.rates[1] / settings.rates[0])
    largest = np.log10(settings.rates[0]) + step * (runs - 1)
    found.record("largest rate", remedy.name, largest, level, cut=runs == len(settings.rates))
    found.draw(f"rates/{data}/{remedy.name}", settings.rates, accuracy)


def most_frequent(data: str) -> float:
    """Share of the most frequent class: the accuracy of guessing."""
    labels = load(data).labels
    return float(torch.bincount(labels).max()) / len(labels)


def _recurrent(bench: Bench, settings: Settings, found: Observations, level: str, remedy: Remedy) -> None:
    training, network = _through_time(settings, level, remedy)
    name = f"{remedy.name}, {level}"
    rate = bench.tuned(name, training, network, settings.time_rates, validation_error)
    _record_tuned(found, remedy, level, bench.over_seeds(name, training, network, rate))


def _through_time(settings: Settings, level: str, remedy: Remedy) -> tuple[Training, Recurrent]:
    network = recurrent_for(SEQUENCES, settings.trained_width, **({"gain": TIMES[level]} | remedy.network))
    steps = settings.time_steps
    return Training(SEQUENCES, settings.trained_batch_size, steps, every=steps, **remedy.training), network


def _courses(bench: Bench, settings: Settings, found: Observations) -> None:
    """Loss and gradient of every step at the rate that is best with clipping, in the network that explodes mildly."""
    level = list(TIMES)[-1]
    rate = bench.chosen[f"{CLIPPED.name}, {level}"]
    for remedy in (NOTHING, CLIPPED):
        training, network = _through_time(settings, level, remedy)
        outcome = bench.over_seeds(f"{remedy.name}, {level}", training, network, rate)
        steps = np.arange(_WINDOW, settings.time_steps + 1)
        found.draw(f"loss/{remedy.name}", steps, moving_mean(outcome.batch_loss, _WINDOW))
        found.draw(f"norm/{remedy.name}", steps, moving_mean(outcome.grad_norm, _WINDOW))
        found.record("largest gradient", remedy.name, np.log10(np.nanmax(outcome.grad_norm, axis=1)))
        found.record("accuracy at the rate of clipping", remedy.name, outcome.final("test_accuracy"))


def observe_weights(moment: Moment) -> Tensor:
    """Observer: root mean square of the inner layers' weights over He's deviation: the gain they have come to."""
    inner = [
        weight
        for name, weight in moment.stack.stacked_parameters().items()
        if name.startswith("blocks") and weight.ndim == 3 and weight.shape[1] == weight.shape[2]
    ]
    he = (2 / inner[0].shape[2]) ** 0.5
    return torch.stack([weight.square().mean(dim=(1, 2)).sqrt() / he for weight in inner]).mean(dim=0)
