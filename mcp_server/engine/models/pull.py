"""Download one model from the Hugging Face hub: resumed, checked against the hub's sha256, never half in place.

The hub's own client asks for the metadata and opens the connections (so its token and proxy settings hold), but it no
longer resumes downloads, so the bytes are fetched here: into `models/.partial/<sha256>`, continued where it stopped,
hashed on the way, and moved into the folder only when the checksum is right. Synchronous; for a thread. The only file
that imports huggingface_hub, on first use.
"""

import contextlib
import fcntl
import hashlib
import importlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from mcp_server.engine.models.gguf_file import split_parts
from mcp_server.engine.settings import EngineSettings
from mcp_server.engine.types import PullProgress
from mcp_server.errors import InvalidRequestError, ModelPullError

REVISION = "main"
REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
PATH_PART = re.compile(r"[A-Za-z0-9][\w.+-]*( [\w.+-]+)*", re.ASCII)
SHA256 = re.compile(r"[0-9a-f]{64}")
PARTIAL_FOLDER = ".partial"
READ_BYTES = 1 << 20  # read at once when hashing what an earlier try left
REPORT_EVERY_S = 0.2  # seconds between two reports of progress
HTTP_PARTIAL = 206  # the server goes on where we asked; 200 means that it begins again

OnProgress = Callable[[PullProgress], None]


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repository, as the hub describes it."""

    url: str
    name: str  # without folders: what it is called here
    size_bytes: int
    sha256: str


def pull_file(
    settings: EngineSettings, repo_id: str, filename: str, on_progress: OnProgress, cancelled: threading.Event
) -> Path:
    """Download a file, or all parts of a split one, into the models folder; give the first part's path.

    Raises:
        InvalidRequestError: The names cannot be a repository and a .gguf file in it.
        ModelPullError: It cannot be downloaded; what has come stays for the next try, unless it was wrong.
    """
    names = [str(part) for part in split_parts(_check_names(repo_id, filename))]
    download = Download(settings, on_progress, cancelled)
    with _explained(f"{repo_id}/{filename}", settings):
        files = [download.describe(repo_id, name) for name in names]
        return download.fetch_all(files)[0]


class Download:
    """One pull: the files it needs and how far they are."""

    def __init__(self, settings: EngineSettings, on_progress: OnProgress, cancelled: threading.Event) -> None:
        self._settings = settings
        self._on_progress = on_progress
        self._cancelled = cancelled
        self._done_bytes = 0
        self._total_bytes = 0
        self._reported_at = 0.0

    def describe(self, repo_id: str, name: str) -> RemoteFile:
        """Ask the hub for size and checksum of a file."""
        hub = importlib.import_module("huggingface_hub")
        endpoint = self._settings.hub_endpoint
        url = hub.hf_hub_url(repo_id, name, revision=REVISION, endpoint=endpoint)
        metadata = hub.get_hf_file_metadata(url, timeout=self._settings.pull_timeout_s, endpoint=endpoint)
        if metadata.size is None or not SHA256.fullmatch(metadata.etag or ""):
            msg = f"The hub gives no size and sha256 for {repo_id}/{name}, so it cannot be checked; use another file."
            raise ModelPullError(msg)
        return RemoteFile(url, PurePosixPath(name).name, metadata.size, metadata.etag)

    def fetch_all(self, files: list[RemoteFile]) -> list[Path]:
        """Fetch the files one after the other, and put them in place together when all are right."""
        folder = self._settings.models_path
        partial_folder = folder / PARTIAL_FOLDER
        partial_folder.mkdir(parents=True, exist_ok=True)
        self._total_bytes = sum(file.size_bytes for file in files)
        partials = []
        for file in files:
            partials.append(self._fetch(file, partial_folder / file.sha256))
            self._done_bytes += file.size_bytes
        paths = [folder / file.name for file in files]
        for partial, path in zip(partials, paths, strict=True):
            partial.replace(path)
        self._report(0, is_last=True)
        return paths

    def _fetch(self, file: RemoteFile, partial: Path) -> Path:
        with partial.open("ab+") as out:
            try:
                fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                msg = f"{file.name} is being downloaded already; wait for that to end."
                raise ModelPullError(msg) from error
            digest = _hash_rest(out)
            self._check_space(file, out.tell())
            if out.tell() < file.size_bytes:
                digest = self._stream(file, out, digest)
            n_bytes = out.tell()
        if n_bytes != file.size_bytes or digest.hexdigest() != file.sha256:
            if n_bytes >= file.size_bytes:
                partial.unlink()
            msg = f"{file.name} came with {n_bytes} bytes of {file.size_bytes} or a wrong sha256; pull it again."
            raise ModelPullError(msg)
        return partial

    def _check_space(self, file: RemoteFile, n_done: int) -> None:
        free = shutil.disk_usage(self._settings.models_path).free
        if free < file.size_bytes - n_done:
            msg = f"{file.name} needs {file.size_bytes - n_done} bytes more, {free} are free; make room on the disk."
            raise ModelPullError(msg)

    def _stream(self, file: RemoteFile, out: BinaryIO, digest: Any) -> Any:
        """Append what is missing; give the digest of the whole."""
        hub = importlib.import_module("huggingface_hub")
        headers = hub.utils.build_hf_headers() | {"Accept-Encoding": "identity", "Range": f"bytes={out.tell()}-"}
        timeout = self._settings.pull_timeout_s
        session = hub.get_session()
        with session.stream("GET", file.url, headers=headers, timeout=timeout, follow_redirects=True) as response:
            hub.utils.hf_raise_for_status(response)
            if response.status_code != HTTP_PARTIAL:
                out.truncate(0)
                digest = hashlib.sha256()
            for data in response.iter_bytes():
                if self._cancelled.is_set():
                    msg = f"The download of {file.name} was cancelled; pull it again to go on where it stopped."
                    raise ModelPullError(msg)
                out.write(data)
                digest.update(data)
                self._report(out.tell())
        return digest

    def _report(self, n_bytes: int, *, is_last: bool = False) -> None:
        now = time.monotonic()
        if is_last or now - self._reported_at >= REPORT_EVERY_S:
            self._reported_at = now
            self._on_progress(PullProgress(self._done_bytes + n_bytes, self._total_bytes))


def _hash_rest(file: BinaryIO) -> Any:
    """Hash what the file has and leave the position at its end."""
    digest = hashlib.sha256()
    file.seek(0)
    while data := file.read(READ_BYTES):
        digest.update(data)
    return digest


def _check_names(repo_id: str, filename: str) -> Path:
    if not REPO_ID.fullmatch(repo_id):
        msg = f"{repo_id!r} is not a repository; write it as owner/name."
        raise InvalidRequestError(msg, param="repo_id")
    parts = filename.split("/")
    if not filename.endswith(".gguf") or not all(PATH_PART.fullmatch(part) for part in parts):
        msg = f"{filename!r} is not a file that can be pulled; give the path of a .gguf inside the repository."
        raise InvalidRequestError(msg, param="filename")
    return Path(filename)


@contextlib.contextmanager
def _explained(what: str, settings: EngineSettings) -> Iterator[None]:
    """Turn the failures of hub, network and disk into ours."""
    errors = importlib.import_module("huggingface_hub.errors")
    http = importlib.import_module("httpx2")
    try:
        yield
    except errors.GatedRepoError as error:
        msg = f"{what} needs an access agreement; accept it on the hub and set HF_TOKEN."
        raise ModelPullError(msg) from error
    except (errors.RepositoryNotFoundError, errors.RemoteEntryNotFoundError, errors.RevisionNotFoundError) as error:
        msg = f"There is no {what} on the hub, or it is private (then set HF_TOKEN); check repository and file name."
        raise ModelPullError(msg) from error
    except (http.HTTPError, errors.OfflineModeIsEnabled) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        msg = f"{what} cannot be downloaded from {settings.hub_endpoint}: {reason}. Check the network and pull again."
        raise ModelPullError(msg) from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        msg = f"{what} cannot be stored in {settings.models_path}: {reason}. Make room or set CINQUE_HOME."
        raise ModelPullError(msg) from error
