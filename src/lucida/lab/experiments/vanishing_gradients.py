"""Vanishing gradients: which of depth, activation, initialisation, residual path and normalisation makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from lucida.lab.datasets import load
from lucida.lab.design import Claim, Design
from lucida.lab.experiment import Answer, Bench, Experiment, Section, final_loss
from lucida.lab.networks import ActivationName, InitialisationName, Perceptron
from lucida.lab.norms import NormName
from lucida.lab.observations import Observations
from lucida.lab.probing import weight_gradient_norms
from lucida.lab.training import Member, Training
from lucida.report.lab_page import EffectRow, EffectsFigure, GridFigure, LinesFigure

DATA = ("digits", "emoji")
DEPTH = 20  # of the claims


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
        source = load(data)
        inputs = source.inputs["inputs"][0].numel()
        return Perceptron(
            inputs,
            source.classes,
            depth,
            width,
            self.activation,
            self.norm,
            self.initialisation,
            residual=self.residual,
        )


SIGMOID, RELU = Cell("sigmoid", "xavier"), Cell("relu", "he")
SIGMOID_RESIDUAL = Cell("sigmoid", "xavier", residual=True)
SIGMOID_BATCH, SIGMOID_LAYER = Cell("sigmoid", "xavier", norm="batch"), Cell("sigmoid", "xavier", norm="layer")
RELU_SMALL = Cell("relu", "small")
CLAIMED = (SIGMOID, RELU, SIGMOID_RESIDUAL, SIGMOID_BATCH, SIGMOID_LAYER, RELU_SMALL)


@dataclass(frozen=True)
class Settings:
    """The numbers of a scale.

    Attributes:
        width: of all layers.
        depths: of the maps.
        activations, initialisations: of the maps.
        steps, batch_size: of every training.
        rates: where tuning starts.
    """

    width: int
    depths: tuple[int, ...]
    activations: tuple[ActivationName, ...]
    initialisations: tuple[InitialisationName, ...]
    steps: int
    batch_size: int
    rates: tuple[float, ...]


def measure(bench: Bench, settings: Settings) -> Observations:
    """Gradients of every cell before training, then how well it trains at its own best rate."""
    found = Observations()
    for data, cell in product(DATA, CLAIMED):
        norms = _gradients(bench, data, cell, DEPTH, settings)
        found.record("gradient ratio", cell.arm, _ratio(norms), data)
        found.draw(f"gradients/{data}/{cell.arm}", np.arange(1, DEPTH + 1), norms)
        found.record("accuracy", cell.arm, _accuracy(bench, data, cell, DEPTH, settings), data)
    for activation, initialisation, depth in product(settings.activations, settings.initialisations, settings.depths):
        cell = Cell(activation, initialisation)
        found.record("gradient ratio", cell.arm, _ratio(_gradients(bench, "digits", cell, depth, settings)), f"{depth}")
        found.record("accuracy", cell.arm, _accuracy(bench, "digits", cell, depth, settings), f"{depth}")
    return found


def _gradients(bench: Bench, data: str, cell: Cell, depth: int, settings: Settings) -> NDArray:
    """Norms of the weights' gradients of the hidden layers before the first step, ``[seeds, depth]``."""
    training = Training(data, settings.batch_size, steps=1, every=1)
    members = [Member(seed, 0.0, cell.network(data, depth, settings.width)) for seed in bench.seeds]
    observers = {"gradients": weight_gradient_norms("blocks")}
    outcome = bench.train(f"gradients of {cell.arm}, {depth} layers, {data}", training, members, observers)
    return outcome.observed["gradients"][:, 0]


def _ratio(norms: NDArray) -> NDArray:
    """log10 of the first layer's gradient over the last hidden layer's; none at all counts as float32's least."""
    least = float(torch.finfo(torch.float32).tiny)
    return np.log10(np.maximum(norms[:, 0], least) / np.maximum(norms[:, -1], least))


def _accuracy(bench: Bench, data: str, cell: Cell, depth: int, settings: Settings) -> NDArray:
    """Accuracy on training examples at the end, at the cell's own best rate, ``[seeds]``."""
    training = Training(data, settings.batch_size, settings.steps, every=settings.steps)
    network = cell.network(data, depth, settings.width)
    arm = f"{cell.arm}, {depth} layers, {data}"
    rate = bench.tuned(arm, training, network, settings.rates, final_loss)
    return bench.over_seeds(arm, training, network, rate).final("train_accuracy")


def present(found: Observations) -> Sequence[Section]:
    """Gradients by layer, the trainability map, the cures side by side."""
    depths = sorted({int(level) for _, _, level in found.numbers if level.isdigit()})
    rows = sorted({arm for measure, arm, level in found.numbers if level.isdigit()})
    ratios, accuracies = (
        tuple(
            tuple(float(found.numbers[name, arm, f"{depth}"].mean()) for depth in depths) for arm in rows
        )
        for name in ("gradient ratio", "accuracy")
    )  # fmt: skip
    columns = tuple(f"{depth}" for depth in depths)
    by_layer = [
        LinesFigure(
            f"Gradient by layer before training, {data}",
            tuple(found.log_series(f"gradients/{data}/{cell.arm}", cell.arm) for cell in CLAIMED),
            x_label="layer, from the input",
            y_label="norm of the gradient of its weights",
            log_y=True,
        )
        for data in DATA
    ]
    cures = [
        EffectsFigure(
            f"Accuracy on training examples, {DEPTH} layers, {data}",
            tuple(EffectRow(cell.arm, f"accuracy/{cell.arm}/{data}") for cell in CLAIMED),
            x_label="accuracy at the best rate",
            share=True,
        )
        for data in DATA
    ]
    maps = (
        GridFigure(
            "Gradient: first layer against last",
            tuple(rows), columns, ratios, "network", "layers", "log10 of the ratio",
            caption="0: all layers get the same; -6: the first gets a millionth.",
        ),
        GridFigure(
            "Trainability", tuple(rows), columns, accuracies, "network", "layers", "accuracy", share=True,
            caption="Accuracy on training examples at each cell's own best rate.",
        ),
    )  # fmt: skip
    return (
        Section("Where the gradient goes", "Each layer multiplies the gradient by its weights and by the slope of its "
                "activation. A sigmoid's slope is at most a quarter.", tuple(by_layer)),
        Section("What can be trained", "", maps),
        Section("The cures", "", tuple(cures)),
    )  # fmt: skip


