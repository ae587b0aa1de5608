"""Language models: a small Llama from its configuration, or any Hugging Face causal language model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from lucida.core.errors import LucidaError
from lucida.models.starts import pass_on, read_alike
from lucida.models.text_towers import quiet_loading


@dataclass(frozen=True)
class SmallLlama:
    """A Llama that a laptop trains in minutes.

    Attributes:
        hidden_size: of a token's vector, a multiple of ``head_size``.
        layers: transformer blocks.
        head_size: of an attention head; with rotary positions an even number.
        heads: of a layer; in the first, as many of them as the hidden size holds start out alike (``match``).
        match: how strongly queries and keys of the first layer start out alike (mimetic initialisation, Trockman &
            Kolter 2023, arXiv:2305.09828): a word then looks first at image tokens that resemble it. Later layers start
            as usual: alike there too, every token would look at itself, and what a noun has found would not reach the
            answer. 0 for the usual start everywhere.
        copy: how much of what they attend to later layers start out passing on (of the same source): a name is then
            said by looking at it. 0 for the usual start.
        rope_theta: base of the rotary positions; large, so that likeness survives the distance to the picture.
    """

    hidden_size: int = 128
    layers: int = 2
    head_size: int = 64
    heads: int = 2
    match: float = 0.85
    copy: float = 0.4
    rope_theta: float = 1e7

    def build(self, tokenizer: Any, *, max_length: int = 2048) -> LlamaForCausalLM:
        """The model with fresh weights, drawn from torch's global stream.

        Raises:
            LucidaError: the hidden size is no multiple of the head size.
        """
        if self.hidden_size % self.head_size:
            raise LucidaError(f"hidden_size {self.hidden_size} is no multiple of head_size {self.head_size}")
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=self.hidden_size,
            intermediate_size=8 * self.hidden_size // 3 // 16 * 16,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            head_dim=self.head_size,
            max_position_embeddings=max_length,
            tie_word_embeddings=True,
            rope_parameters={"rope_type": "default", "rope_theta": self.rope_theta},
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        model = LlamaForCausalLM(config)
        with torch.no_grad():
            embedding = model.get_input_embeddings().weight
            embedding.copy_(nn.functional.normalize(torch.randn_like(embedding), dim=-1))
            if self.match:
                first = model.model.layers[0].self_attn
                heads = self.hidden_size // self.head_size
                read_alike(
                    first.q_proj.weight, first.k_proj.weight, heads=heads, head_size=self.head_size, strength=self.match
                )
            for layer in model.model.layers[1:]:
                pass_on(layer.self_attn.v_proj.weight, layer.self_attn.o_proj.weight, strength=self.copy)
        return model


def load_language_model(folder: str | Path) -> Any:
    """A Hugging Face causal language model from a local folder or, by name, from the hub; safetensors only.

    Raises:
        LucidaError: there is none, or its weights need pickle.
    """
    try:
        with quiet_loading():
            model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, dtype=torch.float32)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise LucidaError(f"cannot load the language model: {lines[0]}", where=folder) from None
    unlike = [name for name in _LOGIT_SETTINGS if getattr(model.config, name, None) not in (None, 1, 1.0)]
    if getattr(model.get_output_embeddings(), "bias", None) is not None:
        unlike.append("a bias of the output layer")
    if unlike:
        raise LucidaError(
            f"this language model's logits need {unlike[0]}, which training here leaves out", where=folder
        )
    return model


_LOGIT_SETTINGS = ("final_logit_softcapping", "logits_scaling", "logit_scale")
