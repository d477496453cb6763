"""OpenAI chat completions: the request as clients send it, the response and the chunks as they expect them.

Pure translation between the wire and the contract's types; every quirk of a client is told where it is met. It knows
no door: a door adds its own fields by subclassing the models. Validated in tests against the official schemas.
"""

import json
import time
import uuid
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from mcp_server.contract import (
    Completion,
    Delta,
    GenerationRequest,
    GenerationResult,
    OutputParams,
    SamplingParams,
    TemplateParams,
)
from shim.dialects.openai_logprobs import ChoiceLogprobs, choice_logprobs
from shim.dialects.openai_messages import ChatMessage
from shim.dialects.openai_tools import (
    ToolCallChunk,
    ToolCallEntry,
    ToolOptions,
    present,
    tool_call_chunks,
    tool_call_entries,
)

MAX_STOPS = 16  # OpenAI takes 4; local clients send more
LEAST_TOP_P = 1e-6  # 0 is legal on the wire, and keeps the likeliest token alone
MAX_CHOICES = 16  # each is a sequence of the engine's batch

FinishReason = Literal["stop", "length", "tool_calls"]


class JsonSchemaFormat(BaseModel):
    """A schema that the answer must satisfy."""

    model_config = ConfigDict(populate_by_name=True)

    name: str = "answer"
    schema_: dict[str, Any] = Field(alias="schema", description="JSON schema of the answer")
    strict: bool | None = None


