"""Data sets of the Hugging Face hub by name: fetched once into the cache, as Arrow files that are read in place."""

from __future__ import annotations

import re
from pathlib import Path

from lucida.core.cache import cache_folder
from lucida.core.errors import LucidaError
from lucida.core.progress import say
from lucida.core.results import read_json, write_json

_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def is_hub_name(source: Path) -> bool:
    """Whether it can only be meant as ``owner/name``: nothing of that name is here, nor a folder that it would lie in.

    >>> is_hub_name(Path("somebody/pictures")), is_hub_name(Path("pictures.tar")), is_hub_name(Path("/a/b"))
    (True, False, False)
    """
    return bool(_NAME.fullmatch(str(source))) and not source.exists() and not source.parent.is_dir()


def fetch_dataset(name: str) -> Path:
    """The folder of a data set's Arrow files, at the revision that the hub had first; it is not asked again.

    Raises:
        LucidaError: there is no such data set, it cannot be read, or the hub cannot be reached.
    """
    record = cache_folder() / "hub" / f"{name.replace('/', '--')}.json"
    if record.is_file():
        known = read_json(record)
        if (folder := Path(known["folder"])).is_dir():
            say(f"{name}, revision {known.get('revision', 'unknown')}")
            return folder
    try:
        folder, revision = _fetched(name, record.parent)
    except Exception as error:  # the network, the hub and readers of any format fail in ways of their own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise LucidaError(
            f"no such file or folder, and the hub did not give a data set of that name ({reason[:120]})",
            where=name,
            remedy=f"without a network, run `hf download {name} --repo-type dataset --local-dir FOLDER` where there is"
            " one, copy FOLDER, and name it with --pictures",
        ) from None
    write_json(record, {"folder": str(folder), "revision": revision})
    say(f"{name}, revision {revision}")
    return folder


def _fetched(name: str, cache: Path) -> tuple[Path, str]:
    import datasets
    from huggingface_hub import HfApi

    # Also says at once that there is no network; the library tries for half a minute.
    revision = str(HfApi().dataset_info(name, timeout=10).sha)
    splits = datasets.load_dataset(name, revision=revision, cache_dir=str(cache))
    files = [Path(one["filename"]) for split in splits.values() for one in split.cache_files]
    if not files:
        raise ValueError("it has no files")
    return files[0].parent, revision
