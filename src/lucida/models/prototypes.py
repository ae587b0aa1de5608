"""Zero-shot classes as prototypes in a common space, and what few pictures of them can add."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lucida.core.errors import LucidaError

_LEAST_SLOPE = 1e-3  # where texts foretell nothing, pictures count alone: divided by this they outweigh any text


def prototype_logits(image_features: Tensor, class_embeddings: Tensor, logit_scale: Tensor | float = 1.0) -> Tensor:
    """Cosines of pictures and classes times the scale: logits as of any classifier, for any remedy after training.

    Args:
        image_features: ``[N, d]``, of any length.
        class_embeddings: ``[C, d]``, of any length.
        logit_scale: the dual encoder's multiplier; probabilities, and with them logit adjustment, need it.

    Returns:
        ``[N, C]``.

    Raises:
        LucidaError: the two are not of one space.
    """
    _check_space(image_features, class_embeddings)
    return logit_scale * F.normalize(image_features, dim=-1) @ F.normalize(class_embeddings, dim=-1).T


def text_prototypes(encode_text: Callable[[list[str]], Tensor], class_texts: Sequence[Sequence[str]]) -> Tensor:
    """One direction a class: the mean of its texts' directions (Radford et al. 2021); classes may have many or few.

    Args:
        encode_text: texts to features ``[n, d]``, of any length.
        class_texts: of each class, at least one.

    Returns:
        ``[C, d]`` of length one.

    Raises:
        LucidaError: a class has no text.
    """
    for i, texts in enumerate(class_texts):
        if not texts:
            raise LucidaError("a class without any text has no prototype", where=f"class {i}")
    owner = torch.tensor([i for i, texts in enumerate(class_texts) for _ in texts])
    features = F.normalize(encode_text([text for texts in class_texts for text in texts]).float(), dim=-1)
    total = torch.zeros(len(class_texts), features.shape[1], device=features.device)
    return F.normalize(total.index_add_(0, owner.to(features.device), features), dim=-1)


class _Seen(NamedTuple):
    """What the pictures say of each class: how many there are, ``[C]``, and their mean, ``[C, d]``."""

    counts: Tensor
    means: Tensor


def blended_prototypes(class_embeddings: Tensor, examples: Tensor, labels: Tensor, *, strength: float) -> Tensor:
    r"""Prototypes from texts and pictures, each counting as far as it can be trusted.

    .. math:: p_c \propto \frac{\kappa\, t_c + \sum_{i \in c} \hat x_i}{\kappa + n_c}, \qquad
       \hat x_i = \bar t + (x_i - \bar m) / b

    The text is worth :math:`\kappa` pictures: this is the posterior mean of a class whose pictures scatter around a
    centre that itself lies around what the text foretells (shrinkage as of Efron & Morris 1973). Texts and pictures lie
    in different parts of a common space (the modality gap, Liang et al. 2022), so a plain mean of both would draw
    classes with many pictures nearer to every picture; therefore pictures are moved to where the texts are:
    :math:`\bar m, \bar t` are the means over classes that have pictures, each counting the same, and :math:`b` is the
    slope of class means on texts. With an infinite :math:`\kappa` the texts stay as they are.

    Args:
        class_embeddings: from texts, ``[C, d]``; made length one.
        examples: pictures, ``[n, d]``; made length one.
        labels: ``int64 [n]``, the class of each.
        strength: :math:`\kappa`, at least 0, best chosen on validation pictures; :func:`prior_strength` is a start.

    Returns:
        ``[C, d]`` of length one; the texts alone if there is no picture.

    Raises:
        LucidaError: shapes do not fit, or the strength is negative.
    """
    if not strength >= 0:
        raise LucidaError(f"a text cannot be worth {strength} pictures", where="strength")
    texts, seen = _summary(class_embeddings, examples, labels)
    if len(examples) == 0 or strength == float("inf"):
        return texts
    relation, counts = _relation(texts, seen), seen.counts[:, None]
    moved = relation.middle + (seen.means - relation.centre) / relation.slope
    share = torch.where(counts > 0, strength / (strength + counts).clamp_min(1), 1)  # of the text
    return F.normalize(share * texts + (1 - share) * moved, dim=-1)


def prior_strength(class_embeddings: Tensor, examples: Tensor, labels: Tensor) -> float:
    r"""How many pictures a text is worth: :math:`\kappa = \sigma^2 / \tau^2`, by the method of moments.

    :math:`\sigma^2` is the scatter of pictures around their class mean, :math:`\tau^2` that of the class centres around
    what texts foretell: the distances of class means from it, less what their own scatter explains.

    This makes the centres right on average, over all directions alike. The most right answers may need another
    strength, a much larger one where the texts were trained on pictures of these classes already.

    Args:
        class_embeddings, examples, labels: as of :func:`blended_prototypes`.

    Returns:
        At least 0; infinite if class means lie no farther from the texts than chance would put them.

    Raises:
        LucidaError: fewer than three classes have pictures, or none has two.
    """
    texts, seen = _summary(class_embeddings, examples, labels)
    shown = seen.counts > 0
    classes, n = int(shown.sum()), len(examples)
    if classes < 3 or n == classes:
        raise LucidaError(
            f"{n} pictures of {classes} classes do not tell how many pictures a text is worth",
            where="strength",
            remedy="give the strength, or pictures of three classes, two of one of them",
        )
    scatter = (F.normalize(examples.float(), dim=-1) - seen.means[labels]).square().sum() / (n - classes)
    off = (seen.means - _relation(texts, seen).foretold(texts))[shown].square().sum() / (classes - 1)
    between = off - (scatter / seen.counts[shown]).mean()
    return float(scatter / between) if between > 0 else float("inf")


def _summary(class_embeddings: Tensor, examples: Tensor, labels: Tensor) -> tuple[Tensor, _Seen]:
    """Texts of length one, and counts and means of the pictures."""
    _check_space(examples, class_embeddings)
    if len(labels) != len(examples) or (
        len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(class_embeddings)
    ):
        raise LucidaError(
            f"{len(labels)} labels do not fit {len(examples)} pictures and {len(class_embeddings)} classes"
        )
    texts, rows = F.normalize(class_embeddings.float(), dim=-1), F.normalize(examples.float(), dim=-1)
    counts = torch.bincount(labels, minlength=len(texts)).float()
    means = torch.zeros_like(texts).index_add_(0, labels, rows) / counts.clamp_min(1)[:, None]
    return texts, _Seen(counts, means)


class _Relation(NamedTuple):
    """How class means of pictures follow from texts: ``centre + slope · (text - middle)``."""

    centre: Tensor
    middle: Tensor
    slope: Tensor

    def foretold(self, texts: Tensor) -> Tensor:
        return self.centre + self.slope * (texts - self.middle)


def _relation(texts: Tensor, seen: _Seen) -> _Relation:
    """Least squares over the classes that have pictures; with one class, pictures are as far apart as texts."""
    shown = seen.counts > 0
    centre, middle = seen.means[shown].mean(dim=0), texts[shown].mean(dim=0)
    if int(shown.sum()) < 2:
        return _Relation(centre, middle, torch.ones(()))
    pictures, words = seen.means[shown] - centre, texts[shown] - middle
    slope = (pictures * words).sum() / words.square().sum().clamp_min(1e-12)
    return _Relation(centre, middle, slope.clamp_min(_LEAST_SLOPE))


def _check_space(pictures: Tensor, classes: Tensor) -> None:
    if pictures.ndim != 2 or classes.ndim != 2 or pictures.shape[1] != classes.shape[1]:
        raise LucidaError(f"pictures {list(pictures.shape)} and classes {list(classes.shape)} are not of one space")


@dataclass(frozen=True)
class LinearHead:
    """A linear classifier on image features.

    Attributes:
        weight: ``[C, d]``.
        bias: ``[C]``.
    """

    weight: Tensor
    bias: Tensor

    @classmethod
    def zero_shot(cls, class_embeddings: Tensor, logit_scale: Tensor | float = 1.0) -> LinearHead:
        """The head that says what :func:`prototype_logits` says of features of length one."""
        weight = logit_scale * F.normalize(class_embeddings, dim=-1)
        return cls(weight, weight.new_zeros(len(weight)))

    def logits(self, features: Tensor) -> Tensor:
        """``[N, d]`` to ``[N, C]``."""
        return features @ self.weight.T + self.bias

    def interpolated(self, trained: LinearHead, share: float) -> LinearHead:
        """Weights ``(1 - share) · own + share · trained``: keeps what the zero-shot head knows of classes that training
        saw too rarely (WiSE-FT, Wortsman et al. 2022, on the last layer). Without training or cost.

        Raises:
            LucidaError: the heads differ in shape, or the share is not in [0, 1].

        >>> start, end = LinearHead(torch.eye(2), torch.zeros(2)), LinearHead(torch.zeros(2, 2), torch.ones(2))
        >>> start.interpolated(end, 0.25).logits(torch.tensor([[1.0, 0.0]]))
        tensor([[1.0000, 0.2500]])
        """
        if self.weight.shape != trained.weight.shape:
            shapes = f"{list(self.weight.shape)} and {list(trained.weight.shape)}"
            raise LucidaError(f"heads of shapes {shapes} have nothing in between")
        if not 0 <= share <= 1:
            raise LucidaError(f"the share of the trained head cannot be {share}", remedy="use a number from 0 to 1")
        return LinearHead(torch.lerp(self.weight, trained.weight, share), torch.lerp(self.bias, trained.bias, share))
