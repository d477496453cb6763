"""Documentation is kept true by machine: generated pages equal the code, and written ones name only what exists."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from mcp.server.mcpserver import MCPServer
from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md"), *ROOT.glob("training/*.md")]
)

LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)  # a mention counts only where it is set as code
COMMAND = re.compile(r"(?:^|`|&& )\s*(?:\$ )?(make|cinque)((?: [a-z][a-z-]*)+)", re.MULTILINE)
VARIABLE = re.compile(r"\bCINQUE_[A-Z][A-Z_]*[A-Z]\b")


@cache
def docs_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_script", ROOT / "scripts" / "docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where inspect and dataclasses look for a class's module
    spec.loader.exec_module(module)
    return module


def broken_links(page: Path) -> Iterator[str]:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("mailto:") and not (page.parent / target).exists():
            yield f"{page.name}: links to {target}, which does not exist"


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Yield (program, first word) of each `make x` and `cinque x` set as code."""
    for code in CODE.findall(text):
        for program, words in COMMAND.findall(code.replace("```", "")):
            yield program, words.split()[0]


def make_targets() -> set[str]:
    """Return the targets that `make help` shows."""
    return set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@cache
def cinque_commands() -> set[str]:
    shown = subprocess.run(
        [sys.executable, "-m", "shim", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(re.findall(r"^    ([a-z]+) ", shown.stdout, re.MULTILINE))


@pytest.mark.timeout(60)  # imports every package in a process of its own
def test_the_generated_pages_equal_the_code() -> None:
    command = [sys.executable, "scripts/docs.py", "--check"]
    checked = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": "."}, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    assert not list(broken_links(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    named = {word for program, word in commands(page.read_text(encoding="utf-8")) if program == "make"}
    assert named <= make_targets()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_cinque_command_that_a_page_names_exists(page: Path) -> None:
    named = {word for program, word in commands(page.read_text(encoding="utf-8")) if program == "cinque"}
    assert named <= cinque_commands()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_variable_that_a_page_names_exists(page: Path) -> None:
    named = set(VARIABLE.findall(page.read_text(encoding="utf-8")))
    sources = [ROOT / "docs" / "settings.md", ROOT / "scripts" / "setup"]
    assert named <= {name for source in sources for name in VARIABLE.findall(source.read_text(encoding="utf-8"))}


def test_every_make_target_but_help_runs_the_script_of_its_name() -> None:
    for target in make_targets() - {"help"}:
        assert (ROOT / "scripts" / target).stat().st_mode & 0o100, target


def test_every_script_is_a_make_target() -> None:
    assert {file.name for file in (ROOT / "scripts").iterdir() if not file.suffix and file.is_file()} <= make_targets()


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("[a](absent.md) [b](page.md#part) [c](https://example.org/x)", encoding="utf-8")
    assert list(broken_links(page)) == ["page.md: links to absent.md, which does not exist"]


def test_a_command_counts_only_where_it_is_set_as_code() -> None:
    text = "Then make sure. `make setup`, `cinque mcp --transport stdio`\n```sh\n$ make demo\ncinque serve # x\n```"
    assert list(commands(text)) == [("make", "setup"), ("cinque", "mcp"), ("make", "demo"), ("cinque", "serve")]


class BeltSettings(BaseSettings):
    """How the belt runs."""

    model_config = SettingsConfigDict(env_prefix="CINQUE_BELT_", populate_by_name=True)

    home: Path = Field(
        default=Path("~/.cinque"),
        validation_alias=AliasChoices("home", "CINQUE_HOME"),
        description="Data folder (path)",
    )
    speed_m: float = Field(default=1.5, gt=0, le=3, description="Speed a second (m)")
    colours: tuple[str, ...] = Field(default=("red",), description="Colours | stripes (JSON list).")
    label: str | None = Field(default=None, description="Text on it (text)")


def test_a_setting_is_shown_with_its_variable_default_bounds_and_meaning() -> None:
    text = docs_script().render_settings([BeltSettings])
    assert "How the belt runs." in text
    assert "| `CINQUE_HOME` | `~/.cinque` | Data folder (path). |" in text
    assert "| `CINQUE_BELT_SPEED_M` | `1.5` | Speed a second (m); more than 0 and at most 3. |" in text
    assert '| `CINQUE_BELT_COLOURS` | `["red"]` | Colours \\| stripes (JSON list). |' in text
    assert "| `CINQUE_BELT_LABEL` | unset | Text on it (text). |" in text


def test_settings_that_a_module_only_imports_are_not_its_own() -> None:
    module = ModuleType("belt_settings")
    module.BeltSettings = BeltSettings
    assert docs_script().settings_classes(module) == []
    assert docs_script().settings_classes(sys.modules[BeltSettings.__module__]) == [BeltSettings]


def test_a_code_without_a_status_is_a_500_and_one_without_a_meaning_belongs_to_the_doors() -> None:
    text = docs_script().render_errors({"jammed": "It is stuck.", "lost": "It is gone."}, {"lost": 404, "locked": 401})
    assert "| `jammed` | 500 | It is stuck. |" in text
    assert "| `lost` | 404 | It is gone. |" in text
    assert text.index("| `locked` | 401 |") > text.index("## Codes of the doors themselves")


@dataclass(frozen=True)
class Person:
    name: str


@dataclass(frozen=True)
class Parcel:
    weight_g: int
    stamps: tuple[str, ...]
    sender: Person


async def test_a_tool_is_shown_as_a_client_sees_it() -> None:
    server: MCPServer[Any] = MCPServer("post")

    @server.tool(name="send")
    async def send(to: str, tags: list[str] = [], note: str | None = None) -> Parcel:  # noqa: B006 - the SDK copies it
        """Send a parcel.

        Use it on weekdays.
        """
        return Parcel(len(to), (*tags, note or ""), Person("me"))

    text = docs_script().render_tools([tool.model_dump() for tool in await server.list_tools()])
    assert "## send\n\nSend a parcel.\n\nUse it on weekdays." in text
    assert "| `to` | string | required |" in text
    assert "| `tags` | list of string | `[]` |" in text
    assert "| `note` | string or null | `null` |" in text
    assert "Result: `weight_g` (integer), `stamps` (list of string), `sender` (Person)." in text
    assert "## Types" in text
    assert "| `Person` | `name` (string) |" in text


@dataclass(frozen=True)
class Tongue:
    name: str
    aliases: tuple[str, ...]
    source_name: str
    tool: str | None
    tests_flavour: str | None
    lint_flavour: str | None
    program: object | None = None


def test_a_language_is_shown_with_what_it_supports() -> None:
    text = docs_script().render_languages([Tongue("c", ("c99", "c11"), "main.c", "gcc", "harness", None)])
    assert "| `c` | `c99`, `c11` | `main.c` | `gcc` | yes | no |" in text
