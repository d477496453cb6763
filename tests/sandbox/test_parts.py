"""Parts that can be judged without a sandbox: the wire, records, the filter, the gate, verdicts."""

import math
import struct
import threading

import pytest

from sandbox.errors import ExecutionCancelledError, SandboxBusyError
from sandbox.gate import Gate
from sandbox.inside import codec, records, seccomp
from sandbox.jobs import Outcome
from sandbox.types import Limits, Verdict
from sandbox.verdict import TestPlan, judge_program, judge_tests
from tests.sandbox.machine import wait_until

PLAN = TestPlan(("test_a", "test_b"), collects=False, may_skip=frozenset())
END = {"event": "end"}


def outcome(*events: dict[str, object], exit_code: int | None = 0, signal: int | None = None) -> Outcome:
    return Outcome("exit", exit_code, signal, b"", b"", list(events), 0.1, None)


def passed(name: str) -> dict[str, object]:
    return {"event": "test", "id": name, "outcome": "passed"}


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -(2**9000),
        1.5,
        math.inf,
        "é\ud800",
        b"\0\xff",
        [1, [2]],
        (1, (2,)),
        {1: {2: 3}},
        {1, 2},
        frozenset({1}),
        2 + 3j,
        range(1, 9, 2),
        bytearray(b"x"),
        {"dict": 1},
        {(1, 2): None},
        [],
        {},
        (),
        set(),
    ],
)
def test_plain_data_survives_the_way(value: object) -> None:
    back = codec.decode(codec.encode(value))
    assert back == value
    assert type(back) is type(value)


class Number(int):
    """Not an int, for the wire."""


@pytest.mark.parametrize("value", [object(), Number(1), [Number(1)], lambda: 1, iter([]), {1: object()}])
def test_what_is_not_plain_does_not_travel(value: object) -> None:
    with pytest.raises(codec.NotPlainError):
        codec.encode(value)


@pytest.mark.parametrize("form", [{"evil": 1}, {"set": [[1]]}, {"int": "x"}, {"a": 1, "b": 2}, {}, {"dict": [1]}])
def test_what_is_not_of_the_wire_is_refused(form: object) -> None:
    with pytest.raises(codec.BadAnswerError):
        codec.decode(form)


def test_only_records_with_the_nonce_count() -> None:
    raw = b'{"nonce": "n", "event": "a"}\nrubbish\n{"nonce": "m", "event": "b"}\n{"nonce": "n", "ev\0\0'
    assert records.parse(raw, "n") == [{"nonce": "n", "event": "a"}]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_is_a_program_whose_jumps_stay_inside(machine: str) -> None:
    program = list(struct.iter_unpack("<HBBI", seccomp.assemble(machine)))
    for at, (code, if_true, if_false, _) in enumerate(program):
        if code & 7 == 5:
            assert at + 1 + max(if_true, if_false) < len(program)
    assert program[-1][0] == 6
    assert len(program) < 4096


@pytest.mark.parametrize(("machine", "n_calls"), [("x86_64", 5), ("aarch64", 3)])
def test_the_filter_of_the_installer_denies_every_way_to_another_process(machine: str, n_calls: int) -> None:
    program = list(struct.iter_unpack("<HBBI", seccomp.assemble_no_processes(machine)))
    denied = {constant for code, *_, constant in program if code == 0x15}
    assert len(denied) == n_calls
    assert denied >= ({56, 59, 322} if machine == "x86_64" else {220, 221, 281})


def test_a_gate_refuses_beyond_its_limits_and_lets_the_next_in() -> None:
    gate = Gate(1, 0)
    with gate.enter(None):
        assert gate.counts() == (1, 0)
        with pytest.raises(SandboxBusyError), gate.enter(None):
            pass
    with gate.enter(None):
        assert gate.counts() == (1, 0)
    assert gate.counts() == (0, 0)


def test_a_gate_is_not_entered_by_the_cancelled() -> None:
    event = threading.Event()
    event.set()
    with pytest.raises(ExecutionCancelledError), Gate(1, 1).enter(event):
        pass


def test_who_came_first_to_a_gate_is_served_first() -> None:
    gate, served = Gate(1, 8), []

    def come(number: int) -> None:
        with gate.enter(None):
            served.append(number)

    threads = []
    with gate.enter(None):
        for number in range(8):
            threads.append(threading.Thread(target=come, args=(number,)))
            threads[-1].start()
            wait_until(lambda: gate.counts()[1] == len(threads))
    for thread in threads:
        thread.join()
    assert served == list(range(8))
    assert gate.counts() == (0, 0)


def test_who_gives_up_waiting_at_a_gate_keeps_no_place() -> None:
    gate, cancelled, gave_up = Gate(1, 2), threading.Event(), []

    def come() -> None:
        try:
            with gate.enter(cancelled):
                pass
        except ExecutionCancelledError:
            gave_up.append(True)

    with gate.enter(None):
        thread = threading.Thread(target=come)
        thread.start()
        wait_until(lambda: gate.counts() == (1, 1))
        cancelled.set()
        thread.join()
        assert gate.counts() == (1, 0)
    assert gave_up == [True]
    assert gate.counts() == (0, 0)


def test_a_complete_and_honest_report_passes() -> None:
    found = judge_tests(outcome(passed("test_a"), passed("test_b"), END), Limits(), PLAN, "in_process")
    assert (found.verdict, found.tests_run, found.tests_passed) == (Verdict.OK, 2, 2)


@pytest.mark.parametrize(
    ("given", "error_type"),
    [
        (outcome(passed("test_a"), passed("test_b")), "TestsIncomplete"),
        (outcome(passed("test_a"), END), "TestsTampered"),
        (outcome(passed("test_a"), passed("test_a"), END), "TestsTampered"),
        (outcome(passed("test_a"), passed("test_b"), passed("test_b"), END), "TestsTampered"),
        (outcome(passed("test_a"), passed("test_c"), END), "TestsTampered"),
        (outcome(passed("test_a"), passed("test_b"), END, exit_code=1), "TestsTampered"),
        (outcome(END), "TestsTampered"),
        (outcome(passed("test_a"), passed("test_b"), END, exit_code=None, signal=9), "SIGKILL"),
    ],
)
def test_anything_less_does_not(given: Outcome, error_type: str) -> None:
    found = judge_tests(given, Limits(), PLAN, "in_process")
    assert found.verdict is not Verdict.OK
    assert found.error_type == error_type


def test_a_program_that_leaves_with_zero_succeeded() -> None:
    assert judge_program(outcome(), Limits()).verdict is Verdict.OK
    assert judge_program(outcome(exit_code=2), Limits()).verdict is Verdict.RUNTIME_ERROR
