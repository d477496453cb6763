"""Tools that speak with the language model: `generate`, and `render_prompt`, which shows what it would compute.

`generate` streams: each progress notification's message is one JSON object `{"deltas": [...]}` with everything that
arrived since the last one. The tool's result repeats the whole text, so a client without progress loses nothing.
"""

import json
from dataclasses import asdict
from typing import Annotated, Any

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import ToolAnnotations
from pydantic import Field

from mcp_server.capabilities import Capabilities
from mcp_server.contract import (
    Delta,
    GenerationRequest,
    GenerationResult,
    Infill,
    Message,
    OutputParams,
    RenderedPrompt,
    SamplingParams,
    SchedulingParams,
    TemplateParams,
    ToolName,
    ToolUse,
)

ModelId = Annotated[str | None, Field(description="Model id from list_models; null for the default model")]

DEFAULT, NO_TOOLS, PLAIN = SamplingParams(), ToolUse(), TemplateParams()  # frozen: safe as defaults
AT_ONCE, TEXT = SchedulingParams(), OutputParams()
GENERATES = ToolAnnotations(read_only_hint=True, idempotent_hint=False, open_world_hint=False)
COMPUTES = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)

MAX_TOTAL = 1 << 53  # tokens; progress is a float on the wire, and counts exactly up to here


def register(server: MCPServer, capabilities: Capabilities) -> None:
    """Add the generation tools."""
    engine = capabilities.engine

    @server.tool(name=ToolName.GENERATE, title="Generate text or code", annotations=GENERATES)
    async def generate(  # noqa: PLR0913, PLR0917 - one argument a field of the request
        context: Context,
        messages: Annotated[list[Message], Field(description="The conversation; empty for the other prompts")] = [],  # noqa: B006 - the SDK copies defaults
        prompt: Annotated[str | None, Field(description="Raw text to continue, without a chat template")] = None,
        prompt_token_ids: Annotated[list[int], Field(description="The same as token ids")] = [],  # noqa: B006 - as above
        infill: Annotated[Infill | None, Field(description="A gap to fill, for models made for it")] = None,
        model: ModelId = None,
        n: Annotated[int, Field(ge=1, le=64, description="Completions of the one prompt (count)")] = 1,
        sampling: Annotated[SamplingParams, Field(description="How tokens are chosen, and when to stop")] = DEFAULT,
        tool_use: Annotated[ToolUse, Field(description="Functions that the model may call")] = NO_TOOLS,
        template: Annotated[TemplateParams, Field(description="How messages become a prompt")] = PLAIN,
        scheduling: Annotated[SchedulingParams, Field(description="Priority, deadline, reuse")] = AT_ONCE,
        output: Annotated[OutputParams, Field(description="What comes back beside text")] = TEXT,
    ) -> GenerationResult:
        """Generate text or code with a language model.

        Use it to draft an answer, a function or an edit. Nothing it returns has been run: pass code to `execute` with
        tests before you trust it. Give one of `messages`, `prompt`, `prompt_token_ids` and `infill`. Streams through
        progress notifications when a progress token is given, and stops within one step when cancelled. The prompt
        must fit the model's context.
        """
        request = GenerationRequest(
            messages=tuple(messages),
            prompt=prompt,
            prompt_token_ids=tuple(prompt_token_ids),
            infill=infill,
            model=model,
            n=n,
            sampling=sampling,
            tool_use=tool_use,
            template=template,
            scheduling=scheduling,
            output=output,
        )
        return await engine.generate(request, _Stream(context, sampling.max_tokens).send)

    @server.tool(name=ToolName.RENDER_PROMPT, title="Render a prompt", annotations=COMPUTES)
    async def render_prompt(
        messages: Annotated[list[Message], Field(description="The conversation")] = [],  # noqa: B006 - the SDK copies defaults
        infill: Annotated[Infill | None, Field(description="A gap to fill, instead of messages")] = None,
        model: ModelId = None,
        tool_use: Annotated[ToolUse, Field(description="Functions that the model may call")] = NO_TOOLS,
        template: Annotated[TemplateParams, Field(description="How messages become a prompt")] = PLAIN,
    ) -> RenderedPrompt:
        """Show the raw prompt that `generate` would make of a conversation, and count its tokens.

        Use it to see what a chat template does, or to edit the prompt before passing it to `generate`.
        """
        return await engine.render(
            GenerationRequest(
                messages=tuple(messages), infill=infill, model=model, tool_use=tool_use, template=template
            )
        )


class _Stream:
    """Sends deltas of one call as progress; the engine coalesces while a send is under way."""

    def __init__(self, context: Context, max_tokens: int | None) -> None:
        self._context = context
        self._total = float(max_tokens) if max_tokens and max_tokens <= MAX_TOTAL else None
        self._n_tokens = 0

    async def send(self, deltas: tuple[Delta, ...]) -> None:
        """Send *deltas* in one notification. Returns when the transport took it: that is the back-pressure."""
        self._n_tokens += max(1, sum(delta.n_tokens for delta in deltas))
        message = json.dumps({"deltas": [_wire(delta) for delta in deltas]}, separators=(",", ":"))
        await self._context.report_progress(self._n_tokens, self._total, message)


def _wire(delta: Delta) -> dict[str, Any]:
    """Encode what a delta has; most have text only, and `asdict` copies deeply."""
    short = {name: value for name, value in vars(delta).items() if value or name in {"index", "text"}}
    nested = {name: [asdict(item) for item in short[name]] for name in ("logprobs", "tool_calls") if name in short}
    return short | nested
