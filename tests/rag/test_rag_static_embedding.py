"""The static model: what it ships with, how its vectors come about, and what it may import."""

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hash_embedder import HashEmbedder

from rag.index import Retrieval
from rag.settings import RagSettings
from rag.static_embedding import STATIC_DIMENSIONS, StaticEmbedder, quantise, split_identifiers
from rag.static_vectors import Floats
from rag.types import Document, IndexProgress, IndexRequest

MAX_SHIPPED_BYTES = 9_000_000
MODEL = Path(__file__).parents[2] / "rag" / "static_model"


def test_the_model_is_small_enough_to_ship_and_says_where_it_came_from() -> None:
    assert sum(file.stat().st_size for file in MODEL.iterdir()) <= MAX_SHIPPED_BYTES
    assert json.loads((MODEL / "model.json").read_text())["distilled_from"].endswith("all-MiniLM-L6-v2")


def test_a_question_finds_the_function_that_it_describes() -> None:
    embedder = StaticEmbedder()
    functions = embedder.embed(
        [
            "def open_socket(host, port):\n    return socket.create_connection((host, port))",
            "def parseHttpHeader(line):\n    name, _, value = line.partition(':')",
            "def remove_file(path):\n    os.unlink(path)",
        ]
    )
    for query, row in (("connect to a network address", 0), ("read a header of HTTP", 1), ("delete a file", 2)):
        assert int((functions @ embedder.embed([query])[0]).argmax()) == row


def test_words_of_camel_case_names_count_as_words() -> None:
    assert split_identifiers("parseHTTPHeader utf8String ABC x") == "parse HTTP Header utf8 String ABC x"
    embedder = StaticEmbedder()
    joined, apart = embedder.embed(["parseHeaderLine", "parse header line"])
    np.testing.assert_allclose(joined, apart, atol=1e-6)


def test_a_text_without_a_token_is_near_nothing_but_still_a_unit_vector() -> None:
    vectors = StaticEmbedder().embed(["", " \n\t", "[PAD] [CLS]"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_the_vectors_of_two_instances_are_equal() -> None:
    texts = ["def f(x): return x", "größe 数据", "a b c"]
    np.testing.assert_array_equal(StaticEmbedder().embed(texts), StaticEmbedder().embed(texts))


def test_threads_that_come_first_together_get_the_same_vectors() -> None:
    embedder, found = StaticEmbedder(), []
    threads = [threading.Thread(target=lambda: found.append(embedder.embed(["open a file"]))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(np.array_equal(found[0], vectors) for vectors in found)


def test_a_quantised_row_is_within_half_a_step_of_the_row() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    rows[7] = 0
    quantised, scales = quantise(rows)
    assert quantised.dtype == np.int8
    assert np.all(np.abs(quantised * scales - rows) <= scales / 2 + 1e-6)


@pytest.mark.parametrize("module", ["torch", "transformers", "sentence_transformers", "openvino", "onnxruntime"])
def test_embedding_imports_no_runtime(module: str) -> None:
    program = (
        "import sys; from rag.static_embedding import StaticEmbedder; StaticEmbedder().embed(['x']); "
        f"print({module!r} in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, cwd=MODEL.parents[1])
    assert done.stdout.strip() == b"False"


def test_the_name_and_the_dimensions_load_nothing() -> None:
    absent = StaticEmbedder(Path("/absent"))
    assert (absent.name, absent.dimensions) == ("cinque-static-256-v1", STATIC_DIMENSIONS)


def test_static_vectors_of_a_large_index_tell_how_far_they_are(tmp_path: Path) -> None:
    """Each step waits until the one before it was told of, so a silent indexing would not end."""
    told = [threading.Event() for _ in range(3)]

    class Slow:
        name = "slow"

        def __init__(self) -> None:
            self.n_steps = 0

        def embed(self, texts: Sequence[str]) -> Floats:
            assert self.n_steps == 0 or told[self.n_steps - 1].wait(10)
            self.n_steps += 1
            return np.ones((len(texts), 4), dtype=np.float32) / 2

    seen: list[IndexProgress] = []

    def on_progress(step: IndexProgress) -> None:
        if step.stage == "weighing":
            seen.append(step)
            for event in told[: step.done // 512]:
                event.set()

    documents = tuple(Document(f"{number}.txt", f"text {number}") for number in range(1_500))
    retrieval = Retrieval(RagSettings(home=tmp_path), HashEmbedder(), Slow())
    retrieval.index(IndexRequest("c", documents=documents), on_progress)
    retrieval.close()
    assert {step.total for step in seen} == {1_500}
    assert [step.done for step in seen] == [0, 512, 1_024, 1_500]
