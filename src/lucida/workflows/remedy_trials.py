"""Every remedy on one model, with the same pictures, questions and words: what it mends, what it breaks, its cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from lucida.core.results import Metric
from lucida.data.conversations import FORMS
from lucida.data.lessons import Lesson
from lucida.evaluation.chair import chair_metrics
from lucida.evaluation.intervals import auroc_by_cluster, share_by_cluster
from lucida.evaluation.pope import SETS, labels_of
from lucida.inference.answerer import Answerer
from lucida.inference.generate import answer, leanings
from lucida.inference.remedies import Distorted, Early, Remedy, Unseen
from lucida.workflows.before_and_after import SUREST, right_answer, threshold
from lucida.workflows.hallucination_stage import Examination
from lucida.workflows.remedy_abilities import (
    BLIND,
    NAMING,
    STEP,
    Asked,
    Seen,
    ability_metrics,
    blind_metrics,
    names_it,
    single_things,
)

PLAIN, GROUNDED = "as it is", "grounded in the picture"
_TIMED, _ROUNDS = 64, 5  # descriptions that are timed, and how often


@dataclass(frozen=True)
class Trial:
    """A remedy on trial.

    Attributes:
        name: for the reader.
        remedies: in decoding.
        grounded: whether yes and no are weighed with the picture's support.
        answerer: that was trained for it; the model as it is unless given.
        training: seconds that took.
    """

    name: str
    remedies: tuple[Remedy, ...] = ()
    grounded: bool = False
    answerer: Answerer | None = None
    training: float = 0.0


def decoding_trials(answerer: Answerer) -> list[Trial]:
    """The remedies that act in decoding, the model as it is first."""
    return [
        Trial(PLAIN),
        Trial("contrast with a distorted picture", (Distorted(STEP),)),
        Trial("contrast with no picture", (Unseen(),)),
        Trial("contrast with the first layer", (Early(0),)),
        Trial(GROUNDED, (answerer.grounded(),), grounded=True),
    ]


@dataclass
class Trials:
    """Remedies on a model and held-out pictures.

    Attributes:
        exam: of the model as it is.
        trials: the first is the model as it is.
        pictures: that are described, and whose objects are counted.
        alone: pictures of one thing, which is to be named; none leaves that out.
    """

    exam: Examination
    trials: Sequence[Trial]
    pictures: int
    alone: Lesson | None = None
    _plain_texts: dict[float, list[str]] = field(default_factory=dict)
    _plain_yes: dict[str, int] = field(default_factory=dict)
    _plain_recall: dict[str, int] = field(default_factory=dict)

    @cached_property
    def _seen(self) -> Seen:
        return Seen(self.exam.answerer, self.exam.lesson.gallery, self.exam.features)

    @cached_property
    def _alone(self) -> Seen | None:
        if self.alone is None or self.exam.vocabulary is None:
            return None
        return Seen(self.exam.answerer, self.alone.gallery, self.exam.answerer.see(self.alone.gallery))

    @cached_property
    def _abilities(self) -> dict[str, list[Asked]]:
        naming = {NAMING: single_things(self.alone)} if self.alone and self._alone else {}
        return {form: rows for form, rows in (self.exam.abilities(self.pictures) | naming).items() if rows}

    def metrics(self) -> dict[str, Metric]:
        """``{trial}/{measure}`` of all, with the likeliest words and with sampled ones; and of a blind answerer."""
        found = {f"{BLIND}/{name}": metric for name, metric in blind_metrics(self._abilities).items()}
        costs = {name: Metric(float(np.median(own)), None, _ROUNDS) for name, own in self.costs(_ROUNDS).items()}
        for trial in self.trials:
            odds = self._odds(trial)
            own = self._described(trial, 0.0) | self._answered(odds) | self._able(trial)
            own |= {f"sampled/{name}": metric for name, metric in self._described(trial, 1.0).items()}
            own |= {f"sampled/{name}": metric for name, metric in self._answered_at_random(odds).items()}
            own |= {"decoding_cost": costs[trial.name], "training_seconds": Metric(trial.training, None, 1)}
            found |= {f"{trial.name}/{name}": metric for name, metric in own.items()}
        return found

    def _answerer(self, trial: Trial) -> Answerer:
        return trial.answerer or self.exam.answerer

    def _say(
        self,
        trial: Trial,
        asked: Sequence[tuple[int, str]],
        longest: int,
        temperature: float = 0.0,
        seen: Seen | None = None,
    ) -> list[str]:
        own, shown = self._answerer(trial), seen or self._seen
        said = answer(
            own.model,
            own.chat,
            shown.features,
            asked,
            batch_size=64,
            max_new_tokens=longest,
            temperature=temperature,
            remedies=trial.remedies,
            noisy_features=shown.noisy if any(isinstance(one, Distorted) for one in trial.remedies) else None,
        )
        return [one.text for one in said]

    def _described(self, trial: Trial, temperature: float) -> dict[str, Metric]:
        vocabulary = self.exam.vocabulary
        if vocabulary is None:
            return {}
        texts = self._say(trial, self._describing(self.pictures), 64, temperature)
        plain = self._plain_texts.setdefault(temperature, texts)  # the first trial is the model as it is
        present = [list(one.counts) for one in self.exam.facts[: self.pictures]]
        found = chair_metrics(texts, present, vocabulary)
        own = {name: found[f"chair/{name}"] for name in ("chair_i", "chair_s", "recall", "mean_words")}
        for name, cut in zip(("", "plain_"), equally_long(texts, plain), strict=True):
            own[f"{name}chair_i_at_equal_length"] = chair_metrics(cut, present, vocabulary)["chair/chair_i"]
        return own

    def _describing(self, n: int) -> list[tuple[int, str]]:
        return [(i, FORMS["describe"].plainly()) for i in range(min(n, self.exam.n))]

    def _odds(self, trial: Trial) -> NDArray[np.float64]:
        own = self._answerer(trial)
        named = [(int(question.picture_id), question.object) for question in self.exam.questions]
        # Without the cut of what is implausible, which would leave one of both words alone and nothing to rank by.
        contrasts = tuple(
            replace(one, beta=0.0) for one in trial.remedies if isinstance(one, Distorted | Unseen | Early)
        )
        if not contrasts:
            said = own.ask_yes_no(self.exam.features, named, grounded=trial.grounded)
            return np.clip(logit(said.p_yes), -SUREST, SUREST)
        asked = [(i, FORMS["exists"].plainly(name)) for i, name in named]
        noisy = self._seen.noisy if any(isinstance(one, Distorted) for one in contrasts) else None
        odds = leanings(own.model, own.chat, self.exam.features, asked, remedies=contrasts, noisy_features=noisy)
        return np.clip(
            np.nan_to_num(odds, nan=0.0), -SUREST, SUREST
        )  # a contrast may leave one of both words, or neither

    def _answered(self, odds: NDArray[np.float64]) -> dict[str, Metric]:
        """False yes and yes to what is there, by set; also at as many yes as before and as is true."""
        found: dict[str, Metric] = {}
        truth, pictures = np.asarray(labels_of(self.exam.questions), bool), self._pictures()
        for kind in SETS:
            rows = np.array([question.set == kind for question in self.exam.questions])
            if not rows.any():
                continue
            own, there, clusters = odds[rows], truth[rows], pictures[rows]
            wanted = self._plain_yes.setdefault(kind, int((own > 0).sum()))  # the first trial is the model as it is
            cuts = {"": 0.0, "_at_equal_yes": threshold(own, wanted), "_at_true_yes": threshold(own, int(there.sum()))}
            for what, cut in cuts.items():
                yes = own > cut
                found[f"{kind}/false_yes{what}"] = share_by_cluster(yes & ~there, ~there, clusters)
                found[f"{kind}/yes_recall{what}"] = share_by_cluster(yes & there, there, clusters)
            said = self._plain_recall.setdefault(kind, int((own[there] > 0).sum()))
            missed_none = own > threshold(own[there], said)
            found[f"{kind}/false_yes_at_equal_recall"] = share_by_cluster(missed_none & ~there, ~there, clusters)
            found[f"{kind}/yes_ratio"] = share_by_cluster(own > 0, clusters=clusters)
            found[f"{kind}/auroc"] = auroc_by_cluster(own, there, list(clusters))
        return found

    def _answered_at_random(self, odds: NDArray[np.float64]) -> dict[str, Metric]:
        """The same if yes is said as often as it is probable: expected shares."""
        truth, pictures = np.asarray(labels_of(self.exam.questions), bool), self._pictures()
        found = {}
        for kind in SETS:
            rows = np.array([question.set == kind for question in self.exam.questions])
            if rows.any():
                p, there, clusters = expit(odds[rows]), truth[rows], pictures[rows]
                found[f"{kind}/false_yes"] = share_by_cluster(p * ~there, ~there, clusters)
                found[f"{kind}/yes_recall"] = share_by_cluster(p * there, there, clusters)
        return found

    def _pictures(self) -> NDArray:
        return np.array([question.picture_id for question in self.exam.questions])

    def _able(self, trial: Trial) -> dict[str, Metric]:
        """Whether numbers, places and single things are still told right."""
        found: dict[str, Metric] = {}
        for form, rows in self._abilities.items():
            found |= ability_metrics(form, rows, self._right(trial, form, rows))
        return found

    def _right(self, trial: Trial, form: str, rows: Sequence[Asked]) -> list[bool]:
        if form != NAMING:
            said = self._say(trial, [(i, FORMS[form].plainly(name)) for i, name, _ in rows], 8)
            return [right_answer(text, truth) for text, (_, _, truth) in zip(said, rows, strict=True)]
        vocabulary = self.exam.vocabulary
        assert vocabulary is not None, "without one nothing is to be named"
        said = self._say(trial, [(i, FORMS["describe"].plainly()) for i, _, _ in rows], 64, seen=self._alone)
        return [names_it(text, name, vocabulary) for text, (_, name, _) in zip(said, rows, strict=True)]

    def costs(self, rounds: int) -> dict[str, NDArray[np.float64]]:
        """Times of describing over that of the model as it is, ``[rounds]``; distorted pictures are seen before.

        The first round warms up and is left out.
        """
        asked = self._describing(_TIMED)
        seconds = np.array(
            [[_timed(partial(self._say, trial, asked, 64)) for trial in self.trials] for _ in range(1 + rounds)]
        )[1:]
        return {trial.name: seconds[:, k] / seconds[:, 0] for k, trial in enumerate(self.trials)}


def equally_long(texts: Sequence[str], others: Sequence[str]) -> tuple[list[str], list[str]]:
    """Both, each pair of descriptions cut where the shorter one ends, in words.

    >>> equally_long(["a dog and a cat", "a dog"], ["a cat", "a cat"])
    (['a dog', 'a dog'], ['a cat', 'a cat'])
    """
    words = [[text.split() for text in each] for each in (texts, others)]
    shortest = [min(map(len, pair)) for pair in zip(*words, strict=True)]
    one, other = ([" ".join(text[:n]) for text, n in zip(each, shortest, strict=True)] for each in words)
    return one, other


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
