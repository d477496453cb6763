"""Doubles that behave like the real thing where a caller can tell, and are scripted where it matters.

`ScriptedEngine` keeps the whole promise of `Engine` (it passes the same contract suite as the real one) but its text
is a script, so a test of a door or a tool knows every delta in advance, can stop the reply at any of them, and can
read back what was asked. It knows nothing of models, threads or batches.
"""

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import anyio
import anyio.lowlevel

from mcp_server.engine.types import (
    Completion,
    Delta,
    DeltaSink,
    DetokenizeResult,
    EmbeddingRequest,
    EmbeddingResult,
    EngineStatistics,
    FinishReason,
    GenerationRequest,
    GenerationResult,
    LoadedModel,
    LoadFailure,
    ModelProperties,
    RenderedPrompt,
    RerankRequest,
    RerankResult,
    SamplingParams,
    Timings,
    TokenizeRequest,
    TokenizeResult,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    TopLogprob,
    Usage,
)
from mcp_server.errors import InvalidRequestError, ModelNotFoundError

SCRIPTED_MODEL = "scripted"
SCRIPTED_CONTEXT_TOKENS = 1024
EMBEDDING_DIMENSIONS = 8
MAX_TOKENIZE_BYTES = 1 << 20
ALTERNATIVE_LOGPROB = -3.0  # of every unchosen token of a scripted position

SCRIPTED_PROPERTIES = ModelProperties(
    model_id=SCRIPTED_MODEL,
    path="scripted.gguf",
    architecture="scripted",
    quantization="F32",
    n_parameters=1,
    size_bytes=1,
    n_vocab=1 << 16,
    n_embedding=EMBEDDING_DIMENSIONS,
    n_layers=1,
    context_tokens=SCRIPTED_CONTEXT_TOKENS,
    trained_context_tokens=SCRIPTED_CONTEXT_TOKENS,
    n_slots=8,
    n_threads=1,
    gpu_layers=0,
    kv_layout="unified",
    flash_attention=False,
    chat_template="{% for message in messages %}{{ message.content }}\n{% endfor %}",
    bos_token="",
    eos_token="",
    can_generate=True,
    can_infill=True,
    can_rerank=True,
    can_share_prefixes=True,
    has_native_tools=True,
    has_reasoning=True,
)

_WORD = re.compile(r"\s*\S+|\s+")


class Thinks(str):
    """A piece of reasoning."""

    __slots__ = ()


class Calls(str):  # noqa: SLOT000  # a str cannot have slots of its own that hold values
    """A piece that is a whole tool call; as a text it is the call's arguments."""

    name: str
    call_id: str

    def __new__(cls, name: str, arguments: str = "{}") -> Self:
        piece = super().__new__(cls, arguments)
        piece.name, piece.call_id = name, f"call_{hashlib.sha256((name + arguments).encode()).hexdigest()[:24]}"
        return piece


@dataclass(frozen=True)
class Reply:
    """One scripted completion: its deltas, and what happens around them."""

    pieces: tuple[str, ...]  # text, `Thinks` and `Calls`
    finish_reason: FinishReason = "stop"
    gate: anyio.Event | None = None  # awaited before piece number `gate_at`
    gate_at: int = 0
    error: Exception | None = None  # raised after the last piece, in place of a result


