"""Prompt search: the budget is kept, the best is found where scores tell, estimates come from other examples."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.data.prompt_grammar import PromptGrammar
from lucida.inference.prompt_search import halves, search_prompts

WORDS = tuple("abcd")
GRAMMAR = PromptGrammar({"prompt": ("{x} {y} {z}", "{x} {z}"), "x": WORDS, "y": WORDS, "z": WORDS})


class Scorer:
    """A score a template, the same on every example, with noise if wanted; counts what it is asked."""

    def __init__(self, seed: int = 0, noise: float = 0.0, levels: int | None = None):
        generator = np.random.default_rng(seed)
        parts = {word: generator.random() for word in WORDS}
        values = [sum(parts[word] / (i + 1) for i, word in enumerate(t.split())) for t in GRAMMAR.templates]
        if levels:
            values = [float(int(value * levels)) for value in values]
        self.quality = dict(zip(GRAMMAR.templates, values, strict=True))
        self.noise, self.seed = noise, seed
        self.asked: Counter[tuple[str, int]] = Counter()

    def __call__(self, templates, rows):
        self.asked.update((template, row) for template in templates for row in rows)
        noise = [
            [np.random.default_rng([self.seed, GRAMMAR.templates.index(t), row]).normal() for row in rows]
            for t in templates
        ]
        return np.array([[self.quality[t]] * len(rows) for t in templates]) + self.noise * np.array(noise)


@given(
    labels=st.integers(1, 40),
    extra=st.integers(0, 700),
    keep=st.integers(1, 6),
    seed=st.integers(0, 3),
    noise=st.sampled_from([0.0, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_no_more_calls_than_allowed_and_none_twice(labels, extra, keep, seed, noise):
    score = Scorer(seed, noise)
    answers = ["yes" if i % 3 else "no" for i in range(labels)]
    found = search_prompts(GRAMMAR, score, answers, budget=labels + extra, keep=keep, seed=seed)
    assert found.calls == sum(score.asked.values()) <= labels + extra
    assert max(score.asked.values()) == 1
    selection, held_out = halves(answers, seed)
    first = GRAMMAR.templates[0]
    assert {row for template, row in score.asked if template == first} >= set(selection)  # the first one takes part
    measured = [each for each in found.ranked if each.estimate is not None]
    assert 1 <= len(measured) <= keep or labels == 1
    assert found.ranked[: len(measured)] == tuple(measured)
    for each in found.ranked:
        rows = [row for template, row in score.asked if template == each.template]
        assert set(rows) == {*selection[: each.n], *(held_out if each.estimate is not None else ())}
        if each.estimate is not None:
            assert each.n == len(selection)
            assert each.n_estimate == len(held_out)


@given(extra=st.integers(0, 700), seed=st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_without_noise_the_best_of_what_was_tried_is_found(extra, seed):
    score = Scorer(seed)
    found = search_prompts(GRAMMAR, score, ["yes", "no"] * 20, budget=40 + extra, seed=seed)
    tried = {template for template, _ in score.asked}
    best = max(score.quality[template] for template in tried)
    assert score.quality[found.best.template] == best
    assert found.best.score == pytest.approx(best)
    assert found.best.estimate == pytest.approx(best)


def test_enough_calls_find_the_best_of_all():
    for seed in range(4):
        score = Scorer(seed)
        found = search_prompts(GRAMMAR, score, ["yes", "no"] * 4, budget=8 * len(GRAMMAR), seed=seed)
        assert score.quality[found.best.template] == max(score.quality.values())


def test_steps_in_the_grammar_find_what_few_draws_miss():
    gains = []
    for seed in range(8):
        score = Scorer(seed)
        found = search_prompts(GRAMMAR, score, ["yes", "no"] * 8, budget=200, seed=seed)
        drawn = [GRAMMAR.templates[0], *GRAMMAR.sample(200 // 16, seed)]  # all calls for draws, none for a half alone
        gains.append(score.quality[found.best.template] - max(score.quality[template] for template in drawn))
    assert np.mean(gains) > 0


def test_the_estimate_is_honest_where_the_score_is_not():
    scores, estimates = [], []
    for seed in range(30):
        score = Scorer(0, noise=0.0)
        score.quality = dict.fromkeys(score.quality, 0.5)
        score.noise, score.seed = 1.0, seed
        found = search_prompts(GRAMMAR, score, ["yes", "no"] * 8, budget=600, keep=1, seed=seed)
        scores.append(found.best.score)
        estimates.append(found.best.estimate)
    error = 1 / np.sqrt(8 * 30)
    assert np.mean(scores) > 0.5 + 4 * error
    assert abs(np.mean(estimates) - 0.5) < 3 * error


def test_ties_follow_the_grammar_and_a_search_repeats_itself():
    flat = Scorer()
    flat.quality = dict.fromkeys(flat.quality, 1.0)
    found = search_prompts(GRAMMAR, flat, ["yes", "no"] * 4, budget=8 * len(GRAMMAR))
    assert found.best.template == GRAMMAR.templates[0]
    complete = [GRAMMAR.templates.index(each.template) for each in found.ranked if each.n == 4]
    assert complete == sorted(complete)
    for levels in (None, 3):
        again = [search_prompts(GRAMMAR, Scorer(1, 0.5, levels), ["a", "b"] * 9, budget=300, seed=7) for _ in range(2)]
        assert again[0] == again[1]


def test_no_label_means_no_search():
    score = Scorer()
    found = search_prompts(GRAMMAR, score, [], budget=0)
    assert (found.best.template, found.best.score, found.best.estimate, found.calls) == ("a a a", None, None, 0)
    assert not score.asked


def test_one_label_leaves_nothing_for_an_estimate():
    found = search_prompts(GRAMMAR, Scorer(), ["yes"], budget=30)
    assert found.best.n == 1
    assert found.best.estimate is None
    assert found.calls == 30


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=40), st.integers(0, 5))
@settings(deadline=None)
def test_halves_hold_as_many_of_each_answer(answers, seed):
    first, second = halves(answers, seed)
    assert sorted(first + second) == list(range(len(answers)))
    assert 0 <= len(first) - len(second) <= 1
    counts = [Counter(answers[i] for i in half) for half in (first, second)]
    assert all(abs(counts[0][answer] - counts[1][answer]) <= 1 for answer in "abc")
    assert (first, second) == halves(answers, seed)


def test_bad_input_is_one_line():
    with pytest.raises(LucidaError, match="7 calls do not pay for one template on 8 examples"):
        search_prompts(GRAMMAR, Scorer(), ["yes", "no"] * 4, budget=7)
    with pytest.raises(LucidaError, match=r"finite scores \[.*\] are needed"):
        search_prompts(GRAMMAR, lambda templates, rows: np.full((len(templates), len(rows)), np.nan), ["a"], budget=9)
    with pytest.raises(LucidaError, match=r"finite scores \[9, 1\] are needed, not \[9\]"):
        search_prompts(GRAMMAR, lambda templates, rows: np.zeros(len(templates)), ["a"], budget=14)
