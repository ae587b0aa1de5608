"""Adapters: starts, gradients, scales, merging, files both ways with peft, and bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import AutoModelForImageTextToText, LlamaConfig, LlamaForCausalLM

from lucida.core.errors import LucidaError
from lucida.models.adapter_files import load_adapter, save_adapter
from lucida.models.adapter_merging import merge, save_merged, unmerge
from lucida.models.adapters import INITIALISATIONS, LoraSettings, add_lora, lora_layers
from lucida.models.base_fingerprints import base_fingerprint

IDS = torch.arange(5, 25).view(2, 10)
SETTINGS = LoraSettings(r=4, lora_alpha=8)


def tiny_llama(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    config = LlamaConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        vocab_size=40,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def trained(model: Any, steps: int = 5, rate: float = 0.05) -> Any:
    """A few steps of plain descent on the adapters."""
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        model(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()
    return model.eval()


@pytest.mark.parametrize("init", INITIALISATIONS)
def test_every_start_leaves_the_model_as_it_is(init: str) -> None:
    model = tiny_llama()
    before = logits(model)
    adapted = add_lora(model, replace(SETTINGS, init=init), seed=0)
    torch.testing.assert_close(logits(adapted), before, rtol=1e-5, atol=2e-6)
    torch.testing.assert_close(logits(model), before, rtol=1e-5, atol=2e-6)
    assert {name.split(".")[-3] for name, p in adapted.named_parameters() if p.requires_grad} == {"lora_A", "lora_B"}


@pytest.mark.parametrize(
    ("init", "moves_a", "moves_b"),
    [("a_random", False, True), ("b_random", True, False), ("both_random", True, True), ("both_zero", False, False)],
)
def test_the_first_gradient_of_a_matrix_is_zero_where_the_other_is(init: str, moves_a: bool, moves_b: bool) -> None:
    adapted = add_lora(tiny_llama(), replace(SETTINGS, init=init), seed=0)
    adapted(input_ids=IDS, labels=IDS).loss.backward()
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            assert parameter.grad is not None
            assert bool((parameter.grad != 0).any()) == (moves_a if "lora_A" in name else moves_b), name


def test_the_control_never_learns_and_the_others_do() -> None:
    for init in INITIALISATIONS:
        adapted = add_lora(tiny_llama(), replace(SETTINGS, init=init), seed=0)
        before = float(adapted(input_ids=IDS, labels=IDS).loss.detach())
        after = float(trained(adapted)(input_ids=IDS, labels=IDS).loss.detach())
        assert (after < before - 1e-3) == (init != "both_zero"), init


def test_starts_have_the_variance_of_their_rule_and_depend_on_the_seed_alone() -> None:
    wide = LoraSettings(r=64, init="both_random")
    drawn = [dict(lora_layers(add_lora(tiny_llama(), wide, seed=seed))) for seed in (0, 0, 1)]
    name = next(iter(drawn[0]))
    a, b = (getattr(drawn[0][name], f"lora_{part}")["default"].weight for part in "AB")
    assert float(a.detach().var()) == pytest.approx(1 / (3 * a.shape[1]), rel=0.15)
    assert float(b.detach().var()) == pytest.approx(1 / (3 * b.shape[1]), rel=0.15)
    same, other = (found[name].lora_A["default"].weight for found in drawn[1:])
    assert torch.equal(a, same)
    assert not torch.equal(a, other)


def test_the_usual_start_is_pefts() -> None:
    """The same distribution, and from there the same numbers: the adapters are peft's own layers."""
    ours = add_lora(tiny_llama(), SETTINGS, seed=0)
    names = [name.removeprefix("base_model.model.") for name, _ in lora_layers(ours)]
    theirs = get_peft_model(tiny_llama(), LoraConfig(r=4, lora_alpha=8, target_modules=names))
    assert [name for name, _ in lora_layers(theirs)] == [name for name, _ in lora_layers(ours)]
    theirs.load_state_dict(ours.state_dict())
    assert torch.equal(logits(trained(ours)), logits(trained(theirs)))


