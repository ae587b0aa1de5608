"""Zero-shot classification: pictures against the prompt embeddings of class names.

Scores are compared in float64, and a class that scores as high as the true one (within 1e-9) counts as ahead of it: an
encoder that says the same of everything must look as bad as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.functional import normalize

from lucida.core.errors import LucidaError
from lucida.core.results import Metric
from lucida.core.statistics import mean_interval
from lucida.evaluation.intervals import share_by_cluster

TIE = 1e-9
"""Cosines closer than this are equal."""

TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "name": ("{}",),
    "single": ("a photo of a {}.",),
    "photographs": (
        "itap of a {}.",
        "a bad photo of the {}.",
        "a origami {}.",
        "a photo of the large {}.",
        "a {} in a video game.",
        "art of the {}.",
        "a photo of the small {}.",
    ),
    "artwork": (
        "{}",
        "a picture of {}",
        "an emoji of {}",
        "an icon of {}",
        "a drawing of {}",
        "clip art of {}",
        "a small coloured picture of {}",
    ),
}
"""Prompt sets. ``photographs``: the seven that the notebook of openai/CLIP chose for ImageNet."""


def class_embeddings(
    encode_text: Callable[[Sequence[str]], Tensor | NDArray],
    names: Sequence[str],
    templates: Sequence[str] = TEMPLATES["name"],
    *,
    batch_size: int = 256,
) -> Tensor:
    """One direction a class: the mean of its normalised prompt embeddings, normalised again (Radford et al. 2021).

    Args:
        encode_text: maps texts to features ``[n, d]``, normalised or not.
        names: of the K classes.
        templates: prompts, each with one ``{}`` for the name.
        batch_size: prompts a call.

    Returns:
        float32 ``[K, d]``.

    Raises:
        LucidaError: no template, or one without exactly one ``{}``.
    """
    each = template_embeddings(encode_text, names, templates, batch_size=batch_size)
    return normalize(each.mean(dim=1), dim=-1)


def template_embeddings(
    encode_text: Callable[[Sequence[str]], Tensor | NDArray],
    names: Sequence[str],
    templates: Sequence[str],
    *,
    batch_size: int = 256,
) -> Tensor:
    """The directions that :func:`class_embeddings` takes the mean of: each class in each prompt.

    Returns:
        float32 ``[K, T, d]``, rows of length one.

    Raises:
        LucidaError: as there.
    """
    check_templates(templates)
    prompts = [template.replace("{}", name) for name in names for template in templates]
    features = [_rows(encode_text(prompts[i : i + batch_size])) for i in range(0, len(prompts), batch_size)]
    return normalize(torch.cat(features), dim=-1).view(len(names), len(templates), -1)


def check_templates(templates: Sequence[str]) -> None:
    """Every template has one place for a name.

    Raises:
        LucidaError: there is no template, or one without exactly one ``{}``.
    """
    if not templates:
        raise LucidaError("no prompt template", remedy='give at least one, for example "a photo of a {}."')
    for template in templates:
        if template.count("{}") != 1:
            raise LucidaError("a prompt template needs exactly one {}", where=repr(template))


def _rows(features: Tensor | NDArray) -> Tensor:
    return torch.as_tensor(features).detach().to("cpu", torch.float32)


def unit_rows(features: Tensor | NDArray, what: str) -> Tensor:
    """Rows of length 1 in float64.

    Raises:
        LucidaError: not ``[n, d]``, or a value is NaN or infinite.
    """
    rows = torch.as_tensor(features).detach().to("cpu", torch.float64)
    if rows.ndim != 2:
        raise LucidaError(f"{what} must be [n, d], not {list(rows.shape)}")
    if not bool(torch.isfinite(rows).all()):
        raise LucidaError(
            "NaN or infinite features", where=f"{what}, row {int((~rows.isfinite()).any(1).nonzero()[0])}"
        )
    return normalize(rows, dim=-1)


def tiles(n: int, size: int) -> Iterator[slice]:
    """Slices of at most ``size`` that cover ``range(n)``."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def true_class_ranks(
    image_features: Tensor | NDArray, class_features: Tensor | NDArray, labels: ArrayLike, *, tile: int = 1024
) -> NDArray[np.int64]:
    """The rank (1 is best) of each picture's own class, ``[N]``; ties count against it.

    Args:
        image_features: ``[N, d]``.
        class_features: ``[K, d]``.
        labels: index of the class of each picture, ``[N]``.
        tile: pictures compared at once.

    Raises:
        LucidaError: shapes do not fit, a label is no class, or a feature is not finite.
    """
    images, classes = unit_rows(image_features, "image_features"), unit_rows(class_features, "class_features")
    own = torch.as_tensor(np.asarray(labels, dtype=np.int64))
    if images.shape[1] != classes.shape[1] or len(own) != len(images):
        raise LucidaError(
            f"{len(images)} pictures of {images.shape[1]} features do not fit {len(own)} labels and classes of "
            f"{classes.shape[1]} features"
        )
    if len(own) and not (int(own.min()) >= 0 and int(own.max()) < len(classes)):
        raise LucidaError(f"labels run from {int(own.min())} to {int(own.max())}, but there are {len(classes)} classes")
    ranks = torch.empty(len(images), dtype=torch.int64)
    for rows in tiles(len(images), tile):
        scores = images[rows] @ classes.T
        true = scores.gather(1, own[rows, None])
        ranks[rows] = (scores >= true - TIE).sum(dim=1)  # the true class itself is one of them: rank 1 at best
    return ranks.numpy()


