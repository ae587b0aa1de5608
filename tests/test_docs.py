"""The documentation cannot go stale: links resolve, examples run, names exist, the walkthrough is its program."""

from __future__ import annotations

import doctest
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

import pytest
import torch

from lucida.losses.contrastive import contrastive_loss

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
WALKTHROUGH = ROOT / "docs" / "clip_walkthrough.py"


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text(encoding="utf-8")), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    found = re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text(encoding="utf-8")))
    return [unquote(link) for link in found if not re.match(r"[a-z]+:", link)]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def walkthrough() -> ModuleType:
    spec = importlib.util.spec_from_file_location("clip_walkthrough", WALKTHROUGH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_there() -> None:
    names = {page.relative_to(ROOT).as_posix() for page in PAGES}
    count = sum(len(links(page)) for page in PAGES)
    print(f"{len(names)} pages, {count} links inside the repository")
    assert {"README.md", "docs/architecture.md", "docs/coverage.md", "docs/clip-walkthrough.md"} <= names
    assert count >= 12


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_resolve(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), f"{link} leaves the repository"
        assert target.exists(), f"{link} does not exist"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{link}: no such heading"


def test_the_examples_of_the_pages_give_what_they_print() -> None:
    ran = 0
    for page in PAGES:
        for block in blocks(page, "pycon"):
            test = doctest.DocTestParser().get_doctest(block, {}, page.name, str(page), 0)
            report: list[str] = []
            outcome = doctest.DocTestRunner(verbose=False).run(test, out=report.append)
            assert outcome.failed == 0, "".join(report)
            ran += outcome.attempted
    assert ran >= 5


def test_the_layers_of_the_page_are_those_of_the_check() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    checked = [re.sub(r"[()]", "", layer) for layer in contract[0]["layers"] if "__main__" not in layer]
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    line = re.search(r"`(cli → .*)`", page)
    assert line is not None
    assert [set(layer.split(" | ")) for layer in line[1].split(" → ")] == [set(layer.split(" | ")) for layer in checked]


def test_modules_named_in_the_pages_exist() -> None:
    """Names in code style such as ``lucida.data.scenes`` or ``training.step``, in the pages that describe the code."""
    packages = {path.name for path in (ROOT / "src" / "lucida").iterdir() if path.is_dir()}
    names = set()
    for page in (ROOT / "docs" / "architecture.md", ROOT / "docs" / "clip-walkthrough.md"):
        for name in re.findall(r"`(?:lucida\.)?([a-z_]+(?:\.\w+)+)`", page.read_text(encoding="utf-8")):
            if name.split(".")[0] in packages and not name.endswith((".html", ".json", ".py")):
                names.add(name)
    assert len(names) >= 15
    for name in sorted(names):
        base = ROOT.joinpath("src", "lucida", *name.split("."))
        source = base.parent.with_suffix(".py")
        if base.is_dir() or base.with_suffix(".py").is_file():
            continue
        assert source.is_file(), f"{name} does not exist"
        assert re.search(rf"^(?:class|def) {base.name}\b", source.read_text(encoding="utf-8"), re.MULTILINE), name


def test_the_pieces_of_the_walkthrough_are_its_program() -> None:
    pieces = "\n".join(blocks(ROOT / "docs" / "clip-walkthrough.md", "python"))
    page, program = ([line for line in text.splitlines() if line] for text in (pieces, WALKTHROUGH.read_text("utf-8")))
    assert page == program
    assert 50 <= len(program) <= 80, "CLIP in about sixty lines"


def test_the_output_on_the_page_is_the_recorded_one() -> None:
    page = blocks(ROOT / "docs" / "clip-walkthrough.md", "text")
    recorded = (ROOT / "docs" / "results" / "clip-walkthrough.txt").read_text(encoding="utf-8")
    assert page == [recorded]


def test_the_walkthrough_runs(tmp_path: Path) -> None:
    call = [sys.executable, str(WALKTHROUGH), "--tiny"]
    answer = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert answer.returncode == 0, answer.stderr
    assert re.search(r"^step +\d+ +loss \d+\.\d+", answer.stdout, re.MULTILINE)
    assert (
        len(re.findall(r"^(?:openmoji|twemoji): \d+\.\d% of [1-9]\d* pictures named right", answer.stdout, re.M)) == 2
    )
    assert "chance: " in answer.stdout


def test_the_loss_of_the_walkthrough_is_the_one_of_the_product(walkthrough: ModuleType) -> None:
    generator = torch.Generator().manual_seed(0)
    images, texts = (torch.randn(8, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    images, texts = (features / features.norm(dim=1, keepdim=True) for features in (images, texts))
    ids = torch.tensor([0, 1, 2, 0, 3, 4, 4, 4])
    written_out = walkthrough.symmetric_loss(14.0 * images @ texts.T, ids)
    torch.testing.assert_close(written_out, contrastive_loss(images, texts, 14.0, ids=ids), rtol=1e-7, atol=1e-7)


def test_the_temperature_of_the_walkthrough_is_clamped(walkthrough: ModuleType) -> None:
    model = walkthrough.CLIP(6, 4).eval()
    torch.nn.init.constant_(model.log_logit_scale, 50.0)
    assert model(torch.randn(3, 6), torch.randn(2, 4)).abs().max() <= 100.001
