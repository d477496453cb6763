"""Write the pages of docs/ that are generated from code, or with --check only say whether they are out of date.

A page is one function from live objects to markdown, listed in PAGES: settings from the settings classes, errors from
the seam and the doors' table, tools from the MCP server's own list, languages from the sandbox's table. It starts no
model, opens no index and reads no environment variable, so its output is the same on every machine.
"""

import argparse
import asyncio
import difflib
import importlib
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import AliasChoices
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
NOTICE = "<!-- Generated from the code by `make docs`; edit the code, not this page. -->"

SETTINGS_MODULES = (  # in the order of the page
    "shim.settings",
    "mcp_server.settings",
    "mcp_server.engine.settings",
    "mcp_server.engine.remote.settings",
    "rag.settings",
    "sandbox.settings",
)
UNMAPPED_STATUS = 500  # of a code without a line in shim.errors.STATUS

SETTINGS_INTRODUCTION = """\
Every setting is an environment variable, read when a process starts. A malformed value stops the start with the
variable's name, its value and what was expected. A list or an object is written as JSON unless its line
says otherwise."""

ERRORS_INTRODUCTION = """\
An MCP tool that fails returns a result with `is_error` and structured content `{code, message, param}`. A door gives
the same code in the envelope of its own API, under the HTTP status below. The message says what happened, to what, and
what to do. A program that fails in the sandbox is not an error but a result with a verdict."""

TOOLS_INTRODUCTION = """\
What an MCP client sees in `tools/list`, over stdio, SSE and streamable HTTP alike. Every result is structured content
of the fields named; failures are in [errors.md](errors.md)."""

LANGUAGES_INTRODUCTION = """\
What the sandbox can run, one entry of `sandbox/languages.py` a row: the file that a program is stored in, the tool
that compiles or starts it, whether `test_code` is supported ([how to write it](testing.md)), and whether results
carry a lint score. Whether a tool is installed on a machine is told by the MCP tool `list_languages` and by `cinque
doctor`; a program of a language without one is refused with the code `toolchain_missing`.

Files of a request lie beside the program. Every `.c` file at the top is compiled into a C program, every `.cpp`, `.cc`
and `.cxx` into one of C++, and every `.go` that holds no tests into one of Go, unless there is a `go.mod`, which then
decides. Rust finds its modules by itself. JavaScript that begins a line with `import` or `export` and does not call
`require` is stored as `solution.mjs`. `execution_time_ms` and the time limit of a request are those of the run;
compilers have limits of their own (`CINQUE_SANDBOX_COMPILE_*` in [settings.md](settings.md))."""

HINTS = {  # of an MCP tool, in the words of its page
    "read_only_hint": ("changes nothing", "changes something"),
    "destructive_hint": ("may destroy", "destroys nothing"),
    "idempotent_hint": ("safe to repeat", "each call counts"),
    "open_world_hint": ("uses the network", "stays on this machine"),
}


def settings_page() -> str:
    """Describe every environment variable, class by class."""
    modules = [importlib.import_module(name) for name in SETTINGS_MODULES]
    return render_settings(cls for module in modules for cls in settings_classes(module))


def errors_page() -> str:
    """Describe every error code and the HTTP status that doors give it."""
    contract, errors = importlib.import_module("mcp_server.contract"), importlib.import_module("shim.errors")
    return render_errors({str(code): text for code, text in contract.ERROR_MEANINGS.items()}, errors.STATUS)


def tools_page() -> str:
    """Describe every MCP tool as a client sees it."""
    server = importlib.import_module("mcp_server.app").build_server(Unopened())
    return render_tools(tool.model_dump() for tool in asyncio.run(server.list_tools()))


def languages_page() -> str:
    """Describe every language the sandbox runs."""
    table = importlib.import_module("sandbox.languages").LANGUAGES
    return render_languages(table.values() if isinstance(table, Mapping) else table)


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "errors.md": errors_page,
    "tools.md": tools_page,
    "languages.md": languages_page,
}


