"""What small training runs are made of: the loop, data, networks, losses; every draw comes from a ``random.Random``."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lucida.training.probes import watch


@dataclass
class Case:
    """One run: ``loss()`` draws a batch and returns its loss."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    loss: Callable[[], Tensor]
    steps: int = 150
    clip: float | None = None
    warmup: int = 0
    pictures: Any = None
    expected: tuple[str, ...] = ()
    accumulate: int = 1
    losses: list[float] = field(default_factory=list)


def run(case: Case, *, every: int = 10, **options: Any) -> list[dict[str, Any]]:
    """Train a case under watch; the rows of its probes."""
    with watch(
        case.model, case.optimizer, every=every, pictures=case.pictures, expected=case.expected, **options
    ) as watched:
        train(case)
    return watched.rows


def train(case: Case) -> None:
    """The loop, as a user would write it."""
    rates = [group["lr"] for group in case.optimizer.param_groups]
    case.model.train()
    for step in range(case.steps):
        for group, rate in zip(case.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * min(1.0, (step + 1) / case.warmup if case.warmup else 1.0)
        case.optimizer.zero_grad()
        total = 0.0
        for _ in range(case.accumulate):
            loss = case.loss() / case.accumulate
            loss.backward()
            total += loss.item()
        if case.clip:
            nn.utils.clip_grad_norm_(case.model.parameters(), case.clip)
        case.optimizer.step()
        case.losses.append(total)


# Data -------------------------------------------------------------------------------------------------------------


def vectors(size: int, classes: int, batch: int, r: random.Random) -> Callable[[], tuple[Tensor, Tensor]]:
    """Noisy points around ``classes`` centres, some of them close."""
    centres = 1.5 * torch.randn(classes, size) / size**0.5 * 2
    noise = r.choice([0.3, 0.6, 1.0])

    def draw() -> tuple[Tensor, Tensor]:
        y = torch.randint(classes, (batch,))
        return centres[y] + noise * torch.randn(batch, size), y

    return draw


def teacher(size: int, batch: int, r: random.Random) -> Callable[[], tuple[Tensor, Tensor]]:
    """A regression: a random two-layer network with noise on its output."""
    a, b = torch.randn(size, 16) / size**0.5, torch.randn(16, 1) / 4
    noise = r.choice([0.0, 0.1])

    def draw() -> tuple[Tensor, Tensor]:
        x = torch.randn(batch, size)
        return x, torch.tanh(2 * x @ a) @ b + noise * torch.randn(batch, 1)

    return draw


def pictures(side: int, classes: int, batch: int, r: random.Random) -> Callable[[], tuple[Tensor, Tensor]]:
    """Smooth patterns under noise and shifts."""
    patterns = F.interpolate(torch.randn(classes, 3, 4, 4), size=side, mode="bilinear")
    noise = r.choice([0.3, 0.7])

    def draw() -> tuple[Tensor, Tensor]:
        y = torch.randint(classes, (batch,))
        return patterns[y].roll(r.randrange(4), dims=-1) + noise * torch.randn(batch, 3, side, side), y

    return draw


def sentences(words: int, length: int, batch: int, r: random.Random) -> Callable[[], Tensor]:
    """Sequences of a sparse Markov chain: three followers a word."""
    followers = torch.randint(words, (words, 3))

    def draw() -> Tensor:
        row = [torch.randint(words, (batch,))]
        for _ in range(length - 1):
            row.append(followers[row[-1], torch.multinomial(torch.tensor([0.7, 0.2, 0.1]), batch, replacement=True)])
        return torch.stack(row, dim=1)

    return draw


# Models -----------------------------------------------------------------------------------------------------------


def mlp(sizes: list[int], act: Callable[[], nn.Module] = nn.ReLU, norm: Any = None, dropout: float = 0.0) -> Any:
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes[:-1]):
        layers += [nn.Linear(a, b), *([norm(b)] if norm else []), act(), *([nn.Dropout(dropout)] if dropout else [])]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


class Functional(nn.Module):
    """A perceptron that calls its ReLUs as functions: hooks see the linear layers alone."""

    def __init__(self, sizes: list[int]):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


def convolutions(width: int, depth: int, classes: int, *, norm: bool) -> nn.Module:
    layers: list[nn.Module] = []
    for k in range(depth):
        layers += [nn.Conv2d(3 if k == 0 else width, width, 3, stride=1 + (k % 2), padding=1)]
        layers += [nn.BatchNorm2d(width)] if norm else []
        layers += [nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


class Residual(nn.Module):
    """A small residual network with batch norm."""

    def __init__(self, width: int, blocks: int, classes: int):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
            )
            for _ in range(blocks)
        )
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        for block in self.blocks:
            x = F.relu(x + block(x))
        return self.head(x.mean(dim=(2, 3)))


