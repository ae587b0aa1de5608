"""``lucida audit``: how often a model names what is not there, on anyone's pictures, and whether it looks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lucida.core.config import check_settings
from lucida.core.errors import LucidaError
from lucida.core.results import Metric, Results, write_text
from lucida.core.run_folder import RunFolder, environment
from lucida.data.pasted_pictures import NO_PASTE, find_pastes
from lucida.data.pixels import write_skipped
from lucida.data.twin_pictures import NO_TWIN, find_twins
from lucida.evaluation.answers import YesNo, parse_yes_no
from lucida.evaluation.blind import blind_metrics, shuffled_pictures
from lucida.evaluation.calibration import risk_metrics
from lucida.evaluation.chair import chair_curve, chair_metrics, read_captions
from lucida.evaluation.pope import (
    baseline_metrics,
    corpus_questions,
    fingerprint,
    labels_of,
    pope_metrics,
    question_only_metrics,
    read_answers,
)
from lucida.evaluation.twins import PASTED, twin_metrics
from lucida.report.material import CorpusFacts, Material
from lucida.report.page import write_report
from lucida.workflows.audit_examples import audit_examples
from lucida.workflows.audited_pictures import AuditedPictures, blank, edited, patched, read_audited
from lucida.workflows.hallucination_stage import one_word
from lucida.workflows.picture_questions import CompleteLists, Labelled
from lucida.workflows.stages import TITLES, timed_stage
from lucida.workflows.subjects import Said, Subject, View, load_subject
from lucida.workflows.tallies import calibration_bins, kind_rates

LENGTHS = (8, 16, 32, 64)  # words, of CHAIR's curve
QUESTIONS, ANSWERS, CAPTIONS, TWINS = "questions.jsonl", "answers.jsonl", "captions.jsonl", "twins.jsonl"
TAKEN_OUT, PUT_IN = "taken out", "put in"  # what a row of the last of these says was done to the picture
NOT_WANTED = "none were asked for (--twins)"


@dataclass(frozen=True)
class AuditConfig:
    """A vision-language model examined on pictures whose objects are known.

    Attributes:
        pictures: COCO's instances, or another source whose pictures list all their objects.
        vocabulary: a file with a line for each name that may be asked for, "dog: puppy, hound"; all of the source's
            unless given.
        out: the run folder; gets the questions and answers as JSON lines, too.
        max_pictures: a sample of so many, if there are more.
        k: questions about present and about absent objects, for each picture and question set.
        captions: pictures that are described.
        twins: pictures from which an object is taken out, and as many into which one is put.
        answer_tokens: longest answer to a question.
        caption_tokens: longest description; one that is cut off is scored with its unfinished sentence.
        exists: another wording of the question, with {a} and {name} in it.
        describe: another wording of the request for a description.
        seed: draws objects, twins and shuffled pictures.
    """

    pictures: Path | None = None
    vocabulary: Path | None = None
    out: Path = Path("runs/audit")
    max_pictures: int | None = 500
    k: int = 3
    captions: int = 200
    twins: int = 200
    answer_tokens: int = 12
    caption_tokens: int = 64
    exists: str = ""
    describe: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        allowed = {
            "max_pictures": self.max_pictures is None or self.max_pictures >= 2,
            "k": self.k >= 1,
            "captions": self.captions >= 0,
            "twins": self.twins >= 0,
            "answer_tokens": self.answer_tokens >= 1,
            "caption_tokens": self.caption_tokens >= 1,
        }
        check_settings(self, allowed)


@dataclass
class Audit:
    """A model, pictures, and what has been measured of it on them.

    Attributes:
        subject, pictures, config: of the audit.
        questions: all sets, one after the other.
        left_out: what these pictures or this model cannot support, by the start of its metrics' names, and why.
        said, p_yes: the answers to the questions.
        answers: as yes, no or abstain.
        captions: of the first pictures.
        twin_rows: what was said of each twin picture, and what had been done to it.
    """

    subject: Subject
    pictures: AuditedPictures
    config: AuditConfig

    def __post_init__(self) -> None:
        views = self.pictures.views
        lists = tuple(Labelled(str(i), one.objects) for i, one in enumerate(self.pictures.facts))
        self.questions, reasons = corpus_questions(CompleteLists(lists), k=self.config.k, seed=self.config.seed)
        self.left_out = {f"pope/{how}": reason for how, reason in reasons.items()}
        self._numbers = [int(question.picture_id) for question in self.questions]
        self.said, self.p_yes = self._ask(views, self._numbers)
        self.answers = self.read(self.said)
        self.captions: list[str] = []
        self.twin_rows: list[dict[str, object]] = []

    def _ask(self, views: Sequence[View], shown: Sequence[int]) -> tuple[list[Said], NDArray[np.float64]]:
        """The questions, each with the view of a number."""
        asked = [(i, self.subject.asks(question.object)) for i, question in zip(shown, self.questions, strict=True)]
        return self._answers(views, asked)

    def _answers(
        self, views: Sequence[View], asked: Sequence[tuple[int, str]]
    ) -> tuple[list[Said], NDArray[np.float64]]:
        said = self.subject.answers(views, asked, max_new_tokens=self.config.answer_tokens)
        return said, np.array([one.p_yes for one in said])

    @property
    def confidence(self) -> NDArray[np.float64]:
        """P of the likelier of the two words, ``[Q]``."""
        return np.maximum(self.p_yes, 1 - self.p_yes)

    def read(self, said: Sequence[Said]) -> list[YesNo]:
        """Answers to the questions, by the one parser."""
        return read_answers(self.questions, [one.text for one in said], vocabulary=self.pictures.vocabulary)

    def right(self, answers: Sequence[YesNo]) -> NDArray[np.bool_]:
        """Whether each question is answered right."""
        return np.array(answers) == np.where(labels_of(self.questions), "yes", "no")

    def pope(self) -> dict[str, Metric]:
        """POPE's metrics and what needs no model."""
        if not self.questions:
            return {}
        own = pope_metrics(self.questions, self.answers, scores=known(self.p_yes), parse=one_word)
        if known(self.p_yes) is not None:
            pictures = [question.picture_id for question in self.questions]
            own |= risk_metrics(self.confidence, self.right(self.answers), pictures)
        else:
            words = " and ".join(map(repr, self.subject.yes_no))
            self.left_out["pope/scores"] = f"P(yes) is not known: {words} are the same tokens to this model"
        close = Metric(float(np.mean([one.margin < 1e-4 for one in self.said])), None, len(self.said))
        return own | baseline_metrics(self.questions) | {"pope/close_calls": close}

    def blind(self) -> dict[str, Metric]:
        """The same questions with another picture, and with a grey one of the same size."""
        ids = [question.picture_id for question in self.questions]
        if len({*ids}) < 2:
            self.left_out["blind"] = "fewer than two pictures can be asked about"
            return {}
        other = shuffled_pictures(ids, seed=self.config.seed)
        shuffled, _ = self._ask(self.pictures.views, [int(other[id]) for id in ids])
        empty, p_yes = self._ask([blank(view) for view in self.pictures.views], self._numbers)
        unseen = self.read(empty)
        rights = [self.right(answers) for answers in (self.answers, self.read(shuffled), unseen)]
        alone = question_only_metrics(self.questions, unseen, scores=known(p_yes), parse=one_word)
        return blind_metrics(rights[0], rights[1], rights[2], ids) | alone

    def chair(self) -> dict[str, Metric]:
        """CHAIR of the first pictures' descriptions, whole and by their first words."""
        n = min(self.config.captions, len(self.pictures))
        if not n:
            self.left_out["chair"] = "no descriptions were asked for (--captions)"
            return {}
        asked = [(i, self.subject.describe) for i in range(n)]
        said = self.subject.answers(self.pictures.views, asked, max_new_tokens=self.config.caption_tokens, scored=False)
        self.captions = [one.text for one in said]
        present, vocabulary = [self.pictures.present(i) for i in range(n)], self.pictures.vocabulary
        curve = chair_curve(self.captions, present, vocabulary, LENGTHS, keep_unfinished=True)
        return chair_metrics(self.captions, present, vocabulary) | curve

    def twins(self) -> dict[str, Metric]:
        """The same question with the object, without it, and without something else."""
        found = find_twins(self.pictures.facts, each=1, seed=self.config.seed)[: self.config.twins]
        if not found:
            self.left_out["twins"] = NO_TWIN if self.config.twins else NOT_WANTED
            return {}
        views: list[View] = []
        for twin in found:
            own = self.pictures.views[twin.picture]
            views += [own._replace(name=f"{own.name} (as it is)")]
            views += [
                edited(own, twin.hole, f"{own.name} (without)"),
                edited(own, twin.elsewhere, f"{own.name} (else)"),
            ]
        numbers = [twin.picture for twin in found]
        shown, scores = self._say_of_twins(views, [twin.name for twin in found], numbers, TAKEN_OUT)
        return twin_metrics(shown, numbers, p_yes=scores)

    def pasted(self) -> dict[str, Metric]:
        """The same question without the object, with it put in, and with something else put in."""
        found = find_pastes(self.pictures.facts, seed=self.config.seed)[: self.config.twins]
        if not found:
            self.left_out["twins/pasted"] = NO_PASTE if self.config.twins else NOT_WANTED
            return {}
        views: list[View] = []
        for paste in found:
            own, source = self.pictures.views[paste.picture], self.pictures.views[paste.source]
            views += [own._replace(name=f"{own.name} (as it is)")]
            views += [
                patched(own, source, paste.crop, paste.place, f"{own.name} (with)"),
                patched(own, source, paste.other, paste.place, f"{own.name} (else)"),
            ]
        numbers = [paste.picture for paste in found]
        shown, scores = self._say_of_twins(views, [paste.name for paste in found], numbers, PUT_IN)
        return twin_metrics(shown, numbers, PASTED, p_yes=scores)

    def _say_of_twins(
        self, views: Sequence[View], names: Sequence[str], numbers: Sequence[int], edit: str
    ) -> tuple[list[list[YesNo]], NDArray[np.float64] | None]:
        """Answers about three views of each twin, and P(yes) ``[3, n]`` if all are known; keeps a row for each."""
        asked = [(3 * i + k, self.subject.asks(name)) for k in range(3) for i, name in enumerate(names)]
        said, p_yes = self._answers(views, asked)
        forms, n = self.pictures.vocabulary.surfaces, len(names)
        read = [
            parse_yes_no(one.text, about=forms.get(name, (name,))) for one, name in zip(said, [*names] * 3, strict=True)
        ]
        shown = [read[:n], read[n : 2 * n], read[2 * n :]]
        self.twin_rows += [
            {
                "image": self.pictures.views[number].name,
                "object": name,
                "edit": edit,
                "said": [each[i] for each in shown],
            }
            for i, (number, name) in enumerate(zip(numbers, names, strict=True))
        ]
        scores = known(p_yes)
        return shown, None if scores is None else scores.reshape(3, n)

    def save_files(self, folder: Path) -> None:
        """All questions with their answers (as ``lucida evaluate pope`` reads them), descriptions and twins."""
        rows = enumerate(zip(self.questions, self.said, self.answers, self.p_yes.tolist(), strict=True), start=1)
        asked, answered = [], []
        for number, (question, said, read, p_yes) in rows:
            own = {"question_id": number, "image": self.pictures.views[int(question.picture_id)].name}
            text, label = self.subject.asks(question.object), "yes" if question.label else "no"
            asked.append(own | {"text": text, "label": label, "category": question.set})
            sure = round(p_yes, 6) if np.isfinite(p_yes) else None
            answered.append(own | {"answer": said.text, "read": read, "p_yes": sure})
        files = {QUESTIONS: asked, ANSWERS: answered, CAPTIONS: self._caption_rows(), TWINS: self.twin_rows}
        for name, lines in files.items():
            write_text(folder / name, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))

    def _caption_rows(self) -> list[dict[str, object]]:
        present = [self.pictures.present(i) for i in range(len(self.captions))]
        readings = read_captions(self.captions, present, self.pictures.vocabulary)
        return [
            {
                "image": self.pictures.views[i].name,
                "caption": caption,
                "mentioned": list(reading.mentioned),
                "hallucinated": list(reading.hallucinated),
                "present": sorted(reading.present),
            }
            for i, (caption, reading) in enumerate(zip(self.captions, readings, strict=True))
        ]


