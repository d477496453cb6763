"""Tools that index and find text: `index` and `retrieve`, what a collection is, and its symbols.

Every call runs in a worker thread of the retrieval core. `index` tells by progress notifications how far it is: the
number runs to 100, the message names the stage and its own count, as in `embedding 40/300`.
"""

import functools
import threading
from collections.abc import Callable
from typing import Annotated, Final, Literal

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
    Outline,
    Overview,
    RetrieveRequest,
    RetrieveResult,
    SymbolRequest,
    SymbolResult,
    ToolName,
)
from mcp_server.tools.threads import RETRIEVAL_THREADS, Progress, Threads

READS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
WRITES = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
DELETES = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)

# Where each stage lies on the way from 0 to 100: its start and its length, by the time that stages take on a laptop.
SHARES: Final[dict[str, tuple[int, int]]] = {
    "reading": (0, 5),
    "chunking": (5, 5),
    "weighing": (10, 5),
    "committing": (0, 0),
    "model": (15, 0),  # once on a machine
    "embedding": (15, 85),
}
WHOLE: Final = 100.0

CollectionName = Annotated[str, Field(description="Name of the collection (letters, digits, `.`, `_`, `-`)")]


def register(server: MCPServer, capabilities: Capabilities) -> None:
    """Add the retrieval tools."""
    _register_indexing(server, capabilities)
    _register_listing(server, capabilities)
    _register_searching(server, capabilities)
    _register_symbols(server, capabilities)


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
        watch: Annotated[bool, Field(description="Go on following the folder's changes; needs `root`")] = False,  # noqa: FBT002 - a tool's arguments have names
        wait_for_dense: Annotated[  # noqa: FBT002 - as above
            bool, Field(description="False: return once words can be searched; dense vectors fill in behind")
        ] = True,
    ) -> IndexReport:
        """Index a folder or posted files, so that `retrieve` and the symbol tools can read them.

        Use it once per project and again after changes: only changed files are read and embedded, and files that are
        gone leave the index. With `watch` the server does that by itself until it stops. What git ignores, binaries,
        minified and huge files are skipped and listed. Reports progress by stage. For a large project give
        `wait_for_dense: false` and search at once: `index_status` tells how much is dense.
        """
        request = IndexRequest(
            collection=collection,
            documents=None if documents is None else tuple(documents),
            root=root,
            fingerprint=fingerprint,
            title=title,
            metadata=metadata,
            watch=watch,
            wait_for_dense=wait_for_dense,
        )
        cancelled = threading.Event()
        on_progress = _by_stage(Progress(context.report_progress))
        return await threads.run(
            functools.partial(retrieval.index, request, on_progress, cancelled), cancelled=cancelled
        )

    @server.tool(name=ToolName.DELETE_COLLECTION, title="Delete a collection", annotations=DELETES)
    async def delete_collection(collection: CollectionName) -> DeleteResult:
        """Delete a collection's index from disk. The files that were indexed are not touched.

        Use it only when the user asks for it: to have it back, the whole must be indexed again.
        """
        return await threads.run(retrieval.delete_collection, collection)


