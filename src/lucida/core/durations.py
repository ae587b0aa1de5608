"""Lengths of training that carry their unit: steps, examples or epochs."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from lucida.core.errors import LucidaError

Unit = Literal["steps", "examples", "epochs"]
_PATTERN = re.compile(r"\s*([0-9][0-9_]*(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?)\s*(steps?|examples?|epochs?)\s*")


@dataclass(frozen=True)
class Duration:
    """A length of training with its unit, so that batch sizes are compared at equal examples.

    >>> Duration.parse("3 epochs").steps(batch_size=32, examples_per_epoch=1000)
    94
    >>> Duration.parse("1_000 examples").steps(batch_size=32, examples_per_epoch=50)
    32

    Raises:
        LucidaError: the amount is negative, infinite or not a number.
    """

    amount: float
    unit: Unit

    def __post_init__(self) -> None:
        if not (math.isfinite(self.amount) and self.amount >= 0):
            raise LucidaError(f"not a length of training: {self.amount} {self.unit}")

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read ``"300 steps"``, ``"1e5 examples"`` or ``"2.5 epochs"``.

        Raises:
            LucidaError: the text has no unit or an unknown one.
        """
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise LucidaError(f"not a duration: {text!r}", remedy='write for example "300 steps" or "2 epochs"')
        unit = match[2] if match[2].endswith("s") else match[2] + "s"
        return cls(float(match[1].replace("_", "")), unit)  # type: ignore[arg-type]  # the pattern allows units only

    def steps(self, *, batch_size: int, examples_per_epoch: int) -> int:
        """The number of optimizer steps, rounded up, at least one.

        >>> Duration(0.7, "epochs").steps(batch_size=1, examples_per_epoch=10)  # 7.000000000000001 is 7
        7
        """
        examples = {"examples": self.amount, "epochs": self.amount * examples_per_epoch}
        count = self.amount if self.unit == "steps" else examples[self.unit] / batch_size
        return max(1, math.ceil(count * (1 - 1e-12)))

    def __str__(self) -> str:
        amount = int(self.amount) if self.amount == int(self.amount) else repr(float(self.amount))
        return f"{amount} {self.unit}"
