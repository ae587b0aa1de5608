"""A tiny multimodal language model that can be prompted: wordings of a question, examples in the context, soft prompts.

It has learned to name pictures of one artist in two ways, finely (eight words) and coarsely (four). Which way is asked
for stands in the wording, more or less clearly: some nouns are nearly always asked one way, the most frequent noun both
ways alike, and then only examples before the question tell. Adapted is to the fine way for pictures of another artist.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lucida.core.seeds import derive_seed, stream
from lucida.data.prompt_grammar import PromptGrammar
from lucida.lab.datasets import load, split
from lucida.lab.experiments.answers_or_everything_network import CausalBlock, draw_weights
from lucida.lab.questions import CATEGORIES, FEATURES
from lucida.lab.sequence_networks import Transformer
from lucida.training.batches import Batch
from lucida.training.tasks import LossOutput

FINE, COARSE = "fine", "coarse"
COARSE_OF = {
    "activity": "made", "animal": "living", "food": "eaten", "object": "made", "person": "living", "face": "drawn",
    "symbol": "drawn", "place": "made",
}  # fmt: skip
NOUNS = {"sort": 0.5, "class": 0.35, "group": 0.02, "family": 0.2, "kind": 0.75, "type": 0.98}
"""Of each noun, how often it asks the fine way."""
_ASKED = dict(zip(NOUNS, (0.4, 0.2, 0.15, 0.1, 0.1, 0.05), strict=True))  # how often a noun is used at all
GRAMMAR = PromptGrammar(
    {
        "prompt": ("{opening} {verb} {whom} the {noun} {end}",),
        "opening": ("now", "please"),
        "verb": ("tell", "say", "name"),
        "whom": ("me", "us"),
        "noun": tuple(NOUNS),
        "end": ("?", ":"),
    },
    slots=(),
)
PLAIN, COARSE_PROMPT = GRAMMAR.templates[0], "now tell me the group ?"
_PICTURE = "<picture>"
_TEXT = [word for template in GRAMMAR.templates for word in template.split()]
VOCABULARY = tuple(dict.fromkeys((_PICTURE, *CATEGORIES, *COARSE_OF.values(), *_TEXT)))
NUMBER = {word: number for number, word in enumerate(VOCABULARY)}
FINE_NAMES = torch.tensor([NUMBER[word] for word in CATEGORIES])
ITEM = 2 + len(PLAIN.split())  # tokens of a picture, a question and its answer
ANSWER = ITEM - 2  # the state that predicts the answer
SHOTS = 8  # most examples before a question


class PromptedAnswerer(nn.Module):
    """Pictures and words in one row, through causal blocks.

    Args:
        features: numbers of each picture.
        width, depth: of the language model.
        seed: of the weights.
    """

    def __init__(self, features: int, width: int, depth: int, seed: int):
        super().__init__()
        config = Transformer(len(VOCABULARY), len(VOCABULARY), width, depth)
        self.multi_modal_projector = nn.Linear(features, width)
        self.words = nn.Embedding(len(VOCABULARY), width)
        self.places = nn.Parameter(torch.zeros((SHOTS + 1) * ITEM, width))
        self.blocks = nn.ModuleList(CausalBlock(config) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, len(VOCABULARY), bias=False)
        draw_weights(self, seed)

    def with_soft_prompt(self, n: int, seed: int) -> PromptedAnswerer:
        """A copy with ``n`` vectors to learn before everything: words that it knows, at first (Lester et al. 2021)."""
        own, generator = copy.deepcopy(self), torch.Generator().manual_seed(derive_seed(seed, "lab", "soft prompt"))
        chosen = torch.randint(1, len(VOCABULARY), (n,), generator=generator)
        own.soft = nn.Parameter(self.words.weight.detach()[chosen].clone())
        return own

    def states(self, pictures: Tensor, tokens: Tensor) -> Tensor:
        """Last states ``[B, T, D]`` of tokens ``int64 [B, T]`` with pictures ``[B, P, F]`` in their places."""
        shown, at = self.multi_modal_projector(pictures), tokens == NUMBER[_PICTURE]
        which = (at.long().cumsum(dim=1) - 1).clamp(min=0)
        own = shown.gather(1, which[..., None].expand(-1, -1, shown.shape[-1]))
        x = torch.where(at[..., None], own, self.words(tokens)) + self.places[: tokens.shape[1]]
        before = getattr(self, "soft", None)
        if before is not None:
            x = torch.cat([before.expand(len(x), -1, -1), x], dim=1)
        seen = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
        for block in self.blocks:
            x = block(x, seen)
        x = self.norm(x)
        return x if before is None else x[:, len(before) :]

    def forward(self, pictures: Tensor, tokens: Tensor, states: bool = False) -> Tensor:
        """Logits of every answer in the row, ``[B, items, V]``, or the states they come from, ``[B, items, D]``."""
        found = self.states(pictures, tokens)[:, ANSWER::ITEM]
        logits: Tensor = self.head(found)
        return found if states else logits


class AnswersTask:
    """Cross-entropy of all answers of a row; a batch holds ``pictures``, ``tokens`` and ``answers`` ``[B, items]``."""

    def __init__(self, model: nn.Module):
        self.model = model

    def loss(self, batch: Batch) -> LossOutput:
        logits, answers = self.model(batch["pictures"], batch["tokens"]).flatten(0, 1), batch["answers"].flatten()
        loss = nn.functional.cross_entropy(logits, answers, reduction="sum")
        return LossOutput(loss, torch.tensor(float(len(answers))))


class Drawn(NamedTuple):
    """Pictures of an artist in a part, with their names.

    Attributes:
        pictures: ``[N, F]``, of mean square 1.
        fine, coarse: numbers of the words, ``int64 [N]``.
    """

    pictures: Tensor
    fine: Tensor
    coarse: Tensor

    def names(self, way: str) -> Tensor:
        """Of one way."""
        return self.fine if way == FINE else self.coarse

    def rows(self, rows: Sequence[int] | Tensor) -> Drawn:
        """Some of them."""
        at = torch.as_tensor(rows, dtype=torch.int64)
        return Drawn(*(x[at] for x in self))


def drawn(seed: int, part: str, artist: int) -> Drawn:
    """Pictures of a part by the first artist (0) or the second (1), shuffled."""
    data = load(FEATURES)
    rows = getattr(split(data, seed), part).numpy()
    own = rows[(rows >= len(data.labels) // 2) == bool(artist)]
    own = torch.from_numpy(stream(seed, "lab", "pictures", part, artist).permutation(own))
    features = data.inputs["inputs"]
    words = [CATEGORIES[int(label)] for label in data.labels[own]]
    fine, coarse = (torch.tensor([NUMBER[name] for name in names]) for names in (words, [COARSE_OF[w] for w in words]))
    return Drawn(features[own] / features.square().mean().sqrt(), fine, coarse)


def tokens_of(template: str) -> list[int]:
    """A question's."""
    return [NUMBER[word] for word in template.split()]


