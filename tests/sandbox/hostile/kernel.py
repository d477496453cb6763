"""D. The kernel's surface: programs 49 to 61 of the table, as raw calls from Python and from C."""

import platform
from dataclasses import dataclass

from sandbox.types import Verdict
from tests.sandbox.hostile.programs import Case, Program, blocked, c, python

COLUMN = {"x86_64": 0, "aarch64": 1}.get(platform.machine(), 0)
IS_X86 = platform.machine() == "x86_64"


@dataclass(frozen=True)
class Call:
    """One system call with arguments that mean the same in Python and in C, and the error that refuses it."""

    name: str
    numbers: tuple[int, int]  # x86_64, aarch64
    arguments: tuple[int | str | None, ...]
    refused_as: str = "EPERM"


CALLS: dict[str, tuple[Call, ...]] = {
    "49 mounts and roots": (
        Call("mount", (165, 40), ("tmpfs", "/tmp", "tmpfs", 0, None)),
        Call("umount2", (166, 39), ("/proc", 2)),
        Call("pivot_root", (155, 41), (".", ".")),
        Call("chroot", (161, 51), ("/tmp",)),
        Call("open_tree", (428, 428), (-100, "/", 1)),
        Call("move_mount", (429, 429), (-100, "/", -100, "/tmp", 0)),
        Call("fsopen", (430, 430), ("tmpfs", 0)),
        Call("fspick", (433, 433), (-100, "/", 0)),
        Call("mount_setattr", (442, 442), (-100, "/", 0, None, 0)),
    ),
    "50 new namespaces": (
        *(Call(f"unshare {flag:x}", (272, 97), (flag,)) for flag in (0x10000000, 0x20000, 0x40000000, 0x80)),
        Call("setns", (308, 268), (0, 0)),
        *(Call(f"clone {flag:x}", (56, 220), (flag | 17, 0, 0, 0, 0)) for flag in (0x10000000, 0x20000000, 0x20000)),
        Call("clone3", (435, 435), (None, 0), "ENOSYS"),
    ),
    "51 other processes": (
        Call("ptrace attach", (101, 117), (16, 1, 0, 0)),
        Call("ptrace seize", (101, 117), (0x4206, 1, 0, 0)),
        Call("process_vm_readv", (310, 270), (1, 0, 0, 0, 0, 0)),
        Call("process_vm_writev", (311, 271), (1, 0, 0, 0, 0, 0)),
        Call("pidfd_getfd", (438, 438), (0, 0, 0)),
        Call("kcmp", (312, 272), (1, 1, 0, 0, 0)),
    ),
    "52 keys": (
        Call("keyctl", (250, 219), (0, -3, 0)),
        Call("add_key", (248, 217), ("user", "x", "y", 1, -3)),
        Call("request_key", (249, 218), ("user", "x", None, -3)),
    ),
    "53 rings": (
        Call("io_uring_setup", (425, 425), (8, None)),
        Call("io_uring_enter", (426, 426), (0, 0, 0, 0, None, 0)),
        Call("io_uring_register", (427, 427), (0, 0, None, 0)),
        Call("io_setup", (206, 0), (1, None)),
    ),
    "54 tracing and faults": (
        Call("bpf", (321, 280), (0, None, 0)),
        Call("perf_event_open", (298, 241), (None, 0, -1, -1, 0)),
        Call("userfaultfd", (323, 282), (0,)),
        Call("fanotify_init", (300, 262), (0, 0)),
    ),
    "57 identities": (
        Call("setuid", (105, 146), (0,), "EINVAL"),
        Call("setgid", (106, 144), (0,), "EINVAL"),
        Call("setresuid", (117, 147), (0, 0, 0), "EINVAL"),
        Call("setgroups", (116, 159), (0, None)),
        Call("undumpable", (157, 167), (4, 0, 0, 0, 0)),
    ),
    "58 personality": (
        Call("no randomize", (135, 92), (0x0040000,)),
        Call("32 bits", (135, 92), (8,)),
        Call("query", (135, 92), (0xFFFFFFFF,)),
    ),
    "59 the machine itself": (
        Call("reboot", (169, 142), (0xFEE1DEAD - (1 << 32), 672274793, 0x1234567, None)),
        Call("kexec_load", (246, 104), (0, 0, None, 0)),
        Call("kexec_file_load", (320, 294), (-1, -1, 0, None, 0)),
        Call("init_module", (175, 105), (None, 0, "")),
        Call("finit_module", (313, 273), (0, "", 0)),
        Call("delete_module", (176, 106), ("x", 0)),
        Call("swapon", (167, 224), ("/tmp", 0)),
        Call("swapoff", (168, 225), ("/tmp",)),
        Call("acct", (163, 89), ("/tmp/x",)),
        Call("settimeofday", (164, 170), (None, None)),
        Call("clock_settime", (227, 112), (0, None)),
        Call("adjtimex", (159, 171), (None,)),
        Call("sethostname", (170, 161), ("x", 1)),
        Call("syslog", (103, 116), (3, None, 0)),
        Call("quotactl", (179, 60), (0, None, 0, None)),
    ),
    "61 pages of others": (
        Call("vmsplice", (278, 75), (0, None, 0, 0)),
        Call("move_pages", (279, 239), (1, 0, None, None, None, 0)),
        Call("migrate_pages", (256, 238), (1, 0, None, None)),
    ),
}
FAMILIES = {"AF_ALG": 38, "AF_NETLINK": 16, "AF_PACKET": 17, "AF_VSOCK": 40, "AF_BLUETOOTH": 31, "AF_XDP": 44}
PROTOCOLS = {"DCCP": 33, "L2TP": 115, "SCTP": 132, "UDPLITE": 136, "SMC": 256, "MPTCP": 262}


