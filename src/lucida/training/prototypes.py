"""Zero-shot prototypes of labelled pictures: two heads on frozen towers, trained on pictures and names of classes.

Contrastive training on class names already corrects for their frequency. In a batch with :math:`n_k` pictures of class
k, a picture of class c meets :math:`n_c` texts that are right, each with the target :math:`1 / n_c`, and its loss is
:math:`\\log \\sum_k n_k e^{s_k} - s_c`: the balanced softmax (Ren et al. 2020), that is logit adjustment in training
with the batch's own counts. A further adjustment of its logits by the training counts is therefore expected to overdo
it, and class-balanced batches take the correction away along with the imbalance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lucida.core.durations import Duration
from lucida.core.errors import LucidaError
from lucida.core.run_folder import RunFolder
from lucida.core.seeds import derive_seed
from lucida.data.pairs import FeaturePairs
from lucida.data.sampling import Sampling
from lucida.models.dual_encoder import DualEncoder, HeadConfig, seeded_heads
from lucida.models.prototypes import text_prototypes
from lucida.training.batches import Resampled, TrainingData
from lucida.training.loop import TrainConfig, train
from lucida.training.tasks import ContrastiveTask


@dataclass(frozen=True)
class PrototypeConfig:
    """How the heads are made.

    Attributes:
        head: of both towers.
        sampling: which pictures a batch shows; ``"class_balanced"`` shows every class as often.
        train: how long and how fast; its seed is that of the heads too.
    """

    head: HeadConfig = field(default_factory=HeadConfig)
    sampling: Sampling = "instance"
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            Duration(20, "epochs"), batch_size=256, learning_rate=1e-3, weight_decay=0.1, warmup_share=0.1
        )
    )


def fit_prototypes(
    features: NDArray,
    labels: NDArray,
    class_texts: Sequence[Sequence[str]],
    read: Callable[[Sequence[str]], Tensor],
    config: PrototypeConfig,
    folder: RunFolder,
) -> DualEncoder:
    """Heads that bring pictures near the texts of their class; each epoch a picture meets one of its class's texts.

    Args:
        features: of a frozen vision tower, ``[N, D]``, or of views, ``[V, N, D]``, of which one is drawn each time.
        labels: ``int64 [N]``, the class of each picture.
        class_texts: phrasings of each class, at least one.
        read: texts to features of a frozen text tower, ``[n, E]``.
        config: sizes, sampling and training.
        folder: for the checkpoints; a finished run in it is loaded.

    Returns:
        A dual encoder of ``features=``, in evaluation mode.

    Raises:
        LucidaError: the labels do not fit the pictures or the classes, or a class has no text.
    """
    views = features if features.ndim == 3 else features[None]
    classes = np.asarray(labels, dtype=np.int64)
    if len(classes) and not (classes.min() >= 0 and classes.max() < len(class_texts)):
        raise LucidaError(
            f"labels reach from {classes.min()} to {classes.max()}, texts are for {len(class_texts)} classes"
        )
    place = {text: i for i, text in enumerate(dict.fromkeys(text for texts in class_texts for text in texts))}
    rows = [np.array([place[text] for text in texts], np.int64) for texts in class_texts]
    pairs = FeaturePairs(views, read(list(place)), [rows[c] for c in classes], classes)
    model = seeded_heads(
        views.shape[-1], pairs.text_features.shape[-1], config.head, derive_seed(config.train.seed, "heads")
    )
    model.image_head.standardize(torch.from_numpy(np.asarray(views[0], np.float32)))
    model.text_head.standardize(pairs.text_features)
    data: TrainingData = Resampled(pairs, classes, config.sampling) if config.sampling != "instance" else pairs
    train(ContrastiveTask(model), data, config.train, folder, resume=True, progress=False)
    return model.eval()


@torch.inference_mode()
def class_prototypes(
    model: DualEncoder, class_texts: Sequence[Sequence[str]], read: Callable[[Sequence[str]], Tensor]
) -> Tensor:
    """The classes in the common space by their texts, ``[C, d]`` of length one."""
    return text_prototypes(lambda texts: model.encode_text(features=read(texts)), class_texts)


@torch.inference_mode()
def encoded_pictures(model: DualEncoder, features: NDArray, *, batch: int = 4096) -> Tensor:
    """Tower features ``[N, D]`` in the common space, ``float32 [N, d]`` of length one."""
    parts = [
        model.encode_image(features=torch.from_numpy(np.asarray(features[start : start + batch], np.float32)))
        for start in range(0, len(features), batch)
    ]
    return torch.cat(parts)
