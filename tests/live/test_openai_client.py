"""The official OpenAI client against the ATLAS proxy, over a real socket, with the embedded model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel

from tests.live.processes import Shim, serving

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]  # the first test of a run waits for the server's start

QUESTION: list[Any] = [
    {"role": "user", "content": "Write a Python function is_palindrome(s) that returns True if s is a palindrome."}
]


class Review(BaseModel):
    """What a schema makes the model answer."""

    verdict: Literal["right", "wrong"]
    score: int


@pytest.fixture
def client(shim: Shim) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{shim.proxy}/v1", api_key="any", max_retries=0, timeout=60) as opened:
        yield opened


def ask(client: openai.OpenAI, **parameters: Any) -> Any:
    given = {"model": "default", "messages": QUESTION, "temperature": 0, "max_tokens": 64} | parameters
    return client.chat.completions.create(**given)


def test_the_client_gets_a_whole_answer(client: openai.OpenAI) -> None:
    answer = ask(client)
    (choice,) = answer.choices
    assert "def is_palindrome(s):" in choice.message.content
    assert choice.message.role == "assistant"
    assert choice.finish_reason in {"stop", "length"}
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_the_client_streams_the_same_answer_with_its_usage(client: openai.OpenAI) -> None:
    whole = ask(client)
    with ask(client, stream=True, stream_options={"include_usage": True}) as stream:
        chunks = list(stream)
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_the_stream_helper_of_the_client_accumulates_the_answer(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model="default", messages=QUESTION, temperature=0, max_completion_tokens=64
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert "def is_palindrome" in (final.choices[0].message.content or "")


async def test_the_asynchronous_client_works_too(shim: Shim) -> None:
    async with openai.AsyncOpenAI(base_url=f"{shim.proxy}/v1", api_key="any", max_retries=0) as client:
        answer = await ask(client, max_tokens=8)
    assert answer.usage.completion_tokens == 8


def test_n_answers_come_with_their_indexes(client: openai.OpenAI) -> None:
    answer = ask(client, n=3, temperature=1.0, seed=1, max_tokens=8)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    with ask(client, n=2, stream=True, max_tokens=8) as stream:
        assert {choice.index for chunk in stream for choice in chunk.choices} == {0, 1}


def test_the_same_seed_gives_the_same_answer(client: openai.OpenAI) -> None:
    def text(seed: int) -> str:
        content = ask(client, temperature=1.5, seed=seed, max_tokens=24).choices[0].message.content
        assert isinstance(content, str)
        return content

    assert text(11) == text(11)
    assert len({text(seed) for seed in range(4)}) > 1


def test_an_answer_ends_before_a_stop_string(client: openai.OpenAI) -> None:
    (choice,) = ask(client, stop=["is_palindrome"]).choices
    assert choice.finish_reason == "stop"
    assert choice.message.content.endswith("def ")


def test_an_answer_ends_at_max_tokens(client: openai.OpenAI) -> None:
    answer = ask(client, max_tokens=3)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 3


def test_logprobs_describe_each_token(client: openai.OpenAI) -> None:
    (choice,) = ask(client, logprobs=True, top_logprobs=3, max_tokens=6).choices
    tokens = choice.logprobs.content
    assert len(tokens) == 6
    assert "".join(token.token for token in tokens) == choice.message.content
    for token in tokens:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 3
        assert token.top_logprobs[0].token == token.token  # greedy: the likeliest was chosen


def test_a_json_schema_shapes_the_answer(client: openai.OpenAI) -> None:
    for seed in range(3):
        answer = client.chat.completions.parse(
            model="default", messages=QUESTION, response_format=Review, temperature=1.0, seed=seed, max_tokens=200
        )
        assert isinstance(answer.choices[0].message.parsed, Review)


def test_models_are_listed_and_the_default_comes_first(client: openai.OpenAI) -> None:
    models = list(client.models.list())
    assert models[0].id == ask(client, max_tokens=1).model
    assert models[0].object == "model"


@pytest.mark.parametrize(
    "wrong",
    [
        {"messages": []},
        {"temperature": "warm"},
        {"n": 0},
        {"top_logprobs": 2},
        {"response_format": {"type": "json_schema"}},
        {"messages": [{"role": "user", "content": "a " * 5000}]},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_wrong_request_is_a_bad_request_error(client: openai.OpenAI, wrong: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, **wrong)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.code
    assert caught.value.request_id


def test_a_wrong_streaming_request_is_a_bad_request_error_before_the_stream(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        ask(client, stream=True, messages=[{"role": "user", "content": "a " * 5000}])


def test_an_unknown_path_is_a_not_found_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.fine_tuning.jobs.list()


def test_a_configured_key_is_asked_for(tmp_path: Path) -> None:
    with serving(tmp_path, CINQUE_API_KEY="the right key") as shim:
        with (
            openai.OpenAI(base_url=f"{shim.proxy}/v1", api_key="another", max_retries=0) as stranger,
            pytest.raises(openai.AuthenticationError),
        ):
            stranger.models.list()
        with openai.OpenAI(base_url=f"{shim.proxy}/v1", api_key="the right key", max_retries=0) as owner:
            assert ask(owner, max_tokens=2).usage.completion_tokens == 2
