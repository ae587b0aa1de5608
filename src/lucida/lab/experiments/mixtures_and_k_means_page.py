"""The page of :mod:`~lucida.lab.experiments.mixtures_and_k_means`: what it declares and what it shows."""

from __future__ import annotations

from collections.abc import Sequence

from lucida.lab.design import Claim, Design
from lucida.lab.experiment import Experiment, Section
from lucida.lab.experiments.mixtures_and_k_means import (
    AGREEMENT,
    BY_BIC,
    CERTAIN,
    COIN,
    CURVES,
    DATA,
    ELLIPSOIDS,
    FITTED,
    FULL,
    K_MEANS,
    LIKELIHOOD,
    POINTS_OUT,
    RULE,
    SHRUNK,
    SPHERES,
    SPHERICAL,
    SWEPT,
    TIED,
    TRUE,
    UNANNOUNCED,
    Settings,
    measure,
)
from lucida.lab.observations import Observations, points
from lucida.lab.short_answers import Answer
from lucida.report.lab_page import EffectRow, EffectsFigure, LinesFigure, TableFigure

_UNITS = {
    AGREEMENT: "adjusted Rand index with the true groups, held out",
    LIKELIHOOD: "nats for each dimension of a held-out point",
    UNANNOUNCED: "share of its mistakes that its probabilities do not announce",
    POINTS_OUT: "share of pairs of a right and a wrong point of which the right one is surer",
    "octaves from the truth": "octaves between the number chosen and the number of groups",
    "octaves above the truth": "octaves by which the number chosen exceeds the number of groups",
}


def _claim(
    name: str, texts: tuple[str, str, str], measure: str, arms: tuple[str, str], smallest: float,
    *, primary: bool = False,
) -> Claim:  # fmt: skip
    return Claim(name, *texts, measure, _UNITS[measure], *arms, smallest, "data", DATA, primary=primary)


CLAIMS = (
    _claim(
        "a_mixture_finds_the_groups_better",
        ("A Gaussian mixture finds groups better than k-means does.",
         "高斯混合模型比 k-means 更能找出真实的分组。",
         "Fitted from the same starts with the true number of components, the mixture of full covariances agrees "
         "better with the groups of held-out points."),
        AGREEMENT, (FULL, K_MEANS), 0.05, primary=True,
    ),
    _claim(
        "bic_finds_the_number",
        ("BIC finds the number of groups.",
         "BIC 能找出分组的数目。",
         "The number with the lowest BIC, full covariances, is nearer to the true one than the root of half the number "
         "of points, a rule that never looks at them."),
        "octaves from the truth", (BY_BIC.format(FULL), RULE), -0.5, primary=True,
    ),
    _claim(
        "probabilities_know",
        ("A mixture's probabilities know how often it is wrong.",
         "混合模型给出的概率知道自己有多常出错。",
         "On held-out points they announce at least half of its mistakes, compared with the same assignments taken as "
         "certain."),
        UNANNOUNCED, (FULL, CERTAIN), -0.5, primary=True,
    ),
    _claim(
        "low_probabilities_point_at_mistakes",
        ("A low probability points at a mistake.",
         "概率低的点更可能是分错的点。",
         "A right point is surer than a wrong one more often than a coin would say."),
        POINTS_OUT, (FULL, COIN), 0.2,
    ),
    _claim(
        "shrinking_helps",
        ("Shrinking the covariances makes a full mixture better.",
         "收缩协方差能改进完全协方差的混合模型。",
         "With a tenth of the mean variance added to every variance, held-out points are likelier."),
        LIKELIHOOD, (SHRUNK, FULL), 0.01,
    ),
    _claim(
        "soft_borders_are_enough",
        ("Soft borders alone make a mixture better than k-means.",
         "仅仅把边界变软，混合模型就优于 k-means。",
         "A mixture of spheres, which differs from k-means in sizes, weights and soft borders, agrees better with the "
         "groups."),
        AGREEMENT, (SPHERICAL, K_MEANS), 0.05,
    ),
    _claim(
        "one_shape_for_all_is_enough",
        ("One shape for all components is enough to beat k-means.",
         "所有分量共用一个形状，就足以胜过 k-means。",
         "A mixture of tied covariances agrees better with the groups."),
        AGREEMENT, (TIED, K_MEANS), 0.05,
    ),
    _claim(
        "the_wrong_shape_counts_too_many",
        ("With spheres where groups are none, BIC counts too many.",
         "分组并非球形而用球形分量时，BIC 数出的分组偏多。",
         "BIC of mixtures of spheres chooses more components than BIC of full ones."),
        "octaves above the truth", (BY_BIC.format(SPHERICAL), BY_BIC.format(FULL)), 0.5,
    ),
)  # fmt: skip

