"""The only parser of answers: free text to yes, no or abstain, to a count, to a place.

No function here sees the truth. An answer that says nothing clear is an abstention, is counted, and is never guessed:
peers' scripts count the empty answer or "cannot tell" as yes (:mod:`lucida.evaluation.peer_scripts` keeps their rules).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import Literal

from lucida.core.results import Metric
from lucida.evaluation.intervals import mean_by_cluster, share_by_cluster

YesNo = Literal["yes", "no", "abstain"]
About = str | Collection[str] | None

# Openings that say nothing.
_FILLERS = re.compile(
    r"^(?:(?:answer|a|assistant|response|output|final answer)\s*:|"
    r"(?:the|my) (?:final |correct )?answer (?:is|would be)\b|"
    r"(?:well|so|oh|ok|okay|hm+|um+|uh+|hi|hello|sure|right|actually|now|based on the (?:image|picture|photo)|"
    r"looking at (?:the|this) (?:image|picture|photo)|(?:in|from) (?:the|this) (?:image|picture|photo|scene)|"
    r"i(?: would|'d) say|i think|i believe|i guess(?= (?:yes|no|there))|"
    r"it (?:seems|looks|appears)(?: like| that| to me)?)\b)[\s,:.\-]*(?=\S)"
)
# What the first words decide.
_LEADING_ABSTAIN = re.compile(
    r"^(?:(?:yes|no) (?:or|and) (?:yes|no)\b|(?:yes|no)\s*/\s*(?:yes|no)\b|both yes and no\b|neither yes nor no\b|"
    r"no (?:idea|clue|way (?:to|of)|comment|answer|opinion|one can (?:say|tell|know)|information|image|picture|"
    r"photo)\b)"
)
_LEADING_NO = re.compile(
    r"^(?:no|nope|nah|nay|negative|false|incorrect|wrong|none|never|nothing|not at all|"
    r"(?:definitely|certainly|absolutely|probably|most likely|of course|likely|clearly|surely|i guess|apparently) not|"
    r"not (?:in|that i|really|visible|present|here|there|any|a|an|one)|unlikely|i think not|i don't think so)\b"
)
_LEADING_YES = re.compile(
    r"^(?:yes|yeah|yep|yup|yea|ya|aye|affirmative|correct|true|indeed|certainly|definitely|absolutely|of course|"
    r"for sure|(?:most )?(?:probably|likely) (?:yes|so)|i guess so|right)\b"
)
# What decides a clause, in this order.
_HEDGE = re.compile(
    r"\b(?:not (?:sure|certain|clear|possible|confident|able|enough|obvious|known|definitive)|unsure|uncertain|unclear|"
    r"maybe|perhaps|possibly|might|may(?! \d)|could (?:be|have|also|contain)|hard to|difficult to|tough to|"
    r"impossible to|unable to|depends|ambiguous|unknown|(?:don't|do not|doesn't|cannot|can't|can not|couldn't) "
    r"(?:really |even )?(?:know|tell|say|determine|be (?:determined|sure|certain|seen clearly)|answer|make out|"
    r"confirm|identify|verify|provide|assist|help|view|process|understand)|"
    r"(?:cannot|can't|can not|couldn't|don't|do not) (?:\w+ )?see (?:the |this |that |your |any )?"
    r"(?:image|picture|photo|images|pictures|photos|whether|if|clearly|well|enough|anything)|"
    r"(?:too|very) (?:dark|blurry|small|blurred) to|sorry|as an ai|i have no (?:idea|way|clue)|no way (?:to|of)|"
    r"no idea|no clue|(?:hard|tricky|good) question|guess(?:ing)?)\b"
)
_NOT_A_NEGATION = re.compile(r"\b(?:not only|not just|not merely|no doubt|without (?:a |any )?doubt|no question)\b")
_NEGATIVE = re.compile(
    r"\b(?:no|not|none|nothing|neither|nor|nowhere|never|without|absent|missing|lacks?|lacking|\w+n't|cannot|"
    r"fail(?:s|ed)? to|devoid|free of|zero|nope)\b"
)
_POSITIVE = re.compile(
    r"\b(?:there(?:'s| is| are| was| were| appears? to be| seems? to be|'re)|(?:i|you|we)(?: can| could|'ve)?"
    r"(?: clearly)? (?:see|spot|find|found|saw|notice|seen)|i (?:do|think so|believe so)|"
    r"it (?:is|does|has|shows|contains)|it's|"
    r"(?:is|are|was|were) (?:\w+ )?(?:present|visible|shown|depicted|seen|there|here|included|in|on|at|one|sitting|"
    r"standing|lying)|contains?|shows?|has|have|includes?|features?|depicts?|can be seen|appears?|exists?|present|"
    r"visible|yes|correct|true)\b"
)
_PRONOUN = re.compile(r"\b(?:it|one|any|that|so|them|this|those|these|some|such)\b|\b(?:there|i|here) \S+$|n't$|\bnot$")
_NO_NOUN = re.compile(
    r"^no (?!(?:it|there|i|we|you|he|she|they|the|this|that|a|an|but|because|as|since|only|just|sorry|not|and)\b)\w"
)
_ASIDE = re.compile(r"\b(?:that|which|who|without|with|and|or|wearing|holding)\b")
_CLAUSE_END = re.compile(r"[.!?;\n,]+|\s[-–—]+\s|\b(?:but|however|although|though|yet|because)\b")


def plain(text: str) -> str:
    """Lower case, straight quotes, no mark-up, no thoughts, single blanks: what every parser here reads.

    >>> plain("**Yes** — it’s  there </s>")
    "yes — it's there"
    """
    text = re.split("(?i)</think>", text)[-1]
    text = unicodedata.normalize("NFKC", text).replace("’", "'").replace("‘", "'").replace("`", "'")
    text = re.sub(r"<[^<>]{0,20}>|[*_#\"“”()\[\]{}]", " ", text)
    return re.sub(r"[^\S\n]+", " ", text).strip().lower().strip("' ")


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
    text = plain(text).lstrip("-–—.,:;!?>~|/\\' \n")
    while (shorter := _FILLERS.sub("", text)) != text:
        text = shorter
    if _LEADING_ABSTAIN.match(text):
        return "abstain"
    if not _NOT_A_NEGATION.match(text):
        if _LEADING_NO.match(text) and not _HEDGE.match(text):
            names_a_noun = _NO_NOUN.match(text)  # "no cat is here" may be about something else; a bare "no" is not
            first = _CLAUSE_END.split(text)[0].strip()
            return "no" if not names_a_noun or _speaks_of(first, about) else "abstain"
        if _LEADING_YES.match(text):
            return "yes"
    return next((said for clause in _CLAUSE_END.split(text) if (said := _clause(clause.strip(), about))), "abstain")


def _clause(clause: str, about: About) -> YesNo | None:
    if _HEDGE.search(clause):
        return "abstain"
    clause = _NOT_A_NEGATION.sub("", clause)
    named = _pattern(about).search(clause) if about else None
    if named:  # "a dog without a collar", "a dog and no cat": what is said of other things is not said of it
        clause = clause[: named.end()] + _ASIDE.split(clause[named.end() :])[0]
    said: YesNo | None = "no" if _NEGATIVE.search(clause) else "yes" if _POSITIVE.search(clause) else None
    return said if said and _speaks_of(clause, about) else None


def _speaks_of(clause: str, about: About) -> bool:
    """Whether a clause is about the object asked for, by name or pronoun; true if nothing is known of the question."""
    return not about or bool(_pattern(about).search(clause) or _PRONOUN.search(clause))


def _pattern(nouns: str | Collection[str]) -> re.Pattern[str]:
    return _any_of((nouns,) if isinstance(nouns, str) else tuple(nouns))


@lru_cache(maxsize=4096)
def _any_of(nouns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(r"\b(?:" + "|".join(re.escape(plain(noun)) for noun in nouns) + r")(?:e?s)?\b")


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
    if _HEDGE.search(text) and not re.match(r"^(?:\d+|" + "|".join(_UNITS) + r")\b", text):
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
    if _HEDGE.search(first) or re.search(r"\bnot\b|n't\b|\bno\b", first):
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
