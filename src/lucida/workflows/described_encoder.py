"""The default dual encoder of the artwork: classes by description, two readers of pictures in one space, and looks.

A picture's vector joins what a kernel reader (closed form) and a contrastively trained head make of it, so that one
cosine is the weighted mean of both. For classes with example pictures a learned metric of looks is joined too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from lucida.core.durations import Duration
from lucida.core.run_folder import RunFolder
from lucida.core.seeds import derive_seed
from lucida.data.caption_tokens import caption_tokens
from lucida.data.corpus import Corpus
from lucida.data.emoji import ARTISTS, Concept, concepts
from lucida.data.pairs import FeaturePairs
from lucida.evaluation.retrieval import retrieval_metrics
from lucida.evaluation.template_search import Score, greedy_templates, margins, score_of
from lucida.evaluation.zero_shot import zero_shot_metrics
from lucida.models.descriptions import Description, DescriptionReader
from lucida.models.dual_encoder import HeadConfig, seeded_heads
from lucida.models.hubs import extend_classes, extend_pictures, hub_offsets
from lucida.models.kernel_reader import FeatureBlocks, KernelReader, PairMetric
from lucida.models.shape_descriptors import SIZES
from lucida.models.text_features import TextFeatures
from lucida.training.loop import TrainConfig, train
from lucida.training.objectives import ObjectiveConfig, heads_task
from lucida.workflows.artwork_features import (
    artwork_features,
    artwork_shapes,
    category_numbers,
    concept_rows,
    split_rows,
)


@dataclass(frozen=True)
class ReaderConfig:
    """Settings of the described encoder; see ``docs/notes/dual-encoder.md`` for what each buys.

    Attributes:
        image_sizes: sides at which the tower sees each picture.
        views: plain and augmented views at each size.
        shape_share: of shape descriptors in the distance of two pictures, when they are read.
        looks_shape_share: the same when looks are compared.
        ridge: of the kernel reader.
        keywords: of a class, beside its name.
        words: of descriptions have a dimension each, beside the sentence encoder's.
        reader_weight: of the kernel reader, and of what hubs give back, which is known from it alone.
        head_weight: of the contrastive heads beside it.
        hub_weight: how much of what strangers' pictures score with it a class gives back.
        looks_weight: of example pictures' looks beside words.
        looks_size, looks_shrinkage: of the metric of looks.
        head: of both towers.
        duration: of training the heads.
    """

    image_sizes: tuple[int, ...] = (160, 224)
    views: int = 2
    shape_share: float = 0.2
    looks_shape_share: float = 0.5
    ridge: float = 0.05
    keywords: bool = True
    words: bool = True
    reader_weight: float = 1.0
    head_weight: float = 0.5
    hub_weight: float = 0.7
    looks_weight: float = 2.0
    looks_size: int = 500
    looks_shrinkage: float = 1.0
    head: HeadConfig = field(default_factory=lambda: HeadConfig(512, 512, 0.5))
    duration: Duration = field(default_factory=lambda: Duration(20, "epochs"))


def describe(concept: Concept, *, keywords: bool = True) -> Description:
    """Its name and keywords."""
    return Description(concept.name, concept.keywords if keywords else ())


class DescribedEncoder:
    """A trained dual encoder and the features of all concepts by both artists.

    Args:
        corpus: the emoji artwork with its splits.
        config: settings.
        artwork_size: pixels at which artwork is drawn before it is viewed.
        read: features of texts.
        prompts: templates around a name.
        train: how the heads are trained; for how long, ``config`` says.
        objective: what they are trained for.
        candidates: of these templates, those that do best on validation pictures are used after training.
    """

    def __init__(
        self,
        corpus: Corpus,
        config: ReaderConfig,
        artwork_size: int,
        read: TextFeatures,
        prompts: Sequence[str],
        train: TrainConfig,
        *,
        objective: ObjectiveConfig,
        candidates: Sequence[str] = (),
    ):
        self.objective, self.candidates = objective, tuple(candidates)
        self.train = replace(train, duration=config.duration)
        self.corpus, self.config, self.row = corpus, config, concept_rows()
        self.known = {artist: split_rows(corpus, "train", artist) for artist in ARTISTS}
        features = {artist: self._features(artist, artwork_size) for artist in ARTISTS}
        self.pictures = self._blocks(features, config.shape_share)
        self.looks = {a: normalize(x.mean(dim=0), dim=1) for a, x in self._looks(features).items()}
        everything = [describe(concept, keywords=config.keywords) for concept in concepts()]
        self.described = {description.name: description for description in everything}
        known = [everything[i] for i in self.known["openmoji"]] if config.words else []
        self.texts = DescriptionReader(read, prompts, known)
        read.remember([text for d in everything for part in self.texts.parts(d) for text in part])
        self.class_texts = self.texts(everything)
        sizes = self.pictures["openmoji"].shape[-1], self.class_texts.shape[-1]
        self.model = seeded_heads(*sizes, config.head, derive_seed(train.seed, "heads"), **objective.start)

    def _features(self, artist: str, artwork_size: int) -> Tensor:
        """Of the tower at all sizes, then shapes: ``float16 [views, N, D]``."""
        config = self.config
        tower = [
            artwork_features(artist, artwork_size, image_size=size, pooled="stages", views=config.views)
            for size in config.image_sizes
        ]
        shapes = np.broadcast_to(
            artwork_shapes(artist, artwork_size), (config.views, len(concepts()), sum(SIZES))
        )  # of the plain view, for all views
        return torch.from_numpy(np.concatenate([*tower, shapes], axis=-1))

    def _blocks(self, features: dict[str, Tensor], shape_share: float) -> dict[str, Tensor]:
        """Features with all blocks at one scale, ``float32 [views, N, D]``, rows of length one."""
        n_sizes, width = len(self.config.image_sizes), features["openmoji"].shape[-1]
        sizes = [*([(width - sum(SIZES)) // n_sizes] * n_sizes), *SIZES]
        shares = [*([(1 - shape_share) / n_sizes] * n_sizes), *([shape_share / len(SIZES)] * len(SIZES))]
        plain = torch.cat([features[artist][0, self.known[artist]].float() for artist in ARTISTS])
        blocks = FeatureBlocks(sizes, shares).fit(plain)
        return {artist: torch.stack([blocks(view.float()) for view in x]) for artist, x in features.items()}

    def _looks(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return self._blocks(features, self.config.looks_shape_share)

    def fit(self, folder: RunFolder, *, resume: bool) -> None:
        """Fit the kernel reader and the metric of looks, train the heads, all on the pictures of split "train"."""
        pictures = [view[self.known[artist]] for artist in ARTISTS for view in self.pictures[artist]]
        texts = [self.class_texts[self.known[artist]] for artist in ARTISTS for _ in self.pictures[artist]]
        rows = np.concatenate([self.known[artist] for artist in ARTISTS for _ in self.pictures[artist]])
        self.read_names = np.array([concepts()[row].name for row in rows])
        self.reader = KernelReader(torch.cat(pictures), torch.cat(texts), ridge=self.config.ridge)
        both = np.intersect1d(self.known["openmoji"], self.known["twemoji"])
        self.metric = PairMetric(
            torch.cat([self.looks[artist][self.known[artist]] for artist in ARTISTS]),
            self.looks["openmoji"][both],
            self.looks["twemoji"][both],
            size=self.config.looks_size,
            shrinkage=self.config.looks_shrinkage,
        )
        pairs = self._pairs()
        self.model.image_head.standardize(torch.from_numpy(pairs.picture_features[0].astype(np.float32)))
        self.model.text_head.standardize(self.class_texts[np.unique(pairs.ids)])  # not the texts of unseen concepts
        size = self.config.head.embedding_size
        task = heads_task(self.model, self.objective, pairs, embedding_size=size, seed=self.train.seed)
        train(task, pairs, self.train, folder, resume=resume)
        self.model.eval()
        if self.candidates:
            self.search_prompts()

    def _pairs(self) -> FeaturePairs:
        """Each training picture with its class's description."""
        rows = np.concatenate([self.known[artist] for artist in ARTISTS])
        views = torch.cat([self.pictures[artist][:, self.known[artist]] for artist in ARTISTS], dim=1)
        known = {*rows.tolist()}
        said = [self.described[c.name].sentence if i in known else "" for i, c in enumerate(concepts())]
        return FeaturePairs(
            views.numpy(),
            self.class_texts,
            [np.array([row]) for row in rows],
            rows,
            words=caption_tokens(said) if self.objective.captioning else None,
            classes=category_numbers()[rows] if self.objective.classification else None,
        )

    @torch.inference_mode()
    def search_prompts(self) -> None:
        """From now on classes are named in the candidates that name the validation concepts best, by both artists."""
        rows = split_rows(self.corpus, "validation_unseen", "openmoji")
        pictures = torch.cat([self.encode_pictures(artist, rows) for artist in ARTISTS])
        names, labels = [concepts()[i].name for i in rows], np.tile(np.arange(len(rows)), len(ARTISTS))

        def score(some: tuple[int, ...]) -> Score:
            self.texts.prompts = tuple(self.candidates[i] for i in some)
            return score_of(margins(pictures, self.encode_names(names), labels))

        found = greedy_templates(len(self.candidates), score)
        self.texts.prompts = tuple(self.candidates[i] for i in found.chosen)

    @torch.inference_mode()
    def encode_pictures(self, artist: str, rows: np.ndarray) -> Tensor:
        """What both readers say of each concept's picture, ``[n, d]``: the mean over views, of one length."""
        seen = self.pictures[artist][:, rows]
        read = torch.stack([self.reader(view) for view in seen]).mean(dim=0)
        heads = torch.stack([self.model.encode_image(features=view) for view in seen]).mean(dim=0)
        return extend_pictures(self._join(normalize(read, dim=-1), normalize(heads, dim=-1)))

    @torch.inference_mode()
    def encode_names(self, names: list[str]) -> Tensor:
        """Classes by name, ``[n, d]``, of one length; a name of the artwork brings its keywords along."""
        return self.encode_descriptions([self.described.get(name, Description(name)) for name in names])

    @torch.inference_mode()
    def encode_descriptions(self, descriptions: Sequence[Description]) -> Tensor:
        """Classes by description, ``[n, d]``, of one length, what hubs give back included."""
        texts = self.texts(descriptions)
        read = self.reader.texts(texts)
        heads = self.model.encode_text(features=texts)
        own = torch.from_numpy(self.read_names[:, None] == np.array([d.name for d in descriptions])[None])
        scores = (self.reader.held_out @ read.T).masked_fill(own, -torch.inf)
        offsets = hub_offsets(scores, weight=self.config.hub_weight)
        weight = self.config.reader_weight
        offsets = weight * offsets / (weight + self.config.head_weight)
        return extend_classes(self._join(read, heads), offsets, length=2.0)

    def _join(self, read: Tensor, heads: Tensor) -> Tensor:
        weights = self.config.reader_weight, self.config.head_weight
        return torch.cat([weights[0] ** 0.5 * read, weights[1] ** 0.5 * heads], dim=1) / sum(weights) ** 0.5

    @torch.inference_mode()
    def with_looks(self, pictures: Tensor, artist: str, rows: np.ndarray) -> Tensor:
        """Vectors of :meth:`encode_pictures` and what the pictures look like, fit for :meth:`classes_with_looks`."""
        looks = self.metric(self.looks[artist][rows])
        return torch.cat([pictures, extend_pictures(self.config.looks_weight**0.5 * looks)], dim=1)

    @torch.inference_mode()
    def classes_with_looks(self, classes: Tensor, examples: np.ndarray) -> Tensor:
        """Classes of :meth:`encode_names`; the first of them have the OpenMoji pictures ``examples`` as their looks."""
        weight = self.config.looks_weight
        looks = self.metric(self.looks["openmoji"][examples])
        strangers = self.metric(self.looks["twemoji"][self.known["twemoji"]]) @ looks.T
        own = torch.from_numpy(self.known["twemoji"][:, None] == examples[None])
        offsets = hub_offsets(strangers.masked_fill(own, -torch.inf), weight=self.config.hub_weight, neighbours=10)
        without = len(classes) - len(examples)
        looks = torch.cat([weight**0.5 * looks, torch.zeros(without, looks.shape[1])])
        offsets = torch.cat([weight * offsets, torch.zeros(without)])
        return torch.cat([classes, extend_classes(looks, offsets, length=2 * max(weight, 1.0))], dim=1)

    def measure(self) -> dict[str, Any]:
        """Metrics of the test splits: unseen concepts by both artists, the second artist, retrieval."""
        metrics: dict[str, Any] = {}
        for artist in ARTISTS:
            metrics |= self.measure_unseen("unseen_concepts", artist)
        return metrics | self.measure_second_artist("second_artist")

    def measure_unseen(self, split: str, artist: str) -> dict[str, Any]:
        """Zero-shot and retrieval among the concepts of ``split``; ``names_only_top1`` is without keywords."""
        rows = split_rows(self.corpus, split, artist)
        labels, prefix = np.arange(len(rows)), f"zero_shot/{split}/{artist}"
        pictures = self.encode_pictures(artist, rows)
        names = [concepts()[i].name for i in rows]
        classes = self.encode_names(names)
        alone = self.encode_descriptions([Description(name) for name in names])
        metrics = zero_shot_metrics(pictures, classes, labels, prefix=prefix)
        metrics[f"{prefix}/names_only_top1"] = zero_shot_metrics(pictures, alone, labels)["zero_shot/top1"]
        return metrics | retrieval_metrics(pictures, classes, prefix=f"retrieval/{split}_{artist}")

    def measure_second_artist(self, split: str) -> dict[str, Any]:
        """Twemoji pictures of concepts known from OpenMoji, among all concepts.

        ``names_only_top1`` is without keywords and examples, ``descriptions_only_top1`` without examples.
        """
        known, second = self.known["openmoji"], split_rows(self.corpus, split, "twemoji")
        others = [split_rows(self.corpus, name, "openmoji") for name in ("unseen_concepts", "validation_unseen")]
        names = [concepts()[i].name for i in np.concatenate([known, *others])]
        labels, prefix = np.searchsorted(known, second), f"transfer/{split}"
        pictures, classes = self.encode_pictures("twemoji", second), self.encode_names(names)
        alone = self.encode_descriptions([Description(name) for name in names])
        metrics = zero_shot_metrics(
            self.with_looks(pictures, "twemoji", second), self.classes_with_looks(classes, known), labels, prefix=prefix
        )
        for name, vectors in (("names_only", alone), ("descriptions_only", classes)):
            metrics[f"{prefix}/{name}_top1"] = zero_shot_metrics(pictures, vectors, labels)["zero_shot/top1"]
        return metrics
