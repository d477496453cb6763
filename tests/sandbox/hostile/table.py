"""The whole table: every case by name, and what a machine cannot run, with reasons."""

import importlib.util
import os
import subprocess
import tempfile
from pathlib import Path

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
from tests.sandbox.hostile.programs import Case, Program

SECTIONS = (processes, memory, filesystem, kernel, network, output, state, requirements, cheats, other_languages)
CASES: tuple[Case, ...] = tuple(case for section in SECTIONS for case in section.CASES)


def _leave_something(host: Host) -> list[str]:
    (Path(tempfile.gettempdir()) / "left").touch()
    host.strays.append(subprocess.Popen(["/bin/sleep", "3600"]))
    os.dup(2)
    return host.faults_of(Program("print('ESCAPED it')", ("BLOCKED it",)))


# Everything that the others must not do, so that finding nothing means something.
UNTIDY = Case("0", "leave something behind", act=_leave_something)
BY_NAME = {case.name: case for case in (*CASES, UNTIDY)}
NUMBERS = frozenset({"1b", *(str(number) for number in range(1, 113))})

# What a line of the table asks for and no test here shows, and why.
NOT_SHOWN: dict[str, str] = {
    "14": "a quota of CPU as an ordinary user, who can make no groups; there the deadline is shown",
    "28": "a core_pattern that is a pipe: setting one changes the machine for everybody; the limit for it is shown",
    "39": "version and cpuinfo are public, as sandbox/isolation.py says: uname and the processor tell the same",
    "40": "a collector that follows links (29, 41, 42 and 48 too): nothing of a workspace is read back by the host",
    "55": "foreign ABIs of aarch64: no such machine is at hand",
    "81": "poisoning from Go and Rust themselves: what their compilers read is attacked from a shell and from C",
    "84": "layouts and hash seeds are shared by the jobs of one zygote, which is shown and documented",
    "88": "a million entries: a little more than the limit of files, which is lowered for that",
    "90": "packages newer than a date: that needs an index that tells dates; see test_hostile_packages.py",
    "100": "a program beside its tests that tells random values from those it should give: see docs/testing.md",
    "111": "Go: its standard library compiles for longer than all the rest; see the tests of other languages",
}


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
