"""What batch norm does: speed, smoothness and the shift of the layers' inputs along training, and planted saddles.

All arms of a context see the same batches and start from the same draws of the matrices. Speed is counted in steps to a
training loss as the training itself sees it: batch statistics, and noise where there is noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lucida.lab.datasets import OWN_PICTURES, load, named_pictures, training_batch
from lucida.lab.experiment import Bench, Score
from lucida.lab.input_shift import observe_inputs, observe_shift
from lucida.lab.loss_curves import moving_mean
from lucida.lab.networks import ConvNet, NetworkConfig, perceptron_for
from lucida.lab.norms import NoisyBatchNorm, NormName
from lucida.lab.observations import Observations
from lucida.lab.probing import kept_buffers
from lucida.lab.saddles import DoubledUnits, NearOrigin, curvature
from lucida.lab.smoothness import LENGTHS, observe_walk
from lucida.lab.stack import StackTask
from lucida.lab.training import Moment, Observer, Outcome, Training
from lucida.training.tasks import ClassificationTask

PLAIN, BATCH, NOISY, SAME_RATE = "no norm", "batch norm", "noisy batch norm", "batch norm at the plain network's rate"
SMALL_GAINS, NOISE_ALONE = "batch norm, its gains scaled too", "the noise without batch norm"
NORMS: dict[str, NormName] = {PLAIN: "none", BATCH: "batch", NOISY: "batch_noisy"}
CONTEXTS = ("perceptron, digits", "perceptron, emoji", "convolutions, digits")
OWN = f"convolutions, {OWN_PICTURES}"  # besides the claims, where a user named pictures
OWN_TARGET = 0.9  # of the loss of guessing
DOUBLED, ORIGIN = "doubled units", "near the origin"
SADDLES = (f"{DOUBLED}, digits", f"{ORIGIN}, digits", f"{ORIGIN}, emoji")
ONE_PERCENT = LENGTHS.index(0.01)
LEFT, LEAVING = 0.9, 5  # of the plateau's loss: the saddle is left when so many batches in a row are below it
PERTURBATION, ORIGIN_SCALE = 0.03, 0.1
OBSERVERS: dict[str, Observer] = {"walk": observe_walk(), "inputs": observe_inputs, "shift": observe_shift}


@dataclass(frozen=True)
class Settings:
    """The numbers of a scale.

    Attributes:
        depth, width: of the perceptron.
        convolutions, channels: of the convolutional network.
        batch_size, steps, every: of training, and how often one looks.
        targets: training loss to reach, by context.
        rates: where tuning starts.
        noise_rates: where that of the noise without batch norm starts: what it makes explode bears less.
        amounts: of the noise, as shares of the control's, in the perceptrons.
        widths: of the perceptron, for the noise by width.
        saddle_width, saddle_steps, saddle_batch_size: of the networks at saddles.
        saddle_rates: where their tuning starts.
    """

    depth: int
    width: int
    convolutions: int
    channels: int
    batch_size: int
    steps: int
    every: int
    targets: tuple[float, ...]
    rates: tuple[float, ...]
    noise_rates: tuple[float, ...]
    amounts: tuple[float, ...]
    widths: tuple[int, ...]
    saddle_width: int
    saddle_steps: int
    saddle_batch_size: int
    saddle_rates: tuple[float, ...]

    def network(self, context: str, norm: NormName) -> NetworkConfig:
        """The network of a context."""
        kind, data = context.split(", ")
        if kind == "perceptron":
            return perceptron_for(data, self.depth, self.width, norm=norm)
        source = load(data)
        return ConvNet(source.inputs["inputs"].shape[1], source.classes, self.convolutions, self.channels, norm=norm)

    def training(self, context: str) -> Training:
        """The training of a context."""
        return Training(context.split(", ")[1], self.batch_size, self.steps, self.every)

    def target(self, context: str) -> float:
        """The training loss that counts as reached."""
        if context == OWN:
            return OWN_TARGET * float(np.log(load(OWN_PICTURES).classes))
        return self.targets[CONTEXTS.index(context)]


@dataclass(frozen=True)
class Noised:
    """Noisy batch norm with a share of the control's noise between steps."""

    network: NetworkConfig
    amount: float

    def build(self, seed: int) -> nn.Module:
        """The network of a seed, its noise turned down."""
        network = self.network.build(seed)
        for module in network.modules():
            if isinstance(module, NoisyBatchNorm):
                module.shift, module.scale = self.amount * module.shift, 1 + self.amount * (module.scale - 1)
        return network


