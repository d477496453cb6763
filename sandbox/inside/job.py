"""From a fresh fork to a running program: namespaces, private mounts, limits, no privileges, then the harness.

`start` runs in the fork, beside the init of the job's own pid namespace (`inits.py`), and becomes the program. A bare
job (parsing only, nothing executed) skips the namespaces.
"""

import contextlib
import fcntl
import importlib
import json
import mmap
import os
import resource
import signal
import sys
import types
from collections.abc import Iterable
from typing import Any, NoReturn

from sandbox.inside import syscalls, template
from sandbox.inside.records import Recorder

NEW_NAMESPACES = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWNET  # beside those of pids and users
SETUP_FAILED = 125
INIT = 1  # as the job sees it; leads the job's process group
STACK_BYTES = 8 << 20
CPU_SLACK_S = 2  # RLIMIT_CPU lies behind the wall clock, as a second fence per process
ADDRESS_SPACE_SLACK = 4 << 30  # reserved address space is not memory; RLIMIT_DATA counts what is
NO_CORE_BYTES = 1  # too small for any core; at 0 a core_pattern that is a pipe would still be fed
TCP_BUFFER_BYTES = "4096 16384 65536"  # least, first and most of one buffer; the kernel's own most is 4 to 32 MiB
COMMAND_ADDRESS_SPACE = 64 << 30  # the same for other runtimes: V8 reserves 10 GiB for each memory of WebAssembly
FIRST_PRIVATE_FD = 3
SAFE_FD = 16  # above every number that a kept descriptor gets
KEPT = ("events", "remote", "artefact")  # descriptors that a harness gets, numbered from 3 in this order
GROUPS = ("cgroup", "cpu")  # descriptors of lists of tasks
HARNESSES = {
    "program": "sandbox.inside.program",
    "tests": "sandbox.inside.harness",
    "parse": "sandbox.inside.plan",
    "lint": "sandbox.inside.linter",
    "serve": "sandbox.inside.remote",
    "build": "sandbox.inside.build",
    "command": "sandbox.inside.command",
}
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": template.WORK,
    "TMPDIR": "/tmp",  # noqa: S108 - the job's own tmpfs
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
}

_standard_path: list[str] = []
_harnesses: dict[str, types.ModuleType] = {}
_hidden: list[types.ModuleType] = []  # keeps them alive


def remember_path() -> None:
    """Note the standard library's path, which becomes the path of every program."""
    _standard_path[:] = sys.path


def load_harnesses(kinds: Iterable[str] = HARNESSES) -> None:
    """Import the harnesses that this process is to serve, all by default, before the sources become unreachable."""
    for kind in kinds:
        _harnesses[kind] = importlib.import_module(HARNESSES[kind])


def look_fresh() -> None:
    """Make this process look like a fresh interpreter: none of our modules, the environment of a program.

    Done once, when nothing more is to be imported, and not in every job, where each page touched is a page copied.
    """
    own = [name for name in sys.modules if name == "sandbox" or name.startswith("sandbox.")]
    _hidden.extend(sys.modules.pop(name) for name in own)
    set_environment(ENVIRONMENT)


def set_environment(variables: dict[str, str]) -> None:
    """Replace the environment."""
    os.environ.clear()
    os.environ.update(variables)


def _read_all(fd: int) -> bytes:
    found = bytearray()
    while chunk := os.pread(fd, os.fstat(fd).st_size, len(found)):
        found += chunk
    return bytes(found)


def _mount_private(limits: dict[str, Any], requirements: str | None) -> None:
    """Mount the job's own proc and tmpfs, cover what belongs to others, and bind its requirement set."""
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV
    syscalls.mount("proc", "/proc", "proc", flags | syscalls.MS_NOEXEC)
    for name in template.COVERED_PROC:
        if os.path.exists(f"/proc/{name}"):
            syscalls.mount("/dev/null", f"/proc/{name}", None, syscalls.MS_BIND)
    size = f"size={limits['workspace_bytes']},nr_inodes={limits['n_files']},mode=755"
    syscalls.mount("tmpfs", template.BOX, "tmpfs", flags, size)
    for name, mode in template.OWN_FOLDERS:
        os.mkdir(f"{template.BOX}/{name}")
        os.chmod(f"{template.BOX}/{name}", mode)
    if requirements is not None:
        syscalls.mount(f"{template.CACHE}/{requirements}", template.REQUIREMENTS, None, syscalls.MS_BIND)
        syscalls.lock_read_only(template.REQUIREMENTS)
    syscalls.mount("tmpfs", template.CACHE, "tmpfs", flags, "size=4k,mode=000")


