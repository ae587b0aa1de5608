"""POPE as its published scripts score it, number for number, to reproduce the figures they gave.

The five read the same answers in four ways, and one of them looks at the truth first. Of ``(label, answer)`` pairs:

- ``pope`` and ``llava`` (AoiDragon/POPE ``evaluate.py``, LLaVA ``eval_pope.py``): up to the first full stop, commas
  dropped, apart at single blanks; "No", "no" or "not" among the words is a no, everything else a yes. So are the empty
  answer, "Nope", "NO" and "cannot tell".
- ``opera`` (OPERA ``pope_eval.py``): the whole text without full stops and commas; "NO" and words that end in "n't" are
  a no, too.
- ``vcd`` (VCD ``eval_pope.py``): where the truth is yes, an answer with "yes" anywhere in it is right; where it is no,
  one with "no" anywhere ("there is a snowboard"). Yes answers are what that makes of them.
- ``lmms-eval`` (its ``pope`` task): the whole answer is "yes" or "no", in any case, or it is wrong. Recall leaves out
  what is neither, and the ratio of yes is that of the truth.

Where a script divides by zero and ends with a traceback, the number here is NaN; lmms-eval has 0 there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

PEER_METRICS = ("accuracy", "precision", "recall", "f1", "yes_ratio", "abstain_ratio")
EXACT_LABELS = ("pope", "llava", "opera")
"""Scripts for which every label but "no" is a yes, "No" too."""

Scores = dict[str, float]
"""The numbers of :data:`PEER_METRICS`."""


class _Counts(NamedTuple):
    """Right and wrong answers: truly yes, falsely yes, truly no, falsely no."""

    tp: int
    fp: int
    tn: int
    fn: int

    @classmethod
    def of(cls, said_yes: Sequence[bool], there: Sequence[bool]) -> _Counts:
        pairs = list(zip(said_yes, there, strict=True))
        return cls(*(pairs.count(pair) for pair in ((True, True), (True, False), (False, False), (False, True))))


def _over(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _scores(counts: _Counts, yes_ratio: float, n: int) -> Scores:
    precision, recall = _over(counts.tp, counts.tp + counts.fp), _over(counts.tp, counts.tp + counts.fn)
    return {
        "accuracy": _over(counts.tp + counts.tn, n),
        "precision": precision,
        "recall": recall,
        "f1": _over(2 * precision * recall, precision + recall),
        "yes_ratio": yes_ratio,
        "abstain_ratio": 0.0,
    }


def _by_words(says_no: Callable[[str], bool]) -> Callable[[Sequence[str], Sequence[str]], Scores]:
    def score(answers: Sequence[str], labels: Sequence[str]) -> Scores:
        yes = [not says_no(answer) for answer in answers]
        there = [label != "no" for label in labels]
        return _scores(_Counts.of(yes, there), _over(sum(yes), len(yes)), len(yes))

    return score


def _official_no(text: str) -> bool:
    return not {"No", "no", "not"}.isdisjoint(text.split(".")[0].replace(",", "").split(" "))


def _opera_no(text: str) -> bool:
    words = text.replace(".", "").replace(",", "").split(" ")
    return any(word in ("No", "not", "no", "NO") or word.endswith("n't") for word in words)


def _vcd(answers: Sequence[str], labels: Sequence[str]) -> Scores:
    yes, there = [], []
    for answer, label in zip(answers, labels, strict=True):
        text, truth = answer.lower().strip(), label.lower().strip()
        if truth in ("yes", "no"):  # others count in the number of questions alone
            there.append(truth == "yes")
            yes.append("yes" in text if truth == "yes" else "no" not in text)
    return _scores(_Counts.of(yes, there), _over(sum(yes), len(labels)), len(labels))


def _lmms_eval(answers: Sequence[str], labels: Sequence[str]) -> Scores:
    said, truth = ([text.lower().strip() for text in texts] for texts in (answers, labels))
    pairs = list(zip(said, truth, strict=True))
    hits, false_yes, missed = (pairs.count(pair) for pair in (("yes", "yes"), ("yes", "no"), ("no", "yes")))
    precision, recall = hits / max(hits + false_yes, 1), hits / max(hits + missed, 1)
    return {
        "accuracy": _over(sum(one == other for one, other in pairs), len(pairs)),
        "precision": precision,
        "recall": recall,
        "f1": 2 * (precision * recall) / (precision + recall) if precision + recall > 0 else 0.0,
        "yes_ratio": truth.count("yes") / max(truth.count("yes") + truth.count("no"), 1),
        "abstain_ratio": _over(sum(one not in ("yes", "no") for one in said), len(said)),
    }


PEER_SCRIPTS: Mapping[str, Callable[[Sequence[str], Sequence[str]], Scores]] = {
    "pope": _by_words(_official_no),
    "llava": _by_words(_official_no),
    "opera": _by_words(_opera_no),
    "vcd": _vcd,
    "lmms-eval": _lmms_eval,
}
"""The scripts by name: answers and labels (as they stand in the files) to scores."""
