"""The dual encoder (CLIP, Radford et al. 2021): two towers, two heads, one space, one learned temperature."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lucida.core.errors import LucidaError

MAX_LOGIT_SCALE = 100.0
"""The multiplier is clamped here, as in CLIP: beyond it the softmax saturates and its gradient vanishes."""


class _AtMost(torch.autograd.Function):
    """A number, or the bound it is beyond; there its gradient still leads back, though not further out.

    CLIP sets the parameter itself back after each step. A plain clamp would hold it for ever: OpenAI's weights begin
    at the bound, and a step beyond it would be the last.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, bound: float) -> Tensor:
        """The lesser of both."""
        return x.clamp(max=bound)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        """Whether it is beyond."""
        x, bound = inputs
        ctx.save_for_backward(x >= bound)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Descent goes against the gradient: at the bound it may go down alone."""
        (beyond,) = ctx.saved_tensors
        return torch.where(beyond, grads[0].clamp(min=0), grads[0]), None


@dataclass(frozen=True)
class HeadConfig:
    """A head: standardise, then a linear map plus a two-layer perceptron, then length one.

    Attributes:
        embedding_size: of the common space.
        hidden_size: of the perceptron.
        dropout: on its input and its hidden units.
    """

    embedding_size: int = 512
    hidden_size: int = 1024
    dropout: float = 0.3


class Head(nn.Module):
    """Tower features to the common space.

    The linear path keeps what frozen towers know already; the perceptron bends it where the pairs say so.

    Args:
        input_size: length of a tower's vector.
        config: sizes and dropout.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, input_size: int, config: HeadConfig):
        super().__init__()
        self.register_buffer("mean", torch.zeros(input_size))
        self.register_buffer("deviation", torch.ones(input_size))
        self.norm = nn.LayerNorm(input_size, elementwise_affine=False)
        self.linear = nn.Linear(input_size, config.embedding_size)
        self.perceptron = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(input_size, config.hidden_size),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden_size, config.embedding_size),
        )

    @torch.no_grad()
    def standardize(self, features: Tensor) -> None:
        """Take mean and deviation of each input from training features ``[N, input_size]``."""
        self.mean.copy_(features.mean(dim=0))
        self.deviation.copy_(features.std(dim=0) + 1e-3)

    def forward(self, features: Tensor) -> Tensor:
        """``[B, input_size]`` to ``[B, embedding_size]``, rows of length one."""
        # A channel that is almost always silent in training may be thousands of deviations loud once.
        x = self.norm(((features - self.mean) / self.deviation).clamp(-5, 5))
        return F.normalize(self.linear(x) + self.perceptron(x), dim=-1)


class Projection(nn.Module):
    """A tower's own step into the common space, as pretrained models have it, then length one.

    Args:
        linear: one matrix (CLIP); ``None`` where the tower's pooled vector is in the common space already (SigLIP).
    """

    def __init__(self, linear: nn.Linear | None = None):
        super().__init__()
        self.linear = linear

    def forward(self, features: Tensor) -> Tensor:
        """``[B, input_size]`` to ``[B, embedding_size]``, rows of length one."""
        return F.normalize(features if self.linear is None else self.linear(features), dim=-1)


