"""How much memory a process holds that lies in no file (``RssAnon``), and its peak while something runs."""

from __future__ import annotations

import threading
import time
from pathlib import Path


def anonymous_mb() -> float:
    """Of this process, in MB; memory-mapped files are not counted."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


class Peak:
    """The largest anonymous memory while it is open, in MB above the start, sampled; and the seconds.

    Args:
        every: seconds between two looks. Many small operations of Python and looks every 2 ms disturb each other (by a
            tenth of the time of a training step); what lasts long needs fewer looks.

    Attributes:
        mb: above the start.
        seconds: from beginning to end.
    """

    def __init__(self, every: float = 0.002):
        self.every = every

    def __enter__(self) -> Peak:
        self._start = self._most = anonymous_mb()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._began
        self._done.set()
        self._thread.join()
        self.mb = self._most - self._start

    def _look(self) -> None:
        while not self._done.wait(self.every):
            self._most = max(self._most, anonymous_mb())
