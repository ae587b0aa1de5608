"""What the cache of the lab rests on: code by its meaning, and parts that are whole."""

from __future__ import annotations

import ast
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def without_words(source: str) -> str:
    """Python code without comments, docstrings and layout.

    >>> without_words("def f(): 'says what'; return 1  # why") == without_words("def f(): return 1")
    True
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


def stored_arrays(path: Path) -> dict[str, NDArray] | None:
    """The arrays of a part; none if it is not there, or is half a file from a disk that was full."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        path.unlink()
        return None
