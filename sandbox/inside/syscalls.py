"""The few Linux system calls that `os` does not offer, through ctypes.

Knows nothing of jobs. Every function raises `OSError` with the name of the call in its message. Numbers are given for
x86_64 and aarch64; other machines are refused when the zygote starts.
"""

import contextlib
import ctypes
import fcntl
import functools
import mmap
import os
import platform
import signal
import socket
import struct
from collections.abc import Iterator

CLONE_VM = 0x00000100
CLONE_FS = 0x00000200
CLONE_FILES = 0x00000400
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_MOUNT_SETATTR = 442  # the same number on every architecture; Linux 5.12
_CLOSE_RANGE = 436  # likewise; Linux 5.9
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_ATTR_RDONLY_NOSUID_NODEV = 1 | 2 | 4
_ATTR_NOSUID_NODEV_NOEXEC = 2 | 4 | 8
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 63
_SIOCSIFFLAGS = 0x8914
_IFF_UP_RUNNING = 0x41

_libc = ctypes.PyDLL(None, use_errno=True)
# Declared types spare the making of an object per argument, dozens of times a job.
_libc.prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapData(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


_CAP_HEADER = _CapHeader(_CAPABILITY_VERSION_3, 0)
_NO_CAPABILITIES = (_CapData * 2)()


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def machine() -> str:
    """Return the architecture, one of those whose call numbers we know; raises OSError for others."""
    name = platform.machine()
    if name not in _PIVOT_ROOT:
        raise OSError(f"machine {name!r} is not supported; x86_64 and aarch64 are")
    return name


def _checked(result: int, what: str) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
    return result


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)


def call(number: int, what: str, *arguments: int | bytes | None) -> int:
    """Make a system call whose number is the same everywhere; integers are passed as 64 bits."""
    wide = (ctypes.c_long(value) if isinstance(value, int) else value for value in arguments)
    return _checked(int(_libc.syscall(ctypes.c_long(number), *wide)), what)


def unshare(flags: int) -> None:
    """Leave the namespaces named by the flags."""
    _checked(_libc.unshare(ctypes.c_int(flags)), f"unshare({flags:#x})")


def start_pausing(stack: mmap.mmap) -> int:
    """Start a process that sleeps in libc's `pause` until it is killed, in our memory and with our files; its pid.

    It runs no Python. Handlers of signals are copies of ours; the stack must stay as long as the process.
    """
    top = ctypes.addressof(ctypes.c_char.from_buffer(stack)) + len(stack)
    flags = CLONE_VM | CLONE_FS | CLONE_FILES | signal.SIGCHLD
    return _checked(int(_libc.clone(_libc.pause, ctypes.c_void_p(top), ctypes.c_int(flags), None)), "clone(CLONE_VM)")


def enter_pid_namespace(fd: int) -> None:
    """Have the processes started from now on begin in the pid namespace of this descriptor."""
    _checked(_libc.setns(fd, CLONE_NEWPID), "setns")


def mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """Attach a file system at `target`, or bind or change one there."""
    result = _libc.mount(_bytes(source), _bytes(target), _bytes(kind), ctypes.c_ulong(flags), _bytes(options))
    _checked(result, f"mount {source} on {target}")


def bind_read_only(source: str, target: str) -> None:
    """Bind a file or a tree, with everything mounted below it, read-only, nosuid and nodev (Linux 5.12)."""
    mount(source, target, None, MS_BIND | MS_REC)
    lock_read_only(target)


def lock_read_only(target: str, *, recursive: bool = True) -> None:
    """Make the mount at `target`, and all below it unless told otherwise, read-only, nosuid and nodev."""
    _set_attributes(target, _ATTR_RDONLY_NOSUID_NODEV, _AT_RECURSIVE if recursive else 0)


def lock_data_only(target: str) -> None:
    """Make the mount at `target` a place for data: nothing in it can be executed, is set-uid, or is a device."""
    _set_attributes(target, _ATTR_NOSUID_NODEV_NOEXEC, 0)


def _set_attributes(target: str, attributes: int, flags: int) -> None:
    wanted = _MountAttr(attributes, 0, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(wanted))
    path = ctypes.c_char_p(os.fsencode(target))
    at = ctypes.c_int(_AT_FDCWD)
    result = _libc.syscall(_MOUNT_SETATTR, at, path, ctypes.c_uint(flags), ctypes.byref(wanted), size)
    _checked(result, f"mount_setattr {target}")


def unmount(target: str) -> None:
    """Detach the mount at `target`."""
    _checked(_libc.umount2(_bytes(target), ctypes.c_int(MNT_DETACH)), f"umount {target}")


def pivot_root(new_root: str, old_root: str) -> None:
    """Exchange the root of this mount namespace."""
    _checked(_libc.syscall(_PIVOT_ROOT[machine()], _bytes(new_root), _bytes(old_root)), "pivot_root")


def prctl(option: int, value: int) -> None:
    """Set one process attribute."""
    _checked(_libc.prctl(option, value, 0, 0, 0), f"prctl({option})")


@functools.cache
def lay_out_filter(program: bytes) -> tuple[int, object]:
    """Return the address of the filter as the kernel wants it, and what keeps it there; cached for `install_filter`."""
    buffer = ctypes.create_string_buffer(program, len(program))
    header = _FilterProgram(len(program) // 8, ctypes.addressof(buffer))
    return ctypes.addressof(header), (header, buffer)


def install_filter(program: bytes) -> None:
    """Install a seccomp filter for this process and all it starts; sets no_new_privs. It cannot be taken back."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    address, _ = lay_out_filter(program)
    _checked(_libc.prctl(PR_SET_SECCOMP, 2, address, 0, 0), "prctl(PR_SET_SECCOMP)")


def drop_bounding_set() -> None:
    """Empty the bounding set, where this process may; without it nothing can be gained by running a program."""
    for capability in range(_LAST_CAPABILITY + 1):
        # The kernel answers EINVAL above its last capability: nothing more to drop.
        if _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break


def drop_capabilities() -> None:
    """Empty the bounding set and every capability set of this process, for good."""
    drop_bounding_set()
    give_up_capabilities()


def give_up_capabilities() -> None:
    """Empty every capability set of this process but the bounding set, which matters only to what it would execute."""
    _checked(_libc.capset(ctypes.byref(_CAP_HEADER), ctypes.byref(_NO_CAPABILITIES)), "capset")


def map_identity(inside_id: int, uid: int, gid: int) -> None:
    """Write the one-line id maps of a new user namespace, whose processes appear inside as `inside_id`."""
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{inside_id} {uid} 1"),
        ("gid_map", f"{inside_id} {gid} 1"),
    ):
        fd = os.open(f"/proc/self/{name}", os.O_WRONLY)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)


@contextlib.contextmanager
def looking_as(uid: int | None) -> Iterator[None]:
    """As root: be this user and group to files and /proc while the block runs; None changes nothing."""
    if uid is None:
        yield
        return
    _libc.setfsgid(uid)
    _libc.setfsuid(uid)
    try:
        yield
    finally:
        _libc.setfsuid(os.geteuid())
        _libc.setfsgid(os.getegid())


def raise_loopback() -> None:
    """Bring up `lo` in this network namespace, so that a program may talk to itself."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP_RUNNING))


def close_from(first: int) -> None:
    """Close every descriptor from `first` on (close_range, Linux 5.9)."""
    last = ctypes.c_uint(0xFFFFFFFF)
    _checked(_libc.syscall(_CLOSE_RANGE, ctypes.c_uint(first), last, ctypes.c_uint(0)), "close_range")