def _register_listing(server: MCPServer, capabilities: Capabilities) -> None:
    retrieval = capabilities.retrieval
    threads = Threads(RETRIEVAL_THREADS)

    @server.tool(name=ToolName.INDEX_STATUS, title="Status of a collection", annotations=READS)
    async def index_status(collection: CollectionName) -> IndexStatus:
        """Tell how large a collection is, how much of it has dense vectors, and when it was last synced.

        Use it to see whether a collection is there and fresh before you search it. `progress` tells how far what goes
        on is; its stage `model` says that the embedding model is being converted, once, and meanwhile queries are
        answered by words and quicker vectors.
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


def _register_searching(server: MCPServer, capabilities: Capabilities) -> None:
    retrieval = capabilities.retrieval
    threads = Threads(RETRIEVAL_THREADS)

    @server.tool(name=ToolName.RETRIEVE, title="Search a collection", annotations=READS)
    async def retrieve(  # noqa: PLR0913, PLR0917 - the fields of RetrieveRequest
        collection: CollectionName,
        query: Annotated[
            str, Field(description="A question, an identifier or an error message; of the other modes: what to match")
        ],
        max_results: Annotated[int, Field(ge=1, le=100, description="Hits at most (count)")] = 10,
        max_tokens: Annotated[int, Field(ge=1, le=100_000, description="Text of all hits together (tokens)")] = 8000,
        path_glob: Annotated[str | None, Field(description="Only paths matching this glob, like `src/**/*.py`")] = None,
        language: Annotated[str | None, Field(description="Only this language")] = None,
        mode: Annotated[
            Literal["hybrid", "exact", "regex"],
            Field(description="hybrid: by meaning and words; exact: this very text; regex: a regular expression"),
        ] = "hybrid",
        kind: Annotated[
            str | None, Field(description="Only this kind: function, method, class, section or window")
        ] = None,
        include_neighbours: Annotated[  # noqa: FBT002 - a tool's arguments have names
            bool, Field(description="Add what stands beside the best hits in their files")
        ] = False,
    ) -> RetrieveResult:
        """Find the pieces of a collection that answer a query, best first, with path and line span.

        Use it to find code by meaning or by name before reading files. Ask in whole words: `where is the retry delay
        computed` finds more than `retry`. Use mode exact for a literal such as an error message, and regex for a
        pattern: both name the lines that match. For where one symbol is defined or called, `find_symbol` is surer.
        `truncated` says that the limits cut hits off.
        """
        request = RetrieveRequest(
            collection=collection,
            query=query,
            max_results=max_results,
            max_tokens=max_tokens,
            path_glob=path_glob,
            language=language,
            mode=mode,
            kind=kind,
            include_neighbours=include_neighbours,
        )
        return await threads.run(retrieval.retrieve, request)


def _register_symbols(server: MCPServer, capabilities: Capabilities) -> None:
    retrieval = capabilities.retrieval
    threads = Threads(RETRIEVAL_THREADS)

    @server.tool(name=ToolName.FIND_SYMBOL, title="Find a symbol", annotations=READS)
    async def find_symbol(
        collection: CollectionName,
        symbol: Annotated[
            str,
            Field(min_length=1, max_length=1000, description="Its name, plain or qualified: `parse`, `Parser.parse`"),
        ],
        max_results: Annotated[
            int, Field(ge=1, le=1000, description="Definitions at most, and references at most (count)")
        ] = 50,
    ) -> SymbolResult:
        """Find where a function, method, class or other name is defined, and where it is used.

        Use it before you change or call a symbol whose name you know: the definitions say what it is, the references
        who depends on it. References are found by name in the indexed text, not by type, so equal names of different
        things are all among them. `truncated` says that there are more.
        """
        return await threads.run(retrieval.find_symbol, SymbolRequest(collection, symbol, max_results))

    @server.tool(name=ToolName.OUTLINE, title="Outline a file", annotations=READS)
    async def outline(
        collection: CollectionName,
        path: Annotated[str, Field(min_length=1, description="Path of the file in the collection, with `/`")],
    ) -> Outline:
        """List what one file defines, in order: classes, functions, methods or headings, with lines and signatures.

        Use it to learn a long file before you read any of it, or to pick the span to read. It is as fresh as the
        index. Files of languages that are not parsed have no items.
        """
        return await threads.run(retrieval.outline, collection, path)

    @server.tool(name=ToolName.OVERVIEW, title="Overview of a collection", annotations=READS)
    async def overview(collection: CollectionName) -> Overview:
        """Describe a whole project: languages, folders, largest files, entry points, the beginning of its README.

        Use it first in a project that you do not know, to decide where to look. Entry points are recognised by
        convention, such as a `main`, so some may be missing. Only what is indexed counts.
        """
        return await threads.run(retrieval.overview, collection)


def _by_stage(report: Progress) -> Callable[[IndexProgress], None]:
    """Tell progress as one number up to 100, and every stage; what is committed on the way moves nothing."""
    reached, stage = 0.0, ""

    def on_progress(step: IndexProgress) -> None:
        nonlocal reached, stage
        start, length = SHARES[step.stage]
        reached = max(reached, start + length * step.done / max(step.total, step.done, 1))
        report(reached, WHOLE, f"{step.stage} {step.done}/{step.total}", is_urgent=step.stage != stage)
        stage = step.stage

    return on_progress
