"""OpenAI's embeddings, and those of llama.cpp's own API: their inputs, their norms, their responses.

Pure functions over vectors as plain lists of numbers: a door has a few of them, and NumPy would be loaded for nothing.
"""

import base64
import math
from array import array
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import AliasChoices, BaseModel, Field, RootModel, model_validator

from mcp_server.contract import EmbeddingResult, ErrorCode, Pooling
from shim.dialects.llama_prompts import Prompt, PromptField, prompts_of
from shim.errors import ApiError

MAX_INPUTS = 2048  # of one request, as OpenAI takes them; they are embedded some at a time
MAX_ABSOLUTE, TAXICAB, EUCLIDEAN = 0, 1, 2  # llama.cpp's numbers of norms; higher ones are p-norms, -1 is none
MAX_NORM = 100  # of a p-norm; higher powers overflow
LARGEST_INT16 = 32760.0  # the largest number of a vector of norm 0 becomes this, as there

Vector = Sequence[float]


class EmbeddingsRequest(BaseModel):
    """A request for `/v1/embeddings`."""

    input: PromptField = Field(description="Text, token ids, or a list of either")
    model: str | None = Field(default=None, description="Model id; the default one answers for a name that is not here")
    encoding_format: Literal["float", "base64"] | None = Field(default=None, description="Numbers, or their bytes")
    dimensions: int | None = Field(
        default=None, ge=1, le=2**31 - 1, description="Cut vectors to as many numbers, at length 1 again (count)"
    )
    user: str | None = Field(default=None, description="Your name for the caller; nothing is done with it")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        _check_count(self.input)
        return self

    def inputs(self) -> tuple[Prompt, ...]:
        """Return what to embed."""
        return prompts_of(self.input)


class RawEmbeddingRequest(BaseModel):
    """A request for `/embedding`; `input` is another name of `content`."""

    content: PromptField = Field(
        validation_alias=AliasChoices("content", "input"), description="Text, token ids, or a list of either"
    )
    model: str | None = Field(default=None, description="Model id; the default one answers for a name that is not here")
    embd_normalize: int | None = Field(
        default=None,
        ge=-1,
        le=MAX_NORM,
        description="Norm: -1 none, 0 largest number, 1 taxicab, 2 Euclidean (the default), more for that p-norm",
    )
    pooling: Pooling | None = Field(default=None, description="Which hidden states; none: a vector a token")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        _check_count(self.content)
        return self

    def inputs(self) -> tuple[Prompt, ...]:
        """Return what to embed."""
        return prompts_of(self.content)

    @property
    def norm(self) -> int:
        """Number of the norm."""
        return EUCLIDEAN if self.embd_normalize is None else self.embd_normalize


class EmbeddingEntry(BaseModel):
    """One vector; a text in base64 is of little-endian float32 numbers."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    """Tokens read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(BaseModel):
    """Vectors, one an input, in order."""

    object: Literal["list"] = "list"
    model: str
    data: list[EmbeddingEntry]
    usage: EmbeddingUsage


class RawEmbedding(BaseModel):
    """The vectors of one input: one, or one a token where nothing pools them."""

    index: int
    embedding: list[Annotated[list[float], Field(min_length=1)]]


class RawEmbeddings(RootModel[list[RawEmbedding]]):
    """Vectors, one entry an input."""


def _check_count(given: PromptField) -> None:
    n_inputs = len(prompts_of(given))
    if n_inputs > MAX_INPUTS:
        msg = f"{n_inputs} inputs; the most is {MAX_INPUTS}"
        raise ValueError(msg)


def check_dimensions(body: EmbeddingsRequest, n_numbers: int) -> None:
    """Refuse to make vectors longer than the model's, which have *n_numbers*.

    Raises:
        ApiError: invalid_request.
    """
    if body.dimensions is not None and body.dimensions > n_numbers:
        msg = f"dimensions is {body.dimensions}; this model's vectors have {n_numbers} numbers: ask for at most as many"
        raise ApiError(ErrorCode.INVALID_REQUEST, msg, param="dimensions")


def response(body: EmbeddingsRequest, results: Sequence[EmbeddingResult]) -> EmbeddingsResponse:
    """Encode *results*, whose vectors follow each other."""
    vectors = [vector for result in results for vector in result.embeddings]
    n_tokens = sum(result.usage.prompt_tokens for result in results)
    return EmbeddingsResponse(
        model=results[0].model,
        data=[EmbeddingEntry(index=i, embedding=_encoded(body, vector)) for i, vector in enumerate(vectors)],
        usage=EmbeddingUsage(prompt_tokens=n_tokens, total_tokens=n_tokens),
    )


def _encoded(body: EmbeddingsRequest, vector: Vector) -> list[float] | str:
    if body.dimensions is not None and body.dimensions < len(vector):
        vector = normalized(vector[: body.dimensions], EUCLIDEAN)
    return base64_floats(vector) if body.encoding_format == "base64" else list(vector)


def base64_floats(vector: Vector) -> str:
    """Return *vector* as OpenAI's clients read it: float32 numbers, little-endian, in base64."""
    numbers = array("f", vector)
    if array("H", [1]).tobytes() == b"\x00\x01":  # a big-endian machine
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode("ascii")


def raw_response(body: RawEmbeddingRequest, results: Sequence[EmbeddingResult]) -> RawEmbeddings:
    """Encode *results* in the form of llama.cpp's own API; vectors of single tokens keep their length, as there."""
    entries: list[list[list[float]]] = []
    for result in results:
        if result.token_embeddings is not None:
            entries += [[list(vector) for vector in vectors] for vectors in result.token_embeddings]
        else:
            entries += [[normalized(vector, body.norm)] for vector in result.embeddings]
    return RawEmbeddings([RawEmbedding(index=i, embedding=entry) for i, entry in enumerate(entries)])


def normalized(vector: Vector, norm: int) -> list[float]:
    """Scale *vector* to length 1 by the norm of llama.cpp's number; a vector of zeros stays what it is."""
    sizes = [abs(x) for x in vector]
    largest = max(sizes, default=0.0)
    if norm < 0 or not largest:
        return list(vector)
    if norm == MAX_ABSOLUTE:
        length = largest / LARGEST_INT16
    elif norm == EUCLIDEAN:
        length = math.hypot(*vector)
    else:  # scaled by the largest first, as powers of large numbers overflow
        length = largest * math.fsum((size / largest) ** norm for size in sizes) ** (1 / norm)
    return [x / length for x in vector]
