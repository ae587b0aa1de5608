"""The page for those who know other libraries: its Python runs (its commands: test_documented_commands.py)."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image

from lucida.cli import main

sys.path.insert(0, str(Path(__file__).parent / "models"))
from tiny_encoders import clip

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "coming-from.md").read_text(encoding="utf-8")
SHELL = re.findall(r"^```sh\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
PYTHON = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)

LINES = [line for block in SHELL for line in block.splitlines() if line.startswith("lucida ")]


def test_there_is_something_to_check() -> None:
    assert len(PYTHON) == 1
    for library in ("open_clip", "TRL", "lmms-eval", "scikit-learn"):
        assert re.search(rf"^## .*{library}", PAGE, flags=re.MULTILINE), library
    assert PAGE.count("What lucida lacks") == 4


class Pairs:
    """Two pictures and their texts, again and again."""

    def __len__(self) -> int:
        return 512

    def batch(self, indices: Sequence[int], draw: Callable[[int], Any]) -> dict[str, Any]:
        ids = torch.tensor([[3, 4, 519], [5, 6, 519]])
        pixels = torch.stack([torch.zeros(3, 32, 32), torch.ones(3, 32, 32)])
        rows = torch.tensor(indices) % 2
        text = {"input_ids": ids[rows], "attention_mask": torch.ones_like(ids)[rows]}
        return {"image": {"pixel_values": pixels[rows]}, "text": text, "ids": rows}


def test_its_python_and_the_exports_behind_it_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    clip(Path("my/clip"), legacy=True)
    main(["export", "my/clip", "my/open-clip", "--format", "open_clip"])
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save("photo.png")
    capsys.readouterr()
    exec(compile(PYTHON[0], "coming-from.md", "exec"), {"pairs": Pairs()})
    assert capsys.readouterr().out.splitlines()[0] in ("dog", "cat")
    done = 0
    for line in LINES:
        _, verb, *rest = shlex.split(line)
        if verb == "export" and not rest[0].startswith("runs/adapt"):
            if rest[1] == "my/clip":
                rest[1] = "my/clip-again"  # the page calls it as the next line needs it; here it is there already
            main([verb, *rest])
            done += 1
    assert done == 4
    base, tuned, between = (hf.AutoModel.from_pretrained(f"my/clip{name}") for name in ("", "-tuned", "-between"))
    name = "visual_projection.weight"
    rows = [model.state_dict()[name] for model in (base, tuned, between)]
    assert not torch.equal(rows[0], rows[1])
    torch.testing.assert_close(rows[2], (rows[0] + rows[1]) / 2)
