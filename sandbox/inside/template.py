"""Build the template in which every job starts: a small root of read-only binds, its own namespaces, no privileges.

Works as root (drops to an unprivileged id first, then takes a user namespace) and as an ordinary user (user namespace
first). The interpreter is bound at the path it has outside, so that late imports keep working; its site-packages are
covered. Nothing here runs untrusted code. See `sandbox/isolation.py` for what the result covers.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from sandbox.inside import syscalls

NOBODY = 65534  # the id that jobs see, and under root the real one
ROOT_BYTES = 1 << 20  # the template root holds names only
DEVICES = ("null", "zero", "full", "random", "urandom")
PUBLIC_ETC = ("ld.so.cache", "alternatives")  # what the dynamic loader and toolchains need
COVERED_PROC = ("cmdline", "kallsyms", "keys", "version_signature")
HARNESS = "/opt/harness"  # packages that the harness needs (pytest, pylint)
CACHE = "/opt/cache"  # every cached requirement set; covered again inside a job
REQUIREMENTS = "/opt/requirements"  # the one set of this job
BOX = "/sandbox"  # the job's own tmpfs: work, tmp, shm
WORK = f"{BOX}/work"
OWN_FOLDERS = (("work", 0o755), ("tmp", 0o1777), ("shm", 0o1777))  # of the job's own tmpfs, with their modes
ETC_FILES = (
    ("passwd", f"sandbox:x:{NOBODY}:{NOBODY}:sandbox:{WORK}:/bin/sh\n"),
    ("group", f"sandbox:x:{NOBODY}:\n"),
    ("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
)
DEVICE_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("shm", f"{BOX}/shm"),
)


@dataclass(frozen=True)
class TemplateConfig:
    """What the host tells the zygote about itself. Paths are host paths."""

    root: str  # an empty directory to mount on; the host removes it once we have left it
    prefix: str  # the interpreter's base prefix, bound at the same path
    covered: tuple[str, ...]  # directories to hide: the interpreter's own site-packages
    packages: tuple[str, ...]  # files and directories to bind below HARNESS
    cache: str | None  # the folder of cached requirement sets
    binds: tuple[tuple[str, str], ...] = ()  # (host path, path inside) of toolchains outside /usr


class SetupError(Exception):
    """Raised when one step of the setup is refused; the message names the step and the kernel's reason."""


def step(what: str, action: Callable[[], None]) -> None:
    """Take one step; raises `SetupError` with its name when the kernel refuses."""
    try:
        action()
    except OSError as error:
        raise SetupError(f"{what}: {error.strerror or error}") from error


def _touch(path: str) -> None:
    with open(path, "w", encoding="ascii"):
        pass


def bind(root: str, source: str, target: str) -> None:
    """Bind a host path read-only at `target` below the new root, making the mount point."""
    where = root + target
    if os.path.isdir(source):
        os.makedirs(where, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(where), exist_ok=True)
        _touch(where)
    syscalls.bind_read_only(source, where)


def _write_etc(root: str) -> None:
    for name, text in ETC_FILES:
        with open(f"{root}/etc/{name}", "w", encoding="ascii") as file:
            file.write(text)
    for name in PUBLIC_ETC:
        if os.path.exists(f"/etc/{name}"):
            bind(root, f"/etc/{name}", f"/etc/{name}")


def _make_devices(root: str) -> None:
    for name in DEVICES:
        _touch(f"{root}/dev/{name}")
        syscalls.mount(f"/dev/{name}", f"{root}/dev/{name}", None, syscalls.MS_BIND)
    for name, target in DEVICE_LINKS:
        os.symlink(target, f"{root}/dev/{name}")


def _bind_trees(root: str, config: TemplateConfig) -> None:
    bind(root, "/usr", "/usr")
    if not config.prefix.startswith("/usr/") and config.prefix != "/usr":
        bind(root, config.prefix, config.prefix)
    for source, target in config.binds:
        if not f"{target}/".startswith(f"{config.prefix}/"):
            bind(root, source, target)
    for source in config.packages:
        bind(root, source, f"{HARNESS}/{os.path.basename(source)}")
    if config.cache is not None:
        bind(root, config.cache, CACHE)


