"""Losses over classes for imbalanced data: weighted, focal, class-balanced, LDAM, logit-adjusted; deferred weights.

Every loss gives a number for each row, weight included, and says apart from it what a mean divides by: the sum of the
rows' weights, as PyTorch's weighted cross-entropy does. So a batch in parts and a batch as a whole have the same mean.
No branch depends on data: each loss works under :func:`torch.vmap`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lucida.core.errors import LucidaError

Counts = Sequence[int] | NDArray | Tensor
"""Training examples of each class."""


@runtime_checkable
class ClassLoss(Protocol):
    """A loss over classes, by rows."""

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of each row, ``[B]``, its weight included, of ``logits [B, C]`` and ``labels int64 [B]``."""

    def weights(self, labels: Tensor) -> Tensor:
        """What a mean divides by, ``[B]``: ones unless the loss weighs classes."""


@runtime_checkable
class ScheduledLoss(ClassLoss, Protocol):
    """A loss that changes along the training; whoever trains sets ``progress`` before each step.

    Attributes:
        progress: the share of the training that is done, in ``[0, 1]``.
    """

    progress: float


class _Unweighted:
    """Every row counts the same."""

    def weights(self, labels: Tensor) -> Tensor:
        return torch.ones_like(labels, dtype=torch.float32)


class CrossEntropy(_Unweighted):
    """Softmax cross-entropy: ``-log p_y``."""

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        return _cross_entropy(logits, labels)


class Focal(_Unweighted):
    r"""Cross-entropy times :math:`(1 - p_y)^\gamma` (Lin et al. 2017, eq. 4), on the softmax.

    The paper has one sigmoid a class (detection); over exclusive classes the softmax is what everyone compares.

    Args:
        gamma: 0 is plain cross-entropy; the paper's best is 2.
    """

    def __init__(self, gamma: float = 2.0):
        _check("gamma", gamma, gamma >= 0)
        self.gamma = gamma

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        loss = _cross_entropy(logits, labels)
        # 1 - p is never below this, or the gradient of its root (gamma < 1) would be infinite where p rounds to 1.
        rest = (-torch.expm1(-loss)).clamp_min(torch.finfo(loss.dtype).tiny)
        return rest**self.gamma * loss


class Ldam(_Unweighted):
    r"""Cross-entropy with label-distribution-aware margins (Cao et al. 2019, eq. 13).

    The logit of the true class is lowered by :math:`\Delta_y = C / n_y^{1/4}`, with ``C`` such that the rarest class
    has ``max_margin``; then all are multiplied by ``scale``. As in the paper's code, the logits are cosines (rows of
    features and of weights of length one): a margin means nothing where lengths may grow.

    Args:
        counts: examples of each class.
        max_margin: of the rarest class.
        scale: the multiplier of the cosines.
    """

    def __init__(self, counts: Counts, max_margin: float = 0.5, scale: float = 30.0):
        _check("max_margin", max_margin, max_margin >= 0)
        _check("scale", scale, scale > 0)
        numbers = checked_counts(counts)
        self.margins = max_margin * (numbers.min() / numbers) ** 0.25
        self.scale = scale

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        cosines = _wide(logits)
        true = labels[:, None] == torch.arange(len(self.margins), device=labels.device)
        return _cross_entropy(self.scale * (cosines - true * self.margins.to(cosines)), labels)


class LogitAdjusted(_Unweighted):
    r"""Cross-entropy of the logits plus :math:`\tau \log \pi` (Menon et al. 2021, eq. 10), :math:`\pi` the shares.

    The network then learns what is left when the prior is explained: its own logits suit a balanced test.

    Args:
        counts: examples of each class.
        tau: 0 is plain cross-entropy; 1 is consistent for the balanced error.
    """

    def __init__(self, counts: Counts, tau: float = 1.0):
        _check("tau", tau, tau >= 0)
        self.offsets = tau * log_prior(counts)

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        wide = _wide(logits)
        return _cross_entropy(wide + self.offsets.to(wide), labels)


class Weighted:
    """A loss times a weight for each class.

    Args:
        base: the loss of a row.
        class_weights: ``[C]``.
    """

    def __init__(self, base: ClassLoss, class_weights: Tensor):
        self.base, self.class_weights = base, class_weights.float()

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        loss = self.base(logits, labels)
        return loss * self.weights(labels).to(loss)

    def weights(self, labels: Tensor) -> Tensor:
        return self.base.weights(labels) * self.class_weights.to(labels.device)[labels]


class Deferred(Weighted):
    """Deferred re-weighting: a loss without weights first, class weights at the end (Cao et al. 2019, algorithm 1).

    Args:
        base: the loss of a row.
        class_weights: ``[C]``, used once ``progress`` has reached ``share``.
        share: of the training that goes by unweighted; the paper's is 0.8 (160 of 200 epochs).
    """

    def __init__(self, base: ClassLoss, class_weights: Tensor, share: float = 0.8):
        super().__init__(base, class_weights)
        _check("share", share, 0 <= share <= 1)
        self.share, self.progress = share, 0.0

    def weights(self, labels: Tensor) -> Tensor:
        return super().weights(labels) if self.progress >= self.share else self.base.weights(labels)


