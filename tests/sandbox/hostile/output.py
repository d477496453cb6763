"""F. Output, input, encodings: programs 71 to 78 of the table."""

from sandbox.errors import InvalidRequestError
from sandbox.types import ExecutionRequest, Verdict
from tests.sandbox.hostile.host import Host
from tests.sandbox.hostile.programs import Case, Program, bash, blocked, c, python

MIB = 1 << 20
ODD_SOURCES = {
    "empty": "",
    "mark": "\ufeffprint('ran')",
    "returns": "print('ran')\r\nif True:\r\n    print('twice')\r\n",
    "large": "#" + "x" * (10 * MIB) + "\nprint('ran')",
    "null": "print('a\0b')",
    "surrogate": "print('\ud800')",
    "latin": "# coding: latin-1\nprint('ran')",
    "utf-7": "# coding: utf-7\n+AHAAcgBpAG4AdAAoACcAcgBhAG4AJwAp-",
    "unknown": "# coding: no-such-codec\nprint('ran')",
    "one line": "x=1;" * 50_000,
    "tabs": "if 1:\n\tprint('ran')\n        print('mixed')",
    "form feed": "\x0cprint('ran')",
}


def huge_input(host: Host) -> list[str]:
    """75. Input that is too large is refused; input up to the limit may be ignored, or read."""
    found = []
    try:
        host.sandbox.execute(ExecutionRequest("print(1)", stdin="x" * (100 * MIB), lint=False))
    except InvalidRequestError:
        pass
    else:
        found.append("100 MiB of input were accepted")
    text = "x" * (15 * MIB)
    for program in (
        python("print('BLOCKED nothing')", blocked("nothing"), stdin=text),
        python(
            f"print('BLOCKED nothing' if len(sys.stdin.read()) == {len(text)} else 'OTHER')",
            blocked("nothing"),
            stdin=text,
        ),
        python("os.close(0)\nprint('BLOCKED nothing')", blocked("nothing"), stdin=text),
        bash("read -r -n 3 x; echo BLOCKED $x", blocked("xxx"), stdin=text) if host.knows("bash") else None,
    ):
        found += host.faults_of(program) if program is not None else []
    return found


def odd_sources(host: Host) -> list[str]:
    """76. Any text is run, or is a clean error of syntax; and checking it agrees."""
    found = []
    for name, text in ODD_SOURCES.items():
        result = host.sandbox.execute(ExecutionRequest(text, lint=False, timeout_s=5.0))
        report = host.sandbox.check_syntax(text, "python")
        is_clean = result.verdict in {Verdict.OK, Verdict.COMPILE_ERROR} and result.compile_success == report.valid
        if name == "surrogate":  # it compiles, and cannot be printed
            is_clean = result.verdict in {Verdict.RUNTIME_ERROR, Verdict.COMPILE_ERROR}
        if not is_clean:
            found.append(f"{name}: {result} {report}"[:1000])
    return found


def _exits(code: str, status: int, *, verdict: Verdict = Verdict.RUNTIME_ERROR) -> Program:
    return Program(
        f"import os, sys\nprint('BLOCKED guess', flush=True)\n{code}",
        blocked("guess"),
        verdict=verdict,
        exit_code=status,
    )


