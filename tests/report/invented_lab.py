"""Invented results of lab pages: every kind of drawing, long names, missing values, numbers tiny and huge."""

from __future__ import annotations

import math

import numpy as np

from lucida.core.results import Metric, Results
from lucida.core.seeds import stream
from lucida.report.lab_page import (
    EffectRow,
    EffectsFigure,
    ExperimentPage,
    GridFigure,
    LinesFigure,
    Ruling,
    Series,
    TableFigure,
    page_values,
)

ENVIRONMENT = {
    "python": "3.11.7",
    "platform": "Linux-6.1-x86_64",
    "processor": "A processor with 2 cores",
    "versions": {"camera-lucida": "0.1.0", "torch": "2.13.0+cpu", "peft": None},
    "commit": "0123456789abcdef0123456789abcdef01234567",
    "uncommitted_changes": True,
    "seed": 0,
    "started": "2026-01-02T03:04:05+0000",
}


def metric(value: float, half: float | None = None, n: int | None = 8) -> Metric:
    return Metric(value, None if half is None else (value - half, value + half), n)


def banded(label: str, x: list[float], y: list[float | None], wide: float = 0.1, dashed: bool = False) -> Series:
    low = tuple(None if v is None else v - wide * abs(v) for v in y)
    high = tuple(None if v is None else v + wide * abs(v) for v in y)
    return Series(label, tuple(x), tuple(y), () if dashed else low, () if dashed else high, dashed)


def rich() -> Results:
    """A page with everything."""
    noise = stream(0, "invented")
    results = Results(seconds={"measured": 4210.3, "drawn": 2.41}, peak_mb=812.4)
    arms = ("plain SGD", "SGD with momentum and weight decay, tuned on other seeds", "Adam", "AdamW, decoupled",
            "RMSprop 0.99", "signSGD")  # fmt: skip
    for k, arm in enumerate(arms):
        for data in ("digits", "emoji"):
            results.add(f"accuracy/{arm}/{data}", metric(0.5 + 0.07 * k, 0.03))
            results.add(f"loss/{arm}/{data}", metric(10.0 ** (-2 * k), 10.0 ** (-2 * k) / 5))
    results.add("never", Metric(math.nan, (math.nan, math.nan), 0))
    results.add("huge", metric(3.2e11, 1e10))
    results.add("tiny", metric(-4.1e-9, 1e-9))
    for name, value, half in (("momentum_wins", 0.083, 0.021), ("adam_generalises_worse", -0.002, 0.004)):
        results.add(f"claim/{name}/effect", metric(value, half))
    results.add("claim/batch_matters/effect", metric(-1.31, 0.35))
    for level, value in (("batch 8", -2.8), ("batch 64, the usual one", -0.9), ("batch 512", 0.1)):
        results.add(f"claim/batch_matters/effect/{level}", metric(value, 0.4))
    results.add("claim/open_question/effect", metric(0.4, 1.9))
    results.leave_out("second_order", "an exact Hessian of 10^6 weights does not fit into memory")
    steps = [float(s) for s in range(0, 2001, 4)]
    falling = [
        banded(arm, steps, [float(2.3 * np.exp(-s / (150 + 90 * k)) + 0.02 + 0.01 * noise.random()) for s in steps])
        for k, arm in enumerate(arms)
    ]
    powers = [2.0**k for k in range(11)]
    results.details = {
        "environment": ENVIRONMENT,
        "settings": {"width": 64, "depths": [5, 20], "rate": 0.05},
        "page": page_values(_page(falling, powers, arms)),
    }
    return results


