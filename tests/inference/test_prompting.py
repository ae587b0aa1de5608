"""Prompts behind one interface: in-context examples, ensembles, and every way to adapt a model asked alike."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, inject_adapter_in_model

from lucida.core.errors import LucidaError
from lucida.data.collation import collate
from lucida.data.conversations import Turn
from lucida.data.prompt_grammar import GRAMMARS, slot_values
from lucida.inference.prompt_search import search_prompts, template_scores
from lucida.inference.prompting import (
    AnswerScorer,
    Dialogue,
    Example,
    HardPrompt,
    InContextPrompt,
    PromptEnsemble,
    Shot,
    balanced_order,
    choose_answers,
)

sys.path.insert(0, str(Path(__file__).parent))
from prompted_models import N, build

TEMPLATES = GRAMMARS["exists"].templates
POOL = tuple(
    Example(i % N, slot_values(name), answer)
    for i, (name, answer) in enumerate([("cat", "yes"), ("dog", "no"), ("cat", "no"), ("cat", "yes"), ("dog", "yes")])
)
ASKED = tuple(Example(i, slot_values("dog"), "yes" if i % 2 else "no") for i in range(N))


def scorer(kind: str = "llama", soft: int = 0) -> AnswerScorer:
    model, reader, features = build(kind, soft)
    return AnswerScorer(model, reader, features, ("yes", "no"))


@given(st.lists(st.sampled_from("abc"), max_size=20), st.integers(0, 99))
@settings(deadline=None)
def test_every_beginning_of_a_balanced_order_is_balanced(answers, seed):
    keys = np.random.default_rng(seed).random(len(answers))
    order = balanced_order(answers, keys).tolist()
    assert sorted(order) == list(range(len(answers)))
    total = Counter(answers)
    for k in range(len(order) + 1):
        have = Counter(answers[i] for i in order[:k])
        most = max(have.values(), default=0)
        assert all(have[answer] >= min(most - 1, total[answer]) for answer in total)
    for answer in total:
        mine = [keys[i] for i in order if answers[i] == answer]
        assert mine == sorted(mine)


@given(
    answers=st.lists(st.sampled_from(["yes", "no", "maybe"]), min_size=1, max_size=12),
    k=st.integers(1, 12),
    seed=st.integers(0, 5),
    nearest=st.booleans(),
    asked=st.integers(0, 12),
)
@settings(deadline=None)
def test_examples_are_balanced_and_never_of_the_picture_asked_about(answers, k, seed, nearest, asked):
    pool = [Example(i, slot_values("cat"), answer) for i, answer in enumerate(answers)]
    k = min(k, len(pool))
    features = torch.from_numpy(np.random.default_rng(seed).normal(size=(13, 4)))
    prompt = InContextPrompt("Any {names}?", pool, k, seed, features if nearest else None)
    (dialogue,) = prompt.dialogues(Example(asked, slot_values("owl")))
    assert dialogue.question == "Any owls?"
    shown = [shot.picture for shot in dialogue.shots]
    others = [each for each in pool if each.picture != asked]
    assert asked not in shown
    assert len(shown) == len(set(shown)) == min(k, len(others))
    assert all(shot == Shot(shot.picture, "Any cats?", answers[shot.picture]) for shot in dialogue.shots)
    have, total = Counter(shot.answer for shot in dialogue.shots), Counter(each.answer for each in others)
    most = max(have.values(), default=0)
    assert all(have[answer] >= min(most - 1, total[answer]) for answer in total)
    assert prompt.dialogues(Example(asked, slot_values("owl"))) == (dialogue,)
    if nearest:
        unit = torch.nn.functional.normalize(features, dim=-1)
        likeness = [float(unit[picture] @ unit[asked]) for picture in shown]
        assert likeness == sorted(likeness)  # the most alike stands last
        for answer in total:
            best = sorted((float(unit[e.picture] @ unit[asked]) for e in others if e.answer == answer), reverse=True)
            mine = sorted(
                (v for v, s in zip(likeness, dialogue.shots, strict=True) if s.answer == answer), reverse=True
            )
            assert mine == pytest.approx(best[: len(mine)])


def test_drawn_examples_are_the_same_for_all_questions_and_follow_the_seed():
    pool = [Example(100 + i, slot_values("cat"), "yes" if i % 2 else "no") for i in range(20)]
    shots = {InContextPrompt("{name}?", pool, 6, 3).dialogues(example)[0].shots for example in ASKED}
    assert len(shots) == 1
    assert len({InContextPrompt("{name}?", pool, 6, seed).dialogues(ASKED[0])[0].shots for seed in range(5)}) == 5
    orders = [InContextPrompt("{name}?", pool, 6, seed).dialogues(ASKED[0])[0].shots for seed in range(12)]
    patterns = {tuple(shot.answer for shot in each) for each in orders}
    assert len(patterns) > 2  # no fixed alternation that a model could go on with


def test_ensembles_take_means_with_equal_weights():
    logits = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0))
    prompts = [HardPrompt(template) for template in TEMPLATES[:3]]
    each = logits.double().log_softmax(dim=-1)
    product = PromptEnsemble(prompts).choose(logits)
    torch.testing.assert_close(product.double(), each.mean(dim=1).log_softmax(dim=-1), rtol=1e-5, atol=1e-5)
    mixture = PromptEnsemble(prompts, mean="probability").choose(logits)
    torch.testing.assert_close(mixture.exp().double(), each.exp().mean(dim=1), rtol=1e-5, atol=1e-5)
    assert mixture.exp().sum(dim=-1).tolist() == pytest.approx([1] * 5)
    alone = PromptEnsemble(prompts[:1]).choose(logits[:, :1])
    torch.testing.assert_close(alone, prompts[0].choose(logits[:, :1]))


def test_a_dialogue_is_read_as_the_model_was_trained():
    _, reader, _ = build()
    turn = Turn("exists", "Is there a cat?", "yes")
    row = collate([[turn]], reader.chat)
    read = reader.read(Dialogue((), 2, turn.question), ["yes", "no"])
    assert [*read.input_ids, *read.answers[0]] == row["input_ids"][0].tolist()
    assert (row["labels"][0] >= 0).nonzero()[0].item() == len(read.input_ids)
    two = reader.read(Dialogue((Shot(5, turn.question, "yes"),), 2, turn.question), ["no"])
    behind = [*row["input_ids"][0].tolist(), *read.input_ids[1:]]  # BOS stands at the start alone
    assert two.input_ids.tolist() == behind
    assert (two.pictures, two.image_tokens) == ((5, 2), (4, 4))


def test_every_way_is_asked_alike():
    frozen, soft = scorer(), scorer(soft=2)
    adapted = scorer()
    inject_adapter_in_model(
        LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False), adapted.model.language_model
    )
    plain = HardPrompt(TEMPLATES[0])
    ways = {
        "no label": (plain, frozen),
        "hard": (HardPrompt(TEMPLATES[5]), frozen),
        "ensemble": (PromptEnsemble([HardPrompt(t) for t in TEMPLATES[:3]]), frozen),
        "in context": (InContextPrompt(TEMPLATES[0], POOL, 2), frozen),
        "mixed": (PromptEnsemble([plain, InContextPrompt(TEMPLATES[0], POOL, 1)], "probability"), frozen),
        "soft": (plain, soft),
        "lora": (plain, adapted),
    }
    chosen = {name: choose_answers(*way, ASKED) for name, way in ways.items()}
    for name, each in chosen.items():
        assert each.log_probabilities.shape == (N, 2)
        assert each.log_probabilities.exp().sum(dim=-1).tolist() == pytest.approx([1] * N), name
        assert set(each.texts) <= {"yes", "no"}
    for one in ways:
        for other in ways:
            same = torch.equal(chosen[one].log_probabilities, chosen[other].log_probabilities)
            assert same == (one == other)
    assert [chosen[name].pictures for name in ("no label", "ensemble", "in context", "mixed")] == [1, 3, 3, 3]
    assert chosen["soft"].tokens == chosen["no label"].tokens + 2
    assert chosen["lora"].tokens == chosen["no label"].tokens


def test_an_ensemble_is_the_mean_of_asking_apart():
    prompts = [HardPrompt(TEMPLATES[0]), InContextPrompt(TEMPLATES[3], POOL, 2)]
    together = choose_answers(PromptEnsemble(prompts), scorer(), ASKED)
    apart = [choose_answers(prompt, scorer(), ASKED) for prompt in prompts]
    mean = torch.stack([each.log_probabilities for each in apart]).mean(dim=0).log_softmax(dim=-1)
    torch.testing.assert_close(together.log_probabilities, mean, rtol=1e-5, atol=1e-5)
    assert together.tokens == pytest.approx(sum(each.tokens for each in apart))


def test_a_search_scores_as_asking_does():
    used = scorer()
    score = template_scores(used, ASKED)
    right = template_scores(used, ASKED, right_only=True)
    rows = [4, 1, 2]
    for template, logs, hits in zip(
        TEMPLATES[2:4], score(TEMPLATES[2:4], rows), right(TEMPLATES[2:4], rows), strict=True
    ):
        asked = choose_answers(HardPrompt(template), used, [ASKED[row] for row in rows])
        true = [used.answers.index(ASKED[row].answer) for row in rows]
        expected = asked.log_probabilities[range(3), true]
        np.testing.assert_allclose(logs, expected, atol=1e-5)
        assert hits.tolist() == [float(asked.texts[i] == ASKED[row].answer) for i, row in enumerate(rows)]
    found = search_prompts(GRAMMARS["exists"], score, [each.answer for each in ASKED], budget=40)
    assert found.best.template in TEMPLATES
    assert 7 <= found.calls <= 40


def test_bad_input_is_one_line():
    used = scorer()
    with pytest.raises(LucidaError, match="6 examples to show, 5 are labelled"):
        InContextPrompt("{name}", POOL, 6)
    with pytest.raises(LucidaError, match="an example without an answer"):
        InContextPrompt("{name}", [Example(0)], 1)
    with pytest.raises(LucidaError, match=r"picture 4 has no features \(row 4\)"):
        InContextPrompt("{name}", POOL, 1, picture_features=torch.ones(4, 2))
    with pytest.raises(LucidaError, match="an ensemble of no prompt"):
        PromptEnsemble([])
    with pytest.raises(LucidaError, match="asks more than once"):
        choose_answers(PromptEnsemble([PromptEnsemble([HardPrompt("a"), HardPrompt("b")])]), used, ASKED)
    with pytest.raises(LucidaError, match="two different answers"):
        AnswerScorer(used.model, used.reader, used.features, ("yes", "yes"))
    with pytest.raises(LucidaError, match="no example to ask about"):
        choose_answers(HardPrompt("a"), used, [])
    with pytest.raises(LucidaError, match=r"nothing is given for \{options\}"):
        choose_answers(HardPrompt("{options}?"), used, ASKED)
    with pytest.raises(LucidaError, match=r"'perhaps' is none of the answers \(row 1\)"):
        template_scores(used, [ASKED[0], Example(0, {}, "perhaps")])