class Language(nn.Module):
    """A causal transformer of PyTorch's own layers; returns the loss, as Hugging Face models do."""

    def __init__(
        self, words: int, size: int, depth: int, length: int, *, pre: bool, dropout: float = 0.0, patch: int = 0
    ):
        super().__init__()
        self.words, self.places = nn.Embedding(words, size), nn.Embedding(length, size)
        nn.init.normal_(self.words.weight, std=0.1)
        nn.init.normal_(self.places.weight, std=0.1)
        layer = nn.TransformerEncoderLayer(size, 4, 4 * size, dropout, batch_first=True, norm_first=pre)
        self.body = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        for block in self.body.layers:  # copies of one layer otherwise
            block.apply(_fresh)
        self.norm = nn.LayerNorm(size) if pre else nn.Identity()
        self.head = nn.Linear(size, words)
        self.projector = nn.Linear(patch, size) if patch else None

    def forward(self, input_ids: Tensor, labels: Tensor, pixel_values: Tensor | None = None) -> dict[str, Tensor]:
        x = self.words(input_ids)
        before = 0
        if self.projector is not None and pixel_values is not None:
            seen = self.projector(pixel_values)
            before = seen.shape[1]
            x = torch.cat([seen, x], dim=1)
        x = x + self.places(torch.arange(x.shape[1]))
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        x = self.norm(self.body(x, mask=mask, is_causal=True))[:, before:]
        logits = self.head(x[:, :-1])
        wanted = labels[:, 1:]
        total = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="sum")
        return {"loss": total / (wanted != -100).sum().clamp(min=1), "logits": logits}


def _fresh(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
    elif isinstance(module, nn.MultiheadAttention):
        nn.init.xavier_uniform_(module.in_proj_weight)


class Recurrent(nn.Module):
    """A recurrent net over tokens or numbers, read at its last step."""

    def __init__(self, kind: str, inputs: int, size: int, outputs: int):
        super().__init__()
        self.cell = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[kind](inputs, size, batch_first=True)
        self.head = nn.Linear(size, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x)[0][:, -1])


class Pair(nn.Module):
    """Two towers and a temperature."""

    def __init__(self, a: int, b: int, size: int, *, clamp: bool = True):
        super().__init__()
        self.image, self.text = mlp([a, 2 * size, size]), mlp([b, 2 * size, size], nn.GELU)
        self.logit_scale = nn.Parameter(torch.tensor(2.659))
        self.clamp = clamp

    @property
    def scale(self) -> Tensor:
        return self.logit_scale.exp().clamp(max=100) if self.clamp else self.logit_scale.exp()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        logits = self.scale * F.normalize(self.image(a), dim=-1) @ F.normalize(self.text(b), dim=-1).T
        target = torch.arange(len(a))
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def optimizer(
    model: Any, r: random.Random, *, scale: float = 1.0, kinds: str = "sgd adam adamw", **options: Any
) -> Any:
    """One of the usual optimizers at a usual rate."""
    parameters = model if isinstance(model, list) else list(model.parameters())
    kind = r.choice(kinds.split())
    if kind == "sgd":
        return torch.optim.SGD(parameters, lr=scale * r.choice([0.02, 0.05]), momentum=r.choice([0.0, 0.9]), **options)
    rate = scale * r.choice([3e-4, 1e-3, 2e-3])
    return (torch.optim.Adam if kind == "adam" else torch.optim.AdamW)(parameters, lr=rate, **options)


def classify(model: nn.Module, draw: Callable[[], tuple[Tensor, Tensor]]) -> Callable[[], Tensor]:
    def loss() -> Tensor:
        x, y = draw()
        return F.cross_entropy(model(x), y)

    return loss


def speak(model: nn.Module, draw: Callable[[], Tensor], mask: float = 0.0) -> Callable[[], Tensor]:
    def loss() -> Tensor:
        ids = draw()
        labels = ids.masked_fill(torch.rand(ids.shape) < mask, -100)
        return model(input_ids=ids, labels=labels)["loss"]

    return loss


def look(model: nn.Module, batch: int, r: random.Random, *, right: bool = True) -> Callable[[], Tensor]:
    """Questions about one of four patches of a picture (which of 8 kinds is at place q?), the answer the last token."""
    kinds = torch.randn(8, 12)

    def loss() -> Tensor:
        shown = torch.randint(8, (batch, 4))
        place = torch.randint(4, (batch,))
        answer = shown[torch.arange(batch), place]
        ids = torch.stack([place + 8, torch.full_like(place, 12), answer], dim=1)
        labels = torch.full_like(ids, -100)
        labels[:, -1] = answer
        if not right:
            shown = shown.roll(1, dims=0)
        pixels = kinds[shown] + 0.1 * torch.randn(batch, 4, 12)
        return model(input_ids=ids, labels=labels, pixel_values=pixels)["loss"]

    return loss