def noisy(amount: float) -> str:
    """The arm of noisy batch norm with a share of the noise.

    >>> noisy(0.5)
    'noisy batch norm, 0.5 of the noise'
    """
    return f"{NOISY}, {amount:g} of the noise"


@dataclass(frozen=True)
class NoiseAlone:
    """A perceptron whose activations see what they would without normalisation, with the control's noise on it."""

    network: NetworkConfig

    def build(self, seed: int) -> nn.Module:
        """The network of a seed."""
        network = self.network.build(seed)
        for block in network.blocks:  # type: ignore[union-attr]
            block.norm = NoisyBatchNorm(nn.Identity())
        return network


def measure(bench: Bench, settings: Settings) -> Observations:
    """Training with and without batch norm and with the noise, then the noise by amount and width, then saddles."""
    found = Observations()
    named = named_pictures() is not None
    if not named:
        found.left_out[f"steps/{OWN}"] = "no pictures were named: lucida lab run … --pictures YOUR_PICTURES"
    for context in (*CONTEXTS, OWN) if named else CONTEXTS:
        networks = {arm: settings.network(context, norm) for arm, norm in NORMS.items()}
        best = {
            arm: _trained(bench, settings, found, context, arm, network, settings.rates)
            for arm, network in networks.items()
        }
        _seen(bench, settings, found, context, SAME_RATE, networks[BATCH], best[PLAIN])
    for context in CONTEXTS[:2]:
        for amount in settings.amounts:
            network = Noised(settings.network(context, "batch_noisy"), amount)
            _trained(bench, settings, found, context, noisy(amount), network, settings.rates)
        _trained(
            bench,
            settings,
            found,
            context,
            NOISE_ALONE,
            NoiseAlone(settings.network(context, "none")),
            settings.noise_rates,
        )
    _by_width(bench, settings, found)
    for level in SADDLES:
        _saddle(bench, settings, found, level)
    return found


def _trained(
    bench: Bench,
    settings: Settings,
    found: Observations,
    context: str,
    arm: str,
    network: NetworkConfig,
    rates: tuple[float, ...],
) -> float:
    """Tune an arm, train it, record what was seen; its rate."""
    training = settings.training(context)
    tuning, score = replace(training, every=training.steps), reaching(settings.target(context))
    rate = bench.tuned(f"{arm}, {context}", tuning, network, rates, score)
    found.facts[f"tuned rate/{arm}/{context}"] = rate
    _seen(bench, settings, found, context, arm, network, rate)
    return rate


def _seen(
    bench: Bench, settings: Settings, found: Observations, context: str, arm: str, network: NetworkConfig, rate: float
) -> None:
    """Train an arm at a rate and record what was seen."""
    outcome = bench.over_seeds(f"{arm}, {context}", settings.training(context), network, rate, OBSERVERS)
    _record(found, settings, context, arm, outcome)


def reaching(target: float) -> Score:
    """Steps to a training loss; infinite for what diverged or ended no lower than it began.

    Where the steps did not suffice there are more by as many times as the loss is still above the target, so that
    rates at which no member arrives differ too. Unlike the bench's own score it never looks in evaluation mode, in
    which a network that was trained with noise is another one.
    """

    def score(outcome: Outcome) -> NDArray:
        last = np.nan_to_num(outcome.batch_loss[:, -10:], nan=np.inf).mean(axis=1)
        sound = outcome.alive & (last < outcome.batch_loss[:, 0])
        missing = np.where(outcome.reached(target), 1.0, np.maximum(1.0, last / target))
        return np.where(sound, missing * outcome.steps_to(target), np.inf)

    return score


