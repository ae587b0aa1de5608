"""Ways to join pictures to a language model, behind one value of the configuration."""

from __future__ import annotations

from typing import Any, Literal, get_args

from torch import nn

from lucida.models.gated_cross_attention import GatedCrossAttention
from lucida.models.projectors import MlpProjector, PatchProjector, WordProjector
from lucida.models.resampler import Resampler

Join = Literal["words", "mlp", "resampler", "gated-cross-attention", "early-fusion"]
"""How a picture reaches the language model:

- ``words``: each place as a mixture of the language model's own words, which can be named and asked for support;
- ``mlp``: each place through a two-layer perceptron;
- ``resampler``: a few learned queries that read all places;
- ``gated-cross-attention``: layers between those of the language model look at the places, none is in the sequence;
- ``early-fusion``: raw patches, one linear map, no vision tower: one transformer over patches and words.
"""

WAYS: tuple[Join, ...] = get_args(Join)

MATCH = 1.2  # docs/notes/multimodal-llm.md


def join_to(language_model: Any, join: Join, *, vision_size: int, tokens: int, queries: int = 16) -> nn.Module:
    """The fresh part between a vision tower and a language model, drawn from torch's global stream.

    Args:
        language_model: a causal language model of Hugging Face.
        join: the way.
        vision_size: channels of a place.
        tokens: places.
        queries: of a resampler.

    Returns:
        A module with ``image_tokens``, how many tokens stand for a picture in the sequence; where they take the words'
        place, they start about as long as words are.
    """
    words = language_model.get_input_embeddings().weight.detach()
    length = float(words.norm(dim=1).mean())
    sizes = (vision_size, words.shape[1], tokens)
    if join == "resampler":
        resampler = Resampler(*sizes, queries=queries, word_length=length)
        resampler.start_apart(match=MATCH, copy=1.0)
        return resampler
    if join == "gated-cross-attention":
        gated = GatedCrossAttention(*sizes, layers=int(language_model.config.get_text_config().num_hidden_layers))
        gated.start_alike(match=MATCH, copy=0.4)
        return gated
    projectors = {"words": WordProjector, "mlp": MlpProjector, "early-fusion": PatchProjector}
    return projectors[join](*sizes, word_length=length)


def no_words(join: str) -> str:
    """Why no answer is grounded where places are not written in words."""
    return f"pictures are joined by {join!r}: their places stand for no words (--language.join words has such places)"
