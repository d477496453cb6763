"""The nouns of generation: messages in, deltas and completions out.

Frozen dataclasses that cross the MCP seam unchanged, and how deltas add up. Nothing here knows llama.cpp, HTTP or MCP.
The words are the field's: prompt, completion, token, logprobs, finish_reason, sequence, seed. What a caller fills in is
described in the metadata of its fields, which the schemas of the tools repeat.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal

from mcp_server.engine.types.sampling import SamplingParams

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "abort"]
ToolChoice = Literal["auto", "none", "required"]


@dataclass(frozen=True)
class ToolCall:
    """A model's wish to have a function called."""

    call_id: str = field(metadata={"description": "Names the call; its result's message repeats it"})
    name: str = field(metadata={"description": "The function"})
    arguments: str = field(metadata={"description": "Its arguments: the JSON text of an object"})


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Role = field(metadata={"description": "Who speaks"})
    content: str = field(metadata={"description": "What is said"})
    reasoning: str = field(default="", metadata={"description": "What an assistant thought before it spoke"})
    tool_calls: tuple[ToolCall, ...] = field(default=(), metadata={"description": "Calls that an assistant made"})
    tool_call_id: str | None = field(default=None, metadata={"description": "The call that a tool's message answers"})
    name: str | None = field(default=None, metadata={"description": "The speaker's name, or the tool's"})


@dataclass(frozen=True)
class Tool:
    """A function that the model may ask to have called."""

    name: str = field(metadata={"description": "The function's name"})
    description: str = field(default="", metadata={"description": "What it does and when to call it"})
    parameters: dict[str, Any] = field(
        default_factory=dict, metadata={"description": "JSON schema of its arguments, an object; {}: none"}
    )


@dataclass(frozen=True)
class ToolUse:
    """Which functions may be called, and whether one must be."""

    tools: tuple[Tool, ...] = field(default=(), metadata={"description": "Functions the model may call"})
    choice: ToolChoice = field(
        default="auto", metadata={"description": "auto: as the model likes; none: text only; required: a call"}
    )
    name: str | None = field(default=None, metadata={"description": "The one function that must be called"})
    parallel: bool = field(default=True, metadata={"description": "Whether one answer may have several calls"})


@dataclass(frozen=True)
class TemplateParams:
    """How messages become a prompt."""

    variables: dict[str, Any] = field(
        default_factory=dict, metadata={"description": "For the model's own template, such as enable_thinking"}
    )
    continue_final_message: bool = field(
        default=False, metadata={"description": "Go on with the last message, an assistant's, instead of answering it"}
    )


@dataclass(frozen=True)
class InfillFile:
    """A file beside the one that is filled in."""

    filename: str = field(metadata={"description": "Its name"})
    text: str = field(metadata={"description": "Its text"})


@dataclass(frozen=True)
class Infill:
    """A gap to fill, for models with fill-in-the-middle tokens."""

    prefix: str = field(metadata={"description": "Text before the gap"})
    suffix: str = field(metadata={"description": "Text after the gap"})
    middle: str = field(default="", metadata={"description": "How the filling begins; not returned"})
    extra: tuple[InfillFile, ...] = field(default=(), metadata={"description": "Other files of the project"})


@dataclass(frozen=True)
class SchedulingParams:
    """When a request runs and what it may use."""

    priority: int = field(default=0, metadata={"description": "Higher ones leave the queue first"})
    deadline_ms: float | None = field(
        default=None, metadata={"description": "Fails as deadline_exceeded if not done by then; null: never (ms)"}
    )
    cache_prompt: bool = field(default=True, metadata={"description": "Reuse what is computed of the prompt already"})
    keep_alive_s: float | None = field(
        default=None,
        metadata={"description": "How long the model stays loaded afterwards; negative: always; null: setting (s)"},
    )


@dataclass(frozen=True)
class OutputParams:
    """What comes back beside text."""

    echo: bool = field(
        default=False, metadata={"description": "Completions begin with the prompt, its logprobs too if asked for"}
    )
    return_token_ids: bool = field(default=False, metadata={"description": "Return token ids of prompt and output"})
    reasoning: Literal["split", "inline"] = field(
        default="split", metadata={"description": "Reasoning blocks apart from the text, or left in it"}
    )


