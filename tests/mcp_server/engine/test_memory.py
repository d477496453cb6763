"""How much memory a model will take, and how much there is."""

import struct
from pathlib import Path
from typing import Any

import pytest

from mcp_server.engine.machine import cgroup_limits
from mcp_server.engine.models.catalog import EMBEDDED_PATH, ModelCatalog
from mcp_server.engine.models.memory import MemoryEstimate, default_budget_bytes, estimate_memory
from mcp_server.engine.types import Model
from mcp_server.errors import ModelLoadError

EMBEDDED = next(EMBEDDED_PATH.glob("*.gguf"))
MIB = 1 << 20


def estimate(settings: Any, name: str | None = None) -> MemoryEstimate:
    return estimate_memory(ModelCatalog(settings).resolve(name), settings)


def write_header(path: Path, **numbers: int | list[int]) -> Path:
    """Write a model of no weights whose header says what a real one's would."""
    items = {f"big.{key.replace('__', '.')}": value for key, value in numbers.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = struct.pack("<Q20sIQ3s", 20, b"general.architecture", 8, 3, b"big")
    rows = [struct.pack(f"<Q{len(key)}s", len(key), key.encode()) + number(value) for key, value in items.items()]
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1 + len(rows)) + kind + b"".join(rows) + bytes(32))
    return path


def number(value: int | list[int]) -> bytes:
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    return struct.pack(f"<IIQ{len(value)}I", 9, 4, len(value), *value)


def test_the_embedded_models_weights_and_cells_are_counted_to_the_byte(make_settings: Any) -> None:
    told = estimate(make_settings(n_slots=4, kv_layout="split"))
    assert told.weights_bytes == 5_966_848
    assert told.kv_cache_bytes == 4 * 1024 * 6 * (256 + 256) * 2, "slots, context, layers, keys and values, float16"
    assert told.total_bytes < 80 * MIB


def test_settings_that_cost_memory_are_in_the_estimate(make_settings: Any) -> None:
    plain = estimate(make_settings(kv_layout="split"))
    assert estimate(make_settings(kv_layout="split", n_slots=16)).kv_cache_bytes == 2 * plain.kv_cache_bytes
    assert estimate(make_settings(kv_layout="split", max_context_tokens=512)).kv_cache_bytes < plain.kv_cache_bytes
    q8 = estimate(make_settings(kv_layout="split", cache_type_k="q8_0", cache_type_v="q8_0"))
    assert q8.kv_cache_bytes == plain.kv_cache_bytes * 34 // 64
    unified = estimate(make_settings(kv_layout="unified", kv_cache_tokens=8192))
    assert unified.compute_bytes > plain.compute_bytes, "attention walks over everybody's cells"
    flash = estimate(make_settings(kv_layout="unified", kv_cache_tokens=8192, flash_attention="on"))
    assert flash.compute_bytes < unified.compute_bytes


def test_a_large_model_is_estimated_from_its_header_alone(make_settings: Any) -> None:
    """The numbers of a 7B model with grouped queries: 28 layers, 4 heads of 128 for keys and values."""
    settings = make_settings(n_slots=1, max_context_tokens=32768, kv_layout="split")
    write_header(
        settings.models_path / "seven.gguf",
        block_count=28,
        context_length=32768,
        embedding_length=3584,
        feed_forward_length=18944,
        attention__head_count=28,
        attention__head_count_kv=4,
        vocab_size=152064,
    )
    told = estimate(settings, "seven")
    assert told.kv_cache_bytes == 32768 * 28 * 4 * (128 + 128) * 2
    assert told.compute_bytes > 512 * 32768 * 28 * 4
    assert told.vocabulary_bytes > 50 * MIB


def test_a_model_with_states_in_place_of_attention_has_those(make_settings: Any) -> None:
    settings = make_settings(n_slots=2)
    write_header(
        settings.models_path / "mamba.gguf",
        block_count=10,
        context_length=4096,
        embedding_length=768,
        attention__head_count=0,
        ssm__conv_kernel=4,
        ssm__inner_size=1536,
        ssm__state_size=16,
    )
    assert estimate(settings, "mamba").kv_cache_bytes == 2 * 10 * (3 * 1536 + 1536 * 16) * 4


def test_a_damaged_file_has_no_estimate(make_settings: Any, tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(EMBEDDED.read_bytes()[:-1])
    model = Model("bad", str(path), "local", path.stat().st_size, 0, is_default=False, is_loaded=False)
    with pytest.raises(ModelLoadError, match=r"bad\.gguf is truncated"):
        estimate_memory(model, make_settings())


def test_limits_of_all_groups_on_the_way_up_hold_in_both_versions(tmp_path: Path) -> None:
    def limit(place: str, name: str, text: str) -> None:
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / name).write_text(text)

    limit("user.slice/app.scope", "memory.max", "max\n")
    limit("user.slice", "memory.high", "7000\n")
    limit("user.slice", "memory.max", "8000\n")
    limit("memory/docker", "memory.limit_in_bytes", "9000\n")
    assert sorted(cgroup_limits("0::/user.slice/app.scope\n", tmp_path)) == [7000, 8000]
    assert cgroup_limits("4:memory:/docker/abc\n3:cpuset:/x\n", tmp_path) == [9000]
    assert cgroup_limits("", tmp_path) == []


def test_the_default_budget_is_a_share_of_what_there_is() -> None:
    assert 0 < default_budget_bytes() < 1 << 44
