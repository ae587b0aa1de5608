"""Processors as LLaVA-1.5 and SmolVLM have them, for small pictures, with tokenizers trained in place: no download.

The SmolVLM one is an ``Idefics3Processor``, which the first SmolVLM uses: ``SmolVLMProcessor`` needs num2words.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import Idefics3Processor, LlavaProcessor, PreTrainedTokenizerFast
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

SIDE = 32
"""Pixels of a side of what a tower sees at once."""

_LLAVA = """\
{% for message in messages %}
{% if message.role == 'assistant' %}ASSISTANT:{% generation %}{{ ' ' + message.content[0].text }}END{% endgeneration %}
{% else %}
{% if message.role == 'user' %}USER: {% endif %}
{% for part in message.content if part.type == 'image' %}{{ '<image>\\n' }}{% endfor %}
{% for part in message.content if part.type == 'text' %}{{ part.text + ' ' }}{% endfor %}
{% endif %}
{% endfor %}
{% if add_generation_prompt %}ASSISTANT:{% endif %}"""

LLAVA_ENDED = _LLAVA.replace("END", "</s>")
"""As LLaVA was trained: end-of-text behind each answer."""

LLAVA_OPEN = _LLAVA.replace("END", "{{ ' ' }}")
"""As llava-1.5-7b-hf has it: nothing but a space behind an answer."""

SMOLVLM = """\
<|im_start|>{% for message in messages %}{{ message.role | capitalize }}:
{%- if message.role == 'assistant' %}
{%- generation %}{{ ' ' + message.content[0].text }}<end_of_utterance>{% endgeneration %}
{%- else %}{% if message.content[0].type == 'text' %}{{ ' ' }}{% endif %}
{%- for part in message.content %}{% if part.type == 'text' %}{{ part.text }}{% else %}<image>{% endif %}{% endfor -%}
<end_of_utterance>{% endif %}{{ '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}Assistant:{% endif %}"""

_TEXTS = [
    "USER: What is in the picture? ASSISTANT: There are two cats and a dog.",
    "User: Is there a cat? Assistant: yes",
    "How many dogs do you see? Three dogs, all of them brown.\nTell me more about the other ones.",
] * 3


def _trained(model: models.BPE, pre_tokenizer: Any, specials: Sequence[str], **options: Any) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=[*specials], show_progress=False, **options)
    tokenizer.train_from_iterator(_TEXTS, trainer)
    return tokenizer


def llama_tokenizer() -> Any:
    """As Llama 2's: words with their space as ``▁``, bytes for what is unknown, ``<s>`` in front."""
    specials = ["<unk>", "<s>", "</s>"]
    model = models.BPE(unk_token="<unk>", byte_fallback=True)
    trained = _trained(
        model, pre_tokenizers.Metaspace(prepend_scheme="first"), [*specials, *(f"<0x{i:02X}>" for i in range(256))]
    )
    written = json.loads(trained.to_str())
    written["added_tokens"] = written["added_tokens"][: len(specials)]  # bytes are no special tokens
    tokenizer = Tokenizer.from_str(json.dumps(written))
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["<image>"],
        clean_up_tokenization_spaces=False,
    )


def byte_tokenizer(*, trim_offsets: bool = False) -> Any:
    """As SmolLM's: bytes, the space in front of a word part of it; ``trim_offsets`` keeps it out of the offsets."""
    specials = ["<|im_start|>", "<|im_end|>", "<end_of_utterance>", "<image>", "<fake_token_around_image>"]
    specials += ["<global-img>", *(f"<row_{i}_col_{j}>" for i in range(1, 7) for j in range(1, 7))]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    split = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = _trained(models.BPE(), split, specials, initial_alphabet=alphabet)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<end_of_utterance>",
        pad_token="<|im_end|>",
        additional_special_tokens=specials[2:],
        clean_up_tokenization_spaces=False,
    )


def llava_processor(chat_template: str | None = LLAVA_ENDED, tokenizer: Any = None) -> LlavaProcessor:
    """16 image tokens a picture, whatever its size."""
    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}, do_convert_rgb=True
        ),
        tokenizer=tokenizer or llama_tokenizer(),
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat_template,
    )


def smolvlm_processor(chat_template: str | None = SMOLVLM, tokenizer: Any = None) -> Idefics3Processor:
    """4 image tokens for each piece of a picture, which is cut into at most 4, and for the whole."""
    return Idefics3Processor(
        image_processor=Idefics3ImageProcessorPil(
            size={"longest_edge": 2 * SIDE}, max_image_size={"longest_edge": SIDE}
        ),
        tokenizer=tokenizer or byte_tokenizer(),
        image_seq_len=4,
        chat_template=chat_template,
    )
