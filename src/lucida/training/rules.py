"""The rules of the diagnosis: each reads a run's record and yields what it finds. Thresholds are in one table.

``judge`` asks all of them, drops what another finding explains, and says which could not judge and why.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Iterator
from itertools import accumulate, pairwise, takewhile

from lucida.training.findings import Finding, Record, Row
from lucida.training.remedies import EXPLAINS, LAB_PAGES, REMEDIES
from lucida.training.thresholds import LIMITS

TRANSFORMING = ("linear", "conv", "recurrent", "attention")
_NOT_FINITE = re.compile(r"\bnot finite\b|\bnon-?finite|\bnan\b|\binf(inity|inite)?\b", re.IGNORECASE)

Found = tuple[str, str | None, int, str]
"""Name, layer, first step, evidence."""

Rule = Callable[[Record], Iterator[Found]]


def judge(record: Record) -> tuple[list[Finding], int, dict[str, str]]:
    """``(findings, number of rules that judged, {rule: why it could not})``."""
    from lucida.training.rules_of_parts import RULES as PARTS

    found: dict[str, Found] = {}
    not_judged: dict[str, str] = {}
    rules: dict[str, tuple[Rule, Callable[[Record], str | None]]] = {**PARTS, **RULES}
    for name, (rule, obstacle) in rules.items():
        reason = "there is no probed step" if not record.probes else obstacle(record)
        if reason is not None:
            not_judged[name] = reason
            continue
        for one in rule(record):
            found.setdefault(one[0], one)
    explained = {other for name in found for other in EXPLAINS.get(name, ())}
    order = list(REMEDIES)
    kept = sorted((x for n, x in found.items() if n not in explained), key=lambda x: (x[2], order.index(x[0])))
    findings = [Finding(n, layer, step, text, REMEDIES[n], LAB_PAGES.get(n)) for n, layer, step, text in kept]
    return findings, len(rules) - len(not_judged), not_judged


def runs_of(steps: list[int], flags: list[bool], length: int) -> int | None:
    """The step at which the first run of ``length`` true flags in a row begins (all, if there are fewer flags).

    >>> runs_of([1, 10, 20, 30, 40], [True, False, True, True, True], 3), runs_of([1, 10], [True, False], 3)
    (20, None)
    """
    need = min(length, len(flags))
    for start in range(len(flags) - need + 1):
        if need and all(flags[start : start + need]):
            return steps[start]
    return None


def gradients_by_depth(record: Record, row: Row) -> list[tuple[str, float]]:
    """``(layer, gradient at its output)`` of the layers that transform, in the order in which they ran."""
    layers = record.layers(row, *TRANSFORMING)
    return [(name, x["grad"]) for name, x in layers.items() if x.get("grad") is not None]


def _enough(record: Record) -> str | None:
    few = len(record.probes) < LIMITS.sustained
    return f"it needs {LIMITS.sustained} probed steps, there are {len(record.probes)}" if few else None


def _several_layers(record: Record) -> str | None:
    if (reason := _enough(record)) is not None:
        return reason
    most = max(len(gradients_by_depth(record, row)) for row in record.probes)
    return None if most > 1 else "fewer than two layers with a gradient were seen"


# Gradients by depth -----------------------------------------------------------------------------------------------


def shrinking(record: Record) -> list[tuple[int, str, float]]:
    """``(step, layer, ratio)`` of every probe: where the layers up to one have least gradient beside those after it.

    The largest gradient of the front is compared with the largest behind: a branch with a small gate (LayerScale, a
    residual that starts at 0) has small gradients inside, while the layers before it learn all the same.
    """
    found = []
    for row in record.probes:
        depth = [(n, g) for n, g in gradients_by_depth(record, row) if g > 0]
        if len(depth) < 2:
            continue
        front = list(accumulate((g for _, g in depth), max))
        back = list(accumulate((g for _, g in reversed(depth)), max))[::-1]
        k = min(range(len(depth) - 1), key=lambda k: front[k] / back[k + 1])
        found.append((row["step"], depth[k][0], front[k] / back[k + 1]))
    return found


def vanishing_gradients(record: Record) -> Iterator[Found]:
    """The gradient at an early layer is next to nothing beside that at a later one, probe after probe.

    What silent units on the way take from it does not count: that is told as dead units.
    """
    ratios = shrinking(record)
    rows = {row["step"]: row for row in record.probes}
    flags = [r < LIMITS.vanishing * passed_by_silence(record, rows[s], layer) for s, layer, r in ratios]
    since = runs_of([s for s, _, _ in ratios], flags, LIMITS.sustained)
    if since is None or len(ratios) < LIMITS.sustained:
        return
    step, layer, ratio = min((x for x in ratios if x[0] >= since), key=lambda x: x[2])
    text = f"at step {step} the gradient up to {layer} is {ratio:.1e} of the largest behind it (healthy: above 1e-3)"
    before = list(takewhile(lambda x: x[0] != layer, gradients_by_depth(record, rows[step])))
    if nothing := sum(g == 0 for _, g in before):
        text += f"; at {nothing} layers before it, it is too small to measure"
    yield "vanishing-gradients", layer, since, text


def passed_by_silence(record: Record, row: Row, layer: str) -> float:
    """How much of a gradient the silent units from this layer on let through, beside that of a living ReLU network.

    A layer passes on the gradient of the units that are not silent: the root of their share, as a norm. Half of the
    units of a ReLU are silent for an example anyway.
    """
    found, names = silent_shares(record, row), list(row["layers"])
    shares: list[float] = []
    for name in names[names.index(layer) :]:
        if record.kinds.get(name) in TRANSFORMING or not shares:
            shares.append(found.get(name, 0.0))
        else:  # its activation: the same units
            shares[-1] = max(shares[-1], found.get(name, 0.0))
    return math.prod(math.sqrt(2 * (1 - share)) for share in shares if share > LIMITS.dead)


def silent_shares(record: Record, row: Row) -> dict[str, float]:
    """``{layer: share of its units that are silent for every example though a gradient comes down to them}``.

    Silence shows after a ReLU, or before one that was called as a function: never above 0, and the bias' gradient is
    exactly 0. That holds too where a gradient has shrunk to 0 on its way down: nothing is known of such layers.
    """
    reached = reached_by_gradient(row)
    shares = {}
    for name, layer in row["layers"].items():
        if layer.get("rows", 0) < LIMITS.dead_rows:
            continue
        silent = None
        if record.kinds.get(name) in ("linear", "conv"):
            silent = min(row["parameters"].get(f"{name}.bias", [None] * 4)[3] or 0.0, layer.get("negative") or 0.0)
        elif record.kinds.get(name) == "activation":
            silent = layer.get("silent")
        shares[name] = silent or 0.0 if name in reached else 0.0
    return shares


def reached_by_gradient(row: Row) -> set[str]:
    """The layers whose output, or that of the layer that ran next, has a gradient that is not 0.

    At the output of a layer without any living unit, before its ReLU, the gradient is 0: only the next layer's tells.
    """
    names = list(row["layers"])
    some = {name for name in names if row["layers"][name].get("grad")}
    return some | {name for name, after in pairwise(names) if after in some}


def no_warm_up(record: Record) -> Iterator[Found]:
    """A post-norm transformer whose lower layers lost their gradient after a start at the full rate."""
    blocks = post_norm_blocks(record)
    rates = [max(row["rates"], default=0.0) for row in record.probes]
    if not blocks or rates[0] < 0.5 * max(rates):
        return
    ratios = shrinking(record)
    flags = [r < LIMITS.vanishing for _, _, r in ratios]
    since = runs_of([s for s, _, _ in ratios], flags, LIMITS.sustained)
    if since is None or flags[0]:  # bad before the first update: not the work of the updates
        return
    step, layer, ratio = min((x for x in ratios if x[0] >= since), key=lambda x: x[2])
    yield (
        "no-warm-up",
        blocks[0],
        since,
        f"{len(blocks)} blocks that end in their norm; the rate was {rates[0]:.1e} of {max(rates):.1e} in the first "
        f"step; at step {step} the gradient up to {layer} has fallen to {ratio:.1e} of those behind it",
    )


def post_norm_blocks(record: Record) -> list[str]:
    """The transformer blocks (modules around an attention) whose last layer is a norm."""
    if not record.probes:
        return []
    order = list(record.probes[0]["layers"])
    found = []
    for name in order:
        block = name.rpartition(".")[0]
        if record.kinds.get(name) == "attention" and block:
            inside = [n for n in order if n.startswith(f"{block}.")]
            if record.kinds.get(inside[-1]) == "norm":
                found.append(block)
    return found


def exploding_gradients(record: Record) -> Iterator[Found]:
    """Gradients grow towards the input, or through time, or leap."""
    ratios = []
    for row in record.probes:
        depth = [(n, g) for n, g in gradients_by_depth(record, row) if g > 0]
        if len(depth) > 1:
            name, size = max(depth[: len(depth) // 2], key=lambda x: x[1])
            ratios.append((row["step"], name, size / max(g for _, g in depth[len(depth) // 2 :])))
    since = runs_of([s for s, _, _ in ratios], [r > LIMITS.exploding for _, _, r in ratios], LIMITS.sustained)
    if since is not None and len(ratios) >= LIMITS.sustained:
        step, layer, ratio = max((x for x in ratios if x[0] >= since), key=lambda x: x[2])
        yield (
            "exploding-gradients",
            layer,
            since,
            f"at step {step} the gradient at {layer} is {ratio:.1e} times the largest in the back half "
            "(healthy: below 10)",
        )
    yield from _exploding_in_time(record)
    yield from _leaping(record)


def _exploding_in_time(record: Record) -> Iterator[Found]:
    owners = {n for n, kind in record.kinds.items() if kind == "recurrent"}
    hits: list[tuple[int, str, float, float]] = []
    for k, row in enumerate(record.probes):
        sizes = {n: x[0] for n, x in row["parameters"].items() if x[0]}
        others = [g for n, g in sizes.items() if n.rpartition(".")[0] not in owners]
        for name, size in sizes.items():
            if name.rpartition(".")[0] in owners and "weight_hh" in name and others:
                limit = LIMITS.recurrent if k else 2 * LIMITS.recurrent
                if size / max(others) > limit:
                    hits.append((row["step"], name, size / max(others), limit))
        for name, layer in row["layers"].items():
            calls = layer.get("grad_calls") or []
            if len(calls) > 2 and calls[-1] and calls[0] and calls[0] / calls[-1] > LIMITS.recurrent_calls:
                hits.append((row["step"], name, calls[0] / calls[-1], LIMITS.recurrent_calls))
    steps = sorted({step for step, *_ in hits})
    if len(steps) >= 2 or (steps and steps[0] == record.probes[0]["step"]):
        step, layer, ratio, _ = max(hits, key=lambda x: x[2])
        yield (
            "exploding-gradients",
            layer,
            steps[0],
            f"at step {step} the gradient that came back through time to {layer} is {ratio:.1e} times that of the "
            "layers after it (healthy: below 10)",
        )


def _leaping(record: Record) -> Iterator[Found]:
    pulses = [row["pulse"] for row in record.pulses if row["pulse"]["median"]]
    if len(pulses) < 2 * LIMITS.sustained:
        return
    usual = max(statistics.median(p["median"] for p in pulses), pulses[0]["median"])
    leaps = [
        (p["at"], p["max"] / p["median"])
        for p in pulses
        if p["max"] and p["max"] > LIMITS.leap * p["median"] and p["max"] > LIMITS.leap / 3 * usual
    ]
    if len(leaps) >= 2:
        yield (
            "exploding-gradients",
            None,
            leaps[0][0],
            f"between probes the gradient leapt to {max(r for _, r in leaps):.0f} times its usual norm, "
            f"{len(leaps)} times",
        )


# Initialisation ---------------------------------------------------------------------------------------------------


def initialisation(record: Record) -> Iterator[Found]:
    """Outputs that shrink, grow or saturate from layer to layer before anything is learned."""
    first = record.probes[0]
    sizes = [(n, x["rms"]) for n, x in record.layers(first, "linear", "conv").items() if x.get("rms")]
    sizes = [(n, s) for n, s in sizes if math.isfinite(s)]
    if len(sizes) >= 4:
        steps = [math.log(b / a) for (_, a), (_, b) in pairwise(sizes)]
        total = sum(steps)
        for sign, name, word in ((-1, "initialisation-too-small", "shrink"), (1, "initialisation-too-large", "grow")):
            alike = sum(sign * step > 0.2 for step in steps) / len(steps)
            if sign * total > math.log(LIMITS.first_rms) and alike >= 0.75:
                yield (
                    name,
                    sizes[-1][0],
                    first["step"],
                    f"before any training the outputs {word} from {sizes[0][1]:.2g} at {sizes[0][0]} to "
                    f"{sizes[-1][1]:.2g} at {sizes[-1][0]}, {math.exp(total / len(steps)):.2g} times a layer",
                )
    full = [(n, x["saturated"]) for n, x in first["layers"].items() if x.get("saturated") is not None]
    if len(full) >= 2 and statistics.median(s for _, s in full) > LIMITS.saturated:
        layer, share = max(full, key=lambda x: x[1])
        yield (
            "initialisation-too-large",
            layer,
            first["step"],
            f"before any training {share:.0%} of the outputs of {layer} lie at the end of their range "
            f"({len(full)} such layers, median {statistics.median(s for _, s in full):.0%})",
        )


def _starts_at_the_start(record: Record) -> str | None:
    return None if record.probes[0]["step"] == 1 else "the first step of the run was not probed"


# The rate ---------------------------------------------------------------------------------------------------------


def learning_rate_too_high(record: Record) -> Iterator[Found]:
    """Weights that grow many times over, updates that are no longer small beside the weights, or both until NaN."""
    matrices = {n for n, p in record.header.get("parameters", {}).items() if len(p["shape"]) >= 2}
    first = record.probes[0]["parameters"]
    start = {n: first[n][1] for n in matrices if n in first and first[n][1]}
    ratios, sizes = [], []
    for row in record.probes:
        here = {n: x for n, x in row["parameters"].items() if n in start and x[1]}
        if here:
            sizes.append((row["step"], statistics.median(x[1] / start[n] for n, x in here.items())))
        update = {n: x[2] / x[1] for n, x in here.items() if x[2] is not None}
        if update:
            ratios.append((row, max(update, key=lambda n: update[n]), statistics.median(update.values())))
    steps = [row["step"] for row, *_ in ratios]
    early = runs_of(steps[:2], [r > LIMITS.first_update for *_, r in ratios[:2]], 1)
    late = runs_of(steps[1:], [r > LIMITS.late_update for *_, r in ratios[1:]], LIMITS.sustained)
    late = late if len(steps) > LIMITS.sustained else None
    near = [[g for s, g in sizes if 0 <= step - s <= LIMITS.growth_steps] for step, _ in sizes]
    grown = runs_of(
        [s for s, _ in sizes], [g / min(some) > LIMITS.growth for (_, g), some in zip(sizes, near, strict=True)], 1
    )
    rose = rise_to_the_end(record)
    known = [x for x in (early, late, grown, rose and rose[0]) if x is not None]
    if not known or not ratios:
        return
    since = min(known)
    row, layer, ratio = max([x for x in ratios if x[0]["step"] >= since] or ratios[-1:], key=lambda x: x[2])
    text = (
        f"at step {row['step']} one update is {ratio:.2g} of the weights (median over matrices; healthy: about 0.001, "
        f"at most 0.1) at rate {max(row['rates']):.2g}; weights grew up to {max(g for _, g in sizes):.3g} times"
    )
    if rose is not None:
        text += f"; the gradient grew {rose[1]:.1e} times before values were no longer finite at step {rose[0]}"
    yield "learning-rate-too-high", layer, since, text


def broken(record: Record) -> Row | None:
    """The row of the first values that are not finite, where such stayed or ended the run (the error's, if no other).

    They may have come after the last probe, in the beats alone. A single step that a loss scaler skipped is no such
    end.
    """
    error = error_of_nan(record)
    beats = record.rest if record.rest is not None and record.rest.get("broken") else None
    if not (record.probes[-1].get("bad") or error or beats):
        return None
    return next((row for row in record.probes if row.get("bad")), error or beats)


def error_of_nan(record: Record) -> Row | None:
    """The error that ended the run, if it speaks of values that are not finite."""
    error = record.error
    return error if error is not None and _NOT_FINITE.search(f"{error['error']} {error['message']}") else None


def rise_to_the_end(record: Record) -> tuple[int, float] | None:
    """``(step, how many times)`` gradients grew until values were not finite: steps that overshoot, no bad example.

    Asked only where the last weights are not known: where they are, they themselves have grown.
    """
    row = broken(record)
    if row is None or any(x[1] for x in row.get("parameters", {}).values()):
        return None
    usual = [x["pulse"]["median"] for x in record.probes if x["step"] < row["step"] and x.get("pulse")]
    usual = [x for x in usual if x]
    pulse = row.get("pulse") or {}
    if not usual or not pulse.get("last"):
        return None
    times = pulse["last"] / statistics.median_low(usual)
    return (pulse["at"] if pulse["bad"] else row["step"], times) if times > LIMITS.leap else None


def _one_update_a_step(record: Record) -> str | None:
    most = max(row.get("evaluations", 1) for row in record.probes)
    if most < 2:
        return None
    return f"a step of the optimizer evaluates the loss up to {most} times: it is no single update at the rate"


RULES: dict[str, tuple[Rule, Callable[[Record], str | None]]] = {
    "vanishing gradients": (vanishing_gradients, _several_layers),
    "no warm-up": (no_warm_up, _several_layers),
    "exploding gradients": (exploding_gradients, _several_layers),
    "initialisation": (initialisation, _starts_at_the_start),
    "learning rate too high": (learning_rate_too_high, _one_update_a_step),
}
