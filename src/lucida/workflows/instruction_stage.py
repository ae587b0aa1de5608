"""The multimodal LLM of a run tuned on kinds of instruction, and asked about kinds that it was not tuned on."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from lucida.core.config import check_settings
from lucida.core.progress import say
from lucida.core.results import Metric, Results
from lucida.core.run_folder import RunFolder
from lucida.core.seeds import stream
from lucida.data.captions import vocabulary
from lucida.data.instructions import HoldOut, InstructionLesson, InstructionParts, draw_parts, instruct
from lucida.data.lessons import ConversationData, Lesson
from lucida.data.scenes import SceneWorld
from lucida.evaluation.blind import blind_metrics, shuffled_pictures
from lucida.evaluation.instructions import Asked, accuracy, baseline_metrics, gain, score
from lucida.inference.answerer import Answerer
from lucida.training.loop import TrainConfig, train
from lucida.training.tasks import LanguageTask
from lucida.workflows.language_stage import answering, answering_config, free_for_answers, keep_words

STAGE, TUNED = "instructions", "instructed_llm"  # in a run folder: the training, and the tuned model
PREFIX = "instructions"
FRESH = 700_000  # scenes of the training stream that nothing else is trained on begin here
_LONGEST = 24  # tokens of an answer


@dataclass(frozen=True)
class InstructionStage:
    """Settings of instruction tuning.

    Attributes:
        scenes: composed for it; 0 leaves it out.
        held_out: how many kinds (or families of kinds) of instruction are held out, drawn by seed.
        hold_out: kinds one by one, or whole families of similar kinds.
        kinds: how many of the others are trained on; all of them by default.
        each: instructions a scene, whatever the number of kinds.
        rehearsed: share of the scenes that get their usual conversation instead, so that it is not forgotten.
        test_pictures: of the exam; each is asked every kind that it allows, in known and in new words.
        train: how the model is trained.
    """

    scenes: int = 0
    held_out: int = 4
    hold_out: HoldOut = "kinds"
    kinds: int | None = None
    each: int = 8
    rehearsed: float = 0.2
    test_pictures: int = 150
    train: TrainConfig = field(default_factory=lambda: answering(8_000, learning_rate=7e-4, warmup_share=0.1))

    def __post_init__(self) -> None:
        allowed = {
            "scenes": self.scenes >= 0,
            "each": self.each >= 1,
            "rehearsed": 0 <= self.rehearsed < 1,
            "test_pictures": self.test_pictures >= 2,
        }
        check_settings(self, allowed)
        draw_parts(self.held_out, self.kinds, 0, self.hold_out)  # refused here, not after an hour of training


class InstructionExam:
    """Every kind of instruction that test pictures allow, in known words and in new ones.

    Args:
        lesson: held-out pictures.
        n: how many of them.
        kinds: what is asked.
        seed: of the questions.
    """

    def __init__(self, lesson: Lesson, n: int, kinds: Sequence[str], seed: int):
        assert lesson.statistics is not None
        self.lesson, self.n = lesson, min(n, len(lesson.gallery))
        self.asked: dict[bool, list[Asked]] = {False: [], True: []}  # by whether the words are new
        for i in range(self.n):
            for kind in kinds:
                for new in (False, True):  # the same question in both: the words are drawn last
                    draws = stream(seed, STAGE, "exam", i, kind)
                    found = instruct(kind, lesson.gallery.facts(i), lesson.statistics, draws, new_wording=new)
                    if found:
                        self.asked[new].append(Asked(i, found))

    def right(
        self, answerer: Answerer, features: Tensor, *, new: bool = False, shown: Mapping[int, int] | None = None
    ) -> list[bool]:
        """Which answers are right, where picture i is shown as row ``shown[i]`` of ``features`` (its own by default).

        The truth is that of the picture asked about, whatever is shown.
        """
        rows = [(one.picture if shown is None else shown[one.picture], one) for one in self.asked[new]]
        texts = answerer.answers(features, [(row, one.instruction.text) for row, one in rows], max_new_tokens=_LONGEST)
        surfaces = vocabulary(self.lesson.names)
        return score(self.asked[new], [text.text for text in texts], surfaces).right


class Instructed(NamedTuple):
    """A model tuned on instructions.

    Attributes:
        answerer: the tuned copy, or the model itself where nothing was to be tuned.
        parts: which kinds it was tuned on.
        seconds: of the training.
    """

    answerer: Answerer
    parts: InstructionParts
    seconds: float


def tune_on_instructions(
    answerer: Answerer, world: SceneWorld, stage: InstructionStage, folder: RunFolder, *, seed: int
) -> Instructed:
    """Train a copy of a model on the kinds that are not held out; called again, the finished training is loaded."""
    parts = draw_parts(stage.held_out, stage.kinds, seed, stage.hold_out)
    if not stage.scenes:
        return Instructed(answerer, parts._replace(trained=()), 0.0)
    say(f"trained on: {', '.join(parts.trained)}\nheld out: {', '.join(parts.held_out)}")
    own = copy.deepcopy(answerer)
    free_for_answers(own)
    keep_words(own)  # scenes have boxes: their places were named
    scenes = Lesson.of_scenes(world, "train", stage.scenes, FRESH)
    lesson = InstructionLesson(scenes, parts.trained, stage.each, stage.rehearsed)
    data = ConversationData(lesson, own.chat, lambda: own.see(lesson.gallery))
    config = answering_config(stage.train, own, named=True)
    part = RunFolder.create(folder.path / "stages" / STAGE, config, seed=seed)
    state = train(LanguageTask(own.model), data, config, part, resume=True, pictures="vision_features")
    own.model.eval().requires_grad_(False)
    own.save(folder.path / TUNED)
    return Instructed(own, parts, state.seconds)


def measure_instructions(
    before: Answerer, tuned: Instructed, lesson: Lesson, stage: InstructionStage, results: Results, *, seed: int
) -> None:
    """Accuracy by kind, of kinds trained on and held out, before and after, beside what needs no picture.

    Metrics are named ``instructions/{trained|held_out|conversed}/…``, those of a kind ``instructions/kind/{kind}/…``.
    """
    kinds = [kind for part in tuned.parts for kind in part]
    exam = InstructionExam(lesson, stage.test_pictures, kinds, seed)
    features = before.see(lesson.gallery, exam.n)
    other = shuffled_pictures(range(exam.n), seed=seed)
    blank = before.blank()
    after = tuned.answerer
    right = {
        "accuracy": exam.right(after, features),
        "before_accuracy": exam.right(before, features),
        "shuffled": exam.right(after, features, shown=other),
        "blank": exam.right(after, blank, shown=dict.fromkeys(range(exam.n), 0)),
    }
    new = exam.right(after, features, new=True)
    for part, names in tuned.parts._asdict().items():
        if names:
            for name, metric in _part_metrics(exam, names, right, new, f"{PREFIX}/{part}").items():
                results.add(name, metric)
        for kind in names:
            for name, metric in _kind_metrics(exam, kind, right, new).items():
                results.add(name, metric)
    results.add(f"{PREFIX}/seconds", Metric(tuned.seconds))
    results.details[PREFIX] = {part: list(names) for part, names in tuned.parts._asdict().items()}


def _part_metrics(
    exam: InstructionExam, kinds: Sequence[str], right: Mapping[str, Sequence[bool]], new: Sequence[bool], prefix: str
) -> dict[str, Metric]:
    """Of the kinds of one part together; nothing where no test picture allows any of them."""
    asked, own = _of(exam.asked[False], right, kinds)
    if not asked:
        return {}
    renamed, in_new_words = _of(exam.asked[True], {"": new}, kinds)
    blind = blind_metrics(
        own["accuracy"], own["shuffled"], own["blank"], [one.picture for one in asked], prefix=f"{prefix}/blind"
    )
    return {
        f"{prefix}/accuracy": accuracy(asked, own["accuracy"]),
        f"{prefix}/before_accuracy": accuracy(asked, own["before_accuracy"]),
        f"{prefix}/gain": gain(asked, own["before_accuracy"], own["accuracy"]),
        f"{prefix}/new_wording_accuracy": accuracy(renamed, in_new_words[""]),
        **{name: metric for name, metric in blind.items() if "/true/" not in name},
        **baseline_metrics(asked, prefix),
    }


def _kind_metrics(
    exam: InstructionExam, kind: str, right: Mapping[str, Sequence[bool]], new: Sequence[bool]
) -> dict[str, Metric]:
    prefix = f"{PREFIX}/kind/{kind}"
    asked, own = _of(exam.asked[False], right, [kind])
    renamed, in_new_words = _of(exam.asked[True], {"": new}, [kind])
    if not asked:
        return {}
    return {
        f"{prefix}/accuracy": accuracy(asked, own["accuracy"]),
        f"{prefix}/before_accuracy": accuracy(asked, own["before_accuracy"]),
        f"{prefix}/new_wording_accuracy": accuracy(renamed, in_new_words[""]),
        f"{prefix}/shuffled_accuracy": accuracy(asked, own["shuffled"]),
        **baseline_metrics(asked, prefix),
    }


def _of(
    asked: Sequence[Asked], right: Mapping[str, Sequence[bool]], kinds: Sequence[str]
) -> tuple[list[Asked], dict[str, list[bool]]]:
    """The instructions of some kinds, and how they were answered."""
    rows = [i for i, one in enumerate(asked) if one.instruction.kind in kinds]
    return [asked[i] for i in rows], {name: [values[i] for i in rows] for name, values in right.items()}
