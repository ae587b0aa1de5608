"""Small training runs, healthy and with one fault planted, on which the diagnosis is measured.

Every run is drawn from a seed: architecture, width, depth, optimizer, rate, batch. ``HEALTHY`` and ``FAULTS`` map a
name to a function of a ``random.Random`` that returns a :class:`Case`; ``EXPECTED`` says which findings name a fault.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
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


# Healthy runs -----------------------------------------------------------------------------------------------------


def h_mlp(r: random.Random) -> Case:
    batch, width = r.choice([16, 64, 128]), r.choice([32, 64, 128])
    act = r.choice([nn.ReLU, nn.Tanh, nn.GELU, nn.LeakyReLU])
    model = mlp([32] + [width] * r.choice([1, 2, 3]) + [10], act, dropout=r.choice([0.0, 0.1]))
    return Case(model, optimizer(model, r), classify(model, vectors(32, 10, batch, r)))


def h_functional(r: random.Random) -> Case:
    model = Functional([32, 64, 64, 10])
    return Case(model, optimizer(model, r), classify(model, vectors(32, 10, r.choice([32, 64]), r)))


def h_deep_mlp(r: random.Random) -> Case:
    model = mlp([32] + [64] * r.choice([5, 6, 8]) + [10], norm=r.choice([nn.LayerNorm, nn.BatchNorm1d]))
    return Case(model, optimizer(model, r), classify(model, vectors(32, 10, r.choice([32, 64]), r)))


def h_sigmoid_shallow(r: random.Random) -> Case:
    model = mlp([32, 64, 10], nn.Sigmoid)
    return Case(model, optimizer(model, r, kinds="adam adamw"), classify(model, vectors(32, 10, 64, r)))


def h_regression(r: random.Random) -> Case:
    model, draw = mlp([16, 64, 64, 1], r.choice([nn.ReLU, nn.Tanh])), teacher(16, r.choice([32, 128]), r)
    return Case(model, optimizer(model, r), lambda: F.mse_loss(*(lambda x, y: (model(x), y))(*draw())))


def h_conv(r: random.Random) -> Case:
    model = convolutions(r.choice([16, 32]), r.choice([2, 3, 4]), 8, norm=False)
    return Case(model, optimizer(model, r), classify(model, pictures(16, 8, r.choice([16, 32]), r)), steps=100)


def h_conv_bn(r: random.Random) -> Case:
    model = convolutions(r.choice([16, 32]), r.choice([3, 5]), 8, norm=True)
    return Case(model, optimizer(model, r), classify(model, pictures(16, 8, r.choice([16, 32, 64]), r)), steps=100)


def h_resnet(r: random.Random) -> Case:
    model = Residual(16, r.choice([2, 4]), 8)
    return Case(model, optimizer(model, r), classify(model, pictures(16, 8, r.choice([16, 32]), r)), steps=80)


def h_pre_norm(r: random.Random) -> Case:
    model = Language(32, r.choice([32, 64]), r.choice([2, 4, 8]), 16, pre=True, dropout=r.choice([0.0, 0.1]))
    warm = r.choice([0, 20])
    return Case(model, optimizer(model, r, kinds="adam adamw"), speak(model, sentences(32, 16, 16, r)), warmup=warm)


def h_post_norm(r: random.Random) -> Case:
    model = Language(32, r.choice([32, 64]), r.choice([1, 2, 3]), 16, pre=False, dropout=r.choice([0.0, 0.1]))
    speech = speak(model, sentences(32, 16, 16, r), mask=r.choice([0.0, 0.5]))
    return Case(model, optimizer(model, r, kinds="adam adamw"), speech, warmup=r.choice([20, 40]), clip=1.0)


def h_recurrent(r: random.Random) -> Case:
    kind = r.choice(["rnn", "gru", "lstm"])
    model = Recurrent(kind, 4, r.choice([32, 64]), 1)

    def loss() -> Tensor:
        x = torch.randn(32, r.choice([10, 20, 30]), 4)
        return F.mse_loss(model(x), x[:, -3:, :1].sum(dim=1) + x[:, -1:, 1])

    return Case(model, optimizer(model, r), loss, clip=r.choice([1.0, 5.0, None]))


def h_dual(r: random.Random) -> Case:
    model, batch = Pair(24, 16, r.choice([16, 32, 64])), r.choice([32, 64, 128])
    a, b = torch.randn(12, 24), torch.randn(12, 16)

    def loss() -> Tensor:
        z = torch.randn(batch, 12)
        return model(z @ a / 3 + 0.2 * torch.randn(batch, 24), z @ b / 3 + 0.2 * torch.randn(batch, 16))

    return Case(model, optimizer(model, r, kinds="adam adamw"), loss, warmup=r.choice([0, 20]))


def h_multimodal(r: random.Random) -> Case:
    model = Language(16, 64, r.choice([1, 2]), 8, pre=True, patch=12)
    draw = look(model, 64, r)
    return Case(model, torch.optim.AdamW(model.parameters(), lr=2e-3), draw, steps=400, pictures="pixel_values")


def h_frozen_on_purpose(r: random.Random) -> Case:
    model = mlp([32, 64, 64, 10])
    model[0].requires_grad_(False)
    model[2].requires_grad_(False)
    head = [p for p in model.parameters() if p.requires_grad]
    return Case(model, optimizer(head, r), classify(model, vectors(32, 10, 64, r)))


def h_unused_part(r: random.Random) -> Case:
    """A pooler that never runs, as in many models of Hugging Face."""
    model = mlp([32, 64, 10])
    model[0].register_module("pooler", nn.Linear(4, 4))
    return Case(model, optimizer(model, r), classify(model, vectors(32, 10, 64, r)))


def h_accumulated(r: random.Random) -> Case:
    model = mlp([32, 64, 10], norm=nn.LayerNorm)
    return Case(model, optimizer(model, r), classify(model, vectors(32, 10, 16, r)), accumulate=4)


def h_low_rank(r: random.Random) -> Case:
    """Adapters beside frozen layers, B = 0 at the start."""

    class Adapted(nn.Module):
        def __init__(self, base: nn.Linear):
            super().__init__()
            self.base = base.requires_grad_(False)
            self.lora_A = nn.Linear(base.in_features, 4, bias=False)
            self.lora_B = nn.Linear(4, base.out_features, bias=False)
            nn.init.zeros_(self.lora_B.weight)

        def forward(self, x: Tensor) -> Tensor:
            return self.base(x) + 2 * self.lora_B(self.lora_A(x))

    model = nn.Sequential(Adapted(nn.Linear(32, 64)), nn.ReLU(), Adapted(nn.Linear(64, 10)))
    trained = [p for p in model.parameters() if p.requires_grad]
    return Case(model, torch.optim.AdamW(trained, lr=r.choice([1e-3, 5e-3])), classify(model, vectors(32, 10, 64, r)))


def h_autoencoder(r: random.Random) -> Case:
    model = mlp([32, 64, 8, 64, 32], r.choice([nn.ReLU, nn.GELU]))
    basis = torch.randn(6, 32)

    def loss() -> Tensor:
        x = torch.randn(64, 6) @ basis / 2.5
        return F.mse_loss(model(x), x)

    return Case(model, optimizer(model, r), loss)


def h_bfloat16(r: random.Random) -> Case:
    model = Language(32, 32, 2, 16, pre=True)
    draw = speak(model, sentences(32, 16, 16, r))

    def loss() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return draw()

    return Case(model, optimizer(model, r, kinds="adamw"), loss)


def h_memorised(r: random.Random) -> Case:
    """A fixed batch learned by heart: the loss and its gradients go to nothing, which is no vanishing gradient."""
    model = mlp([32, 128, 128, 10])
    x, y = torch.randn(64, 32), torch.randint(10, (64,))
    return Case(model, optimizer(model, r), lambda: F.cross_entropy(model(x), y), steps=300)


class Gated(nn.Module):
    """Residual blocks behind gates that start next to 0 (LayerScale): their insides hardly get a gradient at first."""

    def __init__(self, size: int, depth: int, gate: float):
        super().__init__()
        self.stem, self.head = nn.Linear(32, size), nn.Linear(size, 10)
        self.blocks = nn.ModuleList(mlp([size, 2 * size, size], nn.GELU) for _ in range(depth))
        self.gates = nn.ParameterList(nn.Parameter(torch.full((size,), gate)) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for gate, block in zip(self.gates, self.blocks, strict=True):
            x = x + gate * block(F.layer_norm(x, x.shape[-1:]))
        return self.head(x)


def h_layer_scale(r: random.Random) -> Case:
    model = Gated(r.choice([32, 64]), r.choice([2, 6]), r.choice([1e-6, 1e-5, 0.1]))
    return Case(model, optimizer(model, r, kinds="adam adamw"), classify(model, vectors(32, 10, 64, r)))


def h_batch_of_two(r: random.Random) -> Case:
    """Noisy gradients, but no batch norm."""
    model = mlp([32, 64, 64, 10], norm=r.choice([None, nn.LayerNorm]))
    return Case(model, optimizer(model, r, scale=0.3), classify(model, vectors(32, 10, 2, r)), steps=300)


def h_small_start(r: random.Random) -> Case:
    """Weights that start as small as GPT-2's and grow a lot, with warm-up."""
    model = Language(32, 64, r.choice([2, 4]), 16, pre=True)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
    loss = speak(model, sentences(32, 16, 16, r))
    return Case(model, torch.optim.AdamW(model.parameters(), lr=2e-3), loss, steps=300, warmup=30, clip=1.0)