class Unopened:
    """Stands for the capabilities while tools are registered: registering keeps references and calls nothing."""

    version = ""

    def __getattr__(self, name: str) -> "Unopened":
        """Stand for any member as well."""
        return self


# -- settings ----------------------------------------------------------------------------------------------------------


def settings_classes(module: ModuleType) -> list[type[BaseSettings]]:
    """Return the settings classes defined in *module*, in the order of its text."""
    return [
        member
        for member in vars(module).values()
        if inspect.isclass(member) and issubclass(member, BaseSettings) and member.__module__ == module.__name__
    ]


def render_settings(classes: Iterable[type[BaseSettings]]) -> str:
    """Write one table for each class."""
    parts = ["# Settings", SETTINGS_INTRODUCTION]
    for cls in classes:
        rows = [
            (f"`{variable(cls, name, field)}`", default_of(field), described(field))
            for name, field in cls.model_fields.items()
        ]
        heading = f"## `{cls.__module__}`\n\n{inspect.cleandoc(cls.__doc__ or '')}"
        parts.append(f"{heading}\n\n{table(('variable', 'default', 'meaning (unit)'), rows)}")
    return page(parts)


def variable(cls: type[BaseSettings], name: str, field: FieldInfo) -> str:
    """Return the environment variable of a field: its alias where it has one, else the prefix and its name."""
    alias = field.validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    named = [choice for choice in choices if isinstance(choice, str) and choice != name]
    return named[0] if named else f"{cls.model_config.get('env_prefix', '')}{name}".upper()


def default_of(field: FieldInfo) -> str:
    """Write a default the way it is typed into the environment."""
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        return "required"
    if default is None or default == "":
        return "unset"
    if isinstance(default, tuple | list | set | frozenset | dict):
        return f"`{json.dumps(default if isinstance(default, dict) else list(default))}`"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def described(field: FieldInfo) -> str:
    """Return the description, followed by the bounds that validation enforces."""
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    bounds = [
        f"{word} {getattr(bound, name)}"
        for bound in field.metadata
        for name, word in words.items()
        if hasattr(bound, name)
    ]
    text = (field.description or "").rstrip(".")
    return f"{text}; {' and '.join(bounds)}." if bounds else f"{text}."


# -- errors ------------------------------------------------------------------------------------------------------------


def render_errors(meanings: Mapping[str, str], statuses: Mapping[str, int]) -> str:
    """Write one table for the codes of tools and one for the codes that only doors give."""
    known = {str(code): status for code, status in statuses.items()}
    shared = [(f"`{code}`", str(known.get(code, UNMAPPED_STATUS)), text) for code, text in meanings.items()]
    own = [(f"`{code}`", str(status)) for code, status in known.items() if code not in meanings]
    return page(
        [
            "# Errors",
            ERRORS_INTRODUCTION,
            f"## Codes of tools\n\n{table(('code', 'HTTP', 'meaning'), shared)}",
            f"## Codes of the doors themselves\n\n{table(('code', 'HTTP'), own)}",
        ]
    )


# -- tools -------------------------------------------------------------------------------------------------------------


def render_tools(tools: Iterable[Mapping[str, Any]]) -> str:
    """Write one section for each tool, from its MCP description."""
    parts = ["# MCP tools", TOOLS_INTRODUCTION]
    types: dict[str, Any] = {}  # named by several tools, shown once
    for tool in tools:
        schema, result = tool["input_schema"], tool.get("output_schema") or {}
        rows = [
            (f"`{name}`", type_of(spec), default_text(name, spec, schema), sentence(spec.get("description", "")))
            for name, spec in schema.get("properties", {}).items()
        ]
        section = [f"## {tool['name']}", inspect.cleandoc(tool.get("description") or "")]
        if hints := hint_words(tool.get("annotations") or {}):
            section.append(f"*{hints}*")
        section.append(table(("argument", "type", "default", "meaning"), rows) if rows else "No arguments.")
        if result.get("properties"):
            section.append(f"Result: {fields_of(result)}.")
        types |= {**schema.get("$defs", {}), **result.get("$defs", {})}
        parts.append("\n\n".join(section))
    named = [(f"`{name}`", fields_of(spec) if "properties" in spec else type_of(spec)) for name, spec in types.items()]
    return page([*parts, *([f"## Types\n\n{table(('type', 'fields'), sorted(named))}"] if named else [])])


