"""A corpus to clusters: what is planted is found, files say what the page says, bad input gives one line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lucida.arguments import override
from lucida.core.errors import LucidaError
from lucida.core.results import Results
from lucida.core.run_folder import RunFolder
from lucida.report.cluster_page import ClusterFindings, write_cluster_report
from lucida.workflows.cluster import ClusterConfig, cluster
from lucida.workflows.cluster_findings import COLUMNS
from lucida.workflows.cluster_mixture import assign, chosen, fit_mixture, sweep

KINDS = {"red square": "red", "blue disc": "blue", "green bar": "green"}


def drawn(kind: str, generator: np.random.Generator) -> Image.Image:
    """A shape of some size somewhere on a light ground with grey spots, which are in no two pictures the same."""
    ground = tuple(int(v) for v in generator.integers(225, 256, size=3))
    image = Image.new("RGB", (64, 64), ground)
    draw = ImageDraw.Draw(image)
    for x, y, shade in generator.integers((0, 0, 60), (60, 60, 160), size=(12, 3)).tolist():
        draw.ellipse((x, y, x + 9, y + 9), fill=(shade,) * 3)
    x, y, side = (int(v) for v in generator.integers((2, 2, 26), (24, 24, 38)))
    box = (x, y, x + side, y + side)
    if kind == "green bar":
        draw.rectangle((x, y, x + 8, y + side), fill="green")
    else:
        (draw.ellipse if "disc" in kind else draw.rectangle)(box, fill=KINDS[kind])
    return image


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three kinds, one unlike the rest, and two pictures saved again as JPEG."""
    folder, generator = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    rows = []
    for i in range(72):
        kind = list(KINDS)[i % 3]
        image = drawn(kind, generator)
        image.save(folder / f"{i}.png")
        rows.append((f"{i}.png", f"a {kind} on a light ground"))
        if i in (6, 9):
            image.save(folder / f"{i}_again.jpg", quality=92)
            rows.append((f"{i}_again.jpg", f"a {kind} on a light ground"))
    noise = generator.integers(0, 256, size=(64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    (folder / "text.png").write_text("no picture")
    rows += [("noise.png", "nothing but noise"), ("text.png", "a text")]
    with (folder / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file_name", "text"), *rows])
    return folder


@pytest.fixture(scope="module")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    out = tmp_path_factory.mktemp("runs") / "cluster"
    given = ["--pictures", str(pictures), "--out", str(out), "--components", "4", "--duplicate-cosine", "0.7"]
    assert cluster(override(ClusterConfig(), given, command="lucida cluster")) == out / "report.html"
    return RunFolder(out)


def test_every_picture_has_a_row(run: RunFolder) -> None:
    with (run.path / "assignments.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 75
    again = {row["picture"]: row["duplicate_group"] for row in rows if row["duplicate_group"]}
    assert again == {"6.png": "1", "6_again.jpg": "1", "9.png": "2", "9_again.jpg": "2"}
    assert [row["outlier"] for row in rows].count("1") == 1
    for row in rows:
        assert 0.25 <= float(row["probability"]) <= 1
        assert row["second_cluster"] != row["cluster"]
    names = {row["name"] for row in rows}
    assert len(names) == 4


def test_results_and_page_say_the_same(run: RunFolder) -> None:
    results = run.load_results()
    findings = ClusterFindings.of(results, run.results)
    assert sum(card.size for card in findings.clusters) == results.metrics["clusters/pictures"].value == 75
    assert [card.size for card in findings.clusters] == sorted((c.size for c in findings.clusters), reverse=True)
    assert sum(findings.sure) == 75
    assert results.metrics["near_duplicates/groups"].value == len(findings.duplicates) == 2
    assert {"disc", "square", "bar"} <= {word.text for card in findings.clusters for word in card.words}
    assert "agreement" in results.left_out
    page = run.report.read_text(encoding="utf-8")
    for said in (
        *(card.name for card in findings.clusters),
        "6_again.jpg",
        "nothing but noise",
        "1 picture could not be read",
    ):
        assert said in page, said
    assert "<script" not in page
    assert page.count("data:image/") >= 20
    assert json.loads(run.skipped.read_text())["id"] == "text.png"
    assert {"config.json", "environment.json", "material.json"} <= {path.name for path in run.path.iterdir()}
    assert write_cluster_report(run).read_text(encoding="utf-8") == page  # drawn from the folder alone


def test_the_same_again(run: RunFolder, pictures: Path, tmp_path: Path) -> None:
    cluster(ClusterConfig(pictures=pictures, out=tmp_path, components=4, duplicate_cosine=0.7))
    assert (tmp_path / "assignments.csv").read_text() == (run.path / "assignments.csv").read_text()


def test_bare_pictures_are_clustered_without_names(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    (tmp_path / "bare").mkdir()
    for i in range(12):
        drawn(list(KINDS)[i % 3], generator).save(tmp_path / "bare" / f"{i}.png")
    cluster(ClusterConfig(pictures=tmp_path / "bare", out=tmp_path / "run", image_size=64, components=3))
    findings = ClusterFindings.of(Results.load(tmp_path / "run" / "results.json"), tmp_path)
    assert [card.name for card in findings.clusters] == ["cluster 1", "cluster 2", "cluster 3"]


def test_bad_input_gives_one_line(pictures: Path, tmp_path: Path) -> None:
    def said(**settings) -> str:
        with pytest.raises(LucidaError) as caught:
            cluster(ClusterConfig(**({"out": tmp_path / "run", "image_size": 64} | settings)))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "75 pictures cannot make 76 clusters" in said(pictures=pictures, components=76)
    assert "no such file or folder" in said(pictures=tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    assert "no picture" in said(pictures=tmp_path / "empty")
    (tmp_path / "one").mkdir()
    drawn("blue disc", np.random.default_rng(0)).save(tmp_path / "one" / "a.png")
    assert "a single picture makes no clusters" in said(pictures=tmp_path / "one")
    assert not (tmp_path / "run").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"recipe": 1}')
    assert "another kind of run" in said(pictures=pictures, out=tmp_path / "other")
    for bad in ({"components": 0}, {"outlier_share": 1.5}, {"duplicate_cosine": 0.0}, {"dimensions": 0}):
        assert "must be" in said(pictures=pictures, **bad)


def planted(n: int = 900, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = generator.integers(k, size=n)
    return (6 * generator.normal(size=(k, 4))[labels] + generator.normal(size=(n, 4))).astype(np.float32), labels


def test_the_sweep_finds_the_planted_number() -> None:
    x, labels = planted()
    best = chosen(sweep(x, ("full", "diag"), at_most=32, seed=0))
    assert best.components == 5
    assigned = assign(fit_mixture(x, 5, best.covariance, seed=0, starts=2), x)
    assert assigned.count == 5
    assert (np.diff(assigned.sizes) <= 0).all()
    pairs = {tuple(pair) for pair in np.column_stack([labels, assigned.cluster]).tolist()}
    assert len(pairs) <= 7  # a few points between two groups
    assert (assigned.second != assigned.cluster).all()
    assert (assigned.probability >= assigned.second_probability).all()
