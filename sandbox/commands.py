"""The commands of each language's own tools: how a program of it is compiled, started and checked. Recipes as data.

Flags are fixed here and part of the cache key. Programs are optimised a little: most candidates run for milliseconds,
and compiling is what a caller waits for. A check parses (and where the language has no cheaper way, type-checks), and
never runs what it reads.
"""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from sandbox.recipes import Recipe, Step
from sandbox.types import Limits

PROGRAM = "program"  # the name of a compiled program in the workspace
C_FLAGS = ("-std=gnu17", "-O1", "-Wall", "-fmax-errors=20", "-fdiagnostics-color=never")
CPP_FLAGS = ("-std=gnu++17", "-O1", "-Wall", "-fmax-errors=20", "-fdiagnostics-color=never")
RUST_FLAGS = (
    *("--edition", "2021", "--color", "never"),
    *("-C", "opt-level=1", "-C", "overflow-checks=on", "-C", "strip=symbols"),
)
PIPE = "-pipe"  # the compiler and the assembler side by side: a tenth of a small compilation
GO_FLAGS = ("-ldflags=-s -w",)  # no symbol tables: linking is a third of a small build, and panics do not need them
NODE = ("node", "--no-warnings")
MIB = 1 << 20
NODE_BYTES = 64 * MIB  # what Node.js itself needs; of the rest of the memory limit its heap gets a share, so that
HEAP_SHARE_PERCENT = 85  # it says that the heap is full before it is killed
MIN_HEAP_MIB = 16
# A module says so at the start of a line; Node.js of 20.19 and later would find out by itself, older ones fail.
_MODULE = re.compile(
    r"""^(import\s+["'\w{*]|export\s+(default|const|let|var|function|class|async|[{*]))""", re.MULTILINE
)
_PLAIN_NAME = re.compile(r"\w[\w.-]{0,99}", re.ASCII)  # neither an option nor a folder, and short enough for any file
_COMMON_JS = re.compile(r"\brequire\s*\(|\bmodule\.exports\b")


def _sources(files: Mapping[str, str], *suffixes: str) -> tuple[str, ...]:
    """Return the source files at the top of the workspace, in order of their names."""
    return tuple(
        sorted(name for name in files if "/" not in name and not name.startswith("-") and name.endswith(suffixes))
    )


def _compiled(files: Mapping[str, str], argv: tuple[str, ...], toolchain: str) -> Recipe:
    return Recipe(dict(files), (Step(argv),), (PROGRAM,), (f"./{PROGRAM}",), toolchain)


def c(files: Mapping[str, str], _limits: Limits) -> Recipe:
    """Compile every .c file at the top together."""
    return _compiled(files, ("gcc", PIPE, *C_FLAGS, "-o", PROGRAM, *_sources(files, ".c"), "-lm", "-pthread"), "gcc")


def cpp(files: Mapping[str, str], _limits: Limits) -> Recipe:
    """Compile every .cpp, .cc and .cxx file at the top together."""
    sources = _sources(files, ".cpp", ".cc", ".cxx")
    return _compiled(files, ("g++", PIPE, *CPP_FLAGS, "-o", PROGRAM, *sources, "-pthread"), "g++")


def rust(files: Mapping[str, str], _limits: Limits) -> Recipe:
    """Compile the candidate as the root of a crate; other files are its modules."""
    return _compiled(files, ("rustc", *RUST_FLAGS, "-o", PROGRAM, "solution.rs"), "rustc gcc")


def go(files: Mapping[str, str], _limits: Limits) -> Recipe:
    """Compile the module of the workspace if there is one, else every .go file at the top that holds no tests."""
    sources = [name for name in _sources(files, ".go") if not name.endswith("_test.go")]
    what = ["."] if "go.mod" in files else sources
    return _compiled(files, ("go", "build", *GO_FLAGS, "-o", PROGRAM, *what), "go")


def bash(files: Mapping[str, str], _limits: Limits) -> Recipe:
    """Start the script."""
    return Recipe(dict(files), (), (), ("bash", "solution.sh"), "bash")


def javascript(files: Mapping[str, str], limits: Limits) -> Recipe:
    """Start the script; one that is written as a module is stored under a name that says so."""
    name, files = _named_as_module(files)
    heap_mib = max(MIN_HEAP_MIB, (limits.memory_bytes - NODE_BYTES) * HEAP_SHARE_PERCENT // 100 // MIB)
    return Recipe(files, (), (), (*NODE, f"--max-old-space-size={heap_mib}", name), "node")


def _named_as_module(files: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    code = files["solution.js"]
    if "package.json" in files or not _MODULE.search(code) or _COMMON_JS.search(code):
        return "solution.js", dict(files)
    others = {name: text for name, text in files.items() if name != "solution.js"}
    return "solution.mjs", {**others, "solution.mjs": code}


def _check(files: Mapping[str, str], argv: tuple[str, ...], toolchain: str) -> Recipe:
    return Recipe(dict(files), (Step(argv),), (), (), toolchain)


def check_c(files: Mapping[str, str]) -> Recipe:
    """Parse and type-check, and make nothing."""
    return _check(files, ("gcc", *C_FLAGS, "-w", "-fsyntax-only", *_sources(files, ".c")), "gcc")


def check_cpp(files: Mapping[str, str]) -> Recipe:
    """Parse and type-check, and make nothing."""
    return _check(files, ("g++", *CPP_FLAGS, "-w", "-fsyntax-only", *_sources(files, ".cpp", ".cc", ".cxx")), "g++")


def check_rust(files: Mapping[str, str]) -> Recipe:
    """Parse and type-check as a library, which needs no `main`."""
    flags = ("--edition", "2021", "--color", "never", "--cap-lints", "allow", "--crate-type", "lib")
    name = next(iter(_sources(files, ".rs")))
    return _check(files, ("rustc", *flags, "--emit=metadata", "-o", "checked.rmeta", name), "rustc")


def check_go(files: Mapping[str, str]) -> Recipe:
    """Parse, all errors; types are not looked at."""
    return _check(files, ("gofmt", "-e", "-l", *_sources(files, ".go")), "go")


def check_bash(files: Mapping[str, str]) -> Recipe:
    """Parse."""
    return _check(files, ("bash", "-n", *_sources(files, ".sh")), "bash")


def check_javascript(files: Mapping[str, str]) -> Recipe:
    """Parse, as a script or as a module, whichever it is written as."""
    code = {"solution.js": next(iter(files.values()))}
    name, code = _named_as_module(code)
    return _check(code, (*NODE, "--check", name), "node")


def shown_name(filename: str | None, source_name: str) -> str:
    """Return the name under which a text is checked: the caller's where it fits the language, else our own."""
    has_suffix = filename is not None and PurePosixPath(filename).suffix == PurePosixPath(source_name).suffix
    return filename if filename and has_suffix and _PLAIN_NAME.fullmatch(filename) else source_name
