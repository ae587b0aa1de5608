"""``lucida ask``: a question about one picture, put to the multimodal LLM of a run, or to anyone's model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lucida.core.config import nearest
from lucida.core.errors import LucidaError
from lucida.core.results import read_json
from lucida.core.run_folder import RunFolder
from lucida.data.captions import vocabulary
from lucida.data.chat_tokens import ChatTokens
from lucida.data.decoding import FileSource
from lucida.data.kinds import article
from lucida.data.pictures import BadPicture
from lucida.data.pixels import as_square
from lucida.inference.answerer import NOT_SURE, Answerer, Reply, trained_forms
from lucida.inference.chat_answers import Asked, answer_chats
from lucida.workflows.adapted_models import adapted, load_model_or_run
from lucida.workflows.language_stage import MODEL


def ask(source: str, picture: Path, question: str) -> str:
    """What the model says; of lucida's own also how sure it is, and whether it was trained for such a question.

    Args:
        source: a folder of ``lucida run`` or ``lucida adapt``, or a Hugging Face image-text-to-text model (its folder
            or hub name).
        picture: a file.
        question: what to ask about it.

    Raises:
        LucidaError: the model or the picture cannot be read, or the question is empty.
    """
    if not question.strip():
        raise LucidaError("the question is empty", remedy='ask for example "is there a dog?"')
    folder = Path(source)
    if adapted(folder) or ((folder / "config.json").is_file() and "model_type" in read_json(folder / "config.json")):
        return _ask_anyone(source, picture, question.strip())
    if not folder.is_dir() and source.count("/") == 1 and not source.startswith((".", "runs/")):
        return _ask_anyone(source, picture, question.strip())
    answerer = Answerer.load(RunFolder.open(folder).path / MODEL)
    reply = answerer.reply(_pixels(picture, answerer.size), question.strip())
    lines = [_answer(reply)]
    if reply.unsupported:
        lines.append(f"Not sure: the picture hardly supports {listed(reply.unsupported)}.")
        lines += [f"Said only as far as the picture supports it: {reply.grounded}"] if reply.grounded else []
    if not reply.form:
        lines.append("The model was not trained on questions of this form; do not rely on the answer. It knows:")
        lines += [f"  {form}" for form in trained_forms(answerer.forms)]
    elif reply.unknown:
        near = nearest(reply.unknown, answerer.names)
        hint = f"; the nearest word it knows is {near!r}" if near else ""
        lines.append(f"The model was never taught {reply.unknown!r}; do not rely on the answer{hint}.")
    return "\n".join(lines)


def _answer(reply: Reply) -> str:
    """The words, with those marked that the picture does not support, and how sure the model is."""
    if reply.form == "exists" and not reply.sure:
        return f"{NOT_SURE}; if it had to say: {reply.text or '(nothing)'}    (confidence {reply.confidence:.0%})"
    return f"{mark(reply.text, reply.unsupported) or '(nothing)'}    (confidence {reply.confidence:.0%})"


def mark(text: str, names: Sequence[str]) -> str:
    """A text with the words for some names marked.

    >>> mark("There are two dogs and a cat.", ["dog"])
    'There are two [dogs?] and a cat.'
    """
    surfaces = sorted((s for s, name in vocabulary(names).items() if name in names), key=len, reverse=True)
    words = "|".join(map(re.escape, surfaces))
    return re.sub(rf"(?i)(?<![\w-])({words})(?![\w-])", r"[\1?]", text) if surfaces else text


def listed(names: Sequence[str]) -> str:
    """Names with their articles, as in a sentence.

    >>> listed(["dog", "apple"])
    'a dog or an apple'
    """
    return " or ".join(f"{article(name)} {name}" for name in names)


def _ask_anyone(source: str, picture: Path, question: str) -> str:
    model, processor = load_model_or_run(source)
    try:
        image = FileSource(str(picture)).open()
    except BadPicture as error:
        raise LucidaError(f"the picture cannot be read: {error}", where=picture) from None
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
    end = ChatTokens(processor).end_of_turn_id
    said = answer_chats(model, processor, [Asked([message], [image])], end_of_turn_id=end, max_new_tokens=128)
    return said[0] or "(nothing)"


def _pixels(picture: Path, size: int) -> np.ndarray:
    """The picture as a square, as in training, ``uint8 [size, size, 3]``."""
    try:
        return as_square(FileSource(str(picture)).open_reduced(size)[0], size)
    except BadPicture as error:
        raise LucidaError(f"the picture cannot be read: {error}", where=picture) from None
