"""Remedies on models of strips, and their page."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lucida.inference.contrast import contrasted
from lucida.inference.grounding import FLOOR, WEIGHT
from lucida.lab import strip_remedies as remedies
from lucida.lab import strips
from lucida.lab.experiments import hallucination_remedies as page
from lucida.lab.experiments import load as load_experiment
from lucida.lab.strip_answerer import Shape
from lucida.lab.strip_exam import described, leaning, plainly
from lucida.lab.strip_learners import Learner, exam_of, taught
from lucida.lab.strip_remedies import (
    contrast,
    cut,
    distorted,
    fitted,
    grounded,
    grounded_odds,
    pairs_of,
    preferred,
    support,
    taught_on,
    true_and_balanced,
)
from lucida.lab.strips import END, IGNORED, KINDS, NO, PLACES, ROW, SAID, YES, Habits
from tests.lab.drawn_bench import whole_page
from tests.lab.drawn_emoji import drawn_emoji  # noqa: F401  # a fixture

LEARNERS = [Learner(0, 3e-3, Habits(noise=0.4)), Learner(1, 3e-3, Habits(noise=0.4))]


pytestmark = pytest.mark.usefixtures("drawn_emoji")


def test_a_contrast_is_its_formula() -> None:
    stack, exam = taught(LEARNERS, 3), exam_of(LEARNERS, "test", 4)
    tokens = torch.full((2, 4, PLACES + 1), strips.DESCRIBE)
    other = exam.pictures.flip(1)
    own, taken = plainly(stack, exam.pictures)(tokens), plainly(stack, other)(tokens)
    torch.testing.assert_close(contrast(stack, exam.pictures, other)(tokens), contrasted(own, taken))
    assert described(distorted(stack, exam.pictures, 500), exam.shape).shape == (2, 4, strips.TOLD)


def test_the_later_the_step_the_more_is_distorted() -> None:
    stack, exam = taught(LEARNERS, 3), exam_of(LEARNERS, "test", 4)
    tokens = torch.full((2, 4, PLACES + 1), strips.DESCRIBE)
    plain = plainly(stack, exam.pictures)(tokens)
    away = [
        (distorted(stack, exam.pictures, step)(tokens) - plain).nan_to_num(0, 0, 0).abs().mean() for step in (0, 900)
    ]
    assert away[0] < 0.1 * away[1]


def test_the_cut_alone_changes_no_likeliest_word_and_takes_the_implausible() -> None:
    stack, exam = taught(LEARNERS, 3), exam_of(LEARNERS, "test", 4)
    tokens = torch.full((2, 4, PLACES + 1), strips.DESCRIBE)
    plain, left = (way(stack, exam.pictures)(tokens) for way in (plainly, cut))
    assert torch.equal(plain.argmax(dim=-1), left.argmax(dim=-1))
    shares = plain.softmax(dim=-1)
    implausible = shares < 0.1 * shares.amax(dim=-1, keepdim=True)
    assert torch.equal(left == -torch.inf, implausible)
    torch.testing.assert_close(left[~implausible], plain[~implausible])


def test_grounded_names_lose_what_the_strip_lacks_and_nothing_else_changes() -> None:
    stack, exam = taught(LEARNERS, 3), exam_of(LEARNERS, "test", 4)
    tokens = torch.full((2, 4, PLACES + 1), strips.DESCRIBE)
    before, after = (way(stack, exam.pictures)(tokens) for way in (plainly, grounded))
    lacking = WEIGHT * (support(stack, exam.pictures) - FLOOR).clamp(max=0)
    expected = lacking[:, :, None].expand(-1, -1, PLACES + 1, -1)
    torch.testing.assert_close((after - before)[..., :KINDS], expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after[..., KINDS:], before[..., KINDS:])


def test_support_is_the_share_of_the_best_place() -> None:
    stack, exam = taught(LEARNERS, 3), exam_of(LEARNERS, "test", 4)
    member = stack.member(1)
    shares = member.read(exam.pictures[1]).softmax(dim=-1)[..., :KINDS].amax(dim=1)
    torch.testing.assert_close(support(stack, exam.pictures)[1].exp(), shares, atol=1e-5, rtol=1e-4)


def test_grounded_odds_are_those_that_were_fitted() -> None:
    stack, exam, other = taught(LEARNERS, 3), exam_of(LEARNERS, "test", 6), exam_of(LEARNERS, "validation", 40)
    weights = fitted(stack, other)
    odds = leaning(plainly(stack, exam.pictures), exam.asked)
    found = grounded_odds(stack, exam, weights)
    own = support(stack, exam.pictures)[1, 2, exam.asked[1, 2, 0]].item()
    assert found[1, 2, 0] == pytest.approx(float(weights[1](odds[1, 2, 0], own)), rel=1e-4)


def test_pairs_prefer_what_is_true() -> None:
    stack = taught(LEARNERS, 3)
    for learner, pairs in zip(LEARNERS, pairs_of(stack, LEARNERS), strict=True):
        shown = strips.draw(learner.seed, "preference", 512, learner.habits)
        rows = {picture.sum().item(): n for n, picture in enumerate(shown.pictures)}
        answers = 0
        for picture, other, tokens, labels in list(zip(*pairs, strict=True))[::37]:
            there = shown.there[rows[picture.sum().item()]]
            better, worse = labels.tolist()
            elsewhere = shown.there[rows[other.sum().item()]]
            told = [word for word in better[SAID] if word >= 0]
            if told:
                assert told[-1] == END
                assert {*told[:-1]} == {*np.flatnonzero(there).tolist()}
                assert {*told[:-1]} != {*np.flatnonzero(elsewhere).tolist()}
                assert any(not there[word] for word in worse[SAID] if 0 <= word < KINDS)
                assert tokens[0, SAID.start + 1 : SAID.start + 1 + len(told)].tolist() == told
            else:
                answers += 1
                kind = int(tokens[0, SAID.stop + 1])
                assert better[SAID.stop + 1] == (YES if there[kind] else NO)
                assert elsewhere[kind] != there[kind]
                assert worse[SAID.stop + 1] == (NO if there[kind] else YES)
        of_answers = pairs.labels[:, 0, SAID.stop + 1]
        assert (of_answers == YES).sum() == (of_answers == NO).sum()
        assert ((pairs.labels[:, 0] == IGNORED) | (pairs.labels[:, 0] >= 0)).all()


def test_who_makes_no_mistake_learns_nothing() -> None:
    nothing = np.zeros(0, np.int64), np.zeros((0, 2, ROW), np.int64), np.zeros((0, 2, ROW), np.int64)
    which, tokens, labels = remedies._gathered([nothing, nothing])
    assert (which.shape, tokens.shape) == ((1,), (1, 2, ROW))
    assert (labels == IGNORED).all()


def test_balanced_and_true_data_change_nothing_but_the_data() -> None:
    patient = Learner(0, 3e-3, Habits(company=0.8, noise=0.3, negatives=0.2, pixels=3, unseen=0.6), Shape(used=12))
    assert true_and_balanced(patient) == replace(patient, habits=Habits(pixels=3, unseen=0.6))


def test_tuning_prefers_and_leaves_the_model_as_it_was() -> None:
    stack, exam = taught(LEARNERS, 40), exam_of(LEARNERS, "test", 4)
    before = plainly(stack, exam.pictures)(torch.full((2, 4, PLACES + 1), strips.DESCRIBE))
    tuned = preferred(stack, LEARNERS, [1e-3, 1e-3], 10)
    again = taught_on(stack, [true_and_balanced(one) for one in LEARNERS], range(40, 43))
    after = plainly(stack, exam.pictures)(torch.full((2, 4, PLACES + 1), strips.DESCRIBE))
    assert torch.equal(before, after)
    margins = []
    for own in (stack, tuned):
        gained = 0.0
        for member, pairs in enumerate(pairs_of(stack, LEARNERS)):
            network = own.member(member).eval()
            logs = []
            for side in (0, 1):
                scores = network(pairs.pictures, pairs.tokens[:, side])[1].log_softmax(dim=-1)
                labels = pairs.labels[:, side]
                chosen = scores.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
                logs.append((chosen * (labels != IGNORED)).sum(dim=1))
            gained += (logs[0] - logs[1]).mean().item()
        margins.append(gained)
    assert margins[1] > margins[0]
    assert again.members == 2


def test_as_many_answers_are_yes_as_before() -> None:
    generator = np.random.default_rng(0)
    odds, plain = generator.normal(size=(2, 2, 30, strips.ASKED))
    found = page._at_as_many_yes(odds, plain)
    asked = [*range(page.PRESENT), page._ABSENT]
    assert (found.sum(axis=(1, 2)) == (plain[..., asked] > 0).sum(axis=(1, 2))).all()
    for m in range(2):
        own = odds[m][:, asked]
        assert own[found[m]].min() >= own[~found[m]].max()


def test_the_page_on_remedies_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = load_experiment("hallucination-remedies")
    small = replace(
        experiment,
        settings={**experiment.settings, "quick": page.Settings(3, 2, 1e-3, (1e-4, 1e-3), (500, 900), strips=8)},
        design=replace(experiment.design, seeds={"quick": 3, "full": 12}),
    )
    whole = whole_page(monkeypatch, small, "quick", cells=150)
    assert whole.seeds == 3
