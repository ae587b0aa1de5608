"""The dual encoder on somebody's own pictures: features of a frozen tower, two heads, zero-shot and retrieval."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lucida.core.cache import content_hash
from lucida.core.results import Metric, Results
from lucida.core.run_folder import RunFolder
from lucida.core.seeds import derive_seed, stream
from lucida.data.caption_tokens import caption_tokens
from lucida.data.captions import describe
from lucida.data.collation import IGNORE_INDEX
from lucida.data.galleries import PictureGallery, readable
from lucida.data.pairs import FeaturePairs
from lucida.data.pictures import Picture
from lucida.data.pixels import DecodedPictures
from lucida.evaluation.retrieval import retrieval_metrics
from lucida.evaluation.template_search import search_templates
from lucida.evaluation.zero_shot import TEMPLATES, class_embeddings, template_embeddings, zero_shot_metrics
from lucida.models.dual_encoder import seeded_heads
from lucida.models.features import vision_features
from lucida.models.hugging_face import load_text_tower, load_vision_tower
from lucida.models.text_features import TextFeatures
from lucida.models.towers import VisionTower
from lucida.training.loop import train
from lucida.training.objectives import heads_task
from lucida.workflows.encoder_stage import BUILT_IN, EncoderStage, beside_the_start

PROMPTS = TEMPLATES["single"] + TEMPLATES["photographs"]
_PHRASINGS = 4  # captions made of a picture's list of objects, where nobody wrote one
_SIDES = re.compile(r"\b(left|right)\b", re.IGNORECASE)


def picture_texts(gallery: PictureGallery, i: int) -> tuple[str, ...]:
    """What a picture's text features are made of: its captions; else its label in prompts; else its objects in words.

    Nothing if nothing is known of it, or only that it is empty.
    """
    facts = gallery.facts(i)
    if facts.captions:
        return facts.captions
    if facts.label:
        return tuple(prompt.format(facts.label) for prompt in PROMPTS)
    if not facts.counts:
        return ()
    return tuple(describe(facts, stream(0, "captions", i, k)).text for k in range(_PHRASINGS))


def identity_of(picture: Picture, texts: Sequence[str]) -> str:
    """Pictures of one identity are right for each other's texts: so says the source, or they have the same texts.

    Those with nothing but a class share its texts; so may pictures that somebody captioned alike.
    """
    return picture.identity if picture.identity != picture.id else "\n".join(texts)


def make_tower(stage: EncoderStage) -> VisionTower:
    """The vision tower of the settings; its size and layer are ours to choose where it is built in."""
    if stage.vision_tower != BUILT_IN[0]:
        return load_vision_tower(stage.vision_tower)
    return load_vision_tower(stage.vision_tower, image_size=stage.image_size, pooled=stage.pooled)


class PictureEncoder:
    """A dual encoder and the features of all pictures.

    Args:
        decoded: the pictures.
        gallery: all of them, with what is known.
        stage: settings; of its views, the picture as it is and its mirror image (left out where a text speaks of left
            or right) are made.
        read: features of texts.
    """

    def __init__(self, decoded: DecodedPictures, gallery: PictureGallery, stage: EncoderStage, read: TextFeatures):
        self.decoded, self.stage, self.read = decoded, stage, read
        self.texts = [picture_texts(gallery, i) for i in range(len(gallery))]
        tower = make_tower(stage)
        key = content_hash("decoded", decoded.size, [p.source.content_key() for p in decoded.corpus])
        views = [vision_features(tower, decoded.pixels, key=key)]
        if stage.views > 1 and not any(_SIDES.search(text) for texts in self.texts for text in texts):
            views.append(vision_features(tower, decoded.pixels[:, :, ::-1], key=f"{key} mirrored"))
        self.features = np.stack(views)
        seed = derive_seed(stage.train.seed, "heads")
        self.model = seeded_heads(tower.pooled_size, read.hidden_size, stage.head, seed, **stage.objective.start)
        self.prompts = PROMPTS  # around a class's name

    def rows(self, split: str) -> np.ndarray:
        """The pictures of a split that have texts."""
        return np.array([i for i in self.decoded.corpus.rows(split) if self.texts[i]], np.int64)

    def fit(self, folder: RunFolder, *, resume: bool) -> None:
        """Train the heads on split "train"."""
        rows = self.rows("train")
        place = {text: k for k, text in enumerate(dict.fromkeys(text for i in rows for text in self.texts[i]))}
        identities = [self.identity(i) for i in rows]
        number = {identity: k for k, identity in enumerate(dict.fromkeys(identities))}
        pairs = FeaturePairs(
            self.features[:, rows],
            self.read(list(place)),
            [np.array([place[text] for text in self.texts[i]]) for i in rows],
            np.array([number[identity] for identity in identities]),
            words=caption_tokens(list(place)) if self.stage.objective.captioning else None,
            classes=self.class_numbers(rows) if self.stage.objective.classification else None,
        )
        self.model.image_head.standardize(torch.from_numpy(pairs.picture_features[0].astype(np.float32)))
        self.model.text_head.standardize(pairs.text_features)
        own, size = self.stage, self.stage.head.embedding_size
        task = heads_task(self.model, own.objective, pairs, embedding_size=size, seed=own.train.seed)
        train(task, pairs, own.train, folder, resume=resume)
        self.model.eval()
        if own.template_search:
            self.prompts = self._searched_prompts()

    def class_numbers(self, rows: np.ndarray) -> np.ndarray:
        """The class of each picture, ``int64 [n]``; ``IGNORE_INDEX`` where it has no label."""
        corpus = self.decoded.corpus
        place = {name: k for k, name in enumerate(corpus.classes)}
        return np.array([place.get(str(corpus.pictures[i].label), IGNORE_INDEX) for i in rows], np.int64)

    @torch.inference_mode()
    def _searched_prompts(self) -> tuple[str, ...]:
        """Of all templates there are, those that name the validation pictures best; the usual ones without labels."""
        every = tuple(dict.fromkeys([*PROMPTS, *(template for some in TEMPLATES.values() for template in some)]))
        rows = self.rows("validation")
        labels = self.class_numbers(rows)
        rows, labels = rows[labels != IGNORE_INDEX], labels[labels != IGNORE_INDEX]
        if len(rows) == 0 or len(self.decoded.corpus.classes) < 2:
            return PROMPTS
        each = template_embeddings(lambda texts: self.encode_texts(list(texts)), self.class_words(), every)
        return tuple(every[i] for i in search_templates(self.encode_pictures(rows), each, labels).chosen)

    def identity(self, i: int) -> str:
        """See :func:`identity_of`."""
        return identity_of(self.decoded.corpus.pictures[i], self.texts[i])

    @torch.inference_mode()
    def encode_pictures(self, rows: np.ndarray) -> Tensor:
        """The mean over views, ``[n, d]``, length one."""
        seen = torch.from_numpy(self.features[:, rows].astype(np.float32))
        each = torch.stack([self.model.encode_image(features=view) for view in seen])
        return torch.nn.functional.normalize(each.mean(dim=0), dim=-1)

    @torch.inference_mode()
    def encode_texts(self, texts: list[str]) -> Tensor:
        """``[n, d]``, length one."""
        return self.model.encode_text(features=self.read(texts))

    def classes(self) -> Tensor:
        """The classes of the corpus by name, ``[K, d]``."""
        return class_embeddings(lambda texts: self.encode_texts(list(texts)), self.class_words(), self.prompts)

    def class_words(self) -> list[str]:
        """The classes as a reader would write them."""
        return readable(self.decoded.corpus.classes)

    def measure(self, split: str = "test") -> dict[str, Metric]:
        """Zero-shot by class and retrieval by text, where the pictures have them."""
        rows = self.rows(split)
        corpus = self.decoded.corpus
        metrics: dict[str, Metric] = {}
        labelled = np.array([i for i in rows if corpus.pictures[i].label], np.int64)
        if len(labelled) and len(corpus.classes) > 1:
            labels = [corpus.classes.index(str(corpus.pictures[i].label)) for i in labelled]
            metrics |= zero_shot_metrics(
                self.encode_pictures(labelled), self.classes(), labels, prefix="zero_shot/test"
            )
        own = [i for i in rows if corpus.pictures[i].captions or not corpus.pictures[i].label]
        if len(own) > 1:
            texts = [text for i in own for text in self.texts[i]]
            picture = [k for k, i in enumerate(own) for _ in self.texts[i]]
            found = self.encode_pictures(np.array(own)), self.encode_texts(texts)
            identities = [self.identity(i) for i in own]
            metrics |= retrieval_metrics(*found, picture, identities=identities, prefix="retrieval/test")
        return metrics


def run_picture_encoder(
    decoded: DecodedPictures,
    gallery: PictureGallery,
    stage: EncoderStage,
    frozen: EncoderStage,
    folder: RunFolder,
    results: Results,
) -> PictureEncoder:
    """Train and measure the frozen start and the dual encoder; metrics go to ``results``.

    The frozen start has the text tower of the dual encoder, so that one vocabulary of features is read.
    """
    read = TextFeatures(load_text_tower(stage.text_tower))
    encoder = beside_the_start(lambda one: PictureEncoder(decoded, gallery, one, read), stage, frozen, folder, results)
    if not any(name.startswith("zero_shot") for name in results.metrics):
        results.leave_out("zero_shot", "the pictures have no classes")
    if not any(name.startswith("retrieval") for name in results.metrics):
        results.leave_out("retrieval", "no picture has a text of its own, only the name of its class")
    return encoder