class ResponseFormat(BaseModel):
    """The form of the answer: free text, any JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None

    @model_validator(mode="after")
    def _schema_is_there(self) -> Self:
        if self.type == "json_schema" and self.json_schema is None:
            msg = "response_format of type json_schema needs json_schema"
            raise ValueError(msg)
        return self


class StreamOptions(BaseModel):
    """What a stream carries besides text."""

    include_usage: bool = False


class ChatCompletionRequest(ToolOptions):
    """A chat completion request; fields beyond OpenAI's own are those of llama.cpp's server. Others are ignored."""

    model: str | None = Field(default=None, description="Model id; absent for the default")
    messages: list[ChatMessage] = Field(min_length=1, description="The conversation, oldest first")
    max_tokens: int | None = Field(
        default=None, ge=-1, description="Tokens to generate at most; 0 or -1 for no limit (tokens)"
    )
    max_completion_tokens: int | None = Field(default=None, ge=-1, description="Newer name of max_tokens (tokens)")
    temperature: float | None = Field(default=None, ge=0, le=2, description="Randomness; 0 is greedy")
    top_p: float | None = Field(default=None, ge=0, le=1, description="Nucleus")
    top_k: int | None = Field(default=None, ge=-1, description="Likeliest tokens kept; 0 or -1 for all (tokens)")
    min_p: float | None = Field(default=None, ge=0, le=1, description="Least probability beside the likeliest")
    repeat_penalty: float | None = Field(
        default=None, ge=0.001, le=1000, description="Penalty of repeated tokens; 1 is off"
    )
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2, description="Penalty by count")
    presence_penalty: float | None = Field(default=None, ge=-2, le=2, description="Penalty by presence")
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = Field(default=None, description="Choices (count)")
    stop: str | list[str] | None = Field(default=None, description="Generation ends before the first of these")
    seed: int | None = Field(default=None, description="Same seed, same answer")
    stream: bool | None = Field(default=None, description="Answer with server-sent events")
    stream_options: StreamOptions | None = None
    logprobs: bool | None = Field(default=None, description="Return log probabilities of the answer's tokens")
    top_logprobs: int | None = Field(default=None, ge=0, le=20, description="Alternatives a token (count)")
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    response_format: ResponseFormat | None = None
    grammar: str | None = Field(default=None, description="GBNF grammar of the answer")
    reasoning_effort: str | None = Field(
        default=None, description="For models whose template knows it; none: do not think"
    )
    chat_template_kwargs: dict[str, Any] | None = Field(
        default=None, description="Variables of the model's own template, such as enable_thinking"
    )
    reasoning_format: Literal["none", "auto", "deepseek", "deepseek-legacy"] | None = Field(
        default=None, description="none: reasoning stays in content; else it is reasoning_content"
    )
    continue_final_message: bool | None = Field(
        default=None, description="Go on with the last message, an assistant's, instead of answering it"
    )
    add_generation_prompt: bool | None = Field(default=None, description="false: no opening of an assistant's turn")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if len(self.stops()) > MAX_STOPS:
            msg = f"stop has {len(self.stops())} entries; the most is {MAX_STOPS}"
            raise ValueError(msg)
        if self.top_logprobs and not self.logprobs:
            msg = "top_logprobs needs logprobs: true"
            raise ValueError(msg)
        return self

    def template(self) -> TemplateParams:
        """Return how the messages become a prompt."""
        thinks = {"enable_thinking": False} if self.reasoning_effort == "none" else {}  # as llama.cpp's server has it
        effort = None if thinks else self.reasoning_effort
        named = {"reasoning_effort": effort, "add_generation_prompt": self.add_generation_prompt}
        variables = (self.chat_template_kwargs or {}) | thinks | present(named)
        return TemplateParams(variables, continue_final_message=self.continue_final_message is True)

    def limit(self) -> int | None:
        """Return the most tokens to generate; clients mean "no limit" by 0, and by -1 as llama.cpp's server does."""
        given = self.max_completion_tokens or self.max_tokens or -1
        return given if given > 0 else None

    def stops(self) -> tuple[str, ...]:
        """Return the stop strings; the empty string stops nothing and is left out."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(stop for stop in given if stop)


def generation_request(body: ChatCompletionRequest) -> GenerationRequest:
    """Translate *body*; what the client left out keeps the engine's defaults."""
    named = {
        "temperature": body.temperature,
        "top_p": body.top_p if body.top_p is None else max(body.top_p, LEAST_TOP_P),
        "top_k": body.top_k if body.top_k is None else max(body.top_k, 0),
        "min_p": body.min_p,
        "repetition_penalty": body.repeat_penalty,
        "frequency_penalty": body.frequency_penalty,
        "presence_penalty": body.presence_penalty,
        "seed": body.seed,
        "logit_bias": body.logit_bias,
        "grammar": body.grammar,
    }
    form = body.response_format
    sampling = SamplingParams(
        max_tokens=body.limit(),
        stop=body.stops(),
        n_logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        json_mode=form is not None and form.type == "json_object",
        json_schema=form.json_schema.schema_ if form is not None and form.json_schema is not None else None,
        **{name: value for name, value in named.items() if value is not None},  # type: ignore[arg-type]  # a field each
    )
    return GenerationRequest(
        messages=tuple(message.message() for message in body.messages),
        model=body.model,
        n=body.n or 1,
        sampling=sampling,
        tool_use=body.tool_use(),
        template=body.template(),
        output=OutputParams(reasoning="inline" if body.reasoning_format == "none" else "split"),
    )


class PromptTokensDetails(BaseModel):
    """How much of the prompt was not computed anew."""

    cached_tokens: int


class CompletionUsage(BaseModel):
    """Tokens spent."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class AssistantMessage(BaseModel):
    """The answer."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallEntry] | None = None

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        return _without(data, "reasoning_content", "tool_calls")


class Choice(BaseModel):
    """One answer."""

    index: int
    message: AssistantMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason


class ChatCompletion(BaseModel):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: CompletionUsage


Answer = TypeVar("Answer", bound=ChatCompletion)


class ChunkDelta(BaseModel):
    """New text; `role` in the first chunk of a choice only."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallChunk] | None = None


class ChunkChoice(BaseModel):
    """New text of one choice."""

    index: int
    delta: ChunkDelta
    logprobs: ChoiceLogprobs | None = None
    finish_reason: FinishReason | None = None


class ChatCompletionChunk(BaseModel):
    """One server-sent event of a streamed answer."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: CompletionUsage | None = None


def whole_answer(result: GenerationResult, form: type[Answer], **members: Any) -> Answer:
    """Encode a whole answer as *form*, a `ChatCompletion` with *members* of a door's own."""
    encoder = ChunkEncoder(result.model)
    return form(
        id=encoder.completion_id,
        created=encoder.created,
        model=result.model,
        choices=choices(result),
        usage=completion_usage(result),
        **members,
    )


