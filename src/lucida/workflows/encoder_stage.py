"""The dual encoder of a run: features of the artwork, two heads, zero-shot and retrieval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from lucida.core.durations import Duration
from lucida.core.errors import LucidaError
from lucida.core.results import Results
from lucida.core.run_folder import RunFolder
from lucida.core.seeds import derive_seed
from lucida.data.caption_tokens import caption_tokens
from lucida.data.corpus import Corpus
from lucida.data.emoji import ARTISTS, concepts
from lucida.data.pairs import FeaturePairs
from lucida.evaluation.retrieval import retrieval_metrics
from lucida.evaluation.template_search import search_templates
from lucida.evaluation.zero_shot import TEMPLATES, class_embeddings, template_embeddings, zero_shot_metrics
from lucida.models.dual_encoder import DualEncoder, HeadConfig, seeded_heads, with_examples
from lucida.models.text_features import TextFeatures
from lucida.models.text_towers import MiniLM
from lucida.training.loop import TrainConfig, train
from lucida.training.objectives import ObjectiveConfig, heads_task
from lucida.workflows.artwork_features import artwork_features, category_numbers, concept_rows, split_rows
from lucida.workflows.described_encoder import DescribedEncoder, ReaderConfig
from lucida.workflows.stages import timed_stage

PROMPTS: tuple[str, ...] = TEMPLATES["artwork"]
BUILT_IN = ("efficientnet-lite0", "minilm")


@dataclass(frozen=True)
class EncoderStage:
    """Settings of the dual encoder.

    With a ``reader``, the artwork is encoded as that says, and of the rest only ``objective``, ``prompts``,
    ``template_search`` and ``train`` (without its duration) count; your own pictures are always encoded by two heads.

    Attributes:
        reader: classes by description, two readers and looks; ``None`` for two heads on names.
        vision_tower, text_tower: for your own pictures: built in, a Hugging Face folder, or a hub name.
        image_size: side of the pictures the built-in tower sees.
        views: plain and augmented views of each picture.
        flat_views: of those, how many show OpenMoji without its lines, in training.
        pooled: which of the tower's layers the head reads (:class:`EfficientNetLite0`).
        example_weight: of training pictures in a class's vector, where it has any.
        prompts: templates around a name, in training and in testing.
        template_search: classes are named in the templates that do best on validation pictures.
        captions: at most so many names of a picture are trained on; the first is its own.
        head: of both towers.
        objective: what the heads are trained for.
        train: how they are trained.
    """

    reader: ReaderConfig | None = field(default_factory=ReaderConfig)
    vision_tower: str = BUILT_IN[0]
    text_tower: str = BUILT_IN[1]
    image_size: int = 192
    views: int = 5
    flat_views: int = 2
    pooled: str = "stages"
    example_weight: float = 2.0
    prompts: int = 4
    template_search: bool = False
    captions: int = 8
    head: HeadConfig = field(default_factory=HeadConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            Duration(40, "epochs"), batch_size=256, learning_rate=1e-3, weight_decay=0.1, warmup_share=0.1
        )
    )


FROZEN_START = EncoderStage(
    reader=None,
    image_size=128,
    views=7,
    flat_views=0,
    pooled="last",
    example_weight=0.0,
    head=HeadConfig(512, 1024, 0.2),
)
"""Two heads on frozen towers, at their usual size and layer: what every improvement is measured against."""


class EncoderRun(Protocol):
    """What a run needs of its dual encoder, however it was made."""

    row: dict[str, int]
    model: DualEncoder

    def fit(self, folder: RunFolder, *, resume: bool) -> None:
        """Train on the pictures of split "train"."""

    def encode_pictures(self, artist: str, rows: np.ndarray) -> Tensor:
        """Vectors of the concepts' pictures, ``[n, d]``, of one length."""

    def encode_names(self, names: list[str]) -> Tensor:
        """Classes by name, ``[n, d]``, of one length."""

    def measure(self) -> dict[str, Any]:
        """Metrics of the test splits."""


