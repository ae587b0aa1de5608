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
from lucida.models.open_clip_folders import is_open_clip, load_open_clip, open_clip_processor_files
from lucida.models.pooled_layers import pool_last_layer, pooled_picture
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
    model, missing = load_any(name_or_folder, [*_VISION], allow_pickle=allow_pickle, trust=trust_remote_code)
    return vision_part(model, missing, name_or_folder, options)


def vision_part(model: Any, missing: list[str], source: str | Path, options: dict[str, Any]) -> HuggingFaceVision:
    """The vision tower of a loaded model, with the preprocessing its checkpoint describes.

    Args:
        model: as :func:`load_any` returns it, with the names of weights that are ``missing`` from its checkpoint.
        source: where it came from.
        options: of :class:`HuggingFaceVision`; they go before what the checkpoint says.

    Raises:
        LucidaError: it sees no pictures, weights are missing, or its preprocessing is not described.
    """
    part = getattr(model, "vision_model", model) if hasattr(model.config, "vision_config") else model
    if getattr(part, "main_input_name", "") != "pixel_values":
        raise LucidaError(f"a {model.config.model_type} model sees no pictures", where=source)
    pooler_missing = any("pooler" in name or "head." in name for name in missing)
    refuse_missing([name for name in missing if "pooler" not in name and "head." not in name], source)
    files = processor_files(source)
    recipe = preprocessing(files) | options
    for needed in ("image_mean", "image_std"):
        if needed not in recipe:
            raise LucidaError(
                f"no {needed} in preprocessor_config.json",
                where=source,
                remedy="add the file of the original model, or give image_mean and image_std",
            )
    tower = HuggingFaceVision(part, name=str(source), use_pooler=not pooler_missing, **recipe)
    as_said = options.keys() <= {"frozen", "crop_from"} and options.get("crop_from") == cropped_from(files)
    tower.processor_files = files if as_said and not cuts_squares(files) else {}
    return tower


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
    model, missing = load_any(name_or_folder, [*_TEXT], allow_pickle=allow_pickle, trust=trust_remote_code)
    return text_part(model, missing, name_or_folder, frozen=frozen, trust=trust_remote_code)


def text_part(
    model: Any, missing: list[str], source: str | Path, *, frozen: bool = True, trust: bool = False
) -> PretrainedText:
    """The text tower of a loaded model, with the tokenizer beside it; see :func:`load_text_tower`.

    Raises:
        LucidaError: it reads no text, weights are missing, or there is no tokenizer.
    """
    refuse_missing([name for name in missing if "pooler" not in name], source)
    kind = str(model.config.model_type)
    contrastive = hasattr(model.config, "text_config") or kind.endswith("_text_model")
    part = getattr(model, "text_model", model) if hasattr(model.config, "text_config") else model
    part = part.get_encoder() if getattr(part.config, "is_encoder_decoder", False) else part
    if getattr(part, "main_input_name", "") != "input_ids":
        raise LucidaError(f"a {kind} model reads no text", where=source)
    tokenizer = load_tokenizer(source, trust=trust)
    positions = getattr(part.config, "max_position_embeddings", None) or 512
    first = (read_json(source, "1_Pooling/config.json") or {}).get("pooling_mode_cls_token", False)
    return PretrainedText(
        part,
        tokenizer,
        name=str(source),
        max_tokens=min(int(tokenizer.model_max_length), int(positions), 512),
        pooling="model" if contrastive else "first" if first else "mean",
        pad_to_max=kind.startswith("siglip"),
        frozen=frozen,
    )


