"""What a remedy must not cost: numbers and places told right, and the one thing named that a picture shows.

A number alone misleads. Most objects are there once, so that "one" is nearly always right: beside the share of right
answers stands what always giving the most frequent answer gets, and the share with every true answer counted alike. A
small model neither counts nor places much better than that, and a test that it fails before a remedy shows no harm
after it. What such a model should be able to do is say what it sees: so it also describes pictures of one thing, where
nothing competes to be named and there is no company to guess from. That is one description in eight more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lucida.core.results import Metric
from lucida.data.galleries import Gallery
from lucida.data.lessons import Lesson
from lucida.data.scenes import SceneWorld
from lucida.evaluation.intervals import share_by_cluster
from lucida.evaluation.vocabulary import Vocabulary
from lucida.inference.answerer import Answerer
from lucida.inference.contrast import noised

STEP = 500  # of the noise over distorted pictures
BLIND = "always the most frequent answer"
NAMING = "naming"

Asked = tuple[int, str, int | str]
"""Picture, object and the right answer."""


@dataclass
class Seen:
    """Pictures as a model's tower sees them.

    Attributes:
        answerer: with the tower.
        gallery: the pictures.
        features: of the first of them.
    """

    answerer: Answerer
    gallery: Gallery
    features: Tensor

    @cached_property
    def noisy(self) -> Tensor:
        """The same of distorted pictures; seen when they are first asked for."""
        distort = partial(noised, step=STEP, generator=torch.Generator().manual_seed(0))
        return self.answerer.see(self.gallery, len(self.features), distort)


def alone(world: SceneWorld, n: int) -> Lesson:
    """Test scenes of a world that show one thing each."""
    config = replace(world.config, objects_min=1, objects_max=1)
    own = SceneWorld(world.sprites, world.kinds, config, held_out=world.held_out, seed=world.seed)
    return Lesson.of_scenes(own, "test", n)


def single_things(lesson: Lesson) -> list[Asked]:
    """Every picture of one thing, which is the right answer."""
    named = [(i, [*lesson.gallery.facts(i).counts]) for i in range(len(lesson.gallery))]
    return [(i, names[0], names[0]) for i, names in named if len(names) == 1]


def names_it(text: str, name: str, vocabulary: Vocabulary) -> bool:
    """Whether a description names the thing, whatever else it names.

    >>> known = Vocabulary(["dog", "cat"])
    >>> names_it("There are two dogs.", "dog", known), names_it("There is a cat.", "dog", known)
    (True, False)
    """
    return vocabulary.canonical(name) in vocabulary.mentions(text)


def ability_metrics(form: str, rows: Sequence[Asked], right: Sequence[bool]) -> dict[str, Metric]:
    """The share of right answers, ``{form}_accuracy``, and with every true answer counted alike, ``…_balanced_…``.

    >>> rows = [(0, "cat", 1), (0, "dog", 1), (1, "cat", 1), (2, "cat", 2)]
    >>> {name: m.value for name, m in ability_metrics("count", rows, [True, True, True, False]).items()}
    {'count_accuracy': 0.75, 'count_balanced_accuracy': 0.5}
    """
    pictures, often = [picture for picture, _, _ in rows], Counter(truth for _, _, truth in rows)
    weights = np.array([len(rows) / len(often) / often[truth] for _, _, truth in rows])  # one, on average
    return {
        f"{form}_accuracy": share_by_cluster(right, clusters=pictures),
        f"{form}_balanced_accuracy": share_by_cluster(weights * np.asarray(right, float), weights, pictures),
    }


def blind_metrics(abilities: Mapping[str, Sequence[Asked]]) -> dict[str, Metric]:
    """What always giving the most frequent right answer of these very questions gets, by form."""
    found: dict[str, Metric] = {}
    for form, rows in abilities.items():
        if rows:
            most: Any = Counter(truth for _, _, truth in rows).most_common(1)[0][0]
            found |= ability_metrics(form, rows, [truth == most for _, _, truth in rows])
    return found
