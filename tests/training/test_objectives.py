"""The objective of a dual encoder: each setting reaches the loss, and what does not fit is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lucida.core.durations import Duration
from lucida.core.errors import LucidaError
from lucida.core.run_folder import RunFolder
from lucida.data.caption_tokens import caption_tokens
from lucida.data.collation import IGNORE_INDEX
from lucida.data.pairs import FeaturePairs
from lucida.losses.contrastive import contrastive_loss
from lucida.losses.ring import Ring
from lucida.losses.sigmoid import sigmoid_loss
from lucida.models.captioner import Captioner
from lucida.models.dual_encoder import DualEncoder, HeadConfig, seeded_heads
from lucida.training.batches import Draw
from lucida.training.loop import TrainConfig, train
from lucida.training.objectives import ObjectiveConfig, heads_task, make_task
from lucida.training.tasks import ContrastiveTask, FeatureTask, MultiTask, Part, SigmoidTask

COLOURS = ("red", "green", "blue", "white")


def pairs(count: int = 40) -> FeaturePairs:
    """Noisy vectors of four colours, each with its own sentence; every fifth has no class."""
    generator = np.random.default_rng(0)
    colours = np.arange(count) % len(COLOURS)
    features = np.eye(6, dtype=np.float32)[colours] + generator.normal(0, 0.2, (1, count, 6)).astype(np.float32)
    texts = torch.from_numpy(generator.normal(size=(len(COLOURS), 5)).astype(np.float32))
    return FeaturePairs(
        features,
        texts,
        [np.array([c]) for c in colours],
        colours,
        words=caption_tokens([f"a {colour} thing" for colour in COLOURS]),
        classes=np.where(np.arange(count) % 5 == 0, IGNORE_INDEX, colours),
    )


def heads(objective: ObjectiveConfig) -> DualEncoder:
    return seeded_heads(6, 5, HeadConfig(8, 16, 0.0), 0, **objective.start)


def made(objective: ObjectiveConfig) -> tuple[DualEncoder, FeatureTask]:
    encoder = heads(objective)
    return encoder, heads_task(encoder, objective, pairs(), embedding_size=8, seed=0)


def batch() -> dict:
    return pairs().batch(range(16), Draw(0, [(0, k) for k in range(16)]))


@torch.no_grad()
def loss_of(task: FeatureTask) -> float:
    output = task.loss_of_features(task.features(batch()), Ring(16))
    return float(output.loss_sum / output.weight)


def encoded(encoder: DualEncoder) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    some = batch()
    return encoder.encode_image(**some["image"]), encoder.encode_text(**some["text"]), some["ids"]


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"hard_negatives": 0.5}, {"label_smoothing": 0.1}])
def test_the_softmax_and_its_settings(options):
    encoder, task = made(ObjectiveConfig(**options))
    assert type(task) is ContrastiveTask
    images, texts, ids = encoded(encoder)
    assert loss_of(task) == pytest.approx(
        float(contrastive_loss(images, texts, encoder.logit_scale, ids=ids, **options))
    )
    plain = float(contrastive_loss(images, texts, encoder.logit_scale, ids=ids))
    assert (loss_of(task) == pytest.approx(plain)) == (not options)


def test_a_softmax_does_not_train_the_bias_that_it_does_not_see():
    encoder, _ = made(ObjectiveConfig("sigmoid"))
    encoder.logit_bias.requires_grad_(True)
    task = make_task(encoder, ObjectiveConfig(), embedding_size=1)
    some = task.features(batch())
    task.loss_of_features(some, Ring(len(some.rows["ids"]))).loss_sum.backward()
    assert not encoder.logit_bias.requires_grad
    assert encoder.logit_bias.grad is None  # processes that wait for each other's gradients would wait for ever
    assert encoder.log_logit_scale.grad is not None


@torch.no_grad()
@pytest.mark.parametrize("weight", [1.0, 4.0])
def test_the_sigmoid_begins_as_in_its_paper(weight):
    encoder, task = made(ObjectiveConfig("sigmoid", positive_weight=weight))
    assert type(task) is SigmoidTask
    assert encoder.logit_scale.item() == pytest.approx(10)
    assert encoder.logit_bias.item() == -10
    images, texts, ids = encoded(encoder)
    expected = sigmoid_loss(images, texts, encoder.logit_scale, encoder.logit_bias, ids=ids, positive_weight=weight)
    assert loss_of(task) == pytest.approx(float(expected))


def test_what_is_learned_beside_is_said_and_told(tmp_path):
    objective = ObjectiveConfig(captioning=1.0, classification=1.0)
    encoder, task = made(objective)
    assert isinstance(task, MultiTask)
    assert loss_of(task) > loss_of(made(ObjectiveConfig())[1])
    config = TrainConfig(Duration(60, "steps"), batch_size=16, learning_rate=1e-2, probe_every=None)
    train(task, pairs(), config, RunFolder(tmp_path), progress=False)
    data, everything = pairs(), range(40)
    some = data.batch(everything, Draw(0, [(1, k) for k in everything]))
    with torch.no_grad():
        images = encoder.eval().encode_image(**some["image"])
        told = task.parts["classification"].task.model(images).argmax(dim=1)
        captioner: Captioner = task.parts["captioning"].task.model
        states = captioner.eval().states(images, some["caption_ids"])
        said = (states @ captioner.embedding.weight.T).argmax(dim=-1)
    assert (told == torch.from_numpy(data.ids)).float().mean() > 0.9  # those without a class, too
    labels = some["caption_labels"]
    assert (said == labels)[labels != IGNORE_INDEX].float().mean() > 0.95
    colour = labels[:, 1]  # "a red thing": the second word is in the picture alone
    assert (said[:, 1] == colour).float().mean() > 0.9


def test_a_captioner_does_not_see_the_words_to_come():
    torch.manual_seed(0)
    captioner = Captioner(8, 20, hidden_size=16, heads=2).eval()
    images, words = torch.randn(3, 8), torch.randint(0, 20, (3, 6))
    other = words.clone()
    other[:, 4:] = (other[:, 4:] + 1) % 20
    before, after = captioner.states(images, words), captioner.states(images, other)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])
    assert not torch.allclose(before, captioner.states(images + 1 + torch.randn(3, 8), words))


def test_tokens_follow_each_other_and_end():
    tokens = caption_tokens(["a red cat", "a red cat and a blue dog"], most=6)
    assert tokens.input_ids.shape == tokens.labels.shape == (2, 6)
    supervised = tokens.labels != IGNORE_INDEX
    assert supervised.sum(dim=1).tolist()[1] == 6  # cut
    assert (tokens.input_ids[:, 1:] == tokens.labels[:, :-1])[supervised[:, 1:]].all()
    ids, labels = tokens.rows(torch.tensor([0, 0]))
    assert ids.shape == labels.shape == (2, int(supervised[0].sum()))
    with pytest.raises(LucidaError, match="cut to 0"):
        caption_tokens(["a"], most=0)


def test_what_does_not_fit_is_refused():
    for bad in (
        {"loss": "hinge"},
        {"hard_negatives": -1.0},
        {"label_smoothing": 2.0},
        {"loss": "sigmoid", "hard_negatives": 0.5},
        {"loss": "sigmoid", "label_smoothing": 0.5},
        {"positive_weight": 2.0},
        {"captioning": -1.0},
    ):
        with pytest.raises(LucidaError, match="ObjectiveConfig"):
            ObjectiveConfig(**bad)
    bare = FeaturePairs(pairs().picture_features, pairs().text_features, pairs().texts, pairs().ids)
    for beside, missing in (("captioning", "captions"), ("classification", "classes")):
        with pytest.raises(LucidaError, match=f"no {missing}"):
            heads_task(heads(ObjectiveConfig()), ObjectiveConfig(**{beside: 1.0}), bare, embedding_size=8, seed=0)
    with pytest.raises(LucidaError, match="weight of more"):
        MultiTask(ContrastiveTask(heads(ObjectiveConfig())), {"more": Part(made(ObjectiveConfig())[1], -1.0, {})})
    with pytest.raises(LucidaError, match="do not fit"):
        FeaturePairs(bare.picture_features, bare.text_features, bare.texts, bare.ids, classes=np.zeros(3, int))
    words = caption_tokens(["one"])
    with pytest.raises(LucidaError, match="do not fit"):
        FeaturePairs(bare.picture_features, bare.text_features, bare.texts, bare.ids, words=words)
