"""Hostile programs and what must become of them.

Each program prints `BLOCKED` itself when its attack was refused as it should be, so an attack that never happened
(a failed import, a typo) is a failed test and not a quiet pass.
"""

# ruff: noqa: E501 - a program inside a string keeps its statements together

import socket
from dataclasses import dataclass

import pytest

from sandbox.types import Verdict
from tests.sandbox.machine import Runner

RAW = """
import ctypes, errno, os, platform
libc = ctypes.CDLL(None, use_errno=True)
def raw(x86, arm, *args):
    number = x86 if platform.machine() == "x86_64" else arm
    result = libc.syscall(number, *args)
    return 0 if result >= 0 else ctypes.get_errno()
def refused(name, *codes):
    print("BLOCKED" if name in codes else f"ESCAPED {name}")
"""
TRY = """
import errno, os
def attempt(action, *codes):
    try:
        action()
    except OSError as error:
        print("BLOCKED" if error.errno in codes else f"OTHER {error!r}")
    else:
        print("ESCAPED")
"""


@dataclass(frozen=True)
class Case:
    name: str
    code: str
    verdict: Verdict = Verdict.OK
    timeout_s: float = 10.0


CASES = (
    # A. processes, signals, time
    Case(
        "a fork bomb meets its limit",
        "import os, time\nn = 0\ntry:\n    while True:\n        if os.fork() == 0:\n            time.sleep(60); os._exit(0)\n"
        "        n += 1\nexcept BlockingIOError:\n    print('BLOCKED' if 10 < n < 64 else n)",
    ),
    Case(
        "a recursive fork bomb is over at the deadline",
        "import os\nprint('BLOCKED', flush=True)\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
        verdict=Verdict.TIME_LIMIT,
        timeout_s=0.7,
    ),
    Case(
        "threads count as processes",
        "import threading, time\nn = 0\ntry:\n    while n < 10000:\n"
        "        threading.Thread(target=time.sleep, args=(60,), daemon=True).start(); n += 1\n"
        "except (RuntimeError, MemoryError):\n    print('BLOCKED' if n < 64 else n)",
    ),
    Case(
        "a daemon that holds stdout dies with its parent",
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(60)\n    os._exit(0)\n"
        "print('BLOCKED')",
    ),
    Case(
        "ignoring SIGTERM does not help against the deadline",
        "import signal\nsignal.signal(15, signal.SIG_IGN)\nprint('BLOCKED', flush=True)\nsum(range(10**12))",
        verdict=Verdict.TIME_LIMIT,
        timeout_s=0.5,
    ),
    Case(
        "sleeping past the deadline",
        "import time\nprint('BLOCKED', flush=True)\ntime.sleep(100)",
        verdict=Verdict.TIME_LIMIT,
        timeout_s=0.4,
    ),
    Case(
        "stopping itself",
        "import os, signal\nprint('BLOCKED', flush=True)\nos.kill(os.getpid(), signal.SIGSTOP)",
        verdict=Verdict.TIME_LIMIT,
        timeout_s=0.4,
    ),
    Case("killing a host process", TRY + "attempt(lambda: os.kill({canary}, 9), errno.ESRCH)"),
    Case(
        "killing everything reaches only itself",
        "import os, time\npid = os.fork()\nif pid == 0:\n    time.sleep(60)\n"
        "os.kill(-1, 9)\nprint('BLOCKED' if os.waitpid(pid, 0)[1] == 9 else 'OTHER')",
    ),
    Case("killing its init changes nothing", "import os\nos.kill(1, 9)\nprint('BLOCKED')"),
    Case(
        "raising its priority",
        TRY + "attempt(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)), errno.EPERM)",
    ),
    Case("lowering its niceness", TRY + "attempt(lambda: os.nice(-5), errno.EPERM)"),
    Case(
        "a child that writes after its parent ended is not heard",
        "import os, time\nif os.fork() == 0:\n    time.sleep(0.3); print('late', flush=True); os._exit(0)\nprint('BLOCKED')",
    ),
    Case(
        "a segmentation fault",
        "import ctypes\nprint('BLOCKED', flush=True)\nctypes.string_at(0)",
        verdict=Verdict.SIGNALED,
    ),
    Case("abort", "import os\nprint('BLOCKED', flush=True)\nos.abort()", verdict=Verdict.SIGNALED),
    # B. memory, disk, descriptors
    Case(
        "one process that takes all memory",
        "x = []\nprint('BLOCKED', flush=True)\nwhile True:\n    x.append(bytearray(16 << 20))",
        verdict=Verdict.MEMORY_LIMIT,
    ),
    Case(
        "children that take all memory together",
        "import os, time\nprint('BLOCKED', flush=True)\n"
        "for _ in range(8):\n    if os.fork() == 0:\n        x = bytearray(60 << 20); time.sleep(60); os._exit(0)\n"
        "time.sleep(60)",
        verdict=Verdict.MEMORY_LIMIT,
        timeout_s=6.0,
    ),
    Case(
        "shared memory between children counts once and is limited",
        "import mmap, time\nprint('BLOCKED', flush=True)\nm = mmap.mmap(-1, 600 << 20)\n"
        "for i in range(0, 600 << 20, 4096):\n    m[i] = 1\n",
        verdict=Verdict.MEMORY_LIMIT,
    ),
    Case(
        "a map larger than memory",
        "import mmap\ntry:\n    mmap.mmap(-1, 64 << 30, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)\n"
        "except OSError as error:\n    print('BLOCKED' if error.errno == 12 else error)",
    ),
    Case("memory behind a descriptor", TRY + "attempt(lambda: os.memfd_create('x'), errno.EPERM)"),
    Case(
        "filling the disk",
        TRY
        + "def fill():\n    with open('f', 'wb') as f:\n        while True:\n            f.write(b'x' * (1 << 20))\n"
        "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nattempt(fill, errno.ENOSPC, errno.EFBIG)",
    ),
    Case(
        "filling /tmp and /dev/shm comes out of the same allowance",
        TRY
        + "def fill():\n    for i in range(9):\n        with open(f'{{[\"/tmp\", \"/dev/shm\"][i % 2]}}/{{i}}', 'wb') as f:\n"
        "            f.write(b'x' * (16 << 20))\nattempt(fill, errno.ENOSPC)",
    ),
    Case(
        "too many files",
        TRY
        + "def touch():\n    for i in range(100000):\n        open(str(i), 'w').close()\nattempt(touch, errno.ENOSPC)",
    ),
    Case(
        "too many descriptors",
        TRY + "def dup():\n    while True:\n        os.dup(0)\nattempt(dup, errno.EMFILE)",
    ),
    Case(
        "no core is written",
        "import os, resource\nprint('BLOCKED' if resource.getrlimit(resource.RLIMIT_CORE) == (0, 0) else 'OTHER')",
    ),
    # C. files and /proc
    *(
        Case(f"reading {path}", TRY + f"attempt(lambda: os.stat({path!r}), errno.ENOENT)")
        for path in ("/etc/shadow", "/home", "/var", "/run", "/sys", "/root/.ssh", "/boot", "/mnt")
    ),
    Case("writing to /usr", TRY + "attempt(lambda: open('/usr/x', 'w'), errno.EROFS, errno.EACCES)"),
    Case("writing to /etc/passwd", TRY + "attempt(lambda: open('/etc/passwd', 'w'), errno.EROFS, errno.EACCES)"),
    Case(
        "writing to the standard library",
        TRY + "attempt(lambda: open(os.__file__, 'a'), errno.EROFS, errno.EACCES)",
    ),
    Case("writing to /dev", TRY + "attempt(lambda: open('/dev/x', 'w'), errno.EROFS, errno.EACCES)"),
    Case(
        "the root of init is its own root",
        "import os\ntry:\n    print('BLOCKED' if 'home' not in os.listdir('/proc/1/root') else 'ESCAPED')\n"
        "except PermissionError:\n    print('BLOCKED')",
    ),
    *(
        Case(
            f"reading /proc/1/{name}",
            TRY + f"attempt(lambda: open('/proc/1/{name}').read(), errno.EACCES, errno.EPERM)",
        )
        for name in ("environ", "mem", "maps")
    ),
    Case("reading the descriptors of init", TRY + "attempt(lambda: os.listdir('/proc/1/fd'), errno.EACCES)"),
    Case(
        "only its own processes are listed",
        "import os\npids = [p for p in os.listdir('/proc') if p.isdigit()]\nprint('BLOCKED' if len(pids) == 2 else pids)",
    ),
    Case(
        "writing kernel settings",
        TRY + "attempt(lambda: open('/proc/sys/kernel/core_pattern', 'w'), errno.EACCES, errno.EROFS)",
    ),
    Case(
        "the magic key",
        TRY + "attempt(lambda: open('/proc/sysrq-trigger', 'w'), errno.EACCES, errno.EROFS, errno.ENOENT)",
    ),
    Case("the kernel log", TRY + "attempt(lambda: open('/dev/kmsg'), errno.ENOENT)"),
    Case(
        "the boot line of the host is not shown",
        "print('BLOCKED' if open('/proc/cmdline').read() == '' else 'ESCAPED')",
    ),
    Case("making a device", TRY + "attempt(lambda: os.mknod('d', 0o20666, os.makedev(1, 1)), errno.EPERM)"),
    Case(
        "only harmless devices exist",
        "import os\nallowed = {{'null', 'zero', 'full', 'random', 'urandom', 'fd', 'stdin', 'stdout', 'stderr', 'shm'}}\n"
        "print('BLOCKED' if set(os.listdir('/dev')) == allowed else os.listdir('/dev'))",
    ),
    Case(
        "no set-user-id program gains anything",
        "import subprocess\np = subprocess.run(['/bin/su', '-c', 'id -u'], capture_output=True, text=True)\n"
        "print('BLOCKED' if p.returncode != 0 and '0' != p.stdout.strip() else 'ESCAPED')",
    ),
    Case(
        "no descriptors are inherited",
        "import os\nprint('BLOCKED' if sorted(os.listdir('/proc/self/fd')) == ['0', '1', '2', '3'] else "
        "os.listdir('/proc/self/fd'))",
    ),
    Case(
        "no environment of the host",
        "import os\nleft = set(os.environ) - {{'PATH', 'HOME', 'TMPDIR', 'LANG', 'PYTHONDONTWRITEBYTECODE'}}\n"
        "raw = open('/proc/self/environ').read()\nprint('BLOCKED' if not left and 'HOME=/' not in raw else (left, raw))",
    ),
    Case("there is no terminal", TRY + "attempt(lambda: os.open('/dev/tty', os.O_RDWR), errno.ENOENT, errno.ENXIO)"),
    # D. the kernel's surface
    Case("mount", RAW + "refused(raw(165, 40, b'tmpfs', b'/tmp', b'tmpfs', 0, None), errno.EPERM)"),
    Case("umount", RAW + "refused(raw(166, 39, b'/proc', 2), errno.EPERM)"),
    Case("pivot_root", RAW + "refused(raw(155, 41, b'.', b'.'), errno.EPERM)"),
    Case("chroot", RAW + "refused(raw(161, 51, b'/tmp'), errno.EPERM)"),
    Case("unshare", RAW + "refused(raw(272, 97, 0x10000000), errno.EPERM)"),
    Case("setns", RAW + "refused(raw(308, 268, os.open('/proc/self/ns/user', 0), 0), errno.EPERM)"),
    Case("clone into a user namespace", RAW + "refused(raw(56, 220, 0x10000000 | 17, 0, 0, 0, 0), errno.EPERM)"),
    Case("clone3", RAW + "refused(raw(435, 435, 0, 0), errno.ENOSYS)"),
    Case("ptrace", RAW + "refused(raw(101, 117, 16, 1, 0, 0), errno.EPERM)"),
    Case("process_vm_readv", RAW + "refused(raw(310, 270, 1, 0, 0, 0, 0, 0), errno.EPERM)"),
    Case("pidfd_getfd", RAW + "refused(raw(438, 438, 0, 0, 0), errno.EPERM)"),
    Case("keyctl", RAW + "refused(raw(250, 219, 0, -3, 0), errno.EPERM)"),
    Case("add_key", RAW + "refused(raw(248, 217, b'user', b'x', b'y', 1, -3), errno.EPERM)"),
    Case("io_uring", RAW + "refused(raw(425, 425, 8, 0), errno.EPERM)"),
    Case("bpf", RAW + "refused(raw(321, 280, 0, 0, 0), errno.EPERM)"),
    Case("perf_event_open", RAW + "refused(raw(298, 241, 0, 0, -1, -1, 0), errno.EPERM)"),
    Case("userfaultfd", RAW + "refused(raw(323, 282, 0), errno.EPERM)"),
    Case("personality", RAW + "refused(raw(135, 92, 0x0040000), errno.EPERM)"),
    Case("reboot", RAW + "refused(raw(169, 142, 0, 0, 0, 0), errno.EPERM)"),
    Case("opening by handle", RAW + "refused(raw(304, 265, 0, 0, 0), errno.EPERM)"),
    Case("a new mount by the new calls", RAW + "refused(raw(430, 430, b'tmpfs', 0), errno.EPERM)"),
    Case("becoming undumpable", RAW + "refused(raw(157, 167, 4, 0, 0, 0, 0), errno.EPERM)"),
    Case("becoming root", TRY + "attempt(lambda: os.setuid(0), errno.EPERM, errno.EINVAL)"),
    Case("setting groups", TRY + "attempt(lambda: os.setgroups([0]), errno.EPERM)"),
    Case("System V shared memory", RAW + "refused(raw(29, 194, 42, 4096, 0o1666), errno.EPERM)"),
    Case(
        "no capability is left",
        "caps = [l.split()[1] for l in open('/proc/self/status') if l.startswith('Cap')]\n"
        "print('BLOCKED' if set(caps) == {{'0' * 16}} else caps)",
    ),
    Case(
        "typing into the terminal",
        "import errno, fcntl\ntry:\n    fcntl.ioctl(0, 0x5412, b'x')\nexcept OSError as e:\n"
        "    print('BLOCKED' if e.errno == errno.EPERM else e)",
    ),
    Case("a netlink socket", TRY + "import socket\nattempt(lambda: socket.socket(16, 3, 0), errno.EAFNOSUPPORT)"),
    Case("a raw socket", TRY + "import socket\nattempt(lambda: socket.socket(2, 3, 1), errno.EPERM)"),
    # E. network
    Case(
        "a service on the host's loopback",
        TRY + "import socket\nattempt(lambda: socket.create_connection(('127.0.0.1', {port}), 2), errno.ECONNREFUSED)",
    ),
    Case(
        "the internet",
        TRY + "import socket\nattempt(lambda: socket.create_connection(('1.1.1.1', 53), 2), errno.ENETUNREACH)",
    ),
    Case(
        "the metadata service",
        TRY + "import socket\nattempt(lambda: socket.create_connection(('169.254.169.254', 80), 2), errno.ENETUNREACH)",
    ),
    Case(
        "names",
        "import socket\ntry:\n    socket.getaddrinfo('example.org', 80)\nexcept socket.gaierror:\n    print('BLOCKED')",
    ),
    Case(
        "a datagram",
        TRY
        + "import socket\ns = socket.socket(2, 2)\nattempt(lambda: s.sendto(b'x', ('8.8.8.8', 53)), errno.ENETUNREACH)",
    ),
    Case(
        "an abstract socket of the host",
        TRY + "import socket\ns = socket.socket(1)\nattempt(lambda: s.connect('\\0{abstract}'), errno.ECONNREFUSED)",
    ),
    Case(
        "its own loopback works",
        "import socket\ns = socket.create_server(('127.0.0.1', 0))\nsocket.create_connection(s.getsockname(), 2)\nprint('BLOCKED')",
    ),
    # F. output
    Case(
        "a flood of output",
        "import sys\nprint('BLOCKED')\nwhile True:\n    sys.stdout.write('BLOCKED\\n' * 8192)",
        verdict=Verdict.OUTPUT_LIMIT,
    ),
    Case(
        "a flood on both streams without a newline",
        "import os\nprint('BLOCKED', flush=True)\nwhile True:\n    os.write(1, b'x' * 9999)\n    os.write(2, b'y' * 9999)",
        verdict=Verdict.OUTPUT_LIMIT,
    ),
    Case(
        "forged results on the output are only output",
        'print(\'BLOCKED\', flush=True)\nprint(\'{{"nonce": "", "event": "end"}}\')\nraise ValueError(\'x\')',
        verdict=Verdict.RUNTIME_ERROR,
    ),
    Case("closing its output", "import os\nprint('BLOCKED', flush=True)\nos.close(1)\nos.close(2)\nos.close(0)"),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_attack_is_refused_and_leaves_nothing_behind(case: Case, run: Runner, nothing_leaks: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door, socket.socket(socket.AF_UNIX) as abstract:
        name = f"cinque-test-{nothing_leaks}"
        abstract.bind(f"\0{name}")
        abstract.listen()
        code = case.code.replace("{canary}", str(nothing_leaks)).replace("{port}", str(door.getsockname()[1]))
        code = code.replace("{abstract}", name).replace("{{", "{").replace("}}", "}")
        result = run(code, timeout_s=case.timeout_s)
    assert "BLOCKED\n" in result.stdout or case.verdict is Verdict.OUTPUT_LIMIT, result
    assert "ESCAPED" not in result.stdout
    assert "late" not in result.stdout
    assert result.verdict == case.verdict, result
    assert result.isolation == "namespaces"
