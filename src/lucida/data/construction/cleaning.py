"""Cleaning: captions that say nothing and pictures that show nothing are dropped, with the reason."""

from __future__ import annotations

import dataclasses
import hashlib
import html
import io
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lucida.core.errors import LucidaError
from lucida.data.construction.engines import Engine
from lucida.data.construction.rows import UNREADABLE, Row, ShardReport, picture_bytes, read_rows, split_rows
from lucida.data.construction.stages import StageResult, Work, run_stage
from lucida.data.decoding import decode
from lucida.data.picture_hashes import difference_hash, look
from lucida.data.pictures import BadPicture

BOILERPLATE = (
    r"(?:an? )?(?:image|photo|picture|photograph|untitled|img|no (?:title|caption|description|image)|n/?a|null|none"
    r"|default|placeholder|thumbnail|logo|icon|banner|advertisement|click (?:here|to enlarge)|read more|loading)\W*",
    r"(?:image|photo|picture) may contain\b.*",  # what a platform wrote where nobody did
    r"(?:img|dsc|dscn|dscf|pict|pxl|mvimg|screenshot|photo|image|picture|untitled)[\W_]*\d[\w\-. ()]*",
    r"[\w\-. ()]+\.(?:jpe?g|png|gif|webp|bmp|tiff?|heic)",  # the name of a file
    r"(?:https?://|www\.)\S+",
    r"(?:copyright|©|all rights reserved)\b.*|©.*",
)
"""Whole captions, in any case, that say nothing of a picture."""

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u200e\u200f\ufeff]")
_BROKEN = re.compile("[\ufffd\ud800-\udfff]|(?:[ÃÂ][\x80-\xbf\u20ac\u2122\u0153\u201c\u201d]){2}")
_ENOUGH = 32  # pixels of a side that the hashes need; larger JPEGs are decoded at a part of their size


@dataclass(frozen=True)
class CleanSettings:
    """What a pair needs.

    Attributes:
        min_words: of a caption, words with a letter or digit in them; letters of scripts without spaces count each.
        max_characters: of a caption.
        min_side: of a picture, pixels.
        max_aspect: of a picture, longer side by shorter side.
        boilerplate: regular expressions; a caption that one of them matches as a whole is dropped.
        pictures: look at the pictures; without, rows are judged by their captions alone.
    """

    min_words: int = 2
    max_characters: int = 1000
    min_side: int = 32
    max_aspect: float = 5.0
    boilerplate: tuple[str, ...] = BOILERPLATE
    pictures: bool = True

    def __post_init__(self) -> None:
        for name, fine in (
            ("min_words", self.min_words >= 0),
            ("max_characters", self.max_characters >= 1),
            ("min_side", self.min_side >= 1),
            ("max_aspect", self.max_aspect >= 1),
        ):
            if not fine:
                raise LucidaError(f"{name} cannot be {getattr(self, name)}", where="clean")
        for pattern in self.boilerplate:
            try:
                re.compile(pattern)
            except re.error as error:
                raise LucidaError(f"not a regular expression: {error}", where=pattern) from None


def clean(source: StageResult, folder: Path, root: Path, settings: CleanSettings, engine: Engine) -> StageResult:
    """The stage ``clean``: rows that pass, with the pictures' sizes, digests and perceptual hashes.

    Args:
        source: the stage before.
        folder: of this stage.
        root: that the rows refer to pictures from.
        settings: what passes.
        engine: that works.
    """

    def work(beside: Path) -> Work:
        shard = partial(clean_shard, folder=beside, root=root, settings=settings)
        return Work(engine.map(shard, list(enumerate(source.paths)), "shards cleaned"))

    return run_stage("clean", settings, source.manifest.shards, folder, work)


def clean_shard(shard: tuple[int, Path], *, folder: Path, root: Path, settings: CleanSettings) -> ShardReport:
    """One shard, by number and path."""
    number, path = shard
    judge = _Judge(settings, root)

    def judged() -> Iterator[list[tuple[Row, str]]]:
        for rows in read_rows(path):
            yield [judge(row) for row in rows]

    return split_rows(judged(), number, folder)


class _Judge:
    """Judges rows; several captions of one picture in a row decode it once."""

    def __init__(self, settings: CleanSettings, root: Path):
        self.settings, self.root = settings, root
        self.pattern = re.compile("|".join(f"(?:{p})" for p in settings.boilerplate) or r"(?!)", re.IGNORECASE)
        self._seen: tuple[str, Row, str] = ("", {}, "")

    def __call__(self, row: Row) -> tuple[Row, str]:
        """The row with what is found out, and why it is dropped, or nothing."""
        caption = tidy(row["caption"] or "")
        reason = caption_problem(caption, self.settings, self.pattern)
        row = {**row, "caption": caption}
        if reason or not self.settings.pictures:
            return row, reason
        identity, facts, problem = self._seen
        if identity != row["identity"] or not identity:
            facts, problem = self._looked(row)
            self._seen = (row["identity"] or "", facts, problem)
        return {**row, **facts}, problem

    def _looked(self, row: Row) -> tuple[Row, str]:
        try:
            data = picture_bytes(row, self.root)
            picture, (width, height) = decode(io.BytesIO(data), at_least=_ENOUGH)
        except BadPicture:
            return {}, UNREADABLE if row.get("file") else "no picture"
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        facts: Row = {"width": width, "height": height, "digest": digest}
        if min(width, height) < self.settings.min_side:
            return facts, "a tiny picture"
        if max(width, height) > self.settings.max_aspect * min(width, height):
            return facts, "a picture of extreme shape"
        across, down = difference_hash(picture)
        return {**facts, "across": across, "down": down, "look": look(picture)}, ""


def tidy(caption: str) -> str:
    """A caption with entities resolved, characters composed (NFC) and single spaces.

    >>> tidy("  a cat &amp;\\n a dog ")
    'a cat & a dog'
    """
    return " ".join(unicodedata.normalize("NFC", html.unescape(caption)).split())


def caption_problem(caption: str, settings: CleanSettings, boilerplate: re.Pattern[str]) -> str:
    """Why a caption is dropped, or nothing; the first reason counts."""
    if not caption:
        return "an empty caption"
    if _CONTROL.search(caption) or _BROKEN.search(caption):
        return "a caption with broken characters"
    if len(caption) > settings.max_characters:
        return "a caption that is too long"
    if boilerplate.fullmatch(caption):
        return "boilerplate"
    if count_words(caption) < settings.min_words:
        return "a caption that is too short"
    return ""


_LONE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1780-\u17ff\u1000-\u109f]")


def count_words(caption: str) -> int:
    """Words with a letter or digit; in scripts without spaces every letter counts.

    >>> count_words("a dog , running"), count_words("犬が走る")
    (3, 4)
    """
    lone = len(_LONE.findall(caption))
    return lone + sum(any(letter.isalnum() for letter in word) for word in _LONE.sub(" ", caption).split())


def without_pictures(settings: CleanSettings) -> CleanSettings:
    """The same for captions alone."""
    return dataclasses.replace(settings, pictures=False)
