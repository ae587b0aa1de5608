"""Blocks of a note that are drawn from results files: what stands between two marks is replaced."""

from __future__ import annotations


def drawn(note: str, tool: str, blocks: dict[str, str]) -> str:
    """The note with what stands between its marks replaced.

    Args:
        note: its text, with a pair of marks for each block.
        tool: file name of the program that draws, as the marks say.
        blocks: by name.

    >>> drawn("a <!-- x: tools/t.py --> old <!-- end of x --> b", "t.py", {"x": "new"})
    'a <!-- x: tools/t.py -->\\nnew\\n<!-- end of x --> b'
    """
    for name, block in blocks.items():
        start, end = f"<!-- {name}: tools/{tool} -->", f"<!-- end of {name} -->"
        before, rest = note.split(start)
        note = f"{before}{start}\n{block}\n{end}{rest.split(end)[1]}"
    return note
