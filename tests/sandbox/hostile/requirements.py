"""H. Installing what a program asks for: programs 82 and 86 to 91 of the table.

Every package lies in a folder or on a server of this test; nothing is fetched from anywhere else.
"""

# ruff: noqa: E501 - a program inside a string keeps its statements together

import contextlib
import io
import socket
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from sandbox.errors import InvalidRequestError
from sandbox.requirements import DependencyError, RequirementStore, check_requirements
from tests.sandbox.hostile.host import REQUIREMENTS_BYTES, Host
from tests.sandbox.hostile.programs import Case, blocked, python

REFUSED = (
    *("--index-url http://evil.example", "-r /etc/passwd", "-e .", "git+https://example.org/x.git", "--pre", "-c x"),
    *("six @ file:///tmp/six.whl", "six@https://example.org/six.whl", "./six", "/abs/six.whl", "six\n--pre", "six\0"),
    *("six\\x", "", " ", "six >=", "six; rm -rf /", "x" * 300, "$(reboot)", "six --hash=sha256:00", "..", "six#egg=x"),
)
Files = dict[str, bytes]


def wheel(folder: Path, name: str, files: Files, *, version: str = "1.0", metadata: str = "") -> Path:
    """Write a wheel that holds these files, by whatever names."""
    info = f"{name}-{version}.dist-info"
    content = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*content, f"{info}/RECORD"]).encode()
    target = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path, text in {**content, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)
    return target


@contextlib.contextmanager
def only_from(host: Host) -> Iterator[Path]:
    """Yield a folder that is pip's only source."""
    with (
        tempfile.TemporaryDirectory() as folder,
        host.variables(PIP_INDEX_URL=None, PIP_EXTRA_INDEX_URL=None, PIP_NO_INDEX="1", PIP_FIND_LINKS=folder),
    ):
        for place in (Path(folder), Path(folder).parent):
            place.chmod(0o755)  # pip runs as somebody else
        yield Path(folder)


def refusal(host: Host, name: str, *words: str) -> list[str]:
    """Ask for a package that must not be installed; return what was wrong with the answer."""
    result = host.execute(python("print('ESCAPED')", ()), requirements=(name,))
    is_right = result.error_type == "DependencyError" and not result.stdout and not result.compile_success
    message = (result.error_message or "").lower()
    found = [] if is_right and all(word in message for word in words) else [f"{name}: {result}"]
    left = [path.name for path in host.settings.requirements_folder.glob("new-*")]
    return found + ([f"{name}: left {left}"] if left else [])


def options(host: Host) -> list[str]:
    """86. Lines that are no plain requirement are refused before any process starts."""
    found = []
    for line in REFUSED:
        with contextlib.suppress(InvalidRequestError):
            host.execute(python("print('ESCAPED')", ()), requirements=(line,))
            found.append(f"{line!r} was accepted")
    return found


def sources(host: Host) -> list[str]:
    """87. A source distribution is never built, so its set-up never runs."""
    with only_from(host) as folder:
        mark = folder / "built"
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz") as tar:
            for name, text in (
                (
                    "setup.py",
                    f"open({str(mark)!r}, 'w')\nimport setuptools\nsetuptools.setup(name='cinquesrc', version='1.0')\n",
                ),
                ("PKG-INFO", "Metadata-Version: 2.1\nName: cinquesrc\nVersion: 1.0\n"),
            ):
                entry = tarfile.TarInfo(f"cinquesrc-1.0/{name}")
                entry.size = len(text)
                tar.addfile(entry, io.BytesIO(text.encode()))
        (folder / "cinquesrc-1.0.tar.gz").write_bytes(archive.getvalue())
        return refusal(host, "cinquesrc", "cinquesrc") + (["its set-up ran"] if mark.exists() else [])


def hostile_archives(host: Host) -> list[str]:
    """88. Names that lead outside, a bomb, and too many files."""
    found = []
    with only_from(host) as folder:
        outside = Path(tempfile.gettempdir()) / "cinque-outside"
        wheel(folder, "cinqueup", {"../" * 12 + str(outside)[1:]: b"x"})
        wheel(folder, "cinqueabs", {str(outside): b"x"})
        wheel(folder, "cinquebomb", {"zeros.bin": bytes(8 * REQUIREMENTS_BYTES)})
        wheel(folder, "cinquemany", {f"many/{i}": b"" for i in range(host.settings.requirements_files + 1)})
        for name in ("cinqueup", "cinqueabs"):
            result = host.execute(python("print('BLOCKED outside')", ()), requirements=(name,))
            if not (result.error_type == "DependencyError" or result.stdout == "BLOCKED outside\n"):
                found.append(f"{name}: {result}")
        if outside.exists():
            found.append("a wheel wrote outside its folder")
        found += refusal(host, "cinquebomb", "file too large") + refusal(host, "cinquemany", "files")
    return found


def links_in_archives(host: Host) -> list[str]:
    """88. A link in a wheel is not followed, by the installer or by the program."""
    with only_from(host) as folder:
        target = wheel(folder, "cinquelink", {"cinquelink.py": b"VALUE = 1\n"})
        link = zipfile.ZipInfo("cinquelink_there")
        link.external_attr = 0o120777 << 16
        with zipfile.ZipFile(target, "a") as archive:
            archive.writestr(link, host.fill("HOST_FILE"))
        program = python(
            """
            import cinquelink
            place = os.path.dirname(cinquelink.__file__) + "/cinquelink_there"
            print("ESCAPED" if os.path.islink(place) or "secret of" in open(place).read() else "BLOCKED link")
            """.replace("open(place).read()", "(open(place).read() if os.path.exists(place) else '')"),
            blocked("link"),
        )
        return host.faults_of(program, timeout_s=30.0, requirements=("cinquelink",))


