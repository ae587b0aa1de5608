"""Scenes: pictures composed of artwork whose objects, counts and places are known exactly.

A :class:`SceneWorld` draws scenes by (stream, index). A scene is a small record; its pixels are composed when they are
needed. Each scene has a random stream of its own, so that neither the order of drawing nor the number of processes
changes it. The knobs of :class:`SceneConfig` that skew a world (co-occurrence, frequency) act on training and
validation scenes only: models trained under different knobs are judged on the very same test scenes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lucida.core.errors import LucidaError
from lucida.core.seeds import stream as random_stream
from lucida.data.grounds import Ground, draw_ground, paint
from lucida.data.kinds import Kind
from lucida.data.layout import Room
from lucida.data.sprites import SpriteSet
from lucida.data.statistics import ObjectStatistics
from lucida.data.truth import Box, Facts, PictureObject

STREAMS = ("train", "validation", "test", "test_second_artist", "test_unseen_pairs")
SKEWED_STREAMS = ("train", "validation")
_MAX_COUNT = 4  # objects of one kind in a scene, unless no other kind may join
_LAYOUTS = 100  # with the smallest objects before giving up


@dataclass(frozen=True)
class SceneConfig:
    """What scenes look like.

    Attributes:
        size: side of the square picture, pixels.
        kinds: how many kinds of object the world knows.
        objects_min, objects_max: objects in a scene.
        width_min, width_max: longer side of an object, as a share of the picture's side.
        repeated_share: chance that another object is of a kind already there.
        unseen_pairs: share of the pairs of kinds that never share a scene, except in ``test_unseen_pairs``.
        co_occurrence_skew: 0 draws kinds independently; 1 draws all kinds of a training scene from one context.
        concept_frequency: Zipf exponent of the frequency of kinds in training; 0 is uniform.
        negative_share: share of "is there a ...?" questions whose answer is no, in training conversations.
        caption_noise: chance that an object is omitted from, wrongly named in, or added to a training caption.
    """

    size: int = 128
    kinds: int = 96
    objects_min: int = 2
    objects_max: int = 6
    width_min: float = 0.12
    width_max: float = 0.30
    repeated_share: float = 0.25
    unseen_pairs: float = 0.1
    co_occurrence_skew: float = 0.0
    concept_frequency: float = 0.0
    negative_share: float = 0.5
    caption_noise: float = 0.0

    def __post_init__(self) -> None:
        shares = ("repeated_share", "unseen_pairs", "co_occurrence_skew", "negative_share", "caption_noise")
        rules = {
            "size must be at least 16 pixels": self.size >= 16,
            "objects_min must be at least 1 and at most objects_max": 1 <= self.objects_min <= self.objects_max,
            "objects_max must be at most 12": self.objects_max <= 12,
            "width_min must be above 0 and at most width_max": 0 < self.width_min <= self.width_max,
            "width_max must be at most 0.5": self.width_max <= 0.5,
            "kinds must be at least 4": self.kinds >= 4,
            "concept_frequency must not be negative": self.concept_frequency >= 0,
            **{f"{name} must lie between 0 and 1": 0 <= getattr(self, name) <= 1 for name in shares},
        }
        for rule, kept in rules.items():
            if not kept:
                raise LucidaError(rule, where="SceneConfig")

    @cached_property
    def sprite_sizes(self) -> tuple[int, ...]:
        """The lengths of the longer side that objects may have, pixels; twelve at most."""
        low, high = int(np.ceil(self.size * self.width_min)), int(self.size * self.width_max)
        return tuple(sorted({round(s) for s in np.linspace(low, max(low, high), 12)}))


@dataclass(frozen=True)
class SceneObject:
    """One object: later ones lie over earlier ones.

    Attributes:
        kind: the noun.
        artist: whose artwork.
        box: in pixels, the whole object, also where a later one hides it.
        flipped: mirrored left to right.
    """

    kind: str
    artist: str
    box: Box
    flipped: bool = False


@dataclass(frozen=True)
class Scene:
    """The exact truth about one picture.

    Attributes:
        stream, index: where it was drawn.
        size: side of the picture, pixels.
        objects: bottom first.
        ground: what is behind them.
    """

    stream: str
    index: int
    size: int
    objects: tuple[SceneObject, ...]
    ground: Ground

    @cached_property
    def facts(self) -> Facts:
        """Names, counts, places and relations; everything that is there is listed."""
        objects = tuple(PictureObject(thing.kind, thing.box) for thing in self.objects)
        return Facts(objects, self.size, self.size, exhaustive=True)

    def without(self, index: int) -> Scene:
        """The same scene, object ``index`` taken out: its twin picture."""
        return dataclasses.replace(self, objects=self.objects[:index] + self.objects[index + 1 :])


class SceneWorld:
    """Draws and composes scenes.

    Args:
        sprites: the artwork, prepared at ``config.sprite_sizes``.
        kinds: the kinds of object that may appear; each needs a sprite that is not held out.
        config: what scenes look like.
        held_out: (kind, artist) whose sprites only ``test_second_artist`` shows.
        seed: of everything that is drawn.

    Raises:
        LucidaError: a kind has no artwork left for training, or there are fewer than four kinds.
    """

    def __init__(
        self,
        sprites: SpriteSet,
        kinds: Sequence[Kind],
        config: SceneConfig,
        *,
        held_out: Collection[tuple[str, str]] = (),
        seed: int = 0,
    ):
        self.sprites, self.kinds, self.config, self.seed = sprites, tuple(kinds), config, seed
        self.held_out = frozenset(held_out)
        if len(self.kinds) < 4:
            raise LucidaError("a world needs at least four kinds of object", where=f"{len(self.kinds)} kinds")
        missing = set(config.sprite_sizes) - set(sprites.sizes)
        if missing:
            raise LucidaError(f"sprites are not prepared at {sorted(missing)} pixels", remedy="use config.sprite_sizes")
        self._artists = [self._split_artists(kind.name) for kind in self.kinds]
        self.forbidden_pairs = self._draw_forbidden_pairs()
        self._statistics: dict[str, ObjectStatistics] = {}

    def _split_artists(self, kind: str) -> tuple[list[str], list[str]]:
        """Artists seen in training, artists held out."""
        artists = self.sprites.artists(kind) if kind in self.sprites.kinds else ()
        seen = [artist for artist in artists if (kind, artist) not in self.held_out]
        if not seen:
            raise LucidaError("no artwork for training scenes", where=kind)
        return seen, [artist for artist in artists if artist not in seen]

    def _draw_forbidden_pairs(self) -> np.ndarray:
        """``bool [K, K]``, symmetric: the pairs that only ``test_unseen_pairs`` shows."""
        n = len(self.kinds)
        first, second = np.triu_indices(n, 1)
        pairs = random_stream(self.seed, "scenes", "forbidden pairs").permutation(len(first))
        chosen = pairs[: round(len(pairs) * self.config.unseen_pairs)]
        forbidden = np.zeros((n, n), bool)
        forbidden[first[chosen], second[chosen]] = True
        return forbidden | forbidden.T

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The nouns of the kinds, in their order."""
        return tuple(kind.name for kind in self.kinds)

    @cached_property
    def _weights(self) -> np.ndarray:
        """Relative frequency of each kind in training scenes, ``float64 [K]``; which kinds are frequent is seeded."""
        ranks = random_stream(self.seed, "scenes", "frequency").permutation(len(self.kinds)) + 1
        weights = ranks.astype(np.float64) ** -self.config.concept_frequency
        return weights / weights.sum()

    @cached_property
    def _same_context(self) -> np.ndarray:
        """``bool [K, K]``."""
        contexts = np.array([kind.context for kind in self.kinds])
        return contexts[:, None] == contexts

    def vocabulary(self, stream: str) -> tuple[str, ...]:
        """The nouns that scenes of a stream can show.

        Questions about a stream ask for these only: a kind that can never be there is "no" without looking.
        """
        held_out = stream == "test_second_artist"
        return tuple(n for n, (_, other) in zip(self.names, self._artists, strict=True) if other or not held_out)

    @cached_property
    def statistics(self) -> ObjectStatistics:
        """Which kinds training scenes show often, and together: what a model may have learned instead of looking.

        The expectation to first order (the second kind given the first). Where nothing else decides, kinds of one
        context count as more likely together.
        """
        skew, weights, same = self.config.co_occurrence_skew, self._weights, self._same_context
        in_context = weights * same / (same @ weights)[:, None]
        together = weights[:, None] * ((1 - skew) * weights + skew * in_context) * (1 + 1e-6 * same)
        together[self.forbidden_pairs] = 0
        np.fill_diagonal(together, 0)
        return ObjectStatistics(self.names, weights, together + together.T)

    def statistics_of(self, stream: str) -> ObjectStatistics:
        """The statistics of training, for the kinds that scenes of ``stream`` can show."""
        if stream not in self._statistics:
            self._statistics[stream] = self.statistics.only(self.vocabulary(stream))
        return self._statistics[stream]

    def draw(self, stream: str, index: int) -> Scene:
        """Scene ``index`` of ``stream``.

        Raises:
            LucidaError: an unknown stream, a negative index, or a stream this world cannot fill (no artwork is held
                out, no pair is forbidden).
        """
        self._check(stream, index)
        generator = random_stream(self.seed, "scenes", stream, index)
        kinds = self._draw_kinds(stream, generator)
        column = 1 if stream == "test_second_artist" else 0
        chosen = []
        for kind in kinds:
            artists = self._artists[kind][column]
            chosen.append((self.names[kind], artists[int(generator.integers(len(artists)))]))
        ground = draw_ground(generator)
        return Scene(stream, index, self.config.size, tuple(self._arrange(chosen, generator)), ground)

    def _check(self, stream: str, index: int) -> None:
        if stream not in STREAMS:
            raise LucidaError(f"unknown stream of scenes {stream!r}", remedy=f"use one of {', '.join(STREAMS)}")
        if index < 0:
            raise LucidaError(f"a scene's index must not be negative: {index}", where=stream)
        if stream == "test_second_artist" and not any(held_out for _, held_out in self._artists):
            raise LucidaError("no artwork is held out", where=stream, remedy="use artwork by two artists")
        if stream == "test_unseen_pairs" and (not self.forbidden_pairs.any() or self.config.objects_max < 2):
            raise LucidaError("no pair of kinds is forbidden in training", where=stream, remedy="raise unseen_pairs")

    def _draw_kinds(self, stream: str, generator: np.random.Generator) -> list[int]:
        """The kind of each object; the objects of one kind are drawn one after another and shuffled at the end."""
        config = self.config
        n = int(generator.integers(config.objects_min, config.objects_max + 1))
        distinct: list[int] = []
        if stream == "test_unseen_pairs":
            n = max(n, 2)
            pairs = np.argwhere(np.triu(self.forbidden_pairs))
            distinct = [int(kind) for kind in pairs[generator.integers(len(pairs))]]
        objects = list(distinct)
        while len(objects) < n:
            kind = None
            if not objects or generator.random() >= config.repeated_share or objects.count(objects[-1]) >= _MAX_COUNT:
                kind = self._draw_kind(stream, distinct, generator)
            if kind is None:
                kind = objects[-1]
            else:
                distinct.append(kind)
            objects.append(kind)
        return [objects[i] for i in generator.permutation(n)]

    def _draw_kind(self, stream: str, distinct: list[int], generator: np.random.Generator) -> int | None:
        """A kind that is not there yet; None if no other may join those that are."""
        skewed = stream in SKEWED_STREAMS
        weights = self._weights.copy() if skewed else np.ones(len(self.kinds))
        weights[distinct] = 0
        if stream == "test_second_artist":
            weights[[not held_out for _, held_out in self._artists]] = 0
        if stream != "test_unseen_pairs" and distinct:
            weights[self.forbidden_pairs[distinct].any(axis=0)] = 0
        if skewed and distinct and generator.random() < self.config.co_occurrence_skew:
            of_context = weights * self._same_context[distinct[0]]
            weights = of_context if of_context.any() else weights
        total = np.cumsum(weights)
        if total[-1] <= 0:
            return None
        return int(np.searchsorted(total, generator.random() * total[-1], side="right"))

    def _arrange(self, chosen: list[tuple[str, str]], generator: np.random.Generator) -> list[SceneObject]:
        """Sizes and places for all; where an object finds no room, all start again, smaller."""
        n_sizes = len(self.config.sprite_sizes)
        for attempt in range(n_sizes + _LAYOUTS):
            picks = generator.integers(max(1, n_sizes - attempt), size=len(chosen)).tolist()
            room = Room(self.config.size)
            objects: list[SceneObject] = []
            for (kind, artist), pick in zip(chosen, picks, strict=True):
                thing = self._place(kind, artist, pick, room, generator)
                if thing:
                    objects.append(thing)
            if len(objects) == len(chosen):
                return objects
        raise LucidaError(
            f"{len(chosen)} objects do not fit side by side",
            where="SceneConfig",
            remedy="lower objects_max or width_min",
        )

    def _place(
        self, kind: str, artist: str, pick: int, room: Room, generator: np.random.Generator
    ) -> SceneObject | None:
        """An object of size number ``pick``, or of the largest smaller size for which there is room."""
        flipped = bool(generator.integers(2))
        for smaller in range(pick, -1, -1):
            sprite = self.sprites.get(kind, artist, self.config.sprite_sizes[smaller])
            box = room.place(sprite.width, sprite.height, sprite.fill, generator)
            if box:
                return SceneObject(kind, artist, box, flipped)
        return None

    def with_another(self, scene: Scene, kind: str, artist: str | None = None, *, salt: int = 0) -> Scene | None:
        """The same scene with one more object on top: its twin picture; None if there is no room.

        Args:
            scene: drawn by this world.
            kind: what is added.
            artist: whose artwork; the first of those seen in training unless given.
            salt: another number, another place.
        """
        if kind not in self.names:
            raise LucidaError(f"this world has no kind {kind!r}", where="SceneWorld")
        generator = random_stream(self.seed, "scenes", "twin", scene.stream, scene.index, kind, salt)
        room = Room(scene.size)
        for thing in scene.objects:
            fill = self.sprites.get(thing.kind, thing.artist, _longer_side(thing.box)).fill
            room.occupy(thing.box, fill)
        artist = artist or self._artists[self.names.index(kind)][0][0]
        pick = int(generator.integers(len(self.config.sprite_sizes)))
        added = self._place(kind, artist, pick, room, generator)
        return dataclasses.replace(scene, objects=(*scene.objects, added)) if added else None

    def compose(self, scene: Scene) -> np.ndarray:
        """The picture, ``uint8 [size, size, 3]``."""
        return self._compose_into(scene, np.empty((scene.size, scene.size, 3), np.uint8))

    def _compose_into(self, scene: Scene, canvas: np.ndarray) -> np.ndarray:
        paint(scene.ground, canvas)
        for thing in scene.objects:
            sprite = self.sprites.get(thing.kind, thing.artist, _longer_side(thing.box))
            sprite.paste(canvas, int(thing.box.x), int(thing.box.y), flipped=thing.flipped)
        return canvas

    def mask(self, thing: SceneObject) -> np.ndarray:
        """Which pixels of its box the object covers, ``bool [box height, box width]``."""
        mask = self.sprites.get(thing.kind, thing.artist, _longer_side(thing.box)).mask
        return mask[:, ::-1] if thing.flipped else mask

    def compose_many(self, scenes: Sequence[Scene], out: np.ndarray | None = None) -> np.ndarray:
        """The pictures of scenes of one size, ``uint8 [N, size, size, 3]``, into ``out`` if given."""
        size = self.config.size
        pictures = np.empty((len(scenes), size, size, 3), np.uint8) if out is None else out
        for scene, canvas in zip(scenes, pictures, strict=True):
            self._compose_into(scene, canvas)
        return pictures

    def draw_many(self, stream: str, indices: Iterable[int]) -> list[Scene]:
        """Several scenes of one stream."""
        return [self.draw(stream, index) for index in indices]


def _longer_side(box: Box) -> int:
    return int(max(box.width, box.height))
