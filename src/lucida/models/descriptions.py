"""What texts say of a class: its name, keywords and both in one sentence, as dense vectors and as words."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

LEXICAL_SHARE = 0.8  # the words' length beside the dense parts, each of length one


class Description(NamedTuple):
    """A class in words.

    Attributes:
        name: what it is called.
        keywords: words and short phrases that people look for it with.
    """

    name: str
    keywords: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """Name and keywords in one text."""
        return f"{self.name}: {', '.join(self.keywords)}" if self.keywords else self.name

    @property
    def words(self) -> set[str]:
        """Lower-case words of all of it."""
        return set(re.findall("[a-z]+", " ".join([self.name, *self.keywords]).lower()))


class DescriptionReader:
    """Vectors of descriptions.

    A sentence encoder puts "left" near "right" and "man" near "woman"; words of their own keep them apart.

    Args:
        read: features of texts, ``[N, E]``.
        prompts: templates around the name and around the sentence.
        known: descriptions of training; words that occur in at least ``least`` of them have a dimension each.
        least: rarer words have none.
    """

    def __init__(
        self,
        read: Callable[[Sequence[str]], Tensor],
        prompts: Sequence[str],
        known: Sequence[Description],
        *,
        least: int = 4,
    ):
        self.read, self.prompts = read, prompts
        counts = Counter(word for description in known for word in description.words)
        kept = sorted(word for word, count in counts.items() if count >= least)
        self.places = {word: i for i, word in enumerate(kept)}
        self.rarity = torch.tensor([math.log(max(len(known), 2) / counts[word]) for word in kept])

    def __call__(self, descriptions: Sequence[Description]) -> Tensor:
        """``float32 [N, 3 E + words]``: name, mean of keywords, sentence, and words by their rarity."""
        words = torch.zeros(len(descriptions), len(self.places))
        for row, description in enumerate(descriptions):
            for word in description.words & self.places.keys():
                words[row, self.places[word]] = self.rarity[self.places[word]]
        dense = [self._means(texts) for texts in zip(*map(self.parts, descriptions), strict=True)]
        return torch.cat([*dense, LEXICAL_SHARE * F.normalize(words, dim=1)], dim=1)

    def parts(self, description: Description) -> tuple[list[str], list[str], list[str]]:
        """Texts of its name, its keywords and its sentence; the mean of each list is a part of its vector."""
        names = [prompt.format(description.name) for prompt in self.prompts]
        return names, [*description.keywords] or [description.name], [self.prompts[0].format(description.sentence)]

    def _means(self, texts: Sequence[Sequence[str]]) -> Tensor:
        """The direction of each list's mean, ``[N, E]``."""
        flat = F.normalize(self.read([text for listed in texts for text in listed]), dim=1)
        means = [part.mean(dim=0) for part in flat.split([len(listed) for listed in texts])]
        return F.normalize(torch.stack(means), dim=1)
