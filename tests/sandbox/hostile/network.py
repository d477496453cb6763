"""E. Network and IPC: programs 62 to 70 of the table."""

# ruff: noqa: E501 - a program inside a string keeps its statements together

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

from sandbox.types import Verdict
from tests.sandbox.hostile.host import Host
from tests.sandbox.hostile.programs import Case, Program, bash, blocked, c, python

LISTENS = python(
    """
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("0.0.0.0", PORT)); s.listen()
    socket.create_connection(("127.0.0.1", PORT), 2).close()
    print("BLOCKED outside", flush=True)
    s.accept(); s.accept(); print("ESCAPED", flush=True)
    """,
    blocked("outside"),
    verdict=Verdict.TIME_LIMIT,
    timeout_s=0.5,
)
MEETS = """
me, other, port, other_port = PLACE
door = socket.socket(socket.AF_UNIX); door.bind("\\0meet-" + me); door.listen()
socket.create_server(("127.0.0.1", port))
for folder in ("/tmp/", "/dev/shm/", "./"):
    open(folder + me, "w").close()
met = 0
end = time.monotonic() + 0.5
while time.monotonic() < end:
    met += sum(os.path.exists(folder + other) for folder in ("/tmp/", "/dev/shm/", "./"))
    for target, family in (("\\0meet-" + other, socket.AF_UNIX), (("127.0.0.1", other_port), socket.AF_INET)):
        with socket.socket(family) as knock:
            met += knock.connect_ex(target) == 0
    met += len([p for p in os.listdir("/proc") if p.isdigit()]) != 2
    time.sleep(0.05)
print("BLOCKED meeting" if met == 0 else f"ESCAPED {met}")
"""
CALLS = """
x86 = os.uname().machine == "x86_64"
mq_open, shmget, semget, msgget = (240, 29, 64, 68) if x86 else (180, 194, 190, 186)
"""
LEAVES = python(
    CALLS
    + """
    for name, number, args in (("shm", shmget, (42, 4096, 0o1666)), ("sem", semget, (42, 1, 0o1666)), ("msg", msgget, (42, 0o1666))):
        attempt(name, lambda: raw(number, *args), errno.EPERM)
    raw(mq_open, b"queue", 0o102, 0o666, None)
    open("/dev/shm/left", "w").close()
    """.replace("\n    ", "\n"),
    blocked("shm", "sem", "msg"),
)
LOOKS = python(
    CALLS
    + """
    attempt("queue", lambda: raw(mq_open, b"queue", 2, 0, None), errno.ENOENT)
    attempt("left", lambda: os.stat("/dev/shm/left"), errno.ENOENT)
    attempt("shm", lambda: raw(shmget, 42, 4096, 0), errno.EPERM, errno.ENOENT)
    """.replace("\n    ", "\n"),
    blocked("queue", "left", "shm"),
)


def listener_is_not_seen(host: Host) -> list[str]:
    """68. While a program listens on every address inside, nobody answers outside."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = Program(LISTENS.code.replace("PORT", str(port)), LISTENS.expect, verdict=LISTENS.verdict, timeout_s=0.5)
    n_answers = 0
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(host.faults_of, program)
        while not running.done():
            with socket.socket() as knock:
                n_answers += knock.connect_ex(("127.0.0.1", port)) == 0
            threading.Event().wait(0.02)
    return running.result() + ([f"{n_answers} connections from outside"] if n_answers else [])


CASES = (
    Case(
        "62",
        "service on the loopback of the host",
        (
            python(
                "attempt('door', lambda: socket.create_connection(('127.0.0.1', HOST_PORT), 2), errno.ECONNREFUSED)",
                blocked("door"),
            ),
            bash("(: </dev/tcp/127.0.0.1/HOST_PORT) 2>/dev/null || echo BLOCKED door", blocked("door")),
            c(
                """
                struct sockaddr_in door = {AF_INET, htons(HOST_PORT), {htonl(INADDR_LOOPBACK)}};
                int s = socket(AF_INET, SOCK_STREAM, 0);
                attempt("door", connect(s, (struct sockaddr *)&door, sizeof door), ECONNREFUSED);
                """,
                blocked("door"),
                above="#include <netinet/in.h>",
            ),
        ),
    ),
    Case(
        "63",
        "the internet and a metadata service",
        (
            python(
                """
                for name, family, address in (("four", 2, "1.1.1.1"), ("metadata", 2, "169.254.169.254"), ("private", 2, "10.0.0.1"),
                        ("six", 10, "2606:4700:4700::1111"), ("metadata six", 10, "fd00:ec2::254")):
                    s = socket.socket(family); s.settimeout(2)
                    attempt(name, lambda: s.connect((address, 80)), errno.ENETUNREACH, errno.EADDRNOTAVAIL)
                """,
                blocked("four", "metadata", "private", "six", "metadata six"),
            ),
        ),
    ),
    Case(
        "64",
        "names",
        (
            python(
                """
                for name in ("example.org", "metadata.google.internal", "host.docker.internal"):
                    try:
                        print("ESCAPED", socket.getaddrinfo(name, 80))
                    except socket.gaierror:
                        print("BLOCKED", name)
                """,
                blocked("example.org", "metadata.google.internal", "host.docker.internal"),
            ),
        ),
    ),
    Case(
        "65",
        "datagrams and pings",
        (
            python(
                """
                for name, family, address in (("four", 2, ("8.8.8.8", 53)), ("broadcast", 2, ("255.255.255.255", 9)),
                        ("multicast", 2, ("224.0.0.1", 9)), ("six", 10, ("2001:4860:4860::8888", 53))):
                    s = socket.socket(family, socket.SOCK_DGRAM); s.settimeout(2)
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                    attempt(name, lambda: s.sendto(b"x", address), errno.ENETUNREACH, errno.EADDRNOTAVAIL)
                def ping():
                    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1)
                    s.sendto(b"\\x08\\0\\0\\0\\0\\0\\0\\1", ("8.8.8.8", 0))
                attempt("ping", ping, errno.EPERM, errno.EACCES, errno.ENETUNREACH)
                """,
                blocked("four", "broadcast", "multicast", "six", "ping"),
            ),
        ),
    ),
    Case(
        "66",
        "abstract socket of the host",
        (
            python(
                "s = socket.socket(socket.AF_UNIX)\n"
                "attempt('abstract', lambda: s.connect('\\0HOST_ABSTRACT'), errno.ECONNREFUSED)\n"
                "d = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
                "attempt('datagram', lambda: d.sendto(b'x', '\\0HOST_ABSTRACT'), errno.ECONNREFUSED)",
                blocked("abstract", "datagram"),
            ),
        ),
    ),
    Case(
        "67",
        "sockets in the host's folders",
        (
            python(
                """
                s = socket.socket(socket.AF_UNIX)
                for name, path in (("own", "HOST_SOCKET"), ("docker", "/var/run/docker.sock"),
                        ("bus", "/run/dbus/system_bus_socket"), ("root", "/proc/1/root/HOST_SOCKET")):
                    attempt(name, lambda: s.connect(path), errno.ENOENT, errno.EACCES)
                """,
                blocked("own", "docker", "bus", "root"),
            ),
        ),
    ),
    Case("68", "listen on every address", act=listener_is_not_seen),
    Case("69", "shared memory queues and semaphores", (LEAVES, LOOKS)),
    Case(
        "70",
        "two programs that try to meet",
        tuple(
            python(MEETS.replace("PLACE", repr(place)), blocked("meeting"))
            for place in (("a", "b", 7001, 7002), ("b", "a", 7002, 7001))
        ),
        together=True,
    ),
)
