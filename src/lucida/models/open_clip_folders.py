"""Folders in open_clip's layout: ``open_clip_config.json`` and weights, read as and written from a ``CLIPModel``.

Read and written is what both libraries compute alike: a vision transformer with class token and learned positions, and
open_clip's own causal text transformer. What a config asks for beyond that is named and refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from lucida.core.errors import LucidaError
from lucida.models.checkpoint_folders import read_json
from lucida.models.open_clip_names import to_hugging_face, to_open_clip
from lucida.models.text_towers import quiet_loading
from lucida.models.weights import broken_file

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"

# Settings of a tower that CLIPModel has too, with the value that open_clip takes where the config says nothing.
_VISION = {"layers": 12, "width": 768, "head_width": 64, "mlp_ratio": 4.0, "patch_size": 16, "image_size": 224}
_TEXT: dict[str, Any] = {
    "layers": 12,
    "width": 512,
    "heads": 8,
    "mlp_ratio": 4.0,
    "context_length": 77,
    "vocab_size": 49408,
}
_TEXT |= {"pool_type": "argmax", "eos_id": 2}
_TUNED = ("norm_kwargs", "act_kwargs")
# Settings that change nothing in what this kind of model computes.
_IDLE_VISION = {"output_tokens", "attn_pooler_queries", "attn_pooler_heads", "final_ln_after_pool"}
_IDLE_VISION |= {"timm_model_pretrained", "timm_pool", "timm_proj", "timm_proj_bias", "timm_drop", "timm_drop_path"}
_IDLE_TEXT = {"output_tokens", "pad_id", "hf_tokenizer_name"}
_IDLE_TEXT |= {"final_ln_after_pool", "hf_model_pretrained", "hf_proj_type", "hf_pooler_type"}
# All others may only say what is so anyway: nothing, or the following.
_FIXED = {"pos_embed_type": "learnable", "proj_type": "linear", "block_type": "default"}
_WHOLE_MODEL = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "custom_text", "init_logit_scale"}
_WHOLE_MODEL |= {"init_logit_bias", "nonscalar_logit_scale"}

_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of OpenAI's pictures
_RESAMPLE = {"bicubic": 3, "bilinear": 2}  # PIL's numbers
_EPS = 1e-5
_END_OF_TEXT = 49407  # in the one vocabulary that open_clip brings itself


def is_open_clip(source: str | Path) -> bool:
    """A local folder in open_clip's layout alone; one that has Hugging Face's too is read as that."""
    folder = Path(source)
    return (folder / CONFIG).is_file() and not (folder / "config.json").is_file()


def load_open_clip(folder: Path) -> CLIPModel:
    """The model of an open_clip folder as a float32 ``CLIPModel``; a ``logit_bias`` is an additional parameter of it.

    Raises:
        LucidaError: the config asks for what ``CLIPModel`` does not compute, or the weights are missing, broken, a
            pickle, or do not fit the config.
    """
    config = clip_config(_config(folder)["model_cfg"], where=folder / CONFIG)
    path = _weights(folder)
    try:
        stored = load_file(path)
    except (SafetensorError, OSError) as error:
        raise broken_file(path, error) from None
    state = {name: tensor.float() for name, tensor in to_hugging_face(stored, where=path).items()}
    bias = state.pop("logit_bias", None)
    with torch.random.fork_rng(devices=[]), quiet_loading():  # first weights are drawn, and replaced below
        model = CLIPModel(config).eval()
    if "logit_scale" in state:
        state["logit_scale"] = state["logit_scale"].reshape(())  # open_clip may keep it as a vector of one
    check_weights(state, model.state_dict(), path)
    model.load_state_dict(state)
    model.register_parameter("logit_bias", None if bias is None else torch.nn.Parameter(bias.reshape(())))
    return model


def check_weights(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: str | Path) -> None:
    """Stop where names or shapes of weights are not those of a model.

    Raises:
        LucidaError: they differ; the first is named.
    """
    for name, tensor in expected.items():
        if name not in state:
            raise LucidaError(f"the weights lack {name!r}", where=where)
        if state[name].shape != tensor.shape:
            said = f"{list(state[name].shape)}, not {list(tensor.shape)} as its config says"
            raise LucidaError(f"{name!r} has shape {said}", where=where)
    for name in state:
        if name not in expected:
            raise LucidaError(f"the model has no place for {name!r}", where=where)


def save_open_clip(
    folder: Path, config: CLIPConfig, state: Mapping[str, Tensor], processor_files: Mapping[str, Any], tokenizer: Any
) -> None:
    """Write a ``CLIPModel`` in open_clip's layout: config, weights and the files of its Hugging Face ``tokenizer``.

    Args:
        folder: exists.
        state: of a ``CLIPModel``, a ``logit_bias`` too if there is one.
        processor_files: how its pictures are prepared (:func:`lucida.models.hugging_face.processor_files`).

    Raises:
        LucidaError: open_clip's config has no word for something in the model.
    """
    content = open_clip_config(config, processor_files)
    if "logit_bias" in state:
        content["model_cfg"]["init_logit_bias"] = float(state["logit_bias"])
    if tokenizer.convert_tokens_to_ids("<|endoftext|>") != _END_OF_TEXT:
        # Another than open_clip's own: of a local folder, a name of any kind makes it read the files there.
        content["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = folder.name.strip(".").removesuffix(".partial")
    (folder / CONFIG).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    tokenizer.save_pretrained(folder)
    save_file(to_open_clip(state), folder / WEIGHTS, metadata={"format": "pt"})


def clip_config(model_cfg: Mapping[str, Any], *, where: str | Path | None = None) -> CLIPConfig:
    """The ``model_cfg`` of open_clip as Hugging Face's config.

    Raises:
        LucidaError: it asks for what ``CLIPModel`` does not compute; the tower and the setting are named.
    """
    for name in model_cfg.keys() - _WHOLE_MODEL:
        raise _no_place("model", name, model_cfg[name], where)
    try:
        vision = _tower("vision", model_cfg["vision_cfg"], _VISION, _IDLE_VISION, where)
        text = _tower("text", model_cfg["text_cfg"], _TEXT, _IDLE_TEXT, where)
        embedding_size = int(model_cfg["embed_dim"])
    except KeyError as error:
        raise LucidaError(f"no {error.args[0]!r}", where=where, remedy="give open_clip's config of the model") from None
    pooling, end = text["pool_type"], int(text["eos_id"])
    if pooling not in ("argmax", "eos") or (pooling == "eos" and end == 2):  # 2 means argmax to transformers
        raise _no_place("text tower", "pool_type", f"{pooling} (eos_id {end})", where)
    quick = bool(model_cfg.get("quick_gelu", False))
    return CLIPConfig(
        vision_config={
            **_sizes(vision, vision["width"] // vision["head_width"], quick),
            "image_size": _square("image_size", vision["image_size"], where),
            "patch_size": _square("patch_size", vision["patch_size"], where),
            "projection_dim": embedding_size,
        },
        text_config={
            **_sizes(text, text["heads"], quick),
            "vocab_size": text["vocab_size"],
            "max_position_embeddings": text["context_length"],
            "projection_dim": embedding_size,
            "eos_token_id": 2 if pooling == "argmax" else end,
        },
        projection_dim=embedding_size,
    )


def _tower(
    name: str, given: Mapping[str, Any], known: Mapping[str, Any], idle: set[str], where: str | Path | None
) -> dict[str, Any]:
    """All settings of a tower that count, after refusing those that have no place."""
    for setting, value in given.items():
        plain = not value or value == _FIXED.get(setting) or (name, setting, value) == ("vision", "pool_type", "tok")
        if not plain and setting not in known and setting not in idle and setting not in _TUNED:
            raise _no_place(f"{name} tower", setting, value, where)
    norm, act = given.get("norm_kwargs") or {}, given.get("act_kwargs") or {}
    if norm.keys() - {"eps"}:
        raise _no_place(f"{name} tower", "norm_kwargs", norm, where)
    if act not in ({}, {"approximate": "tanh"}, {"approximate": "none"}):
        raise _no_place(f"{name} tower", "act_kwargs", act, where)
    found = {setting: given.get(setting, default) for setting, default in known.items()}
    if isinstance(found["layers"], list | tuple):
        raise _no_place(f"{name} tower", "layers", found["layers"], where)  # a ResNet
    return found | {"eps": norm.get("eps", _EPS), "tanh": act.get("approximate") == "tanh"}


def _sizes(tower: Mapping[str, Any], heads: int, quick: bool) -> dict[str, Any]:
    return {
        "hidden_size": tower["width"],
        "num_hidden_layers": tower["layers"],
        "num_attention_heads": heads,
        "intermediate_size": int(tower["width"] * tower["mlp_ratio"]),
        "hidden_act": "quick_gelu" if quick else "gelu_pytorch_tanh" if tower["tanh"] else "gelu",
        "layer_norm_eps": tower["eps"],
    }


def open_clip_config(config: CLIPConfig, processor_files: Mapping[str, Any]) -> dict[str, Any]:
    """What ``open_clip_config.json`` holds for a ``CLIPModel``.

    Raises:
        LucidaError: the two towers have different activations, or open_clip has no word for the activation or
            the way pictures are prepared.
    """
    vision, text = config.vision_config, config.text_config
    acts = {"vision": vision.hidden_act, "text": text.hidden_act}
    for name, act in acts.items():
        if act not in ("quick_gelu", "gelu", "gelu_pytorch_tanh"):
            raise LucidaError(f"open_clip has no word for the activation {act!r} of the {name} tower")
    if len({act == "quick_gelu" for act in acts.values()}) > 1:
        said = " and ".join(f"{act} in the {name} tower" for name, act in acts.items())
        raise LucidaError(f"open_clip has one activation for both towers, not {said}")
    pooling = {"pool_type": "argmax"} if text.eos_token_id == 2 else {"pool_type": "eos", "eos_id": text.eos_token_id}
    model_cfg: dict[str, Any] = {
        "embed_dim": config.projection_dim,
        "quick_gelu": vision.hidden_act == "quick_gelu",
        "vision_cfg": {
            "image_size": _square("image_size", vision.image_size, None),
            "layers": vision.num_hidden_layers,
            "width": vision.hidden_size,
            "head_width": vision.hidden_size // vision.num_attention_heads,
            "patch_size": _square("patch_size", vision.patch_size, None),
            **_ratios(vision),
        },
        "text_cfg": {
            "context_length": text.max_position_embeddings,
            "vocab_size": text.vocab_size,
            "width": text.hidden_size,
            "heads": text.num_attention_heads,
            "layers": text.num_hidden_layers,
            **pooling,
            **_ratios(text),
        },
    }
    return {
        "model_cfg": model_cfg,
        "preprocess_cfg": _preprocess_cfg(processor_files, model_cfg["vision_cfg"]["image_size"]),
    }


def _ratios(tower: Any) -> dict[str, Any]:
    """Width of the perceptron and, where they are not open_clip's own, epsilon and approximation."""
    ratio = tower.intermediate_size / tower.hidden_size
    if int(tower.hidden_size * ratio) < tower.intermediate_size:  # open_clip rounds the product down
        ratio = math.nextafter(ratio, math.inf)
    found: dict[str, Any] = {"mlp_ratio": ratio}
    if tower.layer_norm_eps != _EPS:
        found["norm_kwargs"] = {"eps": tower.layer_norm_eps}
    if tower.hidden_act == "gelu_pytorch_tanh":
        found["act_kwargs"] = {"approximate": "tanh"}
    return found