@pytest.mark.parametrize(("stabilised", "scale"), [(False, 8 / 4), (True, 8 / 4**0.5)])
def test_the_scale(stabilised: bool, scale: float) -> None:
    adapted = add_lora(tiny_llama(), replace(SETTINGS, use_rslora=stabilised), seed=0)
    assert {layer.scaling["default"] for _, layer in lora_layers(adapted)} == {scale}


def test_dropout_acts_in_training_alone() -> None:
    adapted = trained(add_lora(tiny_llama(), replace(SETTINGS, lora_dropout=0.5), seed=0))
    assert torch.equal(logits(adapted), logits(adapted))
    adapted.train()
    assert not torch.equal(logits(adapted), logits(adapted))


@given(r=st.integers(1, 8), alpha=st.floats(0.5, 32), init=st.sampled_from(["a_random", "b_random", "both_random"]))
@settings(max_examples=15, deadline=None)
def test_merging_changes_no_answer_and_unmerging_no_bit(r: int, alpha: float, init: str) -> None:
    adapted = trained(add_lora(tiny_llama(), LoraSettings(r=r, lora_alpha=alpha, init=init), seed=0), steps=2)
    weights = [layer.get_base_layer().weight.clone() for _, layer in lora_layers(adapted)]
    before = logits(adapted)
    fidelity = merge(adapted, lambda: logits(adapted).flatten(0, 1))
    assert fidelity.max_logit_difference < 1e-4
    assert (fidelity.answer_agreement, fidelity.rows, fidelity.dtype) == (1.0, 20, "float32")
    torch.testing.assert_close(logits(adapted), before, rtol=1e-4, atol=1e-5)
    unmerge(adapted)
    for kept, (_, layer) in zip(weights, lora_layers(adapted), strict=True):
        assert torch.equal(layer.get_base_layer().weight, kept)
    assert torch.equal(logits(adapted), before)


def test_half_precision_says_what_rounding_did() -> None:
    adapted = trained(add_lora(tiny_llama(), SETTINGS, seed=0)).to(torch.bfloat16)
    fidelity = merge(adapted, lambda: logits(adapted).flatten(0, 1))
    assert fidelity.dtype == "bfloat16"
    assert fidelity.max_logit_difference > 1e-4
    assert "bfloat16" in str(fidelity)


@pytest.mark.parametrize("family", ["tiny_llava", "tiny_smolvlm"])
@pytest.mark.parametrize("init", ["a_random", "b_random", "both_random"])
def test_peft_loads_what_was_saved_with_identical_logits(
    family: str, init: str, tiny_vlms: ModuleType, tmp_path: Path
) -> None:
    make: Callable[[], Any] = getattr(tiny_vlms, family)
    adapted = trained(add_lora(make(), replace(SETTINGS, init=init, train_projector=True), seed=0))
    save_adapter(adapted, tmp_path / "adapter", base="a tiny model")
    expected = logits(adapted)
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if init == "both_random" else {"rtol": 0, "atol": 0}
    theirs = PeftModel.from_pretrained(make(), tmp_path / "adapter").eval()
    torch.testing.assert_close(logits(theirs), expected, **tolerance)
    ours = load_adapter(make(), tmp_path / "adapter").eval()
    torch.testing.assert_close(logits(ours), expected, **tolerance)
    assert not [p for p in ours.parameters() if p.requires_grad]
    described = json.loads((tmp_path / "adapter" / "lucida.json").read_text())
    assert described["base_hash"] == base_fingerprint(make())
    assert described["settings"]["init"] == init
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_what_peft_saved_is_loaded_and_trained_on(tmp_path: Path) -> None:
    theirs = trained(get_peft_model(tiny_llama(), LoraConfig(r=3, target_modules=["q_proj", "v_proj"])))
    theirs.save_pretrained(tmp_path)
    ours = load_adapter(tiny_llama(), tmp_path, trainable=True)
    assert torch.equal(logits(ours.eval()), logits(theirs))
    assert any(p.requires_grad for p in ours.parameters())
    save_adapter(trained(ours), tmp_path / "again", base="a tiny model")
    assert torch.equal(logits(load_adapter(tiny_llama(), tmp_path / "again").eval()), logits(ours))


