"""The header of a GGUF file: enough to name its contents and to know that none of it is missing.

llama.cpp maps a model into memory, so a truncated file may fail late or kill the process; this reads the header first
(metadata and tensor table, 0.1 s for a vocabulary of 150,000) and compares the size. It does not read weights.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import math
import mmap
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp_server.errors import ModelLoadError

MAGIC = b"GGUF"
SUPPORTED_VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32  # bytes, where the metadata does not say
MAX_ROWS = 1 << 16  # of metadata and of tensors; the largest models have some 2,000; more is a damaged header
MAX_ITEMS = 1 << 22  # of an array; the largest vocabularies have 500,000 merges
MAX_DIMENSIONS = 4  # of a tensor, in ggml
LONG_ARRAY = 1024  # items; longer arrays (vocabularies) are skipped and only counted

SPLIT_NAME = re.compile(r"(?P<stem>.+)-(?P<part>\d{5})-of-(?P<total>\d{5})\.gguf")

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9

# ggml type -> (items a block, bytes a block); a type that is not here is not checked.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
    34: (256, 54), 35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18),
}  # fmt: skip


@dataclass(frozen=True)
class GgufHeader:
    """What the head of one file says."""

    metadata: dict[str, Any]  # scalars, strings and short arrays
    lengths: dict[str, int]  # items of every array
    n_tensors: int
    weights_bytes: int  # of all tensors in this file
    needed_bytes: int  # the file must have at least as many

    @property
    def architecture(self) -> str:
        """The kind of network, such as `llama` or `qwen2`."""
        return str(self.metadata.get("general.architecture", "unknown"))


def read_header(path: Path) -> GgufHeader:
    """Read and check the header of the file.

    Raises:
        ModelLoadError: The file is missing, no GGUF, of an unknown version, damaged or shorter than its tensors.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size == 0:
                msg = f"{path} is empty; download the model again."
                raise ModelLoadError(msg)
            if file.read(len(MAGIC)) != MAGIC:
                msg = f"{path} is not a GGUF file; download the model again, in GGUF format."
                raise ModelLoadError(msg)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                header = _Reader(data, path).read()
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}); check the path, or choose another model."
        raise ModelLoadError(msg) from error
    except (struct.error, ValueError, OverflowError) as error:
        msg = f"{path} is damaged or truncated inside its header; download it again."
        raise ModelLoadError(msg) from error
    if size < header.needed_bytes:
        msg = f"{path} is truncated: {size} bytes of {header.needed_bytes} are there; download it again."
        raise ModelLoadError(msg)
    return header


def split_parts(path: Path) -> tuple[Path, ...]:
    """List the files of a model that is split (`name-00001-of-00003.gguf`), in order; the path itself when it is not.

    The parts need not exist.
    """
    match = SPLIT_NAME.fullmatch(path.name)
    if match is None or not int(match["total"]):
        return (path,)
    total = match["total"]
    return tuple(path.with_name(f"{match['stem']}-{i:05d}-of-{total}.gguf") for i in range(1, int(total) + 1))


class _Reader:
    """A cursor over the header."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self._data = data
        self._path = path
        self._at = len(MAGIC)
        self._lengths: dict[str, int] = {}

    def read(self) -> GgufHeader:
        version = self._number("I")
        if version not in SUPPORTED_VERSIONS:
            msg = f"{self._path} has GGUF version {version}; versions {SUPPORTED_VERSIONS} can be loaded."
            raise ModelLoadError(msg)
        n_tensors, n_entries = self._count(MAX_ROWS), self._count(MAX_ROWS)
        metadata: dict[str, Any] = {}
        for _ in range(n_entries):
            key = self._string()
            metadata[key] = self._value(self._number("I"), key)
        tensors = [self._tensor() for _ in range(n_tensors)]
        alignment = int(metadata.get("general.alignment", DEFAULT_ALIGNMENT)) or DEFAULT_ALIGNMENT
        start = -(-self._at // alignment) * alignment
        return GgufHeader(
            metadata=metadata,
            lengths=self._lengths,
            n_tensors=n_tensors,
            weights_bytes=sum(n_bytes for _, n_bytes in tensors),
            needed_bytes=start + max((begin + n_bytes for begin, n_bytes in tensors), default=0),
        )

    def _number(self, code: str) -> Any:
        (value,) = struct.unpack_from(f"<{code}", self._data, self._at)
        self._at += struct.calcsize(f"<{code}")
        return value

    def _count(self, most: int) -> int:
        n = int(self._number("Q"))
        if n > most:
            raise ValueError(n)
        return n

    def _string(self) -> str:
        n = int(self._number("Q"))
        if self._at + n > len(self._data):
            raise ValueError(n)
        text = self._data[self._at : self._at + n].decode("utf-8", "replace")
        self._at += n
        return text

    def _value(self, kind: int, key: str) -> Any:
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            return self._number(_scalar(kind))
        item, n = self._number("I"), self._count(MAX_ITEMS)
        self._lengths[key] = n
        if item == _ARRAY:
            raise ValueError(item)  # the format allows nesting, no model uses it, and depth would be unbounded
        if item == _STRING and n > LONG_ARRAY:
            return self._skip_strings(n)
        if item == _STRING or n <= LONG_ARRAY:
            return [self._value(item, key) for _ in range(n)]
        self._at += n * struct.calcsize(f"<{_scalar(item)}")
        return None

    def _skip_strings(self, n: int) -> None:
        unpack, data, at = struct.Struct("<Q").unpack_from, self._data, self._at
        for _ in range(n):
            at += 8 + unpack(data, at)[0]
        self._at = at

    def _tensor(self) -> tuple[int, int]:
        """Read one row of the tensor table; give where its data begins, in all data, and how long it is (bytes)."""
        self._string()
        n_dimensions = int(self._number("I"))
        if n_dimensions > MAX_DIMENSIONS:
            raise ValueError(n_dimensions)
        n_items = math.prod(int(self._number("Q")) for _ in range(n_dimensions))
        items_a_block, bytes_a_block = _BLOCKS.get(self._number("I"), (1, 0))
        return int(self._number("Q")), n_items // items_a_block * bytes_a_block


def _scalar(kind: int) -> str:
    if kind not in _SCALARS:
        raise ValueError(kind)
    return _SCALARS[kind]
