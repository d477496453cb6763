"""A. Processes, signals, time: programs 1 to 18 of the table."""

# ruff: noqa: E501 - a program inside a string keeps its statements together

import os
from pathlib import Path

from sandbox.runner import Sandbox
from sandbox.types import ExecutionRequest, Verdict
from tests.sandbox.hostile.host import Host
from tests.sandbox.hostile.programs import Case, Program, bash, blocked, c, faults, python

FORKS_UNTIL_REFUSED = """
n = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(60)
        n += 1
except BlockingIOError:
    print("BLOCKED forks" if 10 < n < 64 else f"OTHER {n} forks", flush=True)
"""
SPINNERS = python(
    """
    started = time.monotonic()
    for _ in range(8):
        if os.fork() == 0:
            while time.monotonic() < started + 0.6:
                pass
            os._exit(0)
    for _ in range(8):
        os.wait()
    used_s, took_s = sum(os.times()[2:4]), time.monotonic() - started
    # A period of 0.1 s has begun at the start and at the end, and each processor may run ahead by a few milliseconds.
    print("BLOCKED share" if used_s <= 0.5 * took_s + 0.15 else f"ESCAPED {used_s} s in {took_s} s")
    """,
    blocked("share"),
)


def share_of_processors(host: Host) -> list[str]:
    """14. Where groups can be made, all processes of a program together get no more processors than is set."""
    sandbox = Sandbox(host.settings.model_copy(update={"cpus": 0.5}))
    try:
        if "cgroup" not in sandbox.status().detail:
            return []
        found = faults(SPINNERS, sandbox.execute(ExecutionRequest(SPINNERS.code, lint=False)))
    finally:
        sandbox.close()
    left = {path.parent for path in Path("/sys/fs/cgroup/cpu").glob(f"**/cinque-{os.getpid()}-*/tasks")}
    return found + [f"a group of processors was left: {path}" for path in left]


STUBBORN = {"verdict": Verdict.TIME_LIMIT, "timeout_s": 0.5}

