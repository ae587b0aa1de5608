"""Where batch norm hurts: tiny batches, statistics of training used in tests, padding; and what layer norm does.

Batch norm (Ioffe & Szegedy 2015, 1502.03167) makes what a network computes of an example depend on the other examples
of its batch. In training that is noise; in tests running averages stand in, which come from other states of the
network and, with few examples or with padding, from other data. Layer norm (Ba et al. 2016, 1607.06450) and RMSNorm
(Zhang & Sennrich 2019, 1910.07467) look at one example alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn

from lucida.lab.batch_statistics import (
    BINS,
    GAINS,
    SEQUENCE_STATISTICS,
    SHIFTS,
    STATISTICS,
    ExactlyTested,
    Inputs,
    accuracies,
    by_share_of_padding,
    by_word,
    companions_noise,
    expected_distance,
    gains_and_biases,
    gaussian_noise_share,
    sequence_accuracies,
    share_of_the_mean,
    shifts,
    without_gain_and_bias,
)
from lucida.lab.datasets import LONGEST, load, split, training_batch
from lucida.lab.experiment import Bench, validation_error
from lucida.lab.networks import ConvNet, NetworkConfig, perceptron_for
from lucida.lab.norms import NormName, SequenceNormName
from lucida.lab.observations import Observations
from lucida.lab.sequence_networks import Recurrent, Transformer
from lucida.lab.stack import Updates
from lucida.lab.training import Moment, Observer, Outcome, Training

PICTURES = ("perceptron, digits", "perceptron, emoji", "conv net, digits")
PERCEPTRONS = PICTURES[:2]
NORMS: dict[str, NormName] = {"batch norm": "batch", "layer norm": "layer", "no norm": "none"}
DEPTH = {"perceptron": 3, "conv net": 4}
MOMENTUM = 0.1  # of the running statistics: PyTorch's

RECURRENT, TRANSFORMER = "recurrent net", "transformer"
SEQUENCES = (RECURRENT, TRANSFORMER)
ALL_POSITIONS, REAL_POSITIONS = "batch norm", "batch norm, masked"
LAYER, PLAIN, RMS = "layer norm", "layer norm, no gain and bias", "RMSNorm"
SEQUENCE_NORMS: dict[str, SequenceNormName] = {
    ALL_POSITIONS: "batch",
    REAL_POSITIONS: "batch_masked",
    LAYER: "layer",
    PLAIN: "layer_plain",
    RMS: "rms",
}
PIXELS = "recurrent net, pixels"
_NOISE_EXAMPLES = 128


@dataclass(frozen=True)
class Settings:
    """The numbers of a scale.

    Attributes:
        batch_sizes: of the perceptrons and conv nets, smallest first.
        examples: each of them sees in training, whatever its batch size.
        width, channels: of perceptrons and conv nets.
        rates: where tuning of plain SGD starts.
        sequence_batch, sequence_steps, sequence_width: of the networks that read words.
        sequence_rates: where tuning of Adam starts.
        pixels: whether a recurrent net also reads the digits pixel by pixel.
    """

    batch_sizes: tuple[int, ...]
    examples: int
    width: int
    channels: int
    rates: tuple[float, ...]
    sequence_batch: int
    sequence_steps: int
    sequence_width: int
    sequence_rates: tuple[float, ...]
    pixels: bool

    def training(self, data: str, size: int) -> Training:
        """On pictures, with batches of a size; one looks at the end alone."""
        steps = self.examples // size
        return Training(data, size, steps, every=steps)


def sized(norm: str, size: int) -> str:
    """The arm's name.

    >>> sized("batch norm", 2)
    'batch norm, batch 2'
    """
    return f"{norm}, batch {size}"


def for_exact(size: int) -> str:
    """The arm with batch norm at the learning rate that is best when exact statistics test it.

    >>> for_exact(2)
    'batch norm, batch 2, rate for exact statistics'
    """
    return f"{sized('batch norm', size)}, rate for exact statistics"


@dataclass(frozen=True)
class ExactInTests:
    """A network of pictures that is tested with the exact statistics of its seed's training set."""

    data: str
    network: NetworkConfig

    def build(self, seed: int) -> nn.Module:
        """The network of a seed, with the training inputs of that seed."""
        return ExactlyTested(self.network.build(seed), training_batch(self.data, seed)["inputs"])


