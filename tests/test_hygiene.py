"""House rules no linter knows, checked on every tracked file; each test says how much it looked at."""

from __future__ import annotations

import ast
import io
import re
import shutil
import subprocess
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60  # without the docstring
PRINTS = ("cli", "__main__", "progress")  # modules that talk to the terminal

# Written in pieces, so that this file does not break its own rules.
MACHINE_PATH = re.compile(r"(?<![\w.\-/}$])/(?:" + "|".join(["home", "Users", "root", "work", "tmp"]) + r")/\w")
UNFINISHED = re.compile(r"\b(?:" + "|".join(["TO" + "DO", "FIX" + "ME", "X" + "XX"]) + r")\b")
BARE_COMMENT = {
    "type: ignore without a code": re.compile(r"type:\s*ignore(?!\[[a-z])"),
    "noqa without a code": re.compile(r"noqa(?!:\s*[A-Z]+[0-9])", re.IGNORECASE),
}

pytestmark = pytest.mark.skipif(
    shutil.which("git") is None or not (ROOT / ".git").exists(), reason="tracked files are known in a git clone only"
)


@cache
def tracked() -> tuple[Path, ...]:
    """Every tracked file that exists (a file may be removed and not yet committed)."""
    answer = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True)
    return tuple(path for name in answer.stdout.split("\0") if name and (path := ROOT / name).is_file())


@cache
def texts() -> dict[str, str]:
    """The tracked files that are text, by their path in the repository."""
    found = {}
    for path in tracked():
        content = path.read_bytes()
        if b"\0" not in content:
            found[path.relative_to(ROOT).as_posix()] = content.decode("utf-8")
    return found


@cache
def modules(*folders: str) -> dict[str, ast.Module]:
    """The tracked Python files below ``folders`` (all if none), parsed."""
    return {
        name: ast.parse(text, name)
        for name, text in texts().items()
        if name.endswith(".py") and (not folders or name.split("/")[0] in folders)
    }


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in texts().items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its decorators and docstring."""
    total = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function, clean=False) is None:
        return total
    docstring = function.body[0]
    return total - ((docstring.end_lineno or docstring.lineno) - docstring.lineno + 1)


def test_it_looks_at_the_files() -> None:
    print(f"{len(tracked())} tracked files, {len(texts())} of them text, {len(modules())} of them Python")
    assert len(texts()) >= 100
    assert len(modules("src")) >= 50
    assert len(modules("tests")) >= 25
    assert {".ci/run", "Makefile", "README.md", "src/lucida/core/errors.py", "tests/test_hygiene.py"} <= set(texts())


def test_no_path_of_one_machine() -> None:
    assert lines_with(MACHINE_PATH) == []
    assert MACHINE_PATH.search('open("' + "/home" + '/someone/x")')
    assert not MACHINE_PATH.search("https://example.org/home/x, ../tmp/x, <root>/tmp")


def test_nothing_is_marked_as_unfinished() -> None:
    assert lines_with(UNFINISHED) == []


def test_no_error_is_swallowed() -> None:
    """A handler names its errors and does something; ``contextlib.suppress`` says it where nothing is to be done."""
    handlers = [(n, node) for n, t in modules().items() for node in ast.walk(t) if isinstance(node, ast.ExceptHandler)]
    silent = [
        f"{name}:{node.lineno}"
        for name, node in handlers
        if node.type is None or all(isinstance(statement, ast.Pass) for statement in node.body)
    ]
    assert len(handlers) >= 10
    assert silent == []


def test_a_silenced_check_names_its_code() -> None:
    bad, seen = [], 0
    for name, text in texts().items():
        if not name.endswith(".py"):
            continue
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                seen += 1
                hits = [rule for rule, pattern in BARE_COMMENT.items() if pattern.search(token.string)]
                bad += [f"{name}:{token.start[0]}: {rule}" for rule in hits]
    print(f"{seen} comments")
    assert seen >= 100
    assert bad == []


def test_files_and_functions_fit_on_a_screen() -> None:
    sources = {name: text for name, text in texts().items() if name.startswith("src/") and name.endswith(".py")}
    long_files = [name for name, text in sources.items() if text.count("\n") > MAX_FILE_LINES]
    measured = [
        (code_lines(f), f"{name}:{f.lineno} {f.name}") for name, t in modules("src").items() for f in functions(t)
    ]
    print(f"{len(sources)} files, {len(measured)} functions; the longest has {max(measured)[0]} lines of code")
    assert len(measured) >= 300
    assert long_files == []
    assert [where for lines, where in measured if lines > MAX_FUNCTION_LINES] == []


def test_what_is_public_is_documented() -> None:
    """Modules, classes and functions at the top of a module; methods say it where the name does not."""
    looked, bare = 0, []
    for name, tree in modules("src").items():
        if not tree.body:
            continue  # an empty __init__.py
        nodes = [node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
        public = [(node.name, node) for node in nodes if not node.name.startswith("_")]
        for label, node in [("the module", tree), *public]:
            looked += 1
            if not (ast.get_docstring(node) or "").strip():
                bare.append(f"{name}: {label}")
    print(f"{looked} public modules, classes and functions")
    assert looked >= 200
    assert bare == []


def test_the_library_does_not_print() -> None:
    library = {n: t for n, t in modules("src").items() if not any(part in PRINTS for part in re.split(r"[/.]", n))}
    calls = [
        f"{name}:{node.lineno}"
        for name, tree in library.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert len(library) >= 45
    assert calls == []
