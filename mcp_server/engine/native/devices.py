"""What the native library can compute on: its devices with their memory, and the instructions it was built for.

Loading it may end the process where the build does not fit the machine, so only `probe` uses this, in a process of its
own. Functions of ggml that llama_cpp does not wrap are called through its handle of the shared library.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llama_cpp import _ggml

from mcp_server.engine.native.llama import native

KINDS = ("CPU", "GPU", "integrated GPU", "accelerator", "several devices")  # of ggml_backend_dev_type, in its order
OTHER_KIND = "device"


@dataclass(frozen=True)
class Device:
    """One device that layers can be computed on."""

    name: str
    description: str
    kind: str  # of KINDS
    free_bytes: int
    total_bytes: int


def supports_gpu() -> bool:
    """Tell whether this build can use a GPU."""
    return bool(native.llama_supports_gpu_offload())


def features() -> tuple[str, ...]:
    """Name the instruction sets and libraries that this build uses on this machine."""
    info = native.llama_print_system_info().decode("utf-8", "replace")
    words = (word.rpartition(":")[2].partition("=") for word in info.split("|"))
    return tuple(name.strip() for name, _, value in words if value.strip() not in ("", "0"))


def devices() -> tuple[Device, ...]:
    """List the devices that this build sees."""
    get = _function("ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)
    count = _function("ggml_backend_dev_count", ctypes.c_size_t)
    return tuple(_device(get(place)) for place in range(count()))


def _device(handle: int) -> Device:
    kind = _function("ggml_backend_dev_type", ctypes.c_int, ctypes.c_void_p)(handle)
    free, total = ctypes.c_size_t(0), ctypes.c_size_t(0)
    sizes = ctypes.POINTER(ctypes.c_size_t)
    _function("ggml_backend_dev_memory", None, ctypes.c_void_p, sizes, sizes)(
        handle, ctypes.byref(free), ctypes.byref(total)
    )
    return Device(
        name=_text("ggml_backend_dev_name", handle),
        description=_text("ggml_backend_dev_description", handle),
        kind=KINDS[kind] if kind < len(KINDS) else OTHER_KIND,
        free_bytes=free.value,
        total_bytes=total.value,
    )


def _text(name: str, handle: int) -> str:
    given: bytes | None = _function(name, ctypes.c_char_p, ctypes.c_void_p)(handle)
    return (given or b"").decode("utf-8", "replace").strip()


def _function(name: str, result: type | None, *arguments: type) -> Callable[..., Any]:
    """Give a function of ggml with its types, which ctypes would guess wrongly for pointers."""
    function: Any = getattr(_ggml.libggml, name)
    function.restype = result
    function.argtypes = list(arguments)
    typed: Callable[..., Any] = function
    return typed