def _claim(
    name: str, texts: tuple[str, str, str], measure: str, treatment: Cell, control: Cell, smallest: float,
    *, primary: bool = True,
) -> Claim:  # fmt: skip
    units = {"gradient ratio": "decades of the first layer's gradient against the last", "accuracy": "accuracy"}
    return Claim(
        name, *texts, measure, units[measure], treatment.arm, control.arm, smallest, "data", DATA, primary=primary
    )


DESIGN = Design(
    name="vanishing-gradients",
    title="Vanishing gradients",
    question="Why do gradients vanish in deep networks, and what cures it?",
    question_zh="深层网络的梯度为什么会消失？怎样解决？",
    claims=(
        _claim(
            "sigmoids_vanish",
            ("In a deep stack of sigmoids the gradient vanishes before it reaches the first layer.",
             "在很深的 sigmoid 网络里，梯度传到第一层之前就消失了。",
             "Before training the first layer's gradient is smaller, against the last hidden layer's, than with ReLU."),
            "gradient ratio", SIGMOID, RELU, -2.0,
        ),
        _claim(
            "relu_and_he_cure",
            ("ReLU with He's initialisation makes such depth trainable.",
             "ReLU 配合 He 初始化能让这样深的网络训练起来。",
             "At its best rate it reaches a higher training accuracy than sigmoids do at theirs."),
            "accuracy", RELU, SIGMOID, 0.2,
        ),
        _claim(
            "residual_cures",
            ("A residual path makes even sigmoids trainable at that depth.",
             "加上残差连接，连 sigmoid 也能在这个深度训练。",
             "With the input of each layer added to its output, sigmoids reach a higher training accuracy."),
            "accuracy", SIGMOID_RESIDUAL, SIGMOID, 0.2,
        ),
        _claim(
            "batch_norm_cures",
            ("So does batch norm.", "批归一化也可以。", "Batch norm before each sigmoid: a higher training accuracy."),
            "accuracy", SIGMOID_BATCH, SIGMOID, 0.2, primary=False,
        ),
        _claim(
            "layer_norm_cures",
            ("So does layer norm.", "层归一化也可以。", "Layer norm before each sigmoid: a higher training accuracy."),
            "accuracy", SIGMOID_LAYER, SIGMOID, 0.2, primary=False,
        ),
        _claim(
            "relu_alone_cures",
            ("ReLU alone is enough, whatever the weights start from.",
             "只要用 ReLU 就够了，初始权重无所谓。",
             "With weights of standard deviation 0.01, ReLU still reaches a higher training accuracy than sigmoids."),
            "accuracy", RELU_SMALL, SIGMOID, 0.2, primary=False,
        ),
    ),
    factors={
        "depth": "5 to 40 hidden layers; 20 for the claims",
        "activation": "sigmoid, tanh, ReLU, leaky ReLU, PReLU, GELU",
        "initialisation": "standard deviation 0.01, Xavier, He",
        "residual path": "without, with",
        "normalisation": "none, batch norm, layer norm",
    },
    held_fixed=("width", "examples seen", "batch size", "plain SGD", "the head", "each arm at its own best rate"),
    data="digits of 8×8 pixels and emoji of 12×12 pixels in colour",
    networks="perceptrons",
    would_change=(
        "much longer training: plateaus of sigmoid stacks do end, after a number of steps that grows with depth",
        "an adaptive optimizer, which divides the size of a vanished gradient out",
    ),
    sources=(
        ("Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward neural networks",
         "https://proceedings.mlr.press/v9/glorot10a.html"),
        ("He et al. 2015, Delving deep into rectifiers", "https://arxiv.org/abs/1502.01852"),
        ("He et al. 2016, Deep residual learning", "https://arxiv.org/abs/1512.03385"),
    ),
)  # fmt: skip

EXPERIMENT = Experiment(
    design=DESIGN,
    settings={
        "quick": Settings(
            32, (5, 10, 20, 40), ("sigmoid", "tanh", "relu"), ("xavier", "he"), 300, 32, (0.01, 0.1, 1.0)
        ),
        "full": Settings(
            64, (5, 10, 20, 40), ("sigmoid", "tanh", "relu", "leaky_relu", "prelu", "gelu"), ("small", "xavier", "he"),
            1000, 32, (0.001, 0.01, 0.1, 1.0),
        ),
    },
    measure=measure,
    present=present,
    answers=(
        Answer(
            ("supported", "supported", "supported"),
            "Each layer of a sigmoid stack passes on less than it gets.",
            "sigmoid 网络的每一层都让梯度变小。",
        ),
    ),
    source="lab/experiments/vanishing_gradients.py",
)  # fmt: skip
