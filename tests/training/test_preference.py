"""The preference task on packed pairs against one answer a row."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from lucida.core.durations import Duration
from lucida.core.run_folder import RunFolder
from lucida.data.collation import ChatFormat, collate
from lucida.data.conversations import Turn
from lucida.data.preferences import Preference, PreferenceData
from lucida.data.tokenization import train_tokenizer
from lucida.losses.preference import AnswerLogs, PreferenceSettings, preference_loss
from lucida.models.adapters import LoraSettings, add_lora
from lucida.models.language_models import SmallLlama
from lucida.models.projectors import WordProjector
from lucida.models.vision_language_model import VisionLanguageModel
from lucida.training.loop import TrainConfig, train
from lucida.training.preference import PreferenceTask, answer_logs, reference_logs

PAIRS = [
    Preference("exists", "Is there a cat?", "yes", "no", picture=2, other=0),
    Preference("describe", "Describe it.", "There is a cat.", "There is a red dog.", picture=0, other=1),
    Preference("exists", "Is there a dog?", "no", "yes", picture=2, other=1),
    Preference("describe", "What is it?", "A dog.", "A cat and a dog.", picture=1, other=0),
]
TEXTS = [text for pair in PAIRS for text in (pair.question, pair.chosen, pair.rejected)]
TOKENIZER = train_tokenizer(TEXTS * 3, vocab_size=300, words=("yes", "no", "cat", "dog"))
T, D = 4, 6


def build() -> tuple[VisionLanguageModel, ChatFormat, torch.Tensor]:
    torch.manual_seed(0)
    chat, words = ChatFormat(TOKENIZER, T), SmallLlama(hidden_size=32, layers=2, head_size=16).build(TOKENIZER)
    model = VisionLanguageModel(WordProjector(D, 32, T), words, chat.image_token_id)
    return model.eval(), chat, torch.randn(3, T, D)


def alone(model: VisionLanguageModel, chat: ChatFormat, features: torch.Tensor, question: str, answer: str):
    """The log-likelihood of one answer in a row of its own, as plainly as can be."""
    batch = collate([[Turn("exists", question, answer)]], chat)
    labels = batch.pop("labels")[0]
    logs = model.language_model.lm_head(model.hidden_states(**batch, vision_features=features[None]))[0]
    logs = logs.log_softmax(dim=-1)
    answered = (labels != -100).nonzero()[:, 0].tolist()
    assert all(b == a + 1 for a, b in pairwise(answered))
    return sum(logs[i - 1, labels[i]] for i in answered)


def plain_logs(model: VisionLanguageModel, chat: ChatFormat, features: torch.Tensor, pairs: list[Preference]):
    rows = [
        [
            alone(model, chat, features[pair.picture], pair.question, pair.chosen),
            alone(model, chat, features[pair.picture], pair.question, pair.rejected),
            alone(model, chat, features[pair.other], pair.question, pair.chosen),
        ]
        for pair in pairs
    ]
    return AnswerLogs(*(torch.stack(column) for column in zip(*rows, strict=True)))


def test_packed_loss_and_gradients_are_those_of_one_answer_a_row():
    model, chat, features = build()
    own, reference = PreferenceSettings(beta=0.3, anchor_weight=0.5), -10 * torch.rand(len(PAIRS), 3)
    data = PreferenceData(PAIRS, chat, features, reference)
    batch = data.batch(range(len(data)), np.random.default_rng)
    output = PreferenceTask(model, own).loss(batch)
    output.loss_sum.backward()
    packed = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    logs = plain_logs(model, chat, features, [PAIRS[i] for i in batch["pairs"]])
    for found, wanted in zip(answer_logs(model, batch), logs, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-4)
    loss = preference_loss(logs, AnswerLogs(*reference[batch["pairs"]].unbind(dim=1)), own).sum()
    loss.backward()
    assert output.weight == len(PAIRS)
    torch.testing.assert_close(output.loss_sum, loss, rtol=1e-5, atol=1e-5)
    assert len(packed) > 10
    for name, parameter in model.named_parameters():
        if name in packed:
            torch.testing.assert_close(packed[name], parameter.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_the_reference_pays_log_two_for_every_term_in_any_batch():
    model, chat, features = build()
    plain = PreferenceData(PAIRS, chat, features)
    one, many = (reference_logs(model, plain, batch_size=n) for n in (1, 8))
    torch.testing.assert_close(one, many, rtol=1e-5, atol=1e-4)
    data = PreferenceData(PAIRS, chat, features, many)
    metrics = PreferenceTask(model, PreferenceSettings()).loss(data.batch([1], np.random.default_rng)).metrics
    for term in ("preference", "conditional", "anchor"):
        assert float(metrics[term]) == pytest.approx(math.log(2), abs=1e-5)


def test_the_loop_trains_adapters_until_every_pair_is_the_right_way_round(tmp_path):
    model, chat, features = build()
    data = PreferenceData(PAIRS, chat, features, reference_logs(model, PreferenceData(PAIRS, chat, features)))
    model.requires_grad_(False)
    before = {name: p.clone() for name, p in model.named_parameters()}
    add_lora(model.language_model, LoraSettings(r=4, target_modules=r".*_proj"), seed=0)
    config = TrainConfig(Duration(80, "steps"), batch_size=3, learning_rate=1e-2, weight_decay=0.0, probe_every=None)
    folder = RunFolder.create(tmp_path / "run", config, seed=0)
    train(PreferenceTask(model, PreferenceSettings()), data, config, folder, progress=False)
    metrics = PreferenceTask(model, PreferenceSettings()).loss(data.batch(range(3), np.random.default_rng)).metrics
    assert float(metrics["better_answer"]) == float(metrics["better_picture"]) == 1.0
    now = {name.replace("base_layer.", ""): p for name, p in model.named_parameters() if "lora_" not in name}
    assert now.keys() == before.keys()
    assert all(torch.equal(now[name], before[name]) for name in before)
