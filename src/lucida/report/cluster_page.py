"""The page of ``lucida cluster``: drawn from ``results.json`` and the thumbnails of its run folder alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from lucida.core.results import Metric, Results
from lucida.core.run_folder import RunFolder
from lucida.report.figures import Dot, Line, bar_plot, dot_plot, line_plot
from lucida.report.page import Run, Section, closing_sections, facts_of, write_page
from lucida.report.sections import Figure, Headline
from lucida.report.wording import interval, number

CovarianceType = Literal["full", "tied", "diag", "spherical"]
KEY = "clusters"  # of Results.details
SURE = (0.5, 0.7, 0.9, 0.99)  # ends of the bins of the largest posterior


@dataclass(frozen=True)
class Shown:
    """A picture on the page: its thumbnail, the user's name for it, what is said of it."""

    thumbnail: str
    id: str
    text: str = ""


@dataclass(frozen=True)
class ClusterWord:
    """A word of a cluster, and how many of its pictures and of the others say it."""

    text: str
    share: float
    elsewhere: float


@dataclass(frozen=True)
class ClusterCard:
    """A cluster.

    Attributes:
        number: from 1, the largest first.
        name: of its words, or "cluster 7".
        size, share: its pictures, and of all.
        confidence: mean posterior of its pictures.
        words: the most distinctive first.
        pictures: the most representative first.
        label, purity: its most frequent label and the share of its labelled pictures that have it, where there are any.
    """

    number: int
    name: str
    size: int
    share: float
    confidence: float
    words: tuple[ClusterWord, ...] = ()
    pictures: tuple[Shown, ...] = ()
    label: str = ""
    purity: float | None = None


@dataclass(frozen=True)
class Outlier:
    """A picture that the mixture finds unlikely, in nats, beside the median of its cluster."""

    picture: Shown
    cluster: str
    log_likelihood: float
    typical: float


@dataclass(frozen=True)
class DuplicateGroup:
    """Pictures that are almost one; cosine and likeness are those of the weakest link that joins them."""

    pictures: tuple[Shown, ...]
    size: int
    cosine: float
    likeness: float


@dataclass(frozen=True)
class SweepPoint:
    """BIC of one mixture, the lower the better."""

    components: int
    covariance: CovarianceType
    bic: float


@dataclass(frozen=True)
class ClusterFindings:
    """What the page shows beside the metrics; stored as ``details["clusters"]``.

    Attributes:
        clusters: the largest first.
        outliers: the least likely first.
        duplicates: groups of near-duplicates, the largest first.
        sweep: BIC by number of components; empty if the number was given.
        sure: pictures by their largest posterior, in the bins that :data:`SURE` ends.
    """

    clusters: tuple[ClusterCard, ...] = ()
    outliers: tuple[Outlier, ...] = ()
    duplicates: tuple[DuplicateGroup, ...] = ()
    sweep: tuple[SweepPoint, ...] = ()
    sure: tuple[int, ...] = ()

    @classmethod
    def of(cls, results: Results, where: Path) -> ClusterFindings:
        """Those of a results file.

        Raises:
            LucidaError: it is not that of a clustering.
        """
        return results.detail(
            cls, KEY, where, missing="not the results of a clustering", remedy="`lucida cluster` makes one"
        )


def write_cluster_report(folder: RunFolder) -> Path:
    """Rebuild ``report.html`` from what a run folder of ``lucida cluster`` holds.

    Raises:
        LucidaError: there are no results, or they are of another kind.
    """
    run = Run.read(folder)
    findings = ClusterFindings.of(run.results, folder.results)
    parts = [*_sections(run, findings), *closing_sections(run, _words(run))]
    return write_page(run, parts, headlines=_headlines(run.results), facts=facts_of(run))


