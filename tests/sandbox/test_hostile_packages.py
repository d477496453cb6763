"""HOSTILE.md, section H: packages and indexes that mean harm are refused or harmless (86-91)."""

import io
import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.errors import ExecutionCancelledError
from sandbox.installer import DependencyError
from sandbox.requirements import RequirementStore
from sandbox.runner import Sandbox
from sandbox.settings import SandboxSettings
from tests.sandbox.machine import Runner, processes_below, settings_with, wait_until_no_more_than
from tests.sandbox.package_index import LATE, Index, serve, wheel

pytestmark = pytest.mark.timeout(60)  # pip takes seconds on a busy machine
MIB = 1 << 20


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An index that is pip's only source."""
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serve() as served:
        monkeypatch.setenv("PIP_INDEX_URL", f"{served.url}/simple")
        yield served


@pytest.fixture
def home(run: Runner, tmp_path: Path) -> Path:
    """A data folder of this test's own; skips where there is no isolation."""
    del run
    return tmp_path / "home"


def refuse(home: Path, match: str, *lines: str, **fields: object) -> None:
    """Demand that installing fails with this reason, and that nothing is left of it."""
    before = processes_below()
    settings = SandboxSettings(home=home, **fields)  # type: ignore[arg-type]  # fields of the settings
    with pytest.raises(DependencyError, match=match):
        RequirementStore(settings).install(lines or ("evil",), "namespaces")
    wait_until_no_more_than(before)
    folder = settings.requirements_folder
    assert [path.name for path in folder.iterdir() if path.name != "resolved"] == []


def install(home: Path, *lines: str, **fields: object) -> Path:
    settings = SandboxSettings(home=home, **fields)  # type: ignore[arg-type]  # fields of the settings
    return settings.requirements_folder / RequirementStore(settings).install(lines or ("evil",), "namespaces")


