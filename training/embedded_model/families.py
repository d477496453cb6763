"""Families of tasks, and the form in which they are written down.

A family is one thing that people ask for: what it is called, what it takes, how people say it, and one or more right
programs that do exactly the same. Files under `families/` hold them as text; README.md of this folder describes the
form. Knows nothing of prompts and models.
"""

import ast
import keyword
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args

from training.embedded_model.values import HELPERS, TYPES, ValueType

Kind = Literal["function", "class", "script", "edit", "bash", "javascript"]
PhraseKind = Literal["N", "B", "V", "Q"]

_HEADER: Final = re.compile(r"=== (\w+) (\w+)(?:\((.*?)\))?(?: -> (.+))?")
_PARAMETER: Final = re.compile(r"<([A-Z]+)>")
_PLACE: Final = re.compile(r"\{(\w+)\}")


class FamilyError(Exception):
    """A family is not written as it should be."""


@dataclass(frozen=True)
class Phrase:
    """One way to say what is wanted: a noun phrase, a yes-or-no clause, a command, or a whole request (N, B, V, Q)."""

    kind: PhraseKind
    text: str


@dataclass
class Family:
    """One thing that people ask for. Texts may hold parameters (`<K>`); phrases also arguments (`{numbers}`)."""

    kind: Kind
    name: str
    arguments: list[tuple[str, ValueType]]
    returns: str
    where: str
    names: list[str] = field(default_factory=list)
    parameters: list[tuple[tuple[str, ...], list[Any]]] = field(default_factory=list)
    input: str = ""
    phrases: list[Phrase] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)
    before: str = ""
    solutions: list[str] = field(default_factory=list)

    def with_parameters(self, values: Mapping[str, Any]) -> "Family":
        """Return the family with *values* in the places of its parameters."""

        def fill(text: str) -> str:
            return _with_parameters(text, values)

        return Family(
            kind=self.kind,
            name=fill(self.name),
            arguments=self.arguments,
            returns=self.returns,
            where=self.where,
            names=[fill(name) for name in self.names],
            input=fill(self.input),
            phrases=[Phrase(phrase.kind, fill(phrase.text)) for phrase in self.phrases],
            statements=[fill(statement) for statement in self.statements],
            checks=[fill(check) for check in self.checks],
            before=fill(self.before),
            solutions=[fill(solution) for solution in self.solutions],
        )


def read_families(folder: Path) -> list[Family]:
    """Return all families of a folder, in the order of its files. A name may come twice: texts and lists have a middle.

    Raises:
        FamilyError: one is not written as it should be.
    """
    return [family for path in sorted(folder.glob("*.txt")) for family in read_file(path)]


def read_file(path: Path) -> list[Family]:
    """Return the families of one file.

    Raises:
        FamilyError: one is not written as it should be; the message names the line.
    """
    reader = _Reader(path.name)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        reader.where = f"{path.name}:{number}"
        reader.take(line.rstrip())
    return list(reader.finished())


class _Reader:
    """Reads lines; what they mean depends on where in a family they stand."""

    def __init__(self, file: str) -> None:
        self.where = file
        self._types = dict(TYPES)
        self._families: list[Family] = []
        self._body: list[str] | None = None
        self._is_before = False

    def take(self, line: str) -> None:
        if line.startswith("=== "):
            self._end_body()
            self._families.append(self._header(line))
        elif line.startswith("---"):
            self._end_body()
            self._body, self._is_before = [], line == "--- before"
        elif self._body is not None:
            self._body.append(line)
        elif line and not line.startswith("#"):
            self._field(*line.partition(" ")[::2])

    def finished(self) -> Iterator[Family]:
        self._end_body()
        for family in self._families:
            _check_written(family)
            yield family

    def _header(self, line: str) -> Family:
        found = _HEADER.fullmatch(line)
        if found is None or found[1] not in get_args(Kind):
            raise FamilyError(
                f"{self.where}: expected `=== KIND name(argument: type, ...) -> type`, KIND of {get_args(Kind)}"
            )
        arguments = []
        for part in filter(None, (found[3] or "").split(",")):
            name, _, kind = part.partition(":")
            if kind.strip() not in self._types:
                raise FamilyError(f"{self.where}: there is no type {kind.strip()!r}")
            arguments.append((name.strip(), self._types[kind.strip()]))
        return Family(found[1], found[2], arguments, found[4] or "", self.where)  # type: ignore[arg-type]  # checked above

    def _field(self, key: str, value: str) -> None:
        if key == "type":
            self._new_type(value)
            return
        if not self._families:
            raise FamilyError(f"{self.where}: {key!r} stands before the first family")
        family = self._families[-1]
        if key in get_args(PhraseKind):
            family.phrases.append(Phrase(key, value))  # type: ignore[arg-type]  # checked by the condition
        elif key == "names":
            family.names += value.split()
        elif key == "let":
            family.parameters.append(self._parameter(value))
        elif key == "input":
            family.input = value.removeprefix("= ")
        elif key == "S":
            family.statements.append(value)
        elif key == "check":
            family.checks.append(value)
        else:
            raise FamilyError(f"{self.where}: nobody knows the field {key!r}")

    def _new_type(self, value: str) -> None:
        name, _, rest = value.partition(" = ")
        parts = [part.strip() for part in rest.split(" | ")]
        if len(parts) != 4:
            raise FamilyError(
                f"{self.where}: expected `type NAME = EXPRESSION | hint | names | description; description`"
            )
        code = compile(parts[0], self.where, "eval")
        self._types[name] = ValueType(
            lambda r: eval(code, {**HELPERS, "r": r}),
            parts[1],
            tuple(parts[2].split()),
            tuple(part.strip() for part in parts[3].split(";")),
        )

    def _parameter(self, value: str) -> tuple[tuple[str, ...], list[Any]]:
        names, _, expression = value.partition(" = ")
        values = list(eval(expression, dict(HELPERS)))
        keys = tuple(re.findall(r"[A-Z]+", names))
        if not keys or not values:
            raise FamilyError(
                f"{self.where}: expected `let K = VALUES` or `let (A, B) = TUPLES`, with names in capitals"
            )
        return keys, values if len(keys) > 1 else [(value,) for value in values]

    def _end_body(self) -> None:
        if self._body is None:
            return
        text = "\n".join(self._body).strip("\n")
        if self._is_before:
            self._families[-1].before = text
        else:
            self._families[-1].solutions.append(text)
        self._body = None


