"""The system-call filter of a job, assembled as raw BPF for x86_64 and aarch64.

A deny list over everything that namespaces do not already make harmless: kernel surface that ordinary programs never
use, ways to make namespaces, memory that no limit counts (memfd, SysV shared memory), terminal injection, and sockets
other than unix, TCP, UDP and ping. Denied calls fail with EPERM; calls newer than this file fail with ENOSYS;
foreign ABIs are killed. Not covered: races on memory arguments, which a filter cannot see, and bugs in allowed calls.
"""

import errno
import platform
import struct
from collections.abc import Sequence

_LOAD, _JUMP_EQ, _JUMP_GE, _JUMP_GT, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x25, 0x45, 0x06
_ALLOW = 0x7FFF0000
_KILL = 0x80000000
_ERRNO = 0x00050000

# Offsets in struct seccomp_data, little-endian low words.
_NUMBER_AT, _ARCH_AT, ARG0_AT, ARG1_AT, _ARG2_AT = 0, 4, 16, 24, 32
_X32_BIT = 0x40000000
_LAST_KNOWN = 462  # mseal; newer calls have not been looked at, so they do not exist here
_NEW_NAMESPACE_FLAGS = 0x7E020080  # every CLONE_NEW*, CLONE_NEWTIME among them
_CLONE_PARENT = 0x8000  # a sibling: a child of the zygote, which knows nothing of it and would never wait for it
# Any, ICMP, TCP, UDP, ICMPv6: a socket of another protocol makes the kernel load the module for it.
_PROTOCOLS = (0, 1, 6, 17, 58)
_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10
_SOL_SOCKET, _SO_SNDBUF, _SO_RCVBUF = 1, 7, 8
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_PR_SET_DUMPABLE = 4  # a job that hides from /proc hides from the memory watchdog

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CALLS = {
    "x86_64": {"clone": 56, "socket": 41, "socketpair": 53, "setsockopt": 54, "ioctl": 16, "prctl": 157},
    "aarch64": {"clone": 220, "socket": 198, "socketpair": 199, "setsockopt": 208, "ioctl": 29, "prctl": 167},
}
_CLONE3 = 435

_DENIED_EVERYWHERE = {
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "memfd_secret": 447,
    "statmount": 457,
    "listmount": 458,
    "lsm_set_self_attr": 460,
}
# name: (x86_64, aarch64); None where the architecture has no such call
_DENIED: dict[str, tuple[int, int | None]] = {
    "ptrace": (101, 117),
    "syslog": (103, 116),
    "personality": (135, 92),
    "uselib": (134, None),
    "ustat": (136, None),
    "sysfs": (139, None),
    "vhangup": (153, 58),
    "modify_ldt": (154, None),
    "pivot_root": (155, 41),
    "adjtimex": (159, 171),
    "chroot": (161, 51),
    "acct": (163, 89),
    "settimeofday": (164, 170),
    "mount": (165, 40),
    "umount2": (166, 39),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, None),
    "ioperm": (173, None),
    "init_module": (175, 105),
    "delete_module": (176, 106),
    "quotactl": (179, 60),
    "nfsservctl": (180, 42),
    "lookup_dcookie": (212, 18),
    "clock_settime": (227, 112),
    "mbind": (237, 235),
    "set_mempolicy": (238, 237),
    "kexec_load": (246, 104),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "migrate_pages": (256, 238),
    "unshare": (272, 97),
    "vmsplice": (278, 75),
    "move_pages": (279, 239),
    "perf_event_open": (298, 241),
    "fanotify_init": (300, 262),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "clock_adjtime": (305, 266),
    "setns": (308, 268),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "finit_module": (313, 273),
    "memfd_create": (319, 279),
    "kexec_file_load": (320, 294),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "io_setup": (206, 0),  # the whole machine shares one number of them (fs.aio-max-nr)
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
}
# Every way to another process or program.
_NEW_PROCESSES: dict[str, tuple[int, int | None]] = {
    "clone": (56, 220),
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
}

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant


def deny(number: int) -> list[Instruction]:
    """EPERM for this call."""
    return [(_JUMP_EQ, 0, 1, number), (_RETURN, 0, 0, _ERRNO | errno.EPERM)]


def deny_argument(call: int, offset: int, values: tuple[int, ...]) -> list[Instruction]:
    """EPERM when the argument at `offset` is one of `values`; the accumulator holds the number again afterwards."""
    body: list[Instruction] = [(_LOAD, 0, 0, offset)]
    for i, value in enumerate(values):
        body.append((_JUMP_EQ, len(values) - 1 - i, 0 if i < len(values) - 1 else 1, value))
    body += [(_RETURN, 0, 0, _ERRNO | errno.EPERM), (_RETURN, 0, 0, _ALLOW)]
    return [(_JUMP_EQ, 0, len(body), call), *body]