class HeadsEncoder:
    """Two heads on frozen towers, trained on names, and the features of all concepts by both artists.

    Args:
        corpus: the emoji artwork with its splits.
        stage: settings.
        artwork_size: pixels at which artwork is drawn before it is viewed.
        read: features of texts.
    """

    def __init__(self, corpus: Corpus, stage: EncoderStage, artwork_size: int, read: TextFeatures):
        self.corpus, self.stage, self.read = corpus, stage, read
        self.row = concept_rows()
        view = partial(artwork_features, artwork_size=artwork_size, image_size=stage.image_size, pooled=stage.pooled)
        self.features = {artist: view(artist, views=stage.views) for artist in ARTISTS}
        self.flat = view("openmoji-flat", views=stage.flat_views) if stage.flat_views else None
        vision_size = self.features["openmoji"].shape[-1]
        seed = derive_seed(stage.train.seed, "heads")
        self.model = seeded_heads(vision_size, read.hidden_size, stage.head, seed, **stage.objective.start)
        self.prompts = PROMPTS[: stage.prompts]  # around a name

    def fit(self, folder: RunFolder, *, resume: bool) -> None:
        """Train the heads on the pictures of split "train"."""
        pairs = self._pairs()
        self.model.image_head.standardize(torch.from_numpy(pairs.picture_features[0].astype(np.float32)))
        self.model.text_head.standardize(pairs.text_features)
        own, size = self.stage, self.stage.head.embedding_size
        task = heads_task(self.model, own.objective, pairs, embedding_size=size, seed=own.train.seed)
        train(task, pairs, own.train, folder, resume=resume)
        self.model.eval()
        if own.template_search:
            self.prompts = self._searched_prompts()

    @torch.inference_mode()
    def _searched_prompts(self) -> tuple[str, ...]:
        """The templates that name the validation concepts best, by both artists."""
        rows = split_rows(self.corpus, "validation_unseen", "openmoji")
        pictures = torch.cat([self.encode_pictures(artist, rows) for artist in ARTISTS])
        each = template_embeddings(self._encode_texts, [concepts()[i].name for i in rows], PROMPTS)
        found = search_templates(pictures, each, np.tile(np.arange(len(rows)), len(ARTISTS)))
        return tuple(PROMPTS[i] for i in found.chosen)

    def _pairs(self) -> FeaturePairs:
        pictures = self.corpus.split("train").pictures
        parts = []
        for picture in pictures:
            row, artist = self.row[picture.identity], picture.attributes["artist"]
            views = np.asarray(self.features[artist][:, row])
            if self.flat is not None and artist == "openmoji":
                views = np.concatenate([views, self.flat[:, row]])
            elif self.flat is not None:
                views = np.concatenate([views, views[: self.stage.flat_views]])
            parts.append(views)
        prompts, most = self.prompts, self.stage.captions
        texts = [[p.format(c) for c in picture.captions[:most] for p in prompts] for picture in pictures]
        place = {text: i for i, text in enumerate(dict.fromkeys(text for listed in texts for text in listed))}
        numbers = {identity: i for i, identity in enumerate(dict.fromkeys(p.identity for p in pictures))}
        objective, rows = self.stage.objective, [self.row[p.identity] for p in pictures]
        return FeaturePairs(
            np.stack(parts, axis=1),
            self.read(list(place)),
            [np.array([place[text] for text in listed]) for listed in texts],
            np.array([numbers[p.identity] for p in pictures]),
            words=caption_tokens(list(place)) if objective.captioning else None,
            classes=category_numbers()[rows] if objective.classification else None,
        )

    @torch.inference_mode()
    def encode_pictures(self, artist: str, rows: np.ndarray) -> Tensor:
        """The mean over views of each concept's vectors, ``[n, d]``, length one."""
        seen = self.features[artist][:, rows].astype(np.float32)
        each = torch.stack([self.model.encode_image(features=torch.from_numpy(view)) for view in seen])
        return torch.nn.functional.normalize(each.mean(dim=0), dim=-1)

    @torch.inference_mode()
    def encode_names(self, names: list[str]) -> Tensor:
        """Classes by name, ``[n, d]``, with the prompts of training, or those that were searched."""
        return class_embeddings(self._encode_texts, names, self.prompts)

    def _encode_texts(self, texts: Any) -> Tensor:
        return self.model.encode_text(features=self.read(texts))

    def measure(self) -> dict[str, Any]:
        """Metrics of the test splits: unseen concepts by both artists, the second artist, retrieval."""
        unseen = split_rows(self.corpus, "unseen_concepts", "openmoji")
        known = split_rows(self.corpus, "train", "openmoji")
        second = split_rows(self.corpus, "second_artist", "twemoji")
        metrics: dict[str, Any] = {}
        names = self.encode_names([concepts()[i].name for i in unseen])
        for artist in ARTISTS:
            pictures = self.encode_pictures(artist, unseen)
            metrics |= zero_shot_metrics(
                pictures, names, np.arange(len(unseen)), prefix=f"zero_shot/unseen_concepts/{artist}"
            )
            metrics |= retrieval_metrics(pictures, names, prefix=f"retrieval/unseen_concepts_{artist}")
        everything = np.concatenate([known, unseen, split_rows(self.corpus, "validation_unseen", "openmoji")])
        classes = self.encode_names([concepts()[i].name for i in everything])
        labels = np.searchsorted(known, second)
        pictures = self.encode_pictures("twemoji", second)
        named = zero_shot_metrics(pictures, classes, labels, prefix="transfer/second_artist")
        metrics["transfer/second_artist/names_only_top1"] = named["transfer/second_artist/top1"]
        if self.stage.example_weight:
            examples = self.encode_pictures("openmoji", known)
            weight = self.stage.example_weight
            classes = with_examples(classes, examples, torch.arange(len(known)), weight=weight)
            named = zero_shot_metrics(pictures, classes, labels, prefix="transfer/second_artist")
        return metrics | named


