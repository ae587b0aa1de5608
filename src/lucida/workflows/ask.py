"""``lucida ask``: a question about one picture, put to the multimodal LLM of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lucida.core.config import nearest
from lucida.core.errors import LucidaError
from lucida.core.run_folder import RunFolder
from lucida.data.decoding import FileSource
from lucida.data.pictures import BadPicture
from lucida.data.pixels import as_square
from lucida.inference.answerer import Answerer, trained_forms
from lucida.workflows.language_stage import MODEL


def ask(run: Path, picture: Path, question: str) -> str:
    """What the model says, how sure it is, and a warning where it was not trained for such a question.

    Raises:
        LucidaError: the run, its model or the picture cannot be read, or the question is empty.
    """
    if not question.strip():
        raise LucidaError("the question is empty", remedy='ask for example "is there a dog?"')
    answerer = Answerer.load(RunFolder.open(run).path / MODEL)
    reply = answerer.reply(_pixels(picture, answerer.size), question.strip())
    lines = [f"{reply.text or '(nothing)'}    (confidence {reply.confidence:.0%})"]
    if not reply.form:
        lines.append("The model was not trained on questions of this form; do not rely on the answer. It knows:")
        lines += [f"  {form}" for form in trained_forms(answerer.forms)]
    elif reply.unknown:
        near = nearest(reply.unknown, answerer.names)
        hint = f"; the nearest word it knows is {near!r}" if near else ""
        lines.append(f"The model was never taught {reply.unknown!r}; do not rely on the answer{hint}.")
    return "\n".join(lines)


def _pixels(picture: Path, size: int) -> np.ndarray:
    """The picture as a square, as in training, ``uint8 [size, size, 3]``."""
    try:
        return as_square(FileSource(str(picture)).open_reduced(size)[0], size)
    except BadPicture as error:
        raise LucidaError(f"the picture cannot be read: {error}", where=picture) from None