class ScriptedEngine:
    """An `Engine` that plays `replies` in order, then the last one again and again.

    A reply is a `Reply`, a text (split into words, one delta each), a list of pieces (text, `Thinks` or `Calls`, one
    delta each), or an exception to raise at once.
    A request for n completions plays n replies. `stop`, `max_tokens`, `n_logprobs`, unknown models and bad requests
    behave as in the real engine; sampling parameters are only recorded, in `requests`.
    """

    def __init__(
        self,
        replies: Sequence[Reply | str | Sequence[str] | Exception] = ("OK",),
        *,
        models: Sequence[str] = (),
        load_failure: LoadFailure | None = None,
    ) -> None:
        self.requests: list[GenerationRequest] = []
        self.embedding_requests: list[EmbeddingRequest] = []
        self.tokenized: list[str] = []
        self.is_closed = False
        self._replies = [_as_reply(reply) for reply in replies]
        self._models = {SCRIPTED_MODEL, *models}
        self._statistics = EngineStatistics(
            loaded_models=(LoadedModel(SCRIPTED_MODEL, SCRIPTED_CONTEXT_TOKENS),), load_failure=load_failure
        )
        self._words: dict[int, str] = {}
        self.keep_alives: list[float | None] = []
        self.unloaded: list[str] = []
        self._n_played = 0
        self._changed = anyio.Event()

    async def generate(self, request: GenerationRequest, on_delta: DeltaSink | None = None) -> GenerationResult:
        """Play the next reply, or the next n of them one after the other."""
        self.requests.append(request)
        model = self._resolve(request.model)
        n_prompt = len(_split(_prompt_text(request)))
        replies = [self._next_reply() for _ in range(request.n)]
        self._count(n_requests=1, n_running=request.n, n_prompt_tokens=n_prompt)
        is_done = False
        try:
            completions = [await self._play(i, reply, request, on_delta) for i, reply in enumerate(replies)]
            is_done = True
        finally:
            self._count(n_running=-request.n, n_aborted=int(not is_done))
        n_completion = sum(n for _, n in completions)
        self._count(n_completion_tokens=n_completion)
        return GenerationResult(
            model=model,
            completions=tuple(completion for completion, _ in completions),
            usage=Usage(prompt_tokens=n_prompt, completion_tokens=n_completion),
            timings=Timings(queue_ms=0.0, prefill_ms=1.0, decode_ms=float(n_completion)),
        )

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResult:
        """Embed by hashing words: equal texts are equal, texts that share words are near."""
        self.embedding_requests.append(request)
        model = self._resolve(request.model)
        texts = request.input or tuple(" ".join(map(str, ids)) for ids in request.token_ids)
        if not texts or not all(texts):
            msg = "There is nothing to embed; give at least one text, none of them empty."
            raise InvalidRequestError(msg, param="input")
        await anyio.lowlevel.checkpoint()
        n_tokens = sum(len(_split(text)) for text in texts)
        if request.pooling == "none":
            by_token = tuple(tuple(_hash_vector(word, normalize=False) for word in _split(text)) for text in texts)
            return EmbeddingResult(model, (), EMBEDDING_DIMENSIONS, Usage(n_tokens, 0), by_token)
        vectors = tuple(_hash_vector(text, normalize=request.normalize) for text in texts)
        return EmbeddingResult(model, vectors, EMBEDDING_DIMENSIONS, Usage(n_tokens, 0))

    async def rerank(self, request: RerankRequest) -> RerankResult:
        """Score by shared words."""
        model = self._resolve(request.model)
        await anyio.lowlevel.checkpoint()
        wanted = set(_split(request.query.lower()))
        scores = tuple(float(len(wanted & set(_split(text.lower())))) for text in request.documents)
        n_tokens = sum(len(_split(text)) for text in (request.query, *request.documents))
        return RerankResult(model, scores, Usage(n_tokens, 0))

    async def tokenize(self, request: TokenizeRequest) -> TokenizeResult:
        """Give one stable id to each word."""
        text = request.text
        if len(text.encode()) > MAX_TOKENIZE_BYTES:
            msg = f"The text has more than {MAX_TOKENIZE_BYTES} bytes. Split it."
            raise InvalidRequestError(msg, param="text")
        self.tokenized.append(text)
        name = self._resolve(request.model)
        await anyio.lowlevel.checkpoint()
        words = _split(text)
        self._words |= {_token_id(word): word for word in words}
        pieces = tuple(tuple(word.encode()) for word in words) if request.return_pieces else None
        return TokenizeResult(name, tuple(map(_token_id, words)), len(words), pieces)

    async def detokenize(self, token_ids: tuple[int, ...], model: str | None = None) -> DetokenizeResult:
        """Remember the words that were tokenized here; other ids are refused."""
        name = self._resolve(model)
        await anyio.lowlevel.checkpoint()
        for token in token_ids:
            if token not in self._words:
                msg = f"{token} is no token of this model."
                raise InvalidRequestError(msg, param="token_ids")
        return DetokenizeResult(name, "".join(self._words[token] for token in token_ids))

    async def render(self, request: GenerationRequest) -> RenderedPrompt:
        """Join the messages by lines."""
        name = self._resolve(request.model)
        await anyio.lowlevel.checkpoint()
        prompt = _prompt_text(request)
        return RenderedPrompt(name, prompt, len(_split(prompt)))

    async def describe(self, model: str | None = None) -> ModelProperties:
        """Describe the model, as if it had been loaded."""
        name = self._resolve(model)
        await anyio.lowlevel.checkpoint()
        return replace(SCRIPTED_PROPERTIES, model_id=name)

    async def unload(self, model: str | None = None) -> bool:
        """Pretend, and remember it."""
        self.unloaded.append(self._resolve(model))
        await anyio.lowlevel.checkpoint()
        return True

    async def load(self, model: str | None = None, keep_alive_s: float | None = None) -> LoadedModel:
        """Describe the model, as if it had been loaded."""
        self.keep_alives.append(keep_alive_s)
        name = self._resolve(model)
        await anyio.lowlevel.checkpoint()
        return LoadedModel(name, SCRIPTED_CONTEXT_TOKENS)

    def statistics(self) -> EngineStatistics:
        """Count what was played."""
        return self._statistics

    async def aclose(self) -> None:
        """Remember that it was closed."""
        self.is_closed = True
        await anyio.lowlevel.checkpoint()

    def rewind(self) -> None:
        """Begin again with the first reply."""
        self._n_played = 0

    async def wait_until_running(self, n: int) -> None:
        """Return as soon as exactly n completions are being played, 0 included."""
        while self._statistics.n_running != n:
            await self._changed.wait()

    def _resolve(self, model: str | None) -> str:
        if model in (None, "", "default"):
            return SCRIPTED_MODEL
        if model not in self._models:
            msg = f"There is no model {model!r} here; available: {', '.join(sorted(self._models))}."
            raise ModelNotFoundError(msg, param="model")
        return str(model)

    def _next_reply(self) -> Reply:
        reply = self._replies[min(self._n_played, len(self._replies) - 1)]
        self._n_played += 1
        return reply

    def _count(self, **changes: int) -> None:
        self._statistics = replace(
            self._statistics, **{name: getattr(self._statistics, name) + by for name, by in changes.items()}
        )
        self._changed.set()
        self._changed = anyio.Event()

    async def _play(
        self, index: int, reply: Reply, request: GenerationRequest, on_delta: DeltaSink | None
    ) -> tuple[Completion, int]:
        sampling, wants_ids = request.sampling, request.output.return_token_ids
        pieces, finish_reason, stop_text = _cut(reply, sampling)
        echoed = (_prompt_text(request),) if request.output.echo else ()
        shown = [(_logprob(piece, sampling.n_logprobs),) for piece in pieces]
        n_top = sampling.n_logprobs
        for i, piece in enumerate((*echoed, *pieces), -len(echoed)):
            if reply.gate is not None and i == reply.gate_at:
                await reply.gate.wait()
            await anyio.lowlevel.checkpoint()
            self._count(n_steps=1)
            if on_delta is not None and piece:
                ids = (_token_id(piece),) if wants_ids and i >= 0 else ()
                logprobs = shown[i] if n_top is not None and i >= 0 else ()
                delta = replace(_delta(piece, pieces[: max(i, 0)]), index=index, logprobs=logprobs, token_ids=ids)
                await on_delta((replace(delta, n_tokens=int(i >= 0)),))
        if reply.gate is not None and reply.gate_at >= len(pieces):
            await reply.gate.wait()
        if reply.error is not None:
            raise reply.error
        completion = Completion(
            index,
            "".join((*echoed, *filter(_is_text, pieces))),
            finish_reason,
            None if n_top is None else tuple(one for (one,) in shown),
            token_ids=tuple(map(_token_id, pieces)) if wants_ids else None,
            stop_text=stop_text,
            reasoning="".join(piece for piece in pieces if isinstance(piece, Thinks)),
            tool_calls=tuple(
                ToolCall(piece.call_id, piece.name, str(piece)) for piece in pieces if isinstance(piece, Calls)
            ),
        )
        return completion, len(pieces)