def open_clip_processor_files(folder: str | Path) -> dict[str, Any]:
    """How an open_clip folder prepares pictures, in the words of Hugging Face's ``preprocessor_config.json``.

    Raises:
        LucidaError: it pads them, resizes them by another method, or their side is not the model's.
    """
    where = Path(folder) / CONFIG
    content = _config(Path(folder))
    given = {key: value for key, value in (content.get("preprocess_cfg") or {}).items() if value is not None}
    side = _square("image_size", content["model_cfg"].get("vision_cfg", {}).get("image_size", 224), where)
    mode, method = given.get("resize_mode", "shortest"), given.get("interpolation", "bicubic")
    if mode not in ("shortest", "squash") or method not in _RESAMPLE:
        raise LucidaError(
            f"pictures cannot be prepared with resize_mode {mode!r}, interpolation {method!r}", where=where
        )
    if "size" in given and _square("size", given["size"], where) != side:
        raise LucidaError(f"pictures of {given['size']} for a model of {side} pixels", where=where)
    square = {"height": side, "width": side}
    return {
        "preprocessor_config.json": {
            "image_processor_type": "CLIPImageProcessor",
            "do_convert_rgb": True,
            "do_resize": True,
            "size": {"shortest_edge": side} if mode == "shortest" else square,
            "resample": _RESAMPLE[method],
            "do_center_crop": mode == "shortest",
            "crop_size": square,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": [*given.get("mean", _MEAN)],
            "image_std": [*given.get("std", _STD)],
        }
    }


