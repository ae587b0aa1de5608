"""The page of :mod:`~lucida.lab.experiments.vanishing_gradients`: settings and what it shows."""

from __future__ import annotations

from lucida.lab.experiment import Experiment
from lucida.lab.experiments.vanishing_gradients import (
    RELU,
    RELU_SMALL,
    SIGMOID,
    SIGMOID_BATCH,
    SIGMOID_LAYER,
    SIGMOID_RESIDUAL,
    Cell,
    Settings,
    measure,
)
from lucida.lab.experiments.vanishing_gradients_claims import DESIGN
from lucida.lab.experiments.vanishing_gradients_sections import present
from lucida.lab.networks import ActivationName, InitialisationName
from lucida.lab.norms import NormName

QUICK_CELLS = (
    SIGMOID, SIGMOID_RESIDUAL, SIGMOID_BATCH, SIGMOID_LAYER, Cell("tanh", "xavier"), RELU, RELU_SMALL,
    Cell("relu", "xavier"),
)  # fmt: skip


def full_cells() -> tuple[Cell, ...]:
    """All activations and initialisations; then sigmoids and small weights with what may cure them."""
    activations: tuple[ActivationName, ...] = ("sigmoid", "tanh", "relu", "leaky_relu", "prelu", "gelu")
    initialisations: tuple[InitialisationName, ...] = ("small", "xavier", "he")
    norms: tuple[NormName, ...] = ("batch", "layer")
    plain = [Cell(activation, start) for activation in activations for start in initialisations]
    cured = [
        cell
        for base in (SIGMOID, RELU_SMALL)
        for cell in (
            Cell(base.activation, base.initialisation, residual=True),
            *(Cell(base.activation, base.initialisation, norm=norm) for norm in norms),
        )
    ]
    return (*plain, *cured)


RATES = tuple(10.0**k for k in range(-4, 1))
FINER = (1e-4, 1e-3, 0.01, 0.03, 0.1, 0.3, 1.0)

EXPERIMENT = Experiment(
    design=DESIGN,
    settings={
        "quick": Settings(
            128, 64, QUICK_CELLS, (5, 10, 20), (40,), (0.5, 0.8, 1.0, 1.5), 32, 32, 300, RATES, 300, RATES,
            150, (0.001, 0.01, 0.1),
        ),
        "full": Settings(
            256, 128, full_cells(), (5, 10, 20), (40,), (0.5, 0.8, 1.0, 1.5), 32, 32, 600, FINER, 200, RATES,
            300, (0.003, 0.01, 0.03, 0.1),
        ),
    },
    measure=measure,
    present=present,
    answers=(),
    source="lab/experiments/vanishing_gradients.py",
    helpers=("lab/signal_propagation.py",),
)  # fmt: skip
