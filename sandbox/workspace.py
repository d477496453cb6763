"""What goes into a program's workspace: names are checked here, on the host, before anything is written.

The files themselves are written inside the sandbox, so even a name that slipped through could only hurt the job.
"""

import math
from pathlib import PurePosixPath

from sandbox.errors import InvalidRequestError
from sandbox.settings import SandboxSettings
from sandbox.types import ExecutionRequest

MAX_NAME_BYTES = 255  # one component, as on every Linux file system
MAX_PATH_BYTES = 1024  # a whole path; the kernel takes 4095, of which the workspace's own is a part
MAX_DEPTH = 16
FILES_SHARE = 2  # one file in so many of the limit may come with the request; the program makes the others


def check_name(name: str) -> str:
    """Return a file's relative path in its plain form; raises `InvalidRequestError` when it may leave the workspace."""
    path = PurePosixPath(name)
    parts = path.parts
    wrong = (
        not parts
        or path.is_absolute()
        or ".." in parts
        or len(parts) > MAX_DEPTH
        or any(ord(char) < ord(" ") or char in "\\\x7f" for char in name)
        or len(name.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES
        or any(len(part.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES for part in parts)
        or any("\ud800" <= char <= "\udfff" for char in name)
    )
    if wrong:
        raise InvalidRequestError(
            f"file name {name[:100]!r} cannot be used; give a relative path inside the workspace", param="files"
        )
    return str(path)


def check_request(request: ExecutionRequest, source_name: str, settings: SandboxSettings) -> dict[str, str]:
    """Return the files of the workspace, the candidate among them; raises `InvalidRequestError`."""
    if request.timeout_s is not None and not (math.isfinite(request.timeout_s) and request.timeout_s > 0):
        raise InvalidRequestError(f"timeout {request.timeout_s!r} is not a time above zero", param="timeout_s")
    names = [check_name(name) for name in request.files]
    if source_name in names:
        raise InvalidRequestError(f"the file {source_name!r} is the program itself; rename yours", param="files")
    _check_places([*names, source_name], settings.n_files // FILES_SHARE)
    files = dict(zip(names, request.files.values(), strict=True))
    check_size(settings.max_source_bytes, request.code, request.test_code or "", request.stdin, *files.values())
    return {**files, source_name: request.code}


def _check_places(names: list[str], most: int) -> None:
    """Raise `InvalidRequestError` when these files cannot all be written."""
    folders: set[str] = set()
    if len(names) <= most:
        folders = {str(parent) for name in names for parent in PurePosixPath(name).parents[:-1]}
    if len(names) + len(folders) > most:
        raise InvalidRequestError(f"{len(names) + len(folders)} files and folders; at most {most}", param="files")
    if len(set(names)) < len(names):
        raise InvalidRequestError("two names of files mean the same place; leave one of them out", param="files")
    both = sorted(folders.intersection(names))
    if both:
        raise InvalidRequestError(f"{both[0][:100]!r} is a file and a folder; rename one", param="files")


def check_size(max_bytes: int, *texts: str) -> None:
    """Raise `InvalidRequestError` when the texts together are larger than allowed."""
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    if size > max_bytes:
        raise InvalidRequestError(f"the request holds {size} bytes of text; the limit is {max_bytes}", param="code")
