"""Have pip install one requirement set into a folder: in its own sandbox with the network, without candidate code.

The folder is the only place pip can write to; its size, the number of its files and the time are watched from here.
pip is given wheels only, so no code of any package is run. What lands in the folder is judged by `requirements.py`.
Without namespaces (tiers `landlock` and `none`) pip sees the host, but can start no process either.
"""

import contextlib
import json
import logging
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.version import Version

from sandbox import leftovers
from sandbox.errors import ExecutionCancelledError, SandboxError
from sandbox.flavours import interpreter, package_paths
from sandbox.inside import installing, template
from sandbox.settings import SandboxSettings
from sandbox.types import IsolationTier

WATCH_INTERVAL_S = 0.05
MAX_REPORT_BYTES = 16 << 20
CUTOFF_SINCE = Version("26.0")  # the first pip that has --uploaded-prior-to
SITE, SCRATCH, REPORT = "site", "tmp", "report.json"  # below the folder
# How the operator tells pip and TLS where to go; nothing else of our environment is passed on.
PASSED_ON = (
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_CERT", "PIP_PROXY"),
    *("PIP_CONFIG_FILE", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
)
PIP_CONFIGURATION = ("/etc/pip.conf", "/etc/xdg/pip/pip.conf")  # of the machine; of a project or a person never
_PATHS = re.compile(r"(?:^|[\s=]|file://)(/[^\s,;\"']+)")
_BOOTSTRAP = (
    "import json,sys;c=json.load(sys.stdin);sys.path.insert(0,c['source_root']);"
    "from sandbox.inside import installing;installing.main(c)"
)
_log = logging.getLogger(__name__)


class DependencyError(Exception):
    """Raised when a well-formed requirement set cannot be installed; the message is for the caller."""


class _NoSandboxError(Exception):
    """Raised when the sandbox of pip could not be built; the message is the kernel's reason."""


@dataclass(frozen=True)
class Pin:
    """One package as pip resolved it."""

    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name}=={self.version} sha256:{self.sha256}"


def configuration() -> tuple[str, ...]:
    """Return every text that decides where packages come from: what makes two equal requests two different sets."""
    named = [f"{name}={os.environ[name]}" for name in PASSED_ON if name in os.environ]
    files = [*PIP_CONFIGURATION, os.environ.get("PIP_CONFIG_FILE", "")]
    return (*named, *(Path(file).read_text(encoding="utf-8") for file in files if Path(file).is_file()))


