"""What else was tried to bring the contrastive loss nearer to its four matrix products, each beside the tiles.

    python benchmarks/contrastive_attempts.py [--out docs/results/benchmarks/contrastive-attempts.json]

16,384 pairs of width 512, float32, the sums and the gradients of both features, in one process, all ways in turns after
a warm-up of each; ratios are to the four products of the same turn (warm, with ``out=``). Each way's gradients must be
those of the tiles to 1e-4. The ways:

- tiles: what :mod:`lucida.losses.pair_scores` does, 1,024 by 2,048 scores at a time, each thread with rows of its own,
  all else in pieces of 128 rows;
- shared operations: all threads in every operation on a tile, as it was before;
- kept scores: likewise, and the exponentials of the first 16 tiles (128 MB) are kept for the gradient, an eighth of one
  product less;
- rows of 128: likewise, and exponentials, sums and weights of a tile in pieces that fit in a core's own cache;
- rows dealt out: each thread takes every second row of tiles, with sums of its own;
- scores from bfloat16: shared operations, features as sums of two bfloat16 numbers, scores as three products of those
  (their rounding is near float32's), which processors with matrix tiles (AMX) take faster; others are slower.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from contrastive_loss import SCALE, inputs
from torch import Tensor

from lucida.core.results import Metric, Results
from lucida.core.run_folder import environment
from lucida.losses.pair_scores import TILE, Gradients, LogSums, add_gradients, log_sums

ROWS, REPEATS, KEPT, PIECE = 16_384, 5, 16, 128


class Found(NamedTuple):
    """Gradients of the sum of both logarithms of sums, but for what the positives pull."""

    images: Tensor
    texts: Tensor


def products(images: Tensor, texts: Tensor) -> None:
    """The four products, in two halves, so that the scores are 512 MB."""
    half = len(images) // 2
    scores, of_images = images.new_empty(half, len(texts)), torch.empty_like(images[:half])
    of_texts = torch.empty_like(texts)
    for rows in images.split(half):
        torch.mm(rows, texts.T, out=scores)
        torch.mm(rows, texts.T, out=scores)
        torch.mm(scores, texts, out=of_images)
        torch.mm(scores.T, rows, out=of_texts)


def in_tiles(images: Tensor, texts: Tensor) -> Found:
    sums = log_sums(images, texts, SCALE)
    found = Gradients(torch.zeros_like(images), torch.zeros_like(texts))
    add_gradients(found, images, texts, SCALE, LogSums(-sums.rows, -sums.columns))
    return Found(*found)


def corners(rows: range) -> Iterator[tuple[slice, slice]]:
    for top in rows:
        for left in range(0, ROWS, TILE[1]):
            yield slice(top, top + TILE[0]), slice(left, left + TILE[1])


class Attempt:
    """Both passes over the tiles, with what an attempt changes as settings."""

    def __init__(self, *, kept: int = 0, piece: int = TILE[0], threads: int = 1, bfloat16: bool = False):
        self.kept, self.piece, self.threads, self.bfloat16 = kept, piece, threads, bfloat16

    def __call__(self, images: Tensor, texts: Tensor) -> Found:
        self.images, self.texts, self.scaled = images, texts, images * SCALE
        self.stored: dict[tuple[int, int], Tensor] = {}
        if self.bfloat16:
            self.split = [halves(each) for each in (self.scaled, texts)]
        starts = range(0, ROWS, TILE[0])
        parts = [starts[k :: self.threads] for k in range(self.threads)]
        with worker_threads(self.threads) as every:
            self.rows = torch.zeros(ROWS, dtype=torch.float64)
            columns: Tensor = sum(every(self.sums, parts))  # type: ignore[assignment]  # of at least one part
            self.of_rows, self.of_columns = (each.reciprocal().float() for each in (self.rows, columns))
            self.of_images = torch.zeros_like(images)
            of_texts: Tensor = sum(every(self.pulls, parts))  # type: ignore[assignment]  # of at least one part
        return Found(self.of_images, of_texts)

    @torch.no_grad()
    def sums(self, starts: range) -> Tensor:
        columns, buffer = torch.zeros(ROWS, dtype=torch.float64), torch.empty(TILE)
        for number, (rows, cols) in enumerate(corners(starts)):
            keeps = number < self.kept
            scores = torch.empty(TILE) if keeps else buffer
            self.scores(rows, cols, scores)
            for top in range(0, TILE[0], self.piece):
                powers = scores[top : top + self.piece].exp_()
                self.rows[rows][top : top + self.piece] += powers.sum(dim=1)
                columns[cols] += powers.sum(dim=0)
            if keeps:
                self.stored[rows.start, cols.start] = scores
        return columns

    @torch.no_grad()
    def pulls(self, starts: range) -> Tensor:
        of_texts, buffer, room = torch.zeros_like(self.texts), torch.empty(TILE), torch.empty(TILE)
        for rows, cols in corners(starts):
            powers = self.stored.pop((rows.start, cols.start), None)
            known = powers is not None
            if powers is None:
                powers = buffer
                self.scores(rows, cols, powers)
            for top in range(0, TILE[0], self.piece):
                part = slice(top, top + self.piece)
                torch.add(self.of_rows[rows][part, None], self.of_columns[cols], out=room[part])
                (powers[part] if known else powers[part].exp_()).mul_(room[part])
            self.of_images[rows].addmm_(powers, self.texts[cols])
            of_texts[cols].addmm_(powers.T, self.images[rows])
        return of_texts

    def scores(self, rows: slice, cols: slice, out: Tensor) -> None:
        if not self.bfloat16:
            torch.mm(self.scaled[rows], self.texts[cols].T, out=out)
            return
        (high, low), (other_high, other_low) = self.split
        with bfloat16_products():
            torch.mm(high[rows], other_high[cols].T, out=out)
            out.addmm_(high[rows], other_low[cols].T).addmm_(low[rows], other_high[cols].T)


def halves(features: Tensor) -> tuple[Tensor, Tensor]:
    """Two float32 tensors that bfloat16 holds exactly, whose sum is the features but for 2^-17 of each number."""
    high = features.bfloat16().float()
    return high, (features - high).bfloat16().float()


@contextmanager
def bfloat16_products() -> Iterator[None]:
    """Products of float32 tensors are taken in bfloat16 and summed in float32."""
    settings = torch.backends.mkldnn.matmul
    before = settings.fp32_precision
    settings.fp32_precision = "bf16"
    try:
        yield
    finally:
        settings.fp32_precision = before


@contextmanager
def worker_threads(count: int) -> Iterator[Callable[..., list[Tensor]]]:
    """A ``map`` over parts: here, or in threads whose operations have one thread each."""
    if count == 1:
        yield lambda work, parts: [work(part) for part in parts]
        return
    everywhere = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield lambda work, parts: list(pool.map(work, parts))
    finally:
        torch.set_num_threads(everywhere)


WAYS: dict[str, Callable[[Tensor, Tensor], Found]] = {
    "tiles": in_tiles,
    "shared operations": Attempt(),
    "kept scores": Attempt(kept=KEPT),
    "rows of 128": Attempt(piece=PIECE),
    "rows dealt out": Attempt(threads=2),
    "scores from bfloat16": Attempt(bfloat16=True),
}


def main() -> None:
    """Measure, print, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/results/benchmarks/contrastive-attempts.json"))
    given = parser.parse_args()
    images, texts = (each.detach() for each in inputs(ROWS)[:2])
    expected, results = in_tiles(images, texts), Results()
    for name, way in WAYS.items():
        off = max(float((a - b).norm() / b.norm()) for a, b in zip(way(images, texts), expected, strict=True))
        assert off < 1e-4, f"{name} differs by {off:.1e}"
        results.add(f"{name}/difference", Metric(off, None, 1))
    seconds: dict[str, list[float]] = {name: [] for name in ("products", *WAYS)}
    for _ in range(REPEATS):
        for name, way in {"products": products, **WAYS}.items():
            began = time.perf_counter()
            way(images, texts)
            seconds[name].append(time.perf_counter() - began)
    for name, own in seconds.items():
        ratios = [mine / bound for mine, bound in zip(own, seconds["products"], strict=True)]
        results.add(f"{name}/seconds", Metric(median(own), (min(own), max(own)), len(own)))
        results.add(f"{name}/times the four products", Metric(median(ratios), (min(ratios), max(ratios)), len(ratios)))
    for name, metric in results.metrics.items():
        print(f"{name:45} {metric.value:10.4g}  {metric.ci95}")
    results.details = {
        "interval": "smallest and largest of the repeats",
        "rows": ROWS, "scale": SCALE, "repeats": REPEATS, "threads": torch.get_num_threads(),
        "environment": environment(seed=0),
    }  # fmt: skip
    results.save(given.out)


if __name__ == "__main__":
    main()
