"""The 150 requests can be answered, and what judges them tells right answers from wrong ones."""

import contextlib
import io
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.runner import Sandbox
from sandbox.settings import SandboxSettings
from tests.newcomers.newcomer_requests import NewcomerRequest, is_right, newcomer_requests
from training.embedded_model.about_code import counting_lines
from training.embedded_model.programs import faulty

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


def _holds_here(request: NewcomerRequest, program: str) -> bool:
    """Run a check in this process, as the programs are our own but for one fault."""
    scope: dict[str, object] = {}
    try:
        with counting_lines(), contextlib.redirect_stdout(io.StringIO()):
            exec(program, scope)  # noqa: S102 - as above
            scope["candidate"] = scope[request.name or list(scope)[-1]]
            exec(request.check, scope)  # noqa: S102 - as above
    except Exception:  # noqa: BLE001 - whatever a fault leads to
        return False
    return True


@pytest.mark.timeout(60)
def test_checks_see_nearly_every_fault_in_a_solution() -> None:
    """What is left does the same with the fault: a list's last number begins the search as well as its first."""
    r = random.Random(1)  # noqa: S311 - draws faults, not secrets
    n_faults, unseen = 0, []
    for request in REQUESTS:
        if not request.check or request.json:
            continue
        made = {faulty(request.solution, r) for _ in range(40)} - {None, request.solution}
        programs = sorted(program for program in made if program)[:12]
        n_faults += len(programs)
        unseen += [program for program in programs if _holds_here(request, program)]
    assert n_faults > 1_000
    assert len(unseen) <= n_faults * 0.015, unseen


def test_a_list_that_holds_the_answer_is_not_the_answer(sandbox: Sandbox) -> None:
    request = next(one for one in REQUESTS if one.text.startswith("what does this print?"))
    assert is_right(request, "It prints `3`.", sandbox)
    assert not is_right(request, "It prints `[1, 2, 3]`.", sandbox)
