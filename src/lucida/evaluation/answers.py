"""The only parser of answers: free text to yes, no or abstain, to a count, to a place.

No function here sees the truth. An answer that says nothing clear is an abstention, is counted, and is never guessed:
peers' scripts count the empty answer or "cannot tell" as yes (:mod:`lucida.evaluation.peer_scripts` keeps their rules).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache

from lucida.core.results import Metric
from lucida.evaluation import answer_words as words
from lucida.evaluation.answer_words import YesNo as YesNo
from lucida.evaluation.intervals import mean_by_cluster, share_by_cluster

About = str | Collection[str] | None


def plain(text: str) -> str:
    """Lower case, straight quotes, no mark-up, no thoughts, single blanks: what every parser here reads.

    >>> plain("**Yes** — it’s  there </s>")
    "yes — it's there"
    """
    text = re.split("(?i)</think>", text)[-1]
    text = unicodedata.normalize("NFKC", text).replace("’", "'").replace("‘", "'").replace("`", "'")
    text = re.sub(r"<[^<>]{0,20}>|[*_#\"“”()\[\]{}]", " ", text)
    return re.sub(r"[^\S\n]+", " ", text).strip().lower().strip("' ")


_PUNCTUATION = "-–—.,:;!?>~|/\\' \n"


def parse_yes_no(text: str, *, about: About = None) -> YesNo:
    """What an answer to "is there a ...?" says: its first clause that decides.

    Args:
        text: the answer.
        about: the object that was asked for (never the truth), or all its surface forms. With it a full sentence
            counts only if it speaks of that object or of "it", "one", "any"; an answer about something else abstains.

    >>> [parse_yes_no(t) for t in ("Yes.", "I don't see any.", "I am not sure, but yes", "", "Yes, but it is small")]
    ['yes', 'no', 'abstain', 'abstain', 'yes']
    >>> parse_yes_no("There is a cat.", about="dog")
    'abstain'
    """
    if value := words.JSON_VALUE.search(text):
        return "yes" if value.group(1).lower() in ("yes", "true") else "no"
    text = _told(text)
    if text in words.WHOLE:
        return words.WHOLE[text]
    if text[:1] in words.SIGNS:
        sign, text = words.SIGNS[text[0]], text[1:].lstrip(_PUNCTUATION + "\N{VARIATION SELECTOR-16}")
        if not text:
            return sign
    while (shorter := words.FILLERS.sub("", text)) != text:
        text = shorter
    for decides in (_abstention, _last_word, _other_language):
        if (said := decides(text)) is not None:
            return said
    return _leading(text, about) or _stated(text, about) or "abstain"


def _told(text: str) -> str:
    """Plain text of what the model itself says: without who speaks, questions that are repeated, and a list's mark."""
    spoken = words.SPEAKER.split(text)[-1]
    text = words.LIST_MARK.sub("", plain(words.OPTION.sub("", spoken)).lstrip(_PUNCTUATION))
    return words.QUESTION.sub(" ", text).strip(_PUNCTUATION + "`")


def _abstention(text: str) -> YesNo | None:
    weak = words.WEAK_YES.match(text)
    doubted = weak and words.HEDGE.search(text[weak.end() :])
    return "abstain" if words.LEADING_ABSTAIN.match(text) or doubted else None


def _last_word(text: str) -> YesNo | None:
    """What an answer takes back, or concludes with."""
    retracted = [*words.RETRACTION.finditer(text)]
    found = retracted[-1] if retracted else words.CONCLUSION.search(text)
    return None if found is None else "yes" if found.group(1) == "yes" else "no"


def _other_language(text: str) -> YesNo | None:
    """What an answer that does not begin in English begins with."""
    word = re.match(r"[^\W\d_]+", text)
    if word and word.group() in words.FOREIGN:
        return words.FOREIGN[word.group()]
    for pattern, said in words.FOREIGN_STATEMENTS:
        if pattern.search(text):
            return said
    found = max((start for start in words.UNSPACED if text.startswith(start)), key=len, default="")
    return words.UNSPACED.get(found)


