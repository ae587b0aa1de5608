"""The modality gap: how features lie, and what moving them does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lucida.lab.dual_encoders import PairMember, make_encoder, parts
from lucida.lab.experiment import Bench
from lucida.lab.experiments import modality_gap
from lucida.lab.experiments.modality_gap import (
    ALIGNED,
    BOTH,
    GAP,
    NAMED,
    PARTED,
    SHIFTS,
    START,
    look,
    mean_cosine,
    moved,
    named,
    told_apart,
)
from lucida.lab.experiments.modality_gap_page import EXPERIMENT, SETTINGS, measured, present
from lucida.lab.feature_statistics import modality_gap as modality_gap_of
from tests.lab.planted_artwork import planted_artwork


def cones(distance: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Twenty pictures and their texts, alike but for what all of a kind have in common."""
    generator = torch.Generator().manual_seed(0)
    own, common = torch.randn(20, 8, generator=generator), F.normalize(torch.randn(8, generator=generator), dim=0)
    return F.normalize(own + distance * common, dim=1), F.normalize(own - distance * common, dim=1)


def test_cones_have_a_gap_and_a_plane_between_them() -> None:
    wide, none = cones(3.0), cones(0.0)
    assert modality_gap_of(*wide) > 1 > 1e-6 > modality_gap_of(*none)
    apart = wide[0].mean(dim=0) - wide[1].mean(dim=0)
    assert told_apart(*wide, apart, wide) == 1.0
    assert mean_cosine(wide[0]) > 0.3 > abs(mean_cosine(none[0]))
    pairs = none[0] @ none[0].T
    off = ~torch.eye(20, dtype=torch.bool)
    assert mean_cosine(none[0]) == pytest.approx(float(pairs[off].mean()), abs=1e-6)


def test_a_shift_of_one_brings_the_means_together_and_of_none_changes_nothing() -> None:
    shown, said = cones(1.0)
    apart = shown.mean(dim=0) - said.mean(dim=0)
    torch.testing.assert_close(moved(shown, said, apart, 0.0), (shown, said))
    gaps = [modality_gap_of(*moved(shown, said, apart, shift)) for shift in (-1.0, 0.0, 0.5, 1.0)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 0.25 * gaps[1]
    for both in moved(shown, said, apart, 0.7):
        torch.testing.assert_close(both.norm(dim=1), torch.ones(20))


def test_names_are_found_as_ranks_say() -> None:
    said = torch.eye(5)
    assert named(torch.cat([said, said]), said) == 1.0
    assert named(torch.cat([said, said.roll(1, 0)]), said) == 0.5


def test_an_encoder_is_looked_at() -> None:
    artwork = planted_artwork(120)
    found = []
    for seed in (0, 1):
        known = parts(artwork, seed)
        found.append(look(artwork, known, make_encoder(artwork, known, PairMember(seed, 0.0)).eval()))
        assert 0 < found[-1][GAP] < 2
        assert 0 <= found[-1][PARTED] <= 1
        assert -1 < found[-1][ALIGNED] < 1
    assert found[0][GAP] != found[1][GAP]


def test_the_page_is_measured_and_drawn(tmp_path, monkeypatch) -> None:
    artwork = planted_artwork(120)
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path))
    monkeypatch.setattr(modality_gap, "named_artwork", lambda: artwork)
    settings = replace(SETTINGS["quick"], temperatures=(0.01, 0.07, 0.2), rates=(4e-3, 8e-3), examples=512)
    found = measured(Bench(EXPERIMENT, (0, 1, 2), (1000,)), settings)
    for claim in EXPERIMENT.design.claims:
        assert all(np.isfinite(values).all() for values in found.differences(claim).values()), claim.name
    assert found.curves[f"{NAMED}/0.01"][1].shape == (3, len(SHIFTS))
    assert (found.numbers[GAP, BOTH, START] > 0).all()
    assert [section.title for section in present(found)]
