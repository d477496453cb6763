"""`cinque index` and `cinque search` over a server in this process: what they print, and which folder is meant."""

import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from mcp.client._memory import InMemoryTransport

from mcp_server.app import build_server
from mcp_server.contract import Hit, IndexProgress, IndexStatus
from rag.folder_store import FolderStore
from shim.cli import main
from shim.commands.folders import ROOT, choose, collection_of
from shim.commands.search import CONTROLS, shown_lines, shown_path
from shim.errors import CommandError
from shim.gateway import Gateway
from tests.retrieving import ScriptedRetrieval
from tests.stack import scripted_capabilities

Run = Callable[..., tuple[int, str, str]]
STATUS = IndexStatus("c", "C", "ready", 1, 1, 1, 0, 0, False, "", "", "", "", {})  # noqa: FBT003 - the field's name stands in types.py
CODE = "def total_price(items):\n    return sum(items)\n\n\ndef tax(price):\n    return price / 5\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a folder of two files."""
    root = tmp_path / "shop"
    (root / "src").mkdir(parents=True)
    (root / "src" / "billing.py").write_text(CODE, encoding="utf-8")
    (root / "notes.md").write_text("# Notes\n\nNothing.\n", encoding="utf-8")
    return root


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `cinque` against a server in this process that keeps its collections between commands."""

    @asynccontextmanager
    async def one_session(gateway: Gateway) -> AsyncIterator[None]:
        retrieval = ScriptedRetrieval(tmp_path / "home", (IndexProgress("reading", 1, 2),))
        server = build_server(scripted_capabilities(tmp_path / "home", retrieval=retrieval))
        try:
            async with gateway.connected(InMemoryTransport(server)):
                yield
        finally:
            retrieval.close()

    for command in ("index", "search"):
        monkeypatch.setattr(f"shim.commands.{command}.one_session", one_session)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        shown = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, shown.out, shown.err

    return run


def test_a_folder_is_indexed_and_searched_from_inside_it(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, out, err = run("index", str(project))
    assert (status, err) == (0, "")
    assert "shop: 2 files, " in out
    assert "2 changed, 0 deleted, 0 skipped" in out
    assert "cinque search --project shop-" in out
    monkeypatch.chdir(project / "src")
    status, out, err = run("search", "total price", "-k", "1")
    assert (status, err) == (0, "")
    head, first, *_ = out.splitlines()
    assert head.startswith("billing.py:1  total_price  function, lines 1-2, score ")
    assert first == "  1  def total_price(items):"
    assert "\x1b" not in out, "a pipe gets no colours"


def test_a_second_index_reads_only_what_changed(run: Run, project: Path) -> None:
    run("index", str(project))
    (project / "new.py").write_text("x = 1\n", encoding="utf-8")
    (project / "notes.md").unlink()
    assert "1 changed, 1 deleted, 0 skipped" in run("index", str(project))[1]


def test_skipped_files_are_named_and_the_rest_counted(run: Run, project: Path) -> None:
    for number in range(5):
        (project / f"{number}.txt").write_bytes(b"\0binary")
    out = run("index", str(project))[1]
    assert "5 skipped" in out
    assert "skipped 0.txt: " in out
    assert "and 2 more" in out


def test_results_for_programs_are_json(run: Run, project: Path) -> None:
    run("index", str(project), "--project", "shop")
    status, out, _ = run(
        "search", "tax", "--project", "shop", "--json", "--path", "src/*", "--language", "python", "--kind", "function"
    )
    found = json.loads(out)
    assert status == 0
    assert (found["collection"], found["query"]) == ("shop", "tax")
    assert {hit["path"] for hit in found["hits"]} == {"src/billing.py"}


def test_nothing_found_is_a_1_as_with_grep(run: Run, project: Path) -> None:
    run("index", str(project), "--project", "shop")
    assert run("search", "zzzxqj", "--project", "shop") == (1, "", "nothing found in shop\n")
    status, out, _ = run("search", "zzzxqj", "--project", "shop", "--json")
    assert (status, json.loads(out)["hits"]) == (1, [])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("search", "x", "--project", "absent"),
            "there is no project absent; index it by `cinque index PATH`, or give",
        ),
        (("search", "x"), "no indexed project holds "),
        (("search", " ", "--project", "shop"), "the query is empty"),
        (("search", "x", "--project", "shop", "--path", "!"), "path_glob '!' is not a pattern"),
        (("search", "x", "--project", "shop", "--language", "klingon"), "language is 'klingon'; give one of bash, c, "),
        (("index", "/no/such/folder"), "/no/such/folder is not a folder"),
        (("index", ""), "an empty path is not a folder"),
        (("index", "~nobody-of-this-name"), "~nobody-of-this-name is not a folder"),
        (("index", ".", "--project", "shop"), "shop is the name of "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_done_is_one_line_and_a_2(
    run: Run, project: Path, arguments: tuple[str, ...], said: str
) -> None:
    run("index", str(project), "--project", "shop")
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith(f"cinque {arguments[0]}: {said}")


@pytest.mark.parametrize("named", [True, False])
def test_a_folder_whose_first_index_is_being_made_is_not_called_unknown(
    run: Run, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, named: bool
) -> None:
    monkeypatch.chdir(project / "src")
    name = "shop" if named else collection_of(project, None, ())
    with FolderStore(tmp_path / "home" / "rag", max_open=1).exclusive(name, lambda: None):
        status, _, err = run("search", "tax", *(["--project", name] if named else []))
    what = "shop" if named else "this folder"
    assert (status, err) == (
        2,
        f"cinque search: {what} is being indexed for the first time; search it again in a moment\n",
    )


def test_a_terminal_gets_colours_unless_it_wants_none(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("index", str(project), "--project", "shop")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[" in run("search", "tax", "--project", "shop")[1]
    monkeypatch.setenv("NO_COLOR", "1")
    out = run("search", "tax", "--project", "shop")[1]
    assert "\x1b[3" not in out


@pytest.mark.parametrize("k", ["0", "101", "-1", "many", "1.5"])
def test_a_number_of_results_that_is_none_is_a_2(run: Run, k: str) -> None:
    status, _, err = run("search", "x", "-k", k)
    assert status == 2
    assert "is not a number from 1 to 100" in err or "expected one argument" in err


class Followed(ScriptedRetrieval):
    """Follows its folder: it has changed at the third look, and at the fourth somebody presses Ctrl-C."""

    n_looks = 0

    def index_status(self, collection: str) -> IndexStatus:
        self.n_looks += 1
        if self.n_looks == 4:
            os.kill(os.getpid(), signal.SIGINT)
        changed = {"updated_at": "later", "n_files": 77} if self.n_looks >= 3 else {}
        return replace(super().index_status(collection), is_watched=True, n_pending=5, **changed)  # type: ignore[arg-type]  # each of its type


def test_a_followed_folder_tells_of_changes_until_ctrl_c(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shim.commands.index.LOOK_AGAIN_S", 0)
    monkeypatch.setattr(f"{__name__}.ScriptedRetrieval", Followed)
    status, out, err = run("index", str(project), "--watch")
    assert (status, err) == (0, "")
    assert f"following {project}; Ctrl-C ends it" in out
    assert out.count("later  77 files, 3 chunks, 5 still to be embedded") == 1


def test_a_folder_that_nobody_follows_any_more_ends_the_watch(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unfollowed(ScriptedRetrieval):
        def index_status(self, collection: str) -> IndexStatus:
            return replace(super().index_status(collection), is_watched=False)

    monkeypatch.setattr(f"{__name__}.ScriptedRetrieval", Unfollowed)
    status, out, err = run("index", str(project), "--watch")
    assert status == 2
    assert "following" in out
    assert err == f"cinque index: the server has stopped following {project}; its log says why\n"


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (IndexProgress("embedding", 2, 3), "1 of "),
        (IndexProgress("model", 0, 1), "the embedding model is being converted, once"),
    ],
)
def test_a_search_tells_what_is_not_embedded_yet(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch, step: IndexProgress, told: str
) -> None:
    class Embedding(ScriptedRetrieval):
        def index_status(self, collection: str) -> IndexStatus:
            return replace(super().index_status(collection), n_pending=1, state="embedding", progress=step)

    run("index", str(project), "--project", "shop")
    monkeypatch.setattr(f"{__name__}.ScriptedRetrieval", Embedding)
    status, _, err = run("search", "tax", "--project", "shop")
    assert status == 0
    assert err.startswith(told)


def test_a_pipe_is_told_at_once_that_the_embedding_model_is_converted(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Converting(ScriptedRetrieval):
        def __init__(self, home: Path, _steps: object) -> None:
            super().__init__(home, (IndexProgress("reading", 1, 2), IndexProgress("model", 0, 1)))

    monkeypatch.setattr(f"{__name__}.ScriptedRetrieval", Converting)
    status, _, err = run("index", str(project))
    assert status == 0
    assert err == "cinque index: preparing the embedding model, once: up to two minutes\n"


def test_two_folders_of_one_name_are_two_collections() -> None:
    one, two = (collection_of(Path(folder), None, ()) for folder in ("/a/shop", "/b/shop"))
    assert one != two
    assert one.startswith("shop-")
    assert collection_of(Path("/"), None, ()).startswith("root-")
    assert collection_of(Path("/x/Ünï çödé"), None, ()).isascii()


def test_a_name_is_kept_for_its_folder_and_never_taken_from_an_index_of_another_kind() -> None:
    mine, posted = replace(STATUS, metadata={ROOT: "/a"}), replace(STATUS, collection="posted")
    assert collection_of(Path("/a"), "c", [mine]) == "c"
    for name, root in (("c", "/b"), ("posted", "/a")):
        with pytest.raises(CommandError, match="give another --project"):
            collection_of(Path(root), name, [mine, posted])


def test_the_innermost_indexed_folder_is_searched() -> None:
    outer, inner = (replace(STATUS, collection=root, metadata={ROOT: root}) for root in ("/a", "/a/b"))
    for folder, expected in (("/a", outer), ("/a/x", outer), ("/a/b", inner), ("/a/b/c/d", inner), ("/a/bc", outer)):
        assert choose([outer, inner, STATUS], None, Path(folder)) == expected


def test_a_project_goes_by_its_title_where_only_one_has_it() -> None:
    one, two = (replace(STATUS, collection=name, title=title) for name, title in (("x", "shop"), ("y", "shop")))
    assert choose([one, STATUS], "shop", Path("/")) == one
    assert choose([one, two], "x", Path("/")) == one
    with pytest.raises(CommandError, match="several projects are called shop; give --project one of: x, y"):
        choose([one, two], "shop", Path("/"))


@pytest.mark.parametrize(
    ("root", "folder", "shown"),
    [
        ("/a", "/a", "src/x.py"),
        ("/a", "/a/src", "x.py"),
        ("/a/b", "/a", "b/src/x.py"),
        ("/a", "/elsewhere", "/a/src/x.py"),
        (None, "/a", "src/x.py"),
    ],
)
def test_a_path_is_shown_as_it_is_typed_here(root: str | None, folder: str, shown: str) -> None:
    assert shown_path("src/x.py", (root and Path(root)) or None, Path(folder)) == shown


def test_lines_that_match_are_shown_else_the_first_ones() -> None:
    hit = Hit("a.py", "python", "function", "f", 10, 20, "\n" + "x\n" * 10, 1.0, 1, 1)
    assert shown_lines(hit) == [11, 12, 13, 14, 15]
    assert shown_lines(replace(hit, matched_lines=(12, 19))) == [12, 19]
    assert shown_lines(replace(hit, text="", end_line=10)) == [10]


def test_a_file_cannot_speak_to_the_terminal() -> None:
    assert "a\x1b]0;title\x07\x9b\r\tb\n".translate(CONTROLS) == "a�]0;title���\tb\n"
