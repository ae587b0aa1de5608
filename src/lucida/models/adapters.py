"""Low-rank adapters (LoRA, Hu et al. 2021) on any Hugging Face model: peft computes, this chooses, starts and checks.

An adapted layer of weight ``W [m, n]`` computes ``W x + s B A x`` with ``A [r, n]``, ``B [m, r]`` and
``s = alpha / r``, or ``alpha / sqrt(r)`` if it is rank-stabilised (Kalajdzievski 2023).
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from lucida.core.config import nearest
from lucida.core.errors import LucidaError
from lucida.core.seeds import derive_seed
from lucida.models.base_fingerprints import base_fingerprint

ATTENTION = r"(?!.*vision).*\.(q|k|v|o)_proj"
"""Queries, keys, values and outputs of attention, but for those of a vision tower."""

PROJECTORS = ("multi_modal_projector", "connector")
ADAPTER = "default"  # peft's name for the one adapter

Start = Callable[[Tensor, Tensor, torch.Generator], None]
"""Fills ``A [r, n]`` and ``B [m, r]`` in place."""


def a_random(a: Tensor, b: Tensor, generator: torch.Generator) -> None:
    """A uniform with variance 1 / (3 n), B = 0: the usual start (Hu et al. 2021; Init[A] of Hayou et al. 2024)."""
    _uniform(a, generator)
    b.zero_()


def b_random(a: Tensor, b: Tensor, generator: torch.Generator) -> None:
    """A = 0, B uniform with variance 1 / (3 r): the other start that leaves the model as it is (Init[B])."""
    a.zero_()
    _uniform(b, generator)


def both_random(a: Tensor, b: Tensor, generator: torch.Generator) -> None:
    """Both; their product is taken from the layer's weight, so that the model starts as it was."""
    _uniform(a, generator)
    _uniform(b, generator)


def both_zero(a: Tensor, b: Tensor, generator: torch.Generator) -> None:
    """The control: each is the other's gradient's factor, so neither ever moves."""
    a.zero_()
    b.zero_()


def _uniform(matrix: Tensor, generator: torch.Generator) -> None:
    """Kaiming's rule with slope sqrt(5), as linear layers and peft start: a bound of 1 / sqrt(inputs)."""
    bound = 1 / math.sqrt(matrix.shape[1])
    matrix.copy_((2 * torch.rand(matrix.shape, generator=generator) - 1) * bound)


INITIALISATIONS: Mapping[str, Start] = {start.__name__: start for start in (a_random, b_random, both_random, both_zero)}
"""How adapters may start, by name."""


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adapters.

    Attributes:
        r: rank.
        lora_alpha: the adapter counts ``lora_alpha / r``.
        lora_dropout: share of an adapter's inputs that is dropped in training.
        target_modules: a regular expression that the whole name of a linear layer must match.
        use_rslora: let it count ``lora_alpha / sqrt(r)``, which keeps the size of its gradients over ranks.
        init: how A and B start: "a_random", "b_random", "both_random", or "both_zero", the control.
        train_projector: train the part between vision tower and language model, too, as a whole.
    """

    r: int = 16
    lora_alpha: float = 32.0
    lora_dropout: float = 0.0
    target_modules: str = ATTENTION
    use_rslora: bool = False
    init: str = "a_random"
    train_projector: bool = False

    def __post_init__(self) -> None:
        allowed = {
            "r": self.r >= 1,
            "lora_alpha": self.lora_alpha > 0,
            "lora_dropout": 0 <= self.lora_dropout < 1,
            "init": self.init in INITIALISATIONS,
        }
        for name, fine in allowed.items():
            if not fine:
                remedy = f"there are {', '.join(INITIALISATIONS)}" if name == "init" else None
                raise LucidaError(f"{name} cannot be {getattr(self, name)!r}", where="LoraSettings", remedy=remedy)
        try:
            re.compile(self.target_modules)
        except re.error as error:
            raise LucidaError(
                f"{self.target_modules!r} is no regular expression: {error}", where="target_modules"
            ) from None


class Origin(NamedTuple):
    """Where an adapter comes from: kept on the adapted model as ``lucida_origin``.

    Attributes:
        settings: of :class:`LoraSettings`, plain.
        seed: of the start.
        base: fingerprint of the model before anything was done to it.
        starts: A and B of each layer at the start, where their product was taken from its weight.
    """

    settings: dict[str, Any]
    seed: int
    base: str
    starts: dict[str, tuple[Tensor, Tensor]]


def add_lora(model: Any, settings: LoraSettings, *, seed: int) -> PeftModel:
    """Adapters on the layers of a model that a pattern names; everything else is frozen.

    Args:
        model: of transformers; its layers are replaced in place.
        settings: the adapters.
        seed: of their start: the same seed gives the same numbers, whatever else is drawn.

    Returns:
        The model as peft wraps it; ``model`` itself computes the same.

    Raises:
        LucidaError: the pattern matches nothing, or layers that have no adapters; there is no projector to train.
    """
    targets = _targets(model, settings.target_modules)
    saved = [_projector(model)] if settings.train_projector else None
    base = base_fingerprint(model)
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=targets,
        use_rslora=settings.use_rslora,
        modules_to_save=saved,
    )
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # between versions of peft and transformers
        adapted = get_peft_model(model, config)
    starts = {}
    with torch.no_grad():
        for name, layer in lora_layers(adapted):
            a, b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
            generator = torch.Generator().manual_seed(derive_seed(seed, "adapter", name))
            INITIALISATIONS[settings.init](a, b, generator)
            if settings.init == "both_random":
                weight = layer.get_base_layer().weight
                weight.copy_((weight.double() - layer.scaling[ADAPTER] * (b.double() @ a.double())).to(weight.dtype))
                starts[name] = (a.detach().clone(), b.detach().clone())
    adapted.lucida_origin = Origin(asdict(settings), seed, base, starts)
    return adapted


def lora_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """The adapted layers by name, in order."""
    yield from ((name, module) for name, module in model.named_modules() if isinstance(module, LoraLayer))


def _targets(model: nn.Module, pattern: str) -> list[str]:
    """The names of linear layers that the pattern matches.

    Raises:
        LucidaError: there are none, or it matches something else.
    """
    modules = dict(model.named_modules())
    linear = [name for name, module in modules.items() if isinstance(module, nn.Linear)]
    found = [name for name in linear if re.fullmatch(pattern, name)]
    if found:
        return found
    others = [name for name in modules if name and re.fullmatch(pattern, name)]
    if others:
        kind = type(modules[others[0]]).__name__
        what = f"{pattern!r} matches no linear layer, but {others[0]} ({kind})"
        raise LucidaError(what, where="target_modules", remedy="name linear layers")
    near = nearest(pattern, linear) or (linear[-1] if linear else "none")
    raise LucidaError(
        f"no layer is called {pattern!r}", where="target_modules", remedy=f"there is for example {near}; see ATTENTION"
    )


def _projector(model: nn.Module) -> str:
    """The name of the projector as peft takes it.

    Raises:
        LucidaError: there is none.
    """
    for name, _ in model.named_modules():
        if name.rsplit(".", 1)[-1] in PROJECTORS:
            return name.rsplit(".", 1)[-1]
    raise LucidaError("there is no projector to train", where="train_projector", remedy="leave it out")
