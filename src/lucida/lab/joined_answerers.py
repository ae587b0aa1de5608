"""Small models that answer questions about strips, alike but for the way in which picture and words are joined.

The parts in the middle are the workbench's own (:mod:`lucida.models.joining`), the language model is the lab's. What a
way needs besides (a resampler's block, a gated layer, a tower) is made up for in blocks of the transformer, so that all
have about as many parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lucida.core.seeds import derive_seed
from lucida.lab.experiments.answers_or_everything_network import CausalBlock
from lucida.lab.sequence_networks import Transformer
from lucida.lab.strip_questions import ANSWERS, MARK, SLOTS, WORDS, statements
from lucida.lab.strips import PLACES, SIDE
from lucida.models.gated_cross_attention import GatedCrossAttention
from lucida.models.projectors import MlpProjector, PatchProjector
from lucida.models.resampler import Resampler
from lucida.training.batches import Batch
from lucida.training.tasks import LossOutput

Way = Literal["dual encoder", "early fusion", "MLP", "resampler", "gated cross-attention"]
PIXELS, UNITS, WIDTH = 3 * SIDE * SIDE, 64, 32
QUERIES, EMBEDDED = 3, 64
DEPTH: dict[Way, int] = {"dual encoder": 3, "early fusion": 4, "MLP": 3, "resampler": 2, "gated cross-attention": 2}
_COPY, _MATCH, _SCALE = 0.4, 0.6, 10.0  # as of :mod:`lucida.lab.strip_answerer`


class Tower(nn.Module):
    """What each place shows, ``[…, PIXELS]`` to ``[…, UNITS]``."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Linear(PIXELS, UNITS)

    def forward(self, pictures: Tensor) -> Tensor:
        return F.gelu(self.look(pictures))


def fresh(seed: int, make: Any) -> Any:
    """What ``make`` builds with the weights of a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "lab", "weights"))
        return make()


def _join(way: Way) -> nn.Module:
    """The workbench's own part in the middle, with fresh weights."""
    parts: dict[Way, Callable[[], nn.Module]] = {
        "early fusion": lambda: PatchProjector(PIXELS, WIDTH, PLACES),
        "MLP": lambda: MlpProjector(UNITS, WIDTH, PLACES),
        "resampler": lambda: Resampler(UNITS, WIDTH, PLACES, queries=QUERIES, blocks=1),
        "gated cross-attention": lambda: GatedCrossAttention(UNITS, WIDTH, PLACES, layers=1),
    }
    return parts[way]()


def tokens_of(way: Way) -> int:
    """How many tokens in the sequence stand for a picture."""
    return {"dual encoder": 0, "resampler": QUERIES, "gated cross-attention": 1}.get(way, PLACES)


class JoinedAnswerer(nn.Module):
    """Picture and questions in one sequence, or layers that look at the picture: logits of the answers.

    Args:
        way: but for the dual encoder.
        sees: whether pixels come in, which the model's own tower looks at first; else a tower's features.
    """

    def __init__(self, way: Way, *, sees: bool):
        super().__init__()
        self.tower: nn.Module = Tower() if sees and way != "early fusion" else nn.Identity()
        self.join: Any = _join(way)

        self.words = nn.Parameter(F.normalize(torch.randn(WORDS, WIDTH), dim=-1))
        self.places = nn.Parameter(0.25 * torch.randn(2, WIDTH))
        self.blocks = nn.ModuleList(_blocks(DEPTH[way]))
        self.norm = nn.RMSNorm(WIDTH)
        self.gated = way == "gated cross-attention"
        self.prefix = tokens_of(way)

    def forward(self, pictures: Tensor, tokens: Tensor) -> Tensor:
        """Logits ``[B, Q, WORDS]`` of the answers to questions ``int64 [B, Q, 2]``."""
        seen = self.tower(pictures)
        asked = (self.words[tokens] + self.places).flatten(-3, -2)
        if self.gated:
            looked = self.join(seen).select(1, 0)
            prefix = self.words[MARK].expand(len(pictures), 1, WIDTH)
        else:
            prefix = self.join(seen, self.words)
        x, mask = torch.cat([prefix, asked], dim=-2), seen_in(self.prefix, tokens.shape[-2])
        for number, block in enumerate(self.blocks):
            if self.gated and number == 1:  # before the first block every kind asked about is alone
                x = self.join.layers[0](x, looked)
            x = block(x, mask)
        answers = x[:, self.prefix + 1 :: 2]
        return _SCALE * self.norm(answers) @ self.words.T / WIDTH**0.5


