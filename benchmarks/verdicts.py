"""Every public task in every language: does its reference solution pass, and do empty and faulty ones fail?

Takes HumanEval with up to five faults a task, and HumanEval-X in C++, Go, JavaScript and Rust, from the folder that
CINQUE_TEST_DATA names or `shared/data`. A language whose tests cannot run here is named and left out. What was expected
otherwise is listed by name. A faulty program that passes is run without a sandbox, too: where it passes there, its
tests do not see the fault. It ends with 1 when anything else was expected otherwise.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.machine import watching_host
from sandbox.errors import InvalidRequestError, ToolchainMissingError
from sandbox.runner import Sandbox
from sandbox.settings import SandboxSettings
from sandbox.types import ExecutionRequest, ExecutionResult
from tests.sandbox import mutants
from tests.sandbox.public_tasks import (
    FOLDERS,
    Task,
    data_folder,
    human_eval,
    human_eval_x,
    impossible,
    passes_bare,
    run_all,
)

TIMEOUT_S = 60.0
FAULT_TIMEOUT_S = 3.0
UNSEEN = "passes without a sandbox, too: its tests do not see the fault"
QUICK_EVERY = 20  # one task in so many


@dataclass(frozen=True)
class Sweep:
    """Programs of one language and one kind, which should all pass, or all fail."""

    language: str
    kind: str
    names: list[str]
    programs: list[tuple[str, Task]]
    timeout_s: float


def sweeps(language: str, tasks: list[Task]) -> Iterator[Sweep]:
    """Yield what there is to run."""
    names = [task.name for task in tasks]
    yield Sweep(language, "reference", names, [(task.solution, task) for task in tasks], TIMEOUT_S)
    emptied = [(task.emptied, task) for task in tasks]
    yield Sweep(language, "emptied", names, emptied, TIMEOUT_S)
    if language == "python":
        faults = [
            (f"{task.name}, {kind}", (code, task))
            for task in tasks
            for kind, code in mutants.mutants(task.head, task.body, len(mutants.KINDS))
        ]
        yield Sweep(language, "faulty", [name for name, _ in faults], [one for _, one in faults], FAULT_TIMEOUT_S)


def run(sandbox: Sandbox, sweep: Sweep) -> dict[str, Any]:
    """Run a sweep; say which of its programs did what they should not."""
    started_s = time.perf_counter()
    results = run_all(sandbox, sweep.programs, sweep.timeout_s)
    seconds = time.perf_counter() - started_s
    should_pass = sweep.kind == "reference"
    others = {
        name: _told(result, program, sweep.kind)
        for name, program, result in zip(sweep.names, sweep.programs, results, strict=True)
        if result.success != should_pass
    }
    n_right = len(results) - len(others)
    what = "passed" if should_pass else "failed"
    print(f"{sweep.language:11} {sweep.kind:10} {n_right} of {len(results)} {what}, {seconds:.0f} s", flush=True)
    for name, text in others.items():
        print(f"    {name}: {text}")
    return {"language": sweep.language, "kind": sweep.kind, "n": len(results), "others": others, "seconds": seconds}


def _told(result: ExecutionResult, program: tuple[str, Task], kind: str) -> str:
    if kind == "faulty" and passes_bare(*program, TIMEOUT_S):
        return UNSEEN
    return f"{result.verdict} {result.error_type}: {(result.error_message or '')[:200]}"


def _tasks(sandbox: Sandbox, folder: Path, language: str) -> list[Task]:
    if language == "python":
        return human_eval(folder)
    found = human_eval_x(folder, language)
    possible = [task for task in found if impossible(task) is None]
    for task in found:
        if task not in possible:
            print(f"{language:11} left out: {task.name}, {impossible(task)}")
    try:
        sandbox.execute(ExecutionRequest(found[0].solution, language, test_code=found[0].tests, lint=False))
    except (InvalidRequestError, ToolchainMissingError) as error:
        print(f"{language:11} left out: {error.message}")
        return []
    return possible


def main() -> None:
    """Run everything, print, and write the numbers where they are wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one task in twenty")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there as well")
    parser.add_argument("--languages", nargs="+", default=["python", *FOLDERS], choices=["python", *FOLDERS])
    options = parser.parse_args()
    folder = data_folder()
    if folder is None:
        raise SystemExit("the tasks are not here; name their folder in CINQUE_TEST_DATA")
    found = []
    with tempfile.TemporaryDirectory() as home, watching_host() as stolen:
        sandbox = Sandbox(SandboxSettings(home=Path(home)))
        try:
            for language in options.languages:
                tasks = _tasks(sandbox, folder, language)[:: QUICK_EVERY if options.quick else 1]
                found += [run(sandbox, sweep) for sweep in sweeps(language, tasks) if sweep.programs]
        finally:
            sandbox.close()
    print(f"the machine's host gave {stolen.share:.0%} of its time to others")
    if options.json:
        options.json.write_text(json.dumps({"sweeps": found, "stolen": stolen.share}, indent=1), encoding="utf-8")
    sys.exit(any(text != UNSEEN for one in found for text in one["others"].values()))


if __name__ == "__main__":
    main()
