"""An index built by any row of edits is the index that would be made from nothing, and only what changed is written."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hash_embedder import HashEmbedder

from rag import merging
from rag.generation import Generation, read_generation
from rag.index import Retrieval
from rag.opening import open_store
from rag.settings import RagSettings
from rag.types import Document, IndexRequest, RetrieveRequest

WORDS = ("socket", "open_file", "parseHeader", "close", "token", "cache", "bread", "oven", "flour", "retry", "größe")
QUERIES = ("open socket", "parse the header of a token", "bread", "size größe", "nothing of it")


def generation_of(home: Path, name: str = "c") -> Generation:
    """Read from disk, so that what is compared is what was stored."""
    return open_store(RagSettings(home=home, max_open_collections=1)).load(name)[1]


def opened(home: Path) -> Retrieval:
    return Retrieval(RagSettings(home=home), HashEmbedder(), HashEmbedder("static", 32))


def index(retrieval: Retrieval, files: dict[str, str]) -> None:
    retrieval.index(IndexRequest("c", documents=tuple(Document(*item) for item in files.items())))


def a_text(choose: random.Random) -> str:
    parts = choose.randrange(4)
    bodies = [" ".join(choose.choices(WORDS, k=choose.randrange(1, 12))) for _ in range(parts)]
    return "".join(f"def {choose.choice(WORDS)}_{number}():\n    {body}\n\n" for number, body in enumerate(bodies))


def edited(files: dict[str, str], choose: random.Random) -> dict[str, str]:
    """Change, add, delete, rename and bring back a few files."""
    files = dict(files)
    for _ in range(choose.randrange(1, 6)):
        path = f"{choose.choice('abc')}/{choose.randrange(12)}.{choose.choice(('py', 'md'))}"
        turn = choose.randrange(4)
        if turn == 0 and files:
            del files[choose.choice(sorted(files))]
        elif turn == 1 and files:
            files[path] = files.pop(choose.choice(sorted(files)))
        else:
            files[path] = a_text(choose)
    return files


def answers(generation: Generation) -> dict[str, object]:
    """Say all that a query can see, without the order of rows."""
    ids = [chunk.chunk_id for chunk in generation.chunks]
    static, dense = generation.static, generation.dense
    assert generation.has_dense.all()
    assert [generation.row_of_key[key] for key in generation.keys.tolist()] == list(range(len(ids)))
    assert len(generation.row_of_key) == len(ids) == len(set(ids))
    paths = list(generation.path_numbers)
    assert [paths[number] for number in generation.path_of_row] == [chunk.path for chunk in generation.chunks]
    seen: dict[str, object] = {
        "chunks": dict(zip(ids, generation.chunks, strict=True)),
        "languages": dict(zip(paths, generation.language_of_path, strict=True)),
        "files": generation.manifest.by_path,
        "n_lines": generation.n_lines,
    }
    for query in QUERIES:
        seen[f"sparse {query}"] = dict(zip(ids, generation.sparse.scores(query).tolist(), strict=True))
        vector = HashEmbedder("static", 32).embed([query])[0]
        seen[f"static {query}"] = dict(zip(ids, static.scores(vector).tolist() if static else [], strict=True))
        if dense is not None:
            for among in (None, generation.keys[::2]):
                limit = len(ids) if among is None else len(among) + 1
                keys, scores = dense.search(HashEmbedder().embed([query])[0], limit, among)
                assert len(keys) == min(limit, len(ids) if among is None else len(among))
                assert (np.diff(scores) <= 0).all()
            keys, scores = dense.search(HashEmbedder().embed([query])[0], len(ids))
            found = {ids[generation.row_of_key[key]]: score for key, score in zip(keys.tolist(), scores, strict=True)}
            seen[f"dense {query}"] = found
    return seen


def assert_same(ours: Generation, other: Generation) -> None:
    """Compare exactly, but for cosines, which libraries add up in blocks."""
    left, right = answers(ours), answers(other)
    assert left.keys() == right.keys()
    for name, seen in left.items():
        assert seen == (
            pytest.approx(right[name], abs=1e-6) if name.startswith(("dense", "static")) else right[name]
        ), name


@pytest.mark.parametrize("seed", range(4))
def test_random_edits_end_where_an_index_from_nothing_ends(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose = random.Random(seed)  # noqa: S311 - a repeatable choice, not a secret
    monkeypatch.setattr(merging, "MAX_TAIL_CHUNKS", choose.choice((0, 5, 25, 2_000)))
    files = {f"a/{number}.py": a_text(choose) for number in range(12)}
    retrieval = opened(tmp_path / "edited")
    for turn in range(16):
        index(retrieval, files)
        if turn % 5 == 0:
            fresh = opened(tmp_path / f"fresh{turn}")
            index(fresh, files)
            assert_same(generation_of(tmp_path / "edited"), generation_of(tmp_path / f"fresh{turn}"))
        files = edited(files, choose)


def test_an_index_in_memory_is_the_one_on_disk(tmp_path: Path) -> None:
    choose = random.Random(7)  # noqa: S311 - a repeatable choice, not a secret
    files: dict[str, str] = {f"a/{number}.py": a_text(choose) for number in range(12)}
    store = open_store(RagSettings(home=tmp_path, max_open_collections=1))
    writer = opened(tmp_path)
    for _ in range(6):
        index(writer, files)
        files = edited(files, choose)
        row, following = store.load("c")  # reads what is new only
        alone = read_generation(tmp_path / "rag" / "collections" / "c", row.generation)
        assert_same(following, alone)


def test_an_edit_writes_only_what_it_changed_and_keeps_the_rest_in_memory(tmp_path: Path) -> None:
    retrieval = opened(tmp_path)
    files = {f"{number}.py": f"def part_{number}():\n    return {number}\n" for number in range(300)}
    index(retrieval, files)
    store = open_store(RagSettings(home=tmp_path, max_open_collections=1))
    before = store.load("c")[1]
    base = before.parts[0].part
    assert before.sparse.scores("part").all()
    transposed = base.postings
    files["7.py"] = "def other():\n    return 'seven'\n"
    index(retrieval, files)
    after = store.load("c")[1]
    assert after.parts[0].part is base
    assert after.parts[0].part.postings is transposed
    assert after.segments[0] is before.segments[0]
    assert [len(live.rows) for live in after.parts] == [299, 1]
    assert [len(segment.keys) for segment in after.segments] == [300, 1]


def test_the_tail_becomes_part_of_the_base_when_it_is_a_fifth_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "MAX_TAIL_CHUNKS", 20)
    retrieval = opened(tmp_path)
    files = {f"{number}.txt": f"text {number}" for number in range(100)}
    index(retrieval, files)
    sizes = []
    for number in range(45):
        files[f"{number}.txt"] = f"new text {number}"
        index(retrieval, files)
        sizes.append([len(live.rows) for live in generation_of(tmp_path).parts])
    assert {sum(of_parts) for of_parts in sizes} == {100}
    assert [turn for turn, of_parts in enumerate(sizes) if len(of_parts) == 1] == [20, 41]
    assert max(len(of_parts) for of_parts in sizes) <= 4


def test_deleting_most_of_a_collection_makes_its_index_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "MAX_TAIL_CHUNKS", 20)
    retrieval = opened(tmp_path)
    index(retrieval, {f"{number}.txt": f"text {number}" for number in range(100)})
    index(retrieval, {"1.txt": "text 1"})
    generation = generation_of(tmp_path)
    assert [live.part.n_rows for live in generation.parts] == [1]
    assert [len(segment.keys) for segment in generation.segments] == [1]


@pytest.mark.parametrize("change", ["touched", "read again"])
def test_a_file_that_had_to_be_read_to_be_found_unchanged_is_trusted_next_time(
    tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.py").write_text("x = 1\n")
    retrieval = opened(tmp_path)
    retrieval.index(IndexRequest("c", root=str(root)))
    before = generation_of(tmp_path).manifest
    if change == "touched":
        (root / "a.py").touch()
    retrieval.index(IndexRequest("c", root=str(root)))
    after = generation_of(tmp_path).manifest
    assert after.scanned_at_ns > before.scanned_at_ns
    assert (after.files[0].stat != before.files[0].stat) == (change == "touched")
    assert after.files[0].content_hash == before.files[0].content_hash
    monkeypatch.setattr("rag.manifest.RACY_NS", -10_000_000_000)  # as if ten seconds had passed
    generation = retrieval.index_status("c")
    retrieval.index(IndexRequest("c", root=str(root)))
    assert retrieval.index_status("c").updated_at >= generation.updated_at
    assert generation_of(tmp_path).manifest == after


def test_another_embedding_model_keeps_words_and_drops_vectors(tmp_path: Path) -> None:
    files = {"a.py": "def one():\n    pass\n", "b.py": "def two():\n    pass\n"}
    index(opened(tmp_path), files)
    before = generation_of(tmp_path)
    other = Retrieval(RagSettings(home=tmp_path), HashEmbedder("other", 48), HashEmbedder("static", 32))
    index(other, files)
    after = generation_of(tmp_path)
    assert [live.part.name for live in after.parts] == [live.part.name for live in before.parts]
    assert after.dense is not None
    assert (after.dense.dimensions, len(after.dense)) == (48, 2)


def test_another_static_model_makes_the_index_anew(tmp_path: Path) -> None:
    files = {"a.py": "def one():\n    pass\n"}
    index(opened(tmp_path), files)
    other = Retrieval(RagSettings(home=tmp_path), HashEmbedder(), HashEmbedder("static two", 16))
    assert other.retrieve(RetrieveRequest("c", "one")).hits[0].path == "a.py"
    index(other, files)
    static = generation_of(tmp_path).static
    assert static is not None
    assert static.scores(HashEmbedder("static two", 16).embed(["one"])[0]).shape == (1,)


def test_static_scores_are_cosines_to_a_hundredth(tmp_path: Path) -> None:
    choose = random.Random(3)  # noqa: S311 - a repeatable choice, not a secret
    index(opened(tmp_path), {f"{number}.py": a_text(choose) or "x" for number in range(20)})
    generation = generation_of(tmp_path)
    model = HashEmbedder("static", 32)
    texts = [f"{chunk.path} {chunk.symbol}".rstrip() + f"\n{chunk.text}" for chunk in generation.chunks]
    query = model.embed(["open the socket"])[0]
    assert generation.static is not None
    np.testing.assert_allclose(generation.static.scores(query), model.embed(texts) @ query, atol=0.01)


Post = Callable[..., object]


def test_an_index_without_a_static_model_has_none(post: Post, settings: RagSettings) -> None:
    post({"a.py": "x = 1\n"})
    assert generation_of(settings.home).static is None


def test_what_was_read_and_skipped_is_remembered_by_a_reopened_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.py").write_text("x = 1\n")
    (root / "data.unknown").write_bytes(b"ab\0cd")
    opened(tmp_path).index(IndexRequest("c", root=str(root)))
    before = generation_of(tmp_path).manifest
    assert [(file.path, file.reason) for file in before.skipped] == [("data.unknown", "binary")]
    monkeypatch.setattr("rag.manifest.RACY_NS", -10_000_000_000)  # as if ten seconds had passed
    report = opened(tmp_path).index(IndexRequest("c", root=str(root)))
    assert (report.n_skipped, report.skipped[0].reason) == (1, "binary")
    assert generation_of(tmp_path).manifest == before, "nothing was read, so nothing is committed"
    (root / "data.unknown").unlink()
    assert opened(tmp_path).index(IndexRequest("c", root=str(root))).n_skipped == 0
