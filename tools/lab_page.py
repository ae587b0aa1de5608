"""docs/lab.md: every question of the lab with its short answer and its verdicts, drawn from docs/results/lab.

    python tools/lab_page.py [--check]

``--check`` changes nothing and fails if the page is not what the files say. The book (``lucida lab book``) has the
figures, the design and every number; this page is for readers of the repository.
"""

from __future__ import annotations

import argparse
import html
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from lucida.core.results import Results, write_text
from lucida.lab.experiments import NAMES
from lucida.report.lab_page import ExperimentPage, Ruling, read_page
from lucida.report.sourced import filled, formatted

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "lab.md"
HEAD = """# The lab

What people say about training, each question put to a controlled experiment: claims, arms and the smallest effect
that matters were declared first, each arm has its own best learning rate (tuned on other seeds; a page says where it
borrows one), and the seeds decide. *Supported*: the interval (Holm over the primary claims) excludes zero and the
estimate reaches the smallest effect in the predicted direction. *Refuted*: the interval excludes the smallest effect.
*Depends*: an interaction declared in advance is significant and the verdict differs between its levels. Else
*inconclusive*. Verdicts in bold are those of primary claims.

`lucida lab book` makes the pages with figures, design and all numbers; `lucida lab run NAME` measures anew. This
page is drawn from [results/lab](results/lab) by `tools/lab_page.py`.
"""


def drawn(folder: Path) -> str:
    """The page of the results in a folder, in the order of the book."""
    parts = [HEAD]
    for name in NAMES:
        path = folder / f"{name}.json"
        if path.exists():
            results = Results.load(path)
            parts.append(question(read_page(results, path), results, path.name))
    return "\n".join(parts)


def question(page: ExperimentPage, results: Results, file: str) -> str:
    """A section: the answer, then a row for each claim."""
    answer = html.unescape(re.sub(r"<[^>]+>", "", filled(page.answer, results, file)))
    lines = [
        f"## {page.title}",
        "",
        f"{page.question}",
        "",
        answer,
        "",
        f"| claim | verdict | effect, {page.seeds} seeds |",
    ]
    lines += ["|---|---|---|", *(row(ruling, results) for ruling in page.rulings)]
    return "\n".join([*lines, "", f"[results/lab/{file}](results/lab/{file}), `{page.rerun}`", ""])


def row(ruling: Ruling, results: Results) -> str:
    """A claim, its verdict by level where it depends, its effect with the interval, and what matters."""
    effect = results.metrics[f"claim/{ruling.name}/effect"]
    form = "points bare +" if ruling.share else "+"
    low, high = (formatted(bound, form) for bound in effect.ci95 or (None, None))
    unit = "points" if ruling.share else ruling.measure
    word = f"**{ruling.word}**" if ruling.primary else ruling.word
    if ruling.word == "depends":
        word += f" on {ruling.moderator} (" + "; ".join(f"{k}: {v}" for k, v in ruling.levels.items()) + ")"
    least = formatted(ruling.smallest_effect, f"{form} brief")
    text = f"{formatted(effect.value, form)} [{low}, {high}] {unit}; matters from {least}"
    return f"| {ruling.statement} | {word} | {text} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check: bool = parser.parse_args(arguments).check
    text = drawn(ROOT / "docs" / "results" / "lab")
    if not check:
        write_text(PAGE, text)
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        print("docs/lab.md is not what docs/results/lab says: run tools/lab_page.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
