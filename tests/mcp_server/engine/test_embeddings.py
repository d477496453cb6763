"""Vectors and scores: equal texts are equal to the last bit, poolings are what they say, rankers rank only."""

import math
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import numpy as np
import pytest

from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.types import (
    EmbeddingRequest,
    EmbeddingResult,
    GenerationRequest,
    Pooling,
    RerankRequest,
    SamplingParams,
    TokenizeRequest,
)
from mcp_server.errors import ContextLengthError, InvalidRequestError, NotSupportedError
from tests.random_models import random_model

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]  # a model is made once a machine, and drawn in seconds

WORDS = ["sort", "reverse", "a", "the", "list", "string", "of", "numbers", "words", "quickly", "and", "return", "it"]

MakeEngine = Callable[..., AsyncEngine]


@pytest.fixture
async def make_engine(make_settings: Any) -> AsyncIterator[MakeEngine]:
    """Give engines on random models, closed at the end."""
    engines: list[AsyncEngine] = []

    def make(vocabulary: str, *, shape: dict[str, Any], **settings: Any) -> AsyncEngine:
        engines.append(AsyncEngine(make_settings(model=str(random_model(vocabulary, **shape)), **settings)))
        return engines[-1]

    yield make
    for engine in engines:
        await engine.aclose()


@pytest.fixture
def ranker(make_engine: MakeEngine) -> AsyncEngine:
    return make_engine("bert-bge", shape={"arch": "bert", "context": 512})


def some_texts(n: int) -> list[str]:
    """Draw texts of 1 to 150 words, most of them short."""
    draw = random.Random(n)  # noqa: S311 - no secret
    return [" ".join(draw.choices(WORDS, k=draw.choice((1, 2, 3, 7, 12, 13, 29, 30, 31, 60, 150)))) for _ in range(n)]


async def embed(engine: AsyncEngine, *texts: str, **options: Any) -> EmbeddingResult:
    return await engine.embed(EmbeddingRequest(texts, **options))


@pytest.mark.parametrize(("n_texts", "n_alone"), [(20, 5), pytest.param(40, 12, marks=pytest.mark.sweep)])
@pytest.mark.parametrize(
    "shape",
    [
        {"arch": "llama", "kind": "F32"},
        {"arch": "qwen2", "kind": "F32", "seed": 1},
        {"arch": "llama", "kind": "Q4_0", "dim": 256, "ff": 512},
        {"arch": "llama", "kind": "F16", "dim": 256, "ff": 512},
    ],
    ids=lambda shape: f"{shape['arch']}-{shape['kind']}",
)
async def test_equal_texts_have_equal_vectors_to_the_last_bit_whatever_is_beside_them(
    make_engine: MakeEngine, shape: dict[str, Any], n_texts: int, n_alone: int
) -> None:
    engine = make_engine("llama-spm", shape=shape)
    texts = some_texts(n_texts)
    together = (await embed(engine, *texts)).embeddings
    backwards = (await embed(engine, *reversed(texts))).embeddings
    assert together == tuple(reversed(backwards))
    for text, vector in zip(texts[:n_alone], together, strict=False):
        assert (await embed(engine, text)).embeddings == (vector,)


async def test_embedding_beside_generation_changes_neither(engine: AsyncEngine) -> None:
    request = GenerationRequest(prompt="def add(a, b):", sampling=SamplingParams(temperature=0, max_tokens=60))
    alone, vectors = await engine.generate(request), await embed(engine, *WORDS)
    outcomes: list[Any] = []

    async def generate() -> None:
        outcomes.append((await engine.generate(request)).completions)

    async with anyio.create_task_group() as group:
        group.start_soon(generate)
        assert (await embed(engine, *WORDS)).embeddings == vectors.embeddings
    assert outcomes == [alone.completions]


