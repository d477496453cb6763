"""Tools that do something else with a model's view of text: `embed`, `rerank`, `tokenize`, `detokenize`."""

from typing import Annotated

from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations
from pydantic import Field

from mcp_server.capabilities import Capabilities
from mcp_server.contract import (
    DetokenizeResult,
    EmbeddingRequest,
    EmbeddingResult,
    Pooling,
    RerankRequest,
    RerankResult,
    TokenizeRequest,
    TokenizeResult,
    ToolName,
)

ModelId = Annotated[str | None, Field(description="Model id from list_models; null for the default model")]

COMPUTES = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
MAX_TEXTS = 256  # of one call


def register(server: MCPServer, capabilities: Capabilities) -> None:
    """Add the text tools."""
    engine = capabilities.engine

    @server.tool(name=ToolName.EMBED, title="Embed texts", annotations=COMPUTES)
    async def embed(
        input: Annotated[  # noqa: A002 - the field's documented name
            list[str], Field(max_length=MAX_TEXTS, description="Texts to embed, each within the context")
        ] = [],  # noqa: B006 - the SDK copies defaults
        token_ids: Annotated[
            list[list[int]], Field(max_length=MAX_TEXTS, description="The same as token ids, instead of `input`")
        ] = [],  # noqa: B006 - as above
        model: ModelId = None,
        normalize: Annotated[bool, Field(description="Scale each vector to length 1")] = True,  # noqa: FBT002 - wire field
        pooling: Annotated[
            Pooling | None, Field(description="Which hidden states; none: a vector a token; null: the model's own way")
        ] = None,
    ) -> EmbeddingResult:
        """Embed texts with the language model's own hidden states.

        Use it to compare texts by meaning. For searching a repository use `index` and `retrieve`, which keep vectors
        of a model made for search.
        """
        request = EmbeddingRequest(tuple(input), model, normalize, pooling, tuple(map(tuple, token_ids)))
        return await engine.embed(request)

    @server.tool(name=ToolName.RERANK, title="Rank documents", annotations=COMPUTES)
    async def rerank(
        query: Annotated[str, Field(description="What the documents should answer")],
        documents: Annotated[
            list[str], Field(min_length=1, max_length=MAX_TEXTS, description="Texts to judge, each within the context")
        ],
        model: ModelId = None,
    ) -> RerankResult:
        """Judge how well each document answers a query, with a model that has a ranking head.

        Use it to put the best of a few dozen candidates first. Other models answer `not_supported`.
        """
        return await engine.rerank(RerankRequest(query, tuple(documents), model))

    @server.tool(name=ToolName.TOKENIZE, title="Tokenize text", annotations=COMPUTES)
    async def tokenize(
        text: Annotated[str, Field(description="Text to tokenize")],
        model: ModelId = None,
        add_special: Annotated[bool, Field(description="Begin with BOS where the model wants one")] = False,  # noqa: FBT002 - wire field
        parse_special: Annotated[bool, Field(description="Recognise special tokens in the text")] = True,  # noqa: FBT002 - wire field
        return_pieces: Annotated[bool, Field(description="Return the bytes of each token")] = False,  # noqa: FBT002 - wire field
    ) -> TokenizeResult:
        """Split text into the model's tokens.

        Use it to count what a prompt costs before sending it.
        """
        return await engine.tokenize(TokenizeRequest(text, model, add_special, parse_special, return_pieces))

    @server.tool(name=ToolName.DETOKENIZE, title="Tokens to text", annotations=COMPUTES)
    async def detokenize(
        token_ids: Annotated[list[int], Field(description="Token ids of this model")],
        model: ModelId = None,
    ) -> DetokenizeResult:
        """Make text of token ids, the reverse of `tokenize`.

        Use it to read what token ids of a model mean.
        """
        return await engine.detokenize(tuple(token_ids), model)
