"""What langchain-openai gets of a server: `python langchain_client.py URL TASK...` prints it as JSON."""

import json
import sys
from typing import Any

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import SecretStr

URL, TASKS = sys.argv[1], sys.argv[2:]
QUESTION = "Write a Python function that adds two numbers."
SERVER: dict[str, Any] = {"base_url": f"{URL}/v1", "api_key": SecretStr("any"), "max_retries": 0, "timeout": 60}


@tool
def add(a: int) -> int:
    """Add one."""
    return a + 1


def model(**options: Any) -> ChatOpenAI:
    return ChatOpenAI(model="default", temperature=0, **{"max_tokens": 8, **SERVER, **options})


def chat() -> dict[str, Any]:
    answer = model().invoke(QUESTION)
    usage = answer.usage_metadata or {}
    finish_reason = answer.response_metadata["finish_reason"]
    return {
        "text": answer.content,
        "finish_reason": finish_reason,
        "completion_tokens": dict(usage).get("output_tokens"),
    }


def stream() -> dict[str, Any]:
    chunks = list(model(stream_usage=True).stream(QUESTION))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return {"text": whole.content, "finish_reason": whole.response_metadata["finish_reason"]}


def text_completion() -> dict[str, Any]:
    return {"text": OpenAI(model="default", max_tokens=8, temperature=0, **SERVER).invoke("def add(a, b):")}


def embeddings() -> dict[str, Any]:
    vectors = OpenAIEmbeddings(model="default", check_embedding_ctx_length=False, **SERVER).embed_documents(["a", "b"])
    return {"lengths": [len(vector) for vector in vectors]}


def tool_call() -> dict[str, Any]:
    answer = model(max_tokens=64).bind_tools([add], tool_choice="add").invoke(QUESTION)
    (call,) = answer.tool_calls
    return {"name": call["name"], "arguments": call["args"]}


sys.stdout.write(json.dumps({task: globals()[task]() for task in TASKS}) + "\n")
