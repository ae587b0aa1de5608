"""Towers by name: the built-in ones, and any Hugging Face vision or text model from a folder or the hub.

Only safetensors are read and only code of transformers itself runs, unless the caller allows more.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoTokenizer

from lucida.core.config import nearest
from lucida.core.errors import LucidaError
from lucida.models.checkpoint_folders import load_model, one_line, read_json, refuse_missing
from lucida.models.efficientnet import EfficientNetLite0
from lucida.models.text_towers import MiniLM, PretrainedText, quiet_loading
from lucida.models.towers import TextTower, VisionFeatures, VisionTower

_VISION: dict[str, Callable[..., Any]] = {"efficientnet-lite0": EfficientNetLite0}
_TEXT: dict[str, Callable[..., Any]] = {"minilm": MiniLM}
_BICUBIC = 3  # PIL's number, as preprocessor_config.json writes it


def load_vision_tower(
    name_or_folder: str | Path, *, allow_pickle: bool = False, trust_remote_code: bool = False, **options: Any
) -> VisionTower:
    """A vision tower: ``"efficientnet-lite0"``, or a Hugging Face model by its folder or hub name.

    Of a model of pictures and texts (CLIP, SigLIP) the vision part is taken.

    Args:
        name_or_folder: a folder is looked for before the hub is asked.
        allow_pickle: read ``.bin`` weights too; a pickle may run anything.
        trust_remote_code: run the Python files of the checkpoint.
        options: of :class:`~lucida.models.efficientnet.EfficientNetLite0` or :class:`HuggingFaceVision`.

    Raises:
        LucidaError: there is no such model, it is broken, it sees no pictures, it needs pickle or its own code, its
            preprocessing is not described, or an option is unknown.
    """
    if str(name_or_folder) in _VISION:
        return _VISION[str(name_or_folder)](**_known(EfficientNetLite0, options))
    options = _known(HuggingFaceVision, options)
    model, missing = load_model(name_or_folder, built_in=[*_VISION], allow_pickle=allow_pickle, trust=trust_remote_code)
    part = getattr(model, "vision_model", model) if hasattr(model.config, "vision_config") else model
    if getattr(part, "main_input_name", "") != "pixel_values":
        raise LucidaError(f"a {model.config.model_type} model sees no pictures", where=name_or_folder)
    pooler_missing = any("pooler" in name or "head." in name for name in missing)
    refuse_missing([name for name in missing if "pooler" not in name and "head." not in name], name_or_folder)
    recipe = _preprocessing(name_or_folder) | options
    for needed in ("image_mean", "image_std"):
        if needed not in recipe:
            raise LucidaError(
                f"no {needed} in preprocessor_config.json",
                where=name_or_folder,
                remedy="add the file of the original model, or give image_mean and image_std",
            )
    return HuggingFaceVision(part, name=str(name_or_folder), use_pooler=not pooler_missing, **recipe)


def load_text_tower(
    name_or_folder: str | Path, *, allow_pickle: bool = False, trust_remote_code: bool = False, frozen: bool = True
) -> TextTower:
    """A text tower: ``"minilm"``, or a Hugging Face model by its folder or hub name.

    Of a model of pictures and texts (CLIP, SigLIP) the text part is taken, with its own pooling; of an encoder and
    decoder the encoder. Otherwise a text is the mean over its tokens, or the first token's state where a
    sentence-transformers folder says so.

    Args:
        name_or_folder: a folder is looked for before the hub is asked.
        allow_pickle: read ``.bin`` weights too; a pickle may run anything.
        trust_remote_code: run the Python files of the checkpoint.
        frozen: no parameter trains.

    Raises:
        LucidaError: there is no such model, it is broken, it reads no text, or it needs pickle or its own code.
    """
    if str(name_or_folder) in _TEXT:
        return _TEXT[str(name_or_folder)](frozen=frozen)
    model, missing = load_model(name_or_folder, built_in=[*_TEXT], allow_pickle=allow_pickle, trust=trust_remote_code)
    refuse_missing([name for name in missing if "pooler" not in name], name_or_folder)
    kind = str(model.config.model_type)
    contrastive = hasattr(model.config, "text_config") or kind.endswith("_text_model")
    part = getattr(model, "text_model", model) if hasattr(model.config, "text_config") else model
    part = part.get_encoder() if getattr(part.config, "is_encoder_decoder", False) else part
    if getattr(part, "main_input_name", "") != "input_ids":
        raise LucidaError(f"a {kind} model reads no text", where=name_or_folder)
    try:
        with quiet_loading():
            tokenizer = AutoTokenizer.from_pretrained(name_or_folder, trust_remote_code=trust_remote_code)
    except Exception as error:  # each tokenizer class fails in its own way on a missing or broken file
        raise LucidaError(f"no tokenizer: {one_line(error)}", where=name_or_folder) from None
    if len(tokenizer) <= len(tokenizer.all_special_ids):  # transformers makes an empty one where the files are missing
        raise LucidaError("no tokenizer: its vocabulary is empty", where=name_or_folder)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    positions = getattr(part.config, "max_position_embeddings", None) or 512
    first = (read_json(name_or_folder, "1_Pooling/config.json") or {}).get("pooling_mode_cls_token", False)
    return PretrainedText(
        part,
        tokenizer,
        name=str(name_or_folder),
        max_tokens=min(int(tokenizer.model_max_length), int(positions), 512),
        pooling="model" if contrastive else "first" if first else "mean",
        pad_to_max=kind.startswith("siglip"),
        frozen=frozen,
    )


class HuggingFaceVision(nn.Module):
    """A Hugging Face vision model as a :class:`~lucida.models.towers.VisionTower`.

    ``pooled`` is what the model itself pools if its checkpoint holds the weights for that, else the class token, else
    the mean over places. ``grid`` leaves class and register tokens out.

    Args:
        model: called with ``pixel_values``; transformer or convolutional net.
        name: of the tower.
        image_mean: of each channel, for values from 0 to 1.
        image_std: of each channel.
        image_size: side in pixels; the model's own if ``None``.
        resample: PIL's number; 3 is bicubic, all others are taken as bilinear.
        use_pooler: whether the model's pooled output is trained.
        frozen: no parameter trains. A tower without trainable parameters stays in eval mode whatever its parent does.

    Raises:
        LucidaError: the model does not take pictures of that size, or its output is no grid.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        model: Any,
        *,
        name: str,
        image_mean: Sequence[float],
        image_std: Sequence[float],
        image_size: int | None = None,
        resample: int = 2,
        use_pooler: bool = True,
        frozen: bool = True,
    ):
        super().__init__()
        own = _side(getattr(model.config, "image_size", None))
        self.name, self.model, self.use_pooler = name, model, use_pooler
        self.image_size = image_size or own or 224
        self.mode = "bicubic" if resample == _BICUBIC else "bilinear"
        takes_any = "interpolate_pos_encoding" in inspect.signature(model.forward).parameters
        self.interpolate = takes_any and self.image_size != own
        config = {k: v for k, v in model.config.to_dict().items() if k not in ("_name_or_path", "transformers_version")}
        self.settings = json.dumps(config, sort_keys=True, default=str)  # heads, activations: in no weight
        mean, std = torch.tensor([*image_mean]).float(), torch.tensor([*image_std]).float()
        self.register_buffer("scale", (1 / (255 * std)).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("shift", (-mean / std).view(1, -1, 1, 1), persistent=False)
        self.requires_grad_(not frozen)
        self.eval()
        try:
            with torch.inference_mode():
                seen = self(torch.zeros(1, 3, self.image_size, self.image_size))
        except (RuntimeError, ValueError, TypeError) as error:
            what = f"the model does not take pictures of {self.image_size} x {self.image_size}: {one_line(error)}"
            raise LucidaError(what, where=name) from None
        self.pooled_size = seen.pooled.shape[1]
        self.grid_tokens, self.hidden_size = seen.grid.shape[1:]

    def train(self, mode: bool = True) -> HuggingFaceVision:
        """Dropout and batch statistics only where something can train."""
        return super().train(mode and any(p.requires_grad for p in self.parameters()))

    def preprocess(self, pixels: Tensor) -> Tensor:
        """``uint8 [B, H, W, 3]`` to normalised ``float32 [B, 3, image_size, image_size]``, nothing cut off."""
        x = pixels.permute(0, 3, 1, 2).float()
        size = (self.image_size, self.image_size)
        if x.shape[-2:] != size:
            x = F.interpolate(x, size, mode=self.mode, antialias=True, align_corners=False).clamp(0, 255)
        return x * self.scale + self.shift

    def forward(self, pixel_values: Tensor) -> VisionFeatures:
        """Pooled features and grid of preprocessed pictures."""
        extra = {"interpolate_pos_encoding": True} if self.interpolate else {}
        output = self.model(pixel_values=pixel_values, **extra)
        states = output.last_hidden_state
        pooled = getattr(output, "pooler_output", None) if self.use_pooler else None
        if states.ndim == 4:  # convolutional: [B, C, h, w]
            grid, first = states.flatten(2).transpose(1, 2), None
        else:
            apart = self._tokens_apart(states.shape[1])
            grid, first = states[:, apart:], states[:, 0] if apart else None
        if pooled is None:
            pooled = grid.mean(dim=1) if first is None else first
        return VisionFeatures(pooled.flatten(1), grid)

    def _tokens_apart(self, tokens: int) -> int:
        """How many class and register tokens come before the places."""
        patch = _side(getattr(self.model.config, "patch_size", None))
        places = (self.image_size // patch) ** 2 if patch else 0
        if 0 < places <= tokens:
            return tokens - places
        for apart in (0, 1):  # models that merge patches, and those that do not tell their patch size
            if math.isqrt(tokens - apart) ** 2 == tokens - apart:
                return apart
        raise ValueError(f"{tokens} tokens are no square grid")


def _known(kind: type, options: dict[str, Any]) -> dict[str, Any]:
    """``options``, all of which ``kind`` takes by keyword."""
    taken = [name for name in inspect.signature(kind).parameters if name not in ("model", "name", "use_pooler")]
    for name in options:
        if name not in taken:
            near = nearest(name, taken)
            remedy = f"did you mean {near!r}?" if near else f"there are: {', '.join(taken)}"
            raise LucidaError(f"unknown option {name!r} of a vision tower", remedy=remedy)
    return options


def _preprocessing(source: str | Path) -> dict[str, Any]:
    """Mean, deviation, size and resampling, as far as the checkpoint's JSON tells them."""
    found = read_json(source, "preprocessor_config.json")
    if found is None:  # newer checkpoints keep all processors in one file
        found = (read_json(source, "processor_config.json") or {}).get("image_processor", {})
    recipe: dict[str, Any] = {k: found[k] for k in ("image_mean", "image_std") if found.get(k) is not None}
    if found.get("do_normalize") is False:
        recipe |= {"image_mean": (0.0, 0.0, 0.0), "image_std": (1.0, 1.0, 1.0)}
    if isinstance(found.get("resample"), int):
        recipe["resample"] = found["resample"]
    cropped = found.get("crop_size") is not None and found.get("do_center_crop", True)
    side = _side(found.get("crop_size") if cropped else found.get("size"))
    return recipe | ({"image_size": side} if side else {})


def _side(size: Any) -> int | None:
    """One side in pixels of a number, a pair, or a mapping of height or shortest_edge."""
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge")
    if isinstance(size, list | tuple):
        size = size[0] if size else None
    return int(size) if isinstance(size, int | float) else None