def fields_of(spec: Mapping[str, Any]) -> str:
    """Write the fields of an object schema on one line."""
    return ", ".join(f"`{name}` ({type_of(field)})" for name, field in spec["properties"].items())


def type_of(spec: Mapping[str, Any]) -> str:
    """Write a JSON schema in words: `string or null`, `list of integer`."""
    if "$ref" in spec:
        return str(spec["$ref"]).rsplit("/", maxsplit=1)[-1]
    if choices := spec.get("enum") or ([spec["const"]] if "const" in spec else None):
        return " or ".join(f"`{choice}`" for choice in choices)
    if options := spec.get("anyOf") or spec.get("oneOf"):
        return " or ".join(dict.fromkeys(type_of(option) for option in options))
    kind = spec.get("type", "any")
    if kind == "array":
        return f"list of {type_of(spec.get('items', {}))}"
    return "object" if kind == "object" else str(kind)


def default_text(name: str, spec: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Return an argument's default, or that it must be given."""
    if name in schema.get("required", ()):
        return "required"
    if "$ref" in spec:
        return "its defaults"
    return f"`{json.dumps(spec.get('default'), ensure_ascii=False)}`"


def hint_words(annotations: Mapping[str, bool | None]) -> str:
    """Say in words what a tool's annotations promise; a reader of a read-only tool needs no more about harm."""
    said = [yes if annotations[hint] else no for hint, (yes, no) in HINTS.items() if annotations.get(hint) is not None]
    return ", ".join(said)


# -- languages ---------------------------------------------------------------------------------------------------------


def render_languages(entries: Iterable[Any]) -> str:
    """Write one row a language."""
    rows = [
        (
            f"`{entry.name}`",
            ", ".join(f"`{alias}`" for alias in entry.aliases),
            f"`{entry.source_name}`",
            f"`{entry.tool}`" if entry.tool else "",
            "yes" if entry.tests_flavour or entry.program else "no",
            "yes" if entry.lint_flavour else "no",
        )
        for entry in entries
    ]
    return page(
        ["# Languages", LANGUAGES_INTRODUCTION, table(("language", "aliases", "file", "tool", "tests", "lint"), rows)]
    )


# -- markdown ----------------------------------------------------------------------------------------------------------


def page(parts: Iterable[str]) -> str:
    """Join the parts of a page below the notice."""
    return "\n\n".join([NOTICE, *parts]) + "\n"


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Write a markdown table; a cell is one line and its bars are escaped."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def sentence(text: str) -> str:
    """Write a description on one line."""
    return " ".join(text.split())


def main() -> int:
    """Write the pages, or compare them; 1 when one is out of date or cannot be made."""
    parser = argparse.ArgumentParser(prog="scripts/docs", description="Write the generated pages of docs/.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when a page is out of date")
    checking = parser.parse_args().check
    outdated = False
    for name, build in PAGES.items():
        file, wanted = DOCS / name, build()
        found = file.read_text(encoding="utf-8") if file.exists() else ""
        if found == wanted:
            continue
        if not checking:
            file.write_text(wanted, encoding="utf-8")
            print(f"docs: wrote docs/{name}")
            continue
        outdated = True
        changes = difflib.unified_diff(
            found.splitlines(), wanted.splitlines(), f"docs/{name}", "from the code", lineterm=""
        )
        print("\n".join(changes), f"docs: docs/{name} is out of date; run: make docs", sep="\n")
    return int(outdated)


if __name__ == "__main__":
    sys.exit(main())
