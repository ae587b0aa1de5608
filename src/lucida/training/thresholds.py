"""Where healthy ends: the numbers that the rules of the diagnosis compare with."""

from __future__ import annotations

from dataclasses import dataclass

from lucida.training.findings import ENOUGH


@dataclass(frozen=True)
class Thresholds:
    """Where healthy ends. Chosen on development seeds of ``tools/patients`` so that healthy runs keep a wide margin.

    Attributes:
        sustained: probed steps in a row that must show a fault before it is one.
        growth: times that weights grow within ``growth_steps`` steps (over a whole run they may grow more).
        first_update: update / weight of the first step, the median over matrices.
        late_update: the same, later on, sustained.
        vanishing: largest gradient at the outputs of the front layers / the largest behind them.
        exploding: gradient at a layer's output in the front half / the largest in the back half.
        recurrent: gradient of a recurrent matrix / the largest gradient of any layer after it.
        recurrent_calls: gradient at the first / at the last call of a layer that is called many times.
        leap: gradient norm of one step / the median of the steps around it and of the run.
        first_rms: the outputs of the first layer / those of a later one, before any training (or the inverse).
        saturated: share of a bounded layer's outputs at the end of their range before any training.
        dead: share of a layer's units.
        dead_rows: rows that must have been seen before a unit counts as dead.
        batch_norm: examples in a batch norm's batch.
        temperature: the multiplier of the logits beyond which, and below which, no healthy run goes.
        blind: what other pictures cost, as a share of what has been learned so far.
    """

    sustained: int = ENOUGH
    growth: float = 6.0
    growth_steps: int = 30
    first_update: float = 0.35
    late_update: float = 0.1
    vanishing: float = 1e-4
    exploding: float = 50.0
    recurrent: float = 30.0
    recurrent_calls: float = 1e3
    leap: float = 100.0
    first_rms: float = 300.0
    saturated: float = 0.5
    dead: float = 0.5
    dead_rows: int = 16
    batch_norm: int = 4
    temperature: tuple[float, float] = (2.0, 125.0)
    blind: float = 0.03


LIMITS = Thresholds()
