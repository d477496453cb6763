"""scripts/setup: what is decided, built once and reported; the long steps themselves are run by .ci/run."""

import fcntl
import importlib.machinery
import importlib.util
import sys
import sysconfig
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def setup_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, with logs and wheels in temporary folders."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a script without a suffix would leave a file beside it
    monkeypatch.setenv("CINQUE_CACHE", str(tmp_path / "a cache"))
    for name in ("CXX", "CXXFLAGS", "CMAKE_ARGS", "CINQUE_LLAMA_CMAKE_ARGS", "CINQUE_LLAMA_BACKEND"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    loader = importlib.machinery.SourceFileLoader("setup_script", str(ROOT / "scripts" / "setup"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    module.LOGS = tmp_path / "logs"
    module.LOGS.mkdir()
    module.machine = module.hardware.Machine  # a plain CPU, whatever these tests run on
    return module


def fake_pip(tmp_path: Path, script: str) -> Path:
    """A program that stands where the virtual environment's Python would; `$folder` is pip's --wheel-dir."""
    find_folder = 'while [ "$1" != --wheel-dir ]; do shift; done\nfolder=$2\n'
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{find_folder}{script}\n", encoding="utf-8")
    program.chmod(0o755)
    return program


def test_a_wheel_that_is_on_the_shelf_is_not_built_again(setup_script: ModuleType) -> None:
    wheel = setup_script.wheel_shelf() / "llama_cpp_python-1-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    wheel.touch()
    assert setup_script.llama_wheel() == wheel


def test_a_built_wheel_is_put_on_the_shelf_and_nothing_else_is(setup_script: ModuleType, tmp_path: Path) -> None:
    setup_script.VENV_PYTHON = fake_pip(tmp_path, 'echo "$CXXFLAGS" > "$folder/a.whl"; touch "$folder/scratch"')
    wheel = setup_script.llama_wheel()
    assert wheel == setup_script.wheel_shelf() / "a.whl"
    assert wheel.read_text(encoding="utf-8").strip() == setup_script.build_flags()["CXXFLAGS"]
    shelf = setup_script.wheel_shelf()
    assert {file.name for file in shelf.parent.iterdir()} == {shelf.name, f"{shelf.name}.lock"}


def test_a_failed_build_leaves_the_shelf_empty_and_shows_the_end_of_its_log(
    setup_script: ModuleType, tmp_path: Path
) -> None:
    setup_script.VENV_PYTHON = fake_pip(tmp_path, 'touch "$folder/half.whl"; seq 100; exit 3')
    with pytest.raises(setup_script.SetupError) as failure:
        setup_script.llama_wheel()
    lines = str(failure.value).splitlines()
    assert "exit status 3" in lines[0]
    assert str(setup_script.LOGS) in lines[0]
    assert lines[-30:] == [str(n) for n in range(71, 101)]
    assert not setup_script.wheel_shelf().exists()


@pytest.mark.parametrize("variable", ["CXXFLAGS", "CMAKE_ARGS", "CINQUE_LLAMA_CMAKE_ARGS"])
def test_other_flags_mean_another_wheel(
    setup_script: ModuleType, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = setup_script.wheel_key()
    assert setup_script.wheel_key() == plain
    monkeypatch.setenv(variable, "-DX=1")
    assert setup_script.wheel_key() != plain


def test_gcc_gets_the_flags_that_keep_amx_alive_and_clang_does_not(setup_script: ModuleType, tmp_path: Path) -> None:
    clang = tmp_path / "clang++"
    clang.write_text("#!/bin/sh\necho clang version 19.1.0\n", encoding="utf-8")
    clang.chmod(0o755)
    gcc = tmp_path / "g++"
    gcc.write_text("#!/bin/sh\necho 'g++ (Debian) 12.2.0'\n", encoding="utf-8")
    gcc.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXX", str(gcc))
        assert setup_script.build_flags()["CXXFLAGS"] == "-fno-tree-dse -fno-dse"
        patch.setenv("CXX", str(clang))
        assert setup_script.build_flags()["CXXFLAGS"] == ""


def test_a_second_setup_is_kept_out_until_the_first_is_done(setup_script: ModuleType, tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with setup_script.exclusive(lock), lock.open() as second, pytest.raises(BlockingIOError):
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with lock.open() as second:
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_package_without_a_pin_is_named(setup_script: ModuleType) -> None:
    with pytest.raises(setup_script.SetupError, match="absent-package=="):
        setup_script.pinned("absent-package")


def test_a_question_to_a_program_that_is_absent_or_fails_has_no_answer(setup_script: ModuleType) -> None:
    assert setup_script.ask("/absent/program") is None
    assert setup_script.ask("false") is None
    assert setup_script.ask("echo", "yes") == "yes\n"


def test_every_dependency_is_pinned_to_a_version_that_it_allows() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    wanted = map(Requirement, [*project["dependencies"], *extras])
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines if not line.startswith("#")}
    for requirement in wanted:
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} has no pin"
        assert requirement.specifier.contains(version), f"{requirement} does not allow the pin {version}"


def test_the_browser_of_one_test_is_installed_in_ci_only_and_may_fail(
    setup_script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    apt = programs / "apt-get"
    apt.write_text(f"#!/bin/sh\necho $* >> {tmp_path}/asked; exit 7\n", encoding="utf-8")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.delenv("CI", raising=False)
    setup_script.install_browser()
    assert not (tmp_path / "asked").exists()
    monkeypatch.setenv("CI", "true")
    setup_script.install_browser()
    assert (tmp_path / "asked").read_text(encoding="utf-8") == "update\n"
    assert "one test will be skipped" in capsys.readouterr().out


RTX = "8.9, NVIDIA GeForce RTX 4090"


CUDA_ARGS = "-DGGML_CUDA=on -DCMAKE_CUDA_COMPILER=/c/nvcc -DCMAKE_CUDA_ARCHITECTURES=89"
OLD_DRIVER = {"nvidia_gpus": (RTX,), "nvcc": "/c/nvcc", "nvcc_version": "13.0", "driver_cuda": "12.4"}
CUDA = {"nvidia_gpus": (RTX, RTX), "nvcc": "/c/nvcc", "nvcc_version": "12.4", "driver_cuda": "12.8"}
VULKAN = {"has_render_node": True, "has_glslc": True, "has_vulkan_headers": True}


@pytest.mark.parametrize(
    ("found", "backend", "args", "words"),
    [
        ({}, "cpu", "", "no GPU"),
        ({"nvcc": "/usr/bin/nvcc"}, "cpu", "", "no NVIDIA GPU"),
        ({"nvidia_gpus": (RTX,)}, "cpu", "", "install the CUDA toolkit"),
        (OLD_DRIVER, "cpu", "", "update the driver"),
        (CUDA, "cuda", CUDA_ARGS, "RTX 4090 with nvcc 12.4"),
        ({"system": "darwin", "processor": "arm64"}, "metal", "-DGGML_METAL=on", "Apple"),
        ({"system": "darwin"}, "cpu", "", "Intel"),
        ({"has_render_node": True}, "cpu", "", "install glslc and the headers"),
        ({"has_render_node": True, "has_glslc": True}, "cpu", "", "install the headers"),
        ({"has_glslc": True, "has_vulkan_headers": True}, "cpu", "", "no GPU"),
        (VULKAN, "vulkan", "-DGGML_VULKAN=on", "/dev/dri"),
    ],
)
def test_llama_cpp_is_built_for_what_is_there_and_the_reason_is_told(
    setup_script: ModuleType, found: dict[str, object], backend: str, args: str, words: str
) -> None:
    choice = setup_script.hardware.choose(setup_script.hardware.Machine(**found))
    assert (choice.backend, choice.cmake_args) == (backend, args)
    assert words in choice.reason
    assert "\n" not in choice.reason


@pytest.mark.parametrize(
    ("found", "forced", "args"),
    [
        ({}, "vulkan", "-DGGML_VULKAN=on"),
        ({}, "cuda", "-DGGML_CUDA=on"),
        (CUDA, "cpu", ""),
        ({"system": "darwin", "processor": "arm64"}, "cpu", "-DGGML_METAL=off"),
    ],
)
def test_the_operator_decides_whatever_is_there(
    setup_script: ModuleType, found: dict[str, object], forced: str, args: str
) -> None:
    machine = setup_script.hardware.Machine(**found)
    choice = setup_script.hardware.choose(machine, forced)
    assert (choice.backend, choice.cmake_args) == (forced, args)
    assert "CINQUE_LLAMA_BACKEND" in choice.reason
    assert setup_script.hardware.choose(machine, forced, "-DX=1").cmake_args == ""


def test_a_gpu_means_another_wheel_and_a_plain_cpu_the_one_it_always_had(
    setup_script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = setup_script.wheel_key()
    flags, version = setup_script.build_flags(), setup_script.pinned("llama-cpp-python")
    parts = (setup_script.cpu(), setup_script.compiler(), sysconfig.get_platform())
    assert plain == setup_script.digest(version, flags["CXXFLAGS"], "", *parts)[:16]
    monkeypatch.setenv("CINQUE_LLAMA_BACKEND", "cpu")
    assert setup_script.wheel_key() == plain
    monkeypatch.setenv("CINQUE_LLAMA_BACKEND", "vulkan")
    assert setup_script.wheel_key() != plain
    monkeypatch.setenv("CINQUE_LLAMA_BACKEND", "fpga")
    with pytest.raises(setup_script.SetupError, match="cpu, cuda, metal, vulkan"):
        setup_script.wheel_key()


def test_another_cuda_compiler_means_another_wheel(setup_script: ModuleType) -> None:
    keys = set()
    for version in ("12.4", "12.8"):
        found = setup_script.hardware.Machine(nvidia_gpus=(RTX,), nvcc="/c/nvcc", nvcc_version=version)
        setup_script.machine = lambda found=found: found
        keys.add(setup_script.wheel_key())
    assert len(keys) == 2


def test_a_build_for_a_gpu_that_fails_says_how_to_go_on_without(setup_script: ModuleType, tmp_path: Path) -> None:
    setup_script.VENV_PYTHON = fake_pip(tmp_path, "exit 3")
    found = setup_script.hardware.Machine(system="darwin", processor="arm64")
    setup_script.machine = lambda: found
    with pytest.raises(setup_script.SetupError, match="CINQUE_LLAMA_BACKEND=cpu make setup builds without metal"):
        setup_script.llama_wheel()


def test_looking_at_the_machine_never_fails(setup_script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    found = setup_script.hardware.look()
    assert found.system == sys.platform
    monkeypatch.setenv("PATH", "")
    assert setup_script.hardware.look().nvidia_gpus == ()


def test_a_machine_with_an_nvidia_gpu_is_read_from_its_own_tools(
    setup_script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = {
        "nvidia-smi": 'case "$1" in --q*) echo "9.0, NVIDIA H100";; *) echo "| CUDA Version: 12.4  |";; esac',
        "nvcc": 'echo "Cuda compilation tools, release 12.2, V12.2.140"',
    }
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = setup_script.hardware.look()
    assert (found.nvidia_gpus, found.driver_cuda) == (("9.0, NVIDIA H100",), "12.4")
    assert (found.nvcc, found.nvcc_version) == (str(tmp_path / "nvcc"), "12.2")


def test_the_clients_of_live_tests_are_installed_once_for_each_list_of_them(
    setup_script: ModuleType, tmp_path: Path
) -> None:
    log, pins, folder = tmp_path / "log", tmp_path / "pins.txt", tmp_path / "clients"
    pins.write_text("client==1\n", encoding="utf-8")
    python = tmp_path / "python"  # `-m venv --clear FOLDER` copies it there, `-c` asks it for its version
    python.write_text(
        f'#!/bin/sh\necho "$*" >> {log}\n[ "$2" = venv ] && mkdir -p "$4/bin" && cp "$0" "$4/bin/python"\nexit 0\n',
        encoding="utf-8",
    )
    python.chmod(0o755)
    setup_script.VENV_PYTHON, setup_script.CLIENT_PINS, setup_script.CLIENTS_VENV = python, pins, folder

    def installs() -> int:
        setup_script.prepare_clients()
        return log.read_text(encoding="utf-8").count(f"--requirement {pins}")

    assert (installs(), installs()) == (1, 1)
    pins.write_text("client==2\n", encoding="utf-8")
    assert installs() == 2


def toolchains_without(missing: list[str], setup_script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    toolchains: ModuleType = setup_script.toolchains
    monkeypatch.setattr(toolchains, "missing", lambda: missing)
    return toolchains


def test_missing_toolchains_are_told_and_fail_nothing(
    setup_script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    toolchains = toolchains_without(["go", "rustc"], setup_script, monkeypatch)
    monkeypatch.setattr(toolchains.os, "geteuid", lambda: 1000)
    said: list[str] = []
    toolchains.install(lambda title, _: pytest.fail(title), said.append, setup_script.SetupError, "python")
    assert said == [
        "go is missing: no Go; on Debian: sudo apt-get install golang-go",
        "rustc is missing: no Rust; on Debian: sudo apt-get install rustc",
    ]


def test_a_package_that_cannot_be_installed_does_not_stop_the_next(
    setup_script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    toolchains = toolchains_without(["gcc", "node"], setup_script, monkeypatch)
    monkeypatch.setattr(toolchains.os, "geteuid", lambda: 0)
    monkeypatch.setattr(toolchains.shutil, "which", lambda _: "/usr/bin/apt-get")
    titles: list[str] = []

    def run(title: str, _: list[str]) -> None:
        titles.append(title)
        raise setup_script.SetupError("offline\nmore")

    said: list[str] = []
    toolchains.install(run, said.append, setup_script.SetupError, "python")
    assert [title.partition(" for")[0] for title in titles] == ["list of packages", "gcc", "nodejs", "Go's library"]
    assert said.count("not installed: offline") == 2
