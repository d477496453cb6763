"""The packages that retrieval is measured on: fetched with the registries' own clients, checked, and unpacked.

`benchmarks/questions/packages.jsonl` pins each by the sha256 of its archive. Archives and unpacked folders lie in
`CINQUE_CACHE/retrieval`; a folder holds the files of the languages that are cut into functions, because the peers
compared index only code, so all index the same files. Docstrings are taken out where they are the questions.
`python -m benchmarks.peers.retrieval_packages` fetches all; what cannot be had here is named. Knows nothing of search.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from benchmarks.peers.docstrings import strip_docstrings
from rag.languages import language_of

QUESTIONS: Final = Path(__file__).resolve().parent.parent / "questions"
LANGUAGES: Final = ("python", "javascript", "typescript", "go", "rust", "c", "cpp", "bash", "java")
FETCH_S: Final = 300

# Raise with every change of what is put into an unpacked folder.
FOLDER_VERSION: Final = 1

_APT_SOURCES: Final = Path("/etc/apt")


@dataclass(frozen=True)
class Package:
    """One pinned archive, a line of `packages.jsonl`."""

    name: str
    set: str  # docstrings | questions
    part: str  # tuning: the ranking was tuned on it; held-out: it was only measured on it
    source: str  # pypi | npm | debian
    project: str
    version: str
    file: str
    sha256: str
    licence: str
    language: str
    folders: list[str]  # those that are indexed, all when empty


def cache() -> Path:
    """Return the folder of archives, unpacked packages and embeddings."""
    return Path(os.environ.get("CINQUE_CACHE") or "~/.cache/cinque").expanduser().resolve() / "retrieval"


def packages() -> list[Package]:
    """Read the pins."""
    return [Package(**row) for row in read_lines(QUESTIONS / "packages.jsonl")]


def read_lines(file: Path) -> Iterator[dict[str, Any]]:
    """Read a file with one JSON object a line."""
    with file.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def archive_of(package: Package) -> Path:
    """Name the file of a package's archive, there or not."""
    return cache() / "archives" / package.file


def folder_of(package: Package) -> Path:
    """Name the folder of a package's files, there or not."""
    return cache() / "folders" / f"{package.name}-{package.version}-{FOLDER_VERSION}"


def is_wanted(package: Package, path: PurePosixPath) -> bool:
    """Tell whether a file of the archive is indexed."""
    if ".." in path.parts or language_of(str(path)) not in LANGUAGES:
        return False
    return not package.folders or any(path.is_relative_to(folder) for folder in package.folders)


def fetch(wanted: list[Package]) -> list[Package]:
    """Fetch and unpack what is not there yet; return what is there in the end, and print what is not."""
    missing = [package for package in wanted if not folder_of(package).exists()]
    (cache() / "archives").mkdir(parents=True, exist_ok=True)
    absent = [package for package in missing if not archive_of(package).exists()]
    with _apt(is_used=any(package.source == "debian" for package in absent)) as apt:
        for package in absent:
            _download(package, archive_of(package), apt)
    for package in missing:
        if archive_of(package).exists():
            _unpack(package, archive_of(package))
    return [package for package in wanted if folder_of(package).exists()]


def _download(package: Package, archive: Path, apt: list[str]) -> None:
    requirement = f"{package.project}=={package.version}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps", "--no-binary"]
    commands = {
        "pypi": [*pip, package.project, requirement],
        "npm": ["npm", "pack", "--silent", f"{package.project}@{package.version}"],
        "debian": [*apt, "source", "--download-only", "--tar-only", package.project],
    }
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        told = _run(commands[package.source], folder)
        got = Path(folder) / package.file
        if not got.exists():
            print(f"left out: {package.file} could not be fetched: {told.strip()[-300:]}", file=sys.stderr)
            return
        actual = hashlib.sha256(got.read_bytes()).hexdigest()
        if actual != package.sha256:
            raise SystemExit(f"{package.file} has sha256 {actual}, expected {package.sha256}; it is not used")
        got.replace(archive)


def _run(command: list[str], folder: str) -> str:
    try:
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=FETCH_S, check=False)
    except FileNotFoundError:
        return f"{command[0]} is not installed"
    return ended.stdout + ended.stderr


@contextmanager
def _apt(*, is_used: bool) -> Iterator[list[str]]:
    """Give apt-get with source packages enabled, from this machine's own mirrors, leaving its settings alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("parts", "lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True)
        for file in (*_APT_SOURCES.glob("sources.list"), *_APT_SOURCES.glob("sources.list.d/*")):
            text = file.read_text(encoding="utf-8")
            if "/debian" in text:
                text = re.sub(r"^(Types:[ ]*)?deb(?=[ ]|$)", r"\1deb-src", text, flags=re.MULTILINE)
                (folder / "parts" / file.name).write_text(text, encoding="utf-8")
        options = {
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": str(folder / "parts"),
            "Dir::State::lists": str(folder / "lists"),
            "Dir::Cache": str(folder / "cache"),
        }
        command = ["apt-get", *(word for key, value in options.items() for word in ("-o", f"{key}={value}"))]
        if is_used:
            _run([*command, "update"], name)
        yield command


def _unpack(package: Package, archive: Path) -> None:
    """Write the files that are indexed, all of them or nothing."""
    target = folder_of(package)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as name, tarfile.open(archive) as source:
        part = Path(name) / "files"
        for member in source:
            path = PurePosixPath(*PurePosixPath(member.name).parts[1:])
            content = source.extractfile(member) if member.isfile() and is_wanted(package, path) else None
            if content is not None:
                (part / path).parent.mkdir(parents=True, exist_ok=True)
                data = content.read()
                (part / path).write_bytes(strip_docstrings(data) if package.set == "docstrings" else data)
        part.rename(target)


def main() -> None:
    """Fetch everything; end with 1 when something is missing."""
    wanted = packages()
    there = fetch(wanted)
    for package in wanted:
        print(f"{'there  ' if package in there else 'MISSING'} {package.file:50} {package.licence}")
    sys.exit(len(there) != len(wanted))


if __name__ == "__main__":
    main()
