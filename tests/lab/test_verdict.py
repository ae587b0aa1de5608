"""The machinery of verdicts: nulls are not supported, planted effects are found, interactions are seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucida.core.results import Metric
from lucida.lab import verdict
from lucida.lab.design import Claim, Design
from lucida.lab.verdict import Word, holm, interaction_p, judge, ruling

EXPERIMENTS = 400


def claim(name: str, smallest: float = 1.0, levels: tuple[str, ...] = ()) -> Claim:
    return Claim(name, "s", "z", "p", "m", "u", "a", "b", smallest, "data" if levels else "", levels)


CLAIMS = (claim("one"), claim("two", -1.0), claim("three"))


def simulated(effect: float, seeds: int, draw: str) -> list[list[Word]]:
    """Verdicts of the three claims in many experiments whose true effects are ``effect`` times the smallest."""
    generator = np.random.default_rng(hash((effect, seeds, len(draw))) % 2**32)
    noise = {
        "normal": lambda: generator.normal(size=seeds),
        "skewed": lambda: generator.exponential(size=seeds) - 1,
        "heavy": lambda: generator.standard_t(4, size=seeds) / np.sqrt(2),
    }[draw]
    found = []
    for _ in range(EXPERIMENTS):
        differences = {c.name: {"": effect * c.smallest_effect + noise()} for c in CLAIMS}
        found.append([j.word for j in judge(CLAIMS, differences)])
    return found


@pytest.mark.parametrize("draw", ["normal", "skewed", "heavy"])
@pytest.mark.parametrize("seeds", [8, 16])
def test_nulls_are_rarely_supported_and_planted_effects_are_found(seeds: int, draw: str) -> None:
    """Noise of the size of the smallest effect; "rarely" counts experiments in which any of the claims is supported."""
    nulls = np.mean(["supported" in words for words in simulated(0.0, seeds, draw)])
    found = np.mean([[word == "supported" for word in words] for words in simulated(1.5, seeds, draw)])
    print(f"{seeds} seeds, {draw}: supported in {nulls:.1%} of nulls, {found:.1%} of planted effects found")
    assert nulls <= 0.05
    assert found >= 0.8


@pytest.mark.parametrize("seeds", [8, 16])
def test_an_effect_that_matters_is_rarely_refuted(seeds: int) -> None:
    refuted = np.mean(["refuted" in words for words in simulated(1.0, seeds, "normal")])
    assert refuted <= 0.05 + 0.025  # the share itself has a standard error of about a point


def test_an_expected_interaction_makes_the_verdict_depend() -> None:
    generator = np.random.default_rng(0)
    c = claim("c", levels=("small", "large"))
    here, there = 2 + generator.normal(size=12) / 2, generator.normal(size=12) / 4
    (judgement,) = judge([c], {"c": {"small": here, "large": there}})
    assert judgement.word == "depends"
    assert [word for _, word in judgement.levels.values()] == ["supported", "refuted"]
    (judgement,) = judge([c], {"c": {"small": here, "large": here[::-1]}})
    assert judgement.word == "supported"


def test_interactions_are_not_seen_where_there_are_none() -> None:
    generator = np.random.default_rng(1)
    found = [interaction_p(generator.normal(size=(12, 3)) + generator.normal(size=(12, 1))) < 0.05 for _ in range(1000)]
    assert 0.03 <= np.mean(found) <= 0.07
    assert interaction_p(np.tile([[1.0, 2.0]], (8, 1))) == 0.0
    with pytest.raises(ValueError, match="cannot tell"):
        interaction_p(np.zeros((2, 3)))


def test_an_interaction_that_is_small_beside_its_spread_is_not_certain() -> None:
    generator = np.random.default_rng(3)
    noise = generator.normal(size=12)
    flat = np.stack([np.zeros(12), noise - noise.mean() + 1e-9], axis=1)
    assert interaction_p(flat) > 0.99
    assert interaction_p(1e-7 * (flat + np.array([0.0, 3.0]))) < 1e-4  # whatever the unit
    assert interaction_p(np.ones((8, 2))) == 1.0


def test_many_interactions_are_held_to_holm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three primary claims whose levels differ by nothing but noise, one rarely "depends"."""
    monkeypatch.setattr(verdict, "SIMULATIONS", 1)  # its power is not asked for
    generator = np.random.default_rng(4)
    claims = [claim(f"c{k}", levels=("small", "large")) for k in range(3)]
    found = []
    for _ in range(300):
        tables = {c.name: {level: 1 + generator.normal(size=12) * 2 for level in c.levels} for c in claims}
        found.append(any(j.word == "depends" for j in judge(claims, tables)))
    print(f"some claim depends on the level in {np.mean(found):.1%} of experiments")
    assert np.mean(found) <= 0.07