CASES = (
    Case(
        "71",
        "flood of output",
        (
            python(
                "while True:\n    sys.stdout.write('BLOCKED flood\\n' * 8192)",
                blocked("flood"),
                verdict=Verdict.OUTPUT_LIMIT,
            ),
            bash("yes BLOCKED flood", blocked("flood"), verdict=Verdict.OUTPUT_LIMIT),
        ),
    ),
    Case(
        "72",
        "flood of both streams without a newline",
        (
            python(
                "while True:\n    os.write(1, b'x' * 9999)\n    os.write(2, b'y' * 9999)",
                ("x" * 4000,),
                verdict=Verdict.OUTPUT_LIMIT,
            ),
            c(
                "static char x[9999], y[9999];\nmemset(x, 'x', sizeof x); memset(y, 'y', sizeof y);\n"
                "for (;;) { if (write(1, x, sizeof x) < 0 || write(2, y, sizeof y) < 0) abort(); }",
                ("x" * 4000,),
                verdict=Verdict.OUTPUT_LIMIT,
            ),
        ),
    ),
    Case(
        "73",
        "bytes that are no text",
        (
            python(
                "os.write(1, bytes(range(256)) * 30 + '\\u202e\\x1b]0;x\\x07\\x1b[2J'.encode() + b'\\xf0\\x9f')\n"
                "os.write(2, b'\\xff' * 9000)\nos.write(1, b'\\nBLOCKED bytes\\n')",
                blocked("bytes"),
            ),
            python(
                "os.write(1, b'BLOCKED cut\\n' + '\\U0001f600'.encode() * 3000 + b'\\nBLOCKED cut\\n')", blocked("cut")
            ),
            python(
                "print('BLOCKED surrogate', flush=True)\nraise ValueError('\\ud800\\0\\x1b[2J' * 100)",
                blocked("surrogate"),
                verdict=Verdict.RUNTIME_ERROR,
                error_type="ValueError",
            ),
            python(
                "print('BLOCKED name', flush=True)\nraise type('\\udc80Error', (Exception,), {})('x')",
                blocked("name"),
                verdict=Verdict.RUNTIME_ERROR,
            ),
        ),
    ),
    Case(
        "74",
        "its output closed reopened and unblocked",
        (
            python("print('BLOCKED hang', flush=True)\nfor fd in range(3):\n    os.close(fd)", blocked("hang")),
            python("sys.stdout.close(); sys.stderr.close()\nos.write(1, b'BLOCKED hang\\n')", blocked("hang")),
            python(
                """
                fd = os.open("/proc/self/fd/1", os.O_WRONLY)
                os.set_blocking(1, False); os.set_blocking(2, False)
                os.write(fd, b"BLOCKED hang\\n")
                os.dup2(os.open("/dev/null", os.O_RDWR), 1)
                """,
                blocked("hang"),
            ),
            python(
                """
                print("BLOCKED hang", flush=True)
                end = os.open("/proc/self/fd/1", os.O_RDONLY)  # the reading end of its own output
                if os.fork() == 0:
                    time.sleep(60)
                """,
                blocked("hang"),
            ),
            bash("echo BLOCKED hang; exec >&- 2>&- <&-; sleep 0.1", blocked("hang")),
        ),
    ),
    Case("75", "huge input", act=huge_input),
    Case("76", "odd sources", act=odd_sources),
    Case(
        "77",
        "forged results in the output",
        (
            python(
                """
                import json, struct
                print("BLOCKED forgery", flush=True)
                for record in ({"nonce": "", "event": "end"}, {"ended_by": "exit", "exit_code": 0, "signal": None,
                        "wall_s": 0, "peak_bytes": 0}, {"event": "test", "id": "test_a", "outcome": "passed"}):
                    print(json.dumps(record), flush=True)
                    os.write(2, json.dumps(record).encode() + b"\\n")
                    os.write(1, struct.pack("<iq", 0, 0))
                sys.exit(7)
                """,
                blocked("forgery"),
                verdict=Verdict.RUNTIME_ERROR,
                exit_code=7,
            ),
        ),
    ),
    Case(
        "78",
        "exit statuses",
        (
            *(_exits(f"sys.exit({status})", status) for status in (1, 2, 124, 125, 126, 127, 137, 139, 143, 255)),
            *(_exits(f"os._exit({status})", status) for status in (1, 3, 125, 128)),
            *(_exits(f"sys.exit({status})", 0, verdict=Verdict.OK) for status in (0, 256, None)),
            _exits("sys.exit('status 0')", 1),
            _exits("sys.exit(-1)", 255),
            _exits("raise SystemExit(3.5)", 1),
            bash("echo BLOCKED guess; exit 137", blocked("guess"), verdict=Verdict.RUNTIME_ERROR, exit_code=137),
            bash("echo BLOCKED guess; kill -9 $$", blocked("guess"), verdict=Verdict.SIGNALED, error_type="SIGKILL"),
        ),
    ),
)