def measure(bench: Bench, settings: Settings) -> Observations:
    """Small batches of pictures, then padded sequences, then layer norm's gain and bias."""
    found = Observations()
    for level in PICTURES:
        for norm in NORMS:
            scores = [_pictures(bench, settings, found, level, norm, size) for size in settings.batch_sizes]
            found.draw(f"accuracy/{level}/{norm}", settings.batch_sizes, np.stack(scores, axis=1))
        _companions(found, settings, level)
        smallest = settings.batch_sizes[0]
        _harm(found, level, "lost", sized("batch norm", smallest), smallest)
        if level in PERCEPTRONS:
            _tuned_for_exact(bench, settings, found, level, smallest)
            _harm(found, level, "lost, rate for exact statistics", for_exact(smallest), smallest)
    for size in settings.batch_sizes:
        found.facts[f"companions/normal numbers/{size}"] = gaussian_noise_share(size)
        found.facts[f"expected distance/running/{size}"] = expected_distance(size, MOMENTUM)
        found.facts[f"expected distance/batch/{size}"] = expected_distance(size)
    for level, norm in product(SEQUENCES, SEQUENCE_NORMS):
        _sequences(bench, settings, found, level, norm)
    for norm in (LAYER, PLAIN, RMS) if settings.pixels else ():
        _pixels(bench, settings, found, norm)
    if not settings.pixels:
        found.left_out[f"test accuracy/{LAYER}/{PIXELS}"] = "sequences of 64 pixels are read at full scale only"
    return found


# Pictures


def _network(level: str, norm: str, settings: Settings) -> tuple[str, NetworkConfig]:
    """The data of a level, and its network."""
    kind, _, data = level.partition(", ")
    if kind == "perceptron":
        return data, perceptron_for(data, DEPTH[kind], settings.width, norm=NORMS[norm])
    channels, classes = load(data).inputs["inputs"].shape[1], load(data).classes
    return data, ConvNet(channels, classes, DEPTH[kind], settings.channels, norm=NORMS[norm])


