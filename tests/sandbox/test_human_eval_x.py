"""The public tasks in other languages: reference solutions pass, emptied ones do not; a sample, as compilers are slow.

`benchmarks/verdicts.py` runs all 164 of each.
"""

import pytest

from sandbox.errors import InvalidRequestError, ToolchainMissingError
from sandbox.runner import Sandbox
from sandbox.types import ExecutionRequest
from tests.sandbox.public_tasks import FOLDERS, Task, data_folder, human_eval_x, impossible, run_all

TIMEOUT_S = 30.0
EVERY = 41  # one in so many: four of 164 for each language

pytestmark = [pytest.mark.sweep, pytest.mark.timeout(240)]  # compilers, on a machine that may be busy


@pytest.fixture(params=sorted(FOLDERS))
def tasks(request: pytest.FixtureRequest, shared: Sandbox) -> list[Task]:
    folder, language = data_folder(), request.param
    if folder is None:
        pytest.skip("the HumanEval-X tasks are not here; name their folder in CINQUE_TEST_DATA")
    found = [task for task in human_eval_x(folder, language) if impossible(task) is None]
    try:
        shared.execute(ExecutionRequest(found[0].solution, language, test_code=found[0].tests, lint=False))
    except (InvalidRequestError, ToolchainMissingError) as error:
        pytest.skip(f"tests in {language} cannot run here: {error.message}")
    return found[::EVERY]


def test_reference_solutions_pass_their_tests(shared: Sandbox, tasks: list[Task]) -> None:
    results = run_all(shared, [(task.solution, task) for task in tasks], TIMEOUT_S)
    failed = [
        (task.name, result.verdict, result.error_message)
        for task, result in zip(tasks, results, strict=True)
        if not result.success
    ]
    assert failed == []


def test_emptied_solutions_fail(shared: Sandbox, tasks: list[Task]) -> None:
    results = run_all(shared, [(task.emptied, task) for task in tasks], TIMEOUT_S)
    assert [task.name for task, result in zip(tasks, results, strict=True) if result.success] == []
