"""Tools for models: list them, describe, load and unload one, download one to this machine, remove it from there."""

import functools
import threading
from dataclasses import replace
from typing import Annotated

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import ToolAnnotations
from pydantic import Field

from mcp_server.capabilities import Capabilities
from mcp_server.contract import LoadedModel, Model, ModelList, ModelProperties, PullProgress, ToolName, Unloaded
from mcp_server.errors import InvalidRequestError
from mcp_server.tools.threads import MODEL_THREADS, Progress, Threads

LISTS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
PULLS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=True)
REMOVES = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)

LOADS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False)

ModelId = Annotated[str | None, Field(description="Model id from list_models; null for the default model")]
MAX_CURSOR_DIGITS = 9  # more models than any machine has


def register(server: MCPServer, capabilities: Capabilities) -> None:
    """Add the model tools."""
    catalog = capabilities.catalog
    threads = Threads(MODEL_THREADS)

    @server.tool(name=ToolName.LIST_MODELS, title="List models", annotations=LISTS)
    async def list_models(
        cursor: Annotated[str | None, Field(description="`next_cursor` of the page before; null for the first")] = None,
        limit: Annotated[int | None, Field(ge=1, le=1000, description="Models in one page (count)")] = None,
    ) -> ModelList:
        """List the language models on this machine and those of other servers, the default one first.

        Use it to find an id or alias for `model` elsewhere; leaving `model` out means the default.
        """
        start = _offset(cursor)
        loaded = {model.model_id: model for model in capabilities.engine.statistics().loaded_models}
        models = await threads.run(catalog.list)
        end = start + (limit or capabilities.settings.page_size)
        page = tuple(_with_loaded(model, loaded.get(model.model_id)) for model in models[start:end])
        return ModelList(models=page, next_cursor=str(end) if end < len(models) else None)

    @server.tool(name=ToolName.PULL_MODEL, title="Download a model", annotations=PULLS)
    async def pull_model(
        context: Context,
        repo_id: Annotated[str, Field(description="Hugging Face repository, like `owner/name`")],
        filename: Annotated[str, Field(description="GGUF file in it")],
    ) -> Model:
        """Download a GGUF model into the models folder, resuming what an earlier try left.

        Use it when the user asks for a larger model. Needs the network and often gigabytes of disk; reports progress
        in bytes and checks the file's sha256.
        """
        progress = Progress(context.report_progress)

        def on_progress(step: PullProgress) -> None:
            progress(step.done_bytes, step.total_bytes, f"{step.done_bytes} of {step.total_bytes} bytes")

        cancelled = threading.Event()
        return await threads.run(
            functools.partial(catalog.pull, repo_id, filename, on_progress, cancelled), cancelled=cancelled
        )

    @server.tool(name=ToolName.DESCRIBE_MODEL, title="Describe a model", annotations=LISTS)
    async def describe_model(model: ModelId = None) -> ModelProperties:
        """Tell what a model is and can do: size, context, template, tools, infilling, ranking. Loads it if need be.

        Use it before relying on an ability, such as infilling.
        """
        return await capabilities.engine.describe(model)

    @server.tool(name=ToolName.LOAD_MODEL, title="Load a model", annotations=LOADS)
    async def load_model(
        model: ModelId = None,
        keep_alive_s: Annotated[
            float | None,
            Field(description="Unload after as long without a request; negative: never; null: the setting (s)"),
        ] = None,
    ) -> LoadedModel:
        """Load a model into memory now.

        Use it before the first request, so that the request need not wait for it.
        """
        return await capabilities.engine.load(model, keep_alive_s)

    @server.tool(name=ToolName.UNLOAD_MODEL, title="Unload a model", annotations=LOADS)
    async def unload_model(model: ModelId = None) -> Unloaded:
        """Free a model's memory once its requests are done.

        Use it to make room for something else; the next request for the model loads it again.
        """
        return Unloaded(await capabilities.engine.unload(model))

    @server.tool(name=ToolName.REMOVE_MODEL, title="Remove a model", annotations=REMOVES)
    async def remove_model(model: Annotated[str, Field(description="Model id from list_models")]) -> Model:
        """Delete a model's file from the models folder, once its requests are done. The embedded one cannot be removed.

        Use it only when the user asks for it: to have it back, it must be downloaded again.
        """
        removed = await threads.run(catalog.removable, model)  # refused before anything is unloaded
        await capabilities.engine.unload(removed.model_id)
        await threads.run(catalog.remove, removed.model_id)
        return removed


def _with_loaded(model: Model, loaded: LoadedModel | None) -> Model:
    """Add to what the disk knows of a model what the engine knows."""
    return model if loaded is None else replace(model, is_loaded=True, context_tokens=loaded.context_tokens)


def _offset(cursor: str | None) -> int:
    """Read a page's start from *cursor*."""
    if cursor is None:
        return 0
    if not cursor.isdecimal() or len(cursor) > MAX_CURSOR_DIGITS:
        msg = f"cursor {cursor[:MAX_CURSOR_DIGITS]!r} is not one that list_models returned; leave it out at first"
        raise InvalidRequestError(msg, param="cursor")
    return int(cursor)
