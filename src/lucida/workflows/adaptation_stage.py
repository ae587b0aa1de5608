"""The multimodal LLM of a run adapted to the second artist by low-rank adapters, measured on both before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from lucida.core.errors import LucidaError
from lucida.core.results import Metric, Results
from lucida.core.run_folder import RunFolder
from lucida.data.lessons import ConversationData, Lesson
from lucida.data.scenes import SceneWorld
from lucida.data.worlds import halves_of_held_out
from lucida.evaluation.intervals import mean_by_cluster, share_by_cluster
from lucida.evaluation.pope import PopeQuestion
from lucida.inference.answerer import Answerer
from lucida.inference.generate import YesNoAnswers
from lucida.models.adapter_files import save_adapter
from lucida.models.adapters import LoraSettings, add_lora
from lucida.training.loop import TrainConfig, train
from lucida.training.tasks import LanguageTask
from lucida.workflows.chat_measures import trainable_count
from lucida.workflows.hallucination_stage import Examination, right_answers
from lucida.workflows.language_stage import LOOKING_QUESTIONS, answering, answering_config

STREAM = "test_second_artist"
STAGE, FOLDER = "adaptation", "second_artist_adapter"  # in the run folder


@dataclass(frozen=True)
class AdaptationStage:
    """Settings of the adaptation to the second artist.

    Attributes:
        scenes: of half of the kinds, as the second artist draws them; 0 leaves the adaptation out.
        test_pictures: of each exam.
        lora: the adapters.
        train: how they are trained, on "is there a …?" alone.
    """

    scenes: int = 1_000
    test_pictures: int = 150
    lora: LoraSettings = field(default_factory=lambda: LoraSettings(r=8, lora_alpha=16, target_modules=r".*_proj"))
    train: TrainConfig = field(default_factory=lambda: answering(3_000, learning_rate=1e-3, warmup_share=0.1))

    def __post_init__(self) -> None:
        if self.scenes < 0 or self.test_pictures < 1:
            raise LucidaError("scenes must not be negative, and test_pictures at least 1", where="AdaptationStage")


def adapt_to_second_artist(
    answerer: Answerer, world: SceneWorld, stage: AdaptationStage, folder: RunFolder, results: Results, *, seed: int
) -> None:
    """Train the adapters on half of the kinds, ask about the other half and about the first artist, before and after.

    The adapters stay in the model: nothing else may be measured afterwards.
    """
    taught, asked = halves_of_held_out(world)
    n = stage.test_pictures
    exams = {
        "second_artist_other_kinds": Examination(answerer, Lesson.of_scenes(asked, STREAM, n), n),
        "second_artist_taught_kinds": Examination(answerer, Lesson.of_scenes(taught, STREAM, n, stage.scenes), n),
        "first_artist": Examination(answerer, Lesson.of_scenes(world, "test", n), n),
    }
    before = {name: exam.answered() for name, exam in exams.items()}
    lesson = replace(Lesson.of_scenes(taught, STREAM, stage.scenes), turns={"exists": LOOKING_QUESTIONS})
    data = ConversationData(lesson, answerer.chat, lambda: answerer.see(lesson.gallery))
    answerer.model.requires_grad_(False)
    adapted = add_lora(answerer.model.language_model, stage.lora, seed=seed)
    config = answering_config(stage.train, answerer, named=False)
    part = RunFolder.create(folder.path / "stages" / STAGE, config, seed=seed)
    train(LanguageTask(answerer.model), data, config, part, resume=True)
    for name, exam in exams.items():
        for metric, value in _compared(exam.questions, before[name], exam.answered()).items():
            results.add(f"adaptation/{name}/{metric}", value)
    trained, everything = trainable_count(answerer.model)
    results.add("adaptation/parameters/trained", Metric(trained))
    results.add("adaptation/parameters/all", Metric(everything))
    save_adapter(adapted, folder.path / FOLDER, base="the multimodal LLM of this run")


def _compared(questions: Sequence[PopeQuestion], before: YesNoAnswers, after: YesNoAnswers) -> dict[str, Metric]:
    """Accuracy and the share of "yes" of both, and what was gained, question by question."""
    pictures = [question.picture_id for question in questions]
    metrics, right = {}, {}
    for when, said in (("before", before), ("after", after)):
        right[when] = right_answers(questions, said)
        yes = [text == "yes" for text in said.texts]
        metrics[f"{when}/accuracy"] = share_by_cluster(right[when], clusters=pictures)
        metrics[f"{when}/yes_ratio"] = share_by_cluster(yes, clusters=pictures)
    gain = right["after"].astype(float) - right["before"].astype(float)
    return metrics | {"gain": mean_by_cluster(gain, pictures)}
