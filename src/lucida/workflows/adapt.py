"""``lucida adapt``: anyone's vision-language model adapted to chats about pictures, with low-rank adapters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from torch import nn

from lucida.core.config import check_settings
from lucida.core.durations import Duration
from lucida.core.errors import LucidaError
from lucida.core.progress import say
from lucida.core.results import Metric, Results
from lucida.core.run_folder import RunFolder, environment
from lucida.data.chat_tokens import ChatTokens
from lucida.data.chats import Chat, Chats
from lucida.data.pixels import write_skipped
from lucida.models.adapter_files import save_adapter
from lucida.models.adapters import LoraSettings, add_lora
from lucida.models.image_text_models import ImageTextModel, Seen, load_image_text_model
from lucida.report.material import CorpusFacts, Curve, Material, TrainableRow
from lucida.report.page import write_report
from lucida.training.loop import TrainConfig, train
from lucida.training.tasks import LanguageTask
from lucida.workflows.adapted_models import ADAPTER
from lucida.workflows.chat_examples import chat_examples
from lucida.workflows.chat_material import ChatMaterial, chat_material, check_lengths, load_chats
from lucida.workflows.chat_measures import Replies, chat_loss, chat_metrics, reply_to, trainable_count
from lucida.workflows.stages import TITLES, timed_stage


def _training() -> TrainConfig:
    return TrainConfig(
        Duration(3, "epochs"), batch_size=16, micro_batch_size=4, learning_rate=2e-4, weight_decay=0.0,
        betas=(0.9, 0.999), validate_every=Duration(1, "epochs"),
    )  # fmt: skip


@dataclass(frozen=True)
class AdaptConfig:
    """A vision-language model adapted to your chats about pictures.

    Attributes:
        model: a Hugging Face folder or hub name of an image-text-to-text model (LLaVA, Idefics3, SmolVLM).
        data: chats: LLaVA's JSON, or JSON lines with "messages".
        pictures: the folder from which the chats name their pictures; the file's own folder unless given.
        validation: chats to validate with; a share of the others unless given.
        validation_share: of the chats that are held out then, those about one picture together.
        split_seed: of that draw.
        out: the run folder.
        max_length: longest chat in tokens; whole turns at the end are left out until it fits.
        supervise: which tokens are trained on: the answers, or everything that is text.
        answers: held-out questions that are answered before and after, for the share that is right word for word.
        max_new_tokens: longest of those answers.
        lora: the adapters.
        train: how they are trained.
    """

    model: str = ""
    data: Path | None = None
    pictures: Path | None = None
    validation: Path | None = None
    validation_share: float = 0.1
    split_seed: int = 0
    out: Path = Path("runs/adapt")
    max_length: int | None = None
    supervise: Literal["answers", "everything"] = "answers"
    answers: int = 64
    max_new_tokens: int = 64
    lora: LoraSettings = field(default_factory=LoraSettings)
    train: TrainConfig = field(default_factory=_training)

    def __post_init__(self) -> None:
        allowed = {
            "validation_share": 0 < self.validation_share < 1,
            "max_length": self.max_length is None or self.max_length > 0,
            "answers": self.answers >= 0,
            "max_new_tokens": self.max_new_tokens >= 1,
        }
        check_settings(self, allowed)


def adapt(config: AdaptConfig) -> Path:
    """Train adapters, measure held-out chats before and after, write them and a report; returns the report.

    Raises:
        LucidaError: no model or no data is named, one of them cannot be read, nothing can be adapted, or a chat does
            not fit: all of it before training starts.
    """
    if not config.model or config.data is None:
        missing = "model was named (--model)" if not config.model else "chats were named (--data)"
        raise LucidaError(f"no {missing}", where="lucida adapt", remedy="lucida adapt --model FOLDER --data chats.json")
    results = Results()
    with timed_stage(results, "reading"):
        model, processor = load_image_text_model(config.model)
        tokens = ChatTokens(processor, max_length=config.max_length)
        train_chats, validation = adapt_parts(config, tokens)
    what: Seen = "tower" if config.lora.train_projector else "projected"
    with timed_stage(results, "pictures_seen"):
        material = chat_material(
            model, tokens, train_chats, validation, what=what, everything=config.supervise == "everything"
        )
        for data in (material.train_data, material.validation_data):
            check_lengths(data, getattr(model.decoder.config, "max_position_embeddings", None))
    folder = RunFolder.create(config.out, config, seed=config.train.seed)
    write_skipped(folder.path, train_chats.skipped + validation.skipped)
    asked = validation.chats[: config.answers]
    with timed_stage(results, "before"):
        before = _measured(results, "before", model, material, asked, config)
    peft = add_lora(model.hugging_face, config.lora, seed=config.train.seed)
    _train(results, model, material, config, folder)
    with timed_stage(results, "after"):
        after = _measured(results, "after", model, material, asked, config)
    save_adapter(peft, folder.path / ADAPTER, base=config.model)
    results.details["environment"] = environment(config.train.seed)
    results.save(folder.results)
    _material(folder, config, model, material, asked, before, after).save(folder)
    return write_report(folder)


def adapt_parts(config: AdaptConfig, tokens: ChatTokens) -> tuple[Chats, Chats]:
    """Chats to train on and chats that are held out, as the config says."""
    assert config.data is not None
    chats = load_chats(config.data, config.pictures, tokens)
    if config.validation is None:
        return chats.split(config.validation_share, config.split_seed)
    return chats, load_chats(config.validation, config.pictures, tokens)


def _train(
    results: Results, model: ImageTextModel, material: ChatMaterial, config: AdaptConfig, folder: RunFolder
) -> None:
    def validate() -> dict[str, float]:
        return {"loss": chat_loss(model, material.validation_data)[0]}

    with timed_stage(results, "adapting"):
        train(LanguageTask(model), material.train_data, config.train, folder, validate=validate)
    trained, everything = trainable_count(model)
    results.add("parameters/trained", Metric(trained))
    results.add("parameters/all", Metric(everything))


def _measured(
    results: Results,
    name: str,
    model: ImageTextModel,
    material: ChatMaterial,
    asked: Sequence[Chat],
    config: AdaptConfig,
) -> Replies:
    loss = chat_loss(model, material.validation_data)
    replies = reply_to(model, material.tokens, asked, max_new_tokens=config.max_new_tokens)
    metrics = chat_metrics(name, loss, len(material.validation), replies)
    for metric, value in metrics.items():
        results.add(metric, value)
    say("  ".join(f"{metric} {value.value:.4f}" for metric, value in metrics.items()))
    return replies


def _material(
    folder: RunFolder,
    config: AdaptConfig,
    model: nn.Module,
    material: ChatMaterial,
    asked: Sequence[Chat],
    before: Replies,
    after: Replies,
) -> Material:
    assert config.data is not None
    trained, everything = trainable_count(model)
    counts = {"training": len(material.train), "validation": len(material.validation)}
    corpus = CorpusFacts(
        config.data.name, counts, n_used=sum(counts.values()), split_seed=config.split_seed,
        note="Chats; those about one picture are on one side.",
    )  # fmt: skip
    return Material(
        title=f"{Path(config.model).name} adapted to {config.data.name}",
        summary=f"Low-rank adapters of rank {config.lora.r} trained on {counts['training']:,} chats, measured on "
        f"{counts['validation']:,} about other pictures, before and after.",
        corpora=(corpus,),
        headlines=("after/exact_match", "before/exact_match", "after/loss", "before/loss"),
        examples=chat_examples(folder, asked, {"After": after, "Before": before}),
        curves=(Curve("Adapting"),),
        trainable=(TrainableRow(Path(config.model).name, "adapters", trained, everything),),
        stage_titles=TITLES,
    )
