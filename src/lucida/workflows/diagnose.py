"""``lucida diagnose RUN``: what the probes of a run say, in words and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from lucida.core.errors import LucidaError
from lucida.training.findings import Diagnosis, diagnose, read_rows
from lucida.training.probes.watch import PROBES
from lucida.workflows.records import TRAINED


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
    return {_name(file, path): diagnose(read_rows(file)) for file in files}


def probe_files(folder: Path) -> list[Path]:
    """The folder's own ``probes.jsonl`` and those of its stages, in the order in which stages train."""

    def order(file: Path) -> tuple[int, str]:
        name = file.parent.name
        return (TRAINED.index(name) if name in TRAINED else len(TRAINED), name)

    return [file for file in [folder / PROBES, *sorted(folder.glob(f"stages/*/{PROBES}"), key=order)] if file.is_file()]


def _name(file: Path, root: Path) -> str:
    return "." if file.parent == root or file == root else file.parent.name


def as_json(found: dict[str, Diagnosis]) -> dict[str, Any]:
    """One object: ``healthy``, and each part with its findings and what was looked at."""
    return {
        "healthy": not any(one.findings or one.stopped for one in found.values()),
        "parts": {name: asdict(one) for name, one in found.items()},
    }


def as_text(found: dict[str, Diagnosis]) -> str:
    """What a person reads: a line a part, then its findings."""
    return "\n\n".join(_part(name, one) for name, one in found.items())


def _part(name: str, one: Diagnosis) -> str:
    title = "" if name == "." else f"{name}: "
    looked = (
        f"{one.steps} probed steps ({one.first} to {one.last}), {one.layers} layers, {one.parameters} parameters, "
        f"{one.rules} rules"
    )
    count = len(one.findings)
    verdict = "healthy" if not count else f"{count} finding{'s' if count > 1 else ''}"
    lines = [f"{title}{verdict}; looked at {looked}"]
    if one.stopped:
        lines.append(f"  the run ended with an error: {one.stopped}")
    for finding in one.findings:
        where = f" in {finding.layer}" if finding.layer else ""
        lines.append(f"  {finding.name}{where}, since step {finding.since_step}")
        lines.append(f"    evidence: {finding.evidence}")
        lines.append(f"    remedy:   {finding.remedy}")
        if finding.lab_page:
            lines.append(f"    why:      lab page {finding.lab_page}")
    if one.not_judged:
        lines.append("  not judged: " + "; ".join(f"{rule} ({why})" for rule, why in one.not_judged.items()))
    return "\n".join(lines)