def _preprocess_cfg(files: Mapping[str, Any], image_size: int) -> dict[str, Any]:
    found = files.get("preprocessor_config.json") or files.get("processor_config.json", {}).get("image_processor", {})
    methods = {number: word for word, number in _RESAMPLE.items()}
    crop, size = found.get("crop_size"), found.get("size")
    cut = crop is not None and found.get("do_center_crop", True)
    named = [size, crop] if cut else [size]
    sides = {side for each in named for side in (each.values() if isinstance(each, dict) else [each])}
    if sides != {image_size} or found.get("resample", 3) not in methods or not found.get("do_normalize", True):
        raise LucidaError("open_clip has no word for how the pictures are prepared", where="preprocessor_config.json")
    return {
        "mean": [*found["image_mean"]],
        "std": [*found["image_std"]],
        "interpolation": methods[found.get("resample", 3)],
        "resize_mode": "shortest" if cut and not (isinstance(size, dict) and "height" in size) else "squash",
    }


def _config(folder: Path) -> dict[str, Any]:
    content = read_json(folder, CONFIG) or {}
    if not isinstance(content.get("model_cfg"), dict):
        raise LucidaError("no model_cfg", where=folder / CONFIG, remedy="give the file that open_clip writes")
    return content


def _weights(folder: Path) -> Path:
    found = [folder / WEIGHTS] if (folder / WEIGHTS).is_file() else sorted(folder.glob("*.safetensors"))
    if len(found) == 1:
        return found[0]
    pickles = sorted([*folder.glob("*.bin"), *folder.glob("*.pt")])
    if pickles and not found:
        remedy = f"save the state dict as {WEIGHTS} with safetensors"
        raise LucidaError("the weights are a pickle, which may run anything when read", where=pickles[0], remedy=remedy)
    raise LucidaError(f"{len(found)} files of weights", where=folder, remedy=f"keep one, {WEIGHTS}")


def _square(name: str, size: Any, where: str | Path | None) -> int:
    sides = {*size} if isinstance(size, list | tuple) else {size}
    if len(sides) != 1 or not all(isinstance(side, int) for side in sides):
        raise _no_place("vision tower", name, size, where)
    return int(sides.pop())


def _no_place(part: str, setting: str, value: Any, where: str | Path | None) -> LucidaError:
    return LucidaError(
        f"the {part} of this open_clip model has {setting} {value!r}, for which CLIPModel has no place", where=where
    )
