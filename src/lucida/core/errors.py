"""The one error a user sees: what is wrong, where, and what to do about it."""

from __future__ import annotations

from pathlib import Path


class LucidaError(Exception):
    """Bad input or an impossible request; the command line prints it as one line and exits with 2.

    Args:
        what: what is wrong.
        where: the file, row, field or tensor in which it was found.
        remedy: what the user can do about it.

    >>> print(LucidaError("no picture found", where="photos/", remedy="put .jpg or .png files there"))
    no picture found (photos/); put .jpg or .png files there
    """

    def __init__(self, what: str, *, where: str | Path | None = None, remedy: str | None = None):
        self.what, self.where, self.remedy = what, where, remedy
        line = what if where is None else f"{what} ({where})"
        super().__init__(line if remedy is None else f"{line}; {remedy}")


class NonFiniteError(LucidaError):
    """A loss, a gradient or a weight is NaN or infinite; the message names the tensor."""