CASES = (
    Case("1", "fork bomb", (python(FORKS_UNTIL_REFUSED, blocked("forks")),)),
    Case(
        "1b",
        "fork bomb beside a neighbour that forks",
        (
            python(FORKS_UNTIL_REFUSED + "time.sleep(0.6)", blocked("forks")),
            python(
                """
                time.sleep(0.3)
                for _ in range(20):
                    if os.fork() == 0:
                        os._exit(0)
                print("BLOCKED nothing")
                """,
                blocked("nothing"),
            ),
        ),
        together=True,
    ),
    Case(
        "2",
        "recursive fork bomb",
        (
            python(
                """
                print("BLOCKED soon", flush=True)
                while True:
                    try:
                        os.fork()
                    except OSError:
                        pass
                """,
                blocked("soon"),
                **STUBBORN,
            ),
        ),
    ),
    Case(
        "3",
        "fork bomb of a shell",
        (
            bash(
                "echo BLOCKED soon; exec 2>/dev/null; bomb() { bomb | bomb & }; bomb; sleep 60",
                blocked("soon"),
                verdict=(Verdict.TIME_LIMIT, Verdict.RUNTIME_ERROR, Verdict.OK),
                timeout_s=0.7,
            ),
        ),
    ),
    Case(
        "4",
        "ten thousand threads",
        (
            python(
                """
                import threading
                n = 0
                try:
                    while n < 10000:
                        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
                        n += 1
                except (RuntimeError, MemoryError):
                    print("BLOCKED threads" if n < 64 else f"OTHER {n} threads", flush=True)
                """,
                blocked("threads"),
            ),
        ),
    ),
    Case(
        "4",
        "ten thousand threads in C",
        (
            c(
                """
                int n = 0;
                pthread_t thread;
                while (n < 10000 && pthread_create(&thread, NULL, idle, NULL) == 0)
                    n++;
                printf(n < 64 ? "BLOCKED threads\\n" : "OTHER %d threads\\n", n);
                fflush(stdout);
                _exit(0);
                """,
                blocked("threads"),
                above="#include <pthread.h>\nstatic void *idle(void *nothing) { pause(); return nothing; }",
            ),
        ),
    ),
    Case(
        "5",
        "daemon that holds the output",
        (
            python(
                """
                if os.fork() == 0:
                    os.setsid()
                    if os.fork() == 0:
                        time.sleep(60)
                    os._exit(0)
                print("BLOCKED daemon")
                """,
                blocked("daemon"),
                timeout_s=1.5,
            ),
        ),
    ),
    Case(
        "6",
        "deaf to the polite signal",
        (
            python(
                "import signal\nsignal.signal(15, signal.SIG_IGN)\nprint('BLOCKED soon', flush=True)\nsum(range(10**12))",
                blocked("soon"),
                **STUBBORN,
            ),
        ),
    ),
    Case(
        "7",
        "sleep past the deadline",
        (
            python("print('BLOCKED soon', flush=True)\ntime.sleep(100)", blocked("soon"), **STUBBORN),
            bash("echo BLOCKED soon; sleep 100", blocked("soon"), **STUBBORN),
        ),
    ),
    Case(
        "8",
        "stop itself",
        (
            python(
                "import signal\nprint('BLOCKED soon', flush=True)\nos.kill(os.getpid(), signal.SIGSTOP)",
                blocked("soon"),
                **STUBBORN,
            ),
        ),
    ),
    Case(
        "9",
        "kill a process of the host",
        (python("attempt('kill', lambda: os.kill(CANARY_PID, 9), errno.ESRCH)", blocked("kill")),),
    ),
    Case(
        "10",
        "kill everything",
        (
            python(
                """
                pid = os.fork()
                if pid == 0:
                    time.sleep(60)
                os.kill(-1, 9)
                print("BLOCKED beyond itself" if os.waitpid(pid, 0)[1] == 9 else "OTHER")
                """,
                blocked("beyond itself"),
            ),
            bash(
                "sleep 60 & kill -9 -1; wait $!; [ $? = 137 ] && echo BLOCKED beyond itself", blocked("beyond itself")
            ),
        ),
    ),
    Case(
        "11",
        "kill its own init",
        (
            python(
                "for number in range(1, 65):\n    if number not in (32, 33):\n        os.kill(1, number)\n"
                "print('BLOCKED init')",
                blocked("init"),
            ),
        ),
    ),
    Case(
        "12",
        "kill every number",
        (
            python(
                """
                codes = set()
                for pid in range(2, 40001):
                    if pid != os.getpid():
                        try:
                            os.kill(pid, 9)
                        except OSError as error:
                            codes.add(error.errno)
                        else:
                            codes.add(0)
                print("BLOCKED numbers" if codes == {errno.ESRCH} else f"ESCAPED {codes}")
                """,
                blocked("numbers"),
            ),
        ),
    ),
    Case(
        "13",
        "raise its priority",
        (
            python(
                """
                attempt("fifo", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)), errno.EPERM)
                attempt("nice", lambda: os.nice(-5), errno.EPERM)
                attempt("realtime", lambda: os.setpriority(os.PRIO_PROCESS, 0, -20), errno.EPERM, errno.EACCES)
                """,
                blocked("fifo", "nice", "realtime"),
            ),
        ),
    ),
    Case(
        "14",
        "eight spinners beside a neighbour",
        (
            c(
                'puts("BLOCKED soon"); fflush(stdout);\nfor (int i = 0; i < 7; i++)\n    if (fork() == 0) break;\nfor (;;);',
                blocked("soon"),
                **STUBBORN,
            ),
            python("print('BLOCKED nothing')", blocked("nothing")),
        ),
        together=True,
    ),
    Case("14", "eight spinners that share half a processor", act=share_of_processors),
    Case(
        "15",
        "timers and jumps",
        (
            c(
                """
                struct itimerval often = {{0, 1000}, {0, 1000}};
                puts("BLOCKED soon"); fflush(stdout);
                signal(SIGALRM, again);
                sigset_t none;
                sigemptyset(&none);
                setitimer(ITIMER_REAL, &often, NULL);
                sigsetjmp(place, 1);
                for (;;);
                """,
                blocked("soon"),
                above="#include <setjmp.h>\n#include <sys/time.h>\nstatic sigjmp_buf place;\n"
                "static void again(int number) { (void)number; siglongjmp(place, 1); }",
                **STUBBORN,
            ),
            python(
                "import signal\nsignal.signal(signal.SIGALRM, lambda *_: None)\n"
                "signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)\nprint('BLOCKED soon', flush=True)\n"
                "while True:\n    pass",
                blocked("soon"),
                **STUBBORN,
            ),
        ),
    ),
    Case(
        "16",
        "children that change their parent",
        (
            c(
                """
                attempt("sibling", syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0), EPERM);
                if (vfork() == 0) _exit(0);
                attempt("clone3", syscall(SYS_clone3, NULL, 0), ENOSYS);
                """,
                blocked("sibling", "clone3"),
            ),
            python(
                """
                clone = 56 if os.uname().machine == "x86_64" else 220
                attempt("sibling", lambda: raw(clone, 0x8000 | 17, 0, 0, 0, 0), errno.EPERM)
                """,
                blocked("sibling"),
            ),
        ),
    ),
    Case(
        "17",
        "leave while a child writes",
        (
            bash("(sleep 0.3; echo late; sleep 60) & echo BLOCKED child; exit 0", blocked("child"), never="late"),
            python(
                "if os.fork() == 0:\n    time.sleep(0.3); os.write(1, b'late'); time.sleep(60)\nprint('BLOCKED child')",
                blocked("child"),
                never="late",
            ),
        ),
    ),
    Case(
        "18",
        "segmentation fault abort and trap",
        (
            *(
                Program(
                    f"import ctypes, os, signal\nprint('BLOCKED success', flush=True)\n{death}",
                    blocked("success"),
                    verdict=Verdict.SIGNALED,
                    error_type=error,
                )
                for death, error in (
                    ("ctypes.string_at(0)", "SIGSEGV"),
                    ("os.abort()", "SIGABRT"),
                    ("os.kill(os.getpid(), signal.SIGTRAP)", "SIGTRAP"),
                )
            ),
            *(
                c(
                    f'puts("BLOCKED success"); fflush(stdout); {death};',
                    blocked("success"),
                    verdict=Verdict.SIGNALED,
                    error_type=error,
                )
                for death, error in (("*(volatile int *)0 = 1", "SIGSEGV"), ("abort()", "SIGABRT"))
            ),
        ),
    ),
)
