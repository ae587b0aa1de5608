"""Several sequences in one row without padding: linear layers see tokens alone, each sequence attends to itself.

Rows of a batch differ in length, and a padded batch pays for padding in every layer. Here all tokens of a batch stand
in one row ``[1, N]``; only attention, which is cheap beside the linear layers where sequences are short, spreads them
over rows of equal length, padded at the end. A causal token never looks at what comes after it, so no mask is needed
and the fused kernel applies. Values and gradients are those of the padded batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "lucida_packed"
_LAYOUT = "packed_layout"


@dataclass(frozen=True, eq=False)
class PackedLayout:
    """Where the tokens of a packed row stand in a padded batch.

    Attributes:
        spread: ``int64 [B · L]``, the token in each place of the padded batch; 0 where there is none.
        gather: ``int64 [N]``, the place of each token.
        rows: B.
    """

    spread: Tensor
    gather: Tensor
    rows: int

    @classmethod
    def of(cls, lengths: Sequence[int] | Tensor) -> PackedLayout:
        """The layout of sequences of these lengths, one behind the other.

        >>> layout = PackedLayout.of([2, 1])
        >>> layout.spread.tolist(), layout.gather.tolist()
        ([0, 1, 2, 0], [0, 1, 2])
        """
        counts = torch.as_tensor(lengths)
        longest, total = int(counts.max()), int(counts.sum())
        row = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
        start = counts.cumsum(0) - counts
        gather = row * longest + torch.arange(total, device=counts.device) - start[row]
        spread = torch.zeros(len(counts) * longest, dtype=torch.int64, device=counts.device)
        spread[gather] = torch.arange(total, device=counts.device)
        return cls(spread, gather, len(counts))


def packed_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Attention as Hugging Face's layers call it; ``packed_layout`` among the options says where sequences lie.

    Without a layout, as while answers are generated, it is the usual ``sdpa``.

    Args:
        query, key, value: ``[1, heads, N, d]``; there may be fewer heads of keys and values.

    Returns:
        ``[1, N, heads, d]``.
    """
    layout: PackedLayout | None = options.pop(_LAYOUT, None)
    if layout is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    groups = query.shape[1] // key.shape[1]
    key, value = (repeat_kv(part, groups) if groups > 1 else part for part in (key, value))

    def rows(part: Tensor) -> Tensor:
        """``[1, heads, N, d]`` as ``[B, heads, L, d]``."""
        return part[0].transpose(0, 1).index_select(0, layout.spread).unflatten(0, (layout.rows, -1)).transpose(1, 2)

    dropout = float(options.get("dropout", 0.0))
    out = F.scaled_dot_product_attention(
        rows(query), rows(key), rows(value), is_causal=True, scale=options.get("scaling"), dropout_p=dropout
    )
    return out.transpose(1, 2).flatten(0, 1).index_select(0, layout.gather)[None], None


AttentionInterface.register(NAME, packed_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


@contextmanager
def packed(decoder: Any) -> Iterator[None]:
    """Let a decoder's layers attend by :func:`packed_attention`; its own way returns afterwards."""
    before = decoder.config._attn_implementation
    decoder.config._attn_implementation = NAME
    try:
        yield
    finally:
        decoder.config._attn_implementation = before


def packed_states(decoder: Any, embedded: Tensor, lengths: Tensor) -> Tensor:
    """The last hidden states ``[1, N, H]`` of sequences of these lengths, ``[1, N, H]``, each from position 0."""
    layout = PackedLayout.of(lengths)
    places = layout.gather % (len(layout.spread) // layout.rows)
    no_mask = embedded.new_empty(1, 1, 0, 0)  # a mask of four dimensions is taken as it is, so none is made
    with packed(decoder):
        return decoder(
            inputs_embeds=embedded,
            position_ids=places[None],
            attention_mask=no_mask,
            use_cache=False,
            **{_LAYOUT: layout},
        ).last_hidden_state
