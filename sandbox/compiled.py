"""Programs that a tool of this machine compiles or interprets: build, run, judge; or only check their syntax.

Everything runs behind the wall, the compilers too. The build and the run are two jobs: what the compiler was made to
do ends with its job, and only the files that it was asked for go on. Interpreted programs are checked after they
failed, not before they run: then it is known whether they were programs at all, and the others pay nothing.
"""

import threading
from dataclasses import dataclass

from sandbox import crashes, diagnostics
from sandbox.builds import Build, Builder
from sandbox.errors import SandboxError
from sandbox.failures import named
from sandbox.jobs import Outcome
from sandbox.languages import Program
from sandbox.types import Limits, Verdict
from sandbox.verdict import Judgement, limit_reached, signal_name, written_class


@dataclass(frozen=True)
class CompiledRun:
    """One program on its way from source to judgement."""

    builder: Builder
    program: Program
    files: dict[str, str]
    limits: Limits  # of the run
    stdin: bytes
    cancelled: threading.Event | None

    def judge(self) -> tuple[Judgement, Outcome]:
        """Build and run; raises `ToolchainMissingError` and what running a job raises."""
        recipe = self.program.recipe(self.files, self.limits)
        build = self.builder.build(recipe, None, self.cancelled)
        if not build.is_ok:
            return build_failure(build, self.builder.limits, self.program.errors), build_outcome(build)
        job = self.builder.command(recipe, build, self.limits, stdin=self.stdin)
        outcome = self.builder.run(job, self.cancelled)
        return self._judged(outcome), outcome

    def _judged(self, outcome: Outcome) -> Judgement:
        judgement = judge_command(outcome, self.limits, self.program.explain)
        if judgement.verdict is not Verdict.RUNTIME_ERROR or not self.program.syntax_marker:
            return judgement
        if self.program.syntax_marker not in outcome.stderr.decode("utf-8", "replace"):
            return judgement
        errors = check(self.builder, self.program, self.files, self.cancelled)
        if not errors:
            return judgement
        return Judgement(Verdict.COMPILE_ERROR, errors[0].kind, located(errors[0]), compile_success=False)


def check(
    builder: Builder, program: Program, files: dict[str, str], cancelled: threading.Event | None = None
) -> tuple[diagnostics.Diagnostic, ...]:
    """Return what is wrong with the syntax; executes nothing of it."""
    build = builder.build(program.check(files), builder.check_limits, cancelled, keep=False)
    if build.is_ok:
        return ()
    stopped = limit_reached(build.outcome, builder.check_limits)
    if stopped is not None:
        return (diagnostics.Diagnostic(diagnostics.SYNTAX_ERROR, f"the text could not be parsed: {_reason(build)}"),)
    _demand_steps(build)
    return program.errors(build.said())


def located(error: diagnostics.Diagnostic) -> str:
    """Return the message with its line before it, as for Python."""
    return error.message if error.line is None else f"Line {error.line}: {error.message}"


def build_failure(build: Build, limits: Limits, read: diagnostics.Reader) -> Judgement:
    """Return the judgement of a program that does not compile, or whose compiler reached a limit.

    Raises:
        SandboxError: no step failed, so it is our machinery that did.
    """
    if limit_reached(build.outcome, limits) is not None or build.outcome.signal is not None:
        text = f"the compiler was stopped: {_reason(build)}"
        return Judgement(Verdict.COMPILE_ERROR, diagnostics.COMPILE_ERROR, text, compile_success=False)
    _demand_steps(build)
    first = read(build.said())[0]
    return Judgement(Verdict.COMPILE_ERROR, first.kind, located(first), compile_success=False)


def build_outcome(build: Build) -> Outcome:
    """Return what a failed build leaves for the result: what the compiler said, and no time, for nothing ran."""
    said = build.outcome
    return Outcome("exit", said.exit_code, None, b"", said.stderr, [], 0.0, None)


def judge_command(outcome: Outcome, limits: Limits, explain: crashes.Explainer = crashes.nothing) -> Judgement:
    """Judge a program from how it ended; its runtime's own words only explain what is already known to be a failure."""
    stopped = limit_reached(outcome, limits)
    if stopped is not None:
        return stopped
    missing = outcome.find("not_started") or outcome.find("harness_error")
    if missing is not None:
        raise SandboxError(f"a program could not be started: {missing['message']}; the command is in the recipe")
    if outcome.exit_code == 0:
        return Judgement(Verdict.OK)
    stderr = outcome.stderr.decode("utf-8", "replace")[-crashes.TAIL_CHARS :]
    crash = explain(crashes.Ending(outcome.exit_code, outcome.signal, stderr))
    if crash is not None and crash.type == crashes.OUT_OF_MEMORY:
        text = f"the program asked for more than {limits.memory_bytes} bytes of memory: {crash.message}"
        return Judgement(Verdict.MEMORY_LIMIT, "MemoryLimit", text)
    said = crashes.last_line(stderr)
    if outcome.signal is not None:
        name = signal_name(outcome.signal)
        detail = f"{crash.type}: {crash.message}" if crash is not None else said
        text = f"the program was ended by {name}" + (f": {detail}" if detail else "")
        return Judgement(Verdict.SIGNALED, name, text)
    if crash is not None:
        where = "" if crash.line is None else f" (line {crash.line})"
        return Judgement(Verdict.RUNTIME_ERROR, named(crash.type, crash.message), crash.message + where)
    text = f"the program exited with status {outcome.exit_code}" + (f": {said}" if said else "")
    return Judgement(Verdict.RUNTIME_ERROR, written_class(outcome), text)


def _reason(build: Build) -> str:
    """Return in a few words which limit ended a compilation."""
    outcome = build.outcome
    if outcome.ended_by == "exit":
        return f"it was ended by {signal_name(outcome.signal)}" if outcome.signal is not None else "it needed too long"
    return {
        "time": "it took too long",
        "memory": "it needed too much memory",
        "output": "it wrote too much output",
    }.get(outcome.ended_by, "it was ended")


def _demand_steps(build: Build) -> None:
    """Raise `SandboxError` unless it was a tool that failed: then what it said is about the program."""
    outcome = build.outcome
    problem = outcome.find("not_started") or outcome.find("harness_error")
    if problem is not None:
        raise SandboxError(f"a compiler could not be started: {problem['message']}; run cinque doctor")
    if outcome.find("step") is None:
        raise SandboxError("a compilation ended without a word; try again")


def describe(errors: tuple[diagnostics.Diagnostic, ...], filename: str | None) -> tuple[str, ...]:
    """Return errors as a syntax report has them: "SyntaxError: what is wrong (name, line 3)"."""
    described = []
    for error in errors:
        line = None if error.line is None else f"line {error.line}"
        where = ", ".join(part for part in (filename, line) if part is not None)
        described.append(f"{error.kind}: {error.message}" + (f" ({where})" if where else ""))
    return tuple(described)
