"""The nouns of what a model does with texts besides generating: embedding, ranking, tokenizing, templating."""

from dataclasses import dataclass
from typing import Literal

from mcp_server.engine.types.generation import Usage

Pooling = Literal["mean", "last", "cls", "none"]


@dataclass(frozen=True)
class EmbeddingRequest:
    """Texts, or token ids in their place, to embed with the generator's own hidden states."""

    input: tuple[str, ...] = ()
    model: str | None = None
    normalize: bool = True
    pooling: Pooling | None = None  # None: the one the model was made with, else mean
    token_ids: tuple[tuple[int, ...], ...] = ()  # instead of `input`


@dataclass(frozen=True)
class EmbeddingResult:
    """One vector a text, in order, all of `dimensions` numbers; L2-normalised when asked."""

    model: str
    embeddings: tuple[tuple[float, ...], ...]  # empty with pooling `none`
    dimensions: int
    usage: Usage
    token_embeddings: tuple[tuple[tuple[float, ...], ...], ...] | None = None  # with pooling `none`: a vector a token


@dataclass(frozen=True)
class RerankRequest:
    """Documents to judge by how well each answers the query."""

    query: str
    documents: tuple[str, ...]
    model: str | None = None


@dataclass(frozen=True)
class RerankResult:
    """One score a document, in order; larger is better, and only comparable within one request."""

    model: str
    scores: tuple[float, ...]
    usage: Usage


@dataclass(frozen=True)
class TokenizeRequest:
    """One text to split into tokens."""

    text: str
    model: str | None = None
    add_special: bool = False  # begin with BOS where the model wants one
    parse_special: bool = True  # `<|im_start|>` in the text is the token, not its letters
    return_pieces: bool = False


@dataclass(frozen=True)
class TokenizeResult:
    """The token ids of one text."""

    model: str
    tokens: tuple[int, ...]
    n_tokens: int
    pieces: tuple[tuple[int, ...], ...] | None = None  # the bytes of each token, when asked for


@dataclass(frozen=True)
class DetokenizeResult:
    """The text of token ids; bytes that are no character are U+FFFD."""

    model: str
    text: str


@dataclass(frozen=True)
class RenderedPrompt:
    """What a request's messages or gap become before they are tokenized."""

    model: str
    prompt: str
    n_tokens: int
