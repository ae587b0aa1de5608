"""What a batch larger than memory costs: a CLIP's training step in one pass and in several, in float32 and bfloat16.

    python benchmarks/large_batches.py [--out docs/results/benchmarks/large-batches.json]

The CLIP is that of ``dual_encoder_training.py`` with a vocabulary of 8,192 and fresh weights, texts of 20 tokens,
pictures of random pixels at 64 pixels a side. Each way runs in a process of its own: one step to warm up on a small
batch, then the measured ones; memory is what the process holds in no file (``RssAnon``) above what it holds before
them. In passes (``--effective-batch``: features first, without a graph, then every part once more) the gradient is that
of the whole batch, which is asserted here to 1e-4 and tested in float64; the pictures go through the encoders four
times where one pass takes three (two of them the way back), so a third more operations bound it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import torch
from anonymous_memory import Peak
from torch import Tensor

from lucida.core.results import Metric, Results
from lucida.core.run_folder import environment
from lucida.models.new_encoders import NewEncoderConfig, new_dual_encoder
from lucida.training.distributed import Accelerator, TaskModule
from lucida.training.step import train_step
from lucida.training.tasks import ContrastiveTask

PART, TOKENS, SIDE, REPEATS = 256, 20, 64, 3
WAYS = {  # batch, passes, precision
    "256 at once": (256, 1, "float32"),
    "256 at once, bfloat16": (256, 1, "bfloat16"),
    "2,048 at once": (2048, 1, "float32"),
    "2,048 in 8 passes": (2048, 8, "float32"),
    "2,048 in 8 passes, bfloat16": (2048, 8, "bfloat16"),
    "8,192 in 32 passes": (8192, 32, "float32"),
}


def parts(rows: int, passes: int) -> list[dict[str, Any]]:
    """A batch, the same in however many passes."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(rows, 3, SIDE, SIDE, generator=generator)
    tokens = torch.randint(3, 200, (rows, TOKENS), generator=generator)
    tokens[:, 0], tokens[:, -1] = 0, 1  # begin and end
    mask, ids = torch.ones_like(tokens), torch.arange(rows)
    each = (tensor.chunk(passes) for tensor in (pixels, tokens, mask, ids))
    return [
        {"image": {"pixel_values": x}, "text": {"input_ids": t, "attention_mask": m}, "ids": i}
        for x, t, m, i in zip(*each, strict=True)
    ]


def child(way: str) -> dict[str, float]:
    """Steps of one way."""
    rows, passes, precision = WAYS[way]
    letters = [chr(97 + a) + chr(97 + b) for a in range(26) for b in range(26)]
    model = new_dual_encoder(NewEncoderConfig(), [" ".join(letters)], seed=0)
    task, accelerator = ContrastiveTask(model), Accelerator(cpu=True)
    module: Any = TaskModule(task, device=torch.device("cpu"), precision=precision)  # type: ignore[arg-type]
    batch, small = parts(rows, passes), parts(min(rows, PART), min(passes, 2))

    def step(given: list[dict[str, Any]]) -> float:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)  # every step is the same one
        return train_step(task, module, given, optimizer, accelerator, max_grad_norm=None).loss

    step(small)
    seconds, memory = [], []
    for _ in range(REPEATS):
        with Peak(every=0.02) as peak:
            loss = step(batch)
        seconds.append(peak.seconds)
        memory.append(peak.mb)
    return {"seconds": median(seconds), "mb": max(memory), "loss": loss, "norm": gradient_norm(model)}


def gradient_norm(model: torch.nn.Module) -> float:
    squares: list[Tensor] = [p.grad.double().square().sum() for p in model.parameters() if p.grad is not None]
    return float(torch.stack(squares).sum().sqrt())


def main() -> None:
    """Measure, print, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/results/benchmarks/large-batches.json"))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child(given.child)))
        return
    results, found = Results(), {}
    for way, (rows, _, _) in WAYS.items():
        command = [sys.executable, __file__, "--child", way]
        found[way] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
        results.add(f"{way}/pictures a second", Metric(rows / found[way]["seconds"], None, REPEATS))
        results.add(f"{way}/extra MB", Metric(found[way]["mb"], None, REPEATS))
    whole, passes = found["2,048 at once"], found["2,048 in 8 passes"]
    for name in ("loss", "norm"):
        off = abs(passes[name] / whole[name] - 1)
        assert off < 1e-4, f"{name} differs by {off:.1e}"
        results.add(f"in passes/difference of {name}", Metric(off))
    results.add("in passes/share of the memory", Metric(passes["mb"] / whole["mb"]))
    results.add("in passes/times the seconds", Metric(passes["seconds"] / whole["seconds"]))
    for name, metric in results.metrics.items():
        print(f"{name:50} {metric.value:10.4g}")
    results.details = {"repeats": REPEATS, "threads": torch.get_num_threads(), "environment": environment(seed=0)}
    results.save(given.out)


if __name__ == "__main__":
    main()
