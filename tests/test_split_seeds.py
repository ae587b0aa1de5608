"""The tool that measures the dual encoder over split seeds."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from lucida.core.results import Metric, read_json


@pytest.fixture(scope="module")
def tool():
    path = Path(__file__).resolve().parents[1] / "tools" / "split_seeds.py"
    spec = importlib.util.spec_from_file_location("split_seeds", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measure_nothing(corpus, stage, frozen, artwork_size, folder, results):
    """Instead of training: figures that differ from seed to seed."""
    shift = 0.01 * (int(corpus.fingerprint(), 16) % 10)
    results.add("transfer/second_artist/top1", Metric(0.4 + shift, (0.3, 0.5), 100))
    results.add("transfer/second_artist/frozen_start_top1", Metric(0.1, (0.05, 0.15), 100))


def test_seeds_are_measured_once_and_summarised(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tool, "run_encoder", measure_nothing)
    arguments = ["1000", "1001", "1002", "--recipe", "tiny", "--out", str(tmp_path)]
    tool.main(arguments)
    summary = read_json(tmp_path / "summary.json")
    row = summary["metrics"]["transfer/second_artist/top1"]
    assert row["n_seeds"] == 3
    assert row["difference"] == pytest.approx(row["default"] - row["frozen_start"])
    assert row["difference_ci95"][0] < row["difference"] < row["difference_ci95"][1]
    assert "frozen start" in capsys.readouterr().out
    assert read_json(tmp_path / "seed-1000.json")["split_seed"] == 1000
    monkeypatch.setattr(tool, "run_encoder", None)  # nothing is measured again
    tool.main(arguments)
    assert read_json(tmp_path / "summary.json") == summary


def test_other_settings_are_measured_again(tool, tmp_path, monkeypatch):
    path = tmp_path / "seed-1000.json"
    path.write_text('{"made_by": "other settings"}')
    monkeypatch.setattr(tool, "run_encoder", measure_nothing)
    assert tool.measured(1000, "tiny", path)["metrics"]
