"""``lucida train``: a CLIP or SigLIP tuned on your pictures, and what that did to what it could do; or a new one.

Towers may be locked (LiT, Zhai et al. 2022, arXiv:2111.07991). The tuned weights and all on the line from the base to
them (WiSE-FT, Wortsman et al. 2022, arXiv:2109.01903) are measured on held-out pictures of yours and on a base task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lucida.core.config import check_settings
from lucida.core.durations import Duration
from lucida.core.errors import LucidaError
from lucida.core.results import Metric, Results
from lucida.core.run_folder import environment
from lucida.core.seeds import derive_seed
from lucida.data.caption_tokens import caption_tokens
from lucida.data.collation import IGNORE_INDEX
from lucida.data.pairs import PixelPairs
from lucida.data.pictures import Skipped
from lucida.data.pixels import DecodedPictures, decode_all, write_skipped
from lucida.data.readers import read_pictures
from lucida.evaluation.intervals import share_difference
from lucida.evaluation.retrieval import retrieval_metrics
from lucida.evaluation.zero_shot import class_embeddings, true_class_ranks, zero_shot_metrics
from lucida.models.dual_encoder import DualEncoder
from lucida.models.features import fingerprint
from lucida.models.imported_encoders import layout_for, load_dual_encoder, save_dual_encoder
from lucida.models.interpolation import interpolated
from lucida.models.new_encoders import NEW, NewEncoderConfig, new_dual_encoder
from lucida.training.distributed import is_main
from lucida.training.loop import TrainConfig, train
from lucida.training.objectives import ObjectiveConfig, make_task
from lucida.workflows.labelled_zero_shot import Encoding, class_names, labelled, read_for
from lucida.workflows.picture_encoder import PROMPTS, identity_of, picture_texts
from lucida.workflows.pictures_run import gallery_of
from lucida.workflows.records import open_folder
from lucida.workflows.stages import timed_stage

Locked = Literal["none", "vision", "text", "both"]
MODEL = "model"
OWN, BASE = "own", "base"


@dataclass(frozen=True)
class TuneEncoderConfig:
    """A CLIP or SigLIP trained further on your pictures, or a new CLIP trained on them from scratch.

    Attributes:
        model: a Hugging Face folder or hub name of CLIP or SigLIP, or an open_clip folder; "new" for fresh weights.
        new: the sizes of a new one.
        pictures: yours, with captions or labels.
        base_pictures: labelled ones of a task that the model should not lose; measured, never trained on.
        out: the run folder.
        locked: towers that stay as they are, so that what they find is computed once, without dropout; projections,
            temperature and bias always train.
        shares: of the tuning, at which the line from the base to the tuned weights is measured.
        objective: the loss; a SigLIP goes on with its own by --objective.loss sigmoid.
        max_pictures: if there are more, a sample of so many is taken; of the base task likewise.
        split_seed: draws the sample, and the splits where the source brings none.
        train: how it is trained.
    """

    model: str = ""
    new: NewEncoderConfig = field(default_factory=NewEncoderConfig)
    pictures: Path | None = None
    base_pictures: Path | None = None
    out: Path = Path("runs/train")
    locked: Locked = "vision"
    shares: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    max_pictures: int = 4000
    split_seed: int = 0
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            Duration(5, "epochs"), batch_size=64, micro_batch_size=16, learning_rate=1e-5, weight_decay=0.1
        )
    )

    def __post_init__(self) -> None:
        fine = all(0 <= share <= 1 for share in self.shares) and {0.0, 1.0} <= set(self.shares)
        check_settings(self, {"max_pictures": self.max_pictures >= 1, "shares": fine})
        if self.model == NEW and self.locked != "none":
            raise LucidaError("a new tower that is locked learns nothing", where="lucida train", remedy="--locked none")


def defaults(model: str) -> TuneEncoderConfig:
    """Where the settings start: a new model has more to learn than one that is tuned."""
    if model != NEW:
        return TuneEncoderConfig(model)
    learning = TrainConfig(Duration(30, "epochs"), batch_size=256, learning_rate=1e-3, weight_decay=0.1)
    return TuneEncoderConfig(NEW, locked="none", shares=(0.0, 1.0), train=learning)


def tune_encoder(config: TuneEncoderConfig) -> Results:
    """Train, measure along the line, write ``model/`` and ``results.json``.

    Of several processes the first alone measures and writes; the others return no metrics.

    Raises:
        LucidaError: no model or pictures are named, one cannot be read, the pictures say nothing, or the folder holds a
            run with other settings, pictures or another model.
    """
    if not config.model or config.pictures is None:
        missing = "model was named (--model)" if not config.model else "pictures were named (--pictures)"
        raise LucidaError(f"no {missing}", where="lucida train", remedy="lucida train --model CLIP|new --pictures PATH")
    results = Results()
    with timed_stage(results, "pictures"):
        limits: dict[str, Any] = {"limit": config.max_pictures, "split_seed": config.split_seed}
        if config.model == NEW:
            own = OwnPictures(decode_all(read_pictures(config.pictures, **limits), config.new.image_size))
            encoder = own.new_encoder(config)
        else:
            encoder = lock(load_dual_encoder(config.model), config.locked)
            own = OwnPictures(read_for(encoder, config.pictures, **limits))
        encoding = Encoding(encoder)
        data = own.training_data(encoder, config.objective)
        exams: list[Exam] = [own]
        if config.base_pictures is not None:
            exams.append(BaseTask(read_for(encoder, config.base_pictures, **limits)))
        task = make_task(
            encoder,
            config.objective,
            embedding_size=encoding.words(["a"]).shape[1],
            vocabulary=None if data.words is None else data.words.vocabulary,
            classes=len(own.decoded.corpus.classes),
            seed=config.train.seed,
        )
    layout = layout_for(encoder)  # what cannot be written is not trained
    base = _kept(encoder)
    made_from = {"pictures": own.decoded.corpus.fingerprint(), "model": fingerprint(encoder)}
    folder = open_folder(config.out, config, made_from, seed=config.split_seed, free={"shares", "base_pictures"})
    write_skipped(folder.path, [row for exam in exams for row in exam.skipped])
    with timed_stage(results, "tuning"):
        train(task, own.looked_at(data, encoding), config.train, folder, resume=True)
    if not is_main():
        return results
    tuned = _kept(encoder)
    with timed_stage(results, "line"):
        for metric, value in along_the_line(encoding, base, tuned, config.shares, exams).items():
            results.add(metric, value)
    if not any(name.startswith(OWN) for name in results.metrics):
        results.leave_out(OWN, "your test pictures have neither labels of two classes nor captions")
    if not (folder.path / MODEL).exists():
        save_dual_encoder(encoder, folder.path / MODEL, layout=layout)
    results.details = {"environment": environment(config.split_seed), "shares": [*config.shares]}
    results.save(folder.results)
    return results


def _kept(encoder: DualEncoder) -> dict[str, Tensor]:
    """Its weights as they are now, in the memory of the CPU wherever they lie."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in encoder.state_dict().items()}