def _pictures(bench: Bench, settings: Settings, found: Observations, level: str, norm: str, size: int) -> np.ndarray:
    """Train an arm at its best rate; with batch norm, look at its statistics. Test accuracy, ``[seeds]``."""
    data, network = _network(level, norm, settings)
    training = settings.training(data, size)
    arm = f"{sized(norm, size)}, {level}"
    rate = bench.tuned(arm, training, network, settings.rates, validation_error)
    observers = _picture_observers(bench, data, level, size) if norm == "batch norm" else {}
    outcome = bench.over_seeds(arm, training, network, rate, observers)
    found.record("test accuracy", sized(norm, size), outcome.final("test_accuracy"), level)
    tail = outcome.batch_loss[:, -max(1, training.steps // 10) :].mean(axis=1)
    found.record("loss, training mode", sized(norm, size), _finite(tail), level)
    found.record("loss, test mode", sized(norm, size), _finite(outcome.final("loss")), level)
    if observers:
        _statistics(found, outcome, level, size)
    return outcome.final("test_accuracy")


def _tuned_for_exact(bench: Bench, settings: Settings, found: Observations, level: str, size: int) -> None:
    """Batch norm at the rate that is best with exact statistics, tested with those and with running ones.

    Validated with running statistics, a rate is chosen at which they are not far off: that hides a part of what they
    cost.
    """
    data, network = _network(level, "batch norm", settings)
    arm, training = for_exact(size), settings.training(data, size)
    name = f"{arm}, {level}"
    rate = bench.tuned(name, training, ExactInTests(data, network), settings.rates, validation_error)
    observers = {"accuracies": _picture_observers(bench, data, level, size)["accuracies"]}
    outcome = bench.over_seeds(name, training, network, rate, observers)
    found.record("test accuracy", arm, outcome.final("test_accuracy"), level)
    exact = outcome.observed["accuracies"][:, -1, STATISTICS.index("exact")]
    found.record("test accuracy", f"{arm}, exact statistics", exact, level)


def _finite(losses: np.ndarray) -> np.ndarray:
    """A loss that is no number any more counts as 10."""
    return np.nan_to_num(np.minimum(losses, 10.0), nan=10.0)


def _picture_observers(bench: Bench, data: str, level: str, size: int) -> dict[str, Observer]:
    """At the end of training, member after member."""
    layers = DEPTH[level.partition(", ")[0]]

    def tested(network: nn.Module, train: Inputs, test: Inputs, labels: Tensor) -> Tensor:
        return accuracies(network, train, test, labels, size)

    def shifted(network: nn.Module, train: Inputs, test: Inputs, labels: Tensor) -> Tensor:
        return shifts(network, train, size)

    def noise(network: nn.Module, train: Inputs, test: Inputs, labels: Tensor) -> Tensor:
        return companions_noise(network, tuple(x[:_NOISE_EXAMPLES] for x in train), size)

    return {
        "accuracies": _at_the_end(bench, data, tested, (len(STATISTICS),)),
        "shifts": _at_the_end(bench, data, shifted, (layers, len(SHIFTS), 2)),
        "companions": _at_the_end(bench, data, noise, (layers + 1,)),
    }


Look = Callable[[nn.Module, Inputs, Inputs, Tensor], Tensor]
"""A network, its training inputs, its test inputs and labels; returns what it saw."""


def _at_the_end(bench: Bench, data: str, look: Look, shape: tuple[int, ...]) -> Observer:
    """An observer of the trained networks, each with its whole training set; before training it does not look."""
    source, seeds = load(data), bench.seeds

    def observe(moment: Moment) -> Tensor:
        if moment.step == 0:
            return torch.full((moment.stack.members, *shape), torch.nan)
        seen = []
        for k, seed in enumerate(seeds):
            rows = split(source, seed)
            train = tuple(x[rows.train] for x in source.inputs.values())
            test = tuple(x[rows.test] for x in source.inputs.values())
            seen.append(look(moment.stack.member(k), train, test, source.labels[rows.test]).double())
        return torch.stack(seen)

    return observe


def _statistics(found: Observations, outcome: Outcome, level: str, size: int) -> None:
    """What the observers of a batch norm saw: accuracies by statistics, distances and noise by layer."""
    arm = sized("batch norm", size)
    scores = outcome.observed["accuracies"][:, -1]
    for k, name in enumerate(STATISTICS):
        found.record("test accuracy", f"{arm}, {name} statistics", scores[:, k], level)
    distances = outcome.observed["shifts"][:, -1]
    layers = np.arange(1, distances.shape[1] + 1)
    for (k, name), (j, what) in product(enumerate(SHIFTS), enumerate(("mean", "deviation"))):
        found.draw(f"shift/{what}/{name}/{level}/{size}", layers, distances[:, :, k, j])
        found.record(f"shift of the {what}", f"{arm}, {name}", distances[:, :, k, j].mean(axis=1), level)
    shares = outcome.observed["companions"][:, -1]
    found.draw(f"companions/{level}/{size}", np.arange(1, shares.shape[1] + 1), shares)
    found.record("companions", arm, shares[:, :-1].mean(axis=1), level)
    found.record("companions, logits", arm, shares[:, -1], level)


def _companions(found: Observations, settings: Settings, level: str) -> None:
    """The noise of the first layer and of the logits, by batch size."""
    for name, place in (("first layer", 0), ("logits", -1)):
        shares = [found.curves[f"companions/{level}/{size}"][1][:, place] for size in settings.batch_sizes]
        found.draw(f"companions/{name}/{level}", settings.batch_sizes, np.stack(shares, axis=1))


def _harm(found: Observations, level: str, measure: str, arm: str, size: int) -> None:
    """What an arm with batch norm loses against layer norm: by its statistics in the test, and in training."""

    def scores(arm: str) -> np.ndarray:
        return found.numbers["test accuracy", arm, level]

    layer, running, exact = scores(sized("layer norm", size)), scores(arm), scores(f"{arm}, exact statistics")
    found.record(measure, "in all", layer - running, level)
    found.record(measure, "to the statistics of the test", exact - running, level)
    found.record(measure, "in training", layer - exact, level)


# Sequences


def _sequences(bench: Bench, settings: Settings, found: Observations, level: str, norm: str) -> None:
    """Train a network that reads words at its best rate, and look at its norms."""
    classes, vocabulary = load("emoji words").classes, int(load("emoji words").inputs["inputs"].max()) + 1
    chosen, width = SEQUENCE_NORMS[norm], settings.sequence_width
    network: NetworkConfig = (
        Recurrent(vocabulary, classes, width, words=True, norm=chosen)
        if level == RECURRENT
        else Transformer(vocabulary, classes, width, longest=LONGEST, norm=chosen)
    )
    steps = settings.sequence_steps
    training = Training("emoji words", settings.sequence_batch, steps, every=steps, updates=Updates("adam"))
    arm = f"{norm}, {level}"
    rate = bench.tuned(arm, training, network, settings.sequence_rates, validation_error)
    observers = _sequence_observers(bench, settings.sequence_batch, level, norm)
    outcome = bench.over_seeds(arm, training, network, rate, observers)
    found.record("test accuracy", norm, outcome.final("test_accuracy"), level)
    if norm in (ALL_POSITIONS, REAL_POSITIONS):
        _padding(found, outcome, level, norm)
    else:
        _affine(found, outcome, level, norm)


def _sequence_observers(bench: Bench, size: int, level: str, norm: str) -> dict[str, Observer]:
    def tested(network: nn.Module, train: Inputs, test: Inputs, labels: Tensor) -> Tensor:
        return sequence_accuracies(network, test, labels, size)

    def padded(network: nn.Module, train: Inputs, test: Inputs, labels: Tensor) -> Tensor:
        return by_share_of_padding(network, test)

    def worded(network: nn.Module, train: Inputs, test: Inputs, labels: Tensor) -> Tensor:
        return by_word(network, test, size)

    if norm not in (ALL_POSITIONS, REAL_POSITIONS):
        return _affine_observers(bench, "emoji words")
    looks: dict[str, tuple[Look, tuple[int, ...]]] = {
        "accuracies": (tested, (len(SEQUENCE_STATISTICS),)),
        "padding": (padded, (len(BINS), 2)),
    }
    if level == RECURRENT:
        looks["words"] = worded, (LONGEST, 2)
    return {name: _at_the_end(bench, "emoji words", look, shape) for name, (look, shape) in looks.items()}


def _padding(found: Observations, outcome: Outcome, level: str, norm: str) -> None:
    """Accuracies by statistics, errors by share of padding and by word."""
    for k, name in enumerate(SEQUENCE_STATISTICS):
        scores = outcome.observed["accuracies"][:, -1, k]
        found.record("test accuracy", f"{norm}, {name} statistics", scores, level)
        if level == TRANSFORMER and name in ("padded", "trimmed"):  # without a level, for the claim on this network
            found.record("test accuracy", f"{norm}, {name} statistics", scores)
    errors = outcome.observed["padding"][:, -1]
    for j, what in enumerate(("mean", "deviation")):
        found.draw(f"padding/{what}/{level}/{norm}", BINS, errors[:, :, j])
    if level == RECURRENT:
        for j, name in enumerate(("batch", "running")):
            found.draw(f"words/{name}/{norm}", np.arange(1, LONGEST + 1), outcome.observed["words"][:, -1, :, j])


def _affine_observers(bench: Bench, data: str) -> dict[str, Observer]:
    def learned(network: nn.Module, train: Inputs, test: Inputs, labels: Tensor) -> Tensor:
        reset = torch.tensor([without_gain_and_bias(network, test, labels)], dtype=torch.float64)
        share = torch.tensor([share_of_the_mean(network, test)], dtype=torch.float64)
        return torch.cat([gains_and_biases(network), reset, share])

    return {"learned": _at_the_end(bench, data, learned, (len(GAINS) + 2,))}


def _affine(found: Observations, outcome: Outcome, level: str, norm: str) -> None:
    """What was learned, the accuracy without it, and the part of the signal that only layer norm takes away."""
    learned = outcome.observed["learned"][:, -1]
    for k, name in enumerate(GAINS):
        found.record(name, norm, learned[:, k], level)
    if norm != PLAIN:
        found.record("test accuracy", f"{norm}, gain and bias set back", learned[:, -2], level)
    found.record("share of the mean", norm, learned[:, -1], level)


def _pixels(bench: Bench, settings: Settings, found: Observations, norm: str) -> None:
    """The recurrent net on digits, pixel by pixel."""
    network = Recurrent(1, load("digit sequences").classes, settings.sequence_width, norm=SEQUENCE_NORMS[norm])
    steps = settings.sequence_steps
    training = Training("digit sequences", settings.sequence_batch, steps, every=steps, updates=Updates("adam"))
    arm = f"{norm}, {PIXELS}"
    rate = bench.tuned(arm, training, network, settings.sequence_rates, validation_error)
    outcome = bench.over_seeds(arm, training, network, rate, _affine_observers(bench, "digit sequences"))
    found.record("test accuracy", norm, outcome.final("test_accuracy"), PIXELS)
    _affine(found, outcome, PIXELS, norm)
