"""A package index of one test, served on this machine, and wheels that no honest tool would make."""

import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SYMLINK = 0o120777 << 16
JSON_TYPE = "application/vnd.pypi.simple.v1+json"
EARLY, LATE = "2020-01-01T00:00:00Z", "2026-01-01T00:00:00Z"


def wheel(
    name: str,
    files: dict[str, str | bytes],
    *,
    requires: tuple[str, ...] = (),
    links: dict[str, str] | None = None,
    more: dict[str, str] | None = None,
) -> bytes:
    """Return a wheel of version 1.0; `links` are symbolic links, `more` goes into its .dist-info."""
    info = f"{name.replace('-', '_')}-1.0.dist-info"
    needs = "".join(f"Requires-Dist: {text}\n" for text in requires)
    content: dict[str, str | bytes] = {
        **files,
        **{f"{info}/{path}": text for path, text in (more or {}).items()},
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, target in (links or {}).items():
            entry = zipfile.ZipInfo(path)
            entry.create_system, entry.external_attr = 3, SYMLINK
            archive.writestr(entry, target)
        for path, text in content.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in [*content, f"{info}/RECORD"]))
    return buffer.getvalue()


def write_wheel(folder: Path, name: str, files: dict[str, str]) -> Path:
    """Put a wheel into a folder."""
    path = folder / f"{name.replace('-', '_')}-1.0-py3-none-any.whl"
    path.write_bytes(wheel(name, {**files}))
    return path


@dataclass
class Release:
    """One file of the index."""

    content: bytes
    uploaded: str = EARLY
    yanked: bool = False
    sha256: str = ""  # "": its own


@dataclass
class Index:
    """What the server offers: file name -> release. `endless` makes up packages that each need the next."""

    url: str = ""
    files: dict[str, Release] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    stalled: threading.Event | None = None  # answers wait for it
    endless: bool = False

    def add(self, name: str, content: bytes, suffix: str = "-1.0-py3-none-any.whl", **fields: object) -> None:
        self.files[f"{name.replace('-', '_')}{suffix}"] = Release(content, **fields)  # type: ignore[arg-type]  # fields of Release

    def page(self, project: str) -> bytes:
        wanted = project.replace("-", "_")
        if self.endless and project.startswith("endless-"):
            number = int(project.removeprefix("endless-"))
            self.add(project, wheel(project, {f"{wanted}.py": ""}, requires=(f"endless-{number + 1}",)))
        files = [
            {
                "filename": name,
                "url": f"{self.url}/files/{name}",
                "hashes": {"sha256": release.sha256 or hashlib.sha256(release.content).hexdigest()},
                "yanked": release.yanked,
                "upload-time": release.uploaded,
            }
            for name, release in self.files.items()
            if name.lower().startswith(f"{wanted}-")
        ]
        return json.dumps({"meta": {"api-version": "1.1"}, "name": project, "files": files}).encode()


@contextmanager
def serve() -> Iterator[Index]:
    """Serve an empty index until the block ends."""
    index = Index()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index.asked.append(self.path)
            if index.stalled is not None:
                index.stalled.wait(20)
            kind, _, name = self.path.strip("/").partition("/")
            if kind == "files" and name in index.files:
                self._answer(index.files[name].content, "application/octet-stream")
            elif kind == "simple":
                self._answer(index.page(name), JSON_TYPE)
            else:
                self.send_error(404)

        def _answer(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except (BrokenPipeError, ConnectionResetError):
                return  # pip was killed at a limit

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    index.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield index
    finally:
        if index.stalled is not None:
            index.stalled.set()
        server.shutdown()
        server.server_close()
        thread.join()