DESIGN = Design(
    name="mixtures-and-k-means",
    title="Gaussian mixtures and k-means",
    question="When does a Gaussian mixture beat k-means, does BIC find the number of groups, and do its probabilities "
    "know when it is wrong?",
    question_zh="高斯混合模型何时胜过 k-means？BIC 能找出分组的数目吗？它给出的概率知道自己何时出错吗？",
    claims=CLAIMS,
    factors={
        "clustering": "k-means; mixtures of spherical, diagonal, tied and full covariances, and full ones with a tenth "
        "of the mean variance added",
        "data": "eight planted groups in eight dimensions, spheres of equal size, or ellipsoids along random axes "
        "(largest variance thirty times the smallest, largest group eight times the smallest); digits; emoji",
        "elongation": "of planted groups of equal size",
        "points": "fitted, of planted ellipsoids",
        "number of components": "the true one; for BIC, many",
    },
    held_fixed=(
        "the points", "the starts (the same centres by k-means++ for all arms)", "how many starts",
        "the number of components but for BIC", "labels are for judging alone",
    ),
    data="planted groups, drawn anew for each seed; digits, and emoji by two artists as features of a frozen "
    "EfficientNet-Lite0, both reduced to sixteen principal components; half of them held out, anew for each seed",
    networks="none is trained",
    would_change=(
        "many more points for each component: the price of a full covariance is its number of parameters",
        "features of a tower that puts a category's pictures into one cloud: here a category is many kinds of thing",
        "groups that are no ellipsoids, on which any mixture of Gaussians needs several components a group",
    ),
    sources=(
        ("Dempster, Laird & Rubin 1977, Maximum likelihood from incomplete data via the EM algorithm",
         "https://doi.org/10.1111/j.2517-6161.1977.tb01600.x"),
        ("Arthur & Vassilvitskii 2007, k-means++: the advantages of careful seeding",
         "https://dl.acm.org/doi/10.5555/1283383.1283494"),
        ("Schwarz 1978, Estimating the dimension of a model", "https://doi.org/10.1214/aos/1176344136"),
        ("Fraley & Raftery 2002, Model-based clustering, discriminant analysis, and density estimation",
         "https://doi.org/10.1198/016214502760047131"),
        ("Hubert & Arabie 1985, Comparing partitions", "https://doi.org/10.1007/BF01908075"),
    ),
)  # fmt: skip


def present(found: Observations) -> Sequence[Section]:
    """Groups, shapes and sizes, numbers, probabilities, cost."""
    return (_groups(), _when(found), _number(found), _probabilities(found), _cost())


def _planted(data: str) -> tuple[str, ...]:
    return (TRUE,) if data in (SPHERES, ELLIPSOIDS) else ()


def _groups() -> Section:
    figures = tuple(
        EffectsFigure(
            f"Agreement with the groups, {data}",
            tuple(EffectRow(arm, f"{AGREEMENT}/{arm}/{data}") for arm in (*FITTED, *_planted(data))),
            x_label="adjusted Rand index, held-out points",
        )
        for data in DATA
    )
    text = (
        "All arms begin at the same centres and know the true number of groups. k-means measures distance alike in "
        "all directions: where groups are spheres of one size this is all there is to know, and every further number "
        "that a mixture fits is one more to be wrong about. Where they are ellipsoids, a point between two centres may "
        "clearly belong to one of them, and only the covariances say so."
    )
    return Section("Which groups are found", text, figures)


def _when(found: Observations) -> Section:
    figures = tuple(
        LinesFigure(title, tuple(found.series(f"{what}/{arm}", arm) for arm in (*CURVES, TRUE)),
                    x_label=x_label, y_label="adjusted Rand index", log_x=True)
        for what, title, x_label in (
            ("elongation", "By the shape of the groups", "largest variance of a group over its smallest"),
            ("points", "By the number of points, planted ellipsoids", "points fitted"),
        )
    )  # fmt: skip
    text = (
        "In eight dimensions a full covariance has `8 · 9 / 2` numbers, and every component has its own. The longer "
        "the groups, the more there is to gain; the fewer the points, the more of it is lost to numbers that are "
        "fitted badly. The line of the true mixture is what nobody can exceed: the groups overlap."
    )
    return Section("When the shape pays", text, figures)