@pytest.mark.parametrize(
    "path",
    ["../../escaped.py", "a/../../../escaped.py", "evil-1.0.data/data/../../../escaped.py", "{outside}/escaped.py"],
)
def test_088_a_wheel_cannot_write_beside_its_folder(path: str, index: Index, home: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    outside.chmod(0o777)
    index.add("evil", wheel("evil", {path.format(outside=outside): "x = 1\n", "evil.py": ""}))
    refuse(home, "(?i)outside|unexpected file")
    assert not list(tmp_path.rglob("escaped*"))


def test_088_a_link_in_a_wheel_does_not_become_one(index: Index, home: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    outside.chmod(0o777)
    links = {"secret.txt": "/etc/passwd", "door": str(outside)}
    index.add("evil", wheel("evil", {"evil.py": "x = 1\n"}, links=links))
    folder = install(home)
    assert not [path for path in folder.rglob("*") if path.is_symlink()]
    assert "root:" not in "".join(path.read_text() for path in folder.rglob("*.txt"))
    index.add("worse", wheel("worse", {"door/escaped.py": ""}, links={"door": str(outside)}))
    refuse(tmp_path / "second", "Not a directory", "worse")
    assert list(outside.iterdir()) == []


def test_088_a_small_archive_of_a_large_file_is_stopped_at_the_size(index: Index, home: Path) -> None:
    content = wheel("evil", {"zeros.bin": bytes(64 * MIB), "evil.py": ""})
    assert len(content) < MIB
    index.add("evil", content)
    refuse(home, "too large|more than", requirements_bytes=4 * MIB)


def test_088_many_files_of_some_size_are_stopped_at_the_size(index: Index, home: Path) -> None:
    index.add("evil", wheel("evil", {f"zeros{i}.bin": bytes(3 * MIB) for i in range(12)}))
    refuse(home, "more than 4194304 bytes", requirements_bytes=4 * MIB)


def test_088_more_files_than_allowed_are_refused(index: Index, home: Path) -> None:
    index.add("evil", wheel("evil", {f"many/f{i}.py": "" for i in range(3000)}))
    refuse(home, "or 1000 files", requirements_files=1000)


def sdist(name: str, marker: Path) -> bytes:
    setup = f"open({str(marker)!r}, 'w').close()\nfrom setuptools import setup\nsetup(name={name!r}, version='1.0')\n"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, text in (("setup.py", setup), ("PKG-INFO", f"Name: {name}\nVersion: 1.0\n")):
            entry = tarfile.TarInfo(f"{name}-1.0/{path}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


def test_087_a_package_that_must_be_built_is_not(index: Index, home: Path, tmp_path: Path) -> None:
    index.add("evil", sdist("evil", tmp_path / "built"), suffix="-1.0.tar.gz")
    refuse(home, "No matching distribution found for evil")
    assert not (tmp_path / "built").exists()
    assert not [path for path in index.asked if path.endswith(".tar.gz")]


def test_087_nor_is_one_that_a_wheel_names_by_its_address(index: Index, home: Path, tmp_path: Path) -> None:
    index.add("built", sdist("built", tmp_path / "built"), suffix="-1.0.tar.gz")
    index.add("evil", wheel("evil", {"evil.py": ""}, requires=(f"built @ {index.url}/files/built-1.0.tar.gz",)))
    refuse(home, "would have to be built")
    assert not (tmp_path / "built").exists()


def test_087_nor_where_no_namespaces_can_be_made(index: Index, home: Path, tmp_path: Path) -> None:
    index.add("built", sdist("built", tmp_path / "built"), suffix="-1.0.tar.gz")
    index.add("evil", wheel("evil", {"evil.py": ""}, requires=(f"built @ {index.url}/files/built-1.0.tar.gz",)))
    index.add("plain", wheel("plain", {"plain.py": ""}))
    store = RequirementStore(SandboxSettings(home=home))
    with pytest.raises(DependencyError, match="would have to be built"):
        store.install(("evil",), "none")
    assert not (tmp_path / "built").exists()
    assert (store._folder / store.install(("plain",), "none") / "plain.py").exists()  # the folder is not public


def test_089_nothing_in_a_wheel_acts_by_itself_or_shadows_anything(index: Index, home: Path) -> None:
    boom = "import os; os._exit(3)\n"
    names = ("json", "pytest", "_pytest", "solution", "test_solution", "sitecustomize", "usercustomize", "sandbox")
    files: dict[str, str | bytes] = {f"{name}.py": boom for name in names}
    files |= {"evil.pth": boom, "sub/evil.pth": boom, "evil.py": "VALUE = 7\n", "conftest.py": boom}
    files["evil-1.0.data/scripts/python"] = "#!/bin/sh\nexit 3\n"
    more = {"entry_points.txt": "[pytest11]\nevil = solution\n[console_scripts]\npython3 = evil:x\n"}
    index.add("evil", wheel("evil", files, more=more))
    sandbox = Sandbox(settings_with(home))
    try:
        run = Runner(sandbox)
        code = "import evil, json, sys, shutil\ndef f():\n    return evil.VALUE, json.dumps([1]), sys.path[-1]\n"
        called = run(
            f"{code}print(f(), shutil.which('python3') != '/opt/requirements/bin/python3')", requirements=["evil"]
        )
        assert called.stdout == "(7, '[1]', '/opt/requirements') True\n", called
        for tests in ("assert f()[0] == 7", "import pytest\ndef test_f(tmp_path):\n    assert f()[0] == 7\n"):
            result = run(code, tests, requirements=["evil"])
            assert (result.verdict, result.tests_passed) == ("OK", 1), result
    finally:
        sandbox.close()
    (folder,) = (path for path in (home / "sandbox" / "requirements").iterdir() if path.name != "resolved")
    assert not list(folder.rglob("*.pth"))
    assert not (folder / "bin").exists()
    assert {path.stat().st_mode & 0o222 for path in folder.rglob("*") if path.is_file() and path.name[0] != "."} == {0}
    assert {path.stat().st_uid for path in folder.rglob("*")} == {os.getuid()}


def test_090_a_withdrawn_release_is_refused_even_when_named_exactly(index: Index, home: Path) -> None:
    index.add("evil", wheel("evil", {"evil.py": ""}), yanked=True)
    refuse(home, "No matching distribution|yanked")
    refuse(home, "yanked", "evil==1.0")


def test_090_a_package_newer_than_the_cutoff_is_refused(index: Index, home: Path) -> None:
    index.add("evil", wheel("evil", {"evil.py": ""}), uploaded=LATE)
    refuse(home, "No matching distribution|2025-06-01", requirements_cutoff="2025-06-01")
    assert (install(home, requirements_cutoff="2026-06-01") / "evil.py").exists()


def test_090_a_file_that_is_not_the_one_the_index_names_is_refused(index: Index, home: Path) -> None:
    index.add("evil", wheel("evil", {"evil.py": ""}), sha256="0" * 64)
    refuse(home, "(?i)hash")


def test_091_dependencies_without_end_reach_the_time_limit(index: Index, home: Path) -> None:
    index.endless = True
    refuse(home, "took longer than 3 s", "endless-0", requirements_timeout_s=3)


def test_091_an_index_that_never_answers_reaches_the_time_limit(index: Index, home: Path) -> None:
    index.stalled = threading.Event()
    refuse(home, "took longer than 1 s", requirements_timeout_s=1)


def test_a_cancelled_request_ends_its_installation(index: Index, home: Path) -> None:
    index.stalled = threading.Event()
    cancelled = threading.Event()
    timer = threading.Timer(0.5, cancelled.set)
    timer.start()
    before = processes_below()
    with pytest.raises(ExecutionCancelledError):
        RequirementStore(SandboxSettings(home=home)).install(("evil",), "namespaces", cancelled)
    timer.join()
    wait_until_no_more_than(before)


def test_pip_does_not_see_the_hosts_files(index: Index, home: Path, tmp_path: Path) -> None:
    (tmp_path / "secret-1.0-py3-none-any.whl").write_bytes(wheel("secret", {"secret.py": ""}))
    target = f"secret @ file://{tmp_path}/secret-1.0-py3-none-any.whl"
    index.add("evil", wheel("evil", {"evil.py": ""}, requires=(target,)))
    refuse(home, "No such file")


def test_equal_resolutions_share_a_set_and_equal_requests_ask_nobody(index: Index, home: Path) -> None:
    index.add("plain", wheel("plain", {"plain.py": ""}))
    first = install(home, "plain")
    n_asked = len(index.asked)
    assert install(home, "plain") == first
    assert len(index.asked) == n_asked
    assert install(home, "plain>=1") == first
    assert len(index.asked) > n_asked
    index.add("plain", wheel("plain", {"plain.py": "changed = 1\n"}))
    assert install(home, "plain>=1.0") != first


def test_the_least_recently_used_sets_make_room(index: Index, home: Path) -> None:
    for name in ("one", "two", "three"):
        index.add(name, wheel(name, {f"{name}.bin": os.urandom(MIB)}))
    limits = {"requirements_cache_bytes": 2 * MIB + 100_000}
    first, second = install(home, "one", **limits), install(home, "two", **limits)
    for age, folder in ((9000, first), (8000, second)):
        now = (folder / ".complete").stat().st_mtime
        os.utime(folder / ".complete", (now - age, now - age))
    third = install(home, "three", **limits)
    assert [folder.exists() for folder in (first, second, third)] == [False, True, True]
    assert install(home, "one", **limits) == first


def test_equal_requests_at_once_install_once_and_one_that_waits_can_be_cancelled(index: Index, home: Path) -> None:
    index.add("plain", wheel("plain", {"plain.py": ""}))
    index.stalled = threading.Event()
    store = RequirementStore(SandboxSettings(home=home))
    names: list[str] = []
    threads = [threading.Thread(target=lambda: names.append(store.install(("plain",), "namespaces"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    while not index.asked:
        threads[0].join(0.05)
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(ExecutionCancelledError, match="waited"):
        store.install(("plain",), "namespaces", cancelled)
    index.stalled.set()
    for thread in threads:
        thread.join()
    assert names == [names[0]] * 2
    assert len([path for path in index.asked if path.startswith("/simple/")]) == 1
