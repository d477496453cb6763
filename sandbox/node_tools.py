"""esbuild, TypeScript's compiler and Node's type declarations: installed once outside the checkout, found here.

Versions are fixed by `sandbox/node/package-lock.json`. `make setup` runs this file (`python -m sandbox.node_tools`),
which has npm fill a folder whose name is a hash of that file and of the machine; the sandbox binds the folder
read-only. Both programs are native: no script of any package is run, neither here nor later. Knows nothing of jobs.
"""

import functools
import hashlib
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sandbox.settings import SandboxSettings

MANIFEST = Path(__file__).with_name("node")
LOCK_FILE = "package-lock.json"
TYPE_ROOTS = "CINQUE_TYPE_ROOTS"  # variable by which a job learns the folder of @types
KEY_CHARS = 16  # of a sha256 in hexadecimal
INSTALL_TIMEOUT_S = 600.0  # some 20 MB over a slow line
TAIL_CHARS = 2000
_NPM_CI = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


class NodeToolsError(Exception):
    """Raised when the tools cannot be installed; the message says what to do."""


@dataclass(frozen=True)
class NodeTools:
    """The installed tools. Every path is absolute and below `folder`, which is all that has to be bound."""

    folder: str
    esbuild: str  # native program
    tsc: str  # native program
    type_roots: str  # folder of @types packages, "node" among them
    typescript_version: str
    esbuild_version: str


def tools_folder(cache: Path) -> Path:
    """Return the folder of the tools for this machine below the cache folder; it may not exist yet."""
    text = f"{(MANIFEST / LOCK_FILE).read_text(encoding='utf-8')}\n{sys.platform} {platform.machine()}"
    return cache / "node" / hashlib.sha256(text.encode()).hexdigest()[:KEY_CHARS]


def find_node_tools(cache: Path) -> NodeTools | None:
    """Return the tools below this cache folder (`SandboxSettings.cache_folder`), None when they are not installed.

    Found tools are remembered; missing ones are looked for again, so that an installation needs no restart.
    """
    try:
        return _look(tools_folder(cache))
    except (OSError, ValueError, KeyError):
        return None


@functools.lru_cache(maxsize=4)
def _look(folder: Path) -> NodeTools:
    """Read what npm installed; raises OSError or ValueError where a part of it is not there."""
    modules = folder / "node_modules"
    esbuild = _only(modules, "@esbuild/*/bin/esbuild")
    tsc = _only(modules, "@typescript/typescript-*/lib/tsc")
    if not (modules / "@types" / "node" / "index.d.ts").is_file():
        raise FileNotFoundError(f"{modules} has no @types/node")
    return NodeTools(
        folder=str(folder),
        esbuild=str(esbuild),
        tsc=str(tsc),
        type_roots=str(modules / "@types"),
        typescript_version=_version(modules / "typescript"),
        esbuild_version=_version(modules / "esbuild"),
    )


def _only(folder: Path, pattern: str) -> Path:
    """Return the program that npm chose for this machine."""
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise FileNotFoundError(f"{folder} has {len(found)} programs {pattern}")
    return found[0]


def _version(package: Path) -> str:
    return str(json.loads((package / "package.json").read_text(encoding="utf-8"))["version"])


def install(cache: Path) -> NodeTools:
    """Return the tools, having npm install them when they are not there. The folder appears whole or not at all.

    Raises:
        NodeToolsError: npm is missing or failed.
    """
    found = find_node_tools(cache)
    if found is not None:
        return found
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise NodeToolsError("node and npm are not on PATH; install nodejs and npm, then run make setup again")
    folder = tools_folder(cache)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="installing-", dir=folder.parent) as staging:
        for name in ("package.json", LOCK_FILE):
            shutil.copyfile(MANIFEST / name, Path(staging, name))
        _run_npm(npm, staging)
        Path(staging).chmod(0o755)  # jobs read it as nobody
        shutil.rmtree(folder, ignore_errors=True)  # an incomplete one of another hand
        Path(staging).rename(folder)
        Path(staging).mkdir()  # for the context to remove
    found = find_node_tools(cache)
    if found is None:
        raise NodeToolsError(f"npm succeeded but {folder} lacks a program for {sys.platform} {platform.machine()}")
    return found


def _run_npm(npm: str, folder: str) -> None:
    try:
        done = subprocess.run(
            [npm, *_NPM_CI],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALL_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise NodeToolsError(
            f"npm took longer than {INSTALL_TIMEOUT_S:g} s; look at its registry and try again"
        ) from error
    if done.returncode != 0:
        said = f"{done.stdout}{done.stderr}".strip()[-TAIL_CHARS:]
        raise NodeToolsError(f"npm ended with status {done.returncode}: {said}")


def main() -> int:
    """Install the tools and say which they are; 1 with the reason when that cannot be done."""
    try:
        tools = install(SandboxSettings().cache_folder)
    except NodeToolsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"typescript {tools.typescript_version}, esbuild {tools.esbuild_version}: {tools.folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
