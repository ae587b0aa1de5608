"""README and notes whose tables are drawn from results files: no number in them is typed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = sorted((Path(__file__).resolve().parents[1] / "tools").glob("*_note.py"))


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.stem)
def test_a_note_shows_its_results_files(tool: Path) -> None:
    checked = subprocess.run([sys.executable, str(tool), "--check"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_a_note_that_is_not_what_its_files_say_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS[0].parent))
    from note_blocks import write_or_check

    note = tmp_path / "note.md"
    note.write_text("<!-- x: tools/t.py -->\nold\n<!-- end of x -->")
    with pytest.raises(SystemExit, match=r"note.md is not what the results files say: run tools/t.py"):
        write_or_check("t.py", None, note, lambda: {"x": "new"}, ["--check"])
    write_or_check("t.py", None, note, lambda: {"x": "new"}, [])
    write_or_check("t.py", None, note, lambda: {"x": "new"}, ["--check"])
    assert "\nnew\n" in note.read_text()
