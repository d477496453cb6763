"""What the system-call filter adds where no namespaces stand between a job and the host (the landlock tier).

Sockets of every kind, IPC objects that others can name, and calls that change files or processes of the same user and
that landlock does not restrict. Instructions of this file go before those of `seccomp.py`. Numbers are x86_64, aarch64.
"""

from dataclasses import dataclass

from sandbox.inside.seccomp import ARG0_AT, ARG1_AT, Instruction, deny, deny_argument, deny_unless

_SOCK_STREAM, _SOCK_SEQPACKET = 1, 5
_SOCK_CLOEXEC, _SOCK_NONBLOCK = 0o2000000, 0o4000
_PAIRS = tuple(
    kind | flags
    for kind in (_SOCK_STREAM, _SOCK_SEQPACKET)
    for flags in (0, _SOCK_CLOEXEC, _SOCK_NONBLOCK, _SOCK_CLOEXEC | _SOCK_NONBLOCK)
)
_F_SETOWN, _F_SETOWN_EX = 8, 15

_Numbers = dict[str, tuple[int | None, int | None]]

# A pair of datagram sockets can be pointed at any address afterwards, so only connected kinds are left.
_SOCKETPAIR = (53, 199)
_DENIED: _Numbers = {
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    # IPC objects live in a namespace that is the host's here
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    # watching files needs no right that landlock knows
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    # priorities of others
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
}
# Allowed for the caller itself (0), not for a process that it names.
_OWN_ONLY: _Numbers = {
    "prlimit64": (302, 261),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "setpgid": (109, 154),
}
_TRUNCATE = (76, 45)  # landlock restricts it from ABI 3 on
# Where the job shares its user with others: what changes a file of that user without opening it.
_OF_OWNERS: _Numbers = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
}
# Where landlock cannot keep signals in and the user is shared: own process and own group only.
_SIGNALS: _Numbers = {"kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131)}
_QUEUED_SIGNALS: _Numbers = {
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
}
_FCNTL = (72, 25)


@dataclass(frozen=True)
class Fence:
    """What else stands around the job, and so what the filter need not do."""

    has_own_user: bool  # a user id that owns nothing but the workspace
    keeps_signals_in: bool  # landlock does
    knows_truncate: bool  # landlock does
    may_change_modes: bool = False  # compilers mark what they make as executable


def _numbers(table: _Numbers, column: int) -> list[int]:
    return [number for pair in table.values() if (number := pair[column]) is not None]


def instructions(machine: str, fence: Fence, own_pid: int) -> list[Instruction]:
    """Return the instructions for a program whose process has this id; each leaves the number in the accumulator."""
    column = 0 if machine == "x86_64" else 1
    denied = _numbers(_DENIED, column)
    program = deny_unless(_SOCKETPAIR[column], ARG1_AT, _PAIRS)
    for number in _numbers(_OWN_ONLY, column):
        program += deny_unless(number, ARG0_AT, (0,))
    if not fence.knows_truncate:
        denied.append(_TRUNCATE[column])
    if not fence.has_own_user and not fence.may_change_modes:
        denied += _numbers(_OF_OWNERS, column)
    if not fence.has_own_user and not fence.keeps_signals_in:
        denied += _numbers(_QUEUED_SIGNALS, column)
        for number in _numbers(_SIGNALS, column):
            program += deny_unless(number, ARG0_AT, (0, own_pid))
        program += deny_argument(_FCNTL[column], ARG1_AT, (_F_SETOWN, _F_SETOWN_EX))
    return [*(step for number in denied for step in deny(number)), *program]
