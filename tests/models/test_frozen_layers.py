"""Single steps of frozen layers against peft's and transformers' own: values and gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

from lucida.models.frozen_layers import FrozenLinear, project, rms_norm, rotate, take
from lucida.models.packed_attention import PackedLayout


class Pair(nn.Module):
    """Two layers on the same input."""

    def __init__(self, *, bias: bool):
        super().__init__()
        self.first, self.second = nn.Linear(6, 5, bias=bias), nn.Linear(6, 3, bias=bias)


def adapted(targets: Sequence[str], *, bias: bool = False, dropout: float = 0.0) -> Any:
    """The layers with adapters that do something."""
    torch.manual_seed(0)
    pair = Pair(bias=bias).requires_grad_(False)
    if not targets:
        return pair
    config = LoraConfig(r=2, lora_alpha=6, target_modules=list(targets), lora_dropout=dropout)
    model = get_peft_model(pair, config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    return model.base_model.model


def gradients(way: Callable[[Tensor], Sequence[Tensor]], parameters: Sequence[Tensor]) -> list[Tensor]:
    """Values of a function, and gradients of its input and of parameters along one direction."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(7, 6, generator=generator, requires_grad=True)
    outputs = way(x)
    total = sum((y * torch.randn(y.shape, generator=generator)).sum() for y in outputs)
    wanted = [x, *(p for p in parameters if p.requires_grad)]
    return [*outputs, *torch.autograd.grad(total, wanted)]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("targets", [[], ["first"], ["second"], ["first", "second"]])
def test_projections_are_those_of_the_modules(targets: list[str], bias: bool) -> None:
    pair = adapted(targets, bias=bias)
    modules = [pair.first, pair.second]
    assert None not in [FrozenLinear.of(module) for module in modules]
    ways = (lambda x: project(x, modules), lambda x: [module(x) for module in modules])
    for ours, theirs in zip(*(gradients(way, [*pair.parameters()]) for way in ways), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_what_is_more_than_a_frozen_layer_is_called_as_it_is() -> None:
    trained, dropped, merged = Pair(bias=True), adapted(["first"], dropout=0.5).train(), adapted(["first"])
    merged.first.merge()
    off = adapted(["first"])
    off.first.enable_adapters(False)
    for module in (trained.first, dropped.first, merged.first, off.first, nn.Identity()):
        assert FrozenLinear.of(module) is None
    assert FrozenLinear.of(dropped.eval().first) is not None
    x = torch.randn(4, 6)
    torch.testing.assert_close(project(x, [merged.first, merged.second])[0], merged.first(x))
    loss = sum(y.sum() for y in project(x, [trained.first, trained.second]))
    torch.autograd.backward(loss)
    assert trained.first.weight.grad is not None


@given(rows=st.integers(1, 5), width=st.integers(1, 9), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_norms_are_those_of_transformers(rows: int, width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    norm = LlamaRMSNorm(width, eps=1e-5).requires_grad_(False)
    norm.weight.copy_(torch.randn(width, generator=generator))
    x = torch.randn(rows, width, generator=generator, requires_grad=True)
    along = torch.randn(rows, width, generator=generator)
    for_each = []
    for y in (rms_norm(x, norm.weight, norm.variance_epsilon), norm(x)):
        for_each.append((y, *torch.autograd.grad((y * along).sum(), x)))
    for ours, theirs in zip(*for_each, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_rotations_are_those_of_transformers() -> None:
    angles = torch.rand(5, 1, 2).repeat(1, 1, 2)
    cos, sin = angles.cos(), angles.sin()
    x, along = torch.randn(5, 3, 4, requires_grad=True), torch.randn(5, 3, 4)
    theirs = apply_rotary_pos_emb(x[None], x[None], cos[None, :, 0], sin[None, :, 0], unsqueeze_dim=2)[0][0]
    found = [(y, *torch.autograd.grad((y * along).sum(), x)) for y in (rotate(x, cos, sin), theirs)]
    for ours, others in zip(*found, strict=True):
        torch.testing.assert_close(ours, others)


@given(lengths=st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any))
@settings(max_examples=30, deadline=None)
def test_rows_come_and_go_with_their_gradients(lengths: list[int]) -> None:
    layout = PackedLayout.of(lengths)
    x = torch.randn(sum(lengths), 2, dtype=torch.float64, requires_grad=True)
    padded = take(x, layout.spread, layout.gather, padded=True)
    assert torch.equal(padded, x[layout.spread])
    back = take(padded * 2, layout.gather, layout.gather, padded=False)
    assert torch.equal(back, 2 * x)
    along = torch.randn_like(back)
    assert torch.equal(torch.autograd.grad((back * along).sum(), x)[0], 2 * along)
