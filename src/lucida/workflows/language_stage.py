"""The multimodal LLM of a run: it learns to name places of pictures, then to answer questions about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lucida.core.durations import Duration
from lucida.core.errors import LucidaError
from lucida.core.run_folder import RunFolder
from lucida.core.seeds import stream
from lucida.data.collation import ChatFormat, check_batch
from lucida.data.galleries import Gallery
from lucida.data.kinds import article
from lucida.data.lessons import ConversationData, Lesson, NamingData
from lucida.data.tokenization import train_tokenizer
from lucida.evaluation.pope import PopeQuestion, build_questions, obstacle, pope_metrics
from lucida.inference.generate import Answer, YesNoAnswers, answer, answer_yes_no
from lucida.models.efficientnet import EfficientNetLite0
from lucida.models.language_models import SmallLlama
from lucida.models.naming import PlaceNaming
from lucida.models.projectors import WordProjector
from lucida.models.vision_language_model import VisionLanguageModel
from lucida.training.loop import TrainConfig, Validate, train
from lucida.training.parameter_groups import ParameterRow
from lucida.training.tasks import LanguageTask

VALIDATION_PICTURES = 100


@dataclass(frozen=True)
class LanguageStage:
    """Settings of the multimodal LLM.

    Attributes:
        scenes: composed for training; naming and conversations are about the same ones.
        frozen_blocks: of the vision tower, while places are named; afterwards all of it is frozen.
        llama: the language model.
        naming, train: how the two parts are trained.
        test_pictures: of each test stream.
        captions: pictures whose captions are checked for what they make up.
    """

    scenes: int = 16_000
    frozen_blocks: int = 5
    llama: SmallLlama = field(default_factory=SmallLlama)
    naming: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            Duration(16_000, "examples"),
            batch_size=32,
            weight_decay=0.02,
            parameters=(
                ParameterRow("model.vision_tower.*", 0.5),
                ParameterRow("model.language_model.*", 0),
                ParameterRow("model.multi_modal_projector.detail.*", 0),
                ParameterRow("model.multi_modal_projector.places", 0),
            ),
        )
    )
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            Duration(16_000, "examples"),
            batch_size=16,
            learning_rate=2e-3,
            weight_decay=0.02,
            validate_every=Duration(4_000, "examples"),
            parameters=(ParameterRow("vision_tower.*", 0),),
        )
    )
    test_pictures: int = 300
    captions: int = 200


class LanguageRun:
    """A multimodal LLM for the pictures and questions of a lesson.

    Args:
        lesson: what it is trained on.
        stage: settings.
        size: side of the pictures, pixels.
        seed: of the fresh weights.
    """

    def __init__(self, lesson: Lesson, stage: LanguageStage, *, size: int, seed: int = 0):
        self.lesson, self.stage, self.size = lesson, stage, size
        self.tower = EfficientNetLite0(size, frozen_blocks=stage.frozen_blocks, pooled="stride16")
        words = [*lesson.names, "yes", "no"]
        tokenizer = train_tokenizer(_sample_texts(lesson, 1000), vocab_size=1024, words=words)
        self.chat = ChatFormat(tokenizer, self.tower.grid_tokens)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            llama = stage.llama.build(self.chat.tokenizer)
            projector = WordProjector(self.tower.hidden_size, stage.llama.hidden_size, self.tower.grid_tokens)
        self.model = VisionLanguageModel(projector, llama, self.chat.image_token_id, vision_tower=self.tower)

    def fit(self, folder: RunFolder, validation: Lesson | None = None, *, resume: bool) -> None:
        """Name places, where there are boxes; then learn to answer on the features of a tower that stays as it is."""
        if self._has_boxes():
            self._name_places(folder, resume=resume)
        self.model.requires_grad_(True)
        self.tower.requires_grad_(False)
        self.tower.freeze(17)
        data = ConversationData(self.lesson, self.chat, lambda: self.see(self.lesson.gallery))
        first = data.conversations(range(min(2, len(data))), np.random.default_rng)
        check_batch(first, self.chat.image_token_id, self.chat.image_tokens)
        validate = self.validation(validation) if validation else None
        config = self.stage.train
        train(
            LanguageTask(self.model), data, config, _part(folder, "language", config), validate=validate, resume=resume
        )
        self.model.eval()

    def _has_boxes(self) -> bool:
        n = len(self.lesson.gallery)
        return any(thing.box for i in range(min(n, 200)) for thing in self.lesson.gallery.facts(i).objects)

    def _name_places(self, folder: RunFolder, *, resume: bool) -> None:
        names = [self.chat.encode([name])[0].tolist() for name in self.lesson.names]
        side = round(self.tower.grid_tokens**0.5)
        data = NamingData(self.lesson, self.tower.preprocess, side)
        config = self.stage.naming
        naming = PlaceNaming(self.model, names)
        train(LanguageTask(naming), data, config, _part(folder, "naming", config), resume=resume)

    def validation(self, lesson: Lesson) -> Validate:
        """The loss on held-out pictures, the same questions each time, and POPE where the labels allow it."""
        n = min(VALIDATION_PICTURES, len(lesson.gallery))
        data = ConversationData(lesson, self.chat, lambda: self.see(lesson.gallery, n))
        questions = self.questions(lesson, n, "random")

        def validate() -> dict[str, float]:
            output = self.model(**data.batch(range(n), lambda k: stream(0, "validation conversations", k)))
            measured = {"loss": float(output.loss_sum / output.n_supervised)}
            if questions:
                said = self.ask(questions, data.features)
                measured["pope_random_accuracy"] = pope_metrics(questions, said.texts)["pope/random/accuracy"].value
            return measured

        return validate

    @torch.inference_mode()
    def see(self, gallery: Gallery, n: int | None = None) -> Tensor:
        """Grid features of the first ``n`` pictures, ``float16 [n, T, D]``; all of them by default."""
        n = len(gallery) if n is None else min(n, len(gallery))
        seen = torch.empty(n, self.tower.grid_tokens, self.tower.hidden_size, dtype=torch.float16)
        training = self.tower.training
        self.tower.eval()
        for start in range(0, n, 8):
            pixels = torch.from_numpy(gallery.pixels(range(start, min(start + 8, n))))
            seen[start : start + 8] = self.tower(self.tower.preprocess(pixels)).grid
        self.tower.train(training)
        return seen

    def questions(self, lesson: Lesson, n: int, how: str) -> list[PopeQuestion]:
        """POPE questions about the first ``n`` pictures; none if the labels cannot support them."""
        facts = [lesson.gallery.facts(i) for i in range(n)]
        present = {str(i): list(one.counts) for i, one in enumerate(facts)}
        exhaustive = all(one.exhaustive for one in facts)
        if obstacle(present, how, exhaustive=exhaustive, statistics=lesson.statistics):
            return []
        return build_questions(present, how, exhaustive=True, statistics=lesson.statistics)

    def ask(self, questions: Sequence[PopeQuestion], features: Tensor, shown: np.ndarray | None = None) -> YesNoAnswers:
        """What the model answers; ``shown`` says which picture is shown in place of each."""
        rows = np.arange(len(features)) if shown is None else shown
        asked = [(int(rows[int(q.picture_id)]), exists_question(q.object)) for q in questions]
        return answer_yes_no(self.model, self.chat, features, asked)

    def describe(self, features: Tensor, question: str = "Describe the picture.") -> list[Answer]:
        """A caption for each picture."""
        asked = [(i, question) for i in range(len(features))]
        return answer(self.model, self.chat, features, asked, max_new_tokens=64)

    def blank(self) -> Tensor:
        """Features of a grey picture, ``float16 [1, T, D]``."""
        grey = torch.full((1, self.size, self.size, 3), 128, dtype=torch.uint8)
        with torch.inference_mode():
            return self.tower(self.tower.preprocess(grey)).grid.half()


def exists_question(name: str) -> str:
    """How POPE asks.

    >>> exists_question("apple")
    'Is there an apple in the picture?'
    """
    return f"Is there {article(name)} {name} in the picture?"


def _sample_texts(lesson: Lesson, n: int) -> list[str]:
    """Questions and answers about the first pictures: what the tokenizer is trained on."""
    n = min(n, len(lesson.gallery))
    turns = [turn for i in range(n) for turn in lesson.converse(i, np.random.default_rng(i))]
    if not turns:
        raise LucidaError("nothing can be asked about these pictures", remedy="give them captions, labels or objects")
    return [text for turn in turns for text in (turn.question, turn.answer)]


def _part(folder: RunFolder, name: str, config: TrainConfig) -> RunFolder:
    return RunFolder.create(folder.path / "stages" / name, config, seed=config.seed)