@dataclass(frozen=True)
class GenerationRequest:
    """What to generate: exactly one of `messages`, `prompt`, `prompt_token_ids` and `infill`."""

    messages: tuple[Message, ...] = ()  # through the chat template
    prompt: str | None = None  # raw text; special tokens in it are recognised
    prompt_token_ids: tuple[int, ...] = ()  # as they are, no BOS added
    infill: Infill | None = None
    model: str | None = None  # None: the default model
    n: int = 1  # completions of the one prompt; the i-th uses seed + i
    sampling: SamplingParams = field(default_factory=SamplingParams)
    tool_use: ToolUse = field(default_factory=ToolUse)
    template: TemplateParams = field(default_factory=TemplateParams)
    scheduling: SchedulingParams = field(default_factory=SchedulingParams)
    output: OutputParams = field(default_factory=OutputParams)


@dataclass(frozen=True)
class TopLogprob:
    """One alternative at one position."""

    token: str
    token_id: int
    logprob: float
    bytes_: tuple[int, ...] = ()


@dataclass(frozen=True)
class TokenLogprob:
    """The chosen token at one position, and the likeliest ones there, best first."""

    token: str
    token_id: int
    logprob: float | None  # None for the first token of a prompt, which nothing predicted
    bytes_: tuple[int, ...] = ()  # the token's own bytes: `token` may be part of a character
    top: tuple[TopLogprob, ...] = ()


@dataclass(frozen=True)
class ToolCallDelta:
    """New text of one tool call."""

    position: int  # which of the completion's calls
    call_id: str = ""  # in a call's first delta only, as the name
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True)
class Delta:
    """New text of one completion. Several tokens that arrived together travel as one."""

    index: int
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()
    n_tokens: int = 0
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    token_ids: tuple[int, ...] = ()  # when asked for


@dataclass(frozen=True)
class Completion:
    """One finished completion."""

    index: int
    text: str
    finish_reason: FinishReason
    logprobs: tuple[TokenLogprob, ...] | None = None
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    token_ids: tuple[int, ...] | None = None  # when asked for: all that were sampled, the end token left out
    stop_text: str | None = None  # the stop text that ended it; None: the model's own end, or a limit


@dataclass(frozen=True)
class Usage:
    """Tokens spent on one request, all completions together."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0  # of the prompt, reused from an earlier request
    drafted_tokens: int = 0  # guessed by a draft model
    accepted_tokens: int = 0  # of them, right


@dataclass(frozen=True)
class Timings:
    """Where the time of one request went."""

    queue_ms: float  # from submission to the first batch it was part of
    prefill_ms: float  # from there to its first token
    decode_ms: float  # from the first token to the last


@dataclass(frozen=True)
class GenerationResult:
    """A finished request."""

    model: str
    completions: tuple[Completion, ...]
    usage: Usage
    timings: Timings
    prompt_token_ids: tuple[int, ...] | None = None  # when asked for
    prompt_logprobs: tuple[TokenLogprob, ...] | None = None  # with `echo` and `n_logprobs`


DeltaSink = Callable[[tuple[Delta, ...]], Awaitable[None]]
"""Receives whatever arrived since its last call; awaiting it is the back-pressure."""


def join_deltas(deltas: Iterable[Delta]) -> tuple[Delta, ...]:
    """Join what arrived together: one delta for each completion, in the order in which they first spoke."""
    arrived: dict[int, list[Delta]] = {}
    for delta in deltas:
        arrived.setdefault(delta.index, []).append(delta)
    return tuple(parts[0] if len(parts) == 1 else _joined(parts) for parts in arrived.values())


def _joined(parts: list[Delta]) -> Delta:
    calls: dict[int, list[ToolCallDelta]] = {}
    for call in chain.from_iterable(part.tool_calls for part in parts):
        calls.setdefault(call.position, []).append(call)
    return Delta(
        index=parts[0].index,
        text="".join(part.text for part in parts),
        logprobs=tuple(chain.from_iterable(part.logprobs for part in parts)),
        n_tokens=sum(part.n_tokens for part in parts),
        reasoning="".join(part.reasoning for part in parts),
        tool_calls=tuple(
            ToolCallDelta(position, news[0].call_id, news[0].name, "".join(new.arguments for new in news))
            for position, news in calls.items()
        ),
        token_ids=tuple(chain.from_iterable(part.token_ids for part in parts)),
    )
