"""esbuild and TypeScript: found whole or not at all, installed by npm into a folder named by the lock file."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from sandbox import node_tools
from sandbox.settings import SandboxSettings

FAKE_NPM = """#!/bin/sh
echo "$*" >> {log}
[ -f package-lock.json ] || exit 9
mkdir node_modules; cd node_modules
for path in {files}; do mkdir -p "$(dirname $path)"; echo '{{"version": "1.2"}}' > "$path"; done
{last}
"""
FILES = (
    *("@esbuild/linux-x64/bin/esbuild", "esbuild/package.json", "@types/node/index.d.ts"),
    *("@typescript/typescript-linux-x64/lib/tsc", "typescript/package.json"),
)


@pytest.fixture
def fake_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts a script in npm's place; writes what it was asked to the returned file."""
    programs = tmp_path / "programs"
    programs.mkdir()
    log = tmp_path / "log"
    write_npm(programs / "npm", log, FILES)
    (programs / "node").write_text("#!/bin/sh\n", encoding="utf-8")
    (programs / "node").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return log


def write_npm(path: Path, log: Path, files: tuple[str, ...], last: str = "") -> None:
    path.write_text(FAKE_NPM.format(log=log, files=" ".join(files), last=last), encoding="utf-8")
    path.chmod(0o755)


def test_tools_are_installed_once_without_any_script_of_a_package(fake_npm: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert node_tools.find_node_tools(cache) is None
    tools = node_tools.install(cache)
    assert tools == node_tools.install(cache) == node_tools.find_node_tools(cache)
    asked = fake_npm.read_text(encoding="utf-8").splitlines()
    assert len(asked) == 1
    assert asked[0].startswith("ci --ignore-scripts ")
    assert Path(tools.folder) == node_tools.tools_folder(cache)
    assert (tools.typescript_version, tools.esbuild_version) == ("1.2", "1.2")
    assert all(path.startswith(tools.folder) for path in (tools.esbuild, tools.tsc, tools.type_roots))
    assert [path.name for path in (cache / "node").iterdir()] == [Path(tools.folder).name]


def test_a_failed_installation_leaves_nothing_and_says_what_npm_said(fake_npm: Path, tmp_path: Path) -> None:
    write_npm(tmp_path / "programs" / "npm", fake_npm, FILES, "echo no network >&2; exit 5")
    with pytest.raises(node_tools.NodeToolsError, match="status 5: no network"):
        node_tools.install(tmp_path / "cache")
    assert list((tmp_path / "cache" / "node").iterdir()) == []


def test_a_machine_without_a_native_program_is_told_so(fake_npm: Path, tmp_path: Path) -> None:
    write_npm(tmp_path / "programs" / "npm", fake_npm, FILES[:-2])
    with pytest.raises(node_tools.NodeToolsError, match="lacks a program for"):
        node_tools.install(tmp_path / "cache")


def test_without_npm_the_reason_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(node_tools.NodeToolsError, match="install nodejs and npm"):
        node_tools.install(tmp_path)


def test_every_package_is_pinned_with_its_hash_and_no_registry_is_named() -> None:
    lock = json.loads((node_tools.MANIFEST / "package-lock.json").read_text(encoding="utf-8"))
    manifest = json.loads((node_tools.MANIFEST / "package.json").read_text(encoding="utf-8"))
    assert lock["packages"][""]["dependencies"] == manifest["dependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in manifest["dependencies"].values())
    packages = [entry for name, entry in lock["packages"].items() if name]
    assert all(entry["integrity"].startswith("sha512-") for entry in packages)
    assert not any("resolved" in entry for entry in packages)


def test_installed_tools_are_native_programs() -> None:
    tools = node_tools.find_node_tools(SandboxSettings().cache_folder)
    if tools is None:
        pytest.skip("not installed; make setup does it")
    for program in (tools.esbuild, tools.tsc):
        assert Path(program).read_bytes()[:4] in {b"\x7fELF", b"\xcf\xfa\xed\xfe"}
    said = subprocess.run([tools.tsc, "--version"], capture_output=True, text=True, check=True, timeout=20).stdout
    assert said.strip() == f"Version {tools.typescript_version}"