def asked(shown: Drawn, template: str, way: str = FINE, shots: Drawn | None = None) -> Batch:
    """Every picture asked about with one template.

    Args:
        shown: the pictures.
        template: of the question.
        way: of the true answers.
        shots: examples before every question, the same for all: asked plainly, answered the fine way.
    """
    n, question = len(shown.pictures), [NUMBER[_PICTURE], *tokens_of(template)]
    pictures, tokens = shown.pictures[:, None], torch.tensor(question).expand(n, -1)
    if shots is not None and len(shots.pictures):
        before = [n for name in shots.fine for n in (NUMBER[_PICTURE], *tokens_of(PLAIN), int(name))]
        pictures = torch.cat([shots.pictures.expand(n, -1, -1), pictures], dim=1)
        tokens = torch.cat([torch.tensor(before).expand(n, -1), tokens], dim=1)
    return {"pictures": pictures, "tokens": tokens, "answers": shown.names(way)[:, None]}


def reading(seed: int, count: int, items: int, size: int) -> Batch:
    """What the model learns from before: ``count`` batches of rows of some items, ``[count, size, …]``."""
    known, generator = drawn(seed, "train", 0), stream(seed, "lab", "reading", items)
    rows = count * size
    which = generator.integers(len(known.pictures), size=(rows, items))
    nouns = generator.choice(list(NOUNS), size=rows, p=list(_ASKED.values()))
    fine = generator.random(rows) < np.array([NOUNS[noun] for noun in nouns])
    others = list(product(*(GRAMMAR.rules[rule] for rule in ("opening", "verb", "whom", "end"))))
    wording = generator.integers(len(others), size=rows)
    names = torch.where(torch.from_numpy(fine)[:, None], known.fine[which], known.coarse[which])
    questions = torch.tensor(
        [
            tokens_of(f"{o} {v} {w} the {noun} {e}")
            for noun, (o, v, w, e) in zip(nouns, (others[k] for k in wording), strict=True)
        ]
    )
    picture = torch.full((rows, items, 1), NUMBER[_PICTURE])
    tokens = torch.cat([picture, questions[:, None].expand(-1, items, -1), names[:, :, None]], dim=2).flatten(1)[:, :-1]
    batch = {"pictures": known.pictures[which], "tokens": tokens, "answers": names}
    return {name: tensor.unflatten(0, (count, size)) for name, tensor in batch.items()}
