"""``lucida diagnose RUN``: what the probes of a run say, in words and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from lucida.core.errors import LucidaError
from lucida.training.findings import PROBES, Diagnosis, diagnose, read_rows
from lucida.training.noise import NoiseScale
from lucida.workflows.stages import TRAINED


def diagnose_run(path: Path) -> dict[str, Diagnosis]:
    """The diagnosis of each part of a run that was watched, by its name (``"."`` for the folder's own).

    Args:
        path: a run folder of ``lucida run`` (all its stages), a folder with ``probes.jsonl``, or such a file.

    Raises:
        LucidaError: there is nothing at ``path``, it holds no probes, or they cannot be read.
    """
    if not path.exists():
        raise LucidaError("no such run", where=path)
    files = [path] if path.is_file() else probe_files(path)
    if not files:
        raise LucidaError(
            "the run was not watched: there is no probes.jsonl",
            where=path,
            remedy="train with lucida.training.probes.watch(model, optimizer, folder=...), or with `lucida run`",
        )
    return {part_name(file, path): diagnose(read_rows(file)) for file in files}


def probe_files(folder: Path) -> list[Path]:
    """The folder's own ``probes.jsonl`` and those of its stages, in the order in which stages train."""

    def order(file: Path) -> tuple[int, str]:
        name = file.parent.name
        return (TRAINED.index(name) if name in TRAINED else len(TRAINED), name)

    return [file for file in [folder / PROBES, *sorted(folder.glob(f"stages/*/{PROBES}"), key=order)] if file.is_file()]


def part_name(file: Path, root: Path) -> str:
    """The stage whose probes a file holds; ``"."`` for those of the run itself."""
    return "." if file.parent == root or file == root else file.parent.name


def as_json(found: dict[str, Diagnosis]) -> dict[str, Any]:
    """One object: ``healthy`` (``None``: too short to say), and each part with its findings and what was looked at."""
    said = [one.healthy for one in found.values()]
    return {
        "healthy": False if False in said else None if None in said else True,
        "parts": {name: {"healthy": one.healthy, **asdict(one)} for name, one in found.items()},
    }


def as_text(found: dict[str, Diagnosis]) -> str:
    """What a person reads: a line a part, then its findings."""
    return "\n\n".join(_part(name, one) for name, one in found.items())


def _part(name: str, one: Diagnosis) -> str:
    title = "" if name == "." else f"{name}: "
    if one.findings:
        verdict = _count(len(one.findings), "finding")
    else:
        verdict = "healthy" if one.healthy else "stopped" if one.stopped else "nothing found, but too short to judge"
    lines = [
        f"{title}{verdict}; looked at {_count(one.steps, 'probed step')} ({one.first} to {one.last}), "
        f"{_count(one.layers, 'layer')}, {_count(one.parameters, 'parameter')}, by {_count(one.rules, 'rule')}"
    ]
    if one.stopped:
        lines.append(f"  the run ended with an error: {one.stopped}")
    for finding in one.findings:
        where = f" in {finding.layer}" if finding.layer else ""
        lines.append(f"  {finding.name}{where}, since step {finding.since_step}")
        lines.append(f"    evidence: {finding.evidence}")
        lines.append(f"    remedy:   {finding.remedy}")
        if finding.lab_page:
            lines.append(f"    why:      lab page {finding.lab_page}")
    lines += [f"  not watched: {part}, {why}" for part, why in one.not_watched.items()]
    lines += [] if one.noise_scale is None else [f"  noise scale: {noise_in_words(one.noise_scale)}"]
    reasons: dict[str, list[str]] = {}
    for rule, why in one.not_judged.items():
        reasons.setdefault(why, []).append(rule)
    lines += [f"  not judged: {', '.join(rules)}: {why}" for why, rules in reasons.items()]
    return "\n".join(lines)


def noise_in_words(noise: NoiseScale) -> str:
    """The gradient noise scale beside the batch.

    >>> noise_in_words(NoiseScale(310.4, 240.0, 431.0, 64.0, 8, 80, 150))
    '310 examples (95 % interval 240 to 431), the batch has 64; from 8 pairs of steps, 80 to 150'
    >>> noise_in_words(NoiseScale(None, 240.0, None, 64.0, 8, 80, 150))
    'above 240 examples (no upper bound can be told), the batch has 64; from 8 pairs of steps, 80 to 150'
    """
    if noise.examples is not None and noise.low is not None and noise.high is not None:
        size = f"{noise.examples:,.3g} examples (95 % interval {noise.low:,.3g} to {noise.high:,.3g})"
    elif noise.low is not None:
        size = f"above {noise.low:,.3g} examples (no upper bound can be told)"
    else:
        size = "not known: the gradients of two steps in a row do not agree"
    steps = f"{noise.first:,} to {noise.last:,}"
    return f"{size}, the batch has {noise.batch:,.4g}; from {noise.pairs} pairs of steps, {steps}"


def _count(number: int, what: str) -> str:
    """
    >>> _count(1, "rule"), _count(2, "rule")
    ('1 rule', '2 rules')
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"
