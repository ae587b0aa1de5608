"""Small dual encoders of the lab: two heads on frozen features of the emoji artwork and of its names.

What a contrastive loss does is the same in two heads as in two towers, and a training takes a second. Heads, losses and
the temperature are the workbench's own; members of one structure train at once (:mod:`lucida.lab.stack`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lucida.core.cache import content_hash
from lucida.core.seeds import derive_seed, stream
from lucida.evaluation.retrieval import retrieval_ranks
from lucida.evaluation.zero_shot import true_class_ranks
from lucida.lab.feature_statistics import alignment, modality_gap, uniformity
from lucida.lab.frozen_features import emoji_artwork_features, text_features
from lucida.lab.stack import MakeTask, Stack, StackTrainer, Updates
from lucida.losses.ring import Ring
from lucida.models.dual_encoder import MAX_LOGIT_SCALE, DualEncoder, Head, HeadConfig
from lucida.training.batches import Batch
from lucida.training.tasks import ContrastiveTask, FeatureTask, LossOutput, SigmoidTask

COMPONENTS = 128  # of pictures and of names
HEADS = HeadConfig(embedding_size=64, hidden_size=128, dropout=0.0)  # which dropout made no better
UNSEEN_SHARE, VALIDATION_SHARE = 0.2, 0.12  # of the groups
CURVE_POINTS = 40
USUAL_SCALE = 1 / 0.07  # where CLIP starts


@dataclass(frozen=True, eq=False)
class NamedArtwork:
    """Pictures of the same concepts by several artists, and the concepts' names, as frozen towers see them.

    Attributes:
        pictures: ``float32 [artists, N, D]``.
        texts: ``float32 [T, D']``.
        names: the texts of each concept, its name first, ``int64 [N, most]``; -1 where it has no more.
        groups: variants of one glyph share a group, ``[N]``.
    """

    pictures: Tensor
    texts: Tensor
    names: Tensor
    groups: NDArray

    @property
    def content_key(self) -> str:
        """A hash of all of it."""
        return content_hash(self.pictures.numpy(), self.texts.numpy(), self.names.numpy(), self.groups.tolist())

    def named(self, concepts: NDArray) -> Tensor:
        """The features of the concepts' first names, ``[n, D']``."""
        return self.texts[self.names[torch.from_numpy(concepts), 0]]


@cache
def named_artwork() -> NamedArtwork:
    """The emoji, flags and the like left out, by both artists, with their names and aliases."""
    from lucida.data.emoji import concepts

    rows = [i for i, concept in enumerate(concepts()) if not concept.apart]
    chosen = [concepts()[i] for i in rows]
    spoken = [(concept.name, *concept.aliases) for concept in chosen]
    texts = tuple(dict.fromkeys(text for own in spoken for text in own))
    place = {text: i for i, text in enumerate(texts)}
    most = max(map(len, spoken))
    names = torch.tensor([[place[text] for text in own] + [-1] * (most - len(own)) for own in spoken])
    pictures = torch.from_numpy(np.ascontiguousarray(emoji_artwork_features(COMPONENTS)[:, rows]))
    read = torch.from_numpy(text_features(texts, COMPONENTS))
    return NamedArtwork(pictures, read, names, np.array([concept.group for concept in chosen]))


class Parts(NamedTuple):
    """What a seed trains on and what it is measured on; whole groups are held out.

    Attributes:
        pairs: training pictures, ``int64 [P, 2]``: artist and concept.
        validation: concepts without a picture in training, for tuning, ``int64 [n]``.
        unseen: others, for the results.
        second_artist: concepts in training of which the second artist's picture is not.
    """

    pairs: NDArray
    validation: NDArray
    unseen: NDArray
    second_artist: NDArray


def parts(artwork: NamedArtwork, seed: int) -> Parts:
    """The parts of a seed: 20 % of the groups unseen, 12 % for validation, of the rest half without second artist."""
    generator = stream(seed, "lab", "dual encoders", "parts")
    groups = generator.permutation(np.unique(artwork.groups))
    unseen, validation = (round(share * len(groups)) for share in (UNSEEN_SHARE, VALIDATION_SHARE))
    held, tuned = np.isin(artwork.groups, groups[:unseen]), np.isin(artwork.groups, groups[-validation:])
    known = generator.permutation(np.flatnonzero(~held & ~tuned))
    second, both = known[: len(known) // 2], known[len(known) // 2 :]
    artists = range(1, len(artwork.pictures))
    pairs = [(0, i) for i in known] + [(artist, i) for artist in artists for i in both]
    return Parts(np.array(sorted(pairs)), np.flatnonzero(tuned), np.flatnonzero(held), np.sort(second))


@dataclass(frozen=True)
class Scoring:
    """How cosines become a loss.

    Attributes:
        loss: softmax (CLIP) or sigmoid (SigLIP).
        learned: whether the scale is learned (and the bias, which only the sigmoid has).
        max_logit_scale: no scale above counts; infinite for no clamp.
        pace: how many times faster than the heads' weights Adam moves the scale's logarithm.
    """

    loss: Literal["softmax", "sigmoid"] = "softmax"
    learned: bool = True
    max_logit_scale: float = MAX_LOGIT_SCALE
    pace: float = 1.0


@dataclass(frozen=True)
class PairMember:
    """One training: its seed, its rate, how it scores, and where scale and bias start."""

    seed: int
    rate: float
    scoring: Scoring = Scoring()
    start_scale: float = USUAL_SCALE
    start_bias: float = -10.0


@dataclass(frozen=True)
class PairCourse:
    """What all members have in common.

    Attributes:
        batch_size: pairs in a batch.
        examples: pairs in all; as many steps as go into it.
        wrong: share of the training pictures that have the name of another concept, always the same one.
        several_names: whether a name is drawn anew among a concept's names each time; else it is the first.
        identities: whether pairs of one concept are positives of each other.
    """

    batch_size: int = 128
    examples: int = 40_000
    wrong: float = 0.0
    several_names: bool = True
    identities: bool = True

    @property
    def steps(self) -> int:
        """Updates."""
        return max(1, self.examples // self.batch_size)


class PacedEncoder(DualEncoder):
    """A dual encoder whose scale is held, or moves at a pace of its own.

    Adam moves every number by about its rate. Where the scale's logarithm is ``pace`` times the number that is learned,
    it moves that much faster than the heads' weights do.
    """

    def __init__(self, image_head: nn.Module, text_head: nn.Module, scoring: Scoring, scale: float, bias: float):
        super().__init__(
            image_head,
            text_head,
            initial_temperature=1 / scale,
            logit_bias=bias if scoring.loss == "sigmoid" else None,
            max_logit_scale=scoring.max_logit_scale,
        )
        self.pace = scoring.pace if scoring.learned else 1.0
        start = self.log_logit_scale.detach() / self.pace
        if scoring.learned:
            self.log_logit_scale.data = start
            return
        del self.log_logit_scale
        self.register_buffer("log_logit_scale", start)
        if self.logit_bias is not None:
            held = self.logit_bias.detach()
            del self.logit_bias
            self.register_buffer("logit_bias", held)

    @property
    def logit_scale(self) -> Tensor:
        """The multiplier of the cosines, a scalar of at most ``max_logit_scale``."""
        return (self.pace * self.log_logit_scale).exp().clamp(max=self.max_logit_scale)


class WholeBatch:
    """A loss in which every pair meets every other, of a batch that comes in one piece.

    >>> task = WholeBatch(ContrastiveTask(DualEncoder(nn.Identity(), nn.Identity(), initial_temperature=1.0)))
    >>> same = {"features": torch.eye(3)}
    >>> round(float(task.loss({"image": same, "text": same, "ids": torch.arange(3)}).loss_sum), 4)
    1.6543
    """

    def __init__(self, task: FeatureTask):
        self.model, self._task = task.model, task

    def loss(self, batch: Batch) -> LossOutput:
        """The loss of the batch, as a sum over its pairs."""
        return self._task.loss_of_features(self._task.features(batch), Ring(len(batch["ids"])))


def make_task(scoring: Scoring) -> MakeTask:
    """The workbench's task of a way to score."""
    task: Callable[[nn.Module], FeatureTask] = SigmoidTask if scoring.loss == "sigmoid" else ContrastiveTask
    return lambda model: WholeBatch(task(model))