def weighted(counts: Counts, exponent: float = 1.0) -> ClassLoss:
    """Cross-entropy with weights ``n_c ** -exponent``: 1 is inverse frequency, 0.5 its square root, 0 plain."""
    return Weighted(CrossEntropy(), inverse_frequency(counts, exponent))


def class_balanced(counts: Counts, beta: float = 0.9999, base: str = "cross_entropy", **settings: Any) -> ClassLoss:
    """A loss weighted by the effective number of examples (Cui et al. 2019); ``settings`` are those of ``base``."""
    return Weighted(make_loss(base, counts, **settings), effective_number(counts, beta))


LOSSES: Mapping[str, Callable[..., ClassLoss]] = {
    "cross_entropy": lambda counts: CrossEntropy(),
    "weighted": weighted,
    "focal": lambda counts, gamma=2.0: Focal(gamma),
    "class_balanced": class_balanced,
    "ldam": Ldam,
    "logit_adjusted": LogitAdjusted,
}
"""Losses by name: called with the examples of each class and the loss's own settings."""


def make_loss(name: str, counts: Counts, **settings: Any) -> ClassLoss:
    """A loss by its name.

    Args:
        name: one of :data:`LOSSES`.
        counts: training examples of each class, ``[C]``.
        settings: of the loss: ``exponent`` (weighted), ``gamma`` (focal), ``beta`` and ``base`` (class_balanced),
            ``max_margin`` and ``scale`` (ldam), ``tau`` (logit_adjusted).

    Raises:
        LucidaError: an unknown name or setting, a value out of range, a class without an example.

    >>> logits, labels = torch.zeros(2, 2), torch.tensor([0, 1])
    >>> loss = make_loss("weighted", [3, 1])
    >>> loss.weights(labels)
    tensor([0.5000, 1.5000])
    >>> (loss(logits, labels).sum() / loss.weights(labels).sum()).item() == loss(logits, labels)[0].item() / 0.5
    True
    >>> make_loss("focul", [3, 1])
    Traceback (most recent call last):
        ...
    lucida.core.errors.LucidaError: there is no loss 'focul'; use cross_entropy, weighted, focal, class_balanced, \
ldam, logit_adjusted
    """
    if name not in LOSSES:
        raise LucidaError(f"there is no loss {name!r}", remedy=f"use {', '.join(LOSSES)}")
    checked_counts(counts)
    known = list(inspect.signature(LOSSES[name]).parameters)[1:]
    if "settings" not in known and (unknown := sorted(set(settings) - set(known))):
        remedy = f"it has {', '.join(known) or 'none'}"
        raise LucidaError(f"the loss {name!r} has no setting {unknown[0]!r}", remedy=remedy)
    return LOSSES[name](counts, **settings)


def deferred(name: str, counts: Counts, share: float = 0.8, beta: float = 0.9999, **settings: Any) -> Deferred:
    """A loss by its name with class-balanced weights deferred to the end of the training (DRW)."""
    return Deferred(make_loss(name, counts, **settings), effective_number(counts, beta), share)


def inverse_frequency(counts: Counts, exponent: float = 1.0) -> Tensor:
    """Class weights ``n_c ** -exponent``, scaled to the mean 1; ``float32 [C]``.

    >>> inverse_frequency([3, 1])
    tensor([0.5000, 1.5000])
    """
    _check("exponent", exponent, exponent >= 0)
    return _mean_one(checked_counts(counts) ** -exponent)


def effective_number(counts: Counts, beta: float = 0.9999) -> Tensor:
    r"""Class weights :math:`(1 - \beta) / (1 - \beta^{n_c})`, scaled to the mean 1 (Cui et al. 2019, eq. 6).

    >>> effective_number([3, 1], beta=0.0)  # every class counts as one example
    tensor([1., 1.])
    """
    _check("beta", beta, 0 <= beta < 1)
    numbers = checked_counts(counts)
    return _mean_one((1 - beta) / (1 - beta**numbers))


def log_prior(counts: Counts) -> Tensor:
    r"""The logarithm of the class shares :math:`\log \pi_c`, ``float64 [C]``."""
    numbers = checked_counts(counts)
    return (numbers / numbers.sum()).log()


def checked_counts(counts: Counts) -> Tensor:
    """The examples of each class as ``float64 [C]``.

    Raises:
        LucidaError: a class without an example: no weight, margin or prior can be given to it.
    """
    numbers = torch.as_tensor(counts).double()
    if numbers.ndim != 1 or len(numbers) < 2:
        raise LucidaError("a loss over classes needs the number of examples of at least two", where="counts")
    if not bool((numbers >= 1).all()):
        empty = int((~(numbers >= 1)).nonzero()[0])
        raise LucidaError("a class has no example", where=f"class {empty}", remedy="leave it out or find examples")
    return numbers


def _mean_one(weights: Tensor) -> Tensor:
    return (weights / weights.mean()).float()


def _wide(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """By rows; half precision is scored in ``float32``, inside autocast too."""
    with torch.autocast(logits.device.type, enabled=False):
        return F.cross_entropy(_wide(logits), labels, reduction="none")


def _check(name: str, value: float, fine: bool) -> None:
    if not fine:
        raise LucidaError(f"{name} cannot be {value!r}", where="loss")
