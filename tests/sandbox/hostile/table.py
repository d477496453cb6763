"""The whole table: every case by name, and what a machine cannot run, with reasons."""

import importlib.util

from tests.sandbox.hostile import (
    cheats,
    filesystem,
    kernel,
    memory,
    network,
    other_languages,
    output,
    processes,
    requirements,
    state,
)
from tests.sandbox.hostile.host import Host
from tests.sandbox.hostile.programs import Case

SECTIONS = (processes, memory, filesystem, kernel, network, output, state, requirements, cheats, other_languages)
CASES: tuple[Case, ...] = tuple(case for section in SECTIONS for case in section.CASES)
BY_NAME = {case.name: case for case in CASES}
NUMBERS = frozenset({"1b", *(str(number) for number in range(1, 113))})


def why_not_here(case: Case, host: Host) -> str | None:
    """Return why this machine cannot run a case; None when it can."""
    if not case.programs and case.act is None:
        return "this machine has no second ABI to call"
    missing = sorted({program.language for program in case.programs if not host.knows(program.language)})
    if missing:
        return f"no toolchain here for {', '.join(missing)}"
    with_tests = {program.language for program in case.programs if program.test_code is not None} - {"python"}
    if with_tests and importlib.util.find_spec("sandbox.driven") is None:
        return f"tests of {', '.join(sorted(with_tests))} are not run yet"
    return None
