"""Models with random weights, a real vocabulary and a chosen shape: what an engine can be tested on without downloads.

`random_model("qwen2", arch="qwen2", layers=4)` gives the path of one, made once a machine and kept in the cache. Greedy
outputs are senseless but varied: the blocks outweigh the embedding, and logits have a deviation of about one, so ties
are rare. The GGUF is written here and not by the gguf package's writer, because its reader takes 15 to 40 s for a
vocabulary of 150,000 to 260,000 tokens; the entries of the tokenizer are copied as bytes instead.
"""

import hashlib
import mmap
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, quant_shape_to_byte_shape
from gguf.quants import quantize

from tests.llama_source import cache, vocabulary

Kind = Literal["F32", "F16", "Q8_0", "Q4_0"]
Array = npt.NDArray[Any]

FORMAT = 1  # of the files this makes; counted up when they change, because they are kept in the cache
ALIGNMENT = 32  # bytes, between tensors
FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 7}  # general.file_type
UINT32, FLOAT32, BOOL, STRING, ARRAY = 4, 6, 7, 8, 9  # types of values
SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # type of value -> bytes
EMBEDDING_GAIN = 0.25  # so that the next token depends on the blocks more than on the last token
POOLING_RANK = 4  # llama.cpp's number of a ranking head


@dataclass(frozen=True)
class Shape:
    """What a random model looks like. Defaults make the smallest that still has groups of heads."""

    arch: str = "llama"  # llama | qwen2 | gemma | gemma2 | gemma3 | bert (a reranker)
    layers: int = 2
    dim: int = 64
    ff: int = 128
    heads: int = 4
    kv_heads: int = 2
    context: int = 2048
    kind: Kind = "F32"
    seed: int = 0
    window: int = 32  # of attention in gemma2 and gemma3 (tokens)
    chat_template: str | None = None  # instead of the vocabulary's own

    @property
    def head_dim(self) -> int:
        """Length of one head."""
        return self.dim // self.heads


@dataclass(frozen=True)
class Tensor:
    """One tensor to be filled: `deviation` 0 means all of `mean`."""

    name: str
    shape: tuple[int, ...]  # rows first, as in NumPy
    deviation: float
    mean: float = 0.0
    is_exact: bool = False  # stays F32 whatever the kind

    def kind(self, kind: Kind) -> GGMLQuantizationType:
        """Give the type that it is stored in."""
        return GGMLQuantizationType["F32" if self.is_exact else kind]

    def n_bytes(self, kind: Kind) -> int:
        """Count its bytes in the file, without padding."""
        stored = self.kind(kind)
        if stored in (GGMLQuantizationType.F32, GGMLQuantizationType.F16):
            return int(np.prod(self.shape)) * (4 if stored == GGMLQuantizationType.F32 else 2)
        return int(np.prod(quant_shape_to_byte_shape(self.shape, stored)))

    def fill(self, kind: Kind, generator: np.random.Generator) -> bytes:
        """Draw its values and give them as they are stored."""
        values = np.full(self.shape, self.mean, np.float32)
        if self.deviation:
            values += generator.standard_normal(self.shape, np.float32) * np.float32(self.deviation)
        return bytes(quantize(values, self.kind(kind)).tobytes())


def random_model(vocabulary_name: str, **shape: Any) -> Path:
    """Give a model of this shape, made now or kept from before; it is shared, so nobody may change the file."""
    wanted = Shape(**shape)
    described = repr((FORMAT, vocabulary_name, sorted(asdict(wanted).items())))
    key = hashlib.sha256(described.encode()).hexdigest()[:16]
    path = cache() / "models" / f"random-{wanted.arch}-{wanted.dim}x{wanted.layers}-{wanted.kind}-{key}.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            make_random_gguf(Path(folder) / path.name, vocabulary_name, **shape).replace(path)
    return path