def _with_parameters(text: str, values: Mapping[str, Any]) -> str:
    return _PARAMETER.sub(lambda found: str(values.get(found[1], found[0])), text)


def _filled_names(family: Family) -> set[str]:
    """Return every name that the family can get by its parameters."""
    found = {family.name, *family.names}
    for keys, options in family.parameters:
        known = [dict(zip(keys, values, strict=True)) for values in options]
        found = {_with_parameters(name, values) for name in found for values in known}
    return found


def _is_name(text: str) -> bool:
    return text.isidentifier() and not keyword.iskeyword(text)


def _check_written(family: Family) -> None:
    """Raise for what is missing or names something that is not there."""
    problems = []
    if not family.solutions or not all(family.solutions):
        problems.append("has no solution")
    if not family.phrases:
        problems.append("has no phrase")
    if family.kind == "class" and not family.checks:
        problems.append("is a class without a `check`")
    if family.kind == "edit" and not family.before:
        problems.append("is an edit without `--- before`")
    known = {name for name, _ in family.arguments}
    problems += [
        f"speaks of {{{place}}}, which is no argument"
        for phrase in family.phrases
        for place in _PLACE.findall(phrase.text)
        if place not in known
    ]
    declared = {name for names, _ in family.parameters for name in names}
    used = {name for text in _texts(family) for name in _PARAMETER.findall(text)}
    problems += [f"never uses <{name}>" for name in sorted(declared - used)]
    problems += [
        f"is called {name!r}, which is no name" for name in sorted(_filled_names(family)) if not _is_name(name)
    ]
    if family.kind not in ("bash", "javascript"):
        problems += [f"has a solution that does not parse: {error}" for error in _syntax_errors(family)]
    if problems:
        raise FamilyError(f"{family.where}: {family.name} {'; '.join(problems)}")


def _texts(family: Family) -> Sequence[str]:
    phrases = [phrase.text for phrase in family.phrases]
    return [*phrases, *family.statements, *family.solutions, *family.checks, *family.names, family.before, family.input]


def _syntax_errors(family: Family) -> Iterator[str]:
    values = {
        name: value for names, options in family.parameters for name, value in zip(names, options[0], strict=True)
    }
    for solution in family.with_parameters(values).solutions:
        try:
            ast.parse(program(family, solution))
        except SyntaxError as error:
            yield f"{error} in {solution.splitlines()[0]!r}"


def program(family: Family, solution: str, name: str | None = None) -> str:
    """Return *solution* as a whole program; imports at the head of a function's body stand before it."""
    if family.kind not in ("function", "edit"):
        return solution + "\n"
    lines = solution.splitlines()
    n_imports = next((i for i, line in enumerate(lines) if not line.startswith(("import ", "from "))), len(lines))
    head = [*lines[:n_imports], "", ""] if n_imports else []
    arguments = ", ".join(argument for argument, _ in family.arguments)
    body = [f"    {line}" if line else "" for line in lines[n_imports:]]
    return "\n".join([*head, f"def {name or family.name}({arguments}):", *body]) + "\n"