def load_tokenizer(source: str | Path, *, trust: bool = False) -> Any:
    """The tokenizer beside a model, with a token that pads.

    Raises:
        LucidaError: there is none, or its vocabulary is empty.
    """
    try:
        with quiet_loading():
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=trust)
    except Exception as error:  # each tokenizer class fails in its own way on a missing or broken file
        own = "put the tokenizer files of openai/clip-vit-large-patch14 there, or those the model was trained with"
        remedy = own if is_open_clip(source) else None  # open_clip brings the usual one in its package
        raise LucidaError(f"no tokenizer: {one_line(error)}", where=source, remedy=remedy) from None
    if len(tokenizer) <= len(tokenizer.all_special_ids):  # transformers makes an empty one where the files are missing
        raise LucidaError("no tokenizer: its vocabulary is empty", where=source)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


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
        crop_from: the shorter side is resized to so many pixels and the middle is cut out, as CLIP's own preprocessing
            does; by default the whole picture is resized to a square.
        use_pooler: whether the model's pooled output is trained.
        frozen: no parameter trains. A tower without trainable parameters stays in eval mode whatever its parent does.

    Raises:
        LucidaError: the model does not take pictures of that size, or its output is no grid.
    """

    processor_files: dict[str, Any]  # of the checkpoint, where the tower prepares pictures as they say
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
        crop_from: int | None = None,
        use_pooler: bool = True,
        frozen: bool = True,
    ):
        super().__init__()
        own = side_of(getattr(model.config, "image_size", None))
        self.name, self.model, self.use_pooler = name, model, use_pooler
        self.image_size = image_size or own or 224
        self.mode = "bicubic" if resample == _BICUBIC else "bilinear"
        self.crop_from, self.processor_files = crop_from, {}
        if crop_from is not None and crop_from < self.image_size:
            raise LucidaError(f"{self.image_size} pixels cannot be cut out of {crop_from}", where=name)
        takes_any = "interpolate_pos_encoding" in inspect.signature(model.forward).parameters
        self.interpolate = takes_any and self.image_size != own
        config = {k: v for k, v in model.config.to_dict().items() if k not in ("_name_or_path", "transformers_version")}
        self.settings = json.dumps(config, sort_keys=True, default=str)  # heads, activations: in no weight
        mean, std = torch.tensor([*image_mean]).float(), torch.tensor([*image_std]).float()
        self.register_buffer("scale", (1 / (255 * std)).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("shift", (-mean / std).view(1, -1, 1, 1), persistent=False)
        self._pools_alone = use_pooler and pool_last_layer(model)
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
        """``uint8 [B, H, W, 3]`` to normalised ``float32 [B, 3, image_size, image_size]``.

        Nothing is cut off, unless the tower was told to (``crop_from``). On a processor pictures are resized in whole
        numbers as Pillow does it, within one level; elsewhere in float32, a few levels apart at hard edges.
        """
        x = pixels.permute(0, 3, 1, 2)
        x = x if x.device.type == "cpu" else x.float()  # torch resizes whole numbers on processors alone
        height, width = x.shape[-2:]
        size = (self.image_size, self.image_size)
        if self.crop_from is not None:
            short = min(height, width)
            size = (self.crop_from * height // short, self.crop_from * width // short)
        if (height, width) != size:
            x = F.interpolate(x, size, mode=self.mode, antialias=True, align_corners=False)
        top, left = (size[0] - self.image_size) // 2, (size[1] - self.image_size) // 2
        x = x[..., top : top + self.image_size, left : left + self.image_size].float().clamp(0, 255)
        return x * self.scale.to(x.device) + self.shift.to(x.device)  # batches are prepared before they move

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

    def pooled(self, pixel_values: Tensor) -> Tensor:
        """The pooled features alone, ``[B, pooled_size]``, with less work where the model allows it."""
        if not self._pools_alone:
            return self(pixel_values).pooled
        return pooled_picture(self.model, pixel_values, interpolate_pos_encoding=self.interpolate)

    def _tokens_apart(self, tokens: int) -> int:
        """How many class and register tokens come before the places."""
        patch = side_of(getattr(self.model.config, "patch_size", None))
        places = (self.image_size // patch) ** 2 if patch else 0
        if 0 < places <= tokens:
            return tokens - places
        for apart in (0, 1):  # models that merge patches, and those that do not tell their patch size
            if math.isqrt(tokens - apart) ** 2 == tokens - apart:
                return apart
        raise ValueError(f"{tokens} tokens are no square grid")


def load_any(
    source: str | Path, built_in: Sequence[str] = (), *, allow_pickle: bool = False, trust: bool = False
) -> tuple[Any, list[str]]:
    """A Hugging Face model, or the model of an open_clip folder in Hugging Face's shape; see :func:`load_model`."""
    if is_open_clip(source):
        return load_open_clip(Path(source)), []
    return load_model(source, built_in=built_in, allow_pickle=allow_pickle, trust=trust)