# Faults -----------------------------------------------------------------------------------------------------------


def f_rate_too_high(r: random.Random) -> Case:
    case = r.choice([h_mlp, h_conv, h_pre_norm])(r)
    for group in case.optimizer.param_groups:
        group["lr"] = r.choice([3.0, 6.0]) if isinstance(case.optimizer, torch.optim.SGD) else r.choice([0.3, 0.6, 1.0])
    case.warmup = 0
    return case


def f_no_warm_up(r: random.Random) -> Case:
    model = Language(32, r.choice([64, 96]), r.choice([10, 12]), 16, pre=False)
    kind = r.choice([torch.optim.Adam, torch.optim.AdamW])
    rate = r.choice([2e-3, 3e-3])
    return Case(model, kind(model.parameters(), lr=rate), speak(model, sentences(32, 16, 16, r)), steps=120)


def f_dead_relus(r: random.Random) -> Case:
    make = r.choice([Functional, mlp])
    model = make([32] + [r.choice([64, 128])] * r.choice([2, 3]) + [10])
    layer = r.choice([m for m in model.modules() if isinstance(m, nn.Linear)][:-1])
    dead = torch.rand(layer.bias.shape) < r.choice([0.7, 0.9, 1.0])
    with torch.no_grad():
        layer.bias[dead] = -r.choice([8.0, 12.0])
    return Case(model, optimizer(model, r), classify(model, vectors(32, 10, 64, r)))


