"""Chat templates: the model's own, ChatML without one, refusals, and the sandbox."""

import pytest

from mcp_server.engine.chat.chat_template import ChatTemplate
from mcp_server.engine.types import Message
from mcp_server.errors import InvalidRequestError, ModelLoadError

TURNS = (Message("system", "Be brief."), Message("user", "H\u00e9llo <b>"))


def test_without_a_template_messages_become_chatml() -> None:
    assert ChatTemplate(None).render(TURNS) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nH\u00e9llo <b><|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_usual_helpers_of_published_templates_are_there() -> None:
    source = (
        "{{ bos_token }}"
        "{% for m in messages %}{% if loop.index0 > 0 %}{% break %}{% endif %}{{ m['role'] }}{% endfor %}"
        "{{ strftime_now('%Y') | length }}{{ messages[1]['content'] | tojson }}{{ eos_token }}"
        "{% if tools is none and add_generation_prompt %}!{% endif %}"
    )
    rendered = ChatTemplate(source, bos_token="<s>", eos_token="</s>").render(TURNS)  # noqa: S106  # a token, no secret
    assert rendered == '<s>system4"H\u00e9llo <b>"</s>!'


@pytest.mark.parametrize(
    "source",
    ["{{ raise_exception('only users may speak') }}", "{{ messages[7].content }}", "{{ 1 / 0 }}", "{{ messages + 1 }}"],
)
def test_a_template_that_fails_refuses_the_messages(source: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        ChatTemplate(source).render(TURNS)
    assert caught.value.param == "messages"


def test_what_a_template_says_reaches_the_caller() -> None:
    with pytest.raises(InvalidRequestError, match="only users may speak"):
        ChatTemplate("{{ raise_exception('only users may speak') }}").render(TURNS)


@pytest.mark.parametrize(
    "source",
    ["{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ messages.append(1) }}", "{{ range(999999999) | list }}"],
)
def test_a_template_cannot_leave_its_sandbox(source: str) -> None:
    with pytest.raises(InvalidRequestError):
        ChatTemplate(source).render(TURNS)


def test_a_template_that_is_not_jinja_is_a_fault_of_the_model() -> None:
    with pytest.raises(ModelLoadError):
        ChatTemplate("{% for %}")
