"""Packed rows against each sequence alone and against the padded batch: states, gradients, what is restored."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from lucida.models.packed_attention import PackedLayout, packed, packed_states

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def decoder() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=50,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval().get_decoder()


@given(lengths=LENGTHS)
@settings(max_examples=50, deadline=None)
def test_spread_and_gather_are_inverse(lengths: list[int]) -> None:
    layout = PackedLayout.of(lengths)
    assert layout.spread[layout.gather].tolist() == list(range(sum(lengths)))
    assert len(layout.spread) == len(lengths) * max(lengths)


@given(lengths=LENGTHS, seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_each_sequence_is_as_if_alone(decoder: Any, lengths: list[int], seed: int) -> None:
    embedded = torch.randn(1, sum(lengths), 32, generator=torch.Generator().manual_seed(seed))
    states = packed_states(decoder, embedded, torch.tensor(lengths))[0]
    for part, own in zip(embedded[0].split(lengths), states.split(lengths), strict=True):
        torch.testing.assert_close(own, decoder(inputs_embeds=part[None]).last_hidden_state[0], rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_the_padded_batch(decoder: Any) -> None:
    lengths = [5, 2, 7]
    rows = [torch.randn(n, 32) for n in lengths]
    direction = torch.randn(sum(lengths), 32)
    found = []
    for way in ("packed", "padded"):
        decoder.zero_grad()
        leaves = [row.clone().requires_grad_() for row in rows]
        if way == "packed":
            states = packed_states(decoder, torch.cat(leaves)[None], torch.tensor(lengths))[0]
        else:
            mask = torch.arange(7) < torch.tensor(lengths)[:, None]
            padded = torch.nn.utils.rnn.pad_sequence(leaves, batch_first=True)
            states = decoder(inputs_embeds=padded, attention_mask=mask.long()).last_hidden_state[mask]
        (states * direction).sum().backward()
        found.append(
            [*(leaf.grad for leaf in leaves), *(p.grad.clone() for p in decoder.parameters() if p.grad is not None)]
        )
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_decoder_gets_its_own_way_back(decoder: Any) -> None:
    before = decoder.config._attn_implementation
    with pytest.raises(RuntimeError, match="stop"), packed(decoder):
        raise RuntimeError("stop")
    assert decoder.config._attn_implementation == before


def test_without_a_layout_a_padded_batch_is_masked_as_always(decoder: Any) -> None:
    embedded, mask = torch.randn(2, 6, 32), torch.tensor([[1] * 6, [1] * 3 + [0] * 3])
    usual = decoder(inputs_embeds=embedded, attention_mask=mask).last_hidden_state
    with packed(decoder):
        again = decoder(inputs_embeds=embedded, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(again[mask.bool()], usual[mask.bool()])
