"""What a collection's text is right now: a folder listed, or documents posted, compared with what was indexed before.

`listing` gives names and stats; a file is read when its stat is new, and its text is kept only when its hash is new
too. What is not text, not a person's work or too large is skipped and listed with the reason; one that had to be read
to see that is read again only when its stat changes. Never follows a symbolic link. Knows nothing of chunks. Limits are
those of the settings. Not covered: folders that are replaced by links between the listing and the reading.
"""

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from rag.chunking import split_lines
from rag.errors import InvalidRequestError, LimitExceededError
from rag.listing import STAT_FIELDS, Listing, list_folder, printable
from rag.manifest import IndexedFile, Manifest, ReadAndSkipped, Stat
from rag.notebooks import SUFFIX as NOTEBOOK_SUFFIX
from rag.notebooks import read_notebook
from rag.settings import RagSettings
from rag.types import Document, SkippedFile

# Git looks for NUL in the same span to tell binary from text.
_SNIFF_BYTES: Final = 8_000

# Minified code has few line ends: a mean beyond this over at least this much text is no person's work.
_MINIFIED_MEAN_CHARS: Final = 400
_MINIFIED_MIN_CHARS: Final = 4_000

# Files are counted before they are read; a listing that finds this many times the limit need not go on.
_WALK_FACTOR: Final = 4

# How often a scan tells of its progress, and may be stopped.
_TICKS: Final = 100

# Suffixes not worth opening: what they hold is found to be binary anyway.
_BINARY_SUFFIXES: Final = frozenset(
    {
        *(".7z", ".a", ".avi", ".bin", ".bmp", ".bz2", ".class", ".dll", ".dylib", ".eot", ".exe", ".faiss"),
        *(".flac", ".gguf", ".gif", ".gz", ".ico", ".jar", ".jpeg", ".jpg", ".lib", ".mov", ".mp3", ".mp4"),
        *(".npy", ".npz", ".o", ".obj", ".ogg", ".onnx", ".otf", ".parquet", ".pdf", ".pickle", ".pkl", ".png"),
        *(".pt", ".pth", ".pyc", ".pyd", ".pyo", ".rar", ".safetensors", ".so", ".sqlite", ".sqlite3", ".tar"),
        *(".tgz", ".tif", ".tiff", ".ttf", ".wasm", ".wav", ".webm", ".webp", ".whl", ".woff", ".woff2", ".xz"),
        *(".zip", ".zst"),
    }
)
_BINARY: Final = "binary"
_MINIFIED: Final = "minified or generated"
_NOT_UTF8: Final = "not valid UTF-8"

# Reasons that a text gives whatever the settings are: they hold until the file changes.
_LASTING: Final = (_BINARY, _MINIFIED, _NOT_UTF8)

