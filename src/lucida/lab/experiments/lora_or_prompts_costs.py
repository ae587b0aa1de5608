"""What each method of :mod:`~lucida.lab.experiments.lora_or_prompts` costs: counted, and timed on one thread."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from lucida.lab.experiment import Bench, one_thread
from lucida.lab.experiments.lora_or_prompts_methods import before, read
from lucida.lab.experiments.lora_or_prompts_settings import (
    ALPHA,
    BATCH,
    CALLS,
    CONTEXT,
    COSTS,
    ENSEMBLE,
    ENSEMBLED,
    LORA,
    METHODS,
    MOST,
    PLAINLY,
    RANK,
    SEARCHED,
    SOFT,
    SOFT_TOKENS,
    TRAINED,
    Settings,
)
from lucida.lab.low_rank import LowRank, adapted
from lucida.lab.prompted_answerer import ITEM, PLAIN, Drawn, asked, drawn

_PASSES = 2  # over each weight, of training what is in front of it or beside it: there, and back to the inputs


def costs(bench: Bench, settings: Settings, shots: int) -> dict[str, float]:
    """Numbers trained, tokens and operations an answer, operations of adapting, milliseconds an answer.

    Args:
        shots: examples before each question, of the method that shows some.
    """
    network = before(read(bench, settings, bench.seeds), 0, settings, bench.seeds[0]).eval()
    weights = sum(layer.weight.numel() for layer in network.blocks.modules() if isinstance(layer, nn.Linear))
    adapters = adapted(network, LowRank(RANK, ALPHA), 0, but=("head", "multi_modal_projector"))
    trained = {LORA: sum(p.numel() for p in adapters.parameters()), SOFT: SOFT_TOKENS * settings.width}
    plain = ITEM - 1
    tokens = dict.fromkeys(METHODS, plain) | {
        ENSEMBLE: ENSEMBLED * plain, CONTEXT: shots * ITEM + plain, SOFT: SOFT_TOKENS + plain,
    }  # fmt: skip
    taken = _milliseconds_of_all(network, drawn(bench.seeds[0], "train", 1), settings, shots)
    facts: dict[str, float] = {}
    for name in METHODS:
        asks = CALLS * MOST * plain if name in (SEARCHED, ENSEMBLE) else 0
        steps = _PASSES * settings.steps * BATCH * tokens[name] if name in TRAINED else 0
        own = (trained.get(name, 0), tokens[name], 2 * weights * tokens[name] / 1e6, taken[name])
        counted = zip(COSTS, (*own, 2 * weights * (asks + steps) / 1e6), strict=True)
        facts |= {f"{cost}/{name}": value for cost, value in counted}
    return facts


def _milliseconds_of_all(network: nn.Module, own: Drawn, settings: Settings, shots: int) -> dict[str, float]:
    prompted = network.with_soft_prompt(SOFT_TOKENS, 0).eval()  # type: ignore[operator]  # a PromptedAnswerer's
    calls = {name: _call(network, own, shots if name == CONTEXT else 0) for name in METHODS}
    calls[SOFT] = _call(prompted, own, 0)
    one = calls[PLAINLY]
    calls[ENSEMBLE] = lambda: [one() for _ in range(ENSEMBLED)]
    with one_thread():
        return {name: _milliseconds(call) for name, call in calls.items()}


def _call(network: nn.Module, own: Drawn, shots: int) -> Callable[[], object]:
    batch = asked(own.rows([shots]), PLAIN, shots=own.rows(range(shots)) if shots else None)
    return lambda: network(batch["pictures"], batch["tokens"])


@torch.no_grad()
def _milliseconds(call: Callable[[], object]) -> float:
    """The median of many."""
    taken = []
    for _ in range(60):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return float(np.median(taken[10:])) * 1e3
