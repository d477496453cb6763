"""Embedding and ranking requests under way: texts to tokens to vectors or scores, one batch a beat.

A request of a thousand texts must not hold up the streams beside it, so its owner calls `advance` once a beat until
`is_done`. Synchronous; knows nothing of queues. The form of a pair for a ranking head is the one of llama.cpp's server.
"""

from collections.abc import Sequence as Items
from typing import Any

import numpy as np

from mcp_server.engine.embedder import Embedder, States
from mcp_server.engine.native.vocabulary import Vocabulary, count_bytes
from mcp_server.engine.types import EmbeddingRequest, EmbeddingResult, Pooling, RerankRequest, RerankResult, Usage
from mcp_server.errors import ContextLengthError, InvalidRequestError, NotSupportedError

TEXTS_A_LOOK = 16  # texts tokenized at once, to find some of a length for a common batch

Vector = tuple[float, ...]


class EmbeddingRun:
    """One `EmbeddingRequest` under way."""

    def __init__(self, embedder: Embedder, vocabulary: Vocabulary, request: EmbeddingRequest) -> None:
        """Check the request.

        Raises:
            InvalidRequestError: There is nothing to embed, or a token id is not one of this model's.
            ContextLengthError: A text's size alone says that it is too long.
        """
        self._embedder, self._vocabulary, self._request = embedder, vocabulary, request
        self._pooling: Pooling = request.pooling or embedder.pooling or "mean"
        self._texts: Items[str | tuple[int, ...]] = request.input or request.token_ids
        _check_texts(request, vocabulary)
        for text in request.input:
            check_size(text, embedder, vocabulary)
        self._n_tokenized = 0
        self._batches: list[list[tuple[int, list[int]]]] = []  # of (which text, its tokens)
        self._pooled: dict[int, Any] = {}  # which text -> its vector, or its states with pooling `none`
        self._n_tokens = 0

    @property
    def is_done(self) -> bool:
        """Tell whether every text has its vector."""
        return len(self._pooled) == len(self._texts)

    def advance(self) -> None:
        """Compute the next batch.

        Raises:
            ContextLengthError: A text is longer than the embedder takes.
        """
        if not self._batches:
            self._look_ahead()
        batch = self._batches.pop(0)
        states = self._embedder.states([tokens for _, tokens in batch])
        for (which, tokens), of_text in zip(batch, states, strict=True):
            self._pooled[which] = self._finish(of_text)
            self._n_tokens += len(tokens)

    def result(self, model_id: str) -> EmbeddingResult:
        """Give the vectors in the order of the texts."""
        usage = Usage(self._n_tokens, 0)
        pooled = [self._pooled[which] for which in range(len(self._texts))]
        if self._pooling == "none":
            return EmbeddingResult(model_id, (), len(pooled[0][0]), usage, token_embeddings=tuple(pooled))
        return EmbeddingResult(model_id, tuple(pooled), len(pooled[0]), usage)

    def _look_ahead(self) -> None:
        """Tokenize the next texts and put those of a length together."""
        begin = self._n_tokenized
        tokens = [self._tokens(text) for text in self._texts[begin : begin + TEXTS_A_LOOK]]
        self._n_tokenized += len(tokens)
        groups = self._embedder.group([len(text) for text in tokens])
        self._batches = [[(begin + i, tokens[i]) for i in group] for group in groups]

    def _tokens(self, text: str | tuple[int, ...]) -> list[int]:
        if not isinstance(text, str):
            return list(text)
        # A model made to embed was trained with its special tokens; in a generator BOS would drown the text in a mean.
        return self._vocabulary.encode(text, is_prompt=self._embedder.is_made_to_embed)

    def _finish(self, states: States) -> Vector | tuple[Vector, ...]:
        if self._pooling == "none":
            return tuple(self._vector(state) for state in states)
        return self._vector(pool(states, self._pooling))

    def _vector(self, values: Any) -> Vector:
        """Make a vector of an array `(n_embd,)`, of length 1 where that is asked."""
        length = float(np.linalg.norm(values)) if self._request.normalize else 1.0
        return tuple(float(x) for x in values / (length or 1.0))


