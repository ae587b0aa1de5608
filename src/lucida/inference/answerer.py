"""A trained multimodal LLM as a thing to ask: tower, model, format and vocabulary, kept in one folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import expit, logit
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from lucida.core.config import to_dict
from lucida.core.errors import LucidaError
from lucida.core.progress import counted
from lucida.core.results import read_json, write_json
from lucida.data.captions import named_kinds, vocabulary
from lucida.data.collation import ChatFormat
from lucida.data.conversations import FORMS, recognise
from lucida.data.galleries import Gallery
from lucida.data.tokenization import add_image_token, load_tokenizer, save_tokenizer
from lucida.inference.generate import Answer, YesNoAnswers, answer, answer_yes_no
from lucida.inference.grounding import GroundedOdds, Grounding
from lucida.inference.remedies import Grounded, Remedy
from lucida.models.features import device_of, evaluating
from lucida.models.hugging_face import load_vision_tower
from lucida.models.joining import Join, join_to
from lucida.models.patches import PATCHES, PatchTower
from lucida.models.picture_words import name_support
from lucida.models.vision_language_model import VisionLanguageModel
from lucida.models.weights import load_weights, save_weights

SETTINGS, WEIGHTS, TOKENIZER = "settings.json", "weights.safetensors", "tokenizer"


NOT_SURE = "not sure"
BUILT_IN = "efficientnet-lite0"


class Reply(NamedTuple):
    """An answer to a free question; one of a known form is put to the model in the words it was taught.

    Attributes:
        text: the model's words.
        confidence: of "yes" or "no" its probability of the two; else the geometric mean over its words' tokens.
        form: the form of question it was taken for; empty if of none that the model was trained on.
        unknown: the object asked about, if the model has never been taught it.
        unsupported: the objects it names that the picture hardly supports.
        sure: whether the answer is given by a model that knows when to abstain.
        grounded: what it says if names are grounded in the picture; empty where that is the same.
    """

    text: str
    confidence: float
    form: str
    unknown: str = ""
    unsupported: tuple[str, ...] = ()
    sure: bool = True
    grounded: str = ""


@dataclass
class Answerer:
    """A multimodal LLM and all it needs to answer.

    Attributes:
        model: with its vision tower.
        chat: how conversations become tokens.
        size: side of the pictures it is given, pixels.
        tower_size: side at which the built-in tower sees them.
        names: the objects it was taught.
        forms: the forms of question it was taught (keys of :data:`~lucida.data.conversations.FORMS`).
        tower_name: of the vision tower: built in, a folder, or a hub name.
        grounding: how its answers are grounded in the picture, where that was fitted.
        join: how pictures are joined to words; only where they are written in words is anything grounded.
        queries: of a resampler.
    """

    model: VisionLanguageModel
    chat: ChatFormat
    size: int
    tower_size: int
    names: tuple[str, ...]
    forms: tuple[str, ...]
    tower_name: str = BUILT_IN
    grounding: Grounding | None = None
    join: Join = "words"
    queries: int = 16

    @property
    def tower(self) -> Any:
        """The vision tower."""
        return self.model.vision_tower

    @property
    def projector(self) -> Any:
        """Between tower and language model."""
        return self.model.multi_modal_projector

    @torch.inference_mode()
    def see(self, gallery: Gallery, n: int | None = None, distort: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Grid features of the first ``n`` pictures, ``float16 [n, T, D]``; all of them by default.

        Args:
            distort: what is done to pixel values, as the tower takes them, before it sees them.
        """
        n = len(gallery) if n is None else min(n, len(gallery))
        seen = torch.empty(n, self.tower.grid_tokens, self.tower.hidden_size, dtype=torch.float16)
        with evaluating(self.tower):
            for start in counted(range(0, n, 8), "pictures seen", each=8):
                numbers = range(start, min(start + 8, n))
                seen[start : start + 8] = self._grid(gallery.pixels(numbers), distort)
        return seen.clone()  # no inference tensor: it is trained on

    @torch.inference_mode()
    def blank(self) -> Tensor:
        """Features of a grey picture, ``float16 [1, T, D]``."""
        return self._grid(np.full((1, self.size, self.size, 3), 128, np.uint8)).half()

    def _grid(self, pixels: np.ndarray, distort: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        values = self.tower.preprocess(torch.from_numpy(pixels))
        grid: Tensor = self.tower((values if distort is None else distort(values)).to(device_of(self.tower))).grid
        return grid.cpu()

    @cached_property
    def name_ids(self) -> list[list[int]]:
        """The tokens of each of the names."""
        return [self.chat.encode([name])[0].tolist() for name in self.names]

    def support(self, features: Tensor) -> Tensor:
        """How strongly pictures stand for each of the names, ``[N, K]``, logarithms up to 0.

        Raises:
            LucidaError: pictures are not written in words.
        """
        return name_support(self.model, features, self.name_ids)

    def grounded(self) -> Grounded:
        """The remedy that says names as far as the picture supports them."""
        own = self.grounding or Grounding(GroundedOdds())
        tokens = sorted({token for name in self.name_ids for token in name})
        return Grounded(tuple(tokens), own.weight, own.floor)

    def ask_yes_no(self, features: Tensor, asked: Sequence[tuple[int, str]], *, grounded: bool = False) -> YesNoAnswers:
        """Answers to (picture, object): is it there?

        Args:
            grounded: by what the model says and what the picture supports, where that was fitted.
        """
        plain = [(i, FORMS["exists"].plainly(name)) for i, name in asked]
        said = answer_yes_no(self.model, self.chat, features, plain)
        if not grounded or self.grounding is None:
            return said
        place = {name: k for k, name in enumerate(self.names)}
        support = self.support(features).numpy()
        own = [support[i, place[name]] if name in place else self.grounding.floor for i, name in asked]
        odds = self.grounding.odds(logit(said.p_yes), own)
        texts = ["" if not text else "yes" if z > 0 else "no" for text, z in zip(said.texts, odds, strict=True)]
        return YesNoAnswers(expit(odds), texts)

    def answers(
        self,
        features: Tensor,
        asked: Sequence[tuple[int, str]],
        *,
        max_new_tokens: int = 64,
        remedies: Sequence[Remedy] = (),
    ) -> list[Answer]:
        """Answers to (picture, question), in words."""
        return answer(
            self.model,
            self.chat,
            features,
            asked,
            batch_size=64,
            max_new_tokens=max_new_tokens,
            remedies=remedies,
        )

    def describe(self, features: Tensor, form: str = "describe", *, remedies: Sequence[Remedy] = ()) -> list[Answer]:
        """A text for each picture, in answer to a form of question that names no object."""
        return self.answers(features, [(i, FORMS[form].plainly()) for i in range(len(features))], remedies=remedies)

    def unsupported(self, features: Tensor, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """Of each text the names whose support by the picture is in doubt, each once."""
        own, support = self.grounding or Grounding(GroundedOdds()), self.support(features).numpy()
        place, surfaces = {name: k for k, name in enumerate(self.names)}, vocabulary(self.names)
        named = [dict.fromkeys(named_kinds(text, surfaces)) for text in texts]
        return [
            tuple(name for name in names if row[place[name]] < own.doubt)
            for names, row in zip(named, support, strict=True)
        ]

    @torch.inference_mode()
    def reply(self, pixels: np.ndarray, question: str) -> Reply:
        """An answer to anybody's question about ``uint8 [S, S, 3]``."""
        features = self._grid(pixels[None]).half()
        form, noun = recognise(question) or ("", "")
        if form not in self.forms:
            said = self.answers(features, [(0, question)])[0]
            return self._told(features, said, Reply(said.text, said.confidence, ""), question)
        known = vocabulary(self.names) if noun and self.names else {}
        plain = FORMS[form].plainly(known.get(noun, noun))  # however a person words it, it is asked as it was taught
        unknown = noun if known and noun not in known else ""
        if form == "exists":
            answers = self.ask_yes_no(features, [(0, known.get(noun, noun))], grounded=not unknown)
            confidence = float(answers.confidence[0])
            sure = self.grounding is None or bool(unknown) or confidence >= self.grounding.sure
            return Reply(answers.texts[0], confidence, form, unknown, sure=sure)
        said = self.answers(features, [(0, plain)])[0]
        return self._told(features, said, Reply(said.text, said.confidence, form, unknown), plain)

    def _told(self, features: Tensor, said: Answer, reply: Reply, question: str) -> Reply:
        """With the names that the picture does not support, and what is said without them."""
        if self.grounding is None or not self.names:  # from which support a name is in doubt is not known
            return reply
        unsupported = self.unsupported(features, [said.text])[0]
        if not unsupported:
            return reply
        again = self.answers(features, [(0, question)], remedies=[self.grounded()])[0].text
        return reply._replace(unsupported=unsupported, sure=False, grounded=again if again != said.text else "")

    def save(self, folder: Path) -> None:
        """Write settings, tokenizer and weights; the settings last, so that half a model is none."""
        folder.mkdir(parents=True, exist_ok=True)
        save_tokenizer(self.chat.tokenizer, folder / TOKENIZER)
        save_weights(folder / WEIGHTS, self.model, frozen_too=True)
        write_json(
            folder / SETTINGS,
            {
                "size": self.size,
                "tower_size": self.tower_size,
                "names": list(self.names),
                "forms": list(self.forms),
                "tower": self.tower_name,
                "join": self.join,
                "queries": self.queries,
                "grounding": None if self.grounding is None else to_dict(self.grounding),
                "language_model": json.loads(self.model.language_model.config.to_json_string(use_diff=False)),
            },
        )

    @classmethod
    def load(cls, folder: Path) -> Answerer:
        """The model of a folder.

        Raises:
            LucidaError: there is none, it is broken, or it needs pickle.
        """
        if not (folder / SETTINGS).is_file():
            raise LucidaError("no trained multimodal LLM", where=folder, remedy="let `lucida run` finish first")
        settings = read_json(folder / SETTINGS)
        try:
            config = AutoConfig.for_model(**settings["language_model"])
            answerer = build(
                load_tokenizer(folder / TOKENIZER),
                AutoModelForCausalLM.from_config(config),
                size=int(settings["size"]),
                tower_size=int(settings["tower_size"]),
                names=settings["names"],
                forms=settings["forms"],
                tower_name=settings["tower"],
                join=settings.get("join", "words"),  # folders of before know this one way
                queries=int(settings.get("queries", 16)),
            )
            if (own := settings.get("grounding")) is not None:  # folders of before have none
                answerer.grounding = Grounding(**own | {"odds": GroundedOdds(**own["odds"])})
        except (KeyError, TypeError, ValueError) as error:
            raise LucidaError(f"the settings are broken: {error!r}", where=folder / SETTINGS) from None
        answerer.model.requires_grad_(True)
        load_weights(answerer.model, folder / WEIGHTS)
        answerer.model.eval().requires_grad_(False)
        return answerer


def build(
    tokenizer: Any,
    language_model: Any,
    *,
    size: int,
    tower_size: int,
    names: Sequence[str],
    forms: Sequence[str],
    tower_name: str = BUILT_IN,
    frozen_blocks: int = 17,
    join: Join = "words",
    queries: int = 16,
) -> Answerer:
    """A multimodal LLM with a fresh projector, drawn from torch's global stream.

    Args:
        tokenizer: of the language model; ``<image>`` is added if it has none.
        language_model: a causal language model of Hugging Face; its embedding grows with the tokenizer.
        size, tower_size: see :class:`Answerer`.
        names, forms: see :class:`Answerer`.
        tower_name: of the vision tower.
        frozen_blocks: of the built-in tower (:class:`~lucida.models.efficientnet.EfficientNetLite0`).
        join: how pictures are joined to words (:mod:`lucida.models.joining`); early fusion has no vision tower.
        queries: image tokens of a resampler.

    Raises:
        LucidaError: there is no such tower, or it is given beside early fusion.
    """
    if join == "early-fusion":
        if tower_name not in (BUILT_IN, PATCHES):
            raise LucidaError(
                f"early fusion has no vision tower, so not {tower_name!r}",
                where="vision_tower",
                remedy="leave it out, or join in another way",
            )
        tower_name = PATCHES
        tower: Any = PatchTower(tower_size)
    elif tower_name == BUILT_IN:
        tower = load_vision_tower(tower_name, image_size=tower_size, frozen_blocks=frozen_blocks, pooled="stride16")
    else:
        tower = load_vision_tower(tower_name)
    add_image_token(tokenizer)
    if len(tokenizer) > language_model.get_input_embeddings().weight.shape[0]:
        language_model.resize_token_embeddings(len(tokenizer))
    projector: Any = join_to(
        language_model, join, vision_size=tower.hidden_size, tokens=tower.grid_tokens, queries=queries
    )
    chat = ChatFormat(tokenizer, projector.image_tokens)
    model = VisionLanguageModel(projector, language_model, chat.image_token_id, vision_tower=tower)
    return Answerer(model, chat, size, tower_size, tuple(names), tuple(forms), tower_name, join=join, queries=queries)


def trained_forms(forms: Sequence[str]) -> list[str]:
    """An example of each form of question, for a person to read.

    >>> trained_forms(["exists"])
    ['Is there a … in the picture?']
    """
    return [FORMS[form].questions[0].format(a="a", name="…", names="…") for form in FORMS if form in forms]