def _leading(text: str, about: About) -> YesNo | None:
    """What the first words decide, unless the rest denies it."""
    if words.NOT_A_NEGATION.match(text):
        return None
    if words.LEADING_NO.match(text) and not words.HEDGE.match(text):
        first = words.CLAUSE_END.split(text)[0].strip()
        if not words.NO_NOUN.match(text) or _speaks_of(first, about):  # "no cat is here" may be about something else
            return "abstain" if _affirms(text) else "no"
        return None if about else "abstain"
    if words.LEADING_YES.match(text):
        return "abstain" if _denies(text, about) else "yes"
    return None


def _denies(text: str, about: About) -> bool:
    """Whether a clause says outright that the object is not there."""
    clauses = (clause.strip() for clause in words.CLAUSE_END.split(words.NOT_A_NEGATION.sub(" ", text)))
    return bool(about) and any(words.ABSENT.search(c) and _names(c, about) for c in clauses)


def _affirms(text: str) -> bool:
    """Whether a sentence behind the first one says yes."""
    return any(words.LEADING_YES.match(clause.strip()) for clause in re.split(r"[.!?\n]+", text)[1:])


def _stated(text: str, about: About) -> YesNo | None:
    """The first clause that decides; where none does, one that names the object as something that is there."""
    if words.DOUBLE_NEGATION.search(text):
        return "yes"
    clauses = [clause.strip() for clause in words.CLAUSE_END.split(text)]
    decided = [(clause, said) for clause in clauses if (said := _clause(clause, about))]
    if not decided:
        return "yes" if about and any(_mentions(clause, about) for clause in clauses) else None
    (clause, said), *later = decided
    if said == "yes" and about and not _names(clause, about):  # of "it" or "one": what names the object says more
        if any(word == "no" and _names(other, about) for other, word in later):
            return "no"
        if any(word == "abstain" for _, word in later):
            return "abstain"
    if said == "yes" and _denies(text, about):
        named = any(words.POSITIVE.search(c) and not words.NEGATIVE.search(c) and _names(c, about) for c in clauses)
        return "abstain" if named else "no"
    return said


def _mentions(clause: str, about: About) -> bool:
    """Whether a clause names the object among other words, and denies and doubts nothing."""
    doubted = words.HEDGE.search(clause) or words.NEGATIVE.search(clause) or words.NO_STATEMENT.search(clause)
    return not doubted and " " in clause and _names(words.COLOUR.sub("", clause), about)


def _names(clause: str, about: About) -> bool:
    return about is not None and bool(_pattern(about).search(clause))


def _clause(clause: str, about: About) -> YesNo | None:
    if words.HEDGE.search(clause):
        return "abstain"
    clause = words.NOT_A_NEGATION.sub("", clause)
    named = _pattern(about).search(clause) if about else None
    if named:  # "a dog without a collar", "a dog and no cat": what is said of other things is not said of it
        clause = clause[: named.end()] + words.ASIDE.split(clause[named.end() :])[0]
    said: YesNo | None = "no" if words.NEGATIVE.search(clause) else "yes" if words.POSITIVE.search(clause) else None
    return said if said and _speaks_of(clause, about) else None


def _speaks_of(clause: str, about: About) -> bool:
    """Whether a clause is about the object asked for, by name or pronoun; true if nothing is known of the question."""
    if not about or any(told.search(clause) for told in (_pattern(about), words.PRONOUN, words.ELLIPSIS, words.BARE)):
        return True
    return bool(words.NOBODY.search(clause) and _pattern(about).search("person"))


def _pattern(nouns: str | Collection[str]) -> re.Pattern[str]:
    return _any_of((nouns,) if isinstance(nouns, str) else tuple(nouns))


@lru_cache(maxsize=4096)
def _any_of(nouns: tuple[str, ...]) -> re.Pattern[str]:
    other = {before for noun in nouns for before in words.OTHER_THING.get(noun, ()) if before + noun not in nouns}
    apart = "".join(f"(?<!{before})" for before in sorted(other))
    return re.compile(rf"\b{apart}(?:" + "|".join(re.escape(plain(noun)) for noun in nouns) + r")(?:e?s)?\b")


