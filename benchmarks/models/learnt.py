"""What a model learnt from the generator's shards: requests and programs, so that nothing of them is asked as unseen.

Families and compositions are held back by name, but one of another name may be the same program: an edit whose result
is a function that is learnt, a composition of other parts. Programs are compared with their names left out.
"""

import builtins
import json
import keyword
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

UNSEEN: Final = ("family", "composition")  # splits whose programs are new
_KEPT: Final = frozenset(dir(builtins)) | frozenset(keyword.kwlist)
_WORD: Final = re.compile(
    r'"""(?:.|\n)*?"""|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|(?<![\w.])[A-Za-z_]\w*|\s+'  # texts stay as they are
)
_IMPORT: Final = re.compile(r"^\s*(?:import|from) .*$", re.MULTILINE)


@dataclass(frozen=True)
class Learnt:
    """Requests as they were said, and programs without their names."""

    requests: frozenset[str]
    programs: frozenset[str]


def said_in(row: Mapping[str, Any]) -> str:
    """Return what the model reads of an example, from the first turn on."""
    return "\n".join((*row.get("earlier", ()), row["prompt"]))


def rows_of(folder: Path, kind: str) -> Iterator[dict[str, Any]]:
    """Yield the examples of all `train` or `held` shards of a folder, in their order."""
    for path in sorted(folder.glob(f"{kind}-*.jsonl")):
        with path.open(encoding="utf-8") as file:
            yield from map(json.loads, file)


def learnt_in(folder: Path) -> Learnt:
    """Read all that is learnt; half a minute for 400,000 examples."""
    requests, sources = set(), set()
    for row in rows_of(folder, "train"):
        requests.add(said_in(row))
        sources.add(_program_of(row))
    return Learnt(frozenset(requests), frozenset(map(nameless, sources - {""})))


def known_wholes(rows: Iterable[Mapping[str, Any]], learnt: Learnt) -> frozenset[tuple[str, str]]:
    """Return which held-out families and compositions have a program that is learnt under another name."""
    found = (row for row in rows if row["split"] in UNSEEN and nameless(_program_of(row)) in learnt.programs)
    return frozenset(map(whole_of, found))


def whole_of(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return what an example is about: a kind of program and the name of its family or composition."""
    is_of_its_own = row["kind"] in ("class", "script", "edit", "bash", "javascript")
    return row["kind"] if is_of_its_own else "function", row["family"]


def nameless(program: str) -> str:
    """Return a program with its own names numbered and its spaces made one; "" for none."""
    kept = _KEPT.union(*(re.findall(r"\w+", line) for line in _IMPORT.findall(program)))
    numbers: dict[str, str] = {}

    def numbered(found: re.Match[str]) -> str:
        text = found[0]
        if text.isspace():
            return "\n" if "\n" in text else " "
        return text if text in kept or not text.isidentifier() else numbers.setdefault(text, f"name{len(numbers)}")

    return _WORD.sub(numbered, program).strip()


def _program_of(row: Mapping[str, Any]) -> str:
    """Return the Python program that an example is about; what tests are for, where the answer is tests."""
    return str(row.get("subject") or row.get("source", "")) if row.get("language") == "python" else ""
