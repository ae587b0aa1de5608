"""Short answers for every combination of verdicts."""

from __future__ import annotations

from lucida.lab.short_answers import Told, answers_from

HELPS: Told = {"supported": ("It helps ", "有用"), "refuted": ("It does not ", "无用")}
COSTS: Told = {"supported": ("and costs 2", "有代价"), "inconclusive": ("and who knows", "不知代价")}


def test_each_outcome_has_the_sentences_of_its_verdicts_in_their_order() -> None:
    found = answers_from(HELPS, ("(by {claim/helps/effect:ci}) ", "，"), COSTS)
    assert {one.words: one.text for one in found} == {
        ("supported", "supported"): "It helps (by {claim/helps/effect:ci}) and costs 2",
        ("supported", "inconclusive"): "It helps (by {claim/helps/effect:ci}) and who knows",
        ("refuted", "supported"): "It does not (by {claim/helps/effect:ci}) and costs 2",
        ("refuted", "inconclusive"): "It does not (by {claim/helps/effect:ci}) and who knows",
    }
    assert found[0].text_zh == "有用，有代价"


def test_names_of_settings_are_told_from_results() -> None:
    assert answers_from(HELPS, COSTS, settings=True)[0].text == "It helps and costs `2`"
