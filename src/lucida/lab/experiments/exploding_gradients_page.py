"""The page of :mod:`~lucida.lab.experiments.exploding_gradients`: settings and what it shows."""

from __future__ import annotations

from lucida.lab.experiment import Experiment
from lucida.lab.experiments.exploding_gradients import Settings, measure
from lucida.lab.experiments.exploding_gradients_claims import DESIGN
from lucida.lab.experiments.exploding_gradients_sections import present

RATES = tuple(10.0**k for k in range(-7, 2))

EXPERIMENT = Experiment(
    design=DESIGN,
    settings={
        "quick": Settings(
            128, 64, ("relu", "tanh", "gelu", "sigmoid"), (0.5, 1.0, 2.0, 4.0), (0.5, 1.0, 1.5, 2.0), 32, 200, 32,
            RATES, False, 150, (0.001, 0.01, 0.1),
        ),
        "full": Settings(
            256, 128, ("relu", "tanh", "gelu", "sigmoid"), (0.5, 1.0, 2.0, 4.0), (0.5, 1.0, 1.5, 2.0), 32, 300, 32,
            RATES, True, 300, (0.003, 0.01, 0.03, 0.1),
        ),
    },
    measure=measure,
    present=present,
    answers=(),
    source="lab/experiments/exploding_gradients.py",
    helpers=("lab/signal_propagation.py",),
)  # fmt: skip