def _sections(run: Run, findings: ClusterFindings) -> Iterable[Section]:
    metrics = run.results.metrics
    yield Section("clusters", "Clusters", "clusters.html", _clusters(findings), _LEADS["clusters"])
    yield Section(
        "number",
        "How many clusters",
        "figures.html",
        {"figures": _sweep(findings, metrics["bic/pictures"].value if "bic/pictures" in metrics else 1)},
        _LEADS["number"],
    )
    sure = [*_sure(findings), *_dots("The same clusters from other starts?", ("stability",), metrics)]
    yield Section("sure", "How sure it is", "figures.html", {"figures": sure}, _LEADS["sure"])
    agreement = _dots("Clusters and labels", ("agreement",), metrics)
    yield Section("agreement", "Agreement with the labels", "figures.html", {"figures": agreement}, _LEADS["agreement"])
    content = {"outliers": findings.outliers, "count": _count(metrics, "outliers/count")}
    yield Section("outliers", "Outliers", "cluster_outliers.html", content, _LEADS["outliers"])
    found = {
        "groups": findings.duplicates,
        "looked": "near_duplicates/groups" in metrics,
        "count": _count(metrics, "near_duplicates/groups"),
        "pictures": _count(metrics, "near_duplicates/pictures"),
        "rejected": _count(metrics, "near_duplicates/rejected"),
        "figures": _copies(metrics),
    }
    yield Section("duplicates", "Near-duplicates", "cluster_duplicates.html", found, _LEADS["duplicates"])


def _copies(metrics: dict[str, Metric]) -> list[Figure]:
    rows = [
        Dot(words, metrics[name])
        for key, words in _COPIES.items()
        if (name := f"near_duplicates/found/{key}_share") in metrics
    ]
    if not rows:
        return []
    title = "Of copies made to try it, these are found"
    caption = (
        f"{rows[0].metric.n} pictures of this corpus, each changed in four ways and compared with itself: features at "
        f"least {number(metrics['near_duplicates/cosine'].value)} near, pixels alike."
    )
    return [Figure(title, dot_plot(title, rows, share=True, top=1.0), caption)]


_COPIES = {
    "saved_again": "saved as JPEG, quality 70",
    "halved": "half the size",
    "cropped": "2 % cropped on each side",
    "brightened": "15 % brighter",
}


def _clusters(findings: ClusterFindings) -> dict[str, Any]:
    return {"clusters": findings.clusters, "named": any(cluster.words for cluster in findings.clusters)}


_LEADS = {
    "clusters": "The largest first. Pictures are the most representative ones: those the mixture finds likeliest, and "
    "surest to belong here. Words are said of this cluster's pictures more often than of the others.",
    "number": "BIC weighs how well a mixture fits against how many numbers it needs; the lowest is taken. It counts "
    "Gaussians, not kinds of thing: a kind whose features form no ellipsoid takes several.",
    "sure": "Each picture's largest posterior probability. In many dimensions a mixture is sure almost everywhere, "
    "also where it is wrong, so what other starts find says more.",
    "agreement": "0 is what chance gives (for mutual information: at least 0), 1 is equality. The clusters were made "
    "without looking at any label.",
    "outliers": "Pictures that the mixture finds least likely: damaged files, mistakes of collection, or the rare "
    "cases worth a look.",
    "duplicates": "Pictures whose features are almost one and whose pixels agree; links are followed, so two pictures "
    "of a group may be further apart than the links that join them.",
}


def _count(metrics: dict[str, Metric], name: str) -> int:
    return round(metrics[name].value) if name in metrics else 0


def _sweep(findings: ClusterFindings, pictures: float) -> list[Figure]:
    kinds = list(dict.fromkeys(point.covariance for point in findings.sweep))
    if not kinds:
        return []
    least = min(point.bic for point in findings.sweep)
    best = min(findings.sweep, key=lambda point: point.bic)
    several = best.components > 1
    lines = [
        Line(kind, [p.components for p in own], [(p.bic - least) / pictures for p in own])
        for kind in kinds
        if len(own := [p for p in findings.sweep if p.covariance == kind]) > 1
    ]
    if not lines:
        return []
    title = "BIC by number of components"
    caption = (
        f"For each picture, above the lowest: {best.components} components of {best.covariance} covariance."
        if several
        else "For each picture, above the lowest, which is that of one component: the clusters shown divide what may "
        "be a single cloud. More pictures may tell."
    )
    return [Figure(title, line_plot(title, lines, x_label="components"), caption)]


