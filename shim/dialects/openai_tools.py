"""Tools in OpenAI's form: functions offered, calls made and answered, in requests, responses and chunks.

The older `functions` and `function_call` of requests are translated; their answers come as `tool_calls`. Pure
translation between the wire and the contract's types, for every door that speaks OpenAI's chat.
"""

import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from mcp_server.contract import Tool, ToolCall, ToolCallDelta, ToolUse

MAX_TOOLS = 128  # of one request, as OpenAI has it
ToolChoice = Literal["auto", "none", "required"]
LEGACY_PREFIX = "function-"  # of ids of calls in messages that have none, made of the function's name


class FunctionDefinition(BaseModel):
    """A function that the model may ask to have called."""

    name: str = Field(min_length=1, max_length=256)
    description: str | None = None
    parameters: dict[str, Any] | None = Field(default=None, description="JSON schema of the arguments; absent for none")
    strict: bool | None = Field(default=None, description="Arguments always satisfy the schema; nothing to ask for")


class FunctionTool(BaseModel):
    """A tool; the models here know functions only."""

    type: Literal["function"] = "function"
    function: FunctionDefinition


class FunctionName(BaseModel):
    """One function by its name."""

    name: str


class NamedToolChoice(BaseModel):
    """The one function that must be called."""

    type: Literal["function"] = "function"
    function: FunctionName


class AllowedTools(BaseModel):
    """Functions out of those offered, and whether one must be called."""

    mode: Literal["auto", "required"]
    tools: list[NamedToolChoice]


class AllowedToolsChoice(BaseModel):
    """A choice among some of the tools."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


class CalledFunction(BaseModel):
    """A function's name and arguments as JSON text; an object is taken too, since some clients send one."""

    name: str
    arguments: str = "{}"

    @field_validator("arguments", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value


class MessageToolCall(BaseModel):
    """A call, in a message of the assistant."""

    id: str = ""
    type: Literal["function"] = "function"
    function: CalledFunction


class ToolOptions(BaseModel):
    """The fields of a chat request about tools."""

    tools: Annotated[list[FunctionTool], Field(max_length=MAX_TOOLS)] | None = Field(
        default=None, description="Functions the model may call"
    )
    tool_choice: Literal["none", "auto", "required"] | NamedToolChoice | AllowedToolsChoice | None = Field(
        default=None, description="none, auto, required, or one function; auto when there are tools"
    )
    parallel_tool_calls: bool | None = Field(default=None, description="Several calls in one answer; true by default")
    functions: Annotated[list[FunctionDefinition], Field(max_length=MAX_TOOLS)] | None = Field(
        default=None, description="Older form of tools; the answer has tool_calls all the same"
    )
    function_call: Literal["none", "auto"] | FunctionName | None = Field(
        default=None, description="Older form of tool_choice"
    )

    def tool_use(self) -> ToolUse:
        """Translate; `functions` count only where there are no `tools`."""
        functions = [tool.function for tool in self.tools] if self.tools else self.functions or []
        choice, name, allowed = self._choice()
        return ToolUse(
            tools=tuple(
                Tool(function.name, function.description or "", function.parameters or {})
                for function in functions
                if allowed is None or function.name in allowed
            ),
            choice=choice,
            name=name,
            parallel=self.parallel_tool_calls is not False,
        )

    def _choice(self) -> tuple[ToolChoice, str | None, set[str] | None]:
        """Give the choice, the one function's name, and the functions left."""
        chosen = self.tool_choice
        if chosen is None:
            legacy = self.function_call
            return ("auto", legacy.name, None) if isinstance(legacy, FunctionName) else (legacy or "auto", None, None)
        if isinstance(chosen, NamedToolChoice):
            return "auto", chosen.function.name, None
        if isinstance(chosen, AllowedToolsChoice):
            allowed = chosen.allowed_tools
            return allowed.mode, None, {tool.function.name for tool in allowed.tools}
        return chosen, None, None


class ToolCallEntry(BaseModel):
    """A call in a response."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class FunctionChunk(BaseModel):
    """New text of a call."""

    name: str | None = None
    arguments: str


class ToolCallChunk(BaseModel):
    """New text of one call in a chunk; id, type and name in its first chunk only."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionChunk

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        data["function"] = present(data["function"])
        return present(data)


def present(data: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is null."""
    return {name: value for name, value in data.items() if value is not None}


def message_calls(calls: Iterable[MessageToolCall], legacy: CalledFunction | None) -> tuple[ToolCall, ...]:
    """Translate the calls of an assistant's message; one of the older form counts as one more."""
    found = [
        ToolCall(call.id or legacy_id(call.function.name), call.function.name, call.function.arguments)
        for call in calls
    ]
    if legacy is not None:
        found.append(ToolCall(legacy_id(legacy.name), legacy.name, legacy.arguments))
    return tuple(found)


def legacy_id(name: str) -> str:
    """Make an id for a call that has none."""
    return f"{LEGACY_PREFIX}{name}"


def tool_call_entries(calls: Iterable[ToolCall]) -> list[ToolCallEntry]:
    """Encode the calls of a whole answer."""
    return [
        ToolCallEntry(id=call.call_id, function=CalledFunction(name=call.name, arguments=call.arguments))
        for call in calls
    ]


def tool_call_chunks(deltas: Iterable[ToolCallDelta]) -> list[ToolCallChunk]:
    """Encode new text of calls."""
    return [
        ToolCallChunk(
            index=delta.position,
            id=delta.call_id or None,
            type="function" if delta.call_id else None,
            function=FunctionChunk(name=delta.name or None, arguments=delta.arguments),
        )
        for delta in deltas
    ]
