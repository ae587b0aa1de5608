"""``lucida cluster``: pictures to a mixture of named clusters, outliers and near-duplicates, on a page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lucida.clustering import GaussianMixture
from lucida.core.config import to_dict
from lucida.core.errors import LucidaError
from lucida.core.progress import say
from lucida.core.results import Metric, Results, read_json
from lucida.core.run_folder import RunFolder
from lucida.core.statistics import mean_interval, wilson
from lucida.data.pixels import write_skipped
from lucida.evaluation.clusters import adjusted_rand_index, normalised_mutual_information
from lucida.report.cluster_page import KEY, CovarianceType, SweepPoint, write_cluster_report
from lucida.report.material import CorpusFacts, Material
from lucida.workflows.cluster_duplicates import find_duplicates
from lucida.workflows.cluster_findings import Found, describe, write_assignments
from lucida.workflows.cluster_mixture import (
    Assignments,
    assign,
    chosen,
    fit_mixture,
    sample_rows,
    sweep,
)
from lucida.workflows.cluster_pictures import Space, read_corpus, space_of

STARTS = 3  # of the mixture that is kept
REFITS = 4  # from other starts, to see whether they find the same
SURE = 0.9
UNSTABLE = 0.5  # agreement of other starts below which the page warns

TITLES = {
    "pictures": "Reading the pictures",
    "features": "Features of the vision tower",
    "mixture": "Fitting the mixture",
    "duplicates": "Looking for near-duplicates",
    "page": "Naming the clusters",
}


@dataclass(frozen=True)
class ClusterConfig:
    """From pictures to named clusters.

    Attributes:
        pictures: your own: a folder, a table, Parquet or a COCO file; by default the artwork that is always there.
        out: the run folder.
        max_pictures: if there are more of your own, a sample of so many is taken; by default all.
        components: of the mixture: a number, or "auto" for the lowest BIC.
        max_components: that "auto" tries.
        covariance_type: "full", "tied", "diag", "spherical", or "auto": full and diag are tried.
        dimensions: of the principal components; by default they grow with the number of pictures, from 6 to 32.
        vision_tower: built in ("efficientnet-lite0"), a Hugging Face folder, or a hub name.
        image_size: side of the pictures the built-in tower sees.
        outlier_share: of the pictures, the least likely ones, that are marked as outliers.
        duplicate_cosine: near-duplicates have features at least so near; "auto" for what different pictures of the
            corpus hardly reach.
        duplicate_likeness: and small pictures that correlate at least so much.
        sweep_pictures: the sweep for "auto" looks at a sample of so many; the mixture that is kept is fitted to all.
        representatives: pictures shown of each cluster.
        seed: of the starts and samples.
    """

    pictures: Path | None = None
    out: Path = Path("runs/cluster")
    max_pictures: int | None = None
    components: int | Literal["auto"] = "auto"
    max_components: int = 64
    covariance_type: CovarianceType | Literal["auto"] = "auto"
    dimensions: int | None = None
    vision_tower: str = "efficientnet-lite0"
    image_size: int = 128
    outlier_share: float = 0.01
    duplicate_cosine: float | Literal["auto"] = "auto"
    duplicate_likeness: float = 0.92
    sweep_pictures: int = 10_000
    representatives: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        _check("components", self.components == "auto" or self.components >= 1, "a number from 1, or auto")
        for name in ("max_pictures", "dimensions"):
            value = getattr(self, name)
            _check(name, value is None or value >= 1, "at least 1")
        for name in ("max_components", "sweep_pictures", "representatives"):
            _check(name, getattr(self, name) >= 1, "at least 1")
        _check("outlier_share", 0 <= self.outlier_share < 1, "a share from 0 to below 1")
        for name in ("duplicate_cosine", "duplicate_likeness"):
            value = getattr(self, name)
            _check(name, value == "auto" or 0 < value <= 1, "above 0 and at most 1")


def _check(name: str, fine: bool, wanted: str) -> None:
    if not fine:
        raise LucidaError(f"{name} must be {wanted}", where="ClusterConfig")


def cluster(config: ClusterConfig) -> Path:
    """Cluster a corpus.

    Returns:
        The report; beside it ``assignments.csv`` has a row for each picture.

    Raises:
        LucidaError: the pictures cannot be read, are too few, or the folder holds another kind of run.
    """
    results = Results()
    with _stage(results, "pictures"):
        decoded = read_corpus(config.pictures, config.max_pictures, config.image_size, config.vision_tower, config.seed)
        _check_enough(config, len(decoded.corpus))
        folder = _open_folder(config)
        write_skipped(folder.path, decoded.corpus.skipped)
    with _stage(results, "features"):
        space = space_of(decoded, config.vision_tower, config.image_size, config.dimensions)
    with _stage(results, "mixture"):
        points, mixture, kind = _mixture(config, space)
        assigned = assign(mixture, space.reduced)
        _measure_mixture(results, config, space, mixture, kind, assigned, points)
    with _stage(results, "duplicates"):
        duplicates = find_duplicates(
            space, results, cosine=config.duplicate_cosine, likeness=config.duplicate_likeness, seed=config.seed
        )
    with _stage(results, "page"):
        found = Found(decoded, assigned, duplicates, config.outlier_share)
        results.add("outliers/count", Metric(len(found.outliers)))
        findings = describe(found, folder, points, config.representatives)
        results.details[KEY] = to_dict(findings)
        write_assignments(folder.path / "assignments.csv", found, [card.name for card in findings.clusters])
    results.save(folder.results)
    _material(config, space, results, kind).save(folder)
    return write_cluster_report(folder)


@contextmanager
def _stage(results: Results, name: str) -> Iterator[None]:
    say(f"\n{TITLES[name]}")
    with results.timed(name):
        yield


def _check_enough(config: ClusterConfig, pictures: int) -> None:
    where = config.pictures
    if pictures < 2:
        raise LucidaError("a single picture makes no clusters", where=where, remedy="name two or more")
    if config.components != "auto" and config.components > pictures:
        raise LucidaError(
            f"{pictures:,} pictures cannot make {config.components:,} clusters",
            where=where,
            remedy=f"ask for at most {pictures:,} components, or give more pictures",
        )


def _open_folder(config: ClusterConfig) -> RunFolder:
    """The run folder, unless it is one of another command, whose settings would be lost."""
    folder = RunFolder(config.out)
    if folder.config.exists() and "covariance_type" not in read_json(folder.config):
        raise LucidaError("this folder holds another kind of run", where=config.out, remedy="name another with --out")
    return RunFolder.create(config.out, config, seed=config.seed)


def _mixture(config: ClusterConfig, space: Space) -> tuple[list[SweepPoint], GaussianMixture, CovarianceType]:
    """The mixture of all pictures, after a sweep on a sample where numbers or kinds are left open."""
    points: list[SweepPoint] = []
    kinds: tuple[CovarianceType, ...] = (
        ("full", "diag") if config.covariance_type == "auto" else (config.covariance_type,)
    )
    if config.components == "auto":
        rows = sample_rows(len(space.reduced), config.sweep_pictures, config.seed)
        points = sweep(space.reduced[rows], kinds, at_most=config.max_components, seed=config.seed)
        best = chosen(points)
        count, kind = best.components, best.covariance
    else:
        count = config.components
        rows = sample_rows(len(space.reduced), max(config.sweep_pictures, count), config.seed)
        tried = [(fit_mixture(space.reduced[rows], count, k, seed=config.seed, starts=1), k) for k in kinds]
        kind = min(tried, key=lambda one: one[0].bic(space.reduced[rows]))[1]
    return points, fit_mixture(space.reduced, count, kind, seed=config.seed, starts=STARTS), kind


def _measure_mixture(
    results: Results, config: ClusterConfig, space: Space, mixture: GaussianMixture, kind: CovarianceType,
    assigned: Assignments, points: list[SweepPoint],
) -> None:  # fmt: skip
    """What is known of the mixture as a whole."""
    pictures = len(space.reduced)
    results.add("clusters/count", Metric(assigned.count))
    results.add("clusters/pictures", Metric(pictures))
    results.add("clusters/dimensions", Metric(space.components.dimensions))
    results.add("clusters/explained_share", Metric(space.components.explained))
    results.add("clusters/mean_probability", mean_interval(assigned.probability))
    results.add("clusters/sure_share", wilson(int((assigned.probability >= SURE).sum()), pictures))
    results.add("clusters/log_likelihood", mean_interval(assigned.log_likelihood))
    if points:
        results.add("bic/lowest", Metric(min(point.bic for point in points)))
        results.add("bic/pictures", Metric(min(pictures, config.sweep_pictures)))
    if assigned.count > 1:
        results.add("stability/adjusted_rand_index", _stability(config, space, mixture, kind))
    else:
        results.leave_out("stability", "there is one cluster")
    labels = [picture.label for picture in space.decoded.corpus]
    rows = [i for i, label in enumerate(labels) if label]
    if len({labels[i] for i in rows}) > 1:
        own = [labels[i] for i in rows], assigned.cluster[rows]
        results.add("agreement/adjusted_rand_index", adjusted_rand_index(*own))
        results.add("agreement/normalised_mutual_information", normalised_mutual_information(*own))
    else:
        results.leave_out("agreement", "the pictures have no labels of two kinds or more")


def _stability(config: ClusterConfig, space: Space, mixture: GaussianMixture, kind: CovarianceType) -> Metric:
    """How far mixtures of the same size from other starts make the same clusters."""
    rows = sample_rows(len(space.reduced), max(config.sweep_pictures, mixture.n_components), config.seed)
    x = space.reduced[rows]
    own = assign(mixture, x).cluster
    values = []
    for k in range(1, REFITS + 1):
        other = fit_mixture(x, mixture.n_components, kind, seed=config.seed + k, starts=STARTS)
        values.append(adjusted_rand_index(own, assign(other, x).cluster).value)
    return mean_interval(values)


def _material(config: ClusterConfig, space: Space, results: Results, kind: CovarianceType) -> Material:
    corpus, components = space.decoded.corpus, space.components
    notes = [f"{len(corpus.skipped):,} were left out; skipped.jsonl says which and why."] if corpus.skipped else []
    facts = CorpusFacts(corpus.name, {}, len(corpus), corpus.n_available, None, corpus.credit, " ".join(notes))
    clusters = round(results.metrics["clusters/count"].value)
    cautions = "".join(f" {text}" for text in _cautions(results))
    return Material(
        title=f"Clusters of {corpus.name}",
        summary=(
            f"{len(corpus):,} pictures in {clusters} {'cluster' if clusters == 1 else 'clusters'}: a mixture of "
            f"Gaussians with {kind} covariance on {components.dimensions} principal components, "
            f"{100 * components.explained:.0f} % of the variance, of the features of {space.tower.name}." + cautions
        ),
        corpora=(facts,),
        stage_titles=TITLES,
    )


def _cautions(results: Results) -> Iterator[str]:
    """What a reader should know before the first picture."""
    points = results.details[KEY]["sweep"]
    several = any(point["components"] > 1 for point in points)  # few pictures: one component is all that was tried
    if several and min(points, key=lambda point: point["bic"])["components"] == 1:
        yield "By BIC a single cloud describes these pictures better than any clusters."
    stability = results.metrics.get("stability/adjusted_rand_index")
    if stability is not None and stability.value < UNSTABLE:
        yield "Other starts make rather different clusters: take these as one way to sort the pictures, not as kinds."
