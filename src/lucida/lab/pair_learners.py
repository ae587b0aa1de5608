"""Small dual encoders on features of frozen towers, trained on what a chain of construction steps leaves of a crawl."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lucida.core.cache import content_hash
from lucida.core.seeds import derive_seed, stream
from lucida.data.construction.similarity import Encode
from lucida.evaluation.zero_shot import class_embeddings, true_class_ranks
from lucida.lab.dirty_pairs import SIZE, TEMPLATES, Crawl, Kept, World, plain_pictures, row_of_place
from lucida.models.dual_encoder import DualEncoder, HeadConfig, seeded_heads
from lucida.models.features import vision_features
from lucida.models.kernel_reader import KernelReader
from lucida.models.principal_components import PrincipalComponents, principal_components
from lucida.training.distributed import Accelerator, TaskModule
from lucida.training.step import train_step
from lucida.training.tasks import ContrastiveTask

RIDGE, DECAY, TOP = 0.05, 0.1, 5


@dataclass(frozen=True)
class Course:
    """How every dual encoder is trained.

    Attributes:
        components: of a picture's features that are kept.
        head: of both sides.
        batch, steps: pairs of a batch, and batches.
        rates: of AdamW, of which each arm has the best for validation.
        starts: of the heads, each trained; what they come to is averaged.
    """

    components: int
    head: HeadConfig
    batch: int
    steps: int
    rates: tuple[float, ...]
    starts: int


@cache
def _tower() -> Any:
    from lucida.models.efficientnet import EfficientNetLite0

    return EfficientNetLite0(SIZE, pooled="stages").eval()


@cache
def _reader() -> Any:
    from lucida.models.text_features import TextFeatures
    from lucida.models.text_towers import MiniLM

    reader = TextFeatures(MiniLM())
    everything = _names(np.arange(len(plain_pictures()[0])))
    reader.remember([template.format(name) for name in everything for template in TEMPLATES])
    return reader


def seen(features: NDArray[np.float32], components: int) -> Tensor:
    """The tower's features along the axes of all plain artwork, ``float32 [N, components]``."""
    return torch.from_numpy(_axes(components).project(features))


@cache
def _axes(components: int) -> PrincipalComponents:
    return principal_components(_plain_features(), at_most=components)


@cache
def _plain_features() -> NDArray[np.float32]:
    return _features(np.concatenate(plain_pictures()))


def _features(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    key = content_hash("lab", "dirty pairs", pixels)
    return np.asarray(vision_features(_tower(), pixels, key=key), np.float32)


def read(texts: Sequence[str]) -> Tensor:
    """What the frozen text tower reads, ``float32 [N, 384]``."""
    known: Tensor = _reader()(list(texts))
    return known


@dataclass(frozen=True, eq=False)
class Material:
    """A crawl as the towers see it.

    Attributes:
        pictures: ``float32 [N, components]``.
        texts: ``float32 [N, 384]``.
        concepts: plain pictures of every concept by both artists, ``float32 [2, C, components]``.
    """

    pictures: Tensor
    texts: Tensor
    concepts: Tensor

    @classmethod
    def of(cls, found: Crawl, components: int) -> Material:
        """Of a crawl; the towers' work is remembered."""
        plain = seen(_plain_features(), components).unflatten(0, (len(plain_pictures()), -1))
        _reader().remember(found.captions)
        return cls(seen(_features(found.pixels()), components), read(found.captions), plain)


def trusted_encoder(seed: int, own: World, material: Material, found: Crawl, count: int) -> Encode:
    """An encoder made from a few checked pairs of known concepts: pictures are read into the space of texts."""
    chosen = stream(seed, "lab", "dirty pairs", "trusted").permutation(own.known)[:count]
    names = _names(chosen)
    reader = KernelReader(F.normalize(material.concepts[0][chosen]), read(names), ridge=RIDGE)
    pictures = reader(F.normalize(material.pictures)).numpy()
    texts = reader.texts(material.texts).numpy()

    def encode(sources: Sequence[Any], captions: Sequence[str]) -> tuple[NDArray, NDArray]:
        places = [row_of_place(Path(source.path).name, source.row, found.tests) for source in sources]
        return pictures[places], texts[places]

    return encode


def _names(rows: NDArray[np.int64]) -> list[str]:
    from lucida.data.emoji import concepts

    return [concepts()[row].name for row in rows]


def trained(
    seed: int, start: int, material: Material, kept: Kept, course: Course, rate: float
) -> tuple[DualEncoder, list[float]]:
    """Heads after so many batches of the pairs that are left, as many examples whatever their number, and each loss.

    Raises:
        NonFiniteError: the rate is too large for them.
    """
    sizes = material.pictures.shape[1], material.texts.shape[1]
    model = seeded_heads(*sizes, course.head, derive_seed(seed, "lab", "dirty pairs", "heads", start))
    model.image_head.standardize(material.pictures[kept.rows])
    model.text_head.standardize(material.texts[kept.rows])
    task, accelerator = ContrastiveTask(model), Accelerator(cpu=True)
    module = TaskModule(task, device=torch.device("cpu"), precision="float32")
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=DECAY)
    generator = stream(seed, "lab", "dirty pairs", "batches", start)
    model.train()
    losses = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "lab", "dirty pairs", "dropout", start))
        for step in range(course.steps):
            rows = torch.from_numpy(_batch(kept, course.batch, generator))
            seen, read = ({"features": features[rows]} for features in (material.pictures, material.texts))
            batch = {"image": seen, "text": read, "ids": rows}
            done = train_step(task, module, [batch], optimizer, accelerator, max_grad_norm=1.0, step=step)
            losses.append(done.loss)
    return model.eval(), losses


def _batch(kept: Kept, size: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Different pairs; with hard negatives half of them, and one of its nearest with each."""
    size = min(size, len(kept.rows))
    if not kept.negatives.shape[1]:
        return generator.choice(kept.rows, size, replace=False)
    places = generator.permutation(len(kept.rows))
    chosen: dict[int, None] = {}
    for place in places:
        near = kept.negatives[place]
        near = near[near >= 0]
        chosen[int(kept.rows[place])] = None
        if len(near):
            chosen[int(near[generator.integers(len(near))])] = None
        if len(chosen) >= size:
            break
    return np.array(list(chosen)[:size])


@torch.inference_mode()
def named(model: DualEncoder, pictures: Tensor, classes: NDArray[np.int64], truth: NDArray[np.int64]) -> NDArray:
    """Whether each picture's name is among the :data:`TOP` nearest of the classes (rows of concepts): ``bool [n]``."""

    def encode(texts: Sequence[str]) -> Tensor:
        return model.encode_text(features=read(texts))

    order = np.argsort(classes)
    labels = order[np.searchsorted(classes, truth, sorter=order)]
    directions = class_embeddings(encode, _names(classes), TEMPLATES)
    ranks = true_class_ranks(model.encode_image(features=pictures), directions, labels)
    return np.asarray(ranks <= TOP)
