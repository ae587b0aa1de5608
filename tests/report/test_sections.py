"""From names to figures and tables: every contracted name finds its place."""

from __future__ import annotations

import pytest

from lucida.core.results import Metric
from lucida.report.glossary import entries
from lucida.report.looking import blind_figures, caption_facts_table, twin_figures
from lucida.report.sections import (
    chair_table,
    headlines,
    pope_parts,
    pope_table,
    question_figures,
    retrieval_table,
    zero_shot_figures,
    zero_shot_groups,
)


def metric(value: float = 0.5, half: float = 0.05) -> Metric:
    return Metric(value, (value - half, value + half), 100)


def test_zero_shot_names_in_both_spellings() -> None:
    names = ["top1", "frozen_start_top1", "chance_top1", "majority_top1", "top5", "top1_class_mean"]
    groups = zero_shot_groups({f"zero_shot/unseen_concepts/openmoji/{n}": metric() for n in names})
    assert {k: list(v) for k, v in groups.items()} == {
        "zero_shot/unseen_concepts/openmoji": ["", "frozen_start", "majority", "chance"]
    }
    slashed = zero_shot_groups(
        {"transfer/second_artist/top1": metric(), "transfer/second_artist/chance/top1": metric()}
    )
    assert list(slashed["transfer/second_artist"]) == ["", "chance"]


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (0.60, "20.0 points better than the frozen start over 100 pictures; the start lies outside the interval."),
        (0.42, "2.0 points better than the frozen start over 100 pictures; the interval includes the start"),
        (0.30, "10.0 points worse than the frozen start"),
    ],
)
def test_the_caption_says_what_the_interval_allows(own: float, said: str) -> None:
    metrics = {"zero_shot/test/top1": metric(own), "zero_shot/test/frozen_start_top1": metric(0.4)}
    assert zero_shot_figures(metrics)[0].caption.startswith(said)


def test_pope_parts_keep_baselines_and_pictures_apart() -> None:
    metrics = {
        "pope/random/accuracy": metric(0.9),
        "pope/random/auroc": metric(0.97),
        "pope/question_only/accuracy": metric(0.6),
        "pope/question_only/random/accuracy": metric(0.6),
        "pope/chance/accuracy": Metric(0.5, None, 100),
        "pope/majority/accuracy": Metric(0.5, None, 100),
        "pope/second_artist/adversarial/f1": metric(0.8),
    }
    plain, second = pope_parts(metrics)
    assert (plain.title, list(plain.sets), list(plain.baselines)) == (
        *("Test pictures", ["random"], ["question_only", "chance", "majority"]),
    )
    assert (second.title, list(second.sets)) == ("Second artist", ["adversarial"])
    table = pope_table([plain, second])
    assert table is not None
    assert table.columns == ("accuracy", "F1", "AUROC")
    labels = ["Test pictures", "Random", "Question only", "Fixed answer, chance", "Second artist", "Adversarial"]
    assert [row.label for row in table.rows] == labels
    assert table.rows[1].cells[0].small == "[85.0, 95.0]"
    assert pope_table([]) is None


def test_chair_and_retrieval_tables_have_a_row_for_each_kind() -> None:
    chair = chair_table({"chair/chair_i": metric(0.07), "chair/first_8_words/chair_i": metric(0.03)})
    assert chair is not None
    assert [row.label for row in chair.rows] == ["Test pictures", "First 8 words"]
    found = retrieval_table({"retrieval/test/image_to_text/recall_at_5": metric(), "retrieval/x": metric()})
    assert found is not None
    assert found.columns == ("R@5",)
    assert chair_table({}) is None
    assert retrieval_table({}) is None


def test_the_blind_probe_in_both_spellings() -> None:
    names = ["blind/true/accuracy", "blind/blank/accuracy", "blind/loss_true", "blind/loss_shuffled", "blind/gap"]
    figures = blind_figures({name: metric() for name in names})
    assert [f.title for f in figures] == [
        "Accuracy with the true and with no picture",
        "Loss with the true and with no picture",
    ]
    assert "+50.0 points [45.0, 55.0]" in figures[0].caption


def test_counting_stands_beside_its_baselines() -> None:
    figures = question_figures({"count/accuracy": metric(), "count/majority/accuracy": metric(), "where/x": metric()})
    assert [f.title for f in figures] == ["How many?"]
    assert "fixed answer" in figures[0].svg


def test_headlines_are_chosen_or_found() -> None:
    metrics = {
        "zero_shot/test/frozen_start_top1": metric(0.2),
        "zero_shot/test/top1": metric(0.4),
        "pope/adversarial/accuracy": metric(0.87),
        "pope/question_only/accuracy": metric(0.6),
        "count/accuracy": metric(0.7),
    }
    found = headlines(metrics)
    assert [h.title for h in found] == [
        "Zero-shot top-1: test",
        'Accuracy on "is there a …?", adversarial',
        "Count, accuracy",
    ]
    assert found[0].beside == ("frozen start 20.0\N{NO-BREAK SPACE}%",)
    assert found[1].beside == ("question only 60.0\N{NO-BREAK SPACE}%",)
    assert [h.title for h in headlines(metrics, ["count/accuracy", "not/measured"])] == ["Count, accuracy"]


def test_the_glossary_explains_what_is_used_only() -> None:
    assert entries([]) == []
    words = [word for word, _ in entries(["chair/chair_i", "section/learning"])]
    assert words == ["95 % interval", "n", "CHAIR_i", "Loss"]


def test_statements_of_captions_have_a_row_for_each_kind_that_was_made() -> None:
    names = ("count_error", "count_statements", "relation_error", "relation_statements")
    table = caption_facts_table({f"caption_facts/{name}": metric(0.25) for name in names})
    assert table is not None
    assert [(row.label, row.cells[0].text) for row in table.rows] == [
        ("How many there are", "25.0\N{NO-BREAK SPACE}%"),
        ("How two stand to each other", "25.0\N{NO-BREAK SPACE}%"),
    ]
    assert caption_facts_table({"chair/chair_i": metric()}) is None


def test_twins_stand_beside_their_control() -> None:
    names = ["twins/recall", "twins/flip_rate", "twins/control_flip_rate", "twins/drop"]
    figures = twin_figures({name: metric() for name in names})
    assert len(figures) == 1
    assert "other gone: then no" in figures[0].svg
    figures = twin_figures({name: metric() for name in [*names, "twins/pasted/no_ratio", "twins/pasted/flip_rate"]})
    assert [figure.title for figure in figures] == [
        "The same question when the object is taken out",
        "The same question when the object is put in",
    ]
    assert "object put in: then yes" in figures[1].svg
    assert twin_figures({}) == []
