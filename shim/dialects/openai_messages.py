"""Messages of OpenAI's chat as clients send them, and what they are to the engine."""

from typing import Literal, Self

from pydantic import AliasChoices, BaseModel, Field, model_validator

from mcp_server.contract import Message
from shim.dialects.openai_tools import CalledFunction, MessageToolCall, legacy_id, message_calls

ROLES: dict[str, Literal["system", "user", "assistant", "tool"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


class TextPart(BaseModel):
    """One part of a message's content. The models here read text only."""

    type: Literal["text", "input_text", "refusal"]
    text: str = Field(validation_alias=AliasChoices("text", "refusal"))


class ChatMessage(BaseModel):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    reasoning_content: str | None = Field(default=None, description="What an assistant thought before it spoke")
    tool_calls: list[MessageToolCall] | None = Field(default=None, description="Calls that an assistant made")
    tool_call_id: str | None = Field(default=None, description="The call that a tool's message answers")
    function_call: CalledFunction | None = Field(default=None, description="Older form of tool_calls")

    @model_validator(mode="after")
    def _calls_are_an_assistants(self) -> Self:
        if self.role != "assistant" and (self.tool_calls or self.function_call):
            msg = f"a message of the role {self.role} cannot make tool calls; only assistant can"
            raise ValueError(msg)
        return self

    def text(self) -> str:
        """Return the content as one string."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""

    def message(self) -> Message:
        """Translate."""
        call_id = legacy_id(self.name) if self.role == "function" and self.name else self.tool_call_id
        return Message(
            role=ROLES[self.role],
            content=self.text(),
            reasoning=self.reasoning_content or "",
            tool_calls=message_calls(self.tool_calls or (), self.function_call),
            tool_call_id=call_id,
            name=self.name,
        )