def _record(found: Observations, settings: Settings, context: str, arm: str, outcome: Outcome) -> None:
    """Steps to the target, and means over the way there of what the observers saw."""
    target = settings.target(context)
    steps, reached = outcome.steps_to(target), outcome.reached(target)
    found.record("steps", arm, np.log2(steps), context, cut=~reached)
    found.record("reached", arm, reached, context)
    found.record("test accuracy", arm, outcome.final("test_accuracy"), context)
    on_the_way = outcome.steps[None, :] <= steps[:, None]
    walk, shift = outcome.observed["walk"], outcome.observed["shift"]
    n, layers = len(LENGTHS), shift.shape[-1] // 2
    moves = {"drift": shift[..., :layers], "shape drift": shift[..., layers : 2 * layers]}
    seen = {
        "gradient change": walk[..., 4 + ONE_PERCENT],
        "beta": walk[..., 2],
        "loss range": walk[..., 1],
        **{name: np.exp(_logs(by_layer).mean(axis=2)) for name, by_layer in moves.items()},
        "gradient shift": shift[..., -1],
    }
    for name, values in seen.items():
        logs = np.log2(np.exp(_logs(values)))
        found.record(name, arm, _mean(logs, on_the_way), context)
        found.record(f"{name} before training", arm, logs[:, 0], context)
        found.draw(f"{name}/{context}/{arm}", outcome.steps, values)
    change = np.exp(_mean(_logs(walk[..., 4 : 4 + n]), on_the_way))
    found.draw(f"change by length/{context}/{arm}", 100 * np.array(LENGTHS), change)
    for name, by_layer in moves.items():
        means = np.exp(_mean(_logs(by_layer), on_the_way))
        found.draw(f"{name} by layer/{context}/{arm}", np.arange(1, layers + 1), means)
    _draw_course(found, context, arm, outcome)


