"""Tools that index and find text: `index`, `index_status`, `list_collections`, `delete_collection`, `retrieve`."""

import functools
import threading
from typing import Annotated

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import ToolAnnotations
from pydantic import Field

from mcp_server.capabilities import Capabilities
from mcp_server.contract import (
    CollectionList,
    DeleteResult,
    Document,
    IndexProgress,
    IndexReport,
    IndexRequest,
    IndexStatus,
    RetrieveRequest,
    RetrieveResult,
    ToolName,
)
from mcp_server.tools.threads import RETRIEVAL_THREADS, Progress, Threads

READS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
WRITES = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
DELETES = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)

CollectionName = Annotated[str, Field(description="Name of the collection (letters, digits, `.`, `_`, `-`)")]


def register(server: MCPServer, capabilities: Capabilities) -> None:
    """Add the retrieval tools."""
    _register_indexing(server, capabilities)
    _register_reading(server, capabilities)


def _register_indexing(server: MCPServer, capabilities: Capabilities) -> None:
    retrieval = capabilities.retrieval
    threads = Threads(RETRIEVAL_THREADS)

    @server.tool(name=ToolName.INDEX, title="Index text for retrieval", annotations=WRITES)
    async def index(  # noqa: PLR0913, PLR0917 - the fields of IndexRequest
        context: Context,
        collection: CollectionName,
        documents: Annotated[list[Document] | None, Field(description="The files themselves; or give `root`")] = None,
        root: Annotated[str | None, Field(description="Folder on the server's machine; or give `documents`")] = None,
        fingerprint: Annotated[str, Field(description="Your hash of the whole; equal to the stored one: no work")] = "",
        title: Annotated[str, Field(description="Name shown to people")] = "",
        metadata: Annotated[dict[str, str], Field(description="Kept with the collection")] = {},  # noqa: B006 - the SDK copies defaults
    ) -> IndexReport:
        """Index a folder or posted files, so that `retrieve` can search them.

        Use it once per project and again after changes: only changed files are read and embedded, and files that are
        gone leave the index. Reports progress. Binaries and huge files are skipped and listed.
        """
        request = IndexRequest(
            collection=collection,
            documents=None if documents is None else tuple(documents),
            root=root,
            fingerprint=fingerprint,
            title=title,
            metadata=metadata,
        )
        progress = Progress(context.report_progress)

        def on_progress(step: IndexProgress) -> None:
            progress(step.done, step.total, f"{step.stage} {step.done}/{step.total}")

        cancelled = threading.Event()
        return await threads.run(
            functools.partial(retrieval.index, request, on_progress, cancelled), cancelled=cancelled
        )

    @server.tool(name=ToolName.DELETE_COLLECTION, title="Delete a collection", annotations=DELETES)
    async def delete_collection(collection: CollectionName) -> DeleteResult:
        """Delete a collection's index from disk. The files that were indexed are not touched.

        Use it only when the user asks for it: to have it back, the whole must be indexed again.
        """
        return await threads.run(retrieval.delete_collection, collection)


def _register_reading(server: MCPServer, capabilities: Capabilities) -> None:
    retrieval = capabilities.retrieval
    threads = Threads(RETRIEVAL_THREADS)

    @server.tool(name=ToolName.INDEX_STATUS, title="Status of a collection", annotations=READS)
    async def index_status(collection: CollectionName) -> IndexStatus:
        """Tell how large a collection is, how much of it has dense vectors, and when it was last synced.

        Use it to see whether a collection is there and fresh before you search it.
        """
        return await threads.run(retrieval.index_status, collection)

    @server.tool(name=ToolName.LIST_COLLECTIONS, title="List collections", annotations=READS)
    async def list_collections(
        cursor: Annotated[str | None, Field(description="`next_cursor` of the page before; null for the first")] = None,
        limit: Annotated[int | None, Field(ge=1, le=1000, description="Collections in one page (count)")] = None,
    ) -> CollectionList:
        """List indexed collections, one page at a time.

        Use it to find the name that `retrieve` wants.
        """
        return await threads.run(retrieval.list_collections, cursor, limit or capabilities.settings.page_size)

    @server.tool(name=ToolName.RETRIEVE, title="Search a collection", annotations=READS)
    async def retrieve(
        collection: CollectionName,
        query: Annotated[str, Field(description="A question, an identifier or an error message")],
        max_results: Annotated[int, Field(ge=1, le=100, description="Hits at most (count)")] = 10,
        max_tokens: Annotated[int, Field(ge=100, le=100_000, description="Text of all hits together (tokens)")] = 8000,
        path_glob: Annotated[str | None, Field(description="Only paths matching this glob, like `src/**/*.py`")] = None,
        language: Annotated[str | None, Field(description="Only this language")] = None,
    ) -> RetrieveResult:
        """Find the pieces of a collection that answer a query, best first, with path and line span.

        Use it to find code by meaning or by name before reading files. `truncated` says that the limits cut hits off.
        """
        request = RetrieveRequest(
            collection=collection,
            query=query,
            max_results=max_results,
            max_tokens=max_tokens,
            path_glob=path_glob,
            language=language,
        )
        return await threads.run(retrieval.retrieve, request)