def _as_reply(reply: Reply | str | Sequence[str] | Exception) -> Reply:
    if isinstance(reply, Reply):
        return reply
    if isinstance(reply, Exception):
        return Reply(pieces=(), error=reply)
    return Reply(pieces=_split(reply) if isinstance(reply, str) else tuple(reply))


def _prompt_text(request: GenerationRequest) -> str:
    given = (request.prompt is not None, request.messages, request.prompt_token_ids, request.infill)
    if sum(map(bool, given)) != 1:
        msg = "Give exactly one of `messages`, `prompt`, `prompt_token_ids` and `infill`."
        raise InvalidRequestError(msg, param="messages")
    if request.n < 1:
        msg = f"n is {request.n}; ask for at least one completion."
        raise InvalidRequestError(msg, param="n")
    if request.infill is not None:
        return f"{request.infill.prefix} {request.infill.suffix} {request.infill.middle}"
    if request.prompt_token_ids:
        return " ".join(map(str, request.prompt_token_ids))
    text = request.prompt if request.prompt is not None else "\n".join(m.content for m in request.messages)
    if request.prompt is not None and not text:
        msg = "The prompt is empty; give at least one character."
        raise InvalidRequestError(msg, param="prompt")
    return text


def _cut(reply: Reply, sampling: SamplingParams) -> tuple[tuple[str, ...], FinishReason, str | None]:
    """Apply `max_tokens` and `stop` to the scripted pieces, a piece being a token; say what stopped it, too."""
    pieces: list[str] = []
    for piece in reply.pieces:
        if sampling.max_tokens is not None and len(pieces) == sampling.max_tokens:
            return tuple(pieces), "length", None
        pieces.append(piece)
    text = "".join(filter(_is_text, pieces))
    ends = [(text.find(stop), stop) for stop in sampling.stop if stop and stop in text]
    if not ends:
        return tuple(pieces), reply.finish_reason, None
    kept: list[str] = []
    for piece in pieces:
        room = min(ends)[0] - sum(len(one) for one in kept if _is_text(one))
        kept += [piece[:room] if _is_text(piece) else piece] if room else []
    return tuple(piece for piece in kept if piece), "stop", min(ends)[1]


