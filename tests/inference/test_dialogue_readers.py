"""Dialogues for anyone's model: the tokens of its own processor, and its own likelihoods of the answers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)

from lucida.core.errors import LucidaError
from lucida.data.chat_tokens import ChatTokens
from lucida.data.chats import Chat, Message
from lucida.data.prompt_grammar import slot_values
from lucida.inference.answer_scores import answer_log_probabilities, plain_answer_log_probabilities
from lucida.inference.dialogue_readers import ChatTokensReader
from lucida.inference.prompting import (
    AnswerScorer,
    Dialogue,
    Example,
    HardPrompt,
    InContextPrompt,
    Shot,
    choose_answers,
)
from lucida.models.image_text_models import ImageTextModel
from lucida.models.seen_pictures import SeenPictures
from lucida.models.soft_prompts import SoftPrompt, with_places, with_soft_prompt

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from tiny_processors import LLAVA_OPEN, llava_processor, smolvlm_processor
from tiny_vlms import SIDE, TEXT, VISION

ANSWERS = ("yes", "no", "a fire engine", "two dogs")
KINDS = ("llava", "llava open", "smolvlm")
SIZES = ((32, 32), (64, 32), (40, 64))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    paths = []
    for i, (width, height) in enumerate(SIZES):
        paths.append(folder / f"{i}.png")
        Image.fromarray(generator.integers(0, 256, (height, width, 3), np.uint8)).save(paths[-1])
    return paths


def own(kind: str) -> tuple[Any, Any]:
    """A model and its processor."""
    processor = smolvlm_processor() if kind == "smolvlm" else llava_processor(*[LLAVA_OPEN] * (kind == "llava open"))
    tokenizer = processor.tokenizer
    torch.manual_seed(0)
    text = LlamaConfig(**{**TEXT, "vocab_size": len(tokenizer), "max_position_embeddings": 512})
    image = tokenizer.convert_tokens_to_ids(processor.image_token)
    if kind == "smolvlm":
        vision = {**VISION, "image_size": SIDE, "patch_size": 8}
        config = SmolVLMConfig(vision_config=vision, text_config=text, image_token_id=image, scale_factor=2)
        return SmolVLMForConditionalGeneration(config).eval(), processor
    tower = CLIPVisionConfig(**VISION, image_size=SIDE, patch_size=8)
    config = LlavaConfig(vision_config=tower, text_config=text, image_token_id=image, vision_feature_layer=-2)
    return LlavaForConditionalGeneration(config).eval(), processor


def seen(model: ImageTextModel, processor: Any, pictures: Sequence[Path]) -> SeenPictures:
    found, counts = [], []
    for path in pictures:
        pixels = processor.image_processor([[Image.open(path)]], return_tensors="pt")
        with torch.no_grad():
            features, tokens = model.see({k: v for k, v in pixels.items() if isinstance(v, torch.Tensor)})
        found.append(features.numpy())
        counts += tokens
    return SeenPictures(np.concatenate(found), np.cumsum([0, *counts]))


def messages(dialogue: Dialogue) -> list[dict[str, Any]]:
    said = []
    for shot in dialogue.shots:
        said.append({"role": "user", "content": [{"type": "image"}, {"type": "text", "text": shot.question}]})
        said.append({"role": "assistant", "content": [{"type": "text", "text": shot.answer}]})
    return [*said, {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": dialogue.question}]}]


DIALOGUES = [
    Dialogue((), 0, "Is there a cat?"),
    Dialogue((), 1, "What is in the picture?"),
    Dialogue((Shot(2, "Is there a cat?", "no"), Shot(0, "Is there a dog?", "yes")), 1, "Is there a dog?"),
    Dialogue((Shot(2, "Is there a cat?", "no"), Shot(0, "Is there a dog?", "yes")), 2, "Is there a dog?"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_the_models_own_forward(kind, pictures):
    hugging_face, processor = own(kind)
    model = ImageTextModel(hugging_face)
    reader = ChatTokensReader(ChatTokens(processor), pictures)
    features = seen(model, processor, pictures)
    read = [reader.read(dialogue, ANSWERS) for dialogue in DIALOGUES]
    scores = answer_log_probabilities(model, features, read, batch_size=3)
    torch.testing.assert_close(scores, plain_answer_log_probabilities(model, features, read), rtol=1e-5, atol=1e-5)
    for dialogue, one, row in zip(DIALOGUES, read, scores, strict=True):
        text = processor.apply_chat_template(messages(dialogue), add_generation_prompt=True)
        images = [Image.open(pictures[number]) for number in one.pictures]
        inputs = processor(text=[text], images=[images], return_tensors="pt")
        ids = inputs.pop("input_ids")
        assert one.input_ids.tolist() == ids[0].tolist()
        for answer, score in zip(one.answers, row.tolist(), strict=True):
            whole = torch.cat([ids, torch.from_numpy(answer)[None]], dim=1)
            with torch.no_grad():
                logits = hugging_face(**{**inputs, "input_ids": whole, "attention_mask": torch.ones_like(whole)}).logits
            logs = logits[0, len(one.input_ids) - 1 : -1].log_softmax(dim=-1)
            assert score == pytest.approx(float(logs[range(len(answer)), answer].sum()), abs=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_tokens_as_in_a_whole_chat(kind, pictures):
    _, processor = own(kind)
    tokens = ChatTokens(processor)
    reader = ChatTokensReader(tokens, pictures)
    for dialogue in DIALOGUES:
        read = reader.read(dialogue, ANSWERS)
        for answer, ids in zip(ANSWERS, read.answers, strict=True):
            whole = reader.read(dialogue, [answer])
            assert whole.input_ids.tolist() == read.input_ids.tolist()
            assert whole.answers[0].tolist() == ids.tolist()
            assert ids[-1] == tokens.end_of_turn_id
            assert processor.tokenizer.decode(ids[:-1]).strip() == answer


def test_in_context_examples_and_soft_prompts_in_a_model_of_others(pictures):
    hugging_face, processor = own("smolvlm")
    model, tokens = ImageTextModel(hugging_face), ChatTokens(processor)
    features = seen(model, processor, pictures)
    pool = [Example(i, slot_values("cat"), answer) for i, answer in enumerate(("yes", "no", "yes"))]
    scorer = AnswerScorer(model, ChatTokensReader(tokens, pictures), features, ("yes", "no"))
    shown = choose_answers(InContextPrompt("Any {names}?", pool, 2), scorer, pool)
    plain = choose_answers(HardPrompt("Any {names}?"), scorer, pool)
    assert (shown.pictures, plain.pictures) == (3, 1)
    assert shown.tokens > 2 * plain.tokens
    prompt = SoftPrompt(torch.randn(3, 32))
    prompted = with_soft_prompt(model, prompt)
    soft = AnswerScorer(prompted, ChatTokensReader(tokens, pictures, prompt.n_tokens), features, ("yes", "no"))
    asked = choose_answers(InContextPrompt("Any {names}?", pool, 2), soft, pool)
    assert asked.tokens == shown.tokens + 3
    assert not torch.allclose(asked.log_probabilities, shown.log_probabilities, atol=1e-4)
    read = soft.reader.read(DIALOGUES[0], ["yes", "no"])
    chat = with_places(
        tokens.encode(Chat((Message("user", (0, "Is there a cat?")), Message("assistant", ("yes",))), (pictures[0],))),
        prompt,
    )
    whole = [*read.input_ids, *read.answers[0]]
    assert chat.input_ids.tolist()[: len(whole)] == whole  # trained on what is asked
    assert (chat.labels[:3] == -100).all()
    start, end = chat.spans[0]
    assert (chat.input_ids[start:end] == tokens.image_token_id).sum() == chat.image_tokens[0]


def test_what_does_not_fit_is_one_line(pictures):
    _, processor = own("llava")
    reader = ChatTokensReader(ChatTokens(processor), pictures)
    with pytest.raises(LucidaError, match=r"there is no picture 3 \(3 pictures\)"):
        reader.read(Dialogue((), 3, "What?"), ANSWERS)
    with pytest.raises(LucidaError, match="special token"):
        reader.read(Dialogue((), 0, "What </s>?"), ANSWERS)
    short = ChatTokensReader(ChatTokens(processor, max_length=80), pictures)
    with pytest.raises(LucidaError, match="a dialogue is longer than 80 tokens"):
        short.read(DIALOGUES[2], ANSWERS)
