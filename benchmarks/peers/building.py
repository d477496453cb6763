"""Builds the peers from the source archive of llama-cpp-python, once a machine, with the flags of our own wheel.

Everything lands in `CINQUE_CACHE/peers/<key>`, the key being that of the wheel of `scripts/setup`: the same compiler,
flags and CPU. llama-server takes 11 minutes on two cores; the packages of the Python servers take one.
"""

import fcntl
import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from tests.llama_source import cache, source_archive

ROOT = Path(__file__).resolve().parent.parent.parent
CMAKE_OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_NATIVE=ON",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
)
PACKAGES = (
    "fastapi",
    "uvicorn",
    "sse-starlette",
    "starlette-context<0.4",
    "pydantic-settings",
    "openai",
    "safetensors",
)


def llama_server() -> Path:
    """Return the program, building it first if need be."""
    with _exclusive() as folder:
        program = folder / "build" / "bin" / "llama-server"
        if not program.exists():
            _build(folder)
        return program


def example_server() -> Path:
    """Return the script of the archive's own server."""
    with _exclusive() as folder:
        return _source(folder) / "examples" / "server" / "server.py"


def packages() -> Path:
    """Return a folder for PYTHONPATH with what the Python servers import beside llama_cpp."""
    with _exclusive() as folder:
        target = folder / "packages"
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=folder) as part:
                command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--target", part]
                _run([*command, *PACKAGES], folder, "packages")
                Path(part).rename(target)
                Path(part).mkdir()  # for the context manager to remove
        return target


@contextmanager
def _exclusive() -> Iterator[Path]:
    """Hold the folder of this machine's peers; a second benchmark waits for the first one's build."""
    folder = cache() / "peers" / str(_setup().wheel_key())
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def _build(folder: Path) -> None:
    print("building llama-server (once; about 11 minutes on two cores)", flush=True)
    source = _source(folder) / "vendor" / "llama.cpp"
    environment = {**os.environ, "CXXFLAGS": str(_setup().build_flags()["CXXFLAGS"])}
    part = folder / "build"
    cmake = _cmake(folder)
    _run([cmake, "-S", str(source), "-B", str(part), *CMAKE_OPTIONS], folder, "configure", environment)
    jobs = str(os.cpu_count() or 1)
    _run([cmake, "--build", str(part), "--target", "llama-server", "-j", jobs], folder, "build", environment)


def _source(folder: Path) -> Path:
    """Unpack the archive, all of it or nothing."""
    target = folder / "src"
    if not target.exists():
        archive = source_archive()
        with tempfile.TemporaryDirectory(dir=folder) as part, tarfile.open(archive) as source:
            source.extractall(part, filter="data")
            (Path(part) / archive.name.removesuffix(".tar.gz")).rename(target)
    return target


def _cmake(folder: Path) -> str:
    """Return a cmake: the system's, else pip's."""
    if found := shutil.which("cmake"):
        return found
    target = folder / "tools"
    _run([sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), "cmake"], folder, "cmake")
    return str(target / "cmake" / "data" / "bin" / "cmake")


def _run(command: list[str], folder: Path, step: str, environment: dict[str, str] | None = None) -> None:
    log = folder / f"{step}.log"
    with log.open("wb") as output:
        ended = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=environment, check=False)
    if ended.returncode:
        raise SystemExit(f"{step} of the peers failed with {ended.returncode}; see {log}")


def _setup() -> ModuleType:
    """Load scripts/setup, which knows flags, compiler and CPU."""
    loader = importlib.machinery.SourceFileLoader("cinque_setup", str(ROOT / "scripts" / "setup"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    if spec is None:
        raise SystemExit("scripts/setup cannot be loaded")
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # it has no suffix to put the bytecode beside
    sys.path.insert(0, str(ROOT / "scripts"))  # as when it is run: it imports its neighbours
    try:
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
    finally:
        sys.path.remove(str(ROOT / "scripts"))
        sys.dont_write_bytecode = writes
    return module
