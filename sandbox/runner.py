"""`Sandbox`: run one untrusted program, or its tests, and say what happened.

The flow of a request: check its fields, wait for a place, install its requirements, parse it (with tests), run it
behind the wall, judge what was observed, rate it. Synchronous and thread-safe; nothing starts before the first use.
Knows nothing of how jobs are isolated (`isolation.py`) or judged (`verdict.py`).
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sandbox import commands, compiled, driven, languages, lint, requirements, tested, typescript, workspace
from sandbox.builds import Builder
from sandbox.diagnostics import Diagnostic
from sandbox.errors import InvalidRequestError, SandboxError, SandboxUnavailableError
from sandbox.gate import Gate
from sandbox.installer import DependencyError
from sandbox.isolation import REQUIREMENTS_INSIDE, Isolation, open_isolation
from sandbox.jobs import Job, Outcome
from sandbox.settings import SandboxSettings
from sandbox.suites.plans import Sources
from sandbox.toolchains import Toolchains
from sandbox.types import (
    ExecutionRequest,
    ExecutionResult,
    IsolationTier,
    Language,
    SandboxStatus,
    SyntaxReport,
    Verdict,
)
from sandbox.verdict import Judgement, judge_program

STDOUT_CHARS = 4000  # documented lengths: the ends of the streams, the start of the message
STDERR_CHARS = 2000
MESSAGE_CHARS = 500
MORE_THAN_PROCESSORS = 2  # programs at once: a short one waits for the kernel a fifth of its time
UNNAMED = (None, "", "main.py")  # file names that a message does not show


class Sandbox:
    """Runs untrusted programs. Make one per process, share it between threads, close it at the end."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self._gate = Gate(settings.max_running or (os.cpu_count() or 1) + MORE_THAN_PROCESSORS, settings.max_waiting)
        self._store = requirements.RequirementStore(settings)
        self._toolchains = Toolchains(settings.toolchains_folder, settings.cache_folder)
        self._lock = threading.Lock()
        self._isolation: Isolation | None = None
        self._builder: Builder | None = None
        self._unavailable: SandboxUnavailableError | None = None
        self._closed = False
        self._n_passed = self._n_failed = 0

    def execute(self, request: ExecutionRequest, *, cancelled: threading.Event | None = None) -> ExecutionResult:
        """Run a program, with its tests if it has any, and return what happened.

        When `cancelled` is set from another thread, the program is killed within 100 ms.

        Raises:
            UnknownLanguageError: the language is not known.
            InvalidRequestError: a file name, a requirement, a time limit or the size cannot be used.
            ToolchainMissingError: the language's compiler or interpreter is not installed here.
            SandboxBusyError: too many requests are running and waiting already.
            ExecutionCancelledError: `cancelled` was set.
            SandboxUnavailableError: no isolation works here.
            SandboxError: our own machinery failed, or the sandbox is closed.
        """
        entry = languages.find_language(request.language)
        files = workspace.check_request(request, entry.source_name, self._settings)
        requirements.parse_requirements(request.requirements)
        isolation = self._ready()
        with self._gate.enter(cancelled):
            execution = _Execution(self._settings, isolation, self._build(isolation), request, cancelled)
            result = execution.result(self._store, files)
        with self._lock:
            if result.success:
                self._n_passed += 1
            else:
                self._n_failed += 1
        return result

    def check_syntax(
        self, code: str, language: str, filename: str | None = None, *, cancelled: threading.Event | None = None
    ) -> SyntaxReport:
        """Tell whether the text parses. Executes nothing of it.

        The message names the file, "SyntaxError: invalid syntax (add.py, line 1)", unless the name is "main.py":
        that is what clients call a text without a name, and the documented answer to it names no file. When
        `cancelled` is set from another thread, the parser is killed within 100 ms.

        Raises:
            UnknownLanguageError: the language is not known.
            InvalidRequestError: the text is too large.
            SandboxError: as for `execute`.
        """
        entry = languages.find_language(language)
        workspace.check_size(self._settings.max_source_bytes, code)
        isolation = self._ready()
        shown = None if filename in UNNAMED else filename
        with self._gate.enter(cancelled):
            started = time.monotonic()
            if entry.program is not None:
                name = commands.shown_name(shown, entry.source_name)
                found = compiled.check(self._build(isolation), entry.program, {name: code}, cancelled)
            else:
                job = _parse_job(self._settings, code, None, entry.source_name)
                error = tested.compile_error(isolation.run(job, cancelled), job.limits)
                found = () if error is None else (Diagnostic(error["type"], error["message"], error["line"]),)
            errors = tuple(_sendable(text) for text in compiled.describe(found, shown))
        return SyntaxReport(not errors, errors, entry.name, _milliseconds(time.monotonic() - started))

    def languages(self) -> tuple[Language, ...]:
        """Return every language the sandbox knows and the toolchain found for it."""
        return languages.describe_languages(self._toolchains)

    def status(self) -> SandboxStatus:
        """Tell what works here. The first call starts the plain zygote and runs the self-test (some 200 ms)."""
        n_running, n_waiting = self._gate.counts()
        wanted = self._settings.isolation
        tier: IsolationTier = "namespaces" if wanted == "auto" else wanted
        try:
            isolation = self._ready()
        except SandboxError as error:
            return SandboxStatus(tier, ready=False, detail=error.message)
        if isolation.tier == "none":
            detail = "programs run WITHOUT isolation, as CINQUE_SANDBOX_ISOLATION=none asks"
        else:
            detail = f"the {isolation.tier} tier passed its self-test; memory is limited by {isolation.memory_control}"
            if isolation.refused:
                detail += f"; stronger ones did not work: {' | '.join(isolation.refused)}"
        with self._lock:
            passed, failed = self._n_passed, self._n_failed
        return SandboxStatus(isolation.tier, True, detail, n_running, n_waiting, passed + failed, passed, failed)  # noqa: FBT003 - fields in order

    def close(self) -> None:
        """Kill what runs and release everything. May be called twice; a closed sandbox stays closed."""
        with self._lock:
            self._closed = True
            isolation, self._isolation = self._isolation, None
        if isolation is not None:
            isolation.close()

    def _ready(self) -> Isolation:
        with self._lock:
            if self._closed:
                raise SandboxError("the sandbox is closed; make a new one")
            if self._unavailable is not None:
                raise self._unavailable
            if self._isolation is None:
                try:
                    self._isolation = open_isolation(self._settings, self._toolchains)
                except SandboxUnavailableError as error:
                    self._unavailable = error
                    raise
            return self._isolation

    def _build(self, isolation: Isolation) -> Builder:
        with self._lock:
            if self._builder is None:
                self._builder = Builder(self._settings, isolation, self._toolchains)
            return self._builder


