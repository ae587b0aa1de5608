"""The one line a user sees."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from lucida.core.errors import LucidaError, NonFiniteError


@pytest.mark.parametrize(
    ("where", "remedy", "line"),
    [
        (None, None, "bad"),
        ("row 3", None, "bad (row 3)"),
        (None, "do that", "bad; do that"),
        (Path("a.csv"), "do that", "bad (a.csv); do that"),
    ],
)
def test_what_where_and_remedy_on_one_line(where: str | Path | None, remedy: str | None, line: str) -> None:
    assert str(LucidaError("bad", where=where, remedy=remedy)) == line


def test_errors_come_back_whole_from_worker_processes() -> None:
    error = NonFiniteError("the loss is NaN", where="step 3", remedy="lower the rate")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is NonFiniteError
    assert (str(back), back.what, back.where, back.remedy) == (str(error), error.what, error.where, error.remedy)
