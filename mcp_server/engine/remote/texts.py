"""What a remote model's server does besides generating: tokens, templates, embeddings, ranking, telling what it is.

Only embeddings and the list of models are of OpenAI's API; the rest is llama-server's, which vLLM has in part. Where a
server lacks one, the caller gets a `NotSupportedError`. What the server does not tell about its model is left 0 or "".
"""

import math
from typing import Any

from mcp_server.engine.remote.errors import ServerFailureError
from mcp_server.engine.remote.http import MODELS_PATH, RemoteHttp
from mcp_server.engine.remote.settings import RemoteModel
from mcp_server.engine.remote.wire import chat_form
from mcp_server.engine.types import (
    DetokenizeResult,
    EmbeddingRequest,
    EmbeddingResult,
    GenerationRequest,
    ModelProperties,
    RenderedPrompt,
    RerankRequest,
    RerankResult,
    TokenizeRequest,
    TokenizeResult,
    Usage,
)
from mcp_server.errors import InvalidRequestError, ModelNotFoundError, NotSupportedError, UpstreamError

UNNORMALISED = -1  # llama-server's `embd_normalize`
REASONING_SIGNS = ("reasoning_content", "<think>", "enable_thinking")  # in a template
CONTEXT_FIELDS = ("max_model_len", "context_length", "context_tokens", "max_context_length")  # of an entry in the list
Json = dict[str, Any]


class RemoteTexts:
    """Everything about one remote model that is not generation."""

    def __init__(self, model: RemoteModel, http: RemoteHttp) -> None:
        self._model = model
        self._http = http
        self._upstream = model.upstream_model or model.model_id

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResult:
        """Embed texts or token ids.

        Raises:
            InvalidRequestError: There is nothing to embed.
            NotSupportedError: A pooling is asked for, which the server chooses itself.
            CinqueError: The server failed or refused.
        """
        given: list[Any] = list(request.input) or [list(ids) for ids in request.token_ids]
        if not given or not all(given):
            msg = "There is nothing to embed; give at least one text, none of them empty."
            raise InvalidRequestError(msg, param="input")
        if request.pooling is not None:
            msg = f"How {self._model.model_id} pools is set at its server; leave `pooling` out."
            raise NotSupportedError(msg, param="pooling")
        body: Json = {"model": self._upstream, "input": given, "encoding_format": "float"}
        if not request.normalize:
            body["embd_normalize"] = UNNORMALISED
        answer = await self._http.post("/v1/embeddings", body)
        vectors = [_vector(item, normalize=request.normalize) for item in _in_order(answer, "data", len(given))]
        if len({len(vector) for vector in vectors}) != 1:
            raise _unreadable(self._model, "embeddings of several lengths")
        return EmbeddingResult(self._model.model_id, tuple(vectors), len(vectors[0]), _usage(answer))

    async def rerank(self, request: RerankRequest) -> RerankResult:
        """Judge documents.

        Raises:
            InvalidRequestError: There are none.
            NotSupportedError: The server ranks nothing.
        """
        if not request.documents:
            raise InvalidRequestError("There are no documents to rank; give at least one.", param="documents")
        body = {"model": self._upstream, "query": request.query, "documents": list(request.documents)}
        answer = await self._http.post("/v1/rerank", body)
        results = _in_order(answer, "results", len(request.documents))
        scores = tuple(_number(item.get("relevance_score", item.get("score"))) for item in results)
        return RerankResult(self._model.model_id, scores, _usage(answer))

    async def tokenize(self, request: TokenizeRequest) -> TokenizeResult:
        """Tokenize by the server's `/tokenize`: llama-server's fields and vLLM's in one body."""
        body = {
            "model": self._upstream,
            "content": request.text,
            "prompt": request.text,
            "add_special": request.add_special,
            "add_special_tokens": request.add_special,
            "parse_special": request.parse_special,
            "with_pieces": request.return_pieces,
        }
        tokens = (await self._http.post("/tokenize", body)).get("tokens")
        if not isinstance(tokens, list):
            raise _unreadable(self._model, "no list of tokens")
        ids = tuple(int(_number(token["id"] if isinstance(token, dict) else token)) for token in tokens)
        pieces = tuple(_piece(token) for token in tokens) if request.return_pieces else None
        return TokenizeResult(self._model.model_id, ids, len(ids), pieces)

    async def detokenize(self, token_ids: tuple[int, ...]) -> DetokenizeResult:
        """Make text by the server's `/detokenize`."""
        answer = await self._http.post("/detokenize", {"model": self._upstream, "tokens": list(token_ids)})
        text = answer.get("content", answer.get("prompt"))
        if not isinstance(text, str):
            raise _unreadable(self._model, "no text")
        return DetokenizeResult(self._model.model_id, text)

    async def render(self, request: GenerationRequest) -> RenderedPrompt:
        """Make the prompt by the server's `/apply-template`, and count its tokens.

        Raises:
            NotSupportedError: The server has no such endpoint, or the request is a gap to fill.
        """
        if request.infill is not None:
            msg = f"What {self._model.model_id} makes of a gap is known to its server only; send the request itself."
            raise NotSupportedError(msg, param="infill")
        if request.prompt_token_ids:
            prompt = (await self.detokenize(request.prompt_token_ids)).text
            return RenderedPrompt(self._model.model_id, prompt, len(request.prompt_token_ids))
        prompt = request.prompt or await self._apply_template(request)
        counted = await self.tokenize(TokenizeRequest(prompt, add_special=True))
        return RenderedPrompt(self._model.model_id, prompt, counted.n_tokens)

    async def describe(self) -> ModelProperties:
        """Tell what the server tells about its model.

        Raises:
            ModelNotFoundError: It lists models, and this one is not among them.
        """
        listed = (await self._http.get(MODELS_PATH)).get("data")
        entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
        entry = next((entry for entry in entries if entry.get("id") == self._upstream), None)
        if entry is None and len(entries) > 1:  # llama-server has one and answers to any name
            names = ", ".join(str(entry.get("id")) for entry in entries)
            msg = f"The server of {self._model.model_id} has no model {self._upstream!r}; it has {names}."
            raise ModelNotFoundError(msg, param="model")
        try:
            props = await self._http.get("/props")
        except (NotSupportedError, UpstreamError):  # only llama-server has it, and it may be switched off
            props = {}
        return _properties(self._model, entry or (entries[0] if entries else {}), props)

    async def _apply_template(self, request: GenerationRequest) -> str:
        answer = await self._http.post("/apply-template", {"model": self._upstream, **chat_form(request)})
        prompt = answer.get("prompt")
        if not isinstance(prompt, str):
            raise _unreadable(self._model, "no prompt")
        return prompt