def _number(found: Observations) -> Section:
    curves = tuple(
        LinesFigure(
            f"BIC by number of components, {data}",
            tuple(found.series(f"bic/{data}/{arm}", arm) for arm in SWEPT),
            x_label="components",
            y_label="above the lowest, for each point",
            log_x=True,
        )
        for data in DATA
    )
    names = [BY_BIC.format(arm) for arm in SWEPT]
    rows = tuple((data, (f"groups/{data}", *(f"number/{name}/{data}" for name in names))) for data in DATA)
    table = TableFigure("Number of components with the lowest BIC", ("groups", *names), rows)
    text = (
        "BIC asks how many Gaussians of a shape the points are worth, not how many groups there are. With spheres for "
        "ellipsoids it cuts each into pieces; with full covariances for few points it merges groups, since a further "
        "component costs more numbers than it gains."
    )
    return Section("How many", text, (table, *curves))


def _probabilities(found: Observations) -> Section:
    curves = tuple(
        LinesFigure(
            f"Right by probability, {data}",
            (
                *(found.series(f"reliability/{data}/{arm}", arm) for arm in (K_MEANS, FULL, SHRUNK)),
                points([(0.4, 0.4), (1.0, 1.0)], "as sure as right"),
            ),
            x_label="largest probability",
            y_label="share that is right",
            share=False,
        )
        for data in DATA
    )
    by_points = LinesFigure(
        "Unannounced mistakes by the number of points, planted ellipsoids",
        tuple(found.series(f"unannounced by points/{arm}", arm) for arm in (*CURVES, TRUE)),
        x_label="points fitted",
        y_label="share of mistakes that are not announced",
        log_x=True,
    )
    arms = (K_MEANS, TIED, FULL, SHRUNK)
    rows = tuple((arm, tuple(f"{UNANNOUNCED}/{arm}/{data}" for data in DATA)) for arm in arms)
    pointing = tuple((arm, tuple(f"{POINTS_OUT}/{arm}/{data}" for data in DATA)) for arm in arms)
    text = (
        "A posterior is the probability of a component if the mixture is true, and it says nothing of whether it is. "
        "Mistakes are unannounced as far as the mean of the largest posteriors exceeds the share that is right, over "
        "the share that is wrong: one for whoever is always certain, zero for whoever is as sure as right. A cluster "
        "counts as the group it is matched to, one to one, on the points that were fitted."
    )
    tables = (
        TableFigure("Share of mistakes that are not announced", DATA, rows),
        TableFigure("How often a right point is surer than a wrong one (a coin: a half)", DATA, pointing),
    )
    return Section("Does it know when it is wrong", text, (*tables, *curves, by_points))


def _cost() -> Section:
    seconds = tuple((arm, tuple(f"seconds/{arm}/{data}" for data in DATA)) for arm in FITTED)
    likelihood = tuple((arm, tuple(f"{LIKELIHOOD}/{arm}/{data}" for data in DATA)) for arm in FITTED)
    text = (
        "k-means is told as the mixture it is the limit of: one variance for all, and the groups' shares as weights. "
        "Seconds are those of all starts together, on one thread."
    )
    return Section(
        "What it costs, and held-out points",
        text,
        (TableFigure("Seconds of a fit", DATA, seconds), TableFigure("Held-out log-likelihood, nats for each dimension",
                                                                  DATA, likelihood)),
    )  # fmt: skip


