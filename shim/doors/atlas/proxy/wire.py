"""The proxy's JSON: OpenAI's, with the `atlas_*` members, which are left out when they are empty or zero.

`atlas_verification` is ours: an answer that no test checked says so. Here every answer is `not_verified`; `/execute`
of the sandbox door verifies.
"""

from typing import Any, Literal

from pydantic import BaseModel, SerializerFunctionWrapHandler, model_serializer

from mcp_server.contract import GenerationResult, ServerStatus
from shim.dialects import openai_chat
from shim.dialects.openai_chat import ChatCompletion, ChatCompletionChunk

Verification = Literal["not_verified", "passed", "failed"]
STANDARD_ROUTE = "standard"  # the one route there is until a router chooses among several


class AtlasChatCompletion(ChatCompletion):
    """A chat completion with ATLAS' metadata."""

    atlas_route: str = ""
    atlas_gx_score: float = 0.0
    atlas_verdict: str = ""
    atlas_sandbox_passed: bool = False
    atlas_repair_attempt: int = 0
    atlas_verification: Verification

    @model_serializer(mode="wrap")
    def _without_empty(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        return {key: value for key, value in data.items() if value or not key.startswith("atlas_")}


class AtlasChunk(ChatCompletionChunk):
    """A chunk; the one with a `finish_reason` says whether the answer was verified."""

    atlas_verification: Verification | None = None


class HealthStats(BaseModel):
    """What this proxy and its sandbox did since the start."""

    requests: int
    repairs: int
    sandbox_passes: int
    sandbox_fails: int


class Health(BaseModel):
    """Whether each part works. `status` is `ok` when all needed for an answer does, else `degraded`."""

    status: Literal["ok", "degraded"]
    inference: bool
    lens: bool
    sandbox: bool
    port: str
    stats: HealthStats


def completion(result: GenerationResult) -> AtlasChatCompletion:
    """Encode a whole answer, which nothing has verified."""
    return openai_chat.whole_answer(
        result, AtlasChatCompletion, atlas_route=STANDARD_ROUTE, atlas_verification="not_verified"
    )


def encode_chunk(chunk: ChatCompletionChunk) -> str:
    """Encode one chunk; the closing one of a choice says that nothing has verified it."""
    is_last = any(choice.finish_reason for choice in chunk.choices)
    return openai_chat.encode_chunk(chunk, {"atlas_verification": "not_verified"} if is_last else {})


def health(status: ServerStatus | None, port: int, n_requests: int) -> Health:
    """Encode what works; *status* is None while the MCP server is down."""
    sandbox = status.sandbox if status else None
    inference = status is not None and status.inference_ready
    return Health(
        status="ok" if inference and sandbox is not None and sandbox.ready else "degraded",
        inference=inference,
        lens=status is not None and status.lens_ready,
        sandbox=sandbox is not None and sandbox.ready,
        port=str(port),
        stats=HealthStats(
            requests=n_requests,
            repairs=0,  # no repair loop runs in this version, so none was made
            sandbox_passes=sandbox.n_passed if sandbox else 0,
            sandbox_fails=sandbox.n_failed if sandbox else 0,
        ),
    )
