"""Servers that share a database: each sees the others' commits, none leaves anything behind, ranks are a folder's."""

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from hash_embedder import HashEmbedder

import rag.index
from rag.errors import CollectionNotFoundError, RagError, StoreUnavailableError
from rag.index import Retrieval
from rag.opening import open_store
from rag.postgres import store, vectors
from rag.settings import RagSettings
from rag.types import Document, IndexRequest, RetrieveRequest, RetrieveResult

Replica = Callable[[], Retrieval]
SOURCES = Path(rag.index.__file__).parent


@pytest.fixture
def replica(database_url: str, tmp_path: Path) -> Iterator[Replica]:
    """Make servers on one database, each with a folder of its own."""
    made: list[Retrieval] = []

    def make() -> Retrieval:
        settings = RagSettings(home=tmp_path / str(len(made)), database_url=database_url)
        made.append(Retrieval(settings, HashEmbedder(), HashEmbedder("static", 32)))
        return made[-1]

    yield make
    for retrieval in made:
        retrieval.close()


def documents(files: dict[str, str]) -> tuple[Document, ...]:
    return tuple(Document(*file) for file in files.items())


def index(retrieval: Retrieval, files: dict[str, str], name: str = "c") -> None:
    retrieval.index(IndexRequest(name, documents=documents(files)))


def texts(retrieval: Retrieval, query: str, name: str = "c") -> list[str]:
    hits = retrieval.retrieve(RetrieveRequest(name, query, max_results=100, max_tokens=100_000)).hits
    assert all(hit.dense_rank for hit in hits)
    return sorted(hit.text for hit in hits)


def stored(database_url: str, query: str) -> set[Any]:
    with psycopg.connect(database_url) as connection:
        return {row[0] for row in connection.execute(query.encode())}


def test_each_server_sees_what_another_committed(replica: Replica) -> None:
    first, second = replica(), replica()
    for turn in range(3):
        writer, reader = (first, second) if turn % 2 else (second, first)
        index(writer, {"same.txt": "the same text", "other.txt": f"text of turn {turn}"})
        assert texts(reader, "text") == texts(writer, "text") == [f"text of turn {turn}", "the same text"]
    assert first.index_status("c") == second.index_status("c")
    first.delete_collection("c")
    with pytest.raises(CollectionNotFoundError):
        second.retrieve(RetrieveRequest("c", "text"))
    assert second.list_collections().collections == ()


def test_a_server_with_an_empty_disk_finds_everything(replica: Replica) -> None:
    index(replica(), {f"{number}.txt": f"text {number}" for number in range(20)})
    fresh = replica()
    assert len(texts(fresh, "text")) == 20


def test_equal_chunks_share_a_vector_that_goes_with_the_last_of_them(replica: Replica, database_url: str) -> None:
    first, second = replica(), replica()
    index(first, {"a.txt": "alpha", "b.txt": "beta"}, "one")
    index(second, {"a.txt": "alpha", "c.txt": "gamma"}, "two")
    assert second._given_embedder.embedded == ["c.txt\ngamma"]  # type: ignore[union-attr]
    keys = "SELECT key FROM cinque_rag.vectors_1"
    assert len(stored(database_url, keys)) == 3
    assert texts(second, "alpha", "two") == ["alpha", "gamma"], "another's chunk was found"
    index(first, {"b.txt": "beta"}, "one")
    assert len(stored(database_url, keys)) == 3
    second.delete_collection("two")
    assert len(stored(database_url, keys)) == 1
    first.delete_collection("one")
    tables = ("collections", "pieces", "named", "vectors_1")
    assert [stored(database_url, f"SELECT count(*) FROM cinque_rag.{table}") for table in tables] == [{0}] * 4  # noqa: S608


def test_two_servers_may_index_one_collection_at_once(replica: Replica) -> None:
    servers = [replica(), replica()]
    versions = [{f"{number}.txt": f"text {number} of {name}" for number in range(12)} for name in ("one", "two")]
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(4):
                index(servers[number], versions[number])
        except BaseException as error:  # noqa: BLE001 - a thread's failure must reach the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    found = texts(servers[0], "text")
    assert found == texts(servers[1], "text")
    assert found in [sorted(version.values()) for version in versions]


def test_collections_that_share_chunks_come_and_go_at_once_and_lose_no_vector(
    replica: Replica, database_url: str
) -> None:
    failures: list[BaseException] = []

    def work(server: Retrieval, number: int) -> None:
        choose = random.Random(number)  # noqa: S311 - a repeatable choice, not a secret
        try:
            for _ in range(8):
                files = {f"{chosen}.txt": f"text {chosen}" for chosen in choose.sample(range(12), 5)}
                index(server, files, f"own-{number}")
                assert texts(server, "text", f"own-{number}") == sorted(files.values())
        except BaseException as error:  # noqa: BLE001 - a thread's failure must reach the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(replica(), number)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    named = stored(database_url, "SELECT key FROM cinque_rag.named")
    assert stored(database_url, "SELECT key FROM cinque_rag.vectors_1") == named


def dense_places(result: RetrieveResult) -> set[tuple[str, int]]:
    return {(hit.path, hit.start_line) for hit in result.hits if (hit.dense_rank or 99) <= 10}


