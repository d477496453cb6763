"""Pulling models from a hub that runs here: resume, checksum, cancel, and every way to fail with a clear word.

The server speaks as much of the Hugging Face hub's HTTP API as a download needs: HEAD with size and sha256, GET with
Range.
"""

import hashlib
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mcp_server.engine.models.catalog import EMBEDDED_PATH, ModelCatalog
from mcp_server.engine.models.pull import PARTIAL_FOLDER
from mcp_server.engine.types import PullProgress
from mcp_server.errors import InvalidRequestError, ModelPullError

DATA = next(EMBEDDED_PATH.glob("*.gguf")).read_bytes()[:300_000]


class Hub(http.server.ThreadingHTTPServer):
    """One repository, `owner/name`, whose files and faults a test sets."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.files = {"model.gguf": DATA, "deep/er.gguf": DATA[:1000]}
        self.wrong_sha256 = False
        self.has_sha256 = True
        self.claimed_bytes: int | None = None
        self.cuts_after: int | None = None  # bytes of a body, then the connection drops
        self.ranges: list[str | None] = []
        self.status: int | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class HubHandler(http.server.BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(has_body=False)

    def do_GET(self) -> None:
        self._answer(has_body=True)

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, *, has_body: bool) -> None:
        name = self.path.removeprefix("/owner/name/resolve/main/")
        data = self.server.files.get(name)
        if data is None or self.server.status:
            self.send_response(self.server.status or 404)
            if not self.server.status:
                self.send_header("X-Error-Code", "RepoNotFound" if "/nobody/" in self.path else "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = 0
        if has_body:
            self.server.ranges.append(self.headers["Range"])
            start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        sha256 = "0" * 64 if self.server.wrong_sha256 else hashlib.sha256(data).hexdigest()
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{sha256 if self.server.has_sha256 else "abc"}"')
        self.send_header("X-Linked-Size", str(self.server.claimed_bytes or len(data)))
        self.send_header("X-Repo-Commit", "c0ffee")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if has_body:
            self.wfile.write(data[start:][: self.server.cuts_after])
            self.close_connection = True


class Pulling(NamedTuple):
    hub: Hub
    catalog: ModelCatalog
    models_path: Path


@pytest.fixture
def pulling(make_settings: Any) -> Iterator[Pulling]:
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    settings = make_settings(hub_endpoint=hub.endpoint, pull_timeout_s=2)
    yield Pulling(hub, ModelCatalog(settings), settings.models_path)
    hub.shutdown()
    thread.join()
    hub.server_close()


def stored(models_path: Path) -> set[str]:
    return {path.name for path in models_path.glob("*.gguf")}


def test_a_pulled_model_is_in_place_and_the_default(pulling: Pulling) -> None:
    seen: list[PullProgress] = []
    model = pulling.catalog.pull("owner/name", "model.gguf", seen.append)
    assert (pulling.models_path / "model.gguf").read_bytes() == DATA
    assert (model.model_id, model.source, model.is_default) == ("model", "local", True)
    assert seen[-1] == PullProgress(len(DATA), len(DATA))
    assert [progress.done_bytes for progress in seen] == sorted(progress.done_bytes for progress in seen)
    assert list((pulling.models_path / PARTIAL_FOLDER).iterdir()) == []


def test_a_file_in_a_folder_of_the_repository_is_stored_by_its_name(pulling: Pulling) -> None:
    assert pulling.catalog.pull("owner/name", "deep/er.gguf").model_id == "er"


def test_a_download_that_was_cut_off_goes_on_where_it_stopped(pulling: Pulling) -> None:
    pulling.hub.cuts_after = 100_000
    with pytest.raises(ModelPullError):
        pulling.catalog.pull("owner/name", "model.gguf")
    assert stored(pulling.models_path) == set()
    pulling.hub.cuts_after = None
    pulling.catalog.pull("owner/name", "model.gguf")
    assert pulling.hub.ranges[-1] == "bytes=100000-"
    assert (pulling.models_path / "model.gguf").read_bytes() == DATA


def test_a_wrong_checksum_is_refused_and_nothing_is_kept(pulling: Pulling) -> None:
    pulling.hub.wrong_sha256 = True
    with pytest.raises(ModelPullError, match="sha256"):
        pulling.catalog.pull("owner/name", "model.gguf")
    assert stored(pulling.models_path) == set()
    assert list((pulling.models_path / PARTIAL_FOLDER).iterdir()) == []


def test_a_file_without_a_checksum_is_refused(pulling: Pulling) -> None:
    pulling.hub.has_sha256 = False
    with pytest.raises(ModelPullError, match="sha256"):
        pulling.catalog.pull("owner/name", "model.gguf")


def test_cancelling_stops_and_the_next_pull_goes_on(pulling: Pulling) -> None:
    cancelled = threading.Event()
    with pytest.raises(ModelPullError, match="cancelled"):
        pulling.catalog.pull("owner/name", "model.gguf", lambda _: cancelled.set(), cancelled)
    pulling.catalog.pull("owner/name", "model.gguf")
    assert pulling.hub.ranges[-1] != "bytes=0-"
    assert (pulling.models_path / "model.gguf").read_bytes() == DATA


def test_all_parts_of_a_split_model_come_and_count_as_one(pulling: Pulling) -> None:
    pulling.hub.files |= {f"big-0000{i}-of-00002.gguf": DATA[: i * 1000] for i in (1, 2)}
    seen: list[PullProgress] = []
    model = pulling.catalog.pull("owner/name", "big-00002-of-00002.gguf", seen.append)
    assert (model.model_id, model.size_bytes) == ("big", 3000)
    assert seen[-1] == PullProgress(3000, 3000)


@pytest.mark.parametrize(
    ("repo_id", "filename", "param"),
    [
        ("owner", "model.gguf", "repo_id"),
        ("../owner/name", "model.gguf", "repo_id"),
        ("owner/..", "model.gguf", "repo_id"),
        ("owner/name", "model.bin", "filename"),
        ("owner/name", "../model.gguf", "filename"),
        ("owner/name", "/etc/model.gguf", "filename"),
        ("owner/name", "a//model.gguf", "filename"),
        ("owner/name", "a\\..\\model.gguf", "filename"),
        ("owner/name", ".gguf", "filename"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(pulling: Pulling, repo_id: str, filename: str, param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        pulling.catalog.pull(repo_id, filename)
    assert caught.value.param == param
    assert not pulling.models_path.exists()


@pytest.mark.parametrize("repo_id", ["owner/name", "nobody/nothing"])
def test_what_is_not_on_the_hub_is_said_to_be_missing(pulling: Pulling, repo_id: str) -> None:
    with pytest.raises(ModelPullError, match=r"no .*missing\.gguf"):
        pulling.catalog.pull(repo_id, "missing.gguf")


def test_a_hub_that_fails_is_named(pulling: Pulling) -> None:
    pulling.hub.status = 500
    with pytest.raises(ModelPullError, match="cannot be downloaded"):
        pulling.catalog.pull("owner/name", "model.gguf")


def test_without_a_network_the_pull_fails_and_says_so(make_settings: Any) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
    catalog = ModelCatalog(make_settings(hub_endpoint=endpoint, pull_timeout_s=1))
    with pytest.raises(ModelPullError, match=r"network"):
        catalog.pull("owner/name", "model.gguf")


def test_a_file_larger_than_the_disk_is_refused_before_any_of_it_comes(pulling: Pulling) -> None:
    pulling.hub.claimed_bytes = 1 << 60
    with pytest.raises(ModelPullError, match="make room"):
        pulling.catalog.pull("owner/name", "model.gguf")
    assert pulling.hub.ranges == []
