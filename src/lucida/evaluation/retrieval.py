"""Retrieval both ways: captions for a picture, pictures for a caption.

Every caption of a picture of the same identity is right. The whole score matrix never exists: it is compared tile by
tile. What scores as high as the best right answer (within 1e-9, in float64) counts as ahead of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lucida.core.errors import LucidaError
from lucida.core.results import Metric
from lucida.evaluation.intervals import cluster_codes, share_by_cluster
from lucida.evaluation.zero_shot import TIE, tiles, unit_rows

CUTS = (1, 5, 10)
"""The k of ``recall_at_k``."""


def retrieval_ranks(
    queries: Tensor | NDArray,
    gallery: Tensor | NDArray,
    query_ids: ArrayLike,
    gallery_ids: ArrayLike,
    *,
    tile: int = 1024,
) -> NDArray[np.int64]:
    """The rank (1 is best) of the best right item of the gallery for each query, ``[N]``.

    Right items do not stand in each other's way: the rank is one more than the number of *wrong* items that score as
    high as the best right one.

    Args:
        queries: features ``[N, d]``.
        gallery: features ``[M, d]``.
        query_ids: integers ``[N]``; an item is right if its id is the query's.
        gallery_ids: integers ``[M]``.
        tile: at most ``tile`` × ``tile`` scores exist at once.

    Raises:
        LucidaError: shapes do not fit, features are not finite, or a query has no right item.
    """
    q, g = unit_rows(queries, "queries"), unit_rows(gallery, "gallery")
    q_ids, g_ids = (torch.as_tensor(np.asarray(ids, dtype=np.int64)) for ids in (query_ids, gallery_ids))
    if q.shape[1] != g.shape[1] or len(q) != len(q_ids) or len(g) != len(g_ids):
        raise LucidaError(
            f"features {list(q.shape)} and {list(g.shape)} do not fit {len(q_ids)} and {len(g_ids)} identities"
        )
    missing = np.flatnonzero(~np.isin(q_ids.numpy(), g_ids.numpy()))
    if len(missing):
        raise LucidaError("a query has no right item to find", where=f"retrieval query {missing[0]}")
    ranks = torch.ones(len(q), dtype=torch.int64)
    for rows in tiles(len(q), tile):
        best = torch.full((rows.stop - rows.start, 1), -math.inf, dtype=torch.float64)
        for columns in tiles(len(g), tile):
            right = q_ids[rows, None] == g_ids[None, columns]
            scores = (q[rows] @ g[columns].T).masked_fill_(~right, -math.inf)
            torch.maximum(best, scores.amax(dim=1, keepdim=True), out=best)
        for columns in tiles(len(g), tile):
            wrong = q_ids[rows, None] != g_ids[None, columns]
            ranks[rows] += ((q[rows] @ g[columns].T >= best - TIE) & wrong).sum(dim=1)
    return ranks.numpy()


def retrieval_metrics(
    image_features: Tensor | NDArray,
    text_features: Tensor | NDArray,
    caption_picture: ArrayLike | None = None,
    *,
    identities: Sequence[object] | None = None,
    prefix: str = "retrieval/test",
    tile: int = 1024,
) -> dict[str, Metric]:
    """Recall and median rank, ``{prefix}/{image_to_text,text_to_image}/{name}``.

    Args:
        image_features: ``[N, d]``.
        text_features: ``[M, d]``.
        caption_picture: the index of each caption's picture, ``[M]``; by default caption i is of picture i.
        identities: what each picture shows, ``[N]``; pictures of one identity are right for each other's captions, and
            are one cluster for the intervals. Each its own by default.
        prefix: of the names.
        tile: see :func:`retrieval_ranks`.

    Returns:
        ``recall_at_1``, ``recall_at_5``, ``recall_at_10``, ``median_rank`` and ``chance_recall_at_1`` (drawing at
        random) both ways. Pictures without a caption are left out as queries of ``image_to_text`` and stay in
        the gallery.

    Raises:
        LucidaError: a caption names no picture, or shapes do not fit.
    """
    pictures, captions = torch.as_tensor(image_features), torch.as_tensor(text_features)
    of_picture = np.asarray(np.arange(len(captions)) if caption_picture is None else caption_picture, dtype=np.int64)
    if len(of_picture) != len(captions) or not ((of_picture >= 0) & (of_picture < len(pictures))).all():
        raise LucidaError(f"captions do not fit: {len(captions)}, of pictures 0 to {len(pictures) - 1}", where=prefix)
    picture_ids = cluster_codes(identities, len(pictures))
    caption_ids = picture_ids[of_picture]
    asked = np.flatnonzero(np.isin(picture_ids, caption_ids))
    ways = {
        "image_to_text": (pictures[torch.from_numpy(asked)], captions, picture_ids[asked], caption_ids),
        "text_to_image": (captions, pictures, caption_ids, picture_ids),
    }
    metrics: dict[str, Metric] = {}
    for way, (queries, gallery, query_ids, gallery_ids) in ways.items():
        ranks = retrieval_ranks(queries, gallery, query_ids, gallery_ids, tile=tile)
        for k in CUTS:
            metrics[f"{prefix}/{way}/recall_at_{k}"] = share_by_cluster(ranks <= k, clusters=query_ids)
        metrics[f"{prefix}/{way}/median_rank"] = _median(ranks, query_ids)
        right = np.bincount(gallery_ids, minlength=int(picture_ids.max(initial=0)) + 1)[query_ids]
        chance = float(np.mean(right / len(gallery))) if len(right) else math.nan
        metrics[f"{prefix}/{way}/chance_recall_at_1"] = Metric(chance, None, len(np.unique(query_ids)))
    return metrics


def _median(ranks: NDArray[np.int64], clusters: NDArray[np.intp]) -> Metric:
    """The median with an interval between two quantiles (Woodruff 1952); only clusters count as independent."""
    if len(ranks) == 0:
        return Metric(math.nan, None, 0)
    n = len(np.unique(clusters))
    half = 1.96 * 0.5 / math.sqrt(n)
    low = float(np.quantile(ranks, max(0.0, 0.5 - half), method="lower"))
    high = float(np.quantile(ranks, min(1.0, 0.5 + half), method="higher"))
    return Metric(float(np.median(ranks)), (low, high), n)
