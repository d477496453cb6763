"""Packages that a program asks for: checked line by line, installed once as wheels, then only read.

Two phases. Installing (`installer.py`) has the network and nothing of the candidate. Running has the packages and no
network: the set is bound read-only and appended last to sys.path, after the standard library and the harness, so it
can shadow neither; `.pth` files are not processed. A set's folder is named by the hash of what was resolved: the
Python, and each package's version and sha256. Equal requests find their set again without asking the index.
"""

import contextlib
import hashlib
import os
import platform
import re
import shutil
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from sandbox.errors import ExecutionCancelledError, InvalidRequestError
from sandbox.gate import CANCEL_POLL_S
from sandbox.installer import SITE, DependencyError, Pin, PipRun, configuration, size
from sandbox.settings import SandboxSettings
from sandbox.types import IsolationTier

MAX_REQUIREMENTS = 32
MAX_LINE_CHARS = 200
DONE = ".complete"  # holds the set's size; written last, so a set without it was interrupted
RESOLVED = "resolved"  # folder of files that name the set of each request answered before
STAGING = "new-"
ABANDONED_S = 3600.0  # a staging folder of this age belongs to a process that was killed
IN_USE_S = 900.0  # a set used within this time may be bound into a job, whose limits are far below
NAME_CHARS = 32  # of a sha256 in hexadecimal
_SUSPICIOUS = re.compile(r"[\x00-\x1f\x7f\\@/]|^-|://")


def parse_requirements(lines: tuple[str, ...]) -> tuple[Requirement, ...]:
    """Return what the lines ask for; raises `InvalidRequestError` for a line that is more than a name and versions."""
    if len(lines) > MAX_REQUIREMENTS:
        raise InvalidRequestError(f"{len(lines)} requirements; at most {MAX_REQUIREMENTS}", param="requirements")
    return tuple(_parse(line) for line in lines)


def check_requirements(lines: tuple[str, ...], allowed: tuple[str, ...]) -> tuple[str, ...]:
    """Return the lines in canonical form and order.

    Only what is asked for must be on the operator's list; what that needs in turn is its publisher's choice.

    Raises:
        InvalidRequestError: a line is an option, a path, a URL or not a requirement at all, or there are too many.
        DependencyError: a package is not on the operator's list.
    """
    permitted = {canonicalize_name(name) for name in allowed}
    found: set[str] = set()
    for requirement in parse_requirements(lines):
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
        self._settings = settings
        self._folder = settings.requirements_folder
        self._changed = threading.Condition()
        self._under_way: set[Path] = set()  # answers that another thread is about to write
        self._keeping = threading.Lock()  # publishing and removing sets

    def install(
        self, requirements: tuple[str, ...], tier: IsolationTier, cancelled: threading.Event | None = None
    ) -> str:
        """Return the name of the folder that holds these checked requirements, installing them at first use.

        Raises:
            DependencyError: pip could not, or a limit was reached.
            ExecutionCancelledError: the caller gave up.
            SandboxError: pip's own sandbox cannot be built.
        """
        answer = self._folder / RESOLVED / self._request_key(requirements)
        found = self._known(answer)
        if found is not None:
            return found
        with self._only_one(answer, cancelled):
            found = self._known(answer)
            if found is None:
                found = self._install(requirements, tier, cancelled)
                _write(answer, found)
                with self._keeping:
                    self._evict(keep=found)
        return found

    @contextlib.contextmanager
    def _only_one(self, answer: Path, cancelled: threading.Event | None) -> Iterator[None]:
        """Let equal requests wait for the first of them; different ones install beside each other."""
        with self._changed:
            while answer in self._under_way:
                self._changed.wait(CANCEL_POLL_S)
                if cancelled is not None and cancelled.is_set():
                    raise ExecutionCancelledError("the execution was cancelled while it waited for its requirements")
            self._under_way.add(answer)
        try:
            yield
        finally:
            with self._changed:
                self._under_way.discard(answer)
                self._changed.notify_all()

    def _request_key(self, requirements: tuple[str, ...]) -> str:
        return _digest(*_python(), self._settings.requirements_cutoff, *configuration(), "", *requirements)

    def _known(self, answer: Path) -> str | None:
        """Return the set that answered an equal request, if it is still there, and note that it is in use."""
        try:
            name = answer.read_text(encoding="ascii")
            os.utime(self._folder / name / DONE)
        except FileNotFoundError:
            return None
        return name

    def _install(self, requirements: tuple[str, ...], tier: IsolationTier, cancelled: threading.Event | None) -> str:
        self._folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=STAGING, dir=self._folder))
        try:
            pins = PipRun(self._settings, staging, cancelled).install(requirements, tier)
            site = staging / SITE
            _clean(site)
            name = _set_name(pins)
            _write(site / DONE, str(size(site)[0]))
            with self._keeping:
                _publish(site, self._folder / name)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return name

    def _evict(self, keep: str) -> None:
        """Remove the sets that were not used for longest until the rest fits, and what killed processes left."""
        now = time.time()
        for staging in self._folder.glob(f"{STAGING}*"):
            if now - _used_at(staging) > ABANDONED_S:
                shutil.rmtree(staging, ignore_errors=True)
        sets = sorted((_used_at(done), done) for done in self._folder.glob(f"*/{DONE}"))
        sizes = {done: _read_size(done) for _, done in sets}
        total = sum(sizes.values())
        for used_at, done in sets:
            if total <= self._settings.requirements_cache_bytes or now - used_at < IN_USE_S:
                break
            if done.parent.name != keep:
                total -= sizes[done]
                done.unlink(missing_ok=True)  # first, so that a set half removed is none
                shutil.rmtree(done.parent, ignore_errors=True)
        for answer in (self._folder / RESOLVED).iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process is at it, too
                if not (self._folder / answer.read_text(encoding="ascii")).exists():
                    answer.unlink()


