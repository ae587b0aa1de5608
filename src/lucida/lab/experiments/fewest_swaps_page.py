"""The page of :mod:`~lucida.lab.experiments.fewest_swaps`: what it declares and what it shows."""

from __future__ import annotations

from collections.abc import Sequence

from lucida.lab.design import Claim, Design
from lucida.lab.experiment import Experiment, Section
from lucida.lab.experiments.fewest_swaps import (
    ANEW,
    ANY,
    BEST,
    DATA,
    LONG,
    NEIGHBOURS,
    SHORTER,
    SLIDING,
    Settings,
    measure,
)
from lucida.lab.observations import Observations, points
from lucida.lab.short_answers import Answer
from lucida.report.lab_page import LinesFigure, TableFigure

CLAIMS = (
    Claim(
        "any_two_beat_neighbours",
        "Swapping any two elements takes a thousandth of the swaps of neighbours, or less.",
        "允许交换任意两个元素时，所需的交换次数不到只交换相邻元素的千分之一。",
        "On the largest ring on which both are counted, three decades fewer swaps or more.",
        "decades of swaps", "decades of swaps", BEST, NEIGHBOURS, -3.0, "data", DATA,
    ),
    Claim(
        "the_place_matters",
        "It pays to look for the best place: elsewhere many more ones have to move.",
        "值得寻找最佳位置：放在别处要移动多得多的 1。",
        "On the largest ring, the best window swaps a share of the ones at least 5 points smaller than windows do on "
        "average.",
        "share swapped", "share of the ones that is swapped", BEST, ANY, -0.05, "data", DATA, share=True,
    ),
    Claim(
        "a_window_slides",
        "A window that slides makes the cost grow with the ring and not with its square.",
        "滑动窗口使代价随环的长度线性增长，而不是平方增长。",
        "For each decade of the ring, the elements that are read grow by at least half a decade less than with every "
        "window counted anew.",
        "decades read a decade", "decades of elements read for each decade of the ring", SLIDING, ANEW, -0.5, "data",
        DATA,
    ),
    Claim(
        "long_rings_gain_less",
        "The longer the ring, the smaller the share of swaps that the best place saves.",
        "环越长，最佳位置节省的交换比例越小。",
        "Against the average window, the best one saves a share of swaps that is at least half a decade smaller on the "
        "long ring than on the short one.",
        "decades of the share saved", "decades of the share of swaps saved", LONG, SHORTER, -0.5, "data", DATA,
        primary=False,
    ),
)  # fmt: skip

DESIGN = Design(
    name="fewest-swaps",
    title="Fewest swaps that gather the ones of a ring",
    question="How few swaps bring all ones of a ring of zeros and ones together, and how fast is that known?",
    question_zh="要把一个由 0 和 1 组成的环上所有的 1 聚到一起，最少需要多少次交换？多快能算出来？",
    claims=CLAIMS,
    factors={
        "swaps": "of any two elements, into the best window or into any; of neighbours alone",
        "method": "one window that slides; every window counted anew",
        "size": "rings from ten elements on, a decade apart",
        "data": "even: each element is one with probability a half; patchy: sixteen stretches with a probability each",
    },
    held_fixed=("the same rings for all arms", "each ring has a one at least"),
    data="rings of zeros and ones, drawn anew for each seed, size and kind",
    networks="none: the arms are algorithms",
    would_change=(
        "swaps that cost by their distance: then neighbours' swaps are what is counted, and the best window is another",
        "rings whose ones are rare or dense: in the limit nearly every one moves, or nearly none, whatever the place",
    ),
    sources=(
        ("Feller 1951, The asymptotic distribution of the range of sums of independent random variables",
         "https://doi.org/10.1214/aoms/1177729589"),
        ("Cormen et al. 2022, Introduction to algorithms, fourth edition", "https://mitpress.mit.edu/9780262046305/"),
    ),
)  # fmt: skip


def present(found: Observations) -> Sequence[Section]:
    """The idea, what the place is worth, the cost."""
    return (_idea(found), _place(found), _cost(found))


def _idea(found: Observations) -> Section:
    figures = tuple(
        LinesFigure(
            f"Swaps, {data} ring",
            tuple(found.log_series(f"swaps/{data}/{arm}", arm) for arm in (BEST, NEIGHBOURS)),
            x_label="elements of the ring",
            y_label="swaps",
            log_x=True,
            log_y=True,
        )
        for data in DATA
    )
    text = (
        "Gathered, the k ones fill a window of k places. Take any window: each of its zeros has to leave it, and a "
        "swap brings one zero out at most, so that fewer swaps than zeros cannot do. As many are enough: there are as "
        "many ones outside the window as zeros in it, and each swap exchanges such a pair. So the fewest swaps are the "
        "fewest zeros in any window of k places, and moving the window by one place changes their number by what "
        "enters and what leaves. That is one pass to count the ones, and one in which the window slides around. "
        "Where only neighbours may be swapped, each one has to walk: the distance grows with the ring, and the swaps "
        "with its square."
    )
    return Section("The idea, and why it is right", text, figures)


