"""A model that is examined, whoever made it: what it says about pictures, and how likely it finds "yes"."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.special import expit

from lucida.core.errors import LucidaError
from lucida.core.run_folder import RunFolder
from lucida.data.chat_tokens import ChatTokens
from lucida.data.conversations import FORMS
from lucida.data.galleries import PixelGallery
from lucida.data.kinds import article
from lucida.data.pixels import as_square
from lucida.inference.answer_scores import Model, OpenConversation, PictureFeatures, answer_log_probabilities
from lucida.inference.answerer import SETTINGS, Answerer
from lucida.inference.dialogue_readers import ChatReader, ChatTokensReader
from lucida.inference.prompting import Dialogue
from lucida.inference.shared_answers import shared_answers
from lucida.models.image_text_models import ImageTextModel
from lucida.models.seen_pictures import LivePictures
from lucida.workflows.adapted_models import load_model_or_run
from lucida.workflows.language_stage import MODEL


class View(NamedTuple):
    """A picture as it is shown to a model.

    Attributes:
        name: unique among those that are shown together.
        size: width and height, pixels.
        open: gives it, upright RGB.
    """

    name: str
    size: tuple[int, int]
    open: Callable[[], Image.Image]


class Reader(Protocol):
    """Turns a dialogue into tokens."""

    def read(self, dialogue: Dialogue, answers: Sequence[str]) -> OpenConversation: ...


class Said(NamedTuple):
    """An answer.

    Attributes:
        text: its words.
        margin: the distance of the two best tokens' logits, where they were closest.
        p_yes: P(yes) / (P(yes) + P(no)) of the words it might begin with; NaN if it was not wanted, or both words are
            the same tokens.
    """

    text: str
    margin: float
    p_yes: float


@dataclass(frozen=True)
class Subject:
    """A model as a thing to examine.

    Attributes:
        name: for the reader of a report.
        model: in evaluation mode where it is asked.
        end_of_turn_id: the token that ends an answer.
        yes_no: the two words it is scored on.
        exists, describe: how it is asked whether something is there (``{a}``, ``{name}``), and what it sees.
        decode: tokens to words.
        showing: the reader of dialogues about some views, and their features.
    """

    name: str
    model: Model
    end_of_turn_id: int
    yes_no: tuple[str, str]
    exists: str
    describe: str
    decode: Callable[[Sequence[int]], str]
    showing: Callable[[Sequence[View]], tuple[Reader, PictureFeatures]]

    def asks(self, name: str) -> str:
        """The question whether something is there."""
        return self.exists.format(a=article(name), name=name)

    def answers(
        self, views: Sequence[View], asked: Sequence[tuple[int, str]], *, max_new_tokens: int, scored: bool = True
    ) -> list[Said]:
        """Greedy answers to (view, question); a view is seen once for all its questions.

        Args:
            views: the pictures.
            asked: the number of a view, and what is asked about it.
            max_new_tokens: longest answer.
            scored: P(yes) is wanted; it costs a second reading where both words begin with the same token.
        """
        reader, features = self.showing(views)
        rows = [reader.read(Dialogue((), *one), self.yes_no) for one in asked]
        found = shared_answers(
            self.model, features, rows, end_of_turn_id=self.end_of_turn_id, max_new_tokens=max_new_tokens
        )
        odds = np.array([one.log_odds for one in found])
        told_apart = bool(rows) and not np.array_equal(rows[0].answers[0], rows[0].answers[1])
        if scored and told_apart and not np.isfinite(odds).all():
            scores = answer_log_probabilities(self.model, features, [_without_ends(row) for row in rows]).double()
            odds = (scores[:, 0] - scores[:, 1]).numpy()
        p_yes = expit(odds)
        return [
            Said(self.decode(one.tokens).strip(), one.margin, float(p)) for one, p in zip(found, p_yes, strict=True)
        ]


def _without_ends(one: OpenConversation) -> OpenConversation:
    """The answers may go on: "Yes, there is"."""
    return one._replace(answers=tuple(answer[:-1] if len(answer) > 1 else answer for answer in one.answers))


def load_subject(source: str, *, exists: str = "", describe: str = "") -> Subject:
    """A Hugging Face image-text-to-text model, or a folder of ``lucida run`` or ``lucida adapt``.

    Args:
        source: a folder, or a name on the hub.
        exists, describe: other wordings of the two questions.

    Raises:
        LucidaError: there is no such model, or a wording has no place for the object.
    """
    if exists and "{name}" not in exists:
        raise LucidaError(f"the question {exists!r} has no place for the object", remedy="write {name} where it goes")
    folder = Path(source) / MODEL
    if (folder / SETTINGS).is_file():
        RunFolder.open(Path(source))
        return _own(Answerer.load(folder), Path(source).name, exists, describe)
    model, processor = load_model_or_run(source)
    tokens = ChatTokens(processor)
    return Subject(
        Path(source).name,
        model,
        tokens.end_of_turn_id,
        ("Yes", "No"),
        exists or "Is there {a} {name} in the image?",
        describe or "Describe this image.",
        lambda ids: str(processor.tokenizer.decode(ids, skip_special_tokens=True)),
        lambda views: _show_anyone(model, tokens, views),
    )


def _show_anyone(model: ImageTextModel, tokens: ChatTokens, views: Sequence[View]) -> tuple[Reader, PictureFeatures]:
    paths = [Path(view.name) for view in views]
    for path, view in zip(paths, views, strict=True):
        tokens.note_size(path, view.size)
    counts = [tokens.image_tokens(path) for path in paths]
    features = LivePictures(model, lambda some: tokens.pixels([views[i].open() for i in some]), counts)
    return ChatTokensReader(tokens, paths), features


def _own(answerer: Answerer, name: str, exists: str, describe: str) -> Subject:
    return Subject(
        name,
        answerer.model,
        int(answerer.chat.eos_token_id),
        ("yes", "no"),
        exists or FORMS["exists"].questions[0],
        describe or FORMS["describe"].plainly(),
        answerer.chat.decode,
        lambda views: (ChatReader(answerer.chat), answerer.see(PixelGallery(_squares(views, answerer.size)))),
    )


def _squares(views: Sequence[View], side: int) -> NDArray[np.uint8]:
    """Views as in training, ``uint8 [n, S, S, 3]``."""
    return np.stack([as_square(view.open(), side) for view in views])
