"""Check files of families: every program runs, and all programs of a family do the same for what they are given.

    python -m training.embedded_model.check_families [FILE ...]

Programs run in this process, as whoever wrote them is trusted here; making the training data runs them in the sandbox.
Prints what is wrong, then how many families of each kind there are; ends with 1 when anything was wrong.
"""

import argparse
import contextlib
import copy
import io
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from training.embedded_model.families import Family, FamilyError, program, read_file
from training.embedded_model.values import HELPERS

FOLDER: Final = Path(__file__).with_name("families")
N_INPUTS: Final = 12
N_PARAMETERS: Final = 6  # choices of parameters that are tried
MIN_PHRASES: Final = 5
MAX_RESULT_CHARS: Final = 400
_TIMEOUT_S: Final = 10.0


def drawn_parameters(family: Family, r: random.Random) -> Family:
    """Return *family* with values drawn for its parameters."""
    values: dict[str, Any] = {}
    for names, options in family.parameters:
        values.update(zip(names, r.choice(options), strict=True))
    return family.with_parameters(values)


def drawn_input(family: Family, r: random.Random) -> Any:
    """Return arguments as a tuple; for a script what it reads, as text."""
    if family.input:
        value = eval(family.input, {**HELPERS, "r": r})
        return value if family.kind in ("script", "bash") or isinstance(value, tuple) else (value,)
    if family.kind in ("script", "bash"):
        return ""
    return tuple(kind.draw(r) for _, kind in family.arguments)


def problems(family: Family) -> Iterator[str]:
    """Yield what is wrong with a family."""
    if len({phrase.text for phrase in family.phrases}) < MIN_PHRASES:
        yield f"says it in fewer than {MIN_PHRASES} ways"
    r = random.Random(family.name)
    for _ in range(N_PARAMETERS if family.parameters else 1):
        drawn = drawn_parameters(family, r)
        try:
            yield from _class_problems(drawn) if drawn.kind == "class" else _run_problems(drawn, r)
        except Exception as error:  # noqa: BLE001 - whatever a family's program raises is its problem
            yield f"{type(error).__name__}: {error}"


def _class_problems(family: Family) -> Iterator[str]:
    for i, solution in enumerate(family.solutions):
        for check in family.checks:
            scope: dict[str, Any] = {}
            exec(program(family, solution), scope)
            scope["candidate"] = scope[family.name]
            try:
                exec(check.replace("\\n", "\n"), scope)
            except Exception as error:  # noqa: BLE001 - as above
                yield f"solution {i + 1} fails `{check}`: {type(error).__name__}: {error}"
    if not any("assert" in check for check in family.checks):
        yield "checks nothing"


def _run_problems(family: Family, r: random.Random) -> Iterator[str]:
    inputs = [drawn_input(family, r) for _ in range(N_INPUTS)]
    results = [[_outcome(family, solution, given) for given in inputs] for solution in family.solutions]
    for i, other in enumerate(results[1:], 2):
        for given, first, second in zip(inputs, results[0], other, strict=True):
            if not _same(first, second):
                yield f"solution {i} gives {second!r} for {given!r}, the first {first!r}"
                break
    if len(inputs[0] if isinstance(inputs[0], tuple) else family.input) and len({repr(one) for one in results[0]}) == 1:
        yield f"gives {results[0][0]!r} whatever it is given"
    if max(len(repr(one)) for one in results[0]) > MAX_RESULT_CHARS:
        yield "gives a result too long to be shown"
    if family.before:
        before = [_attempt(family, family.before, given) for given in inputs]
        if all(_same(first, second) for first, second in zip(before, results[0], strict=True)):
            yield "does the same before the edit"


def _attempt(family: Family, solution: str, given: Any) -> Any:
    try:
        return _outcome(family, solution, given)
    except Exception as error:  # noqa: BLE001 - what stands before an edit may fail
        return error


def _outcome(family: Family, solution: str, given: Any) -> Any:
    if family.kind == "bash":
        command = ["bash", "-c", solution]
        return subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        ).stdout
    if family.kind == "javascript":
        return _javascript(family, solution, given)
    if family.kind == "script":
        return _printed(solution, given)
    scope: dict[str, Any] = {}
    exec(program(family, solution), scope)
    arguments = copy.deepcopy(given)
    result = scope[family.name](*arguments)
    if hasattr(result, "__next__"):
        result = list(result)
    if not _same(given, arguments) and result is not None:
        raise FamilyError(f"changes what it is given: {given!r} became {arguments!r}")
    return result if result is not None else arguments if not _same(given, arguments) else None


def _printed(solution: str, given: str) -> str:
    output, stdin = io.StringIO(), sys.stdin
    sys.stdin = io.StringIO(given)
    try:
        with contextlib.redirect_stdout(output):
            exec(compile(solution, "<script>", "exec"), {"__name__": "__main__"})
    finally:
        sys.stdin = stdin
    return output.getvalue()


def _javascript(family: Family, solution: str, given: Any) -> str:
    import json

    call = f"console.log(JSON.stringify({family.name}(...{json.dumps(list(given))})));"
    command = ["node", "-e", f"{solution}\n{call}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True).stdout


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, float) and isinstance(second, float):
        return abs(first - second) <= 1e-9 * max(1.0, abs(first))
    return type(first) is type(second) and repr(first) == repr(second)


def main() -> None:
    """Check, print, and end with 1 when anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, default=sorted(FOLDER.glob("*.txt")))
    kinds: Counter[str] = Counter()
    n_wrong = 0
    for path in parser.parse_args().files:
        try:
            families = read_file(path)
        except FamilyError as error:
            print(error)
            n_wrong += 1
            continue
        for family in families:
            kinds[family.kind] += 1
            for problem in dict.fromkeys(problems(family)):
                print(f"{family.where}: {family.name}: {problem}")
                n_wrong += 1
    print(", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) + f"; {n_wrong} wrong")
    sys.exit(n_wrong > 0)


if __name__ == "__main__":
    main()