def seen_in(prefix: int, questions: int) -> Tensor:
    """Who attends to whom, ``bool [L, L]``: earlier tokens of the prefix and of the own question."""
    text = torch.cat([torch.zeros(prefix, dtype=torch.int64), 1 + torch.arange(2 * questions) // 2])
    own = (text[:, None] == text) | (text == 0)
    return own & torch.ones(len(text), len(text), dtype=torch.bool).tril()


class MatchingAnswerer(nn.Module):
    """A dual encoder: picture and statement become one vector each, and meet in their product alone.

    Args:
        sees: as of :class:`JoinedAnswerer`.
    """

    def __init__(self, *, sees: bool):
        super().__init__()
        self.tower: nn.Module = Tower() if sees else nn.Identity()
        self.join = MlpProjector(UNITS, WIDTH, PLACES)
        self.words = nn.Parameter(F.normalize(torch.randn(WORDS, WIDTH), dim=-1))
        self.places = nn.Parameter(0.25 * torch.randn(3, WIDTH))
        self.image_blocks, self.text_blocks = nn.ModuleList(_blocks(2)), nn.ModuleList(_blocks(1))
        self.image_head, self.text_head = nn.Linear(WIDTH, EMBEDDED), nn.Linear(WIDTH, EMBEDDED)
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        said = statements()
        self.register_buffer("said", said.words)
        for kind, table in said.of.items():
            self.register_buffer(f"of_{kind.replace(' ', '_')}", table)

    def forward(self, pictures: Tensor, tokens: Tensor) -> Tensor:
        """Logits ``[B, Q, WORDS]``: of each answer the score of its statement; of other words the lowest number."""
        x = self.join(self.tower(pictures), self.words)
        for block in self.image_blocks:
            x = block(x, torch.ones(PLACES, PLACES, dtype=torch.bool))
        image = F.normalize(self.image_head(x.mean(dim=-2)), dim=-1)
        y = self.words[self.get_buffer("said")] + self.places
        for block in self.text_blocks:
            y = block(y, torch.ones(3, 3, dtype=torch.bool))
        text = F.normalize(self.text_head(y.mean(dim=-2)), dim=-1)
        scores = self.log_scale.exp() * image @ text.T
        return torch.stack([self._told(scores, tokens[:, slot, 1], kind) for slot, kind in enumerate(SLOTS)], dim=1)

    def _told(self, scores: Tensor, second: Tensor, kind: str) -> Tensor:
        chosen = scores.gather(1, self.get_buffer(f"of_{kind.replace(' ', '_')}")[second])
        answers, lowest = ANSWERS[kind], scores.new_full((1,), -1e4)
        before, behind = lowest.expand(len(scores), answers.start), lowest.expand(len(scores), WORDS - answers.stop)
        return torch.cat([before, chosen, behind], dim=1)


def answerer(way: Way, seed: int, *, sees: bool) -> nn.Module:
    """A model with the weights of a seed."""
    made: nn.Module = fresh(
        seed, lambda: MatchingAnswerer(sees=sees) if way == "dual encoder" else JoinedAnswerer(way, sees=sees)
    )
    return made


def _blocks(depth: int) -> list[CausalBlock]:
    """Blocks that pass on what they attend to; in the first, queries and keys are alike."""
    config, made = Transformer(WORDS, WORDS, WIDTH, depth, 1, norm="rms"), []
    for number in range(depth):
        block = CausalBlock(config)
        with torch.no_grad():
            for parameter in block.parameters():
                if parameter.ndim == 2:
                    parameter.copy_(torch.randn(parameter.shape) / parameter.shape[1] ** 0.5)
            query, key, value = block.query_key_value.weight.view(3, WIDTH, WIDTH).unbind()
            turn = torch.linalg.qr(torch.randn(WIDTH, WIDTH)).Q
            if number == 0:
                query.copy_(_MATCH * turn)
                key.copy_(_MATCH * turn)
                turn = torch.linalg.qr(torch.randn(WIDTH, WIDTH)).Q
            value.add_(_COPY * turn)
            block.out.weight.add_(_COPY * turn.T)
        made.append(block)
    return made


class QuestionTask:
    """Cross-entropy of the answers, each kind of question counting alike; see :class:`~lucida.training.tasks.Task`."""

    def __init__(self, model: nn.Module):
        self.model = model

    def loss(self, batch: Batch) -> LossOutput:
        logits, labels = self.model(batch["pictures"], batch["tokens"]), batch["labels"]
        losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape)
        weight = torch.tensor([1 / SLOTS.count(kind) for kind in SLOTS])
        return LossOutput((losses * weight).sum(), losses.new_tensor(float(len(ANSWERS))) * len(labels))


class NamingTask:
    """A tower's training: which kind a place shows; the head is thrown away."""

    def __init__(self, model: nn.Module):
        self.model = model

    def loss(self, batch: Batch) -> LossOutput:
        logits = self.model(batch["pictures"])
        return LossOutput(F.cross_entropy(logits, batch["labels"], reduction="sum"), torch.tensor(float(len(logits))))
