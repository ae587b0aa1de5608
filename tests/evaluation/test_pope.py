"""POPE: question sets are balanced, true and seeded; scores by hand, against scikit-learn, and for models we know."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.core.statistics import auroc, cluster_bootstrap
from lucida.data.statistics import ObjectStatistics
from lucida.evaluation.pope import (
    SETS,
    PopeQuestion,
    baseline_metrics,
    build_questions,
    corpus_questions,
    fingerprint,
    labels_of,
    obstacle,
    pope_metrics,
    question_only_metrics,
    read_answers,
)
from lucida.evaluation.vocabulary import Vocabulary, coco_synonyms

NAMES = ["apple", "ball", "car", "dog", "egg", "fox", "goat", "hat"]


def world(seed: int, n: int = 40) -> dict[str, list[str]]:
    """Pictures of 0 to 5 of the names; the first names are the most frequent."""
    generator = np.random.default_rng(seed)
    weights = 1 / np.arange(1, len(NAMES) + 1)
    return {
        f"picture {i}": generator.choice(NAMES, generator.integers(0, 6), False, weights / weights.sum()).tolist()
        for i in range(n)
    }


def asked(seed: int = 0, n: int = 40) -> list[PopeQuestion]:
    return [q for how in SETS for q in build_questions(world(seed, n), how, exhaustive=True)]


@given(st.integers(0, 500), st.sampled_from(SETS), st.integers(1, 4))
def test_questions_are_true_balanced_and_seeded(seed: int, how: str, k: int) -> None:
    present = world(seed)
    questions = build_questions(present, how, exhaustive=True, k=k, seed=seed)
    assert questions == build_questions(present, how, exhaustive=True, k=k, seed=seed)
    by_picture: dict[str, list[PopeQuestion]] = {}
    for q in questions:
        assert q.label == (q.object in present[q.picture_id])
        assert q.set == how
        by_picture.setdefault(q.picture_id, []).append(q)
    for picture, rows in by_picture.items():
        assert len({q.object for q in rows}) == len(rows)
        assert Counter(q.label for q in rows) == {True: len(rows) // 2, False: len(rows) // 2}
        assert len(rows) // 2 == min(k, len(present[picture]), len(NAMES) - len(present[picture]))
    assert set(by_picture) == {picture for picture, names in present.items() if names}


def test_the_sets_share_their_positives_and_the_seed_moves_them() -> None:
    positives = [{(q.picture_id, q.object) for q in asked() if q.label and q.set == how} for how in SETS]
    assert positives[0] == positives[1] == positives[2]
    other = build_questions(world(0), "random", exhaustive=True, seed=1)
    assert other != build_questions(world(0), "random", exhaustive=True, seed=0)
    assert fingerprint(other) != fingerprint(asked())
    assert fingerprint(other[::-1]) == fingerprint(other)


def test_a_picture_keeps_its_questions_when_others_leave() -> None:
    present = world(3)
    statistics = ObjectStatistics.count(present.values())
    few = dict(list(present.items())[5:12])
    for how in SETS:
        every = build_questions(present, how, exhaustive=True, statistics=statistics)
        part = build_questions(few, how, exhaustive=True, statistics=statistics)
        assert part == [q for q in every if q.picture_id in few]


def test_popular_asks_for_the_frequent_and_adversarial_for_the_companions() -> None:
    present = {f"{i}": ["table", "chair"] for i in range(6)} | {f"b{i}": ["boat", "sea"] for i in range(9)}
    present |= {"t": ["table"], "s": ["sea"]}
    popular = build_questions(present, "popular", exhaustive=True, k=1)
    assert {q.object for q in popular if not q.label and q.picture_id == "t"} == {"sea"}
    adversarial = build_questions(present, "adversarial", exhaustive=True, k=1)
    assert {q.object for q in adversarial if not q.label and q.picture_id == "t"} == {"chair"}
    learned = ObjectStatistics.count([["table", "sea"], ["table", "sea"], ["boat", "chair"]])
    taught = build_questions({"t": ["table"]}, "adversarial", exhaustive=True, k=1, statistics=learned)
    assert [q.object for q in taught] == ["table", "sea"]


def test_equally_likely_negatives_are_not_chosen_by_the_alphabet() -> None:
    present = {f"p{i}": [name] for i in range(30) for name in [NAMES[i % 8]]} | {"pair": ["apple", "ball"]}
    negatives = Counter(q.object for q in build_questions(present, "adversarial", exhaustive=True, k=1) if not q.label)
    assert len(negatives) >= 2
    random = Counter(q.object for q in build_questions(present, "random", exhaustive=True, k=1) if not q.label)
    assert len(random) > len(NAMES) / 2


@pytest.mark.parametrize(
    ("present", "how", "exhaustive", "reason"),
    [
        (world(0), "random", False, "not exhaustive"),
        (world(0), "cruel", True, "no set 'cruel'"),
        ({"a": []}, "random", True, "no picture lists an object"),
        ({"a": ["cat", "dog"], "b": ["dog", "cat"]}, "random", True, "no object is absent"),
        ({"a": ["cat"], "b": ["dog"]}, "popular", True, "equally frequent"),
        ({"a": ["cat"], "b": ["dog"], "c": ["dog"]}, "adversarial", True, "no two objects ever share"),
    ],
)
def test_what_labels_cannot_support_is_refused(present: dict, how: str, exhaustive: bool, reason: str) -> None:
    assert reason in (obstacle(present, how, exhaustive=exhaustive) or "")
    with pytest.raises(LucidaError, match=reason):
        build_questions(present, how, exhaustive=exhaustive)


def test_k_must_be_positive() -> None:
    with pytest.raises(LucidaError, match="k must be at least 1"):
        build_questions(world(0), "random", exhaustive=True, k=0)


def test_scores_by_hand() -> None:
    labels = [True, True, True, False, False, False]
    questions = [PopeQuestion("ab"[i % 2], "dog", label, "random") for i, label in enumerate(labels)]
    metrics = pope_metrics(questions, ["Yes.", "no", "maybe", "No", "Yes", "there is no dog"], prefix="p")
    expected = {"accuracy": 3 / 6, "precision": 1 / 2, "recall": 1 / 3, "f1": 2 / 5, "yes_ratio": 2 / 6}
    for name, value in {**expected, "abstain_ratio": 1 / 6}.items():
        metric = metrics[f"p/random/{name}"]
        assert metric.value == pytest.approx(value)
        assert metric.ci95[0] <= value <= metric.ci95[1]
        assert metric.n == (1 if name == "precision" else 2)  # both answers of yes are about one picture


def test_models_we_know() -> None:
    questions = asked()
    truth = labels_of(questions)
    perfect = pope_metrics(questions, lambda q: "Yes." if q.label else "No.", scores=truth * 1.0)
    always = pope_metrics(questions, ["Yes"] * len(questions), scores=np.full(len(questions), 0.7))
    silent = pope_metrics(questions, [""] * len(questions))
    for how in SETS:
        for name in ("accuracy", "precision", "recall", "f1", "auroc", "accuracy_at_true_yes_ratio"):
            assert perfect[f"pope/{how}/{name}"].value == 1
            assert 0.5 < perfect[f"pope/{how}/{name}"].ci95[0] < 1
        assert f"pope/{how}/false_yes_confidence" not in perfect
        assert perfect[f"pope/{how}/calibration_error"].value == 0
        assert always[f"pope/{how}/accuracy"].value == always[f"pope/{how}/auroc"].value == 0.5
        assert always[f"pope/{how}/accuracy_at_true_yes_ratio"].value == 0.5
        assert always[f"pope/{how}/yes_ratio"].value == 1
        assert always[f"pope/{how}/false_yes_confidence"].value == pytest.approx(0.7)
        assert always[f"pope/{how}/calibration_error"].value == pytest.approx(0.2)
        assert silent[f"pope/{how}/accuracy"].value == 0
        assert silent[f"pope/{how}/abstain_ratio"].value == 1
        assert math.isnan(silent[f"pope/{how}/precision"].value)
    assert all(m.value == 0.5 for m in baseline_metrics(questions).values())


@given(st.integers(0, 300))
def test_any_answers_give_values_in_their_intervals_in_any_order(seed: int) -> None:
    generator, questions = np.random.default_rng(seed), asked(seed, 12)
    answers = generator.choice(["yes", "no", "maybe"], len(questions)).tolist()
    scores = np.round(generator.random(len(questions)), 1)
    metrics = pope_metrics(questions, answers, scores=scores)
    for name, metric in metrics.items():
        assert metric.ci95 is None or metric.ci95[0] <= metric.value <= metric.ci95[1], name
    order = generator.permutation(len(questions))
    moved = pope_metrics([questions[i] for i in order], [answers[i] for i in order], scores=scores[order])
    for name, metric in metrics.items():
        assert moved[name].value == pytest.approx(metric.value, nan_ok=True)
        if metric.ci95 and "calibration" not in name:  # whose resampling knows the clusters by their order
            assert moved[name].ci95 == pytest.approx(metric.ci95)


def test_scores_agree_with_scikit_learn() -> None:
    sklearn_metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    generator, questions = np.random.default_rng(5), asked(5)
    truth = labels_of(questions)
    scores = np.round(np.clip(0.5 + 0.3 * (truth - 0.5) + 0.3 * generator.normal(size=len(truth)), 0, 1), 1)
    ours = pope_metrics(questions, ["yes" if s > 0.5 else "no" for s in scores], scores=scores)
    for how in SETS:
        rows = [i for i, q in enumerate(questions) if q.set == how]
        t, p = truth[rows], scores[rows]
        expected = sklearn_metrics.precision_recall_fscore_support(t, p > 0.5, average="binary")[:3]
        got = [ours[f"pope/{how}/{name}"].value for name in ("precision", "recall", "f1")]
        assert got == pytest.approx(expected)
        assert ours[f"pope/{how}/auroc"].value == pytest.approx(sklearn_metrics.roc_auc_score(t, p))
        assert ours[f"pope/{how}/accuracy"].value == pytest.approx(sklearn_metrics.accuracy_score(t, p > 0.5))


def test_intervals_agree_with_resampling_whole_pictures() -> None:
    generator, questions = np.random.default_rng(7), asked(7, 300)
    questions = [q for q in questions if q.set == "random"]
    pictures = [q.picture_id for q in questions]
    truth = labels_of(questions)
    bad = {p: generator.random() < 0.3 for p in set(pictures)}  # in some pictures the model guesses
    scores = np.where([bad[p] for p in pictures], 0.5, 0.25 + 0.5 * truth) + 0.2 * generator.normal(size=len(truth))
    scores = np.clip(scores, 0, 1)
    yes = scores > 0.5
    metrics = pope_metrics(questions, ["yes" if y else "no" for y in yes], scores=scores)

    def f1(rows: np.ndarray) -> float:
        return 2 * (yes & truth)[rows].sum() / (yes[rows].sum() + truth[rows].sum())

    statistics = {
        "accuracy": lambda rows: (yes == truth)[rows].mean(),
        "f1": f1,
        "auroc": lambda rows: auroc(scores[rows], truth[rows]),
    }
    for name, statistic in statistics.items():
        resampled = cluster_bootstrap(statistic, pictures, resamples=400)
        assert metrics[f"pope/random/{name}"].value == pytest.approx(resampled.value)
        assert metrics[f"pope/random/{name}"].ci95 == pytest.approx(resampled.ci95, abs=0.012)


def test_matched_yes_ratio_undoes_a_shift_of_the_scores() -> None:
    questions = [q for q in asked(2) if q.set == "popular"]
    truth = labels_of(questions)
    scores = 0.6 + 0.2 * truth  # says yes to everything, but ranks perfectly
    metrics = pope_metrics(questions, ["yes"] * len(questions), scores=scores)
    assert metrics["pope/popular/accuracy"].value == 0.5
    assert metrics["pope/popular/accuracy_at_true_yes_ratio"].value == 1


def test_question_only_is_scored_over_all_sets_and_in_each() -> None:
    questions = asked(1)
    metrics = question_only_metrics(questions, lambda q: "yes" if q.object == "apple" else "maybe")
    assert {f"pope/question_only/{how}/accuracy" for how in SETS} | {"pope/question_only/accuracy"} <= set(metrics)
    right = np.mean([q.object == "apple" and q.label for q in questions])
    assert metrics["pope/question_only/accuracy"].value == pytest.approx(right)
    per_set = [metrics[f"pope/question_only/{how}/accuracy"].value for how in SETS]
    assert np.mean(per_set) == pytest.approx(right)  # the sets are of one size
    assert "pope/question_only/auroc" in question_only_metrics(
        questions, [""] * len(questions), scores=[0.5] * len(questions)
    )


def test_a_synonym_counts_where_it_is_known() -> None:
    question = [PopeQuestion("a", "person", True, "random")]
    assert read_answers(question, ["There are people."]) == ["yes"]
    assert read_answers(question, ["There is a man."]) == ["yes"]
    assert read_answers(question, ["There is a gizmo."]) == ["abstain"]
    own = Vocabulary(["person"], {"person": ["gizmo"]})
    assert read_answers(question, ["There is a gizmo."], vocabulary=own) == ["yes"]
    assert read_answers(question, ["whatever"], parse=lambda text: "no") == ["no"]
    assert read_answers([], []) == []


def test_coco_photographs_support_every_set() -> None:
    instances = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "coco_boxes" / "instances.json"
    if not instances.exists():
        pytest.skip(f"{instances} is missing")
    content = json.loads(instances.read_text())
    names = {row["id"]: row["name"] for row in content["categories"]}
    assert set(names.values()) <= set(coco_synonyms())
    present: dict[str, set[str]] = {str(row["id"]): set() for row in content["images"]}
    for row in content["annotations"]:
        present[str(row["image_id"])].add(names[row["category_id"]])
    sets = {how: build_questions(present, how, exhaustive=True) for how in SETS}
    assert len({len(questions) for questions in sets.values()}) == 1
    assert len(sets["random"]) > 300
    asked_for = {how: len({q.object for q in rows if not q.label}) for how, rows in sets.items()}
    assert asked_for["popular"] < asked_for["adversarial"] < asked_for["random"]


def test_wrong_lengths_and_scores_are_errors() -> None:
    question = [PopeQuestion("a", "dog", True, "random")]
    with pytest.raises(LucidaError, match="2 answers for 1"):
        pope_metrics(question, ["yes", "no"])
    with pytest.raises(LucidaError, match="2 scores for 1"):
        pope_metrics(question, ["yes"], scores=[0.1, 0.2])
    for bad in (1.5, math.nan, -3.0):
        with pytest.raises(LucidaError, match="between 0 and 1"):
            pope_metrics(question, ["yes"], scores=[bad])


def corpus(*, exhaustive: bool, objects: bool) -> SimpleNamespace:
    """What :func:`corpus_questions` reads of a corpus."""
    shown = world(4) if objects else {f"p{i}": [] for i in range(9)}
    labels = [None] * len(shown) if objects else ["cat", "dog", "dog"] * 3
    pictures = [
        SimpleNamespace(id=key, objects=[SimpleNamespace(name=name) for name in names], label=label)
        for (key, names), label in zip(shown.items(), labels, strict=True)
    ]
    return SimpleNamespace(pictures=pictures, exhaustive_objects=exhaustive)


def test_a_corpus_gives_the_sets_it_supports_and_reasons_for_the_others() -> None:
    questions, reasons = corpus_questions(corpus(exhaustive=True, objects=True))
    assert {q.set for q in questions} == set(SETS)
    assert reasons == {}
    assert questions == [q for how in SETS for q in build_questions(world(4), how, exhaustive=True)]
    questions, reasons = corpus_questions(corpus(exhaustive=True, objects=False))
    assert {q.set for q in questions} == {"random", "popular"}
    assert "no two objects ever share" in reasons["adversarial"]
    questions, reasons = corpus_questions(corpus(exhaustive=False, objects=True))
    assert questions == []
    assert all("not exhaustive" in reason for reason in reasons.values())