def _sure(findings: ClusterFindings) -> list[Figure]:
    total = sum(findings.sure)
    if not total:
        return []
    ends = [f"{100 * end:.3g}" for end in SURE]
    labels = [
        f"below {ends[0]} %",
        *(f"{a} to {b} %" for a, b in pairwise(ends)),
        f"{ends[-1]} % up",
    ]
    rows = [
        (label, float(n), f"{n:,} ({number(n / total, share=True)})")
        for label, n in zip(labels, findings.sure, strict=True)
    ]
    title = "Pictures by their probability of belonging"
    return [Figure(title, bar_plot(title, rows), "The probability of the cluster that a picture is counted to.")]


_MEASURES = {
    "adjusted_rand_index": "adjusted Rand index",
    "normalised_mutual_information": "mutual information",
}


def _dots(title: str, prefixes: Iterable[str], metrics: dict[str, Metric]) -> list[Figure]:
    rows = [
        Dot(_MEASURES[measure], metrics[name])
        for prefix in prefixes
        for measure in _MEASURES
        if (name := f"{prefix}/{measure}") in metrics
    ]
    if not rows:
        return []
    n = next(iter(metrics[f"{prefix}/{m}"].n for prefix in prefixes for m in _MEASURES if f"{prefix}/{m}" in metrics))
    what = "labelled pictures" if "agreement" in tuple(prefixes) else "other starts"
    return [Figure(title, dot_plot(title, rows, share=False, top=1.0), f"{n:,} {what}; lines are 95 % intervals.")]


def _headlines(results: Results) -> list[Headline]:
    metrics = results.metrics
    shown = []
    for title, name in _HEADLINES:
        if name not in metrics:
            continue
        metric, share = metrics[name], name.endswith("share")
        value = number(metric.value, share=share) if share or metric.value % 1 else f"{metric.value:,.0f}"
        beside = tuple(text(metrics) for text in (_BESIDE.get(name),) if text)
        shown.append(Headline(title, value, interval(metric, share=share), beside))
    return shown


def _groups(count: int) -> str:
    return "in 1 group" if count == 1 else f"in {count:,} groups"


_HEADLINES = (
    ("Clusters", "clusters/count"),
    ("Stability: agreement of other starts", "stability/adjusted_rand_index"),
    ("Agreement with the labels", "agreement/adjusted_rand_index"),
    ("Pictures in groups of near-duplicates", "near_duplicates/pictures"),
)
_BESIDE = {
    "clusters/count": lambda m: f"of {m['clusters/pictures'].value:,.0f} pictures",
    "near_duplicates/pictures": lambda m: _groups(round(m["near_duplicates/groups"].value)),
    "stability/adjusted_rand_index": lambda _: "adjusted Rand index: 0 is chance, 1 is equality",
    "agreement/adjusted_rand_index": lambda _: "adjusted Rand index: 0 is chance, 1 is equality",
}

_GLOSSARY = (
    ("Mixture of Gaussians", "clusters/",
     "A sum of bell-shaped clouds in the space of features, fitted to all pictures; each cloud is a cluster, and each "
     "picture has a probability of belonging to it."),
    ("Features", "clusters/",
     "What the vision tower's last layer says of a picture, as a list of numbers: pictures of similar things have "
     "similar lists."),
    ("Log-likelihood", "clusters/",
     "How expected a picture is under the mixture, in nats: 1 less means about 2.7 times less likely."),
    ("BIC", "bic/",
     "Bayesian information criterion: minus twice the log-likelihood plus a price for each number that was fitted; the "
     "lowest is best."),
    ("Adjusted Rand index", "rand",
     "Over all pairs of pictures: how often two groupings agree on whether both belong together, so scaled that chance "
     "gives 0 and equality 1."),
    ("Mutual information (normalised)", "mutual",
     "How much knowing a picture's cluster tells of its label, from 0 for nothing to 1 for everything; many small "
     "clusters raise it."),
    ("Near-duplicate", "near_duplicates/",
     "A picture that is almost another: saved again, scaled, cropped by a little, brightened."),
)  # fmt: skip


def _words(run: Run) -> list[tuple[str, str]]:
    """Entries of the glossary that the page uses."""
    names = " ".join([*run.results.metrics, "clusters/", "bic/" if "bic/lowest" in run.results.metrics else ""])
    return [(word, meaning) for word, key, meaning in _GLOSSARY if key in names]
