"""Retrieval as the rest of the product sees it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hash_embedder import HashEmbedder
from numpy.typing import NDArray

from rag.errors import (
    CollectionNotFoundError,
    EmbeddingUnavailableError,
    InvalidRequestError,
    LimitExceededError,
    RagError,
)
from rag.index import Retrieval
from rag.settings import RagSettings
from rag.types import Document, IndexProgress, IndexReport, IndexRequest, IndexStatus, RetrieveRequest

on_either_store = pytest.mark.usefixtures("either_store")

Post = Callable[..., IndexReport]
FILES = {
    "src/net.py": "def open_socket(host):\n    return connect(host)\n",
    "src/bread.py": "def bake_bread(flour):\n    return oven(flour)\n",
    "web/net.js": "function openSocket(host) {\n  return connect(host);\n}\n",
    "README.md": "# Sockets\nHow to open a socket.\n",
}


def paths(retrieval: Retrieval, query: str, **fields: object) -> list[str]:
    return [hit.path for hit in retrieval.retrieve(RetrieveRequest("c", query, **fields)).hits]


@on_either_store
def test_an_indexed_function_is_found_with_its_place_and_name(retrieval: Retrieval, post: Post) -> None:
    report = post(FILES)
    assert (report.n_files, report.n_chunks, report.n_lines, report.n_files_changed) == (4, 4, 9, 4)
    hit = retrieval.retrieve(RetrieveRequest("c", "bake bread")).hits[0]
    assert (hit.path, hit.symbol, hit.kind, hit.language) == ("src/bread.py", "bake_bread", "function", "python")
    assert (hit.start_line, hit.end_line, hit.text) == (1, 2, FILES["src/bread.py"].rstrip("\n"))
    assert (hit.dense_rank, hit.sparse_rank, hit.score) == (1, 1, 1.0)


def test_a_folder_is_indexed_like_documents(retrieval: Retrieval, post: Post, tmp_path: Path) -> None:
    for path, content in FILES.items():
        (tmp_path / "root" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / path).write_text(content)
    post(FILES)
    retrieval.index(IndexRequest("folder", root=str(tmp_path / "root")))
    posted = retrieval.retrieve(RetrieveRequest("c", "open socket"))
    walked = retrieval.retrieve(RetrieveRequest("folder", "open socket"))
    assert {hit.path: hit.score for hit in posted.hits} == pytest.approx({hit.path: hit.score for hit in walked.hits})


@on_either_store
def test_filters_apply_before_ranking(retrieval: Retrieval, post: Post) -> None:
    post(FILES | {f"src/noise_{number}.py": f"open_socket({number})\n" for number in range(300)})
    assert paths(retrieval, "open socket", language="js") == ["web/net.js"]
    assert paths(retrieval, "open socket", path_glob="web/**") == ["web/net.js"]
    assert paths(retrieval, "open socket", path_glob="*.md", language="Markdown") == ["README.md"]
    assert paths(retrieval, "open socket", path_glob="*.md", language="go") == []
    assert len(paths(retrieval, "open socket", path_glob="src/", max_results=50)) == 50


@on_either_store
def test_nothing_of_a_deleted_or_renamed_file_is_ever_found(retrieval: Retrieval, post: Post) -> None:
    post(FILES)
    renamed = {("src/socket.py" if path == "src/net.py" else path): text for path, text in FILES.items()}
    del renamed["README.md"]
    report = post(renamed)
    assert (report.n_files, report.n_files_changed, report.n_files_deleted, report.n_chunks) == (3, 1, 2, 3)
    assert set(paths(retrieval, "open socket host connect sockets how")) == set(renamed)
    assert retrieval.index_status("c").n_dense == 3
    post({})
    assert paths(retrieval, "open socket") == []
    assert retrieval.index_status("c").n_chunks == 0


@on_either_store
def test_only_changed_text_is_embedded(post: Post, embedder: HashEmbedder) -> None:
    post(FILES)
    embedder.embedded.clear()
    changed = FILES | {"src/net.py": FILES["src/net.py"] + "\n\ndef close_socket():\n    pass\n"}
    assert post(changed).n_files_changed == 1
    assert [text.splitlines()[0] for text in embedder.embedded] == ["src/net.py close_socket"]


@on_either_store
def test_a_chunk_that_moves_keeps_its_vector_and_one_that_stays_its_rank(retrieval: Retrieval, post: Post) -> None:
    post(FILES)
    moved = FILES | {"src/bread.py": "import oven\n\n\n" + FILES["src/bread.py"]}
    post(moved)
    hit = retrieval.retrieve(RetrieveRequest("c", "bake bread flour", path_glob="src/bread.py")).hits[0]
    assert (hit.start_line, hit.dense_rank) == (4, 1)
    assert retrieval.index_status("c").n_dense == retrieval.index_status("c").n_chunks == 5


@on_either_store
def test_increments_end_where_a_fresh_index_ends(retrieval: Retrieval, post: Post) -> None:
    post(FILES)
    post(FILES | {"src/net.py": "def listen():\n    pass\n", "new.py": "def accept():\n    pass\n"})
    final = {"new.py": "def accept_socket():\n    pass\n", "README.md": FILES["README.md"]}
    post(final)
    retrieval.index(IndexRequest("fresh", documents=tuple(Document(*item) for item in final.items())))
    for query in ("accept socket", "sockets", "listen"):
        ours = retrieval.retrieve(RetrieveRequest("c", query)).hits
        fresh = retrieval.retrieve(RetrieveRequest("fresh", query)).hits
        assert {hit.text: hit.score for hit in ours} == pytest.approx({hit.text: hit.score for hit in fresh})


@on_either_store
def test_an_equal_fingerprint_means_nothing_to_do(retrieval: Retrieval, post: Post, embedder: HashEmbedder) -> None:
    post(FILES, fingerprint="v1")
    before = retrieval.index_status("c")
    embedder.embedded.clear()
    report = post({"other.py": "x = 1\n"}, fingerprint="v1")
    assert (report.already_synced, report.n_files, report.n_chunks) == (True, 4, 4)
    after = retrieval.index_status("c")
    assert after.updated_at >= before.updated_at, "it was synced just now"
    assert replace(after, updated_at=before.updated_at) == before
    assert embedder.embedded == []
    assert not post({"other.py": "x = 1\n"}, fingerprint="v2").already_synced


def test_an_empty_fingerprint_never_equals(post: Post) -> None:
    post(FILES)
    assert not post(FILES).already_synced


@on_either_store
def test_the_same_text_under_a_new_fingerprint_keeps_the_generation(
    retrieval: Retrieval, post: Post, settings: RagSettings
) -> None:
    post(FILES, fingerprint="v1")
    generations = list(settings.folder.glob("**/collections/c/*"))
    assert generations
    report = post(FILES, fingerprint="v2", title="New")
    assert (report.n_files_changed, report.n_files_deleted) == (0, 0)
    assert list(settings.folder.glob("**/collections/c/*")) == generations
    assert (retrieval.index_status("c").fingerprint, retrieval.index_status("c").title) == ("v2", "New")


def test_hits_stop_at_the_number_asked_for(retrieval: Retrieval, post: Post) -> None:
    post({f"{number}.txt": f"socket {number}" for number in range(5)})
    for asked, found, truncated in ((1, 1, True), (4, 4, True), (5, 5, False), (6, 5, False)):
        result = retrieval.retrieve(RetrieveRequest("c", "socket", max_results=asked))
        assert (len(result.hits), result.truncated) == (found, truncated)


def test_hits_stop_before_their_text_passes_the_token_budget(retrieval: Retrieval, post: Post) -> None:
    post({f"{number}.txt": "socket " + "x" * 33 for number in range(5)})  # 40 characters, 10 tokens each
    for budget, found in ((9, 1), (10, 1), (29, 2), (30, 3), (50, 5)):
        result = retrieval.retrieve(RetrieveRequest("c", "socket", max_tokens=budget))
        assert (len(result.hits), result.truncated) == (found, found < 5)
        assert sum(len(hit.text) for hit in result.hits) <= 4 * budget


def test_a_kind_filters_before_ranking(retrieval: Retrieval, post: Post) -> None:
    post(FILES | {f"src/noise_{number}.py": f"open_socket({number})\n" for number in range(300)})
    hits = retrieval.retrieve(RetrieveRequest("c", "open socket", kind="function")).hits
    assert {hit.kind for hit in hits} == {"function"}
    assert retrieval.retrieve(RetrieveRequest("c", "open socket", kind="class")).hits == ()


@on_either_store
def test_exact_and_regex_modes_match_in_the_order_of_the_files(retrieval: Retrieval, post: Post) -> None:
    files = {"b.py": "x = 1\nopen(x)\n", "a.py": "open(y)\n\n\nopen (z)\n", "c.js": "open(x)\n"}
    post(files)
    post(files | {"a0.py": "open(x)\n"})  # lies behind the others on disk
    for mode, query, found in (
        ("exact", "open(x)", [("a0.py", (1,)), ("b.py", (2,)), ("c.js", (1,))]),
        ("regex", r"open ?\(", [("a.py", (1, 4)), ("a0.py", (1,)), ("b.py", (2,)), ("c.js", (1,))]),
    ):
        result = retrieval.retrieve(RetrieveRequest("c", query, mode=mode))
        assert [(hit.path, hit.matched_lines) for hit in result.hits] == found
        assert not result.truncated
    filtered = retrieval.retrieve(RetrieveRequest("c", "open(x)", mode="exact", language="python", max_results=1))
    assert ([hit.path for hit in filtered.hits], filtered.truncated) == (["a0.py"], True)


def test_neighbours_are_the_lines_around_a_hit(retrieval: Retrieval, post: Post) -> None:
    text = "import os\n\n\ndef first():\n    return 1\n\n\ndef bake():\n    return 2\n\n\ndef last():\n    return 3\n"
    post({"a.py": text})
    request = RetrieveRequest("c", "bake", max_results=1, include_neighbours=True)
    hit = retrieval.retrieve(request).hits[0]
    assert (hit.symbol, hit.start_line, hit.end_line) == ("bake", 4, 13)
    assert hit.text == "\n".join(text.split("\n")[3:13])


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"query": ""}, "query"),
        ({"query": " \n"}, "query"),
        ({"query": "x" * 100_001}, "query"),
        ({"max_results": 0}, "max_results"),
        ({"max_results": 101}, "max_results"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"mode": "fuzzy"}, "mode"),
        ({"kind": "struct"}, "kind"),
        ({"mode": "regex", "query": "("}, "query"),
        ({"path_glob": " "}, "path_glob"),
        ({"path_glob": "!src/"}, "path_glob"),
        ({"path_glob": "# src"}, "path_glob"),
        ({"collection": "../c"}, "collection"),
    ],
)
def test_a_query_that_cannot_be_used_names_the_field(
    retrieval: Retrieval, post: Post, fields: dict[str, object], param: str
) -> None:
    post(FILES)
    with pytest.raises(InvalidRequestError) as caught:
        retrieval.retrieve(RetrieveRequest(**({"collection": "c", "query": "socket"} | fields)))
    assert caught.value.param == param


@pytest.mark.parametrize("query", ["\ud800 socket", "?!", "数据", "a" * 50_000, "\0"])
def test_an_odd_query_is_answered(retrieval: Retrieval, post: Post, query: str) -> None:
    post(FILES)
    assert len(retrieval.retrieve(RetrieveRequest("c", query)).hits) == 4


@pytest.mark.parametrize("name", ["", ".", "..", "...", "a/b", "a\\b", "a b", "a\n", "ü", "x" * 129, "a\0"])
def test_a_collection_name_that_could_leave_the_folder_is_refused_everywhere(retrieval: Retrieval, name: str) -> None:
    for call in (
        lambda: retrieval.index(IndexRequest(name, documents=())),
        lambda: retrieval.retrieve(RetrieveRequest(name, "x")),
        lambda: retrieval.index_status(name),
        lambda: retrieval.delete_collection(name),
    ):
        with pytest.raises(InvalidRequestError) as caught:
            call()
        assert caught.value.param == "collection"


@on_either_store
@pytest.mark.parametrize("name", ["a", "A.b_c-9", "x" * 128, ".hidden"])
def test_any_other_name_works(retrieval: Retrieval, name: str) -> None:
    retrieval.index(IndexRequest(name, documents=(Document("a.txt", "alpha"),)))
    assert len(retrieval.retrieve(RetrieveRequest(name, "alpha")).hits) == 1
    assert retrieval.delete_collection(name).deleted


@on_either_store
def test_a_collection_that_is_absent_or_deleted_is_not_found(retrieval: Retrieval, post: Post) -> None:
    post(FILES)
    retrieval.delete_collection("c")
    for call in (
        lambda: retrieval.retrieve(RetrieveRequest("c", "x")),
        lambda: retrieval.index_status("c"),
        lambda: retrieval.delete_collection("c"),
    ):
        with pytest.raises(CollectionNotFoundError):
            call()


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (IndexRequest("c"), "root"),
        (IndexRequest("c", documents=(), root="/"), "documents"),
        (IndexRequest("c", root=""), "root"),
        (IndexRequest("c", root="a\0b"), "root"),
        (IndexRequest("c", root="a\ud800b"), "root"),
        (IndexRequest("c", documents=(), title="x" * 1_001), "title"),
        (IndexRequest("c", documents=(), title="\ud800"), "title"),
        (IndexRequest("c", documents=(), fingerprint="\ud800"), "fingerprint"),
        (IndexRequest("c", documents=(), metadata={"k": "x" * 100_000}), "metadata"),
    ],
)
def test_an_indexing_that_cannot_be_done_names_the_field(
    retrieval: Retrieval, request_: IndexRequest, param: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        retrieval.index(request_)
    assert caught.value.param == param
    assert retrieval.list_collections().collections == ()


def test_a_refused_indexing_leaves_the_collection_as_it_was(tmp_path: Path) -> None:
    retrieval = Retrieval(RagSettings(home=tmp_path, max_files=4), HashEmbedder())
    retrieval.index(IndexRequest("c", documents=tuple(Document(*item) for item in FILES.items())))
    before = retrieval.index_status("c")
    with pytest.raises(LimitExceededError):
        retrieval.index(IndexRequest("c", documents=tuple(Document(f"{n}.txt", "x") for n in range(5))))
    assert retrieval.index_status("c") == before


@on_either_store
def test_collections_are_listed_by_title_page_by_page(retrieval: Retrieval) -> None:
    for number in range(7):
        retrieval.index(IndexRequest(f"c{number}", documents=(), title=f"Title {(number * 3) % 7 // 2}"))
    seen = []
    cursor = None
    for _ in range(4):
        page = retrieval.list_collections(cursor, limit=2)
        seen.extend((status.title, status.collection) for status in page.collections)
        cursor = page.next_cursor
    assert cursor is None
    assert seen == sorted(seen)
    assert len(set(seen)) == 7
    assert retrieval.list_collections(limit=7).next_cursor is None


@pytest.mark.parametrize("cursor", ["", "x", "!!", "bnVsbA==", "WzEsMl0=", "ü", "e30=", "WyJcdWQ4MDAiLCJhIl0="])
def test_a_malformed_cursor_is_refused(retrieval: Retrieval, cursor: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        retrieval.list_collections(cursor)
    assert caught.value.param == "cursor"


@pytest.mark.parametrize("limit", [0, -1, 1_001])
def test_a_page_of_no_size_is_refused(retrieval: Retrieval, limit: int) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        retrieval.list_collections(limit=limit)
    assert caught.value.param == "limit"


@pytest.mark.parametrize("source", ["documents", "root"])
def test_progress_tells_each_stage_in_order_to_its_end(retrieval: Retrieval, tmp_path: Path, source: str) -> None:
    seen: list[IndexProgress] = []
    documents = tuple(Document(f"{number}.txt", f"text {number}") for number in range(250))
    (tmp_path / "root").mkdir()
    for document in documents:
        (tmp_path / "root" / document.path).write_text(document.content)
    posted = IndexRequest("c", documents=documents)
    retrieval.index(posted if source == "documents" else IndexRequest("c", root=str(tmp_path / "root")), seen.append)
    stages = list(dict.fromkeys(progress.stage for progress in seen))
    assert stages == ["reading", "chunking", "weighing", "embedding", "committing"]
    ends = {progress.stage: (progress.done, progress.total) for progress in seen}
    assert ends == dict.fromkeys(stages[:4], (250, 250)) | {"committing": (1, 1)}
    assert max(sum(progress.stage == stage for progress in seen) for stage in stages) <= 130


class _Weightless(HashEmbedder):
    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        raise EmbeddingUnavailableError(f"no weights for {len(texts)} texts")


@on_either_store
def test_without_weights_indexing_says_so_and_words_are_found(settings: RagSettings) -> None:
    weightless = Retrieval(settings, _Weightless())
    with pytest.raises(EmbeddingUnavailableError):
        weightless.index(IndexRequest("c", documents=(Document("a.txt", "alpha"),)))
    (hit,) = weightless.retrieve(RetrieveRequest("c", "alpha")).hits
    assert (hit.dense_rank, hit.sparse_rank) == (None, 1)
    weightless.close()


@on_either_store
def test_words_alone_are_an_index_too(tmp_path: Path) -> None:
    lexical = Retrieval(RagSettings(home=tmp_path / "lexical", dense=False))
    lexical.index(IndexRequest("c", documents=(Document("a.txt", "alpha"),)))
    (hit,) = lexical.retrieve(RetrieveRequest("c", "alpha")).hits
    assert (hit.dense_rank, lexical.index_status("c").n_dense, lexical.status().ready) == (None, 0, True)


@on_either_store
def test_the_status_counts_collections_and_names_the_model(retrieval: Retrieval, post: Post) -> None:
    assert retrieval.status().n_collections == 0
    post(FILES)
    status = retrieval.status()
    assert (status.ready, status.embedding_model, status.n_collections) == (True, "hash", 1)


def test_a_closed_retrieval_says_so_and_closes_again(retrieval: Retrieval, post: Post) -> None:
    post(FILES)
    retrieval.close()
    retrieval.close()
    with pytest.raises(RagError, match="closed"):
        paths(retrieval, "socket")


def test_the_home_folder_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CINQUE_HOME", str(tmp_path))
    monkeypatch.setenv("CINQUE_RAG_MAX_FILES", "7")
    settings = RagSettings()
    assert (settings.folder, settings.max_files) == (tmp_path / "rag", 7)
    monkeypatch.delenv("CINQUE_HOME")
    assert RagSettings(home=tmp_path).folder == tmp_path / "rag"
    assert RagSettings().folder == Path.home() / ".cinque" / "rag"


def test_a_collection_whose_first_index_is_being_made_has_its_title_and_metadata(retrieval: Retrieval) -> None:
    seen: list[IndexStatus] = []

    def on_progress(step: IndexProgress) -> None:
        if step.stage == "chunking":
            seen.append(retrieval.index_status("c"))

    documents = (Document("a.py", "x = 1\n"),)
    retrieval.index(IndexRequest("c", documents=documents, title="T", metadata={"owner": "me"}), on_progress)
    assert seen
    assert (seen[0].state, seen[0].title, seen[0].metadata) == ("indexing", "T", {"owner": "me"})
    assert seen[0].updated_at
    assert retrieval.index_status("c").state == "ready"
