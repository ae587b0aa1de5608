"""A run: a folder that can rebuild itself (config, environment, metrics, checkpoints, results, report)."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from lucida.core.config import to_dict
from lucida.core.errors import LucidaError
from lucida.core.results import Results, json_values, read_json, write_json

_VERSIONS = ("camera-lucida", "torch", "transformers", "accelerate", "peft", "numpy", "scipy", "pillow")


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run; create one with :meth:`create`, find one again with :meth:`open`."""

    path: Path

    @classmethod
    def create(cls, path: Path, config: Any, *, seed: int) -> RunFolder:
        """Make the folder and write ``config.json`` and ``environment.json``.

        Raises:
            LucidaError: a file is in the way, or the folder cannot be written.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LucidaError(f"cannot make the run folder: {error.strerror}", where=path) from None
        folder = cls(path)
        write_json(folder.config, to_dict(config))
        write_json(folder.environment, environment(seed))
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run.

        Raises:
            LucidaError: the folder is not a run.
        """
        if not (path / "config.json").is_file():
            raise LucidaError(
                "not a run folder: it has no config.json",
                where=path,
                remedy="name a folder that `lucida run` made, for example runs/default",
            )
        return cls(path)

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def environment(self) -> Path:
        return self.path / "environment.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def results(self) -> Path:
        return self.path / "results.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def skipped(self) -> Path:
        return self.path / "skipped.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    def load_results(self) -> Results:
        """The run's ``results.json``."""
        return Results.load(self.results)

    def load_config(self) -> dict[str, Any]:
        """The run's ``config.json`` as plain values."""
        return read_json(self.config)


def environment(seed: int) -> dict[str, Any]:
    """Versions, commit, seed and processor: what a reader needs to repeat the run."""
    versions: dict[str, str | None] = {}
    for name in _VERSIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": _processor(),
        "versions": versions,
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "seed": seed,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv[1:],
    }


def append_jsonl(path: Path, row: dict[str, Any]) -> None:
    """Append one row; rows are whole lines, so a reader may follow along. NaN and infinity become ``null``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(json_values(row), ensure_ascii=False) + "\n")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def _git(*arguments: str) -> str | None:
    """git's answer about lucida's own checkout; none for an installed wheel or where git is missing."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists() or shutil.which("git") is None:
        return None
    answer = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None