def _properties(model: RemoteModel, entry: Json, props: Json) -> ModelProperties:
    meta = _object(entry.get("meta"))
    defaults = _object(props.get("default_generation_settings"))
    template = _text(props.get("chat_template"))
    trained = _count(meta.get("n_ctx_train"))
    told = next((count for name in CONTEXT_FIELDS if (count := _count(entry.get(name)))), 0)
    context = model.context_tokens or _count(defaults.get("n_ctx")) or _count(meta.get("n_ctx")) or told or trained
    return ModelProperties(
        model_id=model.model_id,
        path=model.urls[0],
        architecture=_text(meta.get("architecture")),
        quantization=_text(meta.get("quantization")) or _text(meta.get("ftype")),
        n_parameters=_count(meta.get("n_params")),
        size_bytes=_count(meta.get("size")),
        n_vocab=_count(meta.get("n_vocab")),
        n_embedding=_count(meta.get("n_embd")),
        n_layers=_count(meta.get("n_layers")),
        context_tokens=context,
        trained_context_tokens=trained or context,
        n_slots=_count(props.get("total_slots")),
        n_threads=0,
        gpu_layers=0,
        kv_layout="",
        flash_attention=False,
        chat_template=template,
        bos_token=_text(props.get("bos_token")),
        eos_token=_text(props.get("eos_token")),
        can_generate=True,
        can_infill=True,  # tried when asked for: no server tells
        can_rerank=True,
        can_share_prefixes=True,
        has_native_tools="tools" in template,
        has_reasoning=any(sign in template for sign in REASONING_SIGNS),
    )


def _in_order(answer: Json, name: str, n: int) -> list[Json]:
    """Give the items of a list by their index; as many as were asked for, or the server is at fault."""
    items = answer.get(name)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        msg = f"The server answered without a list `{name}`. Is it an OpenAI-compatible server?"
        raise ServerFailureError(msg)
    ordered = {item.get("index", place): item for place, item in enumerate(items)}
    if sorted(map(str, ordered)) != sorted(map(str, range(n))):
        msg = f"The server answered {len(items)} items in `{name}` for {n}. Is it an OpenAI-compatible server?"
        raise ServerFailureError(msg)
    return [ordered[place] for place in range(n)]


def _vector(item: Json, *, normalize: bool) -> tuple[float, ...]:
    given = item.get("embedding")
    if not isinstance(given, list) or not given:
        msg = "The server answered without the numbers of an embedding. Is it an OpenAI-compatible server?"
        raise ServerFailureError(msg)
    vector = tuple(map(_number, given))
    length = math.hypot(*vector) if normalize else 1.0
    return tuple(x / length for x in vector) if length > 0 else vector


def _piece(token: Any) -> tuple[int, ...]:
    piece = token.get("piece") if isinstance(token, dict) else None
    if isinstance(piece, str):
        return tuple(piece.encode("utf-8", "replace"))
    if isinstance(piece, list):
        return tuple(int(_number(byte)) for byte in piece)
    msg = "The server of this model does not tell the pieces of its tokens; leave `return_pieces` out."
    raise NotSupportedError(msg, param="return_pieces")


def _usage(answer: Json) -> Usage:
    return Usage(_count(_object(answer.get("usage")).get("prompt_tokens")), 0)


def _unreadable(model: RemoteModel, what: str) -> ServerFailureError:
    return ServerFailureError(f"{model.model_id} at {', '.join(model.urls)} answered with {what}.")


def _number(value: Any) -> float:
    if isinstance(value, (int, float)):
        return value
    msg = "The server answered something else where a number belongs. Is it an OpenAI-compatible server?"
    raise ServerFailureError(msg)


def _count(value: Any) -> int:
    return int(value) if isinstance(value, (int, float)) and value > 0 else 0


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}