def make_encoder(corpus: Corpus, stage: EncoderStage, artwork_size: int, read: TextFeatures) -> EncoderRun:
    """The dual encoder of these settings, not trained yet.

    Raises:
        LucidaError: the settings name other towers.
    """
    if (stage.vision_tower, stage.text_tower) != BUILT_IN:
        raise LucidaError("the artwork is encoded by the built-in towers", remedy="other towers need --pictures PATH")
    if stage.reader is None:
        return HeadsEncoder(corpus, stage, artwork_size, read)
    return DescribedEncoder(
        corpus,
        stage.reader,
        artwork_size,
        read,
        PROMPTS[: stage.prompts],
        stage.train,
        objective=stage.objective,
        candidates=PROMPTS if stage.template_search else (),
    )


def run_encoder(
    corpus: Corpus, stage: EncoderStage, frozen: EncoderStage, artwork_size: int, folder: RunFolder, results: Results
) -> EncoderRun:
    """Train and measure the frozen start and the dual encoder; metrics go to ``results``."""
    read = TextFeatures(MiniLM())
    return beside_the_start(lambda one: make_encoder(corpus, one, artwork_size, read), stage, frozen, folder, results)


class Trained(Protocol):
    """A dual encoder that can be trained and measured."""

    def fit(self, folder: RunFolder, *, resume: bool) -> None:
        """Train it."""

    def measure(self) -> dict[str, Any]:
        """Metrics of the test splits."""


Encoder = TypeVar("Encoder", bound=Trained)


def beside_the_start(
    make: Callable[[EncoderStage], Encoder],
    stage: EncoderStage,
    frozen: EncoderStage,
    folder: RunFolder,
    results: Results,
) -> Encoder:
    """Train and measure the frozen start, then the dual encoder; every ``top1`` has that of the start beside it."""
    measured = []
    for name, settings in (("frozen_start", frozen), ("dual_encoder", stage)):
        with timed_stage(results, "features"):
            encoder = make(settings)
        with timed_stage(results, name):
            part = RunFolder.create(folder.path / "stages" / name, settings, seed=settings.train.seed)
            encoder.fit(part, resume=True)
            measured.append(encoder.measure())
    start, ours = measured
    for metric, value in ours.items():
        results.add(metric, value)
        base, _, last = metric.rpartition("/")
        if last == "top1":
            results.add(f"{base}/frozen_start_top1", start[metric])
    return encoder