def _publish(site: Path, target: Path) -> None:
    """Give a complete set its name, unless another request resolved to the same one meanwhile."""
    if (target / DONE).exists():
        return
    shutil.rmtree(target, ignore_errors=True)  # what is not complete nobody uses
    try:
        site.rename(target)
    except OSError:
        if not (target / DONE).exists():
            raise


def _used_at(path: Path) -> float:
    """Return when a set or a staging folder was last used; now, when it has just gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def _read_size(done: Path) -> int:
    try:
        return int(done.read_text(encoding="ascii") or 0)
    except FileNotFoundError:
        return 0


def _python() -> tuple[str, ...]:
    """Return what decides which wheels fit."""
    return (sys.implementation.name, platform.python_version(), sysconfig.get_platform())


def _set_name(pins: tuple[Pin, ...]) -> str:
    return _digest(*_python(), *map(str, pins))


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:NAME_CHARS]


def _write(path: Path, text: str) -> None:
    """Write a small file so that it appears whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="ascii") as file:
        file.write(text)
    Path(file.name).chmod(0o644)
    Path(file.name).rename(path)


def _clean(folder: Path) -> None:
    """Make an installed tree ours and plain: what is neither file nor folder goes, so do `.pth` files and `bin`.

    The rest belongs to us, may be read by everybody and written by nobody.
    """
    shutil.rmtree(folder / "bin", ignore_errors=True)
    us, group = os.getuid(), os.getgid()
    for root, folders, names in os.walk(folder):
        for path in [Path(root, name) for name in (*folders, *names)]:
            is_folder = path.is_dir()
            if path.is_symlink() or not (is_folder or path.is_file()) or path.suffix == ".pth":
                if is_folder and not path.is_symlink():
                    shutil.rmtree(path)
                    folders.remove(path.name)
                else:
                    path.unlink()
                continue
            os.chown(path, us, group)
            path.chmod(0o755 if is_folder else 0o444)
    os.chown(folder, us, group)
    folder.chmod(0o755)
