"""One of several processes: its share of the rows in losses over the whole batch; writes losses and gradients."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, distributed

from lucida.losses import pair_scores
from lucida.losses.contrastive import contrastive_loss
from lucida.losses.ring import Ring
from lucida.losses.sigmoid import sigmoid_loss

ROWS = 61
CASES: dict[str, tuple[Callable[..., Tensor], bool]] = {  # the loss, and whether identities repeat
    "plain": (contrastive_loss, False),
    "identities and smoothing": (partial(contrastive_loss, label_smoothing=0.1), True),
    "hard negatives": (partial(contrastive_loss, hard_negatives=0.5), False),
    "all": (partial(contrastive_loss, label_smoothing=0.2, hard_negatives=1.0), True),
    "sigmoid": (sigmoid_loss, False),
    "sigmoid, identities": (partial(sigmoid_loss, positive_weight=4.0), True),
}


def rows() -> tuple[Tensor, Tensor, Tensor]:
    """Features of pictures and of texts, and identities of which some are in several processes."""
    generator = torch.Generator().manual_seed(0)
    images, noise = (torch.randn(ROWS, 7, generator=generator, dtype=torch.float64) for _ in range(2))
    ids = torch.randint(20, (ROWS,), generator=generator)
    return F.normalize(images, dim=-1), F.normalize(images + noise, dim=-1), ids


def share(rank: int, size: int) -> slice:
    """Which rows a process has: not as many as another."""
    bounds = [round(ROWS * (k / size) ** 1.5) for k in range(size + 1)]
    return slice(bounds[rank], bounds[rank + 1])


def found(case: str, own: slice, ring: Ring | None) -> dict[str, Tensor]:
    """The loss, and its gradients at the own rows and at the scale."""
    loss, repeated = CASES[case]
    images, texts, ids = (each[own] for each in rows())
    leaves = [images.clone().requires_grad_(), texts.clone().requires_grad_()]
    multipliers = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (9.0, -3.0)]
    given = multipliers if case.startswith("sigmoid") else multipliers[:1]
    value = loss(*leaves, *given, ids=ids if repeated else None, ring=ring)
    (3 * value).backward()
    names = ("images", "texts", "scale", "bias")
    gradients = {name: leaf.grad for name, leaf in zip(names, leaves + given, strict=False)}
    return {"loss": value.detach(), **{name: grad for name, grad in gradients.items() if grad is not None}}


def main(folder: Path) -> None:
    """Join the others, score, write ``rank-….pt``."""
    pair_scores.TILE = 5, 3
    distributed.init_process_group("gloo")
    rank, size = distributed.get_rank(), distributed.get_world_size()
    group, first = distributed.group.WORLD, 0
    if size == 3:  # the last two of three: a ring need not be of all processes
        group, first, size = distributed.new_group([1, 2]), 1, 2
    if rank >= first:
        own = share(rank - first, size)
        ring = Ring(own.stop - own.start, group)
        torch.save({case: found(case, own, ring) for case in CASES}, folder / f"rank-{rank - first}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
