"""What a multimodal LLM makes up: POPE, CHAIR, wrong statements, counting, blind and twin pictures, all held out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lucida.core.errors import LucidaError
from lucida.core.results import Metric, Results
from lucida.core.run_folder import RunFolder
from lucida.data.conversations import FORMS
from lucida.data.galleries import PixelGallery
from lucida.data.lessons import Lesson
from lucida.data.pasted_pictures import NO_PASTE, pasted_pixels
from lucida.data.truth import Facts
from lucida.data.twin_pictures import NO_TWIN, TwinPixels, twin_pixels
from lucida.evaluation.answers import YesNo, parse_count
from lucida.evaluation.blind import blind_metrics, shuffled_pictures
from lucida.evaluation.calibration import risk_metrics
from lucida.evaluation.caption_facts import FAMILIES, caption_fact_metrics
from lucida.evaluation.chair import chair_metrics, read_captions
from lucida.evaluation.intervals import share_by_cluster
from lucida.evaluation.pope import PopeQuestion, labels_of, pope_metrics, question_only_metrics
from lucida.evaluation.twins import PASTED, twin_metrics
from lucida.evaluation.vocabulary import Vocabulary
from lucida.inference.answerer import Answerer
from lucida.inference.generate import YesNoAnswers
from lucida.report.material import CalibrationBin, Example, KindRate, save_thumbnail
from lucida.workflows.language_stage import LanguageStage
from lucida.workflows.picture_questions import pope_questions
from lucida.workflows.tallies import calibration_bins, kind_rates

COUNT_QUESTIONS = 600
NOT_STATED = "no caption says anything of the kind that the pictures decide"
EXAMPLES, ASKED = 6, 3  # pictures that the report shows with a caption, and with all their hardest questions


@dataclass
class Findings:
    """What was measured, and what the report shows of it.

    Attributes:
        metrics: by name.
        kinds: how often each kind of object is made up or missed.
        calibration: how often answers of a confidence are right.
        examples: pictures with questions and answers.
        left_out: what these pictures cannot support, by the start of its metrics' names, and why.
        exam: of the first pictures.
    """

    metrics: dict[str, Metric] = field(default_factory=dict)
    kinds: tuple[KindRate, ...] = ()
    calibration: tuple[CalibrationBin, ...] = ()
    examples: list[Example] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    exam: Examination | None = None

    def add_to(self, results: Results) -> None:
        """The metrics, and why others are missing."""
        for name, metric in self.metrics.items():
            results.add(name, metric)
        for name, reason in self.left_out.items():
            results.leave_out(name, reason)


class Examination:
    """A multimodal LLM and pictures it is asked about.

    Args:
        answerer: the trained model.
        lesson: held-out pictures with what is true of them.
        n: at most so many pictures.
    """

    def __init__(self, answerer: Answerer, lesson: Lesson, n: int):
        self.answerer, self.lesson, self.n = answerer, lesson, min(n, len(lesson.gallery))
        self.features: Tensor = answerer.see(lesson.gallery, self.n)
        self.facts: list[Facts] = [lesson.gallery.facts(i) for i in range(self.n)]
        self.questions, self.reasons = pope_questions(lesson, self.n)
        self.vocabulary, self.unreadable = _vocabulary(lesson.names)
        self.said: YesNoAnswers | None = self._ask(self.features, range(self.n)) if self.questions else None

    def _ask(self, features: Tensor, shown: Sequence[int]) -> YesNoAnswers:
        """The questions, where picture i is shown as row ``shown[i]`` of ``features``."""
        asked = [(shown[int(question.picture_id)], question.object) for question in self.questions]
        return self.answerer.ask_yes_no(features, asked)

    def answered(self) -> YesNoAnswers:
        """What the model says now, which may have been trained since this was made."""
        return self._ask(self.features, range(self.n))

    def pope(self, prefix: str = "pope") -> dict[str, Metric]:
        """POPE's metrics on the sets that the labels support."""
        if self.said is None:
            return {}
        return pope_metrics(self.questions, self.said.texts, scores=self.said.p_yes, parse=one_word, prefix=prefix)

    def risk(self) -> dict[str, Metric]:
        """How many answers are wrong if only the surest are given."""
        if self.said is None:
            return {}
        pictures = [question.picture_id for question in self.questions]
        return risk_metrics(self.said.confidence, right_answers(self.questions, self.said), pictures)

    def obstacles(self) -> dict[str, str]:
        """What the labels do not support, and why."""
        reasons = {f"pope/{how}": reason for how, reason in self.reasons.items()}
        if not self._describable():
            reasons["chair"] = "captions cannot be checked: the pictures have no complete list of objects"
        elif self.unreadable:
            reasons["chair"] = f"captions cannot be checked: {self.unreadable}"
        if "chair" in reasons:
            reasons["caption_facts"] = reasons["chair"]
        if len({question.picture_id for question in self.questions}) < 2:
            reasons["blind"] = "fewer than two pictures can be asked about"
        if not self.lesson.turns.get("count"):
            reasons["count"] = "how many there are of an object is not known"
        return reasons

    def blind(self) -> dict[str, Metric]:
        """The same questions with another picture, and with an empty one."""
        pictures = [q.picture_id for q in self.questions]
        if self.said is None or len({*pictures}) < 2:
            return {}
        other = shuffled_pictures(pictures)
        shuffled = self._ask(self.features, [int(other.get(str(i), i)) for i in range(self.n)])
        empty = self._ask(self.answerer.blank(), [0] * self.n)
        right = [right_answers(self.questions, said) for said in (self.said, shuffled, empty)]
        alone = question_only_metrics(self.questions, empty.texts, scores=empty.p_yes, parse=one_word)
        return blind_metrics(right[0], right[1], right[2], pictures) | alone

    def captions(self, n: int) -> tuple[dict[str, Metric], list[str]]:
        """CHAIR and wrong statements of the first ``n`` captions, and the captions.

        Nothing where the objects are not all known. A kind of statement that no caption makes is left out.
        """
        if not self._describable() or self.vocabulary is None:
            return {}, []
        texts = [one.text for one in self.answerer.describe(self.features[:n])]
        present = [list(one.counts) for one in self.facts[:n]]
        stated = caption_fact_metrics(texts, self.facts[:n], self.vocabulary)
        known = {name: metric for name, metric in stated.items() if metric.n and np.isfinite(metric.value)}
        return chair_metrics(texts, present, self.vocabulary) | known, texts

    def _describable(self) -> bool:
        return bool(self.lesson.turns.get("describe")) and all(one.exhaustive for one in self.facts)

    def twins(self, n: int) -> dict[str, Metric]:
        """The same question about pictures as they are, without the object, and without something else."""
        found = twin_pixels(self.lesson.gallery, n)
        if not self.lesson.turns.get("exists") or not found.names:
            return {}
        read, p_yes = self._say_of(found)
        return twin_metrics(read, found.pictures, p_yes=p_yes)

    def pasted(self, n: int) -> dict[str, Metric]:
        """The same question about pictures as they are, with the object put in, and with something else put in."""
        found = pasted_pixels(self.lesson.gallery, n)
        if not self.lesson.turns.get("exists") or not found.names:
            return {}
        read, p_yes = self._say_of(found)
        return twin_metrics(read, found.pictures, PASTED, p_yes=p_yes)

    def _say_of(self, found: TwinPixels) -> tuple[list[list[YesNo]], NDArray]:
        """Answers about the three pictures of each twin, and P(yes), ``[3, n]`` both."""
        features = self.answerer.see(PixelGallery(found.pixels.reshape(-1, *found.pixels.shape[2:])))
        said = self.answerer.ask_yes_no(features, list(enumerate(found.names * 3)))
        read, twins = [one_word(text) for text in said.texts], len(found.names)
        return [read[k * twins : (k + 1) * twins] for k in range(3)], said.p_yes.reshape(3, -1)

    def countable(self, n: int) -> list[tuple[int, str, int]]:
        """Picture, object and how many of it, of the first ``n`` pictures; none where counting is not taught."""
        if not self.lesson.turns.get("count"):
            return []
        known = [(i, name, count) for i, one in enumerate(self.facts[:n]) for name, count in one.counts.items()]
        return [row for row in known if row[1] not in self.facts[row[0]].uncounted][:COUNT_QUESTIONS]

    def placed(self, n: int) -> list[tuple[int, str, str]]:
        """Picture, object and its place, of the first ``n`` pictures; none where places are not taught."""
        if not self.lesson.turns.get("where"):
            return []
        return [(i, name, place) for i, one in enumerate(self.facts[:n]) for name, place in one.places.items()]

    def abilities(self, n: int) -> dict[str, list[tuple[int, str, int | str]]]:
        """Questions with one right answer that is no name, by form: picture, object, answer."""
        return {"count": [*self.countable(n)], "where": [*self.placed(n)]}

    def counting(self, n: int) -> dict[str, Metric]:
        """The share of right numbers, beside always saying "1"."""
        truth = self.countable(n)
        if not truth:
            return {}
        asked = [(i, FORMS["count"].plainly(name)) for i, name, _ in truth]
        said = self.answerer.answers(self.features, asked, max_new_tokens=4)
        right = [parse_count(a.text) == count for a, (_, _, count) in zip(said, truth, strict=True)]
        clusters = [i for i, _, _ in truth]
        return {
            "count/accuracy": share_by_cluster(right, clusters=clusters),
            "count/majority_accuracy": share_by_cluster([c == 1 for _, _, c in truth], clusters=clusters),
        }

    def classifying(self) -> dict[str, Metric]:
        """The share of pictures whose label is the answer to "What is this?", beside the most frequent label."""
        labels = [(i, one.label) for i, one in enumerate(self.facts) if one.label]
        if not self.lesson.turns.get("classify") or not labels:
            return {}
        asked = [(i, FORMS["classify"].plainly()) for i, _ in labels]
        names = [name for _, name in labels]
        longest = max(len(self.answerer.chat.answer_ids(name)) for name in names)
        said = self.answerer.answers(self.features, asked, max_new_tokens=longest + 1)
        most = max(set(names), key=names.count)
        return {
            "classify/accuracy": share_by_cluster([a.text == name for a, name in zip(said, names, strict=True)]),
            "classify/majority_accuracy": share_by_cluster([name == most for name in names]),
        }

    def kinds(self) -> tuple[KindRate, ...]:
        """How often each kind is made up and missed, over all different questions; the worst first."""
        if self.said is None:
            return ()
        return kind_rates(self.questions, self.said.texts)

    def calibration(self) -> tuple[CalibrationBin, ...]:
        """Answers of similar confidence, from 0.5 to 1, and how many of them were right."""
        if self.said is None:
            return ()
        return calibration_bins(self.said.confidence, right_answers(self.questions, self.said))

    def examples(self, folder: RunFolder, captions: Sequence[str]) -> Iterator[Example]:
        """The first pictures, with their captions and with the hardest questions."""
        for i in range(min(EXAMPLES, self.n)):
            thumbnail = save_thumbnail(folder, f"test-{i}", self.lesson.gallery.pixels([i])[0])
            yield from self._described(i, thumbnail, captions)
            if i < ASKED:
                yield from self._asked(i, thumbnail)

    def _described(self, i: int, thumbnail: str, captions: Sequence[str]) -> Iterator[Example]:
        facts = self.facts[i]
        if i < len(captions) and self.vocabulary is not None:
            reading = read_captions([captions[i]], [list(facts.counts)], self.vocabulary)[0]
            yield Example(
                thumbnail,
                captions[i] or "(nothing)",
                ", ".join(facts.counts),
                not reading.hallucinated and {*reading.mentioned} == {*facts.counts},
                question=FORMS["describe"].plainly(),
                group="Describing pictures",
                made_up=reading.hallucinated,
            )
        elif self.lesson.turns.get("caption"):
            said = self.answerer.describe(self.features[i : i + 1], "caption")[0]
            yield Example(
                thumbnail,
                said.text or "(nothing)",
                " / ".join(facts.captions[:2]),
                question=FORMS["caption"].plainly(),
                confidence=said.confidence,
                group="Writing captions",
            )

    def _asked(self, i: int, thumbnail: str) -> Iterator[Example]:
        if self.said is None:
            return
        hardest = self.questions[-1].set
        for question, text, p in zip(self.questions, self.said.texts, self.said.confidence, strict=True):
            if question.picture_id == str(i) and question.set == hardest:
                yield Example(
                    thumbnail,
                    text or "(neither yes nor no)",
                    "yes" if question.label else "no",
                    text == ("yes" if question.label else "no"),
                    FORMS["exists"].plainly(question.object),
                    float(p),
                    "Asking whether something is there",
                )