def test_what_the_budget_cut_off_decides_nothing_it_could_overturn() -> None:
    """A run that never arrived is a lower bound of its arm: what would become weaker is not supported."""
    generator = np.random.default_rng(6)
    fewer, table = replace(claim("c"), smallest_effect=-0.5), {"": -1 + generator.normal(size=12) / 9}
    words = {cut: judge([fewer], {"c": table}, {"c": {"": cut}})[0].word for cut in ((0, 0), (0, 5), (5, 0))}
    assert words == {(0, 0): "supported", (0, 5): "supported", (5, 0): "inconclusive"}
    both = judge([fewer], {"c": {"": np.zeros(12)}}, {"c": {"": (12, 12)}})[0]  # neither ever arrived
    assert (both.word, both.cut) == ("inconclusive", (12, 12))
    split = replace(fewer, moderator="size", levels=("small", "large"))
    levels = {"small": table[""], "large": -1 - generator.normal(size=12) / 9}
    (judgement,) = judge([split], {"c": levels}, {"c": {"large": (1, 0)}})
    assert [word for _, word in judgement.levels.values()] == ["supported", "inconclusive"]


def test_the_power_counts_what_depends_as_not_found() -> None:
    """Two noisy levels: the simulation judges as the experiment does, level by level."""
    generator = np.random.default_rng(5)
    c = claim("c", levels=("small", "large"))
    table = {level: 1.5 + generator.normal(size=16) * 1.2 for level in c.levels}
    (judgement,) = judge([c], {"c": table})
    (plain,) = judge([claim("c")], {"c": {"": (table["small"] + table["large"]) / 2}})
    assert judgement.power is not None
    assert plain.power is not None
    assert judgement.power <= plain.power


def test_differences_without_spread_are_certain() -> None:
    (judgement,) = judge([claim("c")], {"c": {"": np.full(8, 2.0)}})
    assert (judgement.word, judgement.effect.ci95) == ("supported", (2.0, 2.0))
    (judgement,) = judge([claim("c")], {"c": {"": np.zeros(8)}})
    assert judgement.word == "refuted"


def test_the_power_is_told_from_the_measured_spread() -> None:
    generator = np.random.default_rng(2)
    quiet, loud = generator.normal(size=16) / 4, generator.normal(size=16) * 8
    (a,), (b,) = (judge([claim("c")], {"c": {"": noise}}) for noise in (quiet, loud))
    assert a.power is not None
    assert b.power is not None
    assert a.power > 0.95
    assert b.power < 0.3
    assert a.false_support == 0.0


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.floats(0, 1), min_size=1, max_size=3))
def test_holm_never_asks_less_than_the_plain_level_nor_more_than_bonferroni(p_values: dict[str, float]) -> None:
    levels = holm(p_values)
    assert set(levels) == set(p_values)
    assert all(0.05 / len(p_values) - 1e-12 <= level <= 0.05 for level in levels.values())
    rejected = {name for name in p_values if p_values[name] < levels[name]}
    bonferroni = {name for name, p in p_values.items() if p < 0.05 / len(p_values)}
    assert bonferroni <= rejected


@given(st.floats(-5, 5), st.floats(0, 5), st.sampled_from([-1.0, 1.0]), st.floats(0.01, 3))
def test_a_ruling_is_the_same_with_all_signs_turned(mean: float, half: float, sign: float, smallest: float) -> None:
    word = ruling(Metric(mean, (mean - half, mean + half), 8), sign * smallest)
    assert word == ruling(Metric(-mean, (-mean - half, -mean + half), 8), -sign * smallest)


def test_what_was_not_measured_is_an_error() -> None:
    with pytest.raises(ValueError, match="not measured"):
        judge([claim("c")], {})
    with pytest.raises(ValueError, match="finite"):
        judge([claim("c")], {"c": {"": [1.0, float("nan"), 2.0]}})


def test_a_design_is_held_to_its_rules() -> None:
    def design(claims: tuple[Claim, ...]) -> Design:
        return Design("n", "t", "q", "z", claims, {}, (), "d", "n")

    four = (*CLAIMS, claim("four"))
    with pytest.raises(ValueError, match="primary"):
        design(four)
    with pytest.raises(ValueError, match="one name"):
        design((claim("a"), claim("a")))
    with pytest.raises(ValueError, match="smallest"):
        claim("a", 0.0)
    with pytest.raises(ValueError, match="twos"):
        claim("a", levels=("one",))
    assert design(CLAIMS).hash({"steps": 1}, 8) != design(CLAIMS).hash({"steps": 2}, 8)
    assert design(CLAIMS).hash({"steps": 1}, 8) != design(CLAIMS[:2]).hash({"steps": 1}, 8)