def lock(encoder: DualEncoder, locked: Locked) -> DualEncoder:
    """The encoder with the towers of that name frozen."""
    encoder.vision_tower.requires_grad_(locked not in ("vision", "both"))
    encoder.text_tower.requires_grad_(locked not in ("text", "both"))
    return encoder


class Answers(NamedTuple):
    """What an exam found: metrics by name, and which cases were right, by the name of their share."""

    metrics: dict[str, Metric]
    right: dict[str, NDArray[np.bool_]]


class Exam:
    """Something a dual encoder is measured on again and again; ``name`` begins its metrics."""

    name: str
    decoded: DecodedPictures

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """Its pictures that could not be read."""
        return self.decoded.corpus.skipped

    def __call__(self, encoding: Encoding) -> Answers:
        """Measure it."""
        raise NotImplementedError


def along_the_line(
    encoding: Encoding,
    base: Mapping[str, Tensor],
    tuned: Mapping[str, Tensor],
    shares: Sequence[float],
    exams: Sequence[Exam],
) -> dict[str, Metric]:
    """``{exam}/{measure}/at_{share}`` at every share of the tuning, and what each changes against the base, paired.

    The encoder has the tuned weights afterwards.
    """
    encoder = encoding.encoder
    metrics: dict[str, Metric] = {}
    before: dict[str, NDArray[np.bool_]] = {}
    for share in sorted(shares):
        encoder.load_state_dict(interpolated(base, tuned, share))
        for exam in exams:
            found = exam(encoding)
            metrics |= {f"{exam.name}/{name}/at_{share:g}": metric for name, metric in found.metrics.items()}
            for name, right in found.right.items():
                first = before.setdefault(f"{exam.name}/{name}", right)  # the lowest share is the base
                ones = np.ones(len(right))
                if share:
                    change = share_difference((right, ones), (first, ones))
                    metrics[f"{exam.name}/{name}_change/at_{share:g}"] = change
    encoder.load_state_dict(dict(tuned))
    return metrics


