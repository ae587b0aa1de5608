"""Watching a loop with a loss scaler: no number holds its scale, and a step that it skips leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lucida.training.probes import watch

BATCH = 6

Make = Callable[[Any], torch.optim.Optimizer]


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.01)


def fused(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.01, fused=True)


def rows_of_a_run(
    make: Make = sgd,
    *,
    scaled: bool = True,
    skipped: tuple[int, ...] = (),
    to_none: bool = True,
    clip: float | None = None,
    accumulate: int = 1,
    steps: int = 9,
    growth: int = 1,
    every: int = 2,
) -> list[dict[str, Any]]:
    """Probed steps of a linear regression, whose scale doubles every ``growth`` steps; some losses are infinite."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = make(model.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=growth, enabled=scaled)
    with watch(model, optimizer, every=every) as watched:
        for step in range(steps):
            optimizer.zero_grad(set_to_none=to_none)
            for _ in range(accumulate):
                x = torch.randn(BATCH, 8)
                loss = (model(x) - x[:, :1]).square().mean() / accumulate
                scaler.scale(loss * (float("inf") if step in skipped else 1.0)).backward()
            if clip is not None:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            scaler.step(optimizer)
            scaler.update()
    return [row for row in watched.rows if row["kind"] == "probe"]


@pytest.mark.parametrize("clip", [None, 0.01])
@pytest.mark.parametrize("make", [sgd, fused])
def test_no_number_holds_the_scale(make: Make, clip: float | None) -> None:
    plain, scaled = rows_of_a_run(make, scaled=False, clip=clip), rows_of_a_run(make, clip=clip)
    assert len(plain) == len(scaled) == 5
    for a, b in zip(plain[2:], scaled[2:], strict=True):  # what clipping did to step 1 is not known
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=2e-3)
        assert b["unclipped"] == pytest.approx(a["unclipped"], rel=2e-3)
        assert b["noise"] == pytest.approx(a["noise"], rel=2e-3)
        for key in ("median", "max", "last"):
            assert b["pulse"][key] == pytest.approx(a["pulse"][key], rel=2e-3)


@pytest.mark.parametrize("to_none", [True, False])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_skipped_step_leaves_no_examples_behind(to_none: bool, accumulate: int) -> None:
    rows = rows_of_a_run(skipped=(2, 5, 6, 9), to_none=to_none, accumulate=accumulate, steps=13, growth=1000)
    assert [row["step"] for row in rows] == [1, 2, 4, 6, 8]
    assert [row["noise"]["batch"] for row in rows[2:]] == [BATCH * accumulate] * 3
    assert all(row["layers"]["0"]["calls"] == accumulate for row in rows)


@pytest.mark.parametrize("every", [1, 2])
def test_first_steps_that_are_skipped_leave_nothing_behind(every: int) -> None:
    """Before the first step that is taken, no parameter has been chosen that tells."""
    rows = rows_of_a_run(skipped=(0, 1, 2), steps=8, growth=1000, every=every)
    assert {row["noise"]["batch"] for row in rows[2:]} == {BATCH}
    assert all(row["layers"]["0"]["calls"] == 1 for row in rows)
    assert all(layer["grad"] is not None for row in rows for layer in row["layers"].values())


def test_two_forward_passes_before_one_backward_pass_count_both() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

    model = Twice()
    optimizer = sgd(model.parameters())
    with watch(model, optimizer, every=1) as watched:
        for _ in range(4):
            optimizer.zero_grad()
            (model(torch.randn(3, 4)) * model(torch.randn(3, 4))).square().mean().backward()
            optimizer.step()
    assert [row["noise"]["batch"] for row in watched.rows[3:]] == [6, 6]


def test_the_scale_of_a_wrapped_optimizer_is_known() -> None:
    """Accelerate hands its scaler the optimizer below its wrapper, with another ``step``."""
    accelerate = pytest.importorskip("accelerate")
    accelerate.Accelerator()

    def go(scaled: bool) -> list[dict[str, Any]]:
        torch.manual_seed(0)
        model = nn.Linear(8, 1)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1, enabled=scaled)
        optimizer = accelerate.optimizer.AcceleratedOptimizer(sgd(model.parameters()), scaler=scaler)
        with watch(model, optimizer, every=2) as watched:
            for _ in range(6):
                optimizer.zero_grad()
                scaler.scale(model(torch.randn(BATCH, 8)).square().mean()).backward()
                optimizer.step()
        return [row for row in watched.rows if row["kind"] == "probe"]

    for a, b in zip(go(False)[1:], go(True)[1:], strict=True):
        assert b["unclipped"] == pytest.approx(a["unclipped"], rel=2e-3)
