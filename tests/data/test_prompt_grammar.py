"""Prompt grammars: the language against a plain enumeration, draws, neighbours, bad rules in one line."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.data.conversations import FORMS
from lucida.data.prompt_grammar import GRAMMARS, SLOTS, PromptGrammar, fill, slot_values

SYMBOLS = ("prompt", "one", "two", "three")


@st.composite
def rules(draw):
    """Rules of which each leads to later ones only; all are used."""
    made = {}
    for place, symbol in enumerate(SYMBOLS):
        later = [f"{{{name}}}" for name in SYMBOLS[place + 1 :]]
        parts = st.sampled_from(["a", "b", " ", "{name}", "{options}", *later])
        alternatives = draw(st.lists(st.lists(parts, max_size=3).map("".join), min_size=1, max_size=3))
        if later:
            alternatives.append(later[0])
        made[symbol] = tuple(alternatives)
    return made


def language(rules: dict[str, tuple[str, ...]], symbol: str = "prompt") -> list[str]:
    """The plain way: texts of a symbol, all combinations, then each once."""
    found = []
    for alternative in rules[symbol]:
        parts = [
            language(rules, part[1:-1]) if part[1:-1] in rules else [part]
            for part in re.split(r"(\{\w+\})", alternative)
        ]
        found += ["".join(chosen) for chosen in product(*parts)]
    if symbol == "prompt":
        found = [re.sub(" +", " ", text).strip(" ") for text in found]
    return list(dict.fromkeys(found))


@given(rules())
@settings(max_examples=60, deadline=None)
def test_the_count_is_that_of_an_enumeration(rules):
    grammar = PromptGrammar(rules)
    assert set(grammar.templates) == set(language(rules))
    assert len(grammar) == len(grammar.templates) == len(set(grammar.templates))
    assert PromptGrammar(rules).templates == grammar.templates


@given(rules(), st.integers(1, 30), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_draws_hold_no_template_twice_and_follow_the_seed(rules, n, seed):
    grammar = PromptGrammar(rules)
    drawn = grammar.sample(n, seed)
    assert len(drawn) == len(set(drawn)) == min(n, len(grammar))
    assert set(drawn) <= set(grammar.templates)
    assert drawn == grammar.sample(n, seed)


@given(rules(), st.sampled_from(["apple", "fire engine", "sheep"]))
@settings(max_examples=40, deadline=None)
def test_every_slot_is_filled(rules, name):
    for template in PromptGrammar(rules).templates[:50]:
        text = fill(template, slot_values(name, ["yes", "no"]))
        assert "{" not in text
        assert text.count(name) >= template.count("{name}")
        assert text.count("yes or no") == template.count("{options}")


@given(rules())
@settings(max_examples=30, deadline=None)
def test_neighbours_are_other_templates_of_the_language(rules):
    grammar = PromptGrammar(rules)
    for template in grammar.templates[:10]:
        near = grammar.neighbours(template)
        assert len(near) == len(set(near))
        assert set(near) <= set(grammar.templates) - {template}


def test_neighbours_swap_one_production_and_keep_the_rest():
    grammar = PromptGrammar(
        {
            "prompt": ("{ask} {thing}? {end}",),
            "ask": ("Any", "Some"),
            "thing": ("{name}", "red {name}"),
            "end": ("Hm", ""),
        }
    )
    assert grammar.neighbours("Some red {name}?") == ["Any red {name}?", "Some {name}?", "Some red {name}? Hm"]
    swapped = PromptGrammar({"prompt": ("{x} {y}", "{y} first"), "x": ("1", "2"), "y": ("3", "4")})
    assert swapped.neighbours("2 4") == ["4 first", "1 4", "2 3"]
    assert swapped.neighbours("4 first") == ["1 4", "3 first"]  # what is new takes its first alternative


def test_draws_differ_by_seed():
    grammar = GRAMMARS["exists"]
    assert grammar.sample(10, 0) != grammar.sample(10, 1)


@pytest.mark.parametrize("form", GRAMMARS)
def test_default_grammars_start_with_the_wording_of_their_form(form):
    grammar = GRAMMARS[form]
    assert grammar.templates[0] == FORMS[form].questions[0]
    assert len(grammar) >= 50
    values = slot_values("apple", ["apple", "owl"])
    for template in grammar.templates:
        text = fill(template, values)
        assert "  " not in text
        assert text == text.strip()
        assert not re.search(r" [.?!,]|\{", text)
        assert ("apple" in text) or form != "exists"


@pytest.mark.parametrize(
    ("rules", "options", "said"),
    [
        ({"start": ("a",)}, {}, "there is no rule 'prompt' to start from"),
        ({"prompt": ()}, {}, r"a rule needs a list of alternatives \(rule 'prompt'\)"),
        ({"prompt": "is it {name}?"}, {}, "a rule needs a list of alternatives"),
        ({"prompt": ("{ask} {name}",), "aks": ("a",)}, {}, r"unknown symbol \{ask\}.*did you mean \{aks\}\?"),
        ({"prompt": ("{a_very_other_thing}",)}, {}, f"the slots are: {', '.join(SLOTS)}"),
        ({"prompt": ("{one}",), "one": ("x {two}",), "two": ("{one}",)}, {}, "a rule without end: one → two → one"),
        ({"prompt": ("again {prompt}", "")}, {}, "a rule without end: prompt → prompt"),
        ({"prompt": ("a",), "other": ("b",)}, {}, "nothing uses the rule 'other'"),
        ({"prompt": ("{name} }",)}, {}, "a brace stands alone"),
        ({"prompt": ("{}",)}, {}, "a brace stands alone"),
        ({"prompt": ("{name}",), "name": ("b",)}, {}, r"\{name\} is a slot and cannot be a rule too"),
        (
            {"prompt": ("{name}?", "{ask} it? {options}"), "ask": ("{names}", "Is")},
            {"needs": ("name", "names")},
            r"a template without \{name\} or \{names\} \('Is it\? \{options\}'\)",
        ),
        ({"prompt": ("{x}" * 6,), "x": tuple("abcdefghij")}, {}, "more than 200,000 templates"),
    ],
)
def test_a_bad_rule_is_one_line(rules, options, said):
    with pytest.raises(LucidaError, match=said) as raised:
        PromptGrammar(rules, **options)
    assert "\n" not in str(raised.value)


def test_a_slot_without_a_value_is_one_line():
    with pytest.raises(LucidaError, match=r"nothing is given for \{names\}"):
        fill("Any {names}?", {"name": "cat"})
    with pytest.raises(LucidaError, match="a brace stands alone"):
        fill("Any {?", {})
    with pytest.raises(LucidaError, match="does not write this template"):
        GRAMMARS["exists"].neighbours("What?")
    assert fill("{name}", {"name": "{a}"}) == "{a}"  # what is filled in is not filled in again