def make_random_gguf(path: Path, vocabulary_name: str | Path, **shape: Any) -> Path:
    """Write a model.

    Args:
        path: of the new file.
        vocabulary_name: one of the source archive's, such as `qwen2`, or the path of a GGUF that has a tokenizer.
        shape: fields of `Shape`.
    """
    wanted = Shape(**shape)
    given = vocabulary_name if isinstance(vocabulary_name, Path) else vocabulary(vocabulary_name)
    tokenizer, n_vocab = _read_tokenizer(given, drops_template=wanted.chat_template is not None)
    entries = [*_entries(wanted), *tokenizer]
    tensors = list(_tensors(wanted, n_vocab))
    generator = np.random.default_rng(wanted.seed)
    with path.open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries)) + b"".join(entries))
        file.write(_table(tensors, wanted.kind))
        file.write(bytes(-file.tell() % ALIGNMENT))
        for tensor in tensors:
            file.write(tensor.fill(wanted.kind, generator))
            file.write(bytes(-file.tell() % ALIGNMENT))
    return path


def _entries(shape: Shape) -> Iterator[bytes]:
    """Give the metadata of the network."""
    yield _entry("general.architecture", shape.arch)
    yield _entry("general.name", f"random-{shape.arch}-{shape.dim}x{shape.layers}")
    yield _entry("general.file_type", FILE_TYPES[shape.kind])
    yield _entry("general.quantization_version", 2)
    if shape.chat_template is not None:
        yield _entry("tokenizer.chat_template", shape.chat_template)
    network: dict[str, Any] = {
        "block_count": shape.layers,
        "context_length": shape.context,
        "embedding_length": shape.dim,
        "feed_forward_length": shape.ff,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.heads if shape.arch == "bert" else shape.kv_heads,
    }
    if shape.arch == "bert":
        network |= {"attention.layer_norm_epsilon": 1e-12, "attention.causal": False, "pooling_type": POOLING_RANK}
    else:
        network |= {
            "rope.dimension_count": shape.head_dim,
            "rope.freq_base": 10000.0,
            "attention.layer_norm_rms_epsilon": 1e-6,
            "attention.key_length": shape.head_dim,
            "attention.value_length": shape.head_dim,
        }
    if shape.arch in ("gemma2", "gemma3"):
        network["attention.sliding_window"] = shape.window
    for key, value in network.items():
        yield _entry(f"{shape.arch}.{key}", value)


def _tensors(shape: Shape, n_vocab: int) -> Iterator[Tensor]:
    """List the tensors that llama.cpp expects of the architecture."""
    yield _matrix("token_embd", n_vocab, shape.dim, gain=EMBEDDING_GAIN)
    if shape.arch == "bert":
        yield from _bert_head(shape)
    else:
        yield _norm("output_norm", shape.dim, mean=1 / EMBEDDING_GAIN)  # the embedding is the output matrix too
    for i in range(shape.layers):
        block = _bert_block(shape) if shape.arch == "bert" else _block(shape)
        yield from (Tensor(f"blk.{i}.{t.name}", t.shape, t.deviation, t.mean, t.is_exact) for t in block)


def _block(shape: Shape) -> Iterator[Tensor]:
    dim, kv_dim = shape.dim, shape.kv_heads * shape.head_dim
    yield _norm("attn_norm", dim)
    for name, rows in (("attn_q", dim), ("attn_k", kv_dim), ("attn_v", kv_dim)):
        yield _matrix(name, rows, dim)
        if shape.arch == "qwen2":
            yield _bias(name, rows)
    yield _matrix("attn_output", dim, dim)
    if shape.arch == "gemma3":
        yield _norm("attn_q_norm", shape.head_dim)
        yield _norm("attn_k_norm", shape.head_dim)
    if shape.arch in ("gemma2", "gemma3"):
        yield _norm("post_attention_norm", dim)
        yield _norm("post_ffw_norm", dim)
    yield _norm("ffn_norm", dim)
    yield _matrix("ffn_gate", shape.ff, dim)
    yield _matrix("ffn_up", shape.ff, dim)
    yield _matrix("ffn_down", dim, shape.ff)


