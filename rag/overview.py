"""A repository at a glance: its languages, where reading may begin, what is large, and the head of its README.

Entry points are what the project's own files declare (package.json, pyproject.toml, Cargo.toml), what a language starts
at (`main` functions, `__main__.py`), and how it is built (Dockerfile, Makefile). Everything is read from the index.
"""

import json
import re
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any, Final

from rag.catalog import CollectionRow
from rag.generation import Generation, IndexedFile
from rag.languages import language_of
from rag.texts import lines_of
from rag.types import FileSize, FolderSize, LanguageShare, Overview

MAX_ENTRY_POINTS: Final = 60
MAX_LARGEST_FILES: Final = 10
MAX_FOLDERS: Final = 20
MAX_README_CHARS: Final = 2_000

# More manifests than this are fixtures and vendored packages; the outermost are read.
_MAX_MANIFESTS: Final = 20
_MAX_SCRIPTS: Final = 20
_MAX_TARGETS: Final = 12

_MAIN_LANGUAGES: Final = frozenset({"c", "cpp", "java", "go", "rust"})
_STARTED_BY_NAME: Final = frozenset({"__main__.py", "manage.py", "wsgi.py", "asgi.py"})
_BUILT_BY_NAME: Final = frozenset(
    {
        "dockerfile",
        "containerfile",
        "docker-compose.yml",
        "docker-compose.yaml",
        "compose.yml",
        "compose.yaml",
        "justfile",
    }
)
_MAKEFILES: Final = frozenset({"makefile", "gnumakefile"})
_TARGET: Final = re.compile(r"^([A-Za-z0-9][\w.-]*)\s*:(?!=)")
# Tests and examples have a `main` each, and are not where a reader begins.
_ASIDE: Final = re.compile(r"(^|/)(tests?|testing|testdata|examples?|samples?|fixtures|third_party|vendor|bench\w*)/")


def overview(row: CollectionRow, generation: Generation) -> Overview:
    """Describe a committed collection."""
    files = generation.manifest.files
    by_size = sorted(files, key=lambda file: (-file.n_bytes, file.path))[:MAX_LARGEST_FILES]
    return Overview(
        collection=row.collection,
        title=row.title,
        n_files=len(files),
        n_lines=sum(file.n_lines for file in files),
        n_bytes=sum(file.n_bytes for file in files),
        languages=_languages(files),
        entry_points=tuple(_entry_points(generation))[:MAX_ENTRY_POINTS],
        largest_files=tuple(FileSize(file.path, file.n_lines, file.n_bytes) for file in by_size),
        top_folders=_folders(files),
        readme=_readme(generation),
    )


def _languages(files: tuple[IndexedFile, ...]) -> tuple[LanguageShare, ...]:
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for file in files:
        count = counts[language_of(file.path)]
        for place, more in enumerate((1, file.n_lines, file.n_bytes)):
            count[place] += more
    shares = [LanguageShare(language, *count) for language, count in counts.items()]
    return tuple(sorted(shares, key=lambda share: (-share.n_lines, share.language)))


