"""Names and numbers of :mod:`~lucida.lab.experiments.lora_or_prompts`."""

from __future__ import annotations

from dataclasses import dataclass

PLAINLY, SEARCHED, ENSEMBLE, CONTEXT, SOFT, LORA = (
    "plain prompt", "searched prompt", "prompt ensemble", "examples in context", "soft prompt", "LoRA",
)  # fmt: skip
WORDED, TRAINED = (PLAINLY, SEARCHED, ENSEMBLE, CONTEXT), (SOFT, LORA)
METHODS = WORDED + TRAINED
SLOWER, AGAIN = "LoRA, slower", "LoRA from another start"
LABELS = (0, 1, 4, 16, 64, 256)
FEW, MOST = 4, LABELS[-1]
PARTS = {"validation": 200, "test": 350}  # pictures that are asked about
ENSEMBLED, CALLS = 4, 30  # templates of an ensemble; model calls a label that a search may make
BATCH, RANK, ALPHA, SOFT_TOKENS = 16, 4, 8.0, 8
SHOT_COUNTS = (1, 2, 4, 8)  # examples before a question: how many of the labels it has is chosen on tuning seeds

ACCURACY, OTHER, AWAY = "accuracy", "accuracy on the coarse question", "accuracy on the first artist"
ASKED_FOR, RECOGNISED = "answers that name finely", "right among the fine names"
AGREEMENT, LIKENESS = "agreement beyond chance", "likeness of features"
COSTS = (
    "numbers trained", "tokens an answer", "million operations an answer", "milliseconds an answer",
    "million operations of adapting",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """The numbers of a scale.

    Attributes:
        width, depth: of the language model.
        reading_steps, reading_rate: of the model before, each with rows of one picture and rows of nine.
        steps: of an adaptation, with up to 16 labels each.
        rates: where the tuning of each trained method starts.
    """

    width: int
    depth: int
    reading_steps: int
    reading_rate: float
    steps: int
    rates: tuple[tuple[str, tuple[float, ...]], ...]


def labelled(n: int) -> str:
    """A level."""
    return "1 label" if n == 1 else f"{n} labels"


def at_rate(rate: float) -> str:
    """A level.

    >>> at_rate(0.0010)
    'rate 0.001'
    """
    return f"rate {rate:.3g}"


def as_right_as(method: str) -> str:
    """A level: LoRA that was stopped where it names as many pictures right as another method."""
    return f"as right as {method}"
