"""Tools for models whose template has no form for them: described in the system message, called as text.

The text format is the one most models have seen: `<tool_call>` around a JSON object with `name` and `arguments`, and
`<tool_response>` around a result. It also mends conversations for templates without a system role.
"""

import json
from collections.abc import Sequence
from dataclasses import replace

from mcp_server.engine.chat.template_traits import TemplateTraits, parsed_object
from mcp_server.engine.types import Message, Tool, ToolCall

INSTRUCTIONS = """You may call functions to help with the user's request. These are the functions, as JSON:
<tools>
{tools}
</tools>
To call one, write a JSON object with its name and its arguments in these tags, and nothing after the last call:
<tool_call>
{{"name": "the function's name", "arguments": {{"argument": "value"}}}}
</tool_call>
The results come back in <tool_response> tags."""


def as_plain_messages(messages: Sequence[Message], tools: Sequence[Tool], traits: TemplateTraits) -> list[Message]:
    """Write tools, calls and results as text, each where the template has no form for it."""
    plain: list[Message] = []
    writes_turns = not (traits.knows_calls and traits.knows_results)
    for message in messages:
        if writes_turns and message.role == "tool":
            _add_result(plain, message)
        elif writes_turns and message.tool_calls:
            calls = "\n".join(map(_written_call, message.tool_calls))
            content = f"{message.content}\n{calls}" if message.content else calls
            plain.append(replace(message, content=content, tool_calls=()))
        else:
            plain.append(message)
    if tools and not traits.knows_tools:
        text = INSTRUCTIONS.format(tools="\n".join(map(_described, tools)))
        if plain and plain[0].role == "system":
            plain[0] = replace(plain[0], content=f"{plain[0].content}\n\n{text}")
        else:
            plain.insert(0, Message("system", text))
    return plain


def system_first(messages: Sequence[Message]) -> list[Message]:
    """Put system messages before the words of the first user, for templates that have no such role."""
    system = "\n\n".join(message.content for message in messages if message.role == "system")
    others = [message for message in messages if message.role != "system"]
    if not system:
        return others
    if others and others[0].role == "user":
        return [replace(others[0], content=f"{system}\n\n{others[0].content}"), *others[1:]]
    return [Message("user", system), *others]


def one_call_a_turn(messages: Sequence[Message]) -> list[Message]:
    """Write several calls of one message as turns of their own, each with its result behind it."""
    results = {message.tool_call_id: message for message in messages if message.role == "tool"}
    single: list[Message] = []
    placed: set[str | None] = set()
    for message in messages:
        if message.role == "tool" and message.tool_call_id in placed:
            continue
        if len(message.tool_calls) <= 1:
            single.append(message)
            continue
        for n, call in enumerate(message.tool_calls):
            single.append(replace(message, content="" if n else message.content, tool_calls=(call,)))
            placed.add(call.call_id)
            single += [results[call.call_id]] if call.call_id in results else []
    return single


def _add_result(plain: list[Message], message: Message) -> None:
    """Add a result as words of the user, to the message before it if that has results already: roles alternate."""
    text = f"<tool_response>\n{message.content}\n</tool_response>"
    if plain and plain[-1].role == "user" and plain[-1].content.endswith("</tool_response>"):
        plain[-1] = replace(plain[-1], content=f"{plain[-1].content}\n{text}")
    else:
        plain.append(Message("user", text))


def _written_call(call: ToolCall) -> str:
    arguments = parsed_object(call.arguments or "{}")
    body = json.dumps({"name": call.name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{body}\n</tool_call>"


def _described(tool: Tool) -> str:
    parameters = tool.parameters or {"type": "object", "properties": {}}
    described = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return json.dumps({"type": "function", "function": described}, ensure_ascii=False)
