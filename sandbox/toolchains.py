"""The compilers and interpreters of this machine: where they lie, what they call themselves, what a job needs of them.

Each is looked for once, on first use, and asked for its version; None means that it is not installed. A tool outside
/usr (rustup's, a Node.js of one's own) is bound into the template at the path it has here, so it must not lie below
/tmp, which every job has for itself. Thread-safe. Knows nothing of programs, and runs nothing of them.
"""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from sandbox.errors import ExecutionCancelledError, SandboxError, ToolchainMissingError
from sandbox.node_tools import TYPE_ROOTS, NodeTools, find_node_tools

ASK_TIMEOUT_S = 20.0  # for a version; rustup's first start on a busy machine takes seconds
WARM_TIMEOUT_S = 900.0  # compiling Go's standard library: 14 s here, minutes on a slow machine
WARM_POLL_S = 0.05
GO_CACHE_INSIDE = "/opt/go-cache"
_SYSTEM = ("/usr/", "/bin/", "/lib/", "/lib64/")
_PATH = ("/usr/local/bin", "/usr/bin", "/bin")
_ELSEWHERE = (
    "~/.cargo/bin",
    "/usr/local/go/bin",
    "/usr/lib/go/bin",
    "~/.local/bin",
)  # often missing from a service's PATH
_ASK_ENVIRONMENT = {"PATH": ":".join(_PATH), "LANG": "C.UTF-8", "GOTOOLCHAIN": "local", "GOTELEMETRY": "off"}


@dataclass(frozen=True)
class Tool:
    """What to ask a program for its version, and what to tell an operator who has not got it."""

    version_option: str
    package: str  # how to install it


TOOLS: Mapping[str, Tool] = MappingProxyType(
    {
        "gcc": Tool("--version", "apt-get install gcc"),
        "g++": Tool("--version", "apt-get install g++"),
        "rustc": Tool("--version", "apt-get install rustc, or rustup"),
        "go": Tool("version", "apt-get install golang-go"),
        "node": Tool("--version", "apt-get install nodejs"),
        "bash": Tool("--version", "apt-get install bash"),
        "esbuild": Tool("--version", "python -m sandbox.node_tools"),
        "tsc": Tool("--version", "python -m sandbox.node_tools"),
    }
)

GO_ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "GOFLAGS": "",
        "GOPROXY": "off",
        "GOENV": "off",
        "GOTOOLCHAIN": "local",
        "GOTELEMETRY": "off",
        "CGO_ENABLED": "0",
        "GOCACHE": GO_CACHE_INSIDE,
    }
)

# The compiler of TypeScript is a Go program: its garbage is 50 MB, and collecting it takes 40 % of its short life.
TSC_ENVIRONMENT: Mapping[str, str] = MappingProxyType({"GOGC": "off"})


@dataclass(frozen=True)
class Toolchain:
    """One tool that is there."""

    name: str
    executable: str  # absolute, the same inside a job
    version: str  # first line of what it says of itself
    root: str | None  # the folder or file to bind; None when it is part of the system