SHADOWS = python(
    """
    import json, pytest_shadow, solution_shadow
    import cinqueshadow
    print("BLOCKED json" if json.__file__ != os.path.dirname(cinqueshadow.__file__) + "/json.py" else "ESCAPED")
    print("BLOCKED site" if "sitecustomize" not in sys.modules and "usercustomize" not in sys.modules else "ESCAPED")
    print("BLOCKED path" if not os.path.exists(os.path.dirname(cinqueshadow.__file__) + "/bin/python") else "ESCAPED")
    print("BLOCKED last" if sys.path[-1] == "/opt/requirements" else f"ESCAPED {sys.path}")
    errors = (errno.EROFS, errno.EACCES)
    attempt("change", lambda: open(cinqueshadow.__file__, "a"), *errors)
    attempt("add", lambda: open("/opt/requirements/evil.py", "w"), *errors)
    attempt("remove", lambda: os.unlink(cinqueshadow.__file__), *errors)
    attempt("others", lambda: os.listdir("/opt/cache"), errno.EACCES)
    """,
    blocked("json", "site", "path", "last", "change", "add", "remove", "others"),
)
SHADOW_TESTS = "import pytest\n\n@pytest.mark.parametrize('x', [1])\ndef test_a(x, tmp_path):\n    assert f(x) == 2\n"
RAISES = b"raise RuntimeError('ESCAPED: shadowed')\n"


def shadows_and_poison(host: Host) -> list[str]:
    """82, 89. A package that shadows modules and acts by itself, then a program that tries to change it."""
    files = {
        **dict.fromkeys(
            ("json.py", "pytest.py", "sitecustomize.py", "usercustomize.py", "sandbox.py", "_pytest.py"), RAISES
        ),
        **dict.fromkeys(("cinqueshadow.py", "pytest_shadow.py", "solution_shadow.py"), b""),
        "solution.py": RAISES,
        "evil.pth": b"import os; os._exit(3)\n",
        "cinqueshadow-1.0.data/scripts/python": b"#!python\nprint('ESCAPED')\n",
        "cinqueshadow-1.0.dist-info/entry_points.txt": b"[console_scripts]\npytest = json:x\n[pytest11]\nx = sitecustomize\n",
    }
    with only_from(host) as folder:
        wheel(folder, "cinqueshadow", files)
        found = []
        for _ in range(2):  # the second run sees what the first one did
            found += host.faults_of(SHADOWS, requirements=("cinqueshadow",), timeout_s=30.0)
        right, wrong = (
            python(f"def f(x):\n    return {value}\n", (), test_code=SHADOW_TESTS) for value in ("x + 1", "x")
        )
        found += host.faults_of(right, requirements=("cinqueshadow",))
        if host.execute(wrong, requirements=("cinqueshadow",)).success:
            found.append("a package made a wrong program pass its tests")
    return found


def unlisted_and_yanked(host: Host) -> list[str]:
    """90. Not on the list: refused by name. Yanked: not taken, though it is the newest."""
    found = []
    for name in ("reqeusts", "Py_Torch", "six.moves"):
        with contextlib.suppress(DependencyError):
            check_requirements((name,), ("six", "requests"))
            found.append(f"{name} passed the list")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "simple", "cinqueyank")
        place.mkdir(parents=True)
        lines = []
        for version, mark in (("1.0", ""), ("2.0", ' data-yanked="broken"')):
            file = wheel(place, "cinqueyank", {"cinqueyank.py": f"V = '{version}'\n".encode()}, version=version)
            lines.append(f'<a href="{file.name}"{mark}>{file.name}</a>')
        (place / "index.html").write_text("<!DOCTYPE html><html><body>" + "\n".join(lines) + "</body></html>")
        program = python("import cinqueyank\nprint('BLOCKED', cinqueyank.V)", ("BLOCKED 1.0",))
        with host.variables(
            PIP_INDEX_URL=f"file://{folder}/simple", PIP_EXTRA_INDEX_URL=None, PIP_NO_INDEX=None, PIP_FIND_LINKS=None
        ):
            found += host.faults_of(program, requirements=("cinqueyank",), timeout_s=30.0)
    return found


def slow_and_endless(host: Host) -> list[str]:
    """91. An index that never answers, and packages that need each other without end."""
    found = []
    impatient = RequirementStore(host.settings.model_copy(update={"requirements_timeout_s": 1.0}))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        with host.variables(PIP_INDEX_URL=url, PIP_NO_INDEX=None, PIP_FIND_LINKS=None, PIP_EXTRA_INDEX_URL=None):
            try:
                impatient.install(("cinqueslow",), "namespaces")
            except DependencyError as error:
                found += [] if "longer than" in str(error) else [f"slow: {error}"]
    with only_from(host) as folder:
        for i in range(30):  # every one needs the next, and the last what is not there
            wheel(folder, f"cinquechain{i}", {}, metadata=f"Requires-Dist: cinquechain{i + 1}\n")
        found += refusal(host, "cinquechain0", "cinquechain30")
    return found


SLOW = 60.0  # seconds; pip takes seconds on a busy machine
CASES = (
    Case("82", "change an installed package", act=shadows_and_poison, limit_s=SLOW),
    Case("86", "options paths and addresses", act=options),
    Case("87", "source distribution", act=sources, limit_s=SLOW),
    Case("88", "hostile archives", act=hostile_archives, limit_s=SLOW),
    Case("88", "links in archives", act=links_in_archives, limit_s=SLOW),
    Case("89", "packages that shadow and act", act=shadows_and_poison, limit_s=SLOW),
    Case("90", "unlisted and yanked packages", act=unlisted_and_yanked, limit_s=SLOW),
    Case("91", "slow index and endless needs", act=slow_and_endless, limit_s=SLOW),
)
