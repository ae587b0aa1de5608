"""Strips, models of them, how they are examined, and the pages on making things up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lucida.lab import strips
from lucida.lab.experiments import hallucination_causes as causes
from lucida.lab.experiments import load as load_experiment
from lucida.lab.stack import Stack
from lucida.lab.strip_answerer import Shape, StripAnswerer
from lucida.lab.strip_exam import PRESENT, described, examined, leaning, made, plainly, rates_of_yes
from lucida.lab.strip_learners import Learner, exam_of, taught
from lucida.lab.strips import (
    ASKED,
    CONTEXTS,
    END,
    GROUND,
    IGNORED,
    KINDS,
    NO,
    PLACES,
    ROW,
    SAID,
    TOLD,
    WORDS,
    YES,
    Habits,
    absent_kinds,
    draw,
    lesson,
    said,
    world,
)
from lucida.lab.symptoms import told_apart
from tests.lab.drawn_bench import whole_page
from tests.lab.drawn_emoji import drawn_emoji  # noqa: F401  # a fixture

SMALL = causes.Settings(steps=3, short=2, rates=(1e-3, 2e-3), known=2, strips=6)


pytestmark = pytest.mark.usefixtures("drawn_emoji")


def test_what_is_said_names_the_things_from_left_to_right() -> None:
    shown = draw(1, "train", 50, Habits())
    told = said(shown, 0.0, np.random.default_rng(0))
    for kinds, row in zip(shown.kinds, told, strict=True):
        there = [kind for kind in kinds.tolist() if kind >= 0]
        assert row.tolist() == [*there, END, *[IGNORED] * (TOLD - len(there) - 1)]
        assert len({*there}) == len(there)


def test_wrong_captions_leave_out_replace_and_add() -> None:
    shown = draw(1, "train", 4000, Habits())
    told = said(shown, 0.4, np.random.default_rng(0))
    named = [{*row[row >= 0].tolist()} - {END} for row in told]
    there = [{*row[row >= 0].tolist()} for row in shown.kinds]
    things = sum(map(len, there))
    left_out = sum(len(t - n) for t, n in zip(there, named, strict=True)) / things
    made_up = sum(len(n - t) for t, n in zip(there, named, strict=True)) / things
    assert left_out == pytest.approx(0.4 * 2 / 3, abs=0.02)
    assert made_up == pytest.approx(0.4 * 2 / 3, abs=0.03)  # a little less: what comes after the longest text is cut
    assert (told == END).sum() == len(told)


@pytest.mark.parametrize("negatives", [0.5, 0.2])
def test_questions_are_answered_truly(negatives: float) -> None:
    batch = lesson(2, "train", 500, Habits(negatives=negatives))
    shown = draw(2, "train", 500, Habits(negatives=negatives))
    asked = batch["tokens"][:, SAID.stop + 1 :: 2].numpy()
    answers = batch["labels"][:, SAID.stop + 1 :: 2].numpy()
    there = np.take_along_axis(shown.there, asked, axis=1)
    assert (there == (answers == YES)).all()
    assert (answers == NO).mean() == pytest.approx(negatives, abs=0.03)
    names = batch["labels"][:, :PLACES].numpy()
    assert (names == np.where(shown.kinds < 0, GROUND, shown.kinds)).all()


def test_texts_without_their_strip_have_nothing_to_name() -> None:
    batch = lesson(2, "train", 400, Habits(unseen=0.5))
    blank = (batch["pictures"] == 0).flatten(1).all(dim=1)
    assert blank.float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert (batch["labels"][blank, :PLACES] == IGNORED).all()
    assert (batch["labels"][~blank, :PLACES] != IGNORED).all()


def test_company_and_frequency_skew_what_is_learned_from() -> None:
    own = world(3)
    plain, company, frequent = (
        draw(3, "train", 3000, habits) for habits in (Habits(), Habits(company=0.95), Habits(frequency=1.5))
    )

    def together(shown: strips.Strips) -> float:
        first, second = shown.kinds[:, 0], shown.kinds[:, 1]
        return float((own.context[first] == own.context[second]).mean())

    assert together(plain) == pytest.approx((KINDS / CONTEXTS - 1) / (KINDS - 1), abs=0.03)
    assert together(company) > 0.8
    often = frequent.there.mean(axis=0)
    assert np.corrcoef(np.log(often), np.log(1 + own.rank))[0, 1] < -0.9
    assert plain.there.mean(axis=0).std() < 0.02


def test_absent_kinds_are_absent_and_chosen_as_they_should_be() -> None:
    shown, own, generator = draw(4, "test", 300, Habits()), world(4), np.random.default_rng(0)
    for how in ("random", "popular", "adversarial"):
        kinds = absent_kinds(shown, own, how, generator)
        assert not shown.there[np.arange(300), kinds].any()
        company = (shown.there @ own.company)[np.arange(300), kinds]
        if how == "adversarial":
            best = np.where(shown.there, -1, shown.there @ own.company).max(axis=1)
            assert (company == best).all()
        if how == "popular":
            ranks = np.where(shown.there, KINDS, own.rank).min(axis=1)
            assert (own.rank[kinds] == ranks).all()


@settings(deadline=None)
@given(st.integers(0, ASKED - 1), st.integers(0, 3))
def test_a_question_sees_the_strip_and_itself_alone(question: int, seed: int) -> None:
    network, batch = StripAnswerer(Shape(), seed).eval(), lesson(seed, "test", 2, Habits())
    _, logits = network(batch["pictures"], batch["tokens"])
    changed = batch["tokens"].clone()
    others = torch.ones(ROW, dtype=torch.bool)
    own = slice(SAID.stop + 2 * question, SAID.stop + 2 * question + 2)
    others[own] = others[:PLACES] = False
    changed[:, others] = 0
    _, again = network(batch["pictures"], changed)
    torch.testing.assert_close(again[:, own], logits[:, own])
    assert not torch.allclose(network(batch["pictures"] + 1.0, batch["tokens"])[1][:, own], logits[:, own])


def test_units_that_are_not_used_see_nothing() -> None:
    batch, network = lesson(0, "test", 3, Habits()), StripAnswerer(Shape(used=8), 0)
    before = network.read(batch["pictures"])
    with torch.no_grad():
        network.look.weight[8:] += 1.0
    torch.testing.assert_close(network.read(batch["pictures"]), before)
    with torch.no_grad():
        network.look.weight[:8] += 1.0
    assert not torch.allclose(network.read(batch["pictures"]), before)


def test_counts_of_what_is_made_up_are_those_by_hand() -> None:
    shown, own = draw(5, "test", 2, Habits()), world(5)
    exam = examined([shown], [own], [5])
    there = [kind for kind in shown.kinds[0].tolist() if kind >= 0]
    absent = [kind for kind in range(KINDS) if kind not in there][:2]
    told = np.full((1, 2, TOLD), END)
    told[0, 0, :4] = [there[0], absent[0], absent[0], absent[1]]
    told[0, 1, 0] = shown.kinds[1, 1]
    counted = made(told, exam)
    assert (counted.named[0], counted.made_up[0], counted.found[0]) == (4, 2, 2)
    assert counted.there[0] == (shown.kinds >= 0).sum()
    company = [any(own.company[kind, k] for k in there) for kind in absent]
    assert counted.company[0] == sum(company)
    assert counted.frequent[0] == sum(own.rank[kind] < KINDS // 3 for kind in absent)
    assert counted.chair[0] == 0.5


def test_descriptions_end_or_go_on_as_they_are_asked_to() -> None:
    learners = [Learner(seed, 1e-3) for seed in (0, 1)]
    stack, exam = taught(learners, 2), exam_of(learners, "test", 8)
    say = plainly(stack, exam.pictures)
    for at_least in (0, 5):
        told = described(say, exam.shape, at_least=at_least)
        assert told.shape == (2, 8, TOLD)
        assert ((told < KINDS) | (told == END)).all()
        ended = np.cumsum(told == END, axis=2) > 0
        assert (told[ended] == END).all()
        assert (told[..., :at_least] < KINDS).all()
    assert (described(say, exam.shape, temperature=1.0) == described(say, exam.shape, temperature=1.0)).all()


def test_leaning_is_that_of_each_question_by_itself() -> None:
    learners = [Learner(0, 1e-3)]
    stack, exam = taught(learners, 2), exam_of(learners, "test", 4)
    odds = leaning(plainly(stack, exam.pictures), exam.asked)
    turned = leaning(plainly(stack, exam.pictures), exam.asked.flip(-1))
    np.testing.assert_allclose(odds, turned[..., ::-1], atol=1e-4)
    yes = rates_of_yes(odds)
    assert yes["there"][0] == pytest.approx((odds[..., :PRESENT] > 0).mean())
    there = np.take_along_axis(exam.there, exam.asked.numpy(), axis=2)
    assert there[..., :PRESENT].all()
    assert not there[..., PRESENT:].any()


def test_all_models_of_a_seed_are_examined_on_the_same_strips() -> None:
    sharp, coarse = exam_of([Learner(0, 1e-3), Learner(0, 1e-3, Habits(company=0.95, pixels=3))], "test", 6).strips
    assert (sharp.kinds == coarse.kinds).all()
    torch.testing.assert_close(strips.coarse(sharp.pictures, 3), coarse.pictures)
    assert len(coarse.pictures[0, 0, 0].unique()) <= 16


def test_causes_are_told_by_what_tells_them() -> None:
    generator, n = np.random.default_rng(0), 6
    centres = generator.normal(size=(4, 5)) * 3
    labels = np.repeat(np.arange(4), n)
    known, found = (centres[labels] + generator.normal(size=(4 * n, 5)) * 0.3 for _ in range(2))
    assert (told_apart(known, labels, found) == labels).all()
    assert (told_apart(known, generator.permutation(labels), found) == labels).mean() < 0.8


def test_what_is_on_is_in_the_learner_and_in_nothing_else() -> None:
    plain = causes.learner(0, (), 1e-3)
    for cause in causes.CAUSES:
        own = causes.learner(0, [cause], 1e-3)
        differs = own != plain
        assert differs == (cause != causes.SHORT)  # that one is in the steps
    assert causes.learner(0, [causes.COARSE], 1e-3).habits == replace(Habits(), pixels=3)


def test_the_page_on_causes_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = load_experiment("hallucination-causes")
    small = replace(
        experiment,
        settings={**experiment.settings, "quick": SMALL},
        design=replace(experiment.design, seeds={"quick": 3, "full": 8}),
    )
    page = whole_page(monkeypatch, small, "quick", cells=100)
    assert page.seeds == 3


def test_stacked_models_are_those_alone() -> None:
    learners = [Learner(0, 1e-3), Learner(1, 1e-3)]
    batch = lesson(0, "test", 3, Habits())
    stack = Stack([StripAnswerer(one.shape, one.seed) for one in learners]).eval()
    both = stack(batch["pictures"].expand(2, -1, -1, -1, -1, -1), batch["tokens"].expand(2, -1, -1))
    for place, one in enumerate(learners):
        alone = StripAnswerer(one.shape, one.seed).eval()(batch["pictures"], batch["tokens"])
        torch.testing.assert_close(both[1][place], alone[1])
    assert both[0].shape == (2, 3, PLACES, WORDS)
