"""Messages to the text a model was trained on, through the Jinja template in its own file.

What a template can do (tools, tool results, a system message) is found out by rendering a small conversation, never by
the model's name; what it cannot is written as text instead. A model without a template gets ChatML. Tokenizing is the
vocabulary's business, and which texts are special `special_tokens`'.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import jinja2

from mcp_server.engine.chat.special_tokens import Shield, SpecialTokens, hidden_copy
from mcp_server.engine.chat.template_environment import RENDER_ERRORS, make_environment
from mcp_server.engine.chat.template_traits import (
    PLAIN_STYLE,
    TemplateTraits,
    probe_traits,
    template_turns,
)
from mcp_server.engine.chat.tool_prompting import as_plain_messages, one_call_a_turn, system_first
from mcp_server.engine.types import Message, TemplateParams, Tool
from mcp_server.errors import InvalidRequestError, ModelLoadError

CHATML = (
    "{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CUT = "\U0010fffe"  # no character: marks where a continued message ends; contents cannot contain it once shielded
PLAIN = TemplateParams()  # frozen: safe as a default


class ChatTemplate:
    """One model's chat format, compiled once."""

    def __init__(self, source: str | None, *, bos_token: str = "", eos_token: str = "") -> None:
        """Compile `source`, or ChatML when there is none.

        Raises:
            ModelLoadError: The template is not valid Jinja.
        """
        self.source = source or CHATML
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        try:
            self._template = make_environment().from_string(self.source)
        except jinja2.TemplateError as error:
            msg = f"The model's chat template is not valid ({error}); use another build of the model."
            raise ModelLoadError(msg) from error

    @cached_property
    def traits(self) -> TemplateTraits:
        """What the template can do; about twenty renderings, once."""
        return probe_traits(self.source, self._run)

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] = (),
        params: TemplateParams = PLAIN,
        shield: Shield | None = None,
    ) -> str:
        """Render a conversation up to where the assistant's next words begin.

        With a shield, what would be special tokens in the messages and tools is hidden in the result.

        Raises:
            InvalidRequestError: The template refuses these messages, for example an order of roles it was not made
                for, or the message to continue is not an assistant's.
        """
        shield = shield or Shield(SpecialTokens(()))
        if params.continue_final_message:
            check_continued(messages)
        adapted = self._adapted(messages, tools)
        try:
            try:
                return self._render(adapted, tools, params, shield)
            except RENDER_ERRORS:
                if all(len(message.tool_calls) <= 1 for message in adapted):
                    raise
                return self._render(one_call_a_turn(adapted), tools, params, shield)  # some know no more
        except RENDER_ERRORS as error:
            msg = f"The model's chat template refused these messages: {shield.reveal(str(error))}. "
            msg += "Send roles in an order it knows."
            raise InvalidRequestError(msg, param="messages") from error

    def _render(
        self, messages: Sequence[Message], tools: Sequence[Tool], params: TemplateParams, shield: Shield
    ) -> str:
        style = self.traits.style if tools or _has_calls(messages) else PLAIN_STYLE
        given = template_turns(messages, style)
        turns: Any = [hidden_copy(turn, shield) for turn in given]
        for turn, original in zip(turns, given, strict=True):
            turn["role"] = original["role"]
        definitions: Any = hidden_copy(tool_definitions(tools), shield) if self.traits.knows_tools else []
        variables: Any = hidden_copy(params.variables, shield)
        if not params.continue_final_message:
            return self._run(turns, definitions or None, variables)
        key = "content" if messages[-1].content or not messages[-1].reasoning else "reasoning_content"
        turns[-1][key] += CUT
        return _cut(self._run(turns, definitions or None, variables | {"add_generation_prompt": False}))

    def _adapted(self, messages: Sequence[Message], tools: Sequence[Tool]) -> list[Message]:
        """Write as text what this template has no form for."""
        traits = self.traits
        adapted = list(messages)
        if (tools or _has_calls(messages)) and not traits.is_native(has_tools=bool(tools)):
            adapted = as_plain_messages(adapted, tools, traits)
        if not traits.knows_system:
            adapted = system_first(adapted)
        return adapted

    def _run(self, turns: list[dict[str, Any]], tools: list[Any] | None, variables: dict[str, Any]) -> str:
        given = {"add_generation_prompt": True} | variables
        fixed = {"messages": turns, "tools": tools, **self._tokens}
        helpers = {
            "functions": json.dumps(tools or [], ensure_ascii=False, indent=4),
            "datetime": datetime.now(UTC).strftime("%b %d %Y %H:%M:%S GMT"),
        }
        try:
            return self._template.render(**(helpers | given | fixed))
        except TypeError:
            if tools is not None:
                raise
            return self._template.render(**(helpers | given | fixed | {"tools": []}))  # it iterates without looking


def check_continued(messages: Sequence[Message]) -> None:
    """Refuse to go on with a message that is not an assistant's text.

    Raises:
        InvalidRequestError: It is not.
    """
    if not messages or messages[-1].role != "assistant" or messages[-1].tool_calls:
        msg = "Only a last message of the assistant without tool calls can be continued; add one, or leave out "
        msg += "`continue_final_message`."
        raise InvalidRequestError(msg, param="continue_final_message")


def tool_definitions(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """Give tools in the form that templates know, OpenAI's."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters or {"type": "object", "properties": {}},
            },
        }
        for tool in tools
    ]


def _has_calls(messages: Sequence[Message]) -> bool:
    return any(message.tool_calls or message.role == "tool" for message in messages)


def _cut(prompt: str) -> str:
    before, mark, _ = prompt.rpartition(CUT)
    if not mark:
        msg = "The model's chat template leaves out the last message, so it cannot be continued."
        raise InvalidRequestError(msg, param="continue_final_message")
    return before
