"""Landlock by raw system calls: rules about paths, TCP and signals that a process puts on itself for good.

See landlock(7). Knows nothing of jobs. What the ABI of the running kernel does not know is left out, and `abi` says
which one it is; what landlock cannot restrict at all (stat, chmod, sockets other than TCP) is the filter's business.
"""

import os
import stat
import struct

from sandbox.inside import syscalls

ABI_WITH_TRUNCATE = 3
ABI_WITH_NETWORK = 4
ABI_WITH_SCOPES = 6
_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446  # the same numbers on every architecture
_ASK_VERSION = 1
_PATH_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
# How many rights over files each ABI knows; those of the last line are all that this file knows.
_N_RIGHTS = ((5, 16), (3, 15), (2, 14), (1, 13))
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_DEVICE = _READ_FILE | _WRITE_FILE
_TCP = 3  # binding and connecting
_SCOPES = 3  # abstract sockets and signals


def abi() -> int:
    """Return the version of landlock that the kernel offers, from 1. Raises OSError where there is none."""
    return syscalls.call(_CREATE, "landlock", None, 0, _ASK_VERSION)


def _known(version: int) -> int:
    n_rights = next(n_rights for least, n_rights in _N_RIGHTS if version >= least)
    return (1 << n_rights) - 1


def _create(version: int, files: int, *, scopes: bool) -> int:
    """Return a new rule set that handles these rights over files, all of the network, and the scopes if wanted."""
    attributes = struct.pack("Q", files)
    if version >= ABI_WITH_NETWORK:
        attributes += struct.pack("Q", _TCP)
    if version >= ABI_WITH_SCOPES:
        attributes += struct.pack("Q", _SCOPES if scopes else 0)
    return syscalls.call(_CREATE, "landlock_create_ruleset", attributes, len(attributes), 0)


def rules(readable: list[str], writable: list[str], devices: list[str], *, scopes: bool = True) -> int:
    """Return the descriptor of rules that allow reading and running, all, or plain use of what lies at these paths.

    A path that does not exist allows nothing. Everything else that landlock knows is refused once they are in force.
    """
    version = abi()
    known = _known(version)
    rule_set = _create(version, known, scopes=scopes)
    for paths, rights in ((readable, _READ), (writable, known), (devices, _DEVICE)):
        for path in paths:
            _allow(rule_set, path, rights & known)
    return rule_set


def _allow(rule_set: int, path: str, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _OF_FILES
        rule = struct.pack("=Qi", rights, fd)
        syscalls.call(_ADD_RULE, f"landlock_add_rule {path}", rule_set, _PATH_BENEATH, rule, 0)
    finally:
        os.close(fd)


def restrict(rule_set: int) -> None:
    """Put the rules in force for this process and all it starts; sets no_new_privs. Closes the descriptor."""
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    syscalls.call(_RESTRICT, "landlock_restrict_self", rule_set, 0)
    os.close(rule_set)


def keep_signals_in() -> bool:
    """From now on let signals of this process reach only what it starts; return whether the kernel can do that.

    Files stay as they were.
    """
    if abi() < ABI_WITH_SCOPES:
        return False
    attributes = struct.pack("QQQ", 0, 0, _SCOPES)
    restrict(syscalls.call(_CREATE, "landlock_create_ruleset", attributes, len(attributes), 0))
    return True
