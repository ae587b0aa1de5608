"""The page on the temperature: whole on planted artwork, and what its arms are."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from lucida.lab.dual_encoders import USUAL_SCALE
from lucida.lab.experiment import Bench
from lucida.lab.experiments import temperature
from lucida.lab.experiments.temperature import BEST, FREE, HELD, LEVELS, Settings, arms, held, measure
from lucida.lab.experiments.temperature_page import EXPERIMENT
from tests.lab.drawn_bench import whole_page
from tests.lab.planted_artwork import planted_artwork

TINY = dataclasses.replace(EXPERIMENT, settings={"quick": Settings(16, 64, 0.5, (1e-4, 1e-3, 1e-2))})


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of all tests here: what one of them measured, the others remember."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    made = planted_artwork(concepts=60)
    monkeypatch.setenv("LUCIDA_CACHE", str(cache))
    monkeypatch.setattr(temperature, "named_artwork", lambda: made)


def test_the_page_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole_page(monkeypatch, TINY, "quick", cells=60)


def test_held_scales_end_where_they_began_and_the_best_is_one_of_them() -> None:
    bench = Bench(TINY, (0, 1, 2, 3))
    found = measure(bench, TINY.settings["quick"])
    for level in LEVELS:
        for scale in HELD:
            assert 2 ** found.numbers["scale at the end", held(scale), level] == pytest.approx(scale, rel=1e-4)
        best = 2 ** found.numbers["scale at the end", BEST, level][0]
        assert min(HELD) * 0.99 <= best <= max(HELD) * 1.01


def test_arms_differ_in_what_their_names_say() -> None:
    made = arms()
    assert [made[held(scale)].start_scale for scale in HELD] == list(HELD)
    assert not any(made[held(scale)].scoring.learned for scale in HELD)
    assert made["learned"].start_scale == pytest.approx(USUAL_SCALE)
    assert made[FREE].scoring.max_logit_scale == math.inf
    others = [arm for name, arm in made.items() if name != FREE]
    assert {arm.scoring.max_logit_scale for arm in others} == {100.0}
