"""The chat of the lens: OpenAI's with llama.cpp's options, and what grounds it in a project.

Without `project_id` it is a chat like any other and the answer has no member of ours. With one, `citations` names the
pieces of code that stood before the question, in the answer or in the last chunk of its stream.
"""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field, SerializerFunctionWrapHandler, model_serializer

from mcp_server.contract import GenerationResult
from shim.dialects import openai_chat
from shim.dialects.llama_chat import LlamaChatRequest
from shim.dialects.openai_chat import ChatCompletion, ChatCompletionChunk
from shim.doors.atlas.lens.context import Piece


class LensChatRequest(LlamaChatRequest):
    """A chat completion request that may be answered from a project's code."""

    project_id: str | None = Field(default=None, description="Project to search for the question; null: none")
    context_budget: int | None = Field(
        default=None, ge=0, le=100_000, description="Code before the question at most; 4 characters each (tokens)"
    )
    context_results: int | None = Field(
        default=None, ge=1, le=100, description="Pieces of code that the search may return (count)"
    )


class Citation(BaseModel):
    """A piece of code that stood before the question."""

    path: str
    start_line: int
    end_line: int
    score: float = Field(description="Of the search; higher is better, comparable only within one answer")


class LensChatCompletion(ChatCompletion):
    """A whole answer; `citations` is there when a project was named."""

    citations: list[Citation] | None = None

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        return {name: value for name, value in data.items() if value is not None or name != "citations"}


class LensChunk(ChatCompletionChunk):
    """A chunk; the last one of a stream has the citations when a project was named."""

    citations: list[Citation] | None = None


def citations(pieces: Sequence[Piece]) -> list[Citation]:
    """Name *pieces*, best first."""
    return [
        Citation(path=piece.hit.path, start_line=piece.hit.start_line, end_line=piece.end_line, score=piece.hit.score)
        for piece in pieces
    ]


def completion(result: GenerationResult, pieces: Sequence[Piece] | None) -> LensChatCompletion:
    """Encode a whole answer; *pieces* is None where no project was named."""
    cited = None if pieces is None else citations(pieces)
    return openai_chat.whole_answer(result, LensChatCompletion, citations=cited)


def closing_chunks(chunks: Sequence[ChatCompletionChunk], pieces: Sequence[Piece] | None) -> list[str]:
    """Encode the closing chunks; the last one has the citations."""
    cited = {} if pieces is None else {"citations": [citation.model_dump() for citation in citations(pieces)]}
    return [openai_chat.encode_chunk(chunk, cited if chunk is chunks[-1] else {}) for chunk in chunks]
