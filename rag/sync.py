"""What a collection's text is right now: a folder walked, or documents posted, compared with what was indexed before.

A walk looks only at names and stats; a file is read when its stat is new, and its text is kept only when its hash is
new too. What is not text, not a person's work or too large is skipped and listed with the reason. Never follows a
symbolic link. Knows nothing of chunks. Limits are those of the settings.
"""

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

from rag.chunking import split_lines
from rag.errors import InvalidRequestError, LimitExceededError
from rag.generation import IndexedFile, Manifest
from rag.ignore import UNWANTED_FOLDERS, IgnoreRules, rules_of
from rag.settings import RagSettings
from rag.types import Document, SkippedFile

# A file whose stat is younger than this when the scan begins may change again within one tick of a coarse clock
# (FAT has 2 s), so its stat proves nothing next time and it is hashed again.
_RACY_NS: Final = 2_000_000_000

# Git looks for NUL in the same span to tell binary from text.
_SNIFF_BYTES: Final = 8_000

# Minified code has few line ends: a mean beyond this over at least this much text is no person's work.
_MINIFIED_MEAN_CHARS: Final = 400
_MINIFIED_MIN_CHARS: Final = 4_000

# Candidates are counted before they are read; a walk that finds this many times the limit need not go on.
_WALK_FACTOR: Final = 4

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
_GENERATED_SUFFIXES: Final = (".min.js", ".min.css", ".min.mjs", ".bundle.js", ".map")
_LOCK_FILES: Final = frozenset(
    {
        *("package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "bun.lock", "poetry.lock"),
        *("pdm.lock", "uv.lock", "pipfile.lock", "cargo.lock", "composer.lock", "gemfile.lock", "go.sum"),
        *("flake.lock", "packages.lock.json"),
    }
)

Tick = Callable[[int, int], None]  # gets (done, total), (0, 0) before the total is known; may raise to stop


@dataclass(frozen=True)
class SourceFile:
    """One file that belongs to the collection; `content` is None when the previous index has the same text."""

    indexed: IndexedFile
    content: str | None


@dataclass(frozen=True)
class Scan:
    """The whole text of a collection as found, by path."""

    files: tuple[SourceFile, ...]
    skipped: tuple[SkippedFile, ...]
    scanned_at_ns: int


@dataclass
class _Tally:
    """Counts what goes in and refuses what exceeds a limit."""

    settings: RagSettings
    param: str
    n_files: int = 0
    n_lines: int = 0
    n_bytes: int = 0

    def add(self, file: IndexedFile) -> None:
        self.n_files += 1
        self.n_lines += file.n_lines
        self.n_bytes += file.n_bytes
        self.check("files", self.n_files, self.settings.max_files)
        self.check("lines", self.n_lines, self.settings.max_lines)
        self.check("bytes", self.n_bytes, self.settings.max_bytes)

    def check(self, unit: str, found: int, limit: int) -> None:
        if found > limit:
            raise LimitExceededError(
                f"the collection would have at least {found} {unit} and the limit is {limit}; index a smaller folder, "
                f"ignore what is not source, or raise CINQUE_RAG_MAX_{unit.upper()}",
                param=self.param,
            )


@dataclass(frozen=True)
class _Candidate:
    """A regular file that the walk found worth opening."""

    path: str
    absolute: str
    stat: tuple[int, ...]


def scan_documents(documents: tuple[Document, ...], previous: Manifest, settings: RagSettings, tick: Tick) -> Scan:
    """Take posted documents as the whole collection.

    Raises:
        InvalidRequestError: a path is absolute, leaves the collection or occurs twice.
        LimitExceededError: there is too much text.
    """
    tally = _Tally(settings, "documents")
    tally.check("files", len(documents), settings.max_files)
    files: dict[str, SourceFile] = {}
    skipped: list[SkippedFile] = []
    for number, document in enumerate(documents):
        tick(number, len(documents))
        path = _posted_path(document.path)
        if path in files:
            raise InvalidRequestError(f"document {path!r} was given twice; give each path once", param="documents")
        reason = _name_reason(path) or _text_reason(document.content, settings)
        if reason:
            skipped.append(SkippedFile(path, reason))
            continue
        files[path] = _source_file(path, document.content, previous)
        tally.add(files[path].indexed)
    tick(len(documents), len(documents))
    return Scan(tuple(files.values()), tuple(skipped), time.time_ns())


def scan_folder(root: Path, previous: Manifest, settings: RagSettings, tick: Tick) -> Scan:
    """Walk `root` and read what is new or changed.

    Raises:
        InvalidRequestError: `root` is not a folder that can be read.
        LimitExceededError: there is too much text.
    """
    try:
        real_root = root.expanduser().resolve(strict=True)
        with os.scandir(real_root):
            pass
    except OSError as error:
        raise InvalidRequestError(
            f"the folder {str(root)!r} cannot be indexed: {error.strerror}; give an existing folder", param="root"
        ) from error
    scanned_at_ns = time.time_ns()
    skipped: list[SkippedFile] = []
    candidates: list[_Candidate] = []
    tally = _Tally(settings, "root")
    for candidate in _walk(real_root, settings, skipped, tick):
        candidates.append(candidate)
        if len(candidates) > settings.max_files * _WALK_FACTOR:
            tally.check("files", len(candidates), settings.max_files)
    files: list[SourceFile] = []
    for number, candidate in enumerate(candidates):
        tick(number, len(candidates))
        found = _examine(candidate, previous, settings)
        if isinstance(found, SkippedFile):
            skipped.append(found)
            continue
        files.append(found)
        tally.add(found.indexed)
    tick(len(candidates), len(candidates))
    return Scan(tuple(files), tuple(sorted(skipped, key=lambda file: file.path)), scanned_at_ns)


def _walk(root: Path, settings: RagSettings, skipped: list[SkippedFile], tick: Tick) -> Iterator[_Candidate]:
    """Yield files in the order of their paths' folders; what is skipped for its name or stat goes to `skipped`."""
    rules, prefix = rules_of(root)
    stack: list[tuple[str, IgnoreRules]] = [("", rules)]
    while stack:
        tick(0, 0)
        folder, outer = stack.pop()
        rules = outer.entering(prefix + folder)
        try:
            with os.scandir(root / folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            skipped.append(SkippedFile(folder, f"cannot be listed: {error.strerror}"))
            continue
        folders: list[tuple[str, IgnoreRules]] = []
        for entry in entries:
            path = folder + entry.name
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in UNWANTED_FOLDERS and not rules.is_ignored(prefix + path, is_folder=True):
                    folders.append((f"{path}/", rules))
            elif entry.name != ".git" and not rules.is_ignored(prefix + path, is_folder=False):
                found = _consider(entry, path, settings)
                if isinstance(found, SkippedFile):
                    skipped.append(found)
                else:
                    yield found
        stack.extend(reversed(folders))


def _consider(entry: os.DirEntry[str], path: str, settings: RagSettings) -> _Candidate | SkippedFile:
    """Judge a file by its name and stat alone."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return SkippedFile(path.encode("utf-8", "replace").decode(), "its name is not valid UTF-8")
    if entry.is_symlink():
        return SkippedFile(path, "symbolic link")
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError as error:
        return SkippedFile(path, f"cannot be read: {error.strerror}")
    if not stat.S_ISREG(status.st_mode):
        return SkippedFile(path, "not a regular file")
    reason = _name_reason(path)
    if reason is None and status.st_size > settings.max_file_bytes:
        reason = f"{status.st_size} bytes, more than {settings.max_file_bytes}"
    if reason:
        return SkippedFile(path, reason)
    return _Candidate(path, entry.path, (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino))


def _examine(candidate: _Candidate, previous: Manifest, settings: RagSettings) -> SourceFile | SkippedFile:
    """Trust an old enough equal stat, else read the file and compare hashes."""
    known = previous.by_path.get(candidate.path)
    if known is not None and known.stat == candidate.stat and _is_settled(known, previous):
        return SourceFile(known, None)
    try:
        content = _read(candidate.absolute, settings.max_file_bytes)
    except OSError as error:
        return SkippedFile(candidate.path, f"cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        return SkippedFile(candidate.path, "not valid UTF-8")
    reason = _text_reason(content, settings)
    if reason:
        return SkippedFile(candidate.path, reason)
    found = _source_file(candidate.path, content, previous)
    return replace(found, indexed=replace(found.indexed, stat=candidate.stat))


def _is_settled(known: IndexedFile, previous: Manifest) -> bool:
    _, modified_ns, changed_ns, _ = known.stat
    return max(modified_ns, changed_ns) < previous.scanned_at_ns - _RACY_NS


def _read(path: str, max_bytes: int) -> str:
    """Read a file without following a link or waiting on a pipe put in its place; NUL bytes are left to the caller."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor has no path
        text = file.read(max_bytes + 1)
    if b"\0" in text[:_SNIFF_BYTES]:
        return "\0"
    return text.decode("utf-8-sig")


def _source_file(path: str, content: str, previous: Manifest) -> SourceFile:
    encoded = content.encode("utf-8")
    digest = hashlib.blake2b(encoded, digest_size=16).hexdigest()
    known = previous.by_path.get(path)
    n_lines = len(split_lines(content))
    indexed = IndexedFile(path, digest, n_lines, len(encoded))
    return SourceFile(indexed, None if known is not None and known.content_hash == digest else content)


def _name_reason(path: str) -> str | None:
    """Say why a file of this name is never indexed, or None."""
    name = PurePosixPath(path).name.lower()
    if PurePosixPath(name).suffix in _BINARY_SUFFIXES:
        return "binary"
    if name.endswith(_GENERATED_SUFFIXES):
        return "minified or generated"
    return "lock file" if name in _LOCK_FILES else None


def _text_reason(content: str, settings: RagSettings) -> str | None:
    """Say why this text is not indexed, or None."""
    if "\0" in content[:_SNIFF_BYTES]:
        return "binary"
    try:
        n_bytes = len(content.encode("utf-8"))
    except UnicodeEncodeError:
        return "not valid UTF-8"
    if n_bytes > settings.max_file_bytes:
        return f"{n_bytes} bytes, more than {settings.max_file_bytes}"
    if len(content) >= _MINIFIED_MIN_CHARS and len(content) > _MINIFIED_MEAN_CHARS * (content.count("\n") + 1):
        return "minified or generated"
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
