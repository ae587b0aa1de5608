"""The page on softmax and sigmoid: whole on planted artwork, arms that start where they say."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from lucida.lab.dual_encoders import PairMember, make_encoder, parts
from lucida.lab.experiments import softmax_or_sigmoid
from lucida.lab.experiments.softmax_or_sigmoid import ARMS, LEVELS, SIGMOID, SIGMOID_FROM_ZERO, SOFTMAX_AT_TEN, Settings
from lucida.lab.experiments.softmax_or_sigmoid_page import EXPERIMENT
from tests.lab.drawn_bench import whole_page
from tests.lab.planted_artwork import planted_artwork

RATES = (1e-4, 1e-3, 1e-2)


def test_the_page_is_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = planted_artwork(concepts=60)
    monkeypatch.setenv("LUCIDA_CACHE", str(tmp_path))
    monkeypatch.setattr(softmax_or_sigmoid, "named_artwork", lambda: made)
    tiny = dataclasses.replace(EXPERIMENT, settings={"quick": Settings(128, dict.fromkeys(LEVELS, RATES))})
    whole_page(monkeypatch, tiny, "quick", cells=40)


def test_the_control_starts_from_the_sigmoids_scale_and_every_batch_has_rates() -> None:
    artwork = planted_artwork(concepts=60)
    starts = {}
    for name, arm in ARMS.items():
        member = PairMember(0, 1e-3, arm.scoring, arm.start_scale, arm.start_bias)
        made = make_encoder(artwork, parts(artwork, 0), member)
        starts[name] = made.logit_scale.item(), None if made.logit_bias is None else made.logit_bias.item()
    assert starts[SIGMOID] == pytest.approx((10.0, -10.0))
    assert starts[SIGMOID_FROM_ZERO] == pytest.approx((10.0, 0.0))
    assert starts[SOFTMAX_AT_TEN] == (pytest.approx(10.0), None)
    for settings in EXPERIMENT.settings.values():
        assert tuple(settings.rates) == LEVELS
