"""What a family's programs do: arguments drawn for it, and what the first program makes of them.

A family with its parameters filled in always has the same cases, whoever asks. Programs run in this process:
they are ours, and whatever goes into the training data runs again in the sandbox.
"""

import contextlib
import copy
import functools
import io
import json
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from training.embedded_model.families import Family, FamilyError, program
from training.embedded_model.values import HELPERS

N_CASES: Final = 8
MAX_TRIES: Final = 40
_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True)
class Case:
    """One use: arguments (for scripts and bash the text they read), and the result (or what they print).

    `is_change` says that the result is what became of the arguments, as the function returns nothing.
    """

    given: Any
    result: Any
    is_change: bool = False
    is_generator: bool = False

    def check(self, name: str) -> str:
        """Return a statement of Python that raises unless *name* does this."""
        if self.is_change:
            return f"given = {self.given!r}\n{name}(*given)\nassert given == {self.result!r}"
        call = f"{name}({', '.join(map(repr, self.given))})"
        if self.is_generator:
            call = f"list({call})"
        if isinstance(self.result, float):
            return f"assert abs({call} - {self.result!r}) < {max(1e-6, abs(self.result) * 1e-9)!r}"
        same = "is" if self.result is None or isinstance(self.result, bool) else "=="
        return f"assert {call} {same} {self.result!r}"


def draw_parameters(family: Family, r: random.Random) -> tuple[Family, Mapping[str, Any]]:
    """Return *family* with values drawn for its parameters, and the values."""
    values: dict[str, Any] = {}
    for names, options in family.parameters:
        values.update(zip(names, r.choice(options), strict=True))
    return family.with_parameters(values), values


def draw_input(family: Family, r: random.Random) -> Any:
    """Return arguments as a tuple; for a script what it reads, as text."""
    if family.input:
        value = eval(family.input, {**HELPERS, "r": r})
        return value if family.kind in ("script", "bash") or isinstance(value, tuple) else (value,)
    if family.kind in ("script", "bash"):
        return ""
    return tuple(kind.draw(r) for _, kind in family.arguments)


def cases(family: Family) -> tuple[Case, ...]:
    """Return up to eight different cases of a family whose parameters are filled in; classes have checks instead."""
    return _cases(_Whole(family))


@dataclass(frozen=True)
class _Whole:
    """A family as a key: what decides its cases. Compositions of one name and program differ in types of arguments."""

    family: Family

    def __hash__(self) -> int:
        return hash((self.family.kind, self.family.name, self.family.solutions[0], self.family.input))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Whole) and all(
            getattr(self.family, name) == getattr(other.family, name)
            for name in ("kind", "name", "arguments", "solutions", "input")
        )


@functools.lru_cache(maxsize=100_000)
def _cases(whole: _Whole) -> tuple[Case, ...]:
    family = whole.family
    r = random.Random(f"{family.kind} {family.name} {family.solutions[0]}")
    inputs: dict[str, Any] = {}
    for _ in range(MAX_TRIES):
        given = draw_input(family, r)
        inputs.setdefault(repr(given), given)
        if len(inputs) == N_CASES or not given:
            break
    return tuple(outcomes(family, family.solutions[0], list(inputs.values())))


def outcomes(family: Family, solution: str, inputs: Sequence[Any]) -> list[Case]:
    """Run *solution* for each of what it is given; JavaScript in one process for all, as starting one takes a while.

    Raises:
        FamilyError: it changes its arguments and returns something as well.
        Exception: whatever the program raises.
    """
    if family.kind == "javascript":
        return _javascript(family, solution, inputs)
    run = {"bash": _bash, "script": _printed}.get(family.kind)
    return [Case(given, run(solution, given)) if run else _called(family, solution, given) for given in inputs]


def _called(family: Family, solution: str, given: Any) -> Case:
    scope: dict[str, Any] = {}
    exec(program(family, solution), scope)
    arguments = copy.deepcopy(given)
    result = scope[family.name](*arguments)
    is_generator = hasattr(result, "__next__")
    if is_generator:
        result = list(result)
    is_change = not same(given, arguments)
    if is_change and result is not None:
        raise FamilyError(f"changes what it is given and returns as well: {given!r} became {arguments!r}")
    return Case(given, arguments if is_change else result, is_change, is_generator)


def _javascript(family: Family, solution: str, inputs: Sequence[Any]) -> list[Case]:
    calls = f"const inputs = {json.dumps([list(given) for given in inputs])};\n"
    calls += f"console.log(JSON.stringify(inputs.map((given) => {family.name}(...given))));"
    results = json.loads(_output_of(["node", "-e", f"{solution}\n{calls}"], ""))
    return [Case(given, result) for given, result in zip(inputs, results, strict=True)]


def _bash(solution: str, given: str) -> str:
    return _output_of(["bash", "-c", solution], given)


def _output_of(command: list[str], stdin: str) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
    return done.stdout


def _printed(solution: str, given: str) -> str:
    output, stdin = io.StringIO(), sys.stdin
    sys.stdin = io.StringIO(given)
    try:
        with contextlib.redirect_stdout(output):
            exec(compile(solution, "<script>", "exec"), {"__name__": "__main__"})
    finally:
        sys.stdin = stdin
    return output.getvalue()


def same(first: Any, second: Any) -> bool:
    """Say whether two results are equal and of one type, floats but for their last digits."""
    if isinstance(first, float) and isinstance(second, float):
        return abs(first - second) <= 1e-9 * max(1.0, abs(first))
    return type(first) is type(second) and repr(first) == repr(second)