def set_limits(limits: dict[str, Any], kind: str) -> None:
    """Set the resource limits of this process and all it starts; none can be raised again."""
    slack = COMMAND_ADDRESS_SPACE if kind == "command" else ADDRESS_SPACE_SLACK
    cpu_s = int(limits["time_s"]) + CPU_SLACK_S
    for resource_kind, value in (
        (resource.RLIMIT_NPROC, limits["n_processes"]),
        (resource.RLIMIT_NOFILE, limits["n_open_files"]),
        (resource.RLIMIT_DATA, limits["memory_bytes"]),
        (resource.RLIMIT_AS, limits["memory_bytes"] + slack),
        (resource.RLIMIT_FSIZE, limits["workspace_bytes"]),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_STACK, STACK_BYTES),
        (resource.RLIMIT_CORE, NO_CORE_BYTES),
        (resource.RLIMIT_MEMLOCK, 0),
    ):
        if value is None:
            continue  # counted per user outside a namespace: it would count the operator's own processes
        _, hard = resource.getrlimit(resource_kind)
        bounded = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(resource_kind, (bounded, bounded))


def start(request: dict[str, Any], fds: dict[str, int], status_fd: int, bpf: bytes) -> NoReturn:
    """Run one job in this fresh fork of the zygote. Never returns."""
    try:
        if not request["bare"]:
            _enter(request, fds)
        set_limits(request["limits"], request["kind"])
        arguments, recorder = open_channels(fds)
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            os.dup2(fds[name], number)
        syscalls.drop_capabilities()
        syscalls.install_filter(bpf)
        kept = close_all_but_kept(fds)
    except BaseException as error:  # noqa: BLE001 - whatever stopped us, the host must learn it; nothing ran yet
        with contextlib.suppress(OSError):
            os.write(status_fd, f"setting up a job: {error!r}".encode())
        os._exit(SETUP_FAILED)
    run_harness(request["kind"], arguments, recorder, kept=kept)


def join_groups(fds: dict[str, int]) -> None:
    """Move this process into the control groups of its job."""
    for name in GROUPS:
        if name in fds:
            os.write(fds[name], b"0")


def _enter(request: dict[str, Any], fds: dict[str, int]) -> None:
    """Make the new namespaces private; ends in a user namespace that owns none of them."""
    os.setpgid(0, INIT)
    join_groups(fds)
    syscalls.unshare(NEW_NAMESPACES)
    _mount_private(request["limits"], request.get("requirements"))
    syscalls.raise_loopback()
    _bound_tcp_buffers()
    os.chdir(template.WORK)
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    syscalls.map_identity(template.NOBODY, template.NOBODY, template.NOBODY)


def _bound_tcp_buffers() -> None:
    """Keep the buffers of TCP from growing to megabytes in this network namespace: no limit counts them exactly."""
    for name in ("tcp_rmem", "tcp_wmem"):
        with open(f"/proc/sys/net/ipv4/{name}", "w", encoding="ascii") as file:
            file.write(TCP_BUFFER_BYTES)


def open_channels(fds: dict[str, int]) -> tuple[dict[str, Any], Recorder]:
    """Read what to run, and map the memory that results are written to."""
    arguments = json.loads(_read_all(fds["payload"]))
    memory = mmap.mmap(fds["result"], 0)
    return arguments, Recorder(memory, arguments["nonce"])


def close_all_but_kept(fds: dict[str, int]) -> dict[str, int]:
    """Close every descriptor but 0, 1, 2 and those of KEPT that there are; return the numbers these have now."""
    names = [name for name in KEPT if name in fds]
    # Out of the way first: a low number may be what another one is moved to.
    moved = [fcntl.fcntl(fds[name], fcntl.F_DUPFD_CLOEXEC, SAFE_FD) for name in names]
    for number, fd in enumerate(moved, FIRST_PRIVATE_FD):
        os.dup2(fd, number, inheritable=False)
    syscalls.close_from(FIRST_PRIVATE_FD + len(names))
    return dict(zip(names, range(FIRST_PRIVATE_FD, FIRST_PRIVATE_FD + len(names)), strict=True))


def run_harness(
    kind: str,
    arguments: dict[str, Any],
    recorder: Recorder,
    *,
    kept: dict[str, int],
) -> NoReturn:
    """Hand over to the harness of this kind, in a process made to `look_fresh`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path[:] = _standard_path
    arguments.update({f"{name}_fd": fd for name, fd in kept.items()})
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115 - lives as long as we
    sys.stdout = open(1, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115 - as above
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    try:
        code = _harnesses[kind].run(arguments, recorder)
    except BaseException as error:  # noqa: BLE001 - last resort: the harness itself failed, or was made to
        with contextlib.suppress(Exception):
            recorder.add("harness_error", type=type(error).__name__, message=str(error))
        code = SETUP_FAILED
    os._exit(code)