_WORDS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen twenty"""
_UNITS = tuple(_WORDS.split())
_NUMBERS: Mapping[str, int] = {
    **{word: number for number, word in enumerate(_UNITS)},
    **{word: 0 for word in ("no", "none", "nothing")},
    **{word: 1 for word in ("a", "an", "single", "once", "only one")},
    **{word: 2 for word in ("couple", "pair", "both", "twice")},
    "dozen": 12,
}
_SURE_NUMBER = re.compile(r"(?<![\d.,])\b(?:(\d{1,4})(?![\d.,]*\d|st\b|nd\b|rd\b|th\b)|(" + "|".join(_UNITS) + r"))\b")
_WEAK_NUMBER = re.compile(
    r"\b(none|no|nothing|a couple|a pair|both|a dozen|single|an|a)\b|\b(?:\w+n't|not)(?: \w+){0,2} any\b"
)


def parse_count(text: str) -> int | None:
    """The number an answer gives, in digits or words; None if it gives none or hedges between several.

    >>> [parse_count(t) for t in ("Three.", "There are 2 dogs", "I see no dog", "a dog", "2 or 3", "many")]
    [3, 2, 0, 1, None, None]
    """
    text = plain(text)
    if words.HEDGE.search(text) and not re.match(r"^(?:\d+|" + "|".join(_UNITS) + r")\b", text):
        return None
    first = re.split(r"[.!?;\n](?!\d)", text.lstrip(".,:;!? "))[0]
    sure = [int(digits) if digits else _NUMBERS[word] for digits, word in _SURE_NUMBER.findall(first)]
    if sure:
        return sure[0] if len(set(sure)) == 1 or not re.search(r"\b(?:or|to)\b|\d\s*[-–]\s*\d", first) else None
    weak = _WEAK_NUMBER.search(first)
    if weak is None:
        return None
    return _NUMBERS.get((weak.group(1) or "none").removeprefix("a ") or "a", 1)


_ROWS = {"top": "top", "upper": "top", "bottom": "bottom", "lower": "bottom", "above": "top", "below": "bottom"}
_MIDDLE = re.compile(r"\b(?:middle|cent(?:er|re)|central|centrally|centered|centred)\b")


def parse_place(text: str) -> str | None:
    """The ninth of the picture an answer names: "top left" … "bottom right", "middle"; None if it names none or two.

    >>> [parse_place(t) for t in ("In the upper left corner.", "at the center", "bottom-right", "left or right")]
    ['top left', 'middle', 'bottom right', None]
    """
    text = re.sub(r"\bright (?:here|there|now|in|at|on|next)\b", " ", plain(text))
    first = re.split(r"[.!?;\n]", text.lstrip(".,:;!? "))[0]
    if words.HEDGE.search(first) or re.search(r"\bnot\b|n't\b|\bno\b", first):
        return None
    rows = {_ROWS[word] for word in re.findall(r"\b(" + "|".join(_ROWS) + r")\b", first)}
    columns = set(re.findall(r"\b(left|right)\b", first))
    if len(rows) > 1 or len(columns) > 1 or (rows and columns and " or " in first):
        return None
    return " ".join([*rows, *columns]) or ("middle" if _MIDDLE.search(first) else None)


def answer_metrics(
    parse: Callable[[str], int | str | None],
    answers: Sequence[str],
    truths: Sequence[int | str],
    *,
    prefix: str,
    clusters: Sequence[object] | None = None,
) -> dict[str, Metric]:
    """``{prefix}/accuracy`` and ``{prefix}/unparsed_ratio`` of answers with one right value; unparsed ones are wrong.

    Whole numbers also get ``{prefix}/mean_error``: the mean distance from the truth where a number was given.

    >>> answer_metrics(parse_count, ["two", "many"], [2, 3], prefix="count")["count/accuracy"].value
    0.5
    """
    if len(answers) != len(truths):
        raise ValueError(f"{len(answers)} answers for {len(truths)} truths")
    said = [parse(answer) for answer in answers]
    pictures = list(range(len(said))) if clusters is None else list(clusters)
    right = [answer == truth for answer, truth in zip(said, truths, strict=True)]
    metrics = {
        f"{prefix}/accuracy": share_by_cluster(right, clusters=pictures),
        f"{prefix}/unparsed_ratio": share_by_cluster([answer is None for answer in said], clusters=pictures),
    }
    rows = zip(said, truths, pictures, strict=True)
    errors = [(abs(s - t), p) for s, t, p in rows if isinstance(s, int) and isinstance(t, int)]
    if errors:
        metrics[f"{prefix}/mean_error"] = mean_by_cluster([e for e, _ in errors], [p for _, p in errors])
    return metrics
