"""The multimodal LLM of a run tuned against what it makes up itself, by preferences between answers."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from torch import Tensor

from lucida.core.durations import Duration
from lucida.core.errors import LucidaError
from lucida.core.progress import say
from lucida.core.run_folder import RunFolder
from lucida.core.seeds import derive_seed
from lucida.data.collation import IGNORE_INDEX
from lucida.data.lessons import Lesson
from lucida.data.preferences import Preference, PreferenceData
from lucida.inference.answerer import Answerer
from lucida.losses.preference import PreferenceSettings
from lucida.models.adapter_merging import merge
from lucida.models.adapters import LoraSettings, add_lora
from lucida.models.vision_language_model import VisionLanguageModel
from lucida.training.loop import TrainConfig, train
from lucida.training.preference import PreferenceTask, reference_logs
from lucida.workflows.preference_pairs import Pictures, caption_pairs, count_pairs, yes_no_pairs

STAGE = "preference"  # in the run folder
KINDS = ("describe", "exists", "count")
FEWEST = 8  # pairs; fewer are no sample of anything


def _training() -> TrainConfig:
    return TrainConfig(Duration(3, "epochs"), batch_size=16, learning_rate=1e-3, weight_decay=0.0, warmup_share=0.1)


@dataclass(frozen=True)
class PreferenceStage:
    """Settings of the tuning against made-up objects.

    Attributes:
        pictures: that the model describes and is asked about.
        samples: captions of each picture at temperature 1, besides the greedy one.
        absent: objects that are not there which are asked about, a picture.
        lora: the adapters; with them off, the model is its own reference.
        loss: what a pair of answers costs.
        train: how the adapters are trained; an example is a picture with all its pairs.
    """

    pictures: int = 1_500
    samples: int = 1
    absent: int = 4
    lora: LoraSettings = field(default_factory=lambda: LoraSettings(r=16, lora_alpha=32, target_modules=r".*_proj"))
    loss: PreferenceSettings = field(default_factory=lambda: PreferenceSettings(beta=0.5, anchor_weight=3.0))
    train: TrainConfig = field(default_factory=_training)

    def __post_init__(self) -> None:
        for name, least in (("pictures", 2), ("samples", 0), ("absent", 0)):
            if getattr(self, name) < least:
                raise LucidaError(f"{name} must be at least {least}", where="PreferenceStage")


class Preferred(NamedTuple):
    """A tuned model and what it cost.

    Attributes:
        answerer: the tuned copy, adapters merged; the one that was given, if nothing was tuned.
        pairs: how many there were of each form: ``describe``, ``exists`` (as many "yes" as "no") and ``count``.
        pair_seconds: for looking, asking and the reference.
        train_seconds: for the training.
        reason: why nothing was tuned; empty if something was.
    """

    answerer: Answerer
    pairs: dict[str, int]
    pair_seconds: float
    train_seconds: float = 0.0
    reason: str = ""


def prefer(answerer: Answerer, lesson: Lesson, stage: PreferenceStage, folder: RunFolder, *, seed: int) -> Preferred:
    """Let a model describe pictures and answer about them, and tune a copy of it against what it made up.

    Args:
        answerer: the trained model; it is left as it was.
        lesson: training pictures whose lists of objects are complete.
        stage: settings.
        folder: of the run; the tuning lies in ``stages/preference``. Called again, the finished training is loaded.
        seed: of questions, samples, and the adapters' start.

    Raises:
        LucidaError: what the pictures show is not completely known.
    """
    began = time.perf_counter()
    modes = [(module, module.training) for module in answerer.model.modules()]
    answerer.model.eval()
    try:
        features = answerer.see(lesson.gallery, stage.pictures)
        pairs = build_pairs(answerer, Pictures.of(lesson, features), stage, seed=seed)
        counts = {form: sum(pair.form == form for pair in pairs) for form in KINDS}
        if len(pairs) < FEWEST:
            reason = f"{len(features):,} pictures gave {len(pairs)} pairs of answers: too few to learn from"
            say(f"not tuned: {reason}")
            return Preferred(answerer, counts, time.perf_counter() - began, reason=reason)
        told = ", ".join(f"{n:,} {form}" for form, n in counts.items())
        say(f"{len(features):,} pictures gave {len(pairs):,} pairs of answers ({told})")
        plain = PreferenceData(pairs, answerer.chat, features)
        data = PreferenceData(pairs, answerer.chat, features, reference_logs(answerer.model, plain))
        spent = time.perf_counter() - began
        model, seconds = _tuned(answerer.model, data, stage, folder, seed=seed)
    finally:
        for module, mode in modes:
            module.training = mode
    return Preferred(replace(answerer, model=model, grounding=None), counts, spent, seconds)  # to be fitted anew


def build_pairs(answerer: Answerer, pictures: Pictures, stage: PreferenceStage, *, seed: int) -> list[Preference]:
    """The pairs of all kinds, of the forms of question that lesson and model know."""
    forms = {*pictures.lesson.turns} & {*answerer.forms}
    told = caption_pairs(answerer, pictures, samples=stage.samples, seed=seed) if "describe" in forms else []
    pairs = list(told)
    if "exists" in forms:
        pairs += yes_no_pairs(answerer, pictures, absent=stage.absent, seed=seed, invented=told)
    if "count" in forms:
        pairs += count_pairs(answerer, pictures, seed=seed)
    return pairs


def _tuned(
    model: VisionLanguageModel, data: PreferenceData, stage: PreferenceStage, folder: RunFolder, *, seed: int
) -> tuple[VisionLanguageModel, float]:
    """A tuned copy of a model, and the seconds of training. The tower is not needed for it: features are at hand."""
    tower = copy.deepcopy(model.vision_tower)
    projector, language_model = copy.deepcopy(model.multi_modal_projector), copy.deepcopy(model.language_model)
    wanted = {name: parameter.requires_grad for name, parameter in language_model.named_parameters()}
    learned = [parameter.requires_grad for parameter in projector.parameters()]
    tuned = VisionLanguageModel(projector, language_model, model.image_token_id).requires_grad_(False)
    adapted = add_lora(language_model, stage.lora, seed=derive_seed(seed, "preference adapters"))
    part = RunFolder.create(folder.path / "stages" / STAGE, stage.train, seed=seed)
    state = train(PreferenceTask(tuned, stage.loss), data, stage.train, part, resume=True)
    say(str(merge(adapted, partial(_answer_logits, tuned, data))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that everything is merged already: it is
        tuned.language_model = adapted.merge_and_unload()
    for name, parameter in tuned.language_model.named_parameters():
        parameter.requires_grad_(wanted[name])
    for parameter, needed in zip(projector.parameters(), learned, strict=True):
        parameter.requires_grad_(needed)
    whole = VisionLanguageModel(projector, tuned.language_model, model.image_token_id, vision_tower=tower)
    return whole.eval(), state.seconds


def _answer_logits(model: VisionLanguageModel, data: PreferenceData) -> Tensor:
    """Logits of the answers of the first pictures, ``[n, V]``, for what the merging did to them."""
    packed = data.batch(_first(data), np.random.default_rng)["shown"]
    inputs = {key: value for key, value in packed.items() if key not in ("labels", "turns")}
    states = model.hidden_states(**inputs)[packed["labels"] != IGNORE_INDEX]
    logits: Tensor = model.language_model.get_output_embeddings()(states)
    return logits


def _first(data: PreferenceData) -> Sequence[int]:
    return range(min(4, len(data)))
