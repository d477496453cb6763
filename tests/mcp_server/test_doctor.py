"""The doctor: what it says of the native library, of models.toml and of remote models; the probe dies alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mcp_server import doctor as doctor_module
from mcp_server.contract import Finding, Model
from mcp_server.doctor import Doctor
from mcp_server.engine.probe import ProbeReport
from mcp_server.engine.remote.settings import RemoteModel
from mcp_server.settings import McpSettings
from rag.index import Retrieval
from rag.settings import RagSettings
from tests.fakes import ScriptedEngine
from tests.stack import SCRIPTED_NOTICE, ScriptedCatalog, ScriptedSandbox
from tests.upstreams import EngineUpstream, serving, unused_url

REPORT = ProbeReport(
    version="0.3.36",
    model_id="tiny",
    tokens_per_s=512.3,
    supports_gpu=False,
    devices=({"name": "CPU", "description": "Xeon", "kind": "CPU", "free_bytes": 8 * 10**9, "total_bytes": 8 * 10**9},),
    features=("AVX2", "AMX_INT8"),
    n_threads=2,
    n_slots=8,
    kv_layout="split",
    flash_attention=False,
    settings={"cache_type_k": "f16", "cache_type_v": "q8_0", "gpu_layers": -1, "mmap": True},
)


class MixedCatalog(ScriptedCatalog):
    """A scripted catalogue with remote models and mistakes."""

    def __init__(self, *remotes: RemoteModel, problems: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._remotes = remotes
        self._problems = problems

    def remotes(self) -> tuple[RemoteModel, ...]:
        return self._remotes

    def problems(self) -> tuple[str, ...]:
        return self._problems

    def resolve(self, name: str | None) -> Model:
        if not self._remotes:
            return super().resolve(name)
        remote = self._remotes[0]
        return Model(remote.model_id, remote.urls[0], "remote", 0, 0, is_default=True, is_loaded=False)


def diagnose(home: Path, catalog: MixedCatalog) -> dict[str, Finding]:
    """Examine an installation; of findings with one name, the last."""
    retrieval = Retrieval(RagSettings(home=home, dense=False))
    try:
        findings = Doctor(McpSettings(home=home), catalog, ScriptedSandbox(), retrieval).findings()
    finally:
        retrieval.close()
    return {finding.name: finding for finding in findings}


def pretend(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """Let the doctor start a program of ours in the place of Python."""
    program = folder / "python"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


def report(**changes: object) -> str:
    """A probe that prints a report."""
    return f"cat <<'END'\n{json.dumps({**vars(REPORT), **changes})}\nEND"


def test_the_probe_tells_what_was_used() -> None:
    command = [sys.executable, "-P", "-m", "mcp_server.engine.probe"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=15)
    told = ProbeReport(**json.loads(ended.stdout))
    assert told.model_id == "cinque-tiny-v0"
    assert told.tokens_per_s > 0
    assert told.n_threads >= 1
    assert told.kv_layout in ("split", "unified")
    assert any(device["kind"] == "CPU" and device["total_bytes"] > 0 for device in told.devices)
    assert told.features


def test_an_embedded_model_is_told_in_the_words_of_the_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, tmp_path, report())
    found = diagnose(tmp_path, MixedCatalog())["model"]
    assert (found.state, found.detail) == ("degraded", SCRIPTED_NOTICE)
    assert found.fix == "cinque models pull OWNER/NAME FILE.gguf"


def test_what_computes_and_how_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, tmp_path, report())
    monkeypatch.setattr(doctor_module, "NVIDIA_DRIVER", tmp_path / "absent")
    found = diagnose(tmp_path, MixedCatalog())
    assert found["llama.cpp"].detail == "llama-cpp-python 0.3.36, 512 tokens/s with tiny"
    assert found["devices"].state == "ok"
    assert found["devices"].detail == "CPU (Xeon, CPU, 8.0 GB); AVX2 AMX_INT8"
    told = "2 threads for tiny, 8 slots, split KV cache of f16 and q8_0, flash attention off, mmap"
    assert found["computation"].detail == told


def test_a_gpu_that_lies_idle_is_told_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, tmp_path, report())
    monkeypatch.setattr(doctor_module, "NVIDIA_DRIVER", tmp_path)
    idle = diagnose(tmp_path, MixedCatalog())["devices"]
    assert (idle.state, idle.fix) == ("degraded", "install the CUDA toolkit, then make setup")
    pretend(monkeypatch, tmp_path, report(supports_gpu=True))
    used = diagnose(tmp_path, MixedCatalog())
    assert used["devices"].state == "ok"
    assert "all layers on the GPU" in used["computation"].detail


@pytest.mark.parametrize(
    ("script", "words"),
    [("kill -SEGV $$", "status -11"), ("echo no model >&2; exit 3", "status 3: no model")],
    ids=["crash", "error"],
)
def test_a_native_library_that_dies_is_a_finding_and_takes_nothing_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str
) -> None:
    pretend(monkeypatch, tmp_path, script)
    found = diagnose(tmp_path, MixedCatalog())
    assert found["llama.cpp"].state == "missing"
    assert words in found["llama.cpp"].detail
    assert found["sandbox"].state == "ok"


def test_servers_of_remote_models_are_asked_and_mistakes_in_models_toml_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, tmp_path, report())
    dead = unused_url()
    with serving(EngineUpstream(ScriptedEngine(), 1024)) as url:
        alive = RemoteModel("alive", (url,), is_default=True)
        catalog = MixedCatalog(alive, RemoteModel("dead", (dead,)), problems=("line 3: no such field",))
        found = diagnose(tmp_path, catalog)
    assert found["model"].detail == f"alive, remote at {url}"
    assert (found["remote alive"].state, found["remote alive"].detail) == ("ok", f"{url} answers")
    assert (found["remote dead"].state, found["remote dead"].cost) == ("degraded", "dead does not answer")
    assert found["models.toml"].detail == "line 3: no such field"
