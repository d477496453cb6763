"""Backends of the dense embedder: they agree, a choice is kept, what is damaged is made anew, and no query waits."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rag import conversion, converted_model
from rag.conversion import ConversionRequest, probe_texts
from rag.embedding import SentenceTransformerEmbedder
from rag.errors import EmbeddingUnavailableError
from rag.settings import RagSettings
from rag.text_model import Lanes

Vectors = NDArray[np.float32]

ROOT = Path(converted_model.__file__).parents[1]
CONVERTED = ("openvino", "onnx")

# The first test that needs it waits for a conversion, in a process that loads torch.
pytestmark = [pytest.mark.sweep, pytest.mark.timeout(240)]


@pytest.fixture(scope="session")
def converted_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that all workers of a test run share, so that each backend is converted once."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "converted-models"


@pytest.fixture(params=CONVERTED)
def converted(request: pytest.FixtureRequest, converted_home: Path) -> SentenceTransformerEmbedder:
    embedder = SentenceTransformerEmbedder(RagSettings(home=converted_home, embedding_backend=request.param))
    assert embedder.backend == request.param
    return embedder


def test_every_backend_makes_the_vectors_of_torch(
    converted: SentenceTransformerEmbedder, minilm: SentenceTransformerEmbedder
) -> None:
    texts = [*probe_texts(), "where is the header of a request parsed?", ""]
    made, true = converted.embed(texts), minilm.embed(texts)
    cosines = (made * true).sum(axis=1)
    assert cosines.mean() >= 0.99
    assert cosines.min() >= 0.97
    assert np.mean((made @ made.T - true @ true.T) ** 2) ** 0.5 <= 0.02, "neighbours would change"


def test_a_text_alone_has_the_vector_that_it_has_among_others(converted: SentenceTransformerEmbedder) -> None:
    texts = probe_texts()
    alone = np.concatenate([converted.embed([text]) for text in texts[:8]])
    assert (converted.embed(texts)[:8] * alone).sum(axis=1).min() >= 0.98


def test_vectors_of_a_backend_are_normalised_rows_of_float32(converted: SentenceTransformerEmbedder) -> None:
    vectors = converted.embed(["def add(a, b): return a + b", "", "x" * 50_000, "größe 数据"])
    assert (vectors.shape, vectors.dtype) == ((4, converted.dimensions), np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert converted.embed([]).shape == (0, converted.dimensions)


def test_a_later_start_imports_neither_torch_nor_transformers_and_says_nothing(
    converted: SentenceTransformerEmbedder, converted_home: Path
) -> None:
    program = (
        "import sys; from pathlib import Path; from rag.embedding import SentenceTransformerEmbedder as Embedder; "
        "from rag.settings import RagSettings; "
        f"e = Embedder(RagSettings(home=Path({str(converted_home)!r}), embedding_backend={converted.backend!r})); "
        "e.embed(['x']); e.embed(['y', 'z']); "
        "print([m for m in ('torch', 'transformers', 'sentence_transformers', 'onnx', 'openvino_telemetry') "
        "if sys.modules.get(m)])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, cwd=ROOT)
    assert (done.stdout.strip(), done.stderr) == (b"[]", b"")


def test_auto_tries_what_is_installed_and_keeps_to_the_fastest_that_agrees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write_small_model(tmp_path / "source", "mean")
    settings = RagSettings(home=tmp_path / "home", embedding_model=str(tmp_path / "source"))
    backend = SentenceTransformerEmbedder(settings).backend
    (choice_file,) = (tmp_path / "home").glob("rag/models/*/auto/choice.json")
    result = json.loads(choice_file.read_text())["result"]
    assert set(result["texts_per_s"]) == {"torch", *CONVERTED}
    fit = [name for name, cosine in result["agreement"].items() if cosine >= conversion.MIN_AGREEMENT]
    assert backend == max(fit, key=result["texts_per_s"].__getitem__)
    monkeypatch.setattr(converted_model, "_run_conversion", _must_not_run)
    assert SentenceTransformerEmbedder(settings).backend == backend


@pytest.fixture
def copied(converted_home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """A home whose conversions copy a real one, and a way to count them."""
    SentenceTransformerEmbedder(RagSettings(home=converted_home, embedding_backend="onnx")).embed(["x"])
    (folder,) = converted_home.glob("rag/models/*/onnx")
    made: list[dict[str, Any]] = []

    def copy(request: dict[str, Any], _check: Callable[[], None]) -> dict[str, Any]:
        made.append(request)
        for name in ("int8.onnx", "tokenizer.json"):
            shutil.copy(folder / name, request["folder"])
        result: dict[str, Any] = json.loads((folder / "choice.json").read_text())["result"]
        return result

    monkeypatch.setattr(converted_model, "_run_conversion", copy)
    return lambda: len(made)


@pytest.mark.parametrize("name", ["int8.onnx", "tokenizer.json", "choice.json"])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_damaged_converted_model_is_made_anew(
    tmp_path: Path, copied: Callable[[], int], name: str, damage: str
) -> None:
    before = _onnx(tmp_path).embed(["open a file"])
    (file,) = (tmp_path / "rag" / "models").glob(f"*/onnx/{name}")
    content = bytearray(file.read_bytes())
    if damage == "gone":
        file.unlink()
    else:
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content if damage == "changed" else content[: len(content) // 2])
    np.testing.assert_array_equal(_onnx(tmp_path).embed(["open a file"]), before)
    assert copied() == 2
    _onnx(tmp_path).embed(["x"])
    assert copied() == 2, "what was made anew is whole"


def test_other_weights_versions_and_machines_ask_for_another_conversion(
    tmp_path: Path, copied: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    _onnx(tmp_path).embed(["x"])
    for number, (name, value) in enumerate(
        [
            ("_machine", lambda: "another"),
            ("_source_now", lambda _settings: {"model.safetensors": [1, 2]}),
            ("CONVERSION_VERSION", 0),
        ],
        start=2,
    ):
        monkeypatch.setattr(converted_model, name, value)
        if name == "_source_now":  # and it stays other than what conversion finds
            with pytest.raises(EmbeddingUnavailableError, match="changed while it was read"):
                _onnx(tmp_path).embed(["x"])
            monkeypatch.setattr(converted_model, name, lambda _settings: None)
        _onnx(tmp_path).embed(["x"])
        assert copied() == number


def test_two_threads_that_start_together_convert_once(tmp_path: Path, copied: Callable[[], int]) -> None:
    threads = [threading.Thread(target=lambda: _onnx(tmp_path).embed(["x"])) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert copied() == 1


def test_a_backend_that_is_not_installed_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(converted_model.PACKAGES, "onnx", ("no-such-package",))
    with pytest.raises(EmbeddingUnavailableError, match="pip install no-such-package"):
        _onnx(tmp_path).embed(["x"])


def test_without_weights_a_backend_says_how_to_get_them_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    settings = RagSettings(home=tmp_path, embedding_model="nobody/no-such-model")
    with pytest.raises(EmbeddingUnavailableError, match="CINQUE_RAG_EMBEDDING_MODEL"):
        SentenceTransformerEmbedder(settings).embed(["x"])
    assert [path.suffix for path in tmp_path.glob("rag/models/*/*")] == [".lock"]


@pytest.mark.filterwarnings("ignore")  # of tracing, as in the process that converts
@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_usual_models_of_every_pooling_run_on_every_backend(tmp_path: Path, pooling: str) -> None:
    source, made = tmp_path / "source", tmp_path / "made"
    made.mkdir()
    _write_small_model(source, pooling)
    result = conversion.convert(ConversionRequest(str(source), str(made), ("openvino", "onnx", "torch"), 1, 4))
    assert result.failures == {}
    assert min(result.agreement.values()) >= conversion.MIN_AGREEMENT
    assert set(result.agreement) == {"torch", *CONVERTED}


@pytest.mark.filterwarnings("ignore")  # as above
def test_a_model_with_a_prompt_of_its_own_runs_on_torch_alone(tmp_path: Path) -> None:
    source, made = tmp_path / "source", tmp_path / "made"
    made.mkdir()
    _write_small_model(source, "mean", prompts={"query": "search: "}, default_prompt_name="query")
    result = conversion.convert(ConversionRequest(str(source), str(made), ("openvino", "onnx", "torch"), 1, 4))
    assert result.backend == "torch"
    assert set(result.failures) == set(CONVERTED)


class StagedModel:
    """A lane that writes down what it embeds, and waits inside where it is told to."""

    def __init__(self, log: list[str], name: str, may_go_on: threading.Event | None = None) -> None:
        self._log = log
        self._name = name
        self._may_go_on = may_go_on
        self.is_inside = threading.Event()

    def embed(self, texts: Sequence[str]) -> Vectors:
        self._log.append(f"{self._name} begins {len(texts)}")
        self.is_inside.set()
        if self._may_go_on is not None:
            assert self._may_go_on.wait(10)
        self._log.append(f"{self._name} ends {len(texts)}")
        return np.full((len(texts), 4), 0.5, dtype=np.float32)


def test_a_query_is_embedded_while_a_batch_is_still_inside_the_model(tmp_path: Path) -> None:
    log: list[str] = []
    may_go_on = threading.Event()
    batch = StagedModel(log, "batch", may_go_on)
    lanes = Lanes(StagedModel(log, "single"), lambda: batch)
    embedder = SentenceTransformerEmbedder(RagSettings(home=tmp_path), lambda _settings: ("staged", lanes))
    filling = threading.Thread(target=lambda: embedder.embed(["a", "b", "c"]))
    filling.start()
    assert batch.is_inside.wait(10)
    embedder.embed(["query one"])
    embedder.embed(["query two"])
    may_go_on.set()
    filling.join()
    singles = [line for line in log if line.startswith("single")]
    assert singles == ["single begins 1", "single ends 1"] * 3, "to warm up, then two queries"
    assert log[-1] == "batch ends 3"


def test_the_lane_for_batches_is_opened_by_the_first_batch_only(tmp_path: Path) -> None:
    opened: list[str] = []

    def open_batch() -> StagedModel:
        opened.append("batch")
        return StagedModel([], "batch")

    lanes = Lanes(StagedModel([], "single"), open_batch)
    embedder = SentenceTransformerEmbedder(RagSettings(home=tmp_path), lambda _settings: ("staged", lanes))
    assert not embedder.is_loaded
    assert embedder.dimensions == 4
    assert embedder.is_loaded
    assert opened == []
    embedder.embed(["a", "b"])
    embedder.embed(["a", "b"])
    assert opened == ["batch"]


def _onnx(home: Path) -> SentenceTransformerEmbedder:
    return SentenceTransformerEmbedder(RagSettings(home=home, embedding_backend="onnx"))


def _must_not_run(_request: dict[str, Any]) -> dict[str, Any]:
    raise AssertionError("converted a second time")


def _write_small_model(folder: Path, pooling: str, **config: Any) -> None:
    """Write a random model of one layer, with the words of the probe texts for a vocabulary."""
    import sentence_transformers  # noqa: PLC0415 - tests that make no model need not load torch
    import tokenizers  # noqa: PLC0415 - as above
    import torch  # noqa: PLC0415 - as above
    import transformers  # noqa: PLC0415 - as above
    from sentence_transformers import models  # noqa: PLC0415 - as above

    torch.manual_seed(0)
    tokenizer = tokenizers.BertWordPieceTokenizer()
    tokenizer.train_from_iterator(probe_texts(), vocab_size=800, show_progress=False)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer._tokenizer,  # the classic wrapper hides what it wraps
        **{f"{name}_token": f"[{name.upper()}]" for name in ("cls", "sep", "pad", "unk", "mask")},
    )
    bert = transformers.BertModel(
        transformers.BertConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
        )
    )
    base = folder.with_name("base")
    bert.save_pretrained(base)
    fast.save_pretrained(base)
    transformer = models.Transformer(str(base), max_seq_length=64)
    modules = [transformer, models.Pooling(32, pooling_mode=pooling), models.Normalize()]
    sentence_transformers.SentenceTransformer(modules=modules, device="cpu", **config).save(str(folder))


class _GaveUpError(Exception):
    """Raised by a caller that no longer wants the model."""


def test_a_conversion_that_is_no_longer_wanted_is_killed_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    wait = converted_model._wait

    def watched(process: "subprocess.Popen[bytes]", check: Callable[[], None]) -> bytes:
        started.append(process)
        return wait(process, check)

    def check() -> None:
        if started:
            raise _GaveUpError

    monkeypatch.setattr(converted_model, "_wait", watched)
    monkeypatch.setattr(converted_model, "find_weights", lambda _model, hub_timeout_s: tmp_path)  # noqa: ARG005 - named so
    settings = RagSettings(home=tmp_path / "home")
    with pytest.raises(_GaveUpError):
        converted_model.prepare(settings, check)
    assert started[0].returncode == -signal.SIGKILL
    left = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert [path.name for path in left] == ["auto.lock"]
