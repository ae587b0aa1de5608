"""The multimodal LLM of a run: it learns to name places of pictures, then to answer questions about them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lucida.core.durations import Duration
from lucida.core.errors import LucidaError
from lucida.core.progress import say
from lucida.core.results import Results
from lucida.core.run_folder import RunFolder
from lucida.core.seeds import derive_seed, stream
from lucida.data.collation import check_batch
from lucida.data.galleries import Gallery
from lucida.data.lessons import ConversationData, Lesson, NamingData
from lucida.data.tokenization import add_image_token, load_tokenizer, train_tokenizer
from lucida.evaluation.pope import labels_of
from lucida.inference.answerer import Answerer, build
from lucida.models.gated_cross_attention import GatedCrossAttention
from lucida.models.joining import Join, no_words
from lucida.models.language_models import SmallLlama, load_language_model
from lucida.models.naming import PlaceNaming
from lucida.models.projectors import PatchProjector, WordProjector
from lucida.models.resampler import Resampler
from lucida.models.vision_language_model import VisionLanguageModel
from lucida.training.loop import TrainConfig, Validate, train
from lucida.training.parameter_groups import ParameterRow
from lucida.training.tasks import LanguageTask
from lucida.workflows.grounding_fit import fit_grounding
from lucida.workflows.picture_questions import pope_questions

MODEL = "multimodal_llm"  # where the finished model lies in a run folder
VALIDATION_PICTURES = 100
LOOKING_QUESTIONS = 6  # a picture, in the part that asks nothing else


QUERIES_RATE = 0.1
TOWER = ParameterRow("vision_tower.*", 0)
PROJECTOR = "model.multi_modal_projector"


def answering(examples: int, **settings: Any) -> TrainConfig:
    """How answers are trained: on the features of a frozen tower."""
    frozen = (TOWER,)
    return TrainConfig(Duration(examples, "examples"), batch_size=16, weight_decay=0.02, parameters=frozen, **settings)


def answering_config(config: TrainConfig, answerer: Answerer, *, named: bool) -> TrainConfig:
    """How answers are trained by these settings, whatever joins pictures to words.

    Early fusion has no tower to freeze. Queries that have learned which words their regions show move little
    (docs/notes/multimodal-llm.md): at the whole rate they forget it before a language model has learned to look.
    """
    rows = config.parameters
    if not any(True for _ in answerer.tower.parameters()):
        rows = tuple(row for row in rows if row != TOWER)
    if named and isinstance(answerer.projector, Resampler):
        rows = (*rows, ParameterRow("multi_modal_projector.*", QUERIES_RATE))
    return replace(config, parameters=rows)


def free_for_answers(answerer: Answerer) -> None:
    """All that answers train: everything but the tower, on whose features they are trained."""
    answerer.model.requires_grad_(True)
    answerer.tower.requires_grad_(False)


def keep_words(answerer: Answerer) -> None:
    """Where places were named, what they show lies near words: these must go on meaning what they mean.

    A picture that is written in words goes on saying what it says; of other ways what places show may move. Of early
    fusion no place was named.
    """
    projector = answerer.model.multi_modal_projector
    if isinstance(projector, PatchProjector):
        return
    if isinstance(projector, WordProjector):
        projector.freeze_words()
    answerer.model.language_model.get_input_embeddings().requires_grad_(False)


def naming_config(config: TrainConfig, projector: nn.Module) -> TrainConfig:
    """How places are named where the projector is another than the one that the settings speak of.

    What says what places and queries show is trained; vectors of places and layers that look are not.
    """
    if isinstance(projector, WordProjector):
        return config
    rows = [row for row in config.parameters if not row.pattern.startswith(PROJECTOR)]
    rows.append(ParameterRow(f"{PROJECTOR}.places", 0))
    if isinstance(projector, GatedCrossAttention):
        rows.append(ParameterRow(f"{PROJECTOR}.layers.*", 0))
    return replace(config, parameters=tuple(rows))


@dataclass(frozen=True)
class LanguageStage:
    """Settings of the multimodal LLM.

    Attributes:
        scenes: composed for training; naming and conversations are about the same ones.
        join: how pictures are joined to words (:data:`~lucida.models.joining.Join`). Answers are grounded where they
            are written in words alone. By naming places, tower and middle of every way but early fusion learn to show
            things near their words; early fusion, without a tower, starts with questions.
        queries: image tokens of a resampler.
        frozen_blocks: of the vision tower, while places are named; afterwards all of it is frozen.
        vision_tower: built in, a Hugging Face folder, or a hub name; early fusion has none.
        language_model: a Hugging Face folder or hub name of a causal language model, in place of ``llama``.
        llama: the language model that is made from nothing.
        naming, looking, train: how the three parts are trained: to name places; then, on "is there a …?" alone, to
            look (long captions from the start drown the one bit of a yes or no, and nothing is ever looked up: see
            docs/notes/multimodal-llm.md); then on all questions.
        test_pictures: of each test stream.
        captions: pictures whose captions are checked for what they make up.
        twins: pictures from which an object is taken out, and as many into which one is put.
    """

    scenes: int = 16_000
    join: Join = "words"
    queries: int = 16
    frozen_blocks: int = 5
    vision_tower: str = "efficientnet-lite0"
    language_model: str = ""
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
    looking: TrainConfig = field(default_factory=lambda: answering(6_400, learning_rate=2e-3, warmup_share=0.2))
    train: TrainConfig = field(
        default_factory=lambda: answering(24_000, learning_rate=1e-3, validate_every=Duration(4_000, "examples"))
    )
    test_pictures: int = 300
    captions: int = 200
    twins: int = 200

    def __post_init__(self) -> None:
        for name in ("scenes", "queries", "test_pictures", "captions", "twins"):
            if getattr(self, name) < 1:
                raise LucidaError(f"{name} must be at least 1, not {getattr(self, name)}", where="LanguageStage")


class LanguageRun:
    """A multimodal LLM for the pictures and questions of a lesson.

    Args:
        lesson: what it is trained on.
        stage: settings.
        size: side of the pictures, pixels.
        tower_size: side at which the built-in tower sees them; ``size`` by default.
        seed: of the fresh weights.
    """

    def __init__(self, lesson: Lesson, stage: LanguageStage, *, size: int, tower_size: int = 0, seed: int = 0):
        self.lesson, self.stage = lesson, stage
        self._validated: Tensor | None = None
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            tokenizer, language_model = self._language_model()
            self.answerer = build(
                tokenizer,
                language_model,
                size=size,
                tower_size=tower_size or size,
                names=lesson.names,
                forms=tuple(lesson.turns),
                tower_name=stage.vision_tower,
                frozen_blocks=stage.frozen_blocks,
                join=stage.join,
                queries=stage.queries,
            )

    def _language_model(self) -> tuple[Any, Any]:
        if self.stage.language_model:
            source = self.stage.language_model
            return load_tokenizer(source), load_language_model(source)
        words = [*self.lesson.names, "yes", "no"]
        tokenizer = train_tokenizer(_sample_texts(self.lesson, 1000), vocab_size=2048, words=words)
        add_image_token(tokenizer)
        return tokenizer, self.stage.llama.build(tokenizer)

    @property
    def model(self) -> VisionLanguageModel:
        """What is trained."""
        return self.answerer.model

    @property
    def _named(self) -> bool:
        """Whether there is something to see with, and boxes to say where what is."""
        return bool(self.lesson.boxed) and self.stage.join != "early-fusion"

    @property
    def ungrounded(self) -> str:
        """Why no answer can be grounded; empty if they can."""
        return "" if self.stage.join == "words" else no_words(self.stage.join)

    def leave_out(self, results: Results) -> None:
        """Say in the results what this way to join pictures to words cannot do."""
        if self.ungrounded:
            results.leave_out("grounding", self.ungrounded)

    def fit(self, folder: RunFolder, validation: Lesson | None = None, *, resume: bool) -> None:
        """Name places, where there are boxes; then learn to answer on the features of a tower that stays as it is."""
        if self.ungrounded:
            say(f"no answers are grounded: {self.ungrounded}")
        if self._named:
            self._name_places(folder, resume=resume)
        free_for_answers(self.answerer)
        if self._named:
            keep_words(self.answerer)
        see = cache(self._see)
        for name, config, turns in (
            ("looking", self.stage.looking, {"exists": LOOKING_QUESTIONS}),
            ("language", self.stage.train, self.lesson.turns),
        ):
            lesson = replace(self.lesson, turns=turns)
            if {*turns} <= {*self.lesson.turns} and lesson.rows:
                data = ConversationData(lesson, self.answerer.chat, see)
                held_out = replace(validation, turns=turns) if validation else None
                self._converse(name, data, config, folder, held_out, resume=resume)
        self.model.eval()
        if validation and "exists" in validation.turns and not self.ungrounded:
            self.answerer.grounding = fit_grounding(
                self.answerer, validation, self._validation_features(validation.gallery)
            )
        self.answerer.save(folder.path / MODEL)

    def _see(self) -> Tensor:
        """Features of all pictures; this may take a minute, so the reader is told."""
        n = len(self.lesson.gallery)
        sees = any(True for _ in self.answerer.tower.parameters())
        say(
            f"the trained tower, frozen from here on, looks at {n:,} pictures" if sees else f"{n:,} pictures in patches"
        )
        return self.answerer.see(self.lesson.gallery)

    def _converse(
        self,
        name: str,
        data: ConversationData,
        config: TrainConfig,
        folder: RunFolder,
        validation: Lesson | None,
        *,
        resume: bool,
    ) -> None:
        chat = self.answerer.chat
        check_batch(
            data.conversations(range(min(2, len(data))), np.random.default_rng), chat.image_token_id, chat.image_tokens
        )
        validate = self.validation(validation) if validation and validation.rows else None
        config = answering_config(config, self.answerer, named=self._named)
        part = _part(folder, name, config)
        pictures = "vision_features"
        train(LanguageTask(self.model), data, config, part, validate=validate, resume=resume, pictures=pictures)

    def _name_places(self, folder: RunFolder, *, resume: bool) -> None:
        names = [self.answerer.chat.encode([name])[0].tolist() for name in self.lesson.names]
        tower, config = self.answerer.tower, naming_config(self.stage.naming, self.model.multi_modal_projector)
        data = NamingData(self.lesson, tower.preprocess, round(tower.grid_tokens**0.5))
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(config.seed, "naming"))
            naming = PlaceNaming(self.model, names)
        train(LanguageTask(naming), data, config, _part(folder, "naming", config), resume=resume)

    def _validation_features(self, gallery: Gallery) -> Tensor:
        """Of the frozen tower; both parts that converse are validated on the same."""
        if self._validated is None:
            self._validated = self.answerer.see(gallery)
        return self._validated

    def validation(self, lesson: Lesson) -> Validate:
        """The loss on held-out pictures, the same questions each time, and POPE where the labels allow it."""
        n = min(VALIDATION_PICTURES, len(lesson.gallery))
        data = ConversationData(lesson, self.answerer.chat, lambda: self._validation_features(lesson.gallery))
        questions, _ = pope_questions(lesson, n, ["random"])

        def validate() -> dict[str, float]:
            output = self.model(
                **data.batch(range(min(n, len(data))), lambda k: stream(0, "validation conversations", k))
            )
            measured = {"loss": float(output.loss_sum / output.n_supervised)}
            if questions:
                asked = [(int(question.picture_id), question.object) for question in questions]
                said = self.answerer.ask_yes_no(data.features, asked)
                measured["pope_random_accuracy"] = float(
                    np.mean(np.array(said.texts) == np.where(labels_of(questions), "yes", "no"))
                )
            return measured

        return validate


def _sample_texts(lesson: Lesson, n: int) -> list[str]:
    """Questions and answers about the first pictures: what the tokenizer is trained on."""
    n = min(n, len(lesson.gallery))
    turns = [turn for i in range(n) for turn in lesson.converse(i, np.random.default_rng(i))]
    if not turns:
        raise LucidaError("nothing can be asked about these pictures", remedy="give them captions, labels or objects")
    return [text for turn in turns for text in (turn.question, turn.answer)]


def _part(folder: RunFolder, name: str, config: TrainConfig) -> RunFolder:
    return RunFolder.create(folder.path / "stages" / name, config, seed=config.seed)
