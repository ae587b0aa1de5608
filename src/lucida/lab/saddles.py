"""Saddle points that are planted on purpose, and the curvature that proves them to be saddles.

*Doubled units* (Fukumizu & Amari 2000): a narrow network is trained until its gradient is nearly nothing; every hidden
unit is then split into equal copies that share its outgoing weights. The wide network computes the same and its
gradient is as small, yet copies that part ways lower the loss: the point is a saddle. With batch norm it is planted in
the same way, since copies have equal statistics.

*Near the origin*: all matrices scaled down, the head's bias at the logarithm of the classes' shares. Each gradient is a
product over all other layers, so in a deep network none is left.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from lucida.core.seeds import derive_seed
from lucida.lab.datasets import training_batch
from lucida.lab.networks import Perceptron
from lucida.training.batches import Batch
from lucida.training.tasks import ClassificationTask

NARROW_STEPS, NARROW_RATE = 500, 0.1  # of the training that leads to the saddle
LANCZOS_STEPS = 30


@dataclass(frozen=True)
class DoubledUnits:
    """A network (see the module) at a planted saddle.

    Attributes:
        data: on whose training examples the narrow network was trained.
        network: the wide one.
        kept: units of the narrow one's hidden layers; the width is a multiple.
        perturbation: every matrix is moved by this share of its length, in a random direction: what breaks the tie.
    """

    data: str
    network: Perceptron
    kept: int
    perturbation: float

    def build(self, seed: int) -> nn.Module:
        """The network with the saddle, perturbation and training examples of a seed."""
        network = copy.deepcopy(_doubled(self.data, self.network, self.kept, seed))
        perturb(network, self.perturbation, seed)
        return network


@dataclass(frozen=True)
class NearOrigin:
    """A network whose matrices are scaled down, with the head's bias at the logarithm of the classes' shares.

    Attributes:
        data: whose classes are counted, among the training examples of the seed.
        network: which.
        scale: of the matrices.
        gains_too: scale the gains of the normalisation as well.
    """

    data: str
    network: Perceptron
    scale: float
    gains_too: bool = False

    def build(self, seed: int) -> nn.Module:
        """The scaled network of a seed."""
        network = self.network.build(seed)
        labels = training_batch(self.data, seed)["labels"]
        shares = torch.bincount(labels, minlength=self.network.classes).clamp(min=1) / len(labels)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if parameter.ndim >= 2 or (self.gains_too and name.endswith("norm.weight")):
                    parameter.mul_(self.scale)
            network.head.bias.copy_(shares.log())  # type: ignore[union-attr, operator]
        return network


def doubled(narrow: nn.Module, wide: nn.Module) -> None:
    """Give ``wide`` the function of ``narrow``: rows are copied, columns copied and divided by how many copies."""
    with torch.no_grad():
        for (name, target), source in zip(wide.named_parameters(), narrow.parameters(), strict=True):
            rows = 1 if name.startswith("head") else target.shape[0] // source.shape[0]
            value = source.repeat_interleave(rows, dim=0)
            if target.ndim == 2:
                columns = target.shape[1] // source.shape[1]
                value = value.repeat_interleave(columns, dim=1) / columns
            target.copy_(value)


def perturb(network: nn.Module, share: float, seed: int) -> None:
    """Move every matrix by ``share`` of its length in a random direction, the same for equal shapes."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "lab", "perturbation"))
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim >= 2:
                direction = torch.randn(parameter.shape, generator=generator)
                parameter.add_(direction * (share * parameter.norm() / direction.norm()))


@lru_cache(maxsize=256)  # tuning builds the same saddle once for each rate
def _doubled(data: str, config: Perceptron, kept: int, seed: int) -> nn.Module:
    narrow = replace(config, width=kept).build(seed)
    settle(narrow, training_batch(data, seed))
    wide = config.build(seed)
    doubled(narrow, wide)
    return wide


def settle(network: nn.Module, batch: Batch, steps: int = NARROW_STEPS) -> None:
    """Train a small network until its gradient has nearly vanished: all examples, momentum, the rate cooling down."""
    task = ClassificationTask(network.train())
    parameters = list(network.parameters())
    optimizer = torch.optim.SGD(parameters, lr=NARROW_RATE, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        output = task.loss(batch)
        grads = torch.autograd.grad(output.loss_sum / output.weight, parameters)
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad
        optimizer.step()
        schedule.step()


def mean_loss(network: nn.Module, batch: Batch) -> Callable[[Tensor], Tensor]:
    """The mean loss in training mode as a function of all parameters in one vector; the network stays as it is."""
    shapes = {name: parameter.shape for name, parameter in network.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network.train()

    def loss(vector: Tensor) -> Tensor:
        parts = torch.split(vector, [shape.numel() for shape in shapes.values()])
        parameters = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        state = parameters | {name: buffer.clone() for name, buffer in buffers.items()}
        logits = functional_call(network, state, (batch["inputs"],))
        return nn.functional.cross_entropy(logits, batch["labels"])

    return loss


@dataclass(frozen=True)
class Curvature:
    """Of a loss at a point: norm of the gradient, least and greatest eigenvalue of the Hessian."""

    gradient: float
    least: float
    greatest: float


def curvature(network: nn.Module, batch: Batch, steps: int = LANCZOS_STEPS) -> Curvature:
    """Gradient and extreme eigenvalues at a network, by Lanczos on products with the Hessian.

    Lanczos' values lie inside the spectrum: a negative one proves a direction in which the loss curves down.
    """
    loss = mean_loss(network, batch)
    point = torch.cat([p.detach().flatten() for p in network.parameters()]).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(point), point, create_graph=True)

    def product(vector: Tensor) -> Tensor:
        return torch.autograd.grad(gradient, point, vector, retain_graph=True)[0]

    least, greatest = lanczos(product, len(point), steps, point.dtype)
    return Curvature(float(gradient.detach().norm()), least, greatest)


def lanczos(product: Callable[[Tensor], Tensor], size: int, steps: int, dtype: torch.dtype) -> tuple[float, float]:
    """Least and greatest eigenvalue of a symmetric map, from below and above, re-orthogonalised at each step."""
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(size, generator=generator, dtype=dtype)
    basis = [vector / vector.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    for _ in range(min(steps, size)):
        image = product(basis[-1])
        diagonal.append(float(image @ basis[-1]))
        for _again in range(2):
            known = torch.stack(basis)
            image = image - known.T @ (known @ image)
        beside.append(float(image.norm()))
        if beside[-1] < 1e-9 * max(1e-30, abs(diagonal[0])):
            break
        basis.append(image / image.norm())
    n = len(diagonal)
    tridiagonal = np.diag(diagonal) + np.diag(beside[: n - 1], 1) + np.diag(beside[: n - 1], -1)
    values = np.linalg.eigvalsh(tridiagonal)
    return float(values[0]), float(values[-1])