class PipRun:
    """One run of pip for one set of checked requirements. `folder` is empty and ours; it is filled, or left dirty."""

    def __init__(self, settings: SandboxSettings, folder: Path, cancelled: threading.Event | None) -> None:
        self._settings = settings
        self._folder = folder
        self._cancelled = cancelled

    def install(self, requirements: tuple[str, ...], tier: IsolationTier) -> tuple[Pin, ...]:
        """Fill `folder`/site and return what is in it.

        Raises:
            DependencyError: pip could not, a limit was reached, or a package was withdrawn.
            ExecutionCancelledError: the caller gave up.
            SandboxError: the sandbox of pip cannot be built here.
        """
        for name in (SITE, SCRATCH):
            (self._folder / name).mkdir()
        options = [*_PIP, *self._cutoff(), "--report", REPORT, "--target", SITE, "--", *requirements]
        if tier == "none":
            self._run_plain(options)
        else:
            try:
                self._run_confined(options)
            except _NoSandboxError as error:
                if tier == "namespaces":
                    raise SandboxError(f"the sandbox that installs requirements cannot be built: {error}") from error
                _log.warning("requirements are installed without namespaces: %s", error)
                self._run_plain(options)
        return _read_report(self._folder / REPORT)

    def _cutoff(self) -> list[str]:
        wanted = self._settings.requirements_cutoff
        if not wanted:
            return []
        if Version(metadata.version("pip")) < CUTOFF_SINCE:
            raise DependencyError(f"a cutoff date needs pip {CUTOFF_SINCE} or later; upgrade pip on the server")
        return ["--uploaded-prior-to", wanted]

    def _run_plain(self, options: list[str]) -> None:
        pip_path = str(metadata.distribution("pip").locate_file(""))
        self._run(self._config(options, str(self._folder), pip_path))

    def _run_confined(self, options: list[str]) -> None:
        if os.getuid() == 0:
            for path in (self._folder, self._folder / SITE, self._folder / SCRATCH):
                os.chown(path, template.NOBODY, template.NOBODY)
        root = tempfile.mkdtemp(prefix=leftovers.prefix("root"))
        packages = package_paths(("pip",))
        place = {"root": root, "prefix": interpreter()[1], "covered": (), "packages": packages, "cache": None}
        config = self._config(options, installing.PLACE, template.HARNESS)
        config |= {"template": place, "readable": sorted({*PIP_CONFIGURATION, *_named_paths(configuration())})}
        try:
            self._run(config)
        finally:
            with contextlib.suppress(OSError):  # it was mounted in a namespace that is gone
                Path(root).rmdir()

    def _config(self, options: list[str], place: str, pip_path: str) -> dict[str, Any]:
        return {
            "source_root": str(Path(__file__).resolve().parents[1]),
            "template": None,
            "folder": str(self._folder),
            "options": options,
            "environment": self._environment(place),
            "pip_path": pip_path,
            "limits": {
                "file_bytes": self._settings.requirements_bytes,
                "memory_bytes": self._settings.memory_bytes,
                "cpu_s": int(self._settings.requirements_timeout_s) + 1,
            },
        }

    @staticmethod
    def _environment(place: str) -> dict[str, str]:
        scratch = f"{place}/{SCRATCH}"
        named = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        return {**named, "HOME": scratch, "TMPDIR": scratch, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}

    def _run(self, config: dict[str, Any]) -> None:
        """Run to the end or a limit; nothing of it is left running. Raises DependencyError with pip's reason."""
        with tempfile.TemporaryFile() as log, tempfile.TemporaryFile() as given:
            given.write(json.dumps(config).encode())
            given.seek(0)
            process = subprocess.Popen(
                [interpreter()[0], "-I", "-S", "-X", "utf8", "-c", _BOOTSTRAP],
                stdin=given,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={},
                cwd=self._folder,
                start_new_session=True,
            )
            try:
                self._watch(process)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.returncode != 0:
                log.seek(0)
                said = log.read(MAX_REPORT_BYTES).decode("utf-8", "replace")
                if process.returncode == installing.SETUP_FAILED:
                    raise _NoSandboxError(said.strip())
                raise DependencyError(_reason(said))

    def _watch(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + self._settings.requirements_timeout_s
        most_bytes, most_files = self._settings.requirements_bytes, self._settings.requirements_files
        beside = most_bytes  # archives and what pip unpacks first lie in the folder, too
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(WATCH_INTERVAL_S)
            n_bytes, n_files = size(self._folder)
            if n_bytes > most_bytes + beside or n_files > most_files:
                raise DependencyError(f"the packages take more than {most_bytes} bytes or {most_files} files")
            if process.returncode is not None:
                break
            if self._cancelled is not None and self._cancelled.is_set():
                raise ExecutionCancelledError("the execution was cancelled while its requirements were installed")
            if time.monotonic() > deadline:
                raise DependencyError(f"installing took longer than {self._settings.requirements_timeout_s:g} s")
        if size(self._folder / SITE)[0] > most_bytes:
            raise DependencyError(f"the packages take more than {most_bytes} bytes")


_PIP = (
    *("install", "--only-binary", ":all:", "--no-compile", "--no-cache-dir", "--no-input", "--quiet"),
    *("--disable-pip-version-check", "--no-warn-script-location", "--root-user-action", "ignore"),
)


def size(folder: Path) -> tuple[int, int]:
    """Return (bytes, files) below a folder, without following links. Files may vanish meanwhile."""
    n_bytes = n_files = 0
    for root, _, names in os.walk(folder):
        for name in names:
            n_files += 1
            with contextlib.suppress(FileNotFoundError):
                n_bytes += os.lstat(f"{root}/{name}").st_size
    return n_bytes, n_files


def _named_paths(texts: tuple[str, ...]) -> set[str]:
    """Return the existing paths that a configuration names: certificates, folders of wheels."""
    found = {path.rstrip("/") for text in texts for path in _PATHS.findall(text)}
    return {path for path in found if path and Path(path).exists()}


def _read_report(path: Path) -> tuple[Pin, ...]:
    """Return the pins of pip's report, by name. Raises DependencyError for a withdrawn release."""
    if path.is_symlink() or path.stat().st_size > MAX_REPORT_BYTES:
        raise DependencyError("pip's report of what it installed cannot be used")
    try:
        items = json.loads(path.read_bytes())["install"]
        withdrawn = [_pin(item) for item in items if item.get("is_yanked")]
        pins = [_pin(item) for item in items]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DependencyError(f"pip's report of what it installed cannot be read: {error!r}") from error
    if withdrawn:
        raise DependencyError(f"{withdrawn[0].name}=={withdrawn[0].version} was withdrawn (yanked) from the index")
    return tuple(sorted(pins, key=str))


def _pin(item: dict[str, Any]) -> Pin:
    told, archive = item["metadata"], item["download_info"]["archive_info"]
    return Pin(str(told["name"]), str(told["version"]), str(archive["hashes"]["sha256"]))


def _reason(log: str) -> str:
    """Return pip's error lines."""
    errors = [line.removeprefix("ERROR: ") for line in log.splitlines() if line.startswith("ERROR: ")]
    if any("Operation not permitted" in error for error in errors):
        errors.append("a package that would have to be built is refused: wheels only")
    return "; ".join(errors) or log.strip()[-500:] or "pip failed and said nothing"
