"""164 public tasks: their reference solutions pass, and what is empty or faulty does not."""

import pytest

from sandbox.runner import Sandbox
from tests.sandbox import mutants
from tests.sandbox.public_tasks import Task, data_folder, human_eval, run_all

TIMEOUT_S = 30.0
FAULT_TIMEOUT_S = 2.0  # a fault may loop for ever, which is a failure
MUTANTS_A_TASK = 2
SLOWLY = pytest.mark.timeout(180)  # hundreds of programs, on a machine that may be busy
UNSEEN = {  # faults that the tasks' own tests cannot see, and why
    "HumanEval/116, constant off by one": "each number loses its leading 1, so all counts fall by one; no list has "
    "numbers below and above zero, where that would tell",
    "HumanEval/127, opposite comparison": "every length above 1 counts as prime, and no intersection is 4 or longer",
}

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
def test_every_faulty_solution_fails_but_the_two_that_no_test_sees(shared: Sandbox, tasks: list[Task]) -> None:
    programs: list[tuple[str, Task]] = []
    names = []
    for task in tasks:
        for kind, code in mutants.mutants(task.head, task.body, MUTANTS_A_TASK):
            programs.append((code, task))
            names.append(f"{task.name}, {kind}")
    results = run_all(shared, programs, FAULT_TIMEOUT_S)
    survivors = {name for name, result in zip(names, results, strict=True) if result.success}
    assert len(names) > 250
    assert {result.compile_success for result in results} == {True}
    assert survivors == set(UNSEEN)