def known(p_yes: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The probabilities, if all of them are known."""
    return p_yes if np.isfinite(p_yes).all() else None


def audit(source: str, config: AuditConfig) -> Path:
    """Everything that can be measured; returns the report.

    Args:
        source: a Hugging Face image-text-to-text model, or a folder of ``lucida run`` or ``lucida adapt``.
        config: of the audit.

    Raises:
        LucidaError: no pictures are named, model or pictures cannot be read, or nothing can be asked about them.
    """
    if config.pictures is None:
        remedy = "lucida audit MODEL --pictures instances.json"
        raise LucidaError("no pictures were named (--pictures)", where="lucida audit", remedy=remedy)
    results = Results()
    with timed_stage(results, "pictures"):
        pictures = read_audited(config.pictures, limit=config.max_pictures, vocabulary=config.vocabulary)
    with timed_stage(results, "model"):
        subject = load_subject(source, exists=config.exists, describe=config.describe)
    folder = RunFolder.create(config.out, config, seed=config.seed)
    write_skipped(folder.path, pictures.skipped)
    with timed_stage(results, "questions"):
        done = Audit(subject, pictures, config)
        for name, metric in done.pope().items():
            results.add(name, metric)
    measures = {"blind": done.blind, "captions": done.chair, "twins": done.twins, "pasted": done.pasted}
    for stage, measure in measures.items():
        with timed_stage(results, stage):
            for name, metric in measure().items():
                results.add(name, metric)
    for what, reason in done.left_out.items():
        results.leave_out(what, reason)
    results.details = {"environment": environment(config.seed), "question_set": fingerprint(done.questions)}
    results.save(folder.results)
    done.save_files(folder.path)
    _material(done, folder).save(folder)
    return write_report(folder)


def _material(done: Audit, folder: RunFolder) -> Material:
    corpus = done.pictures.corpus
    return Material(
        title=f"{done.subject.name} on {corpus.name}",
        summary=(
            f"{len(done.questions):,} questions about {len(done.pictures):,} pictures whose objects are known, "
            f"{len(done.captions):,} descriptions, and pictures from which an object was taken out "
            "or into which one was put."
        ),
        corpora=(CorpusFacts(corpus.name, {"pictures": len(done.pictures)}, len(done.pictures), corpus.n_available),),
        kinds=kind_rates(done.questions, done.answers),
        calibration=() if known(done.p_yes) is None else calibration_bins(done.confidence, done.right(done.answers)),
        examples=tuple(audit_examples(done, folder)),
        stage_titles=TITLES,
    )