async def test_poolings_are_computed_from_the_states_of_the_tokens(engine: AsyncEngine) -> None:
    raw = await embed(engine, "sort a list", pooling="none", normalize=False)
    assert raw.token_embeddings is not None
    assert raw.embeddings == ()
    (states,) = raw.token_embeddings
    assert len(states) == raw.usage.prompt_tokens
    expected: dict[Pooling, Any] = {"last": states[-1], "cls": states[0], "mean": np.mean(states, axis=0)}
    for pooling, vector in expected.items():
        result = await embed(engine, "sort a list", pooling=pooling, normalize=False)
        assert result.embeddings[0] == pytest.approx(vector, rel=1e-5)
        assert result.dimensions == len(vector)
    unit = await embed(engine, "sort a list", pooling="none")
    assert unit.token_embeddings is not None
    assert all(math.isclose(math.hypot(*state), 1, rel_tol=1e-5) for state in unit.token_embeddings[0])


async def test_a_generator_pools_by_the_mean_when_nothing_is_asked(engine: AsyncEngine) -> None:
    asked = await embed(engine, "sort a list", pooling="mean")
    assert (await embed(engine, "sort a list")).embeddings == asked.embeddings


async def test_token_ids_are_embedded_as_their_text_is(engine: AsyncEngine) -> None:
    tokens = (await engine.tokenize(TokenizeRequest("sort a list"))).tokens
    by_ids = await engine.embed(EmbeddingRequest(token_ids=(tokens, tokens[:1])))
    assert by_ids.embeddings[0] == (await embed(engine, "sort a list")).embeddings[0]
    assert by_ids.usage.prompt_tokens == len(tokens) + 1


@pytest.mark.parametrize("request_", [{}, {"input": ("a",), "token_ids": ((5,),)}, {"token_ids": ((5,), ())}])
async def test_what_is_no_text_is_refused(engine: AsyncEngine, request_: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        await engine.embed(EmbeddingRequest(**request_))


@pytest.mark.parametrize("token", [-1, 10**9])
async def test_an_id_that_is_no_token_is_named(engine: AsyncEngine, token: int) -> None:
    with pytest.raises(InvalidRequestError, match=str(token)) as caught:
        await engine.embed(EmbeddingRequest(token_ids=((5, token),)))
    assert caught.value.param == "token_ids"


async def test_a_text_of_the_limit_is_embedded_and_one_token_more_is_not(make_settings: Any) -> None:
    engine = AsyncEngine(make_settings(embedding_tokens=40))
    result = await engine.embed(EmbeddingRequest(token_ids=((5,) * 40,)))
    assert result.usage.prompt_tokens == 40
    with pytest.raises(ContextLengthError, match=r"41 tokens.*40"):
        await engine.embed(EmbeddingRequest(token_ids=((5,) * 41,)))
    await engine.aclose()


async def test_a_ranker_scores_each_document_alone_and_in_order(ranker: AsyncEngine) -> None:
    documents = tuple(some_texts(6))
    result = await ranker.rerank(RerankRequest("sort a list", documents))
    backwards = await ranker.rerank(RerankRequest("sort a list", documents[::-1]))
    assert result.scores == backwards.scores[::-1]
    assert len(set(result.scores)) == len(set(documents))
    assert result.usage.prompt_tokens > sum(len(document.split()) for document in documents)


async def test_a_ranker_can_embed_and_says_that_it_cannot_generate(ranker: AsyncEngine) -> None:
    described = await ranker.describe()
    assert (described.can_rerank, described.can_generate) == (True, False)
    with pytest.raises(NotSupportedError, match="writes none"):
        await ranker.generate(GenerationRequest(prompt="x"))
    first, other, again = (await embed(ranker, "sort a list", "open it", "sort a list")).embeddings
    assert first == again != other


@pytest.mark.parametrize(("query", "documents"), [("", ("a",)), ("a", ())])
async def test_nothing_to_rank_is_refused(ranker: AsyncEngine, query: str, documents: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRequestError):
        await ranker.rerank(RerankRequest(query, documents))


async def test_a_pair_that_is_too_long_is_refused_with_the_limit(ranker: AsyncEngine) -> None:
    with pytest.raises(ContextLengthError, match="512"):
        await ranker.rerank(RerankRequest("list", ("word " * 600,)))


async def test_a_generator_does_not_rank_and_says_so(engine: AsyncEngine) -> None:
    described = await engine.describe()
    assert (described.can_rerank, described.can_generate) == (False, True)
    with pytest.raises(NotSupportedError, match="ranking head"):
        await engine.rerank(RerankRequest("a", ("b",)))