def _place(found: Observations) -> Section:
    sizes, shares = found.curves[f"saved/{DATA[0]}"]
    first = float(shares[:, 1].mean())
    line = [(float(n), first * (float(sizes[1]) / float(n)) ** 0.5) for n in sizes]
    lines = LinesFigure(
        "Share of swaps that the best window saves",
        (
            *(found.log_series(f"saved/{data}", data) for data in DATA),
            points(line, "one over the root of the length"),
        ),
        x_label="elements of the ring",
        y_label="share of the average window's swaps",
        log_x=True,
        log_y=True,
        share=True,
    )
    rows = tuple((arm, tuple(f"share swapped/{arm}/{data}" for data in DATA)) for arm in (BEST, ANY))
    table = TableFigure("Share of the ones that is swapped, largest ring", DATA, rows, shares=(True, True))
    text = (
        "Averaged over all places, a window of k holds `k (n - k) / n` zeros. Where ones are spread evenly, the number "
        "in a window wanders around that as a sum of coins does, by about `√n`: against n it is less and less (the "
        "dashed line starts at the second point). On the largest even ring the best window swaps "
        f"{{share swapped/{BEST}/{DATA[0]}:%}} of the ones, any window {{share swapped/{ANY}/{DATA[0]}:%}}; on the "
        f"patchy ring {{share swapped/{BEST}/{DATA[1]}:%}} and {{share swapped/{ANY}/{DATA[1]}:%}}."
    )
    return Section("What the best place is worth", text, (lines, table))


def _cost(found: Observations) -> Section:
    reads = LinesFigure(
        "Elements read",
        tuple(found.log_series(f"reads/{DATA[0]}/{arm}", arm) for arm in (SLIDING, ANEW)),
        x_label="elements of the ring",
        y_label="elements read",
        log_x=True,
        log_y=True,
        caption="Counted on a sequence that counts; for every window anew it is the length times one more than the "
        "ones.",
    )
    times = LinesFigure(
        "Time for an element",
        tuple(found.log_series(f"time/{kind}", kind) for kind in ("booleans", "int64", "list")),
        x_label="elements of the ring",
        y_label="nanoseconds an element",
        log_x=True,
        log_y=True,
        caption="Booleans and integers in arrays of NumPy, a list in Python.",
    )
    text = (
        "A list is read {reads of an element/one sliding window/even} times on average, an array three times: once to "
        "count and check, and at both ends of the window that slides. In arrays eight elements are packed into a byte; "
        "for each pair of a byte that enters and one that leaves, a table of `256 · 256` knows how the count changes "
        "and how high it rises on the way, so that only an eighth of the sums is left. Chunks stay in the processor's "
        "cache, whatever the length. On the largest rings an element takes {nanoseconds an element/booleans:ci} "
        "nanoseconds among booleans, {nanoseconds an element/int64:ci} in int64, which are eight times as many bytes, "
        "and {nanoseconds an element/list:ci} in a list. On short rings the call itself is what takes time."
    )
    return Section("What it costs", text, (reads, times))


_TEXT = (
    "As many as there are zeros in the best window as long as there are ones: no swap brings out two of them. A window "
    "that slides finds it; what is read grows by {decades read a decade/one sliding window/even} decades for each "
    "decade of the ring, where counting every window anew takes {decades read a decade/every window anew/even}. "
    "Booleans in memory take {nanoseconds an element/booleans} nanoseconds each. Against swaps of neighbours alone, "
    "those of any two are {claim/any_two_beat_neighbours/effect/even:ci} decades on an even ring. Whether the place "
    "matters depends on the ring: where ones are spread evenly, any place will do "
    "({claim/the_place_matters/effect/even:points ci} of the ones); on a patchy ring the best one changes the swaps by "
    "{claim/the_place_matters/effect/patchy:points ci}."
)
_TEXT_ZH = (
    "取长度等于 `1` 的个数的窗口，最好的窗口里有多少个 `0`，就需要多少次交换：一次交换不能移出两个 `0`。滑动窗口即可"
    "找到它：环每长十倍，读取的元素增加 {decades read a decade/one sliding window/even} 个数量级，而逐个窗口重新计数要"
    "增加 {decades read a decade/every window anew/even} 个。内存中的布尔数组每个元素用 "
    "{nanoseconds an element/booleans} 纳秒。在均匀的环上，与只交换相邻元素相差 "
    "{claim/any_two_beat_neighbours/effect/even:ci} 个数量级。位置是否重要取决于环：`1` 分布均匀时哪里都差不多"
    "（{claim/the_place_matters/effect/even:points ci}）；在疏密不均的环上，最佳位置使交换的比例变化 "
    "{claim/the_place_matters/effect/patchy:points ci}。"
)
ANSWERS = (
    Answer(
        ("supported", "depends", "supported"), _TEXT, _TEXT_ZH,
        {"the_place_matters/even": "refuted", "the_place_matters/patchy": "supported"},
    ),
)  # fmt: skip

EXPERIMENT = Experiment(
    design=DESIGN,
    settings={
        "quick": Settings(tuple(10**k for k in range(1, 7)), 10**3, 10**5, 10**4),
        "full": Settings(tuple(10**k for k in range(1, 9)), 10**4, 10**6, 10**5),
    },
    measure=measure,
    present=present,
    answers=ANSWERS,
    source="lab/experiments/fewest_swaps.py",
    helpers=("algorithms.py",),
)