def _folders(files: tuple[IndexedFile, ...]) -> tuple[FolderSize, ...]:
    """Weigh the folders of the first two levels, by lines, most first."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for file in files:
        parts = PurePosixPath(file.path).parts[:-1]
        for depth in range(1, min(len(parts), 2) + 1):
            count = counts["/".join(parts[:depth])]
            count[0] += 1
            count[1] += file.n_lines
    folders = [FolderSize(path, *count) for path, count in counts.items()]
    return tuple(sorted(folders, key=lambda folder: (-folder.n_lines, folder.path))[:MAX_FOLDERS])


def _readme(generation: Generation) -> str:
    """Return the beginning of the outermost README, by whole lines."""
    names = [path for path in generation.path_numbers if PurePosixPath(path).name.lower().startswith("readme")]
    if not names:
        return ""
    text = "\n".join(lines_of(generation, min(names, key=_outermost)))
    return (
        text
        if len(text) <= MAX_README_CHARS
        else text[:MAX_README_CHARS].rpartition("\n")[0] or text[:MAX_README_CHARS]
    )


def _outermost(path: str) -> tuple[bool, int, str]:
    return _ASIDE.search(path) is not None, path.count("/"), path


def _entry_points(generation: Generation) -> Iterator[str]:
    """Yield what is declared, then what is started by its name, then main functions, the outermost first."""
    paths = sorted(generation.path_numbers, key=_outermost)
    manifests = [path for path in paths if PurePosixPath(path).name in _MANIFESTS][:_MAX_MANIFESTS]
    for path in manifests:
        declared = _MANIFESTS[PurePosixPath(path).name]("\n".join(lines_of(generation, path)))
        yield from (f"{path}: {line}" for line in declared)
    for path in paths:
        name = PurePosixPath(path).name.lower()
        if name in _STARTED_BY_NAME or name in _BUILT_BY_NAME or name.startswith("dockerfile."):
            yield path
        elif name in _MAKEFILES:
            targets = dict.fromkeys(
                match.group(1) for line in lines_of(generation, path) if (match := _TARGET.match(line))
            )
            yield f"{path}: {' '.join(list(targets)[:_MAX_TARGETS])}".rstrip(": ")
    yield from _main_functions(generation)


def _main_functions(generation: Generation) -> list[str]:
    mains = {
        (chunk.path, chunk.symbol): chunk.start_line
        for chunk in (generation.chunks[row] for row in _rows_of_mains(generation))
        if chunk.symbol.rpartition(".")[2] == "main" and chunk.kind in ("function", "method")
    }
    found = sorted(mains.items(), key=lambda item: _outermost(item[0][0]))
    return [f"{path}:{line} {symbol}()" for (path, symbol), line in found if not _ASIDE.search(path)]


def _rows_of_mains(generation: Generation) -> list[int]:
    """Narrow by the lexical index: reading every chunk of a large collection takes a second."""
    languages = generation.language_of_path
    rows = (generation.sparse.scores("main") > 0).nonzero()[0].tolist()
    return [row for row in reversed(rows) if languages[generation.path_of_row[row]] in _MAIN_LANGUAGES]


def _package_json(text: str) -> Iterator[str]:
    declared = _mapping(json.loads(text))
    yield from (f"{key} {declared[key]}" for key in ("main", "module", "browser") if isinstance(declared.get(key), str))
    binaries = declared.get("bin")
    if isinstance(binaries, str):
        yield f"bin {binaries}"
    yield from (f"bin {name} = {path}" for name, path in _mapping(binaries).items())
    scripts = list(_mapping(declared.get("scripts")).items())[:_MAX_SCRIPTS]
    yield from (f"script {name} = {command}" for name, command in scripts)


def _pyproject_toml(text: str) -> Iterator[str]:
    declared = tomllib.loads(text)
    project = _mapping(declared.get("project"))
    poetry = _mapping(_mapping(declared.get("tool")).get("poetry"))
    for table in (project.get("scripts"), project.get("gui-scripts"), poetry.get("scripts")):
        yield from (f"script {name} = {target}" for name, target in _mapping(table).items())


def _cargo_toml(text: str) -> Iterator[str]:
    declared = tomllib.loads(text)
    binaries = declared.get("bin")
    for binary in binaries if isinstance(binaries, list) else []:
        name = _mapping(binary).get("name", "")
        yield f"bin {name} = {_mapping(binary).get('path', f'src/bin/{name}.rs')}"
    members = _mapping(declared.get("workspace")).get("members")
    if isinstance(members, list):
        yield f"workspace {' '.join(map(str, members))}"


def _mapping(value: object) -> dict[str, Any]:
    """Take a table for what it is, and anything else for an empty one: these files are hand-written."""
    return value if isinstance(value, dict) else {}


def _readable(read: Callable[[str], Iterator[str]]) -> Callable[[str], list[str]]:
    """Make a reader that finds nothing in a file that cannot be parsed."""

    def safely(text: str) -> list[str]:
        try:
            return list(read(text))
        except (ValueError, RecursionError):  # JSON's and TOML's errors are ValueErrors
            return []

    return safely


_MANIFESTS: Final = {
    "package.json": _readable(_package_json),
    "pyproject.toml": _readable(_pyproject_toml),
    "Cargo.toml": _readable(_cargo_toml),
}
