"""Imbalance made to measure: how many examples of each class the parts of a seed have, and how training handles it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lucida.core.errors import LucidaError
from lucida.core.seeds import derive_seed, stream
from lucida.data.sampling import draw_rows, epoch_size, shown_again
from lucida.data.smote import neighbours_of_rare
from lucida.lab.datasets import Dataset, Split
from lucida.lab.networks import NetworkConfig
from lucida.training.classifier import CosineLinear
from lucida.training.imbalance import Remedy, adjusted_logits


class Parts(NamedTuple):
    """The split of a seed, and what each class of the data is called there, ``int64 [classes of the data]``."""

    split: Split
    names: Tensor


@dataclass(frozen=True)
class Skew:
    """How many examples of each class the parts have, the most frequent class first.

    A seed also draws which class of the data is the first, the second, …: labels are places in that order, so that
    all seeds have the same counts and a result over seeds is one over which classes are rare. With two counts and
    more classes in the data, a class is drawn as the second one (the positives) and all others are the first.

    Attributes:
        train, validation, test: ``[C]`` each.
    """

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]

    def parts(self, data: Dataset, seed: int) -> Parts:
        """Rows of a seed; whole groups, in random order.

        Raises:
            LucidaError: a class has too few examples.
        """
        generator = stream(seed, "lab", data.name, "skew")
        names = self._names(data, generator)
        labels = names[data.labels].numpy()
        _, groups = np.unique(data.groups, return_inverse=True)
        order = np.argsort(generator.permutation(groups.max() + 1)[groups], kind="stable")
        cut = [self._cut(data, order[labels[order] == k], groups, k) for k in range(len(self.train))]
        train, validation, test = (generator.permutation(np.concatenate(part)) for part in zip(*cut, strict=True))
        return Parts(Split(*(torch.from_numpy(rows) for rows in (train, validation, test))), names)

    def _names(self, data: Dataset, generator: np.random.Generator) -> Tensor:
        drawn = torch.from_numpy(generator.permutation(data.classes))
        return drawn if len(self.train) == data.classes else (drawn == 0).long()

    def _cut(self, data: Dataset, rows: NDArray, groups: NDArray, k: int) -> list[NDArray]:
        """Rows of a class in three parts; what is left of a group on a border is left out."""
        found = []
        for wanted in (self.test[k], self.validation[k], self.train[k]):
            if len(rows) < wanted:
                remedy = "choose a smaller largest class"
                raise LucidaError(f"{data.name} has too few examples of a class", where="lab", remedy=remedy)
            part, rows = rows[:wanted], rows[wanted:]
            found.append(part)
            rows = rows[groups[rows] != groups[part[-1]]] if wanted else rows
        test, validation, train = found
        return [train, validation, test]


class Order(NamedTuple):
    """What the batches show, ``[…, B]`` each.

    Attributes:
        rows: of the data.
        partners: rows of the same class towards which an example is moved (SMOTE); its own row where it is not.
        ways: how far it is moved, 0 to 1.
    """

    rows: Tensor
    partners: Tensor
    ways: Tensor


def draw_order(data: Dataset, parts: Parts, remedy: Remedy, seed: int, steps: int, size: int) -> Order:
    """The batches of a seed under a remedy's sampling, ``[steps, B]``: epoch after epoch, each drawn anew.

    With a synthetic remedy (SMOTE), what an epoch shows again is moved to somewhere between it and one of its
    nearest neighbours in its class, a new place each time.
    """
    rows = parts.split.train.numpy()
    labels = parts.names[data.labels[parts.split.train]].numpy()
    drawn = draw_rows(labels, remedy.sampling, stream(seed, "lab", "order"), size=steps * size)
    partners, ways = drawn, np.zeros(len(drawn), np.float32)
    if remedy.synthetic:
        partners, ways = _moved(data, rows, labels, drawn, remedy, stream(seed, "lab", "synthetic"))
    shaped = (torch.from_numpy(a.reshape(steps, size)) for a in (rows[drawn], rows[partners], ways))
    return Order(*shaped)


def _moved(
    data: Dataset, rows: NDArray, labels: NDArray, drawn: NDArray, remedy: Remedy, generator: np.random.Generator
) -> tuple[NDArray, NDArray]:
    """Partners and ways of the places drawn; the largest class and a single example have none."""
    features = next(iter(data.inputs.values()))[torch.from_numpy(rows)].flatten(1).numpy()
    near = neighbours_of_rare(features, labels, remedy.k_neighbors)
    again = shown_again(drawn, epoch_size(np.bincount(labels), remedy.sampling))
    partners = near[drawn, generator.integers(remedy.k_neighbors, size=len(drawn))]
    partners = np.where(partners < 0, drawn, partners)
    return partners, (generator.random(len(drawn), dtype=np.float32) * again).astype(np.float32)


def towards(x: Tensor, partners: Tensor, ways: Tensor) -> Tensor:
    """Points between ``x`` and ``partners``, ``[…, D]``, so far on the way.

    >>> towards(torch.zeros(1, 2), torch.ones(1, 2), torch.tensor([0.25]))
    tensor([[0.2500, 0.2500]])
    """
    return x + ways.reshape(*ways.shape, *([1] * (x.ndim - ways.ndim))) * (partners - x)


# Networks


@dataclass(frozen=True)
class LinearHead:
    """One linear map, from weights of Xavier's scale: what is trained on frozen features."""

    inputs: int
    classes: int

    def build(self, seed: int) -> nn.Module:
        """The head with the weights of a seed."""
        network = HeadNetwork(self.inputs, self.classes)
        generator = torch.Generator().manual_seed(derive_seed(seed, "lab", "weights"))
        nn.init.xavier_normal_(network.head.weight, generator=generator)
        nn.init.zeros_(network.head.bias)
        return network


class HeadNetwork(nn.Module):
    """See :class:`LinearHead`."""

    def __init__(self, inputs: int, classes: int):
        super().__init__()
        self.head = nn.Linear(inputs, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``[B, C]`` of features ``[B, D]``."""
        return self.head(inputs)


@dataclass(frozen=True)
class WithCosines:
    """A network whose logits are cosines between the features and the directions of its head, as LDAM needs them."""

    network: NetworkConfig

    def build(self, seed: int) -> nn.Module:
        """The network of a seed; the directions are those of its own head."""
        network = self.network.build(seed)
        own: Any = network.head
        network.head = CosineLinear(own.in_features, own.out_features)
        with torch.no_grad():
            network.head.weight.copy_(own.weight)
        return network


@dataclass(frozen=True)
class AdjustedInTests:
    """A network from whose logits the logarithms of the class shares are taken in tests (post-hoc adjustment)."""

    network: NetworkConfig
    counts: tuple[int, ...]

    def build(self, seed: int) -> nn.Module:
        """The network of a seed."""
        return AdjustedNetwork(self.network.build(seed), self.counts)


class AdjustedNetwork(nn.Module):
    """See :class:`AdjustedInTests`."""

    def __init__(self, network: nn.Module, counts: tuple[int, ...]):
        super().__init__()
        self.network, self.counts = network, counts

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``[B, C]``, adjusted in evaluation mode."""
        logits = self.network(inputs)
        return logits if self.training else adjusted_logits(logits, self.counts)


def with_new_head(network: nn.Module, fresh: nn.Module) -> nn.Module:
    """The network with the head of a fresh one; what is below it is seen by the head and trains no more."""
    head: Any = fresh.head
    head.register_forward_pre_hook(_detached)
    network.head = head
    return network


def _detached(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.detach() for x in inputs)