def deny_unless(call: int, offset: int, values: tuple[int, ...]) -> list[Instruction]:
    """EPERM unless the argument at `offset` is one of `values`; the accumulator holds the number afterwards."""
    body: list[Instruction] = [(_LOAD, 0, 0, offset)]
    body += [(_JUMP_EQ, len(values) - i, 0, value) for i, value in enumerate(values)]
    body += [(_RETURN, 0, 0, _ERRNO | errno.EPERM), (_LOAD, 0, 0, _NUMBER_AT)]
    return [(_JUMP_EQ, 0, len(body), call), *body]


def _only_families(call: int) -> list[Instruction]:
    """EAFNOSUPPORT unless the socket's family is unix, inet or inet6."""
    return [
        (_JUMP_EQ, 0, 6, call),
        (_LOAD, 0, 0, ARG0_AT),
        (_JUMP_EQ, 3, 0, _AF_UNIX),
        (_JUMP_EQ, 2, 0, _AF_INET),
        (_JUMP_EQ, 1, 0, _AF_INET6),
        (_RETURN, 0, 0, _ERRNO | errno.EAFNOSUPPORT),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _buffers_as_they_are(call: int) -> list[Instruction]:
    """Success, and nothing done, when a socket's buffer is to become larger than limits of memory reckon with."""
    return [
        (_JUMP_EQ, 0, 7, call),
        (_LOAD, 0, 0, ARG1_AT),
        (_JUMP_EQ, 0, 4, _SOL_SOCKET),
        (_LOAD, 0, 0, _ARG2_AT),
        (_JUMP_EQ, 1, 0, _SO_SNDBUF),
        (_JUMP_EQ, 0, 1, _SO_RCVBUF),
        (_RETURN, 0, 0, _ERRNO),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _no_new_namespaces(call: int) -> list[Instruction]:
    return [
        (_JUMP_EQ, 0, 4, call),
        (_LOAD, 0, 0, ARG0_AT),
        (_JUMP_SET, 0, 1, _NEW_NAMESPACE_FLAGS | _CLONE_PARENT),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]


def denied_numbers(machine: str) -> list[int]:
    """Return the numbers of the calls that always fail with EPERM on this architecture."""
    column = 0 if machine == "x86_64" else 1
    numbers = {pair[column] for pair in _DENIED.values()} | set(_DENIED_EVERYWHERE.values())
    return sorted(number for number in numbers if number is not None)


def assemble(machine: str | None = None, first: Sequence[Instruction] = ()) -> bytes:
    """Return the filter as an array of `struct sock_filter`, for this machine unless another is named.

    Instructions in `first` see every known call before the rules of this file, with its number in the accumulator.
    """
    name = machine or platform.machine()
    calls = _CALLS[name]
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCH_AT),
        (_JUMP_EQ, 1, 0, _AUDIT_ARCH[name]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    if name == "x86_64":
        program += [(_JUMP_GE, 0, 1, _X32_BIT), (_RETURN, 0, 0, _KILL)]
    # clone3 hides its flags behind a pointer: ENOSYS makes the C library fall back to clone.
    program += [(_JUMP_EQ, 0, 1, _CLONE3), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    program += [(_JUMP_GT, 0, 1, _LAST_KNOWN), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    program += first
    program += _no_new_namespaces(calls["clone"])
    program += deny_unless(calls["socket"], _ARG2_AT, _PROTOCOLS)
    program += _only_families(calls["socket"]) + _only_families(calls["socketpair"])
    program += _buffers_as_they_are(calls["setsockopt"])
    program += deny_argument(calls["ioctl"], ARG1_AT, (_TIOCSTI, _TIOCLINUX))
    program += deny_argument(calls["prctl"], ARG0_AT, (_PR_SET_DUMPABLE,))
    for number in denied_numbers(name):
        program += deny(number)
    program.append((_RETURN, 0, 0, _ALLOW))
    return _pack(program)


def assemble_no_processes(machine: str | None = None) -> bytes:
    """Return a filter to be added to that of `assemble`: this process can start no thread, process or program."""
    column = 0 if (machine or platform.machine()) == "x86_64" else 1
    program: list[Instruction] = [(_LOAD, 0, 0, _NUMBER_AT)]
    for pair in _NEW_PROCESSES.values():
        number = pair[column]
        if number is not None:
            program += deny(number)
    program.append((_RETURN, 0, 0, _ALLOW))
    return _pack(program)


def _pack(program: list[Instruction]) -> bytes:
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program)
