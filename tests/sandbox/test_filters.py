"""The call filters run instruction by instruction for both machines: what every job's refuses, what landlock's adds."""

import errno
import struct

import pytest

from sandbox.inside import fence_filter, seccomp
from sandbox.inside.fence_filter import Fence

OWN_PID = 4321
ALLOWED = 0x7FFF0000
REFUSED = 0x00050000 | errno.EPERM
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
STRONGEST = Fence(has_own_user=True, keeps_signals_in=True, knows_truncate=True)
WEAKEST = Fence(has_own_user=False, keeps_signals_in=False, knows_truncate=False)
READ, SOCKET, SOCKETPAIR, CONNECT, KILL, CHMOD, TRUNCATE, PRLIMIT, FCNTL, PIDFD_SIGNAL, IO_SETUP, SETSOCKOPT = range(12)
NUMBERS = {
    "x86_64": (0, 41, 53, 42, 62, 268, 76, 302, 72, 424, 206, 54),
    "aarch64": (63, 198, 199, 203, 129, 53, 45, 261, 25, 424, 0, 208),
}


def answer(machine: str, fence: Fence | None, call: int, *arguments: int) -> int:
    """Return what the kernel would answer: a plain interpreter of classic BPF over struct seccomp_data.

    Without a fence that is what the filter of every job says.
    """
    filled = (*arguments, *(0,) * (6 - len(arguments)))
    packed = struct.pack("<iIQ6Q", NUMBERS[machine][call], ARCHITECTURES[machine], 0, *filled)
    first = [] if fence is None else fence_filter.instructions(machine, fence, OWN_PID)
    program = list(struct.iter_unpack("<HBBI", seccomp.assemble(machine, first)))
    at = accumulator = 0
    while True:
        code, if_true, if_false, constant = program[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", packed, constant)
        elif code == 0x06:
            return constant
        else:
            holds = {
                0x15: accumulator == constant,
                0x35: accumulator >= constant,
                0x25: accumulator > constant,
                0x45: bool(accumulator & constant),
            }[code]
            at += if_true if holds else if_false


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_every_job_has_plain_sockets_only(machine: str) -> None:
    plain = [(1, 1, 0), (2, 1, 0), (2, 1, 6), (2, 2, 17), (2, 2, 1), (10, 2, 58), (10, 1, 6), (1, 5, 1)]
    assert [answer(machine, None, SOCKET, *arguments) for arguments in plain] == [ALLOWED] * len(plain)
    odd = [(2, 6, 33), (2, 1, 132), (10, 5, 132), (2, 1, 256), (2, 1, 262), (2, 2, 136), (2, 2, 115)]
    assert [answer(machine, None, SOCKET, *arguments) for arguments in odd] == [REFUSED] * len(odd)
    assert answer(machine, None, SOCKET, 16, 3, 0) == 0x00050000 | errno.EAFNOSUPPORT
    assert answer(machine, None, IO_SETUP, 1) == REFUSED
    ignored = 0x00050000  # no error, and not done
    options = [(1, 7), (1, 8), (1, 2), (6, 7), (0, 8)]
    answers = [answer(machine, None, SETSOCKOPT, 3, *option) for option in options]
    assert answers == [ignored, ignored, ALLOWED, ALLOWED, ALLOWED]
    assert answer(machine, None, CONNECT, 3) == answer(machine, None, SOCKETPAIR, 1, 2, 0) == ALLOWED


@pytest.mark.parametrize("machine", ARCHITECTURES)
@pytest.mark.parametrize("fence", [STRONGEST, WEAKEST], ids=["strongest", "weakest"])
def test_no_fence_lets_a_job_have_a_socket_or_another_process(machine: str, fence: Fence) -> None:
    assert answer(machine, fence, READ) == ALLOWED
    assert [answer(machine, fence, SOCKET, family) for family in (1, 2, 10, 16, 17, 40)] == [REFUSED] * 6
    assert answer(machine, fence, CONNECT, 3) == REFUSED
    assert [answer(machine, fence, SOCKETPAIR, 1, kind) for kind in (1, 5, 0o2000001, 0o2004005)] == [ALLOWED] * 4
    assert [answer(machine, fence, SOCKETPAIR, 1, kind) for kind in (2, 3, 0o2000002)] == [REFUSED] * 3
    assert answer(machine, fence, SOCKETPAIR, 16, 1) == 0x00050000 | errno.EAFNOSUPPORT
    assert (answer(machine, fence, PRLIMIT, 0), answer(machine, fence, PRLIMIT, 1)) == (ALLOWED, REFUSED)


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_what_landlock_and_a_user_of_its_own_hold_is_left_to_them(machine: str) -> None:
    for call in (KILL, CHMOD, TRUNCATE, PIDFD_SIGNAL):
        assert answer(machine, STRONGEST, call, 1, 2) == ALLOWED


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_without_them_the_filter_holds_it(machine: str) -> None:
    for call in (CHMOD, TRUNCATE, PIDFD_SIGNAL):
        assert answer(machine, WEAKEST, call, 1, 2) == REFUSED
    own, group, other, everybody = (answer(machine, WEAKEST, KILL, pid, 9) for pid in (OWN_PID, 0, 1, 0xFFFFFFFF))
    assert (own, group, other, everybody) == (ALLOWED, ALLOWED, REFUSED, REFUSED)
    assert [answer(machine, WEAKEST, FCNTL, 3, command) for command in (1, 8, 15)] == [ALLOWED, REFUSED, REFUSED]
    building = Fence(has_own_user=False, keeps_signals_in=True, knows_truncate=True, may_change_modes=True)
    assert answer(machine, building, CHMOD, 1, 2) == ALLOWED
