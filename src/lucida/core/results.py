"""``results.json``: the one place a number lives before a report, a README or a book page may show it."""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lucida.core.config import from_dict
from lucida.core.errors import LucidaError

Detail = TypeVar("Detail")


@dataclass(frozen=True)
class Metric:
    """A measured value with its 95 % interval and the number of independent units it rests on.

    ``censored`` of the units are known only to be at least what they count as, so that the mean is a lower bound.
    """

    value: float
    ci95: tuple[float, float] | None = None
    n: int | None = None
    censored: int = 0


def write_text(path: Path, text: str) -> None:
    """Write ``text`` beside ``path`` and rename, so that a kill never leaves half a file."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` beside ``path`` and rename, so that a kill never leaves half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically; NaN and infinity become ``null``, since JSON has no word for them."""
    write_text(path, _json(json_values(content)) + "\n")


def _json(content: Any, depth: int = 0) -> str:
    """JSON indented by one blank, in which a list of numbers and words is one line: arrays are long enough."""
    inner = " " * (depth + 1)
    if isinstance(content, dict) and content:
        keys = (json.dumps(key, ensure_ascii=False) for key in content)
        parts = [f"{key}: {_json(value, depth + 1)}" for key, value in zip(keys, content.values(), strict=True)]
        return "{\n" + ",\n".join(inner + part for part in parts) + "\n" + inner[1:] + "}"
    if isinstance(content, list) and any(isinstance(part, dict | list) for part in content):
        return "[\n" + ",\n".join(inner + _json(part, depth + 1) for part in content) + "\n" + inner[1:] + "]"
    return json.dumps(content, ensure_ascii=False)


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        LucidaError: the file is missing or broken.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LucidaError("file not found", where=path) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise LucidaError(f"not valid JSON: {error}", where=path) from None


def json_values(content: Any) -> Any:
    """``content`` in values JSON has a word for: NumPy numbers and arrays become plain, NaN and infinity ``None``.

    >>> json_values({"loss": np.float32(0.5), "bad": float("nan"), 3: (1, 2)})
    {'loss': 0.5, 'bad': None, '3': [1, 2]}
    """
    if isinstance(content, np.generic | np.ndarray):
        content = content.tolist()
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, dict):
        return {str(key): json_values(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [json_values(value) for value in content]
    return content


@dataclass
class Results:
    """What a run measured: metrics with intervals, seconds by stage, peak memory, and free-form details.

    ``details`` holds what figures are drawn from (curves, examples); it never repeats a metric.
    """

    metrics: dict[str, Metric] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    peak_mb: float | None = None
    details: dict[str, Any] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, metric: Metric) -> None:
        """Record a metric once.

        Raises:
            ValueError: the name is taken; two measurements under one name would hide one of them.
        """
        if name in self.metrics:
            raise ValueError(f"metric {name!r} is already recorded")
        self.metrics[name] = metric

    def leave_out(self, name: str, reason: str) -> None:
        """Record that something was not measured, and why: the report prints the reason."""
        self.left_out[name] = reason

    def detail(self, kind: type[Detail], key: str, where: Path, *, missing: str, remedy: str | None = None) -> Detail:
        """What ``details[key]`` holds, as the dataclass it was made from.

        Args:
            kind: the dataclass.
            key: of the details.
            where: the file these results are from.
            missing, remedy: what to say where there is none: the results are of another kind.

        Raises:
            LucidaError: there is none, or it does not fit.
        """
        content = self.details.get(key)
        if content is None:
            raise LucidaError(missing, where=where, remedy=remedy)
        return from_dict(kind, content, where=f"{where}: {key}")

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the wall time of the block to ``seconds[stage]``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    def save(self, path: Path) -> None:
        """Write ``results.json``."""
        self.peak_mb = peak_memory_mb()
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read a ``results.json`` back; a value that was not a number is NaN again.

        Raises:
            LucidaError: the file is missing, broken or not a results file.
        """
        content = read_json(path)
        try:
            metrics = {name: _metric(fields) for name, fields in content.pop("metrics").items()}
            return cls(metrics=metrics, **content)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise LucidaError(f"not a results file: {error!r}", where=path) from None


def _metric(fields: dict[str, Any]) -> Metric:
    value = float("nan") if fields["value"] is None else float(fields["value"])
    unit = {"n": fields.get("n"), "censored": fields.get("censored", 0)}
    if fields.get("ci95") is None:
        return Metric(value, None, **unit)
    low, high = (float("nan") if bound is None else float(bound) for bound in fields["ci95"])
    return Metric(value, (low, high), **unit)


def peak_memory_mb() -> float:
    """Largest resident size of this process so far, in MB (10^6 bytes)."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux: getrusage would count the memory of the process that started this one
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        if "VmHWM" in fields:
            return int(fields["VmHWM"].split()[0]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6