def test_a_merged_model_loads_in_transformers_with_identical_answers(tiny_vlms: ModuleType, tmp_path: Path) -> None:
    class NoProcessor:
        def save_pretrained(self, folder: Path) -> None:
            assert folder.is_dir()

    adapted = trained(add_lora(tiny_vlms.tiny_llava(), replace(SETTINGS, train_projector=True), seed=0))
    merge(adapted, lambda: logits(adapted).flatten(0, 1))
    pixels = torch.randn(1, 3, 32, 32)
    ids = torch.tensor([[1, *[4] * 16, 7, 8, 9]])
    asked = {"input_ids": ids, "pixel_values": pixels, "max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    expected = adapted.generate(**asked)
    save_merged(adapted, NoProcessor(), tmp_path / "merged")
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged").eval()
    assert torch.equal(loaded.generate(**asked), expected)
    with pytest.raises(LucidaError, match="not merged"):
        save_merged(adapted, NoProcessor(), tmp_path / "other")


def test_an_adapter_of_another_base_is_refused_before_anything_changes(tmp_path: Path) -> None:
    save_adapter(add_lora(tiny_llama(), SETTINGS, seed=0), tmp_path / "adapter", base="the first")
    other = tiny_llama(seed=1)
    before = logits(other)
    with pytest.raises(LucidaError, match="trained on another base") as raised:
        load_adapter(other, tmp_path / "adapter")
    assert "the first" in str(raised.value)
    assert torch.equal(logits(other), before)
    assert not list(lora_layers(other))


def test_files_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(LucidaError, match="no adapter"):
        load_adapter(tiny_llama(), tmp_path)
    wide = LlamaForCausalLM(
        LlamaConfig(hidden_size=32, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, vocab_size=40)
    )
    get_peft_model(wide, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(tmp_path / "wide")
    with pytest.raises(LucidaError, match="has 16 inputs, the adapter 32"):
        load_adapter(tiny_llama(), tmp_path / "wide")
    (tmp_path / "wide" / "adapter_model.safetensors").rename(tmp_path / "wide" / "adapter_model.bin")
    with pytest.raises(LucidaError, match="pickle"):
        load_adapter(tiny_llama(), tmp_path / "wide")


def test_patterns_and_settings_that_will_not_do_are_one_line(tiny_vlms: ModuleType) -> None:
    for pattern, said in ((r".*\.query", "no layer is called"), (r".*input_layernorm", "matches no linear layer")):
        with pytest.raises(LucidaError, match=said):
            add_lora(tiny_llama(), replace(SETTINGS, target_modules=pattern), seed=0)
    with pytest.raises(LucidaError, match="no projector"):
        add_lora(tiny_llama(), replace(SETTINGS, train_projector=True), seed=0)
    for change in ({"r": 0}, {"lora_dropout": 1.0}, {"lora_alpha": 0}, {"init": "none"}, {"target_modules": "("}):
        with pytest.raises(LucidaError):
            replace(SETTINGS, **change)
    names = [name for name, _ in lora_layers(add_lora(tiny_vlms.tiny_llava(), SETTINGS, seed=0))]
    assert names
    assert not [name for name in names if "vision" in name]


def test_a_fingerprint_sees_training_and_not_adapters() -> None:
    model = tiny_llama()
    before = base_fingerprint(model)
    adapted = trained(add_lora(model, SETTINGS, seed=0))
    assert base_fingerprint(adapted) == base_fingerprint(model) == before
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight += 1e-4
    assert base_fingerprint(model) != before


def test_merging_twice_is_an_error() -> None:
    adapted = add_lora(tiny_llama(), SETTINGS, seed=0)
    with pytest.raises(LucidaError, match="not merged"):
        unmerge(adapted)
    merge(adapted, lambda: logits(adapted).flatten(0, 1))
    with pytest.raises(LucidaError, match="merged already"):
        merge(adapted, lambda: logits(adapted))
    with pytest.raises(LucidaError, match="no adapters"):
        merge(tiny_llama(), lambda: IDS)
