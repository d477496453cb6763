"""A client that goes away in the middle of long work frees what it held, at once."""

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.live.processes import END_TIMEOUT_S, Shim, poll_until

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]

FREE_WITHIN_S = 1.0  # measured on two busy cores: 20 of 20 within 0.1 s; a slot that nobody frees stays for seconds
N_TRIES = 3
ENDLESS: dict[str, Any] = {"messages": [{"role": "user", "content": "a"}], "grammar": "root ::= [a-z ] root"}
LOOP = {"code": "while True: pass", "timeout": 60}


def begin(url: str, path: str, body: dict[str, Any]) -> socket.socket:
    """Send a request, and leave its answer to the caller."""
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname or "", address.port or 0), timeout=END_TIMEOUT_S)
    payload = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: {address.netloc}\r\ncontent-length: {len(payload)}\r\n\r\n"
    connection.sendall(head.encode() + payload)
    return connection


@pytest.fixture
def sequences(shim: Shim) -> Iterator[Callable[[], float]]:
    """Count the sequences in the batch; the engine must be left idle."""
    yield lambda: shim.metric("cinque_engine_sequences_running")
    assert shim.metric("cinque_engine_sequences_running") == 0


def test_the_reader_of_a_stream_that_leaves_frees_the_engine(shim: Shim, sequences: Callable[[], float]) -> None:
    n_aborted = shim.metric("cinque_engine_aborted")
    for _ in range(N_TRIES):
        with begin(shim.proxy, "/v1/chat/completions", ENDLESS | {"stream": True}) as connection:
            assert b"200 OK" in connection.recv(1 << 16)
            assert sequences() == 1
        poll_until(lambda: sequences() == 0, FREE_WITHIN_S)
    assert shim.metric("cinque_engine_aborted") == n_aborted + N_TRIES


def test_one_who_waits_for_a_whole_answer_and_leaves_frees_the_engine(
    shim: Shim, sequences: Callable[[], float]
) -> None:
    for _ in range(N_TRIES):
        with begin(shim.proxy, "/v1/chat/completions", ENDLESS):
            poll_until(lambda: sequences() == 1, END_TIMEOUT_S)
        poll_until(lambda: sequences() == 0, FREE_WITHIN_S)


def test_one_of_several_who_leaves_does_not_disturb_the_others(shim: Shim, sequences: Callable[[], float]) -> None:
    stays = ENDLESS | {"stream": True, "max_tokens": 120}
    with begin(shim.proxy, "/v1/chat/completions", stays) as staying:
        with begin(shim.proxy, "/v1/chat/completions", ENDLESS | {"stream": True}) as leaving:
            assert b"200 OK" in leaving.recv(1 << 16)
        with staying.makefile("rb") as answer:
            lines = iter(answer.readline, b"data: [DONE]\n")
            assert any(b'"finish_reason":"length"' in line for line in lines)
    poll_until(lambda: sequences() == 0, FREE_WITHIN_S)


def test_one_who_started_a_program_and_leaves_ends_the_program(shim: Shim) -> None:
    def programs() -> float:
        return shim.metric("cinque_sandbox_jobs_running")

    for _ in range(N_TRIES):
        with begin(shim.sandbox, "/execute", LOOP):
            poll_until(lambda: programs() == 1, END_TIMEOUT_S)
        poll_until(lambda: programs() == 0, FREE_WITHIN_S)
