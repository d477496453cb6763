"""Packages that a program asks for: checked line by line, installed once as wheels, then only read.

Two phases. Installing has the network and runs no code of the candidate: pip in a subprocess with a clean
environment, wheels only. Running has the packages and no network: the set is bound read-only and appended last to
sys.path, so it can shadow neither the standard library nor the harness, and `.pth` files are removed, not processed.
"""

import contextlib
import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from sandbox.errors import ExecutionCancelledError, InvalidRequestError
from sandbox.settings import SandboxSettings

MAX_REQUIREMENTS = 32
MAX_LINE_CHARS = 200
WATCH_INTERVAL_S = 0.2
DONE = ".complete"  # written last, so a set without it was interrupted
_SUSPICIOUS = re.compile(r"[\x00-\x1f\x7f\\@/]|^-|://")
# How the operator tells pip and TLS where to go; nothing else of our environment is passed on.
_PASSED_ON = (
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_CERT", "PIP_PROXY"),
    *("PIP_CONFIG_FILE", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
)


class DependencyError(Exception):
    """Raised when a well-formed requirement set cannot be installed; the message is pip's reason."""


def check_requirements(lines: tuple[str, ...], allowed: tuple[str, ...]) -> tuple[str, ...]:
    """Return the lines in canonical form and order.

    Raises:
        InvalidRequestError: a line is an option, a path, a URL or not a requirement at all, or there are too many.
        DependencyError: a package is not on the operator's list.
    """
    if len(lines) > MAX_REQUIREMENTS:
        raise InvalidRequestError(f"{len(lines)} requirements; at most {MAX_REQUIREMENTS}", param="requirements")
    permitted = {canonicalize_name(name) for name in allowed}
    found: set[str] = set()
    for line in lines:
        requirement = _parse(line)
        if permitted and canonicalize_name(requirement.name) not in permitted:
            raise DependencyError(f"package {requirement.name!r} is not on the list that this server allows")
        found.add(str(requirement))
    return tuple(sorted(found))


def _parse(line: str) -> Requirement:
    """Return one requirement that names a package and perhaps versions; raises `InvalidRequestError`."""
    text = line.strip(" ")
    reason = "options, paths and URLs are refused"
    if len(text) <= MAX_LINE_CHARS and not _SUSPICIOUS.search(text):
        try:
            return Requirement(text)
        except InvalidRequirement as error:
            reason = str(error).splitlines()[0]
    raise InvalidRequestError(
        f"requirement {line[:100]!r} cannot be used: {reason}; give a name and versions, as in 'numpy>=2'",
        param="requirements",
    )


class RequirementStore:
    """The installed sets, one folder each, shared by every sandbox with the same home. Thread-safe."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._folder = settings.requirements_folder
        self._timeout_s = settings.requirements_timeout_s
        self._max_bytes = settings.requirements_bytes
        self._max_files = settings.requirements_files
        self._lock = threading.Lock()  # one installation at a time

    def install(self, requirements: tuple[str, ...], cancelled: threading.Event | None = None) -> str:
        """Return the name of the folder that holds these checked requirements, installing them at first use.

        Raises:
            DependencyError: pip could not, or a limit was reached.
            ExecutionCancelledError: the caller gave up.
        """
        name = _set_name(requirements)
        target = self._folder / name
        if (target / DONE).exists():
            return name
        with self._lock:
            if (target / DONE).exists():
                return name
            self._folder.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(prefix="new-", dir=self._folder))
            try:
                self._run_pip(requirements, staging, cancelled)
                _clean(staging)
                (staging / DONE).touch()
                staging.chmod(0o755)
                shutil.rmtree(target, ignore_errors=True)
                staging.rename(target)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        return name

    def _run_pip(self, requirements: tuple[str, ...], target: Path, cancelled: threading.Event | None) -> None:
        with tempfile.TemporaryDirectory(prefix="cinque-pip-") as home, tempfile.TemporaryFile() as log:
            environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
            environment.update(HOME=home, TMPDIR=home, PATH="/usr/bin:/bin", LANG="C.UTF-8")
            process = subprocess.Popen(
                [*_installer(), "--target", str(target), "--only-binary", ":all:", *requirements],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=home,
                start_new_session=True,
            )
            try:
                self._watch(process, target, Path(home), cancelled)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.returncode != 0:
                log.seek(0)
                raise DependencyError(_reason(log.read().decode("utf-8", "replace")))

    def _watch(
        self, process: "subprocess.Popen[bytes]", target: Path, home: Path, cancelled: threading.Event | None
    ) -> None:
        deadline = time.monotonic() + self._timeout_s
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(WATCH_INTERVAL_S)
            n_bytes, n_files = (sum(pair) for pair in zip(_size(target), _size(home), strict=True))
            if n_bytes > self._max_bytes or n_files > self._max_files:
                raise DependencyError(f"the packages take more than {self._max_bytes} bytes or {self._max_files} files")
            if process.returncode is not None:
                return
            if cancelled is not None and cancelled.is_set():
                raise ExecutionCancelledError("the execution was cancelled while its requirements were installed")
            if time.monotonic() > deadline:
                raise DependencyError(f"installing took longer than {self._timeout_s:g} s")


def _installer() -> list[str]:
    """Return the command that installs; configuration of the operator's machine is honoured, of a project not."""
    return [
        sys.executable,
        "-I",
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
        "--no-cache-dir",
        "--no-compile",
        "--no-warn-script-location",
        "--quiet",
    ]


def _set_name(requirements: tuple[str, ...]) -> str:
    identity = [platform.python_version(), platform.machine(), *requirements]
    return hashlib.sha256("\n".join(identity).encode()).hexdigest()[:32]


def _size(folder: Path) -> tuple[int, int]:
    """Return (bytes, files) below a folder, without following links."""
    n_bytes = n_files = 0
    for root, _, names in os.walk(folder):
        for name in names:
            n_files += 1
            with contextlib.suppress(FileNotFoundError):  # pip moves files while we look
                n_bytes += Path(root, name).lstat().st_size
    return n_bytes, n_files


def _clean(folder: Path) -> None:
    """Remove what could act by itself or lead outside: `.pth` files, scripts, links; make the rest readable."""
    shutil.rmtree(folder / "bin", ignore_errors=True)
    for root, folders, names in os.walk(folder):
        for name in folders:
            path = Path(root, name)
            if not path.is_symlink():
                path.chmod(0o755)
        for name in [*names, *folders]:
            path = Path(root, name)
            if path.is_symlink() or (root == str(folder) and name.endswith(".pth")):
                path.unlink()
            elif path.is_file():
                path.chmod(0o644)


def _reason(log: str) -> str:
    """Return pip's error lines."""
    errors = [line.removeprefix("ERROR: ") for line in log.splitlines() if line.startswith("ERROR: ")]
    return "; ".join(errors) or log.strip()[-500:] or "pip failed and said nothing"
