"""The lean way through a frozen Llama against its plain twin: states of some rows, gradients of adapters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from lucida.models.adapters import LoraSettings, add_lora
from lucida.models.lean_decoder import is_lean, lean_states
from lucida.models.packed_attention import packed_states

WIDTH = 32
SHAPE = {"hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 3, "vocab_size": 50}


def decoder_with_adapters(targets: str, **settings: Any) -> Any:
    """Adapters that already say something."""
    torch.manual_seed(0)
    shape = SHAPE | {"num_attention_heads": 4, "num_key_value_heads": 2} | settings
    model = LlamaForCausalLM(LlamaConfig(**shape)).requires_grad_(False)
    for norm in (m for m in model.modules() if type(m).__name__ == "LlamaRMSNorm"):
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
    adapted = add_lora(model, LoraSettings(r=3, lora_alpha=6, target_modules=targets), seed=0)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model.get_decoder()


@pytest.fixture(scope="module")
def decoders() -> dict[str, Any]:
    return {
        "attention": decoder_with_adapters(r".*\.(q|k|v|o)_proj"),
        "everything": decoder_with_adapters(r".*_proj", num_key_value_heads=4),
        "biased": decoder_with_adapters(r".*(q|up)_proj", attention_bias=True, mlp_bias=True),
    }


def both_ways(decoder: Any, lengths: list[int], rows: Tensor, seed: int) -> list[list[Tensor]]:
    """States and all gradients by the lean way and by the plain one."""
    generator = torch.Generator().manual_seed(seed)
    embedded = torch.randn(sum(lengths), WIDTH, generator=generator, requires_grad=True)
    along = torch.randn(len(rows), WIDTH, generator=generator)
    trained = [embedded, *(p for p in decoder.parameters() if p.requires_grad)]
    assert is_lean(decoder)
    found = []
    for states in (
        lean_states(decoder, embedded, torch.tensor(lengths), rows),
        packed_states(decoder, embedded[None], torch.tensor(lengths))[0, rows],
    ):
        found.append([states, *torch.autograd.grad((states * along).sum(), trained)])
    return found


@given(data=st.data(), lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("which", ["attention", "everything", "biased"])
def test_states_and_gradients_are_those_of_the_plain_way(
    decoders: dict[str, Any], which: str, data: st.DataObject, lengths: list[int], seed: int
) -> None:
    chosen = data.draw(st.sets(st.integers(0, sum(lengths) - 1), min_size=1))
    rows = torch.tensor(sorted(chosen))
    for ours, theirs in zip(*both_ways(decoders[which], lengths, rows, seed), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_a_watched_trained_or_dropping_decoder_goes_the_usual_way() -> None:
    decoder = decoder_with_adapters(r".*_proj", attention_dropout=0.1)
    assert not is_lean(decoder.train())
    assert is_lean(decoder.eval())
    handle = decoder.layers[1].mlp.register_forward_hook(lambda *_: None)
    assert not is_lean(decoder)
    handle.remove()
    assert is_lean(decoder)
    with torch.autocast("cpu", torch.bfloat16):
        assert not is_lean(decoder)
    decoder.norm.requires_grad_(True)
    assert not is_lean(decoder)
    assert not is_lean(decoder.requires_grad_(False).double())  # their norm computes in float32 whatever it is given
