"""What a chat template can do, found out by rendering a small conversation through it.

Templates differ in what they want of a tool call (arguments as an object or as text, an id of nine letters, no content
beside it) and in whether they know tools, tool results or system messages at all. The words of the probe are looked for
in what comes out. Knows nothing of formats of calls: it only keeps what the template wrote.
"""

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mcp_server.engine.chat.template_environment import RENDER_ERRORS
from mcp_server.engine.types import Message, ToolCall

Render = Callable[[list[dict[str, Any]], list[Any] | None, dict[str, Any]], str]

PROBE_NAME = "probe_function"
PROBE_ARGUMENTS = {"city": "Violetville", "days": 3}
PROBE_RESULT = "Orchidresult"
PROBE_SYSTEM = "Mallowsystem"
PROBE_QUESTION = "Daisyquestion"
PROBE_ANSWER = "Lilacanswer"
SHORT_ID_CHARS = 9  # what Mistral's templates insist on
PROBE_TOOL = {
    "type": "function",
    "function": {
        "name": PROBE_NAME,
        "description": "A probe",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "A city"},
                "days": {"type": "integer", "description": "Days"},
            },
            "required": ["city"],
        },
    },
}


@dataclass(frozen=True)
class TurnStyle:
    """How a template wants an assistant's tool calls."""

    arguments_as_text: bool = False
    content_is_null: bool = False  # beside tool calls without text
    short_ids: bool = False


PLAIN_STYLE = TurnStyle()


@dataclass(frozen=True)
class TemplateTraits:
    """What a template can do."""

    knows_tools: bool = False  # lists them for the model
    knows_calls: bool = False  # writes an assistant's tool calls
    knows_results: bool = False  # writes messages of the role tool
    knows_system: bool = True
    style: TurnStyle = PLAIN_STYLE
    call_text: str = ""  # the assistant's turn with the probe's call; "" when the template writes none
    skeleton: str = ""  # a plain conversation: what marks its turns is structure
    opening: str = ""  # what follows a question when an answer is wanted

    def is_native(self, *, has_tools: bool) -> bool:
        """Tell whether tools, their calls and results can all be left to the template."""
        return self.knows_calls and self.knows_results and (self.knows_tools or not has_tools)


def probe_traits(source: str, render: Render) -> TemplateTraits:
    """Render the probes and read the traits off the results."""
    ask = [{"role": "user", "content": PROBE_QUESTION}]
    plain = _try(render, ask)
    with_system = _try(render, [{"role": "system", "content": PROBE_SYSTEM}, *ask])
    answered = _try(render, [*ask, {"role": "assistant", "content": PROBE_ANSWER}, *ask])
    offered = _try(render, ask, [PROBE_TOOL])
    style, called = _find_style(render, ask)
    answer = [*_called_turns(ask, style), _result_turn(style)]
    resulted = _try(render, answer, [PROBE_TOOL]) or _try(render, [*answer, *ask], [PROBE_TOOL])
    return TemplateTraits(
        knows_tools=PROBE_NAME in offered,
        knows_calls=bool(called),
        knows_results=PROBE_RESULT in resulted,
        knows_system=PROBE_SYSTEM in with_system or not plain,
        style=style,
        call_text=_after_opening(called, offered),
        skeleton=with_system.replace(PROBE_SYSTEM, "") + answered + plain if source else "",
        opening=plain.rpartition(PROBE_QUESTION)[2],
    )


def template_turns(messages: Sequence[Message], style: TurnStyle) -> list[dict[str, Any]]:
    """Give messages in the form that templates know."""
    names = {call.call_id: call.name for message in messages for call in message.tool_calls}
    return [_turn(message, style, names) for message in messages]


def short_id(call_id: str) -> str:
    """Make an id of nine letters and digits of any id; equal ids stay equal."""
    letters = "".join(char for char in call_id if char.isascii() and char.isalnum())
    return letters[-SHORT_ID_CHARS:].rjust(SHORT_ID_CHARS, "0")


def _turn(message: Message, style: TurnStyle, names: dict[str, str]) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning:
        turn |= {"reasoning_content": message.reasoning}
    if message.tool_calls:
        turn["tool_calls"] = [_call(call, style) for call in message.tool_calls]
        if not message.content and style.content_is_null:
            turn["content"] = None
    if message.tool_call_id is not None:
        turn["tool_call_id"] = short_id(message.tool_call_id) if style.short_ids else message.tool_call_id
    name = message.name or (names.get(message.tool_call_id or "") if message.role == "tool" else None)
    return turn | ({"name": name} if name else {})


def _call(call: ToolCall, style: TurnStyle) -> dict[str, Any]:
    arguments: Any = call.arguments or "{}"
    if not style.arguments_as_text:
        arguments = parsed_object(arguments)
    call_id = short_id(call.call_id) if style.short_ids else call.call_id
    return {"id": call_id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def parsed_object(text: str) -> Any:
    """Parse the JSON text of an object; a text that is none stays text, which many templates take too."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, dict) else text


def _find_style(render: Render, ask: list[dict[str, Any]]) -> tuple[TurnStyle, str]:
    """Give the first style in which the template writes the probe's call, and what it wrote."""
    for flags in itertools.product((False, True), repeat=3):
        style = TurnStyle(*flags)
        text = _try(render, _called_turns(ask, style), [PROBE_TOOL], is_open=False)
        written = text.rpartition(PROBE_QUESTION)[2]
        is_whole = PROBE_NAME in written and str(PROBE_ARGUMENTS["city"]) in written and "None" not in written
        if is_whole and '\\"city' not in written and "{{" not in written:
            return style, text
    return PLAIN_STYLE, ""


def _called_turns(ask: list[dict[str, Any]], style: TurnStyle) -> list[dict[str, Any]]:
    call = ToolCall("call_0123456789abcdef01234567", PROBE_NAME, json.dumps(PROBE_ARGUMENTS))
    return [*ask, _turn(Message("assistant", "", tool_calls=(call,)), style, {})]


def _result_turn(style: TurnStyle) -> dict[str, Any]:
    message = Message("tool", PROBE_RESULT, tool_call_id="call_0123456789abcdef01234567", name=PROBE_NAME)
    return _turn(message, style, {})


def _after_opening(called: str, offered: str) -> str:
    """Cut off what a template writes before any answer, at the end of a tag or line."""
    n = next((n for n, (one, other) in enumerate(zip(called, offered, strict=False)) if one != other), len(offered))
    return called[max(called.rfind(mark, 0, n) for mark in ">]\n") + 1 :]


def _try(render: Render, turns: list[dict[str, Any]], tools: list[Any] | None = None, *, is_open: bool = True) -> str:
    """Render, or give "" where the template refuses."""
    try:
        return render(turns, tools, {"add_generation_prompt": is_open})
    except RENDER_ERRORS:
        return ""