def test_a_database_ranks_as_a_folder_does(replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Retrieval(RagSettings(home=tmp_path / "folder"), HashEmbedder(), HashEmbedder("static", 32))
    shared = replica()
    index(shared, {"near.txt": "socket retry", "far.txt": "bread"}, "other")
    for retrieval in (folder, shared):
        retrieval.index(IndexRequest("c", root=str(SOURCES)))
    queries = ("where is a lock held", "vectors of a model", "parse the header", "cancelled", "read_part", "git ignore")
    for ways in ("compared", "index"):
        if ways == "index":
            monkeypatch.setattr(vectors, "_EXACT_UP_TO", 0)
            monkeypatch.setattr(vectors, "_INDEX_COST", 0)
        agree = asked = 0
        for query in queries:
            for fields in ({}, {"language": "python"}, {"path_glob": "postgres/"}):
                request = RetrieveRequest("c", query, max_results=10, max_tokens=1_000_000, **fields)
                one, two = (dense_places(found.retrieve(request)) for found in (folder, shared))
                agree, asked = agree + len(one & two), asked + len(one)
            exact = RetrieveRequest("c", query.split()[0], mode="exact", max_results=100, max_tokens=1_000_000)
            assert folder.retrieve(exact) == shared.retrieve(exact)
        assert agree >= 0.97 * asked > 60
    folder.close()


def test_words_rank_to_the_last_bit_as_in_a_folder(tmp_path: Path, database_url: str) -> None:
    lexical = [
        Retrieval(RagSettings(home=tmp_path / name, database_url=url, dense=False))
        for name, url in (("folder", ""), ("shared", database_url))
    ]
    for retrieval in lexical:
        retrieval.index(IndexRequest("c", root=str(SOURCES)))
    for query in ("where is a lock held", "read_part", "größe", "def"):
        one, two = (retrieval.retrieve(RetrieveRequest("c", query, max_results=100)) for retrieval in lexical)
        assert one == two
    for retrieval in lexical:
        retrieval.close()


def test_an_index_that_gives_too_few_is_followed_by_comparing_all(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "_EXACT_UP_TO", 0)
    monkeypatch.setattr(vectors, "_INDEX_COST", 0)
    settings = RagSettings(home=tmp_path, database_url=database_url)
    retrieval = Retrieval(settings, HashEmbedder())
    index(retrieval, {f"{number}.txt": f"word{number} text" for number in range(300)})
    index(retrieval, {f"{number}.txt": f"text of others {number}" for number in range(300)}, "others")
    store = open_store(settings)
    generation = store.load("c")[1]
    assert generation.dense is not None
    query = HashEmbedder().embed(["text of others"])[0]
    keys, scores = generation.dense.search(query, 300)
    assert sorted(keys.tolist()) == sorted(generation.keys.tolist())
    assert (np.diff(scores) <= 1e-6).all()
    few = np.sort(generation.keys)[[3, 77, 200]]
    assert sorted(generation.dense.search(query, 10, few)[0].tolist()) == few.tolist()
    retrieval.close()
    store.close()


def test_a_damaged_copy_is_fetched_again(replica: Replica, tmp_path: Path) -> None:
    index(replica(), {"a.txt": "alpha"})
    assert texts(replica(), "alpha") == ["alpha"]
    for copy in tmp_path.glob("1/rag/shared-*/collections/c/*/rows.npz"):
        copy.write_bytes(copy.read_bytes()[:100])
    settings = RagSettings(home=tmp_path / "1")
    restarted = Retrieval(
        settings.model_copy(update={"database_url": replica()._settings.database_url}), HashEmbedder()
    )
    assert [hit.text for hit in restarted.retrieve(RetrieveRequest("c", "alpha")).hits] == ["alpha"]
    restarted.close()


def test_an_indexing_that_loses_its_connection_changes_nothing_and_others_go_on(
    replica: Replica, database_url: str, postgres: Any
) -> None:
    server = replica()
    index(server, {"a.txt": "old text"})

    def cut(_: object) -> None:
        with postgres.connected() as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'")

    with pytest.raises(StoreUnavailableError, match="was lost"):
        server.index(IndexRequest("c", documents=documents({"a.txt": "new text"})), cut)
    assert texts(server, "text") == ["old text"]
    index(replica(), {"a.txt": "newer text"})
    assert texts(server, "text") == ["newer text"]
    assert stored(database_url, "SELECT count(*) FROM cinque_rag.pieces WHERE name NOT LIKE 'part-%'") == {0}


def test_servers_that_start_at_once_all_find_a_schema(replica: Replica) -> None:
    servers = [replica() for _ in range(6)]
    found: list[object] = []

    def count(server: Retrieval) -> None:
        try:
            found.append(server.list_collections().collections)
        except RagError as error:
            found.append(error)

    threads = [threading.Thread(target=count, args=(server,)) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [()] * 6


def test_a_list_of_collections_asks_for_locks_once_and_knows_what_others_do(
    replica: Replica, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = replica()
    for name in ("one", "two", "three"):
        index(server, {"a.txt": name}, name)
    asked: list[object] = []
    held = store.locks_held
    monkeypatch.setattr(store, "locks_held", lambda database: asked.append(database) or held(database))
    other = open_store(RagSettings(home=tmp_path / "other", database_url=database_url))
    with other.exclusive("two", lambda: None):
        states = {status.collection: status.state for status in server.list_collections().collections}
    assert states == {"one": "ready", "two": "indexing", "three": "ready"}
    assert len(asked) == 1
    other.close()
