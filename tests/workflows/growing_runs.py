"""Runs that grow while they are watched: rows, a small training, and a clock of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lucida.core.run_folder import append_jsonl
from lucida.training.probes import watch

HEADER = {"kind": "model", "step": 0, "model": "Net", "layers": {"0": "linear: Linear"}, "parameters": {}}
ERROR = {"kind": "error", "step": 31, "error": "ValueError", "message": "two\nlines"}


def probe(step: int, loss: float = 1.0) -> dict[str, Any]:
    layers = {"0": {"rms": 1.0, "rows": 64, "bad": False, "grad": 0.1, "calls": 1}}
    row = {"kind": "probe", "step": step, "loss": loss, "grad_norm": 0.5, "rates": [1e-3], "layers": layers}
    return row | {"parameters": {}, "scalars": {}, "attention": {}, "idle": []}


def write(path: Path, *rows: dict[str, Any]) -> None:
    for row in rows:
        append_jsonl(path, row)


def train(folder: Path, *, batch: int = 32, steps: int = 60, each: Callable[[], None] = lambda: None) -> None:
    """A small model on noise; ``each`` is called after every step."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1))
    optimizer = torch.optim.Adam(model.parameters())
    with watch(model, optimizer, folder=folder) as watching:
        for _ in range(steps):
            optimizer.zero_grad()
            x = torch.randn(batch, 8)
            loss = (model(x) - x[:, :1]).square().mean()
            loss.backward()
            watching.note(loss=loss.item())
            optimizer.step()
            each()


class Time:
    """A clock that moves when somebody sleeps, and what happens meanwhile: one event a sleep, then Ctrl-C."""

    def __init__(self, *events: Callable[[], object]):
        self.now, self.events = 0.0, list(events)

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if not self.events:
            raise KeyboardInterrupt
        self.events.pop(0)()