def _rulings() -> tuple[Ruling, ...]:
    return (
        Ruling(
            "momentum_wins", "Momentum reaches a higher accuracy than plain SGD, each at its own best learning rate.",
            "在各自最佳学习率下，动量法的准确率高于普通 SGD。", "After 2000 steps the test accuracy is higher.",
            "test accuracy", 0.05, "supported", power=0.94, arms=(
                "SGD with momentum and weight decay, tuned on other seeds", "plain SGD"),
            confidence=0.98333, false_support=0.002, share=True,
        ),
        Ruling(
            "batch_matters", "Larger batches need fewer steps.", "批量越大，所需步数越少。",
            "The number of steps to a loss of 0.1 falls with the batch size.", "decades of steps", -1.0, "depends",
            power=0.71, levels={"batch 8": "supported", "batch 64, the usual one": "inconclusive",
                                "batch 512": "refuted"},
            moderator="batch size", arms=("momentum", "none"), interaction=3.1e-7, censored=(3, 0),
        ),
        Ruling(
            "open_question", "Whatever is left open.", "仍未解决的问题。", "Something is larger.", "thousand steps",
            1.0, "inconclusive", power=0.21,
        ),
        Ruling(
            "adam_generalises_worse", "Adam generalises worse than SGD.", "Adam 的泛化比 SGD 差。",
            "At equal training loss the test error of Adam is higher.", "test error", 0.02, "refuted", primary=False,
            power=1.0, confidence=0.95, share=True,
        ),
        Ruling(
            "not_measured", "A claim whose effect is missing from the file.", "缺失。", "Nothing.", "nothing", 0.5,
            "inconclusive", primary=False,
        ),
    )  # fmt: skip


def _curves(falling: list[Series], powers: list[float]) -> tuple[LinesFigure, ...]:
    return (
        LinesFigure("Training loss by step", tuple(falling), "step", "training loss (cross-entropy)", section="course"),
        LinesFigure("The same, logarithmic", (*falling[:3], banded("predicted: exp(-t/150)", [0.0, 1000.0, 2000.0],
                    [2.3, 0.1, 0.004], dashed=True)), "step", "training loss", log_y=True, section="course",
                    caption="Best {accuracy/Adam/digits:%} at `t = 150`."),
        LinesFigure("Steps by batch size", (
            banded("measured", powers, [9000 / p + 200 if p != 64 else None for p in powers]),
            banded("critical batch size model", powers, [8500 / p + 210 for p in powers], dashed=True),
            banded("diverged early", powers[:3], [9000.0, 12000.0, 30000.0]),
            banded("one point", [32.0], [700.0]),
        ), "batch size", "steps to a training loss of 0.1", log_x=True, log_y=True, section="course"),
        LinesFigure("Accuracy by noise", (
            banded("clean labels", [0.0, 0.2, 0.4, 0.6], [0.98, 0.97, 0.95, 0.91], 0.01),
            banded("memorised", [0.0, 0.2, 0.4, 0.6], [1.0, 0.99, 0.985, 0.99], 0.005),
        ), "share of wrong labels", "accuracy", share=True, section="course"),
        LinesFigure("Nothing was measured", (Series("a curve of gaps", (1.0, 2.0), (None, None)),), "x", "y",
                    log_y=True, section="course"),
        LinesFigure("A small range on a logarithmic axis", (
            banded("one", [30.0, 60.0, 90.0], [2.1, 3.0, 5.9]), banded("two", [30.0, 60.0, 90.0], [2.0, 3.1, 6.0])),
            "width", "seconds", log_x=True, log_y=True, section="course"),
    )  # fmt: skip


def _maps() -> tuple[GridFigure, ...]:
    wide_rows = tuple(
        f"{name}, {start}" for name in ("sigmoid", "leaky ReLU", "GELU") for start in ("small weights", "He")
    )
    columns = tuple(str(2**k) for k in range(12))
    wide = tuple(
        tuple(None if (i + k) % 11 == 7 else -12.0 + i + k * 0.9 for k in range(12)) for i in range(len(wide_rows))
    )
    ranged = tuple(tuple(10.0 ** (3 * i - k) for k in range(4)) for i in range(3))
    return (
        GridFigure("Gradient: first layer against last", wide_rows, columns, wide, "network", "layers",
                   "log10 of the ratio", section="maps", caption="0: all layers get the same."),
        GridFigure("Trainability", wide_rows[:4], columns[:4],
                   tuple(tuple(min(1.0, 0.1 + 0.08 * (3 * i + k)) for k in range(4)) for i in range(4)),
                   "network", "layers", "accuracy", share=True, section="maps"),
        GridFigure("A large range", ("a", "b", "c"), columns[:4], ranged, "which", "how many", "variance",
                   section="maps"),
    )  # fmt: skip


