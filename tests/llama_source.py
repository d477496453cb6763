"""The source archive of llama-cpp-python, from which tests take real vocabularies and benchmarks build peers.

It holds llama.cpp with vocab-only models (MIT, as both projects; the vocabularies themselves come from the published
tokenizers that their names say, and are used here only to tokenize). It is fetched once a machine, by the first test that
needs it or by `python -m tests.llama_source`, and kept outside the checkout. Knows nothing of models or engines.
"""

import fcntl
import os
import subprocess
import sys
import tarfile
import tempfile
from importlib import metadata
from pathlib import Path

PACKAGE = "llama-cpp-python"
VOCABULARIES = "vendor/llama.cpp/models/ggml-vocab-{name}.gguf"  # in the archive, below its top folder
FETCH_S = 300  # the archive has 77 MB, and pip asks its build backend for the metadata


def cache() -> Path:
    """Return the folder of what is fetched and built once a machine."""
    return Path(os.environ.get("CINQUE_CACHE") or "~/.cache/cinque").expanduser().resolve()


def source_archive() -> Path:
    """Return the archive of the installed version, fetched if it is not in the cache yet."""
    folder = cache() / "sources"
    folder.mkdir(parents=True, exist_ok=True)
    version = metadata.version(PACKAGE)
    archive = folder / f"llama_cpp_python-{version}.tar.gz"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers of one test run may all want it first
        if not archive.exists():
            _fetch(f"{PACKAGE}=={version}", archive)
    return archive


def vocabulary(name: str) -> Path:
    """Return a vocab-only model of the archive, such as `llama-bpe`, `qwen2`, `gemma-4` or `bert-bge`."""
    archive = source_archive()
    target = cache() / "vocabularies" / archive.name.removesuffix(".tar.gz") / f"{name}.gguf"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as source:
            top = archive.name.removesuffix(".tar.gz")
            member = source.extractfile(f"{top}/{VOCABULARIES.format(name=name)}")
            assert member is not None, f"the archive has no vocabulary {name}"
            replace(target, member.read())
    return target


def replace(target: Path, data: bytes) -> None:
    """Write a file so that others see all of it or nothing."""
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as part:
        part.write(data)
    Path(part.name).replace(target)


def _fetch(requirement: str, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        options = ["--no-deps", "--no-binary", PACKAGE, "--no-input", "--disable-pip-version-check", "--dest", folder]
        command = [sys.executable, "-m", "pip", "download", *options, requirement]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_S, check=False)
        assert ended.returncode == 0, f"{requirement} could not be fetched:\n{ended.stdout}{ended.stderr}"
        (Path(folder) / target.name).replace(target)


if __name__ == "__main__":
    source_archive()
