"""Few positives inside a contrastive loss: one text of a batch is right, B - 1 are wrong.

Small heads on frozen features of emoji pictures and of their names. The softmax loss compares the texts of a batch with
each other, so their number is no imbalance to it; the sigmoid loss asks "yes or no" of each pair, and nearly all
answers are no (Zhai et al. 2023, 2303.15343).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from lucida.core.seeds import derive_seed, stream
from lucida.evaluation.retrieval import retrieval_ranks
from lucida.lab.experiment import Bench, Tried
from lucida.lab.frozen_features import emoji_artwork_features, emoji_name_features
from lucida.lab.observations import Observations
from lucida.lab.stack import Stack, StackTrainer, Updates
from lucida.losses.contrastive import contrastive_loss
from lucida.losses.sigmoid import sigmoid_loss
from lucida.training.batches import Batch
from lucida.training.tasks import LossOutput

FEATURES, COMMON = 64, 64  # numbers of each picture and name; of the common space
SCALE = 10.0  # of the cosines before training, as in the paper; learned
PAPER_BIAS = -10.0
FIRST = 10  # steps that are the first ones
LOOKS = 5  # evaluations along training
_TUNING = ("recalls", "losses", "alive")

PartName = Literal["validation", "test"]

SOFTMAX = "softmax"
MINUS_TEN, ZERO, PRIOR = "sigmoid, bias from −10", "sigmoid, bias from 0", "sigmoid, bias from the log prior"
BALANCED = "sigmoid, bias from 0, positives weighted"
ARMS = (SOFTMAX, MINUS_TEN, ZERO, PRIOR, BALANCED)


@dataclass(frozen=True)
class PairSettings:
    """The numbers of a scale.

    Attributes:
        batch_sizes: smallest first.
        epochs: each arm sees every pair so often, whatever the batch size.
        rates: where tuning of Adam starts.
    """

    batch_sizes: tuple[int, ...]
    epochs: int
    rates: tuple[float, ...]


def batch_level(size: int) -> str:
    """The level of a batch size.

    >>> batch_level(64)
    'batch 64'
    """
    return f"batch {size}"


def first_bias(arm: str, size: int) -> float:
    """Where the bias of an arm starts.

    >>> first_bias(MINUS_TEN, 64), round(first_bias(PRIOR, 64), 2)
    (-10.0, -4.14)
    """
    return {MINUS_TEN: PAPER_BIAS, PRIOR: -math.log(size - 1)}.get(arm, 0.0)


class Heads(nn.Module):
    """A linear map for pictures and one for names into a common space; scale and bias of their cosines."""

    def __init__(self, bias: float, seed: int):
        super().__init__()
        self.image, self.text = (nn.Linear(FEATURES, COMMON, bias=False) for _ in range(2))
        generator = torch.Generator().manual_seed(derive_seed(seed, "lab", "heads"))
        for head in (self.image, self.text):
            nn.init.xavier_normal_(head.weight, generator=generator)
        self.log_logit_scale = nn.Parameter(torch.tensor(math.log(SCALE)))
        self.logit_bias = nn.Parameter(torch.tensor(bias))

    def forward(self, images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of length one, ``[B, d]`` each."""
        return F.normalize(self.image(images), dim=-1), F.normalize(self.text(texts), dim=-1)


class PairTask:
    """Heads under one of the losses; see :class:`~lucida.training.tasks.Task`."""

    def __init__(self, model: nn.Module, arm: str):
        self.model, self.arm = model, arm

    def loss(self, batch: Batch) -> LossOutput:
        model, ids = self.model, batch["ids"]
        images, texts = model(batch["images"], batch["texts"])
        scale: Tensor = model.log_logit_scale.exp()  # type: ignore[operator]
        if self.arm == SOFTMAX:
            loss = contrastive_loss(images, texts, scale, ids=ids)
        else:
            weight = len(ids) - 1.0 if self.arm == BALANCED else 1.0
            loss = sigmoid_loss(images, texts, scale, model.logit_bias, ids=ids, positive_weight=weight)  # type: ignore[arg-type]
        return LossOutput(loss * len(ids), float(len(ids)))


class Pairs(NamedTuple):
    """Pictures and names of a seed.

    Attributes:
        seen, held_out: for each concept, the picture that is trained on and the other artist's, ``[N, D]``.
        names: ``[N, D]``.
        validation, test: concepts whose other picture is asked for.
    """

    seen: Tensor
    held_out: Tensor
    names: Tensor
    validation: Tensor
    test: Tensor


@cache
def pairs(seed: int) -> Pairs:
    """Which artist's picture of each concept is trained on, and whose concepts are the test, drawn by a seed."""
    pictures, names = torch.from_numpy(emoji_artwork_features(FEATURES)), emoji_name_features(FEATURES)
    rows = torch.from_numpy(names.rows)
    generator = stream(seed, "lab", "pairs")
    artist = torch.from_numpy(generator.integers(2, size=len(rows)))
    order = torch.from_numpy(generator.permutation(len(rows)))
    half = len(rows) // 2
    return Pairs(
        pictures[artist, rows], pictures[1 - artist, rows], torch.from_numpy(names.features), order[:half], order[half:]
    )  # fmt: skip


def measure_pairs(bench: Bench, settings: PairSettings, found: Observations) -> None:
    """Every loss at every batch size, each at its best rate."""
    for size in settings.batch_sizes:
        for arm in ARMS:
            _arm(bench, settings, found, arm, size)
        found.facts[f"recall at 1/drawn at random/{batch_level(size)}"] = 1 / len(pairs(bench.seeds[0]).test)
    for arm in ARMS:
        scores = [found.numbers["recall at 1", arm, batch_level(size)] for size in settings.batch_sizes]
        found.draw(f"recall by batch size/{arm}", settings.batch_sizes, np.stack(scores, axis=1))


