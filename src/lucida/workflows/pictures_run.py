"""``lucida run --pictures``: the whole life on somebody's own pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from lucida.core.errors import LucidaError
from lucida.core.results import Results
from lucida.core.run_folder import RunFolder
from lucida.data.corpus import Corpus
from lucida.data.galleries import PictureGallery, as_words
from lucida.data.lessons import Lesson, supported_turns
from lucida.data.pixels import DecodedPictures, decode_all, write_skipped
from lucida.data.readers import read_pictures
from lucida.data.statistics import ObjectStatistics
from lucida.models.hugging_face import load_vision_tower
from lucida.report.material import (
    CorpusFacts,
    Example,
    Material,
    Retrieval,
    RetrievedPicture,
    save_thumbnail,
)
from lucida.workflows.before_and_after import grounded_too
from lucida.workflows.encoder_stage import BUILT_IN
from lucida.workflows.hallucination_stage import examine
from lucida.workflows.language_stage import LanguageRun
from lucida.workflows.picture_encoder import PictureEncoder, run_picture_encoder
from lucida.workflows.records import curves, open_run, trainable
from lucida.workflows.run_config import RunConfig
from lucida.workflows.stages import TITLES, timed_stage

EXAMPLES = 12
QUERIES, FOUND = 6, 5


def run_pictures(config: RunConfig, results: Results) -> tuple[RunFolder, Material]:
    """The whole life; metrics go to ``results``, what the pictures do not support to its ``left_out``.

    Raises:
        LucidaError: the pictures cannot be read, or too few of them say anything.
    """
    assert config.pictures is not None
    with results.timed("pictures"):
        read = read_pictures(config.pictures, limit=config.max_pictures, split_seed=config.split_seed)
    with timed_stage(results, "pictures"):  # and all else that may be wrong with the input, before the folder is made
        decoded = decode_all(read, picture_size(config))
        corpus, lessons = decoded.corpus, draw_lessons(decoded)
        size, tower_size = decoded.size, config.scenes.size
        language = LanguageRun(lessons["train"], config.language, size=size, tower_size=tower_size, seed=config.seed)
    folder = open_run(config, read)
    write_skipped(folder.path, corpus.skipped)
    whole = gallery_of(decoded, range(len(corpus)))
    encoder = run_picture_encoder(decoded, whole, config.encoder, config.frozen_start, folder, results)
    with timed_stage(results, "multimodal_llm"):
        language.fit(folder, lessons.get("validation"), resume=True)
        language.leave_out(results)
    with timed_stage(results, "hallucination"):
        findings = examine(language.answerer, {"pope": lessons["test"]}, config.language, folder)
        findings.add_to(results)
    with timed_stage(results, "remedy"):
        findings.examples += grounded_too(findings, config.language.captions, folder, results)
    models = {"dual encoder": encoder.model, "multimodal LLM": language.model}
    return folder, Material(
        title=f"A vision-language model of {corpus.name}",
        summary=(
            f"A dual encoder and a multimodal LLM on {len(corpus.split('train')):,} of your pictures, measured on "
            f"{len(corpus.split('test')):,} that were held out."
        ),
        corpora=(_facts(corpus, config),),
        examples=(*_named(encoder, whole, folder), *findings.examples),
        retrievals=tuple(_retrieved(encoder, whole, folder)),
        kinds=findings.kinds,
        calibration=findings.calibration,
        curves=curves(folder),
        trainable=trainable(models),
        stage_titles=TITLES,
    )


def picture_size(config: RunConfig) -> int:
    """Side at which pictures are decoded: the largest that a tower asks for."""
    sizes = [config.scenes.size, config.encoder.image_size, config.frozen_start.image_size]
    for name in {config.encoder.vision_tower, config.language.vision_tower} - {BUILT_IN[0]}:
        sizes.append(load_vision_tower(name).image_size)
    return max(sizes)


def gallery_of(decoded: DecodedPictures, rows: Iterable[int]) -> PictureGallery:
    """Some pictures of a corpus; where it lists no objects, its labels are the objects."""
    listed = any(picture.objects for picture in decoded.corpus)
    return PictureGallery(decoded, rows, labels_are_objects=not listed)


def draw_lessons(decoded: DecodedPictures) -> dict[str, Lesson]:
    """Train, validation and test, of the pictures about which something can be asked.

    The vocabulary is that of all splits; how frequent a name is, and with which others, is what training shows.

    Raises:
        LucidaError: nothing can be asked about the pictures of the training or of the test split.
    """
    corpus = decoded.corpus
    whole = gallery_of(decoded, range(len(corpus)))
    names = sorted({name for i in range(len(whole)) for name in whole.facts(i).counts})
    facts = [whole.facts(i) for i in corpus.rows("train")]
    statistics = ObjectStatistics.count((list(one.counts) for one in facts), names) if names else None
    turns = supported_turns(facts, statistics)
    lessons = {}
    for split in ("train", "validation", "test"):
        rows = corpus.rows(split)
        lesson = Lesson(gallery_of(decoded, rows), statistics, turns)
        asked = [row for i, row in enumerate(rows) if lesson.converse(i, np.random.default_rng(0))]
        if asked:
            lessons[split] = dataclasses.replace(lesson, gallery=gallery_of(decoded, np.array(asked)))
        elif split != "validation":
            raise LucidaError(
                f"nothing can be asked about the pictures of split {split!r}",
                where=corpus.name,
                remedy="give more of them captions, labels or objects",
            )
    return lessons


def _facts(corpus: Corpus, config: RunConfig) -> CorpusFacts:
    notes = []
    if not any(picture.objects for picture in corpus) and corpus.classes:
        notes.append("Each picture is taken to show the one thing that its label names, and none of the other labels.")
    if corpus.n_available:
        notes.append(
            f"A sample of {len(corpus):,} of {corpus.n_available:,} pictures, in equal shares of every split and "
            "label, so that the run fits a laptop (--max-pictures N takes more)."
        )
    if corpus.skipped:
        notes.append(f"{len(corpus.skipped):,} pictures were left out; skipped.jsonl says which and why.")
    return CorpusFacts(
        corpus.name,
        corpus.splits,
        n_used=len(corpus),
        n_available=corpus.n_available,
        split_seed=config.split_seed,
        credit=corpus.credit,
        note=" ".join(notes),
    )


def _named(encoder: PictureEncoder, gallery: PictureGallery, folder: RunFolder) -> Iterator[Example]:
    """Test pictures with the class whose name is nearest; nothing where there are no classes."""
    corpus = encoder.decoded.corpus
    rows = np.array([i for i in encoder.rows("test") if corpus.pictures[i].label], np.int64)
    if len(rows) == 0 or len(corpus.classes) < 2:
        return
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, EXAMPLES).astype(int))]
    similarity = encoder.encode_pictures(chosen) @ encoder.classes().T
    confidence = (encoder.model.logit_scale.detach() * similarity).softmax(dim=1)
    for k, i in enumerate(chosen.tolist()):
        picture, best = corpus.pictures[i], int(similarity[k].argmax())
        yield Example(
            thumbnail=save_thumbnail(folder, picture.id, gallery.pixels([i])[0]),
            answer=as_words(corpus.classes[best]),
            truth=as_words(str(picture.label)),
            right=corpus.classes[best] == picture.label,
            confidence=float(confidence[k, best]),
            group="Naming pictures",
            id=picture.id,
        )


def _retrieved(encoder: PictureEncoder, gallery: PictureGallery, folder: RunFolder) -> Iterator[Retrieval]:
    """Texts, and the test pictures that are nearest to each: class names where there are classes, else captions."""
    corpus = encoder.decoded.corpus
    rows = encoder.rows("test")
    if len(rows) == 0:
        return
    if corpus.classes:
        names = corpus.classes[: QUERIES + 4]
        queries = [(as_words(name), {i for i in rows if corpus.pictures[i].label == name}) for name in names]
    else:
        alike: dict[str, set[int]] = {}
        for i in rows.tolist():
            alike.setdefault(encoder.identity(i), set()).add(i)
        groups = [[*alike.values()][k] for k in np.unique(np.linspace(0, len(alike) - 1, QUERIES).astype(int))]
        queries = [(encoder.texts[min(group)][0], group) for group in groups]
    candidates = encoder.encode_pictures(rows)
    for text, right in queries:
        best = (candidates @ encoder.encode_texts([text])[0]).topk(min(FOUND, len(rows))).indices.tolist()
        found = []
        for k in best:
            i, picture = int(rows[k]), corpus.pictures[rows[k]]
            thumbnail = save_thumbnail(folder, picture.id, gallery.pixels([i])[0])
            found.append(RetrievedPicture(thumbnail, i in right, as_words(picture.label or "")))
        yield Retrieval(text, tuple(found), split="test pictures", candidates=len(rows))
