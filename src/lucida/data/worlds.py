"""Worlds built from artwork: which kinds they know, and which pictures training never shows."""

from __future__ import annotations

from collections.abc import Collection, Sequence

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
