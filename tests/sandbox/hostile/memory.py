"""B. Memory, disk, descriptors, and bombs for compilers and parsers: programs 19 to 32 of the table."""

# ruff: noqa: E501 - a program inside a string keeps its statements together

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sandbox.errors import InvalidRequestError
from sandbox.types import ExecutionRequest, Verdict
from tests.sandbox.hostile.host import MEMORY_BYTES, Host
from tests.sandbox.hostile.programs import Case, Program, bash, blocked, c, python

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
BLOAT = {"verdict": Verdict.MEMORY_LIMIT}


def syntax_bombs(host: Host) -> list[str]:
    """31. Texts that exhaust a parser."""
    bombs = {
        "brackets": "(" * 10**6,
        "operators": "x = " + "-" * 200_000 + "1",
        "digits": "x = " + "9" * 10**7,
        "attributes": "x" + ".x" * 200_000,
        "blocks": "".join(" " * i + "if 1:\n" for i in range(300)),
    }
    found = []
    for name, text in bombs.items():
        report = host.sandbox.check_syntax(text, "python")
        if report.valid or not report.errors or len(report.errors[0]) > 500:
            found.append(f"{name}: {report}"[:300])
    return found


def buffers_of_connections(host: Host) -> list[str]:
    """23. What the kernel holds for TCP is bounded too; its own count of that tells, whoever ends the program."""
    program = python(
        """
        print("BLOCKED soon", flush=True)
        for _ in range(50):
            if os.fork() == 0:
                kept = []
                try:
                    door = socket.create_server(("127.0.0.1", 0))
                    while True:
                        kept += [socket.create_connection(door.getsockname()), door.accept()[0]]
                        for end in kept[-2:]:
                            end.setblocking(False)
                            try:
                                while True:
                                    end.send(b"x" * 65536)
                            except BlockingIOError:
                                pass
                except OSError:
                    time.sleep(60)
        time.sleep(60)
        """,
        blocked("soon"),
        verdict=(Verdict.MEMORY_LIMIT, Verdict.TIME_LIMIT),
        timeout_s=1.5,
    )
    most_bytes = 0
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(host.faults_of, program)
        while not running.done():
            fields = Path("/proc/net/sockstat").read_text().partition("TCP:")[2].split()
            most_bytes = max(most_bytes, int(fields[fields.index("mem") + 1]) * PAGE_BYTES)
            threading.Event().wait(0.02)
    # The count is the whole machine's, where the other user's case may run at once and what watches both comes late.
    most_allowed = 3 * MEMORY_BYTES
    return running.result() + ([f"{most_bytes} bytes of TCP buffers"] if most_bytes > most_allowed else [])


def endless_source(host: Host) -> list[str]:
    """30. Refused before anything is started, for a program and for a check of its syntax."""
    found, text = [], "//" + "x" * (100 << 20)
    for name, ask in (
        ("run", lambda: host.sandbox.execute(ExecutionRequest(text, language="c"))),
        ("check", lambda: host.sandbox.check_syntax(text, "c")),
    ):
        try:
            found.append(f"{name}: {ask()}"[:300])
        except InvalidRequestError:
            continue
    return found


def linter_bomb(host: Host) -> list[str]:
    """32. A program that runs at once and takes a linter minutes."""
    lists = ", ".join("[[[1], [2]], [[3], [4]]]" for _ in range(6_000))
    result = host.sandbox.execute(ExecutionRequest(f"x = [{lists}]\nprint('BLOCKED linter')", timeout_s=5.0))
    is_right = result.stdout == "BLOCKED linter\n" and result.success and result.lint_score is None
    return [] if is_right else [str(result)]


def compiler_bomb(language: str, code: str, *, is_harmless: bool = False) -> Program:
    """Return a program whose compilation ends by a limit or an error; a harmless one may also compile, to nothing."""
    verdict = (Verdict.COMPILE_ERROR, Verdict.OK) if is_harmless else Verdict.COMPILE_ERROR
    return Program(code, (), language=language, verdict=verdict, timeout_s=1.0, never="RAN")


