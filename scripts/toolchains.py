"""What the sandbox runs programs with beyond Python: the programs, Debian's packages of them, what is missing here.

Used by setup. Nothing here ever fails a setup: a language without its tool is reported by the sandbox itself.
`sandbox/toolchains.py` decides later, and anew on each start, what is really there.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGES = {  # program -> Debian's package
    "gcc": "gcc",
    "g++": "g++",
    "go": "golang-go",
    "rustc": "rustc",
    "node": "nodejs",
    "bwrap": "bubblewrap",
}
LACK = {  # program -> what does not work without it
    "gcc": "no C, and no linker for Rust",
    "g++": "no C++",
    "go": "no Go",
    "rustc": "no Rust",
    "node": "no JavaScript and no TypeScript",
    "bwrap": "no isolation where only bubblewrap may make user namespaces",
}
ELSEWHERE = ("~/.cargo/bin", "/usr/local/go/bin")  # where installers put programs without touching this PATH

INSTALL = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "--no-install-recommends")
WARM_GO = (
    "from sandbox.settings import SandboxSettings; from sandbox.toolchains import Toolchains; "
    "Toolchains(SandboxSettings().toolchains_folder).warm_go()"
)


def missing() -> list[str]:
    """Return the programs that are nowhere to be found."""
    folders = ":".join(str(Path(folder).expanduser()) for folder in ELSEWHERE)
    return [name for name in PACKAGES if shutil.which(name) is None and shutil.which(name, path=folders) is None]


def install(
    run: Callable[[str, list[str]], None], say: Callable[[str], None], failure: type[Exception], python: str
) -> None:
    """Install what is missing, as root on Debian; elsewhere say what it is. Compile Go's library for its first program.

    Args:
        run: runs one step with its title, or raises `failure`.
        say: tells the person at the terminal one line.
        failure: what a failed step raises; its first line is told, and the next step taken.
        python: the interpreter that has the sandbox's packages.
    """

    def attempt(title: str, command: list[str], otherwise: str) -> None:
        try:
            run(title, command)
        except failure as error:
            say(f"{otherwise}: {str(error).partition(chr(10))[0]}")

    lacking = missing()
    if lacking and os.geteuid() == 0 and shutil.which("apt-get"):
        attempt("list of packages", ["apt-get", "update"], "the list of packages may be old")
        for name in lacking:
            attempt(f"{PACKAGES[name]} for the sandbox", [*INSTALL, PACKAGES[name]], "not installed")
    lacking = missing()
    for name in lacking:
        say(f"{name} is missing: {LACK[name]}; on Debian: sudo apt-get install {PACKAGES[name]}")
    if "go" not in lacking:
        title = "Go's library for the sandbox (once; 15 s to 2 minutes)"
        attempt(title, [python, "-c", WARM_GO], "the first Go program will be slow")
