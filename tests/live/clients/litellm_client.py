"""What litellm gets of a server: `python litellm_client.py URL` prints it as JSON. Run in an environment of its own."""

import json
import sys
from typing import Any

import litellm

URL, TASKS = sys.argv[1], sys.argv[2:]
QUESTION = [{"role": "user", "content": "Write a Python function that adds two numbers."}]
MODEL: dict[str, Any] = {"model": "openai/default", "api_base": f"{URL}/v1", "api_key": "any", "timeout": 60}
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    },
}


def chat() -> dict[str, Any]:
    answer = litellm.completion(messages=QUESTION, max_tokens=8, temperature=0, **MODEL)
    choice = answer.choices[0]
    return {
        "text": choice.message.content,
        "finish_reason": choice.finish_reason,
        "completion_tokens": answer.usage.completion_tokens,
    }


def stream() -> dict[str, Any]:
    chunks = list(litellm.completion(messages=QUESTION, max_tokens=8, temperature=0, stream=True, **MODEL))
    whole = litellm.stream_chunk_builder(chunks)
    return {"text": whole.choices[0].message.content, "finish_reason": whole.choices[0].finish_reason}


def text_completion() -> dict[str, Any]:
    model = MODEL | {"model": "text-completion-openai/default"}
    answer = litellm.text_completion(prompt="def add(a, b):", max_tokens=8, temperature=0, **model)
    return {"text": answer.choices[0].text}


def embeddings() -> dict[str, Any]:
    answer = litellm.embedding(input=["one", "two"], **MODEL)
    return {"lengths": [len(entry["embedding"]) for entry in answer.data]}


def tool_call() -> dict[str, Any]:
    choice = {"type": "function", "function": {"name": "add"}}
    answer = litellm.completion(messages=QUESTION, tools=[ADD], tool_choice=choice, max_tokens=512, **MODEL)
    (call,) = answer.choices[0].message.tool_calls
    return {"name": call.function.name, "arguments": json.loads(call.function.arguments)}


sys.stdout.write(json.dumps({task: globals()[task]() for task in TASKS}) + "\n")
