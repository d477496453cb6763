"""The init of a job's pid namespace: it reaps orphans, cannot be reached from inside, and its maker may die."""

import os
import signal

from sandbox.inside.fenced import children_of
from tests.sandbox.machine import Runner, wait_until

ORPHANS = """
import os, time

def orphan():
    pid = os.fork()
    if pid == 0:
        if os.fork() == 0:
            os._exit(0)
        os._exit(0)
    os.waitpid(pid, 0)

def zombies():
    found = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            found += open(f"/proc/{name}/stat").read().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            pass
    return found

for _ in range(300):
    orphan()
while zombies():
    time.sleep(0.01)
print("reaped")
"""
REACH = """
import os, signal

for path in ("mem", "maps", "environ", "root", "fd", "ns/pid"):
    try:
        os.listdir("/proc/1/fd") if path in ("fd", "root") else open(f"/proc/1/{path}", "rb").read(1)
        print("read", path)
    except PermissionError:
        print("refused", path)
for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGCHLD):
    os.kill(1, number)
print(os.getpid() != 1, os.getpgrp())
os.setsid()
"""


def test_more_orphans_than_processes_are_allowed_are_reaped(run: Runner) -> None:
    result = run(ORPHANS)
    assert (result.stdout, result.verdict) == ("reaped\n", "OK")


def test_a_program_cannot_reach_its_init(run: Runner) -> None:
    result = run(REACH)
    refused = "".join(f"refused {path}\n" for path in ("mem", "maps", "environ", "root", "fd", "ns/pid"))
    assert (result.stdout, result.verdict) == (f"{refused}True 1\n", "OK")


def test_what_a_program_left_behind_ends_with_it(run: Runner) -> None:
    left = "import subprocess\nfor _ in range(3):\n    subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
    result = run(left)
    assert result.verdict == "OK"  # it is over when all are gone, long before its time is


def test_a_zygote_whose_maker_of_inits_was_killed_is_replaced(run: Runner) -> None:
    run("print(1)")
    pool = run.sandbox._isolation
    pid = pool.zygote_pids()["plain"]
    while len(children_of(pid)) == 1:
        (pid,) = children_of(pid)  # down to the maker, the only one with children of its own
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: "plain" not in pool.zygote_pids())
    assert run("print(2)").stdout == "2\n"