class OwnPictures(Exam):
    """The pictures that an encoder is tuned on, and those of their test split.

    Raises:
        LucidaError: nothing is said about any picture of the training or of the test split.
    """

    name = OWN

    def __init__(self, decoded: DecodedPictures):
        self.decoded = decoded
        gallery = gallery_of(decoded, range(len(decoded.corpus)))
        self.texts = [picture_texts(gallery, i) for i in range(len(decoded.corpus))]
        for split in ("train", "test"):
            if len(self.rows(split)) == 0:
                remedy = "give more of them captions or labels"
                raise LucidaError(f"no picture of split {split!r} has a text", where=decoded.corpus.name, remedy=remedy)

    def rows(self, split: str) -> NDArray[np.int64]:
        """The pictures of a split that have texts."""
        return np.array([i for i in self.decoded.corpus.rows(split) if self.texts[i]], np.int64)

    def new_encoder(self, config: TuneEncoderConfig) -> DualEncoder:
        """One with fresh weights, whose tokenizer knows the words of split "train"."""
        captions = [text for i in self.rows("train") for text in self.texts[i]]
        bias = -10.0 if config.objective.loss == "sigmoid" else None  # as SigLIP starts
        return new_dual_encoder(config.new, captions, derive_seed(config.train.seed, "new"), logit_bias=bias)

    def training_data(self, encoder: DualEncoder, objective: ObjectiveConfig) -> PixelPairs:
        """Split "train" as the encoder takes it."""
        rows, corpus = self.rows("train"), self.decoded.corpus
        place = {text: k for k, text in enumerate(dict.fromkeys(text for i in rows for text in self.texts[i]))}
        identities = [identity_of(corpus.pictures[i], self.texts[i]) for i in rows]
        number = {identity: k for k, identity in enumerate(dict.fromkeys(identities))}
        classes = {name: k for k, name in enumerate(corpus.classes)}
        labels = [classes.get(str(corpus.pictures[i].label), IGNORE_INDEX) for i in rows]
        return PixelPairs(
            self.decoded.pixels,
            rows,
            encoder.vision_tower.preprocess,
            encoder.text_tower.tokenize(list(place)),
            [np.array([place[text] for text in self.texts[i]]) for i in rows],
            np.array([number[identity] for identity in identities]),
            words=caption_tokens(list(place)) if objective.captioning else None,
            classes=np.array(labels) if objective.classification else None,
        )

    def looked_at(self, data: PixelPairs, encoding: Encoding) -> PixelPairs:
        """The same, with what locked towers find: it is found once, in eval mode."""
        texts = list(dict.fromkeys(text for i in data.rows for text in self.texts[i]))
        return replace(
            data,
            picture_features=encoding.seen(self.decoded, data.rows) if encoding.sees_the_same else None,
            text_features=encoding.read(texts) if encoding.reads_the_same else None,
        )

    def __call__(self, encoding: Encoding) -> Answers:
        """Zero-shot by class and retrieval by caption on the test split, where the pictures have them."""
        corpus, metrics, right = self.decoded.corpus, {}, {}
        test = labelled(corpus, ("test",))
        if len(test.rows) and len(corpus.classes) > 1:
            named = _named(encoding, self.decoded, test.rows, test.labels)
            metrics, right = dict(named.metrics), dict(named.right)
        own = [i for i in self.rows("test") if corpus.pictures[i].captions]
        if len(own) > 1:
            texts = [text for i in own for text in self.texts[i]]
            of = [k for k, i in enumerate(own) for _ in self.texts[i]]
            found = encoding.pictures(self.decoded, np.array(own)), encoding.words(texts)
            identities = [identity_of(corpus.pictures[i], self.texts[i]) for i in own]
            metrics |= retrieval_metrics(*found, of, identities=identities, prefix="retrieval")
        return Answers(metrics, right)


class BaseTask(Exam):
    """Labelled pictures of another task, all of them: none is trained on.

    Raises:
        LucidaError: they have fewer than two classes.
    """

    name = BASE

    def __init__(self, decoded: DecodedPictures):
        class_names(decoded.corpus)
        self.decoded = decoded
        self.rows, self.labels = labelled(decoded.corpus, ("train", "validation", "test"))

    def __call__(self, encoding: Encoding) -> Answers:
        """Zero-shot by class."""
        return _named(encoding, self.decoded, self.rows, self.labels)


def _named(encoding: Encoding, decoded: DecodedPictures, rows: NDArray, labels: NDArray) -> Answers:
    classes = class_embeddings(encoding.words, class_names(decoded.corpus), PROMPTS)
    seen = encoding.pictures(decoded, rows)
    metrics: dict[str, Any] = zero_shot_metrics(seen, classes, labels)
    return Answers(metrics, {"zero_shot/top1": true_class_ranks(seen, classes, labels) <= 1})


def as_text(results: Results) -> str:
    """A table for a person: what is measured, at every share of the tuning, or why it is not."""
    said = [f"not measured: {reason}" for reason in results.left_out.values()]
    if not results.metrics:
        return "\n".join(said)
    shares = results.details["shares"]
    rows = [
        name.removesuffix("/at_0")
        for name in results.metrics
        if name.endswith(("top1/at_0", "recall_at_1/at_0")) and "chance" not in name and "majority" not in name
    ]
    lines = [f"{'share of the tuning':42}" + "".join(f"{share:>8g}" for share in shares)]
    for row in rows:
        values = [100 * results.metrics[f"{row}/at_{share:g}"].value for share in shares]
        lines.append(f"{row:42}" + "".join(f"{value:8.1f}" for value in values))
    change = results.metrics.get(f"{BASE}/zero_shot/top1_change/at_1")
    if change is not None:
        low, high = change.ci95 or (float("nan"), float("nan"))
        lines += ["", f"the base task by tuning: {100 * change.value:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"]
    return "\n".join([*lines, *said, "", "percent; 0 is the model as it was, 1 is the tuned one"])
