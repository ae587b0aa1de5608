"""CLIP and SigLIP checkpoints as dual encoders with all they were trained with, and back into folders others load.

Read are Hugging Face folders (and hub names) of ``CLIPModel`` and ``SiglipModel`` and open_clip folders; the dual
encoder has the checkpoint's own towers, projections, temperature, bias, preprocessing and tokenizer. What is written,
transformers or open_clip load without lucida.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoModel, CLIPConfig, SiglipConfig

from lucida.core.errors import LucidaError, NonFiniteError
from lucida.models.checkpoint_folders import read_json, refuse_missing
from lucida.models.dual_encoder import MAX_LOGIT_SCALE, DualEncoder, Projection
from lucida.models.hugging_face import (
    HuggingFaceVision,
    cropped_from,
    cuts_squares,
    load_any,
    processor_files,
    text_part,
    vision_part,
)
from lucida.models.open_clip_folders import check_weights, save_open_clip
from lucida.models.text_towers import PretrainedText, quiet_loading
from lucida.models.weights import broken_file

Layout = Literal["huggingface", "open_clip"]
LAYOUTS: tuple[Layout, ...] = ("huggingface", "open_clip")

_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}


def load_dual_encoder(source: str | Path, *, frozen: bool = False, allow_pickle: bool = False) -> DualEncoder:
    """A CLIP or SigLIP checkpoint as a dual encoder, in float32; its logits are those of transformers and open_clip.

    Pictures are prepared as the checkpoint says (CLIP cuts the middle out), by ``encoder.vision_tower.preprocess``,
    texts by ``encoder.text_tower.tokenize``. The multiplier of CLIP is clamped at 100, or where the checkpoint has it
    if that is higher; that of a model with a bias (SigLIP) is not clamped.

    Args:
        source: a Hugging Face folder or hub name of ``CLIPModel`` or ``SiglipModel``, or an open_clip folder with
            ``open_clip_config.json``, safetensors and the files of its tokenizer.
        frozen: the towers do not train; projections, temperature and bias do.
        allow_pickle: read ``.bin`` weights too; a pickle may run anything.

    Raises:
        LucidaError: there is no such model, it is broken or of another family, or its preprocessing or tokenizer is
            missing.
    """
    model, missing = load_any(source, allow_pickle=allow_pickle)
    if model.config.model_type not in ("clip", "siglip"):
        remedy = "whole checkpoints of CLIP and SigLIP are"
        what = f"a {model.config.model_type} model is not read as a dual encoder"
        raise LucidaError(what, where=source, remedy=remedy)
    refuse_missing(missing, source)
    if not getattr(model.config.vision_config, "vision_use_head", True):
        raise LucidaError("its vision tower has no pooling head, so it has no common space", where=source)
    files = processor_files(source)
    if cuts_squares(files):
        raise LucidaError("pictures are made square and then cut: not supported", where=source)
    options = {"frozen": frozen, "crop_from": cropped_from(files)}
    bias = getattr(model, "logit_bias", None)
    scale = math.exp(float(model.logit_scale.detach()))
    encoder = DualEncoder(
        Projection(getattr(model, "visual_projection", None)),
        Projection(getattr(model, "text_projection", None)),
        vision_tower=vision_part(model, [], source, options),
        text_tower=text_part(model, [], source, frozen=frozen),
        logit_bias=None if bias is None else float(bias.detach()),
        max_logit_scale=max(MAX_LOGIT_SCALE, scale) if bias is None else math.inf,
    )
    encoder.log_logit_scale.data.copy_(model.logit_scale.detach().reshape(()))
    return encoder.eval()


def layout_for(encoder: DualEncoder) -> Layout:
    """The layout that has a place for all of an encoder: Hugging Face's, but for a CLIP with a bias.

    Raises:
        LucidaError: a tower or head has no place in either.
    """
    config, state = hugging_face_parts(encoder)
    return "open_clip" if config.model_type == "clip" and "logit_bias" in state else "huggingface"


def save_dual_encoder(
    encoder: DualEncoder, folder: Path, *, layout: Layout = "huggingface", dtype: torch.dtype | None = None
) -> None:
    """Write a dual encoder as a folder that transformers (``CLIPModel``, ``SiglipModel``) or open_clip loads alone.

    All weights are written, frozen ones too; the folder appears whole or not at all.

    Args:
        encoder: of :func:`load_dual_encoder`, or of CLIP's or SigLIP's towers under a :class:`Projection` each.
        folder: a new or empty one.
        layout: ``open_clip`` is for CLIP alone: its SigLIP has a vision tower of timm.
        dtype: of the weights; as they are by default.

    Raises:
        LucidaError: a tower or head has no place in that layout (it is named), or the folder is not empty.
        NonFiniteError: a weight is NaN or infinite; nothing is written.
    """
    config, state = hugging_face_parts(encoder)
    _check_layout(layout, config, state)
    files: dict[str, Any] = encoder.vision_tower.processor_files
    state = {name: (t if dtype is None else t.to(dtype)).contiguous().clone() for name, t in state.items()}
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise NonFiniteError(f"a weight is not finite in {tensor.dtype}: not saved", where=name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise LucidaError("the folder is not empty", where=folder, remedy="name a new one")
    folder = Path(os.path.abspath(folder))
    beside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        if layout == "open_clip":
            save_open_clip(beside, config, state, files, encoder.text_tower.tokenizer)
        else:
            _save_hugging_face(beside, config, state, files, encoder.text_tower.tokenizer)
        if folder.exists():
            folder.rmdir()
        os.replace(beside, folder)
    except (OSError, SafetensorError) as error:  # a full disk is the latter's where weights are written
        reason = getattr(error, "strerror", None) or str(error)
        raise LucidaError(f"cannot write the model: {reason}", where=folder) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def hugging_face_parts(encoder: DualEncoder) -> tuple[Any, dict[str, Tensor]]:
    """Config and weights of a dual encoder as ``CLIPModel`` or ``SiglipModel`` has them.

    A ``logit_bias`` under CLIP's towers stays in the weights: open_clip has a place for it, transformers has not.

    Raises:
        LucidaError: a tower or a head has no place there; it is named.
    """
    kind, vision, text = _family(encoder)
    parts = {f"{name}_config": model.config.to_dict() for name, model in (("vision", vision), ("text", text))}
    for part in parts.values():
        part.pop("dtype", None)  # said once, for the whole model
    if kind == "clip":
        matrix: nn.Linear = encoder.image_head.linear
        config = CLIPConfig(**parts, projection_dim=matrix.out_features)
        config.architectures = ["CLIPModel"]
    else:
        config = SiglipConfig(**parts)
        config.architectures = ["SiglipModel"]
    state = {f"vision_model.{name}": tensor for name, tensor in vision.state_dict().items()}
    state |= {f"text_model.{name}": tensor for name, tensor in text.state_dict().items()}
    if kind == "clip":
        state["visual_projection.weight"] = encoder.image_head.linear.weight
        state["text_projection.weight"] = encoder.text_head.linear.weight
    shape = () if kind == "clip" else (1,)
    # Whoever loads it may not clamp: what is written is what counts here.
    state["logit_scale"] = encoder.log_logit_scale.clamp(max=math.log(encoder.max_logit_scale)).reshape(shape)
    if encoder.logit_bias is not None:
        state["logit_bias"] = encoder.logit_bias.reshape(shape)
    state = {name: tensor.detach().cpu() for name, tensor in state.items()}
    with torch.device("meta"), quiet_loading():
        expected = AutoModel.from_config(config).state_dict()
    known = {name: tensor for name, tensor in state.items() if (kind, name) != ("clip", "logit_bias")}
    check_weights(known, expected, "the dual encoder")
    return config, state


def _family(encoder: DualEncoder) -> tuple[str, Any, Any]:
    """``clip`` or ``siglip``, and the two models inside the towers; whatever has no place there is refused by name."""
    kinds = {}
    for name, tower, whole in (
        ("vision", encoder.vision_tower, HuggingFaceVision),
        ("text", encoder.text_tower, PretrainedText),
    ):
        if tower is None:
            raise LucidaError(f"the dual encoder has no {name} tower, it takes features", remedy="put its towers in")
        kind = str(tower.model.config.model_type) if isinstance(tower, whole) else ""
        if kind not in (f"clip_{name}_model", f"siglip_{name}_model"):
            own = getattr(tower, "name", type(tower).__name__)
            said = f"the {name} tower {own!r} has no place in CLIPModel or SiglipModel"
            raise LucidaError(said, remedy="towers of CLIP and SigLIP can be exported")
        if hasattr(tower.model, "peft_config"):
            raise LucidaError(f"the {name} tower carries adapters", remedy="merge them into its weights first")
        kinds[name] = kind.partition("_")[0]
    if len({*kinds.values()}) > 1:
        raise LucidaError(f"no model has a vision tower of {kinds['vision']} and a text tower of {kinds['text']}")
    for name, head in (("vision", encoder.image_head), ("text", encoder.text_head)):
        linear = getattr(head, "linear", None)
        fits = linear is None if kinds["vision"] == "siglip" else linear is not None and linear.bias is None
        if not isinstance(head, Projection) or not fits:
            raise LucidaError(
                f"the head of the {name} tower ({type(head).__name__}) has no place in CLIPModel or SiglipModel",
                remedy="CLIP has one matrix there, without bias, and SigLIP nothing",
            )
    if not encoder.vision_tower.processor_files:
        raise LucidaError(
            "the vision tower does not prepare pictures as its checkpoint says",
            remedy="load_dual_encoder makes one that does",
        )
    return kinds["vision"], encoder.vision_tower.model, encoder.text_tower.model


def _check_layout(layout: str, config: Any, state: Mapping[str, Tensor]) -> None:
    if layout not in LAYOUTS:
        raise LucidaError(f"there is no format {layout!r}", remedy=f"there are {' and '.join(LAYOUTS)}")
    if layout == "open_clip" and config.model_type == "siglip":
        said = "the vision tower of SigLIP pools by attention, for which open_clip's own vision tower has no place"
        raise LucidaError(said, remedy="export it in Hugging Face's format")
    if layout == "huggingface" and config.model_type == "clip" and "logit_bias" in state:
        raise LucidaError("CLIPModel has no place for a logit_bias", remedy="export it in open_clip's format")


def _save_hugging_face(
    folder: Path, config: Any, state: dict[str, Tensor], files: Mapping[str, Any], tokenizer: Any
) -> None:
    tokenizer.save_pretrained(folder)
    config.dtype = state["logit_scale"].dtype
    config.save_pretrained(folder)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def stored_dtype(source: str | Path) -> torch.dtype:
    """The precision of the weights of a checkpoint; float32 where they have several.

    Raises:
        LucidaError: a file of weights is broken.
    """
    folder = Path(source)
    if not folder.is_dir():
        content = read_json(source, "config.json") or {}
        named = getattr(torch, str(content.get("dtype", content.get("torch_dtype"))), None)
        return named if isinstance(named, torch.dtype) else torch.float32
    found = set()
    for path in folder.glob("*.safetensors"):
        try:
            with safe_open(path, framework="pt") as file:
                found |= {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118  # not a dict
        except (SafetensorError, OSError) as error:
            raise broken_file(path, error) from None
    return _DTYPES.get(found.pop(), torch.float32) if len(found) == 1 else torch.float32