def f_sigmoid_stack(r: random.Random) -> Case:
    model = mlp([32] + [r.choice([32, 64])] * r.choice([6, 8, 10]) + [10], nn.Sigmoid)
    return Case(model, optimizer(model, r), classify(model, vectors(32, 10, 64, r)))


def _with_gain(r: random.Random, gain: float) -> Case:
    model = mlp([32] + [r.choice([64, 96])] * r.choice([7, 8, 10]) + [10], r.choice([nn.ReLU, nn.Tanh]))
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=gain / module.in_features**0.5)
            nn.init.zeros_(module.bias)
    return Case(model, optimizer(model, r), classify(model, vectors(32, 10, 64, r)))


def f_gain_too_small(r: random.Random) -> Case:
    return _with_gain(r, r.choice([0.2, 0.3, 0.4]))


def f_gain_too_large(r: random.Random) -> Case:
    return _with_gain(r, r.choice([4.0, 6.0, 8.0]))


def f_batch_norm_at_two(r: random.Random) -> Case:
    if r.random() < 0.5:
        model: nn.Module = mlp([32, 64, 64, 10], norm=nn.BatchNorm1d)
        return Case(model, optimizer(model, r), classify(model, vectors(32, 10, 2, r)))
    model = convolutions(16, 3, 8, norm=True)
    return Case(model, optimizer(model, r), classify(model, pictures(16, 8, 2, r)))


class Detached(nn.Module):
    """A tower whose features are cut off the graph by mistake."""

    def __init__(self, how: str):
        super().__init__()
        self.tower, self.head, self.how = mlp([32, 64, 64]), nn.Linear(64, 10), how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "no_grad":
            with torch.no_grad():
                x = self.tower(x)
        else:
            x = self.tower(x)
        return self.head(F.relu(x.detach() if self.how == "detach" else x))


def f_frozen_part(r: random.Random) -> Case:
    how = r.choice(["detach", "no_grad", "not in the optimizer", "requires_grad"])
    model = Detached(how)
    if how == "requires_grad":
        model.tower.requires_grad_(False)
    held = model.head if how == "not in the optimizer" else model
    meant = ("tower.*",) if how == "requires_grad" else ()
    loss = classify(model, vectors(32, 10, 64, r))
    return Case(model, optimizer(list(held.parameters()), r), loss, expected=meant)


def f_labels_masked(r: random.Random) -> Case:
    model = Language(32, 32, 2, 16, pre=True)
    draw = sentences(32, 16, 16, r)
    if r.random() < 0.5:
        return Case(model, optimizer(model, r), speak(model, draw, mask=1.1))
    plain = mlp([32, 64, 10])
    points = vectors(32, 10, 64, r)
    reduction = r.choice(["sum", "mean"])

    def loss() -> Tensor:
        x, y = points()
        return F.cross_entropy(plain(x), torch.full_like(y, -100), reduction=reduction)

    return Case(plain, optimizer(plain, r), loss)


class Divided(Pair):
    """The cosines are divided by a temperature that nothing keeps above 0."""

    def __init__(self, a: int, b: int, size: int):
        super().__init__(a, b, size)
        del self.logit_scale
        self.temperature = nn.Parameter(torch.tensor(0.07))

    @property
    def scale(self) -> Tensor:
        return 1 / self.temperature