C_BOMBS = (
    c('puts("BLOCKED nothing");', blocked("nothing")),  # what is no bomb compiles
    compiler_bomb("c", "int a[1 << 30] = {1};\nint main(void) { return a[5]; }"),
    compiler_bomb("c", '#include "/dev/zero"\nint main(void) { return 0; }'),
    compiler_bomb("c", "#include </proc/self/environ>\nint main(void) { return 0; }", is_harmless=True),
    compiler_bomb("c", "#include </proc/1/environ>\nint main(void) { return 0; }"),
    compiler_bomb("c", '#include "HOST_FILE"\nint main(void) { return 0; }'),
    compiler_bomb("c", '__asm__(".incbin \\"/etc/shadow\\"");\nint main(void) { return 0; }'),
    compiler_bomb("c", '__asm__(".space 1000000000000");\nint main(void) { return 0; }'),
    compiler_bomb(
        "c", "#define A(x) x x x x x x x x\n#define B(x) A(A(A(A(A(A(A(A(x))))))))\nint main(void) { B(B(B(1;))) }"
    ),
)
CPP_BOMBS = (
    Program('#include <iostream>\nint main() { std::cout << "BLOCKED nothing\\n"; }', blocked("nothing"), "cpp"),
    compiler_bomb("cpp", "template <int N> struct T { T<N + 1> a; T<N + 2> b; };\nint main() { T<0> t; }"),
    compiler_bomb(
        "cpp",
        "constexpr long f(long n) { long s = 0; for (long i = 0; i < n; i++) s += i; return s; }\n"
        "int main() { static_assert(f(1L << 60)); }",
    ),
    compiler_bomb(
        "cpp",
        "template <class T> struct P { P<P<T>> *p; static const int v = P<P<T>>::v; };\nint main() { return P<int>::v; }",
    ),
)
RUST_BOMBS = (
    Program('fn main() { println!("BLOCKED nothing"); }', blocked("nothing"), "rust"),
    compiler_bomb(
        "rust",
        "const fn f() -> u64 { let mut i = 0; while i < u64::MAX { i += 1; } i }\nconst X: u64 = f();\n"
        'fn main() { println!("{}", X); }',
    ),
    compiler_bomb("rust", 'const X: &[u8] = include_bytes!("/etc/shadow");\nfn main() { println!("{}", X.len()); }'),
    compiler_bomb("rust", "macro_rules! m { ($($t:tt)*) => { m!($($t)* $($t)*) } }\nfn main() { m!(1 2) }"),
)
CASES = (
    Case(
        "19",
        "balloon of one process",
        (
            python(
                "x = []\nprint('BLOCKED soon', flush=True)\nwhile True:\n    x.append(bytearray(16 << 20))",
                blocked("soon"),
                **BLOAT,
            ),
        ),
    ),
    Case(
        "20",
        "balloon of many children",
        (
            python(
                """
                print("BLOCKED soon", flush=True)
                for _ in range(8):
                    if os.fork() == 0:
                        x = bytearray(60 << 20); time.sleep(60)
                time.sleep(60)
                """,
                blocked("soon"),
                **BLOAT,
            ),
            python(
                """
                import mmap
                print("BLOCKED soon", flush=True)
                m = mmap.mmap(-1, 600 << 20)
                for i in range(0, 600 << 20, 4096):
                    m[i] = 1
                """,
                blocked("soon"),
                **BLOAT,
            ),
        ),
    ),
    Case(
        "21",
        "map without reserve and touch",
        (
            python(
                "import mmap\nattempt('map', lambda: mmap.mmap(-1, 64 << 30, "
                "mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000), errno.ENOMEM)",
                blocked("map"),
            ),
            c(
                'attempt("map", (long)mmap(NULL, 64L << 30, PROT_READ | PROT_WRITE, '
                "MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), ENOMEM);",
                blocked("map"),
            ),
        ),
    ),
    Case(
        "21",
        "tables of pages that nobody wrote to",
        (
            c(
                """
                puts("BLOCKED soon"); fflush(stdout);
                for (int i = 0; i < 2; i++)
                    if (fork() == 0) break;
                char *at = mmap(NULL, 60L << 30, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
                if (at == MAP_FAILED) { puts("OTHER map"); return 1; }
                madvise(at, 60L << 30, MADV_NOHUGEPAGE);
                static volatile char seen;
                for (long i = 0; i < 60L << 30; i += 2L << 20)
                    seen += at[i];
                sleep(60);
                """,
                blocked("soon"),
                **BLOAT,
            ),
        ),
    ),
    Case(
        "22",
        "memory through files",
        (
            python(
                """
                attempt("memfd", lambda: os.memfd_create("x"), errno.EPERM)
                attempt("secret", lambda: raw(447, 0), errno.EPERM)
                def fill():
                    for i in range(40):
                        with open(f"{[os.getcwd(), '/tmp', '/dev/shm'][i % 3]}/{i}", "wb") as f:
                            f.write(b"x" * (16 << 20))
                attempt("files", fill, errno.ENOSPC)
                """,
                blocked("memfd", "secret", "files"),
            ),
        ),
    ),
    Case(
        "23",
        "buffers of pipes and sockets",
        (
            python(
                """
                def pipes():
                    while True:
                        end = os.pipe()[1]
                        os.set_blocking(end, False)
                        try:
                            while True:
                                os.write(end, b"x" * 65536)
                        except BlockingIOError:
                            pass
                attempt("pipes", pipes, errno.EMFILE)
                """,
                blocked("pipes"),
            ),
            python(
                """
                print("BLOCKED sockets", flush=True)
                for _ in range(50):
                    if os.fork() == 0:
                        pairs = []
                        try:
                            while True:
                                pairs.append(socket.socketpair())
                                for end in pairs[-1]:
                                    end.setblocking(False)
                                    try:
                                        while True:
                                            end.send(b"x" * 65536)
                                    except BlockingIOError:
                                        pass
                        except OSError:
                            time.sleep(60)
                time.sleep(60)
                """,
                blocked("sockets"),
                **BLOAT,
            ),
        ),
    ),
    Case("23", "buffers of connections", act=buffers_of_connections),
    Case(
        "24",
        "fill the disk with one file",
        (
            python(
                """
                import signal
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                def fill():
                    with open("f", "wb") as f:
                        while True:
                            f.write(b"x" * (1 << 20))
                attempt("disk", fill, errno.ENOSPC, errno.EFBIG)
                """,
                blocked("disk"),
            ),
        ),
    ),
    Case(
        "25",
        "many files",
        (
            python(
                "def touch():\n    for i in range(100000):\n        open(str(i), 'w').close()\n"
                "attempt('files', touch, errno.ENOSPC)",
                blocked("files"),
            ),
            bash(
                "i=0; while : > $i; do i=$((i+1)); [ $i -gt 5000 ] && break; done 2>/dev/null\n"
                "[ $i -lt 4100 ] && echo BLOCKED files",
                blocked("files"),
            ),
        ),
    ),
    Case(
        "26",
        "deep folders and long names",
        (
            python(
                """
                def dig():
                    for i in range(10000):
                        os.mkdir("x" * 255)
                        os.chdir("x" * 255)
                attempt("depth", dig, errno.ENOSPC)
                """,
                blocked("depth"),
            ),
        ),
    ),
    Case(
        "27",
        "too many descriptors",
        (python("def dup():\n    while True:\n        os.dup(0)\nattempt('dup', dup, errno.EMFILE)", blocked("dup")),),
    ),
    Case(
        "28",
        "core dump of a child",
        (
            python(
                """
                import resource
                pid = os.fork()
                if pid == 0:
                    os.abort()
                status = os.waitpid(pid, 0)[1]
                # One byte, not none: a core_pattern that is a pipe ignores every limit but this.
                small = resource.getrlimit(resource.RLIMIT_CORE) in ((1, 1), (0, 0))
                print("OTHER" if os.WCOREDUMP(status) or not small or "core" in os.listdir() else "BLOCKED core")
                """,
                blocked("core"),
            ),
        ),
    ),
    Case(
        "29",
        "sparse file of a tebibyte",
        (
            python(
                """
                import signal
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                attempt("file", lambda: os.truncate(os.open("report.xml", os.O_CREAT), 1 << 40), errno.EFBIG, errno.EINVAL)
                attempt("named", lambda: open("solution.py", "r+").truncate(1 << 40), errno.EFBIG)
                attempt("stdin", lambda: os.truncate(os.open("/dev/stdin", os.O_RDWR), 1 << 40), errno.EFBIG, errno.EPERM, errno.EACCES)
                """,
                blocked("file", "named", "stdin"),
            ),
        ),
    ),
    Case("30", "bombs for the C compiler", C_BOMBS, limit_s=60.0),
    Case("30", "bombs for the C++ compiler", CPP_BOMBS, limit_s=60.0),
    Case("30", "bombs for the Rust compiler", RUST_BOMBS, limit_s=60.0),
    Case("30", "a source of a hundred megabytes", act=endless_source),
    Case("31", "bombs for the parser", act=syntax_bombs),
    Case("32", "bomb for the linter", act=linter_bomb),
)
