"""164 public tasks: their reference solutions pass, and what is empty or faulty does not."""

import pytest

from sandbox.runner import Sandbox
from tests.sandbox import mutants
from tests.sandbox.public_tasks import Task, data_folder, human_eval, passes_bare, run_all

TIMEOUT_S = 30.0
FAULT_TIMEOUT_S = 2.0  # a fault may loop for ever, which is a failure
SLOWLY = pytest.mark.timeout(180)  # hundreds of programs, on a machine that may be busy
pytestmark = pytest.mark.sweep


@pytest.fixture(scope="module")
def tasks() -> list[Task]:
    folder = data_folder()
    if folder is None:
        pytest.skip("the HumanEval tasks are not here; name their folder in CINQUE_TEST_DATA")
    return human_eval(folder)


@SLOWLY
def test_every_reference_solution_passes_its_tests(shared: Sandbox, tasks: list[Task]) -> None:
    results = run_all(shared, [(task.solution, task) for task in tasks], TIMEOUT_S)
    failed = [
        (task.name, result.verdict, result.error_message)
        for task, result in zip(tasks, results, strict=True)
        if not result.success
    ]
    assert len(results) == 164
    assert failed == []


@SLOWLY
def test_no_emptied_solution_passes(shared: Sandbox, tasks: list[Task]) -> None:
    results = run_all(shared, [(task.head + "    pass\n", task) for task in tasks], TIMEOUT_S)
    assert [task.name for task, result in zip(tasks, results, strict=True) if result.success] == []
    assert {result.compile_success for result in results} == {True}


@SLOWLY
def test_a_faulty_solution_passes_only_where_a_plain_interpreter_passes_it(shared: Sandbox, tasks: list[Task]) -> None:
    """What the tasks' own tests cannot see is no verdict of the sandbox: most change nothing that is ever reached."""
    programs: list[tuple[str, Task]] = []
    for task in tasks:
        programs += [(code, task) for _, code in mutants.mutants(task.head, task.body, len(mutants.KINDS))]
    results = run_all(shared, programs, FAULT_TIMEOUT_S)
    survivors = [program for program, result in zip(programs, results, strict=True) if result.success]
    assert len(programs) > 600
    assert {result.compile_success for result in results} == {True}
    assert [task.name for code, task in survivors if not passes_bare(code, task, TIMEOUT_S)] == []
    assert len(survivors) < len(programs) / 20
    assert not passes_bare(tasks[0].emptied, tasks[0], TIMEOUT_S)