class DualEncoder(nn.Module):
    """Pictures and texts in one space, where a picture lies near the texts that are true of it.

    Towers may be left out: then both encoders take precomputed ``features``.

    Args:
        image_head: for the vision tower's pooled features: a :class:`Head` or a :class:`Projection`.
        text_head: for the text tower's features.
        vision_tower: pictures to features (:class:`~lucida.models.towers.VisionTower`).
        text_tower: texts to features (:class:`~lucida.models.towers.TextTower`).
        initial_temperature: the softmax starts with logits of cosine / temperature.
        logit_bias: added to every logit and learned, for the sigmoid loss; ``None`` for none.
        max_logit_scale: the multiplier is clamped there; ``math.inf`` for no clamp, as SigLIP is trained.
    """

    vision_tower: Any
    text_tower: Any
    image_head: Any
    text_head: Any
    logit_bias: nn.Parameter | None

    def __init__(
        self,
        image_head: nn.Module,
        text_head: nn.Module,
        *,
        vision_tower: nn.Module | None = None,
        text_tower: nn.Module | None = None,
        initial_temperature: float = 0.07,
        logit_bias: float | None = None,
        max_logit_scale: float = MAX_LOGIT_SCALE,
    ):
        super().__init__()
        self.vision_tower, self.text_tower = vision_tower, text_tower
        self.image_head, self.text_head = image_head, text_head
        self.log_logit_scale = nn.Parameter(torch.tensor(-math.log(initial_temperature)))
        self.logit_bias = None if logit_bias is None else nn.Parameter(torch.tensor(float(logit_bias)))
        self.max_logit_scale = max_logit_scale

    @property
    def logit_scale(self) -> Tensor:
        """The multiplier of the cosines, a scalar of at most ``max_logit_scale``."""
        at_most: Tensor = _AtMost.apply(self.log_logit_scale, math.log(self.max_logit_scale))
        return at_most.exp()

    def encode_image(self, pixel_values: Tensor | None = None, *, features: Tensor | None = None) -> Tensor:
        """``pixel_values [B, 3, H, W]``, or the tower's pooled ``features [B, D]``, to ``[B, d]`` of length one.

        Raises:
            LucidaError: neither was given, or there is no tower for pixels.
        """
        if features is None:
            if pixel_values is None or self.vision_tower is None:
                raise LucidaError("encode_image needs features, or pixel_values and a vision tower")
            features = self.tower_features(pixel_values)
        return self.image_head(features)

    def tower_features(self, pixel_values: Tensor) -> Tensor:
        """``pixel_values [B, 3, H, W]`` to what the vision tower hands to the head, ``[B, D]``."""
        tower = self.vision_tower
        pooled: Tensor = tower.pooled(pixel_values) if hasattr(tower, "pooled") else tower(pixel_values).pooled
        return pooled

    def encode_text(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        features: Tensor | None = None,
    ) -> Tensor:
        """``input_ids, attention_mask [B, L]``, or the tower's ``features [B, D]``, to ``[B, d]`` of length one.

        Raises:
            LucidaError: neither was given, or there is no tower for tokens.
        """
        if features is None:
            if input_ids is None or self.text_tower is None:
                raise LucidaError("encode_text needs features, or input_ids and a text tower")
            features = self.text_tower(input_ids, attention_mask)
        return self.text_head(features)

    def forward(self, image: Mapping[str, Tensor], text: Mapping[str, Tensor]) -> Tensor:
        """Logits ``[B_image, B_text]`` of every picture with every text."""
        logits = self.logit_scale * self.encode_image(**image) @ self.encode_text(**text).T
        return logits if self.logit_bias is None else logits + self.logit_bias


def seeded_heads(
    image_size: int,
    text_size: int,
    config: HeadConfig,
    seed: int,
    *,
    initial_temperature: float = 0.07,
    logit_bias: float | None = None,
) -> DualEncoder:
    """Two fresh heads for vectors of these lengths; their weights depend on ``seed`` and nothing that ran before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DualEncoder(
            Head(image_size, config),
            Head(text_size, config),
            initial_temperature=initial_temperature,
            logit_bias=logit_bias,
        )


def with_examples(class_features: Tensor, examples: Tensor, example_class: Tensor, *, weight: float = 1.0) -> Tensor:
    """Classes by their names and by example pictures, in the common space.

    ``normalize(name + weight · mean(examples))``: the text says what a thing is called, the pictures what it looks like
    (class means as in prototypical networks, Snell et al. 2017). A class without example keeps its name's vector.

    Args:
        class_features: ``[C, d]`` from the names, length one.
        examples: ``[N, d]`` picture features, length one.
        example_class: ``int64 [N]``, the class of each.
        weight: of the pictures; 0 leaves names alone.

    >>> names = torch.eye(2)
    >>> with_examples(names, torch.tensor([[0.0, 1.0]]), torch.tensor([0]))
    tensor([[0.7071, 0.7071],
            [0.0000, 1.0000]])
    """
    total = torch.zeros_like(class_features).index_add_(0, example_class, examples)
    means = F.normalize(total, dim=-1)  # the zero vector where a class has no example
    return F.normalize(class_features + weight * means, dim=-1)
