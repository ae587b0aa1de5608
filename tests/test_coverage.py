"""Every entry of docs/coverage.md resolves: commands answer, modules import, pages exist, blanks are blank."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "coverage.md"
COLUMNS = ("#", "topic", "command", "module", "page", "works", "missing (issue)")
BLANK = "—"


def cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.strip().strip("|").split("|"))


def read_rows() -> list[dict[str, str]]:
    table = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert cells(table[0]) == COLUMNS
    assert all(len(cells(line)) == len(COLUMNS) for line in table)
    return [dict(zip(COLUMNS, cells(line), strict=True)) for line in table[2:]]


ROWS = read_rows()


def entries(column: str, pattern: str) -> list[str]:
    """The distinct entries of a column; whatever is neither an entry nor a blank is a mistake."""
    found: dict[str, None] = {}
    for row in ROWS:
        if row[column] == BLANK:
            continue
        here = re.findall(pattern, row[column])
        rest = re.sub(pattern, "", row[column]).replace(",", "").strip()
        assert here, f"row {row['#']}: {row[column]!r} is not an entry of {column!r}"
        assert not rest, f"row {row['#']}: {rest!r} is not an entry of {column!r}"
        found.update(dict.fromkeys(here))
    return list(found)


MODULES = entries("module", r"`(lucida[\w.]*)`")
COMMANDS = entries("command", r"`lucida ([\w -]+)`")
PAGES = entries("page", r"\[[^\]]+\]\(([^)#]+)(?:#[^)]*)?\)")


def test_all_twenty_two_topics_are_there() -> None:
    print(f"{len(ROWS)} rows, {len(COMMANDS)} commands, {len(MODULES)} modules, {len(PAGES)} pages")
    assert [row["#"] for row in ROWS] == [str(number) for number in range(1, 23)]
    assert len({row["topic"] for row in ROWS}) == 22
    assert len(MODULES) >= 8
    assert len(PAGES) >= 2


@pytest.mark.parametrize("row", ROWS, ids=[row["#"] for row in ROWS])
def test_a_row_claims_what_it_shows(row: dict[str, str]) -> None:
    """What works has a module; what has none works not; a row without an issue is complete."""
    assert (row["works"] == BLANK) == (row["module"] == BLANK), "what works, and in which module?"
    if row["module"] == BLANK:
        assert row["command"] == row["page"] == BLANK
    issues = re.findall(r"\((\d+)\)", row["missing (issue)"])
    assert issues or row["missing (issue)"] == BLANK, "which issue brings it?"
    assert all(2 <= int(issue) <= 7 for issue in issues)


@pytest.mark.parametrize("name", MODULES)
def test_the_module_is_there(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise  # the module is there, what it imports is not
        owner, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(owner), attribute), f"{name} does not exist"


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_there(name: str) -> None:
    assert (PAGE.parent / name).is_file()


@pytest.mark.skipif(not COMMANDS, reason="no command is claimed")
@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_answers(command: str) -> None:
    assert find_spec("lucida.cli") is not None, "a command is claimed, and there is no command line"
    program = "import sys; from lucida.cli import main; sys.exit(main())"
    call = [sys.executable, "-c", program, *command.split(), "--help"]
    answer = subprocess.run(call, capture_output=True, text=True, check=False, timeout=60)
    assert answer.returncode == 0, answer.stderr
    assert "usage" in answer.stdout.lower()


def test_every_command_of_the_command_line_is_in_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    """Nor does a command stay out of the table."""
    importlib.import_module("lucida.cli").main(["--help"])
    listed = re.findall(r"^  ([a-z]+) {2,}\S", capsys.readouterr().out, flags=re.MULTILINE)
    assert listed
    assert set(listed) == {command.split()[0] for command in COMMANDS}
