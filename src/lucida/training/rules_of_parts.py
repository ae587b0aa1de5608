"""Rules about single parts: units, norms, frozen parts, labels, temperature, pictures, values that are not finite."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator

from lucida.training.findings import Record, Row
from lucida.training.rules import (
    Found,
    Rule,
    _enough,
    _one_update_a_step,
    broken,
    error_of_nan,
    learning_rate_too_high,
    runs_of,
    silent_shares,
)
from lucida.training.thresholds import LIMITS


def dead_units(record: Record) -> Iterator[Found]:
    """Units that are silent for every example, though a gradient comes down to them from the layer above."""
    shares: dict[str, list[tuple[int, float]]] = {}
    for row in record.probes:
        for name, share in silent_shares(record, row).items():
            shares.setdefault(name, []).append((row["step"], share))
    hit = {}
    for name, series in shares.items():
        since = runs_of([s for s, _ in series], [x > LIMITS.dead for _, x in series], LIMITS.sustained)
        if since is not None and len(series) >= LIMITS.sustained and series[-1][1] > LIMITS.dead:
            hit[name] = (since, series[-1][1])
    if hit:
        layer = max(hit, key=lambda name: hit[name][1])
        since, share = hit[layer]
        more = f"; {len(hit) - 1} more layers like it" if len(hit) > 1 else ""
        yield (
            "dead-units",
            layer,
            since,
            f"{share:.0%} of the units of {layer} are silent for every example, since step {since}{more}",
        )


def small_batch_norm(record: Record) -> Iterator[Found]:
    """Batch norm in training mode on a handful of examples."""
    rows = [(row["step"], n, x) for row in record.probes for n, x in row["layers"].items() if x.get("examples")]
    small = [(step, n, x) for step, n, x in rows if x["examples"] <= LIMITS.batch_norm]
    if small and len(small) >= 0.9 * len(rows):
        step, layer, _ = small[0]
        noises = sorted(x["noise"] for *_, x in small if x.get("noise") is not None)
        noise = f"; their mean is off by {math.sqrt(noises[len(noises) // 2]):.2f} deviations" if noises else ""
        yield (
            "batch-norm-small-batch",
            layer,
            step,
            f"{len({n for _, n, _ in small})} batch norms take their statistics from "
            f"{small[0][2]['examples']:.0f} examples{noise}",
        )


def part_not_trained(record: Record) -> Iterator[Found]:
    """Parameters that ask for gradients and took part, but get none, or that no optimizer holds."""
    ran = {name for row in record.probes for name in [*row["layers"], *row["idle"]]}
    reasons: dict[str, list[str]] = {}
    expected = set(record.header.get("expected", ()))
    for name, parameter in record.header.get("parameters", {}).items():
        rows = [row["parameters"][name] for row in record.probes if name in row["parameters"]]
        group = parameter.get("group")
        took_part = any(_within(name, layer) for layer in ran)
        graded = any(row[0] is not None for row in rows)
        if not parameter["requires_grad"]:
            continue
        if not parameter["in_optimizer"]:
            if graded or took_part:
                reasons.setdefault("are not in the optimizer", []).append(name)
        elif not graded and took_part:
            reasons.setdefault("took part in the forward pass but got no gradient", []).append(name)
        elif graded and group is not None and not any(any(row["rates"][group : group + 1]) for row in record.probes):
            reasons.setdefault("have a learning rate of 0", []).append(name)
    known = record.header.get("parameters", {})
    still = [n for n in expected if not known.get(n, {}).get("requires_grad", False)]
    if still:
        reasons.setdefault("are frozen though they are expected to train", []).extend(sorted(still))
    for reason, names in reasons.items():
        yield (
            "part-not-trained",
            _common(names),
            record.probes[0]["step"],
            f"{len(names)} parameters {reason}: {', '.join(names[:3])}{', …' if len(names) > 3 else ''}",
        )


def _within(parameter: str, layer: str) -> bool:
    """Whether a parameter is the layer's own, or of a layer inside it (attention calls its parts as functions)."""
    return parameter.startswith(f"{layer}.") if layer else True