class RerankRun:
    """One `RerankRequest` under way."""

    def __init__(
        self, embedder: Embedder, vocabulary: Vocabulary, request: RerankRequest, template: str | None
    ) -> None:
        """Check the request.

        Args:
            embedder: of the model.
            vocabulary: of the model.
            request: the query and the documents.
            template: how the model wants a pair, with `{query}` and `{document}`; None: with its separators.

        Raises:
            NotSupportedError: The model has no ranking head.
            InvalidRequestError: There is no query, or no document.
            ContextLengthError: A document's size alone says that it is too long.
        """
        if not embedder.can_rerank:
            msg = "This model has no ranking head; load a reranker to rank documents."
            raise NotSupportedError(msg, param="model")
        for param, value in (("query", request.query), ("documents", request.documents)):
            if not value:
                msg = f"`{param}` is empty; give a query and at least one document."
                raise InvalidRequestError(msg, param=param)
        for document in request.documents:
            check_size(request.query + document, embedder, vocabulary, param="documents")
        self._embedder, self._vocabulary, self._request, self._template = embedder, vocabulary, request, template
        self._scores: list[float] = []
        self._n_tokens = 0

    @property
    def is_done(self) -> bool:
        """Tell whether every document has its score."""
        return len(self._scores) == len(self._request.documents)

    def advance(self) -> None:
        """Judge the next document.

        Raises:
            ContextLengthError: Query and document are together longer than the embedder takes.
        """
        tokens = self._pair(self._request.documents[len(self._scores)])
        self._scores.append(self._embedder.score(tokens))
        self._n_tokens += len(tokens)

    def result(self, model_id: str) -> RerankResult:
        """Give the scores in the order of the documents."""
        return RerankResult(model_id, tuple(self._scores), Usage(self._n_tokens, 0))

    def _pair(self, document: str) -> list[int]:
        query, encode = self._request.query, self._vocabulary.encode
        if self._template is not None:
            before, _, after = self._template.partition("{document}")
            text = before.replace("{query}", query) + document + after.replace("{query}", query)
            return encode(text, is_prompt=False)
        begin, between, end = self._vocabulary.pair_marks
        tokens = [encode(text, is_prompt=False, parse_special=False) for text in (query, document)]
        return [*begin, *tokens[0], *between, *tokens[1], *end]


def pool(states: States, pooling: Pooling) -> Any:
    """Make one vector `(n_embd,)` of a text's states."""
    match pooling:
        case "last":
            return states[-1]
        case "cls":
            return states[0]
        case _:
            return states.mean(axis=0, dtype=np.float64)


def check_size(text: str, embedder: Embedder, vocabulary: Vocabulary, *, param: str = "input") -> None:
    """Refuse a text whose size alone says that it is too long to embed.

    Raises:
        ContextLengthError: It is; the message has both numbers.
    """
    limit = embedder.max_tokens
    if vocabulary.exceeds(text, limit):
        msg = f"A text has {count_bytes(text)} bytes; at most {limit} tokens can be embedded at once. Split it."
        raise ContextLengthError(msg, param=param)


def _check_texts(request: EmbeddingRequest, vocabulary: Vocabulary) -> None:
    texts: Items[str | tuple[int, ...]] = request.input or request.token_ids
    if not texts or not all(texts):
        msg = "There is nothing to embed; give at least one text, none of them empty."
        raise InvalidRequestError(msg, param="input")
    if request.input and request.token_ids:
        msg = "Give exactly one of `input` and `token_ids`."
        raise InvalidRequestError(msg, param="input")
    for token in (token for text in request.token_ids for token in text):
        if not 0 <= token < vocabulary.n_tokens:
            msg = f"{token} is no token of this model; its ids are 0 to {vocabulary.n_tokens - 1}."
            raise InvalidRequestError(msg, param="token_ids")
