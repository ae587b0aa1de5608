"""The language-modelling loss in chunks against the plain loss: seconds and peak memory, values and gradients compared.

    python benchmarks/language_modeling_loss.py [--out docs/results/benchmarks/language-modeling-loss.json]

8,192 states of width 512 and a vocabulary of 131,072, float32, gradients of both. Every way runs in a process of its
own (a warm-up call on a sixteenth of the rows, then the measured one), in turns, and memory is what the process holds
in no file (``RssAnon``) above what it holds before the call: the gradients are part of it (the vocabulary's alone is
268 MB), states and vocabulary are not. "Plain on the supervised rows" picks those rows and computes all their logits;
"plain on all rows" computes the logits of all and ignores labels. At 100 % both are the same.

What bounds it. Logits, the gradient of the states and that of the vocabulary are three products of 2·n·V·D
operations: n = 8,192 makes 3.3·10^12. Beside them every logit is written, read for the largest, exponentiated in
place and summed: four passes over 4·n·V bytes, of which those after the first find a few rows in a processor's cache.
The plain loss writes logits, their logarithms of probabilities and their gradient, each 4·n·V bytes of memory that is
new to the process. ``share of the products`` is the time of the three products alone, on chunks of the same shape and
in the same process, over the loss's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from anonymous_memory import Peak
from torch import Tensor
from torch.nn import functional as F

from lucida.core.results import Metric, Results
from lucida.core.run_folder import environment
from lucida.losses.language_modeling import CHUNK_BYTES, language_modeling_loss

ROWS, WIDTH, WORDS = 8192, 512, 131_072
SHARES = {"25 % supervised": 0.25, "100 % supervised": 1.0}
WAYS = ("in chunks", "plain on the supervised rows", "plain on all rows")
REPEATS = 3


def inputs(share: float, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """States, vocabulary, labels; the same in every process."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(rows, WIDTH, generator=generator).requires_grad_()
    weight = (0.05 * torch.randn(WORDS, WIDTH, generator=generator)).requires_grad_()
    labels = torch.randint(WORDS, (rows,), generator=generator)
    labels[torch.randperm(rows, generator=generator)[round(share * rows) :]] = -100
    return states, weight, labels


def loss_of(way: str, states: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """The mean over the supervised rows."""
    if way == "in chunks":
        return language_modeling_loss(states, weight, labels)
    if way == "plain on the supervised rows":
        kept = labels != -100
        return F.cross_entropy(states[kept] @ weight.T, labels[kept])
    return F.cross_entropy(states @ weight.T, labels)


def child(way: str, share: float) -> dict[str, float]:
    """One measured call, with numbers by which gradients can be compared."""
    small, weight, few = inputs(share, ROWS // 16)
    loss_of(way, small, weight, few).backward()
    weight.grad = None
    states, _, labels = inputs(share, ROWS)
    with Peak() as peak:
        loss = loss_of(way, states, weight, labels)
        loss.backward()
    assert states.grad is not None
    assert weight.grad is not None
    probe = torch.randn(WIDTH, generator=torch.Generator().manual_seed(1))
    found = {"seconds": peak.seconds, "mb": peak.mb, "loss": loss.item()}
    found |= {
        "of states": float((states.grad @ probe).norm()),
        "of the vocabulary": float((weight.grad @ probe).norm()),
    }
    if way == "in chunks":
        found["products"] = products(weight.detach(), round(share * ROWS))
    return found


def products(weight: Tensor, rows: int) -> float:
    """Seconds of the three products alone, in chunks."""
    size = CHUNK_BYTES // (4 * WORDS)
    own, logits, total = torch.randn(size, WIDTH), torch.empty(size, WORDS), torch.zeros_like(weight)
    torch.mm(own, weight.T, out=logits)
    began = time.perf_counter()
    for _ in range(rows // size):
        torch.mm(own, weight.T, out=logits)
        torch.mm(logits, weight)
        total.addmm_(logits.T, own)
    return time.perf_counter() - began


def measure(share: float) -> dict[str, list[dict[str, float]]]:
    """All ways in turns; they must agree."""
    ways = WAYS if share < 1 else WAYS[:2]
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(REPEATS):
        for way in ways:
            command = [sys.executable, __file__, "--child", way, "--share", str(share)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[way].append(json.loads(done.stdout))
    first = found["in chunks"][0]
    for way, runs in found.items():
        for name in ("loss", "of states", "of the vocabulary"):
            off = abs(runs[0][name] / first[name] - 1)
            assert off < 1e-4, f"{way}: {name} differs by {off:.1e}"
    return found


def main() -> None:
    """Measure both cases, print, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/results/benchmarks/language-modeling-loss.json"))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--share", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child(given.child, given.share)))
        return
    results = Results()
    for case, share in SHARES.items():
        found = measure(share)
        ours = [run["seconds"] for run in found["in chunks"]]
        for way, runs in found.items():
            taken = [run["seconds"] for run in runs]
            results.add(f"{case}/{way}/seconds", _spread(taken))
            results.add(f"{case}/{way}/extra MB", _spread([run["mb"] for run in runs]))
            if way != "in chunks":
                ratios = [own / other for own, other in zip(ours, taken, strict=True)]
                results.add(f"{case}/times the seconds of {way}", _spread(ratios))
        shares = [run["products"] / run["seconds"] for run in found["in chunks"]]
        results.add(f"{case}/in chunks/share of the products", _spread(shares))
    for name, metric in results.metrics.items():
        print(f"{name:70} {metric.value:9.3f}  {metric.ci95}")
    results.details = {
        "interval": "smallest and largest of the repeats",
        "rows": ROWS, "width": WIDTH, "words": WORDS, "repeats": REPEATS, "threads": torch.get_num_threads(),
        "environment": environment(seed=0),
    }  # fmt: skip
    results.save(given.out)


def _spread(values: list[float]) -> Metric:
    return Metric(statistics.median(values), (min(values), max(values)), len(values))


if __name__ == "__main__":
    main()