def _known(kind: type, options: dict[str, Any]) -> dict[str, Any]:
    """``options``, all of which ``kind`` takes by keyword."""
    taken = [name for name in inspect.signature(kind).parameters if name not in ("model", "name", "use_pooler")]
    for name in options:
        if name not in taken:
            near = nearest(name, taken)
            remedy = f"did you mean {near!r}?" if near else f"there are: {', '.join(taken)}"
            raise LucidaError(f"unknown option {name!r} of a vision tower", remedy=remedy)
    return options


def processor_files(source: str | Path) -> dict[str, Any]:
    """How pictures are prepared for a checkpoint, as its JSON says: the content of each file by its name.

    Raises:
        LucidaError: a file is broken, or an open_clip folder prepares pictures in a way that CLIP's processor has not.
    """
    if is_open_clip(source):
        return open_clip_processor_files(source)
    names = ("preprocessor_config.json", "processor_config.json")  # newer checkpoints keep all processors in the second
    found = {name: read_json(source, name) for name in names}
    return {name: content for name, content in found.items() if content is not None}


def preprocessing(files: dict[str, Any]) -> dict[str, Any]:
    """Mean, deviation, size and resampling, as far as :func:`processor_files` tell them: options of a vision tower."""
    found = image_processor(files)
    recipe: dict[str, Any] = {k: found[k] for k in ("image_mean", "image_std") if found.get(k) is not None}
    if found.get("do_normalize") is False:
        recipe |= {"image_mean": (0.0, 0.0, 0.0), "image_std": (1.0, 1.0, 1.0)}
    if isinstance(found.get("resample"), int):
        recipe["resample"] = found["resample"]
    side = side_of(found.get("crop_size") if is_cropped(found) else found.get("size"))
    return recipe | ({"image_size": side} if side else {})


def is_cropped(processor: dict[str, Any]) -> bool:
    """Whether an image processor cuts the middle out of a picture."""
    return processor.get("crop_size") is not None and bool(processor.get("do_center_crop", True))


def cropped_from(files: dict[str, Any]) -> int | None:
    """To how many pixels :func:`processor_files` resize the shorter side before the middle is cut out.

    ``None`` if nothing is cut off, or pictures are made square first (:func:`cuts_squares`).
    """
    found = image_processor(files)
    size = found.get("size")
    squared = isinstance(size, dict) and "shortest_edge" not in size
    return side_of(size) if is_cropped(found) and not squared else None


def cuts_squares(files: dict[str, Any]) -> bool:
    """Whether pictures are made square and then cut, which no tower here does."""
    found = image_processor(files)
    squared = is_cropped(found) and cropped_from(files) is None
    return squared and side_of(found.get("size")) != side_of(found["crop_size"])


def image_processor(files: dict[str, Any]) -> dict[str, Any]:
    """The one of :func:`processor_files` that counts; empty if there is none."""
    own = files.get("preprocessor_config.json")
    return own if own is not None else files.get("processor_config.json", {}).get("image_processor", {})


def side_of(size: Any) -> int | None:
    """One side in pixels of a number, a pair, or a mapping of height or shortest_edge."""
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge")
    if isinstance(size, list | tuple):
        size = size[0] if size else None
    return int(size) if isinstance(size, int | float) else None