def in_python(calls: tuple[Call, ...]) -> Program:
    """Return a Python program that makes these calls."""
    lines = []
    for call in calls:
        made = f"raw({call.numbers[COLUMN]}, {_python_arguments(call)})"
        lines.append(f"attempt({call.name!r}, lambda: {made}, errno.{call.refused_as})")
    return python("\n".join(lines), blocked(*(call.name for call in calls)))


def _python_arguments(call: Call) -> str:
    texts = [
        repr(argument.encode()) if isinstance(argument, str) else f"ctypes.c_long({argument or 0})"
        for argument in call.arguments
    ]
    return ", ".join(texts)


def in_c(calls: tuple[Call, ...]) -> Program:
    """Return a C program that makes these calls."""
    lines = []
    for call in calls:
        arguments = ", ".join(
            f'"{argument}"' if isinstance(argument, str) else f"{argument or 0}L" for argument in call.arguments
        )
        lines.append(
            f'errno = 0; attempt("{call.name}", syscall({call.numbers[COLUMN]}L, {arguments}), {call.refused_as});'
        )
    return c("\n".join(lines), blocked(*(call.name for call in calls)))


# mov $20, %eax (getpid of i386); int $0x80; ret
I386_CALL = bytes.fromhex("b814000000cd80c3")
KILLED = {"verdict": Verdict.SIGNALED, "error_type": "SIGSYS"}
FOREIGN_ABIS = (
    python(
        f"""
        import mmap
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write({I386_CALL!r})
        print("BLOCKED soon", flush=True)
        ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
        print("ESCAPED", flush=True)
        """,
        blocked("soon"),
        **KILLED,
    ),
    python(
        "print('BLOCKED soon', flush=True)\nlibc.syscall(0x40000000 | 39)\nprint('ESCAPED', flush=True)",
        blocked("soon"),
        **KILLED,
    ),
)
FOREIGN_ABIS_IN_C = (
    c(
        'long n = 20;\nputs("BLOCKED soon"); fflush(stdout);\n'
        '__asm__ volatile ("int $0x80" : "+a"(n));\nputs("ESCAPED"); fflush(stdout);',
        blocked("soon"),
        **KILLED,
    ),
    c(
        'puts("BLOCKED soon"); fflush(stdout);\nsyscall(0x40000000L | 39);\nputs("ESCAPED"); fflush(stdout);',
        blocked("soon"),
        **KILLED,
    ),
)
TERMINAL = (
    python(
        """
        ioctl = 16 if os.uname().machine == "x86_64" else 29
        for name, request in (("TIOCSTI", 0x5412), ("TIOCSTI high", 0x5412 | 1 << 32), ("TIOCLINUX", 0x541C)):
            attempt(name, lambda: raw(ioctl, 0, ctypes.c_ulong(request), b"x"), errno.EPERM)
        attempt("tty", lambda: os.open("/dev/tty", os.O_RDWR), errno.ENOENT, errno.ENXIO)
        print("BLOCKED session" if os.getsid(0) in (0, 1) else f"OTHER {os.getsid(0)}")
        """,
        blocked("TIOCSTI", "TIOCSTI high", "TIOCLINUX", "tty", "session"),
    ),
)
TERMINAL_IN_C = (
    c(
        """
        attempt("TIOCSTI", syscall(SYS_ioctl, 0, 0x5412UL, "x"), EPERM);
        attempt("TIOCSTI high", syscall(SYS_ioctl, 0, 0x5412UL | 1UL << 32, "x"), EPERM);
        attempt("TIOCLINUX high", syscall(SYS_ioctl, 0, 0x541CUL | 7UL << 33, "x"), EPERM);
        """,
        blocked("TIOCSTI", "TIOCSTI high", "TIOCLINUX high"),
    ),
)
CAPABILITIES = (
    python(
        """
        caps = {line.split()[1] for line in open("/proc/self/status") if line.startswith("Cap")}
        print("BLOCKED capabilities" if caps == {"0" * 16} else f"ESCAPED {caps}")
        capset = 126 if os.uname().machine == "x86_64" else 91
        header, wanted = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)
        attempt("capset", lambda: raw(capset, header, wanted), errno.EPERM)
        attempt("ambient", lambda: raw(157 if capset == 126 else 167, 47, 2, 21, 0, 0), errno.EPERM, errno.EINVAL)
        """,
        blocked("capabilities", "capset", "ambient"),
    ),
)
# A filter that allows everything, then what the first filter refuses; and the ways to take filters back.
FILTERS = (
    python(
        f"""
        import struct
        prctl = 157 if os.uname().machine == "x86_64" else 167
        program = ctypes.create_string_buffer(struct.pack("<HBBI", 6, 0, 0, 0x7FFF0000), 8)
        header = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", 1, ctypes.addressof(program)), 16)
        raw(prctl, 22, 2, header, 0, 0)
        attempt("mount after", lambda: raw({(165, 40)[COLUMN]}, b"tmpfs", b"/tmp", b"tmpfs", 0, None), errno.EPERM)
        attempt("off", lambda: raw(prctl, 22, 0, 0, 0, 0), errno.EINVAL)
        attempt("privileges", lambda: raw(prctl, 38, 0, 0, 0, 0), errno.EINVAL)
        raw({(317, 277)[COLUMN]}, 1, 1 << 3, header)  # a filter with a listener, which may let calls go on
        attempt("mount again", lambda: raw({(165, 40)[COLUMN]}, b"tmpfs", b"/tmp", b"tmpfs", 0, None), errno.EPERM)
        """,
        blocked("mount after", "off", "privileges", "mount again"),
    ),
)
SOCKETS = (
    python(
        f"""
        for name, family in {FAMILIES!r}.items():
            attempt(name, lambda: socket.socket(family, socket.SOCK_RAW), errno.EAFNOSUPPORT, errno.EPERM)
        for name, protocol in {PROTOCOLS!r}.items():
            attempt(name, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol), errno.EPERM)
        attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1), errno.EPERM, errno.EACCES)
        attempt("raw 6", lambda: socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58), errno.EPERM, errno.EACCES)
        attempt("pair", lambda: raw({(53, 199)[COLUMN]}, 16, 3, 0, ctypes.create_string_buffer(8)), errno.EAFNOSUPPORT)
        """,
        blocked(*FAMILIES, *PROTOCOLS, "raw", "raw 6", "pair"),
    ),
)
SOCKETS_IN_C = (
    c(
        "\n".join(
            f'attempt("{name}", socket({family}, SOCK_RAW, 0), EAFNOSUPPORT);' for name, family in FAMILIES.items()
        )
        + '\nattempt("high bits", syscall(SYS_socket, 16L | 1L << 32, 3L, 0L), EAFNOSUPPORT);',
        blocked(*FAMILIES, "high bits"),
    ),
)


def _called(calls: dict[str, tuple[Call, ...]]) -> tuple[Case, ...]:
    """Return two cases for each group: the calls made from Python and from C."""
    cases = []
    for title, group in calls.items():
        number, _, name = title.partition(" ")
        cases += [Case(number, name, (in_python(group),)), Case(number, f"{name} in C", (in_c(group),))]
    return tuple(cases)


CASES = (
    *_called(CALLS),
    Case("55", "foreign ABIs", FOREIGN_ABIS if IS_X86 else ()),
    Case("55", "foreign ABIs in C", FOREIGN_ABIS_IN_C if IS_X86 else ()),
    Case("56", "typing into a terminal", TERMINAL),
    Case("56", "typing into a terminal in C", TERMINAL_IN_C),
    Case("57", "capabilities", CAPABILITIES),
    Case("60", "filters on top", FILTERS),
    Case("61", "odd sockets", SOCKETS),
    Case("61", "odd sockets in C", SOCKETS_IN_C),
)
