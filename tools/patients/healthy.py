"""Healthy runs: the usual networks at usual settings, each in some way close to a fault."""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .parts import (
    Case,
    Functional,
    Language,
    Pair,
    Recurrent,
    Residual,
    classify,
    convolutions,
    look,
    mlp,
    optimizer,
    pictures,
    sentences,
    speak,
    teacher,
    vectors,
)


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