def _draw_course(found: Observations, context: str, arm: str, outcome: Outcome) -> None:
    """Loss by step, and what the first and the last hidden layer's activations see."""
    window = 10
    smooth = moving_mean(outcome.batch_loss, window)
    steps = np.arange(window, outcome.batch_loss.shape[1] + 1)
    found.draw(f"loss/{context}/{arm}", steps[:: window // 2], smooth[:, :: window // 2])
    inputs = outcome.observed["inputs"]
    for name, layer in (("first", 0), ("last", -1)):
        found.draw(f"mean/{context}/{arm}, {name} layer", outcome.steps, inputs[:, :, layer, 0])
        found.draw(f"spread/{context}/{arm}, {name} layer", outcome.steps, inputs[:, :, layer, 1])


def _logs(values: NDArray) -> NDArray:
    """Natural logarithms; what is exactly nothing counts as 1e-12."""
    return np.log(np.maximum(values, 1e-12))


def _mean(values: NDArray, chosen: NDArray) -> NDArray:
    """Mean over the chosen evaluations, ``[M, E, …]`` and ``bool [M, E]``, of those that are finite."""
    mask = chosen.reshape(*chosen.shape, *([1] * (values.ndim - 2)))
    return np.nanmean(np.where(mask & np.isfinite(values), values, np.nan), axis=1)


def _by_width(bench: Bench, settings: Settings, found: Observations) -> None:
    """Plain, with batch norm and with the whole noise in a narrower and a wider perceptron."""
    context = CONTEXTS[0]
    training, target = settings.training(context), settings.target(context)
    training = replace(training, every=training.steps)
    for width, (arm, norm) in product(settings.widths, NORMS.items()):
        network, name = replace(settings, width=width).network(context, norm), f"{arm}, {width} wide, {context}"
        rate = bench.tuned(name, training, network, settings.rates, reaching(target))
        outcome = bench.over_seeds(name, training, network, rate)
        reached = outcome.reached(target)
        found.record("steps by width", arm, np.log2(outcome.steps_to(target)), f"{width}", cut=~reached)
        found.record("reached by width", arm, reached, f"{width}")


def observe_plateau(moment: Moment) -> Tensor:
    """Observer: the loss of training examples as training sees it, ``[M]``."""
    with torch.no_grad(), kept_buffers(moment.stack):
        return StackTask(moment.stack, ClassificationTask).member_losses(moment.train)


def relative_loss(outcome: Outcome) -> NDArray:
    """Loss of every step over that of the plateau, ``[M, steps]``."""
    return outcome.batch_loss / outcome.observed["plateau"][:, :1]


def left(outcome: Outcome) -> NDArray:
    """Whether a member is below :data:`LEFT` of the plateau's loss in the end: who was thrown back is not, ``[M]``."""
    return np.nan_to_num(relative_loss(outcome)[:, -LEAVING:], nan=np.inf).mean(axis=1) <= LEFT


def steps_to_leave(outcome: Outcome) -> NDArray:
    """Steps until the mean loss of a few batches is at most :data:`LEFT` of the plateau's, ``[M]``.

    A member that has not :func:`left` has the number of steps it was given.
    """
    steps = replace(outcome, batch_loss=relative_loss(outcome)).steps_to(LEFT, window=LEAVING)
    return np.where(left(outcome), steps, float(outcome.batch_loss.shape[1]))


def _leaving(outcome: Outcome) -> NDArray:
    """Score for tuning, in which no observer looked: the first batch's loss stands for the plateau's."""
    return steps_to_leave(replace(outcome, observed={"plateau": outcome.batch_loss[:, :1]}))


def planted(settings: Settings, level: str, arm: str) -> NetworkConfig:
    """The network of an arm at a saddle."""
    kind, data = level.split(", ")
    norm: NormName = "none" if arm == PLAIN else "batch"
    depth, choices = 2 if kind == DOUBLED else 3, {"activation": "tanh", "norm": norm, "initialisation": "xavier"}
    network = perceptron_for(data, depth, settings.saddle_width, **choices)
    if kind == DOUBLED:
        return DoubledUnits(data, network, 2, PERTURBATION)
    return NearOrigin(data, network, ORIGIN_SCALE, gains_too=arm == SMALL_GAINS)


def _saddle(bench: Bench, settings: Settings, found: Observations, level: str) -> None:
    """Verify the saddle, then leave it, each arm at its own best rate and batch norm at the plain network's too."""
    arms = (PLAIN, BATCH) if level.startswith(DOUBLED) else (PLAIN, BATCH, SMALL_GAINS)
    data = level.split(", ")[1]
    training = Training(data, settings.saddle_batch_size, settings.saddle_steps, every=settings.saddle_steps)
    rates: dict[str, float] = {}
    for arm in (*arms, SAME_RATE):
        network = planted(settings, level, arm)
        if arm == SAME_RATE:
            rates[arm] = rates[PLAIN]
        else:
            rates[arm] = bench.tuned(f"{arm}, {level}", training, network, settings.saddle_rates, _leaving)
            _record_curvature(bench, found, network, data, level, arm)
            found.facts[f"tuned rate/{arm}/{level}"] = rates[arm]
        outcome = bench.over_seeds(f"{arm}, {level}", training, network, rates[arm], {"plateau": observe_plateau})
        found.record("steps to leave", arm, np.log2(steps_to_leave(outcome)), level, cut=~left(outcome))
        found.record("left", arm, left(outcome), level)
        found.draw(f"leaving/{level}/{arm}", np.arange(0, training.steps, 5), relative_loss(outcome)[:, ::5])


def _record_curvature(
    bench: Bench, found: Observations, network: NetworkConfig, data: str, level: str, arm: str
) -> None:  # fmt: skip
    """Of the planted point on all training examples, and the gradient of an ordinary start for comparison."""

    def compute() -> dict[str, NDArray]:
        there, ordinary = [], []
        for seed in bench.seeds:
            batch = training_batch(data, seed)
            exact = replace(network, perturbation=0.0) if isinstance(network, DoubledUnits) else network
            point = curvature(exact.build(seed), batch)
            there.append((point.gradient, point.least, point.greatest))
            assert isinstance(network, DoubledUnits | NearOrigin)
            ordinary.append(curvature(network.network.build(seed), batch, steps=1).gradient)
        return {"there": np.array(there), "ordinary": np.array(ordinary)}

    key = (repr(network), list(bench.seeds), load(data).content_key)
    arrays = bench.remember(f"curvature of {arm}, {level}", key, compute)
    there, ordinary = arrays["there"], arrays["ordinary"]
    found.record("gradient at the saddle", arm, there[:, 0] / ordinary, level)
    found.record("least curvature", arm, there[:, 1], level)
    found.record("greatest curvature", arm, there[:, 2], level)