def make_encoder(artwork: NamedArtwork, known: Parts, member: PairMember) -> PacedEncoder:
    """A fresh encoder that has looked at the means and deviations of its training features; weights by seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(member.seed, "lab", "dual encoders", "weights"))
        image, text = Head(artwork.pictures.shape[-1], HEADS), Head(artwork.texts.shape[-1], HEADS)
    artist, concept = torch.from_numpy(known.pairs).T
    image.standardize(artwork.pictures[artist, concept])
    text.standardize(artwork.named(np.unique(known.pairs[:, 1])))
    return PacedEncoder(image, text, member.scoring, member.start_scale, member.start_bias)


class Shown(NamedTuple):
    """What a seed is shown, pair by pair, ``int64 [E]`` each: whoever has the same seed and course sees the same."""

    artist: NDArray
    concept: NDArray
    text: NDArray


def shown(artwork: NamedArtwork, known: Parts, course: PairCourse, seed: int) -> Shown:
    """Epoch after epoch in a new order, each picture with a name."""
    count, total = len(known.pairs), course.steps * course.batch_size
    order = stream(seed, "lab", "dual encoders", "order")
    rows = np.concatenate([order.permutation(count) for _ in range(-(-total // count))])[:total]
    said = _said(known, course.wrong, stream(seed, "lab", "dual encoders", "wrong"))[rows]
    own = artwork.names.numpy()[said]
    drawn = stream(seed, "lab", "dual encoders", "names").random(total) * (own >= 0).sum(axis=1)
    place = drawn.astype(int) if course.several_names else np.zeros(total, int)
    artist, concept = known.pairs[rows].T
    return Shown(artist, concept, own[np.arange(total), place])


def _said(known: Parts, wrong: float, generator: np.random.Generator) -> NDArray:
    """The concept whose name each training picture has, ``int64 [P]``."""
    own = known.pairs[:, 1].copy()
    concepts = np.unique(own)
    chosen = generator.permutation(len(own))[: round(wrong * len(own))]
    step = generator.integers(1, len(concepts), size=len(chosen))  # never a whole round: another concept
    own[chosen] = concepts[(np.searchsorted(concepts, own[chosen]) + step) % len(concepts)]
    return own


@dataclass(frozen=True, eq=False)
class Trained:
    """Members that were trained, all of one way to score.

    Attributes:
        stack: their encoders.
        losses, scales: mean loss and scale along the training, ``[M, points]``; a member that was stopped has NaN.
        alive: whether loss and gradient stayed finite, ``bool [M]``.
    """

    stack: Stack
    losses: NDArray
    scales: NDArray
    alive: NDArray

    def encoder(self, index: int) -> DualEncoder:
        """A member as an encoder of its own, in evaluation mode."""
        network = self.stack.member(index).eval()
        assert isinstance(network, DualEncoder)
        return network


def train_alike(artwork: NamedArtwork, course: PairCourse, members: Sequence[PairMember]) -> Trained:
    """Train members of one :class:`Scoring` at once, each on its own pairs, with Adam."""
    (scoring,) = {member.scoring for member in members}
    known = {seed: parts(artwork, seed) for seed in {member.seed for member in members}}
    stack = Stack([make_encoder(artwork, known[member.seed], member) for member in members])
    trainer = StackTrainer(stack, make_task(scoring), [member.rate for member in members], Updates("adam"))
    seen = {seed: shown(artwork, own, course, seed) for seed, own in known.items()}
    losses, scales = [], []
    for batch in _batches(artwork, course, [seen[member.seed] for member in members]):
        trainer.step(batch)
        losses.append(torch.where(trainer.alive, trainer.losses, torch.nan))
        scales.append(stack_scales(stack))
    return Trained(stack, _means(losses), _means(scales), trainer.alive.numpy())


def _batches(artwork: NamedArtwork, course: PairCourse, seen: Sequence[Shown]) -> Iterator[Batch]:
    artist, concept, text = (torch.from_numpy(np.stack(column)) for column in zip(*seen, strict=True))
    everyone = torch.arange(course.batch_size).expand(len(seen), -1)
    for start in range(0, artist.shape[1], course.batch_size):
        part = slice(start, start + course.batch_size)
        yield {
            "image": {"features": artwork.pictures[artist[:, part], concept[:, part]]},
            "text": {"features": artwork.texts[text[:, part]]},
            "ids": concept[:, part] if course.identities else everyone,
        }


def stack_scales(stack: Stack) -> Tensor:
    """The scale of each member, ``[M]``."""
    template = stack.template
    assert isinstance(template, PacedEncoder)
    stored = (stack.stacked_parameters() | stack.stacked_buffers())["log_logit_scale"].detach()
    return (template.pace * stored).exp().clamp(max=template.max_logit_scale)


def _means(values: Sequence[Tensor]) -> NDArray:
    """``[M]`` of each step to ``[M, points]``: means of equal stretches."""
    pieces = np.array_split(torch.stack(list(values), dim=1).numpy(), min(CURVE_POINTS, len(values)), axis=1)
    return np.stack([piece.mean(axis=1) for piece in pieces], axis=1)


Measures = dict[str, NDArray]
"""By name, ``[M]`` each, or ``[M, points]`` for a curve."""

ZERO_SHOT, SECOND_ARTIST, RETRIEVAL, VALIDATION = "zero-shot", "second artist", "retrieval", "validation"


def train_pairs(artwork: NamedArtwork, course: PairCourse, members: Sequence[PairMember]) -> Measures:
    """Train members of any kind and measure each (:func:`encoder_measures`); also the curves ``losses``, ``scales``."""
    found: list[tuple[int, Measures]] = []
    for scoring in dict.fromkeys(member.scoring for member in members):
        places = [i for i, member in enumerate(members) if member.scoring == scoring]
        trained = train_alike(artwork, course, [members[i] for i in places])
        for k, i in enumerate(places):
            measured = encoder_measures(artwork, parts(artwork, members[i].seed), trained.encoder(k))
            curves = {"losses": trained.losses[k], "scales": trained.scales[k], "alive": trained.alive[k]}
            found.append((i, {name: np.asarray(value) for name, value in (measured | curves).items()}))
    rows = [row for _, row in sorted(found, key=lambda one: one[0])]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


@torch.no_grad()
def encoder_measures(artwork: NamedArtwork, known: Parts, encoder: DualEncoder) -> dict[str, float]:
    """What an encoder is worth.

    Returns:
        ``zero-shot``: share of the pictures of unseen concepts, by all artists, that are named right among the unseen
        names; ``second artist``: share of that part's pictures named right among all names; ``retrieval``: share of the
        unseen names whose nearest picture is theirs; ``validation``: mean reciprocal rank of the name of pictures of
        validation concepts, among the validation names; ``scale``, and of the unseen pairs ``alignment``,
        ``uniformity of pictures`` and ``of names`` and ``modality gap`` (:mod:`~lucida.lab.feature_statistics`).
    """
    images = encoder.encode_image(features=artwork.pictures.flatten(0, 1)).unflatten(0, artwork.pictures.shape[:2])
    texts = encoder.encode_text(features=artwork.named(np.arange(artwork.pictures.shape[1])))
    artists = len(images)

    def ranks(concepts: NDArray) -> NDArray:
        labels = np.tile(np.arange(len(concepts)), artists)
        return true_class_ranks(images[:, concepts].flatten(0, 1), texts[concepts], labels)

    unseen = known.unseen
    pictures, names, ids = images[:, unseen].flatten(0, 1), texts[unseen], np.tile(unseen, artists)
    second = [true_class_ranks(images[a, known.second_artist], texts, known.second_artist) for a in range(1, artists)]
    return {
        ZERO_SHOT: float((ranks(unseen) <= 1).mean()),
        SECOND_ARTIST: float((np.concatenate(second) <= 1).mean()),
        RETRIEVAL: float((retrieval_ranks(names, pictures, unseen, ids) <= 1).mean()),
        VALIDATION: float((1 / ranks(known.validation)).mean()),
        "scale": float(encoder.logit_scale),
        "alignment": alignment(pictures, names.repeat(artists, 1)),
        "uniformity of pictures": uniformity(pictures),
        "uniformity of names": uniformity(names),
        "modality gap": modality_gap(pictures, names),
    }