def zero_shot_metrics(
    image_features: Tensor | NDArray,
    class_features: Tensor | NDArray,
    labels: ArrayLike,
    *,
    candidates: ArrayLike | None = None,
    clusters: Sequence[object] | None = None,
    prefix: str = "zero_shot",
    tile: int = 1024,
) -> dict[str, Metric]:
    """Accuracy of pictures against class embeddings, with what guessing would reach.

    Args:
        image_features: ``[N, d]``.
        class_features: ``[K, d]``, of :func:`class_embeddings`.
        labels: class index of each picture, ``[N]``.
        candidates: the classes to choose among (indices); all by default. Every label must be one of them.
        clusters: what makes pictures dependent (an original of several views); each is its own by default.
        prefix: of the names, as in ``zero_shot/unseen_concepts/openmoji``.
        tile: pictures compared at once.

    Returns:
        ``{prefix}/top1``, ``top5``, ``chance_top1`` and ``majority_top1`` (always the most frequent
        class of these pictures); where classes differ in size also ``top1_class_mean``, every class counting the same.
    """
    own = np.asarray(labels, dtype=np.int64)
    classes = torch.as_tensor(class_features)
    if candidates is not None:
        chosen = np.unique(np.asarray(candidates, dtype=np.int64))
        missing = np.setdiff1d(own, chosen)
        if len(missing):
            raise LucidaError(f"class {missing[0]} is the label of a picture but no candidate", where=prefix)
        classes, own = classes[torch.from_numpy(chosen)], np.searchsorted(chosen, own)
    ranks = true_class_ranks(image_features, classes, own, tile=tile)
    counts = np.bincount(own, minlength=len(classes)) if len(own) else np.zeros(1, int)
    metrics = {
        f"{prefix}/top1": share_by_cluster(ranks <= 1, clusters=clusters),
        f"{prefix}/top5": share_by_cluster(ranks <= 5, clusters=clusters),
        f"{prefix}/chance_top1": Metric(1 / max(len(classes), 1), None, len(own)),
        f"{prefix}/majority_top1": Metric(int(counts.max()) / max(len(own), 1), None, len(own)),
    }
    if len(np.unique(counts[counts > 0])) > 1:
        metrics[f"{prefix}/top1_class_mean"] = _class_mean(ranks <= 1, own)
    return metrics


def _class_mean(right: NDArray[np.bool_], labels: NDArray[np.int64]) -> Metric:
    """The mean over classes of each one's accuracy; the classes are the sample."""
    _, codes = np.unique(labels, return_inverse=True)
    mean = mean_interval(np.bincount(codes, weights=right) / np.bincount(codes))
    if mean.ci95 is None:
        return mean
    return Metric(mean.value, (max(0.0, mean.ci95[0]), min(1.0, mean.ci95[1])), mean.n)