def _vocabulary(names: Sequence[str]) -> tuple[Vocabulary | None, str]:
    """What finds the names in captions; or none, and why: two names may read the same, or one have no letters."""
    try:
        return Vocabulary(names), ""
    except LucidaError as error:
        return None, str(error)


def one_word(text: str) -> YesNo:
    """What :meth:`Answerer.ask_yes_no` said: it says "yes", "no" or nothing."""
    return text if text in ("yes", "no") else "abstain"  # type: ignore[return-value]  # one of the three


def right_answers(questions: Sequence[PopeQuestion], said: YesNoAnswers) -> NDArray[np.bool_]:
    """Whether each question was answered right."""
    return np.array(said.texts) == np.where(labels_of(questions), "yes", "no")


def examine(answerer: Answerer, lessons: Mapping[str, Lesson], stage: LanguageStage, folder: RunFolder) -> Findings:
    """Everything on the first lesson, POPE on the others.

    Args:
        answerer: the trained model.
        lessons: held-out pictures, by the prefix of POPE's metrics.
        stage: says how many pictures are asked about.
        folder: gets the thumbnails.
    """
    (prefix, first), *others = lessons.items()
    exam = Examination(answerer, first, stage.test_pictures)
    metrics: dict[str, Any] = exam.pope(prefix) | exam.risk() | exam.blind()
    told, captions = exam.captions(stage.captions)
    metrics |= told | exam.counting(stage.captions) | exam.classifying()
    twins, pasted = exam.twins(stage.twins), exam.pasted(stage.twins)
    silent = [family for family in FAMILIES if told and f"caption_facts/{family}_error" not in told]
    missing = {f"caption_facts/{family}": NOT_STATED for family in silent}
    missing |= ({} if twins else {"twins": NO_TWIN}) | ({} if pasted else {"twins/pasted": NO_PASTE})
    findings = Findings(metrics | twins | pasted, exam.kinds(), exam.calibration(), left_out=exam.obstacles() | missing)
    findings.exam = exam
    findings.examples += exam.examples(folder, captions)
    for name, lesson in others:
        findings.metrics |= Examination(answerer, lesson, stage.test_pictures).pope(name)
    return findings
