"""The `landlock` tier: landlock, a call filter that knows no socket, and limits, where no namespace can be made.

Host side: what programs may read, the folder of their workspaces, and the zygotes (`inside/fenced.py`). What this
tier cannot hold stands in `isolation.py`. Thread-safe; knows nothing of languages or verdicts.
"""

import contextlib
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

from sandbox.flavours import FLAVOURS, Binds, Flavour, interpreter, package_paths
from sandbox.inside import workspace
from sandbox.jobs import Job, Outcome, with_host_paths
from sandbox.pool import UNPROTECTED, ZygotePool, ZygoteProcess
from sandbox.toolchains import Toolchains
from sandbox.types import IsolationTier

_PREFIX = "cinque-jobs-"
_SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/alternatives"),
    "/etc/ssl/openssl.cnf",  # Node.js does not start where this is there and cannot be read
)
_ENTER_ONLY = 0o711  # jobs have ids of their own and must pass, but not look around


class FencedZygote(ZygoteProcess):
    """One zygote of the tier."""

    module = "fenced"

    def __init__(self, flavour: Flavour, cache: Path, binds: Binds, fence: dict[str, Any]) -> None:
        self._fence = fence
        super().__init__(flavour, cache, binds)

    def _configuration(self, root: str) -> dict[str, Any]:
        del root
        packages = package_paths(self._flavour.distributions)
        harness = Path(self._fence["folder"], f"harness-{self._flavour.name}")
        harness.mkdir(exist_ok=True)
        for path in packages:
            with contextlib.suppress(FileExistsError):
                (harness / Path(path).name).symlink_to(path)
        tools = [path for path, _ in self._binds]
        readable = [*_SYSTEM, interpreter()[1], *packages, *tools, str(harness)]
        return {**self._fence, "cache": str(self._cache), "harness": str(harness), "readable": readable}

    def _advise(self, reason: str) -> str:
        return (
            f"the landlock tier does not work here ({reason}). It needs Linux 5.13 or later with landlock among the "
            f"modules of /sys/kernel/security/lsm. {UNPROTECTED}"
        )


class LandlockPool(ZygotePool):
    """The landlock tier: runs jobs in the zygote of their flavour, each under a guard of its own.

    `scopes` False leaves out what only newer kernels have (ABI 6: signals kept in), to try what older ones get.
    """

    tier: IsolationTier = "landlock"

    def __init__(
        self, cache: Path, toolchains: Toolchains, first_uid: int, cpus: float = 0.0, *, scopes: bool = True
    ) -> None:
        super().__init__(cache, toolchains, cpus)
        _remove_leftovers()
        self._folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        if os.getuid() == 0:
            self._folder.chmod(_ENTER_ONLY)
        self._fence = {"folder": str(self._folder), "first_uid": first_uid, "scopes": scopes}

    def _start(self, flavour: Flavour) -> ZygoteProcess:
        return FencedZygote(flavour, self._cache, self._binds(flavour), self._fence)

    def run(self, job: Job, cancelled: threading.Event | None = None) -> Outcome:
        """Run one job to its end. Raises `ExecutionCancelledError` when the event was set, else `SandboxError`."""
        if not FLAVOURS[job.flavour].is_python:
            job = with_host_paths(job, self._toolchains.binds())
        return super().run(job, cancelled)

    def close(self) -> None:
        """End every zygote, and with them every job, and remove their folder. May be called twice."""
        super().close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _remove_leftovers() -> None:
    """Remove workspaces whose owner was killed before it could."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
        with contextlib.suppress(OSError):
            is_ours = folder.lstat().st_uid == os.getuid() and not folder.is_symlink()
            if is_ours and owner.isdigit() and not Path(f"/proc/{owner}").exists():
                workspace.remove(str(folder))
