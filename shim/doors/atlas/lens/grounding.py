"""Grounds a chat in a project: finds what may answer its question, and lets in what the model has room for.

The budget is the caller's or the setting's, and shrinks to what the model's context leaves beside the conversation and
its answer: the embedded model has 1,024 tokens in all. Only then are tokens counted, by the model itself.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from mcp_server.contract import ErrorCode, GenerationRequest, Hit, RetrieveRequest, TokenizeRequest
from shim.doors.atlas.lens.chat_wire import LensChatRequest
from shim.doors.atlas.lens.context import CHARS_PER_TOKEN, Piece, fit, put_before, question_of, render
from shim.doors.atlas.lens.projects import own_project
from shim.doors.door import Call
from shim.errors import ApiError

LEAST_BUDGET_TOKENS = 32  # less holds no piece beside its frame
MIN_RETRIEVED_TOKENS = 2000  # asked of the search whatever the budget, so that a long best hit is cut and not missed
MAX_RETRIEVED_TOKENS = 100_000  # the most that one search returns
MAX_QUERY_CHARS = 8000  # of a question; embedding reads less, and words beyond it only blur
ANSWER_SHARE = 4  # one part in so many of the context is kept for an answer of no stated length
LONGEST_ANSWER_SHARE = 2  # and of a stated length at most half: `max_tokens` is a limit, and seldom met
BYTES_PER_TOKEN = 3  # of code, for models whose server counts no tokens; real ones hold more
SHRINK = 0.9  # of the size that should fit by the last count: text is not even
MAX_COUNTS = 6  # each comes nearer; then nothing is put in rather than too much

Count = Callable[[str], Awaitable[int]]


@dataclass(frozen=True)
class Grounded:
    """A request with code before its question, and the pieces of it."""

    request: GenerationRequest
    pieces: tuple[Piece, ...]


async def ground(call: Call[LensChatRequest], request: GenerationRequest) -> Grounded | None:
    """Put what the project knows before the question of *request*; None where the caller names no project.

    Raises:
        ApiError: `collection_not_found` for a project that is not there, or is another key's.
    """
    body = call.body
    if body.project_id is None:
        return None
    project = await own_project(call, body.project_id)
    position = question_of(request.messages)
    default = call.services.settings.context_budget_tokens
    budget = default if body.context_budget is None else body.context_budget
    if position is None or budget < LEAST_BUDGET_TOKENS:
        return Grounded(request, ())
    room = await _room(call, request)
    if room is not None and room < LEAST_BUDGET_TOKENS:
        return Grounded(request, ())
    found = await call.gateway.retrieve(
        RetrieveRequest(
            collection=project.collection,
            query=request.messages[position].content[:MAX_QUERY_CHARS],
            max_results=body.context_results or call.services.settings.context_results,
            max_tokens=min(max(budget, MIN_RETRIEVED_TOKENS), MAX_RETRIEVED_TOKENS),
        )
    )

    async def count(text: str) -> int:
        return await _count(call, request.model, text)

    pieces = await _let_in(found.hits, project.title, (budget, room), count)
    messages = put_before(request.messages, position, render(project.title, pieces))
    return Grounded(replace(request, messages=messages), pieces)


async def _let_in(hits: tuple[Hit, ...], title: str, limits: tuple[int, int | None], count: Count) -> tuple[Piece, ...]:
    """Return the pieces that keep both limits: the budget, and the room in the model's own tokens where it is known."""
    budget, room = limits
    max_chars = budget * CHARS_PER_TOKEN
    for _ in range(MAX_COUNTS):
        pieces = fit(hits, max_chars)
        text = render(title, pieces)
        if room is None or not pieces or len(text.encode("utf-8", "replace")) <= room:
            return pieces
        n_tokens = await count(text)
        if n_tokens <= room:
            return pieces
        n_chars = sum(len(piece.render()) for piece in pieces)
        frame = n_tokens * (len(text) - n_chars) // len(text)
        max_chars = int(SHRINK * max(0, room - frame) * n_chars / max(1, n_tokens - frame))
    return ()


async def _room(call: Call[LensChatRequest], request: GenerationRequest) -> int | None:
    """Return the tokens that the model's context leaves beside the conversation and an answer; None: nobody knows."""
    properties = await call.services.names.properties(call.gateway, request.model)
    if properties.context_tokens <= 0:
        return None
    try:
        rendered = await call.gateway.render_prompt(replace(request, model=properties.model_id))
        n_prompt = rendered.n_tokens
    except ApiError as error:
        if error.code != ErrorCode.NOT_SUPPORTED:
            raise
        n_prompt = sum(_estimate(message.content) for message in request.messages)
    answer = properties.context_tokens // ANSWER_SHARE
    if request.sampling.max_tokens is not None:
        answer = min(request.sampling.max_tokens, properties.context_tokens // LONGEST_ANSWER_SHARE)
    return properties.context_tokens - n_prompt - answer


async def _count(call: Call[LensChatRequest], model: str | None, text: str) -> int:
    """Count the tokens of *text* by the model that will answer; estimate where its server does not."""
    properties = await call.services.names.properties(call.gateway, model)
    try:
        return (
            await call.gateway.tokenize(TokenizeRequest(text, model=properties.model_id, parse_special=False))
        ).n_tokens
    except ApiError as error:
        if error.code != ErrorCode.NOT_SUPPORTED:
            raise
        return _estimate(text)


def _estimate(text: str) -> int:
    return len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN + 1
