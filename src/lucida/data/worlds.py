"""Worlds built from artwork: which kinds they know, and which pictures training never shows."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lucida.core.errors import LucidaError
from lucida.core.seeds import stream
from lucida.data.kinds import Kind, all_kinds, choose_kinds
from lucida.data.scenes import SceneConfig, SceneWorld
from lucida.data.sprites import Artwork, SpriteSet


def build_world(
    artwork: Artwork,
    config: SceneConfig | None = None,
    *,
    held_out: Collection[tuple[str, str]] = (),
    seed: int = 0,
    table: Sequence[Kind] | None = None,
) -> SceneWorld:
    """A world of kinds chosen from artwork; half of them have held-out pictures, as far as there are any.

    Args:
        artwork: RGBA pictures by (concept, artist).
        config: what scenes look like.
        held_out: (concept, artist) whose pictures only ``test_second_artist`` shows.
        seed: of the choice and of all scenes.
        table: the kinds to choose from.

    Raises:
        LucidaError: too few kinds have artwork.
    """
    config = config or SceneConfig()
    table = all_kinds() if table is None else table
    artists: dict[str, set[str]] = {}
    for concept, artist in artwork:
        artists.setdefault(concept, set()).add(artist)
    seen = {c: {artist for artist in drawn if (c, artist) not in held_out} for c, drawn in artists.items()}
    partly_seen = {c for c, drawn in artists.items() if seen[c] and seen[c] != drawn}
    fully_seen = {c for c in artists if seen[c] == artists[c]}
    n_partly = min(config.kinds // 2, sum(kind.concept in partly_seen for kind in table))
    kinds = choose_kinds(partly_seen, n_partly, seed, table=table)
    kinds += choose_kinds(fully_seen, config.kinds - n_partly, seed, table=table)
    sprites = {(kind.name, artist): artwork[kind.concept, artist] for kind in kinds for artist in artists[kind.concept]}
    apart = {(kind.name, artist) for kind in kinds for artist in artists[kind.concept] - seen[kind.concept]}
    kinds.sort(key=lambda kind: kind.name)
    return SceneWorld(SpriteSet(sprites, config.sprite_sizes), kinds, config, held_out=apart, seed=seed)


def halves_of_held_out(world: SceneWorld) -> tuple[SceneWorld, SceneWorld]:
    """Two worlds of the same kinds; of the pictures that training never shows, each shows one half.

    To adapt a model to an artist with some pictures and to measure it on others: their ``test_second_artist`` scenes
    have no kind in common.

    Raises:
        LucidaError: there are not two kinds with such pictures.
    """
    kinds = sorted({kind for kind, _ in world.held_out})
    if len(kinds) < 2:
        raise LucidaError("there are not two kinds with held-out artwork", where=f"{len(kinds)} kinds")
    order = stream(world.seed, "halves of the held-out kinds").permutation(len(kinds))
    first = {kinds[i] for i in order[: len(kinds) // 2]}
    worlds = []
    for chosen in (first, set(kinds) - first):
        held_out = {pair for pair in world.held_out if pair[0] in chosen}
        worlds.append(SceneWorld(world.sprites, world.kinds, world.config, held_out=held_out, seed=world.seed))
    return worlds[0], worlds[1]
