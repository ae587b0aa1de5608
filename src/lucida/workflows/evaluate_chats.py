"""``lucida evaluate chats``: what anyone's vision-language model, adapted or not, makes of chats about pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lucida.core.config import check_settings
from lucida.core.errors import LucidaError
from lucida.core.results import Results
from lucida.core.run_folder import RunFolder, environment
from lucida.data.chat_tokens import ChatTokens
from lucida.data.pixels import write_skipped
from lucida.report.material import CorpusFacts, Material
from lucida.report.page import write_report
from lucida.workflows.adapted_models import load_model_or_run
from lucida.workflows.chat_examples import chat_examples
from lucida.workflows.chat_material import chat_material, check_lengths, load_chats
from lucida.workflows.chat_measures import chat_loss, chat_metrics, reply_to
from lucida.workflows.stages import TITLES, timed_stage


@dataclass(frozen=True)
class EvaluateChatsConfig:
    """A vision-language model measured on your chats about pictures.

    Attributes:
        model: a Hugging Face folder or hub name of an image-text-to-text model, or a run of `lucida adapt`.
        data: chats that it has not been trained on: LLaVA's JSON, or JSON lines with "messages".
        pictures: the folder from which the chats name their pictures; the file's own folder unless given.
        out: the run folder.
        max_length: longest chat in tokens; whole turns at the end are left out until it fits.
        answers: questions that are answered, for the share that is right word for word.
        max_new_tokens: longest of those answers.
    """

    model: str = ""
    data: Path | None = None
    pictures: Path | None = None
    out: Path = Path("runs/chats")
    max_length: int | None = None
    answers: int = 200
    max_new_tokens: int = 64

    def __post_init__(self) -> None:
        allowed = {
            "max_length": self.max_length is None or self.max_length > 0,
            "answers": self.answers >= 0,
            "max_new_tokens": self.max_new_tokens >= 1,
        }
        check_settings(self, allowed)


def evaluate_chats(config: EvaluateChatsConfig) -> Path:
    """The loss of the answers and the share that is given word for word; returns the report.

    Raises:
        LucidaError: no model or no data is named, one of them cannot be read, or a chat does not fit.
    """
    if not config.model or config.data is None:
        missing = "model was named (--model)" if not config.model else "chats were named (--data)"
        remedy = "lucida evaluate chats --model FOLDER --data chats.json"
        raise LucidaError(f"no {missing}", where="lucida evaluate chats", remedy=remedy)
    results = Results()
    with timed_stage(results, "reading"):
        model, processor = load_model_or_run(config.model)
        tokens = ChatTokens(processor, max_length=config.max_length)
        chats = load_chats(config.data, config.pictures, tokens)
    with timed_stage(results, "pictures_seen"):
        data = chat_material(model, tokens, chats, chats, what="projected").validation_data
        check_lengths(data, getattr(model.decoder.config, "max_position_embeddings", None))
    folder = RunFolder.create(config.out, config, seed=0)
    write_skipped(folder.path, chats.skipped)
    asked = chats.chats[: config.answers]
    with timed_stage(results, "asking"):
        loss = chat_loss(model, data)
        replies = reply_to(model, tokens, asked, max_new_tokens=config.max_new_tokens)
    for metric, value in chat_metrics("chats", loss, len(chats), replies).items():
        results.add(metric, value)
    results.details["environment"] = environment(0)
    results.save(folder.results)
    name = Path(config.model).name
    Material(
        title=f"{name} on {config.data.name}",
        summary=f"{len(chats):,} chats, of which {len(asked):,} last questions were answered.",
        corpora=(CorpusFacts(config.data.name, {"chats": len(chats)}, n_used=len(chats)),),
        headlines=("chats/exact_match", "chats/loss"),
        examples=chat_examples(folder, asked, {"Answers": replies}),
        stage_titles=TITLES,
    ).save(folder)
    return write_report(folder)
