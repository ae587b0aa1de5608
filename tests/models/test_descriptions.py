"""Classes in words."""

from __future__ import annotations

import torch

from lucida.models.descriptions import LEXICAL_SHARE, Description, DescriptionReader


def read(texts):
    """Letters as features: enough to tell texts apart."""
    return torch.tensor([[float(text.count(letter)) + 0.1 for letter in "abcdefgh"] for text in texts])


KNOWN = [Description("red cat", ("pet",)), Description("red dog", ("pet",)), Description("bed")]


def test_words_of_several_descriptions_have_a_dimension():
    reader = DescriptionReader(read, ("{}",), KNOWN, least=2)
    assert [*reader.places] == ["pet", "red"]
    vectors = reader([Description("red bus"), Description("bed"), Description("pet", ("red",))])
    assert vectors.shape == (3, 3 * 8 + 2)
    assert vectors[0, -2:].tolist() == [0.0, torch.tensor(LEXICAL_SHARE).item()]
    assert not vectors[1, -2:].any()
    assert vectors[2, -2:].all()


def test_dense_parts_have_length_one_with_and_without_keywords():
    vectors = DescriptionReader(read, ("{}", "a {}"), KNOWN)(KNOWN)
    for part in vectors[:, :24].split(8, dim=1):
        torch.testing.assert_close(part.norm(dim=1), torch.ones(3))


def test_a_sentence_is_the_name_where_there_are_no_keywords():
    assert Description("cat", ("pet", "meow")).sentence == "cat: pet, meow"
    assert Description("cat").sentence == "cat"