class _Execution:
    """One request on its way through the sandbox."""

    def __init__(
        self,
        settings: SandboxSettings,
        isolation: Isolation,
        builder: Builder,
        request: ExecutionRequest,
        cancelled: threading.Event | None,
    ) -> None:
        self._settings = settings
        self._isolation = isolation
        self._builder = builder
        self._request = request
        self._entry = languages.find_language(request.language)
        self._cancelled = cancelled
        self._limits = settings.limits(request.timeout_s)
        self._stdin = request.stdin.encode("utf-8", "surrogatepass")
        self._requirements: str | None = None
        self._type_errors: tuple[str, ...] = ()

    def result(self, store: requirements.RequirementStore, files: dict[str, str]) -> ExecutionResult:
        """Install, run, judge and rate."""
        try:
            if self._request.requirements and self._entry.program is None:  # they are Python's
                wanted = requirements.check_requirements(
                    self._request.requirements, self._settings.requirements_allowed
                )
                self._requirements = store.install(wanted, self._isolation.tier, self._cancelled)
        except DependencyError as error:
            judgement = Judgement(Verdict.COMPILE_ERROR, "DependencyError", str(error), compile_success=False)
            return self._describe(judgement, tested.NOT_RUN)
        test_code = self._request.test_code
        with self._types_checked(files):
            judgement, outcome = self._program(files) if test_code is None else self._tests(files, test_code)
        return self._describe(judgement, outcome)

    @contextlib.contextmanager
    def _types_checked(self, files: dict[str, str]) -> Iterator[None]:
        """Check the types of the program while the block runs it, where its language has any that are erased."""
        program = self._entry.program
        if program is None or program.types is None:
            yield
            return
        check = typescript.TypeCheck(self._builder, program.types(files), self._cancelled)
        check.start()
        try:
            yield
        finally:
            self._type_errors = check.finish()

    def _job(self, kind: str, flavour: str, arguments: dict[str, Any]) -> Job:
        path = REQUIREMENTS_INSIDE if self._requirements else None
        return Job(
            kind,
            flavour,
            {**arguments, "source_name": self._entry.source_name, "requirements_path": path},
            self._limits,
            stdin=self._stdin,
            requirements=self._requirements,
        )

    def _program(self, files: dict[str, str]) -> tuple[Judgement, Outcome]:
        if self._entry.program is not None:
            program = self._entry.program
            return compiled.CompiledRun(
                self._builder, program, files, self._limits, self._stdin, self._cancelled
            ).judge()
        job = self._job("program", self._entry.program_flavour, {"files": files})
        outcome = self._isolation.run(job, self._cancelled)
        return judge_program(outcome, self._limits), outcome

    def _tests(self, files: dict[str, str], test_code: str) -> tuple[Judgement, Outcome]:
        if self._entry.program is not None and self._entry.name in driven.SUITES:
            return self._driven(self._entry.program, files, test_code).judge()
        flavour = self._entry.tests_flavour
        if flavour is None:
            raise InvalidRequestError(f"tests of {self._entry.name} programs are not supported", param="test_code")
        base = self._job("tests", flavour, {"files": files, "test_code": test_code, "remote": None, "twin": None})
        run = tested.TestRun(
            self._isolation, base, self._entry.program_flavour, self._cancelled, self._settings.twin_timeout_s
        )
        parse = _parse_job(self._settings, self._request.code, test_code, self._entry.source_name)
        others = [name for name in files if name != self._entry.source_name]
        return run.judge(replace(parse, arguments={**parse.arguments, "files": others}))

    def _driven(self, program: languages.Program, files: dict[str, str], test_code: str) -> driven.DrivenTests:
        name = self._entry.source_name
        others = {path: text for path, text in files.items() if path != name}
        return driven.DrivenTests(
            self._builder,
            self._entry.name,
            Sources(files[name], test_code, name, others),
            program,
            self._limits,
            self._stdin,
            self._cancelled,
            may_split=self._isolation.tier != "none",
        )

    def _describe(self, judgement: Judgement, outcome: Outcome) -> ExecutionResult:
        message = judgement.error_message
        # A checker repeats what is wrong with the syntax; that is told already, and is not about types.
        type_errors = () if judgement.error_type == "SyntaxError" else self._type_errors
        return ExecutionResult(
            success=judgement.verdict is Verdict.OK,
            compile_success=judgement.compile_success and not type_errors,
            tests_run=judgement.tests_run,
            tests_passed=judgement.tests_passed,
            lint_score=self._lint_score(judgement),
            stdout=outcome.stdout.decode("utf-8", "replace")[-STDOUT_CHARS:],
            stderr=outcome.stderr.decode("utf-8", "replace")[-STDERR_CHARS:],
            error_type=None if judgement.error_type is None else _sendable(judgement.error_type),
            error_message=None if message is None else _sendable(message)[:MESSAGE_CHARS],
            execution_time_ms=_milliseconds(outcome.wall_s),
            verdict=judgement.verdict,
            exit_code=outcome.exit_code,
            isolation=self._isolation.tier,
            result_trust=judgement.result_trust,
            peak_memory_bytes=outcome.peak_bytes,
            type_errors=type_errors,
        )

    def _lint_score(self, judgement: Judgement) -> float | None:
        flavour = self._entry.lint_flavour
        if flavour is None or not (self._settings.lint and self._request.lint and judgement.compile_success):
            return None
        limits = replace(self._settings.limits(None), time_s=self._settings.lint_timeout_s)
        return lint.rate(self._isolation, self._request.code, self._entry.source_name, limits, self._cancelled)


def _sendable(text: str) -> str:
    """Return the text with lone surrogates, which a program may raise but no reply can carry, replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _parse_job(settings: SandboxSettings, code: str, test_code: str | None, filename: str) -> Job:
    limits = replace(settings.limits(None), time_s=settings.syntax_timeout_s)
    arguments = {"code": code, "test_code": test_code, "filename": filename}
    return Job("parse", "plain", arguments, limits, bare=True)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
