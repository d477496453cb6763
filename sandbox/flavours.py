"""What a warm interpreter has ready for the jobs it serves, and the interpreter itself.

A flavour names the packages that are visible to the harness, the modules that are imported and the functions that are
called before a job comes. Read by every tier; starts nothing.
"""

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from sandbox.errors import SandboxUnavailableError

Binds = tuple[tuple[str, str], ...]  # (host path, path inside) of toolchains outside /usr
# Standard modules that programs import most. Each extension among them costs every job 0.05 ms, being mapped.
WARM_MODULES = (
    "abc argparse array asyncio base64 bisect collections.abc concurrent.futures contextlib copy dataclasses "
    "datetime decimal enum fractions functools glob hashlib heapq html inspect io itertools json linecache logging "
    "math numbers operator os pathlib pickle pprint queue random re secrets shutil statistics string struct subprocess "
    "tempfile textwrap threading time timeit traceback typing urllib.parse weakref zlib"
)


@dataclass(frozen=True)
class Flavour:
    """What one zygote has ready: distributions to bind, modules to import, functions to call."""

    name: str
    distributions: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    is_python: bool = True  # imports what Python programs import


FLAVOURS = {
    "plain": Flavour("plain"),
    "tests": Flavour("tests", ("pytest",), ("sandbox.inside.under_pytest:warm",)),
    "lint": Flavour("lint", ("pylint",), ("sandbox.inside.linter:warm",)),
    "tools": Flavour("tools", is_python=False),
}


def interpreter() -> tuple[str, str]:
    """Return the base interpreter behind any virtual environment, and its prefix, both without links."""
    executable = getattr(sys, "_base_executable", None) or sys.executable
    return os.path.realpath(executable), os.path.realpath(sys.base_prefix)


def package_paths(distributions: Iterable[str]) -> tuple[str, ...]:
    """Return the top-level files and folders of the distributions and all that they require."""
    pending, seen, paths = list(distributions), set[str](), set[str]()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError as error:
            raise SandboxUnavailableError(f"the package {name!r} is not installed; install it with pip") from error
        for file in distribution.files or ():
            top = file.parts[0]
            if top != ".." and not top.endswith(".pth") and top != "__pycache__":
                paths.add(str(distribution.locate_file(top)))
        for text in distribution.requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                pending.append(requirement.name)
    return tuple(sorted(paths))


def covered_paths(prefix: str) -> tuple[str, ...]:
    """Return the folders of installed packages that the base interpreter could see."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    folders = {
        f"{root}/lib/{python}/{name}"
        for root in (prefix, "/usr", "/usr/local")
        for python in (version, "python3")
        for name in ("site-packages", "dist-packages")
    }
    return tuple(sorted(folder for folder in folders if Path(folder).is_dir()))


def warm_modules(flavour: Flavour) -> list[str]:
    """Return the standard modules that a warm interpreter of this flavour imports."""
    return WARM_MODULES.split() if flavour.is_python else []
