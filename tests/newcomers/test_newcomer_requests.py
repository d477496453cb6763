"""The 150 requests can be answered, and what judges them tells right answers from wrong ones."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.runner import Sandbox
from sandbox.settings import SandboxSettings
from tests.newcomers.newcomer_requests import NewcomerRequest, is_right, newcomer_requests

REQUESTS = newcomer_requests()

every_or_all = pytest.mark.parametrize(
    "step", [pytest.param(5, id="every fifth"), pytest.param(1, id="all", marks=pytest.mark.sweep)]
)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    made = Sandbox(SandboxSettings(home=Path(tmp_path_factory.mktemp("home"))))
    yield made
    made.close()


def _fenced(request: NewcomerRequest) -> str:
    is_code = not (request.json or request.answer or request.refusal)
    return f"Here it is:\n\n```python\n{request.solution}\n```\n" if is_code else request.solution


def test_there_are_150_requests_and_no_two_are_the_same() -> None:
    assert len({request.text for request in REQUESTS}) == len(REQUESTS) == 150


@every_or_all
def test_the_solution_of_every_request_is_right(sandbox: Sandbox, step: int) -> None:
    assert [request.text for request in REQUESTS[::step] if not is_right(request, _fenced(request), sandbox)] == []


@every_or_all
@pytest.mark.parametrize("answer", ["", "def f(*args):\n    return None", "Sure! Here you go."])
def test_an_answer_that_does_nothing_is_right_for_no_request(sandbox: Sandbox, answer: str, step: int) -> None:
    assert [request.text for request in REQUESTS[::step] if is_right(request, answer, sandbox)] == []


@every_or_all
def test_another_requests_solution_is_wrong(sandbox: Sandbox, step: int) -> None:
    shifted = zip(REQUESTS, REQUESTS[1:] + REQUESTS[:1], strict=True)
    mixed = [replace(request, solution=other.solution) for request, other in shifted]
    right = {request.text for request in mixed[::step] if is_right(request, request.solution, sandbox)}
    # two people ask to be told that something cannot be done
    known = {"book a flight to Rome and tell me the weather there"}
    assert right == known & {request.text for request in mixed[::step]}
