"""Every ``lucida`` command that README and docs show answers, and knows the options it is shown with."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from lucida.cli import main

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "notes").glob("*.md"))]
GROUPS = {"data", "evaluate", "lab"}  # commands of two words


def commands(page: Path) -> list[str]:
    """Those in blocks of shell, and those between backticks."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in re.sub(r"\\\n", " ", block).splitlines()]
    shown = [*lines, *re.findall(r"`([^`\n]*)`", text)]
    found = (re.match(r"(?:\.venv/bin/)?(lucida [a-z].*)", line.split(" # ")[0].strip()) for line in shown)
    return sorted({match[1] for match in found if match})


COMMANDS = sorted({command for page in PAGES for command in commands(page)})


def test_there_is_something_to_check() -> None:
    print(f"{len(COMMANDS)} commands on {len(PAGES)} pages")
    assert len(COMMANDS) >= 80
    assert len(commands(ROOT / "README.md")) >= 30
    assert len(commands(ROOT / "docs" / "coming-from.md")) >= 12


@cache
def help_of(verb: tuple[str, ...]) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):  # some print and end, others return
        main([*verb, "--help"])
    return said.getvalue()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_answers_and_knows_its_options(command: str) -> None:
    _, *words = shlex.split(command.replace("…", " … ").replace("'", ""))
    verb = tuple(word.rstrip(",") for word in words[: 2 if words[0] in GROUPS and len(words) > 1 else 1])
    verb = tuple(word for word in verb if re.fullmatch(r"[a-z-]+", word) and not word.startswith("-"))
    said = help_of(verb)
    assert "usage" in said
    for option in (word for word in words if re.match(r"--[a-z]", word)):
        if option + " …" not in command.replace("…", " …"):  # the beginning of several
            assert re.search(rf"{option.rstrip(',')}(?![\w.-])", said), f"{' '.join(verb)} has no {option}"


def test_a_reader_that_has_read_enough_gets_no_traceback() -> None:
    command = f"{shlex.quote(sys.executable)} -m lucida run --help | head -2"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=120, check=False)
    assert "usage: lucida run" in done.stdout
    assert done.stderr == ""
