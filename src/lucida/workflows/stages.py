"""The stages of a run: what they are called, and how long they take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lucida.core.progress import say
from lucida.core.results import Results

TITLES = {
    "artwork": "Drawing the artwork",
    "pictures": "Reading the pictures",
    "features": "Features of frozen towers",
    "frozen_start": "Frozen start",
    "dual_encoder": "Dual encoder",
    "multimodal_llm": "Multimodal LLM",
    "naming": "Multimodal LLM: naming places",
    "looking": "Multimodal LLM: is it there?",
    "language": "Multimodal LLM: answering",
    "instructions": "Multimodal LLM: tuning on kinds of instruction",
    "adaptation": "Multimodal LLM: adapting to the second artist",
    "remedies": "Remedies for rare classes",
    "reading": "Reading model and chats",
    "model": "Reading the model",
    "pictures_seen": "Pictures as the model sees them",
    "before": "Measuring the model as it is",
    "adapting": "Adapting",
    "tuning": "Tuning the dual encoder",
    "line": "Measuring the model as it was, as it is, and between",
    "asking": "Asking the model",
    "after": "Measuring the adapted model",
    "hallucination": "Measuring what it makes up",
    "remedy": "The same, grounded in the picture",
    "questions": "Asking whether something is there",
    "blind": "The same questions with another picture, and with none",
    "captions": "Describing the pictures",
    "twins": "Taking an object out of each picture",
    "pasted": "Putting an object into each picture",
}
"""What a person reads for the keys of stages."""

TRAINED = ("frozen_start", "dual_encoder", "naming", "looking", "language", "instructions", "adaptation")
"""The stages that train, in their order."""


@contextmanager
def timed_stage(results: Results, name: str) -> Iterator[None]:
    """A stage: announced to the reader, its time added to the results."""
    say(f"\n{TITLES[name]}")
    with results.timed(name):
        yield
