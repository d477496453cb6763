"""G. State carried between runs, and caches: programs 79 to 85 of the table."""

# ruff: noqa: E501 - a program inside a string keeps its statements together

import os
import secrets
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

from tests.sandbox.hostile.host import SECRET_PREFIX, Host
from tests.sandbox.hostile.programs import Case, Program, bash, blocked, c, python

LEAVES_MARKS = python(
    """
    import builtins, json, random, sys
    builtins.mark = 1; json.dumps = None; sys.modules["mark"] = json; sys.path.insert(0, "/tmp"); os.environ["MARK"] = "1"
    random.seed(1); sys.setrecursionlimit(50); sys.flags.__class__
    for name in ("/tmp/mark", "/dev/shm/mark", "mark.py", "json.py"):
        open(name, "w").close()
    os.umask(0o777)
    print("BLOCKED", "later")
    """,
    blocked("later"),
)
FINDS_MARKS = python(
    """
    import builtins, json, random, sys
    marks = [hasattr(builtins, "mark"), json.dumps is None, "mark" in sys.modules, sys.path[0] == "/tmp", "MARK" in os.environ,
        sys.getrecursionlimit() == 50, os.umask(0o022) == 0o777, *map(os.path.exists, ("/tmp/mark", "/dev/shm/mark", "mark.py"))]
    print("BLOCKED marks" if not any(marks) and len(os.listdir(".")) == 1 else f"ESCAPED {marks}")
    """,
    blocked("marks"),
)
POISONS_BYTECODE = python(
    """
    import importlib.util, json
    cached = importlib.util.cache_from_source(json.__file__)
    errors = (errno.EROFS, errno.EACCES, errno.ENOENT, errno.EPERM)
    attempt("cached", lambda: open(cached, "wb"), *errors)
    attempt("folder", lambda: os.mkdir(os.path.dirname(os.__file__) + "/evil"), *errors)
    attempt("packages", lambda: open(os.path.dirname(os.__file__) + "/site-packages/evil.py", "w"), *errors)
    attempt("harness", lambda: open("/opt/harness/evil.py", "w"), *errors)
    attempt("requirements", lambda: open("/opt/cache/evil.py", "w"), *errors)
    attempt("rename", lambda: os.rename(os.path.dirname(json.__file__), "/tmp/json"), errno.EXDEV, *errors)
    """,
    blocked("cached", "folder", "packages", "harness", "requirements", "rename"),
)
# Looks for what a run before this one, or the host, had in memory. Its own pattern does not match itself.
SEARCHES_MEMORY = python(
    f"""
    import re
    pattern, found = re.compile(rb"{SECRET_PREFIX}[0-9a-f]{{32}}"), []
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps:
            span, rights = line.split()[:2]
            if "r" in rights and "[v" not in line:
                first, last = (int(part, 16) for part in span.split("-"))
                while first < last:
                    memory.seek(first)
                    part = memory.read(min(last - first, 1 << 20))
                    found += pattern.findall(part)
                    first += len(part)
    print(f"ESCAPED {{found}}" if found or b"{SECRET_PREFIX}" in open("/proc/self/environ", "rb").read() else "BLOCKED secrets")
    """,
    blocked("secrets"),
)
# What compilers of this machine read: a program of any language runs beside the same folders as they do.
POISONS_TOOLS = bash(
    """
    for place in "${GOCACHE:-/opt/go-cache}" /usr/lib/go* /usr/lib/gcc /usr/include /usr/lib/node_modules /usr/local/lib \\
            "$(dirname "$(command -v gcc)")" ${PATH//:/ }; do
        for name in "$place" "$place"/*; do
            if [ -d "$name" ] && { : > "$name/evil" || mkdir "$name/evil"; } 2>/dev/null; then echo "ESCAPED $name"; fi
            if [ -f "$name" ] && { : >> "$name"; } 2>/dev/null; then echo "ESCAPED $name"; fi
        done
    done
    echo BLOCKED tools
    """,
    blocked("tools"),
)
WRITES_WHILE_COMPILED = c(
    'puts("BLOCKED header");',
    blocked("header"),
    above='#include "/sandbox/work/solution.c.gch"',
    files={"solution.c.gch": "static int poison;\n"},
)
SIZE_OF_A_CHARACTER = "#include <stdio.h>\nint main(void) { printf(\"%d\\n\", (int)sizeof('a')); return 0; }\n"


def secrets_of_the_host(host: Host) -> list[str]:
    """84. A secret in the host's environment and one of another program are in no later program's memory."""
    other = python(f"x = {SECRET_PREFIX + secrets.token_hex(16)!r}\nprint('BLOCKED', 'later')", blocked("later"))
    return host.faults_of(other, stdin=SECRET_PREFIX + secrets.token_hex(16)) + host.faults_of(SEARCHES_MEMORY)


def layout_is_shared(host: Host) -> list[str]:
    """84. Jobs of one zygote share their layout and hash seed: documented, so it is shown and not hidden."""
    program = python("print(id(None), hash('x'))", ())
    first, second = (host.execute(program).stdout for _ in range(2))
    return [] if first == second else ["layouts differ now: change what sandbox/isolation.py says is not covered"]


def zygote_is_killed(host: Host) -> list[str]:
    """85. Kill the zygote under a running job, and an idle one: nobody notices."""
    pids = host.sandbox._isolation.zygote_pids  # type: ignore[union-attr]
    before = pids()["plain"]
    program = python("time.sleep(0.3)\nprint('BLOCKED loss')", blocked("loss"))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(host.faults_of, program)
        while host.sandbox.status().n_running == 0:
            threading.Event().wait(0.005)
        os.kill(before, signal.SIGKILL)
        found = running.result()
    os.kill(pids()["plain"], signal.SIGKILL)
    return found + host.faults_of(program) + ([] if pids()["plain"] != before else ["the zygote is the same"])


CASES = (
    Case("79", "leave marks", (LEAVES_MARKS, FINDS_MARKS)),
    Case(
        "79",
        "leave marks in a shell",
        (
            bash(
                "echo x > /tmp/mark; export MARK=1; ls() { echo y; }; touch mark; echo BLOCKED later", blocked("later")
            ),
            bash(
                '[ ! -e /tmp/mark ] && [ -z "$MARK" ] && [ "$(ls)" = solution.sh ] && echo BLOCKED marks',
                blocked("marks"),
            ),
        ),
    ),
    Case("80", "poison compiled modules", (POISONS_BYTECODE, python("import json\nprint(json.dumps('BLOCKED'))", ()))),
    Case("81", "poison what compilers read", (POISONS_TOOLS, WRITES_WHILE_COMPILED)),
    Case(
        "83",
        "one text in two languages",
        (
            Program(SIZE_OF_A_CHARACTER, ("4",), language="c"),
            Program(SIZE_OF_A_CHARACTER, ("1",), language="cpp"),
            Program(SIZE_OF_A_CHARACTER, ("4",), language="c"),
        ),
    ),
    Case(
        "83",
        "one program with two files beside it",
        (
            c("puts(TEXT);", ("one",), above='#include "text.h"', files={"text.h": '#define TEXT "one"\n'}),
            c("puts(TEXT);", ("two",), above='#include "text.h"', files={"text.h": '#define TEXT "two"\n'}),
        ),
    ),
    Case("84", "secrets in a zygote", act=secrets_of_the_host),
    Case("84", "layout of a zygote", act=layout_is_shared),
    Case("85", "kill the zygote", act=zygote_is_killed),
)
