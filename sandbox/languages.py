"""The languages the sandbox knows: one data entry each, read by `runner.py` and by nobody else.

An entry says how a program of the language is stored and which harness runs it; a new language is a new entry.
Python runs in the warm interpreters; the others are built and started by tools, as the recipes of `commands.py` say.
"""

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sandbox import commands, crashes, diagnostics
from sandbox.errors import UnknownLanguageError
from sandbox.recipes import Recipe
from sandbox.toolchains import Toolchains
from sandbox.types import Language, Limits


@dataclass(frozen=True)
class Program:
    """How programs of a language that has a tool are built, started, checked and explained."""

    recipe: Callable[[Mapping[str, str], Limits], Recipe]  # from every file of the workspace and the run's limits
    check: Callable[[Mapping[str, str]], Recipe]  # parses the same files, and makes and executes nothing
    errors: diagnostics.Reader
    explain: crashes.Explainer = crashes.nothing
    syntax_marker: str | None = None  # of interpreted languages: what a failed run says when it may be no program


@dataclass(frozen=True)
class LanguageEntry:
    """How programs of one language are stored, run, tested and rated."""

    name: str
    aliases: tuple[str, ...]
    source_name: str  # the candidate's file in the workspace
    tool: str | None  # of `toolchains.TOOLS`, the one whose version is the language's; None: our own interpreter
    program_flavour: str  # the zygote that runs programs of it
    tests_flavour: str | None  # the zygote that runs its tests; None: tests are not supported
    lint_flavour: str | None  # the zygote that rates it
    program: Program | None = None  # None: programs run in the warm interpreter


def _python_version() -> str:
    return f"Python {platform.python_version()}"


def _with_tool(name: str, aliases: tuple[str, ...], source_name: str, tool: str, program: Program) -> LanguageEntry:
    return LanguageEntry(name, aliases, source_name, tool, "tools", None, None, program)


LANGUAGES: tuple[LanguageEntry, ...] = (
    LanguageEntry(
        name="python",
        aliases=("py", "python3"),
        source_name="solution.py",
        tool=None,
        program_flavour="plain",
        tests_flavour="tests",
        lint_flavour="lint",
    ),
    _with_tool(
        "javascript",
        ("js", "node"),
        "solution.js",
        "node",
        Program(
            commands.javascript,
            commands.check_javascript,
            diagnostics.node,
            crashes.node,
            syntax_marker="SyntaxError",
        ),
    ),
    _with_tool(
        "go", ("golang",), "solution.go", "go", Program(commands.go, commands.check_go, diagnostics.go, crashes.go)
    ),
    _with_tool(
        "rust",
        ("rs",),
        "solution.rs",
        "rustc",
        Program(commands.rust, commands.check_rust, diagnostics.rustc, crashes.rust),
    ),
    _with_tool("c", (), "solution.c", "gcc", Program(commands.c, commands.check_c, diagnostics.gcc)),
    _with_tool(
        "cpp", ("c++",), "solution.cpp", "g++", Program(commands.cpp, commands.check_cpp, diagnostics.gcc, crashes.cpp)
    ),
    _with_tool(
        "bash",
        ("sh", "shell"),
        "solution.sh",
        "bash",
        Program(commands.bash, commands.check_bash, diagnostics.bash, syntax_marker="syntax error"),
    ),
)

_BY_NAME = {name: entry for entry in LANGUAGES for name in (entry.name, *entry.aliases)}


def find_language(name: str) -> LanguageEntry:
    """Return the entry of a language by name or alias, in any case. Raises `UnknownLanguageError`."""
    entry = _BY_NAME.get(name.strip().lower())
    if entry is None:
        known = ", ".join(entry.name for entry in LANGUAGES)
        raise UnknownLanguageError(f"language {name!r} is not known; known are: {known}", param="language")
    return entry


def describe_languages(toolchains: Toolchains) -> tuple[Language, ...]:
    """Return every language with the version of the toolchain found for it."""
    return tuple(
        Language(
            entry.name,
            entry.aliases,
            _python_version() if entry.tool is None else toolchains.version(entry.tool),
        )
        for entry in LANGUAGES
    )
