"""Ways to join pictures to words against transformers' own: the same values from the same weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import CLIPVisionConfig, IdeficsConfig, LlamaConfig, LlavaConfig
from transformers.models.idefics.modeling_idefics import IdeficsGatedCrossAttentionLayer
from transformers.models.idefics.perceiver import IdeficsPerceiverResampler
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from lucida.models.gated_cross_attention import GatedLayer
from lucida.models.projectors import MlpProjector
from lucida.models.resampler import Resampler

H, D, T, B = 128, 24, 9, 3


def filled(module: nn.Module) -> nn.Module:
    """Every weight at random, norms and gates too, so that none of them can be left out."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
    return module.eval()


def take(own: nn.Module, theirs: nn.Module, names: dict[str, str]) -> None:
    """Fill our parameters with theirs, by name; all of theirs are used."""
    weights, parameters = dict(theirs.named_parameters()), dict(own.named_parameters())
    with torch.no_grad():
        for ours, name in names.items():
            parameters[ours].copy_(weights[name])
    assert {*names.values()} == {*weights}
    assert {*names} == {*parameters}


def test_the_perceptron_is_that_of_llava() -> None:
    config = LlavaConfig(vision_config=CLIPVisionConfig(hidden_size=D), text_config=LlamaConfig(hidden_size=H))
    theirs = filled(LlavaMultiModalProjector(config))
    own = MlpProjector(D, H, T)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            own.get_parameter(name).copy_(parameter)
        own.places.zero_()  # LLaVA's features say where they lie, and come in as they are
    grid = torch.randn(B, T, D)
    torch.testing.assert_close(own(grid, torch.empty(0)), theirs(own.norm(grid)))


@pytest.mark.parametrize("blocks", [1, 3])
def test_the_resampler_is_the_perceiver_of_idefics(blocks: int) -> None:
    config = IdeficsConfig(vision_config={"embed_dim": H}, perceiver_config={"qk_layer_norms_perceiver": False})
    theirs = filled(IdeficsPerceiverResampler(config, H, blocks, H // 64, 64, n_latents=5))
    own = Resampler(D, H, T, queries=5, blocks=blocks)
    inner = {
        "context_norm": "0.context_layer_norm", "latents_norm": "0.latents_layer_norm", "mlp_norm": "1.ln",
        "q_proj": "0.q_proj", "k_proj": "0.k_proj", "v_proj": "0.v_proj", "o_proj": "0.output_proj",
        "up_proj": "1.fc", "down_proj": "1.c_proj",
    }  # fmt: skip
    weights = dict(theirs.named_parameters())
    with torch.no_grad():
        own.latents.copy_(weights.pop("latents"))
        for part in ("weight", "bias"):
            own.get_parameter(f"layer_norm.{part}").copy_(weights.pop(f"layer_norm.{part}"))
        for block in range(blocks):
            for ours, name in inner.items():
                for part in ("weight", "bias"):
                    if f"blocks.{block}.{name}.{part}" in weights:
                        value = weights.pop(f"blocks.{block}.{name}.{part}")
                        own.get_parameter(f"blocks.{block}.{ours}.{part}").copy_(value)
    assert not weights  # all of theirs are used
    context = torch.randn(B, T, H)
    torch.testing.assert_close(own.resample(context), theirs(context), rtol=1e-4, atol=1e-4)


def test_gated_layers_are_those_of_idefics() -> None:
    config = IdeficsConfig(
        hidden_size=H,
        intermediate_size=8 * H // 3 // 16 * 16,
        num_attention_heads=H // 64,
        vision_config={"embed_dim": H},
        alpha_initializer="ones",
        alpha_type="float",
        use_resampler=False,
        qk_layer_norms=False,
    )
    config._attn_implementation = "eager"
    theirs, own = filled(IdeficsGatedCrossAttentionLayer(config, layer_idx=0)), GatedLayer(H, eps=config.rms_norm_eps)
    names = {
        "attention_norm.weight": "input_layernorm.weight", "mlp_norm.weight": "post_attention_layernorm.weight",
        "attention_gate": "alpha_cross_attn", "mlp_gate": "alpha_dense",
    }  # fmt: skip
    names |= {f"{part}.weight": f"cross_attn.{part}.weight" for part in ("q_proj", "k_proj", "v_proj", "o_proj")}
    names |= {f"{part}.weight": f"mlp.{part}.weight" for part in ("gate_proj", "up_proj", "down_proj")}
    take(own, theirs, names)
    x, places = torch.randn(B, 5, H), torch.randn(B, T, H)
    expected = theirs(
        x,
        image_hidden_states=places,
        image_attention_mask=torch.zeros(B, 1, 5, T),
        cross_attention_gate=torch.ones(B, 5),
    )
    torch.testing.assert_close(own(x, own.read(places)), expected, rtol=1e-4, atol=1e-5)
