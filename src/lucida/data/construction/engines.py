"""Who works through the shards: this process, several processes, or Ray Data; what comes out is the same bytes."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, TypeVar

from lucida.core.errors import LucidaError
from lucida.core.progress import counted

Item = TypeVar("Item")
Done = TypeVar("Done")
EngineName = Literal["local", "ray"]


@dataclass(frozen=True)
class Engine:
    """Applies a function to items, in any order, and gives the results in theirs.

    Attributes:
        name: "local": here, or in other processes; "ray": Ray Data, on all machines of its cluster, which must see the
            same folders.
        workers: processes of "local", or processors that a Ray started here may use.

    Raises:
        LucidaError: Ray is asked for and not installed.
    """

    name: EngineName = "local"
    workers: int = 1

    def __post_init__(self) -> None:
        if self.name == "ray" and find_spec("ray") is None:
            raise LucidaError(
                "Ray is not installed",
                where="--engine ray",
                remedy="pip install 'camera-lucida[ray]', or --engine local",
            )

    def map(self, function: Callable[[Item], Done], items: Sequence[Item], what: str) -> list[Done]:
        """Results in the order of the items.

        Args:
            function: that can be pickled.
            items: likewise.
            what: is counted, for whoever waits.

        Raises:
            LucidaError: as the function raised it.
        """
        if self.name == "ray":
            return _on_ray(function, items, self.workers)
        if self.workers == 1 or len(items) < 2:
            return [function(item) for item in counted(items, what)]
        context = multiprocessing.get_context("spawn")  # a fork would copy threads' locks
        with ProcessPoolExecutor(self.workers, mp_context=context) as pool:
            waiting = [pool.submit(function, item) for item in items]
            try:
                return [one.result() for one in counted(waiting, what)]
            finally:
                for one in waiting:
                    one.cancel()


def _on_ray(function: Callable[[Item], Done], items: Sequence[Item], workers: int) -> list[Done]:
    import ray
    import ray.data

    if not items:
        return []
    if not ray.is_initialized():
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="error")
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)

    def numbered(row: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"number": row["number"], "done": function(row["item"]), "error": None}
        except LucidaError as error:  # Ray would wrap it into its own, with a page of stack
            return {"number": row["number"], "done": None, "error": (error.what, str(error.where or ""), error.remedy)}

    rows = [{"number": number, "item": item} for number, item in enumerate(items)]
    done = ray.data.from_items(rows, override_num_blocks=len(rows)).map(numbered).take_all()
    done.sort(key=lambda row: row["number"])
    for row in done:
        if row["error"] is not None:
            what, where, remedy = row["error"]
            raise LucidaError(what, where=where or None, remedy=remedy)
    return [row["done"] for row in done]