_BETTER, _KNOW = "claim/a_mixture_finds_the_groups_better/effect", "claim/bic_finds_the_number/effect"
_FULL_IN, _SPHERES_IN = (f"number/{BY_BIC.format(arm)}" for arm in (FULL, SPHERICAL))
_TEXT = (
    "It depends on the shape of the groups, and on how many points there are for each number that is fitted. From the "
    "same starts, a mixture of full covariances changes the agreement with the true groups, against k-means, by "
    f"{{{_BETTER}/{ELLIPSOIDS}:+ ci}} on planted ellipsoids, by {{{_BETTER}/{SPHERES}:+ ci}} on planted spheres, by "
    f"{{{_BETTER}/digits:+ ci}} on digits and by {{{_BETTER}/emoji:+ ci}} on emoji as a frozen tower sees them. Soft "
    "borders alone gain nothing ({claim/soft_borders_are_enough/effect:+ ci}): what pays is the shape of each "
    "component, and it has to be paid for with points."
    f"\n\nBIC is nearer to the number of groups than a rule that never looks at the points ({{{_KNOW}:+ ci}} octaves), "
    "but what it counts is Gaussians of the shape it is given. Of eight planted ellipsoids full covariances make "
    f"{{{_FULL_IN}/{ELLIPSOIDS}}} on average, spheres {{{_SPHERES_IN}/{ELLIPSOIDS}}}; "
    f"of eight planted spheres, {{{_FULL_IN}/{SPHERES}}} and "
    f"{{{_SPHERES_IN}/{SPHERES}}}."
    "\n\nThe probabilities know how often they are wrong where the mixture is true and well fitted, not elsewhere. The "
    f"share of mistakes that they do not announce is {{{UNANNOUNCED}/{FULL}/{ELLIPSOIDS}}} on planted ellipsoids, "
    f"{{{UNANNOUNCED}/{FULL}/{SPHERES}}} on planted spheres, {{{UNANNOUNCED}/{FULL}/digits}} on digits and "
    f"{{{UNANNOUNCED}/{FULL}/emoji}} on emoji. How well they say which points to doubt first: a right point is surer "
    f"than a wrong one in {{{POINTS_OUT}/{FULL}/digits:%}} of pairs on digits and in "
    f"{{{POINTS_OUT}/{FULL}/emoji:%}} on emoji, where a coin would say a half."
)
_TEXT_ZH = (
    "这取决于分组的形状，也取决于每个要拟合的参数有多少数据点。从相同的起点出发，完全协方差的混合模型与真实分组的一致程"
    f"度（调整兰德指数）相对 k-means 的变化是：人造椭球上 {{{_BETTER}/{ELLIPSOIDS}:+ ci}}，人造球形上 "
    f"{{{_BETTER}/{SPHERES}:+ ci}}，手写数字上 {{{_BETTER}/digits:+ ci}}，冻结视觉塔看到的表情符号上 "
    f"{{{_BETTER}/emoji:+ ci}}。仅仅把边界变软没有好处（{{claim/soft_borders_are_enough/effect:+ ci}}）：起作用的是每个"
    "分量自己的形状，而这要用数据点来换。"
    f"\n\n与完全不看数据的经验法则相比，BIC 更接近真实的分组数（相差 {{{_KNOW}:+ ci}} 个倍频程），但它数的是给定形状"
    f"的高斯分量。八个人造椭球，用完全协方差平均数出 {{{_FULL_IN}/{ELLIPSOIDS}}} 个，用球形分量数出 "
    f"{{{_SPHERES_IN}/{ELLIPSOIDS}}} 个；八个人造球形，分别数出 "
    f"{{{_FULL_IN}/{SPHERES}}} 个和 {{{_SPHERES_IN}/{SPHERES}}} 个。"
    "\n\n只有当模型符合数据、并且拟合得好时，概率才知道自己有多常出错。没有被概率预告的错误所占的比例是：人造椭球上 "
    f"{{{UNANNOUNCED}/{FULL}/{ELLIPSOIDS}}}，人造球形上 {{{UNANNOUNCED}/{FULL}/{SPHERES}}}，手写数字上 "
    f"{{{UNANNOUNCED}/{FULL}/digits}}，表情符号上 {{{UNANNOUNCED}/{FULL}/emoji}}。概率能在多大程度上指出哪些点最可疑："
    f"分对的点比分错的点更有把握的配对，在手写数字上占 {{{POINTS_OUT}/{FULL}/digits:%}}，在表情符号上占 "
    f"{{{POINTS_OUT}/{FULL}/emoji:%}}，而抛硬币只有一半。"
)
_BASE = "a_mixture_finds_the_groups_better"
ANSWERS = (
    Answer(
        ("depends", "supported", "depends"),
        _TEXT,
        _TEXT_ZH,
        {
            f"{_BASE}/{ELLIPSOIDS}": "supported",
            f"{_BASE}/{SPHERES}": "refuted",
            "soft_borders_are_enough": "refuted",
            f"probabilities_know/{ELLIPSOIDS}": "supported",
            "probabilities_know/digits": "refuted",
            "probabilities_know/emoji": "refuted",
        },
    ),
)

EXPERIMENT = Experiment(
    design=DESIGN,
    settings={
        "quick": Settings(
            1000, 3, (1, 2, 3, 4, 6, 8, 10, 12, 16, 24, 32, 48), 1, (1.0, 10.0, 100.0), (250, 1000, 4000)
        ),
        "full": Settings(
            2000,
            5,
            (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20, 24, 32, 48),
            2,
            (1.0, 3.0, 10.0, 30.0, 100.0),
            (250, 500, 1000, 2000, 4000, 8000),
        ),
    },
    measure=measure,
    present=present,
    answers=ANSWERS,
    source="lab/experiments/mixtures_and_k_means.py",
    helpers=(
        "lab/grouped_points.py",
        "clustering/gaussian_mixture.py",
        "clustering/covariances.py",
        "clustering/em.py",
        "clustering/full.py",
        "clustering/k_means.py",
        "clustering/rows.py",
        "clustering/screening.py",
        "clustering/splitting.py",
        "clustering/starts.py",
        "clustering/structured.py",
        "evaluation/calibration.py",
        "evaluation/clusters.py",
    ),
)