def _arm(bench: Bench, settings: PairSettings, found: Observations, arm: str, size: int) -> None:
    level, name = batch_level(size), f"{arm}, {batch_level(size)}"

    def tried(rates: Sequence[float]) -> dict[float, Tried]:
        tuned = train_pairs(
            bench, f"tuning {name}", arm, size, settings.epochs, bench.tuning_seeds, rates, "validation"
        )
        by_rate = {key: tuned[key].reshape(len(bench.tuning_seeds), len(rates), -1) for key in _TUNING}
        missed, last = 1 - by_rate["recalls"][..., -1].mean(axis=0), by_rate["losses"][..., -1].mean(axis=0)
        alive: NDArray = np.asarray(by_rate["alive"].all(axis=(0, 2)))
        return {rate: Tried(float(missed[k]), float(last[k]), bool(alive[k])) for k, rate in enumerate(rates)}

    rate = bench.chosen_from(name, settings.rates, tried)
    outcome = train_pairs(bench, f"{name}, rate {rate:.3g}", arm, size, settings.epochs, bench.seeds, (rate,), "test")
    found.record("recall at 1", arm, outcome["recalls"][:, -1], level)
    losses = outcome["losses"]
    found.record_ratio("loss of the first steps", arm, np.log2(losses[:, :FIRST].mean(axis=1)), level)
    found.record("bias at the end", arm, outcome["bias"], level)
    found.record("scale at the end", arm, outcome["scale"], level)
    found.draw(f"course/{arm}/{level}", outcome["steps"] * size, outcome["recalls"])
    shown = min(losses.shape[1], 100)
    found.draw(f"first losses/{arm}/{level}", np.arange(1, shown + 1), losses[:, :shown])


def train_pairs(
    bench: Bench,
    what: str,
    arm: str,
    size: int,
    epochs: int,
    seeds: Sequence[int],
    rates: Sequence[float],
    part: PartName,
) -> dict[str, NDArray]:
    """Heads of all seeds and rates (seeds outside), stacked: ``losses [M, steps]``, ``recalls [M, looks]``.

    On validation data they are looked at at the end alone.
    """
    key = (part, arm, size, epochs, tuple(seeds), tuple(rates), FEATURES, COMMON)
    return bench.remember(f"{what}: pairs", key, partial(_trained, arm, size, epochs, seeds, rates, part))


def _trained(
    arm: str, size: int, epochs: int, seeds: Sequence[int], rates: Sequence[float], part: PartName
) -> dict[str, NDArray]:  # fmt: skip
    members = [(seed, rate) for seed in seeds for rate in rates]
    stack = Stack([Heads(first_bias(arm, size), seed) for seed, _ in members]).train()
    trainer = StackTrainer(stack, partial(PairTask, arm=arm), [rate for _, rate in members], Updates("adam"))
    data = [pairs(seed) for seed, _ in members]
    steps = epochs * len(data[0].names) // size
    orders = {seed: _order(seed, len(data[0].names), steps, size) for seed in seeds}
    rows = torch.stack([orders[seed] for seed, _ in members])
    images, texts = torch.stack([d.seen for d in data]), torch.stack([d.names for d in data])
    looks = sorted({round(steps * k / LOOKS) for k in range(1, LOOKS + 1)}) if part == "test" else [steps]
    losses, recalls = [], []
    for step in range(steps):
        now = rows[:, step]
        trainer.step({"images": _rows(images, now), "texts": _rows(texts, now), "ids": now})
        losses.append(torch.where(trainer.alive, trainer.losses, torch.nan))
        if step + 1 in looks:
            recalls.append([_recall(stack, own, part, k) for k, own in enumerate(data)])
    state = stack.stacked_parameters()
    return {
        "steps": np.array(looks),
        "losses": torch.stack(losses, dim=1).double().numpy(),
        "recalls": np.asarray(recalls).T,
        "bias": state["logit_bias"].detach().double().numpy(),
        "scale": state["log_logit_scale"].detach().exp().double().numpy(),
        "alive": trainer.alive.numpy(),
    }


def _order(seed: int, n: int, steps: int, size: int) -> Tensor:
    """Rows of every batch, ``[steps, B]``: shuffled epochs one after another."""
    generator = stream(seed, "lab", "order of pairs")
    drawn = np.concatenate([generator.permutation(n) for _ in range(-(-steps * size // n))])
    return torch.from_numpy(drawn[: steps * size].reshape(steps, size))


def _rows(x: Tensor, rows: Tensor) -> Tensor:
    """``[M, N, D]`` and ``[M, B]`` to ``[M, B, D]``."""
    return x[torch.arange(len(x))[:, None], rows]


@torch.no_grad()
def _recall(stack: Stack, own: Pairs, part: PartName, k: int) -> float:
    """Recall at 1 of a member, the mean of both ways: names for pictures and back."""
    state, concepts = stack.stacked_parameters(), own.test if part == "test" else own.validation
    pictures = own.held_out[concepts] @ state["image.weight"][k].T
    names = own.names[concepts] @ state["text.weight"][k].T
    if not bool(torch.isfinite(pictures).all() and torch.isfinite(names).all()):
        return 0.0
    ids = np.arange(len(concepts))
    ways = (retrieval_ranks(a, b, ids, ids) for a, b in ((pictures, names), (names, pictures)))
    return float(np.mean([(ranks == 1).mean() for ranks in ways]))
