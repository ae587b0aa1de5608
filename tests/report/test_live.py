"""The live picture: rows in, lines of a fixed width out."""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from rich.console import Console

from lucida.report.live import picture
from lucida.report.live_rows import Course, Stage, stage_of
from lucida.report.strokes import LETTERS

WIDTHS = (60, 80, 140)


@dataclass(frozen=True)
class Found:
    name: str
    layer: str | None
    since_step: int
    evidence: str
    remedy: str


@dataclass(frozen=True)
class Noise:
    examples: float | None
    low: float | None
    high: float | None
    batch: float


@dataclass(frozen=True)
class Judged:
    findings: tuple[Found, ...]
    last: int
    noise_scale: Noise | None = None

    @property
    def healthy(self) -> bool:
        return not self.findings


VANISHING = Found(
    "vanishing-gradients", "blocks.0.linear", 30, "the gradient is 1e-9 of the largest one", "use residual connections"
)


def header(names: list[str]) -> dict[str, Any]:
    parameters = {f"{n}.weight": {"shape": [4, 4]} for n in names} | {f"{n}.bias": {"shape": [4]} for n in names}
    layers = {name: "linear: Linear" for name in names} | {"act": "activation: ReLU"}
    return {"kind": "model", "step": 0, "model": "Net", "layers": layers, "parameters": parameters}


def probe(step: int, names: list[str], **more: Any) -> dict[str, Any]:
    """A probed step, with gradients that fall from the last layer (1) to the first by a power of ten each."""
    layers: dict[str, Any] = {
        name: {"rms": 1.0, "rows": 64, "bad": False, "grad": 10.0 ** (k + 1 - len(names)), "negative": 0.0}
        for k, name in enumerate(names)
    }
    layers["act"] = {"rms": 1.0, "rows": 64, "bad": False, "silent": 0.25}
    parameters = {f"{n}.weight": [0.1, 2.0, 0.004, None] for n in names}
    row = {"kind": "probe", "step": step, "loss": 10.0 / step, "grad_norm": 1.5, "rates": [1e-3]}
    return row | {"layers": layers, "parameters": parameters, "scalars": {}, "attention": {}} | more


def blocks(count: int) -> list[str]:
    return [f"blocks.{k}.linear" for k in range(count)]


def rows(count: int = 20, names: int = 4, **more: Any) -> list[dict[str, Any]]:
    return [header(blocks(names)), *(probe(10 * k, blocks(names), **more) for k in range(1, count + 1))]


def drawn(stages: list[Stage], width: int, height: int | None = None, **more: Any) -> list[str]:
    """The lines of the picture, as a terminal of that width shows them; none is wider, none was cut by ``rich``."""
    said = io.StringIO()
    console = Console(file=said, width=width, height=height or 100, color_system=None, legacy_windows=False)
    made = picture(stages, title="runs/mine", status="following", width=width, height=height, **more)
    console.print(made, crop=False, no_wrap=True, overflow="ignore")
    lines = said.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert height is None or len(lines) <= height
    assert lines[0].startswith("─ runs/mine ─") or more
    return lines


@pytest.mark.parametrize("width", WIDTHS)
def test_empty_runs_wait(width: int) -> None:
    assert "no probed step yet" in drawn([], width)[1]
    assert "Net is watched, no probed step yet" in "\n".join(drawn([stage_of(".", [header(["0"])])], width))


@pytest.mark.parametrize("height", [None, 24])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_healthy_run(width: int, height: int | None) -> None:
    more = {
        "attention": {"blocks.0.attn": 0.25, "blocks.1.attn": 0.75},
        "scalars": {"logit_scale": 2.66, "gate": 0.1},
        "supervised": 0.125,
        "pictures": {"own": 1.0, "other": 1.5},
    }
    judged = Judged((), 200, Noise(310.4, 240.0, 431.0, 64.0))
    lines = drawn([stage_of(".", rows(**more), judged)], width, height)
    said = "\n".join(lines)
    assert lines[1].startswith("step 200, 20 probes, rate 0.001")
    assert "healthy so far" in said
    for words in (
        "64 rows, 25% at most, in act",
        "entropy 0.50, least 0.25 in blocks.0.attn",
        "2.66, at first 2.66: logit_scale",
        "12.5% of the labels",
        "loss 1 with its own, 1.5 with others",
        "310 examples (240 to 431), batch 64",
        "gradient by layer at step 200, input first, 1e-3 to 1",
    ):
        assert words in said
    assert "gate" not in said
    loss = next(line for line in lines if line.startswith("loss"))
    assert loss.split()[1:4] == ["1", "█▆▅▅▄▄▃▃▃▃▂▂▂▂▂▂▁▁▁▁", "0.05"]
    ratio = next(line for line in lines if line.startswith("update/weight"))
    assert ratio.split()[1] == "0.002"


@pytest.mark.parametrize("width", WIDTHS)
def test_bars_are_on_a_log_scale(width: int) -> None:
    lines = drawn([stage_of(".", rows(names=4))], width)
    bars = [line for line in lines if "blocks." in line and ".linear" in line]
    cells = [sum(c in "█▏▎▍▌▋▊▉" for c in line.partition("blocks.")[2]) for line in bars]
    assert len(bars) == 4
    assert cells[0] <= 1
    steps = [b - a for a, b in pairwise(cells)]
    assert max(steps) - min(steps) <= 2  # a power of ten is as long anywhere
    assert [line.split()[-1] for line in bars] == ["0.001", "0.01", "0.1", "1"]