def _bert_head(shape: Shape) -> Iterator[Tensor]:
    yield _matrix("token_types", 2, shape.dim)
    yield _matrix("position_embd", shape.context, shape.dim)
    for name, rows in (("cls", shape.dim), ("cls.output", 1)):
        yield _matrix(name, rows, shape.dim)
        yield _bias(name, rows)
    yield _norm("token_embd_norm", shape.dim)
    yield _bias("token_embd_norm", shape.dim)


def _bert_block(shape: Shape) -> Iterator[Tensor]:
    dim = shape.dim
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        yield _matrix(name, dim, dim)
        yield _bias(name, dim)
    for name, rows, columns in (("ffn_up", shape.ff, dim), ("ffn_down", dim, shape.ff)):
        yield _matrix(name, rows, columns)
        yield _bias(name, rows)
    for name in ("attn_output_norm", "layer_output_norm"):
        yield _norm(name, dim)
        yield _bias(name, dim)


def _matrix(name: str, rows: int, columns: int, *, gain: float = 1.0) -> Tensor:
    return Tensor(f"{name}.weight", (rows, columns), gain * columns**-0.5)


def _norm(name: str, dim: int, *, mean: float = 1.0) -> Tensor:
    return Tensor(f"{name}.weight", (dim,), deviation=0.0, mean=mean, is_exact=True)


def _bias(name: str, dim: int) -> Tensor:
    return Tensor(f"{name}.bias", (dim,), deviation=0.02, is_exact=True)


def _entry(key: str, value: Any) -> bytes:
    """Encode one key and its value."""
    match value:
        case bool():
            kind, data = BOOL, struct.pack("<?", value)
        case int():
            kind, data = UINT32, struct.pack("<I", value)
        case float():
            kind, data = FLOAT32, struct.pack("<f", value)
        case _:
            kind, data = STRING, _string(value)
    return _string(key) + struct.pack("<I", kind) + data


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _table(tensors: list[Tensor], kind: Kind) -> bytes:
    """Encode names, shapes, types and places of the tensors."""
    rows, offset = [], 0
    for tensor in tensors:
        shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *reversed(tensor.shape))
        rows.append(_string(tensor.name) + shape + struct.pack("<IQ", tensor.kind(kind), offset))
        offset += -(-tensor.n_bytes(kind) // ALIGNMENT) * ALIGNMENT
    return b"".join(rows)


def _read_tokenizer(path: Path, *, drops_template: bool) -> tuple[list[bytes], int]:
    """Give the tokenizer's entries as they stand in the file, and the number of tokens."""
    entries, n_vocab = [], 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        _, _, n_entries = struct.unpack_from("<IQQ", data, 4)
        at = 24
        for _ in range(n_entries):
            begin, (length,) = at, struct.unpack_from("<Q", data, at)
            key = data[at + 8 : at + 8 + length].decode()
            at += 8 + length
            (kind,) = struct.unpack_from("<I", data, at)
            if key == "tokenizer.ggml.tokens":
                (n_vocab,) = struct.unpack_from("<Q", data, at + 8)
            at = _skip(data, at + 4, kind)
            is_dropped = drops_template and key == "tokenizer.chat_template"
            if key.startswith("tokenizer.") and not is_dropped:
                entries.append(data[begin:at])
    return entries, n_vocab


def _skip(data: mmap.mmap, at: int, kind: int) -> int:
    """Give where the value that begins at `at` ends."""
    if kind in SCALARS:
        return at + SCALARS[kind]
    if kind == STRING:
        return at + 8 + int(struct.unpack_from("<Q", data, at)[0])
    assert kind == ARRAY
    item, n = struct.unpack_from("<IQ", data, at)
    at += 12
    if item in SCALARS:
        return at + int(n) * SCALARS[item]
    unpack = struct.Struct("<Q").unpack_from
    for _ in range(n):
        at += 8 + unpack(data, at)[0]
    return at
