"""The remedy of a run: what it says as it is, and grounded in what the picture's own tokens stand for."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from lucida.core.results import Metric, Results
from lucida.core.run_folder import RunFolder
from lucida.data.conversations import FORMS
from lucida.evaluation.answers import parse_count
from lucida.evaluation.chair import CaptionReading, read_captions
from lucida.evaluation.intervals import share_by_cluster, share_difference
from lucida.evaluation.pope import labels_of
from lucida.models.joining import no_words
from lucida.report.material import Example, save_thumbnail
from lucida.workflows.hallucination_stage import Examination, Findings

SUREST = 50.0  # log-odds beyond which a probability is 0 or 1 to the last digit
SHOWN = 3  # pictures where it helped, and where it hurt

Counted = tuple[NDArray, NDArray]
"""Hits and trials, by row."""


class BeforeAndAfter:
    """What a model says of held-out pictures as it is, and grounded.

    Args:
        exam: of the model as it is; it has a grounding.
        n: pictures that are described, and whose objects are counted.
    """

    def __init__(self, exam: Examination, n: int):
        self.exam, self.n = exam, min(n, exam.n)
        self.remedy = exam.answerer.grounded()
        features = exam.features[: self.n]
        said = [exam.answerer.describe(features, remedies=own) for own in ([], [self.remedy])]
        self.texts = [[one.text for one in each] for each in said]

    def metrics(self) -> dict[str, Metric]:
        """By measure: before, after and the paired change; what is made up, told, answered, and what it costs."""
        found: dict[str, Metric] = {}
        for name, (before, after, clusters) in (self._described() | self._answered() | self._able()).items():
            if before[1].any() and after[1].any():  # a model that names nothing makes up no share of it
                found[f"remedy/{name}/before"] = share_by_cluster(*before, clusters)
                found[f"remedy/{name}/after"] = share_by_cluster(*after, clusters)
                found[f"remedy/{name}/change"] = share_difference(after, before, clusters)
        return found | self._abstained()

    @cached_property
    def _readings(self) -> list[list[CaptionReading]]:
        if self.exam.vocabulary is None:
            return []
        present = [list(one.counts) for one in self.exam.facts[: self.n]]
        return [read_captions(texts, present, self.exam.vocabulary) for texts in self.texts]

    def _described(self) -> dict[str, tuple[Counted, Counted, Any]]:
        readings = self._readings
        made_up = [_columns((len(r.hallucinated), len(r.mentioned)) for r in each) for each in readings]
        recall = [_columns((len(r.present & {*r.mentioned}), len(r.present)) for r in each) for each in readings]
        rows = range(self.n)
        return {"chair_i": (*made_up, rows), "recall": (*recall, rows)} if readings else {}  # type: ignore[dict-item]

    @cached_property
    def _odds(self) -> tuple[NDArray, NDArray]:
        """Log-odds of yes as it is, and grounded, ``[Q]``; finite, however sure."""
        asked = [(int(question.picture_id), question.object) for question in self.exam.questions]
        said = (self.exam.answered(), self.exam.answerer.ask_yes_no(self.exam.features, asked, grounded=True))
        before, after = (np.clip(logit(each.p_yes), -SUREST, SUREST) for each in said)
        return before, after

    def _answered(self) -> dict[str, tuple[Counted, Counted, Any]]:
        """False yes and yes to what is there; also at as many yes as before."""
        if not self.exam.questions:
            return {}
        before, after = self._odds
        truth, kinds = np.asarray(labels_of(self.exam.questions), bool), [q.set for q in self.exam.questions]
        pictures = np.array([question.picture_id for question in self.exam.questions])
        found: dict[str, tuple[Counted, Counted, Any]] = {}
        for kind in dict.fromkeys(kinds):
            own = np.array(kinds) == kind
            shifted = after - threshold(after[own], int((before[own] > 0).sum()))
            for what, odds in (("", after), ("_at_equal_yes", shifted)):
                for name, rows in (("false_yes", own & ~truth), ("yes_recall", own & truth)):
                    ones = np.ones(int(rows.sum()))
                    yes = [(each[rows] > 0).astype(float) for each in (before, odds)]
                    found[f"{kind}/{name}{what}_share"] = ((yes[0], ones), (yes[1], ones), pictures[rows])
        return found

    def _able(self) -> dict[str, tuple[Counted, Counted, Any]]:
        """Whether numbers and places are still right: abilities that the remedy must not cost."""
        found: dict[str, tuple[Counted, Counted, Any]] = {}
        for form, rows in self.exam.abilities(self.n).items():
            if not rows:
                continue
            asked, right = [(i, FORMS[form].plainly(name)) for i, name, _ in rows], []
            for own in ([], [self.remedy]):
                said = self.exam.answerer.answers(self.exam.features, asked, max_new_tokens=8, remedies=own)
                right.append(np.array([right_answer(a.text, row[2]) for a, row in zip(said, rows, strict=True)], float))
            ones = np.ones(len(rows))
            found[f"{form}_accuracy"] = ((right[0], ones), (right[1], ones), [row[0] for row in rows])
        return found

    def _abstained(self) -> dict[str, Metric]:
        """How often it says "not sure", and how many of the answers that are left are wrong."""
        grounding = self.exam.answerer.grounding
        if not self.exam.questions or grounding is None:
            return {}
        _, after = self._odds
        right = (after > 0) == np.asarray(labels_of(self.exam.questions), bool)
        sure = expit(np.abs(after)) >= grounding.sure
        pictures = [question.picture_id for question in self.exam.questions]
        return {
            "remedy/not_sure_share": share_by_cluster(~sure, clusters=pictures),
            "remedy/wrong_share": share_by_cluster(~right, clusters=pictures),
            **({"remedy/wrong_when_sure_share": share_by_cluster(sure & ~right, sure, pictures)} if sure.any() else {}),
        }

    def examples(self, folder: RunFolder) -> Iterator[Example]:
        """Pictures where less is made up or more is named than before, and where it is the other way round."""
        readings = self._readings
        scores = [np.array([self._score(one) for one in each]) for each in readings]
        worse = scores[1] - scores[0] if scores else np.zeros(0)
        for group, chosen in (
            ("Grounded in the picture: where it helped", [i for i, change in enumerate(worse) if change < 0][:SHOWN]),
            ("Grounded in the picture: where it hurt", [i for i, change in enumerate(worse) if change > 0][:SHOWN]),
        ):
            for i in chosen:
                yield Example(
                    save_thumbnail(folder, f"grounded-{i}", self.exam.lesson.gallery.pixels([i])[0]),
                    self.texts[1][i] or "(nothing)",
                    ", ".join(self.exam.facts[i].counts),
                    not readings[1][i].hallucinated and {*readings[1][i].mentioned} == readings[1][i].present,
                    question=f"before: {self.texts[0][i] or '(nothing)'}",
                    group=group,
                    made_up=readings[1][i].hallucinated,
                )

    @staticmethod
    def _score(reading: CaptionReading) -> int:
        """Different names that are made up, and those that are left out."""
        return len({*reading.hallucinated}) + len(reading.present - {*reading.mentioned})


def _columns(rows: Any) -> Counted:
    table = np.array(list(rows), float).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def right_answer(text: str, truth: int | str) -> bool:
    """Whether an answer gives the number or the place.

    >>> right_answer("two", 2), right_answer("Top left", "top left"), right_answer("left", "top left")
    (True, True, False)
    """
    return parse_count(text) == truth if isinstance(truth, int) else text.strip(" .").lower() == truth


def threshold(odds: NDArray, wanted: int) -> float:
    """Above which so many of the odds lie."""
    ordered = np.sort(odds)[::-1]
    if wanted <= 0:
        return float(ordered[0])
    if wanted >= len(ordered):
        return float(ordered[-1]) - 1.0
    return float(ordered[wanted - 1] + ordered[wanted]) / 2


def grounded_too(findings: Findings, n: int, folder: RunFolder, results: Results) -> list[Example]:
    """The pictures of an examination once more, with a model that is grounded; its metrics go to ``results``.

    Args:
        findings: of the model as it is.
        n: pictures that are described.
        folder: gets the thumbnails.
    """
    if findings.exam is None or findings.exam.answerer.grounding is None:
        join = "words" if findings.exam is None else findings.exam.answerer.join
        reason = "its pictures do not say what is absent" if join == "words" else no_words(join)
        results.leave_out("remedy", f"the model's answers are not grounded: {reason}")
        return []
    both = BeforeAndAfter(findings.exam, n)
    for name, metric in both.metrics().items():
        results.add(name, metric)
    return list(both.examples(folder))
