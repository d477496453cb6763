"""What instructor gets of a server: `python instructor_client.py URL TASK...` prints it as JSON."""

import json
import sys
from typing import Any, Literal

import instructor
import openai
from pydantic import BaseModel

URL, TASKS = sys.argv[1], sys.argv[2:]
QUESTION = [{"role": "user", "content": "Is `def f(): return 1` right?"}]


class Review(BaseModel):
    """A judgement of code."""

    verdict: Literal["right", "wrong"]
    score: Literal[1, 2, 3]


def ask(mode: instructor.Mode) -> dict[str, Any]:
    with openai.OpenAI(base_url=f"{URL}/v1", api_key="any", max_retries=0, timeout=60) as plain:
        client = instructor.from_openai(plain, mode=mode)
        review = client.chat.completions.create(
            model="default", messages=QUESTION, response_model=Review, max_retries=1, max_tokens=200, temperature=0
        )
    return dict(review.model_dump())


def json_schema() -> dict[str, Any]:
    return ask(instructor.Mode.JSON_SCHEMA)


def tool_call() -> dict[str, Any]:
    return ask(instructor.Mode.TOOLS)


sys.stdout.write(json.dumps({task: globals()[task]() for task in TASKS}) + "\n")
