"""What this machine can compute on, and the build of llama.cpp that suits it: CUDA, Metal, Vulkan, or the CPU alone.

`look` asks the machine, `choose` decides from the answers alone and says why, so that every decision can be tried
without the machine. A GPU counts only when its compiler is there too. Used by scripts/setup; runs on a bare Python.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

BACKENDS = ("cpu", "cuda", "metal", "vulkan")
NVCC_PATHS = ("/usr/local/cuda/bin/nvcc", "/opt/cuda/bin/nvcc")  # where installers put it, beside PATH
VULKAN_HEADERS = ("/usr/include/vulkan/vulkan.h", "/usr/local/include/vulkan/vulkan.h")
SPIRV_CONFIGS = ("lib/*/cmake/SPIRV-Headers", "lib/cmake/SPIRV-Headers", "share/cmake/SPIRV-Headers")
RENDER_NODES = "renderD*"
ANSWER_S = 20.0  # nvidia-smi takes seconds on a machine that slept
NVIDIA_GPUS = ("nvidia-smi", "--query-gpu=compute_cap,name", "--format=csv,noheader")


@dataclass(frozen=True)
class Machine:
    """What was found here."""

    system: str = "linux"  # of sys.platform
    processor: str = "x86_64"
    nvidia_gpus: tuple[str, ...] = ()  # "<compute capability>, <name>"
    driver_cuda: str = ""  # newest CUDA that the driver runs
    nvcc: str = ""  # its path
    nvcc_version: str = ""
    has_render_node: bool = False  # some GPU with a driver, whoever made it
    has_glslc: bool = False
    has_vulkan_headers: bool = False  # and SPIRV-Headers


@dataclass(frozen=True)
class Choice:
    """How llama.cpp is built."""

    backend: str
    cmake_args: str = ""
    key: str = ""  # whatever else shapes the machine code; "" for a CPU
    reason: str = ""  # what was found and why this follows, for a person


def choose(machine: Machine, forced: str = "", given_args: str = "") -> Choice:
    """Decide how to build.

    Args:
        machine: what there is.
        forced: a member of BACKENDS, or "" to decide by what there is.
        given_args: CMake arguments of the operator; they say it all.

    Raises:
        ValueError: *forced* is no backend.
    """
    if forced and forced not in BACKENDS:
        message = f"CINQUE_LLAMA_BACKEND is {forced!r}; it must be one of {', '.join(BACKENDS)}, or unset"
        raise ValueError(message)
    if given_args:
        return Choice("as given", reason=f"as CINQUE_LLAMA_CMAKE_ARGS or CMAKE_ARGS says: {given_args}")
    if forced:
        return _made(machine, forced, f"{forced}, because CINQUE_LLAMA_BACKEND says so")
    if machine.system == "darwin":
        return _for_mac(machine)
    if machine.nvidia_gpus:
        return _for_nvidia(machine)
    return _for_others(machine)


def _for_mac(machine: Machine) -> Choice:
    if machine.processor == "arm64":
        return _made(machine, "metal", "Metal, which every Mac with Apple silicon has")
    return Choice("cpu", reason="llama.cpp's own defaults for a Mac with an Intel CPU")


def _for_nvidia(machine: Machine) -> Choice:
    gpu = machine.nvidia_gpus[0].partition(",")[2].strip()
    if not machine.nvcc:
        why = f"{gpu} has a driver but no compiler: install the CUDA toolkit (nvcc) to use it"
    elif _major(machine.nvcc_version) > _major(machine.driver_cuda) > 0:
        why = (
            f"the driver of {gpu} runs CUDA {machine.driver_cuda} at most, and nvcc is {machine.nvcc_version}: "
            "update the driver, or install an older toolkit, to use it"
        )
    else:
        return _made(machine, "cuda", f"CUDA, for {gpu} with nvcc {machine.nvcc_version}")
    return Choice("cpu", reason=f"the CPU; {why}")


def _for_others(machine: Machine) -> Choice:
    if machine.has_render_node and machine.has_glslc and machine.has_vulkan_headers:
        return _made(machine, "vulkan", "Vulkan, for the GPU at /dev/dri (CINQUE_LLAMA_BACKEND=cpu if it is slow)")
    if machine.has_render_node:
        wanted = [] if machine.has_glslc else ["glslc"]
        wanted += [] if machine.has_vulkan_headers else ["the headers of Vulkan and SPIR-V"]
        return Choice("cpu", reason=f"the CPU; to use the GPU at /dev/dri, install {' and '.join(wanted)}")
    found = "nvcc is here, but no NVIDIA GPU with a driver" if machine.nvcc else "no GPU with a driver was found"
    return Choice("cpu", reason=f"the CPU; {found}")


def _made(machine: Machine, backend: str, reason: str) -> Choice:
    """Give the CMake arguments of a backend. Those of a CPU are none, so that its wheel keeps its key."""
    if backend == "cuda":
        return Choice(backend, _cuda_args(machine), f"nvcc {machine.nvcc_version}", reason)
    if backend == "cpu":
        return Choice(backend, "-DGGML_METAL=off" if machine.system == "darwin" else "", reason=reason)
    return Choice(backend, f"-DGGML_{backend.upper()}=on", reason=reason)


def _cuda_args(machine: Machine) -> str:
    """Build for the GPUs that are here; without any, for those that CMake chooses."""
    capabilities = sorted({gpu.partition(",")[0].strip().replace(".", "") for gpu in machine.nvidia_gpus})
    known = [capability for capability in capabilities if capability.isdigit()]
    args = ["-DGGML_CUDA=on"]
    args += [f"-DCMAKE_CUDA_COMPILER={machine.nvcc}"] if machine.nvcc else []
    args += [f"-DCMAKE_CUDA_ARCHITECTURES={';'.join(known)}"] if known else []
    return " ".join(args)


def _major(version: str) -> int:
    number = version.partition(".")[0]
    return int(number) if number.isdigit() else 0


def look() -> Machine:
    """Ask this machine; what cannot be asked is taken as not there."""
    nvcc = shutil.which("nvcc") or next((path for path in NVCC_PATHS if Path(path).exists()), "")
    gpus = _ask(*NVIDIA_GPUS) if shutil.which("nvidia-smi") else ""
    return Machine(
        system=sys.platform,
        processor=platform.machine(),
        nvidia_gpus=tuple(line.strip() for line in gpus.splitlines() if "," in line),
        driver_cuda=_first(r"CUDA Version:\s*([\d.]+)", _ask("nvidia-smi") if gpus else ""),
        nvcc=nvcc,
        nvcc_version=_first(r"release\s+([\d.]+)", _ask(nvcc, "--version") if nvcc else ""),
        has_render_node=any(Path("/dev/dri").glob(RENDER_NODES)),
        has_glslc=shutil.which("glslc") is not None,
        has_vulkan_headers=any(map(_exists, VULKAN_HEADERS)) and any(map(_is_installed, SPIRV_CONFIGS)),
    )


def _exists(path: str) -> bool:
    return Path(path).exists()


def _is_installed(pattern: str) -> bool:
    return any(any(Path(root).glob(pattern)) for root in ("/usr", "/usr/local"))


def _first(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    return match[1] if match else ""


def _ask(*command: str) -> str:
    """Return what a short command prints; "" when it fails, takes too long or does not exist."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=ANSWER_S).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
