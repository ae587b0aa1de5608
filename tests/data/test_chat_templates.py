"""Chat templates: answers by the text around them, and templates that will not do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucida.core.errors import LucidaError
from lucida.data.chat_templates import Answer, ChatTemplate

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def chat(*contents):
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": [{"type": "text", "text": t}]} for i, t in enumerate(contents)]


@pytest.fixture(scope="session")
def template(tiny_processors):
    """Templates by their text; the processor is the same."""
    processor = tiny_processors.llava_processor()
    return lambda text: ChatTemplate(processor, text)


def test_answers_lie_between_prompt_and_closing(template, tiny_processors):
    ended = template(tiny_processors.LLAVA_ENDED)
    assert ended.closing == "</s>"
    text, answers = ended.answers(chat("One?", "One.", "Two?", "Two."))
    assert text == "USER: One? ASSISTANT: One.</s>USER: Two? ASSISTANT: Two.</s>"
    assert [text[answer.start : answer.stop] for answer in answers] == [" One.", " Two."]
    assert template(tiny_processors.LLAVA_OPEN).closing == " "
    assert template(tiny_processors.SMOLVLM).closing == "<end_of_utterance>\n"


@given(st.lists(texts, min_size=2, max_size=6), st.sampled_from(["LLAVA_ENDED", "LLAVA_OPEN", "SMOLVLM"]))
def test_answers_are_found_whatever_the_texts(template, tiny_processors, contents, name):
    contents = contents[: len(contents) // 2 * 2]
    text, answers = template(getattr(tiny_processors, name)).answers(chat(*contents))
    assert [text[answer.start : answer.stop] for answer in answers] == [f" {said}" for said in contents[1::2]]


def test_a_template_may_trim_answers_and_write_no_prompt(template):
    trimming = template(
        "{% for m in messages %}{% if m.role == 'user' %}[INST]{{ m.content[0].text }}[/INST]"
        "{% else %}{{ m.content[0].text | trim }}</s>{% endif %}{% endfor %}"
    )
    text, answers = trimming.answers(chat("a", "  b\n", "c", "d"))
    assert text == "[INST]a[/INST]b</s>[INST]c[/INST]d</s>"
    assert answers == [Answer(14, 15), Answer(33, 34)]


BAD = {
    # Only the last answer is closed: what was the end of a turn is not, once others follow.
    "does not begin what it writes of all": "{% for m in messages %}{{ m.role }}:{{ m.content[0].text }}"
    "{% if loop.last %}</s>{% endif %}{% endfor %}",
    "does not write the answer": "{% for m in messages if m.role == 'user' %}{{ m.content[0].text }}{% endfor %}",
    "cannot write this chat: texts only": "{{ raise_exception('texts only') }}",
    "cannot write this chat: can only concatenate": "{% for m in messages %}{{ m.role + m.content }}{% endfor %}",
    "cannot write this chat: Encountered unknown tag": "{% nonsense %}",
}


@pytest.mark.parametrize("what", BAD)
def test_templates_that_will_not_do(template, what):
    with pytest.raises(LucidaError, match=what) as error:
        template(BAD[what])
    assert "\n" not in str(error.value)


def test_no_template_at_all(tiny_processors):
    with pytest.raises(LucidaError, match=r"cannot write this chat.*; give a chat template"):
        ChatTemplate(tiny_processors.llava_processor(None))