def _is_text(piece: str) -> bool:
    return not isinstance(piece, Thinks | Calls)


def _delta(piece: str, before: Sequence[str]) -> Delta:
    if isinstance(piece, Calls):
        position = sum(isinstance(one, Calls) for one in before)
        return Delta(0, "", tool_calls=(ToolCallDelta(position, piece.call_id, piece.name, str(piece)),))
    return Delta(0, "", reasoning=str(piece)) if isinstance(piece, Thinks) else Delta(0, piece)


def _logprob(piece: str, n_top: int | None) -> TokenLogprob:
    others = tuple(TopLogprob(f"other{i}", i, ALTERNATIVE_LOGPROB) for i in range((n_top or 1) - 1))
    best = (TopLogprob(piece, _token_id(piece), -0.1), *others) if n_top else ()
    return TokenLogprob(piece, _token_id(piece), -0.1, tuple(piece.encode()), best)


def _split(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text))


def _token_id(word: str) -> int:
    return int.from_bytes(hashlib.sha256(word.encode()).digest()[:2], "big")


def _hash_vector(text: str, *, normalize: bool) -> tuple[float, ...]:
    vector = [0.0] * EMBEDDING_DIMENSIONS
    for word in _split(text):
        digest = hashlib.sha256(word.strip().encode()).digest()
        vector[digest[0] % EMBEDDING_DIMENSIONS] += 1.0 + digest[1] / 255
    length = math.hypot(*vector) if normalize else 1.0
    return tuple(x / length for x in vector)
