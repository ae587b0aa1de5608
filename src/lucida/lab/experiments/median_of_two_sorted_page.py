"""The page of :mod:`~lucida.lab.experiments.median_of_two_sorted`: what it declares and what it shows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lucida.lab.design import Claim, Design
from lucida.lab.experiment import Experiment, Section
from lucida.lab.experiments.median_of_two_sorted import (
    DATA,
    DISCARD,
    GROWS_BOTH,
    GROWS_ONE,
    LONGER,
    MERGE,
    SEARCH,
    SHAPES,
    SHORT,
    Settings,
    measure,
)
from lucida.lab.observations import Observations, points
from lucida.lab.short_answers import Answer
from lucida.report.lab_page import LinesFigure, TableFigure

CLAIMS = (
    Claim(
        "search_beats_merging",
        "A binary search needs a thousandth of the comparisons that merging needs, or less.",
        "二分查找所需的比较次数不到归并的千分之一。",
        "At the largest size, the search needs at least three decades fewer comparisons than a merge to the middle.",
        "decades of comparisons", "decades of comparisons", SEARCH, MERGE, -3.0, "data", DATA,
    ),
    Claim(
        "longer_side_is_free",
        "The longer side costs nothing: the search grows with the shorter side alone.",
        "较长的一边不增加代价：查找的代价只随较短的一边增长。",
        "For each decade by which the longer side alone grows, the search needs at least two comparisons less than "
        "where both grow.",
        "comparisons a decade", "comparisons for each decade of size", GROWS_ONE, GROWS_BOTH, -2.0, "data", DATA,
    ),
    Claim(
        "shorter_must_be_searched",
        "It has to be the shorter side in which one searches.",
        "必须在较短的一边上查找。",
        "With sides of very unequal length, a search in the shorter one needs at least three comparisons less than the "
        "same search in the longer one, between the places that can be right.",
        "comparisons, unequal sides", "comparisons", SEARCH, LONGER, -3.0, "data", DATA,
    ),
    Claim(
        "partition_beats_discarding",
        "Searching for the partition needs fewer comparisons than discarding half of what is left of k.",
        "查找划分点比每次舍弃 k 的一半所需的比较更少。",
        "The search needs at least three comparisons less than finding the k-th of both by discarding.",
        "comparisons by shape", "comparisons", SEARCH, DISCARD, -3.0, "the lengths of the sides", SHAPES, primary=False,
    ),
)  # fmt: skip

DESIGN = Design(
    name="median-of-two-sorted",
    title="The median of two sorted sequences",
    question="How few comparisons find the median of two sorted sequences?",
    question_zh="求两个有序序列的中位数，最少需要多少次比较？",
    claims=CLAIMS,
    factors={
        "method": "binary search for the partition in the shorter side, in the longer side; discarding halves of k; "
        "merging to the middle",
        "size": "both sides from one element on, a decade apart; or the longer side alone, with a hundred in the other",
        "data": "random steps; clusters (a few steps are huge); one side wholly behind the other",
    },
    held_fixed=("the same sequences for all methods", "float64", "comparisons of elements alone are counted"),
    data="sorted sequences, drawn anew for each seed, size and kind",
    networks="none: the arms are algorithms",
    would_change=(
        "elements whose comparison costs nothing beside reading them, in pages that are not in memory: then reads of "
        "the disk count, and a method that compares more within a page may win",
        "data whose values follow a known law: interpolation guesses better than halving does",
    ),
    sources=(
        ("Frederickson & Johnson 1982, The complexity of selection and ranking in X+Y and matrices with sorted columns",
         "https://doi.org/10.1016/0022-0000(82)90048-4"),
        ("Knuth 1998, The art of computer programming, volume three, section on minimum-comparison merging",
         "https://www-cs-faculty.stanford.edu/~knuth/taocp.html"),
    ),
)  # fmt: skip


def present(found: Observations) -> Sequence[Section]:
    """The idea, both sides, one side, time."""
    return (_both(found), _one(found), _time(found))


def _curves(found: Observations, what: str, data: str, bound: Sequence[tuple[float, float]]) -> LinesFigure:
    arms = (SEARCH, LONGER, DISCARD, MERGE)
    series = tuple(found.log_series(f"{what}/{data}/{arm}", arm) for arm in arms)
    return LinesFigure(
        f"Comparisons, {'both sides grow' if what == 'both' else 'the longer side grows'}, {data}",
        (*series, points(bound, "bound of the search")),
        x_label="elements of a side" if what == "both" else "elements of the longer side",
        y_label="comparisons",
        log_x=True,
        log_y=True,
    )


def _bound(size: float) -> int:
    return math.ceil(math.log2(size + 1)) + 2


def _both(found: Observations) -> Section:
    sizes = found.curves[f"both/{DATA[0]}/{SEARCH}"][0]
    figures = tuple(_curves(found, "both", data, [(float(n), _bound(n)) for n in sizes]) for data in DATA)
    rows = tuple((arm, tuple(f"comparisons/{arm}/{data}" for data in DATA)) for arm in (SEARCH, LONGER, DISCARD, MERGE))
    table = TableFigure("Comparisons at the largest size", DATA, rows)
    text = (
        "The lower half of both sequences together, `h = ⌈(m + n) / 2⌉` elements, consists of the first i of the one "
        "and the first `h - i` of the other. Only i is unknown. If `a[i] < b[h - i - 1]`, then a[i] belongs to the "
        "lower half too, and i is too small; if not, i is large enough. As i grows, the left side grows and the right "
        "side shrinks, so the answer changes once, and a binary search finds where: one comparison halves the `m + 1` "
        "places, `⌈log₂(m + 1)⌉` are enough. Then the lower half ends with the larger of two elements, and the upper "
        "half begins with the smaller of two: two comparisons more, and for an odd count one. "
        "Fewer cannot do: each of the `m + 1` places is right for some data, and a comparison has two outcomes. "
        f"The bound at the largest size is {{bound of comparisons:0}}; measured on random steps: "
        f"{{comparisons/{SEARCH}/{DATA[0]}}}, against {{comparisons/{MERGE}/{DATA[0]}:0}} of a merge."
    )
    return Section("The idea, and why it is right", text, (*figures, table))


def _one(found: Observations) -> Section:
    sizes = found.curves[f"one/{DATA[0]}/{SEARCH}"][0]
    figures = tuple(_curves(found, "one", data, [(float(n), _bound(min(n, SHORT))) for n in sizes]) for data in DATA)
    arms = (SEARCH, LONGER, DISCARD, MERGE)
    rows = tuple((arm, tuple(f"comparisons, unequal sides/{arm}/{data}" for data in DATA)) for arm in arms)
    table = TableFigure("Comparisons with a hundred elements in the shorter side", DATA, rows)
    text = (
        "With a hundred elements on one side, the search has the same few places to choose from however long the "
        "other side is. It may even be done in the longer side: the lower half holds at most all of the shorter side, "
        "so that all but `m + 1` places in the longer one are ruled out before the first comparison. What counts "
        "is not where one searches but how many places can be right. Discarding halves of k (each time about `k / 2` "
        "elements that cannot be the k-th) pays for the sum of both lengths, except where the shorter side is used up "
        "at once."
    )
    return Section("One side grows", text, (*figures, table))


def _time(found: Observations) -> Section:
    lines = LinesFigure(
        "Time of a call",
        (found.log_series("time/search", "search"), found.log_series("time/numpy", "NumPy's median of both")),
        x_label="elements of a side",
        y_label="microseconds",
        log_x=True,
        log_y=True,
        caption="Both in memory. NumPy copies both sides into one array and partitions it.",
    )
    text = (
        "Seconds belong to the machine named below; comparisons to the method. At the largest size the search takes "
        "{microseconds at the largest size/search:ci} microseconds, most of them Python's; NumPy's median of both in "
        "one array takes {microseconds at the largest size/numpy:ci}. The search never copies, so that its sides may "
        "lie in files of any size: then each element it looks at may cost a read of the disk, and that is all it costs."
    )
    return Section("Time", text, (lines,))


_TEXT = (
    "As many as it takes to halve the places of the shorter side, and two: with {largest size:0} elements on each side "
    f"{{comparisons/{SEARCH}/{DATA[0]}}} comparisons on average, never more than {{bound of comparisons:0}}, where a "
    f"merge to the middle needs {{comparisons/{MERGE}/{DATA[0]}:0}}. The longer side is free: when it alone grows, a "
    f"decade costs {{comparisons a decade/{GROWS_ONE}/{DATA[0]}:2}} comparisons; when both do, "
    f"{{comparisons a decade/{GROWS_BOTH}/{DATA[0]}:2}}. That the search has to be in the shorter side is not so: in "
    f"the longer one it needs {{comparisons, unequal sides/{LONGER}/{DATA[0]}}} against "
    f"{{comparisons, unequal sides/{SEARCH}/{DATA[0]}}}, if it starts from the places that can be right."
)
_TEXT_ZH = (
    "只需把较短一边的候选位置不断减半，再加两次：每边 {largest size:0} 个元素时，平均 "
    f"{{comparisons/{SEARCH}/{DATA[0]}}} 次比较，最多 {{bound of comparisons:0}} 次；而归并到中间需要 "
    f"{{comparisons/{MERGE}/{DATA[0]}:0}} 次。较长的一边不增加代价：只有它变长时，长度每增十倍多 "
    f"{{comparisons a decade/{GROWS_ONE}/{DATA[0]}:2}} 次比较；两边同时变长则多 "
    f"{{comparisons a decade/{GROWS_BOTH}/{DATA[0]}:2}} 次。“必须在较短的一边查找”并不成立：只要从可能正确的位置出发，"
    f"在较长的一边查找需要 {{comparisons, unequal sides/{LONGER}/{DATA[0]}}} 次，在较短的一边需要 "
    f"{{comparisons, unequal sides/{SEARCH}/{DATA[0]}}} 次。"
)
ANSWERS = (Answer(("supported", "supported", "refuted"), _TEXT, _TEXT_ZH),)

EXPERIMENT = Experiment(
    design=DESIGN,
    settings={
        "quick": Settings(tuple(10**k for k in range(6)), 20),
        "full": Settings(tuple(10**k for k in range(8)), 100),
    },
    measure=measure,
    present=present,
    answers=ANSWERS,
    source="lab/experiments/median_of_two_sorted.py",
    helpers=("algorithms.py",),
)
