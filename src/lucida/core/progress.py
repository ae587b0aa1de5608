"""Long work tells how far it is: a bar on a terminal, elsewhere a plain line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
INTERVAL = 10.0  # seconds between plain lines; shorter work says nothing


def counted(items: Sequence[Item], what: str, *, each: int = 1) -> Iterator[Item]:
    """The items, one after another, with the rate and the time left on the error stream.

    Args:
        items: what is worked through.
        what: is counted, for example ``"pictures seen"``.
        each: how many of those an item stands for.

    >>> list(counted([1, 2, 3], "numbers"))
    [1, 2, 3]
    """
    if sys.stderr.isatty():
        yield from _bar(items, what)
        return
    began = said = time.perf_counter()
    for done, item in enumerate(items):
        now = time.perf_counter()
        if now - said >= INTERVAL:
            said, rate = now, done * each / (now - began)
            left = (len(items) - done) * each / max(rate, 1e-9)
            told = f"{what}: {done * each:,} of {len(items) * each:,}  {rate:.0f}/s  {clock(left)} left"
            say(told)
        yield item


def _bar(items: Sequence[Item], what: str) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import track

    yield from track(items, description=what, console=Console(stderr=True), transient=True)


def say(line: str) -> None:
    """One line for the person who waits."""
    print(line, file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours if there are any.

    >>> clock(75), clock(3675)
    ('1:15', '1:01:15')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
