"""The run folder: found again, refused where it is none, and its environment says what a repeat needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lucida.core.durations import Duration
from lucida.core.errors import LucidaError
from lucida.core.results import Metric, Results
from lucida.core.run_folder import RunFolder, append_jsonl, environment


def test_a_run_is_found_again(tmp_path: Path) -> None:
    made = RunFolder.create(tmp_path / "runs" / "a", {"length": Duration(2, "epochs"), "to": Path("x")}, seed=3)
    found = RunFolder.open(made.path)
    assert found == made
    assert found.load_config() == {"length": "2 epochs", "to": "x"}
    assert json.loads(found.environment.read_text())["seed"] == 3
    results = Results(metrics={"top1": Metric(0.5, (0.4, 0.6), 90)})
    results.save(found.results)
    assert found.load_results() == results


def test_the_paths_lie_in_the_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    names = ("config", "environment", "metrics", "results", "report", "skipped", "checkpoints", "tensorboard")
    assert len({getattr(folder, name) for name in names}) == len(names)
    assert all(getattr(folder, name).parent == tmp_path for name in names)


def test_another_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(LucidaError, match="not a run folder"):
            RunFolder.open(path)
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(LucidaError, match="cannot make the run folder"):
            RunFolder.create(path, {}, seed=0)


def test_the_environment_names_versions_and_commit() -> None:
    content = environment(7)
    assert content["seed"] == 7
    assert content["versions"]["torch"].startswith("2.")
    assert content["processor"]
    if content["commit"] is not None:
        assert len(content["commit"]) == 40
        assert isinstance(content["uncommitted_changes"], bool)


def test_rows_are_whole_lines_of_valid_json(tmp_path: Path) -> None:
    path = tmp_path / "new" / "metrics.jsonl"
    for row in ({"step": 1, "loss": float("nan")}, {"step": 2, "note": "zwölf\nzeilen"}):
        append_jsonl(path, row)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [{"step": 1, "loss": None}, {"step": 2, "note": "zwölf\nzeilen"}]
    assert "NaN" not in path.read_text()
