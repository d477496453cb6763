"""Requirements: refused before anything starts, installed as wheels only, read-only and last on the path."""

from pathlib import Path

import pytest

from sandbox.errors import InvalidRequestError
from sandbox.installer import DependencyError
from sandbox.requirements import check_requirements
from sandbox.runner import Sandbox
from tests.sandbox.machine import Runner, settings_with
from tests.sandbox.package_index import write_wheel


@pytest.mark.parametrize(
    "line",
    [
        "--index-url http://evil.example",
        "-r /etc/passwd",
        "-e .",
        "git+https://example.org/x.git",
        "six @ file:///tmp/six.whl",
        "six@https://example.org/six.whl",
        "./six",
        "/abs/six.whl",
        "six\n--pre",
        "six\0",
        "six\\x",
        "",
        "six >=",
        "x" * 300,
    ],
)
def test_a_line_that_is_no_plain_requirement_is_refused(line: str, run: Runner) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be used"):
        run("pass", requirements=(line,))


def test_requirements_are_put_in_one_form_and_order() -> None:
    assert check_requirements((" numpy >= 2 ", "attrs", "attrs"), ()) == ("attrs", "numpy>=2")


def test_only_listed_packages_are_allowed_where_there_is_a_list() -> None:
    assert check_requirements(("Foo_Bar",), ("foo-bar",)) == ("Foo_Bar",)
    with pytest.raises(DependencyError, match="not on the list"):
        check_requirements(("six",), ("foo-bar",))


def test_too_many_requirements_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="at most"):
        check_requirements(tuple(f"p{i}" for i in range(33)), ())


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is pip's only source."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    return wheels


@pytest.mark.timeout(60)  # pip takes seconds on a busy machine
def test_a_wheel_is_installed_once_and_can_shadow_and_change_nothing(
    offline: Path, tmp_path: Path, run: Runner
) -> None:
    del run
    files = {
        "cinquethere.py": "VALUE = 7\n",
        "json.py": "raise RuntimeError('shadowed')\n",
        "evil.pth": "import os; os._exit(3)\n",
        "sitecustomize.py": "raise RuntimeError('site')\n",
    }
    write_wheel(offline, "cinquethere", files)
    sandbox = Sandbox(settings_with(tmp_path / "home"))
    try:
        code = (
            "import sys, json, cinquethere\nprint(cinquethere.VALUE, json.__name__, sys.path[-1])\n"
            "try:\n    open(cinquethere.__file__, 'a')\nexcept OSError as e:\n    print(e.errno in (13, 30))\n"
            "import os\ntry:\n    print(os.listdir('/opt/cache'))\nexcept PermissionError:\n    print('covered')\n"
        )
        runner = Runner(sandbox)
        result = runner(code, requirements=("cinquethere",))
        assert result.stdout == "7 json /opt/requirements\nTrue\ncovered\n", result
        (offline / "cinquethere-1.0-py3-none-any.whl").unlink()
        tested = runner(
            "import cinquethere\ndef f():\n    return cinquethere.VALUE\n",
            "assert f() == 7\n",
            requirements=("cinquethere",),
        )
        assert tested.success, tested
        assert runner("import cinquethere").error_type == "ImportError"
    finally:
        sandbox.close()


@pytest.mark.timeout(60)
def test_what_pip_cannot_find_is_a_dependency_error(offline: Path, tmp_path: Path, run: Runner) -> None:
    del offline, run
    sandbox = Sandbox(settings_with(tmp_path / "home"))
    try:
        result = Runner(sandbox)("print(1)", requirements=("cinque-no-such-package",))
    finally:
        sandbox.close()
    assert (result.success, result.compile_success, result.verdict) == (False, False, "COMPILE_ERROR")
    assert result.error_type == "DependencyError"
    assert "cinque-no-such-package" in (result.error_message or "")
