"""The peers as processes: how each is started, where it answers, and what it is asked with.

Peers get as many slots, as much context for each and as many threads as ours, and whatever makes them fastest here;
`llama-server, defaults` gets nothing but the model. All may stand at once: an idle one only holds memory.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers import building
from benchmarks.peers.client import Sample, gather, get_status, stream
from shim.doors import DOORS

START_S = 180  # a model of 0.5B loads in seconds, also beside others
POLL_S = 0.1
OK = 200


@dataclass(frozen=True)
class Load:
    """What every engine is given alike."""

    model: Path
    n_slots: int
    context_tokens: int  # of one slot
    threads: int
    end_tokens: tuple[int, ...]  # forbidden, so that all answers have one length
    folder: Path  # for logs and settings


@dataclass(frozen=True)
class Peer:
    """A server as a program."""

    name: str
    command: list[str]
    port: int
    path: str = "/v1/completions"
    health: str = "/health"
    environment: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)  # beyond OpenAI's fields

    async def measure(self, prompts: list[str], n_tokens: int) -> tuple[list[Sample], float]:
        """Ask for all prompts at once."""
        url = f"http://127.0.0.1:{self.port}{self.path}"
        options = {"stream": True, "max_tokens": n_tokens, "temperature": 0, **self.body}
        return await gather([stream(url, options | {"prompt": p}, n_expected=n_tokens) for p in prompts])


@asynccontextmanager
async def running(peer: Peer, folder: Path) -> AsyncIterator[Peer]:
    """Start a peer, wait until it answers, and end it afterwards."""
    log = folder / f"{''.join(c if c.isalnum() else '-' for c in peer.name)}.log"
    with log.open("wb") as output:
        environment = {**os.environ, **peer.environment}
        process = await asyncio.create_subprocess_exec(
            *peer.command, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        try:
            deadline_s = time.monotonic() + START_S
            while await get_status(f"http://127.0.0.1:{peer.port}{peer.health}") != OK:
                if process.returncode is not None or time.monotonic() > deadline_s:
                    tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
                    raise SystemExit(f"{peer.name} did not start:\n{tail}")
                await asyncio.sleep(POLL_S)
            yield peer
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


def cinque(load: Load) -> Peer:
    """Give ours through everything: door, MCP, engine."""
    name, port = "atlas-llama", free_port()
    ports = {door.name: 0 for door in DOORS} | {name: port}
    environment = {
        "CINQUE_HOME": str(load.folder / "home"),
        "CINQUE_PORTS": json.dumps(ports),
        "CINQUE_MCP_PORT": "0",
        "CINQUE_LOG_LEVEL": "ERROR",
        **engine_environment(load),
    }
    bias = {str(token): -100 for token in load.end_tokens}
    return Peer(
        "ours, whole stack",
        [sys.executable, "-m", "shim", "serve"],
        port,
        path="/v1/completions",
        environment=environment,
        body={"logit_bias": bias, "stream_options": {"include_usage": True}},
    )


def engine_environment(load: Load) -> dict[str, str]:
    """Give the settings of our engine."""
    return {
        "CINQUE_ENGINE_MODEL": str(load.model),
        "CINQUE_ENGINE_N_SLOTS": str(load.n_slots),
        "CINQUE_ENGINE_MAX_CONTEXT_TOKENS": str(load.context_tokens),
        "CINQUE_ENGINE_KV_CACHE_TOKENS": str(load.n_slots * load.context_tokens),
        "CINQUE_ENGINE_THREADS": str(load.threads),
    }


def llama_server(load: Load, *, is_tuned: bool) -> Peer:
    """Give llama.cpp's server, as it is fastest on a CPU, or as it comes but for a context that has room for all."""
    port = free_port()
    command = [str(building.llama_server()), "--model", str(load.model), "--port", str(port)]
    command += ["--ctx-size", str(load.n_slots * load.context_tokens)]
    if is_tuned:
        threads = str(load.threads)
        command += ["--parallel", str(load.n_slots)]
        command += ["--threads", threads, "--threads-batch", threads, "--flash-attn", "off", "--no-kv-unified"]
    bias = {str(token): -100 for token in load.end_tokens}
    name = "llama-server, tuned" if is_tuned else "llama-server, defaults"
    body = {"ignore_eos": True, "logit_bias": bias, "stream_options": {"include_usage": True}}
    return Peer(name, command, port, body=body)


def llama_cpp_server(load: Load) -> Peer:
    """Give the server inside llama-cpp-python: one request after the other."""
    port = free_port()
    options = {
        "model": load.model,
        "port": port,
        "n_ctx": load.context_tokens,
        "n_threads": load.threads,
        "n_threads_batch": load.threads,
        "interrupt_requests": False,  # a second request would end the first one
    }
    command = [sys.executable, "-m", "llama_cpp.server", *(f"--{key}={value}" for key, value in options.items())]
    bias = {str(token): -100 for token in load.end_tokens}
    paths = {"PYTHONPATH": str(building.packages())}
    return Peer("llama_cpp.server", command, port, health="/v1/models", environment=paths, body={"logit_bias": bias})


def example_server(load: Load) -> Peer:
    """Give the server among the examples of llama-cpp-python: continuous batching in one file."""
    port = free_port()
    model = {
        "path": str(load.model),
        "alias": "model",
        "n_ctx": load.n_slots * load.context_tokens,
        "n_seq_max": load.n_slots,
        "threads": load.threads,
        "threads_batch": load.threads,
        "flash_attn": False,
        "store_logits": False,
    }
    config = load.folder / "example_server.json"
    config.write_text(json.dumps({"server": {"port": port}, "model": model}), encoding="utf-8")
    command = [sys.executable, str(building.example_server()), "--config-file", str(config)]
    bias = {str(token): -100 for token in load.end_tokens}
    return Peer(
        "example server",
        command,
        port,
        health="/v1/models",
        environment={"PYTHONPATH": str(building.packages())},
        body={"model": "model", "logit_bias": bias},
    )


def free_port() -> int:
    """Give a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
