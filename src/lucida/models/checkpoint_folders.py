"""Checkpoints in Hugging Face's layout, by folder or hub name: what is refused, what is read, what is missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel
from transformers.utils import cached_file

from lucida.core.config import nearest
from lucida.core.errors import LucidaError
from lucida.models.text_towers import quiet_loading


def load_model(
    source: str | Path,
    *,
    built_in: Sequence[str] = (),
    allow_pickle: bool = False,
    trust: bool = False,
    kind: Any = AutoModel,
) -> tuple[Any, list[str]]:
    """The model, in float32, and the names of weights its checkpoint lacks.

    Args:
        source: a folder is looked for before the hub is asked.
        built_in: names that a person may have meant.
        allow_pickle: read ``.bin`` weights too; a pickle may run anything.
        trust: run the Python files of the checkpoint.
        kind: of transformers' classes for all models of one use.

    Raises:
        LucidaError: there is no such model, it is broken or of another kind, it needs pickle, own code or a package.
    """
    check_source(source, built_in, allow_pickle)
    try:
        config = read_json(source, "config.json") or {}
        if kind.__name__ in config.get("auto_map", {}) and not trust:
            raise LucidaError(
                "the checkpoint brings its own code",
                where=source,
                remedy="read it, then set trust_remote_code=True if you trust it",
            )
        with quiet_loading():
            model_config = AutoConfig.from_pretrained(source, trust_remote_code=trust)
            model, report = kind.from_pretrained(
                source,
                config=model_config,
                use_safetensors=None if allow_pickle else True,
                trust_remote_code=trust,
                output_loading_info=True,
                dtype=torch.float32,
            )
    except LucidaError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise LucidaError(f"cannot load the model: {one_line(error)}", where=source) from None
    except ImportError as error:
        raise LucidaError(f"the model needs a package: {one_line(error)}", where=source) from None
    return model, sorted(report["missing_keys"])


def check_source(source: str | Path, built_in: Sequence[str], allow_pickle: bool) -> None:
    """Say what is wrong with a folder or a name before transformers tries it.

    Raises:
        LucidaError: a name that is nearly a built-in one, no such folder, a folder without a model or with pickle only.
    """
    folder = Path(source)
    if not folder.is_dir():
        near = nearest(str(source), built_in)
        if near:
            raise LucidaError(f"there is no model {str(source)!r}", remedy=f"did you mean {near!r}?")
        named = str(source).count("/") <= 1 and not str(source).startswith((".", "~"))  # as the hub's names are
        if isinstance(source, Path) or folder.exists() or folder.is_absolute() or not named:
            remedy = "give a Hugging Face folder or hub name"
            remedy += f", or one of: {', '.join(built_in)}" if built_in else ""
            raise LucidaError("there is no such folder", where=source, remedy=remedy)
        return
    if not (folder / "config.json").is_file():
        raise LucidaError("no config.json", where=source, remedy="give a Hugging Face folder")
    if any(folder.glob("*.safetensors")):
        return
    if not any(folder.glob("*.bin")):
        raise LucidaError("no weights (model.safetensors)", where=source)
    if not allow_pickle:
        raise LucidaError(
            "the weights are a pickle, which may run anything when read",
            where=source,
            remedy="save the model as safetensors, or set allow_pickle=True if you trust it",
        )


def refuse_missing(missing: list[str], source: str | Path) -> None:
    """Stop where weights are missing.

    Raises:
        LucidaError: there are names of some.
    """
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise LucidaError(f"the checkpoint lacks weights: {missing[0]}{more}", where=source)


def read_json(source: str | Path, name: str) -> dict[str, Any] | None:
    """A JSON file of a checkpoint, local or from the hub; ``None`` if there is none.

    Raises:
        LucidaError: it is broken.
    """
    try:
        path = Path(source) / name if Path(source).is_dir() else Path(cached_file(str(source), name))
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError:  # of a hub name: the repository, the file or the network is missing; loading the model tells which
        return None
    except ValueError as error:
        raise LucidaError(f"{name} is broken: {one_line(error)}", where=source) from None
    if not isinstance(found, dict):
        raise LucidaError(f"{name} is broken: no JSON object", where=source)
    return found


def one_line(error: BaseException) -> str:
    """The first line of an error's text."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
