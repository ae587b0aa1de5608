"""Instructions about strips, models that follow them, and the page on kinds that were held out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lucida.lab import strip_instructions as told
from lucida.lab.experiment import Bench
from lucida.lab.experiments import held_out_instructions as page
from lucida.lab.experiments import load as load_experiment
from lucida.lab.experiments.held_out_instructions import (
    ARMS,
    CONSTANT,
    FIVE,
    HELD,
    HELD_OUT,
    KNOWN,
    ONE_WORDED,
    SHARED,
    SIXTEEN,
    Arm,
    Exam,
    Learner,
    Settings,
    batch,
)
from lucida.lab.instruction_answerer import InstructionAnswerer, InstructionTask, Shape
from lucida.lab.stack import Stack
from lucida.lab.strip_instructions import (
    ANY,
    ASKED,
    ASKS,
    GROUP,
    INSTRUCTIONS,
    LENGTH,
    MEANT,
    NO,
    WORDINGS,
    WORDS,
    YES,
    answer_words,
    covering,
    instruct,
    strips_of,
)
from lucida.lab.strips import PLACES, world
from tests.lab.drawn_bench import whole_page
from tests.lab.drawn_emoji import drawn_emoji  # noqa: F401  # a fixture

SMALL = Settings(6, 4, (0.003, 0.01), strips=8, shape=Shape(16, 1, 2, 8))
N = 300

pytestmark = pytest.mark.usefixtures("drawn_emoji")


def thing_meant(row: list[int], meant: str, beside: int) -> int:
    if meant in ("the first", "the second", "the last"):
        return row[{"the first": 0, "the second": 1, "the last": -1}[meant]]
    return row[row.index(beside) + (-1 if meant == "what is left of" else 1)]


def right_answer(thing: int, ask: str, compared: int, context: np.ndarray) -> int:
    group = GROUP + context[thing]
    return {
        "what is": thing,
        "is it a": YES if compared == thing else NO,
        "which group is": group,
        "is it of the group": YES if compared == group else NO,
    }[ask]


def every_kind(wordings: int = 1) -> tuple[told.Told, np.ndarray, told.Strips]:
    strips = strips_of(3, "every kind", N)
    which = np.arange(N * ASKED).reshape(N, ASKED) % len(INSTRUCTIONS)
    return instruct(strips, world(3), which, np.random.default_rng(0), wordings), which, strips


def test_every_answer_is_right() -> None:
    made, which, strips = every_kind()
    for n, kinds in enumerate(strips.kinds.tolist()):
        row = [kind for kind in kinds if kind >= 0]
        for q in range(ASKED):
            ask, meant = INSTRUCTIONS[which[n, q]]
            compared, beside = made.tokens[n, q, 2:].tolist()
            thing = thing_meant(row, MEANT[meant], beside)
            assert made.answers[n, q] == right_answer(thing, ASKS[ask], compared, world(3).context)
            assert (compared == ANY) == (ASKS[ask] in ("what is", "which group is"))
            assert (beside == ANY) == (MEANT[meant] in ("the first", "the second", "the last"))


def test_an_instruction_is_told_by_its_words_and_answered_in_its_form() -> None:
    made, which, _ = every_kind()
    words = {
        tuple(tokens[:2]): kind
        for tokens, kind in zip(made.tokens.reshape(-1, LENGTH).tolist(), which.ravel(), strict=True)
    }
    assert len(words) == len(set(words.values())) == len(INSTRUCTIONS)
    assert made.tokens.max() < WORDS
    allowed = answer_words()[np.array(INSTRUCTIONS)[which, 0]]
    assert np.take_along_axis(allowed, made.answers[..., None], axis=2).all()


def test_wordings_change_words_and_nothing_else() -> None:
    plain, _, _ = every_kind()
    many, _, _ = every_kind(WORDINGS)
    heads = {tuple(tokens) for tokens in many.tokens.reshape(-1, LENGTH)[:, :2].tolist()}
    assert len(heads) > 0.9 * len(INSTRUCTIONS) * WORDINGS**2
    assert np.array_equal((many.tokens[..., 0] - plain.tokens[..., 0]) // WORDINGS, np.zeros((N, ASKED)))
    assert np.array_equal(many.tokens[..., 2:], plain.tokens[..., 2:])
    assert np.array_equal(many.answers, plain.answers)


@pytest.mark.parametrize("ask", ["is it a", "is it of the group"])
def test_yes_and_no_are_even_and_some_noes_are_about_what_is_shown(ask: str) -> None:
    made, which, strips = every_kind()
    asked = np.array(INSTRUCTIONS)[which, 0] == ASKS.index(ask)
    assert 0.45 < (made.answers[asked] == YES).mean() < 0.55
    rows, columns = np.nonzero(asked & (made.answers == NO))
    compared = made.tokens[rows, columns, 2]
    shown = [
        value in (kinds if ask == "is it a" else GROUP + world(3).context[kinds])
        for value, kinds in ((v, strips.kinds[n][strips.kinds[n] >= 0]) for v, n in zip(compared, rows, strict=True))
    ]
    assert 0.4 < np.mean(shown) < 0.85


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 5000))
def test_from_five_kinds_on_no_word_is_new(seed: int) -> None:
    held_out, order = covering(seed, HELD_OUT)
    assert sorted([*held_out, *order]) == [*range(len(INSTRUCTIONS))]
    first = [INSTRUCTIONS[kind] for kind in order[:SHARED]]
    assert {ask for ask, _ in first} == {*range(len(ASKS))}
    assert {meant for _, meant in first} == {*range(len(MEANT))}
    assert first[0][0] != first[1][0]
    assert Learner(seed, ARMS[FIVE], 0.1).kinds == Learner(seed, ARMS[SIXTEEN], 0.1).kinds[:SHARED]


def test_all_models_of_a_seed_see_the_same_strips_and_other_instructions() -> None:
    learners = [Learner(0, ARMS[name], 0.1) for name in (FIVE, SIXTEEN, ONE_WORDED)] + [Learner(1, ARMS[FIVE], 0.1)]
    rows = batch(learners, "train", 5, lambda one: one.kinds)
    assert torch.equal(rows["pictures"][0], rows["pictures"][2])
    assert not torch.equal(rows["pictures"][0], rows["pictures"][3])
    assert not torch.equal(rows["tokens"][0], rows["tokens"][1])
    blind = batch([Learner(0, Arm(5, blind=True), 0.1)], "train", 5, lambda one: one.kinds)
    assert not blind["pictures"].any()
    assert (blind["places"] < 0).all()
    assert torch.equal(blind["answers"][0], rows["answers"][0])


def test_an_exam_is_the_same_for_all_arms_and_in_the_first_wording() -> None:
    learners = [Learner(0, ARMS[name], 0.1) for name in (FIVE, ONE_WORDED, SIXTEEN)]
    exam = Exam(learners, "test", 10, lambda one: one.held_out)
    assert {*exam.asked.ravel().tolist()} == {*covering(0, HELD_OUT)[0]}
    for m in (1, 2):
        assert torch.equal(exam.batch["tokens"][0], exam.batch["tokens"][m])


def test_an_instruction_sees_its_own_words_and_the_strip_alone() -> None:
    model = InstructionAnswerer(SMALL.shape, 0).eval()
    rows = batch([Learner(0, ARMS[FIVE], 0.1)], "train", 3, lambda one: one.kinds)
    pictures, tokens = rows["pictures"][0], rows["tokens"][0]
    before = model(pictures, tokens)[1]
    other = tokens.clone()
    other[:, PLACES + LENGTH] = (other[:, PLACES + LENGTH] + 1) % WORDS  # a word of the second instruction
    after = model(pictures, other)[1]
    torch.testing.assert_close(before[:, [0, *range(2, ASKED)]], after[:, [0, *range(2, ASKED)]])
    assert not torch.allclose(before[:, 1], after[:, 1])
    assert not torch.allclose(before, model(pictures.flip(1), tokens)[1])


def test_a_stack_of_models_is_the_models() -> None:
    learners = [Learner(seed, ARMS[FIVE], 0.1) for seed in (0, 1)]
    models = [InstructionAnswerer(SMALL.shape, one.seed) for one in learners]
    rows = batch(learners, "train", 3, lambda one: one.kinds)
    logits = Stack(models)(rows["pictures"], rows["tokens"])[1]
    for k, model in enumerate(models):
        torch.testing.assert_close(logits[k], model(rows["pictures"][k], rows["tokens"][k])[1])
        loss = InstructionTask(model).loss({name: values[k] for name, values in rows.items()})
        assert torch.isfinite(loss.loss_sum)


def test_what_is_recorded_is_of_the_right_arm() -> None:
    experiment = load_experiment("held-out-instructions")
    found = page.measure(Bench(experiment, (0, 1), (5, 6)), SMALL)
    assert {arm for measure, arm, _ in found.numbers if measure == HELD} == {*ARMS, CONSTANT}
    assert found.numbers[KNOWN, FIVE, ""].tolist() == [1.0, 1.0]
    assert found.numbers[KNOWN, ONE_WORDED, ""].max() <= 0.25
    assert all(0 <= values.min() <= values.max() <= 1 for values in found.numbers.values())
    assert found.curves["by number/held"][1].shape == (2, 5)
    assert found.facts["examples"] == SMALL.steps * SMALL.batch_size * ASKED


def test_the_page_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = load_experiment("held-out-instructions")
    monkeypatch.setitem(experiment.settings, "quick", SMALL)  # type: ignore[arg-type]
    whole_page(monkeypatch, experiment, "quick", cells=50)