def f_temperature(r: random.Random) -> Case:
    """A temperature with a rate of its own: it is divided by and unclamped, or pairs do not match and it falls."""
    batch, hopeless = r.choice([32, 64]), r.random() < 0.5
    rate = r.choice([0.2, 0.4]) if hopeless else r.choice([0.1, 0.2])
    size = r.choice([32, 64])
    model: Any = Pair(24, 16, size, clamp=False) if hopeless else Divided(24, 16, size)
    a, b = torch.randn(12, 24), torch.randn(12, 16)

    def loss() -> Tensor:
        z = torch.randn(batch, 12)
        return model(z @ a / 3, (torch.randn(batch, 12) if hopeless else z) @ b / 3)

    learned = model.logit_scale if hopeless else model.temperature
    others = [p for p in model.parameters() if p is not learned]
    groups = [{"params": others, "lr": 1e-3}, {"params": [learned], "lr": rate, "weight_decay": 0.0}]
    return Case(model, torch.optim.AdamW(groups, betas=(0.9, 0.98)), loss, steps=300)


def f_exploding_recurrent(r: random.Random) -> Case:
    model = Recurrent("rnn", 4, r.choice([32, 64]), 1)
    gain = r.choice([2.0, 3.0])
    nn.init.orthogonal_(model.cell.weight_hh_l0, gain)
    length = r.choice([40, 60, 80])

    def loss() -> Tensor:
        x = torch.randn(32, length, 4)
        return F.mse_loss(model(x), x[:, :3, :1].sum(dim=1))

    return Case(model, optimizer(model, r, scale=0.3), loss, clip=r.choice([None, 1.0]))


def f_nan_example(r: random.Random) -> Case:
    case, fatal = r.choice([h_mlp, h_regression, h_conv])(r), r.randrange(30, 90)
    state = {"step": 0}
    how = r.choice(["input", "loss"])

    def poison(module: nn.Module, args: Any) -> Any:
        state["step"] += 1
        if state["step"] == fatal and how == "input":
            x = args[0].clone()
            x[r.randrange(len(x))].view(-1)[0] = float("nan")
            return (x,)
        return None

    case.model.register_forward_pre_hook(poison)
    sound = case.loss
    case.loss = lambda: sound() * (float("nan") if state["step"] + 1 == fatal and how == "loss" else 1.0)
    return case


def f_blind(r: random.Random) -> Case:
    model = Language(16, 64, r.choice([1, 2]), 8, pre=True, patch=12)
    how = r.choice(["other pictures", "dead projector", "answer in the question"])
    draw = look(model, 64, r, right=how != "other pictures")
    if how == "dead projector":
        nn.init.zeros_(model.projector.weight)
        model.projector.weight.requires_grad_(False)
    if how == "answer in the question":
        draw = _leaky(model)
    held = [p for p in model.parameters() if p.requires_grad]
    return Case(model, torch.optim.AdamW(held, lr=2e-3), draw, steps=400, pictures="pixel_values")


def _leaky(model: nn.Module) -> Callable[[], Tensor]:
    def loss() -> Tensor:
        answer = torch.randint(8, (64,))
        ids = torch.stack([(answer + 3) % 8, torch.full_like(answer, 12), answer], dim=1)
        labels = torch.full_like(ids, -100)
        labels[:, -1] = answer
        return model(input_ids=ids, labels=labels, pixel_values=torch.randn(64, 4, 12))["loss"]

    return loss


def _named(prefix: str) -> dict[str, Callable[[random.Random], Case]]:
    return {name[2:]: value for name, value in sorted(globals().items()) if name.startswith(prefix)}


HEALTHY = _named("h_")
FAULTS = _named("f_")


def case(make: Callable[[random.Random], Case], seed: int) -> Case:
    """The case of a seed."""
    torch.manual_seed(seed)
    return make(random.Random(seed))


def all_cases(seeds: list[int]) -> Iterator[tuple[str, str, int]]:
    """``(group, name, seed)`` of every run."""
    for group, table in (("healthy", HEALTHY), ("fault", FAULTS)):
        for name in table:
            for seed in seeds:
                yield group, name, seed


EXPECTED = {
    "batch_norm_at_two": {"batch-norm-small-batch"},
    "blind": {"ignores-pictures"},
    "dead_relus": {"dead-units"},
    "exploding_recurrent": {"exploding-gradients"},
    "frozen_part": {"part-not-trained"},
    "gain_too_large": {"initialisation-too-large"},
    "gain_too_small": {"initialisation-too-small"},
    "labels_masked": {"nothing-supervised"},
    "nan_example": {"non-finite"},
    "no_warm_up": {"no-warm-up"},
    "rate_too_high": {"learning-rate-too-high"},
    "sigmoid_stack": {"vanishing-gradients"},
    "temperature": {"temperature-runaway"},
}
"""The finding that names each fault."""
