"""The chat templates of published models that lie in llama.cpp's source, for tests that want real ones.

They are taken from the source archive (`llama_source`) into the cache once a machine, and never into the checkout.
"""

import tarfile
from pathlib import Path

from tests.llama_source import cache, replace, source_archive

FOLDER = "vendor/llama.cpp/models/templates/"
N_TEMPLATES = 70  # in the pinned version


def chat_templates() -> dict[str, str]:
    """Return the source of every template by its name without the suffix."""
    archive = source_archive()
    name = archive.name.removesuffix(".tar.gz")
    target = cache() / "templates" / name
    if len(list(target.glob("*.jinja"))) < N_TEMPLATES:
        _unpack(archive, target)
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(target.glob("*.jinja"))}


def _unpack(archive: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as source:
        for member in source:
            if FOLDER in member.name and member.name.endswith(".jinja"):
                content = source.extractfile(member)
                assert content is not None
                replace(target / Path(member.name).name, content.read())
