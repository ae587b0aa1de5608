"""`lucida data construct` and `lucida data inspect`, from an archive to the page, through the command line."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from lucida.cli import main
from lucida.core.errors import LucidaError
from lucida.core.results import Results
from lucida.data.construction.rows import read_rows
from lucida.workflows.construct_data import ConstructConfig, construct_data

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def pair_sources() -> ModuleType:
    path = ROOT / "data" / "construction" / "pair_sources.py"
    specification = importlib.util.spec_from_file_location("lucida_pair_sources", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def source(pair_sources, tmp_path_factory):
    """Two splits; a picture of train is in test too, and a caption with markup."""
    folder = tmp_path_factory.mktemp("source")
    captions = [f"a {'dog' if i % 3 else 'cat'} <b>sits</b> at place {'pqrstuvwxyz'[i] * 3}" for i in range(10)]
    pair_sources.write_samples(folder / "train" / "0.tar", captions)
    pair_sources.write_samples(folder / "test" / "0.tar", ["a dog on the first picture", "IMG_1.jpg"])
    return folder


@pytest.fixture(scope="module")
def run(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "data"
    options = ["--balance.cap", "99", "--balance.min-count", "2", "--format", "webdataset"]
    main(["data", "construct", "--pictures", str(source), "--out", str(out), "--stages", "clean,balance", *options])
    return out


def test_the_page_shows_what_happened(run, capsys):
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "boilerplate" in page
    assert "Across splits: pictures alike" in page
    assert "&lt;b&gt;sits&lt;/b&gt;" in page
    assert "<b>sits" not in page
    assert page.count("data:image/") >= 10
    for name in ("Effective number of concepts", "Likely leaks between splits", "IMG_1.jpg", "test/0.tar:0000"):
        assert name in page
    results = Results.load(run / "results.json")
    assert results.metrics["pairs/read"].value == 12
    assert results.metrics["audit/across_splits"].value == 1
    (run / "report.html").unlink()
    capsys.readouterr()
    main(["data", "inspect", str(run)])
    said = capsys.readouterr().out
    assert re.search(r"clean +11 of 12; dropped: 1 boilerplate", said)
    assert (run / "report.html").read_text(encoding="utf-8") == page


def test_a_second_call_does_no_stage_again(run, source, capsys):
    before = {path: path.stat().st_mtime_ns for path in run.glob("stages/*/shards/*")}
    options = ["--balance.cap", "99", "--balance.min-count", "2", "--format", "webdataset"]
    main(["data", "construct", "--pictures", str(source), "--out", str(run), "--stages", "clean,balance", *options])
    assert capsys.readouterr().err.count("(done before)") == 4
    assert {path: path.stat().st_mtime_ns for path in run.glob("stages/*/shards/*")} == before


def test_stages_of_another_plan_do_not_stay(source, tmp_path):
    for stages in ("clean,deduplicate,balance", "clean"):
        construct_data(ConstructConfig(source, tmp_path / "out", stages=stages, examples=1))
    assert sorted(path.name for path in (tmp_path / "out" / "stages").iterdir()) == ["0-read", "1-clean"]


def test_without_cleaning_the_page_says_what_was_not_compared(source, tmp_path):
    """None found must not read as none there."""
    construct_data(ConstructConfig(source, tmp_path / "out", stages="deduplicate", examples=1))
    results = Results.load(tmp_path / "out" / "results.json")
    assert "audit/pictures_alike" not in results.metrics
    assert "not compared" in results.left_out["Copies of pictures"]
    assert "not compared" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_no_stage_at_all_converts(source, tmp_path):
    main(
        ["data", "construct", "--pictures", str(source), "--out", str(tmp_path), "--stages", "", "--format", "parquet"]
    )
    assert [path.name for path in sorted((tmp_path / "stages").iterdir())] == ["0-read", "1-write"]


def test_captions_alone_are_enough(tmp_path):
    rows = [{"url": f"http://x/{i}.jpg", "caption": f"the dog of owner {'abcdefgh'[i]}"} for i in range(8)]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, [*rows, rows[0]])), encoding="utf-8")
    construct_data(ConstructConfig(tmp_path / "c.jsonl", tmp_path / "out", captions_only=True))
    kept = [
        row for path in (tmp_path / "out/stages/3-balance/shards").iterdir() for rows in read_rows(path) for row in rows
    ]
    assert [row["file"] for row in kept] == [row["url"] for row in rows]
    assert "data:image/" not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["construct"], "no pictures are named"),
        (["construct", "--pictures", "{source}", "--stages", "balance,clean"], "stages cannot be balance,clean"),
        (["construct", "--pictures", "{source}", "--clean.min-words", "99"], "no pair is left after the stage clean"),
        (["construct", "--pictures", "{source}", "--workers", "0"], "workers cannot be 0"),
        (["construct", "--pictures", "{source}", "--balance.cap", "0"], "cap cannot be 0"),
        (["construct", "--pictures", "{source}", "--memory", "much"], "memory"),
        (["construct", "--pictures", "{source}", "--concepts", "gone.txt"], "cannot read the concepts"),
        (["construct", "--pictures", "gone"], "no such file or folder"),
        (["construct", "--picture", "gone"], "did you mean --pictures?"),
        (["inspect", "gone"], "not a folder of pairs"),
        (["inspect"], "inspect needs one folder"),
        (["mine"], "unknown command 'mine'"),
    ],
)
def test_bad_input_is_one_line(source, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["data", *(word.format(source=source) for word in arguments)])
    assert stop.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("lucida: ")
    assert message in last


def test_the_folder_of_another_command_is_left_alone(source, tmp_path):
    (tmp_path / "config.json").write_text('{"covariance_type": "full"}', encoding="utf-8")
    with pytest.raises(LucidaError, match="another kind of run"):
        construct_data(ConstructConfig(source, tmp_path))


def test_a_construction_that_did_not_end_is_said_to_be(run, tmp_path, capsys):
    shutil.copytree(run / "stages", tmp_path / "half" / "stages")
    with pytest.raises(SystemExit):
        main(["data", "inspect", str(tmp_path / "half")])
    assert "did not end" in capsys.readouterr().err