def completion_usage(result: GenerationResult) -> CompletionUsage:
    """Return the tokens spent on *result*."""
    usage = result.usage
    return CompletionUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=usage.cached_tokens),
    )


def finish_reason(completion: Completion) -> FinishReason:
    """Return OpenAI's reason; an aborted completion is cut short, as by a limit."""
    if completion.finish_reason != "stop":
        return "length"
    return "tool_calls" if completion.tool_calls else "stop"


def choices(result: GenerationResult) -> list[Choice]:
    """Return every completion as a choice."""
    return [
        Choice(
            index=completion.index,
            message=_message(completion),
            logprobs=choice_logprobs(completion.logprobs),
            finish_reason=finish_reason(completion),
        )
        for completion in result.completions
    ]


def _message(completion: Completion) -> AssistantMessage:
    return AssistantMessage(
        content=None if completion.tool_calls and not completion.text else completion.text,
        reasoning_content=completion.reasoning or None,
        tool_calls=tool_call_entries(completion.tool_calls) or None,
    )


def _without(data: dict[str, Any], *names: str) -> dict[str, Any]:
    """Leave out those of the named members that are null."""
    return {name: value for name, value in data.items() if value is not None or name not in names}


class ChunkEncoder:
    """Encodes one streamed answer; keeps what every chunk repeats, and which choices have begun."""

    def __init__(self, model: str) -> None:
        self.completion_id = completion_id()
        self.created = int(time.time())
        self._model = model
        self._begun: set[int] = set()

    def deltas(self, deltas: tuple[Delta, ...]) -> list[ChatCompletionChunk]:
        """Return one chunk for each choice's first sight and new text."""
        chunks: list[ChatCompletionChunk] = []
        for delta in deltas:
            role: Literal["assistant"] | None = None
            if delta.index not in self._begun:
                self._begun.add(delta.index)
                role = "assistant"  # the npm client throws without it
            choice = ChunkChoice(
                index=delta.index,
                delta=_chunk_delta(role, delta),
                logprobs=choice_logprobs(delta.logprobs or None),
            )
            chunks.append(self._chunk([choice]))
        return chunks

    def end(self, result: GenerationResult, *, include_usage: bool) -> list[ChatCompletionChunk]:
        """Return the closing chunks: a finish_reason for every choice, then usage when it was asked for."""
        self._model = result.model
        silent = tuple(Delta(index=c.index, text="") for c in result.completions if c.index not in self._begun)
        chunks = self.deltas(silent)
        for completion in result.completions:
            choice = ChunkChoice(index=completion.index, delta=ChunkDelta(), finish_reason=finish_reason(completion))
            chunks.append(self._chunk([choice]))
        if include_usage:
            chunks.append(self._chunk([], usage=completion_usage(result)))
        return chunks

    def _chunk(self, chosen: list[ChunkChoice], usage: CompletionUsage | None = None) -> ChatCompletionChunk:
        return ChatCompletionChunk(
            id=self.completion_id, created=self.created, model=self._model, choices=chosen, usage=usage
        )


def _chunk_delta(role: Literal["assistant"] | None, delta: Delta) -> ChunkDelta:
    has_else = bool(delta.reasoning or delta.tool_calls)
    return ChunkDelta(
        role=role,
        content=delta.text if delta.text or not has_else else None,
        reasoning_content=delta.reasoning or None,
        tool_calls=tool_call_chunks(delta.tool_calls) or None,
    )


def encode_chunk(chunk: ChatCompletionChunk, extra: dict[str, Any] | None = None) -> str:
    """Return *chunk* as JSON with *extra*: absent members of a delta left out, all others there."""
    data = chunk.model_dump(exclude={"usage"} if chunk.usage is None else None) | (extra or {})
    for choice in data["choices"]:
        choice["delta"] = {name: value for name, value in choice["delta"].items() if value is not None}
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def completion_id() -> str:
    """Return a fresh id."""
    return f"chatcmpl-{uuid.uuid4().hex}"
