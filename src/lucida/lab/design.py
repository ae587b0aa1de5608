"""What an experiment declares before it measures: claims, factors, what is held fixed, which effect matters.

All of it is hashed into the result, so that a page whose design was changed after the fact cannot pass for the old one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lucida.core.cache import content_hash

Scale = Literal["quick", "full"]
MOST_PRIMARY_CLAIMS = 3


@dataclass(frozen=True)
class Claim:
    """One sentence people say, made measurable.

    For every seed the ``measure`` of the ``control`` arm is taken from that of the ``treatment`` arm; the seeds'
    differences decide.

    Attributes:
        name: short, for metrics: ``claim/<name>/effect``.
        statement, statement_zh: what is claimed.
        prediction: what would be seen if it held, in words.
        measure: the observation that is compared (a key of the observations).
        unit: of the measure, for the reader ("log2 of the steps to the target").
        treatment, control: the arms; the claim speaks of the first.
        smallest_effect: the smallest difference that matters, signed as predicted; not zero.
        moderator: what the ``levels`` are levels of ("data", "batch size").
        levels: where the claim is measured; with two or more an interaction is expected, and the claim may *depend*.
        share: whether the measure is a share, so that its differences are percentage points.
        primary: one of the claims the experiment is judged by; intervals of the others are not corrected for them.

    Raises:
        ValueError: no smallest effect, or a single level.
    """

    name: str
    statement: str
    statement_zh: str
    prediction: str
    measure: str
    unit: str
    treatment: str
    control: str
    smallest_effect: float
    moderator: str = ""
    levels: tuple[str, ...] = ()
    primary: bool = True
    share: bool = False

    def __post_init__(self) -> None:
        if self.smallest_effect == 0:
            raise ValueError(f"claim {self.name!r} needs a smallest effect")
        if len(self.levels) == 1 or bool(self.levels) != bool(self.moderator):
            raise ValueError(f"claim {self.name!r}: levels come in twos or more, and with the name of what they are of")


@dataclass(frozen=True)
class Design:
    """A question and how it will be answered.

    Attributes:
        name: of the page and on the command line.
        title, question, question_zh: for the reader.
        claims: at most three of them primary.
        factors: what is varied, with its values, in words.
        held_fixed: what is the same in all arms, and how each arm's learning rate is found.
        data, networks: what it is measured on.
        seeds: how many, by scale; at least 8 at full scale.
        would_change: what would change the answer.
        sources: (text, address).

    Raises:
        ValueError: too many primary claims or none, two of one name, too few seeds.
    """

    name: str
    title: str
    question: str
    question_zh: str
    claims: tuple[Claim, ...]
    factors: Mapping[str, str]
    held_fixed: tuple[str, ...]
    data: str
    networks: str
    seeds: Mapping[Scale, int] = field(default_factory=lambda: {"quick": 8, "full": 16})
    would_change: tuple[str, ...] = ()
    sources: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= len(self.primary) <= MOST_PRIMARY_CLAIMS:
            raise ValueError(f"{self.name}: 1 to {MOST_PRIMARY_CLAIMS} primary claims, not {len(self.primary)}")
        if len({claim.name for claim in self.claims}) < len(self.claims):
            raise ValueError(f"{self.name}: two claims of one name")
        if self.seeds["full"] < 8:
            raise ValueError(f"{self.name}: at least 8 seeds at full scale")

    @property
    def primary(self) -> tuple[Claim, ...]:
        """The claims the experiment is judged by."""
        return tuple(claim for claim in self.claims if claim.primary)

    def hash(self, settings: object, seeds: int) -> str:
        """Of everything declared: the design, the numbers of its scale, and how many seeds."""
        return content_hash(self, settings, seeds)