@pytest.mark.parametrize("height", [24, 40, None])
@pytest.mark.parametrize("width", WIDTHS)
def test_sixty_layers_fit_the_screen(width: int, height: int | None) -> None:
    stage = stage_of(".", rows(names=60), Judged((VANISHING,) * 2, 200))
    lines = drawn([stage], width, height)
    said = "\n".join(lines)
    assert "vanishing-gradients in blocks.0.linear, since step 30" in said
    bars = lines[next(k for k, line in enumerate(lines) if "gradient by layer" in line) + 1 :]
    bars = [line for line in bars if "blocks." in line and "░" in line]
    assert any("░" in line and "█" in line for line in bars)
    assert any(" to 1" in line for line in bars)  # from the smallest to the largest of the last group
    if height is None:
        assert "remedy: use residual connections" in said


@pytest.mark.parametrize("width", WIDTHS)
def test_what_is_not_finite_is_seen(width: int) -> None:
    broken = probe(30, ["0"], loss=None, grad_norm=None)
    broken["layers"]["0"] |= {"grad": None, "bad": True}
    broken["parameters"] = {"0.weight": [None, None, None, None]}
    broken["bad"] = {
        "gradients": 1,
        "of": 2,
        "weights": ["0.weight"],
        "examples": {"where": "input 0", "bad": [3], "of": 8},
    }
    error = {"kind": "error", "step": 31, "error": "NonFiniteError", "message": "the loss [b]is[/b]\nNaN"}
    stage = stage_of(".", [header(["0"]), probe(10, ["0"]), probe(20, ["0"]), broken, error])
    said = "\n".join(drawn([stage], width, 24))
    assert "ended with NonFiniteError: the loss [b]is[/b] NaN" in said
    assert "█▁× not finite" in said  # the loss
    assert "1 of 2 gradients, weights in 0.weight" in said
    assert "rows 3 of 8 in input 0" in said
    assert said.count("not finite") == 3 + 2 + 1  # courses, their cause, the layer


def test_a_step_without_layers_leaves_the_bars_of_the_one_before() -> None:
    bare = probe(20, ["0"]) | {"layers": {}, "grad_norm": None}
    said = "\n".join(drawn([stage_of(".", [header(["0"]), probe(10, ["0"]), bare])], 80))
    assert "gradient by layer at step 10" in said
    assert "step 20, 2 probes" in said


def test_models_without_hooks_show_their_parameters() -> None:
    bare = probe(10, ["0"]) | {"layers": {}}
    said = "\n".join(drawn([stage_of(".", [header(["0"]), bare])], 80))
    assert "gradient by parameter at step 10" in said
    assert "0.weight" in said


@pytest.mark.parametrize("width", WIDTHS)
def test_several_stages(width: int) -> None:
    first = stage_of("frozen_start", rows(), Judged((), 200))
    second = stage_of("dual_encoder", rows(names=30), Judged((VANISHING,), 200))
    third = stage_of("language", rows(3), Judged((), 20))
    lines = drawn([first, second, third], width, 24)
    assert lines[1].startswith("language  step 30, 3 probes")
    others = [line[: width if width < 120 else 69] for line in lines if line.startswith(("frozen", "dual"))]
    assert others[0].split()[0] == "frozen_start"
    assert others[0].rstrip().endswith("healthy")
    assert others[1].rstrip().endswith("1 finding")
    assert re.search(r"▲ dual_encoder: vanishing-gradients in (…|blocks\.).*r, since step 30", "\n".join(lines))
    assert drawn([first, second, third], width, 24, current="dual_encoder")[1].startswith("dual_encoder  step 200")


def test_findings_stay_where_there_is_little_room() -> None:
    many = tuple(Found(f"fault-{k}", None, k, "numbers " * 20, "do " * 20) for k in range(6))
    stage = stage_of(".", rows(names=30), Judged(many, 190))
    for height in range(2, 40):
        lines = drawn([stage], 80, height)
        assert len(lines) == height or height > 30
    said = "\n".join(drawn([stage], 80, 12))
    assert "findings as of step 190" in said
    assert "fault-0, since step 0" in said
    assert "and 4 more" in said
    assert all(f"fault-{k}" in "\n".join(drawn([stage], 80, 24)) for k in range(6))


def test_any_width_is_drawn() -> None:
    stage = stage_of("a_stage_with_a_long_name", rows(names=30), Judged((VANISHING,), 200))
    for width in range(40, 200, 7):
        drawn([stage, stage_of("other", rows())], width, 24)


def test_terminals_of_letters_alone() -> None:
    stage = stage_of(".", rows(names=60), Judged((VANISHING,), 100))
    assert "".join(drawn([stage, stage_of("b", rows())], 80, 24, marks=LETTERS)).isascii()


def test_a_course_does_not_grow_with_the_run() -> None:
    course = Course(limit=8)
    for k in range(1000):
        course.add(math.nan if k == 700 else None if k < 10 else 1.0)
        assert len(course.values(100)) <= 8
    assert [x for x in course.values(100) if x is not None and not math.isfinite(x)]
    assert course.first == 1.0
    only = Course()
    only.add(None)
    assert only.values(10) == [None]
    assert Course().values(10) == []
