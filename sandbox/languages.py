"""The languages the sandbox knows: one data entry each, read by `runner.py` and by nobody else.

An entry says how a program of the language is stored and which harness runs it; a new language is a new entry.
"""

import platform
from collections.abc import Callable
from dataclasses import dataclass

from sandbox.errors import UnknownLanguageError
from sandbox.types import Language


@dataclass(frozen=True)
class LanguageEntry:
    """How programs of one language are stored, run, tested and rated."""

    name: str
    aliases: tuple[str, ...]
    source_name: str  # the candidate's file in the workspace
    version: Callable[[], str | None]  # None when the toolchain is missing; cheap after the first call
    program_flavour: str  # the zygote that runs programs of it
    tests_flavour: str | None  # the zygote that runs its tests; None: tests are not supported
    lint_flavour: str | None  # the zygote that rates it


def _python_version() -> str:
    return f"Python {platform.python_version()}"


LANGUAGES: tuple[LanguageEntry, ...] = (
    LanguageEntry(
        name="python",
        aliases=("py", "python3"),
        source_name="solution.py",
        version=_python_version,
        program_flavour="plain",
        tests_flavour="tests",
        lint_flavour="lint",
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


def describe_languages() -> tuple[Language, ...]:
    """Return every language with the version of the toolchain found for it."""
    return tuple(Language(entry.name, entry.aliases, entry.version()) for entry in LANGUAGES)