_GENERATED_SUFFIXES: Final = (".min.js", ".min.css", ".min.mjs", ".bundle.js", ".map")
_LOCK_FILES: Final = frozenset(
    {
        *("package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "bun.lock", "poetry.lock"),
        *("pdm.lock", "uv.lock", "pipfile.lock", "cargo.lock", "composer.lock", "gemfile.lock", "go.sum"),
        *("flake.lock", "packages.lock.json"),
    }
)

Tick = Callable[[int, int], None]  # gets (done, total), (0, 0) before the total is known; may raise to stop


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file that belongs to the collection; `content` is None when the previous index has the same text."""

    indexed: IndexedFile
    content: str | None


@dataclass(frozen=True)
class Scan:
    """The whole text of a collection as found: what need not be looked at, and what was."""

    trusted: tuple[IndexedFile, ...]  # objects of the previous manifest
    examined: tuple[SourceFile, ...]  # by path
    skipped: tuple[SkippedFile, ...]  # by path
    scanned_at_ns: int
    n_reread: int = 0  # files read only to find them unchanged; a manifest with today's stats spares that next time
    trusted_skipped: tuple[ReadAndSkipped, ...] = ()  # of the previous manifest
    read_and_skipped: tuple[ReadAndSkipped, ...] = ()

    @cached_property
    def files(self) -> tuple[SourceFile, ...]:
        """All files that belong to the collection, by path."""
        files = [*(SourceFile(file, None) for file in self.trusted), *self.examined]
        return tuple(sorted(files, key=lambda file: file.indexed.path))


@dataclass
class _Tally:
    """Counts what goes in and refuses what exceeds a limit."""

    settings: RagSettings
    param: Literal["documents", "root"]
    n_files: int = 0
    n_lines: int = 0
    n_bytes: int = 0

    def __post_init__(self) -> None:
        settings = self.settings
        if self.param == "root":
            self.max_files, self.max_lines = settings.max_folder_files, settings.max_folder_lines
            self.max_bytes, self.variables = settings.max_folder_bytes, "CINQUE_RAG_MAX_FOLDER"
        else:
            self.max_files, self.max_lines = settings.max_files, settings.max_lines
            self.max_bytes, self.variables = settings.max_bytes, "CINQUE_RAG_MAX"

    def add(self, *files: IndexedFile) -> None:
        self.n_files += len(files)
        self.n_lines += sum([file.n_lines for file in files])
        self.n_bytes += sum([file.n_bytes for file in files])
        if self.n_files > self.max_files or self.n_lines > self.max_lines or self.n_bytes > self.max_bytes:
            self.check("files", self.n_files, self.max_files)
            self.check("lines", self.n_lines, self.max_lines)
            self.check("bytes", self.n_bytes, self.max_bytes)

    def check(self, unit: str, found: int, limit: int) -> None:
        if found > limit:
            raise LimitExceededError(
                f"the collection would have at least {found} {unit} and the limit is {limit}; index a smaller folder, "
                f"ignore what is not source, or raise {self.variables}_{unit.upper()}",
                param=self.param,
            )


def scan_documents(documents: tuple[Document, ...], previous: Manifest, settings: RagSettings, tick: Tick) -> Scan:
    """Take posted documents as the whole collection.

    Raises:
        InvalidRequestError: a path is absolute, leaves the collection or occurs twice.
        LimitExceededError: there is too much text.
    """
    tally = _Tally(settings, "documents")
    tally.check("files", len(documents), tally.max_files)
    files: dict[str, SourceFile] = {}
    skipped: list[SkippedFile] = []
    for number, document in enumerate(documents):
        tick(number, len(documents))
        path = _posted_path(document.path)
        if path in files:
            raise InvalidRequestError(f"document {path!r} was given twice; give each path once", param="documents")
        content = _readable(path, document.content)
        reason = _name_reason(path) or _text_reason(content, settings)
        if reason:
            skipped.append(SkippedFile(path, reason))
            continue
        files[path] = _source_file(path, content, previous)
        tally.add(files[path].indexed)
    tick(len(documents), len(documents))
    return Scan((), tuple(files.values()), tuple(skipped), time.time_ns())


def scan_folder(root: Path, previous: Manifest, settings: RagSettings, tick: Tick, *, with_git: bool = True) -> Scan:
    """List `root` and read what is new or changed. Without `with_git`, git is never asked.

    Raises:
        InvalidRequestError: `root` is not a folder that can be read.
        LimitExceededError: there is too much text.
    """
    try:
        real_root = root.expanduser().resolve(strict=True)
        with os.scandir(real_root):
            pass
    except (OSError, RuntimeError) as error:  # a home that nobody has, as in `~nobody/src`, is a RuntimeError
        reason = error.strerror if isinstance(error, OSError) else "there is no such home"
        raise InvalidRequestError(
            f"the folder {str(root)!r} cannot be indexed: {reason}; give an existing folder", param="root"
        ) from error
    scanned_at_ns = time.time_ns()
    tally = _Tally(settings, "root")

    def check(n_found: int) -> None:
        tick(0, 0)
        if n_found > tally.max_files * _WALK_FACTOR:
            tally.check("files", n_found, tally.max_files)

    known = _trusted_stats(previous, settings.max_file_bytes)
    max_files = tally.max_files * _WALK_FACTOR
    listing = list_folder(real_root, check, max_files=max_files, with_git=with_git, known=known)
    return replace(_read_listed(listing, previous, tally, tick), scanned_at_ns=scanned_at_ns)


def _trusted_stats(previous: Manifest, max_file_bytes: int) -> Mapping[str, Stat]:
    """The stats that prove a file unchanged; not those of files that the settings of today leave out."""
    settled = previous.settled
    if all(described[0] <= max_file_bytes for described in settled.values()):
        return settled
    return {path: described for path, described in settled.items() if described[0] <= max_file_bytes}


def _read_listed(listing: Listing, previous: Manifest, tally: _Tally, tick: Tick) -> Scan:
    """Take unchanged files as they are known, read the others and compare hashes."""
    known, known_skipped = previous.by_path, previous.skipped_by_path
    trusted = tuple([known[path] for path in listing.unchanged if path in known])
    trusted_skipped = tuple([known_skipped[path] for path in listing.unchanged if path in known_skipped])
    tally.add(*trusted)
    files: list[SourceFile] = []
    read_and_skipped: list[ReadAndSkipped] = []
    skipped = [*listing.skipped, *_told(trusted_skipped)]
    n_reread = 0
    n_trusted, total = len(listing.unchanged), len(listing.unchanged) + len(listing.paths)
    step = max(1, total // _TICKS)
    numbers = iter(listing.numbers)
    stats = zip(*[numbers] * STAT_FIELDS, strict=True)
    for number, (path, status) in enumerate(zip(listing.paths, stats, strict=True), n_trusted):
        if number % step == 0:
            tick(number, total)
        found = _examine(listing.root, path, status, previous, tally.settings)
        if isinstance(found, SourceFile):
            n_reread += path in known and found.content is None
            files.append(found)
            tally.add(found.indexed)
        elif isinstance(found, ReadAndSkipped):
            read_and_skipped.append(found)
        else:
            skipped.append(found)
    tick(total, total)
    files.sort(key=lambda file: file.indexed.path)
    skipped.extend(_told(read_and_skipped))
    skipped.sort(key=lambda file: file.path)
    return Scan(trusted, tuple(files), tuple(skipped), 0, n_reread, trusted_skipped, tuple(read_and_skipped))


def _told(files: Iterable[ReadAndSkipped]) -> list[SkippedFile]:
    return [SkippedFile(file.path, file.reason) for file in files]


def _examine(
    root: Path, path: str, status: tuple[int, ...], previous: Manifest, settings: RagSettings
) -> SourceFile | SkippedFile | ReadAndSkipped:
    """Judge a file by its name and stat, then read it."""
    *described, mode = status
    reason = _stat_reason(path, described[0], mode, settings)
    if reason:
        return SkippedFile(printable(path), reason)
    try:
        content = _read(f"{root}/{path}", settings.max_file_bytes)
    except OSError as error:
        return SkippedFile(path, f"cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        return ReadAndSkipped(path, _NOT_UTF8, tuple(described))
    content = _readable(path, content)
    reason = _text_reason(content, settings)
    if reason in _LASTING:
        return ReadAndSkipped(path, reason, tuple(described))
    if reason:
        return SkippedFile(path, reason)
    found = _source_file(path, content, previous)
    return replace(found, indexed=replace(found.indexed, stat=tuple(described)))


def _stat_reason(path: str, size: int, mode: int, settings: RagSettings) -> str | None:
    """Say why a file is not worth opening, or None."""
    if not _is_utf8(path):
        return "its name is not valid UTF-8"
    if stat.S_ISLNK(mode):
        return "symbolic link"
    if not stat.S_ISREG(mode):
        return "not a regular file"
    reason = _name_reason(path)
    if reason is None and size > settings.max_file_bytes:
        return f"{size} bytes, more than {settings.max_file_bytes}"
    return reason


def _read(path: str, max_bytes: int) -> str:
    """Read a file without following a link or waiting on a pipe put in its place; NUL bytes are left to the caller."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 - a descriptor has no path
        text = file.read(_SNIFF_BYTES) or b""
        if b"\0" in text:
            return "\0"
        if len(text) == _SNIFF_BYTES:
            text += file.read(max_bytes + 1 - _SNIFF_BYTES) or b""
    return text.decode("utf-8-sig")


def _readable(path: str, content: str) -> str:
    return read_notebook(content) if path.endswith(NOTEBOOK_SUFFIX) else content


def _source_file(path: str, content: str, previous: Manifest) -> SourceFile:
    encoded = content.encode("utf-8")
    digest = hashlib.blake2b(encoded, digest_size=16).hexdigest()
    known = previous.by_path.get(path)
    n_lines = len(split_lines(content))
    indexed = IndexedFile(path, digest, n_lines, len(encoded))
    return SourceFile(indexed, None if known is not None and known.content_hash == digest else content)


def _name_reason(path: str) -> str | None:
    """Say why a file of this name is never indexed, or None."""
    name = path.rpartition("/")[2].lower()
    if PurePosixPath(name).suffix in _BINARY_SUFFIXES:
        return _BINARY
    if name.endswith(_GENERATED_SUFFIXES):
        return _MINIFIED
    return "lock file" if name in _LOCK_FILES else None


def _text_reason(content: str, settings: RagSettings) -> str | None:
    """Say why this text is not indexed, or None."""
    if "\0" in content[:_SNIFF_BYTES]:
        return _BINARY
    try:
        n_bytes = len(content.encode("utf-8"))
    except UnicodeEncodeError:
        return _NOT_UTF8
    if n_bytes > settings.max_file_bytes:
        return f"{n_bytes} bytes, more than {settings.max_file_bytes}"
    if len(content) >= _MINIFIED_MIN_CHARS and len(content) > _MINIFIED_MEAN_CHARS * (content.count("\n") + 1):
        return _MINIFIED
    return None


def _posted_path(path: str) -> str:
    """Bring a posted path to its one form; refuse what is not inside the collection."""
    pure = PurePosixPath(path)
    if not path or "\0" in path or pure.is_absolute() or ".." in pure.parts or not pure.name or not _is_utf8(path):
        raise InvalidRequestError(
            f"document path {path[:200]!r} is not usable; give a POSIX path relative to the collection's root, "
            "without '..'",
            param="documents",
        )
    return str(pure)


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
