"""The llama-server door's own JSON: health, tokens, templates, properties, slots, ranking.

Chat, completions, embeddings and models are dialects, which other doors speak too. Member names and forms are those of
https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md.
"""

from typing import Any, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    RootModel,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from mcp_server.contract import (
    EngineStatistics,
    GenerationRequest,
    ModelProperties,
    RerankResult,
    SamplingParams,
    SlotStatistics,
    TokenizeResult,
)
from shim.dialects.llama_completion import generation_settings, sampling_settings
from shim.dialects.llama_errors import LlamaErrorBody
from shim.dialects.llama_sampling import DEFAULTS
from shim.dialects.openai_embeddings import EmbeddingUsage

MAX_DOCUMENTS = 256  # of one ranking


class Health(BaseModel):
    """`ok` when a model can answer; else `unavailable` and, as there, an error."""

    status: Literal["ok", "unavailable"]
    error: LlamaErrorBody | None = None

    @model_serializer(mode="wrap")
    def _without_none(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        return {name: value for name, value in data.items() if value is not None}


class TokenizeBody(BaseModel):
    """A request for `/tokenize`."""

    content: str = Field(description="Text to tokenize")
    add_special: bool = Field(default=False, description="Begin with BOS where the model wants one")
    parse_special: bool = Field(default=True, description="Recognise special tokens in the text")
    with_pieces: bool = Field(default=False, description="Return the text of each token")
    model: str | None = Field(default=None, description="Model id; the default one answers for a name that is not here")


class TokenPiece(BaseModel):
    """One token; the piece is a list of bytes where they are not whole characters."""

    id: int
    piece: str | list[int]


class Tokens(BaseModel):
    """Token ids, or tokens with their pieces."""

    tokens: list[int] | list[TokenPiece]


class DetokenizeBody(BaseModel):
    """A request for `/detokenize`."""

    tokens: list[int] = Field(description="Token ids of this model")
    model: str | None = Field(default=None, description="Model id; the default one answers for a name that is not here")


class Detokenized(BaseModel):
    """The text of token ids."""

    content: str


class AppliedTemplate(BaseModel):
    """The prompt that a conversation becomes."""

    prompt: str


class InputTokens(BaseModel):
    """How many tokens a conversation is."""

    object: Literal["response.input_tokens"] = "response.input_tokens"
    input_tokens: int


class RerankBody(BaseModel):
    """A request for `/rerank`. `texts` in the place of `documents` asks for text-embeddings-inference's form."""

    query: str = Field(description="What the documents should answer")
    documents: list[str] = Field(
        validation_alias=AliasChoices("documents", "texts"),
        min_length=1,
        max_length=MAX_DOCUMENTS,
        description="Texts to rank",
    )
    top_n: int | None = Field(default=None, ge=0, le=2**31 - 1, description="Results at most (count)")
    return_text: bool = Field(default=False, description="Repeat the texts, in TEI's form")
    model: str | None = Field(default=None, description="Model id; the default one answers for a name that is not here")
    _is_tei: bool = PrivateAttr(default=False)

    @model_validator(mode="wrap")
    @classmethod
    def _note_form(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        body = handler(data)
        body._is_tei = isinstance(data, dict) and "documents" not in data  # noqa: SLF001 - our own
        return body

    @property
    def is_tei(self) -> bool:
        """Whether the answer is wanted in the form of text-embeddings-inference."""
        return self._is_tei


class RankedDocument(BaseModel):
    """One document's place."""

    index: int
    relevance_score: float


class RankedText(BaseModel):
    """One text's place, in TEI's form."""

    index: int
    score: float
    text: str | None = None


class RankedTexts(RootModel[list[RankedText]]):
    """Texts, best first, in TEI's form."""


class Ranking(BaseModel):
    """Documents, best first."""

    model: str
    object: Literal["list"] = "list"
    usage: EmbeddingUsage
    results: list[RankedDocument]


class GenerationDefaults(BaseModel):
    """What a request gets that says nothing."""

    params: dict[str, Any]
    n_ctx: int


class Modalities(BaseModel):
    """What a model can read besides text."""

    vision: bool = False
    audio: bool = False
    video: bool = False


class Props(BaseModel):
    """What this server is; some members only repeat what llama.cpp's clients look for."""

    default_generation_settings: GenerationDefaults
    total_slots: int
    model_alias: str
    model_ftype: str
    model_path: str
    modalities: Modalities
    media_marker: str = ""
    endpoint_slots: bool = True
    endpoint_props: bool = False
    endpoint_metrics: bool = True
    chat_template: str
    chat_template_caps: dict[str, bool]
    bos_token: str
    eos_token: str
    build_info: str
    is_sleeping: bool


class NextToken(BaseModel):
    """How far a slot is."""

    has_next_token: bool
    n_remain: int
    n_decoded: int


class Slot(BaseModel):
    """One place in the batch, now."""

    id: int
    id_task: int
    n_ctx: int
    speculative: bool
    is_processing: bool
    state: Literal["idle", "prefill", "decode"]
    n_prompt_tokens: int
    n_prompt_tokens_processed: int
    n_prompt_tokens_cache: int
    n_retained_tokens: int
    params: dict[str, Any]
    next_token: NextToken


class Slots(RootModel[list[Slot]]):
    """Every slot of a model."""


class LoadBody(BaseModel):
    """A request to load or unload a model."""

    model: str | None = Field(default=None, description="Model id; absent for the default one")


class Success(BaseModel):
    """It is done."""

    success: Literal[True] = True


class Adapter(BaseModel):
    """One LoRA adapter."""

    id: int
    path: str
    scale: float


class Adapters(RootModel[list[Adapter]]):
    """The LoRA adapters: none, as none can be loaded here."""


def tokens(result: TokenizeResult) -> Tokens:
    """Encode the tokens of a text."""
    if result.pieces is None:
        return Tokens(tokens=list(result.tokens))
    pairs = zip(result.tokens, result.pieces, strict=True)
    return Tokens(tokens=[TokenPiece(id=token, piece=_piece(piece)) for token, piece in pairs])


def _piece(raw: tuple[int, ...]) -> str | list[int]:
    try:
        return bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        return list(raw)


def ranking(body: RerankBody, result: RerankResult) -> Ranking | RankedTexts:
    """Encode *result*, best first."""
    places = sorted(enumerate(result.scores), key=lambda place: place[1], reverse=True)[: body.top_n]
    if body.is_tei:
        texts = body.documents
        return RankedTexts(
            [RankedText(index=i, score=s, text=texts[i] if body.return_text else None) for i, s in places]
        )
    n_tokens = result.usage.prompt_tokens
    return Ranking(
        model=result.model,
        usage=EmbeddingUsage(prompt_tokens=n_tokens, total_tokens=n_tokens),
        results=[RankedDocument(index=index, relevance_score=score) for index, score in places],
    )


def props(model: ModelProperties, version: str, *, is_loaded: bool) -> Props:
    """Encode what *model* is."""
    return Props(
        default_generation_settings=GenerationDefaults(
            params=generation_settings(GenerationRequest(sampling=DEFAULTS)) | {"timings_per_token": False},
            n_ctx=model.context_tokens,
        ),
        total_slots=model.n_slots,
        model_alias=model.model_id,
        model_ftype=model.quantization,
        model_path=model.path,
        modalities=Modalities(),
        chat_template=model.chat_template,
        chat_template_caps={
            "supports_tools": model.has_native_tools,
            "supports_tool_calls": model.has_native_tools,
            "supports_preserve_reasoning": model.has_reasoning,
        },
        bos_token=model.bos_token,
        eos_token=model.eos_token,
        build_info=f"cinque-{version}",
        is_sleeping=not is_loaded,
    )


def slots(model: ModelProperties, engine: EngineStatistics) -> Slots:
    """Encode the slots of *model*; all idle while it is not loaded."""
    counted = next((one for one in engine.models if one.model_id == model.model_id), None)
    known = {slot.slot_id: slot for slot in counted.slots} if counted else {}
    n_slots = max(model.n_slots, *(slot_id + 1 for slot_id in known), 0) if known else model.n_slots
    return Slots([_slot(model, known.get(i) or SlotStatistics(slot_id=i)) for i in range(n_slots)])


def _slot(model: ModelProperties, slot: SlotStatistics) -> Slot:
    sampling = slot.sampling or DEFAULTS
    is_busy = slot.state != "idle"
    n_left = -1 if sampling.max_tokens is None else max(0, sampling.max_tokens - slot.n_output_tokens)
    return Slot(
        id=slot.slot_id,
        id_task=-1 if slot.request_id is None else slot.request_id,
        n_ctx=model.context_tokens,
        speculative=model.draft_model is not None,
        is_processing=is_busy,
        state=slot.state,
        n_prompt_tokens=slot.n_prompt_tokens,
        n_prompt_tokens_processed=min(slot.n_computed_tokens, slot.n_prompt_tokens) - slot.n_cached_tokens
        if slot.n_computed_tokens
        else 0,
        n_prompt_tokens_cache=slot.n_cached_tokens,
        n_retained_tokens=slot.n_retained_tokens,
        params=slot_params(sampling),
        next_token=NextToken(has_next_token=is_busy, n_remain=n_left, n_decoded=slot.n_output_tokens),
    )


def slot_params(sampling: SamplingParams) -> dict[str, Any]:
    """Encode how a slot chooses tokens, without texts of the request, which anybody who asks for slots could read."""
    params = sampling_settings(sampling)
    return {name: value for name, value in params.items() if name not in {"grammar", "stop", "logit_bias"}}
