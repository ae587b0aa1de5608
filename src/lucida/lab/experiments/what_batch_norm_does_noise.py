"""The noise of the noisy control without any batch norm: what noise costs as such.

Added once the noisy control had turned out slower on one data set: is it the drift that costs, or the noise? It has a
cache of its own, so that what was measured before stays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from lucida.lab.experiment import Bench
from lucida.lab.experiments import what_batch_norm_does as measured
from lucida.lab.experiments.what_batch_norm_does import CONTEXTS, OBSERVERS, Settings
from lucida.lab.networks import Perceptron
from lucida.lab.norms import NoisyBatchNorm
from lucida.lab.observations import Observations
from lucida.lab.smoothness import fixed_noise

NOISE_ALONE = "the noise without batch norm"


@dataclass(frozen=True)
class NoiseAlone:
    """A perceptron without normalisation whose activations see what they would, with the control's noise on it."""

    network: Perceptron

    def build(self, seed: int) -> nn.Module:
        """The network of a seed."""
        network = replace(self.network, norm="none").build(seed)
        for block in network.blocks:  # type: ignore[union-attr]
            block.norm = NoisyBatchNorm(nn.Identity())
        return network


def noise_alone(bench: Bench, settings: Settings, found: Observations) -> None:
    """The arm in both perceptrons, tuned, trained and recorded as the others are."""
    own = replace(
        bench,
        experiment=replace(
            bench.experiment,
            source="lab/experiments/what_batch_norm_does_noise.py",
            helpers=(bench.experiment.source, *bench.experiment.helpers),
        ),
        seconds=0.0,
    )
    for context in CONTEXTS[:2]:
        plain = settings.network(context, "none")
        assert isinstance(plain, Perceptron)
        network, training = NoiseAlone(plain), settings.training(context)
        score = measured._reaching(settings.target(context))
        rate = measured._tuned(own, f"{NOISE_ALONE}, {context}", training, network, settings.rates, score)
        with fixed_noise(2):
            outcome = own.over_seeds(f"{NOISE_ALONE}, {context}", training, network, rate, OBSERVERS)
        measured._record(found, settings, context, NOISE_ALONE, outcome)
    bench.seconds += own.seconds
    bench.remembered, bench.measured = own.remembered, own.measured
