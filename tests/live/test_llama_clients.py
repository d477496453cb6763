"""Real clients against the llama-server door and the ATLAS proxy: litellm, langchain-openai, instructor, llm, openai.

Those that cannot live beside our own packages run in `.venv-clients`, which `scripts/setup` makes with `--clients`.
The model is tiny, so the shape of an answer is asserted, not its wisdom. Nothing reaches the network: whatever tries
finds a proxy that nobody serves.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.live.processes import NOWHERE, ROOT, Shim, environment

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]  # the first test of a run waits for the server's start

CLIENT_PYTHON = ROOT / ".venv-clients" / "bin" / "python"
CLIENTS = Path(__file__).parent / "clients"
CLIENT_TIMEOUT_S = 120  # importing litellm takes some ten seconds on a busy machine
OFFLINE = {
    "HTTP_PROXY": NOWHERE,
    "HTTPS_PROXY": NOWHERE,
    "NO_PROXY": "127.0.0.1,localhost",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LANGSMITH_TRACING": "false",
}
CHATTING = ("chat", "stream", "text_completion", "embeddings")
QUESTION: list[Any] = [{"role": "user", "content": "Write a Python function that adds two numbers."}]
FORCED: Any = {"type": "function", "function": {"name": "add"}}
ADD: Any = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    },
}


@pytest.fixture(params=["atlas-llama", "atlas-proxy"])
def url(request: pytest.FixtureRequest, shim: Shim) -> str:
    """The door, without a path."""
    return shim.urls[request.param]


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0, timeout=60) as opened:
        yield opened


def run(command: Sequence[str], home: Path, **variables: str) -> str:
    """Run a client to its end and return what it printed."""
    env = environment(home) | OFFLINE | {"HOME": str(home)} | variables
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=CLIENT_TIMEOUT_S, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def ask(script: str, url: str, home: Path, *tasks: str) -> dict[str, Any]:
    """Let a script of `clients/` do *tasks*, and return what it saw."""
    if not CLIENT_PYTHON.exists():
        pytest.skip("no .venv-clients here; scripts/setup --clients makes it")
    printed = run([str(CLIENT_PYTHON), str(CLIENTS / script), url, *tasks], home)
    seen: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return seen


@pytest.fixture(scope="module", params=["atlas-llama", "atlas-proxy"])
def door(request: pytest.FixtureRequest, shim: Shim) -> str:
    """The same, for clients whose start costs more than all that they do: each runs once a door."""
    return shim.urls[request.param]


@pytest.fixture(scope="module", params=["litellm_client.py", "langchain_client.py"])
def seen(request: pytest.FixtureRequest, door: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a client saw."""
    return ask(request.param, door, tmp_path_factory.mktemp("client"), *CHATTING, "tool_call")


@pytest.fixture(scope="module")
def reviews(door: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The objects that instructor made."""
    return ask("instructor_client.py", door, tmp_path_factory.mktemp("client"), "json_schema", "tool_call")


def test_a_client_chats(seen: dict[str, Any]) -> None:
    assert seen["chat"]["text"]
    assert seen["chat"]["finish_reason"] in {"stop", "length"}
    assert 0 < seen["chat"]["completion_tokens"] <= 8


def test_a_client_streams_the_answer_that_it_gets_whole(seen: dict[str, Any]) -> None:
    assert seen["stream"] == {name: seen["chat"][name] for name in ("text", "finish_reason")}


def test_a_client_completes_text_and_embeds_it(seen: dict[str, Any]) -> None:
    assert isinstance(seen["text_completion"]["text"], str)
    first, second = seen["embeddings"]["lengths"]
    assert first == second > 0


def test_a_client_gets_the_call_that_it_forces(seen: dict[str, Any]) -> None:
    assert seen["tool_call"]["name"] == "add"
    assert isinstance(seen["tool_call"]["arguments"]["a"], int)


@pytest.mark.parametrize("how", ["json_schema", "tool_call"])
def test_instructor_gets_an_object_of_its_schema(reviews: dict[str, Any], how: str) -> None:
    assert reviews[how]["verdict"] in {"right", "wrong"}
    assert reviews[how]["score"] in {1, 2, 3}


@pytest.fixture
def llm_home(url: str, tmp_path: Path) -> Path:
    """A folder of the `llm` command that knows our model."""
    entry = {
        "model_id": "ours",
        "model_name": "default",
        "api_base": f"{url}/v1",
        "api_key_name": "ours",
        "can_stream": True,
        "supports_schema": True,
        "supports_tools": True,
    }
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps([entry]), encoding="utf-8")  # JSON is YAML
    (tmp_path / "keys.json").write_text(json.dumps({"ours": "any"}), encoding="utf-8")
    return tmp_path


def llm(home: Path, *words: str) -> str:
    return run([sys.executable, "-m", "llm", *words], home, LLM_USER_PATH=str(home))


@pytest.mark.parametrize("flags", [(), ("--no-stream",)], ids=["streamed", "whole"])
def test_llm_prints_an_answer(llm_home: Path, flags: tuple[str, ...]) -> None:
    printed = llm(llm_home, "-m", "ours", *flags, "-o", "max_tokens", "8", "-o", "temperature", "0", "Add two numbers.")
    assert printed.strip()


def test_llm_gets_an_object_of_its_schema(llm_home: Path) -> None:
    schema = {"type": "object", "properties": {"good": {"type": "boolean"}}, "required": ["good"]}
    printed = llm(llm_home, "-m", "ours", "--schema", json.dumps(schema), "Is 1 + 1 = 2?")
    assert isinstance(json.loads(printed)["good"], bool)


def test_openai_completes_and_streams_text(client: openai.OpenAI) -> None:
    given: dict[str, Any] = {"model": "default", "prompt": "def add(a, b):", "max_tokens": 8, "temperature": 0}
    whole = client.completions.create(**given, logprobs=2)
    assert whole.usage is not None
    assert whole.usage.completion_tokens == len((whole.choices[0].logprobs or whole).tokens)  # type: ignore[union-attr,arg-type]  # asked for
    with client.completions.create(**given, stream=True, stream_options={"include_usage": True}) as stream:
        chunks = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_openai_embeds_and_lists_models(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model="default", input=["one", "two"])
    first, second = (entry.embedding for entry in answer.data)
    assert sum(x * x for x in first) == pytest.approx(1, abs=1e-3)
    assert first != second
    assert client.models.list().data[0].id == answer.model


def test_openai_streams_the_answer_that_it_gets_whole(client: openai.OpenAI) -> None:
    given: dict[str, Any] = {"model": "default", "messages": QUESTION, "max_tokens": 8, "temperature": 0}
    whole = client.chat.completions.create(**given)
    with client.chat.completions.create(**given, stream=True) as stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == whole.choices[0].message.content


def test_openai_gets_the_call_that_it_forces(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="default", messages=QUESTION, tools=[ADD], tool_choice=FORCED, max_tokens=512
    )
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "add"
    assert isinstance(json.loads(call.function.arguments)["a"], int)
