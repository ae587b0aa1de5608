"""Prototypes trained on pictures and class names: they name held-out pictures, and remedies act on them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from lucida.core.durations import Duration
from lucida.core.errors import LucidaError
from lucida.core.run_folder import RunFolder
from lucida.losses.contrastive import contrastive_loss
from lucida.models.dual_encoder import HeadConfig
from lucida.models.prototypes import prototype_logits
from lucida.training.imbalance import adjusted_logits
from lucida.training.loop import TrainConfig
from lucida.training.prototypes import PrototypeConfig, class_prototypes, encoded_pictures, fit_prototypes

CLASSES, SIZE, WORDS = 4, 12, 6
TEXTS = [[f"a picture of class {c}", f"class {c}"][: 1 + c % 2] for c in range(CLASSES)]
COUNTS = (200, 60, 20, 6)
CONFIG = PrototypeConfig(
    HeadConfig(8, 16, 0.0),
    train=TrainConfig(Duration(150, "steps"), batch_size=64, learning_rate=3e-3, probe_every=None, log_every=None),
)
_GENERATOR = np.random.default_rng(0)
_CENTRES = _GENERATOR.normal(size=(CLASSES, SIZE))
_WORDS = {text: _GENERATOR.normal(size=WORDS) for texts in TEXTS for text in texts}


def read(texts):
    return torch.tensor(np.stack([_WORDS[text] for text in texts]), dtype=torch.float32)


def pictures(counts, seed):
    labels = np.repeat(np.arange(CLASSES), counts)
    noise = np.random.default_rng(seed).normal(size=(len(labels), SIZE))
    return (_CENTRES[labels] + noise).astype(np.float16), labels


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Models by sampling."""
    features, labels = pictures(COUNTS, seed=1)
    models = {}
    for sampling in ("instance", "class_balanced"):
        config = replace(CONFIG, sampling=sampling)
        folder = RunFolder.create(tmp_path_factory.mktemp("runs") / sampling, config, seed=0)
        models[sampling] = fit_prototypes(features, labels, TEXTS, read, config, folder)
    return models


def logits_of(model, features):
    classes = class_prototypes(model, TEXTS, read)
    return prototype_logits(encoded_pictures(model, features), classes, model.logit_scale.detach())


def test_held_out_pictures_find_their_class(fitted):
    features, labels = pictures((50,) * CLASSES, seed=2)
    logits = logits_of(fitted["instance"], features)
    assert logits.shape == (200, CLASSES)
    assert float((logits.argmax(dim=1).numpy() == labels).mean()) > 0.6
    assert not fitted["instance"].training


def test_balanced_batches_are_another_training(fitted):
    features, _ = pictures((50,) * CLASSES, seed=2)
    assert not torch.allclose(logits_of(fitted["instance"], features), logits_of(fitted["class_balanced"], features))


def test_adjusting_the_logits_answers_rare_classes_more_often(fitted):
    features, _ = pictures((50,) * CLASSES, seed=2)
    logits = logits_of(fitted["instance"], features)
    rare = [int((adjusted_logits(logits, COUNTS, tau).argmax(dim=1) >= 2).sum()) for tau in (-2.0, 0.0, 2.0)]
    assert rare[0] < rare[1] < rare[2]
    assert abs(rare[1] - 100) < min(abs(rare[0] - 100), abs(rare[2] - 100))  # as they are, they are about balanced


def test_the_contrastive_loss_of_class_texts_is_a_balanced_softmax():
    """One text a class: the pictures' half of the loss is log sum_k n_k exp(s_k) - s_c."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.tensor([0, 0, 0, 0, 1, 1, 2])
    images = normalize(torch.randn(7, 5, generator=generator), dim=-1)
    classes = normalize(torch.randn(3, 5, generator=generator), dim=-1)
    scores = 8 * images @ classes.T
    counts = torch.bincount(ids).float()
    of_pictures = (scores + counts.log()).logsumexp(dim=1) - scores[torch.arange(7), ids]
    own = (ids[:, None] == torch.arange(3)).float()
    of_texts = scores.logsumexp(dim=0) - (scores * own).sum(dim=0) / counts
    expected = (of_pictures.mean() + of_texts[ids].mean()) / 2
    loss = contrastive_loss(images, classes[ids], logit_scale=torch.tensor(8.0), ids=ids)
    torch.testing.assert_close(loss, expected)


def test_views_are_drawn_and_a_finished_run_is_loaded(tmp_path):
    features, labels = pictures((20, 10, 5, 5), seed=3)
    views = np.stack([features, features + np.float16(0.5)])
    config = replace(CONFIG, train=replace(CONFIG.train, duration=Duration(4, "steps")))

    def fit(given, name):
        return fit_prototypes(given, labels, TEXTS, read, config, RunFolder.create(tmp_path / name, config, seed=0))

    first, alone = fit(views, "views"), fit(features, "alone")
    assert any((a != b).any() for a, b in zip(first.parameters(), alone.parameters(), strict=True))
    again = fit_prototypes(views, labels, TEXTS, read, config, RunFolder.open(tmp_path / "views"))
    assert all((a == b).all() for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_labels_and_texts_must_fit(tmp_path):
    features, labels = pictures((5,) * CLASSES, seed=3)
    folder = RunFolder.create(tmp_path / "run", CONFIG, seed=0)
    for bad, texts, message in (
        (labels, TEXTS[:3], "labels reach from 0 to 3, texts are for 3 classes"),
        (labels[:-1], TEXTS, "do not fit"),
        (labels, [*TEXTS[:3], []], "without any text"),
    ):
        with pytest.raises(LucidaError, match=message):
            fit_prototypes(features, bad, texts, read, CONFIG, folder)