def build_root(root: str, config: TemplateConfig) -> None:
    """Fill a fresh tmpfs with the directories, links and binds that a job may see."""
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    syscalls.mount("tmpfs", root, "tmpfs", flags, f"size={ROOT_BYTES},mode=755")
    for name in ("usr", "dev", "proc", "etc", "old", BOX[1:], HARNESS[1:], CACHE[1:], REQUIREMENTS[1:]):
        os.makedirs(f"{root}/{name}")
    os.symlink(f"{BOX}/tmp", f"{root}/tmp")  # noqa: S108 - each job's own tmpfs
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{root}/{name}")
        elif os.path.isdir(f"/{name}"):
            bind(root, f"/{name}", f"/{name}")
    _bind_trees(root, config)
    for path in config.covered:
        if os.path.isdir(root + path):
            syscalls.mount("tmpfs", root + path, "tmpfs", flags, "size=4k,mode=755")
    _make_devices(root)
    _write_etc(root)


def leave_host(root: str) -> None:
    """Inside the new pid namespace: mount proc, move to the new root and let go of the old one."""
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    step("mounting /proc", lambda: syscalls.mount("proc", f"{root}/proc", "proc", flags))
    os.chdir(root)
    step("changing the root", lambda: syscalls.pivot_root(".", "old"))
    os.chdir("/")
    syscalls.unmount("/old")
    os.rmdir("/old")
    step("locking the root", lambda: syscalls.lock_read_only("/", recursive=False))


def drop_root() -> None:
    """Give up the real uid for good, then take a user namespace that owns only what we make from here on."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)  # else /proc/self belongs to root and the maps cannot be written
    step(
        "making a user namespace as an unprivileged user",
        lambda: syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS),
    )
    syscalls.map_identity(NOBODY, NOBODY, NOBODY)


def _nest(control_fd: int) -> None:
    """Go on in a pid namespace that our user namespace owns; who comes back to root's from a job's must be root."""
    step("making a pid namespace", lambda: syscalls.unshare(syscalls.CLONE_NEWPID))
    pid = os.fork()
    if pid:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 9)
        _wait_outside(pid, control_fd)
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    step("mounting /proc", lambda: syscalls.mount("proc", "/proc", "proc", flags))


def _wait_outside(pid: int, control_fd: int) -> NoReturn:
    """Stay in an outer pid namespace only to keep the template's parent alive; end with it."""
    os.close(control_fd)
    while True:
        try:
            os.waitpid(pid, 0)
        except InterruptedError:
            continue
        os._exit(0)


def enter(config: TemplateConfig, control_fd: int) -> None:
    """Move this process into the template; the caller goes on as pid 1 of its pid namespace.

    The original process stays outside as a waiting parent. Raises `SetupError`. The kernel kills the template when
    that parent dies; when the host process dies the control socket reports the end of file.
    """
    uid, gid = os.getuid(), os.getgid()
    kinds = (
        syscalls.CLONE_NEWNS
        | syscalls.CLONE_NEWPID
        | syscalls.CLONE_NEWNET
        | syscalls.CLONE_NEWIPC
        | syscalls.CLONE_NEWUTS
        | syscalls.CLONE_NEWCGROUP
    )
    if uid != 0:
        step("making a user namespace", lambda: syscalls.unshare(syscalls.CLONE_NEWUSER))
        syscalls.map_identity(NOBODY, uid, gid)
    step("making the namespaces", lambda: syscalls.unshare(kinds))
    step("building the root", lambda: build_root(config.root, config))
    pid = os.fork()
    if pid:
        _wait_outside(pid, control_fd)
    leave_host(config.root)
    if uid == 0:
        drop_root()
        _nest(control_fd)
    # After the change of ids, which clears it. The parent is single-threaded, so its thread ends with it.
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 9)
