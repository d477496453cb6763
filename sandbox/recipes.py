"""How a program becomes something that runs: files, compile steps, what they leave behind, and the command to start.

Plain data without behaviour. A recipe names its tools and never their paths: `toolchains.py` knows where they lie,
`builds.py` runs the steps behind the wall and keeps what they made, and a `command` job starts the result.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Step:
    """One command of a compilation, run in the workspace; a name without a slash is looked up in PATH."""

    argv: tuple[str, ...]


@dataclass(frozen=True)
class Recipe:
    """One program and how to build and start it. An interpreted program has no steps and no artefacts."""

    files: Mapping[str, str]  # relative path -> text, written before the first step and again before the run
    steps: tuple[Step, ...]  # in order; the first that fails ends the build
    artefacts: tuple[str, ...]  # files of the workspace that the run needs, relative paths
    run: tuple[str, ...]  # the command, with the workspace as its current folder
    toolchain: str  # names of `toolchains.TOOLS`, separated by blanks; their versions enter the cache key
    environment: Mapping[str, str] = field(default_factory=dict)  # on top of the toolchain's own