def _common(names: list[str]) -> str:
    """The module that holds all of these parameters, as far as one does.

    >>> _common(["tower.0.weight", "tower.2.bias"]), _common(["a.weight"]), _common(["a.weight", "b.weight"])
    ('tower', 'a', 'a and others')
    """
    parts = [name.split(".")[:-1] for name in names]
    common = [a[0] for a in zip(*parts, strict=False) if len(set(a)) == 1]
    prefix = []
    for k, part in enumerate(common):
        if all(len(p) > k and p[k] == part for p in parts):
            prefix.append(part)
    return ".".join(prefix) or f"{names[0].rpartition('.')[0] or names[0]} and others"


def nothing_supervised(record: Record) -> Iterator[Found]:
    """No label counts, or the gradient is exactly zero everywhere."""
    steps = [row["step"] for row in record.probes]
    shares = [row.get("supervised") for row in record.probes]
    since = runs_of(steps, [share == 0 for share in shares], LIMITS.sustained)
    if since is not None:
        yield "nothing-supervised", None, since, f"0 of the labels are supervised in {shares.count(0)} probed steps"
        return
    zero = [
        row["grad_norm"] == 0 and any(x[0] is not None for x in row["parameters"].values()) for row in record.probes
    ]
    since = runs_of(steps, zero, LIMITS.sustained)
    if since is not None and zero[-1]:
        bias = any(layer.get("grad") for row in record.probes for layer in row["layers"].values())
        if not bias:
            yield (
                "nothing-supervised",
                None,
                since,
                f"the gradient of every parameter is exactly 0 in {sum(zero)} of {len(zero)} probed steps",
            )


_TEMPERATURE = re.compile(r"(^|[._])(logit_scale|log_logit_scale|temperature|temp|tau|log_temperature|scale)$")


def temperature_runaway(record: Record) -> Iterator[Found]:
    """A learned multiplier of the logits that left the range in which a contrastive loss learns."""
    low, high = LIMITS.temperature
    for name in record.probes[0]["scalars"]:
        if not _TEMPERATURE.search(name):
            continue
        series = [(row["step"], row["scalars"].get(name)) for row in record.probes]
        start = series[0][1]
        read = multiplier(name, start)
        if read is None:
            continue
        values = [(step, read(x) if x is not None else math.inf) for step, x in series]
        out = [high < v or v < low for _, v in values]
        since = runs_of([s for s, _ in values], out, LIMITS.sustained)
        if since is not None and low <= values[0][1] <= high:
            yield (
                "temperature-runaway",
                name,
                since,
                f"the multiplier of the logits went from {values[0][1]:.3g} to {dict(values)[since]:.3g} "
                f"(healthy: between {low:g} and {high:g}; CLIP clamps at 100)",
            )


def multiplier(name: str, start: float | None) -> Callable[[float], float] | None:
    """How a scalar parameter multiplies the logits, told from its name and its first value; ``None``: it does not.

    >>> round(multiplier("logit_scale", 2.659)(2.659), 1), round(multiplier("temperature", 0.07)(0.07), 1)
    (14.3, 14.3)
    >>> multiplier("scale", 14.3)(14.3), multiplier("block.scale", 1.0)
    (14.3, None)
    """
    if start is None:
        return None
    last = name.rpartition(".")[2]
    if "logit" in last or (last == "scale" and start > 5):
        return (lambda x: math.exp(min(x, 700.0))) if start <= 5 or "log_" in last else (lambda x: x)
    if "log" in last:
        return lambda x: math.exp(min(-x, 700.0))
    if last in ("temperature", "temp", "tau") and start > 0:
        return lambda x: 1 / x if x > 0 else math.inf
    return None


def ignores_pictures(record: Record) -> Iterator[Found]:
    """The loss fell, and other pictures cost nothing."""
    seen = [(row["step"], row["pictures"]) for row in record.probes if row.get("pictures")]
    seen = [(s, x) for s, x in seen if x["own"] is not None and x["other"] is not None]
    start = seen[0][1]["own"]
    flags = []
    for _, x in seen[1:]:
        learned = start - x["own"]
        flags.append(learned > 0.05 * start and x["other"] - x["own"] < LIMITS.blind * learned)
    since = runs_of([s for s, _ in seen[1:]], flags, 2)
    if since is not None and len(flags) >= 2 and flags[-1]:
        step, last = seen[-1]
        yield (
            "ignores-pictures",
            None,
            since,
            f"at step {step} the loss is {last['own']:.4g} with the own and {last['other']:.4g} with another picture, "
            f"though it has fallen from {start:.4g}",
        )


