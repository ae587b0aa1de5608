"""The parser of answers: a table of real forms of answer, then what must hold for any answer."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucida.evaluation.answers import answer_metrics, parse_count, parse_place, parse_yes_no
from lucida.evaluation.vocabulary import Vocabulary, coco_synonyms

YES = r"""
yes|Yes.|YES!|yes</s>|**Yes**|"Yes"|Yes, there is a dog in the picture.|Yep|yeah, on the left|Yes — two of them
Answer: yes|The answer is yes.|Assistant: Yes|Well, yes.|Yes, but it is very small.|Yes, although it might be a wolf.
There is a dog.|There's one on the left.|I can see a dog.|I see one.|It is.|It does.|I think so, there is one.|Indeed.
Definitely.|Of course!|Certainly, there is one next to the tree.|A dog is visible in the background.|I believe there is.
The image shows a dog.|The picture contains a dog.|In the image, there is a dog.|Based on the picture, yes.|Correct|True
There is not only a dog but also a cat.|No doubt, there is a dog.|Probably yes|Without a doubt there is one.
Looking at the image, I can clearly see a dog.|There are three dogs.|- Yes|A dog can be seen.|I do see one.
Yes. No cat, though.|Hmm, yes|It appears that there is one.|Sure, there is one.|Right, there is one.|"yes|1. Yes|1) yes
{"answer": "yes"}|The correct answer is: yes|I guess yes|<think>Maybe not, no dog?</think> Yes.|I guess so|Sure, yes
"""
NO = r"""
no|No.|NO|no</s>|Nope|Nah.|*No*|No, there is no dog.|There is no dog in the picture.|There isn't any.|There are none.
There’s no dog.|There aren't any dogs here.|I don't see a dog.|I do not see any.|I can't see any dog.|I cannot find one.
I don't think so.|I don't think there is one.|It is not.|It isn't.|It doesn't.|Not in this picture.|Not that I can see.
Definitely not.|Absolutely not!|Of course not.|Probably not.|Most likely not.|None.|Never.|Negative|False
No, but there is a cat.|No, it might be a wolf.|A dog is not visible.|The dog is missing.
There is neither a dog nor a cat.|The picture does not contain a dog.
The image shows a cat without any dog.|Answer: no|The answer is no.|Well, no.
I think not.|In this image, there is no dog.|No dog is visible.|It appears not.|I see no dog.|No dogs.
Nothing like that.|There was never a dog.|Nope, only a cat.|I couldn't find a dog.|No, not sure why you ask.|1. No|0. No
There does not appear to be a dog.|No but there is a cat|no the picture shows a cat|I guess not
<think>Yes? There is a dog. Hmm.</think>No|It seems there is no dog.
"""
ABSTAIN = r"""
| |.|?|...|maybe|Maybe yes.|Perhaps.|Possibly, yes|I'm not sure.|I am not sure, but there might be one.|Not sure
I can't tell.|I cannot tell from this picture.|It is hard to say.|It's unclear.|Unclear|It is difficult to determine.
I don't know.|I do not know whether there is one.|No idea.|No way to tell.|I have no idea|It could be a dog.
There might be a dog.|There may be one.|Yes or no.|yes/no|yes\nno|no, yes|yes and no|Both yes and no.|It depends.
As an AI I cannot help.
I'm sorry, I can't assist with that.|Sorry, I cannot see the image.|I can't see whether there is a dog.|banana
Unable to answer.|It is impossible to tell.|Who knows?|The the the the|dog|I'm unsure|Cannot be determined.|Hard to tell
I cannot see clearly.|Not clear.|I don't see the picture.|No image was given.|Good question!|42|<image>
"""


def table(text: str) -> list[str]:
    return [entry.replace("\\n", "\n") for line in text.strip("\n").split("\n") for entry in line.split("|")]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(a, word) for word, text in (("yes", YES), ("no", NO), ("abstain", ABSTAIN)) for a in table(text)],
)
def test_yes_no_table(answer: str, expected: str) -> None:
    assert parse_yes_no(answer) == expected


def test_the_table_is_large() -> None:
    assert min(len(table(YES)), len(table(NO)), len(table(ABSTAIN))) >= 40


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("There is a cat.", "abstain"),
        ("There is a dog.", "yes"),
        ("There are two dogs.", "yes"),
        ("There is one.", "yes"),
        ("I see a cat, and there is a dog.", "yes"),
        ("There is no cat.", "abstain"),
        ("There is no dog.", "no"),
        ("No cat is visible.", "abstain"),
        ("No but there is a cat", "no"),
        ("I see a cat, not a dog.", "no"),
        ("The picture shows a dog without a collar.", "yes"),
        ("There is a man without a dog.", "no"),
        ("There is a dog that is not looking at us.", "yes"),
        ("There is a dog and no cat.", "yes"),
        ("There is a cat and no dog.", "no"),
        ("A dog is not visible.", "no"),
        ("There are dogs or wolves.", "yes"),
        ("The dog, which is not brown, sits.", "yes"),
        ("The dog sits.", "yes"),
        ("dog", "abstain"),
        ("If there is a dog, say yes.", "abstain"),
        ("Yes, there is a dog. There is no dog.", "abstain"),
        ("Yes, a dog. The dog is not wearing a collar.", "yes"),
        ("A wolf resembles a dog.", "abstain"),
        ("There is a hot dog.", "abstain"),
        ("No cats or dogs.", "no"),
        ("There are no cats or dogs.", "no"),
        ("No dogs are visible.", "no"),
        ("No, there is a cat.", "no"),
        ("Yes, a cat.", "yes"),
        ("I don't see any.", "no"),
        ("There isn't.", "no"),
        ("The picture shows a table and a chair.", "abstain"),
        ("It is not there.", "no"),
    ],
)
def test_an_answer_about_something_else_is_no_answer(answer: str, expected: str) -> None:
    assert parse_yes_no(answer, about="dog") == expected
    assert parse_yes_no(answer, about=("dog", "puppy")) == expected


@given(st.text(max_size=80))
def test_any_text_gets_one_of_three_words(text: str) -> None:
    assert parse_yes_no(text) in ("yes", "no", "abstain")
    assert parse_yes_no(text, about="dog") in ("yes", "no", "abstain")
    assert parse_count(text) is None or parse_count(text) >= 0
    parse_place(text)


@given(st.sampled_from([a for a in table(YES + NO + ABSTAIN) if "\n" not in a]), st.sampled_from(["  ", "\n", ""]))
def test_case_and_blanks_do_not_matter(answer: str, blank: str) -> None:
    assert parse_yes_no(blank + answer.upper() + blank) == parse_yes_no(answer)


COUNTS = {
    "3": 3, "three": 3, "Three.": 3, "There are 2 dogs.": 2, "There is one dog.": 1, "a dog": 1,
    "There is an apple.": 1, "None.": 0, "no": 0, "There are no dogs": 0, "zero": 0,
    "I don't see any.": 0, "a couple of dogs": 2, "12": 12,
    "a pair of shoes": 2, "twelve dogs": 12, "I count 4.": 4, "4 dogs. 2 cats.": 4, "a dozen eggs": 12, "two": 2,
    "2 or 3": None, "two or three": None, "3-4": None, "many": None, "": None, "several": None, "not sure": None,
    "I can't tell": None, "maybe 3": None, "2.5": None, "Both dogs": 2, "There are twenty birds!": 20,
    "a single dog": 1, "Answer: 5": 5, "five</s>": 5, "**7**": 7, "from 2 to 3": None, "There aren't any dogs": 0,
}  # fmt: skip


@pytest.mark.parametrize(("answer", "expected"), COUNTS.items())
def test_counts(answer: str, expected: int | None) -> None:
    assert parse_count(answer) == expected


PLACES = {
    "top left": "top left", "In the top left corner.": "top left", "upper-left": "top left", "left": "left",
    "on the right side": "right", "at the bottom": "bottom", "lower right": "bottom right", "middle": "middle",
    "in the center": "middle", "in the centre of the picture": "middle", "top center": "top", "middle left": "left",
    "at the top of the picture": "top", "bottom right. The cat is top left.": "bottom right", "centre right": "right",
    "It is right there at the top": "top", "right": "right", "left or right": None, "top or left": None, "": None,
    "somewhere": None, "not on the left": None, "I'm not sure": None, "there is no dog": None, "top and bottom": None,
    "The dog is in the lower left of the image.": "bottom left", "in the bottom right": "bottom right",
}  # fmt: skip


@pytest.mark.parametrize(("answer", "expected"), PLACES.items())
def test_places(answer: str, expected: str | None) -> None:
    assert parse_place(answer) == expected


def test_unparsed_answers_are_wrong_and_counted() -> None:
    metrics = answer_metrics(parse_count, ["two", "2", "three", "many"], [2, 2, 2, 2], prefix="count", clusters="aabb")
    assert metrics["count/accuracy"].value == 0.5
    assert metrics["count/accuracy"].n == 2
    assert metrics["count/unparsed_ratio"].value == 0.25
    assert metrics["count/mean_error"].value == pytest.approx(1 / 3)
    places = answer_metrics(parse_place, ["upper left"], ["top left"], prefix="where")
    assert places["where/accuracy"].value == 1
    assert "where/mean_error" not in places
    with pytest.raises(ValueError, match="2 answers for 1"):
        answer_metrics(parse_count, ["1", "2"], [1], prefix="count")


def labelled(name: str) -> tuple[list[list[str]], list[list[str]]]:
    """The rows of a list labelled by hand (what a person reads, what was asked for, the answer), and those read
    otherwise here."""
    lines = (Path(__file__).parent / name).read_text(encoding="utf-8").split("\n")
    rows, forms = [line.split("\t") for line in lines if line], Vocabulary(coco_synonyms()).surfaces
    texts = [answer.replace("\\n", "\n").replace("\\t", "\t") for _, _, answer in rows]
    read = [parse_yes_no(text, about=forms[row[1]]) for row, text in zip(rows, texts, strict=True)]
    return rows, [[*row, said] for row, said in zip(rows, read, strict=True) if row[0] != said]


def test_a_list_labelled_by_hand_is_read_as_a_person_reads_it() -> None:
    rows, wrong = labelled("yes_no_answers.tsv")
    assert len(rows) >= 700
    assert min(Counter(row[0] for row in rows).values()) >= 150
    assert len(wrong) <= 0.01 * len(rows), wrong


def test_a_list_by_another_writer_is_read_about_as_well() -> None:
    # Read once before its mistakes were looked at, it had 87.5 % right; it is built to be hard.
    rows, wrong = labelled("yes_no_answers_unseen.tsv")
    assert len(rows) >= 350
    assert len(wrong) <= 0.06 * len(rows), wrong
