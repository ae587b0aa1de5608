"""Pairs of answers as packed batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lucida.core.errors import LucidaError
from lucida.data.collation import ChatFormat
from lucida.data.preferences import Preference, PreferenceData
from lucida.data.tokenization import train_tokenizer

PAIRS = [
    Preference("exists", "Is there a cat?", "yes", "no", picture=2, other=0),
    Preference("describe", "Describe it.", "There is a cat.", "There is a dog.", picture=0, other=1),
    Preference("exists", "Is there a dog?", "no", "yes", picture=2, other=1),
]
TEXTS = [text for pair in PAIRS for text in (pair.question, pair.chosen, pair.rejected)]
CHAT = ChatFormat(train_tokenizer(TEXTS * 3, vocab_size=300, words=("yes", "no", "cat", "dog")), 2)
FEATURES = torch.arange(3.0)[:, None, None].expand(3, 2, 4).half()


def said(packed, turn: int) -> str:
    """The supervised tokens of a turn as text."""
    return CHAT.decode(packed["labels"][packed["turns"] == turn].tolist())


def test_every_pair_finds_its_answers_and_its_pictures():
    data = PreferenceData(PAIRS, CHAT, FEATURES, torch.arange(9.0).reshape(3, 3))
    assert len(data) == 2  # pictures
    batch = data.batch([1, 0], np.random.default_rng)
    assert batch["pairs"].tolist() == [0, 2, 1]
    torch.testing.assert_close(batch["reference"], torch.arange(9.0).reshape(3, 3)[[0, 2, 1]])
    shown, distorted = batch["shown"], batch["distorted"]
    assert len(shown["input_ids"]) == len(distorted["input_ids"]) == 2  # rows: pairs of one other picture share one
    for place, number in enumerate(batch["pairs"].tolist()):
        pair = PAIRS[number]
        turns = [int(batch[key][place]) for key in ("chosen", "rejected", "beside")]
        assert said(shown, turns[0]) == pair.chosen
        assert said(shown, turns[1]) == pair.rejected
        assert said(distorted, turns[2]) == pair.chosen
        for packed, turn, picture in ((shown, turns[0], pair.picture), (distorted, turns[2], pair.other)):
            row = int((packed["turns"] == turn).nonzero()[0, 0])
            assert packed["vision_features"][row, 0, 0].item() == picture


def test_what_cannot_be_learned_from():
    with pytest.raises(LucidaError, match="no pairs"):
        PreferenceData([], CHAT, FEATURES)
    with pytest.raises(LucidaError, match="pictures 2 and 0"):
        PreferenceData(PAIRS, CHAT, FEATURES[:2])
    with pytest.raises(LucidaError, match="for 3 pairs"):
        PreferenceData(PAIRS, CHAT, FEATURES, torch.zeros(2, 3))
