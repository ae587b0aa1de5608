"""Runs with one fault planted, and the finding that names it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .healthy import h_conv, h_mlp, h_pre_norm, h_regression
from .parts import (
    Case,
    Functional,
    Language,
    Pair,
    Recurrent,
    classify,
    convolutions,
    look,
    mlp,
    optimizer,
    pictures,
    sentences,
    speak,
    vectors,
)

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