def _has_pictures(record: Record) -> str | None:
    if not record.header.get("pictures"):
        return "no pictures were named: watch(..., pictures=...)"
    looks = sum(1 for row in record.probes if row.get("pictures"))
    return None if looks >= 3 else f"it needs 3 looks at the pictures, there are {looks} (one in 10 probes)"


def non_finite(record: Record) -> Iterator[Found]:
    """NaN or infinity that stays, or that ended the run; a step that a loss scaler skipped is none."""
    probes, row = record.probes, broken(record)
    if row is None:
        return
    first = row if row.get("kind") == "probe" else probes[-1]
    pulse = (row if row.get("kind") == "pulse" else first).get("pulse") or {}
    since = pulse["at"] if pulse.get("bad") else first["step"]
    since = min([since, *(row["pulse"]["at"] for row in record.pulses if row["pulse"].get("bad"))])
    bad = first.get("bad") or {}
    before = [row for row in probes if row["step"] < since and row["grad_norm"] is not None]
    parts = [f"{bad['gradients']} of {bad['of']} gradients are not finite at step {since}"] if bad else []
    if row.get("kind") == "pulse":
        parts.append(f"a gradient is not finite in {pulse['bad']} steps after the last probe, since step {since}")
    if examples := bad.get("examples"):
        parts.append(
            f"{len(examples['bad'])} of {examples['of']} examples in the {examples['where']}"
            f" (first: number {examples['bad'][0]})"
        )
    if _rate_is_too_high(record):
        parts.append("the learning rate is the likely cause: weights or gradients had grown many times before")
    elif bad and not bad["weights"] and before:
        parts.append("all weights were finite before: this batch or its loss is the cause")
    if before:
        norms = [row.get("unclipped") or row["grad_norm"] for row in before]
        parts.append(f"gradient norm before: {norms[-1]:.3g} (first {norms[0]:.3g})")
    if error := error_of_nan(record):
        parts.append(error["message"])
    yield "non-finite", _first_bad_layer(record, first), since, "; ".join(parts) or "values are not finite"


def _rate_is_too_high(record: Record) -> bool:
    return _one_update_a_step(record) is None and next(learning_rate_too_high(record), None) is not None


def _first_bad_layer(record: Record, row: Row) -> str | None:
    return next((name for name, layer in row["layers"].items() if layer.get("bad")), None)


def attention_collapse(record: Record) -> Iterator[Found]:
    """Queries that look at one key each from early on, with next to no gradient left for queries and keys."""
    series: dict[str, list[tuple[int, float]]] = {}
    for row in record.probes:
        for name, entropy in row["attention"].items():
            if entropy is not None:
                series.setdefault(name, []).append((row["step"], entropy))
    for name, values in series.items():
        since = runs_of([s for s, _ in values], [x < 0.005 for _, x in values], LIMITS.sustained)
        if since is not None and len(values) >= LIMITS.sustained and values[0][1] > 0.3 and values[-1][1] < 0.005:
            yield (
                "attention-collapse",
                name,
                since,
                f"the relative entropy of its attention fell from {values[0][1]:.2f} to {values[-1][1]:.4f}: "
                "each query looks at one place only",
            )
            return


def _anything(record: Record) -> str | None:
    return None


def _any_scalar(record: Record) -> str | None:
    names = [n for row in record.probes for n in row["scalars"] if _TEMPERATURE.search(n)]
    return None if names else "no learned temperature was seen (a trainable parameter of one element)"


def _any_batch_norm(record: Record) -> str | None:
    return None if "batch norm" in record.kinds.values() else "there is no batch norm"


def _any_attention(record: Record) -> str | None:
    seen = any(row["attention"] for row in record.probes)
    return None if seen else "no attention was seen that can be measured"


RULES: dict[str, tuple[Rule, Callable[[Record], str | None]]] = {
    "values that are not finite": (non_finite, _anything),
    "nothing supervised": (nothing_supervised, _enough),
    "part not trained": (part_not_trained, _anything),
    "dead units": (dead_units, _enough),
    "batch norm on small batches": (small_batch_norm, _any_batch_norm),
    "temperature": (temperature_runaway, _any_scalar),
    "pictures ignored": (ignores_pictures, _has_pictures),
    "attention collapse": (attention_collapse, _any_attention),
}
