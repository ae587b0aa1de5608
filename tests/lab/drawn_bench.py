"""A bench that draws what training would have recorded: whether a page is whole does not need trained networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lucida.lab.experiment import Bench
from lucida.lab.networks import Perceptron
from lucida.lab.training import Member, Observer, Outcome, Training

TIME = 64  # steps of the sequences


class DrawnBench(Bench):
    """Positive numbers of the right shapes."""

    def train(
        self,
        what: str,
        training: Training,
        members: Sequence[Member],
        observers: Mapping[str, Observer] | None = None,
    ) -> Outcome:
        drawn = np.random.default_rng(len(what))
        steps = np.unique([*range(0, training.steps, training.every), training.steps])
        n, evaluations = len(members), len(steps)
        network = members[0].network
        depth = network.depth if isinstance(network, Perceptron) else 0
        shapes = {"layers": (3, depth), "time": (TIME,), "weights": ()}
        shapes |= {"sharpness": (), "noise": (4,), "rescaled": (2,), "departure": (2,)}
        each = {name: drawn.random((n, evaluations)) for name in ("loss", "train_accuracy", "validation_accuracy")}
        return Outcome(
            steps=steps,
            **each,
            test_accuracy=drawn.random((n, evaluations)),
            batch_loss=drawn.random((n, training.steps)),
            grad_norm=drawn.random((n, training.steps)),
            alive=np.ones(n, dtype=bool),
            observed={name: drawn.random((n, evaluations, *shapes[name])) for name in observers or {}},
            stacked=True,
            seconds_per_step=(1.0, 2.0),
        )