def _effects(arms: tuple[str, ...]) -> tuple[EffectsFigure | TableFigure, ...]:
    return (
        EffectsFigure("Accuracy of each optimizer", tuple(EffectRow(arm, f"accuracy/{arm}/digits") for arm in arms),
                      "accuracy at the best rate", share=True, section="effects"),
        EffectsFigure("Effects on one scale", (
            EffectRow("momentum against none", "claim/momentum_wins/effect"),
            EffectRow("Adam against SGD at equal training loss, with a label that takes more than one line",
                      "claim/adam_generalises_worse/effect"),
            EffectRow("not there", "nowhere"), EffectRow("not a number", "never"),
        ), "difference in accuracy", smallest_effect=0.05, section="effects"),
        EffectsFigure("Far from zero", (EffectRow("huge", "huge"),), "parameters", section="effects"),
        TableFigure("Everything by data", ("accuracy, digits", "accuracy, emoji", "loss, digits", "loss, emoji"),
                    tuple((arm, (f"accuracy/{arm}/digits", f"accuracy/{arm}/emoji", f"loss/{arm}/digits",
                                 f"loss/{arm}/emoji" if k else "")) for k, arm in enumerate(arms)),
                    shares=(True, True), section="effects"),
        TableFigure("Without a section", ("value",), (("never", ("never",)), ("absent", ("absent",)))),
    )  # fmt: skip


def _page(falling: list[Series], powers: list[float], arms: tuple[str, ...]) -> ExperimentPage:
    return ExperimentPage(
        name="optimizers",
        title="Optimizers: momentum, Adam and the size of the batch",
        question="Which part of an optimizer matters, & when is <plain SGD> enough?",
        question_zh="优化器的哪一部分起作用？什么时候普通 SGD 就够了？",
        answer="Momentum adds {claim/momentum_wins/effect:points ci} of accuracy over {seeds} seeds.\n\n"
        "Adam reaches {accuracy/Adam/digits:%} (n = {accuracy/Adam/digits:n}) at width {settings/width} and rate "
        "{settings/rate:2}; the tiny one is {tiny}, the huge one {huge:ci}. A gain of `1/2` is theory, float32 a name.",
        answer_zh="动量法把准确率提高了 {claim/momentum_wins/effect:points ci}。",
        rulings=_rulings(),
        design=(("Data", "digits of 8×8 pixels"), ("Networks", "3 perceptrons"), ("Seeds", "8 (0 to 7)")),
        drawings=(*_curves(falling, powers), *_maps(), *_effects(arms)),
        sections={
            "course": ("How it learns in 2000 steps", "Loss falls to {loss/Adam/digits} in the end."),
            "maps": ("Maps", "First.\n\nSecond paragraph with {accuracy/plain SGD/emoji:%}."),
            "effects": ("Effects", ""),
            "empty": ("Never shown", ""),
        },
        would_change=("10 times the steps", "a metric such as {never}"),
        sources=(("Kingma & Ba 2015, Adam", "https://arxiv.org/abs/1412.6980"),),
        scale="full",
        seeds=8,
        design_hash="54c976f76b6a5957c0cc975f",
        rerun="lucida lab run optimizers --scale full --seeds 8",
        topic="Optimisation",
    )


def small(name: str = "small", topic: str = "Generalisation", word: str = "refuted") -> Results:
    """A page with one claim and nothing else."""
    results = Results()
    results.add("claim/only/effect", Metric(-0.3, (-0.5, -0.1), 5))
    ruling = Ruling("only", "Dropout helps.", "随机失活有帮助。", "Higher.", "accuracy", 0.1, word)  # type: ignore[arg-type]
    page = ExperimentPage(
        name, f"The page {name}", "Does it help?", "有帮助吗？", "It does not: {claim/only/effect:ci}.", "没有帮助。",
        (ruling,), (("Data", "digits"),), (), {}, (), (), "quick", 5, "hash", f"lucida lab run {name}", topic,
    )  # fmt: skip
    results.details["page"] = page_values(page)
    return results
