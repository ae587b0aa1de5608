"""A data set of the hub by name: fetched once, at one revision. The hub itself is played by a data set on disk."""

from __future__ import annotations

from types import SimpleNamespace

import datasets
import huggingface_hub
import pytest

from lucida.core.errors import LucidaError
from lucida.core.results import read_json
from lucida.data.construction.hub import fetch_dataset
from lucida.data.construction.sources import find_parts


def test_a_data_set_is_fetched_once_at_one_revision(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path / "cache"))
    rows = {"image": [{"bytes": b"1", "path": None}], "caption": ["a dog"]}
    datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows)}).save_to_disk(str(tmp_path / "stored"))
    asked = []

    def load(name: str, *, revision: str, cache_dir: str) -> datasets.DatasetDict:
        asked.append((name, revision))
        return datasets.load_from_disk(str(tmp_path / "stored"))

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda self, name, timeout: SimpleNamespace(sha="abc1"))
    folder = fetch_dataset("somebody/pictures")
    assert [part.path.name for part in find_parts(folder)] == ["data-00000-of-00001.arrow"]
    assert fetch_dataset("somebody/pictures") == folder
    assert asked == [("somebody/pictures", "abc1")]
    assert read_json(tmp_path / "cache" / "hub" / "somebody--pictures.json")["revision"] == "abc1"
    assert capsys.readouterr().err.count("somebody/pictures, revision abc1") == 2


def test_a_hub_that_does_not_answer_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path / "cache"))

    def fail(self, name: str, timeout: float) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", fail)
    with pytest.raises(LucidaError, match="did not give a data set of that name"):
        fetch_dataset("somebody/pictures")
    assert not (tmp_path / "cache" / "hub").exists()
