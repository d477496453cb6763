"""The whole table: every case by name, where the rest of it is tested, and what a machine cannot run, with reasons."""

from tests.sandbox.hostile import cheats, filesystem, kernel, memory, network, output, processes, requirements, state
from tests.sandbox.hostile.host import Host
from tests.sandbox.hostile.programs import Case

CASES: tuple[Case, ...] = tuple(
    case
    for section in (processes, memory, filesystem, kernel, network, output, state, requirements, cheats)
    for case in section.CASES
)
BY_NAME = {case.name: case for case in CASES}

NUMBERS = frozenset({"1b", *(str(number) for number in range(1, 113))})
# The cheats of other languages are tested beside the code that runs their tests.
ELSEWHERE: dict[str, str] = {
    "109": "tests/sandbox/suites/test_c_suites.py",
    "110": "tests/sandbox/suites/test_javascript_suites.py",
    "111": "tests/sandbox/suites/test_rust_and_go_suites.py",
    "112": "tests/sandbox/suites/test_bash_suites.py",
}


def missing_toolchain(case: Case, host: Host) -> str | None:
    """Return why this machine cannot run a case; None when it can."""
    if not case.programs and case.act is None:
        return "this machine has no second ABI to call"
    missing = sorted({program.language for program in case.programs if not host.knows(program.language)})
    return f"no toolchain here for {', '.join(missing)}" if missing else None
