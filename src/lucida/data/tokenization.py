"""Tokenizers: trained on the corpus' own texts where the language model brings none; special tokens either way."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from lucida.core.errors import LucidaError
from lucida.data.kinds import plural

PAD, BOS, EOS, UNK, IMAGE = "<pad>", "<s>", "</s>", "<unk>", "<image>"
"""Special tokens of a trained tokenizer; their ids are 0 to 4."""

_WORD_WEIGHT = 64  # how often each word that must become one token is shown to the trainer


def train_tokenizer(
    texts: Iterable[str],
    *,
    vocab_size: int = 2048,
    words: Sequence[str] = (),
    special: Sequence[str] = (PAD, BOS, EOS, UNK, IMAGE),
) -> Any:
    """A byte-level BPE tokenizer: frequent words become single tokens, any text decodes to itself.

    Args:
        texts: what the model will read and write.
        vocab_size: at most this many tokens; at least 256 bytes and 5 special ones.
        words: nouns that should be few tokens however rare they are (the vocabulary of objects). The ending of a
            regular plural is a token of its own, so that "dogs" and "dog" share the token by which they are known.
        special: the five special tokens in the order of their ids.

    Returns:
        A ``PreTrainedTokenizerFast`` that adds no special tokens by itself; a word is the same token at the start of a
        text as within it.

    Raises:
        LucidaError: the vocabulary is too small, or there is no text.
    """
    smallest = 256 + 5
    if vocab_size < smallest:
        raise LucidaError(f"a vocabulary of {vocab_size} tokens is too small", remedy=f"use at least {smallest}")
    corpus = [*texts]
    if not corpus:
        raise LucidaError("no text to train a tokenizer on")
    corpus += [word for word in words for _ in range(_WORD_WEIGHT)]
    tokenizer = Tokenizer(models.BPE(unk_token=UNK))
    tokenizer.pre_tokenizer = _pre_tokenizer(words)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[*special],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNK,
        additional_special_tokens=[IMAGE],
        clean_up_tokenization_spaces=False,
    )


def _pre_tokenizer(nouns: Sequence[str]) -> Any:
    """Words with the space before them, as bytes; plural endings of ``nouns`` cut off."""
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=True)
    endings = plural_endings(nouns)
    if not endings:
        return byte_level
    # Behind the byte level a word reads "Ġdogs"; lookbehind keeps the stem out of the match.
    pattern = "|".join(f"(?<=^Ġ{stem}){ending}$" for stem, ending in endings)
    return pre_tokenizers.Sequence([byte_level, pre_tokenizers.Split(Regex(pattern), "isolated")])


def plural_endings(nouns: Iterable[str]) -> list[tuple[str, str]]:
    """The last word and the plural ending of each noun whose plural only adds to it.

    >>> plural_endings(["dog", "ferris wheel", "bus", "wolf", "sheep"])
    [('bus', 'es'), ('dog', 's'), ('wheel', 's')]
    """
    found = set()
    for noun in nouns:
        stem = noun.rpartition(" ")[2]
        many = plural(stem)
        if re.fullmatch(r"[A-Za-z]+", stem) and many != stem and many.startswith(stem):
            found.add((stem, many[len(stem) :]))
    return sorted(found)


def add_image_token(tokenizer: Any) -> int:
    """The id of ``<image>``, added to the tokenizer if it has none (then the model's embedding must grow by one)."""
    if IMAGE not in tokenizer.get_vocab():
        tokenizer.add_tokens([IMAGE], special_tokens=True)
    return int(tokenizer.convert_tokens_to_ids(IMAGE))


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write the Hugging Face tokenizer files into ``folder``."""
    tokenizer.save_pretrained(folder)


def load_tokenizer(folder: str | Path) -> Any:
    """A tokenizer from a local folder or, by name, from the hub.

    Raises:
        LucidaError: there is none.
    """
    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise LucidaError(f"no tokenizer found: {reason}", where=folder, remedy="give a Hugging Face folder") from None
