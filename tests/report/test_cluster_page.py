"""The page of clusters is drawn from a results file and thumbnails alone, and says what they say."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lucida.core.config import to_dict
from lucida.core.errors import LucidaError
from lucida.core.results import Metric, Results
from lucida.core.run_folder import RunFolder
from lucida.core.statistics import wilson
from lucida.report.cluster_page import (
    KEY,
    ClusterCard,
    ClusterFindings,
    ClusterWord,
    DuplicateGroup,
    Outlier,
    Shown,
    SweepPoint,
    write_cluster_report,
)
from lucida.report.material import CorpusFacts, Material, save_thumbnail
from tests.report.conftest import drawn


def findings(folder: RunFolder) -> ClusterFindings:
    shown = Shown(save_thumbnail(folder, "a", drawn(("red", "square"))), "shop/<1>.jpg", "a shop & more")
    gone = Shown("gone.png", "gone.jpg")
    words = (ClusterWord("<b>shop</b>", 0.71, 0.032), ClusterWord("front", 0.4, 0.1))
    return ClusterFindings(
        (
            ClusterCard(1, "<b>shop</b>, front", 1200, 0.6, 0.973, words, (shown, gone), "shops", 0.81),
            ClusterCard(2, "cluster 2", 1, 0.0005, 0.61, (), (shown,)),
        ),
        (Outlier(shown, "cluster 2", -85.25, -40.125),),
        (DuplicateGroup((shown, gone), 7, 0.912, 0.987),),
        tuple(SweepPoint(k, kind, 1000.0 + (k - 4) ** 2) for kind in ("full", "diag") for k in (1, 2, 4, 8)),
        (3, 10, 20, 30, 1937),
    )


def results(found: ClusterFindings) -> Results:
    made = Results(details={KEY: to_dict(found)}, seconds={"mixture": 61.0})
    for name, value in (
        ("clusters/count", 2), ("clusters/pictures", 2000), ("bic/lowest", 1000.0), ("bic/pictures", 2000),
        ("near_duplicates/groups", 1), ("near_duplicates/pictures", 7), ("near_duplicates/rejected", 5),
        ("near_duplicates/cosine", 0.65), ("outliers/count", 20),
    ):  # fmt: skip
        made.add(name, Metric(value))
    made.add("stability/adjusted_rand_index", Metric(0.62, (0.5, 0.74), 4))
    made.add("agreement/adjusted_rand_index", Metric(0.31, (0.29, 0.33), 1900))
    made.add("agreement/normalised_mutual_information", Metric(0.44, (0.42, 0.46), 1900))
    made.add("near_duplicates/found/halved_share", wilson(33, 48))
    return made


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder.create(tmp_path, {"components": "auto"}, seed=0)
    results(findings(folder)).save(folder.results)
    Material(title="Clusters of shops", corpora=(CorpusFacts("shops", n_used=2000),)).save(folder)
    return folder


def test_every_part_is_there(run: RunFolder) -> None:
    page = write_cluster_report(run).read_text(encoding="utf-8")
    assert re.findall(r'<section id="([\w-]+)"', page) == [
        *("clusters", "number", "sure", "agreement", "outliers", "duplicates", "cost", "repeat", "glossary", "numbers"),
    ]
    for said in (
        "1,200 pictures, 60.0 % of all", "mean probability 0.97", "81 % are labelled shops", "1 picture, 0.1 % of all",
        "said of 71 % of these pictures and of 3.2 % of the others", "log-likelihood −85.2", "are above −40.1",
        "20 pictures are marked", "1 group of 7 pictures", "cosine 0.912, pixels 0.987", "5 further pairs",
        "no picture",
        "4 components of full covariance", "1,937 (96.9", "68.8", "1,900 labelled pictures", "4 other starts",
        "Adjusted Rand index",
    ):  # fmt: skip
        assert said in page.replace("\N{NO-BREAK SPACE}", " "), said


def test_other_peoples_text_is_escaped_and_nothing_comes_from_the_network(run: RunFolder) -> None:
    page = write_cluster_report(run).read_text(encoding="utf-8")
    assert "<b>shop" not in page
    assert "&lt;b&gt;shop" in page
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)


def test_what_was_not_found_does_not_appear(run: RunFolder) -> None:
    bare = Results(details={KEY: to_dict(replace(ClusterFindings(), clusters=findings(run).clusters[1:]))})
    bare.save(run.results)
    page = write_cluster_report(run).read_text(encoding="utf-8")
    assert 'id="clusters"' in page
    assert not [part for part in ("number", "sure", "agreement", "outliers", "duplicates") if f'id="{part}"' in page]


def test_a_single_cloud_is_said(run: RunFolder) -> None:
    single = replace(findings(run), sweep=tuple(SweepPoint(k, "diag", 100.0 + k) for k in (1, 2, 3)))
    results(single).save(run.results)
    assert "may be a single cloud" in write_cluster_report(run).read_text(encoding="utf-8")


def test_results_of_another_run_are_refused(run: RunFolder) -> None:
    Results(metrics={"a": Metric(np.pi)}).save(run.results)
    with pytest.raises(LucidaError, match="not the results of a clustering"):
        write_cluster_report(run)
