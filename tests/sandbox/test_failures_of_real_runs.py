"""From a real run to its explanation: what `/execute` answers of a failing program is enough to explain it."""

import json
from pathlib import Path
from typing import Any

import pytest

from sandbox.analysis import analyze
from sandbox.languages import LANGUAGES
from sandbox.types import FailureReport
from tests.sandbox.machine import Runner

RECORDED = {each["name"]: each for each in json.loads((Path(__file__).parent / "recorded_failures.json").read_text())}
RUN = [
    *("python_name", "python_colon", "python_index", "python_library", "python_chained", "python_recursion"),
    *("node_reference", "node_undefined", "node_syntax", "node_module", "node_thrown_text"),
    *("tsc_name", "esbuild_syntax"),
    *("gcc_undeclared", "gcc_link", "c_assert"),
    *("gpp_include", "cpp_at"),
    *("rust_name", "rust_index", "rust_assert"),
    *("go_undefined", "go_index", "go_nil_pointer"),
    *("bash_unbound", "bash_command", "bash_syntax"),
]


def execute(run: Runner, language: str, code: str) -> FailureReport:
    """Run it, and report what came of it as a client of `/execute` would; skip where the toolchain is missing."""
    versions = {known.name: known.version for known in run.sandbox.languages()}
    if versions.get(language) is None:
        pytest.skip(f"no toolchain for {language} on this machine")
    result = run(code, language=language)
    assert not result.success
    return FailureReport(
        code,
        language,
        stdout=result.stdout,
        stderr=result.stderr,
        passed=result.success,
        verdict=result.verdict,
        error_type=result.error_type,
        error_message=result.error_message,
    )


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", RUN)
def test_a_real_failure_is_explained(name: str, run: Runner) -> None:
    recorded: dict[str, Any] = RECORDED[name]
    if recorded["language"] not in {entry.name for entry in LANGUAGES}:
        pytest.skip(f"{recorded['language']} is not a language of the sandbox")
    report = execute(run, recorded["language"], "\n".join(recorded["code"]) + "\n")
    found = analyze(report)
    assert (found.failure_type, found.failure_line) == (recorded["kind"], recorded["line"]), report
    for words in recorded["says"]:
        assert words in f"{found.suggestion} {found.failure_message}"


SEGFAULT = "int main(void) { volatile int *p = 0; return *p; }\n"


@pytest.mark.parametrize(
    ("language", "code", "kind", "advice"),
    [
        ("c", SEGFAULT, "runtime", "memory that is not its own"),
        ("python", "n = 0\nwhile True:\n    n += 1\n", "timeout", "line 2"),
        ("python", "x = bytearray(10**10)\n", "memory", "line 1"),
        ("python", "import sys\nsys.exit(3)\n", "runtime", "status"),
    ],
    ids=["segfault", "endless", "memory", "exit"],
)
def test_a_limit_or_a_signal_is_explained_without_a_word(
    language: str, code: str, kind: str, advice: str, run: Runner
) -> None:
    report = execute(run, language, code) if kind != "timeout" else _timed_out(run, code)
    found = analyze(report)
    assert found.failure_type == kind
    assert advice in (found.suggestion or "")


def _timed_out(run: Runner, code: str) -> FailureReport:
    result = run(code, timeout_s=0.5)
    return FailureReport(code, verdict=result.verdict, error_type=result.error_type, stderr=result.stderr)


def test_a_failed_test_names_the_function_and_both_values(run: Runner) -> None:
    code = "def double(n):\n    return n + n + 1\n"
    result = run(code, "assert double(2) == 4")
    report = FailureReport(
        code,
        stderr=result.stderr,
        verdict=result.verdict,
        error_type=result.error_type,
        error_message=result.error_message,
    )
    found = analyze(report)
    assert found.failure_type == "assertion"
    assert found.suggestion == "`double` gives 5 where 4 is expected: off by one; check the bounds of loops and ranges."