class Toolchains:
    """Every tool of this machine, found when first asked for."""

    def __init__(self, folder: Path, cache: Path | None = None) -> None:
        """Take two folders of our own.

        `folder`/bin is searched first, and Go's compiled library is kept beside it; TypeScript's tools, of exactly
        the versions that we know, are below `cache` (None: there are none).
        """
        self._folder = folder
        self._cache = cache
        self._lock = threading.Lock()
        self._found: dict[str, Toolchain | None] = {}
        self._warm_lock = threading.Lock()

    def find(self, name: str) -> Toolchain | None:
        """Return a tool of `TOOLS` by name, None when it is not installed. The first call may take 0.2 s."""
        with self._lock:
            if name not in self._found:
                self._found[name] = self._look_for(name)
            return self._found[name]

    def version(self, name: str) -> str | None:
        """Return the first line of a tool's version, None when it is not installed."""
        tool = self.find(name)
        return None if tool is None else tool.version

    def require(self, names: str) -> tuple[Toolchain, ...]:
        """Return the tools of a recipe; raises `ToolchainMissingError` with what to install."""
        found = []
        for name in names.split():
            tool = self.find(name)
            if tool is None:
                raise ToolchainMissingError(
                    f"{name} is not installed where programs run: {TOOLS[name].package} (make setup does it on "
                    "Debian), then restart"
                )
            found.append(tool)
        return tuple(found)

    def environment(self, names: str) -> dict[str, str]:
        """Return the environment that these tools need inside a job."""
        found = {"PATH": self.path()}
        if "go" in names.split():
            found.update(GO_ENVIRONMENT)
        if "tsc" in names.split() and (tools := self._node_tools()) is not None:
            found.update({TYPE_ROOTS: tools.type_roots, **TSC_ENVIRONMENT})
        return found

    def path(self) -> str:
        """Return the PATH of jobs: the folders of tools outside the system's, then the system's."""
        own = [str(Path(tool.executable).parent) for tool in self._all() if tool.root is not None]
        return ":".join(dict.fromkeys((str(self._folder / "bin"), *own, *_PATH)))

    def binds(self) -> tuple[tuple[str, str], ...]:
        """Return (path here, path inside) of everything that a job must see beyond the system; looks for every tool."""
        roots = sorted({tool.root for tool in self._all() if tool.root is not None})
        kept: list[str] = []
        for root in roots:
            if not any(root == other or root.startswith(f"{other}/") for other in kept):
                kept.append(root)
        pairs = [(root, root) for root in kept]
        if self.find("go") is not None:
            self._go_cache.mkdir(parents=True, exist_ok=True)
            pairs.append((str(self._go_cache), GO_CACHE_INSIDE))
        return tuple(pairs)

    def _all(self) -> Iterable[Toolchain]:
        return [tool for name in TOOLS if (tool := self.find(name)) is not None]

    def _look_for(self, name: str) -> Toolchain | None:
        """Return the first program of this name that starts and that a job can see."""
        if name in {"esbuild", "tsc"}:
            return self._node_tool(name)
        folders = [str(self._folder / "bin"), *os.environ.get("PATH", "").split(":"), *_PATH]
        folders += [str(Path(folder).expanduser()) for folder in _ELSEWHERE]
        for folder in dict.fromkeys(filter(None, folders)):
            command = shutil.which(name, path=folder)
            found = None if command is None else self._examine(name, command)
            if found is not None:
                return found
        return None

    def _examine(self, name: str, command: str) -> Toolchain | None:
        if name == "rustc":  # rustup puts a proxy on PATH that works only with its own home
            sysroot = _ask(command, "--print", "sysroot")
            if sysroot is None:  # a proxy without a toolchain behind it
                return None
            command = f"{sysroot}/bin/rustc"
        executable = os.path.realpath(command)
        root = self._root(executable)
        if root is None and command.startswith(_SYSTEM):
            executable = command  # the name matters to what it says of itself
        if root is not None and root.startswith("/tmp/"):  # noqa: S108 - hidden inside a job
            return None
        version = _ask(executable, TOOLS[name].version_option)
        if version is None:
            return None
        return Toolchain(name, executable, version, root)

    def _node_tools(self) -> NodeTools | None:
        return None if self._cache is None else find_node_tools(self._cache)

    def _node_tool(self, name: str) -> Toolchain | None:
        tools = self._node_tools()
        if tools is None or tools.folder.startswith("/tmp/"):  # noqa: S108 - hidden inside a job
            return None
        if name == "tsc":
            return Toolchain(name, tools.tsc, tools.typescript_version, tools.folder)
        return Toolchain(name, tools.esbuild, tools.esbuild_version, tools.folder)

    def _root(self, executable: str) -> str | None:
        """Return what to bind for a tool: nothing of the system, else its prefix, never a whole home."""
        if executable.startswith(_SYSTEM):
            return None
        if executable.startswith(f"{self._folder}/"):
            return str(self._folder)
        prefix = Path(executable).parents[1]
        is_too_much = prefix in {Path.home(), Path("/"), *Path.home().parents}
        return executable if is_too_much else str(prefix)

    # -- Go's standard library, compiled ahead -------------------------------------------------------------------------

    @property
    def _go_cache(self) -> Path:
        return self._folder.parent / "go-cache"

    def warm_go(self, cancelled: threading.Event | None = None) -> None:
        """Compile Go's standard library into the cache that jobs read; does nothing when that is done.

        Raises `ExecutionCancelledError`, or `SandboxError` when the compiler failed or took too long.
        """
        go = self.require("go")[0]
        done = self._go_cache / f"warm-{_slug(go.version)}"
        if done.exists():
            return
        with self._warm_lock:
            if done.exists():
                return
            self._go_cache.mkdir(parents=True, exist_ok=True)
            environment = {
                **GO_ENVIRONMENT,
                "GOCACHE": str(self._go_cache),
                "HOME": str(self._go_cache),
                "PATH": ":".join((str(Path(go.executable).parent), *_PATH)),
            }
            _run_to_end([go.executable, "build", "std"], environment, cancelled)
            _make_readable(self._go_cache)
            done.touch()


def _ask(executable: str, *options: str) -> str | None:
    """Return the first line that a program prints, None when it cannot be started or fails."""
    home = {name: os.environ[name] for name in ("HOME", "RUSTUP_HOME", "CARGO_HOME") if name in os.environ}
    try:
        done = subprocess.run(
            [executable, *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ASK_TIMEOUT_S,
            env={**_ASK_ENVIRONMENT, **home},
            cwd="/",
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
    return lines[0].strip() if done.returncode == 0 and lines else None


def _run_to_end(argv: list[str], environment: dict[str, str], cancelled: threading.Event | None) -> None:
    deadline = time.monotonic() + WARM_TIMEOUT_S
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd="/",
    ) as process:
        while True:
            try:
                status = process.wait(WARM_POLL_S)
            except subprocess.TimeoutExpired:
                is_cancelled = cancelled is not None and cancelled.is_set()
                if not is_cancelled and time.monotonic() < deadline:
                    continue
                process.kill()
                if is_cancelled:
                    raise ExecutionCancelledError("the execution was cancelled while Go was prepared") from None
                raise SandboxError(f"preparing Go took longer than {WARM_TIMEOUT_S:g} s; try again") from None
            break
    if status != 0:
        raise SandboxError(f"{' '.join(argv)} ended with status {status}; Go programs cannot be built here")


def _make_readable(folder: Path) -> None:
    """Let the unprivileged user of the sandbox read what root compiled."""
    for root, _, names in os.walk(folder):
        Path(root).chmod(0o755)
        for name in names:
            Path(root, name).chmod(0o644)


def _slug(text: str) -> str:
    return "".join(char if char.isalnum() else "-" for char in text)
