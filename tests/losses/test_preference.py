"""Preference losses against their formulas, by hand and in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lucida.core.errors import LucidaError
from lucida.losses.preference import (
    AnswerLogs,
    PreferenceSettings,
    answer_log_likelihoods,
    plain_answer_log_likelihoods,
    preference_loss,
    preference_terms,
)

logs = st.lists(st.floats(-30, 0), min_size=3, max_size=3)


def pair(values: list[float]) -> AnswerLogs:
    return AnswerLogs(*torch.tensor(values, dtype=torch.float64)[:, None])


def test_the_terms_by_hand():
    policy, reference = pair([-2.0, -9.0, -4.0]), pair([-3.0, -5.0, -4.5])
    own = PreferenceSettings(beta=0.5, conditional_weight=2.0, anchor_weight=0.25, label_smoothing=0.1)
    terms = preference_terms(policy, reference, own)
    # log-ratios 1, -4 and 0.5, half of each counts
    preference = 0.9 * math.log1p(math.exp(-2.5)) + 0.1 * math.log1p(math.exp(2.5))
    conditional, anchor = math.log1p(math.exp(-0.25)), math.log1p(math.exp(-0.5))
    assert [term.item() for term in terms] == pytest.approx([preference, conditional, anchor], rel=1e-12)
    expected = preference + 2 * conditional + 0.25 * anchor
    assert preference_loss(policy, reference, own).item() == pytest.approx(expected, rel=1e-12)


def test_the_gradient_is_that_of_the_paper():
    """Eq. 8 of the DPO paper's analysis: -β σ(-margin) for the chosen answer, the opposite for the rejected one."""
    values = torch.tensor([[-1.0, -3.0], [-2.0, -2.5], [-1.5, -9.0]], dtype=torch.float64, requires_grad=True)
    reference = AnswerLogs(*torch.tensor([[-2.0, -2.0], [-2.0, -2.0], [-2.0, -2.0]], dtype=torch.float64))
    own = PreferenceSettings(beta=0.3, conditional_weight=0.0, anchor_weight=0.0)
    (slope,) = torch.autograd.grad(preference_loss(AnswerLogs(*values), reference, own).sum(), values)
    margin = 0.3 * (values[0] - values[1]).detach()
    torch.testing.assert_close(slope[0], -0.3 * torch.sigmoid(-margin), rtol=1e-12, atol=0)
    torch.testing.assert_close(slope[1], -slope[0], rtol=0, atol=0)
    assert not slope[2].any()


def test_gradients_of_all_terms_together():
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(4, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    reference = AnswerLogs(*torch.randn(3, 4, generator=generator, dtype=torch.float64))
    own = PreferenceSettings(beta=0.7, conditional_weight=1.5, anchor_weight=0.5, label_smoothing=0.2)
    assert torch.autograd.gradcheck(lambda *logs: preference_loss(AnswerLogs(*logs), reference, own), inputs)


@given(logs)
def test_a_policy_that_is_its_reference_pays_log_two(values: list[float]):
    for term in preference_terms(pair(values), pair(values), PreferenceSettings(label_smoothing=0.3)):
        assert term.item() == pytest.approx(math.log(2), rel=1e-12)


@given(logs, logs, st.floats(-50, 50))
def test_what_policy_and_reference_have_in_common_does_not_count(
    policy: list[float], reference: list[float], shift: float
):
    own = PreferenceSettings()
    moved = preference_loss(pair([x + shift for x in policy]), pair([x + shift for x in reference]), own)
    torch.testing.assert_close(moved, preference_loss(pair(policy), pair(reference), own), rtol=1e-9, atol=1e-9)


@given(logs, logs)
def test_the_other_way_round_the_margin_is_mirrored(policy: list[float], reference: list[float]):
    """-log σ(z) and -log σ(-z) differ by -z, so two losses tell the margin and its sign."""
    own = PreferenceSettings(beta=0.2)
    swapped = [
        preference_terms(pair([b, a, c]), pair([y, x, z]), own) for (a, b, c), (x, y, z) in [(policy, reference)]
    ]
    there, back = preference_terms(pair(policy), pair(reference), own).preference, swapped[0].preference
    margin = 0.2 * (policy[0] - reference[0] - policy[1] + reference[1])
    assert (back - there).item() == pytest.approx(margin, abs=1e-9)


@given(logs, logs)
def test_smoothing_mixes_both_ways_round(policy: list[float], reference: list[float]):
    plain, smooth = (PreferenceSettings(label_smoothing=s) for s in (0.0, 0.25))
    there = preference_terms(pair(policy), pair(reference), plain).preference
    back = preference_terms(
        pair([policy[1], policy[0], policy[2]]), pair([reference[1], reference[0], reference[2]]), plain
    ).preference
    found = preference_terms(pair(policy), pair(reference), smooth).preference
    torch.testing.assert_close(found, 0.75 * there + 0.25 * back)


def test_settings_out_of_range_and_shapes_that_do_not_fit():
    for wrong in ({"beta": 0.0}, {"conditional_weight": -1.0}, {"anchor_weight": -0.1}, {"label_smoothing": 0.5}):
        with pytest.raises(LucidaError, match=next(iter(wrong))):
            PreferenceSettings(**wrong)
    with pytest.raises(ValueError, match="different numbers"):
        preference_terms(AnswerLogs(*torch.zeros(3, 2)), AnswerLogs(*torch.zeros(3, 1)), PreferenceSettings())


def rows(seed: int, n: int, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(n, 5, generator=generator, dtype=torch.float64)
    weight = torch.randn(11, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(11, (n,), generator=generator)
    labels[torch.rand(n, generator=generator) < 0.4] = -100
    return states.requires_grad_(), weight.requires_grad_(), labels, torch.randint(count, (n,), generator=generator)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 99), st.integers(1, 20), st.integers(1, 4), st.integers(1, 400))
def test_answers_in_parts_are_the_plain_sums(seed: int, n: int, count: int, chunk_bytes: int):
    states, weight, labels, answers = rows(seed, n, count)
    fast = answer_log_likelihoods(states, weight, labels, answers, count, chunk_bytes=chunk_bytes)
    plain = plain_answer_log_likelihoods(states, weight, labels, answers, count)
    torch.testing.assert_close(fast, plain)
    some = torch.linspace(1, 2, count, dtype=torch.float64)
    found = torch.autograd.grad((fast * some).sum(), (states, weight), allow_unused=True)
    wanted = torch.autograd.grad((plain * some).sum(), (states, weight))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(torch.zeros_like(other) if one is None else one, other)


def test_an_answer_that_is_not_there():
    with pytest.raises(ValueError, match="from 0 to 1"):
        answer_log_likelihoods(torch.zeros(1, 2), torch.zeros(3, 2), torch.tensor([1]), torch.tensor([2]), 2)
