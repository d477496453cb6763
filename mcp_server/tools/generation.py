"""Tools that speak with the language model: `generate`, `embed`, `tokenize`.

`generate` streams: each progress notification's message is one JSON object `{"deltas": [...]}` with everything that
arrived since the last one. The tool's result repeats the whole text, so a client without progress loses nothing.
"""

import json
from dataclasses import asdict
from typing import Annotated

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import ToolAnnotations
from pydantic import Field

from mcp_server.capabilities import Capabilities
from mcp_server.contract import (
    Delta,
    EmbeddingRequest,
    EmbeddingResult,
    GenerationRequest,
    GenerationResult,
    Message,
    SamplingParams,
    TokenizeResult,
    ToolName,
)

ModelId = Annotated[str | None, Field(description="Model id from list_models; null for the default model")]

DEFAULT = SamplingParams()
GENERATES = ToolAnnotations(read_only_hint=True, idempotent_hint=False, open_world_hint=False)
COMPUTES = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)

MAX_TOTAL = 1 << 53  # tokens; progress is a float on the wire, and counts exactly up to here


def register(server: MCPServer, capabilities: Capabilities) -> None:
    """Add the generation tools."""
    engine = capabilities.engine

    @server.tool(name=ToolName.GENERATE, title="Generate text or code", annotations=GENERATES)
    async def generate(
        context: Context,
        messages: Annotated[list[Message], Field(description="The conversation; empty when `prompt` is given")] = [],  # noqa: B006 - the SDK copies defaults
        prompt: Annotated[str | None, Field(description="Raw text to continue, without a chat template")] = None,
        model: ModelId = None,
        n: Annotated[int, Field(ge=1, le=64, description="Completions of the one prompt (count)")] = 1,
        sampling: Annotated[
            SamplingParams, Field(description="How tokens are chosen, and when to stop")
        ] = SamplingParams(),  # noqa: B008 - frozen
    ) -> GenerationResult:
        """Generate text or code with the local language model.

        Use it to draft an answer, a function or an edit. Nothing it returns has been run: pass code to `execute` with
        tests before you trust it. Give either `messages` or `prompt`. Streams through progress notifications when a
        progress token is given, and stops within one step when cancelled. The prompt must fit the model's context.
        """
        request = GenerationRequest(messages=tuple(messages), prompt=prompt, model=model, n=n, sampling=sampling)
        return await engine.generate(request, _Stream(context, sampling.max_tokens).send)

    @server.tool(name=ToolName.EMBED, title="Embed texts", annotations=COMPUTES)
    async def embed(
        input: Annotated[  # noqa: A002 - the field's documented name
            list[str], Field(min_length=1, max_length=256, description="Texts to embed, each within the context")
        ],
        model: ModelId = None,
        normalize: Annotated[bool, Field(description="Scale each vector to length 1")] = True,  # noqa: FBT002 - wire field
    ) -> EmbeddingResult:
        """Embed texts with the language model's own hidden states, mean-pooled.

        Use it to compare texts by meaning. For searching a repository use `index` and `retrieve`, which keep vectors
        of a model made for search.
        """
        return await engine.embed(EmbeddingRequest(input=tuple(input), model=model, normalize=normalize))

    @server.tool(name=ToolName.TOKENIZE, title="Tokenize text", annotations=COMPUTES)
    async def tokenize(
        text: Annotated[str, Field(description="Text to tokenize; special tokens in it are recognised")],
        model: ModelId = None,
    ) -> TokenizeResult:
        """Split text into the model's tokens.

        Use it to count what a prompt costs before sending it.
        """
        return await engine.tokenize(text, model)


class _Stream:
    """Sends deltas of one call as progress; the engine coalesces while a send is under way."""

    def __init__(self, context: Context, max_tokens: int | None) -> None:
        self._context = context
        self._total = float(max_tokens) if max_tokens and max_tokens <= MAX_TOTAL else None
        self._n_tokens = 0

    async def send(self, deltas: tuple[Delta, ...]) -> None:
        """Send *deltas* in one notification. Returns when the transport took it: that is the back-pressure."""
        self._n_tokens += max(1, sum(delta.n_tokens for delta in deltas))
        message = json.dumps({"deltas": [asdict(delta) for delta in deltas]}, separators=(",", ":"))
        await self._context.report_progress(self._n_tokens, self._total, message)
